"""The pupil light reflex in numbers: how far, how soon, how fast, and how it recovers.

All are taken from the smooth curve of a cleaned trace, between its samples, with times in seconds from the light's
onset. NaN and a flag where something cannot be known: never an error, never 0 for "never".
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gazecore.pupil.trace import Cleaned

FINE_HZ = 2000  # of the grid on which crossings and extremes are looked up
BASELINE_S = 0.5
PEAK_WITHIN_S = 3.0
ONSET_SHARE, VELOCITY_SHARE = 0.01, 0.10
LEAST_AMPLITUDE, LEAST_NOISES = 0.002, 2.0  # a reflex is deeper than this share of the baseline and so many noise sd
MOST_INTERPOLATED = 40.0  # percent
PIPR_S, PLATEAU_S, EARLY_S, LATE_S = (5.5, 6.5), (10.0, 30.0), (0.0, 10.0), (10.0, 30.0)  # from the light's end

# flag -> what it says; a reflex without any of them is ok
FLAGS = {
    "onset_outside": "the recording does not cover the light's onset",
    "no_baseline": "no measured sample in the 0.5 s before the light",
    "short_baseline": "less than half of the baseline was measured",
    "no_reflex": "no constriction above the noise",
    "below_1_percent": "the constriction stays within 1 % of the baseline",
    "peak_in_gap": "the smallest size lies beside a gap",
    "peak_at_end": "still constricting where the recording or the window ends",
    "gap_before_peak": "a gap between onset and peak",
    "interpolated_in_reflex": "interpolated samples between latency and peak",
    "mostly_interpolated": "more than 40 % interpolated",
    "t75_not_reached": "75 % of the amplitude is not recovered in what was recorded",
    "uneven_sampling": "time stamps jitter by more than 20 %",
}

CLINICAL = {  # after the report of NeurOptics pupillometers (figshare 5068708)
    "MAX": "baseline",
    "MIN": "peak",
    "CON%": "amplitude_percent",
    "LAT": "latency_pct1_s",
    "ACV": "acv_per_s",
    "MCV": "mcv_per_s",
    "ADV": "adv_per_s",
    "T75": "t75_s",
}


def reflex(
    cleaned: Cleaned,
    onset_s: float,
    stimulus_s: float = 1.0,
    *,
    until_s: float = np.inf,
    peak_within_s: float = PEAK_WITHIN_S,
) -> dict[str, Any]:
    """The parameters of one reflex.

    cleaned     one trace (t,) of `gazecore.pupil.trace.clean`
    onset_s     when the light goes on, on the trace's clock; it stays on for stimulus_s
    until_s     where this trial ends (the next onset); infinity takes the trace to its end
    returns     sizes in the unit of the trace, percent of the baseline, seconds:

    baseline               median of the measured samples in the 0.5 s before onset
    peak, peak_s           smallest size within peak_within_s of the onset, and when
    amplitude, _percent    baseline - peak, also in percent of the baseline
    latency_pct1_s         last crossing of 99 % of the baseline before the fastest constriction
    latency_vel10_s        from there back, where the constriction first exceeds a tenth of its greatest velocity
    latency_acc_s          most negative acceleration within 1 s (Bergamin and Kardon, IOVS 44, 2003)
    mcv_per_s, mcv_s       greatest constriction velocity between latency and peak, positive, and when
    acv_per_s              mean constriction velocity from latency to peak
    constriction_time_s    from latency (pct1) to peak
    t50_s, t75_s           from the peak until half, three quarters of the amplitude are recovered;
                           t50_from_onset_s, t75_from_onset_s count from the onset
    mdv_per_s, adv_per_s   greatest and mean redilation velocity from peak to t75
    pipr6_percent          mean size 5.5 to 6.5 s after the light's end, in percent of the baseline, minus 100; its
                           net form is that of a blue light minus that of a red one
    plateau_percent        the same 10 to 30 s after it
    auc_early_percent_s    area of constriction, percent of the baseline times seconds, 0 to 10 s after the light's
    auc_late_percent_s     end, and 10 to 30 s (Adhikari et al., IOVS 56, 2015)
    n, missing_percent, interpolated_percent   samples of the trial, and how many were lost, or repaired
    resolution_ms          one frame; sampling_rate_hz its inverse
    noise                  standard deviation of the samples around the curve
    flags, ok              what is doubtful (keys of FLAGS, joined by ;), 1.0 where nothing is

    What white noise of 0.1 % of the pupil (sd) does at 60 Hz, 95 of 100 times, on ordinary reflexes: latency_pct1_s
    within 7 ms, mcv within 1.6 %, peak_s within 9 ms, t75_s within 9 ms (0.2 % doubles the first two). The other two
    latencies are worse: latency_vel10_s within 24 ms, and latency_acc_s, an extreme of a second derivative, is late by
    60 to 130 ms. t75_s within 20 ms takes a pupil that recovers; where it lingers (a post-illumination response) the
    curve crosses its limit so flatly that 70 ms are usual.
    """
    flags: list[str] = []
    found = _Numbers(cleaned, onset_s, min(until_s, float(cleaned.time_s[-1])))
    out: dict[str, float] = dict.fromkeys(NAMES, np.nan)
    out |= found.counts()
    out |= {"onset_s": onset_s, "stimulus_s": stimulus_s}
    if cleaned.uneven:
        flags.append("uneven_sampling")
    if not cleaned.time_s[0] <= onset_s <= cleaned.time_s[-1]:
        flags.append("onset_outside")
    else:
        out["baseline"] = found.baseline(flags)
        if np.isfinite(out["baseline"]):
            found.constriction(out, flags, peak_within_s)
            found.redilation(out, flags)
            found.after_light(out, stimulus_s)
    if not out["interpolated_percent"] <= MOST_INTERPOLATED:
        flags.append("mostly_interpolated")
    numbers = {name: float(value) for name, value in out.items()}
    return {**numbers, "flags": ";".join(flags), "ok": float(not flags)}


NAMES = (
    *("baseline", "peak", "peak_s", "amplitude", "amplitude_percent"),
    *("latency_pct1_s", "latency_vel10_s", "latency_acc_s", "mcv_per_s", "mcv_s", "acv_per_s", "constriction_time_s"),
    *("mdv_per_s", "adv_per_s", "t50_s", "t75_s", "t50_from_onset_s", "t75_from_onset_s"),
    *("pipr6_percent", "plateau_percent", "auc_early_percent_s", "auc_late_percent_s"),
)


def clinical(columns: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """Parameters of trials (n,) under the names of clinical pupillometers, each with its unit in NAME_unit (n,)."""
    units = {"MAX": unit, "MIN": unit, "CON%": "%", "LAT": "s", "T75": "s"}
    named: dict[str, Any] = {}
    for name, ours in CLINICAL.items():
        values = np.atleast_1d(columns[ours])
        named |= {name: values, f"{name}_unit": np.full(len(values), units.get(name, f"{unit}/s"))}
    return named


def anisocoria(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Left minus right, sizes (...) of the person's own eyes; NaN unless both are known."""
    return np.asarray(left, float) - np.asarray(right, float)


