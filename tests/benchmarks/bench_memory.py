"""Peak memory at one and at ten times the samples: what it grows by, beside what the data set itself weighs."""

import codecs
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
IMAGES, REPEATS = 750, 3  # one time the samples already fills every buffer
COMMANDS = {
    "prep-gazefollow": ["prep-gazefollow", "raw", "--split", "train", "-o", "again.zarr", "--overwrite"],
    "eval-following": ["eval-following", "predictions.zarr", "-o", "scored.zarr", "--overwrite"],
    "convert to h5": ["convert", "gf.zarr", "-o", "gf.h5", "--overwrite"],
    "convert to zarr.zip": ["convert", "gf.zarr", "-o", "gf.zarr.zip", "--overwrite"],
}


def rows() -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        _make(small, large)
        weight = sum(f.stat().st_size for f in (large / "gf.zarr").rglob("*") if f.is_file()) / 2**20
        return [
            {
                "work": f"memory of {name}, 10x the samples",
                "ours": max(peak_mb(large, words) - peak_mb(small, words), 0.1),
                "peer": weight,
                "peer_name": "the data set itself",
                "unit": "MiB growth",
                "goal": 10.0,
                "better": "less",
            }
            for name, words in COMMANDS.items()
        ]


def _make(small: Path, large: Path) -> None:
    """A made data set, repeated some times in one folder and ten times as often in the other."""
    with tempfile.TemporaryDirectory() as folder:
        once = Path(folder)
        peak_mb(once, ["make-tiny", "gazefollow", "-o", "raw", "--n", str(IMAGES)])
        peak_mb(once, ["prep-gazefollow", "raw", "-o", "gf.zarr"])
        peak_mb(once, ["predict-following", "gf.zarr", "--checkpoint", "gazelle:tiny", "-o", "predictions.zarr"])
        for root, repeats in ((small, REPEATS), (large, 10 * REPEATS)):
            root.mkdir()
            for name in ("gf.zarr", "predictions.zarr"):
                peak_mb(root, ["concat", *repeats * [str(once / name)], "-o", name])
            shutil.copytree(once / "raw", root / "raw")
            table = root / "raw" / "train_annotations_release.txt"
            table.write_bytes(repeats * table.read_bytes().removeprefix(codecs.BOM_UTF8))


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
