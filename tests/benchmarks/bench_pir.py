"""Pupil-iris ratio of 240x320 masks: time and error, against cv2.fitEllipse on the contours of the same masks."""

import os
import time
from collections.abc import Callable

import numpy as np

from gazecore.pupil.ratio import measure
from gazecore.synthetic.eyes import render

FRAMES = int(os.environ.get("GZ_BENCH_EYES", "100"))
SIZE = (240, 320)
LIMIT_MS = 1.0


def rows() -> list[dict]:
    eyes = [eye for eye in (render(seed, SIZE) for seed in range(70_000, 70_000 + FRAMES)) if not eye.truth.blink]
    labels = np.stack([eye.labels for eye in eyes])
    truth = np.array([eye.truth.pir for eye in eyes])

    def ours() -> np.ndarray:
        return measure(labels)["pir"]

    def peer() -> np.ndarray:
        return np.array([by_opencv(mask) for mask in labels])

    our_error, their_error = (100 * np.abs(call() / truth - 1) for call in (ours, peer))
    assert np.median(our_error) <= 0.5, "faster than the truth"
    fast, slow = (1e3 * min(seconds(call) for _ in range(5)) / len(eyes) for call in (ours, peer))
    work = f"PIR of 240x320 masks ({len(eyes)} made eyes)"
    shared = {"better": "less"}
    return [
        shared
        | {"work": f"{work}: time", "ours": fast, "peer": LIMIT_MS, "unit": "ms/frame", "goal": 1}
        | {"peer_name": f"the limit; cv2.fitEllipse takes {slow:.2g} ms"},
        *(
            shared
            | {"work": f"{work}: {name} error", "ours": of(our_error), "peer": of(their_error), "unit": "%", "goal": 5}
            | {"peer_name": "cv2.fitEllipse on findContours"}
            for name, of in (("median", np.median), ("mean", np.mean), ("95th percentile", ninety_fifth))
        ),
    ]


def by_opencv(labels: np.ndarray) -> float:
    """Major axis of the pupil's contour over that of the iris disc's."""
    import cv2

    majors = []
    for region in (labels == 2, (labels == 1) | (labels == 2)):
        contours, _ = cv2.findContours(region.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        majors.append(max(cv2.fitEllipse(max(contours, key=len))[1]))
    return majors[0] / majors[1]


def ninety_fifth(errors: np.ndarray) -> float:
    return float(np.percentile(errors, 95))


def seconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
