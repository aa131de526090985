"""Other programs' definitions, number for number, to compare with what was published: PyPlr and pypillometry.

For own results use `gazecore.pupil.trace` and `reflex`: PyPlr's times are whole samples and 0 for "never", its
derivative mask eats constrictions; pypillometry's thresholds are per sample and do not carry over to another camera.
"""

import numpy as np
from scipy.ndimage import convolve1d, uniform_filter1d
from scipy.signal import butter, filtfilt, savgol_coeffs, savgol_filter

from gazecore.pupil.trace import runs

# PyPlr's name -> ours
PYPLR_NAMES = {
    "Baseline": "baseline",
    "Latency_a": "latency_pct1_s",
    "Latency_b": "latency_acc_s",
    "T2MaxVel": "mcv_s",
    "T2MaxCon": "peak_s",
    "T2Rec75pc": "t75_s",
    "PeakCon": "peak",
    "ConAmplitude": "amplitude",
    "VelConMax": "mcv_per_s",
    "VelConAve": "acv_per_s",
    "ConTime": "constriction_time_s",
    "VelRedAve": "adv_per_s",
    "VelRedMax": "mdv_per_s",
}

# ---- PyPlr (PyPlr/cvd_pupillometry:pyplr/plr.py, pyplr/preproc.py) ----


def pyplr_parameters(sizes: np.ndarray, rate_hz: float, onset: int) -> dict[str, float]:
    """PyPlr's parameters of sizes (t,) with the light's onset at a sample; times in seconds.

    Kept: the peak is the smallest sample of the whole trace, also before the onset; times are 0 for "never"; redilation
    runs to the end of the trace. Where PyPlr raises, because nothing lies between onset and peak, the value is NaN.
    """
    sizes = np.asarray(sizes, float)
    velocity = np.diff(sizes, prepend=np.nan) * rate_hz
    acceleration = np.diff(velocity, prepend=np.nan) * rate_hz
    after, peak = sizes[onset:], int(sizes.argmin())
    first = onset + int(np.argmax(after < 0.99 * sizes[onset]))
    baseline, smallest = sizes[:onset].mean(), sizes.min()
    amplitude = abs(smallest - baseline)
    times = {
        "Latency_a": first - onset,
        "Latency_b": int(np.argmin(acceleration[onset : onset + round(rate_hz)])),
        "T2MaxVel": int(np.argmin(velocity[onset:])),
        "T2MaxCon": int(np.argmin(after)),
        "T2Rec75pc": int(np.argmax(sizes[peak:] > baseline - amplitude / 4)),
        "ConTime": int(np.argmin(after)) - (first - onset),
    }
    return {name: samples / rate_hz for name, samples in times.items()} | {
        "Baseline": float(baseline),
        "PeakCon": float(smallest),
        "ConAmplitude": float(amplitude),
        "VelConMax": _or_nan(np.max, velocity[onset:peak]),
        "VelConAve": _or_nan(np.mean, velocity[first:peak]),
        "AccConMax": _or_nan(np.max, acceleration[onset:peak]),
        "VelRedAve": _or_nan(np.mean, velocity[peak:]),
        "VelRedMax": _or_nan(np.max, velocity[peak:]),
        "AccRedMax": _or_nan(np.max, acceleration[peak:]),
    }


def pyplr_masked(sizes: np.ndarray, threshold: float = 3.0) -> np.ndarray:
    """Sizes (t,) with NaN where they are 0, or their step lies outside mean +- threshold sd of all steps."""
    steps = np.diff(sizes, prepend=np.nan)
    middle, width = np.nanmean(steps), threshold * np.nanstd(steps, ddof=1)
    return np.where((steps < middle - width) | (steps > middle + width) | (sizes == 0), np.nan, sizes)


def pyplr_interpolated(sizes: np.ndarray) -> np.ndarray:
    """Sizes (t,) with NaN filled by straight lines, at the ends by the nearest known one."""
    known = np.isfinite(sizes)
    return np.interp(np.arange(len(sizes)), np.flatnonzero(known), sizes[known])


