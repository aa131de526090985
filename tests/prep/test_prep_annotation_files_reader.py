import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from gazecore.errors import NO_INPUT, GazeError
from gazecore.prep import annotation_files

ROW = "{path},92544,0.03,0.06,0.82,0.7,0.25,0.3,0.4,0.5,80.0,10.0,20.0,60.0,{inout},places_top,False"
PHOTO, FRAME = "train/00000093/00093103.jpg", "images/Friends/10_20/00000012.jpg"


@pytest.fixture
def root(tmp_path):
    for name in (PHOTO, FRAME):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (160, 120)).save(tmp_path / name)
    return tmp_path


def read(root, name, content):
    (root / name).write_text(content if isinstance(content, str) else json.dumps(content))
    counts = Counter()
    return list(annotation_files.read(root / name, root, "test", "gazefollow", counts)), counts


def head(**other):
    found = {"bbox_norm": [0.1, 0.2, 0.3, 0.4], "gazex_norm": [0.5, 0.6], "gazey_norm": [0.7, 0.8], "inout": 1}
    return found | {"head_id": 3} | other


def test_an_entry_of_photos_has_one_sample_per_head_with_all_annotators(root):
    (first, second), counts = read(root, "a.json", [{"path": PHOTO, "heads": [head(), head(head_id=4, inout=0)]}])
    assert first.sample_id == f"{PHOTO}#3" and first.split == "test" and not counts
    np.testing.assert_allclose(first.head_box_px, [16, 24, 48, 48])
    assert first.gaze_targets.tolist() == [[0.5, 0.7], [0.6, 0.8]]
    assert (first.in_frame, first.clip) == (1, "") and np.isnan(first.frame)
    assert second.in_frame == 0 and np.isnan(second.gaze_targets).all()


def test_entries_of_video_hold_frames_and_their_paths_tell_clip_and_frame(root):
    missing = head(bbox_norm=[float("nan")] * 4, inout=float("nan"), gazex_norm=float("nan"), gazey_norm=float("nan"))
    frame = {"path": FRAME, "heads": [head(gazex_norm=0.5, gazey_norm=0.7), missing]}
    (sample,), counts = read(root, "a.json", [{"frames": [frame]}, {"frames": []}])
    assert (sample.clip, sample.track_id, sample.frame) == ("Friends/10_20", "3", 12)
    assert sample.gaze_targets.tolist() == [[0.5, 0.7]] and counts == {"dropped: no head box": 1}


def test_a_list_is_read_entry_by_entry_whatever_the_size_of_a_piece(root, monkeypatch):
    content = [{"path": PHOTO, "heads": [head(head_id=i)]} for i in range(30)]
    monkeypatch.setattr(annotation_files, "CHUNK", 7)
    samples, _ = read(root, "a.json", content)
    assert [sample.sample_id for sample in samples] == [f"{PHOTO}#{i}" for i in range(30)]


def test_training_tables_of_gazefollow_with_other_heads_are_read_and_repaired(root):
    lines = "\n".join(ROW.format(path=PHOTO, inout=inout) for inout in (1, 0, -1))
    (inside, outside), counts = read(root, "val_annotations_new.txt", lines + "\n")
    assert inside.head_box_px.tolist() == [20, 10, 80, 60] and inside.gaze_targets.tolist() == [[0.4, 0.5]]
    assert inside.eye.tolist() == [0.25, 0.3] and outside.in_frame == 0
    assert counts == {"repaired: swapped box": 2, "dropped: in_frame is -1": 1}


def test_all_that_is_wrong_comes_in_one_error(root):
    entries = [
        {"heads": [head()]},
        {"path": "lost.jpg", "heads": [head()]},
        {"path": PHOTO, "heads": [head(bbox_norm=[1])]},
        5,
    ]
    with pytest.raises(GazeError) as raised:
        read(root, "a.json", entries)
    assert "4 problems" in str(raised.value) and "lost.jpg: no such image" in str(raised.value)
    with pytest.raises(GazeError, match=r"line 1 has 2 columns; expected 17"):
        read(root, "a.txt", "a,b\n")


@pytest.mark.parametrize("content, message", [("{}", "holds no JSON list"), ('[{"path": "', "cut off")])
def test_a_file_that_is_no_list_is_named(root, content, message):
    with pytest.raises(GazeError, match=rf"a\.json.*{message}"):
        read(root, "a.json", content)


def test_a_missing_file_and_one_of_another_sort_are_named(root):
    with pytest.raises(GazeError, match="no such file") as raised:
        list(annotation_files.read(root / "lost.json", root, "test", "x", Counter()))
    assert raised.value.code == NO_INPUT
    with pytest.raises(GazeError, match=r"expected \.json or \.txt"):
        list(annotation_files.read(root / "lost.pkl", root, "test", "x", Counter()))
