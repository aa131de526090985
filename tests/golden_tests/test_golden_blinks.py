"""Blinks, velocities and smoothing against pypillometry (golden/eyes/README.md, blinks_pypillometry.json)."""

import json
import re

import numpy as np
import pytest
from test_golden_plr import FOLDER, recorded, same

from gazecore.pupil import compat

pytestmark = pytest.mark.golden
GOLDEN = json.loads((FOLDER / "blinks_pypillometry.json").read_text())
TRACES = {name: case for name, case in GOLDEN.items() if isinstance(case, dict)}


def number_in(case: dict, prefix: str) -> int:
    """The number that the name of a golden list ends with."""
    return int(re.sub(r"\D", "", next(key for key in case if key.startswith(prefix)).removeprefix(prefix)))


def found(case: dict, prefix: str) -> list:
    return next(value for key, value in case.items() if key.startswith(prefix))


@pytest.mark.parametrize("name", TRACES)
def test_blinks(name):
    case = TRACES[name]
    sizes, window, fast = recorded(case)[1], case["savgol_window"], case["velocity_threshold_per_sample"]
    zero = compat.blinks_zero(sizes, number_in(case, "blinks_zero_min"))
    least = number_in(case, "blinks_velocity_minlen")
    quick = compat.blinks_velocity(sizes, window, -fast, fast, least, least)
    assert zero.tolist() == found(case, "blinks_zero_min")
    assert quick.tolist() == found(case, "blinks_velocity_minlen")
    assert compat.merged(quick, zero).tolist() == case["merged"]
    refined = compat.refined_mahot(
        sizes, zero, window, -fast, fast, tuple(case["margin_samples"]), case["blinkwindow_samples"]
    )
    assert refined.tolist() == case["mahot_refined"]


@pytest.mark.parametrize("name", TRACES)
def test_velocity_smoothing_and_quality(name):
    case = TRACES[name]
    open_eyed = {key: value for key, value in case["trace"].items() if key != "blinks"}  # these were taken without
    sizes, rate = recorded({"trace": open_eyed})[1], case["trace"]["fs"]
    for direction in ("center", "backward"):
        same(compat.velocity_savgol(sizes, case["savgol_window"], direction), case, f"velocity_savgol_{direction}")
    same(compat.hanning(sizes), case, "smooth_hanning11_center")
    same(compat.lowpass(sizes, rate), case, "butter_lowpass_4hz_order2")
    quality = compat.quality(sizes, np.zeros(len(sizes), bool), rate)
    same(quality["snr_db"], case, "quality_snr_db")
    same(quality["noise_cv"], case, "quality_noise_cv")


@pytest.mark.parametrize("name", [key for key in GOLDEN if key.startswith("pupil_kernel")])
def test_kernel(name):
    n, tmax, rate, stride = (
        float(x) for x in re.search(r"n([\d.]+)_tmax([\d.]+)_fs([\d.]+)_every_(\d+)", name).groups()
    )
    ours = compat.pupil_kernel(rate, n=n, tmax_ms=tmax)[:: int(stride)]
    assert ours == pytest.approx(np.array(GOLDEN[name]), abs=1e-6)


def test_merging():
    for first, second, union in GOLDEN["merge_cases"]:
        assert compat.merged(np.array(first), np.array(second)).tolist() == union
