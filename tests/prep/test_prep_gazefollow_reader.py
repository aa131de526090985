import tracemalloc
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from gazecore.errors import NO_INPUT, GazeError
from gazecore.prep import gazefollow

A, B = "train/00000000/a.jpg", "train/00000000/b.jpg"
C, D = "test2/00000000/c.jpg", "test2/00000000/d.jpg"


def train_row(path=A, idx=1, eye=(0.3, 0.2), gaze=(0.7, 0.6), box=(70, 30, 120, 90), in_frame=1):
    return ",".join(map(str, [path, idx, 0.1, 0.1, 0.3, 0.6, *eye, *gaze, *box, in_frame, "places", "m"]))


def test_row(path=C, idx=1, eye=(0.3, 0.2), gaze=(0.7, 0.6), box=(70, 30, 120, 90)):
    return ",".join(map(str, [path, idx, 0.1, 0.1, 0.3, 0.6, *eye, *gaze, *box, "places", "m"]))


test_row.__test__ = False


@pytest.fixture
def root(tmp_path):
    for name in (A, B, C, D):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (160, 120)).save(tmp_path / name)
    return tmp_path


def read(root, split, rows, mark="", **options):
    (root / gazefollow.TABLES[split]).write_text(mark + "\n".join(rows) + "\n", encoding="utf-8")
    counts = Counter()
    return list(gazefollow.read(root, split, counts, **options)), counts


def test_a_training_row_becomes_a_sample(root):
    (sample,), counts = read(root, "train", [train_row()], mark="\ufeff")
    assert (sample.sample_id, sample.image_name, sample.image_size) == (f"{A}#1", A, (160, 120))
    assert sample.image == root / A
    assert sample.head_box_px.tolist() == [70, 30, 120, 90]
    assert sample.gaze_targets.tolist() == [[0.7, 0.6]]
    assert (sample.in_frame, sample.eye.tolist(), sample.split) == (1.0, [0.3, 0.2], "train")
    assert not counts


def test_invalid_rows_are_dropped_and_out_of_frame_rows_have_no_target(root):
    rows = [train_row(in_frame=-1), train_row(idx=2, in_frame=0, gaze=(-1, -1)), train_row(idx=3, in_frame=0)]
    samples, counts = read(root, "train", rows)
    assert [sample.in_frame for sample in samples] == [0, 0]
    assert all(np.isnan(sample.gaze_targets).all() for sample in samples)
    assert counts == {"dropped: in_frame is -1": 1}


def test_boxes_are_put_right_and_counted(root):
    boxes = [(120, 30, 70, 90), (-5, 30, 170, 130), (200, 30, 220, 60), (50, 50, 50, 60)]
    samples, counts = read(root, "train", [train_row(idx=i, box=box) for i, box in enumerate(boxes)])
    assert [sample.head_box_px.tolist() for sample in samples] == [[70, 30, 120, 90], [0, 30, 160, 120]]
    assert counts == {
        "repaired: swapped box": 1,
        "repaired: box clipped to the image": 1,
        "dropped: box without area": 2,
    }


def test_without_repair_rows_stay_as_annotated(root):
    rows = [train_row(box=(120, 30, 70, 90)), train_row(idx=2, in_frame=0, gaze=(-1, -1))]
    samples, counts = read(root, "train", rows, repair=False)
    assert samples[0].head_box_px.tolist() == [120, 30, 70, 90]
    assert samples[1].gaze_targets.tolist() == [[-1, -1]]
    assert not counts


