"""Metrics, targets and boxes of gaze following against VTD, Gaze-LLE, MAD and Sharingan (golden/following)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from gazecore import geometry, heatmaps
from gazecore.metrics import following, ranking

pytestmark = pytest.mark.golden
GOLDEN = Path(os.environ.get("GZ_GOLDEN", Path(__file__).parents[1] / "golden"))
METRICS = json.loads((GOLDEN / "following" / "metrics.json").read_text())
DEFAULT_SIZE, DEFAULT_SIGMA = 64, 3.0


def cases(block: str) -> list:
    """The cases of a block of metrics.json, named as the file names them."""
    listed = METRICS.get(block, [])
    return [pytest.param(case, id=f"{block}-{case.get('name', i)}") for i, case in enumerate(listed)]


def cases_of_size(prefix: str) -> list:
    """The cases of the blocks whose names are the prefix and a number, with the number's digits."""
    blocks = [block for block in METRICS if block.removeprefix(prefix).isdigit()]
    return [
        pytest.param(block.removeprefix(prefix), case, id=f"{block}-{i}")
        for block in blocks
        for i, case in enumerate(METRICS[block])
    ]


def drawn(recipe: dict, size: int = DEFAULT_SIZE) -> np.ndarray:
    """The map of a formula of the README: float64, then float32."""
    y, x = np.mgrid[:size, :size].astype(float)
    kind = recipe["kind"]

    def gauss() -> np.ndarray:
        return np.exp(-((x - recipe["cx"]) ** 2 + (y - recipe["cy"]) ** 2) / (2 * recipe["s"] ** 2))

    def sine() -> np.ndarray:
        return np.sin(recipe["a"] * x + recipe["b"] * y + recipe["c"])

    if kind == "gauss":
        values = gauss()
    elif kind == "wave":
        values = 0.5 + 0.5 * sine()
    elif kind == "mix":
        values = 0.7 * gauss() + 0.3 * (0.5 + 0.5 * sine())
    elif kind == "signed":
        values = recipe["gain"] * sine()
    elif kind == "const":
        values = np.full((size, size), recipe["v"])
    elif kind == "ramp":
        values = (size * y + x) / size**2
    else:
        values = np.zeros((size, size))
        if kind == "plateau":
            values[recipe["y0"] : recipe["y1"], recipe["x0"] : recipe["x1"]] = 1
        elif kind == "onehot":
            values[recipe["y"], recipe["x"]] = 1
        else:
            assert kind == "zero", f"no formula for {kind}"
    return values.astype(np.float32)


@pytest.mark.parametrize("case", cases("gazefollow"))
def test_gazefollow_auc_equals_every_protocol(case):
    heatmap, gaze, size_px = drawn(case["map"]), np.array(case["gaze"]), (case["width"], case["height"])
    expected = case["out"]
    keys = {
        "gazelle": ("gazelle_auc", 1e-6),
        "vtd": ("vtd_u8_auc", 1e-5),
        "tonini": ("skimage_auc", 1e-6),
        "sharingan": ("sharingan_auc_at_64", 1e-6),
    }
    for protocol, (key, tolerance) in keys.items():
        score = following.auc(heatmap, gaze, size_px, protocol)
        assert score == pytest.approx(expected[key], abs=tolerance), protocol
    enlarged = following.eight_bits(heatmap, size_px[::-1])
    assert int(np.asarray(enlarged).sum(dtype=np.int64)) == expected["vtd_u8_sum"]


@pytest.mark.parametrize("case", cases("gazefollow"))
def test_gazefollow_positives_are_the_annotators_pixels(case):
    width, height = case["width"], case["height"]
    expected = np.zeros((height, width), bool)
    expected[tuple(np.array(case["out"]["multi_hot_pixels"]).T)] = True
    assert following.auc(expected.astype(np.float32), np.array(case["gaze"]), (width, height)) == 1.0


@pytest.mark.parametrize("case", cases("gazefollow"))
def test_gazefollow_distances_and_angles(case):
    heatmap, gaze, expected = drawn(case["map"]), np.array(case["gaze"]), case["out"]
    assert heatmaps.peak(heatmap) * heatmap.shape[::-1] == pytest.approx(expected["argmax_xy"])

    average, minimum = following.l2_distance(heatmap, gaze)
    for key in ("avg_dist", "gazelle_avg_l2"):
        assert average == pytest.approx(expected[key], abs=1e-6)
    for key in ("min_dist", "gazelle_min_l2"):
        assert minimum == pytest.approx(expected[key], abs=1e-6)
    assert following.mean_l2(heatmap, gaze) == pytest.approx(expected["mean_of_dists"], abs=1e-6)

    average, minimum = following.l2_distance(heatmap, gaze, "sharingan")
    assert average == pytest.approx(expected["sharingan_dist_to_avg"], abs=1e-6)
    assert minimum == pytest.approx(expected["sharingan_min_dist"], abs=1e-6)
    assert following.mean_l2(heatmap, gaze, "sharingan") == pytest.approx(expected["sharingan_avg_dist"], abs=1e-6)

    average, minimum = following.angular_error(heatmap, np.array(case["eye"]), gaze)
    assert average == pytest.approx(expected["avg_ang_deg"], abs=1e-3)
    assert minimum == pytest.approx(expected["min_ang_deg"], abs=1e-3)
    assert following.heatmap_ap(heatmap, gaze) == pytest.approx(expected["heatmap_ap64"], abs=1e-6)


