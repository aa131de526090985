"""How artifacts travel between commands: one JSON line that names an artifact, or the bytes of one as a tar stream.

A producer without -o writes a temporary artifact into our own folder and prints a reference line; the last consumer
that succeeds deletes it (readers hold a shared lock on NAME.lock; whoever can make it exclusive is the last one).
A command that fails says so down the pipe, and the command that waits there repeats it.
"""

import contextlib
import json
import logging
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from gazecore.artifacts import bytestream, provenance, schema
from gazecore.artifacts.store import Artifact, open_artifact
from gazecore.artifacts.temporary import (
    Lock,
    clean_leftovers,
    hold,
    is_ours,
    let_go,
    remove,
    settle,
    temp_folder,
    temp_path,
)
from gazecore.artifacts.writer import Writer, check_target
from gazecore.errors import DATA, NO_INPUT, USAGE, GazeError

log = logging.getLogger(__name__)

__all__ = ["Output", "carries_references", "emit_error", "inputs", "scratch", "settle"]

PROTOCOL = 1
LONGEST_RECORD = 4096  # PIPE_BUF: lines of several writers on one pipe stay whole


# ---- what a command writes -----------------------------------------------------------------------------------------


class Output:
    """Where a command's artifact goes; made first of all, so that a hopeless command stops before any work.

    out       -o: a path, "-" for tar bytes on stdout, None for a reference down the pipe
    report    the command also prints a result: on a terminal it runs without -o and stores nothing
    shows     the command writes no artifact, but hands its input on when it stands in the middle of a pipe
    GazeError USAGE when the artifact would have nowhere to go, EXISTS when the target is there
    """

    def __init__(
        self,
        out: Path | str | None = None,
        *,
        overwrite: bool = False,
        resume: bool = False,
        report: bool = False,
        shows: bool = False,
    ):
        global _speaks, _references
        as_json = _json
        self.overwrite, self.resume = overwrite, resume
        self._used = self._told = False
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
        if out is None and report and (as_json or stdout == "terminal"):
            self.discards, self.references = True, False
            _references = False
        elif shows:
            self.references = stdout == "pipe" and not as_json
        elif out is None and as_json:
            raise GazeError("--json leaves stdout no room for a reference: name the artifact with -o", USAGE)
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
        self._told = False
        if self.path:
            with Writer(self.path, kind, attrs, self.overwrite, self.resume, extra, **options) as writer:
                yield writer
            self._emit(self.path, writer.kind, writer.summary, temporary=False)
        else:
            target = temp_path(kind)
            lock = Lock(target, exclusive=True)
            try:
                with Writer(target, kind, attrs, extra=extra, durable=False, **options) as writer:
                    yield writer
                if self.as_bytes:
                    bytestream.send(target, sys.stdout.buffer)
                elif not self.discards:
                    lock.release()
                    self._emit(target, writer.kind, writer.summary, temporary=True)
            finally:
                if not self._told:
                    remove([target])
                lock.release()
        provenance.current().outputs += 1

    def pass_on(self, artifact: Artifact) -> None:
        """Hand the input itself down the pipe, still temporary if it was."""
        if self.references and not self.path:
            temporary = let_go(artifact.path)  # before the next one may finish, else neither would delete it
            self._emit(artifact.path, artifact.kind, {}, temporary)

    def _emit(self, path: Path, kind: str, summary: Mapping[str, Any], temporary: bool) -> None:
        if not self.references:
            if _stdout_kind() == "terminal":
                log.info("wrote %s", path)
            return
        with open_artifact(path) as artifact:
            record = {
                "gz": PROTOCOL,
                "kind": "artifact",
                "schema": artifact.schema_name(),
                "path": str(path.absolute()),
                "temp": temporary,
                "host": socket.gethostname(),
                "id": artifact.id,
                "n": len(artifact),
                "summary": dict(summary),
            }
        line = provenance.strict_json(record)
        if len(line.encode()) >= LONGEST_RECORD:
            record["summary"] = {}
            line = provenance.strict_json(record)
        self._told = True
        try:
            _write_line(line)
        except BrokenPipeError:
            log.error("nobody reads the pipe; the artifact is kept: %s", path)
            raise


def emit_error(command: str, code: int, message: str) -> None:
    """Tell the next command that this one failed, if it listens for a reference."""
    if _speaks:
        record = {"gz": PROTOCOL, "error": {"command": command, "exit": code, "message": message[:1000]}}
        with contextlib.suppress(OSError):
            _write_line(provenance.strict_json(record))


def carries_references() -> bool:
    """Does stdout carry reference lines or bytes, so that talk and tables belong on stderr?"""
    return _references


def give_stdout_to_json(wanted: bool) -> None:
    """At the start of a command: with --json stdout carries the result, so that no output prints a reference there."""
    global _json, _speaks, _references
    _json, _speaks, _references = wanted, False, False


