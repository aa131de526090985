"""Gaze following: AUC of every published protocol, distances, angles, in-frame and looking-at-head precision.

Heat maps are (..., h, w), gaze_targets (..., n, 2) normalised x, y with one row per annotator, NaN where there is none;
results are (...). A sample that cannot be scored is NaN: leave it out of the mean and count it.

"AUC" is at least five numbers, which differ by .1 and more on one map: name the protocol beside each. On GazeFollow
the annotators' pixels are compared with
"gazelle"    the map enlarged to the image's size, bilinear (fkryan/gazelle, Gaze-LLE; what recent papers report)
"vtd"        the map scaled to eight bits from minimum to maximum, then enlarged by Pillow, which makes ties
             (ejcgt/attention-target-detection:eval_on_gazefollow.py, whose scipy.misc.imresize is gone)
"tonini"     the map enlarged as by scikit-image: mirrored at the border, blurred before it shrinks
             (francescotonini/multimodal-across-domains-gaze-target-detection)
"sharingan"  the map at its own size, annotators at trunc(p * (size - 1)) (idiap/sharingan:src/metrics.py)
and on VideoAttentionTarget, by "gazelle" and "vtd", a square around the gaze target with the map at its own size.
"""

import math
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from gazecore.errors import USAGE, GazeError
from gazecore.heatmaps import peak, resize
from gazecore.metrics import ranking

PROTOCOLS = ("gazelle", "vtd", "tonini", "sharingan")
VAT_PROTOCOLS = ("gazelle", "vtd")
REACH = 9  # cells from the gaze target to the edge of VideoAttentionTarget's square: 3 sigma of the 64x64 target map
CHUNK = 1024  # maps of VideoAttentionTarget compared at a time, 16 MB


def auc(
    heatmaps: np.ndarray, gaze_targets: np.ndarray, size_px: np.ndarray | None = None, protocol: str = "gazelle"
) -> np.ndarray:
    """Area under the ROC curve as on GazeFollow: the annotators' pixels are the positives, (...).

    heatmaps      (..., h, w), any scale
    gaze_targets  (..., n, 2), NaN where there is no annotator; on or beyond the border counts for the pixel at it
    size_px       (..., 2) width, height of each image; "sharingan" needs none
    protocol      one of PROTOCOLS, see above
    returns       (...); 0.5 for a constant map; NaN without annotators, where every pixel is one, or for a map with NaN

    Annotators of one pixel count once. One image at a time is held at full size.
    """
    if protocol not in PROTOCOLS:
        raise GazeError(f'AUC protocol "{protocol}"; expected one of {", ".join(PROTOCOLS)}.', USAGE)
    if size_px is None and protocol != "sharingan":
        raise GazeError(f'AUC protocol "{protocol}" compares at the size of the image; size_px is missing.', USAGE)
    maps, targets, leading = _samples(heatmaps, gaze_targets)
    sizes = np.asarray(maps.shape[:-3:-1] if protocol == "sharingan" else size_px)
    sizes = np.broadcast_to(sizes, (*leading, 2)).reshape(-1, 2).astype(int)  # width, height of the compared map
    cells = sizes - 1 if protocol == "sharingan" else sizes
    annotated = ~np.isnan(targets).any(axis=-1)

    flat = maps.min(axis=(-2, -1)) == maps.max(axis=(-2, -1))
    scores = np.full(len(maps), np.nan)
    memory = np.empty(sizes.prod(axis=-1).max(initial=0), maps.dtype)
    for i in np.flatnonzero(annotated.any(axis=-1) & ~np.isnan(maps).any(axis=(-2, -1))):
        width, height = sizes[i].tolist()
        column, row = np.clip(targets[i][annotated[i]] * cells[i], 0, sizes[i] - 1).astype(int).T
        index = np.unique(row * width + column)
        if flat[i] and len(index) < width * height:
            scores[i] = 0.5  # without the rounding of the enlarged map, which is not flat to the last bit
            continue
        if protocol == "vtd":
            image = eight_bits(maps[i], (height, width))
            positives = np.bincount(np.asarray(image).ravel()[index], minlength=256)
            scores[i] = ranking.roc_auc_of_counts(np.array(image.histogram()), positives)
            continue
        if protocol == "gazelle":
            compared = resize(maps[i], (height, width), out=memory[: width * height].reshape(height, width))
        elif protocol == "tonini":
            compared = mirrored(maps[i], (height, width))
        else:
            compared = _probabilities(maps[i])
        scores[i] = ranking.roc_auc_at(compared.ravel(), index)
    return scores.reshape(leading)


