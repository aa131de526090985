"""Export a gaze-following model for other programs: a .pt2 of PyTorch, or ONNX (needs gazecore[onnx]).

The file is loaded again and compared with the model on random inputs; above --tolerance it is not kept. It takes any
number of people, and holds what its inputs must look like: `gz.json` in a .pt2, the metadata entry `gz` in ONNX.

Example: gz export-following --checkpoint gazelle.safetensors -o gazelle.onnx
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run
from gazecore.cli_options import Checkpoint, Overwrite, Seed, Weights


def main(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option("-o", "--out", help="file to write, .pt2 or .onnx")],
    weights: Weights = None,
    tolerance: Annotated[float, typer.Option(min=0, help="largest difference of an output from the model's")] = 1e-3,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    import torch

    from gazecore import checkpoints, cli, export
    from gazecore.artifacts import provenance
    from gazecore.errors import EXISTS, GazeError

    if out.exists() and not overwrite:
        raise GazeError(f"{out} exists; --overwrite replaces it", EXISTS)
    made = ":" in checkpoint and not Path(checkpoint).exists()
    name = checkpoint.partition(":")[0] if made else checkpoints.info(checkpoint)["model"]
    export.check(out, name)
    cli.plan(f"{out}: {name} of {checkpoint}")
    opened = checkpoints.open_model(checkpoint, weights, seed)
    torch.manual_seed(seed)
    step = provenance.current()
    found = export.write(out, opened.model, name, opened.attrs, tolerance, step.entries() if step.keep else ())
    size = out.stat().st_size
    document = {"out": str(out), "model": name, "bytes": size, "largest_difference": found, "tolerance": tolerance}
    rows = [("out", out), ("model", name), ("bytes", size)]
    rows += [(f"largest difference: {output}", f"{value:.1e}") for output, value in found.items()]
    cli.result(document, rows)


if __name__ == "__main__":
    run(main)
