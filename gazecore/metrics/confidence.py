"""How far a mean over samples can be trusted: the percentile bootstrap."""

from collections.abc import Callable

import numpy as np

BLOCK = 500_000  # values drawn at a time, 4 MB


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[..., np.ndarray] = np.mean,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval that holds the statistic of a data set with probability `level`, low and high.

    values     (samples,); NaN (samples that could not be scored) are left out
    statistic  called as statistic(values, axis=-1) on many samples drawn with replacement
    n          number of draws
    returns    low, high: the percentiles (1 -+ level) / 2 of the draws' statistics; NaN, NaN without any value

    The same seed gives the same interval. Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13.
    """
    values = np.asarray(values, float).ravel()
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return np.nan, np.nan
    generator = np.random.default_rng(seed)
    draws = np.empty(n)
    at_once = max(BLOCK // len(values), 1)
    for start in range(0, n, at_once):
        block = draws[start : start + at_once]
        chosen = generator.integers(len(values), size=(len(block), len(values)), dtype=np.int32)
        block[:] = statistic(values[chosen], axis=-1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
