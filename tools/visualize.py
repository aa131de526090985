"""Draw an artifact: pictures into a folder, one self-contained HTML report, or a preview in the terminal.

In the middle of a pipe it passes its input on.

Example: gz visualize predictions.zarr -o report.html        gz select predictions.zarr --where 'auc < 0.8' | gz visualize -o worst/
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Input, Limit, Overwrite

MOST_IN_TERMINAL = 4


def main(
    input: Input = "-",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="folder of PNG, or report.html; else the terminal")
    ] = None,
    limit: Limit = None,
    most: Annotated[int, typer.Option("--max", min=1, help="samples shown in a report")] = 200,
    by: Annotated[str, typer.Option(help="score by which a report chooses when it cannot show all")] = "",
    width: Annotated[int | None, typer.Option(min=10, help="columns of a preview in the terminal")] = None,
    overwrite: Overwrite = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.visualize import items, report

    output = artifacts.Output(shows=True)
    if out is None and not sys.stdout.isatty():
        raise usage("stdout is no terminal: name a folder or a report.html with -o")
    for number, artifact in enumerate(artifacts.inputs(input)):
        items.check(artifact)
        target = items.target(out, number, overwrite) if out else None
        cli.plan(f"{out or 'the terminal'}: {len(artifact)} {artifact.kind}")
        if target is None:
            items.show(artifact, limit or MOST_IN_TERMINAL, width)
        elif target.suffix == ".html":
            written = report.write(
                target, f"{artifact.kind}: {artifact.path.name}", items.report_items(artifact, limit),
                items.summary(artifact), items.steps(artifact), most=most, chosen_by=by,
            )  # fmt: skip
            cli.say(f"gz visualize: {target} shows {written.shown} of {written.of} samples, {written.size:,} bytes")
        else:
            count = items.save(artifact, target, limit)
            cli.say(f"gz visualize: {count} pictures in {target}")
        output.pass_on(artifact)


if __name__ == "__main__":
    run(main)
