"""Score eye segmentation: masks from the pipe, or samples with --checkpoint.

mean_iou is of one confusion matrix over all pixels, macro_mean_iou the mean of each image's own. Contours are compared
at 1 and 2 px; centres, diameters and the pupil-iris ratio of fitted ellipses with exact ones where they are known.
Beside them stand predictors that never look: all background, the mean mask, the mean ratio.

Example: gz eval-eyes eyes.zarr --split test --checkpoint runs/eyes/best.safetensors | gz visualize -o report.html
"""

from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import BatchSize, Device, Input, Limit, OptionalCheckpoint, Out, Overwrite, Seed, Split


def main(
    input: Input = "-",
    out: Out = None,
    checkpoint: OptionalCheckpoint = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="predict first, with the shipped weights")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="store those of all labels too")] = False,
    split: Split = None,
    limit: Limit = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.artifacts import copying, selection
    from gazecore.eval import eye_masks, eyes, summaries

    output = artifacts.Output(out, overwrite=overwrite, report=True)
    if checkpoint and shipped:
        raise usage("--checkpoint or --shipped: one of them")
    for samples in artifacts.inputs(input, kind=("eye-masks", "eye-samples")):
        fresh = bool(checkpoint or shipped)
        if samples.kind == "eye-samples" and not fresh:
            raise usage(f"{samples.path} holds samples without masks: give --checkpoint or --shipped, or segment first")
        eye_masks.check_annotated(samples)
        rows = selection.rows(samples, split=split, limit=limit)
        cli.plan(f"{out or 'a reference'}: eye-masks with scores, {len(rows)} records")
        attrs, blocks = copying.carried_attrs(samples, output.folder), eye_masks.stored(samples, rows)
        if fresh:
            opened = eye_masks.opened(checkpoint, seed)
            attrs |= opened.attrs
            segmenter = eye_masks.Segmenter(opened.model, cli.choose_device(device))
            blocks = eye_masks.predict(segmenter, samples, rows, batch_size)

        scores = eyes.Scores()
        with output.create("eye-masks", attrs, eye_masks.added_specs(samples)) as writer:
            for block in cli.progress(blocks, len(rows), "evaluate", eye_masks.samples_in):
                scored = scores.add(block)
                if fresh and not probabilities:
                    del scored["probability"]
                writer.append(**scored)
            summary = scores.summary(seed)
            summary["metrics"] |= eyes.baselines(samples, rows)
            strata = summary.pop("strata")
            writer.summary = summaries.headline(summary)
        table, header = summaries.table(summary)
        cli.result(summary | {"strata": strata}, [*table, *eyes.strata_table(strata)], header)


if __name__ == "__main__":
    run(main)
