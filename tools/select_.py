"""Keep some samples: by an expression, a split, a number, in any order.

Example: gz select predictions.zarr --where 'auc < 0.8 and in_frame == 1' --limit 20 | gz visualize -o worst/
"""

from typing import Annotated

import typer

from gazecore.cli import run
from gazecore.cli_options import Input, Limit, Out, Overwrite, Seed, Split


def main(
    input: Input = "-",
    out: Out = None,
    where: Annotated[str | None, typer.Option(help="expression over the variables, e.g. 'in_frame == 1'")] = None,
    split: Split = None,
    limit: Limit = None,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="in random order (before --limit), from --seed")] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.artifacts import copying, selection

    output = artifacts.Output(out, overwrite=overwrite)
    for artifact in artifacts.inputs(input):
        rows = selection.rows(artifact, where=where, split=split, limit=limit, shuffle=shuffle, seed=seed)
        cli.plan(f"{out or 'a reference'}: {artifact.kind}, {len(rows)} of {len(artifact)} records")
        attrs = copying.carried_attrs(artifact, output.folder)
        with output.create(artifact.kind, attrs, copying.copied_specs(artifact)) as writer:
            copying.copy_rows(artifact, writer, rows)
        cli.say(f"gz select: kept {len(rows)} of {len(artifact)} records")


if __name__ == "__main__":
    run(main)
