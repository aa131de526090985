"""The shell of `gz`: commands that load when they are called, one-line errors, exit codes, signals, progress.

Exit codes  0 ok · 1 bug · 2 usage · 65 bad data · 66 no or failed input · 69 missing dependency or device
            73 output exists · 74 input/output · 75 stopped, resumable · 130 141 143 signals
"""

import errno
import importlib
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import typer
from typer.core import TyperGroup

from gazecore.cli_help import WIDTH, PlainCommand, coerce_plainly, complete_plainly, write_options
from gazecore.cli_options import COMMON
from gazecore.errors import IO, STOPPED, UNAVAILABLE, USAGE, GazeError

EPILOG = (
    "Exit codes: 0 ok, 1 bug, 2 usage, 65 bad data, 66 no or failed input, 69 missing dependency or device, "
    "73 output exists, 74 input/output, 75 stopped and resumable, 130/141/143 signals."
)
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """The command that is running and the options that every command has."""

    command: str = "gz"
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: str = "auto"
    dry_run: bool = False
    debug: bool = False
    explicit: frozenset[str] = frozenset()  # options that came from the command line, the environment or a file


_run = Run()


def current() -> Run:
    """The running command."""
    return _run


def say(text: str) -> None:
    """Talk, on stderr, unless -q."""
    if not _run.quiet:
        print(text, file=sys.stderr, flush=True)


def _hear(quiet: bool) -> None:
    """What the library says goes to stderr as `gz: ...`; with -q only what must not be missed."""
    import logging

    library = logging.getLogger("gazecore")
    library.handlers.clear()
    library.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("gz: %(message)s"))
    library.addHandler(handler)
    library.setLevel(logging.ERROR if quiet else logging.INFO)


def plan(*outputs: str) -> None:
    """Where --dry-run stops: inputs are open and valid, nothing was loaded or written; says what would be."""
    if _run.dry_run:
        for line in outputs:
            print(f"would write {line}", file=sys.stderr)
        raise typer.Exit(0)


def result(document: Any, table: Iterable[tuple[Any, ...]] = (), header: tuple[str, ...] = (), title: str = "") -> None:
    """Print a result: one JSON document with --json, a table on a terminal, else plain tab-separated lines.

    When stdout carries a reference for the next command, the table goes to stderr.
    """
    from gazecore.artifacts import pipe, provenance

    if _run.json:
        print(provenance.strict_json(document, indent=2))
        return
    stream = sys.stderr if pipe.carries_references() else sys.stdout
    if stream is sys.stderr and _run.quiet:
        return
    if not stream.isatty():
        for row in [header, *table] if header else table:
            print("\t".join(str(cell) for cell in row), file=stream)
        stream.flush()
        return
    from rich.console import Console
    from rich.table import Table

    drawn = Table(
        *header, title=title or None, title_justify="left", show_header=bool(header), box=None, pad_edge=False
    )
    for row in table:
        drawn.add_row(*(str(cell) for cell in row))
    Console(file=stream).print(drawn)


def counted(n: int, what: str, counts: Mapping[str, int]) -> None:
    """Report what a prep command did: how many records, how many were repaired or dropped and why."""
    result({what: n, **counts}, [(what, n), *counts.items()])


def progress(
    items: Iterable[T], total: int | None, what: str, size: Callable[[T], int] = lambda item: 1
) -> Iterator[T]:
    """Yield the items and show how far we are: a bar on a terminal, else a plain line per 10 % or 30 s.

    total, size  how many there are, and how many an item stands for
    """
    style = _run.progress
    if style == "auto":
        style = "rich" if sys.stderr.isatty() else "plain"
    if _run.quiet or style == "off":
        yield from items
    elif style == "rich":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            for item in items:
                yield item
                bar.advance(task, size(item))
    else:
        yield from _plain_progress(items, total, what, size)


def _plain_progress(items: Iterable[T], total: int | None, what: str, size: Callable[[T], int]) -> Iterator[T]:
    begun = told = time.monotonic()
    count = tenth = 0
    for item in items:
        yield item
        count += size(item)
        now = time.monotonic()
        passed = total is not None and count * 10 // total > tenth
        if now - told > 30 or (passed and now - begun > 2):
            tenth = count * 10 // total if total else 0
            told = now
            print(f"{what}: {count}" + (f" of {total}" if total else "") + f", {now - begun:.0f} s", file=sys.stderr)


