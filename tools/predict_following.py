"""Predict where people look: heat map, gaze point and in-frame score of every sample.

Example: gz predict-following gf.zarr --split test --checkpoint gazelle.safetensors -o predictions.zarr
"""

from gazecore.cli import run
from gazecore.cli_options import (
    BatchSize,
    Checkpoint,
    Device,
    Input,
    Limit,
    MapDtype,
    Out,
    Overwrite,
    Resume,
    Seed,
    Split,
    Weights,
)  # fmt: skip


def main(
    checkpoint: Checkpoint,
    input: Input = "-",
    out: Out = None,
    split: Split = None,
    limit: Limit = None,
    weights: Weights = None,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    dtype: MapDtype = "float16",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.artifacts import copying, selection

    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    for samples in artifacts.inputs(input, kind="gaze-samples"):
        rows = selection.rows(samples, split=split, limit=limit)
        cli.plan(f"{out or 'a reference'}: gaze-predictions, {len(rows)} records, heat maps 64 x 64 {dtype}")
        from gazecore import checkpoints
        from gazecore.eval import following

        opened = checkpoints.open_model(checkpoint, weights, seed)
        attrs = copying.carried_attrs(samples, output.folder) | opened.attrs
        with output.create("gaze-predictions", attrs, copying.copied_specs(samples)) as writer:
            kept = copying.kept_rows(samples, rows) if writer.rows() else copying.copy_tables(samples, writer, rows)
            rest = rows[writer.rows() :]
            blocks = following.predict(opened.model, samples, rest, batch_size, cli.choose_device(device), dtype)
            columns = following.predicted(samples, rest, kept, blocks)
            for block in cli.progress(columns, None, "predict"):
                writer.append(**block)
        cli.say(f"gz predict-following: {len(rows)} samples by {opened.name}")


if __name__ == "__main__":
    run(main)
