"""A smooth curve through a noisy trace: penalised splines whose stiffness follows the noise and the trace's own bends.

Quintic B-splines on even knots, third differences of their coefficients penalised (Eilers and Marx, Statistical
Science 11, 1996). How much is found by restricted maximum likelihood (Wood, JRSS B 73, 2011): the recording's own
noise decides, not a window that somebody chose for another camera. Where the curve bends, in a reflex, the penalty is
lower, in inverse proportion to the curve's own third derivative (the idea of Ruppert and Carroll, Australian and New
Zealand Journal of Statistics 42, 2000): one stiffness for all would either shake at rest or flatten the reflex.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.ndimage import gaussian_filter1d

DEGREE, ORDER = 5, 3
MOST_KNOTS_HZ = 120.0
SLOWEST_HZ, FASTEST_HZ = 0.5, 12.0  # the bandwidth is found between these; a pupil moves below about 5 Hz
ROUNDS = 2  # of making the penalty follow the curve
BEND_S, BEND_FLOOR = 0.15, 0.05  # the third derivative is averaged over this time; its least share of its own rms
GOLDEN, STEPS = (5**0.5 - 1) / 2, 18  # of the search for the penalty's weight
ROUNDING = 1e-6  # of a knot's distance
DECOUPLED = 1e-9  # penalty across a gap that is not to be bridged
STENCIL = np.array([-1.0, 3.0, -3.0, 1.0])


@dataclass(frozen=True)
class Smooth:
    """A curve over the times of its trace; noise is the standard deviation of the samples around it."""

    spline: BSpline
    middle: float
    noise: float

    def __call__(self, times_s: np.ndarray, derivative: int = 0) -> np.ndarray:
        """Value, or with derivative 1 velocity, 2 acceleration, at times (t,)."""
        end = self.spline.t[-DEGREE - 1]  # which the last sample may exceed by a rounding
        slack = ROUNDING * (self.spline.t[1] - self.spline.t[0])
        curve = self.spline(np.where(times_s <= end + slack, np.minimum(times_s, end), times_s), nu=derivative)
        return curve + self.middle if derivative == 0 else curve


def penalised_spline(
    times_s: np.ndarray, values: np.ndarray, weights: np.ndarray, rate_hz: float, apart: np.ndarray | None = None
) -> Smooth:
    """The smoothest curve that the samples permit.

    times_s  (t,) increasing, about rate_hz apart
    values   (t,) in any unit, finite where weights > 0
    weights  (t,) 1 a sample, 0 nothing known, between: known less well
    apart    (t,) bool: within these samples the curve need not hold together; what lies on either side of them is
             smoothed on its own
    """
    spacing = 1 / min(rate_hz, MOST_KNOTS_HZ)
    spans = max(1, int(np.ceil((times_s[-1] - times_s[0]) / spacing - ROUNDING)))
    knots = times_s[0] + spacing * np.arange(-DEGREE, spans + DEGREE + 1)
    used = weights > 0
    middle = float(np.median(values[used]))
    y, w = values[used] - middle, weights[used]
    basis = BSpline.design_matrix(np.minimum(times_s[used], knots[-DEGREE - 1]), knots, DEGREE).tocsr()
    gram = _bands((basis.T.multiply(w) @ basis).todia())
    search = _Search(gram, basis.T @ (w * y), float((w * y * y).sum()), len(y), max(abs(middle), float(np.ptp(y))))

    held = _held(spans + DEGREE - ORDER, times_s, apart, knots)
    stiffness = np.where(held, 1.0, DECOUPLED)
    density = float(w.sum()) / spans
    for turn in range(ROUNDS + 1):
        slowest, fastest = (
            np.log(density) - 2 * ORDER * np.log(2 * np.sin(np.pi * frequency * spacing))
            for frequency in (SLOWEST_HZ, min(FASTEST_HZ, rate_hz / 2.2))
        )
        coefficients, noise = search.best(_penalty(stiffness), fastest - np.log(stiffness[held].min()), slowest)
        if turn < ROUNDS:
            bends = np.where(held, np.abs(np.diff(coefficients, ORDER)), 0.0)
            bends = gaussian_filter1d(bends, BEND_S / spacing, mode="nearest")
            size = np.sqrt((bends[held] ** 2).mean())
            if not size > 0:
                break
            follow = 1 / np.hypot(bends / size, BEND_FLOOR)
            stiffness = np.where(held, follow / np.exp(np.log(follow[held]).mean()), DECOUPLED)
    return Smooth(BSpline(knots, coefficients, DEGREE, extrapolate=False), middle, noise)


class _Search:
    """For one set of samples: the penalty's weight of greatest restricted likelihood, and the curve it gives."""

    def __init__(self, gram: np.ndarray, moments: np.ndarray, total: float, count: int, size: float):
        self.gram, self.moments, self.total = gram, moments, total
        self.freedom = max(1, count - ORDER)
        self.least = self.freedom * (1e-6 * size) ** 2 + 1e-300  # of the residuals: rounding, where there is no noise

    def best(self, penalty: np.ndarray, low: float, high: float) -> tuple[np.ndarray, float]:
        """Coefficients and the noise's standard deviation; low and high bound the log of the weight."""
        low, high = min(low, high), max(low, high)
        inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        at_inner, at_outer = self._solved(penalty, inner), self._solved(penalty, outer)
        for _ in range(STEPS):
            if at_inner[0] < at_outer[0]:
                high, outer, at_outer = outer, inner, at_inner
                inner = high - GOLDEN * (high - low)
                at_inner = self._solved(penalty, inner)
            else:
                low, inner, at_inner = inner, outer, at_outer
                outer = low + GOLDEN * (high - low)
                at_outer = self._solved(penalty, outer)
        _, coefficients, rest = min(at_inner, at_outer, key=lambda solved: solved[0])
        return coefficients, float(np.sqrt(rest / self.freedom))

    def _solved(self, penalty: np.ndarray, log_weight: float) -> tuple[float, np.ndarray, float]:
        system = self.gram.copy()
        system[DEGREE - ORDER :] += np.exp(log_weight) * penalty
        factor = cholesky_banded(system, overwrite_ab=True, check_finite=False)
        coefficients = cho_solve_banded((factor, False), self.moments, check_finite=False)
        rest = max(self.total - float(coefficients @ self.moments), self.least)
        rows = penalty.shape[1] - ORDER
        likelihood = self.freedom * np.log(rest) + 2 * np.log(factor[-1]).sum() - rows * log_weight
        return likelihood, coefficients, rest


