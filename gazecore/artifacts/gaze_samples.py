"""GazeSample records into an artifact of gaze samples, and out of one; scenes by index.

Every scene is stored once, whoever looks at what in it: packed (the encoded bytes) or as a path relative to the
artifact, with the file's modification time, so that a file that changed since is noticed.
"""

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gazecore import images
from gazecore.artifacts.copying import image_root
from gazecore.artifacts.store import Artifact
from gazecore.artifacts.writer import Writer
from gazecore.errors import NO_INPUT, USAGE, GazeError, settle
from gazecore.records import GazeSample

BLOCK = 256
# scenes whose row is remembered: people of one photo follow one another, tracks of one clip too, but at its length
RECENT_PATHS, RECENT_BYTES = 16384, 64
PACKED, PIXELS = "packed", "pixels"
JPEG, PNG, END_OF_JPEG = b"\xff\xd8", b"\x89PNG", b"\xff\xd9"  # other formats are stored as lossless PNG


def image_attrs(images_as: str, root: Path, folder: Path) -> tuple[Path | str, dict[str, str]]:
    """For --images: the folder that paths are stored relative to, or how images are packed; and the attributes.

    images_as  packed, pixels or paths
    root       the folder of the images
    folder     the folder in which the artifact will lie
    """
    if images_as not in (PACKED, PIXELS, "paths"):
        raise GazeError(f"--images {images_as}: expected packed, pixels or paths", USAGE)
    if images_as != "paths":
        return images_as, {}
    relative = os.path.relpath(root.resolve(), folder.resolve())
    return root.resolve(), {"image_root": Path(relative).as_posix()}


def write(
    samples: Iterable[GazeSample],
    writer: Writer,
    image_root: Path | str = PACKED,
    annotators: int = 1,
    video: bool = False,
    counts: Counter[str] | None = None,
) -> int:
    """Append samples; those that a resumed writer already has are passed over. Returns the number of samples.

    image_root  "packed": the images' files go into the artifact; "pixels": decoded, ten times as large, for training
                that decoding would hold up; a folder: their paths relative to it
    annotators  rows of gaze_targets; more in a sample is an error
    video       store clip, track_id, frame and time_s too
    counts      errors.Counts that skip leave the people of images out that cannot be decoded
    Errors: all images that cannot be decoded, at the end.
    """
    samples = iter(samples)
    scenes = _Scenes(image_root)
    done, passed = writer.rows(), 0
    while block := list(islice(samples, BLOCK)):
        rows, block, fresh = scenes.place(block)
        passed += len(block)
        if passed <= done:  # there already: the next sample may look at the last of their scenes
            continue
        if fresh:
            writer.append(dim="image", **fresh)
        if block:
            columns = _columns(block, annotators) | (_video_columns(block) if video else {})
            writer.append(image_index=np.array(rows), **columns)
    next_step = "Fetch them again, or take their rows out of the annotations."
    settle(scenes.problems, Counter() if counts is None else counts, "images that cannot be decoded", next_step)
    return passed


class _Scenes:
    """The rows of scenes as they come, each once; those that cannot be decoded are left out, with their people."""

    def __init__(self, stored: Path | str):
        self._stored, self._count = stored, 0
        self._recent: dict[Path | bytes, int] = {}
        self._bad: set[Path | bytes] = set()
        self.problems: list[str] = []

    def place(self, block: list[GazeSample]) -> tuple[list[int], list[GazeSample], dict[str, Any]]:
        """The image row of each sample that stays, those samples, and the columns of the scenes that are new."""
        fresh: list[GazeSample] = []
        encoded: list[bytes] = []
        rows: list[int] = []
        stay: list[GazeSample] = []
        for sample in block:
            if sample.image in self._bad:
                continue
            if sample.image not in self._recent:
                if isinstance(self._stored, str):
                    try:
                        encoded.append(_encoded(sample, self._stored == PIXELS))
                    except GazeError as error:
                        self.problems.append(f"{sample.image_name}: {error}")
                        self._bad.add(sample.image)
                        continue
                self._recent[sample.image] = self._count + len(fresh)
                fresh.append(sample)
            rows.append(self._recent[sample.image])
            stay.append(sample)
        self._count += len(fresh)
        while len(self._recent) > (RECENT_PATHS if isinstance(block[-1].image, Path) else RECENT_BYTES):
            del self._recent[next(iter(self._recent))]
        return rows, stay, self._columns(fresh, encoded) if fresh else {}

    def _columns(self, fresh: list[GazeSample], encoded: list[bytes]) -> dict[str, Any]:
        table: dict[str, Any] = {"image_size_px": np.array([s.image_size for s in fresh])}
        if isinstance(self._stored, str):
            return table | {"image_name": [s.image_name for s in fresh], "image_data": encoded}
        paths = [_path(sample) for sample in fresh]
        names = [Path(os.path.relpath(path, self._stored)).as_posix() for path in paths]
        return table | {"image_name": names, "image_mtime_s": np.array([path.stat().st_mtime for path in paths])}


