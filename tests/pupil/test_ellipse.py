"""Ellipses through points."""

import numpy as np
import pytest

from gazecore.pupil import ellipse
from gazecore.pupil.ellipse import Edge

TILTED = np.array([31.0, 18.5, 40.0, 26.0, 33.0])


def on(shape, angles=None):
    """Points on an ellipse, at angles from its own major axis in degrees."""
    cx, cy, major, minor, turn = shape
    angles = np.deg2rad(np.arange(0, 360, 3) if angles is None else angles)
    x, y, turn = major / 2 * np.cos(angles), minor / 2 * np.sin(angles), np.deg2rad(turn)
    return np.stack([cx + x * np.cos(turn) - y * np.sin(turn), cy + x * np.sin(turn) + y * np.cos(turn)], axis=-1)


def rounded(shape):
    """What a mask tells of an ellipse: where its outline crosses rows and columns, to half a pixel."""
    size = 200
    y, x = np.mgrid[:size, :size]
    mask = ellipse.distances(np.stack([x.ravel() + 1e-7, y.ravel()], axis=-1), np.array(shape)).reshape(size, size) < 0
    rows, columns = np.argwhere(mask[:, 1:] != mask[:, :-1]), np.argwhere(mask[1:] != mask[:-1])
    points = np.concatenate([rows[:, ::-1] + (0.5, 0.0), columns[:, ::-1] + (0.0, 0.5)])
    return Edge(points, len(rows))


@pytest.mark.parametrize("angle", [0.0, 33.0, 90.0, 179.5])
def test_the_direct_fit_finds_an_exact_ellipse(angle):
    shape = np.array([31.0, 18.5, 40.0, 26.0, angle])
    np.testing.assert_allclose(ellipse.fit(on(shape)), shape, atol=1e-6)


def test_the_direct_fit_finds_an_ellipse_from_an_arc_of_it():
    np.testing.assert_allclose(ellipse.fit(on(TILTED, np.arange(-40, 60, 2))), TILTED, atol=1e-5)


def test_the_direct_fit_of_points_on_a_hyperbola_is_still_an_ellipse():
    x = np.linspace(1, 4, 30)
    found = ellipse.fit(np.stack([np.r_[x, x], np.r_[1 / x, -1 / x]], axis=-1))
    assert np.isfinite(found).all() and found[2] >= found[3] > 0


def test_an_angle_is_below_180_even_by_rounding():
    assert 0 <= ellipse.fit(on((0.0, 0.0, 40.0, 26.0, 180 - 1e-15)))[4] < 180
    assert ellipse.from_inner(np.array([0.0, 0.0, 10.0, 0.1, -1e-18]))[4] < 180


@pytest.mark.parametrize("points", [np.empty((0, 2)), np.ones((4, 2)), np.ones((9, 2)), np.arange(18.0).reshape(9, 2)])
def test_too_few_points_and_points_on_a_line_are_no_ellipse(points):
    assert np.isnan(ellipse.fit(points)).all()
    assert np.isnan(ellipse.fit_constrained(points[:2], 0.8, 10)).all()
    assert np.isnan(ellipse.fit_circle(points)).all()


def test_a_circle_is_found_from_a_short_arc():
    np.testing.assert_allclose(ellipse.fit_circle(on((5, 6, 20, 20, 0), np.arange(50))), (5, 6, 20, 20, 0), atol=1e-8)


def test_with_its_shape_given_an_ellipse_is_found_from_a_short_arc():
    found = ellipse.fit_constrained(on(TILTED, np.arange(100, 140)), TILTED[3] / TILTED[2], TILTED[4])
    np.testing.assert_allclose(found, TILTED, atol=1e-7)


def test_distances_are_signed_pixels_across_the_outline():
    circle = np.array([10.0, 10.0, 8.0, 8.0, 0.0])
    points = np.array([[14.0, 10.0], [10.0, 15.0], [12.0, 10.0]])
    np.testing.assert_allclose(ellipse.distances(points, circle), [0, 1, -2], atol=1e-12)
    outside = on(TILTED + np.array([0, 0, 0.2, 0.2, 0]))
    np.testing.assert_allclose(ellipse.distances(outside, TILTED), 0.1, atol=3e-3)


def test_inner_numbers_and_axes_say_the_same():
    np.testing.assert_allclose(ellipse.from_inner(ellipse.to_inner(TILTED)), TILTED)
    assert np.isnan(ellipse.from_inner(np.array([[0, 0, -1, 0, 0], [0, 0, 1, 0.8, 0.8]]))).all()


