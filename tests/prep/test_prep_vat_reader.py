from collections import Counter

import numpy as np
import pytest
from PIL import Image

from gazecore import geometry
from gazecore.errors import NO_INPUT, GazeError
from gazecore.prep import videoattentiontarget

ROW = "{frame:08d}.jpg,{x},20,{right},60,{gaze}"


def rows(count, gaze="80,90", x=10, step=2):
    return [ROW.format(frame=i, x=x + step * i, right=x + step * i + 30, gaze=gaze) for i in range(count)]


@pytest.fixture
def write(tmp_path):
    def write(lines, track="s00", clip="Show/clip_1", split="test", extension=".jpg", images=True):
        table = tmp_path / "annotations" / split / clip / f"{track}.txt"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("\n".join(lines) + "\n")
        folder = tmp_path / "images" / clip
        folder.mkdir(parents=True, exist_ok=True)
        for line in lines if images else []:
            Image.new("RGB", (160, 120)).save(folder / f"{line.split('.')[0]}{extension}")
        return tmp_path

    return write


def read(root, split="test", **options):
    counts = Counter()
    return list(videoattentiontarget.read(root, split, counts, **options)), counts


def test_a_row_becomes_a_sample(write):
    samples, counts = read(write(rows(1)))
    (sample,) = samples
    assert sample.sample_id == "Show/clip_1/00000000.jpg#s00"
    assert (sample.clip, sample.track_id, sample.frame, sample.split) == ("Show/clip_1", "s00", 0.0, "test")
    assert sample.head_box_px.tolist() == [10, 20, 40, 60]
    assert sample.gaze_targets.tolist() == [[0.5, 0.75]]
    assert sample.in_frame == 1 and not counts


def test_head_boxes_are_smoothed_over_eleven_rows(write):
    samples, _ = read(write(rows(15)))
    annotated = np.array([[10 + 2 * i, 20, 40 + 2 * i, 60] for i in range(15)], float)
    np.testing.assert_array_equal([sample.head_box_px for sample in samples], geometry.smooth_boxes(annotated))


def test_minus_one_is_out_of_frame_and_a_little_below_zero_is_in(write):
    lines = [*rows(1, gaze="-1,-1"), *rows(2, gaze="-3,60")[1:], *rows(3, gaze="-1,60")[2:]]
    samples, counts = read(write(lines))
    assert [sample.in_frame for sample in samples] == [0, 1, 1]
    np.testing.assert_array_equal(samples[0].gaze_targets, [[np.nan, np.nan]])
    assert samples[1].gaze_targets.tolist() == [[0, 0.5]] == samples[2].gaze_targets.tolist()
    assert counts == {"repaired: gaze moved into the image": 2}
    raw, _ = read(write(lines), repair=False)
    np.testing.assert_allclose(raw[1].gaze_targets, [[-3 / 160, 0.5]])
    np.testing.assert_allclose(raw[0].gaze_targets, [[-1 / 160, -1 / 120]])


def test_boxes_are_ordered_before_smoothing_and_clipped_after(write):
    lines = rows(3, x=150, step=0)
    lines[1] = "00000001.jpg,180,20,150,60,80,90"
    samples, counts = read(write(lines))
    assert [sample.head_box_px.tolist() for sample in samples] == [[150, 20, 160, 60]] * 3
    assert counts == {"repaired: swapped box": 1, "repaired: box clipped to the image": 3}


def test_tracks_come_in_order_and_frames_may_be_missing(write):
    write(rows(3)[::2], track="s01")
    write(rows(1), clip="Another/clip")
    samples, _ = read(write(rows(2), track="s00"))
    assert [sample.sample_id for sample in samples] == [
        "Another/clip/00000000.jpg#s00",
        "Show/clip_1/00000000.jpg#s00",
        "Show/clip_1/00000001.jpg#s00",
        "Show/clip_1/00000000.jpg#s01",
        "Show/clip_1/00000002.jpg#s01",
    ]
    assert samples[-1].frame == 2


def test_images_of_another_extension_are_found(write):
    (sample,), _ = read(write(rows(1), extension=".png"))
    assert sample.image_name == "Show/clip_1/00000000.png"


def test_a_frame_that_comes_twice_is_dropped_once(write):
    samples, counts = read(write([*rows(2), rows(2)[1]]))
    assert len(samples) == 2 and counts == {"dropped: frame twice in a track": 1}


def test_all_that_is_wrong_comes_in_one_error(write):
    root = write([*rows(1), "00000001.jpg,1,2,3", "00000002.jpg,a,20,40,60,1,1", "00000003.jpg,1,2,30,40,nan,1"])
    write(rows(1), track="s01", clip="Show/clip_2", images=False)
    with pytest.raises(GazeError) as raised:
        read(root)
    message = str(raised.value)
    assert "4 problems" in message
    assert "annotations/test/Show/clip_1/s00.txt, line 2: 4 columns" in message
    assert "line 3: could not convert string to float: 'a'" in message
    assert "line 4: 1, 2, 30, 40, nan, 1; expected 6 finite numbers" in message
    assert "clip_2/s01.txt, line 1: " in message and "00000000.jpg: no such image" in message


def test_missing_folders_say_what_was_expected_and_what_is_there(write, tmp_path):
    with pytest.raises(GazeError, match=r"expected annotations/SPLIT/SHOW/CLIP/sNN.txt") as raised:
        read(tmp_path / "nowhere")
    assert raised.value.code == NO_INPUT
    write(rows(1), split="train")
    with pytest.raises(GazeError, match="found the splits train"):
        read(tmp_path)
    (tmp_path / "annotations" / "test").mkdir()
    with pytest.raises(GazeError, match="holds no annotation file"):
        read(tmp_path)
