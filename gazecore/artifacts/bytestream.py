"""Artifacts as bytes on a pipe: told apart by their first bytes, sent as tar, received as tar, zip or HDF5."""

import io
import shutil
import tarfile
from pathlib import Path
from typing import BinaryIO

from gazecore.errors import IO, NO_INPUT, GazeError

HEAD = 512
TAR_END = 1024  # a whole tar ends in two blocks of zeros
COPY, BUFFER = 1 << 20, 1 << 16
MOST_MEMBERS = 5_000_000


class Rejoined(io.RawIOBase):
    """A stream whose first bytes were already taken; remembers whether the last ones that were read are zeros."""

    def __init__(self, head: bytes, rest: BinaryIO):
        self._head, self._rest = head, rest
        self.ends_in_zeros = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._head:
            count = min(len(buffer), len(self._head))
            data, self._head = self._head[:count], self._head[count:]
        else:
            data = self._rest.read1(len(buffer))  # type: ignore[attr-defined]
        buffer[: len(data)] = data
        kept = len(data.rstrip(b"\0"))
        self.ends_in_zeros = len(data) - kept if kept else self.ends_in_zeros + len(data)
        return len(data)


def peek(stream: BinaryIO) -> tuple[bytes, io.BufferedReader]:
    """The first bytes (a whole line of text or up to 512 bytes) and a stream that still starts with them."""
    head = b""
    while len(head) < HEAD:
        data = stream.read1(HEAD - len(head))  # type: ignore[attr-defined]
        head += data
        if not data or (head.startswith(b"{") and b"\n" in head):
            break
    return head, io.BufferedReader(Rejoined(head, stream), BUFFER)


def sniff(head: bytes) -> str:
    """empty, records, tar, zarr.zip, h5 or paths."""
    if not head:
        return "empty"
    if head.startswith(b"{"):
        return "records"
    if head.startswith(b"PK\3\4"):
        return "zarr.zip"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "h5"
    return "tar" if head[257:262] == b"ustar" else "paths"


def send(artifact: Path, stream: BinaryIO) -> None:
    """Write a zarr folder as a tar stream; the root's zarr.json goes last, so that a cut stream lacks it."""
    files = sorted(p for p in artifact.rglob("*") if p.is_file() and p != artifact / "zarr.json")
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for file in [*files, artifact / "zarr.json"]:
            tar.add(file, f"artifact.zarr/{file.relative_to(artifact).as_posix()}", filter=_anonymous)
    stream.flush()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def receive(stream: io.BufferedReader, what: str, target: Path) -> None:
    """Store the bytes of an artifact as `target`; GazeError NO_INPUT when they end too early."""
    if what == "tar":
        _receive_tar(stream, target)
        return
    with target.open("wb") as file:
        while data := stream.read(COPY):
            _check_space(target, len(data))
            file.write(data)


def _receive_tar(stream: io.BufferedReader, target: Path) -> None:
    unpacked = target.with_name(target.name + ".tar")
    unpacked.mkdir()
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for count, member in enumerate(tar):
                if not (member.isfile() or member.isdir()) or count > MOST_MEMBERS:
                    raise GazeError(f"the tar stream on stdin holds {member.name!r}, which no artifact has; refused")
                _check_space(target, member.size)
                tar.extract(member, unpacked, filter="data")
        while stream.read(COPY):
            pass  # the padding behind the archive, so that its writer does not meet a closed pipe
        if stream.raw.ends_in_zeros < TAR_END:  # type: ignore[attr-defined]
            raise tarfile.ReadError("its end is missing")
        roots = sorted(unpacked.rglob("zarr.json"), key=lambda p: len(p.parts))
        if not roots:
            raise GazeError(
                "the tar stream on stdin was cut short (no zarr.json arrived), or held no artifact", NO_INPUT
            )
        _check_all_chunks(roots[0].parent)
        roots[0].parent.rename(target)
    except tarfile.FilterError as error:
        raise GazeError(f"the tar stream on stdin would write outside its folder: {error}; refused") from error
    except (tarfile.TarError, EOFError) as error:
        raise GazeError(f"the tar stream on stdin was cut short: {error}", NO_INPUT) from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _check_all_chunks(root: Path) -> None:
    from gazecore.artifacts.checks import missing_chunks
    from gazecore.artifacts.store import open_artifact

    with open_artifact(root, incomplete=True) as artifact:
        missing = missing_chunks(artifact)
    if missing:
        raise GazeError(f"the tar stream on stdin was cut short: {len(missing)} chunk files did not arrive", NO_INPUT)


def _check_space(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise GazeError(
            f"stdin brings {size:,} bytes; {target.parent} has {free:,} free. Set GZ_TMPDIR to a larger disk", IO
        )
