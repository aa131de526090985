"""Gaze-LLE: gaze following by a small decoder on frozen features, after Ryan et al., CVPR 2025 (arXiv:2412.09586).

fkryan/gazelle:gazelle/model.py, with its parameter names, so that the published decoders load as they are. The image is
encoded once; every head in it is a prompt of its own to the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from gazecore.errors import GazeError
from gazecore.models import Prediction
from gazecore.models.dinov2 import backbone as make_backbone

if TYPE_CHECKING:
    from gazecore.data.following import FollowingBatch

DINOV2 = {  # by their number of features
    384: "vit_small_patch14_dinov2.lvd142m",
    768: "vit_base_patch14_dinov2.lvd142m",
    1024: "vit_large_patch14_dinov2.lvd142m",
}
VITB14, VITL14 = DINOV2[768], DINOV2[1024]


@dataclass(frozen=True)
class GazelleConfig:
    """backbone         "tiny", or any vision transformer of timm
    stored_backbone  the backbone's weights are our own and lie in the checkpoint; False: they are the published ones,
                     frozen, and a checkpoint holds the decoder alone
    in_frame         whether there is an in-frame head
    width, depth, heads   of the decoder
    input_size, output_size   (rows, columns) of the scene and the heatmap; other scenes work as well
    drop_path        of the decoder's blocks in training; dropout: of the in-frame head
    compat           "gazelle" draws head boxes as the reference does: one that starts left of or above the image, or is
                     smaller than half a feature cell, leaves no prompt
    """

    backbone: str = VITB14
    stored_backbone: bool = False
    in_frame: bool = True
    width: int = 256
    depth: int = 3
    heads: int = 8
    input_size: tuple[int, int] = (448, 448)
    output_size: tuple[int, int] = (64, 64)
    drop_path: float = 0.1
    dropout: float = 0.1
    compat: str = ""


class GazelleOutput(NamedTuple):
    """heatmap (people, 64, 64) probabilities; in_frame_logit (people,), or None without an in-frame head."""

    heatmap: Tensor
    in_frame_logit: Tensor | None


class Gazelle(nn.Module):
    """Scenes and head boxes -> a heatmap and an in-frame logit for every head."""

    backbone: Any
    pos_embed: Tensor
    Config = GazelleConfig
    presets: ClassVar = {
        "vitb14-inout": GazelleConfig(),
        "vitb14": GazelleConfig(in_frame=False),
        "vitl14-inout": GazelleConfig(backbone=VITL14),
        "vitl14": GazelleConfig(backbone=VITL14, in_frame=False),
        "tiny": GazelleConfig(
            backbone="tiny",
            stored_backbone=True,
            width=64,
            depth=2,
            heads=4,
            input_size=(128, 128),
            drop_path=0.0,
            dropout=0.0,
        ),
    }

    def __init__(
        self,
        config: GazelleConfig = GazelleConfig(),
        *,
        pretrained: bool | None = True,
        weights: str | Path | None = None,
        backbone: Any = None,
    ):
        """pretrained  the backbone starts from its published weights, from the cache or the hub; False: from random
                    ones, which are our own, so that `config.stored_backbone` becomes True; None: it stays empty, for
                    weights that are loaded afterwards
        weights     a local file of the published weights
        backbone    taken as it is, instead of making the one that config names
        """
        super().__init__()
        if backbone is None:
            if pretrained is False and weights is None:
                config = replace(config, stored_backbone=True)
            backbone = make_backbone(
                config.backbone, pretrained=bool(pretrained), weights=weights, empty=pretrained is None
            )
        self.config = config
        self.backbone = backbone.requires_grad_(config.stored_backbone)
        self.preprocessing = {
            "input_size": list(config.input_size),
            "mean": list(backbone.mean),
            "std": list(backbone.std),
            "order": "normalise-then-resize",
            "head_crop_size": None,
            "head_mask": None,
            "head_box_expansion": 0,
        }
        width, (height, breadth) = config.width, config.input_size
        self.linear = nn.Conv2d(backbone.width, width, 1)
        self.register_buffer("pos_embed", sine_positions(width, height // backbone.patch, breadth // backbone.patch))
        self.head_token = nn.Embedding(1, width)
        blocks = (Block(width, config.heads, drop_path=config.drop_path) for _ in range(config.depth))
        self.transformer = nn.Sequential(*blocks)
        self.heatmap_head = nn.Sequential(
            nn.ConvTranspose2d(width, width, kernel_size=2, stride=2), nn.Conv2d(width, 1, 1, bias=False)
        )
        if config.in_frame:
            self.inout_token = nn.Embedding(1, width)
            self.inout_head = nn.Sequential(
                nn.Linear(width, 128), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(128, 1)
            )

    @classmethod
    def config_of(cls, tensors: Mapping[str, Tensor]) -> GazelleConfig:
        """The configuration of a decoder on DINOv2 with these weights; errors for features of no known backbone."""
        width, features = tensors["linear.weight"].shape[:2]
        _, rows, columns = tensors["pos_embed"].shape
        if features not in DINOV2:
            raise GazeError(f"the decoder reads {features} features; DINOv2 has {', '.join(map(str, DINOV2))}")
        return GazelleConfig(
            backbone=DINOV2[features],
            stored_backbone=any(name.startswith("backbone.") for name in tensors),
            in_frame="inout_token.weight" in tensors,
            width=width,
            depth=len({name.split(".")[1] for name in tensors if name.startswith("transformer.")}),
            input_size=(14 * rows, 14 * columns),
        )

    @property
    def left_out(self) -> tuple[str, ...]:
        """Prefixes of the parameters that a checkpoint does not hold."""
        return () if self.config.stored_backbone else ("backbone.",)

    def encode(self, scene: Tensor) -> Tensor:
        """Scenes (images, 3, h, w), normalised -> features (images, d, h / patch, w / patch); once per image."""
        return self.backbone(scene)

    def decode(self, features: Tensor, head_box: Tensor, image_index: Tensor | None = None) -> GazelleOutput:
        """Where every head looks.

        features     (images, d, h, w) of encode
        head_box     (people, 4) normalised; NaN for a person whose head is unknown: no prompt
        image_index  (people,) the row of `features` each person belongs to; None: one person per image, in order
        """
        height, width = features.shape[-2:]
        positions = self.pos_embed
        if tuple(positions.shape[1:]) != (height, width):
            positions = sine_positions(self.config.width, height, width).to(positions)
        cells = self.linear(features) + positions  # (images, c, h, w)
        if image_index is not None:
            cells = cells[image_index]
        heads = head_maps(head_box, height, width, self.config.compat).to(cells.dtype)
        cells = cells + heads[:, None] * self.head_token.weight[:, :, None, None]  # (people, c, h, w)

        tokens = cells.flatten(2).transpose(1, 2)
        if self.config.in_frame:
            tokens = torch.cat([self.inout_token.weight.expand(len(tokens), 1, -1), tokens], dim=1)
        tokens = self.transformer(tokens)
        logit = None
        if self.config.in_frame:
            logit = self.inout_head(tokens[:, 0]).squeeze(1)
            tokens = tokens[:, 1:]

        cells = tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
        heatmap = self.heatmap_head(cells).float().sigmoid()  # (people, 1, 2h, 2w)
        size = self.config.output_size
        if tuple(heatmap.shape[-2:]) != size:
            shrinks = heatmap.shape[-2] > size[0] or heatmap.shape[-1] > size[1]
            heatmap = F.interpolate(heatmap, size, mode="bilinear", antialias=shrinks)
        return GazelleOutput(heatmap.squeeze(1), logit)

    def forward(self, scene: Tensor, head_box: Tensor, image_index: Tensor | None = None) -> GazelleOutput:
        """Scenes (images, 3, h, w) and head boxes (people, 4) -> one row per person; see encode and decode."""
        return self.decode(self.encode(scene), head_box, image_index)

    @torch.no_grad()
    def predict(self, batch: FollowingBatch) -> Prediction:
        """Heatmaps (people, 64, 64) and, with an in-frame head, probabilities (people,) of a batch's people."""
        output = self(batch.scene, batch.head_box, batch.image_index)
        return Prediction(output.heatmap, None if output.in_frame_logit is None else output.in_frame_logit.sigmoid())


