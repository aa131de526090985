"""Score gaze following: predictions from the pipe, or samples with --checkpoint.

Prints protocol, n, what was skipped and why, means with 95 % intervals; adds each sample's scores to the predictions.
With --every-epoch, the scores of every checkpoint that a run kept, a row per epoch.

Example:
  gz eval-following gf.zarr --split test --checkpoint vtd.safetensors | gz visualize -o report.html
  gz eval-following gf.zarr --split test --checkpoint runs/vtd --every-epoch | gz visualize -o epochs/
"""

from pathlib import Path
from typing import Annotated, Any, Literal

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
    protocol: Annotated[
        Literal["gazelle", "vtd", "tonini", "sharingan"], typer.Option(help="whose AUC; they differ, see README")
    ] = "gazelle",
    metric: Annotated[
        list[str] | None, typer.Option(help="also this metric of a plug-in (gz plugins); repeat it")
    ] = None,
    every_epoch: Annotated[
        bool, typer.Option("--every-epoch", help="--checkpoint is a run that kept its epochs: score them all")
    ] = False,
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
    if every_epoch and checkpoint is None:
        raise usage("--every-epoch: name the folder of the run with --checkpoint")
    if dtype not in ("float16", "float32"):
        raise usage(f"--dtype {dtype}: expected float16 or float32")
    for samples in artifacts.inputs(input, kind=("gaze-predictions", "gaze-samples")):
        if samples.kind == "gaze-samples" and checkpoint is None:
            raise usage(f"{samples.path} holds samples without predictions: give --checkpoint, or predict first")
        rows = selection.rows(samples, split=split, limit=limit)
        written = "epoch-scores" if every_epoch else "gaze-predictions with scores"
        cli.plan(f"{out or 'a reference'}: {written} ({protocol}), {len(rows)} records")
        if every_epoch:
            epochs(samples, rows, output, protocol, str(checkpoint), weights, batch_size, device, seed)
            continue
        from gazecore.eval import baselines, following, looking_at_head, summaries
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
            columns = following.predicted(samples, rows, kept, blocks)
            columns = looking_at_head.labelled(columns, samples, rows, fresh=blocks is not None)
            heads = looking_at_head.Heads(samples)
            for block in cli.progress(columns, len(rows), "evaluate", following.people_in):
                part = slice(scores.n, scores.n + len(block["heatmap"]))
                writer.append(**scores.add(block, sizes_px[part], heads.everybody(rows[part])))
            summary = scores.summary(seed)
            summary["metrics"] |= baselines.score(samples, rows, protocol, seed)
            writer.summary = summaries.headline(summary)
        cli.result(summary, *summaries.table(summary))


def epochs(
    samples: Any, rows: Any, output: Any, protocol: str, run_folder: str, weights: Path | None, batch_size: int,
    device: str, seed: int,
) -> None:  # fmt: skip
    from gazecore import checkpoints, cli
    from gazecore.eval import baselines, epochs

    kept = epochs.kept(Path(run_folder))
    compared = {name: score["mean"] for name, score in baselines.score(samples, rows, protocol, seed).items()}
    attrs = {"auc_protocol": protocol, "samples": samples.id, **compared}
    on, shown = cli.choose_device(device), list[tuple[str, ...]]()
    with output.create("epoch-scores", attrs) as writer:
        for epoch in cli.progress(kept, len(kept), "evaluate epochs"):
            opened = checkpoints.open_model(str(epoch.path), weights)
            found = epochs.score(opened.model, samples, rows, protocol, batch_size, on)
            writer.append(epoch=[epoch.number], step=[opened.step], **found)
            shown.append((str(epoch.number), *(f"{value[0]:.4f}" for value in found.values())))
        writer.summary = {"epochs": len(kept), **compared}
    names = ("epoch", *epochs.SCORES)
    document = [dict(zip(names, map(float, row), strict=True)) for row in shown]
    baseline = [(name, f"{value:.4f}") for name, value in compared.items()]
    cli.result({"epochs": document, **compared}, [*shown, *baseline], names)


if __name__ == "__main__":
    run(main)
