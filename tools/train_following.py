"""Train gaze following on prepared samples: VTD, VTD with memory, Gaze-LLE; killed at any moment, --resume goes on.

The run's folder gets config.yaml, metrics.ndjson, last/ and best.safetensors, a checkpoint for all other commands.
Options go before the preset; --set changes what has no option: --set weight_decay=0.01 --set model.depth=2. Several
processes share every batch and learn the same: torchrun --nproc-per-node 2 -m gazecore.tools.train_following ...

Example: gz train-following gf.zarr --preset vtd-gazefollow -o runs/vtd
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from gazecore.cli import run as run_command
from gazecore.cli import usage
from gazecore.cli_options import Device, Input, Limit, Overwrite, Resume, Seed, Split, Weights, Workers

PRESETS = "tiny, {vtd,vtd-temporal}-tiny; vtd-{gazefollow,videoattentiontarget,objectattention}, gazelle-..."
# may differ when a run goes on
FREE = ("input", "epochs", "steps", "keep_epochs", "save_every", "log", "workers", "device")


def main(
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the run")],
    input: Input = "-",
    preset: Annotated[str, typer.Option(help=PRESETS)] = "tiny",
    model: Annotated[str | None, typer.Option(help="MODEL or MODEL:PRESET instead of the preset's")] = None,
    split: Split = None,
    limit: Limit = None,
    validate_on: Annotated[
        str | None, typer.Option(help="a split, an artifact, or 10%: so much is held out; without it, val if there is")
    ] = None,
    init: Annotated[Path | None, typer.Option(help="checkpoint whose weights are the start")] = None,
    weights: Weights = None,
    pretrained: Annotated[bool, typer.Option(help="a public backbone starts from its published weights")] = True,
    cache_features: Annotated[
        Path | None,
        typer.Option(help="keep the features of a frozen backbone here (scenes are not augmented): a CPU will do"),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="passes over the samples")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="end after so many updates")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="learning rate")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="people (tracks) per update, of all processes")] = None,
    accumulate: Annotated[int | None, typer.Option(min=1, help="pieces a batch is computed in: less memory")] = None,
    precision: Annotated[Literal["no", "bf16", "fp16"] | None, typer.Option(help="mixed precision")] = None,
    clip: Annotated[float | None, typer.Option(min=0, help="largest norm of the gradient")] = None,
    ema: Annotated[float | None, typer.Option(min=0, max=1, help="decay of averaged weights")] = None,
    freeze: Annotated[Literal["trunk", "nothing"] | None, typer.Option(help="what is not trained")] = None,
    chunk: Annotated[int | None, typer.Option(min=1, help="frames of each track per update")] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the recipe, or model.NAME=VALUE")
    ] = None,
    keep_epochs: Annotated[
        bool, typer.Option("--keep-epochs", help="keep every epoch's checkpoint, for gz eval-following --every-epoch")
    ] = False,
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
    from gazecore.train import folder, following_recipes, recipes

    first, several = os.environ.get("RANK", "0") == "0", os.environ.get("WORLD_SIZE", "1") != "1"
    if first:
        folder.check(out, resume, overwrite)
    if several and input == "-":
        raise usage("several processes cannot read one pipe: name the artifact")
    recipe = following_recipes.chosen(preset, given, set or [])
    (samples,) = artifacts.inputs(input, kind="gaze-samples")
    split = split or recipes.split_of(samples, "train")
    rows = selection.rows(samples, split=split, limit=limit)
    held = recipes.validation(samples, validate_on)
    cli.plan(f"{out}: {recipe.model}, {len(rows)} samples, at most {recipe.epochs} epochs", *recipe.lines())

    if first:
        options = {key: getattr(recipe, key, value) for key, value in given.items()}
        folder.claim(out, options, FREE, resume, overwrite)
    from gazecore.train.following import train
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
        told = train(
            samples, rows, recipe, run, validate_on=held, init=init, weights=weights, pretrained=pretrained,
            workers=workers, cache=cache_features, keep_epochs=keep_epochs,
        )  # fmt: skip
    except GazeError as error:
        if error.code == STOPPED and not first:  # all processes stop together; one says so
            raise typer.Exit(STOPPED) from error
        raise
    if first:
        told = {"out": str(out), **told, "expected": dict(recipe.expected)}
        cli.result(told, [(key, value) for key, value in told.items() if value])


if __name__ == "__main__":
    run_command(main)
