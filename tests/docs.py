"""Write the generated documents, or with --check say which of them are out of date.

README.md            the table of commands, between its two marks
tools/README.md      the command reference, from the commands' own parameters
schemas/README.md    the artifact reference, from the schemas
"""

import inspect
import re
import sys
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from gazecore.tools.__main__ import COMMANDS
from typer.core import TyperArgument, TyperCommand

from gazecore.artifacts import schema
from gazecore.cli import EPILOG, command_of
from gazecore.cli_options import COMMON

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- commands: written by `just docs` -->", "<!-- /commands -->"
KINDS = {  # in the order of the tasks
    "Gaze following": ("gaze-samples", "gaze-predictions"),
    "Heat maps": ("heatmaps",),
    "Point of gaze": ("pog-samples", "pog-predictions"),
    "Eyes": ("eye-samples", "eye-masks", "pupil-trace", "plr"),
    "Visual question answering": ("vqa-samples", "vqa-predictions"),
    "Anticipation": ("action-clips", "action-predictions"),
}


def command(name: str) -> TyperCommand:
    """A command as it runs, with all of its options."""
    return command_of(import_module(COMMANDS[name][0]).main, name)


def examples(documentation: str) -> tuple[str, list[str]]:
    """The text of a command's docstring, and the shell lines behind its `Example:`."""
    text, _, shown = documentation.partition("\n\nExample:")
    return text, [line.strip() for line in re.split(r"\n| {4,}", shown) if line.strip()]


# ---- README.md ------------------------------------------------------------------------------------------------------


def readme() -> str:
    """README.md with the table of commands as it should be."""
    text = (ROOT / "README.md").read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{_command_table()}\n{END}{after}"


def _command_table() -> str:
    rows = ["| | command | what it does |", "|---|---|---|"]
    for panel, names in groupby(COMMANDS, key=lambda name: COMMANDS[name][2]):
        for place, name in enumerate(names):
            link = f"[`gz {name}`](tools/README.md#gz-{name})"
            rows.append(f"| {panel if place == 0 else ''} | {link} | {COMMANDS[name][1]} |")
    return "\n".join(rows)


# ---- tools/README.md ------------------------------------------------------------------------------------------------


def command_reference() -> str:
    """Every command with its own options; those that all share stand once, at the end."""
    panels = {panel: list(names) for panel, names in groupby(COMMANDS, key=lambda name: COMMANDS[name][2])}
    parts = [
        "# Commands",
        "Written from the commands by `just docs`; `gz COMMAND --help` says the same. What all commands share stands "
        "[at the end](#options-of-every-command).",
        "\n".join(
            f"- {panel}: " + ", ".join(f"[{name}](#gz-{name})" for name in names) for panel, names in panels.items()
        ),
    ]
    for panel, names in panels.items():
        parts.append(f"## {panel}")
        for name in names:
            text, lines = examples(inspect.getdoc(import_module(COMMANDS[name][0])) or "")
            parts += [f"### gz {name}", text]
            parts += ["```sh\n" + "\n".join(lines) + "\n```"] if lines else []
            parts += _options([p for p in command(name).params if p.name not in COMMON])
    shared = next(iter(COMMANDS))
    parts += ["## Options of every command", *_options([p for p in command(shared).params if p.name in COMMON])]
    parts.append(
        "Every option, of every command, can also come from a variable, `GZ_COMMAND_OPTION` (`GZ_EVAL_FOLLOWING_LIMIT` "
        "for `gz eval-following --limit`), or from the YAML file of `--config`. The command line wins over the "
        "variable, the variable over the file."
    )
    parts.append(EPILOG)
    return "\n\n".join(parts) + "\n"


def _options(parameters: list[Any]) -> list[str]:
    """Arguments, then options, as a table; nothing where there are none."""
    rows = []
    for parameter in sorted(parameters, key=lambda p: not isinstance(p, TyperArgument)):
        if parameter.name == "help":
            continue
        positional = isinstance(parameter, TyperArgument)
        names = f"`{parameter.name.upper()}`" if positional else ", ".join(f"`{option}`" for option in parameter.opts)
        rows.append(f"| {names} | {_cell(_meaning(parameter))} | {_cell(_default(parameter))} |")
    return ["\n".join(["| | meaning | default |", "|---|---|---|", *rows])] if rows else []


