"""Augmentation of gaze following: what is decided once per photo or clip, and how it changes picture, boxes and points.

The decisions follow Chong et al. 2020 (ejcgt/attention-target-detection:dataset.py) in kind, order and range, those
named gazelle Gaze-LLE (fkryan/gazelle). Two defects of the former are kept only where `compat` says so: an unknown gaze
target, stored as -1 there, stretches the crop far beyond the image, and coordinates stay fractional where pixels are
whole.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from gazecore import geometry


class Draws(Protocol):
    """Where random numbers come from; the names are numpy.random's own."""

    def random_sample(self) -> float: ...
    def uniform(self, low: float, high: float) -> float: ...
    def randint(self, low: int, high: int) -> int: ...


class SeededDraws:
    """Draws from a numpy Generator."""

    def __init__(self, generator: np.random.Generator):
        self._generator = generator

    def random_sample(self) -> float:
        return self._generator.random()

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._generator.random()

    def randint(self, low: int, high: int) -> int:
        return int(self._generator.integers(low, high))


@dataclass(frozen=True)
class Augmentation:
    """Decisions for one photo, or for all frames of a clip.

    grow          head box grown by this fraction, sequentially (geometry.expand_boxes_sequential)
    sides         head box: fractions of width, height, width, height added to its four coordinates
    keep_inside   head box clipped to the image after that
    crop          x, y, width, height in pixels; whole numbers unless compat
    flip          left to right, after the crop
    colour        factors of brightness, contrast, saturation, applied in this order
    """

    grow: float = 0.0
    sides: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    keep_inside: bool = True
    crop: tuple[float, float, float, float] | None = None
    flip: bool = False
    colour: tuple[float, float, float] | None = None

    def jittered(self, boxes_px: np.ndarray, size: tuple[float, float]) -> np.ndarray:
        """Head boxes (..., 4) of an image of size (width, height), before the crop."""
        if self.grow:
            boxes_px = geometry.expand_boxes_sequential(boxes_px, self.grow)
        if any(self.sides):
            sides_px = boxes_px[..., 2:] - boxes_px[..., :2]  # (..., 2) width, height
            boxes_px = boxes_px + np.concatenate([sides_px, sides_px], axis=-1) * self.sides
        return np.clip(boxes_px, 0, [*size, *size]) if self.keep_inside else boxes_px

    def cropped(self, boxes_px: np.ndarray, size: tuple[float, float]) -> np.ndarray:
        """Head boxes (..., 4) in pixels of the image -> in pixels of the crop, not flipped."""
        boxes_px = self.jittered(boxes_px, size)
        return boxes_px - np.tile(self.crop[:2], 2) if self.crop else boxes_px

    def boxes(self, boxes_px: np.ndarray, size: tuple[float, float]) -> np.ndarray:
        """Head boxes (..., 4) in pixels of the image -> in pixels of the augmented image."""
        boxes_px = self.cropped(boxes_px, size)
        if self.flip:
            width, _ = self.size(size)
            x_min, y_min, x_max, y_max = np.moveaxis(boxes_px, -1, 0)
            boxes_px = np.stack([width - x_max, y_min, width - x_min, y_max], axis=-1)
        return boxes_px

    def points(self, points_px: np.ndarray, size: tuple[float, float]) -> np.ndarray:
        """Points (..., 2) in pixels of the image -> in pixels of the augmented image; NaN stays NaN."""
        if self.crop:
            points_px = points_px - np.array(self.crop[:2])
        if self.flip:
            width, _ = self.size(size)
            points_px = np.stack([width - points_px[..., 0], points_px[..., 1]], axis=-1)
        return points_px

    def size(self, size: tuple[float, float]) -> tuple[float, float]:
        """(width, height) of the image -> of the augmented image."""
        return (self.crop[2], self.crop[3]) if self.crop else size

    def finished(self, pictures: list[Tensor]) -> list[Tensor]:
        """Flip and colour of the scene and of what was cut out of it: (3, h, w) of 0..255, cropped and resized already.

        Contrast turns about the mean grey of the first, the scene. Colours turn 8 bits into float32, rounded alike.
        """
        if self.flip:
            pictures = [picture.flip(-1) for picture in pictures]
        return _coloured(pictures, self.colour) if self.colour else pictures

    def published_picture(self, picture: Image.Image) -> Image.Image:
        """The augmented photo by the operations of the published code, to the bit, at several times the cost.

        What the crop takes from outside the photo is black.
        """
        if self.crop:
            x, y, width, height = self.crop
            picture = picture.crop((x, y, x + width, y + height))
        if self.flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.colour:
            brightness, contrast, saturation = self.colour
            picture = ImageEnhance.Brightness(picture).enhance(brightness)
            picture = ImageEnhance.Contrast(picture).enhance(contrast)
            picture = ImageEnhance.Color(picture).enhance(saturation)
        return picture


def _coloured(pictures: list[Tensor], factors: tuple[float, float, float]) -> list[Tensor]:
    brightness, contrast, saturation = factors
    mean_grey = None
    coloured = []
    for picture in pictures:
        values = _within_range(picture.float().contiguous().mul_(brightness), brightness)
        if mean_grey is None:
            mean_grey = float(_grey(values).mean())
        values = _within_range(values.mul_(contrast).add_(mean_grey * (1 - contrast)), contrast)
        values = _within_range(torch.add(_grey(values).mul_(1 - saturation), values, alpha=saturation), saturation)
        coloured.append(values if picture.is_floating_point() else values.round_())
    return coloured


def _within_range(values: Tensor, factor: float) -> Tensor:
    """Cut to 0..255 in place; a factor of at most 1 leads towards grey or black and cannot have left it."""
    return values.clamp_(0, 255) if factor > 1 else values


