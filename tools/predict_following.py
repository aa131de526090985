"""Predict where people look: heat map, gaze point and in-frame score of every sample.

--checkpoint is a file that gz import-weights wrote, or MODEL:PRESET such as gazelle:tiny for random weights.

Example: gz predict-following gf.zarr --split test --checkpoint gazelle.safetensors -o predictions.zarr
"""

from gazecore.cli import run, usage
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
    if dtype not in ("float16", "float32"):
        raise usage(f"--dtype {dtype}: expected float16 or float32")
    for samples in artifacts.inputs(input, kind="gaze-samples"):
        rows = selection.rows(samples, split=split, limit=limit)
        cli.plan(f"{out or 'a reference'}: gaze-predictions, {len(rows)} records, heat maps 64 x 64 {dtype}")
        from gazecore import checkpoints
        from gazecore.eval import following, looking_at_head

        opened = checkpoints.open_model(checkpoint, weights, seed)
        attrs = copying.carried_attrs(samples, output.folder) | opened.attrs
        with output.create("gaze-predictions", attrs, copying.copied_specs(samples)) as writer:
            kept = copying.kept_rows(samples, rows) if writer.rows() else copying.copy_tables(samples, writer, rows)
            rest = rows[writer.rows() :]
            blocks = following.predict(opened.model, samples, rest, batch_size, cli.choose_device(device), dtype)
            columns = looking_at_head.labelled(following.predicted(samples, rest, kept, blocks), samples, rest)
            for block in cli.progress(columns, len(rest), "predict", following.people_in):
                writer.append(**block)
        cli.say(f"gz predict-following: n = {len(rows)}, by {checkpoint}")


if __name__ == "__main__":
    run(main)
