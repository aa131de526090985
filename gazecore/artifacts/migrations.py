"""Older versions of a schema, brought up to date while they are read.

A reader takes any minor version of its own major version. A new major version comes with one function here
that turns an open artifact of the version before it into the new one, lazily: it renames or wraps variables.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from gazecore.artifacts import schema
from gazecore.errors import GazeError

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from gazecore.artifacts.store import Artifact

# (kind, major version found) -> a function that changes the open artifact in place to the next major version
MIGRATIONS: dict[tuple[str, int], Callable[["Artifact"], None]] = {}


def apply(artifact: "Artifact") -> None:
    """Migrate an artifact that was just opened; GazeError when it is newer than this gz, or too old."""
    if artifact.kind not in schema.names():
        return
    ours = schema.load(artifact.kind).major
    found = _major(artifact)
    if found > ours:
        raise GazeError(
            f"{artifact.path} holds {artifact.kind} version {artifact.version}; this gz reads up to {ours}.x: update gz"
        )
    for major in range(found, ours):
        if (artifact.kind, major) not in MIGRATIONS:
            raise GazeError(f"{artifact.path} holds {artifact.kind} version {artifact.version}; nothing migrates it")
        MIGRATIONS[artifact.kind, major](artifact)
    if found < ours:
        stored, artifact.version = artifact.version, schema.load(artifact.kind).version
        log.warning(
            f"{artifact.path} holds {artifact.kind} version {stored}, read as {artifact.version}; "
            "gz convert writes it anew"
        )


def _major(artifact: "Artifact") -> int:
    text = artifact.version.split(".")[0]
    if not text.isascii() or not text.isdecimal():
        raise GazeError(f"{artifact.path}: gz_schema_version is {artifact.version!r}; expected a number such as 1.0")
    return int(text)