def test_edge_points_of_exact_discs_are_unbiased_from_8_to_80_px():
    rng = np.random.default_rng(0)
    for diameter in (8, 12, 20, 40, 80):
        discs = [(*(100 + rng.random(2)), diameter, diameter * (1 - 1e-6), 0) for _ in range(40)]
        pairs = [(rounded(disc), Edge(np.empty((0, 2)), 0)) for disc in discs]
        found, _ = ellipse.fit_pairs(pairs)
        area = np.sqrt(found[:, 0, 2] * found[:, 0, 3])
        assert area.mean() == pytest.approx(diameter, abs=0.05)
        assert area.std() < 0.3 / np.sqrt(diameter)


def test_a_pair_is_found_to_a_tenth_of_a_pixel():
    pupil, iris = (95.3, 101.7, 41.0, 36.0, 20.0), (93.8, 100.2, 121.0, 108.0, 25.0)
    (found,), (sd,) = ellipse.fit_pairs([(rounded(pupil), rounded(iris))])
    np.testing.assert_allclose(found[0][:4], pupil[:4], atol=0.1)
    np.testing.assert_allclose(found[1][:4], iris[:4], atol=0.1)
    assert found[0][4] == pytest.approx(20, abs=1.5) and found[1][4] == pytest.approx(25, abs=0.5)
    assert 0 < sd < 0.01


def test_a_short_limbus_takes_its_shape_from_the_pupil():
    rng = np.random.default_rng(4)
    errors = {"auto": [], "ellipse": []}
    for _ in range(12):
        x, y = 100 + rng.random(2)
        whole = rounded((x, y, 121, 105, 22))
        between_lids = np.abs(whole.points[:, 1] - y) < 14
        seen = Edge(whole.points[between_lids], int(between_lids[: whole.on_rows].sum()))
        for iris_fit, of_one in errors.items():
            found, _ = ellipse.fit_pairs([(rounded((x, y, 44, 38, 20)), seen)], iris_fit)
            of_one.append(abs(found[0, 1, 2] / 121 - 1))
    assert np.mean(errors["auto"]) < 0.01
    assert np.mean(errors["auto"]) < np.mean(errors["ellipse"])


def test_an_iris_fitted_as_a_circle_is_one():
    iris = (100.0, 100.0, 121.0, 105.0, 22.0)
    found, _ = ellipse.fit_pairs([(rounded((100, 100, 40, 35, 22)), rounded(iris))], iris_fit="circle")
    assert found[0, 1, 2] == pytest.approx(found[0, 1, 3], rel=1e-2)
    assert found[0, 0, 3] / found[0, 0, 2] == pytest.approx(35 / 40, abs=0.02)


def test_points_of_another_edge_are_left_out():
    iris = (100.0, 100.0, 120.0, 110.0, 0.0)
    whole = rounded(iris)
    stray = np.stack([np.linspace(120, 135, 30), np.full(30, 90.0)], axis=-1)
    edge = Edge(np.concatenate([whole.points, stray]), whole.on_rows)
    found, _ = ellipse.fit_pairs([(rounded((100, 100, 40, 37, 0)), edge)])
    np.testing.assert_allclose(found[0, 1, :4], iris[:4], atol=0.2)


def test_pairs_do_not_depend_on_their_company():
    shapes = [((95.3, 101.7, 41, 36, 20), (93.8, 100.2, 121, 108, 25)), ((80, 90, 12, 11, 0), (82, 91, 60, 50, 70))]
    pairs = [(rounded(pupil), rounded(iris)) for pupil, iris in shapes]
    together, _ = ellipse.fit_pairs(pairs)
    alone = np.concatenate([ellipse.fit_pairs([pair])[0] for pair in pairs])
    np.testing.assert_allclose(together[..., :4], alone[..., :4], atol=1e-9)


def test_without_points_a_pair_is_nan():
    nothing = Edge(np.empty((0, 2)), 0)
    found, sd = ellipse.fit_pairs([(nothing, nothing), (rounded((50, 50, 40, 35, 5)), nothing)])
    assert np.isnan(found[0]).all() and np.isnan(found[1, 1]).all() and np.isnan(sd).all()
    np.testing.assert_allclose(found[1, 0, :4], (50, 50, 40, 35), atol=0.2)
    assert ellipse.fit_pairs([])[0].shape == (0, 2, 5)
