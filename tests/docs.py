"""Write the generated documents, or with --check say which of them are out of date.

README.md            the table of commands, between its two marks
tools/README.md      the command reference, from the commands' own parameters
schemas/README.md    the artifact reference, from the schemas
"""

import inspect
import sys
from importlib import import_module
from pathlib import Path

import typer
from gazecore.tools.__main__ import COMMANDS

from gazecore.artifacts import schema
from gazecore.cli import command_of
from gazecore.cli_options import COMMON

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- commands: written by `just docs` -->", "<!-- /commands -->"


def command_table() -> str:
    """Panel, command and first help line of every command, in the order of the work."""
    rows = [f"| {panel} | `gz {name}` | {text} |" for name, (_, text, panel) in COMMANDS.items()]
    return "\n".join(["| | command | what it does |", "|---|---|---|", *rows])


def readme() -> str:
    text = (ROOT / "README.md").read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{command_table()}\n{END}{after}"


def command_reference() -> str:
    """Every command with its own options; those that all share stand once, at the end."""
    parts = ["# Commands\n\nGenerated from the commands by `just docs`. `gz COMMAND --help` says the same.\n"]
    for name, (module, _, _) in COMMANDS.items():
        tool = import_module(module)
        command = command_of(tool.main, name)
        parts.append(f"## gz {name}\n\n{inspect.getdoc(tool)}\n\n{_options(command, own=True)}\n")
    any_command = command_of(import_module(next(iter(COMMANDS.values()))[0]).main, "any")
    parts.append(f"## Options of every command\n\n{_options(any_command, own=False)}\n")
    return "\n".join(parts)


def _options(command: typer.core.TyperCommand, own: bool) -> str:
    rows = []
    for parameter in command.params:
        if (parameter.name in COMMON) == own or parameter.name == "help":
            continue
        names = ", ".join(f"`{option}`" for option in parameter.opts)
        if isinstance(parameter, typer.core.TyperArgument):
            names = f"`{(parameter.name or '').upper()}`"
        default = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
        shown = "" if default in (None, False, True, ()) or callable(default) else f"{default}"
        needed = "required" if parameter.required else shown
        rows.append(f"| {names} | {parameter.help} | {needed} |")
    return "\n".join(["| option | meaning | default |", "|---|---|---|", *rows]) if rows else "No options of its own."


def schema_reference() -> str:
    """Every artifact kind with its variables and attributes."""
    parts = [
        "# Artifact kinds\n\nGenerated from the JSON documents beside this file by `just docs`. One artifact is one "
        "group of arrays with named dimensions: a zarr v3 folder, a `.zarr.zip` or an `.h5` file, opened by "
        "`gazecore.artifacts.open`, `xarray.open_zarr` or `xarray.open_dataset(engine=\"h5netcdf\")`. Missing is NaN. "
        "A ragged variable's rows lie one after another along `..._row` or `..._byte`; the variable named under "
        "*ragged by* counts them.\n"
    ]  # fmt: skip
    for name in schema.names():
        kind = schema.load(name)
        rows = []
        for v in kind.variables.values():
            notes = [f"ragged by `{v.ragged_by}`"] if v.ragged_by else []
            notes += [f"row of `{v.indexes}`"] if v.indexes else []
            bold = "**" if v.required else ""
            what = "; ".join([v.help, *notes])
            rows.append(
                f"| {bold}`{v.name}`{bold} | {', '.join(v.dims)} | {', '.join(v.dtypes)} | {v.units} | {what} |"
            )
        attrs = [f"- `{key}`: {text}" for key, text in kind.attrs.items()]
        one_of = [f"At least one of {', '.join(f'`{n}`' for n in group)}." for group in kind.any_of]
        makers = ", ".join(f"`gz {command}`" for command in kind.made_by)
        head = f"## {name} {kind.version}\n\n{kind.title}. Made by {makers}. Required variables are bold."
        table = ["| variable | dims | dtype | units | what it is |", "|---|---|---|---|---|", *rows]
        parts.append("\n\n".join([head, *one_of, "\n".join(table), *(["\n".join(attrs)] if attrs else [])]) + "\n")
    return "\n".join(parts)


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
