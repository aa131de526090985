"""How artifacts travel between commands: one JSON line that names an artifact, or the bytes of one as a tar stream.

A producer without -o writes a temporary artifact into our own folder and prints a reference line; the last consumer
that succeeds deletes it (readers hold a shared lock on NAME.lock; whoever can make it exclusive is the last one).
A command that fails says so down the pipe, and the command that waits there repeats it.
"""

import contextlib
import errno
import fcntl
import io
import json
import os
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazecore.artifacts import bytestream, provenance, schema
from gazecore.artifacts.store import Artifact, open_artifact
from gazecore.artifacts.writer import Writer, check_target
from gazecore.errors import DATA, EXISTS, NO_INPUT, USAGE, GazeError

PROTOCOL = 1
LONGEST_RECORD = 4096  # PIPE_BUF: lines of several writers on one pipe stay whole
LEFTOVER_SECONDS = 24 * 3600


def temp_folder() -> Path:
    """Our own folder of temporary artifacts: $GZ_TMPDIR, else gz-UID in the system's; ours alone (mode 0700)."""
    named = os.environ.get("GZ_TMPDIR")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"gz-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=bool(named), exist_ok=True)
    except OSError as error:
        raise GazeError(
            f"the folder for temporary artifacts, {folder}, cannot be made: {error.strerror}", EXISTS
        ) from error
    if folder.stat().st_uid != os.getuid():
        raise GazeError(f"{folder} belongs to somebody else; set GZ_TMPDIR to a folder of your own", EXISTS)
    return folder


# ---- what a command writes -----------------------------------------------------------------------------------------


class Output:
    """Where a command's artifact goes; made first of all, so that a hopeless command stops before any work.

    out       -o: a path, "-" for tar bytes on stdout, None for a reference down the pipe
    report    the command also prints a result: on a terminal it runs without -o and stores nothing
    as_json   stdout carries the result as JSON, so no reference is printed
    GazeError USAGE when the artifact would have nowhere to go, EXISTS when the target is there
    """

    def __init__(
        self,
        out: Path | str | None = None,
        *,
        overwrite: bool = False,
        resume: bool = False,
        report: bool = False,
        as_json: bool = False,
    ):
        global _speaks, _references
        self.overwrite, self.resume = overwrite, resume
        self._used = False
        stdout = _stdout_kind()
        _speaks = stdout == "pipe" and not as_json and str(out) != "-"
        self.references = _references = stdout in ("pipe", "file") and not as_json
        self.path = None if out is None or str(out) == "-" else Path(out)
        self.as_bytes = str(out) == "-"
        self.discards = False
        if self.as_bytes and (stdout == "terminal" or as_json):
            raise GazeError(
                "-o - writes bytes; stdout is a terminal (or carries JSON). Name a file, or pipe them", USAGE
            )
        if out is None and (as_json or (report and stdout == "terminal")):
            self.discards, self.references = True, False
            _references = False
        elif out is None and stdout == "terminal":
            raise GazeError(
                "stdout is a terminal: name the artifact with -o, or pipe it into another gz command", USAGE
            )
        elif out is None and stdout == "file":
            raise GazeError(
                "a reference to a temporary artifact in a file would dangle: name the artifact with -o", USAGE
            )
        if self.path:
            check_target(self.path, overwrite)
        if resume and not self.path:
            raise GazeError("--resume goes on with a named artifact: give -o", USAGE)

    @property
    def folder(self) -> Path:
        """The folder in which the artifact will lie."""
        return self.path.absolute().parent if self.path else temp_folder()

    @contextlib.contextmanager
    def create(
        self, kind: str, attrs: Mapping[str, Any] | None = None, extra: Sequence[Any] = (), **options: Any
    ) -> Iterator[Writer]:
        """A writer; when its block ends well the artifact is complete and its reference (or its bytes) on stdout."""
        if self._used and self.path:
            raise GazeError(
                f"{self.path} is one artifact, but a second input arrived: join them with gz concat first", USAGE
            )
        self._used = True
        target = self.path or _temp_path(kind)
        lock = None if self.path else _Lock(target, exclusive=True)
        with Writer(target, kind, attrs, self.overwrite, self.resume, extra, **options) as writer:
            yield writer
        if self.as_bytes:
            with lock or contextlib.nullcontext():
                _send_bytes(target)
        elif self.discards:
            _remove(target)
        else:
            if lock:
                lock.release()
            self._emit(target, writer.kind, writer.summary, temp=self.path is None)

    def pass_on(self, artifact: Artifact) -> None:
        """Hand the input itself down the pipe, still temporary if it was."""
        held = next((h for h in _held if h.path == artifact.path), None)
        if held:
            held.passed_on = True
        if self.references and not self.path:
            self._emit(artifact.path, artifact.kind, {}, temp=bool(held))

    def _emit(self, path: Path, kind: str, summary: Mapping[str, Any], temp: bool) -> None:
        if not self.references:
            if _stdout_kind() == "terminal":
                print(f"gz: wrote {path}", file=sys.stderr)
            return
        with open_artifact(path) as artifact:
            record = {
                "gz": PROTOCOL,
                "kind": "artifact",
                "schema": artifact.schema_name(),
                "path": str(path.absolute()),
                "temp": temp,
                "host": socket.gethostname(),
                "id": artifact.id,
                "n": len(artifact),
                "summary": dict(summary),
            }
        line = provenance.strict_json(record)
        if len(line.encode()) >= LONGEST_RECORD:
            record["summary"] = {}
            line = provenance.strict_json(record)
        try:
            _write_line(line)
        except BrokenPipeError:
            print(f"gz: nobody reads the pipe; the artifact is kept: {path}", file=sys.stderr)
            raise


