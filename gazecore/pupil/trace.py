"""Pupil size over time, cleaned: blinks found and padded, short gaps repaired, noise smoothed, velocity taken.

The steps, all thresholds in seconds or per second, never per sample:
 1. Uneven time stamps are resampled to a regular grid. Missing is what is NaN, not above zero, flagged or in a blink.
 2. Lone samples far off their neighbours' median are missing too: no pupil jumps and returns within two frames.
 3. So is what moves faster than median + 6 MAD of all speeds and touches a missing run, within 150 ms of it: the lid
    on its way. A constriction that touches none is never masked.
 4. 100 ms before and after are dropped, then what is left of less than 40 ms between two gaps. A lost frame or two,
    less than 50 ms without any such speed around, is no blink and gets no margin.
 5. Gaps up to 500 ms, counted without that padding, are repaired with a monotone cubic (PCHIP); longer ones stay NaN.
 6. Value, velocity and acceleration come from one smooth curve, which never runs through a gap that stayed. Through a
    repaired gap the penalised spline finds its own way between the measured samples: errors of the peak and of the
    latency under a blink are a tenth of what they are when it follows the PCHIP, whose ends hang on two noisy samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from scipy.interpolate import PchipInterpolator, make_interp_spline

from gazecore.errors import GazeError
from gazecore.pupil.smooth import penalised_spline

Smoothing = Literal["spline", "savgol", "butterworth"]
FAST_MADS, FAST_LEAST_PER_S = 6.0, 1.5  # the second: in sizes of this pupil per second; reflexes reach about 0.8
TOUCH_S = 0.15
SPIKE_MADS, SPIKE_LEAST = 8.0, 0.03  # of the size of this pupil
LEAST_ISLAND_S = 0.04
SAVGOL_S, SAVGOL_ORDER, SAVGOL_LEAST = 0.2, 3, 5
BUTTERWORTH_HZ, BUTTERWORTH_ORDER = 4.0, 3
BRIDGE_S = 0.5  # how much of a gap that stays the smooth curve gets to see
EVEN = 0.05  # time stamps that lie within this share of a frame of a regular grid count as regular
JITTERY = 0.2
BLINK_S = (0.05, 1.0)  # shorter gaps are lost frames, longer ones lost tracking


@dataclass(frozen=True, eq=False)
class Cleaned:
    """A trace (or several of one time axis) on a regular grid; NaN where nothing is known.

    time_s        (t,)
    rate_hz       its sampling rate
    raw           (..., t) as recorded, NaN where there was nothing
    repaired      (..., t) without artefacts, short gaps interpolated
    value         (..., t) the smooth curve, in the unit of the input
    velocity      (..., t) its first derivative, per second
    acceleration  (..., t) its second derivative, per second squared
    lost          (..., t) bool: not measured, flagged, in a blink, or moving with the lid
    missing       (..., t) bool: lost, or dropped around a blink
    interpolated  (..., t) bool: missing, but repaired
    noise         (...) standard deviation of the measured samples around the curve
    jitter        root mean square of the time stamps' steps around a regular step, as a share of it
    resampled     the input's time stamps were uneven
    """

    time_s: np.ndarray
    rate_hz: float
    raw: np.ndarray
    repaired: np.ndarray
    value: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    lost: np.ndarray
    missing: np.ndarray
    interpolated: np.ndarray
    noise: np.ndarray
    jitter: float
    resampled: bool

    def __getitem__(self, row: int | tuple[int, ...]) -> "Cleaned":
        """One of several traces."""
        shared = {"time_s", "rate_hz", "jitter", "resampled"}
        return replace(self, **{f.name: getattr(self, f.name)[row] for f in fields(self) if f.name not in shared})

    @property
    def uneven(self) -> bool:
        """The time stamps jitter by more than 20 %: velocities and latencies deserve doubt."""
        return self.jitter > JITTERY

    def gaps_s(self, least_s: float = 0.0, most_s: float = np.inf) -> np.ndarray:
        """Begin and end of what is lost of a single trace (t,), without its padding -> (k, 2), seconds.

        least_s, most_s  only gaps of at least, at most so long; BLINK_S bounds what can be a blink
        """
        begins, ends = runs(self.lost)
        lengths = (ends - begins) / self.rate_hz
        found = self.time_s[0] + np.stack([begins, ends - 1], axis=-1) / self.rate_hz
        return found[(lengths >= least_s - 1e-9) & (lengths <= most_s + 1e-9)]

    def at(self, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value, velocity and acceleration of a single trace (t,) between its samples, at times (n,); NaN in gaps.

        Quintic Hermite interpolation: it passes through all three at every sample.
        """
        place = np.clip((np.asarray(times_s, float) - self.time_s[0]) * self.rate_hz, 0, len(self.time_s) - 1)
        left = np.minimum(place.astype(int), max(0, len(self.time_s) - 2))
        right = np.minimum(left + 1, len(self.time_s) - 1)
        outside = (times_s < self.time_s[0] - 1e-9) | (times_s > self.time_s[-1] + 1e-9)
        ends = []
        for i in (left, right):
            ends += [self.value[i], self.velocity[i] / self.rate_hz, self.acceleration[i] / self.rate_hz**2]
        # a sample beside a gap is known, what lies between it and the gap is not
        ends = [np.where(outside, np.nan, end) for end in ends]
        value, velocity, acceleration = _hermite(place - left, *ends)
        return value, velocity * self.rate_hz, acceleration * self.rate_hz**2


