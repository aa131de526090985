"""Eye regions by RITnet, a small U-shaped net of dense blocks, after Chaudhary et al., 2019 (arXiv:1910.00694).

AayushKrChaudhary/RITnet:densenet.py, with its parameter names, so that the published weights load as they are. It was
made for infrared images: its authors retrain it for others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazecore.models import EyePrediction

if TYPE_CHECKING:
    from gazecore.data.eyes import EyeBatch

LEVELS = 5  # each on a grid half as fine as the one before
MULTIPLE = 2 ** (LEVELS - 1)


@dataclass(frozen=True)
class RitnetConfig:
    """channels   of every layer
    classes    of the labels
    dropout    after every block's convolutions in training
    long_side  images are resized so that their longer side has so many pixels; None leaves them
    """

    channels: int = 32
    classes: int = 4
    dropout: float = 0.2
    long_side: int | None = None


class Ritnet(nn.Module):
    """Grey images -> a logit of every class for every pixel."""

    Config = RitnetConfig
    presets: ClassVar = {"default": RitnetConfig(), "16ch": RitnetConfig(channels=16)}

    def __init__(self, config: RitnetConfig = RitnetConfig()):
        super().__init__()
        self.config = config
        self.preprocessing = {  # AayushKrChaudhary/RITnet:dataset.py
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "grey": True,
            "gamma": 0.8,
            "clahe": {"clip": 1.5, "tiles": 8},
            "long_side": config.long_side,
        }
        channels = config.channels
        for level in range(1, LEVELS + 1):
            self.add_module(f"down_block{level}", DownBlock(1 if level == 1 else channels, channels, config.dropout))
        for level in range(1, LEVELS):
            self.add_module(f"up_block{level}", UpBlock(channels, config.dropout))
        self.dropout = nn.Dropout(config.dropout)
        self.out_conv1 = nn.Conv2d(channels, config.classes, 1)
        self.apply(_initialise)

    @classmethod
    def config_of(cls, tensors: Mapping[str, Tensor]) -> RitnetConfig:
        """The configuration of a network with these weights."""
        classes, channels = tensors["out_conv1.weight"].shape[:2]
        return RitnetConfig(channels=channels, classes=classes)

    def forward(self, image: Tensor) -> Tensor:
        """Images (b, 3, h, w), normalised, grey in all channels -> logits (b, classes, h, w).

        Sides that 16 does not divide are padded by repeating the last pixels, and cut again.
        """
        height, width = image.shape[-2:]
        x, below, right = image[:, :1], -height % MULTIPLE, -width % MULTIPLE
        if below or right:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        # the channels of a pixel lie together from here on; `contiguous` would see no difference yet, of one channel
        x = x.clone(memory_format=torch.channels_last)
        skipped = []
        for level in range(1, LEVELS + 1):
            x = self.get_submodule(f"down_block{level}")(F.avg_pool2d(x, 2) if level > 1 else x)
            skipped.append(x)  # (b, c, h / 2^(level - 1), w / 2^(level - 1))
        for level in range(1, LEVELS):
            x = self.get_submodule(f"up_block{level}")(skipped[LEVELS - 1 - level], x)
        return mixed(self.out_conv1, self.dropout(x))[..., :height, :width]

    @torch.no_grad()
    def predict(self, batch: EyeBatch) -> EyePrediction:
        """Class probabilities (b, classes, h, w) of a batch's images."""
        return EyePrediction(self(batch.image).float().softmax(dim=1))


class DownBlock(nn.Module):
    """Three convolutions, each of all that was there before it."""

    def __init__(self, before: int, channels: int, dropout: float):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, padding=1)
        self.conv21 = nn.Conv2d(before + channels, channels, 1)
        self.conv22 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv31 = nn.Conv2d(before + 2 * channels, channels, 1)
        self.conv32 = nn.Conv2d(channels, channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        first = self._active(self.conv1(x))
        second = self._active(self.conv22(mixed(self.conv21, x, first)))
        third = self._active(self.conv32(mixed(self.conv31, x, first, second)))
        return self.bn(third)

    def _active(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.dropout(x), inplace=True)


class UpBlock(nn.Module):
    """Two convolutions of the coarser grid's features, enlarged, and of those of the same grid on the way down."""

    def __init__(self, channels: int, dropout: float):
        super().__init__()
        self.conv11 = nn.Conv2d(2 * channels, channels, 1)
        self.conv12 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv21 = nn.Conv2d(3 * channels, channels, 1)
        self.conv22 = nn.Conv2d(channels, channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, skipped: Tensor, coarse: Tensor) -> Tensor:
        """The finer grid's (b, c, 2h, 2w) and the coarser one's (b, c, h, w) -> (b, c, 2h, 2w)."""
        first = self._active(self.conv12(mixed(self.conv11, skipped, coarse=coarse)))
        return self._active(self.conv22(mixed(self.conv21, skipped, first, coarse=coarse)))

    def _active(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.dropout(x), inplace=True)


def mixed(convolution: nn.Conv2d, *parts: Tensor, coarse: Tensor | None = None) -> Tensor:
    """A 1x1 convolution of features (b, c, h, w) laid one upon the other, none of them copied.

    coarse  (b, c, h / 2, w / 2), features that come before the parts, each of their pixels for four: they are mixed
            on their own grid and then enlarged, which is the same for a quarter of the work
    """
    widths = [part.shape[1] for part in (coarse, *parts) if part is not None]
    of_first, *of_parts = convolution.weight.flatten(1).split(widths, dim=1)
    if coarse is None:
        first, *parts = parts
        out = F.linear(_channels_last(first), of_first, convolution.bias)  # (b, h, w, c)
    else:
        low = F.linear(_channels_last(coarse), of_first, convolution.bias)
        out = _channels_last(F.interpolate(low.permute(0, 3, 1, 2), scale_factor=2, mode="nearest"))
    rows = out.reshape(-1, out.shape[-1])
    for part, of_part in zip(parts, of_parts, strict=True):
        rows.addmm_(_channels_last(part).reshape(-1, part.shape[1]), of_part.T)
    return rows.view(out.shape).permute(0, 3, 1, 2)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels)))
        nn.init.zeros_(module.bias)
