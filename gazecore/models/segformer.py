"""Eye regions from an image by SegFormer, after Xie et al., NeurIPS 2021 (arXiv:2105.15203).

Parameter names of huggingface/transformers (5.23): models/segformer/modeling_segformer.py, so that its weights load as
they are. All features are (b, h, w, c): a linear layer's tokens are a convolution's pixels, and nothing is copied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazecore.images import IMAGENET_MEAN, IMAGENET_STD
from gazecore.models import EyePrediction

if TYPE_CHECKING:
    from gazecore.data.eyes import EyeBatch

PATCHES = (7, 3, 3, 3)  # kernel of each stage's patch embedding
STRIDES = (4, 2, 2, 2)
REDUCTIONS = (8, 4, 2, 1)  # keys and values are so many times fewer along each side
EXPANSION = 4  # of the block's perceptron
MULTIPLE = 32  # sides for which every stage's grid lies evenly on the image


@dataclass(frozen=True)
class SegformerConfig:
    """depths, widths, heads   of the four stages
    decoder_width   features to which all stages are projected
    classes         of the labels
    drop_path       of the last block in training, growing from 0 at the first; dropout: before the classifier
    long_side       images are resized so that their longer side has so many pixels; None leaves them
    """

    depths: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (32, 64, 160, 256)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    decoder_width: int = 256
    classes: int = 4
    drop_path: float = 0.1
    dropout: float = 0.1
    long_side: int | None = None


class Segformer(nn.Module):
    """Images -> a logit of every class for every pixel."""

    Config = SegformerConfig
    presets: ClassVar = {
        "tiny": SegformerConfig(
            depths=(1, 1, 1, 1),
            widths=(16, 32, 64, 96),
            heads=(1, 2, 4, 4),
            decoder_width=64,
            drop_path=0.0,
            dropout=0.0,
            long_side=160,
        ),
        "b0": SegformerConfig(),
    }

    def __init__(self, config: SegformerConfig = presets["tiny"]):
        super().__init__()
        self.config = config
        self.preprocessing = {
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "grey": False,
            "gamma": None,
            "clahe": None,
            "long_side": config.long_side,
        }
        self.segformer = Encoder(config)
        self.decode_head = Decoder(config)
        self.apply(_initialise)

    @classmethod
    def config_of(cls, tensors: Mapping[str, Tensor]) -> SegformerConfig:
        """The configuration of a network with these weights.

        Weights do not tell the number of heads: the presets' where the widths are a preset's, else 32 features each.
        """
        stages = range(len(STRIDES))
        widths = tuple(len(tensors[f"segformer.stages.{stage}.layer_norm.weight"]) for stage in stages)
        blocks = {tuple(name.split(".")[2:5]) for name in tensors if name.startswith("segformer.stages.")}
        depths = tuple(sum(block[:2] == (str(stage), "blocks") for block in blocks) for stage in stages)
        alike = [preset.heads for preset in cls.presets.values() if preset.widths == widths]
        return SegformerConfig(
            depths=depths,
            widths=widths,
            heads=alike[0] if alike else tuple(max(width // 32, 1) for width in widths),
            decoder_width=len(tensors["decode_head.linear_fuse.weight"]),
            classes=len(tensors["decode_head.classifier.bias"]),
            long_side=next((preset.long_side for preset in cls.presets.values() if preset.widths == widths), None),
        )

    def quarter(self, image: Tensor) -> Tensor:
        """Images (b, 3, h, w) -> logits (b, classes, h / 4, w / 4), rounded up: the network as published."""
        return self.decode_head(self.segformer(image))

    def forward(self, image: Tensor) -> Tensor:
        """Images (b, 3, h, w), normalised -> logits (b, classes, h, w).

        Sides that 32 does not divide are padded by repeating the last pixels and cut again: otherwise the grids of the
        stages shift against the image, by another amount at each size.
        """
        height, width = image.shape[-2:]
        below, right = -height % MULTIPLE, -width % MULTIPLE
        if below or right:
            image = F.pad(image, (0, right, 0, below), mode="replicate")
        logits = F.interpolate(self.quarter(image), scale_factor=STRIDES[0], mode="bilinear")
        return logits[..., :height, :width]

    @torch.no_grad()
    def predict(self, batch: EyeBatch) -> EyePrediction:
        """Class probabilities (b, classes, h, w) of a batch's images."""
        return EyePrediction(self(batch.image).float().softmax(dim=1))


