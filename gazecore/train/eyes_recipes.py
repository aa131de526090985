"""The recipes of eye segmentation: settings, where they come from and the scores to expect beside them."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from gazecore import artifacts
from gazecore.artifacts import Artifact
from gazecore.errors import NO_INPUT, USAGE, GazeError

LOSSES = ("ce-dice", "focal", "tversky", "boundary", "ritnet", "own")


@dataclass(frozen=True)
class Recipe:
    """What is trained and how.

    model              MODEL or MODEL:PRESET of gazecore.models; model_options: fields of its configuration, changed
    epochs, steps      how long; steps (updates) end it earlier
    batch_size         images per update, whatever the processes
    schedule           constant; cosine or poly (power 0.9), per update: from lr down to final_lr
    warmup             updates during which the rate grows from zero
    loss               ce-dice: cross-entropy + Dice. focal: gamma 2, mean over pixels. tversky: alpha 0.3 of what is
                       predicted too much, beta 0.7 of what is missed. boundary: ce-dice + boundary_weight times the
                       boundary loss in pixels, the weight growing evenly from 0 over the run. ritnet: cross-entropy +
                       a generalised Dice + (1 - a) surface loss, a falling from 1 to 0 in the first half of the run
                       and 1 after it, as its authors' code has it. own: the model's set_loss
    augment            full, flip (left to right only), none
    validate_every     updates; None: an epoch
    best_by            name of the validation metric
    precision, clip, ema   as gazecore.train.run.Settings
    expected           scores
    """

    model: str
    epochs: int
    batch_size: int
    lr: float
    steps: int | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    schedule: str = "cosine"
    final_lr: float = 0.0
    warmup: int = 0
    loss: str = "ce-dice"
    boundary_weight: float = 0.01
    augment: str = "full"
    validate_every: int | None = None
    best_by: str = "mean_iou"
    precision: str = "no"
    clip: float | None = 1.0
    ema: float | None = None
    expected: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise GazeError(f"loss {self.loss}: expected {', '.join(LOSSES)}", USAGE)

    def lines(self) -> list[str]:
        """One setting per line, to be shown."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return [f"  {name}: {value}" for name, value in values.items() if value not in (None, {})]


RECIPES = {
    # our own. The shipped weights (gazecore/weights/README.md) come from "eyes", the others are for trying things
    "segformer-tiny": Recipe(model="segformer:tiny", epochs=60, batch_size=16, lr=2e-3, warmup=100, ema=0.998),
    "segformer-tiny-quick": Recipe(
        model="segformer:tiny", epochs=1000, steps=300, batch_size=8, lr=3e-3, warmup=20, augment="flip",
        validate_every=300, expected={"mean_iou": 0.8},
    ),
    "eyes": Recipe(
        model="segformer:tiny", model_options={"long_side": 256}, epochs=1000, steps=8000, batch_size=12, lr=2e-3,
        warmup=200, ema=0.999, validate_every=1000, expected={"mean_iou": 0.96},
    ),
    "segformer-b0": Recipe(model="segformer:b0", epochs=60, batch_size=16, lr=5e-4, warmup=500, ema=0.999),
    # AayushKrChaudhary/RITnet:train.py, which lowers the rate when validation stalls, where this follows a cosine
    "ritnet": Recipe(
        model="ritnet", epochs=250, batch_size=8, lr=1e-3, optimizer="adam", weight_decay=0.0, loss="ritnet", clip=None,
        expected={"mean_iou": 0.9528},
    ),
    "ritnet-16ch": Recipe(model="ritnet:16ch", epochs=60, batch_size=8, lr=3e-3, warmup=50),
    # facebookresearch/Mask2Former:configs/ade20k/semantic-segmentation, in the small
    "mask2former": Recipe(
        model="mask2former", epochs=60, batch_size=8, lr=5e-4, weight_decay=0.05, schedule="poly", warmup=100,
        loss="own", clip=0.01,
    ),
    "mask2former-swin-tiny": Recipe(
        model="mask2former:swin-tiny", epochs=100, batch_size=16, lr=1e-4, weight_decay=0.05, schedule="poly",
        warmup=500, loss="own", clip=0.01,
    ),
}  # fmt: skip


def chosen(preset: str, options: Mapping[str, Any], settings: Sequence[str] = ()) -> Recipe:
    """A preset, changed by options (name -> value; None and names that are no field of a recipe change nothing) and by
    settings, "name=value" or "model.name=value" with values as in YAML.

    Errors: an unknown preset, field or setting; a value of another kind.
    """
    if preset not in RECIPES:
        raise GazeError(f"no preset {preset!r}; {_hint(preset, RECIPES)}", USAGE)
    fields = {f.name: f for f in dataclasses.fields(Recipe) if f.name not in ("model_options", "expected")}
    changes = {key: value for key, value in options.items() if key in fields and value is not None}
    found = replace(RECIPES[preset], **changes)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise GazeError(f"--set {setting}: expected NAME=VALUE", USAGE)
        if name.startswith("model."):
            change = {name.removeprefix("model."): yaml.safe_load(text)}
            found = replace(found, model_options={**found.model_options, **change})
        elif name in fields:
            found = replace(found, **{name: _typed(text, str(fields[name].type), name)})
        else:
            raise GazeError(f"--set {name}: no such setting; {_hint(name, [*fields, 'model.NAME'])}", USAGE)
    return found


def _hint(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def _typed(text: str, kind: str, name: str) -> Any:
    """A setting's value in the type of the recipe's field, such as "float | None" or "<class 'int'>"."""
    kinds = kind.removeprefix("<class '").removesuffix("'>").split(" | ")
    if text in ("null", "none", "None") and "None" in kinds:
        return None
    try:
        return {"int": int, "float": float, "str": str}[kinds[0]](text)
    except ValueError as error:
        raise GazeError(f"--set {name}={text}: expected {' or '.join(kinds)}", USAGE) from error


def split_of(samples: Artifact, wanted: str) -> str | None:
    """The split, if the artifact has it."""
    return wanted if "split" in samples and wanted in samples["split"].whole() else None


def validation(samples: Artifact, validate_on: str | None) -> Artifact | float | str | None:
    """What --validate-on names: a share ("10%"), an artifact, or a split; without it val, if there is one.

    Errors: what is neither.
    """
    if validate_on is None:
        return split_of(samples, "val")
    if validate_on.endswith("%"):
        try:
            share = float(validate_on[:-1]) / 100
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            raise GazeError(f"--validate-on {validate_on}: expected a share between 0% and 100%", USAGE)
        return share
    if Path(validate_on).exists():
        return artifacts.open(validate_on, kind="eye-samples")
    if split_of(samples, validate_on) is None:
        raise GazeError(f"--validate-on {validate_on}: neither an artifact nor a split of {samples.path}", NO_INPUT)
    return validate_on
