"""Metrics of eye regions against davis2017-evaluation, MONAI and RITnet (golden/eyes: metrics_masks, losses)."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from gazecore.metrics import eyes

pytestmark = pytest.mark.golden

GOLDEN = Path(os.environ.get("GZ_GOLDEN", Path(__file__).parents[1] / "golden")) / "eyes"
CASES = json.loads((GOLDEN / "metrics_masks.json").read_text())
LABEL_OF = {name: label for label, name in enumerate(eyes.CLASSES)}


def labels(spec):
    height, width = spec.get("shape", (240, 320))
    y, x = np.mgrid[:height, :width].astype(float)
    across = (x - 160) / 150
    upper = spec["cy0"] - spec["up"] * (1 - across**2) - spec.get("tilt", 0) * across
    lower = spec["cy0"] + spec["lo"] * (1 - across**2) - spec.get("tilt", 0) * across
    open_ = (y >= upper) & (y <= lower) & (np.abs(across) <= 1)
    made = np.where(open_, 3, 0)
    for label, name in ((1, "iris"), (2, "pupil")):
        if spec.get(name):
            cx, cy, a, b, angle = spec[name]
            along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
            aside = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
            made[open_ & ((along / a) ** 2 + (aside / b) ** 2 <= 1)] = label
    return made.astype(np.uint8)


def both(case):
    return labels(CASES[case]["pred"]), labels(CASES[case]["gt"])


@pytest.mark.parametrize("case", CASES)
def test_confusion(case):
    np.testing.assert_array_equal(eyes.confusion_matrix(*both(case)), CASES[case]["confusion_rows_gt"])


CLASSES = [(case, name) for case in CASES for name in CASES[case]["classes"]]


@pytest.mark.parametrize(("case", "name"), CLASSES)
def test_overlap(case, name):
    expected, confusion = CASES[case]["classes"][name], eyes.confusion_matrix(*both(case))
    iou, dice = eyes.iou(confusion)[LABEL_OF[name]], eyes.dice(confusion)[LABEL_OF[name]]
    if expected["gt_pixels"] == expected["pred_pixels"] == 0:
        assert np.isnan(iou) and np.isnan(dice)  # DAVIS calls it 1
        return
    assert iou == pytest.approx(expected["iou_davis_empty_is_1"], abs=1e-8)
    if expected.get("dice") is not None:
        assert dice == pytest.approx(expected["dice"], abs=1e-8)


@pytest.mark.parametrize(("case", "name"), CLASSES)
def test_boundary_f(case, name):
    predicted, truth = (masks == LABEL_OF[name] for masks in both(case))
    for key, expected in CASES[case]["classes"][name].items():
        if tolerance := re.fullmatch(r"boundary_F_th([\d.]+)", key):
            pixels = float(tolerance[1])
            pixels = int(pixels) if pixels >= 1 else int(np.ceil(pixels * np.linalg.norm(truth.shape)))
            assert eyes.boundary_f(predicted, truth, pixels) == pytest.approx(expected, abs=1e-8), key


@pytest.mark.parametrize(("case", "name"), CLASSES)
def test_surface_distance(case, name):
    predicted, truth = (masks == LABEL_OF[name] for masks in both(case))
    expected, found = CASES[case]["classes"][name], eyes.surface_distance(predicted, truth)
    if "hausdorff_px" not in expected:  # MONAI has no distance to an empty mask
        assert not np.isfinite(found).any()
        return
    assert found.hausdorff == pytest.approx(expected["hausdorff_px"], abs=1e-5)
    assert found.hausdorff95 == pytest.approx(expected["hd95_px"], abs=1e-5)
    assert found.average == pytest.approx(expected["assd_symmetric_px"], abs=1e-5)
