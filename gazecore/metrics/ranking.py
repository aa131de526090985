"""Exact ranking scores with ties: area under the ROC curve and average precision, from counts instead of pairs.

Both equal scikit-learn's roc_auc_score and average_precision_score. Only the levels at which positives occur matter, so
the other scores are counted, and not even sorted where the positives are few.
"""

import math
from collections.abc import Callable

import numpy as np

FEW = 24  # levels up to which comparing every score with each level is faster than sorting the scores


def roc_auc(scores: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Probability that a positive scores higher than a negative, ties count one half, (...).

    scores     (..., n), any scale
    positives  (..., n) bool or 0/1; leading axes broadcast
    returns    (...) float64; 0.5 for constant scores; NaN where only one class is present or a score is NaN
    """
    return _by_row(roc_auc_at, scores, positives)


def roc_auc_at(scores: np.ndarray, index: np.ndarray) -> float:
    """`roc_auc` of scores (n,) without NaN whose positives are at the places index (p,), each named once."""
    n, p = scores.size, len(index)
    if not 0 < p < n:
        return np.nan
    below, up_to, counts = _levels(scores, scores[index])
    return float(_won(below, up_to, counts) / (p * (n - p)))


def roc_auc_of_counts(counts: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """`roc_auc` of scores that take few values, (...).

    counts, positives  (..., k) integers: how many scores, and how many of them positives, take each value, ascending
    """
    p, n = positives.sum(axis=-1), counts.sum(axis=-1)
    up_to = counts.cumsum(axis=-1)
    pairs = p * (n - p)
    return np.where(pairs > 0, _won(up_to - counts, up_to, positives) / np.maximum(pairs, 1), np.nan)


def _won(below: np.ndarray, up_to: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Pairs that positives win from negatives: against all scores, less the p * p among themselves, a half each."""
    return (((below + up_to) * counts).sum(axis=-1) - counts.sum(axis=-1) ** 2) / 2


def average_precision(scores: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Precision averaged over the positives, highest score first, equal scores as one step, (...).

    scores     (..., n), any scale
    positives  (..., n) bool or 0/1; leading axes broadcast
    returns    (...) float64; 1.0 without negatives; NaN without positives or where a score is NaN

    The sum of precision times the step in recall, without interpolation.
    """
    return _by_row(_average_precision_at, scores, positives)


def _average_precision_at(scores: np.ndarray, index: np.ndarray) -> float:
    if len(index) == 0:
        return np.nan
    below, _, counts = _levels(scores, scores[index])
    found = counts[::-1].cumsum()[::-1]  # positives at each level or above
    return float((found / (scores.size - below) * counts).sum() / len(index))


def _levels(scores: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per level of `at`, ascending: scores below it, scores up to it, and how often it occurs in `at`."""
    levels, counts = np.unique(at, return_counts=True)
    if len(levels) > FEW:
        ordered = np.sort(scores)
        return ordered.searchsorted(levels, "left"), ordered.searchsorted(levels, "right"), counts
    chosen = np.empty(scores.size, bool)
    below = [np.count_nonzero(np.less(scores, level, out=chosen)) for level in levels]
    up_to = [np.count_nonzero(np.less_equal(scores, level, out=chosen)) for level in levels]
    return np.array(below), np.array(up_to), counts


def _by_row(score: Callable[[np.ndarray, np.ndarray], float], scores: np.ndarray, positives: np.ndarray) -> np.ndarray:
    scores, positives = np.broadcast_arrays(scores, np.asarray(positives).astype(bool))
    *leading, n = scores.shape
    rows, chosen = (values.reshape(math.prod(leading), n) for values in (scores, positives))
    results = [
        np.nan if np.isnan(row).any() else score(row, np.flatnonzero(positive))
        for row, positive in zip(rows, chosen, strict=True)
    ]
    return np.array(results, float).reshape(leading)