def choose_device(name: str) -> Any:
    """The torch device of --device; "auto" takes cuda, then mps, then cpu, and says which."""
    import torch

    from gazecore.artifacts import provenance

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        say(f"device: {name}")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise GazeError(f"device {name} is not available: {str(error).splitlines()[0]}", UNAVAILABLE) from error
    provenance.current().device = str(device)
    return device


# ---- running one command --------------------------------------------------------------------------------------------


def run(main: Callable[..., None]) -> None:
    """Run a tool file as a program: `python tools/x.py`, `python -m gazecore.tools.x`."""
    name = inspect.getfile(main).rsplit("/", 1)[-1].removesuffix(".py").rstrip("_").replace("_", "-")
    command_of(main, name)(prog_name=f"gz {name}")


def command_of(main: Callable[..., None], name: str) -> PlainCommand:
    """The typer command of a tool's `main`, with the options that every command has."""
    documentation = inspect.getdoc(sys.modules[main.__module__]) or ""
    documentation = documentation.replace("\n\nExample:", "\n\n\b\nExample:")  # \b keeps its lines as they are
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    settings = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "GZ_" + name.upper().replace("-", "_")}
    app.command(name, cls=PlainCommand, help=documentation, context_settings=settings)(_wrapped(main, name))
    command = typer.main.get_command(app)
    command.name = name
    for parameter in command.params:  # every option has its variable; naming each would fill the page
        parameter.show_envvar = False  # type: ignore[attr-defined]
    return command  # type: ignore[return-value]


