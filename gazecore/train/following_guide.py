"""Losses that guide a small model which starts from nothing: without them it takes ten times as long to see that the
direction of the head matters. Published recipes start from pretrained trunks and do without.

direction   two features of the head are to be the direction from the head to the gaze target
attention   VTD's attention over the scene is to lie where the gaze target is
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazecore.data.following import FollowingBatch
from gazecore.data.following_loader import has_target
from gazecore.errors import USAGE, GazeError
from gazecore.models.gazelle import Gazelle
from gazecore.models.vtd import GRID, Vtd
from gazecore.train.following_recipes import Recipe


class Guide:
    """Watches a model's features and judges them; a recipe without guiding losses costs nothing."""

    def __init__(self, model: nn.Module, recipe: Recipe):
        self.recipe = recipe
        self._features = torch.empty(0)
        if recipe.attention_weight and not isinstance(model, Vtd):
            raise GazeError("--set attention_weight: only VTD has an attention over the scene", USAGE)
        if not recipe.direction_weight:
            return
        if isinstance(model, Vtd):
            model.get_submodule(f"layer{len(model.config.depths)}_face").register_forward_hook(self._keep)
        elif isinstance(model, Gazelle) and recipe.freeze == "nothing":
            model.backbone.register_forward_hook(self._keep)
        else:
            raise GazeError("--set direction_weight guides VTD, or Gaze-LLE with a backbone that is trained", USAGE)

    def _keep(self, _module: nn.Module, _inputs: Any, features: Tensor) -> None:
        self._features = features

    def loss(self, output: Any, batch: FollowingBatch) -> Tensor:
        """Mean over the rows with a gaze target, of a forward pass just made; zero without any."""
        loss = batch.in_frame.new_zeros(())
        rows = has_target(batch)
        if self.recipe.direction_weight:
            loss = loss + self.recipe.direction_weight * self._direction(batch, rows)
        if self.recipe.attention_weight:
            loss = loss + self.recipe.attention_weight * _attention(output.attention, batch, rows)
        self._features = torch.empty(0)
        return loss

    def _direction(self, batch: FollowingBatch, rows: Tensor) -> Tensor:
        """Squared error of the unit vector; a head that is not known has none."""
        known = rows & ~batch.head_box.isnan().any(dim=1)
        head = torch.where(known[:, None], (batch.head_box[:, :2] + batch.head_box[:, 2:]) / 2, 0.5)
        way = torch.where(known[:, None], batch.gaze_targets[:, 0] - head, 0.0)
        way = way / way.norm(dim=1, keepdim=True).clamp(min=1e-3)
        features = self._features.float()
        if batch.head_crop is not None:  # of the head crop, not negative: (people, d, h, w)
            pooled = features.mean(dim=(2, 3))
            told = torch.stack([pooled[:, 0] - pooled[:, 1], pooled[:, 2] - pooled[:, 3]], dim=1)
        else:  # of the scene, where the head is
            places = (2 * head - 1)[:, None, None, :]
            told = F.grid_sample(features[batch.image_index, :2], places, align_corners=False)[:, :, 0, 0]
        error = (told - way).square().sum(dim=1)
        return torch.where(known, error, 0.0).sum() / rows.sum().clamp(min=1)


def _attention(attention: Tensor, batch: FollowingBatch, rows: Tensor) -> Tensor:
    """Cross-entropy of the attention (people, 7, 7) against the target heat map at its size."""
    wanted = F.adaptive_avg_pool2d(batch.target_heatmap[:, None], GRID).flatten(1)
    wanted = wanted / wanted.sum(dim=1, keepdim=True).clamp(min=1e-6)
    error = -(wanted * (attention.float().flatten(1) + 1e-6).log()).sum(dim=1)
    return torch.where(rows, error, 0.0).sum() / rows.sum().clamp(min=1)