def clean(
    time_s: np.ndarray,
    values: np.ndarray,
    flagged: np.ndarray | None = None,
    *,
    blink: np.ndarray | None = None,
    max_gap_s: float = 0.5,
    pad_s: float = 0.1,
    smooth: Smoothing = "spline",
) -> Cleaned:
    """Clean pupil sizes recorded at time_s.

    time_s          (t,) increasing, seconds
    values          (..., t) in any unit; NaN, zero or less is missing
    flagged, blink  (..., t) or (t,) bool: samples not to be trusted, samples within a blink; both count as missing
    max_gap_s       the longest gap, without its padding, that is repaired
    smooth          "spline": penalised spline, as stiff as the recording's noise asks for (`gazecore.pupil.smooth`);
                    "savgol": Savitzky-Golay of order 3 over 200 ms; "butterworth": order 3, 4 Hz, forward and back
    returns         a trace without five measured samples in a row is NaN throughout, with its gaps marked
    GazeError       fewer than two time stamps, or time stamps that do not increase

    The fixed window of "savgol" leaves so much noise in the velocity that its maximum is 4 to 15 % too high where
    samples scatter by 0.1 to 0.2 % of the pupil; "spline" stays within 2 % (tests/pupil/test_reflex.py).
    """
    time_s = np.asarray(time_s, float)
    values = np.asarray(values, float)
    grid = _Grid(time_s)
    shape = values.shape[:-1]
    rows = values.reshape(-1, values.shape[-1])
    unwanted = np.zeros(values.shape, bool)
    for mask in (flagged, blink):
        if mask is not None:
            unwanted = unwanted | np.asarray(mask, bool)
    unwanted = unwanted.reshape(rows.shape)

    done: dict[str, list] = {name: [] for name in _PER_TRACE}
    for row, bad in zip(rows, unwanted, strict=True):
        known = np.isfinite(row) & (row > 0)
        raw, _ = grid.resampled(row, known)
        sizes, trusted = grid.resampled(row, known & ~bad)
        for name, column in zip(_PER_TRACE, _cleaned(grid, raw, sizes, trusted, max_gap_s, pad_s, smooth), strict=True):
            done[name].append(column)
    stacked = {name: np.stack(columns).reshape(shape + np.shape(columns[0])) for name, columns in done.items()}
    return Cleaned(grid.times_s, grid.rate_hz, jitter=grid.jitter, resampled=not grid.even, **stacked)


def segmentation_blinks(
    time_s: np.ndarray, pupil_area: np.ndarray | None = None, aperture: np.ndarray | None = None
) -> np.ndarray:
    """Blinks as a segmented eye shows them -> (t,) bool.

    pupil_area  (t,) any unit: a blink where it falls below a quarter of its median over 5 s around
    aperture    (t,) largest distance of the lids over the iris diameter: a blink below 0.35
    """
    blinks = np.zeros(len(time_s), bool)
    if pupil_area is not None:
        area = np.where(np.isfinite(pupil_area), pupil_area, np.nan)
        blinks |= area < 0.25 * _running_median(np.asarray(time_s, float), area, 5.0)
    if aperture is not None:
        blinks |= np.asarray(aperture, float) < 0.35
    return blinks


def runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index of each run of True in (t,), and the index after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return edges[::2], edges[1::2]


# ---- time ----


class _Grid:
    """The regular grid of a recording, and how its samples come onto it."""

    def __init__(self, time_s: np.ndarray):
        if time_s.ndim != 1 or len(time_s) < 2:
            raise GazeError(f"a trace needs at least 2 time stamps; found {time_s.size}")
        steps_s = np.diff(time_s)
        if not (steps_s > 0).all():  # NaN too
            first = int(np.flatnonzero(~(steps_s > 0))[0])
            raise GazeError(
                f"time stamps must increase; found {time_s[first]:g} s then {time_s[first + 1]:g} s (samples {first}, "
                f"{first + 1}). Sort the table, and keep recordings apart by subject, trial and eye"
            )
        usual = float(np.median(steps_s))
        frames = np.maximum(1, np.rint(steps_s / usual))
        single = frames == 1
        self.jitter = float(np.sqrt(np.mean((steps_s[single] / usual - 1) ** 2))) if single.any() else 0.0
        index = np.concatenate([[0], np.cumsum(frames)])
        step = (time_s[-1] - time_s[0]) / index[-1]
        self.even = bool(np.abs(time_s - time_s[0] - index * step).max() <= EVEN * step)
        if not self.even:
            index = np.array([0, max(1, round((time_s[-1] - time_s[0]) / usual))])
            step = (time_s[-1] - time_s[0]) / index[-1]
        self.rate_hz = 1 / step
        self.times_s = time_s[0] + step * np.arange(int(index[-1]) + 1)
        self._time_s, self._index = time_s, index.astype(int)

    def resampled(self, values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values on the grid, NaN where none is known within a frame, and where they are known."""
        n = len(self.times_s)
        sizes, there = np.full(n, np.nan), np.zeros(n, bool)
        if self.even:
            there[self._index] = known
            sizes[self._index] = np.where(known, values, np.nan)
            return sizes, there
        if known.sum() < 2:
            return sizes, there
        place = (self._time_s - self.times_s[0]) * self.rate_hz
        left = np.clip(np.searchsorted(place, np.arange(n), side="right") - 1, 0, len(place) - 2)
        to_left, to_right = np.arange(n) - place[left], place[left + 1] - np.arange(n)
        between = known[left] & known[left + 1] & (to_left + to_right < 1.75)
        beside = (known[left] & (to_left < 0.25)) | (known[left + 1] & (to_right < 0.25))
        there = between | beside
        curve = PchipInterpolator(place[known], values[known], extrapolate=False)(np.arange(n))
        there &= np.isfinite(curve)
        return np.where(there, curve, np.nan), there


# ---- one trace on its grid ----

_PER_TRACE = ("raw", "repaired", "value", "velocity", "acceleration", "lost", "missing", "interpolated", "noise")


def _cleaned(
    grid: _Grid, raw: np.ndarray, sizes: np.ndarray, trusted: np.ndarray, max_gap_s: float, pad_s: float, smooth: str
) -> tuple[Any, ...]:
    """What _PER_TRACE names."""
    rate = grid.rate_hz
    missing = ~trusted
    missing |= _spikes(np.where(missing, np.nan, sizes))
    lid = _lid(np.where(missing, np.nan, sizes), missing, rate)
    blink = missing | lid
    for begin, end in zip(*runs(blink), strict=True):
        if end - begin < BLINK_S[0] * rate and not lid[begin:end].any():
            blink[begin:end] = False
    margin = round(pad_s * rate)
    lost, missing = missing | lid, _without_islands(missing | _padded(blink, margin), LEAST_ISLAND_S * rate)

    left_open = missing.copy()  # what no interpolation bridges: long gaps, and both ends
    for begin, end in zip(*runs(missing), strict=True):
        length = np.ptp(np.flatnonzero(lost[begin:end])) + 1  # without its padding
        if begin > 0 and end < len(missing) and length <= max_gap_s * rate + 1e-9:
            left_open[begin:end] = False
    for begin, end in zip(*runs(~left_open), strict=True):
        if (~missing[begin:end]).sum() < SAVGOL_LEAST:
            left_open[begin:end] = True

    repaired = np.full(len(sizes), np.nan)
    interpolated = missing & ~left_open
    measured = np.flatnonzero(~missing & ~left_open)
    if len(measured):
        repaired[measured] = sizes[measured]
        if interpolated.any():
            repaired[interpolated] = PchipInterpolator(measured, sizes[measured])(np.flatnonzero(interpolated))
        value, velocity, acceleration, noise = _SMOOTHERS[smooth](grid, repaired, left_open, interpolated)
    else:
        value, velocity, acceleration = (np.full(len(sizes), np.nan) for _ in range(3))
        noise = np.nan
    return raw, repaired, value, velocity, acceleration, lost, missing, interpolated, np.float64(noise)


def _spikes(sizes: np.ndarray) -> np.ndarray:
    """Samples far from the median of the five around them; a monotone course, however fast, has none."""
    if len(sizes) < 5:
        return np.zeros(len(sizes), bool)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(sizes, 2, constant_values=np.nan), 5)
    ordered = np.sort(around, axis=-1)  # NaN last
    count = 5 - np.isnan(around).sum(axis=-1)
    rows = np.arange(len(sizes))
    middle = 0.5 * (ordered[rows, np.maximum(count - 1, 0) // 2] + ordered[rows, np.minimum(count // 2, 4)])
    off = np.where(count >= 4, np.abs(sizes - middle), np.nan)
    known = off[np.isfinite(off)]
    if not len(known):
        return np.zeros(len(sizes), bool)
    centre = np.median(known)
    limit = max(
        centre + SPIKE_MADS * 1.4826 * float(np.median(np.abs(known - centre))),
        SPIKE_LEAST * float(np.nanmedian(sizes)),
    )
    return off > limit


def _lid(sizes: np.ndarray, missing: np.ndarray, rate_hz: float) -> np.ndarray:
    """Fast samples within TOUCH_S of a missing run, and what lies between them and it."""
    steps = np.abs(np.diff(sizes)) * rate_hz
    speeds = np.fmax(np.append(steps, np.nan), np.insert(steps, 0, np.nan))
    known = speeds[np.isfinite(speeds)]
    if not len(known) or not missing.any():
        return np.zeros(len(sizes), bool)
    middle = float(np.median(known))
    limit = middle + FAST_MADS * float(np.median(np.abs(known - middle)))
    fast = speeds > max(limit, FAST_LEAST_PER_S * float(np.nanmedian(sizes)))
    masked = np.zeros(len(sizes), bool)
    reach = int(TOUCH_S * rate_hz + 1e-9)
    for begin, end in zip(*runs(missing), strict=True):
        before = np.flatnonzero(fast[max(0, begin - reach) : begin])
        if len(before):
            masked[max(0, begin - reach) + before[0] : begin] = True
        after = np.flatnonzero(fast[end : end + reach])
        if len(after):
            masked[end : end + after[-1] + 1] = True
    return masked


def _padded(mask: np.ndarray, margin: int) -> np.ndarray:
    total = np.concatenate([[0], np.cumsum(mask)])
    i = np.arange(len(mask))
    return total[np.minimum(i + margin + 1, len(mask))] > total[np.maximum(i - margin, 0)]


def _without_islands(missing: np.ndarray, least: float) -> np.ndarray:
    missing = missing.copy()
    for begin, end in zip(*runs(~missing), strict=True):
        if begin > 0 and end < len(missing) and end - begin < least:
            missing[begin:end] = True
    return missing


# ---- smoothing: grid, repaired (t,), left_open (t,), interpolated (t,) -> value, velocity, acceleration, noise ----


def _spline(
    grid: _Grid, repaired: np.ndarray, left_open: np.ndarray, interpolated: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    # nothing holds the two sides of such a gap together, and a spline that is free for long has no digits left
    kept = np.flatnonzero(~left_open | _first_of_runs(left_open, round(BRIDGE_S * grid.rate_hz)))
    kept = kept[slice(*(np.flatnonzero(~left_open[kept])[[0, -1]] + [0, 1]))]
    apart = left_open[kept]
    times_s = np.arange(len(kept)) / grid.rate_hz
    weights = np.where(apart | interpolated[kept], 0.0, 1.0)
    curve = penalised_spline(times_s, repaired[kept], weights, grid.rate_hz, apart)
    found = [np.full(len(repaired), np.nan) for _ in range(3)]
    for derivative, column in enumerate(found):
        column[kept] = np.where(apart, np.nan, curve(times_s, derivative))
    return found[0], found[1], found[2], curve.noise


def _first_of_runs(mask: np.ndarray, most: int) -> np.ndarray:
    """The mask (t,) with each of its runs cut off after so many samples."""
    first = np.zeros(len(mask), bool)
    for begin, end in zip(*runs(mask), strict=True):
        first[begin : min(end, begin + most)] = True
    return first


def _savgol(
    grid: _Grid, repaired: np.ndarray, left_open: np.ndarray, interpolated: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    from scipy.signal import savgol_coeffs, savgol_filter  # here: half of a command's start, for what is seldom asked

    window = max(SAVGOL_LEAST, int(SAVGOL_S * grid.rate_hz) // 2 * 2 + 1)
    found = [np.full(len(repaired), np.nan) for _ in range(3)]
    for part in _segments(left_open):
        for derivative, column in enumerate(found):
            length = min(window, (part.stop - part.start - 1) // 2 * 2 + 1)
            column[part] = savgol_filter(repaired[part], length, SAVGOL_ORDER, derivative, 1 / grid.rate_hz)
    gain = savgol_coeffs(window, SAVGOL_ORDER)[window // 2]  # residuals of a least-squares fit are too small by this
    rest = (repaired - found[0])[~left_open & ~interpolated]
    return found[0], found[1], found[2], float(np.sqrt((rest**2).mean() / max(1e-9, 1 - gain)))


def _butterworth(
    grid: _Grid, repaired: np.ndarray, left_open: np.ndarray, interpolated: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    from scipy.signal import butter, filtfilt

    numerator, denominator = butter(BUTTERWORTH_ORDER, min(0.99, BUTTERWORTH_HZ / (grid.rate_hz / 2)))
    found = [np.full(len(repaired), np.nan) for _ in range(3)]
    for part in _segments(left_open):
        length = part.stop - part.start
        padding = min(3 * (BUTTERWORTH_ORDER + 1), length - 1)
        found[0][part] = filtfilt(numerator, denominator, repaired[part], padlen=padding)
        curve = make_interp_spline(grid.times_s[part], found[0][part], k=3)
        found[1][part], found[2][part] = curve(grid.times_s[part], 1), curve(grid.times_s[part], 2)
    rest = (repaired - found[0])[~left_open & ~interpolated]
    return found[0], found[1], found[2], float(np.sqrt((rest**2).mean()))


_SMOOTHERS = {"spline": _spline, "savgol": _savgol, "butterworth": _butterworth}


def _segments(left_open: np.ndarray) -> Iterator[slice]:
    return (slice(int(begin), int(end)) for begin, end in zip(*runs(~left_open), strict=True))


def _running_median(time_s: np.ndarray, values: np.ndarray, window_s: float) -> np.ndarray:
    """Median of the known values within window_s around each sample; NaN where there is none."""
    first = np.searchsorted(time_s, time_s - window_s / 2)
    last = np.searchsorted(time_s, time_s + window_s / 2, side="right")
    stride = max(1, int(np.median(last - first)) // 20)  # a median over 5 s hardly moves between two frames
    found = np.full(len(time_s), np.nan)
    for i in range(0, len(time_s), stride):
        part = values[first[i] : last[i]]
        part = part[np.isfinite(part)]
        if len(part):
            found[i : i + stride] = np.median(part)
    return found


def _hermite(
    x: np.ndarray, p0: np.ndarray, v0: np.ndarray, a0: np.ndarray, p1: np.ndarray, v1: np.ndarray, a1: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The quintic on 0..1 with given value, slope and curvature at both ends, and its two derivatives."""
    rise, slope, curve = p1 - p0 - v0 - a0 / 2, v1 - v0 - a0, a1 - a0
    c3 = 10 * rise - 4 * slope + curve / 2
    c4 = -15 * rise + 7 * slope - curve
    c5 = 6 * rise - 3 * slope + curve / 2
    value = p0 + x * (v0 + x * (a0 / 2 + x * (c3 + x * (c4 + x * c5))))
    velocity = v0 + x * (a0 + x * (3 * c3 + x * (4 * c4 + x * 5 * c5)))
    return value, velocity, a0 + x * (6 * c3 + x * (12 * c4 + x * 20 * c5))
