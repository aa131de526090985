"""What a gaze-following score must be compared with: predictors that never look at the person.

centre    a Gaussian in the middle of the scene
mean_map  the mean of all annotated targets: of the training split where the artifact has one, else of the other half of
          what is scored
"""

import numpy as np

from gazecore import heatmaps
from gazecore.artifacts import Artifact
from gazecore.eval.following import Scores

CENTRE_SIGMA = 12.0  # cells of 64
MOST = 1000  # samples that baselines are scored on, evenly spread
BLOCK = 256
SHOWN = {"auc": "auc", "l2": "average_l2"}


def score(artifact: Artifact, rows: np.ndarray, protocol: str, seed: int = 0) -> dict[str, dict[str, float]]:
    """{"centre_auc", "centre_l2", "mean_map_auc", "mean_map_l2"}: means with intervals, on up to MOST of the rows."""
    chosen = rows[:: -(-len(rows) // MOST)]
    train = np.flatnonzero(artifact["split"].whole() == "train") if "split" in artifact else np.empty(0, int)
    halves = [(chosen[0::2], rows[1::2]), (chosen[1::2], rows[0::2])]
    means = [(part, mean_map(artifact, of)) for part, of in ([(chosen, train)] if len(train) else halves) if len(part)]
    centre = heatmaps.gaussian(np.array([0.5, 0.5]), sigma=CENTRE_SIGMA)
    found: dict[str, dict[str, float]] = {}
    for name, predictions in (("centre", [(chosen, centre)]), ("mean_map", means)):
        scores = Scores(protocol)
        for part, heatmap in predictions:
            for start in range(0, len(part), BLOCK):
                _add(scores, artifact, part[start : start + BLOCK], heatmap)
        metrics = scores.summary(seed)["metrics"]
        found |= {f"{name}_{short}": metrics[long] for short, long in SHOWN.items() if long in metrics}
    return found


def mean_map(artifact: Artifact, rows: np.ndarray) -> np.ndarray:
    """The mean of the in-frame targets' Gaussians, (64, 64)."""
    total = np.zeros((64, 64))
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        targets = artifact["gaze_targets"].take(part)[artifact["in_frame"].take(part) != 0].reshape(-1, 2)
        total += heatmaps.gaussian(targets[~np.isnan(targets).any(axis=-1)]).sum(axis=0, dtype=float)
    return heatmaps.peak_normalised(total)


def _add(scores: Scores, artifact: Artifact, rows: np.ndarray, heatmap: np.ndarray) -> None:
    names = [name for name in ("gaze_targets", "in_frame", "dataset") if name in artifact]
    block = {name: artifact[name].take(rows) for name in names}
    block["heatmap"] = np.broadcast_to(heatmap.astype(np.float32), (len(rows), *heatmap.shape))
    block["gaze_point"] = np.broadcast_to(heatmaps.peak(heatmap), (len(rows), 2))
    sizes_px = artifact["image_size_px"].whole()[artifact["image_index"].take(rows)]
    scores.add(block, sizes_px)
