"""Augmentation of eye regions: what differs between the made eyes and those of real cameras, faces and crops.

One affine map moves image (bilinear) and labels (nearest) alike; light, colour, blur and noise change the image alone.
Numbers are drawn sample by sample from a generator of its own; a whole batch is changed at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gazecore.errors import USAGE, GazeError

SCALES = 0.6, 1.8  # of the eye, against filling the picture as it did
MOST_ASPECT = 1.12
MOST_TURN_DEG = 15.0
MOST_SHIFT = 0.18  # of the picture's sides
MOST_BLUR_PX = 2.5
TAPS = 13  # of the blur
MOST_NOISE = 14.0  # standard deviation, grey values


@dataclass(frozen=True)
class Draw:
    """The augmentation of one sample. Defaults change nothing.

    flip           left to right
    scale, aspect  of the eye, and of its width against its height; turn_deg counter-clockwise; shift of the picture
    contrast, brightness (grey values), gamma, gains (of the channels), saturation (0: grey)
    reflections    bright spots, such as glasses have: x, y of the middle, radius (of the width), grey values
    blur_px        standard deviation; noise: the same, and `seed` which
    """

    flip: bool = False
    scale: float = 1.0
    aspect: float = 1.0
    turn_deg: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    contrast: float = 1.0
    brightness: float = 0.0
    gamma: float = 1.0
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    saturation: float = 1.0
    reflections: tuple[tuple[float, float, float, float], ...] = ()
    blur_px: float = 0.0
    noise: float = 0.0
    seed: int = 0


def draw(random: np.random.Generator, augmentation: str = "full") -> Draw:
    """One sample's augmentation: full, flip (left to right only) or none.

    One in four keeps its place and one in four its light, so that the plain case is learnt best.
    """
    if augmentation not in ("full", "flip", "none"):
        raise GazeError(f"augment {augmentation}: expected full, flip or none", USAGE)
    flip = augmentation != "none" and bool(random.random() < 0.5)
    if augmentation != "full":
        return Draw(flip=flip)
    moved, lit, tinted, shiny, blurred, noisy = random.random(6) < (0.75, 0.75, 0.4, 0.15, 0.3, 0.4)
    low, high = np.log(SCALES)
    scale, aspect = np.exp(random.uniform((low, -math.log(MOST_ASPECT)), (high, math.log(MOST_ASPECT))))
    turn, x, y = random.uniform(-1, 1, 3) * (MOST_TURN_DEG, MOST_SHIFT, MOST_SHIFT)
    contrast, gamma = np.exp(random.uniform(-0.5, 0.5, 2))
    brightness = random.uniform(-35, 35)
    gains, saturation = np.exp(random.uniform(-0.12, 0.12, 3)), random.choice((0.0, 0.0, 0.5, 1.4))
    spots = random.uniform((0, 0, 0.02, 40), (1, 1, 0.15, 200), (int(random.integers(1, 4)), 4))
    blur, noise, seed = random.uniform(0.3, MOST_BLUR_PX), random.uniform(1, MOST_NOISE), random.integers(2**31)
    chosen: dict[str, Any] = {"flip": flip, "blur_px": blur * blurred, "noise": noise * noisy, "seed": int(seed)}
    if moved:
        chosen |= {"scale": scale, "aspect": aspect, "turn_deg": turn, "shift": (x, y)}
    if lit:
        chosen |= {"contrast": contrast, "gamma": gamma, "brightness": brightness}
    if tinted:
        chosen |= {"gains": tuple(gains.tolist()), "saturation": saturation}
    if shiny:
        chosen["reflections"] = tuple(map(tuple, spots.tolist()))
    return Draw(**chosen)


def augmented(image: Tensor, labels: Tensor, draws: Sequence[Draw], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Images (b, h, w, 3) uint8 and labels (b, h, w) uint8 -> (b, 3, *size) float32 0..255, (b, *size) long.

    Beyond its edges a picture goes on mirrored, and its labels with it.
    """
    maps = _maps(draws, (image.shape[2], image.shape[1]), size)
    finer = max(1, round(image.shape[1] / size[0]))  # a picture that shrinks is sampled finer and averaged
    grid = F.affine_grid(maps, [len(draws), 1, size[0] * finer, size[1] * finer], align_corners=False)
    pixels = image.permute(0, 3, 1, 2).float()
    picture = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if finer > 1:
        picture = F.avg_pool2d(picture, finer)
        grid = F.affine_grid(maps, [len(draws), 1, *size], align_corners=False)
    target = F.grid_sample(
        labels[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
    )
    return _noisy(_blurred(_spotted(_lit(picture, draws), draws), draws), draws).clamp_(0, 255), target[:, 0].long()


def _maps(draws: Sequence[Draw], source: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(b, 2, 3): from a place in the result to one in the source, both -1..1; source (width, height)."""
    width, height = source
    found = np.empty((len(draws), 2, 3), np.float32)
    for own, one in zip(found, draws, strict=True):
        turn = math.radians(one.turn_deg)
        cos, sin = math.cos(turn) / one.scale, math.sin(turn) / one.scale
        stretch = math.sqrt(one.aspect) * (-1 if one.flip else 1), 1 / math.sqrt(one.aspect)
        own[0] = cos / stretch[0], -sin / stretch[1] * height / width, -one.shift[0] * 2
        own[1] = sin / stretch[0] * width / height, cos / stretch[1], -one.shift[1] * 2
    return torch.from_numpy(found)


def _lit(picture: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Saturation and gains, gamma, then contrast around the mean and brightness."""
    saturation = _column([one.saturation for one in draws])
    if (saturation != 1).any():
        grey = (picture * torch.tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        picture = torch.lerp(grey.expand_as(picture), picture, saturation)
    picture = picture * torch.tensor([one.gains for one in draws], dtype=torch.float32).view(-1, 3, 1, 1)
    for i, one in enumerate(draws):
        if one.gamma != 1:
            picture[i] = (picture[i].clamp_(0, 255) / 255).pow_(one.gamma).mul_(255)
    mean = picture.mean(dim=(1, 2, 3), keepdim=True)
    contrast = _column([one.contrast for one in draws])
    return picture * contrast + (mean * (1 - contrast) + _column([one.brightness for one in draws]))


def _spotted(picture: Tensor, draws: Sequence[Draw]) -> Tensor:
    rows, columns = picture.shape[-2:]
    x, y = torch.arange(columns) / columns, torch.arange(rows)[:, None] / columns
    for i, one in enumerate(draws):
        for x0, y0, radius, grey in one.reflections:
            distance = ((x - x0) ** 2 + (y - y0 * rows / columns) ** 2) / radius**2
            picture[i] += grey * torch.exp(-(distance**2))  # flat in its middle, soft at its rim
    return picture


def _blurred(picture: Tensor, draws: Sequence[Draw]) -> Tensor:
    chosen = [i for i, one in enumerate(draws) if one.blur_px > 0]
    if not chosen:
        return picture
    offsets = torch.arange(TAPS) - TAPS // 2
    widths = torch.tensor([draws[i].blur_px for i in chosen], dtype=torch.float32)
    taps = torch.exp(-0.5 * (offsets / widths[:, None]) ** 2)
    taps = (taps / taps.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)  # (3 k, taps)
    rows, columns = picture.shape[-2:]
    flat = picture[chosen].reshape(1, -1, rows, columns)
    flat = F.pad(flat, (TAPS // 2,) * 4, mode="replicate")
    flat = F.conv2d(flat, taps[:, None, None, :], groups=len(taps))
    picture[chosen] = F.conv2d(flat, taps[:, None, :, None], groups=len(taps)).view(-1, 3, rows, columns)
    return picture


def _noisy(picture: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Grey noise and coloured noise, half and half."""
    for i, one in enumerate(draws):
        if one.noise > 0:
            random = np.random.default_rng(one.seed)
            kind = (1 if one.seed % 2 else 3, *picture.shape[-2:])
            picture[i] += torch.from_numpy(random.standard_normal(kind, np.float32)) * one.noise
    return picture


def _column(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1)
