"""Train eye segmentation on prepared samples: SegFormer, RITnet, Mask2Former; killed at any moment, --resume goes on.

The run's folder gets config.yaml, metrics.ndjson, last/ and best.safetensors, a checkpoint for segment-eyes and pir.
Losses: ce-dice (Dice per image and class, background counts), focal (gamma 2), tversky (alpha 0.3 of what is predicted
too much, beta 0.7 of what is missed), boundary (ce-dice and a growing boundary loss), ritnet, own (Mask2Former's).
Options go before the preset; --set changes what has no option: --set weight_decay=0.1 --set model.long_side=256.

Example: gz train-eyes eyes.zarr --preset segformer-tiny -o runs/eyes
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from gazecore.cli import run as run_command
from gazecore.cli import usage
from gazecore.cli_options import Device, Input, Limit, Overwrite, Resume, Seed, Split, Workers

PRESETS = "segformer-{tiny,tiny-quick,b0}, eyes (the shipped weights), ritnet, ritnet-16ch, mask2former, ..."
FREE = ("input", "epochs", "steps", "save_every", "log", "workers", "device")  # may differ when a run goes on


def main(
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the run")],
    input: Input = "-",
    preset: Annotated[str, typer.Option(help=PRESETS)] = "segformer-tiny",
    model: Annotated[str | None, typer.Option(help="MODEL or MODEL:PRESET instead of the preset's")] = None,
    split: Split = None,
    limit: Limit = None,
    validate_on: Annotated[
        str | None, typer.Option(help="a split, an artifact, or 10%: so much is held out; without it, val if there is")
    ] = None,
    init: Annotated[Path | None, typer.Option(help="checkpoint whose weights are the start")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="passes over the samples")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="end after so many updates")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="learning rate")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="images per update, of all processes")] = None,
    loss: Annotated[
        Literal["ce-dice", "focal", "tversky", "boundary", "ritnet", "own"] | None, typer.Option(help="see above")
    ] = None,
    augment: Annotated[Literal["full", "flip", "none"] | None, typer.Option(help="how images are varied")] = None,
    precision: Annotated[Literal["no", "bf16", "fp16"] | None, typer.Option(help="mixed precision")] = None,
    clip: Annotated[float | None, typer.Option(min=0, help="largest norm of the gradient")] = None,
    ema: Annotated[float | None, typer.Option(min=0, max=1, help="decay of averaged weights")] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the recipe, or model.NAME=VALUE")
    ] = None,
    save_every: Annotated[int, typer.Option(min=1, help="updates between saves of last/")] = 500,
    log: Annotated[str, typer.Option(help="trackers besides metrics.ndjson: tensorboard,wandb")] = "",
    workers: Workers = 0,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    given = {key: value for key, value in locals().items() if key not in ("out", "overwrite", "resume")}
    from dataclasses import asdict

    from gazecore import artifacts, cli
    from gazecore.artifacts import selection
    from gazecore.errors import STOPPED, GazeError
    from gazecore.train import folder, recipes
    from gazecore.train.eyes_recipes import RECIPES

    first, several = os.environ.get("RANK", "0") == "0", os.environ.get("WORLD_SIZE", "1") != "1"
    if first:
        folder.check(out, resume, overwrite)
    if several and input == "-":
        raise usage("several processes cannot read one pipe: name the artifact")
    recipe = recipes.chosen(RECIPES, preset, given, set or [])
    (samples,) = artifacts.inputs(input, kind="eye-samples")
    rows = selection.rows(samples, split=split or recipes.split_of(samples, "train"), limit=limit)
    held = recipes.validation(samples, validate_on)
    cli.plan(f"{out}: {recipe.model}, {len(rows)} samples, at most {recipe.epochs} epochs", *recipe.lines())

    if first:
        options = {key: getattr(recipe, key, value) for key, value in given.items()}
        folder.claim(out, options, FREE, resume, overwrite)
    from gazecore.train.eyes import train
    from gazecore.train.run import Run, Settings

    best_by = recipe.best_by
    if held is None and not best_by.endswith("loss"):
        best_by = "loss"
        cli.say(f"nobody to validate on ({samples.path} has no split val): best means the lowest training loss")
    shown = "off" if cli.current().quiet else cli.current().progress
    settings = Settings(
        device=device, precision=recipe.precision, clip=recipe.clip, ema=recipe.ema, seed=seed, save_every=save_every,
        best_by=best_by, trackers=tuple(filter(None, log.split(","))), progress=shown,
    )  # fmt: skip
    run = Run(out, settings, samples.id, {"recipe": asdict(recipe)})
    if first:
        cli.say(f"device: {run.device}" + (f", {run.world} processes" if several else ""))
    try:
        told = train(samples, rows, recipe, run, validate_on=held, init=init, workers=workers)
    except GazeError as error:
        if error.code == STOPPED and not first:  # all processes stop together; one says so
            raise typer.Exit(STOPPED) from error
        raise
    if first:
        told = {"out": str(out), **told, "expected": dict(recipe.expected)}
        cli.result(told, [(key, value) for key, value in told.items() if value])


if __name__ == "__main__":
    run_command(main)
