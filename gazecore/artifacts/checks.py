"""Is an artifact whole? Schema, chunk files, content id, packed images: what `gz verify` asks."""

from math import ceil, prod

from gazecore.artifacts import schema
from gazecore.artifacts.store import DAMAGED, Artifact
from gazecore.errors import GazeError

MOST_IMAGES = 20  # problems of single images that are spelt out
MOST_MISSING = 1000


def problems(artifact: Artifact) -> list[str]:
    """Everything that is wrong with an artifact; empty when it is whole."""
    found = [] if artifact.complete else ["its writer did not finish (gz_complete is 0)"]
    missing = missing_chunks(artifact)
    if missing:
        return [*found, f"{len(missing)} chunk files are missing, for example {missing[0]}"]
    try:
        if artifact.kind in schema.names():
            found += schema.problems(artifact, values=True)
        return found + _identity_problem(artifact) + _image_problems(artifact)
    except (GazeError, *DAMAGED) as error:
        return [*found, f"it cannot be read to the end: {error}"]


def missing_chunks(artifact: Artifact) -> list[str]:
    """Chunk files of a zarr folder that are not there; a reader would take them for the fill value without a word.

    The first MOST_MISSING of them: an artifact may claim any number.
    """
    if artifact.container != "zarr":
        return []
    missing: list[str] = []
    for variable in artifact.stored.values():
        if 0 in variable.shape:
            continue
        cut = variable.array.shards or variable.array.chunks
        grid = [ceil(n / c) for n, c in zip(variable.shape, cut, strict=True)]
        folder = artifact.path / variable.name / "c"
        for index in range(prod(grid)):
            keys, rest = [], index
            for n in reversed(grid):
                rest, key = divmod(rest, n)
                keys.append(str(key))
            chunk = folder.joinpath(*reversed(keys))
            if not chunk.is_file():
                missing.append(str(chunk.relative_to(artifact.path)))
            if len(missing) == MOST_MISSING:
                return missing
    return missing


def _identity_problem(artifact: Artifact) -> list[str]:
    computed = artifact.content_id()
    if not artifact.id:
        return []
    return [] if computed == artifact.id else [f"its content id is {computed[:12]}, but it says {artifact.id[:12]}"]


def _image_problems(artifact: Artifact) -> list[str]:
    from gazecore import images

    found = []
    for spec in schema.load(artifact.kind).variables.values() if artifact.kind in schema.names() else ():
        if not spec.packed or spec.name not in artifact:
            continue
        packed = artifact.packed(spec.name)
        for i in range(len(packed)):
            try:
                images.load(packed[i])
            except GazeError as error:
                found.append(f"{spec.name}[{i}] cannot be decoded: {error}")
    return found[:MOST_IMAGES] + (
        [f"... and {len(found) - MOST_IMAGES} more images"] if len(found) > MOST_IMAGES else []
    )
