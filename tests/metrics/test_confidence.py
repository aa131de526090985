import numpy as np
import pytest

from gazecore.metrics.confidence import bootstrap_interval


def test_interval_of_a_normal_mean():
    values = np.random.default_rng(0).normal(5, 2, 1000)
    low, high = bootstrap_interval(values, n=4000)
    half_width = 1.96 * values.std() / np.sqrt(1000)
    assert low == pytest.approx(values.mean() - half_width, abs=0.02)
    assert high == pytest.approx(values.mean() + half_width, abs=0.02)


def test_interval_is_reproducible_and_ignores_missing_samples():
    values = np.random.default_rng(1).random(200)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    assert bootstrap_interval(np.r_[np.nan, values, np.nan]) == bootstrap_interval(values)


def test_a_constant_has_no_width_and_nothing_has_no_interval():
    assert bootstrap_interval([0.25] * 10) == (0.25, 0.25)
    assert np.isnan(bootstrap_interval([])).all() and np.isnan(bootstrap_interval([np.nan])).all()


def test_statistic_and_level_are_a_choice():
    values = np.random.default_rng(2).exponential(size=500)
    low, high = bootstrap_interval(values, np.median)
    assert low < np.median(values) < high
    narrow_low, narrow_high = bootstrap_interval(values, np.median, level=0.5)
    assert low < narrow_low < narrow_high < high


def test_blocks_do_not_change_the_interval(monkeypatch):
    from gazecore.metrics import confidence

    values = np.random.default_rng(5).random(100)
    whole = bootstrap_interval(values)
    monkeypatch.setattr(confidence, "BLOCK", 1000)
    assert bootstrap_interval(values) == pytest.approx(whole, abs=1e-12)
