"""Pupil light reflexes against their formula and against PyPlr (golden/eyes/README.md, plr_pyplr.json)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from gazecore.pupil import compat
from gazecore.pupil.reflex import reflex
from gazecore.pupil.trace import clean
from gazecore.synthetic import pupil_trace

pytestmark = pytest.mark.golden
FOLDER = Path(os.environ.get("GZ_GOLDEN", Path(__file__).parents[1] / "golden")) / "eyes"
GOLDEN = json.loads((FOLDER / "plr_pyplr.json").read_text())
RECIPE = json.loads((FOLDER / "recipe.json").read_text()).get("trace", {})
ARGUMENTS = {
    **{"B": "baseline", "A": "amplitude", "n": "shape", "tp": "time_to_peak_s", "L": "latency_s", "P": "sustained"},
    **{"ts": "sustained_rise_s", "td": "sustained_decay_s"},
}
# name of the truth -> our parameter, tolerance, relative to the truth or absolute in seconds
BARS = {
    "baseline": ("baseline", 0.002, True),
    "latency_1pct": ("latency_pct1_s", 0.010, False),
    "peak_time": ("peak_s", 0.030, False),
    "amplitude": ("amplitude", 0.005, True),
    "max_constriction_velocity": ("mcv_per_s", 0.02, True),
    "t75_after_peak": ("t75_s", 0.020, False),
}


def recorded(case: dict) -> tuple[np.ndarray, np.ndarray]:
    """Times from the onset and sizes, by the README's formula."""
    recipe = RECIPE | case["trace"]
    on = round(recipe["pre_s"] * recipe["fs"])
    times_s = (np.arange(on + round(recipe["post_s"] * recipe["fs"])) - on) / recipe["fs"]
    sizes = pupil_trace.trace(
        times_s,
        **{ours: recipe[name] for name, ours in ARGUMENTS.items()},
        noise=recipe.get("noise", 0),
        noise_step=recipe.get("nk", 0.37),
        blinks=recipe.get("blinks", ()),
        blink_edge_s=recipe.get("edge", 0),
        blink_depth=recipe.get("edge_depth", 0.6),
        blink_value=0.0 if recipe.get("blinkval") == "zero" else np.nan,
    )
    return times_s, sizes


def numbers(values: list) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def every(case: dict, name: str) -> tuple[int, np.ndarray]:
    """The stride and the values of NAME_every_<stride>th of a case."""
    key = next(key for key in case if key.startswith(f"{name}_every_"))
    return int("".join(filter(str.isdigit, key.removeprefix(f"{name}_every_")))), numbers(case[key])


def same(ours: np.ndarray, case: dict, name: str, tolerance: float = 1e-6) -> None:
    stride, theirs = every(case, name)
    np.testing.assert_allclose(ours[::stride], theirs, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_the_formula_is_the_golden_one(name):
    case = GOLDEN["cases"][name]
    same(recorded(case)[1], case, "trace", 1e-8)
    truth = pupil_trace.truth(
        duration_s=case["trace"]["post_s"],
        stimulus_s=case["stim_duration"],
        **{ours: case["trace"][key] for key, ours in ARGUMENTS.items()},
    )
    for theirs, (ours, _, _) in BARS.items():
        assert truth[ours] == pytest.approx(case["truth"][theirs], abs=1e-4), theirs
    assert truth["pipr6_percent"] == pytest.approx(case["truth"]["pipr6_pct_change"], abs=1e-4, nan_ok=True)


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_our_parameters_hold_the_bars_against_the_truth(name):
    case = GOLDEN["cases"][name]
    found = reflex(clean(*recorded(case)), 0.0, case["stim_duration"])
    for theirs, (ours, tolerance, relative) in BARS.items():
        wanted = case["truth"][theirs]
        assert found[ours] == pytest.approx(wanted, abs=tolerance * (abs(wanted) if relative else 1)), ours


@pytest.mark.parametrize("name", [name for name, case in GOLDEN["cases"].items() if case.get("plr_raw")])
def test_pyplr_parameters(name):
    case = GOLDEN["cases"][name]
    ours = compat.pyplr_parameters(recorded(case)[1], case["trace"]["fs"], case["onset_idx"])
    for key, value in case["plr_raw"].items():
        if key in ours:
            assert ours[key] == pytest.approx(value, abs=1e-5), key
    assert {key for key in case["plr_raw"] if key[0] != "_"} <= set(ours)


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_pyplr_preprocessing(name):
    case = GOLDEN["cases"][name]
    sizes, rate = recorded(case)[1], case["trace"]["fs"]
    masked = compat.pyplr_masked(sizes)
    filled = compat.pyplr_interpolated(masked)
    smooth = compat.pyplr_butterworth(filled, rate)
    assert np.flatnonzero(np.isnan(masked)).tolist() == case["masked_idx"]
    same(filled, case, "interp")
    same(smooth, case, "butter3_4hz")
    same(compat.pyplr_savgol(filled), case, "savgol51_7")
    same(compat.percent_change(smooth, case["onset_idx"]), case, "percent_change")
    ours = compat.pyplr_parameters(smooth, rate, case["onset_idx"])
    for key, value in case["plr_after_mask_interp_butter"].items():
        if key in ours:
            assert ours[key] == pytest.approx(value, abs=1e-5), key


def edge_trace(name: str) -> tuple[np.ndarray, np.ndarray]:
    case = GOLDEN["edge_cases"][name]
    times_s, sizes = recorded(case)
    if name == "deepest_sample_before_onset":
        sizes[50] = 0.5
    if name == "single_nan_after_onset":
        sizes[case["onset_idx"] + 30] = np.nan
    return times_s, sizes


@pytest.mark.parametrize("name", GOLDEN["edge_cases"])
def test_pyplr_edge_cases_are_numbers_or_nan(name):
    case = GOLDEN["edge_cases"][name]
    ours = compat.pyplr_parameters(edge_trace(name)[1], case["trace"]["fs"], case["onset_idx"])
    if "error" in case["plr_raw"]:
        assert any(np.isnan(value) for value in ours.values())
    for key, value in case["plr_raw"].items():
        if key in ours:
            assert ours[key] == pytest.approx(np.nan if value is None else value, abs=1e-5, nan_ok=True), key


@pytest.mark.parametrize("name", GOLDEN["edge_cases"])
def test_degenerate_traces_give_nan_with_a_flag_or_the_truth(name):
    found = reflex(clean(*edge_trace(name)), 0.0)
    truth = pupil_trace.truth(
        duration_s=GOLDEN["edge_cases"][name]["trace"]["post_s"],
        **{ours: GOLDEN["edge_cases"][name]["trace"][key] for key, ours in ARGUMENTS.items()},
    )
    for _, (ours, tolerance, relative) in BARS.items():
        if np.isnan(found[ours]):
            assert found["flags"], ours
        else:
            assert found[ours] == pytest.approx(truth[ours], abs=tolerance * (truth[ours] if relative else 1)), ours
