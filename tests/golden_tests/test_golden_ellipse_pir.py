"""Ellipses and pupil-iris ratios against exact formulas, OpenCV, scikit-image and DeepVOG (golden/eyes/README.md).

| ours          | golden key                                  | remark                                 |
|---------------|---------------------------------------------|----------------------------------------|
| ratio.measure | truth                                       | bars grow as the limbus goes, see BARS |
| ellipse.fit   | cv2_fitEllipseDirect, deepvog_*, skimage_*  | on pixel centres, as theirs: 0.02 px   |
| ellipse.fit   | cv2_fitEllipseDirect_limbus_only            | 2 px away from class 0                 |
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from gazecore.pupil import ellipse
from gazecore.pupil.ratio import measure

pytestmark = pytest.mark.golden

GOLDEN = Path(os.environ.get("GZ_GOLDEN", Path(__file__).parents[1] / "golden")) / "eyes"
CASES = {
    name: case
    for name, case in json.loads((GOLDEN / "ellipse_pir.json").read_text()).items()
    if isinstance(case, dict) and "params" in case
}
SEEN = {name: case for name, case in CASES.items() if case["pupil"].get("pixels", 0) > 0}
# visible share of the outline that is seen less of -> error of the ratio; below the last one it may also be NaN
BARS = ((0.3, 0.01), (0.2, 0.025), (0.0, 0.06))
# px: a disc on the grid of pixels has the same mask over so much of its diameter
GRID_PX = 0.2
FITS_PX = 0.02


def mask(params: dict) -> np.ndarray:
    """Labels (h, w) of a case, by the formulas of the README."""
    height, width = params.get("h", 240), params.get("w", 320)
    y, x = np.mgrid[:height, :width].astype(float)

    def inside(cx: float, cy: float, a: float, b: float, turn: float) -> np.ndarray:
        along = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        aside = -(x - cx) * np.sin(turn) + (y - cy) * np.cos(turn)
        return (along / a) ** 2 + (aside / b) ** 2 <= 1

    across, tilt = (x - 160) / 150, params.get("tilt", 0)
    upper = params["cy0"] - params["up"] * (1 - across**2) - tilt * across
    lower = params["cy0"] + params["lo"] * (1 - across**2) - tilt * across
    labels = np.where((y >= upper) & (y <= lower) & (np.abs(across) <= 1), 3, 0).astype(np.uint8)
    for ids, part in ((1, "iris"), (2, "pupil")):
        labels[(labels > 0) & inside(*params[part])] = ids
    return labels


def shown(case: dict) -> float:
    return min(case[part]["visible_fraction_of_contour"] for part in ("pupil", "iris_plus_pupil"))


def off(case: dict, ratio: float) -> float:
    return abs(ratio / case["truth"]["pir_major"] - 1)


@pytest.mark.parametrize("name", CASES)
def test_the_masks_are_those_of_the_golden_file(name):
    assert np.bincount(mask(CASES[name]["params"]).ravel(), minlength=4).tolist() == CASES[name]["class_counts"]


@pytest.mark.parametrize("name", SEEN)
def test_the_ratio_is_the_true_one(name):
    case = SEEN[name]
    found = measure(mask(case["params"]))
    bar = next(bar for share, bar in BARS if shown(case) >= share)
    if shown(case) < BARS[-2][0] and np.isnan(found["pir"]):
        assert found["flags"] != ""
        return
    assert off(case, float(found["pir"])) <= max(bar, GRID_PX / case["truth"]["pupil_major_diam"])


@pytest.mark.parametrize("name", [name for name, case in SEEN.items() if shown(case) >= BARS[0][0]])
def test_the_ellipses_are_the_true_ones(name):
    truth, params = SEEN[name]["truth"], SEEN[name]["params"]
    found = measure(mask(params))
    for part in ("pupil", "iris"):
        assert found[f"{part}_cx_px"] == pytest.approx(params[part][0], abs=0.3)
        assert found[f"{part}_cy_px"] == pytest.approx(params[part][1], abs=0.3)
        assert found[f"{part}_major_px"] == pytest.approx(truth[f"{part}_major_diam"], abs=GRID_PX, rel=0.01)
        assert found[f"{part}_minor_px"] == pytest.approx(truth[f"{part}_minor_diam"], abs=GRID_PX, rel=0.01)


@pytest.mark.parametrize("name", [name for name, case in SEEN.items() if shown(case) < 0.5])
def test_under_lids_no_other_fit_is_as_near(name):
    case = SEEN[name]
    ours = measure(mask(case["params"]))["pir"]
    if np.isnan(ours):
        assert shown(case) < BARS[-2][0]
        return
    others = ("max_axis_fitEllipse", "skimage_major", "major_limbus_only_direct")
    assert off(case, float(ours)) < min(off(case, case["pir_variants"][key]) for key in others)


@pytest.mark.parametrize("name", [name for name in CASES if name not in SEEN])
def test_without_a_pupil_there_is_no_ratio(name):
    found = measure(mask(CASES[name]["params"]))
    assert np.isnan(found["pir"]) and found["blink"] == 1 and "no_pupil" in str(found["flags"])


def contour(region: np.ndarray) -> np.ndarray:
    """Pixel centres (n, 2) of a region's outline, as cv2.findContours gives them: those with a neighbour outside."""
    padded = np.pad(region, 1)
    edge = region & ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])
    return np.argwhere(edge)[:, ::-1].astype(float)


def axes(fitted: list[float], semi: bool = False) -> np.ndarray:
    """cx, cy, major, minor of a reference, whatever their order there."""
    cx, cy, *lengths = fitted[:4]
    return np.array([cx, cy, *sorted(np.multiply(lengths, 2 if semi else 1), reverse=True)])


@pytest.mark.parametrize("part", ["pupil", "iris_plus_pupil"])
@pytest.mark.parametrize("name", SEEN)
def test_direct_fits_are_those_of_opencv_scikit_image_and_deepvog(name, part):
    case = SEEN[name][part]
    labels = mask(SEEN[name]["params"])
    points = contour(labels == 2 if part == "pupil" else (labels == 1) | (labels == 2))
    assert len(points) == case["n_contour_points"]
    found = ellipse.fit(points)
    np.testing.assert_allclose(found[:4], axes(case["cv2_fitEllipseDirect"]), atol=FITS_PX)
    for key in ("deepvog_LSqEllipse_cx_cy_semi1_semi2_phi", "skimage_EllipseModel_xc_yc_a_b_theta"):
        np.testing.assert_allclose(found[:4], axes(case[key], semi=True), atol=FITS_PX)
    if found[3] < 0.9 * found[2]:
        angle = case["cv2_fitEllipseDirect"][4]
        assert abs((found[4] - angle + 90) % 180 - 90) < 0.05

    near_lid = ndimage.binary_dilation(labels == 0, np.ones((5, 5)))
    limbus = points[~near_lid[points[:, 1].astype(int), points[:, 0].astype(int)]]
    assert len(limbus) == case["n_points_not_within_2px_of_background"]
    if "cv2_fitEllipseDirect_limbus_only" in case:
        expected = axes(case["cv2_fitEllipseDirect_limbus_only"])
        np.testing.assert_allclose(ellipse.fit(limbus)[:4], expected, atol=FITS_PX)
