"""Cleaning: what counts as lost, what is repaired, what the smooth curve keeps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazecore.errors import GazeError
from gazecore.pupil.trace import clean, segmentation_blinks
from gazecore.synthetic.pupil_trace import trace, truth

RATES = (30, 60, 120, 240)


def times(rate, seconds=10.0, before=2.0):
    return np.arange(round(seconds * rate)) / rate - before


def test_the_formula_has_its_peak_and_its_noise_where_it_says():
    t = times(1000)
    sizes = trace(t, baseline=5.0, amplitude=2.0, latency_s=0.25, time_to_peak_s=0.75)
    assert t[sizes.argmin()] == pytest.approx(1.0) and sizes.min() == pytest.approx(3.0)
    assert truth(baseline=5.0, amplitude=2.0, latency_s=0.25)["peak_s"] == pytest.approx(1.0)
    noisy = trace(t, baseline=5.0, amplitude=2.0, noise=0.1) - trace(t, baseline=5.0, amplitude=2.0)
    assert np.abs(noisy).max() == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("rate", RATES)
def test_a_clean_trace_comes_out_as_it_is(rate):
    t = times(rate)
    sizes = trace(t)
    cleaned = clean(t, sizes)
    assert cleaned.rate_hz == pytest.approx(rate) and not cleaned.resampled
    assert not cleaned.missing.any() and not cleaned.interpolated.any()
    assert np.abs(cleaned.value - sizes).max() < 2e-3 * 0.5
    assert np.array_equal(cleaned.raw, sizes)


@pytest.mark.parametrize("smooth", ["spline", "savgol", "butterworth"])
def test_value_velocity_and_acceleration_belong_to_one_curve(smooth):
    t = times(120)
    cleaned = clean(t, trace(t, noise=0.0005), smooth=smooth)
    middle = slice(60, -60)
    assert np.gradient(cleaned.value, t)[middle] == pytest.approx(cleaned.velocity[middle], abs=0.02)
    assert np.gradient(cleaned.velocity, t)[middle] == pytest.approx(cleaned.acceleration[middle], abs=0.6)


@pytest.mark.parametrize("rate", [30, 60, 120, 500])
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_blink_and_its_lids_are_lost_padded_and_repaired_at_any_rate(rate, value):
    t = times(rate)
    blinks = [(3.0, 3.2)]
    cleaned = clean(t, trace(t, blinks=blinks, blink_edge_s=0.06, blink_value=value))
    [(begin, end)] = cleaned.gaps_s()
    assert 2.9 <= begin <= 3.0 and 3.2 <= end <= 3.3
    lost = t[cleaned.missing]
    assert lost[0] == pytest.approx(begin - 0.1, abs=1 / rate) and lost[-1] == pytest.approx(end + 0.1, abs=1 / rate)
    assert np.array_equal(cleaned.interpolated, cleaned.missing)
    assert np.abs(cleaned.value - trace(t)).max() < 0.001


def test_thresholds_are_per_second_so_two_rates_lose_the_same_time():
    lost = []
    for rate in (60, 240):
        t = times(rate)
        noise = np.random.default_rng(0).normal(0, 0.001, len(t))
        cleaned = clean(t, trace(t, blinks=[(3.0, 3.2)], blink_edge_s=0.06) + noise)
        lost.append(cleaned.missing.sum() / rate)
    assert lost[0] == pytest.approx(lost[1], abs=0.04)


@pytest.mark.parametrize("rate", RATES)
def test_a_fast_constriction_beside_no_gap_is_never_masked(rate):
    t = times(rate)
    assert not clean(t, trace(t, amplitude=0.25, time_to_peak_s=0.45)).missing.any()


def test_gaps_up_to_the_limit_are_repaired_and_longer_ones_stay():
    t = times(100)
    short, long = clean(t, trace(t, blinks=[(3.0, 3.45)])), clean(t, trace(t, blinks=[(3.0, 3.65)]))
    assert np.isfinite(short.value).all() and short.interpolated.sum() > 45
    assert not long.interpolated.any() and np.isnan(long.value).sum() == long.missing.sum()
    assert np.isfinite(clean(t, trace(t, blinks=[(3.0, 3.65)]), max_gap_s=0.7).value).all()


def test_the_curve_does_not_run_through_a_long_gap():
    t = times(60)
    sizes = trace(t, noise=0.002, blinks=[(3.0, 3.8)])
    other = np.where(t > 3.8, sizes + 0.2, sizes)
    before = t < 2.8
    one, two = clean(t, sizes), clean(t, other)
    assert np.abs(one.value - two.value)[before].max() < 2e-3  # only the noise that both sides share may differ
    assert np.abs(one.velocity[(t > 2.0) & np.isfinite(one.velocity)]).max() < 0.3  # no flick at the gap's edge


def test_minutes_without_a_pupil_leave_the_rest_as_exact():
    t = times(60, 300)
    sizes = trace(t) + trace(t - 280, baseline=0.0, amplitude=0.15)
    sizes[(t > 8) & (t < 270)] = np.nan
    cleaned = clean(t, sizes)
    known = np.isfinite(cleaned.value)
    assert known.sum() > 60 * 30 and np.abs(cleaned.value - sizes)[known].max() < 0.001


def test_ends_are_never_extrapolated():
    t = times(60)
    sizes = trace(t)
    sizes[:20], sizes[-20:] = np.nan, 0.0
    cleaned = clean(t, sizes)
    assert np.isnan(cleaned.value[:20]).all() and np.isnan(cleaned.value[-20:]).all()
    assert np.isfinite(cleaned.value[30:-30]).all()


def test_short_islands_between_gaps_go_too():
    t = times(120)
    sizes = trace(t, blinks=[(3.0, 3.1), (3.32, 3.42)])  # 220 ms apart, of which the padding leaves 20
    assert len(clean(t, sizes).gaps_s()) == 2
    assert clean(t, sizes).missing[(t > 3.0) & (t < 3.42)].all()


def test_a_lost_frame_is_no_blink_and_a_spike_is_no_pupil():
    t = times(120)
    sizes = trace(t)
    sizes[600], sizes[700], sizes[290] = np.nan, 0.9, 0.1
    cleaned = clean(t, sizes)
    assert np.flatnonzero(cleaned.missing).tolist() == [290, 600, 700]
    assert np.abs(cleaned.value - trace(t)).max() < 0.001


def test_flagged_and_blinking_samples_are_missing():
    t = times(60)
    flagged, blink = np.zeros(len(t), bool), np.zeros(len(t), bool)
    flagged[300], blink[400:410] = True, True
    cleaned = clean(t, trace(t), flagged, blink=blink)
    assert cleaned.missing[300] and cleaned.missing[394:416].all() and not cleaned.missing[310:390].any()
    assert np.isfinite(cleaned.raw).all()


def test_uneven_time_stamps_are_resampled_and_told():
    rng = np.random.default_rng(3)
    t = np.sort(times(60) + rng.uniform(-0.35, 0.35, 600) / 60)
    cleaned = clean(t, trace(t))
    assert cleaned.resampled and cleaned.uneven
    assert np.diff(cleaned.time_s) == pytest.approx(1 / cleaned.rate_hz)
    assert np.abs(cleaned.value - trace(cleaned.time_s)).max() < 0.005


def test_rounded_time_stamps_and_dropped_frames_keep_their_samples():
    t = np.round(times(30), 3)
    kept = np.ones(len(t), bool)
    kept[[50, 51, 120]] = False
    cleaned = clean(t[kept], trace(t)[kept])
    assert not cleaned.resampled and cleaned.rate_hz == pytest.approx(30, rel=1e-4)
    assert np.flatnonzero(cleaned.lost).tolist() == [50, 51, 120]


def test_traces_of_one_time_axis_are_cleaned_together():
    t = times(60)
    both = np.stack([trace(t, blinks=[(3.0, 3.2)]), trace(t, baseline=0.4)])
    together = clean(t, both)
    assert together.value.shape == both.shape and together.noise.shape == (2,)
    for row in range(2):
        np.testing.assert_array_equal(together[row].value, clean(t, both[row]).value)


@pytest.mark.parametrize("sizes", [np.full(100, np.nan), np.zeros(100), np.r_[np.full(97, np.nan), 1, 1, 1]])
def test_a_trace_without_anything_is_nan_and_no_error(sizes):
    cleaned = clean(np.arange(100) / 60, sizes)
    assert np.isnan(cleaned.value).all() and np.isnan(cleaned.noise)


def test_time_must_run_forward():
    with pytest.raises(GazeError, match=r"must increase; found 0.2 s then 0.1 s \(samples 2, 3\)"):
        clean(np.array([0.0, 0.1, 0.2, 0.1]), np.ones(4))
    with pytest.raises(GazeError, match="at least 2 time stamps"):
        clean(np.array([0.0]), np.ones(1))


def test_a_segmented_eye_blinks_when_its_pupil_or_its_opening_nearly_vanishes():
    t = times(30)
    area = np.where((t > 2) & (t < 2.2), 20.0, 100.0)
    aperture = np.where((t > 5) & (t < 5.2), 0.3, 0.9)
    found = segmentation_blinks(t, area, aperture)
    assert np.array_equal(found, (area < 50) | (aperture < 0.5))
    assert not segmentation_blinks(t, np.full(len(t), np.nan), None).any()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 299), st.integers(1, 60)), max_size=6), st.floats(0.01, 1e4))
def test_any_gaps_in_any_unit_leave_finite_values_or_nan_and_scale_with_the_unit(gaps, unit):
    t = np.arange(300) / 30 - 2
    sizes = trace(t, noise=0.001)
    for begin, length in gaps:
        sizes[begin : begin + length] = np.nan
    one, two = clean(t, sizes), clean(t, unit * sizes)
    assert np.array_equal(one.missing, two.missing)
    assert np.array_equal(np.isnan(one.value), np.isnan(one.velocity))
    known = np.isfinite(one.value)
    assert two.value[known] / unit == pytest.approx(one.value[known], abs=1e-3)


def test_times_that_were_rounded_in_a_table_lose_no_sample_at_the_end():
    for rate in (30, 60, 120, 240):
        time_s = np.array([float(f"{t:.9g}") for t in np.arange(24 * rate) / rate])
        assert np.isfinite(clean(time_s, 0.5 + 0.001 * np.sin(time_s)).value).all()
