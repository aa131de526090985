"""A grid of runs: what fails is recorded and does not stop the rest; the same line goes on where it stopped."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gazecore.errors import GazeError
from gazecore.train import sweep

GZ = Path(sys.executable).with_name("gz")


def test_the_last_option_changes_fastest():
    names = [cell.name for cell in sweep.cells(["batch-size=4,8", "chunk=2,3"])]
    assert names == ["batch-size=4,chunk=2", "batch-size=4,chunk=3", "batch-size=8,chunk=2", "batch-size=8,chunk=3"]


@pytest.mark.parametrize("text", ["batch-size", "=4", "batch-size="])
def test_a_grid_of_another_form_is_refused(text: str):
    with pytest.raises(GazeError, match="expected option=value,value"):
        sweep.cells([text])


@pytest.mark.parametrize(
    ("code", "said", "state"),
    [
        (0, [], "done"),
        (75, ["stopped"], "stopped"),
        (-9, [], "out of memory"),
        (1, ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"], "out of memory"),
        (1, ["RuntimeError: DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."], "out of memory"),
        (65, ["gz train-following: no sample of split 'train'"], "failed"),
    ],
)
def test_a_cell_that_ran_out_of_memory_is_told_from_one_that_failed(code: int, said: list[str], state: str):
    assert sweep._state(code, said) == state


@pytest.mark.slow
def test_failing_cells_are_recorded_and_the_others_run_once(tmp_path: Path):
    line = [GZ, "sweep", "--grid", "n=2,4", "--score", "n", "-o", "grid", "--json", "--", "make-tiny", "gazefollow"]
    first = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    cells = json.loads(first.stdout)
    assert [cell["state"] for cell in cells] == ["failed", "done"]
    assert "2" in cells[0]["message"] and cells[0]["exit"] == 2
    assert (tmp_path / "grid" / "n=4" / "train_annotations_release.txt").is_file()
    with Image.open(tmp_path / "grid" / "sweep.png") as picture:
        assert picture.width > 100

    again = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)[1] == cells[1]
    assert len((tmp_path / "grid" / "sweep.ndjson").read_text().splitlines()) == 3


def test_two_options_make_a_square_table():
    cells = sweep.cells(["batch-size=4,8", "chunk=2,3"])
    for cell, state in zip(cells, ("done", "out of memory", "done", "failed"), strict=True):
        cell.state, cell.scores = state, {"auc": 0.81234}
    rows, header = sweep.table(cells, "auc")
    assert header == ("batch-size \\ chunk", "2", "3")
    assert rows == [("4", "0.8123", "out of memory"), ("8", "0.8123", "failed")]
