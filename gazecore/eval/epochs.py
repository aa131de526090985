"""A training run seen from its epochs: every checkpoint that it kept, scored over the same samples."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gazecore.artifacts import Artifact, copying
from gazecore.errors import NO_INPUT, GazeError
from gazecore.eval.following import Scores, predict, predicted
from gazecore.eval.looking_at_head import Heads

SCORES = ("auc", "average_l2", "minimum_l2", "average_angle_deg", "minimum_angle_deg", "in_frame_ap", "p_head")
BASELINES = ("centre_auc", "centre_l2", "mean_map_auc", "mean_map_l2")  # attributes of the artifact


class Epoch(NamedTuple):
    """number of the epoch, from 1, and its checkpoint."""

    number: int
    path: Path


def kept(folder: Path) -> list[Epoch]:
    """The epochs whose checkpoints lie in a run's folder, in order. Errors: none does."""
    found = [path for path in folder.glob("epochs/*.safetensors") if re.fullmatch(r"\d+", path.stem)]
    if not found:
        raise GazeError(
            f"{folder}: expected the folder of a run with a checkpoint per epoch, epochs/0001.safetensors and so on; "
            "gz train-following --keep-epochs keeps them",
            NO_INPUT,
        )
    return sorted(Epoch(int(path.stem), path) for path in found)


def score(
    model: Any, samples: Artifact, rows: np.ndarray, protocol: str, batch_size: int, device: Any
) -> dict[str, np.ndarray]:
    """One row of an epoch-scores artifact but for its epoch: the means over the given rows, NaN where undefined."""
    scores, heads = Scores(protocol), Heads(samples)
    sizes_px = samples["image_size_px"].whole()[samples["image_index"].whole()[rows]]
    blocks: Iterator[Any] = predict(model, samples, rows, batch_size, device, "float32")
    for block in predicted(samples, rows, copying.kept_rows(samples, rows), blocks):
        part = slice(scores.n, scores.n + len(block["heatmap"]))
        scores.add(block, sizes_px[part], heads.everybody(rows[part]))
    means = scores.summary()["metrics"]
    return {name: np.array([means[name]["mean"] if name in means else np.nan]) for name in SCORES}
