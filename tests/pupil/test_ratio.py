"""Masks -> pupil-iris ratio."""

import numpy as np
import pytest

from gazecore.errors import GazeError
from gazecore.pupil.ratio import NUMBERS, measure
from gazecore.synthetic.eyes import render

SIZE = (120, 160)
NOTHING = (-9, -9, 1, 1, 0)
PUPIL, IRIS = (80.4, 60.7, 24.0, 22.0, 20.0), (79.8, 60.2, 64.0, 58.0, 25.0)


def within(shape, size=SIZE):
    """(h, w) below 1 inside an ellipse (cx, cy, major, minor, angle_deg)."""
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    cx, cy, major, minor, turn = shape
    cosine, sine = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    along, aside = (x - cx) * cosine + (y - cy) * sine, (y - cy) * cosine - (x - cx) * sine
    return np.hypot(2 * along / major, 2 * aside / minor)


def eye(pupil=PUPIL, iris=IRIS, upper=0, lower=SIZE[0], size=SIZE):
    """Labels of an eye whose lids are two straight rows."""
    labels = np.full(size, 3, np.uint8)
    labels[within(iris, size) <= 1] = 1
    labels[within(pupil, size) <= 1] = 2
    labels[: round(upper)] = labels[round(lower) :] = 0
    return labels


def test_an_open_eye_is_measured_to_half_a_percent():
    found = measure(eye())
    assert found["pir"] == pytest.approx(24 / 64, rel=0.005)
    assert found["pir_area"] == pytest.approx(24 * 22 / (64 * 58), rel=0.008)
    for name, shape in (("pupil", PUPIL), ("iris", IRIS)):
        for axis, true, tolerance in zip(("cx_px", "cy_px", "major_px", "minor_px"), shape, (0.15,) * 4, strict=False):
            assert found[f"{name}_{axis}"] == pytest.approx(true, abs=tolerance)
        assert found[f"{name}_confidence"] > 0.95
    assert found["iris_visible"] == 1 and found["blink"] == 0 and found["flags"] == ""


def test_every_batch_axis_is_kept_and_one_frame_is_as_many():
    labels = np.stack([eye(), eye(upper=45), np.zeros(SIZE, np.uint8), eye(lower=80)])
    together = measure(labels.reshape(2, 2, *SIZE))
    for i, mask in enumerate(labels):
        for name, value in measure(mask).items():
            assert together[name].shape == (2, 2) and value.shape == ()
            if name == "flags":
                assert together[name].ravel()[i] == value
            else:
                np.testing.assert_allclose(together[name].ravel()[i], value, atol=1e-9)


def test_the_columns_are_those_of_the_pupil_trace_artifact():
    found = measure(np.stack([eye()] * 2))
    assert set(found) == {*NUMBERS, "blink", "flags"}
    assert found["blink"].dtype == np.uint8 and found["pir"].dtype == np.float64 and found["flags"].dtype.kind == "U"
    assert measure(np.empty((0, *SIZE), np.uint8))["pir"].shape == (0,)


@pytest.mark.parametrize("upper", [35, 45, 50])
def test_lids_do_not_change_the_ratio(upper):
    found = measure(eye(upper=upper, lower=82))
    assert found["pir"] == pytest.approx(24 / 64, rel=0.015)
    assert found["aperture"] == pytest.approx((82 - upper) / 64, rel=0.02)
    assert found["iris_visible"] < 0.75


def test_a_pupil_cut_by_a_lid_is_measured_to_its_hidden_edge():
    found = measure(eye(upper=58))
    assert found["pupil_minor_px"] == pytest.approx(22, rel=0.03)
    assert found["pir"] == pytest.approx(24 / 64, rel=0.02)
    assert found["pupil_confidence"] < 0.8


@pytest.mark.parametrize("iris_fit", ["auto", "ellipse", "circle"])
def test_a_frontal_eye_is_the_same_in_every_way_of_fitting(iris_fit):
    found = measure(eye((80.2, 60.3, 26, 26, 0), (80.4, 60.1, 70, 70, 0)), iris_fit=iris_fit)
    assert found["pir"] == pytest.approx(26 / 70, rel=0.004)


@pytest.mark.parametrize(
    ("labels", "flag"),
    [
        (np.zeros(SIZE, np.uint8), "no_pupil;no_iris"),
        (np.full(SIZE, 3, np.uint8), "no_pupil;no_iris"),
        (eye(pupil=NOTHING), "no_pupil"),
        (eye(iris=NOTHING), "no_iris"),
        (eye(pupil=(80, 60, 1.5, 1.5, 0)), "pupil_points"),
        (eye(upper=58, lower=63), "pupil_points;iris_points"),
        (eye(pupil=(80, 60, 32, 12, 0)), "uncertain"),
    ],
)
def test_where_there_is_nothing_to_measure_the_ratio_is_nan_and_a_flag_says_why(labels, flag):
    found = measure(labels)
    assert np.isnan(found["pir"]) and np.isnan(found["pir_area"])
    assert flag in str(found["flags"])
    assert found["blink"] == ("no_pupil" in flag)