def emit_error(command: str, code: int, message: str) -> None:
    """Tell the next command that this one failed, if it listens for a reference."""
    if _speaks:
        record = {"gz": PROTOCOL, "error": {"command": command, "exit": code, "message": message[:2000]}}
        with contextlib.suppress(OSError):
            _write_line(provenance.strict_json(record))


def carries_references() -> bool:
    """Does stdout carry reference lines or bytes, so that talk and tables belong on stderr?"""
    return _references


_speaks = False
_references = False


def _stdout_kind() -> str:
    """terminal, pipe (or socket), or file (or a device such as /dev/null)."""
    try:
        mode = os.fstat(1).st_mode
    except OSError:
        return "file"
    if os.isatty(1):
        return "terminal"
    return "pipe" if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else "file"


def _write_line(line: str) -> None:
    sys.stdout.flush()
    os.write(1, line.encode() + b"\n")


def _send_bytes(target: Path) -> None:
    try:
        bytestream.send(target, sys.stdout.buffer)
    finally:
        _remove(target)


def _temp_path(kind: str) -> Path:
    clean_leftovers()
    return temp_folder() / f"{kind}-{secrets.token_hex(6)}.zarr"


# ---- what a command reads ------------------------------------------------------------------------------------------


def inputs(source: Path | str | Sequence[Path | str] = "-", kind: str | tuple[str, ...] = ()) -> Iterator[Artifact]:
    """The artifacts that a command reads, one after another: named ones, or what comes down the pipe ("-").

    The pipe may carry reference lines, path lines, or the bytes of a tar stream, a .zarr.zip or an .h5 file.
    kind       refuse artifacts of any other kind
    GazeError  NO_INPUT when nothing (or less than all) arrived, or the upstream command failed; DATA for what is no
               artifact; USAGE when the input would be typed by hand
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    for one in sources:
        if str(one) == "-":
            yield from _from_stdin(kind)
        else:
            yield _opened(Path(one), kind)


def _from_stdin(kind: str | tuple[str, ...]) -> Iterator[Artifact]:
    if sys.stdin is None or os.isatty(0):
        raise GazeError("no input: name an artifact, or pipe one in (stdin is a terminal)", USAGE)
    head, stream = bytestream.peek(sys.stdin.buffer)
    what = bytestream.sniff(head)
    if what == "empty":
        raise GazeError("nothing arrived on stdin: the command before the pipe failed, or wrote nothing", NO_INPUT)
    if what == "records":
        yield from _from_records(stream, kind)
    elif what == "paths":
        yield from (_opened(Path(line), kind) for line in _path_lines(stream))
    else:
        clean_leftovers()
        target = temp_folder() / f"incoming-{secrets.token_hex(6)}{'.zarr' if what == 'tar' else '.' + what}"
        held = Held(target)
        try:
            bytestream.receive(stream, what, target)
            artifact = _opened(target, kind, piped=True)
        except BaseException:
            _remove(target)
            held.lock.release()
            raise
        _held.append(held)
        yield artifact


def _path_lines(stream: Any) -> Iterator[str]:
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="replace")
    return (line for line in map(str.strip, text) if line)


def _from_records(stream: Any, kind: str | tuple[str, ...]) -> Iterator[Artifact]:
    arrived = 0
    for line in stream:
        if not line.strip():
            continue
        record = _parsed(line)
        if "error" in record:
            error = record["error"]
            raise GazeError(
                f"{error.get('command', 'the command before')} failed: {error.get('message', '')}", NO_INPUT
            )
        if record.get("kind") == "artifact":
            arrived += 1
            yield _referenced(record, kind)
    if not arrived:
        raise GazeError("no artifact arrived on stdin, only records of other kinds", NO_INPUT)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise GazeError(f"stdin holds no reference line: {line[:80]!r} is not JSON", DATA) from error
    if not isinstance(record, dict) or not isinstance(record.get("gz"), int):
        raise GazeError(f'stdin holds no reference line: {line[:80]!r} has no number "gz"', DATA)
    if record["gz"] > PROTOCOL:
        raise GazeError(f"a record of pipe protocol {record['gz']} arrived; this gz speaks {PROTOCOL}: update gz", DATA)
    return record


def _referenced(record: dict[str, Any], kind: str | tuple[str, ...]) -> Artifact:
    path = Path(str(record.get("path", "")))
    temporary = bool(record.get("temp"))
    if temporary and not _is_ours(path):
        raise GazeError(f"{path} is called temporary but does not lie in {temp_folder()}; refused, it would be deleted")
    held = Held(path) if temporary and path.exists() else None
    if not path.exists():
        if held:
            held.lock.release()
        away = record.get("host") not in (None, socket.gethostname())
        advice = f"; it is on {record.get('host')}: send bytes with -o - instead" if away else ""
        raise GazeError(f"{path}, named on stdin, does not exist{advice}", NO_INPUT)
    if held:
        _held.append(held)
    return _opened(path, kind, piped=temporary)


def _is_ours(path: Path) -> bool:
    folder = temp_folder().resolve()
    return path.is_absolute() and path.parent.resolve() == folder and not path.is_symlink() and path.suffix == ".zarr"


def _opened(path: Path, kind: str | tuple[str, ...], piped: bool = False) -> Artifact:
    artifact = open_artifact(path, kind)
    if artifact.kind in schema.names():
        found = schema.problems(artifact)
        if found:
            artifact.close()
            raise GazeError(f"{path} is no valid {artifact.kind}: " + "; ".join(found))
    provenance.current().add_input(path, artifact.id, artifact.provenance, piped)
    return artifact


# ---- temporary artifacts: held while read, deleted after success ---------------------------------------------------


class _Lock:
    """A flock on PATH.lock."""

    def __init__(self, path: Path, exclusive: bool = False):
        self.path = path.with_name(path.name + ".lock")
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)

    def __enter__(self) -> "_Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def is_last(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass
class Held:
    """A temporary artifact that this command reads."""

    path: Path
    passed_on: bool = False

    def __post_init__(self) -> None:
        self.lock = _Lock(self.path)


_held: list[Held] = []


def settle(success: bool) -> None:
    """At the end of a command: delete the temporary inputs after success; after failure keep them and say where."""
    for held in _held:
        if success and not held.passed_on and held.lock.is_last():
            _remove(held.path)
        elif not success and held.path.exists():
            print(f"gz: the input is kept: {held.path}", file=sys.stderr)
        held.lock.release()
    _held.clear()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    path.with_name(path.name + ".lock").unlink(missing_ok=True)


def leftovers(older_than: float = LEFTOVER_SECONDS) -> list[Path]:
    """Temporary artifacts and unfinished work that nobody has locked and that are older than so many seconds."""
    candidates = (p for p in sorted(temp_folder().iterdir()) if p.suffix != ".lock" or not p.with_suffix("").exists())
    return [p for p in candidates if _is_stale(p, older_than)]


def unfinished(folder: Path, older_than: float) -> list[Path]:
    """Unfinished work of killed writers in a folder: what --resume would go on with."""
    return [p for p in sorted(folder.glob(".*.part-*")) if _is_stale(p, older_than)]


def remove(paths: Sequence[Path]) -> None:
    """Delete artifacts and their locks."""
    for path in paths:
        _remove(path)


def clean_leftovers() -> None:
    """Delete what killed commands left in our temporary folder more than a day ago."""
    remove(leftovers())


def _is_stale(path: Path, older_than: float) -> bool:
    return time.time() - path.lstat().st_mtime >= older_than and not _is_locked(path)


def _is_locked(path: Path) -> bool:
    for candidate in (path, path.with_name(path.name + ".lock")):
        try:
            descriptor = os.open(candidate, os.O_RDONLY)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                continue
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False
