import numpy as np
import pytest

from gazecore import geometry
from gazecore.errors import GazeError

NAN = [np.nan] * 4


def test_normalised_boxes_come_back_in_pixels():
    boxes_px = np.array([[[64.0, 48, 320, 240]], [NAN]])
    size_px = np.array([[[640, 480]], [[320, 240]]])
    boxes = geometry.normalise_boxes(boxes_px, size_px)
    assert boxes[0, 0] == pytest.approx([0.1, 0.1, 0.5, 0.5])
    assert geometry.denormalise_boxes(boxes, size_px) == pytest.approx(boxes_px, nan_ok=True)


def test_repair_orders_clips_and_reports():
    boxes_px = np.array(
        [
            [10, 20, 30, 40],  # fine
            [30, 20, 10, 40],  # x swapped
            [-5, 20, 700, 40],  # leaves the image
            [700, 20, -5, 40],  # both
            [10, 20, 10, 40],  # no width
            [650, 20, 700, 40],  # outside
            [np.nan, 20, 30, 40],  # missing
        ]
    )
    repaired, swapped, clipped, degenerate = geometry.repair_boxes(boxes_px, (640, 480))
    whole = [0, 20, 640, 40]
    expected = [[10, 20, 30, 40], [10, 20, 30, 40], whole, whole, NAN, NAN, NAN]
    np.testing.assert_array_equal(repaired, expected)
    assert swapped.tolist() == [False, True, False, True, False, False, False]
    assert clipped.tolist() == [False, False, True, True, False, True, False]
    assert degenerate.tolist() == [False, False, False, False, True, True, False]


def test_repair_takes_one_size_per_box_and_one_box_alone():
    repaired, *_ = geometry.repair_boxes([[0, 0, 50, 50], [0, 0, 50, 50]], [[40, 60], [60, 40]])
    np.testing.assert_array_equal(repaired, [[0, 0, 40, 50], [0, 0, 50, 40]])
    repaired, swapped, clipped, degenerate = geometry.repair_boxes([0, 0, 50, 50], (40, 40))
    np.testing.assert_array_equal(repaired, [0, 0, 40, 40])
    assert (bool(swapped), bool(clipped), bool(degenerate)) == (False, True, False)


def test_sequential_expansion_grows_the_far_side_more():
    assert geometry.expand_boxes_sequential([100, 50, 200, 150], 0.1) == pytest.approx([90, 40, 211, 161])
    assert geometry.expand_boxes_sequential([[100, 50, 200, 150]] * 2, [0, 0.1])[0] == pytest.approx(
        [100, 50, 200, 150]
    )


def test_smoothing_leaves_a_still_track_and_repeats_the_edge():
    still = np.tile([1.0, 2, 3, 4], (2, 5, 1))
    assert geometry.smooth_boxes(still) == pytest.approx(still)
    ramp = np.arange(4.0)[:, None].repeat(4, axis=1)
    assert geometry.smooth_boxes(ramp, width=3)[:, 0] == pytest.approx([1 / 3, 1, 2, 8 / 3])
    assert geometry.smooth_boxes(np.empty((0, 4))).shape == (0, 4)
    with pytest.raises(GazeError, match="odd number"):
        geometry.smooth_boxes(ramp, width=4)


def test_vtd_head_mask_truncates_and_never_marks_the_last_row():
    mask = geometry.head_mask([0.25, 0.5, 1.0, 1.0], size=(8, 16))
    assert mask.shape == (8, 16) and mask.dtype == np.float32
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 6, 4, 14)


def test_gazelle_head_mask_rounds_half_to_even_and_clips_first():
    mask = geometry.head_mask([[2.5 / 8, 0, 3.5 / 8, 1], [-0.1, -0.1, 0.5, 0.5]], size=(8, 8), convention="gazelle")
    assert np.nonzero(mask[0])[1].tolist() == [2, 3] * 8
    assert mask[1].sum() == 16


def test_gazelle_head_mask_is_empty_for_a_negative_start_as_published():
    box = [-0.1, -0.1, 0.5, 0.5]
    assert geometry.head_mask(box, (32, 32), "gazelle", compat=True).sum() == 0
    canvas = np.zeros((32, 32))
    canvas[-3:32, 4:16] = 1  # where a slice from the end is not empty
    np.testing.assert_array_equal(geometry.head_mask([0.125, -0.1, 0.5, 1], (32, 32), "gazelle", compat=True), canvas)


@pytest.mark.parametrize("convention", geometry.HEAD_MASKS)
def test_no_head_is_an_empty_mask(convention):
    assert geometry.head_mask([NAN, [0, 0, 1, 1]], (4, 4), convention).any(axis=(1, 2)).tolist() == [False, True]


def test_unknown_head_mask_is_an_error():
    with pytest.raises(GazeError, match='"sharingan"; expected one of vtd, gazelle'):
        geometry.head_mask([0, 0, 1, 1], convention="sharingan")


def test_flips_are_their_own_inverse():
    boxes, points = np.array([[0.1, 0.2, 0.4, 0.9], NAN]), np.array([[0.25, 0.5], [np.nan, np.nan]])
    assert geometry.flip_boxes(boxes)[0] == pytest.approx([0.6, 0.2, 0.9, 0.9])
    assert geometry.flip_points(points)[0] == pytest.approx([0.75, 0.5])
    np.testing.assert_allclose(geometry.flip_boxes(geometry.flip_boxes(boxes)), boxes)
    np.testing.assert_allclose(geometry.flip_points(geometry.flip_points(points)), points)
