"""Score gaze following: predictions from the pipe, or samples with --checkpoint.

Prints protocol, n, what was skipped and why, means with 95 % intervals; adds each sample's scores to the predictions.

Example: gz eval-following gf.zarr --split test --checkpoint vtd.safetensors | gz visualize -o report.html
"""

from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import (
    BatchSize,
    Device,
    Input,
    Limit,
    MapDtype,
    OptionalCheckpoint,
    Out,
    Overwrite,
    Seed,
    Split,
    Weights,
)  # fmt: skip


def main(
    input: Input = "-",
    out: Out = None,
    checkpoint: OptionalCheckpoint = None,
    split: Split = None,
    limit: Limit = None,
    protocol: Annotated[str, typer.Option(help="which AUC: gazelle, vtd, tonini or sharingan")] = "gazelle",
    metric: Annotated[
        list[str] | None, typer.Option(help="also this metric of a plug-in (gz plugins); repeat it")
    ] = None,
    weights: Weights = None,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    dtype: MapDtype = "float16",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.artifacts import copying, selection

    output = artifacts.Output(out, overwrite=overwrite, report=True)
    for samples in artifacts.inputs(input, kind=("gaze-predictions", "gaze-samples")):
        if samples.kind == "gaze-samples" and checkpoint is None:
            raise usage(f"{samples.path} holds samples without predictions: give --checkpoint, or predict first")
        rows = selection.rows(samples, split=split, limit=limit)
        cli.plan(f"{out or 'a reference'}: gaze-predictions with scores ({protocol}), {len(rows)} records")
        from gazecore.eval import following, summaries
        from gazecore.metrics import plugins

        scores = following.Scores(protocol, plugins.load(metric or ()))
        attrs = copying.carried_attrs(samples, output.folder) | {"auc_protocol": protocol}
        blocks = None
        if checkpoint is not None:
            from gazecore import checkpoints

            opened = checkpoints.open_model(checkpoint, weights, seed)
            attrs |= opened.attrs
            blocks = following.predict(opened.model, samples, rows, batch_size, cli.choose_device(device), dtype)
        sizes_px = samples["image_size_px"].whole()[samples["image_index"].whole()[rows]]
        with output.create("gaze-predictions", attrs, [*copying.copied_specs(samples), *scores.specs()]) as writer:
            kept = copying.copy_tables(samples, writer, rows)
            for block in cli.progress(following.predicted(samples, rows, kept, blocks), None, "evaluate"):
                writer.append(**scores.add(block, sizes_px[scores.n : scores.n + len(block["heatmap"])]))
            annotators = 2 if samples["gaze_targets"].shape[1] > 1 else 1
            summary = scores.summary(following.heads_in_scene(samples, rows), annotators, seed)
            writer.summary = summaries.headline(summary)
        cli.result(summary, *summaries.table(summary))


if __name__ == "__main__":
    run(main)
