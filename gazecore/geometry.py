"""Points and boxes: pixels <-> normalised, repair, expansion, smoothing, flips, and the head prompt of the models.

Points are x, y and boxes x_min, y_min, x_max, y_max, origin top left. Without a suffix they are normalised to the
image, `_px` is pixels. `size_px` is always (width, height); the size of a map is (h, w). Missing is NaN, stays NaN.
"""

import numpy as np

from gazecore.errors import USAGE, GazeError

HEAD_MASKS = ("vtd", "gazelle")


def normalise_boxes(boxes_px: np.ndarray, size_px: np.ndarray) -> np.ndarray:
    """Boxes (..., 4) in pixels of images of size_px (..., 2) = width, height -> boxes (..., 4) in 0..1."""
    return np.asarray(boxes_px, float) / _corners(size_px)


def denormalise_boxes(boxes: np.ndarray, size_px: np.ndarray) -> np.ndarray:
    """Boxes (..., 4) in 0..1 -> pixels of images of size_px (..., 2) = width, height."""
    return np.asarray(boxes, float) * _corners(size_px)


def _corners(size_px: np.ndarray) -> np.ndarray:
    size_px = np.asarray(size_px, float)
    return np.concatenate([size_px, size_px], axis=-1)  # (..., 4)


def repair_boxes(boxes_px: np.ndarray, size_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boxes that a model can use, and what was wrong with them.

    boxes_px  (..., 4) pixels, as annotated: minimum and maximum may be swapped, corners may leave the image
    size_px   (..., 2) width, height of each image
    returns   boxes_px (..., 4), ordered and inside the image; and three bool masks (...):
              swapped     minimum and maximum of x or y were the wrong way round, put back
              clipped     a corner lay outside the image, moved to its border
              degenerate  no area left: the box is NaN

    A box with a NaN coordinate is missing: NaN in all four, in none of the masks.
    """
    boxes_px = np.array(boxes_px, float)
    width, height = np.moveaxis(np.asarray(size_px, float), -1, 0)
    missing = np.isnan(boxes_px).any(axis=-1)

    low, high = np.minimum(boxes_px[..., :2], boxes_px[..., 2:]), np.maximum(boxes_px[..., :2], boxes_px[..., 2:])
    ordered = np.concatenate([low, high], axis=-1)
    border = np.stack(np.broadcast_arrays(width, height, width, height), axis=-1)
    inside = np.clip(ordered, 0.0, border)

    swapped = ~missing & (ordered != boxes_px).any(axis=-1)
    clipped = ~missing & (inside != ordered).any(axis=-1)
    degenerate = ~missing & ~(inside[..., 2:] > inside[..., :2]).all(axis=-1)
    inside[missing | degenerate] = np.nan
    return inside, swapped, clipped, degenerate


def expand_boxes_sequential(boxes_px: np.ndarray, k: float | np.ndarray) -> np.ndarray:
    """Boxes (..., 4) grown by the fraction k (a number or (...)) on every side, one side after the other.

    The minimum moves first, then the maximum by k of the width that is already grown: with k = 0.1 the left side grows
    by 10 % and the right by 11 %. Negative k shrinks. The result may leave the image.
    Source: ejcgt/attention-target-detection:dataset.py.
    """
    boxes_px, k = np.asarray(boxes_px, float), np.asarray(k, float)[..., None]
    low, high = boxes_px[..., :2], boxes_px[..., 2:]
    low = low - k * (high - low)
    return np.concatenate([low, high + k * (high - low)], axis=-1)


def smooth_boxes(boxes: np.ndarray, width: int = 11, compat: bool = False) -> np.ndarray:
    """The boxes (..., t, 4) of one track per leading index, averaged over `width` frames; edge frames are repeated.

    width is odd. NaN spreads over its window: smooth the annotated frames of a track alone. A resting box stays what it
    is; compat=True reproduces the reference to the last bit, where it drifts by 1e-14 and may lose a whole pixel later.
    Source: ejcgt/attention-target-detection:utils/myutils.py (VideoAttentionTarget, training and test).
    """
    if width < 1 or width % 2 == 0:
        raise GazeError(f"smoothing over {width} frames; expected an odd number of at least 1.", USAGE)
    boxes = np.asarray(boxes, float)
    if boxes.shape[-2] == 0:
        return boxes.copy()
    around = [(0, 0)] * (boxes.ndim - 2) + [(width // 2, width // 2), (0, 0)]
    padded = np.pad(boxes, around, mode="edge")
    if compat:
        return np.apply_along_axis(np.convolve, -2, padded, np.ones(width) / width, "valid")
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=-2).sum(axis=-1) / width


def head_mask(
    head_boxes: np.ndarray, size: tuple[int, int] = (224, 224), convention: str = "vtd", compat: bool = False
) -> np.ndarray:
    """The head prompt: 1 inside the head box, 0 elsewhere, (..., h, w) float32.

    head_boxes  (..., 4) normalised; a NaN box (no head) gives an empty mask
    size        (h, w)
    convention  "vtd"      corners truncated, then clipped to 0..size-1: the last row and column are never marked
                "gazelle"  corners rounded half to even
                both half-open: the maximum is not part of the mask
    compat      as published for "gazelle": boxes are not clipped to the image first, so that a negative corner counts
                from the far side of the map, which leaves the mask empty for nearly all of them

    A box smaller than one cell may give an empty mask in either convention, as published.
    Sources: ejcgt/attention-target-detection:utils/imutils.py, fkryan/gazelle:gazelle/model.py.
    """
    if convention not in HEAD_MASKS:
        raise GazeError(f'head mask "{convention}"; expected one of {", ".join(HEAD_MASKS)}.', USAGE)
    h, w = size
    head_boxes = np.asarray(head_boxes, float)
    missing = np.isnan(head_boxes).any(axis=-1)
    cells = np.where(missing[..., None], 0.0, head_boxes)
    length = np.array([w, h, w, h])

    if convention == "vtd":
        cells = np.clip(np.trunc(cells * length), 0, length - 1)
    else:
        cells = np.round((cells if compat else np.clip(cells, 0.0, 1.0)) * length)
        cells = np.where(cells < 0, np.maximum(cells + length, 0), cells)  # Python's slices count from the end

    x_min, y_min, x_max, y_max = np.moveaxis(cells, -1, 0)[..., None]  # 4 of (..., 1)
    rows = (np.arange(h) >= y_min) & (np.arange(h) < y_max) & ~missing[..., None]  # (..., h)
    columns = (np.arange(w) >= x_min) & (np.arange(w) < x_max)  # (..., w)
    return (rows[..., :, None] & columns[..., None, :]).astype(np.float32)


def flip_boxes(boxes: np.ndarray) -> np.ndarray:
    """Normalised boxes (..., 4) mirrored left to right; minimum and maximum stay in order."""
    boxes = np.asarray(boxes, float)
    return np.stack([1.0 - boxes[..., 2], boxes[..., 1], 1.0 - boxes[..., 0], boxes[..., 3]], axis=-1)


def flip_points(points: np.ndarray) -> np.ndarray:
    """Normalised points (..., 2) mirrored left to right."""
    points = np.asarray(points, float)
    return np.stack([1.0 - points[..., 0], points[..., 1]], axis=-1)