def _wrapped(main: Callable[..., None], name: str) -> Callable[..., None]:
    own = inspect.signature(main).parameters

    def command(ctx: typer.Context, **values: Any) -> None:
        common = {key: values.pop(key) for key in COMMON}
        if common["print_config"]:
            _print_config(ctx, values)
            return
        code = _guarded(lambda: main(**values), ctx, name, values, common)
        if code:
            raise typer.Exit(code)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", keyword, annotation=typer.Context)]
    parameters += [p.replace(kind=keyword) for p in own.values()]
    parameters += [inspect.Parameter(n, keyword, annotation=a, default=d) for n, (a, d) in COMMON.items()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _print_config(ctx: typer.Context, values: dict[str, Any]) -> None:
    import json

    import yaml

    from gazecore.artifacts import provenance

    sources = {"COMMANDLINE": "flag", "ENVIRONMENT": "environment", "DEFAULT_MAP": "file", "DEFAULT": "default"}
    for key, value in values.items():
        plain = json.loads(provenance.strict_json(value))  # a path becomes text
        line = yaml.safe_dump({key.replace("_", "-"): plain}, default_flow_style=True, width=1 << 20)[1:-2]
        source = ctx.get_parameter_source(key)
        print(f"{line}  # {sources.get(source.name if source else '', 'default')}")


def _guarded(
    work: Callable[[], None], ctx: typer.Context, name: str, values: dict[str, Any], common: dict[str, Any]
) -> int:
    """Run a command's work; every way it can end becomes an exit code and at most a few lines on stderr."""
    global _run
    _open_closed_streams()
    from gazecore.artifacts import pipe, provenance, temporary

    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup has it ignored
        signal.signal(signal.SIGHUP, _terminate)
    sources = {key: ctx.get_parameter_source(key) for key in values}
    explicit = frozenset(key for key, source in sources.items() if source and source.name != "DEFAULT")
    shown = {k: v for k, v in common.items() if k in Run.__dataclass_fields__}
    _run = Run(command=name, explicit=explicit, **shown)
    _hear(_run.quiet)
    argv = ["gz", name, *(sys.argv[2:] if ctx.parent else sys.argv[1:])]
    pipe.give_stdout_to_json(_run.json)
    provenance.begin(provenance.Step(argv, values, values.get("seed"), keep=not common["no_provenance"]))
    code, message = 0, ""
    try:
        temporary.clean_leftovers()
        work()
        sys.stdout.flush()
    except GazeError as error:
        code, message = error.code, str(error)
        if _run.debug:
            raise
    except typer.Exit as error:
        code = error.exit_code
    except KeyboardInterrupt:
        code, message = 130, "interrupted"
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        message = "terminated" if code in (129, 143) else str(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 141
    except OSError as error:
        if _run.debug or not isinstance(error.errno, int):
            raise
        code, message = IO, _io_message(error)
    finally:
        failed = sys.exc_info()[0] is not None or code != 0
        pipe.settle(success=not failed)
        if sys.exc_info()[0] is not None:
            pipe.emit_error(f"gz {name}", 1, "a bug; its traceback is above")
    if code in (129, 130, 143) and values.get("resume"):
        code, message = STOPPED, f"{message}; the same command line with --resume goes on"
    if message:
        print(f"gz {name}: {message}", file=sys.stderr, flush=True)
    if code:
        pipe.emit_error(f"gz {name}", code, message or f"exit {code}")
    return code


def _terminate(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _open_closed_streams() -> None:
    """A closed stdin, stdout or stderr becomes /dev/null: else the next file to be opened would take its place."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            setattr(sys, name, os.fdopen(descriptor, "r" if descriptor == 0 else "w"))


def _io_message(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}no space left on the disk; free some, or set GZ_TMPDIR to a larger one for what goes down pipes"
    return f"{where}{error.strerror or error}"


# ---- the group of all commands --------------------------------------------------------------------------------------


class _Stub(PlainCommand):
    """A command that is known by name and help only: for lists, suggestions and completion."""

    def __init__(self, name: str, text: str, panel: str):
        super().__init__(name=name, help=text, short_help=text, callback=None, params=[], rich_help_panel=panel)


class LazyGroup(TyperGroup):
    """Loads a command's module only when that command runs; plug-ins come from the entry points `gz.commands`.

    table  name -> (module, help, panel); set by a subclass
    """

    table: dict[str, tuple[str, str, str]] = {}  # noqa: RUF012  one table per program

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.rich_markup_mode = None
        self.context_settings.setdefault("max_content_width", WIDTH)
        self._plugins: dict[str, Any] | None = None
        self._dispatching = False
        for name, (_, text, panel) in self.table.items():
            self.commands[name] = _Stub(name, text, panel)

    def plugins(self) -> dict[str, Any]:
        """Entry points of other packages by command name; the built-in commands win."""
        if self._plugins is None:
            from importlib.metadata import entry_points

            self._plugins = {}
            for point in entry_points(group="gz.commands"):
                if point.name in self.table:
                    print(f"gz: plug-in {point.value} is hidden by the command {point.name}", file=sys.stderr)
                    continue
                self._plugins[point.name] = point
                text = f"from {point.dist.name}" if point.dist else "plug-in"
                self.commands.setdefault(point.name, _Stub(point.name, text, "Plug-ins"))
        return self._plugins

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        complete_plainly()
        return super().shell_complete(ctx, incomplete)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        coerce_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_options(self, ctx, formatter)
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.commands[name]
            panels.setdefault(getattr(command, "rich_help_panel", None) or "Commands", []).append(
                (name, command.help or "")
            )
        longest = max(map(len, self.commands))
        for heading, rows in panels.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(longest), text) for name, text in rows])

    def list_commands(self, ctx: Any) -> list[str]:
        self.plugins()
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.table:
            self.plugins()
        if cmd_name not in self.commands or not self._dispatching:
            return self.commands.get(cmd_name)
        return self._load(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self._dispatching = True
        try:
            return super().resolve_command(ctx, args)
        finally:
            self._dispatching = False

    def _load(self, name: str) -> Any:
        if name in self.table:
            return command_of(importlib.import_module(self.table[name][0]).main, name)
        try:
            loaded = self.plugins()[name].load()
            if isinstance(loaded, typer.Typer):
                loaded = typer.main.get_command(loaded)
                loaded.name = name
                return loaded
            return command_of(loaded, name)
        except (Exception, SystemExit) as error:  # whatever a stranger's module does must not look like our bug
            print(f"gz: plug-in {name} cannot be loaded: {error!r}", file=sys.stderr)
            raise typer.Exit(UNAVAILABLE) from error


def usage(message: str) -> GazeError:
    """An error of the command line."""
    return GazeError(message, USAGE)