def _meaning(parameter: Any) -> str:
    """The help of a parameter, and the values it takes where they are few."""
    choices = _choices(parameter.type_descriptor.annotation)
    named = [choice for choice in choices if not re.search(rf"\b{re.escape(choice)}\b", parameter.help)]
    return f"{parameter.help} ({', '.join(choices)})" if named else parameter.help


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    given = parameter.default
    return "" if given is None or given is False or given == () or callable(given) else str(given)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# ---- schemas/README.md ----------------------------------------------------------------------------------------------


def schema_reference() -> str:
    """Every artifact kind with its variables and attributes."""
    tasks = {task: [kind for kind in kinds if kind in schema.names()] for task, kinds in KINDS.items()}
    rest = [kind for kind in schema.names() if not any(kind in kinds for kinds in KINDS.values())]
    tasks |= {"More": rest} if rest else {}
    parts = [
        "# Artifact kinds",
        "Written by `just docs` from the JSON documents beside this file.",
        "\n".join(f"- {task}: " + ", ".join(f"[{kind}](#{kind})" for kind in kinds) for task, kinds in tasks.items()),
        "An artifact is one group of arrays whose dimensions have names: a zarr v3 folder (`.zarr`), or the same in "
        "one file (`.zarr.zip`, `.h5`). `gazecore.artifacts.open`, `xarray.open_zarr` and "
        '`xarray.open_dataset(..., engine="h5netcdf")` open it; `gz info` says what is in one, `gz verify` checks it.',
        "- Missing is NaN, never -1. Points are x, y with the origin at the top left; boxes are x_min, y_min, x_max, "
        "y_max. A unit of 1 is a pure number; positions without a unit are normalised to 0..1.\n"
        "- Variables in bold are always there. A *row* number below says which table it points into.\n"
        "- Items of different length (encoded images, boxes) lie one after another in one long array along a dimension "
        "`..._row` or `..._byte`. A second variable counts them: item i begins where the counts before it add up to.\n"
        "- Variables of your own pass through all commands. A reader takes any minor version of its major version.",
    ]
    for task, kinds in tasks.items():
        parts.append(f"## {task}")
        for kind in kinds:
            parts += _kind(schema.load(kind))
    return "\n\n".join(parts) + "\n"


def _kind(kind: schema.Schema) -> list[str]:
    makers = ", ".join(f"[`gz {name}`](../tools/README.md#gz-{name})" for name in kind.made_by if name in COMMANDS)
    made_by = f" Made by {makers}." if makers else ""
    rows = ["| variable | dimensions | dtype | unit | what it is |", "|---|---|---|---|---|"]
    for v in kind.variables.values():
        name = f"**`{v.name}`**" if v.required else f"`{v.name}`"
        sizes = [f"{dim} {kind.dims[dim]}" if kind.dims.get(dim) else dim for dim in v.dims]
        bounds = _bounds(v)
        notes = [v.help, *([bounds] if bounds else [])]
        notes += [f"counted by `{v.ragged_by}`"] if v.ragged_by else []
        notes += [f"row of *{v.indexes}*"] if v.indexes else []
        unit = "" if v.dtypes == ("string",) else v.units
        rows.append(f"| {name} | {', '.join(sizes)} | {' or '.join(v.dtypes)} | {unit} | {_cell('; '.join(notes))} |")
    parts = [f"### {kind.name}", f"{kind.title}. Version {kind.version}.{made_by}"]
    parts += [f"At least one of {', '.join(f'`{name}`' for name in group)} is there." for group in kind.any_of]
    parts.append("\n".join(rows))
    if kind.attrs:
        parts.append("Attributes: " + "; ".join(f"`{name}`, {text}" for name, text in kind.attrs.items()) + ".")
    return parts


def _bounds(v: schema.VariableSpec) -> str:
    if v.minimum is not None and v.maximum is not None:
        return f"{v.minimum:g}..{v.maximum:g}"
    if v.minimum is not None:
        return f"at least {v.minimum:g}"
    return "" if v.maximum is None else f"at most {v.maximum:g}"


def main() -> int:
    documents = {"README.md": readme(), "tools/README.md": command_reference(), "schemas/README.md": schema_reference()}
    stale = [
        name
        for name, text in documents.items()
        if not (ROOT / name).exists() or (ROOT / name).read_text("utf-8") != text
    ]
    if "--check" in sys.argv:
        for name in stale:
            print(f"{name} is out of date; `just docs` writes it")
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(documents[name], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