_json = False
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


# ---- what a command reads ------------------------------------------------------------------------------------------


def inputs(
    source: Path | str | Sequence[Path | str] = "-",
    kind: str | tuple[str, ...] = (),
    refused: Callable[[Path, GazeError], None] | None = None,
) -> Iterator[Artifact]:
    """The artifacts that a command reads, one after another: named ones, or what comes down the pipe ("-").

    The pipe may carry reference lines, path lines, or the bytes of a tar stream, a .zarr.zip or an .h5 file.
    An input that became an output before the next one is asked for is no parent of the next output.
    kind       refuse artifacts of any other kind
    refused    told of each artifact that cannot be opened, which is then passed over; without it that is an error
    GazeError  NO_INPUT when nothing (or less than all) arrived, or the upstream command failed; DATA for what is no
               artifact; USAGE when the input would be typed by hand
    """
    step = provenance.current()
    for one in [source] if isinstance(source, str | Path) else source:
        for path, piped in _from_stdin() if str(one) == "-" else [(Path(one), False)]:
            try:
                artifact = _opened(path, kind)
                noted = step.add_input(path, artifact.id, artifact.provenance, piped)
            except GazeError as error:
                if refused is None:
                    raise
                refused(path, error)
                continue
            outputs = step.outputs
            yield artifact
            if step.outputs > outputs:
                step.forget(noted)


def _from_stdin() -> Iterator[tuple[Path, bool]]:
    """Paths of artifacts, and whether they are temporary (then they are held until this command ends)."""
    if sys.stdin is None or os.isatty(0):
        raise GazeError("no input: name an artifact, or pipe one in (stdin is a terminal)", USAGE)
    head, stream = bytestream.peek(sys.stdin.buffer)
    what = bytestream.sniff(head)
    if what == "records":
        yield from map(_referenced, _artifact_records(stream))
    elif what == "paths":
        yield from ((Path(os.fsdecode(line)), False) for line in _lines(stream))
    elif what != "empty":
        clean_leftovers()
        target = temp_path("incoming", ".zarr" if what == "tar" else f".{what}")
        hold(target)
        try:
            bytestream.receive(stream, what, target)
            open_artifact(target).close()  # bytes that are no artifact are not kept
        except BaseException:
            remove([target])
            raise
        yield target, True
    else:
        raise GazeError("nothing arrived on stdin: the command before the pipe failed, or wrote nothing", NO_INPUT)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines that are not empty; GazeError for what is no text in lines, before it fills the memory."""
    arrived = False
    while line := stream.readline(2 * LONGEST_RECORD):
        if len(line) == 2 * LONGEST_RECORD or b"\0" in line:
            raise GazeError(f"stdin holds neither an artifact nor lines that name one; it has {line[:16]!r}...", DATA)
        if line.strip():
            arrived = True
            yield line.strip()
    if not arrived:
        raise GazeError("only empty lines arrived on stdin", NO_INPUT)


def _artifact_records(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    arrived = False
    for record in map(_parsed, _lines(stream)):
        if "error" in record:
            error = record["error"] if isinstance(record["error"], dict) else {"message": record["error"]}
            raise GazeError(f"{error.get('command', 'the command before')} failed: {error.get('message')}", NO_INPUT)
        if record.get("kind") == "artifact":
            arrived = True
            yield record
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


def _referenced(record: dict[str, Any]) -> tuple[Path, bool]:
    path, temporary = Path(str(record.get("path", ""))), bool(record.get("temp"))
    if temporary and not is_ours(path):
        raise GazeError(f"{path} is called temporary, but is none of {temp_folder()}; refused, it would be deleted")
    if temporary:
        hold(path)
    if not path.exists():
        away = record.get("host") not in (None, socket.gethostname())
        advice = f"; it is on {record.get('host')}: send bytes with -o - instead" if away else ""
        raise GazeError(f"{path}, named on stdin, does not exist{advice}", NO_INPUT)
    return path, temporary


def _opened(path: Path, kind: str | tuple[str, ...]) -> Artifact:
    artifact = open_artifact(path, kind)
    if artifact.kind in schema.names():
        found = schema.problems(artifact)
        if found:
            artifact.close()
            raise GazeError(f"{path} is no valid {artifact.kind}: " + "; ".join(found))
    return artifact


def scratch(kind: str, blocks: Iterable[Mapping[str, Any]], attrs: Mapping[str, Any]) -> Artifact:
    """A temporary artifact of a command's own, made from blocks of columns; it goes away with the command."""
    target = temp_path(kind)
    hold(target, own=True)
    with Writer(target, kind, attrs) as writer:
        for block in blocks:
            writer.append(**block)
    return open_artifact(target)
