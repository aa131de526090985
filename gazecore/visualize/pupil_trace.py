"""Pupil size over time drawn, a picture per recording: samples, smooth curve, blinks, and how sure the fits are."""

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from gazecore.artifacts import Artifact
from gazecore.visualize.report import Item

COLOURS = {"L": "#1f5fa8", "R": "#b4500a"}
OTHER, BLINK, MUTED = "#0a7d55", "#d5d9e0", "#667085"
MOST_POINTS = 20_000  # of a longer recording every so-manieth frame is drawn
COLUMNS = ("time_s", "frame", "pir", "pir_smooth", "pupil_confidence", "blink", "subject", "trial", "eye")
QUANTITIES = {"ratio": "pupil-iris ratio", "px": "pupil diameter (px)", "mm": "pupil diameter (mm, estimated)"}


def items(artifact: Artifact) -> Iterator[Item]:
    """One picture per subject and trial, both eyes in it."""
    held = {name: artifact[name].whole() for name in COLUMNS if name in artifact}
    empty = np.full(len(artifact), "")
    names = np.array(
        [f"{s} {t}".strip() for s, t in zip(*(held.get(n, empty) for n in ("subject", "trial")), strict=True)]
    )
    for name in dict.fromkeys(names.tolist()):
        mine = {key: values[names == name] for key, values in held.items()}
        known = np.isfinite(mine["pir"])
        facts = {
            "frames": f"{len(known):,}",
            "measured": f"{100 * known.mean():.1f} %",
            "blinks": f"{100 * mine['blink'].mean():.1f} % of frames" if "blink" in mine else "not told",
        }
        scores = {"pir": float(np.median(mine["pir"][known])) if known.any() else np.nan}
        yield Item(
            name or artifact.path.stem, partial(panel, mine, str(artifact.attrs.get("unit", "ratio"))), scores, facts
        )


def panel(columns: dict[str, Any], unit: str) -> Image.Image:
    """Samples as dots, the smooth curve where there is one, blinks shaded; below, the confidence of the pupil."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    thin = slice(None, None, -(-len(columns["pir"]) // MOST_POINTS))
    columns = {name: values[thin] for name, values in columns.items()}
    timed = "time_s" in columns and np.isfinite(columns["time_s"]).any()
    at = columns["time_s"] if timed else columns.get("frame", np.arange(len(columns["pir"])))
    eyes = columns.get("eye", np.full(len(at), ""))
    figure = Figure(figsize=(10, 4.6), dpi=120, layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    for eye in dict.fromkeys(eyes.tolist()):
        mine = eyes == eye
        colour = COLOURS.get(eye, OTHER)
        smooth = "pir_smooth" in columns and np.isfinite(columns["pir_smooth"][mine]).any()
        above.plot(
            at[mine], columns["pir"][mine], ".", ms=2.5, alpha=0.5 if smooth else 0.9, color=colour, label=eye or None
        )
        if smooth:
            above.plot(at[mine], columns["pir_smooth"][mine], color=colour, lw=1.4)
        if "pupil_confidence" in columns:
            below.plot(at[mine], columns["pupil_confidence"][mine], color=colour, lw=0.9)
        if "blink" in columns:
            _shade(above, at[mine], columns["blink"][mine] > 0)
    above.set_ylabel(QUANTITIES.get(unit, unit))
    below.set_ylabel("confidence")
    below.set_ylim(-0.03, 1.05)
    below.set_xlabel("time (s)" if timed else "frame")
    for axis in (above, below):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9, colors=MUTED)
    if any(COLOURS.get(str(eye)) for eye in eyes[:1]):
        above.legend(frameon=False, fontsize=9, title="eye", title_fontsize=9, markerscale=3, loc="upper right")
    FigureCanvasAgg(figure)
    drawn = io.BytesIO()
    figure.savefig(drawn)
    return Image.open(drawn).convert("RGB")


def _shade(axis: Any, at: np.ndarray, shut: np.ndarray) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], shut.astype(int), [0]])))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        axis.axvspan(at[begin], at[end - 1], color=BLINK, alpha=0.6, lw=0, zorder=0)
