"""Peak memory at one and at ten times the samples: what it grows by, beside what the data set itself weighs."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
IMAGES = 150
COMMANDS = {
    "prep-gazefollow": ["prep-gazefollow", "raw", "-o", "again.zarr", "--overwrite"],
    "eval-following": ["eval-following", "gf.zarr", "--checkpoint", "gazelle:tiny", "-o", "scored.zarr", "--overwrite"],
    "convert to h5": ["convert", "gf.zarr", "-o", "gf.h5", "--overwrite"],
    "convert to zarr.zip": ["convert", "gf.zarr", "-o", "gf.zarr.zip", "--overwrite"],
}


def rows() -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        for root, n in ((small, IMAGES), (large, 10 * IMAGES)):
            root.mkdir()
            peak_mb(root, ["make-tiny", "gazefollow", "-o", "raw", "--n", str(n)])
            peak_mb(root, ["prep-gazefollow", "raw", "-o", "gf.zarr"])
        weight = sum(f.stat().st_size for f in (large / "gf.zarr").rglob("*") if f.is_file()) / 2**20
        return [
            {
                "work": f"memory of {name}, 10x the samples",
                "ours": max(peak_mb(large, words) - peak_mb(small, words), 0.1),
                "peer": weight,
                "peer_name": "the data set itself",
                "unit": "MiB growth",
                "goal": 1.0,
                "better": "less",
            }
            for name, words in COMMANDS.items()
        ]


def peak_mb(folder: Path, words: list[str]) -> float:
    """Peak resident memory of one gz command, MiB."""
    process = subprocess.Popen(
        [BIN / "gz", *words, "--quiet"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"gz {' '.join(words)} failed"
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