def _samples(heatmaps: np.ndarray, gaze_targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Maps (b, h, w) of float32 or float64, targets (b, n, 2), and the leading axes that b stands for."""
    maps, targets = np.asarray(heatmaps), np.asarray(gaze_targets, float)
    leading = np.broadcast_shapes(maps.shape[:-2], targets.shape[:-2])
    maps, targets = (
        np.broadcast_to(values, (*leading, *values.shape[-2:])).reshape(math.prod(leading), *values.shape[-2:])
        for values in (maps, targets)
    )
    return maps.astype(np.result_type(maps.dtype, np.float32), copy=False), targets, leading


def eight_bits(heatmap: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """The map (h, w) that "vtd" compares, at size (h, w): what scipy.misc.imresize (SciPy < 1.3) returned."""
    return Image.fromarray(_bytes(heatmap)).resize(size[::-1], Image.Resampling.BILINEAR)


def _bytes(heatmaps: np.ndarray) -> np.ndarray:
    """Heat maps (..., h, w) from minimum to maximum as 0..255; a constant map is 0."""
    low, high = heatmaps.min(axis=(-2, -1), keepdims=True), heatmaps.max(axis=(-2, -1), keepdims=True)
    levels = (heatmaps - low) * (255 / np.where(high > low, high - low, 1)).astype(heatmaps.dtype)
    return (np.clip(levels, 0, 255) + heatmaps.dtype.type(0.5)).astype(np.uint8)


def mirrored(heatmap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The map (h, w) that "tonini" compares, at size (h, w), float32: skimage.transform.resize with its defaults."""
    shrinkage = np.divide(heatmap.shape, size)
    if (shrinkage > 1).any():
        heatmap = gaussian_filter(heatmap, np.maximum(shrinkage - 1, 0) / 2, mode="mirror")
    across, down = _mirrored_matrix(heatmap.shape[1], size[1]), _mirrored_matrix(heatmap.shape[0], size[0])
    return (down @ (heatmap @ across.T)).astype(np.float32)  # rounded, so that equal neighbours stay equal


@lru_cache(maxsize=64)
def _mirrored_matrix(length: int, new_length: int) -> np.ndarray:
    """Linear interpolation at pixel centres, float64 (new_length, length); beyond the first cell lies the second."""
    position = np.abs((np.arange(new_length) + 0.5) * length / new_length - 0.5)
    position = np.clip((length - 1) - np.abs((length - 1) - position), 0, None)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(length)), 0)


def _probabilities(heatmap: np.ndarray) -> np.ndarray:
    """What torchmetrics compares for "sharingan": values outside 0..1 are taken for logits, and large ones saturate."""
    if heatmap.min() >= 0 and heatmap.max() <= 1:
        return heatmap
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-heatmap))


def vat_auc(heatmaps: np.ndarray, gaze_targets: np.ndarray, protocol: str = "gazelle") -> np.ndarray:
    """Area under the ROC curve as on VideoAttentionTarget: the square around the gaze target is positive, (...).

    heatmaps      (..., h, w), 64x64 in publications
    gaze_targets  (..., n, 2); NaN out of frame: only in-frame samples have this score; the squares of several unite
    protocol      "gazelle"  the map as it is; at the right and bottom border the square ends one cell early
                  "vtd"      the map in eight bits from minimum to maximum; the square reaches the border
    returns       (...); 0.5 for a constant map; NaN without a gaze target, or for a map with NaN

    The square is where a Gaussian of sigma 3 is above zero, 19x19 cells cut by the border.
    """
    if protocol not in VAT_PROTOCOLS:
        raise GazeError(f'AUC protocol "{protocol}"; expected one of {", ".join(VAT_PROTOCOLS)}.', USAGE)
    maps, targets, leading = _samples(heatmaps, gaze_targets)
    scores = np.full(len(maps), np.nan)
    for start in range(0, len(maps), CHUNK):
        chunk = slice(start, start + CHUNK)
        score = _vat_auc_of_bytes if protocol == "vtd" else _vat_auc_of_floats
        scores[chunk] = score(maps[chunk], targets[chunk])
    return scores.reshape(leading)


def _vat_auc_of_floats(maps: np.ndarray, targets: np.ndarray) -> np.ndarray:
    b, h, w = maps.shape
    positives = _squares(targets, (h, w), (h - 1, w - 1))
    return ranking.roc_auc(maps.reshape(b, h * w), positives.reshape(b, h * w))


