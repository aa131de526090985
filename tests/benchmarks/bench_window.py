"""A random window of 32 heat maps of 64x64 out of 10,000, the file opened anew each time."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gazecore import artifacts, heatmaps

FRAMES, WINDOW, READS = 10_000, 32, 20


def rows() -> list[dict]:
    rng = np.random.default_rng(0)
    maps = heatmaps.gaussian(rng.random((FRAMES, 2)))
    starts = rng.integers(0, FRAMES - WINDOW, READS).tolist()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        np.savez_compressed(root / "video.npz", heatmaps=maps)
        (root / "video").mkdir()
        for i, heatmap in enumerate(maps):
            np.save(root / "video" / f"frame_{i:06d}.npy", heatmap)
        levels, scale = heatmaps.quantise(maps)
        with artifacts.create(root / "bytes.zarr", "heatmaps") as writer:
            writer.append(heatmap=levels, scale=scale)
        with artifacts.create(root / "half.zarr", "heatmaps") as writer:
            writer.append(heatmap=maps.astype(np.float16))

        def ours(name: str, start: int) -> np.ndarray:
            with artifacts.open(root / name) as artifact:
                window = artifact["heatmap"][start : start + WINDOW]
                if window.dtype == np.uint8:
                    return heatmaps.dequantise(window, artifact["scale"][start : start + WINDOW])
                return window

        def npz(start: int) -> np.ndarray:
            with np.load(root / "video.npz") as archive:
                return archive["heatmaps"][start : start + WINDOW]

        def npy(start: int) -> np.ndarray:
            files = (root / "video" / f"frame_{i:06d}.npy" for i in range(start, start + WINDOW))
            return np.stack([np.load(file) for file in files])

        assert np.abs(ours("bytes.zarr", 7) - npz(7)).max() < 0.003
        assert np.abs(ours("half.zarr", 7) - npy(7)).max() < 0.001
        figures = {
            "uint8": _milliseconds(lambda start: ours("bytes.zarr", start), starts),
            "float16": _milliseconds(lambda start: ours("half.zarr", start), starts),
        }
        peers = {"npz": (_milliseconds(npz, starts[:3]), 400.0), "npy files": (_milliseconds(npy, starts), 3.5)}
    return [
        {
            "work": f"window of 32 heat maps, {kind}",
            "ours": value,
            "peer": peer,
            "peer_name": peer_name,
            "unit": "ms",
            "goal": goal,
            "better": "less",
        }
        for kind, value in figures.items()
        for peer_name, (peer, goal) in peers.items()
    ]


def _milliseconds(read: Callable[[int], np.ndarray], starts: list[int]) -> float:
    """The median time of a read."""
    times = []
    for start in starts:
        begun = time.perf_counter()
        read(start)
        times.append(time.perf_counter() - begun)
    return float(np.median(times)) * 1000