class Encoder(nn.Module):
    def __init__(self, config: SegformerConfig):
        super().__init__()
        blocks = sum(config.depths)
        rates = iter(config.drop_path * block / max(blocks - 1, 1) for block in range(blocks))
        before = (3, *config.widths)
        self.stages = nn.ModuleList(
            Stage(stage, before[stage], config, [next(rates) for _ in range(config.depths[stage])])
            for stage in range(len(STRIDES))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Images (b, 3, h, w) -> of every stage (b, h / s, w / s, width), s of 4, 8, 16, 32."""
        features, tokens = [], image.permute(0, 2, 3, 1)
        for stage in self.stages:
            tokens = stage(tokens)
            features.append(tokens)
        return features


class Stage(nn.Module):
    def __init__(self, stage: int, before: int, config: SegformerConfig, drop_path: list[float]):
        super().__init__()
        width, heads = config.widths[stage], config.heads[stage]
        self.patch_embeddings = PatchEmbedding(before, width, PATCHES[stage], STRIDES[stage])
        self.blocks = nn.ModuleList(Block(width, heads, REDUCTIONS[stage], rate) for rate in drop_path)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embeddings(x)
        for block in self.blocks:
            x = block(x)
        return self.layer_norm(x)


class PatchEmbedding(nn.Module):
    def __init__(self, before: int, width: int, kernel: int, stride: int):
        super().__init__()
        self.proj = nn.Conv2d(before, width, kernel, stride, kernel // 2)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_norm(_convolved(self.proj, x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int, drop_path: float):
        super().__init__()
        self.drop_path = drop_path
        self.layernorm_before = nn.LayerNorm(width)
        self.attention = Attention(width, heads, reduction)
        self.layernorm_after = nn.LayerNorm(width)
        self.mlp = MixedPerceptron(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._kept(self.attention(self.layernorm_before(x)))
        return x + self._kept(self.mlp(self.layernorm_after(x)))

    def _kept(self, branch: Tensor) -> Tensor:
        """In training a branch is left out for some samples, and made up for in the others (arXiv:1603.09382)."""
        if not self.training or not self.drop_path:
            return branch
        keep = branch.new_empty(len(branch), 1, 1, 1).bernoulli_(1 - self.drop_path)
        return branch * keep / (1 - self.drop_path)


class Attention(nn.Module):
    """Every pixel asks; the keys and values are of a coarser grid."""

    def __init__(self, width: int, heads: int, reduction: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width) for _ in range(4))
        self.sequence_reduction = Reduction(width, reduction) if reduction > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        coarse = self.sequence_reduction(x)
        query, key, value = self.q_proj(x), self.k_proj(coarse), self.v_proj(coarse)
        attended = F.scaled_dot_product_attention(self._split(query), self._split(key), self._split(value))
        return self.o_proj(attended.transpose(1, 2).reshape(x.shape))

    def _split(self, x: Tensor) -> Tensor:
        """(b, h, w, heads * d) -> (b, heads, h * w, d)"""
        return x.view(len(x), -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)


class Reduction(nn.Module):
    def __init__(self, width: int, reduction: int):
        super().__init__()
        self.sequence_reduction = nn.Conv2d(width, width, reduction, reduction)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_norm(_convolved(self.sequence_reduction, x))


class MixedPerceptron(nn.Module):
    """A perceptron on every pixel with a 3x3 convolution of each hidden feature inside: it tells where the pixel is."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, EXPANSION * width)
        self.dwconv = nn.ModuleDict(
            {"dwconv": nn.Conv2d(EXPANSION * width, EXPANSION * width, 3, padding=1, groups=EXPANSION * width)}
        )
        self.fc2 = nn.Linear(EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(_convolved(self.dwconv["dwconv"], self.fc1(x))))


class Decoder(nn.Module):
    """All stages brought to the finest grid and mixed pixel by pixel."""

    def __init__(self, config: SegformerConfig):
        super().__init__()
        width = config.decoder_width
        self.linear_projections = nn.ModuleList(
            nn.ModuleDict({"proj": nn.Linear(features, width)}) for features in config.widths
        )
        self.linear_fuse = nn.Conv2d(len(config.widths) * width, width, 1, bias=False)
        self.batch_norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Conv2d(width, config.classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Every stage's (b, h, w, width) -> logits (b, classes, h, w) on the first one's grid.

        Published: project, enlarge, concatenate the last stage first, mix. Enlarging commutes with what is linear in
        the channels, so each stage is projected and mixed by one matrix before it is enlarged: the same numbers.
        """
        mixing = self.linear_fuse.weight.flatten(1).chunk(len(features), dim=1)[::-1]  # each (width, width)
        projections = [projection["proj"] for projection in self.linear_projections]
        bias = sum(mix @ projection.bias for mix, projection in zip(mixing, projections, strict=True))

        finest, *coarser = (
            F.linear(x, mix @ projection.weight)
            for x, mix, projection in zip(features, mixing, projections, strict=True)
        )
        mixed = (finest + bias).permute(0, 3, 1, 2)
        for x in coarser:
            mixed = mixed + F.interpolate(x.permute(0, 3, 1, 2), mixed.shape[-2:], mode="bilinear")
        mixed = self.dropout(F.relu(self.batch_norm(mixed)))
        logits = F.linear(mixed.permute(0, 2, 3, 1), self.classifier.weight.flatten(1), self.classifier.bias)
        return logits.permute(0, 3, 1, 2)


def _convolved(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of (b, h, w, c), which is to it a (b, c, h, w) whose channels lie together."""
    return convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _initialise(module: nn.Module) -> None:
    """Fresh weights as NVlabs/SegFormer: mmseg/models/backbones/mix_transformer.py has them."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