def _vat_auc_of_bytes(maps: np.ndarray, targets: np.ndarray) -> np.ndarray:
    b, h, w = maps.shape
    known = ~np.isnan(maps).any(axis=(-2, -1))
    levels = _bytes(np.where(known[:, None, None], maps, 0)) + 256 * np.arange(b)[:, None, None]
    positives = _squares(targets, (h, w), (h, w))
    counts, hits = (
        np.bincount(some.ravel(), minlength=256 * b).reshape(b, 256) for some in (levels, levels[positives])
    )
    return np.where(known, ranking.roc_auc_of_counts(counts, hits), np.nan)


def _squares(targets: np.ndarray, size: tuple[int, int], border: tuple[int, int]) -> np.ndarray:
    """Where a map of size (h, w) is near a gaze target and before the border, (b, h, w) bool."""
    (h, w), (bottom, right) = size, border
    cell = np.nan_to_num(targets, nan=-np.inf) * (w, h)  # (b, n, 2)
    first, end = np.trunc(cell - REACH)[..., None], np.trunc(cell + REACH + 1)[..., None]
    columns = (np.arange(w) >= first[:, :, 0]) & (np.arange(w) < np.minimum(end[:, :, 0], right))  # (b, n, w)
    rows = (np.arange(h) >= first[:, :, 1]) & (np.arange(h) < np.minimum(end[:, :, 1], bottom))
    return (rows[..., :, None] & columns[..., None, :]).any(axis=1)


def l2_distance(
    heatmaps: np.ndarray, gaze_targets: np.ndarray, protocol: str = "gazelle"
) -> tuple[np.ndarray, np.ndarray]:
    """Average and minimum distance from each heatmap's peak to its annotators' gaze targets.

    heatmaps      (..., h, w), any scale: only the peak counts; or predicted points (..., 2)
    gaze_targets  (..., n, 2), normalised x, y; one row per annotator, NaN where there is none
    protocol      one of PROTOCOLS: "sharingan" takes (index + 1) / size for the peak, all others index / size
    returns       average (...), minimum (...); NaN for a sample without annotators

    The average is the distance to the annotators' mean point, not the mean of their distances (see `mean_l2`):
    published numbers are computed so (ejcgt/attention-target-detection:eval_on_gazefollow.py). Width and height count
    as 1 each, whatever the image's shape.
    """
    predicted, targets = _predicted(heatmaps, protocol), np.asarray(gaze_targets, float)
    known = ~np.isnan(targets).any(axis=-1, keepdims=True)
    average = np.linalg.norm(predicted - _mean(targets, known), axis=-1)
    return average, _least(np.linalg.norm(predicted[..., None, :] - targets, axis=-1))


def mean_l2(heatmaps: np.ndarray, gaze_targets: np.ndarray, protocol: str = "gazelle") -> np.ndarray:
    """The mean of the distances to the annotators, (...); arguments as in `l2_distance`. Source: idiap/sharingan."""
    predicted, targets = _predicted(heatmaps, protocol), np.asarray(gaze_targets, float)
    distances = np.linalg.norm(predicted[..., None, :] - targets, axis=-1, keepdims=True)
    return _mean(distances, ~np.isnan(distances))[..., 0]


def _predicted(heatmaps: np.ndarray, protocol: str = "gazelle") -> np.ndarray:
    heatmaps = np.asarray(heatmaps)
    if heatmaps.shape[-1] == 2:
        return heatmaps.astype(float)
    if protocol not in PROTOCOLS:
        raise GazeError(f'distance protocol "{protocol}"; expected one of {", ".join(PROTOCOLS)}.', USAGE)
    h, w = heatmaps.shape[-2:]
    return peak(heatmaps) + ((1 / w, 1 / h) if protocol == "sharingan" else 0)


