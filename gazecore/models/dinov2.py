"""Images -> patch features: DINOv2 (Oquab et al., TMLR 2024) or any other vision transformer of timm, and a tiny one.

A backbone has `width` (channels), `patch` (pixels per feature cell), `mean` and `std` (of its input); its forward takes
images (n, 3, h, w), h and w multiples of `patch`, and returns (n, width, h / patch, w / patch).
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from huggingface_hub import hf_hub_download
from torch import Tensor, nn

from gazecore import weight_files
from gazecore.errors import UNAVAILABLE, USAGE, GazeError, raise_all

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Added to the new grid's side before it is divided by the old one's: only so do the hub's models without registers
# agree with their published features (facebookresearch/dinov2:dinov2/models/vision_transformer.py).
HUB_OFFSET = 0.1


def resample_positions(table: Tensor, grid: tuple[int, int], offset: float = HUB_OFFSET) -> Tensor:
    """A square table of learned positions (1, n * n, d) on another grid -> (1, rows * columns, d).

    As the DINOv2 hub does it: bicubic, no antialias, scale factors (rows + offset) / n and (columns + offset) / n; the
    same grid returns the table itself. (timm's antialiased resampling moves the features by up to a tenth.)
    """
    side = round(table.shape[1] ** 0.5)
    if grid == (side, side):
        return table
    square = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = tuple((cells + offset) / side for cells in grid)
    resampled = F.interpolate(square, scale_factor=scale, mode="bicubic")
    if tuple(resampled.shape[-2:]) != grid:
        raise ValueError(f"{table.shape[1]} positions became a grid of {tuple(resampled.shape[-2:])}; expected {grid}")
    return resampled.flatten(2).transpose(1, 2).to(table.dtype)


class VitBackbone(nn.Module):
    """The patch tokens of a timm vision transformer after its last norm, of any image size in whole patches."""

    vit: Any  # timm's classes share these names, not a type

    def __init__(self, vit: nn.Module, hub_positions: bool):
        """hub_positions  whether to resample learned positions as `resample_positions` does, else timm's way"""
        super().__init__()
        self.vit = vit
        self.hub_positions = hub_positions
        self.width: int = self.vit.num_features
        self.patch: int = self.vit.patch_embed.patch_size[0]
        published = getattr(vit, "pretrained_cfg", {})
        self.mean: tuple[float, ...] = published.get("mean", IMAGENET_MEAN)
        self.std: tuple[float, ...] = published.get("std", IMAGENET_STD)

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, h, w) -> features (n, width, h / patch, w / patch)."""
        rows, columns = grid_of(images, self.patch)
        if next(self.vit.parameters()).is_meta:
            raise GazeError(
                "this model was imported without the weights of its backbone; save it and load the checkpoint, or "
                "import it with --weights",
                UNAVAILABLE,
            )
        tokens = self._tokens(images) if self.hub_positions else self.vit.forward_features(images)
        tokens = tokens[:, self.vit.num_prefix_tokens :]
        return tokens.transpose(1, 2).reshape(len(images), self.width, rows, columns)

    def _tokens(self, images: Tensor) -> Tensor:
        vit = self.vit
        patches = vit.patch_embed(images)  # (n, rows, columns, d)
        grid = (patches.shape[1], patches.shape[2])
        before, table = vit.pos_embed.split([1, vit.pos_embed.shape[1] - 1], dim=1)
        first = (vit.cls_token + before).expand(len(images), -1, -1)
        tokens = torch.cat([first, patches.flatten(1, 2) + resample_positions(table, grid)], dim=1)
        return vit.norm(vit.blocks(vit.norm_pre(tokens)))


class TinyBackbone(nn.Module):
    """Five convolutions: a stand-in that learns from scratch on a CPU; a cell sees about a head of its scenes."""

    width, patch = 64, 16
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    convolutions = ((3, 16, 2), (16, 32, 2), (32, 48, 2), (48, 64, 2), (64, 64, 1))  # channels in, out, stride

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in self.convolutions:
            convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            layers += [convolution, nn.GroupNorm(8, outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(self.width)

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, h, w) -> features (n, 64, h / 16, w / 16)."""
        grid_of(images, self.patch)
        return self.norm(self.layers(images).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def grid_of(images: Tensor, patch: int) -> tuple[int, int]:
    """Rows and columns of patches in images (n, 3, h, w); an error where they are not whole."""
    height, width = images.shape[-2:]
    if height % patch or width % patch:
        raise GazeError(
            f"images of {height}x{width} pixels do not divide into patches of {patch}; choose multiples", USAGE
        )
    return height // patch, width // patch


def backbone(
    name: str, *, pretrained: bool = True, weights: str | Path | None = None, empty: bool = False
) -> nn.Module:
    """A backbone by name: "tiny", or any vision transformer of timm, such as "vit_base_patch14_dinov2.lvd142m".

    pretrained  take the published weights from timm's hub cache, or fetch them; False starts from random ones
    weights     a local file of them instead: timm's .safetensors or the hub's .pth
    empty       no weights at all (and no memory for them); the features then raise
    Errors: an unknown name, published weights that are neither cached nor to be fetched, a file that does not fit.
    """
    if name == "tiny":
        return TinyBackbone()
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models("*vit*"), n=3)
        raise GazeError(
            f'timm has no model "{name}"' + (f"; did you mean {' or '.join(close)}?" if close else ""), USAGE
        )

    if weights is None and pretrained and not empty:
        weights = _fetch(name)
    try:
        vit = timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError as error:
        raise GazeError(f"{name} of timm takes images of one size alone ({error}); choose a ViT", USAGE) from error
    if not hasattr(vit, "num_prefix_tokens"):
        raise GazeError(f"{name} of timm is no plain vision transformer; choose a ViT", USAGE)
    if empty:
        vit = vit.to("meta")
    elif weights is not None:
        _load(name, vit, weights)
    registers = getattr(vit, "num_reg_tokens", 0)  # the hub's models with registers have no offset and antialias
    return VitBackbone(vit, hub_positions="dinov2" in name and not registers)


def _load(name: str, vit: nn.Module, weights: str | Path) -> None:
    tensors, _ = weight_files.state_dict(weights)
    tensors = {key: value for key, value in tensors.items() if key != "mask_token" and not key.startswith("head.")}
    expected = vit.state_dict()
    problems = [f"{key} is missing" for key in expected if key not in tensors]
    problems += [f"{key} is not known" for key in tensors if key not in expected]
    problems += [
        f"{key} is {tuple(value.shape)}; expected {tuple(expected[key].shape)}"
        for key, value in tensors.items()
        if key in expected and value.shape != expected[key].shape
    ]
    raise_all(problems, f"{weights} does not fit {name}", f"It must hold the weights of {name}, of timm or of the hub.")
    vit.load_state_dict(tensors)


def _fetch(name: str) -> str:
    published = timm.get_pretrained_cfg(name)
    hub_id = published.hf_hub_id if published else None
    if not hub_id:
        raise GazeError(f"{name} has no published weights; pass a file with --weights, or --no-pretrained", UNAVAILABLE)
    try:
        return hf_hub_download(hub_id, "model.safetensors")
    except Exception as error:  # beside its own, the hub's client raises those of the HTTP client it happens to use
        raise GazeError(
            f"the weights of {name} are neither in the cache nor to be fetched ({type(error).__name__}). Fetch "
            f"https://huggingface.co/{hub_id}/resolve/main/model.safetensors where there is a network, and pass the "
            "file with --weights",
            UNAVAILABLE,
        ) from error
