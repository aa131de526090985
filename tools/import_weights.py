"""Bring an author's weight file (.pt, .pth, .safetensors) in as a checkpoint of ours.

Says which keys were renamed, dropped or missing; a missing or mis-shaped key that matters is an error.

Example: gz import-weights gazelle_dinov2_vitl14_inout.pt --as gazelle -o gazelle.safetensors
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from gazecore.cli import run
from gazecore.cli_options import Overwrite, Weights


def main(
    file: Annotated[Path, typer.Argument(help="the author's file")],
    as_model: Annotated[
        str,
        typer.Option("--as", help="model: vtd, vtd-temporal, gazelle, segformer, ritnet, mask2former, or a plug-in's"),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="checkpoint to write, .safetensors")],
    preset: Annotated[str | None, typer.Option(help="the model's preset; without it, read off the shapes")] = None,
    entry: Annotated[str | None, typer.Option(help="entry of the file, such as ema_params")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="fresh weights for what such files never hold")] = False,
    weights: Weights = None,
    overwrite: Overwrite = False,
) -> None:
    from dataclasses import asdict

    from gazecore import checkpoints, cli
    from gazecore.artifacts import provenance
    from gazecore.errors import EXISTS, GazeError

    if out.exists() and not overwrite:
        raise GazeError(f"{out} exists; --overwrite replaces it", EXISTS)
    if out.suffix != ".safetensors":
        raise cli.usage(f"{out}: checkpoints end in .safetensors")
    cli.plan(f"{out}: a {as_model} checkpoint from {file}")
    model, report = checkpoints.import_weights(file, as_model, preset, entry=entry, partial=partial, weights=weights)
    step = provenance.current()
    step.add_input(file, "", [])
    checkpoints.save(out, model, as_model, steps=step.entries() if step.keep else ())
    document = {"out": str(out), **asdict(report)}
    cli.result(document, [(key, _short(value)) for key, value in document.items()])
    for prefix in getattr(model, "left_out", ()):
        cli.say(f"gz import-weights: {prefix.rstrip('.')} is public: fetched when the model runs, or --weights FILE")


def _short(value: Any) -> str:
    """Names as their number and the first few."""
    if not isinstance(value, dict | list):
        return str(value)
    first = ", ".join([*value][:4])
    return f"{len(value)}" + (f": {first}" if first else "") + (", ..." if len(value) > 4 else "")


if __name__ == "__main__":
    run(main)