def _mean(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean over the annotators (..., n, d) that are known (..., n, 1), (..., d); NaN without any."""
    count = known.sum(axis=-2)
    return np.where(known, values, 0).sum(axis=-2) / np.where(count > 0, count, np.nan)


def _least(values: np.ndarray) -> np.ndarray:
    """Minimum over the annotators (..., n) that are known, (...); NaN without any."""
    return np.fmin.reduce(values, axis=-1, initial=np.nan)


def angular_error(
    heatmaps: np.ndarray, eye: np.ndarray, gaze_targets: np.ndarray, protocol: str = "gazelle"
) -> tuple[np.ndarray, np.ndarray]:
    """Average and minimum angle in the image between predicted and annotated gaze, degrees.

    heatmaps      (..., h, w), or predicted points (..., 2)
    eye           (..., 2) normalised, or (..., n, 2) where each annotator marked their own
    gaze_targets  (..., n, 2), NaN where there is none
    returns       average over annotators (...), minimum (...); NaN without annotators or eye

    The denominator of the cosine is enlarged by 1e-6 as published, so that a perfect prediction is a few tenths of a
    degree off (francescotonini/multimodal-across-domains-gaze-target-detection:utils.py).
    """
    predicted, targets = _predicted(heatmaps, protocol)[..., None, :], np.asarray(gaze_targets, float)
    eye = np.asarray(eye, float)
    eye = eye if eye.ndim == targets.ndim else eye[..., None, :]
    annotated, seen = targets - eye, predicted - eye  # (..., n, 2)
    lengths = np.linalg.norm(annotated, axis=-1) * np.linalg.norm(seen, axis=-1)
    cosine = np.clip((annotated * seen).sum(axis=-1) / (lengths + 1e-6), -1, 1)
    degrees = np.rad2deg(np.arccos(cosine))[..., None]
    return _mean(degrees, ~np.isnan(degrees))[..., 0], _least(degrees[..., 0])


def in_frame_ap(scores: np.ndarray, in_frame: np.ndarray) -> np.ndarray:
    """Average precision of the in-frame score over the samples (..., n), (...).

    scores    (..., n), logits or probabilities: only the order counts
    in_frame  (..., n) 1 in, 0 out, NaN unknown: left out
    returns   (...); 1.0 without out-of-frame samples, NaN without in-frame samples or where a counted score is NaN
    """
    scores, in_frame = np.broadcast_arrays(np.asarray(scores, float), np.asarray(in_frame, float))
    *leading, n = scores.shape
    rows = zip(*(values.reshape(math.prod(leading), n) for values in (scores, in_frame)), strict=True)
    results = [ranking.average_precision(row[~np.isnan(truth)], truth[~np.isnan(truth)] > 0) for row, truth in rows]
    return np.array(results, float).reshape(leading)


def heatmap_ap(heatmaps: np.ndarray, gaze_targets: np.ndarray) -> np.ndarray:
    """Average precision of the map at its own size, the annotators' cells are the positives, (...).

    heatmaps (..., h, w), gaze_targets (..., n, 2); NaN without annotators or for a map with NaN.
    Source: Mostafa-Haggag/DiffusionGazeFollowingModel, beside the AUC.
    """
    maps, targets, leading = _samples(heatmaps, gaze_targets)
    b, h, w = maps.shape
    sample, annotator = np.nonzero(~np.isnan(targets).any(axis=-1))
    column, row = np.clip(targets[sample, annotator] * (w, h), 0, (w - 1, h - 1)).astype(int).T
    positives = np.zeros((b, h, w), bool)
    positives[sample, row, column] = True
    return ranking.average_precision(maps.reshape(b, h * w), positives.reshape(b, h * w)).reshape(leading)


def looking_at_head(points: np.ndarray, head_boxes: np.ndarray) -> np.ndarray:
    """Whether a point lies in any head box, borders included, (...) bool.

    points (..., 2), head_boxes (..., p, 4), both normalised or both pixels; NaN lies nowhere and contains nothing.
    """
    return np.any(_inside(np.asarray(points, float)[..., None, :], head_boxes), axis=(-2, -1))


def _inside(points: np.ndarray, head_boxes: np.ndarray) -> np.ndarray:
    """Which of the points (..., n, 2) lie in which of the boxes (..., p, 4), (..., n, p) bool."""
    points, boxes = np.asarray(points, float)[..., :, None, :], np.asarray(head_boxes, float)[..., None, :, :]
    return np.all((points >= boxes[..., :2]) & (points <= boxes[..., 2:]), axis=-1)


def annotated_at_head(gaze_targets: np.ndarray, head_boxes: np.ndarray, annotators: int = 1) -> np.ndarray:
    """Whether at least so many annotators marked one and the same head, (...) bool.

    gaze_targets (..., n, 2), head_boxes (..., p, 4), NaN padded
    """
    return (_inside(gaze_targets, head_boxes).sum(axis=-2) >= annotators).any(axis=-1)


def p_head(predicted: np.ndarray, annotated: np.ndarray) -> float:
    """P.Head, also PLAH: of the samples predicted to look at a head, the share whose annotation says so.

    predicted, annotated  (b,) bool, of `looking_at_head` and `annotated_at_head` (annotators=2 on GazeFollow's test
                          split) with the heads of everybody in the image; leave out samples without annotation
    returns               NaN where nobody is predicted to look at a head

    Source: idiap/sharingan:src/metrics.py, ChildPlay (Tafasca et al., ICCV 2023).
    """
    return float((predicted & annotated).sum() / predicted.sum()) if predicted.any() else np.nan