@pytest.mark.parametrize(
    ("pupil", "iris", "iris_fit", "flag"),
    [
        ((80, 60, 32, 12, 0), (80, 60, 52, 50, 0), "ellipse", "pupil_shape"),
        ((80, 60, 22, 20, 0), (80, 60, 80, 32, 0), "ellipse", "iris_shape"),
        ((80, 60, 60, 40, 0), (80, 60, 62, 42, 0), "circle", "pupil_outside_iris"),
    ],
)
def test_shapes_that_no_eye_has_are_flagged(pupil, iris, iris_fit, flag):
    found = measure(eye(pupil, iris), iris_fit=iris_fit)
    assert np.isnan(found["pir"]) and flag in str(found["flags"])


def test_an_edge_that_is_a_line_is_none_of_an_eye():
    labels = np.zeros(SIZE, np.uint8)
    labels[20:100, 20:60], labels[20:100, 60:100], labels[20:100, 100:140] = 2, 1, 3
    found = measure(labels)
    assert np.isnan(found["pir"]) and found["flags"] != ""


def test_a_nearly_shut_eye_is_a_blink():
    found = measure(eye(upper=54, lower=72))
    assert found["blink"] == 1 and "aperture" in str(found["flags"])


def test_what_eyes_cannot_have_is_flagged_beside_the_number():
    iris = (80, 60, 100, 100, 0)
    assert measure(eye((80, 60, 11, 11, 0), iris))["flags"] == "pupil_size"
    assert measure(eye((80, 60, 9.5, 9.5, 0), iris))["flags"] == "pir_range;pupil_size"
    assert measure(eye((80, 60, 50, 50, 0), iris), hvid_mm=20)["flags"] == "pupil_size"
    assert measure(eye((80, 60, 90, 90, 0), iris))["flags"].item().startswith("pir_range")


def test_specks_and_holes_of_a_mask_do_not_matter():
    labels = eye()
    labels[5:8, 5:9] = 2
    labels[100:110, 10:20] = 1
    labels[58:61, 79:83] = 3  # a glint in the pupil
    labels[70:74, 60:64] = 0  # and one in the iris
    assert measure(labels)["pir"] == pytest.approx(measure(eye())["pir"], rel=1e-6)


def test_an_eye_cut_by_the_border_of_the_image_has_no_edge_there():
    labels = eye()[:, :100]
    found = measure(labels)
    assert found["pir"] == pytest.approx(24 / 64, rel=0.006)
    assert 0.6 < found["iris_visible"] < 0.9
    assert measure(eye()[40:])["pupil_major_px"] == pytest.approx(24, abs=0.15)


def test_probabilities_place_edges_between_pixels():
    rng = np.random.default_rng(0)
    errors = {"labels": [], "probability": []}
    for _ in range(12):
        x, y = 60 + rng.random(2)
        pupil, iris = (x, y, 11, 11, 0), (x, y, 60, 60, 0)
        soft = [np.clip(0.5 + (1 - within(shape, (120, 120))) * shape[2] / 2, 0, 1) for shape in (pupil, iris)]
        probability = np.stack([0 * soft[0], soft[1] - soft[0], soft[0], 1 - soft[1]])
        labels = probability.argmax(axis=0).astype(np.uint8)
        errors["labels"].append(abs(measure(labels)["pir"] * 60 / 11 - 1))
        errors["probability"].append(abs(measure(labels, probability)["pir"] * 60 / 11 - 1))
    assert np.mean(errors["probability"]) < 0.004 < np.mean(errors["labels"])


def test_confidence_is_the_mean_probability_within_the_ellipse_times_the_overlap():
    labels = eye()
    probability = np.stack([labels == c for c in range(4)]) * 0.6 + 0.1
    plain, weighed = measure(labels), measure(labels, probability)
    assert weighed["pupil_confidence"] == pytest.approx(0.7 * plain["pupil_confidence"], rel=0.03)
    assert weighed["iris_confidence"] == pytest.approx(0.8 * plain["iris_confidence"], rel=0.03)


def test_hard_probabilities_change_nothing_but_confidence():
    labels = eye()
    hard = np.stack([labels == c for c in range(4)]).astype(np.float32)
    assert measure(labels, hard)["pir"] == pytest.approx(measure(labels)["pir"], rel=2e-3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((eye().astype(int),), "int64 .*expected uint8"),
        ((eye()[0],), "expected uint8"),
        ((eye() + 1,), "class 4; expected 0 background"),
        ((eye(), np.zeros((3, *SIZE))), r"the probability is \(3, 120, 160\).*expected \(4, 120, 160\)"),
        ((eye(), None, "square"), 'iris_fit "square"; expected one of auto'),
    ],
)
def test_what_does_not_fit_is_refused(arguments, says):
    with pytest.raises(GazeError, match=says):
        measure(*arguments)


def test_stray_parts_of_a_mask_do_not_open_the_eye():
    labels = render(3, (120, 160), aperture=0.8).labels
    alone = measure(labels)
    labels[2:40, 60:64] = 3  # above the eye, in the columns of its iris
    labels[100:118, 75:85] = 1
    stray = measure(labels)
    assert stray["aperture"] == pytest.approx(alone["aperture"], rel=0.03) and alone["aperture"] > 0.4  # to a pixel
    assert stray["pir"] == pytest.approx(alone["pir"], rel=1e-6)
