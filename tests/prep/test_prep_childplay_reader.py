from collections import Counter

import numpy as np
import pytest
from PIL import Image

from gazecore.errors import NO_INPUT, GazeError
from gazecore.prep import childplay

HEADER = ",".join((*childplay.COLUMNS, "is_child"))
CLIP = "1Ab_vLMMAbY_100-110"  # a video's name may hold the separator


@pytest.fixture
def write(tmp_path):
    def write(lines, clip=CLIP, split="test", frames=range(100, 111), header=HEADER):
        table = tmp_path / "annotations" / split / f"{clip}.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("\n".join([header, *lines]) + "\n")
        folder = tmp_path / "images" / clip
        folder.mkdir(parents=True, exist_ok=True)
        for frame in frames:
            Image.new("RGB", (160, 120)).save(folder / f"1Ab_vLMMAbY_{frame}.jpg")
        return tmp_path

    return write


def row(frame=1, person=1, box="10,20,30,40", gaze="inside_visible,80,90", child=1, clip=CLIP):
    return f"{clip},{frame},{person},{box},{gaze},{child}"


def read(root, split="test"):
    counts = Counter()
    return list(childplay.read(root, split, counts)), counts


def test_a_row_becomes_a_sample_with_corners_and_a_normalised_target(write):
    (sample,), counts = read(write([row(frame=3)]))
    assert sample.sample_id == f"{CLIP}/1Ab_vLMMAbY_102.jpg#c1"  # frames count from 1
    assert sample.head_box_px.tolist() == [10, 20, 40, 60]
    assert sample.gaze_targets.tolist() == [[0.5, 0.75]]
    assert (sample.in_frame, sample.clip, sample.track_id, sample.frame) == (1, CLIP, "c1", 3)
    assert (sample.dataset, sample.split) == ("childplay", "test") and not counts


def test_outside_is_out_of_frame_and_looks_without_a_target_are_dropped_and_counted(write):
    lines = [row(1, gaze="outside_frame,-1,-1"), row(2, gaze="inside_visible,-1,-1")]
    lines += [row(3 + i, gaze=f"{name},-1,-1") for i, name in enumerate(childplay.WITHOUT_TARGET)]
    (sample,), counts = read(write(lines))
    assert sample.in_frame == 0 and np.isnan(sample.gaze_targets).all()
    assert counts == {f"dropped: {name}": 1 for name in childplay.WITHOUT_TARGET} | {
        "dropped: inside_visible without a point": 1
    }


def test_people_follow_one_another_each_in_the_order_of_frames(write):
    lines = [row(frame, person, child=person - 1) for frame in (2, 10, 1) for person in (2, 1)]
    samples, _ = read(write(lines))
    order = [(sample.track_id, sample.frame) for sample in samples]
    assert order == [("a1", 1), ("a1", 2), ("a1", 10), ("c2", 1), ("c2", 2), ("c2", 10)]


def test_a_downsampled_clip_counts_its_images_like_any_other(write):
    clip = f"{CLIP}-downsample"
    (sample,), _ = read(write([row(2, clip=clip)], clip=clip))
    assert sample.image.name == "1Ab_vLMMAbY_101.jpg" and sample.image.parent.name == clip


def test_boxes_are_repaired_and_those_without_area_dropped(write):
    samples, counts = read(write([row(1, box="-5,20,30,40"), row(2, box="10,20,0,40")]))
    assert [sample.head_box_px.tolist() for sample in samples] == [[0, 20, 25, 60]]
    assert counts == {"repaired: box clipped to the image": 1, "dropped: box without area": 1}


def test_all_that_is_wrong_comes_in_one_error(write):
    lines = [
        row(1, box="a,20,30,40"),
        row(2, gaze="asleep,1,1"),
        row(3, clip="nothing"),
        row(4, box="nan,20,30,40"),
        f"{CLIP},5,1",
        row(11),
        row(99),
    ]
    root = write(lines, frames=range(100, 105))
    with pytest.raises(GazeError) as raised:
        read(root)
    message = str(raised.value)
    assert "7 problems" in message and "line 2: could not convert string to float: 'a'" in message
    assert 'gaze_class "asleep"; expected one of inside_visible' in message
    assert 'clip "nothing"; expected VIDEO_FIRST-LAST' in message and "expected finite numbers" in message
    assert "1Ab_vLMMAbY_110.jpg: no such image" in message and childplay.NEXT_STEP in message
    root = write([row()], header="clip,frame")
    with pytest.raises(GazeError, match=r"lacks the columns person_id, bbox_x.*found clip, frame"):
        read(root)


def test_missing_folders_say_what_was_expected_and_what_is_there(write, tmp_path):
    with pytest.raises(GazeError, match=r"expected annotations/SPLIT/CLIP\.csv") as raised:
        read(tmp_path / "nowhere")
    assert raised.value.code == NO_INPUT
    write([row()], split="train")
    with pytest.raises(GazeError, match="found the splits train"):
        read(tmp_path)