def _encoded(sample: GazeSample, decoded: bool) -> bytes:
    """The bytes to store; a JPEG without its end mark is decoded once, to learn whether it was cut short."""
    if decoded:
        return images.encode_pixels(images.load(sample.image))
    data = sample.image if isinstance(sample.image, bytes) else sample.image.read_bytes()
    if data.startswith(PNG) or (data.startswith(JPEG) and END_OF_JPEG in data[-64:]):
        return data
    pixels = images.load(sample.image)
    if data.startswith(JPEG):
        return data
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _path(sample: GazeSample) -> Path:
    if isinstance(sample.image, bytes):
        raise GazeError(f"{sample.image_name} came as bytes and has no path; pack the images instead")
    return sample.image.resolve()


def _columns(block: list[GazeSample], annotators: int) -> dict[str, Any]:
    targets = np.full((len(block), annotators, 2), np.nan)
    for row, sample in zip(targets, block, strict=True):
        count = len(sample.gaze_targets)
        if count > annotators:
            raise GazeError(f"{sample.sample_id} has {count} annotators; expected up to {annotators}")
        row[:count] = sample.gaze_targets
    return {
        "sample_id": [s.sample_id for s in block],
        "split": [s.split for s in block],
        "dataset": [s.dataset for s in block],
        "head_box_px": np.array([s.head_box_px for s in block], np.float64),
        "gaze_targets": targets,
        "in_frame": np.array([s.in_frame for s in block], np.float32),
        "eye": np.array([s.eye for s in block], np.float64),
    }


def _video_columns(block: list[GazeSample]) -> dict[str, Any]:
    return {
        "clip": [s.clip for s in block],
        "track_id": [s.track_id for s in block],
        "frame": np.array([s.frame for s in block], np.float64),
        "time_s": np.array([s.time_s for s in block], np.float64),
    }


class Scenes:
    """The scene images of an artifact: encoded bytes, or the path of an unchanged file, by image row."""

    def __init__(self, artifact: Artifact):
        self._artifact = artifact
        self._packed = artifact.packed("image_data") if "image_data" in artifact else None
        self._root = image_root(artifact)
        self.sizes_px = artifact["image_size_px"].whole()  # (images, 2) width, height

    @cached_property
    def names(self) -> np.ndarray:
        return self._artifact["image_name"].whole()

    @cached_property
    def _times(self) -> np.ndarray | None:
        return self._artifact["image_mtime_s"].whole() if "image_mtime_s" in self._artifact else None

    def __len__(self) -> int:
        return len(self.sizes_px)

    def __getitem__(self, row: int) -> bytes | Path:
        if self._packed is not None:
            return self._packed[row]
        path = self._root / str(self.names[row])
        if not path.is_file():
            raise GazeError(
                f"{path}: no such image; {self._artifact.path} names files relative to {self._root}. "
                "Move them back, or prepare with --images packed",
                NO_INPUT,
            )
        if self._times is not None and abs(path.stat().st_mtime - self._times[row]) > 1:
            raise GazeError(f"{path} changed since {self._artifact.path} was made; prepare it again")
        return path


def read(artifact: Artifact, rows: np.ndarray, scenes: Scenes | None = None) -> Iterator[GazeSample]:
    """The samples of an artifact (gaze samples or predictions) at the given rows, in that order."""
    scenes = scenes or Scenes(artifact)
    names = [v.name for v in artifact.variables.values() if v.dims[0] == "sample" and v.name in FIELDS]
    index = -1
    image: bytes | Path = b""
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        block = {name: artifact[name].take(part) for name in names}
        for i in range(len(part)):
            if int(block["image_index"][i]) != index:
                index = int(block["image_index"][i])
                image = scenes[index]
            width, height = scenes.sizes_px[index].tolist()
            known: dict[str, Any] = {name: block[name][i] for name in names if name != "image_index"}
            known |= {name: str(known[name]) for name in TEXTS if name in known}
            known |= {name: float(known[name]) for name in NUMBERS if name in known}
            yield GazeSample(image=image, image_name=str(scenes.names[index]), image_size=(width, height), **known)


TEXTS, NUMBERS = ("sample_id", "split", "dataset", "clip", "track_id"), ("in_frame", "frame", "time_s")
FIELDS = frozenset(GazeSample.__dataclass_fields__) | {"image_index"}
