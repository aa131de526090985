"""Scoring gaze following, against the loops people run today: one sample at a time, scikit-learn on every pixel."""

import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import interpolate

from gazecore import heatmaps
from gazecore.metrics import following

PEER = "sklearn roc_auc_score per sample"
WIDTH, HEIGHT, ANNOTATORS = 640, 480, 10


def rows() -> list[dict]:
    torch.set_num_threads(1)
    return [gazefollow(24), videoattentiontarget(512)]


def gazefollow(count: int) -> dict:
    maps, targets = predictions(count, ANNOTATORS)

    def ours() -> np.ndarray:
        return np.stack([following.auc(maps, targets, (WIDTH, HEIGHT)), *following.l2_distance(maps, targets)])

    def peer() -> np.ndarray:
        scores = []
        for heatmap, annotated in zip(maps, targets, strict=True):
            hit = np.zeros((HEIGHT, WIDTH))
            for x, y in annotated:
                hit[min(int(y * HEIGHT), HEIGHT - 1), min(int(x * WIDTH), WIDTH - 1)] = 1
            enlarged = interpolate(torch.from_numpy(heatmap)[None, None], (HEIGHT, WIDTH), mode="bilinear")
            row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
            predicted = np.array([column / heatmap.shape[1], row / heatmap.shape[0]])
            average = np.linalg.norm(predicted - annotated.mean(axis=0))
            nearest = min(np.linalg.norm(predicted - point) for point in annotated)
            scores.append((roc_auc_score(hit.ravel(), enlarged.numpy().ravel()), average, nearest))
        return np.array(scores).T

    return compare("GazeFollow evaluation: AUC + distances, 640x480, 10 annotators", ours, peer, count, goal=8)


def videoattentiontarget(count: int) -> dict:
    maps, targets = predictions(count, 1)

    def ours() -> np.ndarray:
        return np.stack([following.vat_auc(maps, targets), following.l2_distance(maps, targets)[0]])

    def peer() -> np.ndarray:
        scores = []
        for heatmap, (target,) in zip(maps, targets, strict=True):
            h, w = heatmap.shape
            x, y = target * (w, h)
            square = np.zeros((h, w))
            square[max(int(y - 9), 0) : min(int(y + 10), h - 1), max(int(x - 9), 0) : min(int(x + 10), w - 1)] = 1
            row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
            distance = np.hypot(column / w - target[0], row / h - target[1])
            scores.append((roc_auc_score(square.ravel(), heatmap.ravel()), distance))
        return np.array(scores).T

    return compare("VideoAttentionTarget evaluation: AUC + distance", ours, peer, count, goal=10)


def predictions(count: int, annotators: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy peaks as a model predicts them, and annotators scattered around."""
    generator = np.random.default_rng(0)
    targets = generator.random((count, 1, 2))
    maps = heatmaps.gaussian(targets[:, 0], sigma=5) + 0.2 * generator.random((count, 64, 64), np.float32)
    return maps, np.clip(targets + 0.05 * generator.standard_normal((count, annotators, 2)), 0, 1)


def compare(work: str, ours: Callable, peer: Callable, count: int, goal: float) -> dict:
    """Both agree to 1e-6, then the best of five against the best of two."""
    np.testing.assert_allclose(ours(), peer(), atol=1e-6)
    fast, slow = (min(seconds(call) for _ in range(times)) for call, times in ((ours, 5), (peer, 2)))
    figures = {"ours": count / fast, "peer": count / slow, "unit": "samples/s", "goal": goal}
    return {"work": work, "peer_name": PEER, **figures}


def seconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
