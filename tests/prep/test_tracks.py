import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazecore.prep.tracks import Tracks, overlap

HEAD = np.array([100.0, 100, 140, 140])


def test_overlap_is_intersection_over_union():
    boxes = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [np.nan] * 4, [1, 1, 1, 1]])
    np.testing.assert_allclose(overlap(boxes[:1], boxes), [[1, 1 / 3, 0, 0, 0]])
    assert overlap(boxes[:0], boxes).shape == (0, 5)


def test_people_keep_their_numbers_whatever_the_order_of_the_boxes():
    tracks = Tracks()
    assert tracks.update([HEAD, HEAD + 200], 0.0).tolist() == [1, 2]
    assert tracks.update([HEAD + 205, HEAD + 5], 0.1).tolist() == [2, 1]
    assert tracks.update([HEAD + 400, HEAD + 8], 0.2).tolist() == [3, 1]


def test_each_number_is_given_once_a_frame_to_the_box_that_overlaps_most():
    tracks = Tracks()
    tracks.update([HEAD], 0.0)
    assert tracks.update([HEAD + 8, HEAD + 2], 0.1).tolist() == [2, 1]


def test_a_person_is_missed_for_a_while_and_then_forgotten():
    tracks = Tracks()
    tracks.update([HEAD], 0.0)
    for frame in range(1, 20):
        tracks.update(np.empty((0, 4)), frame / 25)
    assert tracks.update([HEAD], 0.9).tolist() == [1]
    for frame in range(40):
        tracks.update(np.empty((0, 4)), 0.9 + frame / 25)
    assert tracks.update([HEAD], 2.6).tolist() == [2]


def test_frames_that_lie_seconds_apart_are_still_neighbours():
    tracks = Tracks()
    assert [tracks.update([HEAD + 3 * k], 5.0 * k).tolist() for k in range(3)] == [[1], [1], [1]]


def test_an_unknown_box_is_nobody():
    tracks = Tracks()
    assert tracks.update([np.full(4, np.nan), HEAD], 0.0).tolist() == [0, 1]
    assert tracks.update(np.empty((0, 4)), 0.1).tolist() == []


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(-8, 8), st.floats(-8, 8)), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_people_far_apart_are_followed_exactly(people, steps, chance):
    tracks, at = Tracks(), np.array([[300.0 * k, 0, 300 * k + 40, 40] for k in range(people)])
    first = tracks.update(at, 0.0)
    for number, (dx, dy) in enumerate(steps, 1):
        at = at + np.array([dx, dy, dx, dy])
        order = chance.sample(range(people), people)
        assert tracks.update(at[order], number / 10).tolist() == first[order].tolist()


@pytest.mark.parametrize("moved", [0.0, 17.0])
def test_a_head_may_move_by_less_than_half_its_width(moved):
    tracks, right = Tracks(), np.array([1, 0, 1, 0])
    tracks.update([HEAD], 0.0)
    assert tracks.update([HEAD + moved * right], 0.04).tolist() == [1]
    assert tracks.update([HEAD + (moved + 25) * right], 0.08).tolist() == [2]
