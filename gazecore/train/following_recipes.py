"""The recipes of gaze following: settings, where they come from and the scores to expect beside them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gazecore.train import recipes


@dataclass(frozen=True)
class Recipe:
    """What is trained and how.

    model              MODEL or MODEL:PRESET of gazecore.models; model_options: fields of its configuration, changed
    epochs, steps      how long; steps (updates) end it earlier
    batch_size         people per update, of video tracks, whatever the processes and pieces
    accumulate         pieces that a batch is computed in: less memory, the same numbers
    lr, in_frame_lr    of the parameters, of those of the in-frame head where theirs is another
    schedule           constant; cosine, per update; cosine-epochs, per epoch: from lr down to final_lr
    warmup             updates during which the rate grows from zero
    heatmap_loss       mse (losses.heatmap_mse) or bce (losses.heatmap_bce), times heatmap_weight
    in_frame_weight    of the in-frame head's cross-entropy; 0: it is not trained
    direction_weight, attention_weight   of losses that guide a model from nothing (following_guide.py)
    last_scale         weight that VTD's one-channel last layer starts with: of random ones, every other learns nothing
    in_frame_only      rows out of frame are left out
    every_frame        of video as single frames, only every so-manieth
    freeze             trunk: what encodes the scene is not trained, nor are graphs kept for it; nothing
    freeze_batchnorm   all batch norms keep their statistics
    chunk              frames per update of a model with memory; None trains on photos, or frames one by one
    most_frames        a longer track is cut to so many
    augment            full, as the model's family does; flip, left to right only; none
    share_scene        all people of a photo are augmented alike, so that it is encoded once
    head_box_expansion of the training's head boxes, None as the model has it
    blank_head         control: the model is not told who is meant, in training and validation
    validate_every     updates; None: an epoch
    best_by            name of the validation metric
    precision, clip, ema   as gazecore.train.run.Settings
    expected           published scores
    """

    model: str
    epochs: int
    batch_size: int
    lr: float
    steps: int | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    accumulate: int = 1
    in_frame_lr: float | None = None
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "constant"
    final_lr: float = 0.0
    warmup: int = 0
    heatmap_loss: str = "mse"
    heatmap_weight: float = 1.0
    in_frame_weight: float = 0.0
    direction_weight: float = 0.0
    attention_weight: float = 0.0
    last_scale: float | None = None
    in_frame_only: bool = False
    every_frame: int = 1
    freeze: str = "nothing"
    freeze_batchnorm: bool = False
    chunk: int | None = None
    most_frames: int | None = None
    augment: str = "full"
    share_scene: bool = False
    head_box_expansion: float | None = None
    blank_head: bool = False
    validate_every: int | None = None
    best_by: str = "average_l2"
    precision: str = "no"
    clip: float | None = None
    ema: float | None = None
    expected: Mapping[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What differs from the defaults, one setting per line, to be shown."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return [f"  {name}: {value}" for name, value in values.items() if value not in (None, {})]


RECIPES = {
    # ejcgt/attention-target-detection:train_on_gazefollow.py, from initial_weights_for_spatial_training.pt; the
    # in-frame loss stands there, but is left out of the sum. Chong et al. 2020, table 1
    "vtd-gazefollow": Recipe(
        model="vtd", epochs=70, batch_size=48, lr=2.5e-4, heatmap_weight=1e4,
        expected={"auc": 0.921, "average_l2": 0.137, "minimum_l2": 0.077},
    ),
    # ejcgt/attention-target-detection:train_on_videoatttarget.py, from initial_weights_for_temporal_training.pt, or
    # from a model of vtd-gazefollow; its dataset of video does not expand head boxes. Chong et al. 2020, table 3
    "vtd-videoattentiontarget": Recipe(
        model="vtd-temporal", epochs=3, batch_size=16, lr=5e-5, in_frame_lr=2.5e-4, heatmap_weight=1e4,
        in_frame_weight=100.0, freeze="trunk", freeze_batchnorm=True, chunk=3, most_frames=50, head_box_expansion=0.0,
        expected={"auc": 0.860, "average_l2": 0.134, "in_frame_ap": 0.853},
    ),
    # shivahanifi/visual-targets: the same, batches of 4, 8 or 16 tracks, chunks of 2, 3 or 4, 3 or 15 epochs; the
    # scores are the ranges over its sessions and settings
    "vtd-objectattention": Recipe(
        model="vtd-temporal", epochs=15, batch_size=16, lr=5e-5, in_frame_lr=2.5e-4, heatmap_weight=1e4,
        in_frame_weight=100.0, freeze="trunk", freeze_batchnorm=True, chunk=3, most_frames=50, head_box_expansion=0.0,
        expected={"auc": [0.7803, 0.8915], "average_l2": [0.082, 0.168]},
    ),
    # fkryan/gazelle:scripts/train_gazefollow.py. Ryan et al. 2025, table 3, ViT-B
    "gazelle-gazefollow": Recipe(
        model="gazelle:vitb14", epochs=15, batch_size=60, lr=1e-3, schedule="cosine-epochs", final_lr=1e-7,
        heatmap_loss="bce", in_frame_only=True, freeze="trunk",
        expected={"auc": 0.956, "average_l2": 0.104, "minimum_l2": 0.045},
    ),
    # fkryan/gazelle:scripts/train_vat.py, from a model of gazelle-gazefollow. Ryan et al. 2025, table 3, ViT-B
    "gazelle-videoattentiontarget": Recipe(
        model="gazelle:vitb14-inout", epochs=8, batch_size=60, lr=1e-5, in_frame_lr=1e-2, heatmap_loss="bce",
        in_frame_weight=1.0, every_frame=6, freeze="trunk",
        expected={"auc": 0.933, "average_l2": 0.107, "in_frame_ap": 0.897},
    ),
    # our own, for made data: from nothing, within three minutes on two CPU cores
    "tiny": Recipe(
        model="gazelle:tiny", epochs=1000, steps=600, batch_size=40, lr=2e-3, optimizer="adamw", weight_decay=0.01,
        warmup=50, schedule="cosine", heatmap_loss="bce", in_frame_weight=0.1, direction_weight=0.3, share_scene=True,
        clip=1.0, validate_every=200, expected={"auc": 0.95, "average_l2": 0.15},
    ),
    "vtd-tiny": Recipe(
        model="vtd:tiny", epochs=1000, steps=300, batch_size=24, lr=4e-3, optimizer="adamw", weight_decay=0.01,
        warmup=50, schedule="cosine", heatmap_weight=100.0, in_frame_weight=1.0, direction_weight=1.0,
        attention_weight=0.5, last_scale=0.1, augment="flip", clip=1.0, validate_every=100,
        expected={"auc": 0.97, "average_l2": 0.1},
    ),
    "vtd-temporal-tiny": Recipe(
        model="vtd-temporal:tiny", epochs=20, batch_size=4, lr=1e-3, heatmap_weight=100.0, in_frame_weight=0.3,
        direction_weight=1.0, attention_weight=0.5, last_scale=0.1, freeze_batchnorm=True, chunk=3, clip=1.0,
    ),
}  # fmt: skip


def chosen(preset: str, options: Mapping[str, Any], settings: Sequence[str] = ()) -> Recipe:
    """A preset changed by options and settings, see recipes.chosen; "tiny" with another model is its tiny recipe."""
    if preset == "tiny" and f"{options.get('model')}-tiny" in RECIPES:
        preset, options = f"{options['model']}-tiny", {**options, "model": None}
    return recipes.chosen(RECIPES, preset, options, settings)
