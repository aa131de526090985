"""Heat maps: Gaussian targets, peaks, resizing, densities, fixation maps, and their eight-bit form on disk.

A heat map is (..., h, w); its size is (h, w). Points are normalised x, y, origin top left. Missing is NaN.
"""

import math
from functools import lru_cache

import numpy as np

from gazecore.errors import USAGE, GazeError

CONVENTIONS = ("subpixel", "vtd", "gazelle")
METHODS = ("bilinear", "area", "bilinear-antialias")
CHUNK = 256  # maps drawn at a time: 4 MB of 64x64 stay in the processor's cache
ROWS = 32  # rows interpolated at a time, for the same reason


def gaussian(
    points: np.ndarray, size: tuple[int, int] = (64, 64), sigma: float = 3.0, convention: str = "subpixel"
) -> np.ndarray:
    """One Gaussian per point, (..., h, w) float32, peak 1, zero beyond 3 sigma.

    points      (..., 2) normalised x, y; NaN gives a map of zeros, as does a point whose 3 sigma do not reach the map
    size        (h, w)
    sigma       in cells of the map
    convention  "subpixel"  centred where the point lies (idiap/sharingan)
                "vtd"       point minus 3 sigma is truncated toward zero: a point nearer to the left or top border than
                            3 sigma peaks one cell further in (ejcgt/attention-target-detection:utils/imutils.py)
                "gazelle"   the point itself is truncated; a negative coordinate gives zeros
                            (fkryan/gazelle:gazelle/utils.py)

    A Gaussian cut by the border is scaled so that the largest value left is 1, as in all three sources.
    """
    _check(convention)
    points = np.asarray(points, float)
    h, w = size
    flat = points.reshape(-1, 2)
    maps = np.empty((len(flat), h, w), np.float32)
    for start in range(0, len(flat), CHUNK):
        chunk = flat[start : start + CHUNK]
        known = _drawable(chunk, convention)[:, None]
        columns = _peak_one(_profile(chunk[:, 0], w, sigma, convention) * known)
        rows = _peak_one(_profile(chunk[:, 1], h, sigma, convention))
        np.einsum("nh,nw->nhw", rows, columns, out=maps[start : start + CHUNK])
    return maps.reshape(*points.shape[:-1], h, w)


def _check(convention: str) -> None:
    if convention not in CONVENTIONS:
        raise GazeError(f'Gaussian "{convention}"; expected one of {", ".join(CONVENTIONS)}.', USAGE)


def _drawable(points: np.ndarray, convention: str) -> np.ndarray:
    """Which points (..., 2) leave anything on the map, (...) bool."""
    return np.all(points >= 0 if convention == "gazelle" else ~np.isnan(points), axis=-1)


def _profile(position: np.ndarray, length: int, sigma: float, convention: str) -> np.ndarray:
    """A Gaussian along one axis: normalised positions (n,) -> (n, length) float32, zero outside 3 sigma."""
    cell = np.nan_to_num(position, nan=-np.inf) * length
    if convention == "gazelle":
        cell = np.trunc(cell)
    first, end = np.trunc(cell - 3 * sigma), np.trunc(cell + 3 * sigma + 1)
    centre = cell if convention == "subpixel" else first + (6 * sigma + 1) // 2
    first, end, centre = (where.astype(np.float32)[:, None] for where in (first, end, centre))  # (n, 1)
    cells = np.arange(length, dtype=np.float32)
    offset = cells - centre
    return np.exp(offset * offset * np.float32(-0.5 / sigma**2)) * ((cells >= first) & (cells < end))


def _peak_one(values: np.ndarray) -> np.ndarray:
    """Scaled along the last axis so that the largest value is 1; zeros stay zeros."""
    largest = values.max(axis=-1, keepdims=True, initial=0)
    return values / np.where(largest > 0, largest, 1)


def multi_annotator(
    points: np.ndarray, size: tuple[int, int] = (64, 64), sigma: float = 3.0, convention: str = "vtd"
) -> np.ndarray:
    """One map for several annotators, (..., h, w) float32, peak 1 / n.

    points  (..., n, 2) normalised; NaN annotators are left out and not counted; without any the map is zero

    The annotators' Gaussians are added one after another, the sum scaled to peak 1 after each, and the result divided
    by their number, so that later annotators weigh more.
    Source: ejcgt/attention-target-detection:dataset.py (the target of the GazeFollow test split).
    """
    _check(convention)
    points = np.asarray(points, float)
    *leading, n, _ = points.shape
    h, w = size
    flat = points.reshape(math.prod(leading), n, 2)
    maps = np.zeros((len(flat), h, w), np.float32)
    for start in range(0, len(flat), CHUNK):
        chunk = flat[start : start + CHUNK]
        drawn = maps[start : start + CHUNK]
        for point in np.moveaxis(chunk, 1, 0):  # (chunk, 2)
            columns = _profile(point[:, 0], w, sigma, convention) * _drawable(point, convention)[:, None]
            drawn += _profile(point[:, 1], h, sigma, convention)[:, :, None] * columns[:, None, :]
            largest = drawn.max(axis=(-2, -1), keepdims=True, initial=0)
            drawn /= np.where(largest > 0, largest, 1)
        annotators = (~np.isnan(chunk).any(axis=-1)).sum(axis=-1)
        drawn /= np.maximum(annotators, 1)[:, None, None]
    return maps.reshape(*leading, h, w)


