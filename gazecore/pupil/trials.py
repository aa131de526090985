"""Recordings and their lights -> one row of parameters per eye and light, as a plr artifact holds them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gazecore.pupil.reflex import NAMES, PEAK_WITHIN_S, anisocoria, reflex
from gazecore.pupil.tables import Event, Recording
from gazecore.pupil.trace import Cleaned, Smoothing, clean

Definitions = Literal["gz", "pyplr", "pyplr-cleaned"]
KEPT_BEFORE_S = 2.0  # of each trial's trace
PARAMETERS = (
    *("onset_s", "stimulus_s", "sampling_rate_hz", "resolution_ms", "n", "missing_percent", "interpolated_percent"),
    *(*NAMES, "noise", "flags", "ok"),
)


@dataclass(frozen=True, eq=False)
class Measured:
    """One recording: its cleaned trace, its events, and one row of parameters for each."""

    recording: Recording
    cleaned: Cleaned
    events: list[Event]
    rows: list[dict[str, Any]]


def measure(
    found: Sequence[Recording],
    events: Sequence[list[Event]],
    *,
    smooth: Smoothing = "spline",
    max_gap_s: float = 0.5,
    pad_s: float = 0.1,
    peak_within_s: float = PEAK_WITHIN_S,
    definitions: Definitions = "gz",
) -> Iterator[Measured]:
    """Clean each recording and take the reflex to each of its own events, which are sorted by onset.

    definitions  "pyplr" takes PyPlr's parameters of the samples as they are, "pyplr-cleaned" after its own cleaning,
                 under our names (compat.PYPLR_NAMES); what it does not know is NaN. Its baseline begins with the
                 recording, or half way since the light before
    """
    for recording, own in zip(found, events, strict=True):
        cleaned = clean(
            recording.time_s, recording.size, blink=recording.blink, max_gap_s=max_gap_s, pad_s=pad_s, smooth=smooth
        )
        rows = []
        for k, event in enumerate(own):
            until_s = own[k + 1].onset_s if k + 1 < len(own) else np.inf
            row = reflex(cleaned, event.onset_s, event.stimulus_s, until_s=until_s, peak_within_s=peak_within_s)
            if definitions != "gz":
                since_s = (own[k - 1].onset_s + event.onset_s) / 2 if k else -np.inf
                row |= _by_pyplr(recording, cleaned, (since_s, event.onset_s, until_s), definitions)
            rows.append(row)
        yield Measured(recording, cleaned, own, rows)


def columns(measured: Sequence[Measured]) -> dict[str, Any]:
    """The columns of a plr artifact, ragged ones as lists of arrays."""
    pairs = [(one, row) for one in measured for row in one.rows]
    found: dict[str, Any] = {
        name: np.array([getattr(one.recording, name) for one, _ in pairs], dtype=object)
        for name in ("subject", "eye", "trial")
    }
    for name in PARAMETERS:
        found[name] = np.array([row[name] for _, row in pairs], dtype=object if name == "flags" else float)
    found["ok"] = found["ok"].astype(np.uint8)
    found["anisocoria"] = _anisocoria(found)
    traces = [
        kept(one.cleaned, row["onset_s"], one.events[k + 1].onset_s if k + 1 < len(one.events) else np.inf)
        for one in measured
        for k, row in enumerate(one.rows)
    ]
    for name in traces[0] if traces else ():
        found[name] = [trace[name] for trace in traces]
    return found


def kept(cleaned: Cleaned, onset_s: float, until_s: float) -> dict[str, np.ndarray]:
    """One trial's trace from 2 s before its light to the next one, as variables of a plr artifact."""
    part = (cleaned.time_s >= onset_s - KEPT_BEFORE_S - 1e-9) & (cleaned.time_s <= until_s)
    return {
        "trace_s": cleaned.time_s[part] - onset_s,
        "trace_raw": cleaned.raw[part],
        "trace_repaired": np.where(cleaned.repaired[part] < 0, np.nan, cleaned.repaired[part]),
        "trace_smooth": cleaned.value[part],
        "trace_velocity_per_s": cleaned.velocity[part],
        "trace_interpolated": cleaned.interpolated[part].astype(np.uint8),
    }


def cleaned_frames(measured: Measured, in_ratio: bool) -> dict[str, Any]:
    """A whole cleaned trace as columns of a pupil-trace artifact; `pir` only where the sizes are ratios."""
    cleaned, recording = measured.cleaned, measured.recording
    n = len(cleaned.time_s)
    name = "/".join(filter(None, (recording.subject, recording.trial, recording.eye))) or "trace"
    return {
        "sample_id": np.array([f"{name}/{i}" for i in range(n)]),
        **{key: np.full(n, getattr(recording, key)) for key in ("subject", "trial", "eye")},
        "time_s": cleaned.time_s,
        "pir": cleaned.raw if in_ratio else np.full(n, np.nan),
        "blink": cleaned.missing.astype(np.uint8),
        "interpolated": cleaned.interpolated.astype(np.uint8),
        "pir_smooth": cleaned.value,
        "velocity_per_s": cleaned.velocity,
    }


def _anisocoria(found: Mapping[str, Any]) -> np.ndarray:
    """Left minus right baseline, in both rows of a pair: same subject, trial and onset."""
    baselines: dict[tuple, dict[str, float]] = {}
    keys = list(zip(found["subject"], found["trial"], found["onset_s"].tolist(), strict=True))
    for key, eye, baseline in zip(keys, found["eye"], found["baseline"].tolist(), strict=True):
        baselines.setdefault(key, {})[eye] = baseline
    left, right = (np.array([baselines[key].get(eye, np.nan) for key in keys], float) for eye in "LR")
    return anisocoria(left, right)


def _by_pyplr(
    recording: Recording, cleaned: Cleaned, times_s: tuple[float, float, float], definitions: Definitions
) -> dict[str, float]:
    from gazecore.pupil import compat  # here: it loads scipy.signal

    since_s, onset_s, until_s = times_s
    untouched = not cleaned.resampled and len(recording.size) == len(cleaned.time_s)
    sizes = np.asarray(recording.size if untouched else cleaned.raw, float)
    part = (cleaned.time_s >= since_s) & (cleaned.time_s < until_s)
    onset = int(np.rint((onset_s - cleaned.time_s[part][0]) * cleaned.rate_hz))
    sizes = sizes[part]
    if definitions == "pyplr-cleaned":
        sizes = compat.pyplr_cleaned(sizes, cleaned.rate_hz)
    row: dict[str, Any] = dict.fromkeys(NAMES, np.nan)
    if 0 < onset < len(sizes):
        theirs = compat.pyplr_parameters(sizes, cleaned.rate_hz, onset)
        row |= {ours: theirs[name] for name, ours in compat.PYPLR_NAMES.items()}
        row["amplitude_percent"] = 100 * row["amplitude"] / row["baseline"]
    return row
