"""Delete temporary artifacts and unfinished work that nobody uses.

Example: gz clean --dry-run        gz clean --older-than 0 runs/
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run


def main(
    folders: Annotated[list[Path] | None, typer.Argument(help="also remove unfinished .part work in these")] = None,
    older_than: Annotated[float, typer.Option(min=0, help="hours since the last change")] = 24.0,
) -> None:
    from gazecore import cli
    from gazecore.artifacts import temporary

    found = temporary.leftovers(older_than * 3600)
    for folder in folders or []:
        found += temporary.unfinished(folder, older_than * 3600)
    if cli.current().dry_run:
        cli.plan(*(f"nothing; would delete {path}" for path in found))
    temporary.remove(found)
    if found or cli.current().json:
        cli.result([str(p) for p in found], [(str(p),) for p in found])
    cli.say(f"gz clean: deleted {len(found)} leftovers")


if __name__ == "__main__":
    run(main)
