"""Features of a frozen backbone, kept in an artifact: every scene is encoded once, whatever the number of epochs."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gazecore import artifacts, images
from gazecore.artifacts import Artifact
from gazecore.artifacts.gaze_samples import Scenes
from gazecore.data.following import preprocessing_of, scene_batch
from gazecore.errors import DATA, USAGE, GazeError
from gazecore.train.progress import Progress

KIND = "scene-features"


class Features:
    """Image row of the samples -> features (d, h, w) float16 of its scene."""

    def __init__(self, artifact: Artifact):
        self._variable = artifact["feature"]
        rows = artifact["image_index"].whole()
        self._place = dict(zip(rows.tolist(), range(len(rows)), strict=True))

    def __getitem__(self, image: int) -> Tensor:
        place = self._place[image]
        return torch.from_numpy(self._variable[place : place + 1][0])


def cached(path: Path, samples: Artifact, image_rows: np.ndarray, model: nn.Module, run: Any) -> Features:
    """The features of the scenes in the given image rows, from the artifact at `path`; made first if it is not there.

    model  has `encode` and a backbone that is not trained, which its configuration names
    run    its device encodes; a part that a stopped run left is gone on with
    Errors: an artifact of other samples, of another backbone or of other scenes; a model that is trained whole.
    """
    config: Any = model.config
    if not hasattr(model, "encode") or not hasattr(config, "backbone"):
        raise GazeError("--cache-features: this model has no frozen backbone; gazelle has", USAGE)
    if any(value.requires_grad for name, value in model.named_parameters() if name.startswith("backbone.")):
        raise GazeError("--cache-features: the backbone is trained, its features change: --freeze trunk", USAGE)
    scenes = np.unique(image_rows)
    attrs = {"samples": samples.id, "backbone": config.backbone, "input_size": "x".join(map(str, config.input_size))}
    with _alone(path):
        if not path.exists():
            _make(path, samples, scenes, model.to(run.device).eval(), attrs, run)
    found = artifacts.open(path, kind=KIND)
    stored = {key: found.attrs.get(key) for key in attrs}
    differing = [f"{key} {stored[key]}, not {value}" for key, value in attrs.items() if stored[key] != value]
    lacking = np.setdiff1d(scenes, found["image_index"].whole())
    if differing or len(lacking):
        problem = "; ".join(differing) or f"features of {len(found)} scenes, {len(lacking)} of these are not among them"
        raise GazeError(f"{path} holds {problem}. Name another file, or delete this one", DATA)
    return Features(found)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Of several processes one makes the file; the others find it made."""
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    lock.unlink(missing_ok=True)


def _make(path: Path, samples: Artifact, rows: np.ndarray, model: Any, attrs: dict[str, str], run: Any) -> None:
    preprocessing, photos = preprocessing_of(model), Scenes(samples)
    style = run.settings.progress if run.main else "off"
    with (
        artifacts.create(path, KIND, attrs, resume=True) as writer,
        Progress(style, writer.rows(), len(rows), "encode") as bar,
    ):
        for start in range(writer.rows(), len(rows), 8):
            block = rows[start : start + 8]
            scenes = scene_batch([images.load(photos[int(row)]) for row in block], preprocessing)
            with torch.inference_mode():
                features = model.encode(scenes.to(run.device))
            writer.append(feature=features.half().cpu().numpy(), image_index=block)
            for _ in block:
                bar.advance()
