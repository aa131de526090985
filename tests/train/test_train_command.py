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


def test_every_epoch_that_a_run_kept_is_scored_and_drawn(work: Path):
    done = shell(f"{LINE} --steps 9 --set validate_every=100 --validate-on test --keep-epochs -o kept", work)
    assert done.returncode == 0, done.stderr
    epochs = sorted(path.stem for path in (work / "kept" / "epochs").iterdir())
    assert epochs == [f"{number:04}" for number in range(1, len(epochs) + 1)] and epochs
    done = shell(
        "gz eval-following gf.zarr --split test --checkpoint kept --every-epoch --device cpu -o epochs.zarr --json "
        "> epochs.json && gz visualize epochs.zarr -o epochs",
        work,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((work / "epochs.json").read_text())
    assert [row["epoch"] for row in document["epochs"]] == list(range(1, len(epochs) + 1))
    assert document["centre_l2"] > 0 and len(list((work / "epochs").glob("*.png"))) == 1


def test_a_folder_without_epochs_says_how_to_keep_them(work: Path):
    done = shell("gz eval-following gf.zarr --checkpoint whole --every-epoch", work)
    assert done.returncode == 66 and "gz train-following --keep-epochs keeps them" in done.stderr
