"""Who looks at whose head: labels from the points where people look and the other people's head boxes of the moment.

looks_at_head            annotated: 1 the target lies on another person's head, 0 not, NaN unknown
predicted_looks_at_head  the same of the predicted gaze point
head_looked_at           whose head that is: track_id, or sample_id where the person has no track; else empty
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from gazecore.artifacts import Artifact

IN_FRAME = 0.5  # whose in-frame score is below looks out of the scene, at nobody in it

Columns = dict[str, Any]  # numpy arrays, one row per sample


class Heads:
    """The heads of everybody in an artifact, by moment: those of one frame of a clip, or of one scene image."""

    def __init__(self, artifact: Artifact):
        index = artifact["image_index"].whole()
        sizes_px = artifact["image_size_px"].whole()[index]
        self.boxes = artifact["head_box_px"].whole() / np.tile(sizes_px, 2)  # (rows, 4) normalised
        self._moments = _moments(artifact, index)
        self._order = np.argsort(self._moments, kind="stable")
        self._sorted = self._moments[self._order]
        names = artifact["sample_id"].whole()
        if "track_id" in artifact:
            tracks = artifact["track_id"].whole()
            names = np.where(tracks == "", names, tracks)
        self.names = names  # (rows,)

    def others(self, rows: np.ndarray) -> np.ndarray:
        """For each of the rows (n,) the rows of the other people at that moment (n, p), -1 padded.

        A box that equals a person's own is that person once more: another annotator's.
        """
        found, there = self._together(rows)
        own = (self.boxes[found] == self.boxes[rows][:, None]).all(axis=-1) | (found == rows[:, None])
        return np.where(there & ~own, found, -1)

    def everybody(self, rows: np.ndarray) -> np.ndarray:
        """For each of the rows (n,) the boxes (n, p, 4) of all people at that moment, also their own; NaN padded."""
        found, there = self._together(rows)
        return np.where(there[..., None], self.boxes[found], np.nan)

    def _together(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows (n, p) of the moment of each of the rows (n,), and where there are so many."""
        starts = np.searchsorted(self._sorted, self._moments[rows], side="left")
        ends = np.searchsorted(self._sorted, self._moments[rows], side="right")
        places = starts[:, None] + np.arange((ends - starts).max(initial=0))
        there = places < ends[:, None]
        return self._order[np.where(there, places, 0)], there

    def looked_at(self, points: np.ndarray, others: np.ndarray) -> np.ndarray:
        """The row of the head (..., n) on which each point (..., n, 2) lies, -1 for none; of several the nearest.

        others  (n, p), see there; a head's border belongs to it, NaN lies nowhere
        """
        if not others.shape[1]:
            return np.full(points.shape[:-1], -1)
        boxes = np.where((others < 0)[..., None], np.nan, self.boxes[others])  # (n, p, 4)
        points = points[..., None, :]  # (..., n, 1, 2)
        inside = ((points >= boxes[..., :2]) & (points <= boxes[..., 2:])).all(axis=-1)
        middles = (boxes[..., :2] + boxes[..., 2:]) / 2
        distance = np.where(inside, ((points - middles) ** 2).sum(axis=-1), np.inf)
        nearest = distance.argmin(axis=-1)
        row = np.take_along_axis(np.broadcast_to(others, inside.shape), nearest[..., None], axis=-1)[..., 0]
        return np.where(inside.any(axis=-1), row, -1)


def _moments(artifact: Artifact, index: np.ndarray) -> np.ndarray:
    """The same number (rows,) for people who are in the picture together.

    Tracks of a video follow one another, and each may bring its own copy of a frame: clip and frame number decide.
    """
    keys = np.stack([np.full(len(index), -1.0), index.astype(float)], axis=1)
    if "clip" in artifact and "frame" in artifact:
        _, clip = np.unique(artifact["clip"].whole(), return_inverse=True)
        frame = artifact["frame"].whole()
        known = (artifact["clip"].whole() != "") & ~np.isnan(frame)
        keys[known] = np.stack([clip.astype(float), frame], axis=1)[known]
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def labelled(blocks: Iterator[Columns], artifact: Artifact, rows: np.ndarray, fresh: bool = True) -> Iterator[Columns]:
    """The blocks with their labels; together they are the given rows of the artifact, in order.

    fresh  the predictions were made just now; labels of earlier ones stay, as others in the scene may have been dropped
    """
    heads: Heads | None = None
    start = 0
    for block in blocks:
        part = rows[start : start + len(block["gaze_point"])]
        start += len(part)
        if fresh or "predicted_looks_at_head" not in block:
            heads = heads or Heads(artifact)
            block = block | labels(heads, part, block)
        yield block


def labels(heads: Heads, rows: np.ndarray, block: Columns) -> Columns:
    """The three labels of some rows, given their gaze_point, gaze_targets, in_frame and, if any, in_frame_score."""
    others = heads.others(rows)
    seen = heads.looked_at(block["gaze_point"], others)
    if "in_frame_score" in block:
        seen = np.where(block["in_frame_score"] < IN_FRAME, -1, seen)
    predicted = np.where(np.isnan(block["gaze_point"]).any(axis=-1), np.nan, (seen >= 0).astype(np.float32))
    return {
        "looks_at_head": annotated(heads, others, block["gaze_targets"], block["in_frame"]),
        "predicted_looks_at_head": predicted.astype(np.float32),
        "head_looked_at": np.where(seen >= 0, heads.names[seen], ""),
    }


def annotated(heads: Heads, others: np.ndarray, gaze_targets: np.ndarray, in_frame: np.ndarray) -> np.ndarray:
    """1 where annotators marked one head, 0 where they did not or the target is out of frame, NaN unknown, (n,).

    Where several annotators looked at a sample, two must have marked the same head (idiap/sharingan:src/metrics.py).
    """
    known = ~np.isnan(gaze_targets).any(axis=-1)  # (n, annotators)
    marked = heads.looked_at(np.moveaxis(gaze_targets, 1, 0), others)  # (annotators, n)
    agreeing = ((marked[:, None] == marked[None]) & (marked >= 0)).sum(axis=0).max(axis=0, initial=0)  # (n,)
    needed = np.minimum(known.sum(axis=-1), 2)
    found = np.where(known.any(axis=-1), (agreeing >= needed).astype(np.float32), np.nan)
    return np.where(in_frame == 0, 0.0, found).astype(np.float32)
