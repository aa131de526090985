"""Light-reflex parameters against the formula that made the trace, and where nothing can be known."""

import numpy as np
import pytest

from gazecore.pupil.reflex import CLINICAL, FLAGS, anisocoria, clinical, reflex
from gazecore.pupil.trace import clean
from gazecore.synthetic.pupil_trace import trace, truth

ORDINARY = {"baseline": 5.2, "amplitude": 1.6}
SLOW = {"baseline": 4.1, "amplitude": 0.9, "shape": 2.2, "time_to_peak_s": 1.3, "latency_s": 0.35}
RATIO = {"baseline": 0.5, "amplitude": 0.15, "latency_s": 0.25}
SUSTAINED = {"baseline": 5.2, "amplitude": 1.6, "sustained": 0.7}
# name -> tolerance, relative or in seconds
BARS = {
    "baseline": (0.002, True),
    "latency_pct1_s": (0.010, False),
    "peak_s": (0.030, False),
    "amplitude": (0.005, True),
    "mcv_per_s": (0.02, True),
    "t75_s": (0.020, False),
}


def times(rate, seconds=10.0, before=2.0):
    return np.arange(round(seconds * rate)) / rate - before


def missed(found, shape, bars=BARS):
    """The parameters that lie outside their bars."""
    true = truth(**shape)
    return {
        name: (found[name], true[name])
        for name, (tolerance, relative) in bars.items()
        if not abs(found[name] - true[name]) <= tolerance * (true[name] if relative else 1)
    }


@pytest.mark.parametrize("shape", [ORDINARY, SLOW, RATIO, SUSTAINED])
@pytest.mark.parametrize("rate", [25, 30, 60, 120, 500])
@pytest.mark.parametrize("phase", [0.0, 0.37])
def test_every_bar_holds_without_noise_at_any_rate_and_phase(shape, rate, phase):
    t = times(rate) + phase / rate
    found = reflex(clean(t, trace(t, **shape)), 0.0)
    assert not missed(found, shape) and found["flags"] == "" and found["ok"] == 1
    true = truth(**shape)
    assert found["mdv_per_s"] == pytest.approx(true["mdv_per_s"], rel=0.02)
    assert found["t50_s"] == pytest.approx(true["t50_s"], abs=0.01)
    assert found["pipr6_percent"] == pytest.approx(true["pipr6_percent"], abs=0.01)


@pytest.mark.parametrize("shape", [ORDINARY, SLOW, RATIO])
@pytest.mark.parametrize(("rate", "noise"), [(30, 0.001), (60, 0.0015), (120, 0.003)])
def test_every_bar_holds_under_the_noise_of_a_camera(shape, rate, noise):
    t = times(rate)
    found = reflex(clean(t, trace(t, **shape, noise=noise * shape["baseline"])), 0.0)
    assert not missed(found, shape)


@pytest.mark.parametrize("shape", [ORDINARY, RATIO])
@pytest.mark.parametrize("blinks", [[(-1.2, -1.0)], [(-0.35, -0.2)], [(1.5, 1.7)], [(2.3, 2.6), (4.0, 4.1)]])
@pytest.mark.parametrize("rate", [60, 120])
def test_every_bar_holds_with_blinks_outside_the_constriction(shape, blinks, rate):
    t = times(rate)
    sizes = trace(t, **shape, noise=0.001 * shape["baseline"], blinks=blinks, blink_edge_s=0.05, blink_value=0.0)
    assert not missed(reflex(clean(t, sizes), 0.0), shape)


@pytest.mark.parametrize("blink", [(0.1, 0.2), (0.85, 0.95)])
def test_a_blink_under_the_constriction_is_flagged_and_hardly_moves_it(blink):
    t = times(120)
    sizes = trace(t, **ORDINARY, noise=0.005, blinks=[blink], blink_edge_s=0.05)
    found = reflex(clean(t, sizes), 0.0)
    wider = {name: (2 * tolerance, relative) for name, (tolerance, relative) in BARS.items()}
    assert "interpolated_in_reflex" in found["flags"] and not missed(found, ORDINARY, wider)


def test_a_fixed_window_exaggerates_the_velocity_that_the_spline_holds():
    t, errors = times(120), {}
    rng = np.random.default_rng(0)
    for smooth in ("savgol", "spline"):
        found = [
            reflex(clean(t, trace(t, **ORDINARY) + rng.normal(0, 0.0105, len(t)), smooth=smooth), 0.0)["mcv_per_s"]
            for _ in range(12)
        ]
        errors[smooth] = np.mean(found) / truth(**ORDINARY)["mcv_per_s"] - 1
    assert errors["savgol"] > 0.04 and abs(errors["spline"]) < 0.015


