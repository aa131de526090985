"""Temporary artifacts: made for the next command in a pipe, held while they are read, deleted after success.

Readers hold a shared lock on NAME.lock; whoever can make it exclusive at its end is the last one and deletes.
What killed commands left is deleted a day later; only names that we give are ever touched.
"""

import errno
import fcntl
import logging
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gazecore.artifacts.atomic import delete
from gazecore.artifacts.writer import abandon_unfinished
from gazecore.errors import EXISTS, GazeError

log = logging.getLogger(__name__)

LEFTOVER_SECONDS = 24 * 3600
# KIND-HEX.zarr, its lock, and what it is made in; folders that GZ_TMPDIR names may hold other people's files
OURS = re.compile(r"\.?(?P<artifact>[a-z0-9_-]+-[0-9a-f]{12}\.(zarr|zarr\.zip|h5))(\.lock|\.tar|\.part-.*)?")


def temp_folder() -> Path:
    """Our own folder of temporary artifacts: $GZ_TMPDIR, else gz-UID in the system's; ours alone (mode 0700)."""
    named, folder = os.environ.get("GZ_TMPDIR"), _folder()
    try:
        folder.mkdir(mode=0o700, parents=bool(named), exist_ok=True)
        found = folder.stat() if named else folder.lstat()
    except OSError as error:
        reason = f"the folder for temporary artifacts, {folder}, cannot be made: {error.strerror}"
        raise GazeError(reason, EXISTS) from error
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise GazeError(f"{folder} belongs to somebody else; set GZ_TMPDIR to a folder of your own", EXISTS)
    return folder


def _folder() -> Path:
    named = os.environ.get("GZ_TMPDIR")
    return Path(named).absolute() if named else Path(tempfile.gettempdir()) / f"gz-{os.getuid()}"


def temp_path(kind: str, suffix: str = ".zarr") -> Path:
    """A new name for a temporary artifact."""
    return temp_folder() / f"{re.sub('[^a-z0-9]+', '-', kind.lower())[:40]}-{secrets.token_hex(6)}{suffix}"


def is_ours(path: Path) -> bool:
    """Is this the name of a temporary artifact in our own folder, so that it may be deleted after it was read?"""
    named = OURS.fullmatch(path.name)
    inside = path.is_absolute() and path.parent.resolve() == temp_folder().resolve() and not path.is_symlink()
    return inside and named is not None and path.name == named["artifact"]


class Lock:
    """A flock on PATH.lock, shared by readers, exclusive for the one who writes or deletes."""

    def __init__(self, path: Path, exclusive: bool = False):
        self._descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)

    def is_last(self) -> bool:
        """Nobody else holds it; from now on nobody else can."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass
class Held:
    """A temporary artifact that this command reads; own: it made it itself, for itself."""

    path: Path
    own: bool = False

    def __post_init__(self) -> None:
        self.lock = Lock(self.path)


_held: list[Held] = []


def hold(path: Path, own: bool = False) -> None:
    """Keep a temporary artifact from being deleted until this command ends."""
    _held.append(Held(path, own))


def let_go(path: Path) -> bool:
    """Leave a held artifact to whoever reads it next; False if it was not held."""
    held = next((h for h in _held if h.path == path), None)
    if held:
        _held.remove(held)
        held.lock.release()
    return held is not None


def settle(success: bool) -> None:
    """At the end of a command: delete the temporary inputs after success; after failure keep them and say where."""
    abandon_unfinished()
    for held in _held:
        gone = not held.path.exists()  # only its lock may be left
        if gone or held.own or (success and held.lock.is_last()):
            remove([held.path])
        elif not success:
            log.error("the input is kept: %s", held.path)
        held.lock.release()
    _held.clear()


def leftovers(older_than: float = LEFTOVER_SECONDS) -> list[Path]:
    """Temporary artifacts and unfinished work that nobody has locked and that are older than so many seconds."""
    folder = _folder()
    if not folder.is_dir() or folder.stat().st_uid != os.getuid():
        return []
    named = {path: OURS.fullmatch(path.name) for path in sorted(folder.iterdir())}
    ours = {path: folder / match["artifact"] for path, match in named.items() if match}
    return [
        path
        for path, artifact in ours.items()
        if not (path.suffix == ".lock" and artifact.exists())  # it goes with its artifact
        and _is_older(path, older_than)
        and not any(map(_is_locked, (path, Path(f"{artifact}.lock"))))
    ]


def unfinished(folder: Path, older_than: float) -> list[Path]:
    """Unfinished work of killed writers in a folder (--resume would go on with it), and what was replaced there."""
    parts = [p for p in sorted(folder.glob(".*.part-*")) if not _is_locked(p.with_name(p.name.removesuffix(".file")))]
    replaced = [p for p in sorted(folder.glob(".*.old-*")) if p.with_name(p.name[1:].rpartition(".old-")[0]).exists()]
    return [p for p in [*parts, *replaced] if _is_older(p, older_than)]


def clean_leftovers() -> None:
    """Delete what killed commands left more than a day ago."""
    remove(leftovers())


def remove(paths: Sequence[Path]) -> None:
    """Delete artifacts and their locks."""
    for path in paths:
        delete(path)
        delete(Path(f"{path}.lock"))


def _is_older(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.lstat().st_mtime >= seconds
    except FileNotFoundError:
        return False  # somebody else was quicker


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENXIO)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