def _grey(values: Tensor) -> Tensor:
    """(3, h, w) RGB -> (1, h, w) luma of ITU-R BT.601, as Pillow's."""
    luma = values.new_tensor([[0.299, 0.587, 0.114]])
    return (luma @ values.flatten(1)).view(1, *values.shape[1:])


def sample_photo(
    draws: Draws, head_box_px: np.ndarray, gaze_px: np.ndarray, size: tuple[int, int], compat: bool = False
) -> Augmentation:
    """Chong et al.'s decisions for one photo: each of jitter, crop, flip and colour with probability one half.

    head_box_px  (4,), gaze_px (n, 2) in pixels of the image of size (width, height); NaN does not bound the crop
    compat       as published: gaze_px may lie far outside, the crop follows it, the box is not clipped
    """
    jitter = Augmentation(keep_inside=not compat)
    if draws.random_sample() <= 0.5:
        jitter = Augmentation(grow=draws.random_sample() * 0.2, keep_inside=not compat)
    crop = None
    if draws.random_sample() <= 0.5:
        crop = _crop(draws, jitter.jittered(head_box_px[None], size), gaze_px, size, compat)
    flip = draws.random_sample() <= 0.5
    colour = _colour(draws) if draws.random_sample() <= 0.5 else None
    return Augmentation(jitter.grow, keep_inside=not compat, crop=crop, flip=flip, colour=colour)


def sample_clip(
    draws: Draws,
    head_boxes_px: np.ndarray,
    gaze_px: np.ndarray,
    size: tuple[int, int],
    max_frames: int | None = None,
    compat: bool = False,
) -> tuple[Augmentation, slice]:
    """Chong et al.'s decisions for a clip, one for all its frames, and which frames of it are taken.

    head_boxes_px  (t, 4), gaze_px (t, 2) in pixels; NaN where unknown or out of frame
    max_frames     a longer clip is cut to this many, at a random start
    compat         as published: out of frame is -1 and bounds the crop, unless every frame is; boxes do before jitter
    """
    jitter, flip, colour = draws.random_sample(), draws.random_sample(), draws.random_sample()
    factors = _colour(draws) if colour < 0.5 else None
    cropped = draws.random_sample() < 0.5

    frames = slice(0, len(head_boxes_px))
    if max_frames is not None and len(head_boxes_px) > max_frames:
        start = draws.randint(0, len(head_boxes_px) - max_frames)
        frames = slice(start, start + max_frames)

    grow = jitter * 0.1 if jitter < 0.5 else 0.0
    # The reference clips the box where it jitters it, and only there
    augmentation = Augmentation(grow, keep_inside=not compat or jitter < 0.5, flip=flip < 0.5, colour=factors)
    if not cropped:
        return augmentation, frames
    bounding = head_boxes_px[frames] if compat else augmentation.jittered(head_boxes_px[frames], size)
    gaze_px = gaze_px[frames]
    if compat and (gaze_px == -1).all():
        gaze_px = np.full_like(gaze_px, np.nan)
    crop = _crop(draws, bounding, gaze_px, size, compat)
    return replace(augmentation, crop=crop), frames


def sample_gazelle(
    draws: Draws, head_box_px: np.ndarray, gaze_px: np.ndarray, size: tuple[int, int], compat: bool = False
) -> Augmentation:
    """Gaze-LLE's decisions for one photo: each side jittered by up to 20 %, crop and flip, each with probability 0.5.

    Arguments as in sample_photo; compat leaves the box unclipped.
    """
    sides = (0.0, 0.0, 0.0, 0.0)
    if draws.random_sample() <= 0.5:
        left, top, right, bottom = (draws.uniform(-0.2, 0.2) for _ in range(4))
        sides = (left, top, right, bottom)
    jitter = Augmentation(sides=sides, keep_inside=not compat)
    crop = None
    if draws.random_sample() <= 0.5:
        crop = _crop(draws, jitter.jittered(head_box_px[None], size), gaze_px, size, compat=False)
    return Augmentation(sides=sides, keep_inside=not compat, crop=crop, flip=draws.random_sample() <= 0.5)


def _colour(draws: Draws) -> tuple[float, float, float]:
    return draws.uniform(0.5, 1.5), draws.uniform(0.5, 1.5), draws.uniform(0.0, 1.5)


def _crop(
    draws: Draws, head_boxes_px: np.ndarray, gaze_px: np.ndarray, size: tuple[int, int], compat: bool
) -> tuple[float, float, float, float] | None:
    """A random rectangle x, y, width, height that holds all boxes (t, 4) and points (n, 2); None if none is known."""
    corners = np.concatenate([head_boxes_px[:, :2], head_boxes_px[:, 2:], gaze_px])
    known = corners[~np.isnan(corners).any(axis=1)]
    if not len(known):
        return None
    if not compat:
        known = np.clip(known, 0, size)
    (left, top), (right, bottom) = known.min(axis=0), known.max(axis=0)

    left = draws.uniform(0, left) if left >= 0 else left  # negative only under compat
    top = draws.uniform(0, top) if top >= 0 else top
    width = draws.uniform(right - left, size[0] - left)
    height = draws.uniform(bottom - top, size[1] - top)
    if compat:
        return left, top, width, height

    left, top = int(min(left, size[0] - 1)), int(min(top, size[1] - 1))
    right = min(size[0], max(left + 1, int(np.ceil(max(left + width, right)))))
    bottom = min(size[1], max(top + 1, int(np.ceil(max(top + height, bottom)))))
    return left, top, right - left, bottom - top
