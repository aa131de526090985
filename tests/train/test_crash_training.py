"""A training run may be killed at any moment, and split over processes: it ends with the same weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from shell_lines import shell

pytestmark = pytest.mark.slow
KILLS, STEPS = 5, 60
OPTIONS = f"--preset tiny --steps {STEPS} --device cpu --batch-size 8 --save-every 4 --validate-on test --ema 0.9 -q"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crash")
    done = shell("gz make-tiny gazefollow -o raw --n 24 --seed 5 && gz prep-gazefollow raw -o gf.zarr", folder)
    assert done.returncode == 0, done.stderr
    return folder


def logged(run: Path) -> list[dict]:
    """The lines of a run's log but for their times; the last may be half-written."""
    path = run / "metrics.ndjson"
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def test_a_run_killed_five_times_ends_bit_identical_to_the_unbroken_one(work: Path):
    done = shell(f"gz train-following gf.zarr {OPTIONS} -o whole", work)
    assert done.returncode == 0, done.stderr
    rng, kills = np.random.default_rng(0), 0
    command = [sys.executable, "-m", "gazecore.tools.train_following", "gf.zarr", *OPTIONS.split(), "-o", "killed"]
    for number in range(KILLS):
        process = subprocess.Popen(
            [*command, "--resume"], cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        begun = len(logged(work / "killed"))
        while process.poll() is None and len(logged(work / "killed")) <= min(begun, number):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills == KILLS, "the run ended before it was killed so often"
    done = shell(f"gz train-following gf.zarr {OPTIONS} -o killed --resume", work)
    assert done.returncode == 0, done.stderr
    for name in ("last/model.safetensors", "last/state.safetensors", "best.safetensors"):
        whole, killed = (load_file(work / run / name) for run in ("whole", "killed"))
        assert whole.keys() == killed.keys()
        assert [key for key in whole if whole[key].tobytes() != killed[key].tobytes()] == []
    assert logged(work / "whole") == logged(work / "killed")


# the memory as it is published: trunk frozen, that learning rate; dropout draws its noise per process
MEMORY = "--preset vtd-temporal-tiny --freeze trunk --lr 5e-5 --set model.lstm_dropout=0.0"


@pytest.mark.parametrize("preset, data", [("--preset tiny", "gf.zarr"), (MEMORY, "vat.zarr")])
def test_two_processes_learn_what_one_does(work: Path, preset: str, data: str):
    """Equal global batches, within 1e-5: sums are taken in another order."""
    if data == "vat.zarr":
        made = "gz make-tiny videoattentiontarget -o vat --n 4 --seed 5 && gz prep-videoattentiontarget vat -o vat.zarr"
        assert shell(made, work).returncode == 0
    options = f"{data} {preset} --steps 8 --batch-size 4 --device cpu -q"
    done = shell(f"gz train-following {options} -o one-{data}", work)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"),
            *("--standalone", "-m", "gazecore.tools.train_following", *options.split(), "-o", f"two-{data}"),
        ],
        cwd=work,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one, two = (load_file(work / f"{run}-{data}" / "last" / "model.safetensors") for run in ("one", "two"))
    assert one.keys() == two.keys()
    assert max(np.abs(one[key].astype(float) - two[key]).max() for key in one) < 1e-5
    losses = [line["loss"] for run in ("one", "two") for line in logged(work / f"{run}-{data}")]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-5)
