"""`gz pir` over a video of 160 x 120, from the shell: frames a second, and what a tenfold length costs in memory.

And how long a quick training takes; what it learns is tested in tests/tools/test_eye_commands.py.
"""

import os
import subprocess
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from gazecore import video
from gazecore.synthetic.eyes import frames_of
from tests.benchmarks.bench_memory import BIN, peak_mb

FPS, SECONDS, LENGTHS = 30, 20, (2, 20)  # of the recording, and how often it is repeated
WANTED = 60.0  # frames a second on two cores, decoding included
MOST_S = 60.0  # of a quick training on two cores


def rows() -> list[dict]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = [eye.image for eye in frames_of(0, SECONDS, FPS, (120, 160))]
        for repeats in LENGTHS:
            with video.Writer(folder / f"{repeats}.mp4") as writer:
                for number, image in enumerate(islice(cycle(frames), repeats * len(frames))):
                    writer.add(image, number / FPS)
        environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        nothing = subprocess.DEVNULL
        quiet: Any = {"cwd": folder, "env": environment, "check": True, "stdout": nothing, "stderr": nothing}
        seconds = []
        for repeats in LENGTHS:
            begun = time.perf_counter()
            command = [BIN / "gz", "pir", f"{repeats}.mp4", "-o", f"{repeats}.zarr", "-q"]
            subprocess.run(command, **quiet)
            seconds.append(time.perf_counter() - begun)
        short, long = (
            peak_mb(folder, ["pir", f"{repeats}.mp4", "-o", "again.zarr", "--overwrite"]) for repeats in LENGTHS
        )
        subprocess.run(
            [BIN / "gz", "prep-eyes", "--render", "400", "--size", "160x120", "-o", "eyes.zarr", "-q"], **quiet
        )
        begun = time.perf_counter()
        subprocess.run(
            [BIN / "gz", "train-eyes", "eyes.zarr", "--preset", "segformer-tiny-quick", "-o", "run"], **quiet
        )
        trained = time.perf_counter() - begun
        count = LENGTHS[1] * len(frames)
        weight = count * 160 * 120 * 3 / 2**20
    return [
        {
            "work": f"gz pir over {count:,} frames of 160x120, start-up included",
            "ours": count / seconds[1],
            "peer": WANTED,
            "peer_name": "what is wanted of two cores",
            "unit": "frames/s",
            "goal": 1.0,
        },
        {
            "work": "gz train-eyes --preset segformer-tiny-quick",
            "ours": trained,
            "peer": MOST_S,
            "peer_name": "the most it may take on two cores",
            "unit": "s",
            "goal": 1.0,
            "better": "less",
        },
        {
            "work": "memory of gz pir, 10x the frames",
            "ours": max(long - short, 0.1),
            "peer": weight,
            "peer_name": "the decoded frames",
            "unit": "MiB growth",
            "goal": 10.0,
            "better": "less",
        },
    ]
