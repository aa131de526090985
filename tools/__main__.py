"""gz: the toolbox of gaze and attention research."""

import sys
from typing import Annotated

import typer

from gazecore import __version__
from gazecore.cli import EPILOG, LazyGroup

DATA, HEATMAPS, FOLLOWING = "Make data", "Heat maps", "Gaze following"
LOOK, ARTIFACTS, WHOLE = "Look", "Artifacts", "Whole"

# in the order of the work: name -> (module, first line of its help, panel)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "info": ("gazecore.tools.info", "Say what is inside an artifact: sizes, variables, where it comes from.", LOOK),
    "log": ("gazecore.tools.log", "Print the chain of commands that made an artifact.", LOOK),
    "select": (
        "gazecore.tools.select_",
        "Keep some samples: by an expression, a split, a number, in any order.",
        ARTIFACTS,
    ),
    "concat": ("gazecore.tools.concat", "Join artifacts of one kind: all samples after one another.", ARTIFACTS),
    "convert": (
        "gazecore.tools.convert",
        "Change the container (.zarr, .zarr.zip, .h5); heat maps from and to files.",
        ARTIFACTS,
    ),
    "verify": (
        "gazecore.tools.verify",
        "Check an artifact: schema, completeness, ranges, content id, images.",
        ARTIFACTS,
    ),
    "clean": ("gazecore.tools.clean", "Delete temporary artifacts and unfinished work that nobody uses.", ARTIFACTS),
}


class Commands(LazyGroup):
    table = COMMANDS


app = typer.Typer(
    name="gz",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gz {__version__}")
        raise typer.Exit


@app.callback()
def group(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Gaze following, point of gaze, eyes, VQA, anticipation: small commands that work together in pipes."""


def main() -> None:
    """The program `gz`."""
    if sys.argv[1:] == ["--version"]:  # at once, without building the commands
        print(f"gz {__version__}")
        return
    app(prog_name="gz")


if __name__ == "__main__":
    main()
