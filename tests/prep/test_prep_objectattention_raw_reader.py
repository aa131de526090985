import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from gazecore.errors import EXISTS, NO_INPUT, USAGE, GazeError
from gazecore.prep import objectattention, objectattention_raw

SETTING = "participant_1/pringles-mustard"
HEAD = ("head", (100, 8, 124, 42))
PRINGLES, MUSTARD = ("pringles", (20, 60, 40, 80)), ("mustard", (120, 90, 130, 110))


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


def frames(folder, *names, size=(160, 120), colour=(0, 0, 0)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", size, colour).save(folder / name)


def annotate(path, *objects, size=(160, 120)):
    boxes = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for name, (a, b, c, d) in objects
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    size_of = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    path.write_text(f"<annotation><filename>x.ppm</filename>{size_of}{boxes}</annotation>")


def read(root, split="train"):
    return list(objectattention.read(root, split, Counter()))


def test_recordings_of_a_setting_become_one_sequence_beside_the_untouched_frames(raw, tmp_path):
    frames(raw / SETTING / "pringles", "00000007.ppm", "00000009.ppm")
    frames(raw / SETTING / "mustard/rgb", "1.jpg", colour=(200, 0, 0))
    annotate(raw / SETTING / "00000009.xml", MUSTARD, PRINGLES, HEAD)  # the head last
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("*")}
    counts = Counter()
    sequences = objectattention_raw.find(raw, counts)
    assert [(s.session, s.setting, len(s.recordings)) for s in sequences] == [("participant_1", "pringles-mustard", 2)]
    assert objectattention_raw.write(sequences, tmp_path / "work", []) == 3 and not counts

    samples = read(tmp_path / "work")
    assert [s.image.name for s in samples] == ["00000000.jpg", "00000001.ppm", "00000002.ppm"]  # .jpg and .ppm mixed
    np.testing.assert_allclose([s.gaze_targets[0] * (160, 120) for s in samples], [[125, 100], [30, 70], [30, 70]])
    np.testing.assert_allclose([s.head_box_px for s in samples], [HEAD[1]] * 3)
    table = tmp_path / "work/annotations/train/participant_1/pringles-mustard/S11.txt"
    assert table.read_text().splitlines()[:2] == [
        "frame x_min y_min x_max y_max gaze_x gaze_y",
        "00000000, 100, 8, 124, 42, 125.0, 100.0",
    ]
    assert {path: path.stat().st_mtime_ns for path in raw.rglob("*")} == before


def test_head_and_objects_may_be_in_files_of_their_own_beside_each_recording(raw):
    target = raw / "session_5" / "settingA" / "session5-shiva-pringles"
    frames(target / "rgb_input", "00000000.ppm")
    annotate(target / "Head_bbox_annotation/00000003.xml", HEAD)
    annotate(target / "Object_annotations/00000000.xml", MUSTARD, PRINGLES)
    annotate(raw / "session_5" / "settingA" / "1.xml", ("head", (0, 0, 1, 1)), PRINGLES)  # of the setting: farther away
    counts = Counter()
    ((recording,),) = [sequence.recordings for sequence in objectattention_raw.find(raw, counts)]
    assert recording.target == "pringles" and recording.head_xml.parent.name == "Head_bbox_annotation"
    assert recording.target_xml.parent.name == "Object_annotations"
    assert counts == {"left aside: further XML file of a recording": 2}


def test_folders_above_the_setting_become_one_session_and_some_become_the_test_split(raw, tmp_path):
    for session in ("Andrea/session_1", "Andrea/session_2"):
        frames(raw / session / "a" / "mustard", *(f"{i}.ppm" for i in range(4)))
        annotate(raw / session / "a" / "0.xml", HEAD, MUSTARD)
    sequences = objectattention_raw.find(raw, Counter())
    assert objectattention_raw.write(sequences, tmp_path / "work", ["Andrea-session_2"], every=2) == 4
    assert [s.clip for s in read(tmp_path / "work")] == ["Andrea-session_1/a"] * 2
    assert [s.clip for s in read(tmp_path / "work", "test")] == ["Andrea-session_2/a"] * 2
    with pytest.raises(GazeError, match="no session Maria; there are Andrea-session_1, Andrea-session_2") as raised:
        objectattention_raw.write(sequences, tmp_path / "other", ["Maria"])
    assert raised.value.code == USAGE and not (tmp_path / "other").exists()


def test_sequences_that_are_there_are_refused_before_anything_is_written(raw, tmp_path):
    for setting in ("a", "b"):
        frames(raw / "s" / setting / "mustard", "0.ppm")
        annotate(raw / "s" / setting / "0.xml", HEAD, MUSTARD)
    sequences = objectattention_raw.find(raw, Counter())
    objectattention_raw.write(sequences[1:], tmp_path / "work", [])
    with pytest.raises(GazeError, match=r"holds s/b already; prepare .* as it is") as raised:
        objectattention_raw.write(sequences, tmp_path / "work", [])
    assert raised.value.code == EXISTS and not (tmp_path / "work/images/s/a").exists()


def test_what_the_original_scripts_left_behind_is_left_aside_and_counted(raw):
    target = raw / SETTING / "mustard"
    frames(target / "rgb_input", "0.ppm")
    frames(target / "rgb_input" / "renamed_rgb_input", "00000000.ppm")
    frames(target / "rgb_openpose", "0.ppm")
    annotate(raw / SETTING / "0.xml", HEAD, MUSTARD)
    counts = Counter()
    (sequence,) = objectattention_raw.find(raw, counts)
    assert [r.frames.name for r in sequence.recordings] == ["rgb_input"]
    assert counts == {"left aside: folder renamed_rgb_input": 1, "left aside: folder rgb_openpose": 1}


def test_all_that_is_wrong_comes_in_one_error(raw):
    frames(raw / "s" / "a" / "bleach", "0.ppm")
    annotate(raw / "s" / "a" / "0.xml", HEAD, MUSTARD)
    frames(raw / "s" / "b" / "mustard", "0.ppm")
    annotate(raw / "s" / "b" / "0.xml", MUSTARD)
    frames(raw / "s" / "c" / "mustard", "0.ppm")
    annotate(raw / "s" / "c" / "0.xml", HEAD, HEAD, MUSTARD)
    frames(raw / "s" / "d" / "mustard", "0.ppm", size=(80, 60))
    annotate(raw / "s" / "d" / "0.xml", HEAD, MUSTARD)
    frames(raw / "x" / "y" / "z" / "mustard", "0.ppm")
    annotate(raw / "x" / "y" / "z" / "0.xml", HEAD, MUSTARD)
    frames(raw / "x-y" / "z" / "mustard", "0.ppm")
    annotate(raw / "x-y" / "z" / "0.xml", HEAD, MUSTARD)
    with pytest.raises(GazeError) as raised:
        objectattention_raw.find(raw, Counter())
    message = str(raised.value)
    assert "5 problems" in message and "called after an annotated object; found XML with head, mustard" in message
    assert 'names "head"' in message and '2 objects named "head"' in message
    assert "drawn on a picture of (160, 120); the frames in" in message and "(80, 60)" in message
    assert re.search(r"would both become x-y/z; rename one", message)


def test_a_folder_without_frames_says_what_was_expected(raw, tmp_path):
    with pytest.raises(GazeError, match=r"no such folder; expected ROOT/SESSION/SETTING/TARGET") as raised:
        objectattention_raw.find(tmp_path / "nowhere", Counter())
    assert raised.value.code == NO_INPUT
    raw.mkdir()
    with pytest.raises(GazeError, match="holds no frames"):
        objectattention_raw.find(raw, Counter())
