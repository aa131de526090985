"""The recipes of eye segmentation: settings, where they come from and the scores to expect beside them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gazecore.errors import USAGE, GazeError

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
        warmup=200, ema=0.999, validate_every=1000, expected={"mean_iou": 0.9775, "pir_mape": 1.57, "detection": 0.996},
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