def _held(rows: int, times_s: np.ndarray, apart: np.ndarray | None, knots: np.ndarray) -> np.ndarray:
    """Which rows of the penalty hold the curve together: all but three in the middle of where it may come apart.

    Without three neighbours two parabolas are as good as one; up to the middle either side goes on by itself.
    """
    held = np.ones(rows, bool)
    if apart is not None:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], apart.astype(int), [0]])))
        middles_s = (times_s[edges[::2]] + times_s[edges[1::2] - 1]) / 2
        row = np.searchsorted(knots[(DEGREE + 1 + ORDER) // 2 :][:rows], middles_s)
        for offset in range(-(ORDER // 2), ORDER // 2 + 1):
            held[np.clip(row + offset, 0, rows - 1)] = False
    return held


def _bands(matrix) -> np.ndarray:
    """The upper bands of a symmetric sparse matrix, as scipy.linalg's banded routines want them."""
    bands = np.zeros((DEGREE + 1, matrix.shape[0]))
    for k in range(DEGREE + 1):
        bands[DEGREE - k, k:] = matrix.diagonal(k)
    return bands


def _penalty(stiffness: np.ndarray) -> np.ndarray:
    """Upper bands of D' diag(stiffness) D, D the third differences."""
    rows = len(stiffness)
    bands = np.zeros((ORDER + 1, rows + ORDER))
    for i in range(ORDER + 1):
        for j in range(i, ORDER + 1):
            bands[ORDER - (j - i), j : j + rows] += stiffness * STENCIL[i] * STENCIL[j]
    return bands
