"""Pupil light reflexes as formulas, with noise and blinks, and what is true of them.

Times are seconds from the onset of the light. With u = max(0, t - latency),
  E(u) = (u / T)^n exp(n (1 - u / T)),  a constriction that peaks with 1 at u = T = time_to_peak_s
  S(u) = (1 - exp(-u / rise)) exp(-u / decay),  what stays constricted for long after the light
  size(t) = baseline - amplitude E(u) - sustained S(u)
Where sustained is 0 everything is known in closed form: the peak lies at latency + T and is amplitude deep.
"""

from collections.abc import Sequence

import numpy as np

TRUTH_RATE_HZ = 20_000


def trace(
    times_s: np.ndarray,
    *,
    baseline: float = 0.5,
    amplitude: float = 0.15,
    shape: float = 3.0,
    time_to_peak_s: float = 0.75,
    latency_s: float = 0.22,
    sustained: float = 0.0,
    sustained_rise_s: float = 0.8,
    sustained_decay_s: float = 12.0,
    noise: float = 0.0,
    noise_step: float = 0.37,
    blinks: Sequence[tuple[float, float]] = (),
    blink_edge_s: float = 0.0,
    blink_depth: float = 0.6,
    blink_value: float = np.nan,
) -> np.ndarray:
    """Pupil size at times (t,), seconds from the light's onset -> (t,), in the unit of baseline and amplitude.

    noise, noise_step  adds noise * sin(noise_step * i^2) to sample i: a chirp that needs no random numbers
    blinks             (begin, end) in seconds, both ends included: blink_value there; before and after, over
                       blink_edge_s, the size falls linearly by the share blink_depth, as under a closing lid
    """
    times_s = np.asarray(times_s, float)
    since = np.maximum(0.0, times_s - latency_s)
    transient = (since / time_to_peak_s) ** shape * np.exp(shape * (1 - since / time_to_peak_s))
    lasting = (1 - np.exp(-since / sustained_rise_s)) * np.exp(-since / sustained_decay_s)
    sizes = baseline - amplitude * transient - sustained * lasting
    if noise > 0:
        sizes = sizes + noise * np.sin(noise_step * np.arange(len(times_s), dtype=float) ** 2)
    for begin, end in blinks:
        if blink_edge_s > 0:
            closing = np.where(times_s < begin, np.clip((times_s - (begin - blink_edge_s)) / blink_edge_s, 0, 1), 0)
            opening = np.where(times_s > end, np.clip((end + blink_edge_s - times_s) / blink_edge_s, 0, 1), 0)
            sizes = sizes * (1 - blink_depth * (closing + opening))
        sizes = np.where((times_s >= begin) & (times_s <= end), blink_value, sizes)
    return sizes


def truth(*, duration_s: float = 8.0, stimulus_s: float = 1.0, **reflex: float) -> dict[str, float]:
    """What is true of a trace without noise and blinks: its formula on a grid of 20 kHz, from onset to duration_s.

    reflex   the formula's arguments of `trace` (baseline ... sustained_decay_s)
    returns  names of `gazecore.pupil.reflex`: baseline, latency_s (where the formula leaves its baseline),
             latency_pct1_s, peak_s, peak, amplitude, amplitude_percent, mcv_per_s, mcv_s (its time), mdv_per_s,
             t50_s, t75_s (from the peak), pipr6_percent; NaN for what does not happen within duration_s
    """
    times_s = np.arange(round(duration_s * TRUTH_RATE_HZ) + 1) / TRUTH_RATE_HZ
    sizes = trace(times_s, **reflex)  # type: ignore[arg-type]
    velocity = np.gradient(sizes, 1 / TRUTH_RATE_HZ)
    baseline = float(trace(np.array([-1.0]), **reflex)[0])  # type: ignore[arg-type]
    lowest = int(sizes.argmin())
    amplitude = baseline - float(sizes[lowest])
    fastest = int(velocity[: lowest + 1].argmin())
    late = (times_s >= stimulus_s + 5.5) & (times_s <= stimulus_s + 6.5)
    whole = times_s[-1] >= stimulus_s + 6.5
    return {
        "baseline": baseline,
        "latency_s": float(reflex.get("latency_s", 0.22)),
        "latency_pct1_s": _first(times_s, sizes < 0.99 * baseline),
        "peak_s": float(times_s[lowest]),
        "peak": float(sizes[lowest]),
        "amplitude": amplitude,
        "amplitude_percent": 100 * amplitude / baseline,
        "mcv_per_s": float(-velocity[fastest]),
        "mcv_s": float(times_s[fastest]),
        "mdv_per_s": float(velocity[lowest:].max()),
        "t50_s": _first(times_s[lowest:], sizes[lowest:] >= baseline - 0.5 * amplitude) - float(times_s[lowest]),
        "t75_s": _first(times_s[lowest:], sizes[lowest:] >= baseline - 0.25 * amplitude) - float(times_s[lowest]),
        "pipr6_percent": 100 * (float(sizes[late].mean()) / baseline - 1) if whole else float("nan"),
    }


def _first(times_s: np.ndarray, reached: np.ndarray) -> float:
    return float(times_s[reached.argmax()]) if reached.any() else float("nan")