def test_annotators_of_a_person_are_grouped_in_any_order(root):
    rows = [
        test_row(D, 0, eye=(0.9, 0.1), gaze=(0.1, 0.1)),
        test_row(C, 1, eye=(0.3, 0.2), gaze=(0.2, 0.2)),
        test_row(C, 2, eye=(0.8, 0.2), gaze=(0.3, 0.3)),
        test_row(D, 3, eye=("0.90", 0.1), gaze=(0.4, 0.4)),
        test_row(C, 4, eye=(0.3, 0.2), gaze=(-1, -1)),
        test_row(C, 5, eye=(0.3, 0.2), gaze=(0.6, 0.6)),
    ]
    samples, _ = read(root, "test", rows, mark="\ufeff")
    assert [sample.sample_id for sample in samples] == [f"{D}#eye0.9", f"{C}#eye0.3", f"{C}#eye0.8"]
    np.testing.assert_array_equal(samples[0].gaze_targets, [[0.1, 0.1], [0.4, 0.4]])
    np.testing.assert_array_equal(samples[1].gaze_targets, [[0.2, 0.2], [np.nan, np.nan], [0.6, 0.6]])
    assert [sample.in_frame for sample in samples] == [1.0, 1.0, 1.0]


def test_an_idx_that_repeats_still_gives_unique_names(root):
    samples, _ = read(root, "train", [train_row(idx=7), train_row(idx=7), train_row(idx=3), train_row(idx="x")])
    assert len({sample.sample_id for sample in samples}) == 4
    assert samples[0].sample_id == f"{A}#7"


def test_the_original_release_is_recognised(root):
    original = [f"{A},1,0.1,0.1,0.3,0.6,0.3,0.2,0.7,0.6,places,m"] * 30
    with pytest.raises(GazeError, match="line 1 has 12 columns, as in the original MIT release") as raised:
        read(root, "train", original)
    assert "GazeFollow-extended" in str(raised.value)
    assert "30 problems" in str(raised.value)


def test_all_that_is_wrong_comes_in_one_error_after_the_good_rows(root):
    rows = [train_row(), train_row("train/lost.jpg", 2), train_row(eye=("left", 0)), train_row(in_frame=2), "", "a,b"]
    (root / "train_annotations_release.txt").write_text("\n".join(rows))
    reader = gazefollow.read(root, "train", Counter())
    assert next(reader).sample_id == f"{A}#1"
    with pytest.raises(GazeError) as raised:
        next(reader)
    message = str(raised.value)
    assert "4 problems" in message
    assert "line 2: " in message and "lost.jpg: no such image" in message
    assert "line 3: could not convert string to float: 'left'" in message
    assert "line 4: in/out is 2" in message
    assert "line 6 has 2 columns" in message


def test_missing_folders_say_what_was_expected(tmp_path, root):
    with pytest.raises(GazeError, match="expected the folder of GazeFollow-extended") as raised:
        next(gazefollow.read(tmp_path / "nowhere", "train", Counter()))
    assert raised.value.code == NO_INPUT
    (tmp_path / "outer" / "data_new").mkdir(parents=True)
    (tmp_path / "outer" / "data_new" / "test_annotations_release.txt").touch()
    with pytest.raises(GazeError, match=r"give .*data_new"):
        next(gazefollow.read(tmp_path / "outer", "test", Counter()))
    with pytest.raises(GazeError, match=r"test2: no such folder; expected the images"):
        next(gazefollow.read(tmp_path / "outer" / "data_new", "test", Counter()))
    with pytest.raises(GazeError, match='no split "val"'):
        next(gazefollow.read(root, "val", Counter()))


def test_an_empty_table_has_no_samples(root):
    assert read(root, "train", [])[0] == []
    assert read(root, "test", [])[0] == []


@pytest.mark.parametrize("split, row", [("train", train_row), ("test", test_row)])
def test_memory_does_not_grow_with_the_samples(root, split, row):
    paths = [f"{gazefollow.IMAGES[split]}/{number}.jpg" for number in range(100)]
    for path in paths:
        (root / path).hardlink_to(root / A)
    rows = 100 * 30
    lines = (row(paths[idx % 100], idx, eye=(idx // 300, 0.2)) for idx in range(rows))
    (root / gazefollow.TABLES[split]).write_text("\n".join(lines))
    list(gazefollow.read(root, split, Counter()))  # what is loaded once is not counted

    tracemalloc.start()
    people = sum(1 for _ in gazefollow.read(root, split, Counter()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert people == (rows if split == "train" else 1000)
    assert peak < 150_000 + 60 * rows  # 20 bytes a row, and sorting them