@pytest.mark.parametrize("case", cases("vat"))
def test_videoattentiontarget_auc_and_distance(case):
    heatmap, gaze, expected = drawn(case["map"]), np.array([case["gaze"]]), case["out"]
    assert following.vat_auc(heatmap, gaze, "vtd") == pytest.approx(expected["vtd_u8_auc"], abs=1e-5)
    assert following.vat_auc(heatmap, gaze, "gazelle") == pytest.approx(expected["gazelle_auc"], abs=1e-6)
    assert heatmaps.peak(heatmap) * heatmap.shape[::-1] == pytest.approx(expected["argmax_xy"])
    for distance in following.l2_distance(heatmap, gaze):
        assert distance == pytest.approx(expected["dist"], abs=1e-6)
        assert distance == pytest.approx(expected["gazelle_l2"], abs=1e-6)


@pytest.mark.parametrize("case", cases("vat"))
def test_videoattentiontarget_square_is_where_the_target_map_is_positive(case):
    rows, columns = np.nonzero(heatmaps.gaussian(case["gaze"], convention="vtd") > 0)
    expected = case["out"]
    assert len(rows) == expected["vtd_num_pos"]
    assert [rows.min(), rows.max()] == expected["vtd_positive_rows"]
    assert [columns.min(), columns.max()] == expected["vtd_positive_cols"]


def assert_summary(heatmap: np.ndarray, expected: dict) -> None:
    h, w = heatmap.shape
    y, x = np.mgrid[:h, :w]
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    total = heatmap.sum(dtype=float)
    assert total == pytest.approx(expected["sum"], rel=1e-5, abs=1e-5)
    assert heatmap.max() == pytest.approx(expected["max"], abs=1e-5)
    assert [row, column] == expected["argmax_yx"]
    assert np.count_nonzero(heatmap) == expected["nonzero"]
    assert (heatmap * (2 * y + x)).sum(dtype=float) == pytest.approx(expected["wsum"], rel=1e-5, abs=1e-5)
    around = heatmap[row, max(column - 4, 0) : column + 5]
    assert around == pytest.approx(expected["row_at_peak"], abs=1e-5)


@pytest.mark.parametrize("case", cases("labelmap"))
def test_gaussian_targets_of_every_convention(case):
    size = (case["size"], case["size"])
    for name, expected in case["out"].items():
        convention = "subpixel" if name == "sharingan" else name
        assert_summary(heatmaps.gaussian((case["x"], case["y"]), size, case["sigma"], convention), expected)


@pytest.mark.parametrize("case", cases("multi_annotator_labelmap"))
def test_target_of_several_annotators(case):
    size, sigma = case.get("size", DEFAULT_SIZE), case.get("sigma", DEFAULT_SIGMA)
    assert_summary(heatmaps.multi_annotator(case["gaze"], (size, size), sigma), case["out"])


def extent(mask: np.ndarray) -> list[int] | None:
    rows, columns = np.nonzero(mask)
    return [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1] if len(rows) else None


@pytest.mark.parametrize("case", cases("head_channel"))
def test_head_mask_of_both_conventions(case):
    head_box = geometry.normalise_boxes(case["bbox"], (case["width"], case["height"]))
    expected = case["out"]

    mask = geometry.head_mask(head_box, (case["res"], case["res"]))
    assert extent(mask) == expected["vtd"] and mask.sum() == expected["vtd_sum"]

    for name in expected:
        if name.removeprefix("gazelle").isdigit():
            cells = int(name.removeprefix("gazelle"))
            mask = geometry.head_mask(head_box, (cells, cells), "gazelle", compat=True)
            assert extent(mask) == expected[name] and mask.sum() == expected[f"{name}_sum"]


@pytest.mark.parametrize(("digits", "case"), cases_of_size("bbox_expand_k"))
def test_sequential_expansion(digits, case):
    k = float(f"{digits[0]}.{digits[1:]}")  # k01 is 0.1
    assert geometry.expand_boxes_sequential(case["bbox"], k) == pytest.approx(case["out"], abs=1e-9)


@pytest.mark.parametrize(("frames", "case"), cases_of_size("smooth"))
def test_smoothing_along_a_track(frames, case):
    boxes = np.repeat(np.array(case["x"])[:, None], 4, axis=1)
    smooth = geometry.smooth_boxes(boxes, int(frames))
    assert smooth == pytest.approx(np.repeat(np.array(case["out"])[:, None], 4, axis=1), abs=1e-6)


@pytest.mark.parametrize("case", cases("ap"))
def test_average_precision_with_ties(case):
    assert ranking.average_precision(case["score"], case["label"]) == pytest.approx(case["ap"], abs=1e-8)
    assert following.in_frame_ap(case["score"], case["label"]) == pytest.approx(case["ap"], abs=1e-8)
