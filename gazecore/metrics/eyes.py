"""Metrics of eye regions: overlap and contours of label maps, errors of ellipses, agreement of pupil-iris ratios.

Class ids are 0 background, 1 iris, 2 pupil, 3 sclera; ellipses (cx, cy, major, minor, angle_deg) have full axes.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from gazecore.errors import GazeError

CLASSES = ("background", "iris", "pupil", "sclera")
ROUND = 0.95  # an ellipse of a larger axis ratio has no angle to speak of


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, classes: int = len(CLASSES)) -> np.ndarray:
    """How many pixels of each class were given each class.

    predicted, labels  (..., h, w), class ids
    returns            (..., classes, classes) int64: rows are the labels', columns the predicted classes. Their sum
                       over images is the one matrix that a data set's IoU is taken from
    Errors: a class id outside 0 .. classes - 1; two shapes.
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if predicted.shape != labels.shape:
        raise GazeError(f"the prediction is {predicted.shape}, the labels are {labels.shape}; expected the same")
    for name, values in (("prediction", predicted), ("labels", labels)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            raise GazeError(f"the {name} hold class {values.min()} to {values.max()}; expected 0 to {classes - 1}")
    images = labels.shape[:-2]
    pairs = labels.astype(np.intp) * classes + predicted  # (..., h, w)
    pairs += (np.arange(np.prod(images, dtype=np.intp)) * classes**2).reshape(*images, 1, 1)
    count = np.bincount(pairs.ravel(), minlength=int(np.prod(images)) * classes**2)
    return count.reshape(*images, classes, classes)


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of every class, from confusion matrices.

    confusion  (..., classes, classes): of one image, or summed over a set
    returns    (..., classes); NaN for a class that is neither labelled nor predicted, 0 for one that is only predicted
               or only labelled
    """
    true, predicted, labelled = _margins(confusion)
    return _ratio(true, predicted + labelled - true)


def dice(confusion: np.ndarray) -> np.ndarray:
    """2 TP / (predicted + labelled) of every class, as `iou`: (..., classes, classes) -> (..., classes)."""
    true, predicted, labelled = _margins(confusion)
    return _ratio(2 * true, predicted + labelled)


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    """The mean of `iou` over the classes that occur: (..., classes, classes) -> (...); NaN for an empty matrix."""
    return _nanmean(iou(confusion), axis=-1)


def macro_mean_iou(confusion: np.ndarray) -> float:
    """The mean over images of each image's own mean IoU; `mean_iou` of the summed matrices is another number.

    confusion  (..., classes, classes), one matrix per image; NaN without an image
    """
    return float(_nanmean(mean_iou(confusion).ravel(), axis=-1))


def boundary_f(predicted: np.ndarray, labels: np.ndarray, tolerance_px: int = 1) -> np.ndarray:
    """F measure of the contours of masks.

    predicted, labels  (..., h, w) bool, masks of one class
    tolerance_px       a contour pixel is right if the other contour has one within so many pixels, in a straight line
    returns            (...); 1 if neither mask has a contour, 0 if one has none

    The contour is where a pixel differs from its neighbour to the right, below, or diagonally below right
    (davisvideochallenge/davis2017-evaluation:davis2017/metrics.py, whose tolerance of 0.008 of the diagonal, 4 px at
    240 x 320, hides a pupil 10 % too large).
    """
    shape = np.shape(labels)
    found, expected = (_contours(np.reshape(masks, (-1, *shape[-2:]))) for masks in (predicted, labels))
    precision, recall = _near(found, expected, tolerance_px), _near(expected, found, tolerance_px)
    score = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
    return np.where(found.any((-2, -1)) | expected.any((-2, -1)), score, 1.0).reshape(shape[:-2])


class SurfaceDistance(NamedTuple):
    """Distances between the outlines of two masks, px, each (...).

    hausdorff    the largest distance from an outline to the other
    hausdorff95  the larger of both directions' 95th percentiles
    average      the mean over the pixels of both outlines
    """

    hausdorff: np.ndarray
    hausdorff95: np.ndarray
    average: np.ndarray


def surface_distance(predicted: np.ndarray, labels: np.ndarray) -> SurfaceDistance:
    """How far the outlines of masks lie apart.

    predicted, labels  (..., h, w) bool, masks of one class
    returns            NaN if both masks are empty, infinite if one is

    An outline is the mask's pixels that have a neighbour (of four) outside it, or outside the image
    (Project-MONAI/MONAI:monai/metrics/utils.py).
    """
    shape = np.shape(labels)
    stacks = (_outlines(np.reshape(masks, (-1, *shape[-2:]))) for masks in (predicted, labels))
    rows = np.array([_distances(*pair) for pair in zip(*stacks, strict=True)]).reshape(-1, 3)
    return SurfaceDistance(*(column.reshape(shape[:-2]) for column in rows.T))


class EllipseError(NamedTuple):
    """Errors of ellipses, each (...), NaN where either ellipse is.

    centre_px         distance of the centres
    diameter_percent  how much the major axis is off, without sign, percent of the true one
    angle_deg         0 to 90: half turns are the same; NaN for a true ellipse whose axis ratio is 0.95 or more
    """

    centre_px: np.ndarray
    diameter_percent: np.ndarray
    angle_deg: np.ndarray


def ellipse_error(predicted: np.ndarray, truth: np.ndarray) -> EllipseError:
    """How far ellipses are from the true ones; both (..., 5), NaN rows for an eye without one."""
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    difference = predicted - truth
    turn = np.mod(difference[..., 4], 180)
    elongated = truth[..., 3] < ROUND * truth[..., 2]
    return EllipseError(
        np.linalg.norm(difference[..., :2], axis=-1),
        100 * np.abs(_ratio(difference[..., 2], truth[..., 2])),
        np.where(elongated, np.minimum(turn, 180 - turn), np.nan),
    )


def detection_rate(
    predicted: np.ndarray, truth: np.ndarray, tolerances_px: tuple[float, ...] = (1, 2, 3, 4, 5)
) -> np.ndarray:
    """Which part of the centres was found within each tolerance.

    predicted, truth  (..., n, 2) px; NaN in predicted is a miss, NaN in truth does not count
    returns           (..., tolerances); NaN without a true centre
    """
    error = np.linalg.norm(np.asarray(predicted, np.float64) - truth, axis=-1)  # (..., n)
    known = ~np.isnan(truth).any(axis=-1)
    hits = known[..., None] & (error[..., None] <= np.asarray(tolerances_px))
    return _ratio(hits.sum(axis=-2), known.sum(axis=-1)[..., None])


class Agreement(NamedTuple):
    """How well measured values agree with true ones, each (...).

    n               pairs without NaN
    mae, mape       mean absolute error; the same in percent of the truth
    bias            mean of measured minus true
    lower, upper    Bland-Altman limits: bias -+ 1.96 standard deviations (ddof 1) of the differences; NaN for n < 2
    icc             ICC(2,1): two-way random effects, absolute agreement, one measurement; NaN for n < 2 or no variance
    """

    n: np.ndarray
    mae: np.ndarray
    mape: np.ndarray
    bias: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    icc: np.ndarray


def agreement(predicted: np.ndarray, truth: np.ndarray) -> Agreement:
    """Agreement of pupil-iris ratios, or of any measurements, with their true values.

    predicted, truth  (..., n); a pair with NaN does not count
    Bland & Altman, Lancet 1986; Shrout & Fleiss, Psychological Bulletin 1979, ICC(2,1).
    """
    predicted, truth = np.broadcast_arrays(np.asarray(predicted, np.float64), np.asarray(truth, np.float64))
    paired = ~np.isnan(predicted + truth)
    predicted, truth = np.where(paired, predicted, np.nan), np.where(paired, truth, np.nan)
    n, difference = paired.sum(axis=-1), predicted - truth
    bias = _nanmean(difference, axis=-1)
    squares = np.nansum((difference - bias[..., None]) ** 2, axis=-1)
    freedom = np.maximum(n - 1, 0)
    spread = 1.96 * np.sqrt(_ratio(squares, freedom))

    # mean squares of two raters: between subjects, between raters, and what is left
    subject = (predicted + truth) / 2
    subject -= np.fmin.reduce(subject, axis=-1, initial=np.inf)[..., None]  # so that no variance is exactly none
    among = _ratio(2 * np.nansum((subject - _nanmean(subject, axis=-1)[..., None]) ** 2, axis=-1), freedom)
    raters, left = n * bias**2 / 2, _ratio(squares / 2, freedom)
    icc = _ratio(among - left, among + left + 2 * _ratio(raters - left, n))
    return Agreement(
        n,
        _nanmean(np.abs(difference), axis=-1),
        100 * _nanmean(np.abs(_ratio(difference, truth)), axis=-1),
        bias,
        bias - spread,
        bias + spread,
        icc,
    )


def _margins(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confusion = np.asarray(confusion)
    return np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-2), confusion.sum(axis=-1)


def _contours(masks: np.ndarray) -> np.ndarray:
    """(n, h, w) bool, where a mask changes; beyond the last row and column there is nothing to differ from."""
    masks = np.pad(masks.astype(bool), ((0, 0), (0, 1), (0, 1)), mode="edge")
    here = masks[:, :-1, :-1]
    return (here != masks[:, :-1, 1:]) | (here != masks[:, 1:, :-1]) | (here != masks[:, 1:, 1:])


def _near(contours: np.ndarray, others: np.ndarray, tolerance_px: int) -> np.ndarray:
    """(n,), which part of each contour's pixels lies within the tolerance of the other contour; NaN without one.

    Only the contour's own pixels are looked up in the other one: they are few.
    """
    _, height, width = contours.shape
    row, column = np.divmod(np.flatnonzero(contours), width)
    image, row = np.divmod(row, height)
    margin = (tolerance_px, tolerance_px)
    padded = np.pad(others, ((0, 0), margin, margin))
    corner = (image * padded.shape[1] + row) * padded.shape[2] + column
    steps = np.arange(-tolerance_px, tolerance_px + 1)
    down, right = np.nonzero(steps[:, None] ** 2 + steps**2 <= tolerance_px**2)  # from the disc's corner
    near = padded.ravel()[corner + (down * padded.shape[2] + right)[:, None]].any(axis=0)
    count = np.bincount(image, minlength=len(contours))
    return _ratio(np.bincount(image, near, minlength=len(contours)), count)


def _outlines(masks: np.ndarray) -> list[np.ndarray]:
    """(n, h, w) -> of every mask its outline's pixels, (pixels, 2) row, column."""
    masks = np.pad(masks.astype(bool), ((0, 0), (1, 1), (1, 1)))
    inner = masks[:, :-2, 1:-1] & masks[:, 2:, 1:-1] & masks[:, 1:-1, :-2] & masks[:, 1:-1, 2:]
    outline = masks[:, 1:-1, 1:-1] & ~inner
    return [np.stack(np.divmod(np.flatnonzero(image), image.shape[1]), axis=-1) for image in outline]


def _distances(found: np.ndarray, expected: np.ndarray) -> tuple[float, float, float]:
    """hausdorff, hausdorff95, average of two outlines."""
    if not len(found) or not len(expected):
        return (np.nan if len(found) == len(expected) else np.inf,) * 3
    there, back = cKDTree(expected).query(found)[0], cKDTree(found).query(expected)[0]
    percentile = max(np.percentile(there, 95), np.percentile(back, 95))
    return max(there.max(), back.max()), percentile, np.concatenate([there, back]).mean()


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where the whole is 0."""
    whole = np.asarray(whole, np.float64)
    return part / np.where(whole == 0, np.nan, whole)


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """np.nanmean without its warning about an empty slice."""
    return _ratio(np.nansum(values, axis=axis), np.sum(~np.isnan(values), axis=axis))