class _Numbers:
    """One trial on a fine grid, times from the onset."""

    def __init__(self, cleaned: Cleaned, onset_s: float, until_s: float):
        self.cleaned, self.onset_s = cleaned, onset_s
        self.samples = (cleaned.time_s >= onset_s - BASELINE_S - 1e-9) & (cleaned.time_s < until_s + 1e-9)
        self.time_s = np.arange(max(0, int((until_s - onset_s) * FINE_HZ + 1e-6)) + 1) / FINE_HZ
        self.value, self.velocity, self.acceleration = cleaned.at(onset_s + self.time_s)
        self.peak = self.start = 0

    def counts(self) -> dict[str, float]:
        n, cleaned = int(self.samples.sum()), self.cleaned
        share = {
            name: 100 * float(mask[self.samples].mean()) if n else np.nan
            for name, mask in (("missing", cleaned.missing), ("interpolated", cleaned.interpolated))
        }
        return {
            "n": float(n),
            "missing_percent": share["missing"],
            "interpolated_percent": share["interpolated"],
            "sampling_rate_hz": cleaned.rate_hz,
            "resolution_ms": 1000 / cleaned.rate_hz,
            "noise": float(cleaned.noise),
        }

    def baseline(self, flags: list[str]) -> float:
        since = self.cleaned.time_s - self.onset_s
        window = (since >= -BASELINE_S - 1e-9) & (since < -1e-9)
        measured = window & ~self.cleaned.missing & np.isfinite(self.cleaned.value)
        if not measured.any():
            flags.append("no_baseline")
            return np.nan
        if measured.sum() < 0.5 * BASELINE_S * self.cleaned.rate_hz:
            flags.append("short_baseline")
        return float(np.median(self.cleaned.value[measured]))

    def constriction(self, out: dict, flags: list[str], within_s: float) -> None:
        baseline = out["baseline"]
        window = self.time_s <= within_s
        if not np.isfinite(self.value[window]).any():
            flags.append("peak_in_gap")
            return
        peak = int(np.nanargmin(self.value[window]))
        amplitude = baseline - float(self.value[peak])
        out |= {"amplitude": amplitude, "amplitude_percent": 100 * amplitude / baseline, "peak": self.value[peak]}
        if not amplitude > max(LEAST_AMPLITUDE * baseline, LEAST_NOISES * self.cleaned.noise):
            flags.append("no_reflex")
            return
        last = int(np.flatnonzero(window)[-1])
        if self._beside_gap(peak, last):
            flags.append("peak_in_gap")
            out |= dict.fromkeys(("amplitude", "amplitude_percent", "peak"), np.nan)
            return
        if peak == last:
            flags.append("peak_at_end")
        if not np.isfinite(self.value[: peak + 1]).all():
            flags.append("gap_before_peak")
        fastest = int(np.nanargmin(self.velocity[: peak + 1]))
        latency = self._latency_pct1(baseline, fastest)
        if np.isnan(latency):
            flags.append("below_1_percent")
        self.peak, self.start = peak, 0 if np.isnan(latency) else int(np.ceil(latency * FINE_HZ - 1e-6))
        self._constriction_speeds(out, latency)
        out |= {
            "peak_s": self.time_s[peak],
            "latency_pct1_s": latency,
            "latency_vel10_s": self._latency_vel10(fastest),
            "latency_acc_s": self._latency_acc(),
        }
        since = self.cleaned.time_s - self.onset_s
        if self.cleaned.interpolated[(since >= self.time_s[self.start]) & (since <= self.time_s[peak])].any():
            flags.append("interpolated_in_reflex")

    def _beside_gap(self, peak: int, last: int) -> bool:
        """The smallest known value is the last before, or the first after, something unknown."""
        before = peak > 0 and np.isnan(self.value[peak - 1])
        after = peak < last and np.isnan(self.value[peak + 1])
        return bool(before or after)

    def _latency_pct1(self, baseline: float, fastest: int) -> float:
        limit = (1 - ONSET_SHARE) * baseline
        above = np.flatnonzero(self.value[: fastest + 1] >= limit)
        if not len(above) or above[-1] == fastest:
            return np.nan
        return self._crossing(int(above[-1]), limit)

    def _latency_vel10(self, fastest: int) -> float:
        slow = np.flatnonzero(~(-self.velocity[: fastest + 1] > -VELOCITY_SHARE * self.velocity[fastest]))
        return float(self.time_s[slow[-1] + 1]) if len(slow) else np.nan

    def _latency_acc(self) -> float:
        within = self.acceleration[self.time_s <= 1.0]
        return float(self.time_s[np.nanargmin(within)]) if np.isfinite(within).any() else np.nan

    def _constriction_speeds(self, out: dict, latency: float) -> None:
        part = self.velocity[self.start : self.peak + 1]
        if np.isfinite(part).any():
            fastest = self.start + int(np.nanargmin(part))
            out |= {"mcv_per_s": -float(self.velocity[fastest]), "mcv_s": self.time_s[fastest]}
        if np.isfinite(latency):
            took = self.time_s[self.peak] - latency
            drop = (1 - ONSET_SHARE) * out["baseline"] - self.value[self.peak]
            out |= {"constriction_time_s": took, "acv_per_s": float(drop / took) if took > 0 else np.nan}

    def redilation(self, out: dict, flags: list[str]) -> None:
        if np.isnan(out["peak_s"]):
            return
        for name, share in (("t50", 0.5), ("t75", 0.75)):
            limit = out["baseline"] - (1 - share) * out["amplitude"]
            reached = np.flatnonzero(self.value[self.peak :] >= limit)
            # first known above the limit, and nothing unknown right before it
            if len(reached) and np.isfinite(self.value[self.peak + reached[0] - 1]):
                at = self._crossing(self.peak + int(reached[0]) - 1, limit)
                out |= {f"{name}_from_onset_s": at, f"{name}_s": at - self.time_s[self.peak]}
        if np.isnan(out["t75_s"]):
            flags.append("t75_not_reached")
            return
        part = self.velocity[self.peak : int(out["t75_from_onset_s"] * FINE_HZ) + 1]
        out |= {"mdv_per_s": float(np.nanmax(part)), "adv_per_s": 0.75 * out["amplitude"] / out["t75_s"]}

    def after_light(self, out: dict, stimulus_s: float) -> None:
        ended = self.time_s - stimulus_s
        for name, (begin, end) in (("pipr6_percent", PIPR_S), ("plateau_percent", PLATEAU_S)):
            out[name] = 100 * (self._mean(ended, begin, end) / out["baseline"] - 1)
        for name, (begin, end) in (("auc_early_percent_s", EARLY_S), ("auc_late_percent_s", LATE_S)):
            out[name] = 100 * (1 - self._mean(ended, begin, end) / out["baseline"]) * (end - begin)

    def _mean(self, ended: np.ndarray, begin: float, end: float) -> float:
        """Mean size of a window that was recorded to its end and is known for at least half; else NaN."""
        if ended[-1] < end - 1 / self.cleaned.rate_hz:
            return np.nan
        part = self.value[(ended >= begin) & (ended <= end)]
        return float(np.nanmean(part)) if len(part) and np.isfinite(part).mean() >= 0.5 else np.nan

    def _crossing(self, i: int, limit: float) -> float:
        """When the curve passes a limit between the fine samples i and i + 1."""
        here, there = self.value[i], self.value[i + 1]
        return float(self.time_s[i] + (limit - here) / (there - here) / FINE_HZ) if there != here else self.time_s[i]
