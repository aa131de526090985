"""Gaussian target maps, against one map at a time as training loops draw them today."""

import time
from collections.abc import Callable

import numpy as np

from gazecore import heatmaps

SIZE, SIGMA = 64, 3


def rows() -> list[dict]:
    points = np.random.default_rng(0).random((256, 2))  # a training batch

    def ours() -> np.ndarray:
        return heatmaps.gaussian(points, convention="vtd")

    def peer() -> list[np.ndarray]:
        return [drawn_alone(x * SIZE, y * SIZE) for x, y in points]

    np.testing.assert_allclose(ours(), peer(), atol=1e-6)
    fast, slow = (min(seconds(call) for _ in range(20)) for call in (ours, peer))
    return [
        {
            "work": "Gaussian heat maps 64x64, sigma 3",
            "ours": len(points) / fast,
            "peer": len(points) / slow,
            "peer_name": "a Gaussian patch pasted into one map at a time",
            "unit": "maps/s",
            "goal": 5,
        }
    ]


def drawn_alone(x: float, y: float) -> np.ndarray:
    """A patch of 6 sigma + 1 cells, cut to the map, pasted and scaled to peak 1."""
    canvas = np.zeros((SIZE, SIZE), np.float32)
    left, top = int(x - 3 * SIGMA), int(y - 3 * SIGMA)
    right, bottom = int(x + 3 * SIGMA + 1), int(y + 3 * SIGMA + 1)
    offset = np.arange(6 * SIGMA + 1.0) - 3 * SIGMA
    patch = np.exp(-(offset**2 + offset[:, None] ** 2) / (2 * SIGMA**2))
    rows, columns = slice(max(top, 0), min(bottom, SIZE)), slice(max(left, 0), min(right, SIZE))
    canvas[rows, columns] += patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return canvas / canvas.max()


def seconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
