"""The options that commands share, spelt alike everywhere, and those that every command has."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

# ---- for the signatures of commands ---------------------------------------------------------------------------------

Input = Annotated[str, typer.Argument(help="artifact to read; - reads the pipe", show_default="the pipe")]
Inputs = Annotated[list[str], typer.Argument(help="artifacts to read; - reads the pipe", show_default="the pipe")]
Out = Annotated[
    str | None, typer.Option("-o", "--out", help="artifact to write; - writes bytes; without it, down the pipe")
]
OutFile = Annotated[Path, typer.Option("-o", "--out", help="file to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what is there")]
Resume = Annotated[bool, typer.Option("--resume", help="go on with an unfinished --out; keep it when stopped")]
Seed = Annotated[int, typer.Option(help="seed of everything random", min=0)]
Device = Annotated[str, typer.Option(help="auto (cuda > mps > cpu), cpu, cuda, cuda:1, mps")]
BatchSize = Annotated[int, typer.Option(min=1, help="samples at once")]
Workers = Annotated[int, typer.Option(min=0, help="processes that load samples; 0 loads in this one")]
Limit = Annotated[int | None, typer.Option(min=1, help="only the first N samples")]
Split = Annotated[str | None, typer.Option(help="only samples of this split: train, val, test")]
Images = Annotated[
    str,
    typer.Option(
        help="packed: images go into the artifact; pixels: decoded, ten times as large, quicker to train on; paths: it "
        "refers to the files"
    ),
]
OnBad = Annotated[
    Literal["fail", "skip"],
    typer.Option("--on-bad", help="what cannot be used: fail lists all of it; skip leaves it out and counts it"),
]
Checkpoint = Annotated[
    str,
    typer.Option("--checkpoint", help="weights of ours (.safetensors); MODEL:PRESET makes random ones, to try things"),
]
OptionalCheckpoint = Annotated[
    str | None, typer.Option("--checkpoint", help="predict first, with these weights (or MODEL:PRESET, random ones)")
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="local file of the public backbone, where the model has one")
]
MapDtype = Annotated[str, typer.Option("--dtype", help="heat maps are stored as float16 or float32")]


SHELL = "Shell"


# ---- what every command has -----------------------------------------------------------------------------------------


def _read_config(ctx: typer.Context, value: Path | None) -> Path | None:
    """Make the options of a YAML file the defaults of this run: flag > environment > file > preset > default."""
    if value is None or ctx.resilient_parsing:
        return value
    import yaml

    try:
        options = yaml.safe_load(value.read_text("utf-8")) or {}
    except OSError as error:
        raise typer.BadParameter(f"{value} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{value} is no YAML: {error}") from error
    if not isinstance(options, dict):
        raise typer.BadParameter(f"{value} holds {type(options).__name__}; expected `option: value` lines")
    known = {p.name: p for p in ctx.command.params if p.name}
    flags = {flag.lstrip("-").replace("-", "_"): name for name, p in known.items() for flag in p.opts}
    chosen: dict[str, Any] = {}
    for key, option in options.items():
        name = str(key).replace("-", "_")
        name = name if name in known else flags.get(name, name)
        if name not in known:
            close = difflib.get_close_matches(name, [*known, *flags], n=1)
            hint = f"; did you mean {close[0].replace('_', '-')}?" if close else ""
            raise typer.BadParameter(f'{value}: {ctx.info_name} has no option "{key}"{hint}')
        chosen[name] = _right(option, known[name], ctx, f"{value}: {key}")
    ctx.default_map = {**(ctx.default_map or {}), **chosen}
    return value


def _right(option: Any, parameter: Any, ctx: typer.Context, where: str) -> Any:
    """The option itself, if its parameter takes it; an error that names the file otherwise."""
    try:
        if option is not None and not isinstance(option, bool):
            parameter.get_runtime_param().coerce(option, param=parameter, ctx=ctx)
        elif isinstance(option, bool) and not parameter.is_flag:
            raise typer.BadParameter(f"{str(option).lower()} is yes or no; put quotes around a text")
    except typer.BadParameter as error:
        raise typer.BadParameter(f"{where}: {error.message}") from error
    return option


Config = Annotated[
    Path | None,
    typer.Option("--config", is_eager=True, callback=_read_config, help="YAML file of options", rich_help_panel=SHELL),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="print the options as such a file and stop", rich_help_panel=SHELL)
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="check options and inputs, say what would be written, stop", rich_help_panel=SHELL),
]
Json = Annotated[bool, typer.Option("--json", help="the result as one JSON document on stdout", rich_help_panel=SHELL)]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="no talk on stderr", rich_help_panel=SHELL)]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="more talk on stderr", rich_help_panel=SHELL)]
Progress = Annotated[
    Literal["auto", "rich", "plain", "off"], typer.Option(help="a bar, plain lines or nothing", rich_help_panel=SHELL)
]
NoProvenance = Annotated[
    bool,
    typer.Option("--no-provenance", help="leave command and date out of the artifact", rich_help_panel=SHELL),
]
Debug = Annotated[
    bool, typer.Option("--debug", envvar="GZ_DEBUG", help="tracebacks for all errors", rich_help_panel=SHELL)
]
COMMON: dict[str, tuple[Any, Any]] = {
    "config": (Config, None),
    "print_config": (PrintConfig, False),
    "dry_run": (DryRun, False),
    "json": (Json, False),
    "quiet": (Quiet, False),
    "verbose": (Verbose, False),
    "progress": (Progress, "auto"),
    "no_provenance": (NoProvenance, False),
    "debug": (Debug, False),
}
