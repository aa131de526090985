"""Bring an author's weight file (.pt, .pth, .safetensors) in as a checkpoint of ours.

Says which keys were renamed, dropped or missing; a missing or mis-shaped key that matters is an error.

Example: gz import-weights gazelle_dinov2_vitl14_inout.pt --as gazelle -o gazelle.safetensors
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run
from gazecore.cli_options import Overwrite


def main(
    file: Annotated[Path, typer.Argument(help="the author's file")],
    as_model: Annotated[str, typer.Option("--as", help="model: vtd, vtd-temporal, gazelle, or a plug-in's")],
    out: Annotated[Path, typer.Option("-o", "--out", help="checkpoint to write, .safetensors")],
    preset: Annotated[str | None, typer.Option(help="the model's preset; without it, read off the shapes")] = None,
    entry: Annotated[str | None, typer.Option(help="entry of the file, such as ema_params")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="fresh weights for what such files never hold")] = False,
    overwrite: Overwrite = False,
) -> None:
    from gazecore import checkpoints, cli
    from gazecore.artifacts import provenance
    from gazecore.errors import EXISTS, GazeError

    if out.exists() and not overwrite:
        raise GazeError(f"{out} exists; --overwrite replaces it", EXISTS)
    if out.suffix != ".safetensors":
        raise cli.usage(f"{out}: checkpoints end in .safetensors")
    cli.plan(f"{out}: a {as_model} checkpoint from {file}")
    model, report = checkpoints.import_weights(file, as_model, preset, entry=entry, partial=partial)
    step = provenance.current()
    step.add_input(file, "", [])
    checkpoints.save(out, model, as_model, steps=step.entries() if step.keep else ())
    document = {
        "out": str(out), "project": report.project, "entry": report.entry, "keys": report.keys,
        "parameters": report.parameters, "renamed": report.renamed, "dropped": report.dropped, "missing": report.missing,
    }  # fmt: skip
    rows = [(key, document[key]) for key in ("out", "project", "entry", "keys", "parameters")]
    rows += [(f"{what}: {len(names)}", ", ".join(list(names)[:4]) + (" ..." if len(names) > 4 else ""))
             for what, names in (("renamed", report.renamed), ("dropped", report.dropped), ("missing", report.missing))]  # fmt: skip
    cli.result(document, rows)


if __name__ == "__main__":
    run(main)
