"""Prediction over video by a model with memory: what it remembers of a person lasts from batch to batch.

Samples may come track after track, or frame after frame with several people in each: a batch is packed by its tracks,
and the state of every track waits for that person's next frame. It is dropped behind their last.
"""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gazecore.artifacts import Artifact
from gazecore.data.following import FollowingBatch
from gazecore.data.following_loader import People
from gazecore.errors import GazeError
from gazecore.models import Prediction

State = tuple[Tensor, Tensor]  # (layers, channels, h, w) each, of one track


class Memory:
    """Predicts the batches of an artifact's rows, asked for in order.

    Errors: frames of a track that are not in order.
    """

    def __init__(self, model: Any, artifact: Artifact, rows: np.ndarray):
        people = People(artifact, rows)
        self._model, self._track = model, people.track
        self._last = dict(zip(people.track.tolist(), range(len(rows)), strict=True))
        self._states: dict[int, State] = {}
        self._done = 0
        order = np.argsort(people.track, kind="stable")
        back = (np.diff(people.frame[order]) <= 0) & (np.diff(people.track[order]) == 0)
        if back.any():
            row = int(rows[order[np.flatnonzero(back)[0] + 1]])
            raise GazeError(
                f"{artifact.path}: a model with memory reads a person's frames in order; {artifact['sample_id'][row]}, "
                f"frame {artifact['frame'][row]:.0f}, comes after a later one or twice. Do not --shuffle the samples"
            )

    def predict(self, batch: FollowingBatch) -> Prediction:
        """The next batch's prediction, its rows in the batch's order."""
        tracks = self._track[self._done : self._done + len(batch)]
        order, batch_sizes, first = packed(tracks)
        prediction = self._model.predict(_ordered(batch, order), self._state(first), batch_sizes)
        hidden, cell = prediction.state
        end = self._done + len(batch)
        for place, track in enumerate(first):
            self._states[track] = hidden[:, place].clone(), cell[:, place].clone()
            if self._last[track] < end:
                del self._states[track]
        self._done = end
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        in_frame = None if prediction.in_frame is None else prediction.in_frame[back]
        return Prediction(prediction.heatmap[back], in_frame)

    def _state(self, tracks: list[int]) -> Any:
        """The states of some tracks side by side; zeros for one that begins."""
        known = next((self._states[track] for track in tracks if track in self._states), None)
        if known is None:
            return None
        begun = torch.zeros_like(known[0]), torch.zeros_like(known[1])
        states = [self._states.get(track, begun) for track in tracks]
        return tuple(torch.stack(part, dim=1) for part in zip(*states, strict=True))


def packed(tracks: np.ndarray) -> tuple[Tensor, list[int], list[int]]:
    """How rows of several tracks (n,), each in order, are packed for a model with memory.

    returns  the order of the rows (n,), time-major, the longest track first; how many tracks are alive at each step;
             the tracks in the order of the first step
    """
    names, track = np.unique(tracks, return_inverse=True)
    counts = np.bincount(track)
    rank = np.empty_like(counts)
    longest = np.argsort(-counts, kind="stable")
    rank[longest] = np.arange(len(counts))
    by_track = np.argsort(track, kind="stable")
    step = np.empty(len(track), int)
    step[by_track] = np.arange(len(track)) - np.repeat(np.cumsum(counts) - counts, counts)
    order = np.lexsort([rank[track], step])
    return torch.from_numpy(order), np.bincount(step).tolist(), names[longest].tolist()


def _ordered(batch: FollowingBatch, order: Tensor) -> FollowingBatch:
    """The batch with its people in another order; its scenes stay."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch) if field.name != "scene"}
    moved = {name: value[order.to(value.device)] for name, value in values.items() if value is not None}
    return replace(batch, **moved)