def pyplr_butterworth(sizes: np.ndarray, rate_hz: float, cutoff_hz: float = 4.0, order: int = 3) -> np.ndarray:
    """Butterworth low-pass, forward and back."""
    return filtfilt(*butter(order, cutoff_hz / (rate_hz / 2)), sizes)


def pyplr_savgol(sizes: np.ndarray, window: int = 51, order: int = 7) -> np.ndarray:
    """Savitzky-Golay with PyPlr's window of samples."""
    return savgol_filter(sizes, window, order)


def pyplr_cleaned(sizes: np.ndarray, rate_hz: float) -> np.ndarray:
    """Its documented order: mask, interpolate, low-pass."""
    return pyplr_butterworth(pyplr_interpolated(pyplr_masked(sizes)), rate_hz)


def percent_change(sizes: np.ndarray, onset: int) -> np.ndarray:
    """Sizes (t,) in percent of the mean before the onset, minus 100."""
    baseline = sizes[:onset].mean()
    return 100 * (sizes - baseline) / baseline


def _or_nan(reduce, part: np.ndarray) -> float:
    return float(reduce(np.abs(part))) if len(part) else float("nan")


# ---- pypillometry (ihrke/pypillometry:signal/preproc.py, signal/baseline.py, signal/pupil.py) ----


