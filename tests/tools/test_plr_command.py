"""Light reflexes through the shell: tables and artifacts in, trials, tables and cleaned traces out."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from shell_lines import shell

from gazecore import artifacts
from gazecore.pupil import tables
from gazecore.pupil.compat import pyplr_parameters
from gazecore.synthetic.pupil_trace import trace, truth

LEFT, RIGHT = {"baseline": 0.52, "amplitude": 0.15}, {"baseline": 0.50, "amplitude": 0.16, "latency_s": 0.24}
RATE, LIGHTS = 60, (2.0, 14.0)


def two_lights(shape: dict) -> tuple[np.ndarray, np.ndarray]:
    t = np.arange(24 * RATE) / RATE
    sizes = trace(t - LIGHTS[0], **shape, noise=0.0004, blinks=[(3.1, 3.3)], blink_edge_s=0.05)
    return t, sizes + trace(t - LIGHTS[1], **shape) - shape["baseline"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the frames of two eyes, measured once."""
    folder = tmp_path_factory.mktemp("plr")
    eyes = {"L": two_lights(LEFT), "R": two_lights(RIGHT)}
    n = 24 * RATE
    columns = {
        "time_s": np.concatenate([t for t, _ in eyes.values()]),
        "eye": np.repeat(list(eyes), n),
        "subject": np.full(2 * n, "p1"),
        "pir": np.concatenate([sizes for _, sizes in eyes.values()]),
    }
    tables.write_frames(folder / "frames.csv", columns)
    done = shell(
        "gz plr frames.csv --onset 2 --onset 14 -o plr.zarr --csv trials.csv --trace cleaned.zarr --json > trials.json",
        folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_each_eye_and_light_has_a_row_that_holds_the_truth(work: Path):
    with artifacts.open(work / "plr.zarr", kind="plr") as plr:
        assert plr["eye"][:].tolist() == ["L", "L", "R", "R"]
        assert plr["onset_s"][:].tolist() == [2, 14, 2, 14]
        for eye, shape in (("L", LEFT), ("R", RIGHT)):
            true, own = truth(**shape), plr["eye"][:] == eye
            assert plr["baseline"][:][own] == pytest.approx(true["baseline"], rel=0.002)
            assert plr["latency_pct1_s"][:][own] == pytest.approx(true["latency_pct1_s"], abs=0.01)
            assert plr["mcv_per_s"][:][own] == pytest.approx(true["mcv_per_s"], rel=0.02)
            assert plr["t75_s"][:][own] == pytest.approx(true["t75_s"], abs=0.02)
        assert plr["anisocoria"][:] == pytest.approx(0.02, abs=0.001)
        assert plr["ok"][:].all() and plr.attrs["unit"] == "ratio"


def test_the_table_the_document_and_the_artifact_agree(work: Path):
    document = json.loads((work / "trials.json").read_text())
    with artifacts.open(work / "plr.zarr") as plr:
        for row, shown, mcv in zip(rows(work / "trials.csv"), document["trials"], plr["mcv_per_s"][:], strict=True):
            assert float(row["mcv"]) == pytest.approx(mcv) and shown["mcv_per_s"] == pytest.approx(mcv)
            assert row["units"] == document["unit"] == "ratio" and row["plateau_pct"] == ""


def test_trials_keep_their_traces_up_to_the_next_light(work: Path):
    with artifacts.open(work / "plr.zarr") as plr:
        counts = plr["trace_samples"][:]
        first = plr["trace_s"][: counts[0]]
        assert first[0] == pytest.approx(-2) and first[-1] == pytest.approx(12)
        smooth = plr["trace_smooth"][: counts[0]]
        assert smooth.min() == pytest.approx(plr["peak"][0], abs=1e-4)
        assert plr["trace_interpolated"][: counts[0]].any() and plr.dims["trace_row"] == counts.sum()


@pytest.mark.slow
def test_the_cleaned_trace_is_an_artifact_that_can_be_measured_again(work: Path):
    with artifacts.open(work / "cleaned.zarr", kind="pupil-trace") as cleaned:
        known = np.isfinite(cleaned["pir_smooth"][:])
        assert known.all() and cleaned["interpolated"][:].any()
        assert len(cleaned) == 2 * 24 * RATE
    again = json.loads(shell("gz plr cleaned.zarr --onset 2 --json", work).stdout)
    once = json.loads((work / "trials.json").read_text())
    assert again["trials"][0]["mcv_per_s"] == pytest.approx(once["trials"][0]["mcv_per_s"], rel=0.01)


def test_events_outside_the_recording_are_all_told_at_once(work: Path):
    (work / "late.csv").write_text("onset_s,subject\n2,p1\n30,p1\n40,p1\n2,p9\n")
    done = shell("gz plr frames.csv --events late.csv -o late.zarr", work)
    assert done.returncode == 65 and "5 problems" in done.stderr and not (work / "late.zarr").exists()
    assert "p1 L: 30 s; it was recorded from 0 to 23.98" in done.stderr and "no such recording" in done.stderr


@pytest.mark.slow
def test_without_any_onset_the_command_line_is_refused(work: Path):
    done = shell("gz plr frames.csv -o x.zarr", work)
    assert done.returncode == 2 and "--onset" in done.stderr


@pytest.mark.slow
def test_compat_gives_pyplr_numbers_of_the_samples_as_they_are(work: Path):
    t = np.arange(6 * RATE) / RATE
    sizes = trace(t - 2, **LEFT)
    tables.write_frames(work / "clean.csv", {"time_s": t, "pir": sizes})
    theirs = pyplr_parameters(sizes, RATE, 2 * RATE)
    [ours] = json.loads(shell("gz plr clean.csv --onset 2 --compat pyplr --json", work).stdout)["trials"]
    assert ours["latency_pct1_s"] == pytest.approx(theirs["Latency_a"], abs=1e-6)
    assert ours["t75_s"] == pytest.approx(theirs["T2Rec75pc"], abs=1e-6)
    assert ours["mcv_per_s"] == pytest.approx(theirs["VelConMax"], rel=1e-5) and ours["t50_s"] is None


def test_degenerate_trials_are_empty_cells_with_a_flag_and_exit_0(work: Path):
    t = np.arange(6 * RATE) / RATE
    pir = np.stack([np.full(len(t), 0.5), np.full(len(t), np.nan)])
    eyes = np.repeat(["L", "R"], len(t))
    tables.write_frames(work / "flat.csv", {"time_s": np.tile(t, 2), "eye": eyes, "pir": pir.ravel()})
    done = shell("gz plr flat.csv --onset 2 -o flat.zarr --csv flat_trials.csv", work)
    assert done.returncode == 0, done.stderr
    flat, gone = rows(work / "flat_trials.csv")
    assert flat["flags"] == "no_reflex" and flat["latency_pct1"] == "" and flat["ok"] == "0"
    assert "no_baseline" in gone["flags"] and gone["baseline"] == ""
