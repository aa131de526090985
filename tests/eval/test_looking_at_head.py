import numpy as np
import pytest

from gazecore import artifacts
from gazecore.eval.looking_at_head import Heads, annotated, labelled, labels

LEFT, MIDDLE, NEAR_MIDDLE = [0, 0, 20, 20], [40, 0, 60, 20], [50, 0, 70, 20]  # of 100 x 50 pixels
NOWHERE = [np.nan, np.nan]


def people(tmp_path, boxes, index=None, **columns):
    """An open artifact of people; all in one scene of 100 x 50 pixels, unless `index` says otherwise."""
    count = len(boxes)
    index = np.array(index or [0] * count, np.int32)
    scenes = int(index.max()) + 1
    defaults = {
        "sample_id": [f"s{i}" for i in range(count)],
        "gaze_targets": np.full((count, 1, 2), np.nan),
        "in_frame": np.full(count, np.nan, np.float32),
    }
    path = tmp_path / "people.zarr"
    with artifacts.create(path, "gaze-samples", overwrite=True) as writer:
        writer.append(
            dim="image",
            image_name=[f"{i}.png" for i in range(scenes)],
            image_size_px=np.tile(np.array([[100, 50]], np.int32), (scenes, 1)),
            image_data=[b"\x89PNG"] * scenes,
        )
        writer.append(image_index=index, head_box_px=np.array(boxes, float), **(defaults | columns))
    return artifacts.open(path)


def predicted(samples, points, **columns):
    count = len(points)
    block = {
        "gaze_point": np.array(points, float),
        "gaze_targets": np.full((count, 1, 2), np.nan),
        "in_frame": np.full(count, np.nan),
    }
    return labels(Heads(samples), np.arange(count), block | columns)


def test_a_point_on_another_head_names_the_person(tmp_path):
    samples = people(tmp_path, [LEFT, MIDDLE])
    found = predicted(samples, [[0.5, 0.2], [0.9, 0.9]])
    assert found["predicted_looks_at_head"].tolist() == [1, 0]
    assert found["head_looked_at"].tolist() == ["s1", ""]


def test_ones_own_head_does_not_count_nor_does_its_second_annotation(tmp_path):
    samples = people(tmp_path, [LEFT, LEFT, MIDDLE])
    found = predicted(samples, [[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]])
    assert found["predicted_looks_at_head"].tolist() == [0, 0, 1]


def test_of_two_heads_the_nearer_middle_is_meant_and_borders_belong(tmp_path):
    samples = people(tmp_path, [LEFT, MIDDLE, NEAR_MIDDLE, [80, 0, 100, 20]])
    found = predicted(samples, [[0.56, 0.2], [0.7, 0.4], [0.4, 0.0], [0.54, 0.2]])
    assert found["head_looked_at"].tolist() == ["s2", "s2", "s1", "s1"]


def test_people_are_named_by_their_track_where_they_have_one(tmp_path):
    samples = people(tmp_path, [LEFT, MIDDLE], track_id=["", "ann"])
    assert predicted(samples, [[0.5, 0.2], [0.1, 0.1]])["head_looked_at"].tolist() == ["ann", "s0"]


def test_whoever_looks_out_of_the_frame_looks_at_nobody(tmp_path):
    samples = people(tmp_path, [LEFT, MIDDLE])
    found = predicted(samples, [[0.5, 0.2], [0.1, 0.2]], in_frame_score=np.array([0.4, 0.5]))
    assert found["predicted_looks_at_head"].tolist() == [0, 1] and found["head_looked_at"].tolist() == ["", "s0"]


def test_without_a_point_nothing_is_known_and_alone_there_is_nobody_to_look_at(tmp_path):
    samples = people(tmp_path, [LEFT, MIDDLE, LEFT, [np.nan] * 4], index=[0, 0, 1, 2])
    found = predicted(samples, [NOWHERE, [0.1, 0.2], [0.1, 0.2], [0.1, 0.2]])
    np.testing.assert_array_equal(found["predicted_looks_at_head"], [np.nan, 1, 0, 0])


def test_tracks_of_a_clip_meet_in_their_frame_whatever_image_row_they_have(tmp_path):
    samples = people(
        tmp_path,
        [LEFT, LEFT, MIDDLE, MIDDLE],
        index=[0, 1, 2, 3],
        clip=["a", "a", "a", "b"],
        track_id=["ann", "ann", "ben", "cat"],
        frame=np.array([1.0, 2.0, 1.0, 2.0]),
        time_s=np.full(4, np.nan),
    )
    found = predicted(samples, [[0.5, 0.2], [0.5, 0.2], [0.1, 0.2], [0.1, 0.2]])
    assert found["head_looked_at"].tolist() == ["ben", "", "ann", ""]


@pytest.mark.parametrize(
    "targets, in_frame, expected",
    [
        ([[0.5, 0.2]], 1, 1),
        ([[0.9, 0.9]], 1, 0),
        ([[0.1, 0.2]], 1, 0),  # one's own
        ([[0.5, 0.2]], 0, 0),
        ([NOWHERE], np.nan, np.nan),
        ([NOWHERE], 0, 0),
        ([[0.5, 0.2], [0.52, 0.2], [0.9, 0.9]], 1, 1),  # two of three mark one head
        ([[0.42, 0.2], [0.68, 0.2], [0.9, 0.9]], 1, 0),  # two heads, one annotator each
        ([[0.5, 0.2], NOWHERE, NOWHERE], 1, 1),  # only one annotator
    ],
)
def test_annotators_must_agree_on_the_head(tmp_path, targets, in_frame, expected):
    samples = people(tmp_path, [LEFT, MIDDLE, NEAR_MIDDLE])
    heads = Heads(samples)
    found = annotated(heads, heads.others(np.array([0])), np.array([targets], float), np.array([in_frame]))
    np.testing.assert_array_equal(found, np.array([expected], np.float32))


def test_blocks_are_labelled_in_order_and_earlier_labels_stay(tmp_path):
    samples = people(tmp_path, [LEFT, MIDDLE, LEFT], index=[0, 0, 1])
    points = np.array([[0.5, 0.2], [0.1, 0.2], [0.5, 0.2]])
    whole = predicted(samples, points)
    blocks = [
        {"gaze_point": points[part], "gaze_targets": np.full((len(points[part]), 1, 2), np.nan),
         "in_frame": np.full(len(points[part]), np.nan)}
        for part in (slice(0, 1), slice(1, 3))
    ]  # fmt: skip
    found = list(labelled(iter(blocks), samples, np.arange(3)))
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([block[name] for block in found]), values)
    kept = [block | {"predicted_looks_at_head": np.full(len(block["gaze_point"]), 0.25)} for block in blocks]
    assert all((b["predicted_looks_at_head"] == 0.25).all() for b in labelled(iter(kept), samples, np.arange(3), False))
    assert not any(
        (b["predicted_looks_at_head"] == 0.25).any() for b in labelled(iter(kept), samples, np.arange(3), True)
    )