def peak(heatmaps: np.ndarray) -> np.ndarray:
    """Normalised x, y of the largest value, (..., 2): index / size, without half a pixel.

    heatmaps (..., h, w), any scale. Of equal values the first in row order counts: (0, 0) for a constant map. A map
    that holds NaN has no peak: NaN.
    """
    heatmaps = np.asarray(heatmaps)
    *leading, h, w = heatmaps.shape
    flat = heatmaps.reshape(*leading, h * w)
    index = flat.argmax(axis=-1)
    point = np.stack([index % w / w, index // w / h], axis=-1)
    largest = np.take_along_axis(flat, index[..., None], axis=-1)  # NaN comes first in argmax
    return np.where(np.isnan(largest), np.nan, point)


def resize(
    heatmaps: np.ndarray, size: tuple[int, int], method: str = "bilinear", out: np.ndarray | None = None
) -> np.ndarray:
    """Heat maps (..., h, w) at another size (h, w), float32 (float64 stays float64); pixel centres at half pixels.

    method  "bilinear"            between the two nearest cells of each axis
            "bilinear-antialias"  a triangle as wide as the shrinkage: for making maps smaller
            "area"                the mean of all cells that a new cell touches
    out     array of the result's shape and type to write to, for loops: fresh memory costs more than the arithmetic

    Equal to torch.nn.functional.interpolate(align_corners=False) of these modes: "bilinear" in float32 to the last bit
    (where the new height and width add up to more than 128), the others to float rounding.
    """
    heatmaps = np.asarray(heatmaps)
    heatmaps = heatmaps.astype(np.result_type(heatmaps.dtype, np.float32), copy=False)
    if out is None:
        out = np.empty((*heatmaps.shape[:-2], *size), heatmaps.dtype)
    if method == "bilinear":
        for i in np.ndindex(heatmaps.shape[:-2]):
            _interpolate(heatmaps[i], out[i])
    elif method in METHODS:
        matrix = _area_matrix if method == "area" else _triangle_matrix
        down, across = (matrix(*lengths).astype(out.dtype) for lengths in zip(heatmaps.shape[-2:], size, strict=True))
        np.matmul(down, heatmaps @ across.T, out=out)
    else:
        raise GazeError(f'resizing "{method}"; expected one of {", ".join(METHODS)}.', USAGE)
    return out


def _interpolate(heatmap: np.ndarray, out: np.ndarray) -> None:
    """Bilinear, along rows first. torch rounds the later cell's product and adds the earlier one's unrounded (fused
    multiply-add); here the unrounded product is a float64, so that nearly equal pixels rank as they do there."""
    h, w = out.shape
    earlier, later, rest, share = _neighbours(heatmap.shape[1], w, heatmap.dtype.str)
    exact = heatmap.take(earlier, axis=1) * rest
    exact += heatmap.take(later, axis=1) * share
    wide = exact.astype(heatmap.dtype)  # (old h, w)
    exact[...] = wide

    earlier, later, rest, share = _neighbours(heatmap.shape[0], h, heatmap.dtype.str)
    products, sums = np.empty((ROWS, w), wide.dtype), np.empty((ROWS, w))
    for top in range(0, h, ROWS):
        rows = slice(top, min(top + ROWS, h))
        product, total = products[: rows.stop - top], sums[: rows.stop - top]
        wide.take(later[rows], axis=0, out=product, mode="clip")  # without clip, take copies out first
        product *= share[rows, None]
        exact.take(earlier[rows], axis=0, out=total, mode="clip")
        total *= rest[rows, None]
        total += product
        out[rows] = total


@lru_cache(maxsize=256)
def _neighbours(length: int, new_length: int, dtype: str) -> tuple[np.ndarray, ...]:
    """Per new cell: the old cell at or before it, the one after it, and their shares, the latter in the maps' type."""
    real = np.dtype(dtype).type
    position = (np.arange(new_length, dtype=dtype) + real(0.5)) * real(length / new_length) - real(0.5)
    position = np.clip(position, 0, length - 1)
    earlier = position.astype(np.intp)
    share = position - earlier.astype(dtype)
    return earlier, np.minimum(earlier + 1, length - 1), (1 - share).astype(np.float64), share


@lru_cache(maxsize=256)
def _area_matrix(length: int, new_length: int) -> np.ndarray:
    cell, new = np.arange(length), np.arange(new_length)[:, None]
    touched = (cell >= new * length // new_length) & (cell < -(-(new + 1) * length // new_length))
    return touched / touched.sum(axis=1, keepdims=True)


@lru_cache(maxsize=256)
def _triangle_matrix(length: int, new_length: int) -> np.ndarray:
    scale = length / new_length
    reach = max(scale, 1.0)
    centre = (np.arange(new_length)[:, None] + 0.5) * scale
    weights = np.maximum(1 - np.abs(np.arange(length) + 0.5 - centre) / reach, 0)
    return weights / weights.sum(axis=1, keepdims=True)


def density(heatmaps: np.ndarray) -> np.ndarray:
    """Heat maps (..., h, w) scaled to sum 1, float64; values below zero count as zero, a map without any is uniform."""
    positive = np.maximum(np.asarray(heatmaps, np.float64), 0)
    total = positive.sum(axis=(-2, -1), keepdims=True)
    uniform = 1 / (positive.shape[-2] * positive.shape[-1])
    return np.where(total == 0, uniform, positive / np.where(total == 0, 1, total))


def peak_normalised(heatmaps: np.ndarray) -> np.ndarray:
    """Heat maps (..., h, w) scaled to peak 1, float32 (float64 stays); a map without a positive value is unchanged."""
    heatmaps = np.asarray(heatmaps)
    heatmaps = heatmaps.astype(np.result_type(heatmaps.dtype, np.float32), copy=False)
    largest = heatmaps.max(axis=(-2, -1), keepdims=True)
    return heatmaps / np.where(largest <= 0, 1, largest)


def fixation_map(
    points_px: np.ndarray,
    size: tuple[int, int],
    sigma_px: float,
    durations: np.ndarray | None = None,
    mode: str = "constant",
) -> np.ndarray:
    """Fixations of one image, counted at their pixels and blurred, (h, w) float64.

    points_px  (n, 2) x, y in pixels, cut to whole pixels; missing (NaN) and outside the image: left out
    size       (h, w)
    sigma_px   standard deviation of the blur in pixels, see `sigma_px`; cut off at 4 of it; 0 leaves the counts
    durations  (n,) what each fixation counts, for instance seconds; 1 without it
    mode       beyond the border: "constant" is nothing (mass near it is lost), "reflect" keeps the sum

    Equal to pysaliency's FixationMap(kernel_size=sigma_px, convolution_mode=mode).
    """
    from scipy.ndimage import gaussian_filter

    points_px = np.asarray(points_px, float).reshape(-1, 2)
    h, w = size
    inside = ((points_px >= 0) & (points_px < (w, h))).all(axis=-1)
    column, row = points_px[inside].astype(np.intp).T
    weights = None if durations is None else np.asarray(durations, float)[inside]
    counts = np.bincount(row * w + column, weights, minlength=h * w).reshape(h, w).astype(float)
    return gaussian_filter(counts, sigma_px, mode=mode, truncate=4.0)


def sigma_px(distance_cm: float, screen_px: float, screen_cm: float, degrees: float = 1.0) -> float:
    """Pixels that `degrees` of visual angle cover on a screen seen from distance_cm, straight ahead.

    screen_px, screen_cm  the same side of the screen, in pixels and in centimetres
    """
    return float(2 * distance_cm * np.tan(np.deg2rad(degrees) / 2) * screen_px / screen_cm)


def quantise(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heat maps (..., h, w) as eight bits and one scale per map: uint8 (..., h, w), float32 (...).

    The scale is the map's largest value, so that a density whose peak is 0.01 keeps all 256 levels; the error is at
    most scale / 510. Values below zero become zero. A map that holds NaN is missing: zeros with scale NaN.
    """
    heatmaps = np.asarray(heatmaps)
    scale = np.maximum(heatmaps.max(axis=(-2, -1)), 0).astype(np.float32)
    known = scale > 0
    per_level = np.where(known, 255 / np.where(known, scale, 1), 0).astype(np.float32)[..., None, None]
    levels = np.clip(np.nan_to_num(heatmaps, nan=0.0) * per_level, 0, 255)
    return (levels + 0.5).astype(np.uint8), scale


def dequantise(levels: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The heat maps of `quantise`: levels * scale / 255, (..., h, w) float32; NaN where the scale is."""
    return np.asarray(levels) * (np.asarray(scale, np.float32) / np.float32(255))[..., None, None]
