"""Pupil tables: what is read from whose columns, in which unit, and which light belongs to which eye."""

import csv
from pathlib import Path

import numpy as np
import pytest

from gazecore.errors import GazeError
from gazecore.pupil import tables, trials
from gazecore.synthetic.pupil_trace import trace

T = np.arange(360) / 60
FRAMES = {
    "time_s": np.array([0.0, 0.1, 0.0, 0.1]),
    "eye": np.array(["L", "L", "R", "R"]),
    "pir": np.array([0.5, np.nan, 0.4, 0.4]),
    "pupil_major_px": np.array([30.0, np.nan, 24.0, 24.0]),
    "pupil_confidence": np.array([0.9, 0.1, 0.9, 0.5]),
    "blink": np.array([0, 1, 0, 0]),
    "flags": np.array(["", "few_points;lid", "", ""]),
}


def same(back, columns):
    for name, values in columns.items():
        if values.dtype.kind in "fiu":
            np.testing.assert_array_equal(back[name], values)
        else:
            assert back[name].tolist() == values.tolist()


def test_frames_survive_their_table(tmp_path: Path):
    tables.write_frames(tmp_path / "gz.csv", FRAMES)
    same(tables.read_frames(tmp_path / "gz.csv"), FRAMES)
    assert (tmp_path / "gz.csv").read_text().splitlines()[2] == "0.1,L,,,0.1,1,few_points;lid"


def test_frames_under_the_names_of_pupil_player(tmp_path: Path):
    tables.write_frames(tmp_path / "player.csv", FRAMES, names="pupil")
    header = (tmp_path / "player.csv").read_text().splitlines()[0]
    assert header == "pupil_timestamp,eye_id,confidence,diameter,method"
    same(
        tables.read_frames(tmp_path / "player.csv"),
        {name: FRAMES[name] for name in ("time_s", "eye", "pupil_major_px", "pupil_confidence")},
    )


@pytest.fixture
def player(tmp_path: Path) -> Path:
    """An export with each frame in two methods, and low confidence for a while."""
    lines = ["pupil_timestamp,eye_id,confidence,diameter,method,diameter_3d"]
    for second, size in zip(T, trace(T - 2, baseline=5.0, amplitude=1.5), strict=True):
        confidence = 0.3 if 4.0 < second < 4.2 else 0.99
        lines += [f"{second + 800},0,{confidence},{11 * size},2d c++,"]
        lines += [f"{second + 800},0,{confidence},{10 * size},pye3d,{size}"]
    (tmp_path / "pupil_positions.csv").write_text("\n".join(lines))
    return tmp_path / "pupil_positions.csv"


def test_pupil_player_gives_millimetres_or_pixels_of_one_method(player: Path):
    frames = tables.read_frames(player)
    [mm], unit = tables.recordings(frames)
    assert (unit, mm.eye, len(mm.time_s)) == ("mm", "R", 360) and mm.size[0] == pytest.approx(5)
    [px], unit = tables.recordings(frames, "px")
    assert unit == "px" and px.size[0] == pytest.approx(50)


def test_low_confidence_counts_as_missing(player: Path):
    frames = tables.read_frames(player)
    assert np.isnan(tables.recordings(frames)[0][0].size).sum() == 11
    assert not np.isnan(tables.recordings(frames, confidence=0.1)[0][0].size).any()
    left, right = tables.recordings(FRAMES)[0]
    assert np.isfinite(right.size).all() and left.blink.tolist() == [False, True]
    assert np.isnan(tables.recordings(FRAMES, confidence=0.6)[0][1].size).tolist() == [False, True]


def test_ratios_become_millimetres_only_as_an_estimate():
    found, unit = tables.recordings(FRAMES, "mm", hvid_mm=12)
    assert unit == "mm (estimated: iris of 12 mm)" and found[0].size[0] == pytest.approx(6)
    with pytest.raises(GazeError, match="--unit px needs pupil_major_px"):
        tables.recordings({"time_s": T, "pir": np.ones(360)}, "px")


def test_bad_cells_are_all_told(tmp_path: Path):
    bad = tmp_path / "bad.csv"
    bad.write_text("time_s,pir\n0,0.5\nx,0.5\n0.2,open\n")
    with pytest.raises(GazeError, match=r"(?s)2 problems.*line 3: time_s is 'x'.*line 4: pir is 'open'"):
        tables.read_frames(bad)
    bad.write_text("time_s,pir\n0,0.5,7\n")
    with pytest.raises(GazeError, match="line 2: 3 cells; the header has 2"):
        tables.read_frames(bad)
    bad.write_text("pir\n0.5\n")
    with pytest.raises(GazeError, match="no column time_s"):
        tables.read_frames(bad)
    with pytest.raises(GazeError, match="does not exist"):
        tables.read_frames(tmp_path / "none.csv")


def test_events_go_to_the_eyes_they_name(tmp_path: Path):
    (tmp_path / "lights.csv").write_text("onset_s,stimulus_s,eye\n0.05,,\n0,0.5,L\n")
    found, _ = tables.recordings(FRAMES)
    left, right = tables.matched(tables.read_events(tmp_path / "lights.csv", 3.0), found)
    assert [(event.onset_s, event.stimulus_s) for event in left] == [(0, 0.5), (0.05, 3)]
    assert [(event.onset_s, event.stimulus_s) for event in right] == [(0.05, 3)]


def test_events_outside_the_recordings_are_all_told():
    found, _ = tables.recordings(FRAMES)
    events = [tables.Event(-1, 1), tables.Event(0, 1, eye="L"), tables.Event(0, 1, subject="p9")]
    with pytest.raises(GazeError, match=r"(?s)3 problems.*L: -1 s; it was recorded from 0 to 0.1 s.*no such recording"):
        tables.matched(events, found)


def test_trials_under_clinical_names_have_a_unit_each(tmp_path: Path):
    t = T - 2
    recording = tables.Recording("p1", "", "L", t, trace(t, baseline=5.0, amplitude=1.5), np.zeros(len(t), bool))
    columns = trials.columns(list(trials.measure([recording], [[tables.Event(0.0, 1.0)]])))
    tables.write_trials(tmp_path / "trials.csv", columns, "mm", "clinical")
    [row] = csv.DictReader((tmp_path / "trials.csv").open())
    assert float(row["MAX"]) == pytest.approx(5) and float(row["CON%"]) == pytest.approx(30, abs=0.01)
    assert (row["MAX_unit"], row["MCV_unit"], row["LAT_unit"], row["ok"]) == ("mm", "mm/s", "s", "1")
