"""A pupil light reflex drawn: samples, repaired gaps and the smooth curve with its landmarks, velocity underneath.

And two series of measurements compared, after Bland and Altman (Lancet 327, 1986): two eyes, two methods.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from gazecore.artifacts import Artifact
from gazecore.visualize.panels import Text
from gazecore.visualize.report import Item

INK, MUTED, FAINT, PAPER = "#181c23", "#667085", "#d5d9e0", "#ffffff"
CURVE, SAMPLE, REPAIRED, LIGHT = "#1f5fa8", "#8fb3d9", "#9aa1ac", "#fbc740"
LATENCY, PEAK, RECOVERED, SPEED = "#b4500a", "#a3195b", "#0a7d55", "#1f5fa8"
GOOD, DOUBTFUL = ("#0a7d55", "#e3f4ec"), ("#8a4b00", "#fddcb8")  # letters, ground
SIZE_IN, SMALL_IN, DPI = (9.0, 5.6), (4.2, 2.6), 110
SCORES = ("baseline", "amplitude_percent", "latency_pct1_s", "peak_s", "mcv_per_s", "t75_s", "pipr6_percent")
STYLE: dict[str, Any] = {"fontsize": 9, "color": INK}


@dataclass(frozen=True, eq=False)
class Trial:
    """One row of a plr artifact with its trace (t,), times from the onset."""

    name: str
    unit: str
    time_s: np.ndarray
    raw: np.ndarray
    repaired: np.ndarray
    smooth: np.ndarray
    velocity: np.ndarray
    interpolated: np.ndarray
    numbers: Mapping[str, float]
    flags: str


def trials(artifact: Artifact) -> Iterator[Trial]:
    """The trials of a plr artifact, one after another."""
    columns = {name: artifact[name].whole() for name, v in artifact.variables.items() if v.dims == ("sample",)}
    ends = np.cumsum(columns["trace_samples"]) if "trace_samples" in columns else np.zeros(len(artifact), int)
    texts = ("subject", "trial", "eye")
    for i, end in enumerate(ends.tolist()):
        part = slice(end - int(columns["trace_samples"][i]) if "trace_samples" in columns else 0, end)
        t, raw, repaired, smooth, velocity, interpolated = (
            artifact[f"trace_{name}"][part] if f"trace_{name}" in artifact else np.empty(0)
            for name in ("s", "raw", "repaired", "smooth", "velocity_per_s", "interpolated")
        )
        who = " ".join(str(columns[name][i]) for name in texts if name in columns and columns[name][i])
        onset = f"light at {columns['onset_s'][i]:g} s" if "onset_s" in columns else f"#{i}"
        numbers = {
            name: float(values[i]) for name, values in columns.items() if values.dtype.kind in "fiu" and name != "ok"
        }
        flags = str(columns["flags"][i]) if "flags" in columns else ""
        name, unit = f"{who}, {onset}" if who else onset, str(artifact.attrs.get("unit", "ratio"))
        yield Trial(name, unit, t, raw, repaired, smooth, velocity, interpolated, numbers, flags)


def report_items(artifact: Artifact, text: Text = "captions") -> Iterator[Item]:
    """One item per trial, drawn when it is asked for; where both eyes were measured, their agreement first."""
    if text != "none" and {"eye", "anisocoria", "baseline"} <= set(artifact.variables):
        mine = (artifact["eye"].whole() == "L") & np.isfinite(artifact["anisocoria"].whole())
        if mine.sum() > 1:
            left, unit = artifact["baseline"].whole()[mine], str(artifact.attrs.get("unit", "ratio"))
            right = left - artifact["anisocoria"].whole()[mine]
            yield Item("left and right", partial(bland_altman, left, right, unit=unit, quantity="baseline"))
    for trial in trials(artifact):
        scores = {name: trial.numbers[name] for name in SCORES if name in trial.numbers}
        yield Item(trial.name, partial(draw, trial, text), scores, {"flags": trial.flags} if trial.flags else {})


def draw(trial: Trial, text: Text = "captions") -> Image.Image:
    """The picture of one trial.

    text  "none" leaves the banner and the numbers away, small, for a terminal
    """
    bare = text == "none"
    figure = Figure(figsize=SMALL_IN if bare else SIZE_IN, dpi=DPI, facecolor=PAPER)
    size, speed = figure.subplots(
        2, 1, sharex=True, height_ratios=(3, 1.25), gridspec_kw={"hspace": 0.08, "top": 0.98 if bare else 0.86}
    )
    figure.subplots_adjust(left=0.11 if bare else 0.085, right=0.985, bottom=0.19 if bare else 0.1)
    lasting = trial.numbers.get("stimulus_s", np.nan)
    for axes in (size, speed):
        _sober(axes)
        if lasting > 0:
            axes.axvspan(0, lasting, color=LIGHT, alpha=0.16, lw=0, zorder=0)
        for begin, end in _stretches(trial.time_s, trial.interpolated > 0):
            axes.axvspan(begin, end, color=FAINT, alpha=0.45, lw=0, zorder=0)
    _draw_size(size, trial, bare)
    _draw_speed(speed, trial, bare)
    if len(trial.time_s):
        size.set_xlim(trial.time_s[0], trial.time_s[-1])
    speed.set_xlabel("time from the light's onset (s)", **STYLE)
    if not bare:
        figure.align_ylabels([size, speed])
        _banner(figure, trial)
    return _picture(figure)


def bland_altman(
    a: np.ndarray,
    b: np.ndarray,
    *,
    names: tuple[str, str] = ("left", "right"),
    unit: str = "ratio",
    quantity: str = "pupil size",
) -> Image.Image:
    """Differences a - b over means (a + b) / 2 of two series (n,), with bias and limits of agreement.

    The limits are bias +- 1.96 standard deviations (ddof 1). Pairs of which one is NaN are left out and counted.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    both = np.isfinite(a) & np.isfinite(b)
    means, differences = (a[both] + b[both]) / 2, a[both] - b[both]
    figure = Figure(figsize=(7.0, 4.4), dpi=DPI, facecolor=PAPER)
    axes = figure.subplots(gridspec_kw={"left": 0.12, "right": 0.83, "bottom": 0.13, "top": 0.88})
    _sober(axes)
    axes.axhline(0, color=FAINT, lw=1, zorder=1)
    axes.scatter(means, differences, s=26, color=CURVE, alpha=0.65, lw=0, zorder=3)
    if len(differences) > 1:
        bias, spread = differences.mean(), 1.96 * differences.std(ddof=1)
        axes.axhspan(bias - spread, bias + spread, color=CURVE, alpha=0.06, lw=0, zorder=0)
        for level, name, line in (
            (bias, "bias", "-"),
            (bias + spread, "+1.96 SD", "--"),
            (bias - spread, "−1.96 SD", "--"),
        ):
            axes.axhline(level, color=INK, lw=1.1, ls=line, zorder=2)
            axes.annotate(
                f"{name}\n{_number(level)}",
                (1, level),
                (6, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=INK,
            )
        _limit(axes, np.array([0.0, bias - spread, bias + spread, *differences]), 0.12)
    left_out = f", {int((~both).sum())} left out" if not both.all() else ""
    axes.set_title(
        f"{quantity}: {names[0]} and {names[1]}  ·  n = {len(means)}{left_out}", loc="left", fontsize=11, color=INK
    )
    axes.set_xlabel(f"mean of both ({_unit(unit)})", **STYLE)
    axes.set_ylabel(f"{names[0]} − {names[1]} ({_unit(unit)})", **STYLE)
    return _picture(figure)


# ---- the parts of a trial ----


def _draw_size(axes, trial: Trial, bare: bool) -> None:
    dot = 1.6 if bare else 2.6
    axes.plot(trial.time_s, trial.raw, "o", ms=dot, mew=0, color=SAMPLE, alpha=0.75, label="samples", zorder=2)
    gaps = np.where(trial.interpolated > 0, trial.smooth, np.nan)
    measured = np.where(trial.interpolated > 0, np.nan, trial.smooth)
    axes.plot(trial.time_s, measured, color=CURVE, lw=1.9, label="smooth", zorder=4, solid_capstyle="round")
    axes.plot(
        trial.time_s, gaps, color=REPAIRED, lw=2.1, label="interpolated" if np.isfinite(gaps).any() else None, zorder=4
    )
    numbers = trial.numbers
    if np.isfinite(numbers.get("baseline", np.nan)):
        axes.axhline(numbers["baseline"], color=MUTED, lw=0.9, ls=(0, (4, 3)), zorder=1)
    for name, words, tint, side in (
        ("latency_pct1_s", "latency {:.0f} ms", LATENCY, "right"),
        ("peak_s", "peak {:.2f} s", PEAK, "left"),
        ("t75_from_onset_s", "T75 {:.2f} s", RECOVERED, "left"),
    ):
        at = numbers.get(name, np.nan)
        if not np.isfinite(at) or not len(trial.time_s):
            continue
        level = float(np.interp(at, trial.time_s, trial.smooth))
        if not np.isfinite(level):
            continue
        axes.plot([at], [level], "o", ms=4 if bare else 7, color=tint, mec=PAPER, mew=1.3, zorder=6)
        if not bare:
            shown = {"latency_pct1_s": 1000 * at, "t75_from_onset_s": numbers.get("t75_s", np.nan)}.get(name, at)
            offset = (-9, -13) if side == "right" else (10, -13)
            _note(axes, words.format(shown), (at, level), offset, tint, side)
    _limit(axes, np.concatenate([trial.smooth, trial.repaired]), 0.12)
    if not bare:
        axes.set_ylabel(f"pupil size ({_unit(trial.unit)})", **STYLE)
    lasting = numbers.get("stimulus_s", np.nan)
    if lasting > 0:  # the light's bar along the upper edge
        axes.plot(
            [0, lasting],
            [1, 1],
            transform=axes.get_xaxis_transform(),
            color=LIGHT,
            lw=5,
            solid_capstyle="butt",
            clip_on=False,
            zorder=8,
        )
    if not bare:
        axes.legend(loc="lower right", frameon=False, fontsize=8.5, labelcolor=MUTED, handlelength=1.4)


def _draw_speed(axes, trial: Trial, bare: bool) -> None:
    axes.axhline(0, color=FAINT, lw=1, zorder=1)
    axes.plot(trial.time_s, trial.velocity, color=SPEED, lw=1.3, zorder=4)
    axes.fill_between(trial.time_s, 0, trial.velocity, color=SPEED, alpha=0.12, lw=0, zorder=2)
    at, most = trial.numbers.get("mcv_s", np.nan), trial.numbers.get("mcv_per_s", np.nan)
    if np.isfinite(at) and np.isfinite(most):
        axes.plot([at], [-most], "o", ms=4 if bare else 7, color=PEAK, mec=PAPER, mew=1.3, zorder=6)
        if not bare:
            _note(axes, f"MCV {_number(most)} {_unit(trial.unit, per_s=True)}", (at, -most), (10, -4), PEAK, "left")
    _limit(axes, trial.velocity, 0.15)
    if not bare:
        axes.set_ylabel(f"velocity ({_unit(trial.unit, per_s=True)})", **STYLE)


def _note(axes, words: str, at: tuple[float, float], offset: tuple[int, int], tint: str, side: str) -> None:
    axes.annotate(words, at, offset, textcoords="offset points", fontsize=9, color=tint, ha=side, zorder=7)


def _banner(figure: Figure, trial: Trial) -> None:
    """Name, quality and the numbers over the plots."""
    letters, ground = GOOD if not trial.flags else DOUBTFUL
    words = trial.flags.replace("_", " ").replace(";", "  ·  ") or "ok"
    figure.text(0.085, 0.945, trial.name, fontsize=13, color=INK, weight="bold", va="center")
    figure.text(
        *(0.985, 0.945, words),
        fontsize=9.5,
        color=letters,
        ha="right",
        va="center",
        weight="bold",
        bbox={"boxstyle": "round,pad=0.45,rounding_size=0.9", "fc": ground, "ec": "none"},
    )
    figure.text(0.085, 0.893, _sentence(trial), fontsize=9, color=MUTED, va="center")


def _sentence(trial: Trial) -> str:
    numbers, unit = trial.numbers, "" if trial.unit == "ratio" else f" {_unit(trial.unit)}"
    parts = []
    for name, words in (
        ("baseline", f"baseline {{}}{unit}"),
        ("amplitude_percent", "amplitude {} %"),
        ("mcv_per_s", f"MCV {{}} {_unit(trial.unit, per_s=True)}"),
        ("pipr6_percent", "PIPR 6 s {} %"),
        ("interpolated_percent", "interpolated {} %"),
        ("sampling_rate_hz", "{} Hz"),
    ):
        value = numbers.get(name, np.nan)
        if np.isfinite(value):
            parts.append(words.format(_number(value)))
    return "   ".join(parts)


# ---- style ----


def _sober(axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=MUTED, labelsize=8.5, length=3, width=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _limit(axes, values: np.ndarray, margin: float) -> None:
    known = values[np.isfinite(values)]
    if len(known):
        low, high = float(known.min()), float(known.max())
        room = margin * (high - low) or 0.05 * (abs(high) or 1)
        axes.set_ylim(low - room, high + room)


def _stretches(time_s: np.ndarray, mask: np.ndarray) -> Iterator[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield float(time_s[begin]), float(time_s[end - 1])


def _unit(unit: str, per_s: bool = False) -> str:
    short = "ratio" if unit == "ratio" else unit.split(" ")[0]
    if per_s:
        return "1/s" if short == "ratio" else f"{short}/s"
    return "pupil / iris" if short == "ratio" else f"{short}, estimated" if "estimated" in unit else short


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _picture(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
