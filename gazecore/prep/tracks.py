"""Which head of this frame is which of the frames before: for detectors that only say where heads are.

The boxes that overlap most belong together, one pair after the other: the intersection-over-union tracker of Bochinski,
Eiselein and Sikora (AVSS 2017), which looks at no picture. People who pass one another closely may change names.
"""

import numpy as np

LEAST_OVERLAP = 0.3  # intersection over union: a square head may move by half its width between two frames
PATIENCE_S, PATIENCE_FRAMES = 1.0, 2  # a person is forgotten when unseen for longer than both


class Tracks:
    """The people of one video, numbered from 1 in the order in which they appear."""

    def __init__(self) -> None:
        self._boxes = np.empty((0, 4))
        self._numbers = np.empty(0, int)
        self._seen_s = np.empty(0)
        self._missed = np.empty(0, int)  # frames since
        self._known = 0

    def update(self, boxes: np.ndarray, time_s: float) -> np.ndarray:
        """The people's numbers (n,) of the boxes (n, 4) of one frame, whose frames come in the order of time.

        boxes  x_min, y_min, x_max, y_max in any unit that stays the same; a NaN box is nobody: 0
        """
        boxes = np.asarray(boxes, float).reshape(-1, 4)
        kept = (time_s - self._seen_s <= PATIENCE_S) | (self._missed < PATIENCE_FRAMES)
        self._boxes, self._numbers, self._seen_s, self._missed = (
            column[kept] for column in (self._boxes, self._numbers, self._seen_s, self._missed)
        )
        shared = overlap(self._boxes, boxes)  # (tracks, n)
        numbers = np.zeros(len(boxes), int)
        while shared.size and shared.max() >= LEAST_OVERLAP:
            track, box = np.unravel_index(shared.argmax(), shared.shape)
            numbers[box] = self._numbers[track]
            shared[track], shared[:, box] = 0, 0

        fresh = (numbers == 0) & ~np.isnan(boxes).any(axis=1)
        numbers[fresh] = self._known + 1 + np.arange(fresh.sum())
        self._known += int(fresh.sum())
        self._remember(boxes[numbers > 0], numbers[numbers > 0], time_s)
        return numbers

    def _remember(self, boxes: np.ndarray, numbers: np.ndarray, time_s: float) -> None:
        unseen = ~np.isin(self._numbers, numbers)
        self._boxes = np.concatenate([self._boxes[unseen], boxes])
        self._numbers = np.concatenate([self._numbers[unseen], numbers])
        self._seen_s = np.concatenate([self._seen_s[unseen], np.full(len(numbers), time_s)])
        self._missed = np.concatenate([self._missed[unseen] + 1, np.zeros(len(numbers), int)])


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (k, 4) with boxes (n, 4), (k, n); 0 with a NaN box and between empty ones."""
    first, second = np.asarray(first, float)[:, None], np.asarray(second, float)[None]
    low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    shared = np.maximum(high - low, 0).prod(axis=-1)
    area = (first[..., 2:] - first[..., :2]).prod(axis=-1) + (second[..., 2:] - second[..., :2]).prod(axis=-1) - shared
    return np.nan_to_num(np.divide(shared, area, out=np.zeros_like(shared), where=area > 0))
