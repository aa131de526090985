"""CC + KL + SIM + NSS + AUC-Judd of float32 maps, against pysaliency's functions called map by map."""

import importlib.util
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from scipy.ndimage import gaussian_filter

from gazecore.metrics.saliency import score_block

METRICS = ("cc", "kl", "sim", "nss", "auc_judd")
FIXATIONS = 30
REPEATS, LEAST_SECONDS = 20, 0.5


def rows() -> list[dict]:
    np.ones(3 << 20)  # freed at once: glibc keeps large blocks from now on, which spares the peer a third of its time
    peer = pysaliency()
    return [compare(peer, size, count, goal) for size, count, goal in (((64, 64), 64, 4), ((480, 640), 4, 10))]


def compare(peer: SimpleNamespace, size: tuple[int, int], count: int, goal: float) -> dict:
    predictions, annotations, fixations = samples(size, count)

    def ours() -> dict[str, np.ndarray]:
        return score_block(predictions, annotations, fixations, metrics=METRICS)

    def theirs(few: int, dtype: type = np.float32) -> dict[str, np.ndarray]:
        maps = (values[:few].astype(dtype, copy=False) for values in (predictions, annotations))
        scores = [five(peer, *sample) for sample in zip(*maps, fixations[:few].astype(int), strict=True)]
        return dict(zip(METRICS, np.array(scores).T, strict=True))

    scores, expected = ours(), theirs(count, np.float64)  # theirs in float32 is less exact than ours
    for name in METRICS:
        np.testing.assert_allclose(scores[name], expected[name], rtol=2e-5, atol=1e-6, err_msg=name)
    few = max(1, count // 8)  # calls about as long as ours: a busy machine interrupts long ones more often
    return {
        "work": f"CC + KL + SIM + NSS + AUC-Judd, {size[0]}x{size[1]}, {FIXATIONS} fixations",
        "ours": count / seconds(ours),
        "peer": few / seconds(lambda: theirs(few)),
        "peer_name": "pysaliency 0.2.22",
        "unit": "samples/s",
        "goal": goal,
    }


def pysaliency() -> SimpleNamespace:
    """Its functions on arrays. The package itself needs pkg_resources, which setuptools no longer brings."""
    spec = importlib.util.find_spec("pysaliency")
    if spec is None:
        raise ModuleNotFoundError("pysaliency, the peer of this benchmark, is in the development group: uv sync")
    sys.modules.setdefault("pysaliency", importlib.util.module_from_spec(spec))  # its __init__ does not run
    if not hasattr(np, "trapz"):
        np.trapz = np.trapezoid  # which it calls, and NumPy 2.4 dropped
    from pysaliency import metrics, numba_utils

    return SimpleNamespace(metrics=metrics, roc=numba_utils.general_roc_numba, fill=numba_utils.fill_fixation_map)


def five(peer: SimpleNamespace, prediction: np.ndarray, annotation: np.ndarray, fixations: np.ndarray) -> list[float]:
    """The five as pysaliency computes them; AUC-Judd as in AUC_per_image(nonfixations="unfixated")."""
    x, y = fixations.T
    fixated = np.zeros(prediction.shape)
    peer.fill(fixated, np.array([y, x]).T)
    positives, negatives = prediction[y, x].astype(float), prediction[fixated == 0].flatten().astype(float)
    return [
        peer.metrics.CC(prediction, annotation),
        peer.metrics.MIT_KLDiv(prediction, annotation),
        peer.metrics.SIM(prediction, annotation),
        peer.metrics.NSS(prediction, x, y).mean(),
        peer.roc(positives, negatives, judd=1)[0],
    ]


def samples(size: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blurred noise without zeros, and fixations anywhere."""
    rng = np.random.default_rng(0)
    maps = [gaussian_filter(rng.random(size), size[0] / 20) for _ in range(2 * count)]
    maps = np.array([(values - values.min()) / np.ptp(values) + 0.01 for values in maps], np.float32)
    return maps[:count], maps[count:], rng.integers(0, size[::-1], (count, FIXATIONS, 2)).astype(float)


def seconds(work: Callable[[], object]) -> float:
    """The least time of one call."""
    times, begun = [], time.perf_counter()
    while len(times) < REPEATS or time.perf_counter() - begun < LEAST_SECONDS:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