def test_times_count_from_the_onset_on_the_clock_of_the_recording():
    t = times(60)
    here, later = (reflex(clean(t + shift, trace(t, **ORDINARY)), shift) for shift in (0.0, 1234.5))
    for name, value in here.items():
        if name not in ("onset_s", "flags"):
            assert later[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name


def test_parameters_follow_from_one_another():
    t = times(120)
    found = reflex(clean(t, trace(t, **ORDINARY)), 0.0)
    assert found["amplitude"] == pytest.approx(found["baseline"] - found["peak"])
    assert found["amplitude_percent"] == pytest.approx(100 * found["amplitude"] / found["baseline"])
    assert found["constriction_time_s"] == pytest.approx(found["peak_s"] - found["latency_pct1_s"])
    assert found["t75_from_onset_s"] == pytest.approx(found["peak_s"] + found["t75_s"])
    assert found["acv_per_s"] < found["mcv_per_s"] and found["adv_per_s"] < found["mdv_per_s"]
    assert found["latency_vel10_s"] < found["latency_pct1_s"] < found["mcv_s"] < found["peak_s"]
    assert found["resolution_ms"] == pytest.approx(1000 / 120)


def test_the_next_light_ends_a_trial():
    t = times(60, 20)
    sizes = trace(t, **ORDINARY) - trace(t - 1.6, baseline=0.0, amplitude=-1.6)
    cleaned = clean(t, sizes)
    assert np.isnan(reflex(cleaned, 0.0, until_s=1.6)["t75_s"])
    assert "t75_not_reached" in str(reflex(cleaned, 0.0, until_s=1.6)["flags"])


def test_plateau_and_areas_need_the_whole_window():
    t = times(60, 40)
    long = reflex(clean(t, trace(t, **SUSTAINED)), 0.0)
    expected = trace(np.arange(11, 31, 0.001), **SUSTAINED).mean() / 5.2 - 1
    assert long["plateau_percent"] == pytest.approx(100 * expected, abs=0.01)
    assert long["auc_late_percent_s"] == pytest.approx(-20 * 100 * expected, abs=0.1)
    assert np.isfinite(long["auc_early_percent_s"])
    short = reflex(clean(t[:600], trace(t[:600], **SUSTAINED)), 0.0)
    assert np.isnan(short["plateau_percent"]) and np.isnan(short["auc_late_percent_s"]) and short["ok"] == 1


@pytest.mark.parametrize(
    ("change", "flag", "unknown"),
    [
        ({"amplitude": 0.0}, "no_reflex", ("latency_pct1_s", "peak_s", "mcv_per_s", "t75_s")),
        ({"amplitude": 0.0, "noise": 0.01}, "no_reflex", ("latency_pct1_s", "peak_s", "mcv_per_s", "t75_s")),
        ({"amplitude": 0.03}, "below_1_percent", ("latency_pct1_s", "constriction_time_s", "acv_per_s")),
        ({"blinks": [(0.7, 1.6)]}, "peak_in_gap", ("peak_s", "amplitude", "mcv_per_s", "t75_s")),
        ({"blinks": [(-0.7, 0.1)]}, "no_baseline", ("baseline", "amplitude", "latency_pct1_s")),
        ({"blinks": [(1.7, 2.6)]}, "t75_not_reached", ("t75_s", "mdv_per_s", "adv_per_s")),
        ({"blinks": [(-2, 8)]}, "no_baseline", ("baseline", "noise", "pipr6_percent")),
    ],
)
def test_what_cannot_be_known_is_nan_with_a_flag(change, flag, unknown):
    t = times(120)
    found = reflex(clean(t, trace(t, **(ORDINARY | change))), 0.0)
    assert flag in str(found["flags"]).split(";") and found["ok"] == 0
    assert all(np.isnan(found[name]) for name in unknown)
    assert set(str(found["flags"]).split(";")) <= set(FLAGS)


def test_a_reflex_that_the_recording_cuts_off_is_told():
    t = times(60, 2.8)
    assert "peak_at_end" in str(reflex(clean(t, trace(t, **ORDINARY)), 0.0)["flags"])
    outside = reflex(clean(t, trace(t, **ORDINARY)), 50.0)
    assert "onset_outside" in str(outside["flags"]) and np.isnan(outside["baseline"])


def test_a_baseline_on_a_blink_uses_what_was_measured():
    t = times(60)
    found = reflex(clean(t, trace(t, **ORDINARY, blinks=[(-0.4, -0.2)], blink_edge_s=0.04)), 0.0)
    assert found["baseline"] == pytest.approx(5.2, rel=0.002) and "short_baseline" in str(found["flags"])


def test_clinical_names_have_their_units():
    t = times(60)
    found = reflex(clean(t, trace(t, **ORDINARY)), 0.0)
    named = clinical(found, "mm")
    assert set(named) == {*CLINICAL, *(f"{name}_unit" for name in CLINICAL)}
    assert named["MIN"] == [found["peak"]] and named["MCV_unit"] == ["mm/s"] and named["CON%_unit"] == ["%"]


def test_anisocoria_needs_both_eyes():
    assert anisocoria(np.array([0.5, np.nan]), np.array([0.4, 0.4])) == pytest.approx([0.1, np.nan], nan_ok=True)
