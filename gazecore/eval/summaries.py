"""Scores of many samples as a summary: mean, 95 % bootstrap interval and number of each, what was skipped and why.

{"n": 120, "skipped": {"out of frame": 8}, "metrics": {"auc": {"mean": .9, "low": .88, "high": .92, "n": 112}}}
and whatever names the protocol.
"""

from typing import Any

import numpy as np

from gazecore.metrics.confidence import bootstrap_interval


def mean(values: np.ndarray, seed: int = 0) -> dict[str, float] | None:
    """The mean of the values that are no NaN, its interval and their number; None without any."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = bootstrap_interval(values, seed=seed)
    return {"mean": float(values.mean()), "low": low, "high": high, "n": len(values)}


def headline(summary: dict[str, Any]) -> dict[str, Any]:
    """The few numbers of a summary that go into the reference line and the attribute gz_summary."""
    named = {key: value for key, value in summary.items() if key not in ("metrics", "skipped")}
    return named | {name: score["mean"] for name, score in summary["metrics"].items()}


def table(summary: dict[str, Any]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """A summary as rows to print and their header."""
    rows: list[tuple[str, ...]] = [
        (key, str(value), "", "") for key, value in summary.items() if key not in ("metrics", "skipped")
    ]
    rows += [(f"skipped: {reason}", str(count), "", "") for reason, count in summary["skipped"].items()]
    for name, score in summary["metrics"].items():
        interval = "" if np.isnan(score["low"]) else f"{score['low']:.4f} .. {score['high']:.4f}"
        rows.append((name, f"{score['mean']:.4f}", interval, str(score["n"])))
    return rows, ("score", "mean", "95 % interval", "n")