def people(head_boxes: Sequence[Sequence[Sequence[float] | None]]) -> tuple[Tensor, Tensor]:
    """Head boxes listed per image, None for a person without one -> head_box (people, 4), image_index (people,)."""
    unknown = (math.nan,) * 4
    rows = [unknown if box is None else tuple(box) for boxes in head_boxes for box in boxes]
    index = [image for image, boxes in enumerate(head_boxes) for _ in boxes]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4), torch.tensor(index, dtype=torch.long)


def head_maps(head_box: Tensor, height: int, width: int, compat: str = "") -> Tensor:
    """Which feature cells each head covers.

    head_box  (people, 4) normalised; edges are rounded to cells, halves to even, half-open; NaN covers nothing
    returns   (people, height, width), 1.0 inside. A box is cut to the image, and one that rounds to nothing covers the
              cell of its centre; with compat "gazelle" it covers nothing, nor does one with a negative start
    """
    box = head_box.double()
    cells = box.new_tensor([width, height])
    if compat == "gazelle":
        start, end = (box[:, :2] * cells).round(), (box[:, 2:] * cells).round()
        # a negative bound of a Python slice counts from the end
        start, end = ((edge + cells * (edge < 0)).clamp(min=0) for edge in (start, end))
    else:
        box = box.clamp(0, 1)
        start, end = (box[:, :2] * cells).round(), (box[:, 2:] * cells).round()
        centre = ((box[:, :2] + box[:, 2:]) / 2 * cells).floor().minimum(cells - 1)
        vanished = end <= start
        start, end = torch.where(vanished, centre, start), torch.where(vanished, centre + 1, end)
    columns, rows = (torch.arange(size, device=box.device) for size in (width, height))
    across = (columns >= start[:, :1]) & (columns < end[:, :1])  # (people, width)
    down = (rows >= start[:, 1:]) & (rows < end[:, 1:])
    return (down[:, :, None] & across[:, None, :]).float()


def sine_positions(channels: int, height: int, width: int) -> Tensor:
    """Fixed positions (channels, height, width): the first half encodes x, the second y, sine and cosine in turn.

    Wavelengths from 2 pi to 10000 * 2 pi cells (Vaswani et al., 2017, in two dimensions); channels divide by 4.
    """
    half = channels // 2
    frequencies = torch.exp(torch.arange(0, half, 2, dtype=torch.float64) * (-math.log(10_000.0) / half))

    def waves(cells: int) -> Tensor:  # (half, cells)
        angles = frequencies[:, None] * torch.arange(cells, dtype=torch.float64)
        return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)

    across = waves(width)[:, None, :].expand(-1, height, -1)
    down = waves(height)[:, :, None].expand(-1, -1, width)
    return torch.cat([across, down]).float()
