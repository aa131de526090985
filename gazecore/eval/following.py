"""Gaze following: model + samples -> heat maps, and predictions -> scores by a named protocol.

Scoring stored predictions needs no torch, so only `predict` imports it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gazecore import heatmaps
from gazecore.artifacts import Artifact, copying
from gazecore.artifacts.gaze_samples import read
from gazecore.artifacts.schema import VariableSpec
from gazecore.errors import USAGE, GazeError
from gazecore.eval import summaries
from gazecore.metrics import following as metrics
from gazecore.metrics import plugins
from gazecore.metrics.confidence import bootstrap_interval

if TYPE_CHECKING:
    import torch

PROTOCOLS = metrics.PROTOCOLS
VIDEO = "videoattentiontarget"  # scored against a square around the one annotated point
PER_SAMPLE = ("auc", "average_l2", "minimum_l2", "average_angle_deg", "minimum_angle_deg")
AP_DRAWS = 200  # each draw sorts all samples again
WRITE_BLOCK = 64

Columns = dict[str, Any]  # numpy arrays, one row per sample


def predict(
    model: Any, artifact: Artifact, rows: np.ndarray, batch_size: int, device: "torch.device", dtype: str
) -> Iterator[Columns]:
    """Columns heatmap (n, h, w), gaze_point (n, 2) and, where the model has it, in_frame_score (n,), block by block.

    The peak is taken before the heat map is rounded to `dtype`. A photo is decoded and encoded once for the people in
    it that follow one another. A model with memory remembers the earlier frames of each person's track.
    """
    import torch

    from gazecore.data.following import batches, preprocessing_of
    from gazecore.eval.memory import Memory

    model = model.to(device).eval()
    preprocessing = replace(preprocessing_of(model), heatmap_size=None)
    video = "track_id" in artifact and "frame" in artifact
    predictor = Memory(model, artifact, rows) if video and getattr(model, "remembers", False) else model
    waiting: list[Columns] = []
    for batch in batches(read(artifact, rows), preprocessing, batch_size):
        with torch.inference_mode():
            prediction = predictor.predict(batch.to(device))
        maps = prediction.heatmap.float().cpu().numpy()
        columns = {"heatmap": maps.astype(dtype), "gaze_point": heatmaps.peak(maps)}
        if prediction.in_frame is not None:
            columns["in_frame_score"] = prediction.in_frame.float().cpu().numpy()
        waiting.append(columns)
        if sum(len(c["heatmap"]) for c in waiting) >= WRITE_BLOCK:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def people_in(block: Columns) -> int:
    """The number of rows of a block."""
    return len(block["heatmap"])


def _joined(blocks: list[Columns]) -> Columns:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def predicted(
    artifact: Artifact, rows: np.ndarray, kept: dict[str, np.ndarray], blocks: Iterator[Columns] | None
) -> Iterator[Columns]:
    """The columns of the samples beside their predictions: from `blocks`, or as the artifact already holds them."""
    if blocks is None:
        for start in range(0, len(rows), WRITE_BLOCK):
            yield copying.columns(artifact, rows[start : start + WRITE_BLOCK], kept)
        return
    start = 0
    for block in blocks:
        count = len(block["heatmap"])
        yield copying.columns(artifact, rows[start : start + count], kept) | block
        start += count


@dataclass
class Scores:
    """Scores of predictions, block by block, and what they add up to.

    protocol  which AUC (and which peak) is meant: gazelle, vtd, tonini or sharingan
    added     metrics of other packages, see metrics/plugins.py
    skipped   reason -> number of samples without AUC and distances
    """

    protocol: str
    added: dict[str, plugins.Metric] = field(default_factory=dict)
    n: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    _columns: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise GazeError(f"--protocol {self.protocol}: expected {', '.join(PROTOCOLS)}", USAGE)

    def add(self, block: Columns, sizes_px: np.ndarray, head_boxes: np.ndarray | None = None) -> Columns:
        """The block's columns with its scores.

        sizes_px    (n, 2) of the scenes
        head_boxes  (n, p, 4) normalised boxes of everybody in each sample's scene, NaN padded, for P.Head
        """
        targets, in_frame = block["gaze_targets"], block["in_frame"]
        annotated = ~np.isnan(targets).all(axis=(-2, -1))
        outside = in_frame == 0
        scored = np.where((~outside)[:, None, None], targets, np.nan)
        points = block["gaze_point"] if self.protocol != "sharingan" else _shifted(block)
        average_l2, minimum_l2 = metrics.l2_distance(points, scored)
        found = {"auc": self._auc(block, scored, sizes_px), "average_l2": average_l2, "minimum_l2": minimum_l2}
        if "eye" in block:
            angles = metrics.angular_error(points, block["eye"], scored)
            found["average_angle_deg"], found["minimum_angle_deg"] = angles
        for name, metric in self.added.items():
            found[name] = plugins.score(name, metric, block["heatmap"].astype(np.float32), scored)
        kept = dict(found)
        if head_boxes is not None and annotated.any():
            marked_by = 2 if targets.shape[1] > 1 else 1
            kept["predicted_at_head"] = metrics.looking_at_head(points, head_boxes)[annotated]
            kept["annotated_at_head"] = metrics.annotated_at_head(targets, head_boxes, marked_by)[annotated]
        kept |= {name: block[name] for name in ("in_frame", "in_frame_score") if name in block}
        for name, values in kept.items():
            self._columns.setdefault(name, []).append(values)
        self.n += len(targets)
        self.skipped["out of frame"] += int(outside.sum())
        self.skipped["no gaze target"] += int((~annotated & ~outside).sum())
        usable = annotated & ~outside
        self.skipped["AUC not defined"] += int((usable & np.isnan(found["auc"])).sum())
        return block | found

    def specs(self) -> list[VariableSpec]:
        """Specifications of the plug-ins' columns, which no schema knows."""
        return [VariableSpec(name, ("sample",), ("float64",), f"plug-in metric {name}") for name in self.added]

    def _auc(self, block: Columns, targets: np.ndarray, sizes_px: np.ndarray) -> np.ndarray:
        maps = block["heatmap"].astype(np.float32)
        video = block["dataset"] == VIDEO if "dataset" in block else np.zeros(len(maps), bool)
        found = np.full(len(maps), np.nan)
        if (~video).any():
            photo = ~video
            found[photo] = metrics.auc(maps[photo], targets[photo], sizes_px[photo], self.protocol)
        if video.any():
            if self.protocol not in ("gazelle", "vtd"):
                raise GazeError(f"--protocol {self.protocol} is not defined for {VIDEO}: gazelle or vtd", USAGE)
            found[video] = metrics.vat_auc(maps[video], targets[video, 0], self.protocol)
        return found

    def summary(self, seed: int = 0) -> dict[str, Any]:
        """Means with 95 % intervals: {"protocol", "n", "skipped", "metrics": {name: {"mean", "low", "high", "n"}}}."""
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        found: dict[str, dict[str, float]] = {}
        for name in (*PER_SAMPLE, *self.added):
            score = summaries.mean(columns.get(name, np.empty(0)), seed)
            if score:
                found[name] = score
        if "in_frame_score" in columns and (columns["in_frame"] == 0).any():
            found["in_frame_ap"] = _average_precision(columns["in_frame_score"], columns["in_frame"], seed)
        if "predicted_at_head" in columns:
            value = metrics.p_head(columns["predicted_at_head"], columns["annotated_at_head"])
            if not np.isnan(value):
                count = int(columns["predicted_at_head"].sum())
                found["p_head"] = {"mean": value, "low": np.nan, "high": np.nan, "n": count}
        skipped = {reason: count for reason, count in self.skipped.items() if count}
        return {"protocol": self.protocol, "n": self.n, "skipped": skipped, "metrics": found}


def _shifted(block: Columns) -> np.ndarray:
    """Sharingan's peak, (index + 1) / size."""
    h, w = block["heatmap"].shape[-2:]
    return block["gaze_point"] + np.array([1 / w, 1 / h])


def _average_precision(scores: np.ndarray, in_frame: np.ndarray, seed: int) -> dict[str, float]:
    known = ~np.isnan(in_frame)
    scores, in_frame = scores[known], in_frame[known]

    def of_rows(rows: np.ndarray, axis: int) -> np.ndarray:
        return metrics.in_frame_ap(scores[rows.astype(int)], in_frame[rows.astype(int)])

    low, high = bootstrap_interval(np.arange(len(scores)), of_rows, n=AP_DRAWS, seed=seed)
    return {"mean": float(metrics.in_frame_ap(scores, in_frame)), "low": low, "high": high, "n": len(scores)}
