"""gz train-following through the shell: a run folder, a usable checkpoint, exact resuming."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from shell_lines import shell

pytestmark = pytest.mark.slow
LINE = "gz train-following gf.zarr --preset tiny --device cpu --batch-size 8 --save-every 2 --set schedule=constant -q"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a made data set and a run of six updates."""
    folder = tmp_path_factory.mktemp("train")
    done = shell(
        "gz make-tiny gazefollow -o raw --n 24 --seed 5 && gz prep-gazefollow raw -o gf.zarr && "
        f"{LINE} --steps 6 --validate-on test -o whole",
        folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_leaves_its_options_its_log_and_a_checkpoint(work: Path):
    lines = [json.loads(line) for line in (work / "whole" / "metrics.ndjson").read_text().splitlines()]
    assert any("average_l2" in line for line in lines)
    assert (work / "whole" / "config.yaml").is_file()
    done = shell("gz eval-following gf.zarr --split test --checkpoint whole/best.safetensors --device cpu --json", work)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["auc"]["n"] == json.loads(done.stdout)["n"]


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(work: Path):
    assert shell(f"{LINE} --steps 3 --validate-on test -o parts", work).returncode == 0
    done = shell(f"{LINE} --steps 6 --validate-on test -o parts --resume", work)
    assert done.returncode == 0, done.stderr
    whole, parts = (load_file(work / run / "last" / "model.safetensors") for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(whole[key].tobytes() == parts[key].tobytes() for key in whole)


def test_a_run_folder_that_is_there_is_not_touched(work: Path):
    done = shell(f"{LINE} --steps 1 -o whole", work)
    assert done.returncode == 73 and "--resume goes on with it" in done.stderr
