"""Gaze following of one frame (VTD), after Chong et al., "Detecting Attended Visual Targets in Video", CVPR 2020.

ModelSpatial of ejcgt/attention-target-detection:model.py, with its parameter names: two ResNet-50-like trunks see the
scene and the head; where the head is and what it looks like say which parts of the scene count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazecore.models import Prediction
from gazecore.models.resnet50_5 import OUTPUT, Bottleneck, initialise, stages

if TYPE_CHECKING:
    from gazecore.data.following import FollowingBatch

SIDE = 224  # pixels of the scene, the head crop and the head mask
GRID = 7  # cells of the features; the three transposed convolutions make 64 of them
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class VtdConfig:
    """depths  blocks of each of the five stages; width  channels of the stem, every other layer is a multiple of it."""

    depths: tuple[int, ...] = (3, 4, 6, 3, 2)
    width: int = 64


class VtdOutput(NamedTuple):
    """heatmap (b, 64, 64) raw, peak 1 by training; in_frame_logit (b,); attention (b, 7, 7) over the scene, sum 1."""

    heatmap: Tensor
    in_frame_logit: Tensor
    attention: Tensor


class Vtd(nn.Module):
    """Scene, head crop and head mask -> heatmap and in-frame logit."""

    Config: ClassVar[type[VtdConfig]] = VtdConfig
    presets: ClassVar = {"default": VtdConfig(), "tiny": VtdConfig(depths=(1, 1, 1, 1, 1), width=8)}
    block: type[nn.Module] = Bottleneck

    def __init__(self, config: VtdConfig = VtdConfig()):
        super().__init__()
        self.config = config
        self.preprocessing = {
            "input_size": [SIDE, SIDE],
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "order": "resize-then-normalise",
            "head_crop_size": [SIDE, SIDE],
            "head_mask": "truncate",
            "head_box_expansion": 0.1,
        }
        width = config.width
        features = OUTPUT * width  # 1024 in the published size, of the scene and of the head each

        for trunk, channels in (("scene", 4), ("face", 3)):
            self.add_module(f"conv1_{trunk}", nn.Conv2d(channels, width, 7, 2, padding=3, bias=False))
            self.add_module(f"bn1_{trunk}", nn.BatchNorm2d(width))
            for number, stage in enumerate(stages(config.depths, width, self.block), start=1):
                self.add_module(f"layer{number}_{trunk}", stage)

        self.attn = nn.Linear((SIDE // 8) ** 2 + features, GRID * GRID)

        self.compress_conv1 = nn.Conv2d(2 * features, features, 1, bias=False)
        self.compress_bn1 = nn.BatchNorm2d(features)
        self.compress_conv2 = nn.Conv2d(features, features // 2, 1, bias=False)
        self.compress_bn2 = nn.BatchNorm2d(features // 2)

        self.compress_conv1_inout = nn.Conv2d(2 * features, features // 2, 1, bias=False)
        self.compress_bn1_inout = nn.BatchNorm2d(features // 2)
        self.compress_conv2_inout = nn.Conv2d(features // 2, 1, 1, bias=False)
        self.compress_bn2_inout = nn.BatchNorm2d(1)
        self.fc_inout = nn.Linear(GRID * GRID, 1)

        self.deconv1 = nn.ConvTranspose2d(features // 2, features // 4, 3, 2)
        self.deconv_bn1 = nn.BatchNorm2d(features // 4)
        self.deconv2 = nn.ConvTranspose2d(features // 4, features // 8, 3, 2)
        self.deconv_bn2 = nn.BatchNorm2d(features // 8)
        self.deconv3 = nn.ConvTranspose2d(features // 8, 1, 4, 2)
        self.deconv_bn3 = nn.BatchNorm2d(1)
        self.conv4 = nn.Conv2d(1, 1, 1)
        initialise(self)

    @classmethod
    def config_of(cls, tensors: Mapping[str, Tensor]) -> VtdConfig:
        """The sizes of a model with these weights."""
        return VtdConfig(depths=_depths(tensors), width=len(tensors["conv1_scene.weight"]))

    def trunk(self, name: str, images: Tensor) -> Tensor:
        """Images (b, 4 or 3, 224, 224) through the trunk "scene" or "face" -> (b, 1024, 7, 7)."""
        features = F.relu(self.get_submodule(f"bn1_{name}")(self.get_submodule(f"conv1_{name}")(images)), inplace=True)
        features = F.max_pool2d(features, 3, 2, padding=1)
        for number in range(1, len(self.config.depths) + 1):
            features = self.get_submodule(f"layer{number}_{name}")(features)
        return features

    def encode(self, scene: Tensor, head_crop: Tensor, head_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The inputs of forward -> encoding (b, 512, 7, 7), in-frame features (b, 49), attention (b, 7, 7)."""
        head = self.trunk("face", head_crop)

        where = head_mask  # (b, 1, 224, 224) -> (b, 1, 28, 28)
        for _ in range(3):
            where = F.max_pool2d(where, 3, 2, padding=1)
        attention = self.attn(torch.cat([where.flatten(1), head.mean(dim=(2, 3))], dim=1))
        attention = attention.softmax(dim=1).view(-1, 1, GRID, GRID)

        attended = attention * self.trunk("scene", torch.cat([scene, head_mask], dim=1))
        both = torch.cat([attended, head], dim=1)  # (b, 2048, 7, 7)

        in_frame = F.relu(self.compress_bn1_inout(self.compress_conv1_inout(both)), inplace=True)
        in_frame = F.relu(self.compress_bn2_inout(self.compress_conv2_inout(in_frame)), inplace=True)
        encoding = F.relu(self.compress_bn1(self.compress_conv1(both)), inplace=True)
        encoding = F.relu(self.compress_bn2(self.compress_conv2(encoding)), inplace=True)
        return encoding, in_frame.flatten(1), attention.squeeze(1)

    def decode(self, encoding: Tensor) -> Tensor:
        """Encoding (b, 512, 7, 7) -> heatmap (b, 64, 64): 7 -> 15 -> 31 -> 64."""
        features = F.relu(self.deconv_bn1(self.deconv1(encoding)), inplace=True)
        features = F.relu(self.deconv_bn2(self.deconv2(features)), inplace=True)
        features = F.relu(self.deconv_bn3(self.deconv3(features)), inplace=True)
        return self.conv4(features).squeeze(1)

    def forward(self, scene: Tensor, head_crop: Tensor, head_mask: Tensor) -> VtdOutput:
        """One row per person.

        scene      (b, 3, 224, 224), head_crop (b, 3, 224, 224): ImageNet-normalised
        head_mask  (b, 1, 224, 224), 1 inside the head box
        """
        encoding, in_frame, attention = self.encode(scene, head_crop, head_mask)
        return VtdOutput(self.decode(encoding), self.fc_inout(in_frame).squeeze(1), attention)

    @torch.no_grad()
    def predict(self, batch: FollowingBatch) -> Prediction:
        """Raw heatmaps (people, 64, 64) and in-frame probabilities (people,) of a batch's people."""
        output = self(batch.scene[batch.image_index], batch.head_crop, batch.head_mask)
        return Prediction(output.heatmap, output.in_frame_logit.sigmoid())


def _depths(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    blocks = {tuple(name.split(".")[:2]) for name in tensors if re.match(r"layer\d_scene\.", name)}
    return tuple(count for _, count in sorted(Counter(stage for stage, _ in blocks).items()))
