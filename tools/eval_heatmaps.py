"""Score heat maps against reference maps or fixations: CC, KL, SIM, NSS, AUC and more.

Pairs maps by name (and frame); a prediction of another size is resized to its reference, and the output says so.

Example:
  gz eval-heatmaps predicted.zarr --reference human.zarr
  gz eval-heatmaps maps/ --fixations fixations.csv
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Input, Limit, Out, Overwrite, Seed


def main(
    input: Input = "-",
    out: Out = None,
    reference: Annotated[Path | None, typer.Option(help="heat maps to compare with: artifact, or plain files")] = None,
    fixations: Annotated[Path | None, typer.Option(help="table with header image,x,y in pixels of the maps")] = None,
    coords: Annotated[
        Literal["px", "px1", "norm"],
        typer.Option(help="of fixations: pixels from 0 (px), from 1 (px1), or 0..1 (norm)"),
    ] = "px",
    baseline: Annotated[Path | None, typer.Option(help="heat maps of a baseline, for information gain")] = None,
    metrics: Annotated[str, typer.Option(help="names with commas between; auto: all that the inputs permit")] = "auto",
    strict_size: Annotated[bool, typer.Option("--strict-size", help="refuse to resize predictions")] = False,
    limit: Limit = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.artifacts import copying
    from gazecore.eval import heatmaps, summaries

    output = artifacts.Output(out, overwrite=overwrite, report=True)
    if reference is None and fixations is None:
        raise usage("give --reference (heat maps) or --fixations (a table), or both")
    truth = heatmaps.Truth(
        reference=heatmaps.open_maps(reference) if reference else None,
        fixations=heatmaps.read_fixations(fixations, coords) if fixations else {},
        normalised=coords == "norm",
        baseline=heatmaps.open_maps(baseline) if baseline else None,
    )
    for predictions in heatmaps.sources(input):
        count = min(limit or len(predictions), len(predictions))
        cli.plan(f"{out or 'a reference'}: heatmaps with scores, {count} records")
        ours, theirs = heatmaps.chosen(metrics)
        scores = heatmaps.Scores(truth, ours, theirs, strict_size)
        attrs = copying.carried_attrs(predictions, output.folder)
        with output.create("heatmaps", attrs, scores.specs()) as writer:
            blocks = heatmaps.blocks(predictions, count)
            for block in cli.progress(blocks, count, "evaluate", lambda block: len(block["name"])):
                writer.append(**scores.add(block))
            summary = scores.summary(seed)
            writer.summary = summaries.headline(summary)
        cli.result(summary, *summaries.table(summary))


if __name__ == "__main__":
    run(main)
