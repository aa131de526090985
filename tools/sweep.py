"""Run a command over a grid of options; cells that fail are recorded and the others go on.

The grid's table is printed and drawn to sweep.png; the same line again goes on where it stopped.

Example: gz sweep --grid batch-size=4,8,16 --grid chunk=2,3,4 -o runs/grid -- train-following oa.zarr --epochs 3
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run


def main(
    command: Annotated[list[str], typer.Argument(help="after --: the command and its options, without -o")],
    grid: Annotated[list[str], typer.Option(help="option=value,value; repeat it for more axes")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the grid; each cell is a run folder in it")],
    score: Annotated[str, typer.Option(help="number of the runs' logs that the table shows")] = "auc",
) -> None:
    from dataclasses import asdict

    from gazecore import cli
    from gazecore.train import sweep

    planned = sweep.cells(grid)
    cli.plan(*(f"{out / cell.name} by: gz {' '.join(command)}" for cell in planned))
    out.mkdir(parents=True, exist_ok=True)
    found = []
    for cell in sweep.run(command, planned, out):
        cli.say(f"gz sweep: {cell.name}: {cell.state}, {cell.seconds:.0f} s {cell.message}".rstrip())
        found.append(cell)
    sweep.draw(found, score, out / "sweep.png")
    cli.result([asdict(cell) for cell in found], *sweep.table(found, score))


if __name__ == "__main__":
    run(main)