def velocity_savgol(sizes: np.ndarray, window: int, direction: str = "center") -> np.ndarray:
    """First derivative per sample of a parabola fitted to a window around, "backward" before or "forward" after."""
    place = {"center": window // 2, "backward": window - 1, "forward": 0}[direction]
    return convolve1d(np.asarray(sizes, float), savgol_coeffs(window, 2, deriv=1, pos=place), mode="nearest")


def blinks_zero(sizes: np.ndarray, least: int, value: float = 0.0) -> np.ndarray:
    """Runs of `value` as first and last index (k, 2), those whose difference is at least `least`.

    Kept: a run that reaches the last sample is dropped; NaN as value finds nothing.
    """
    edges = np.diff((np.asarray(sizes) == value).astype(int), prepend=0)
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    begins = begins[: len(ends)]
    return np.stack([begins, ends], axis=-1)[ends - begins >= least]


def blinks_velocity(
    sizes: np.ndarray, window: int, onset: float, offset: float, least_onset: int, least_offset: int
) -> np.ndarray:
    """Blinks (k, 2) from a fast fall to the next fast rise; onset (negative) and offset are per sample.

    least_onset, least_offset  a run of fast samples must be longer than this
    """
    sizes = np.asarray(sizes, float)
    invalid = np.isnan(sizes) | (sizes == 0)
    index = np.arange(len(sizes))
    filled = np.where(invalid, np.interp(index, index[~invalid], sizes[~invalid]), sizes)
    falls = np.where(invalid, 0, velocity_savgol(filled, window, "backward")) <= onset
    rises = np.where(invalid, 0, velocity_savgol(filled, window, "forward")) >= offset
    begins, ends = _run_starts(falls, least_onset), _run_starts(rises, least_offset)
    if not len(begins) or not len(ends):
        return np.empty((0, 2), int)
    found, last = [], -1
    for begin in begins.tolist():
        if begin <= last:
            continue
        later = ends[ends > begin]
        last = int(later[0]) if len(later) else len(sizes)
        first, end = begin, last
        while first > 0 and invalid[first]:
            first -= 1
        while end < len(sizes) - 1 and invalid[end]:
            end += 1
        found.append((first, end))
    return np.array(found)


def _run_starts(mask: np.ndarray, least: int) -> np.ndarray:
    begins, ends = runs(mask)
    return begins[ends - begins > least]


def merged(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The union of two lists of intervals (k, 2), both ends included; those that share a sample become one."""
    every = np.concatenate([np.reshape(a, (-1, 2)), np.reshape(b, (-1, 2))]).astype(int)
    if not len(every):
        return every
    begins, ends = np.sort(every[:, 0]), np.maximum.accumulate(np.sort(every[:, 1]))
    first = np.concatenate([[True], begins[1:] > ends[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.stack([begins[first], ends[last]], axis=-1)


def refined_mahot(
    sizes: np.ndarray,
    blinks: np.ndarray,
    window: int,
    onset: float,
    offset: float,
    margin: tuple[int, int],
    around: int,
) -> np.ndarray:
    """Blinks (k, 2), their lids' movement included: from the fast fall before to the end of the fast rise after.

    After Mathôt, "A simple way to reconstruct pupil size during eye blinks" (figshare 688001).
    margin  samples added before and after; around  samples that are searched on both sides of a blink
    """
    falling = velocity_savgol(sizes, window, "backward") <= onset
    rising = velocity_savgol(sizes, window, "forward") >= offset
    found = []
    for begin, end in np.asarray(blinks, int).reshape(-1, 2).tolist():
        left, right = max(0, begin - around), min(end + around, len(sizes))
        falls, rises = np.flatnonzero(falling[left:right]), np.flatnonzero(rising[left:right])
        if not len(falls) or not len(rises):
            continue
        own_begin, own_end = (around if left > 0 else begin), end - begin + around
        fall = max(0, int(np.searchsorted(falls, own_begin, side="right")) - 1)
        while fall > 0 and falls[fall - 1] + 1 == falls[fall]:
            fall -= 1
        rise = int(np.searchsorted(rises, own_end)) % len(rises)  # without a later one: the first
        while rise < len(rises) - 1 and rises[rise + 1] - 1 == rises[rise]:
            rise += 1
        found.append((left + max(0, falls[fall] - margin[0]), left + min(right - left - 1, rises[rise] + margin[1])))
    return np.array(found, int).reshape(-1, 2)


def hanning(sizes: np.ndarray, window: int = 11) -> np.ndarray:
    """Moving average with a Hann window, the trace mirrored at its ends."""
    weights = np.hanning(window)
    mirrored = np.pad(np.asarray(sizes, float), window - 1, mode="reflect")
    return np.convolve(weights / weights.sum(), mirrored, mode="same")[window - 1 : 1 - window]


def lowpass(sizes: np.ndarray, rate_hz: float, cutoff_hz: float = 4.0, order: int = 2) -> np.ndarray:
    """Its Butterworth, forward and back."""
    return pyplr_butterworth(sizes, rate_hz, cutoff_hz, order)


def quality(sizes: np.ndarray, missing: np.ndarray, rate_hz: float, window_s: float = 0.5) -> dict[str, np.ndarray]:
    """Local signal-to-noise ratio in dB, and noise over signal, of sizes (t,); 0 where missing.

    Signal is what a 4 Hz low-pass leaves, with missing samples filled by five rounds of that low-pass.
    """
    filled = np.where(missing, sizes[~missing].mean(), sizes)
    if missing.any():
        for _ in range(5):
            filled = np.where(missing, lowpass(filled, rate_hz), filled)
    signal = lowpass(filled, rate_hz)
    noise = np.where(missing, 0.0, sizes - signal)
    window = max(3, int(window_s * rate_hz))
    signal_power, noise_power = (uniform_filter1d(part**2, window, mode="nearest") for part in (signal, noise))
    tiny = 1e-10
    return {
        "snr_db": np.where(missing, 0, 10 * np.log10(signal_power / (noise_power + tiny) + tiny)),
        "noise_cv": np.where(missing, 0, np.sqrt(noise_power) / (np.abs(signal) + tiny)),
    }


def pupil_kernel(rate_hz: float, duration_ms: float = 4000, n: float = 10.1, tmax_ms: float = 930.0) -> np.ndarray:
    """The Erlang gamma of Hoeks and Levelt (1993), peak 1 at tmax, on its grid from 0 to duration, both included."""
    times_ms = np.linspace(0, duration_ms, int(duration_ms / 1000 * rate_hz))
    return (times_ms / tmax_ms) ** n * np.exp(n * (1 - times_ms / tmax_ms))
