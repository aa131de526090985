import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from gazecore.metrics import ranking


@given(st.integers(0, 2**32 - 1), st.integers(2, 200), st.integers(1, 40), st.floats(0.02, 0.98))
def test_both_scores_equal_scikit_learn_with_ties(seed, n, levels, share):
    generator = np.random.default_rng(seed)
    scores, positives = generator.integers(levels, size=n) / levels, generator.random(n) < share
    positives[:2] = True, False
    assert ranking.roc_auc(scores, positives) == pytest.approx(roc_auc_score(positives, scores), abs=1e-12)
    expected = average_precision_score(positives, scores)
    assert ranking.average_precision(scores, positives) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [5, 3000])
def test_few_and_many_positives_equal_scikit_learn(count):
    generator = np.random.default_rng(count)
    scores, positives = generator.standard_normal(5000).astype(np.float32), np.zeros(5000, bool)
    positives[generator.choice(5000, count, replace=False)] = True
    assert ranking.roc_auc(scores, positives) == pytest.approx(roc_auc_score(positives, scores), abs=1e-12)
    expected = average_precision_score(positives, scores)
    assert ranking.average_precision(scores, positives) == pytest.approx(expected, abs=1e-12)


def test_auc_by_hand():
    # pairs (positive, negative): 3 > 1, 3 > 2, 2 > 1 won, 2 = 2 half
    assert ranking.roc_auc([1, 2, 2, 3], [0, 1, 0, 1]) == pytest.approx(3.5 / 4)
    assert ranking.roc_auc([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]) == 1.0
    assert ranking.roc_auc([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0]) == 0.0
    assert ranking.roc_auc([5, 5, 5], [1, 0, 0]) == 0.5


def test_average_precision_by_hand():
    # recall 1/2 at precision 1, then 1 at precision 2/3
    assert ranking.average_precision([3, 2, 1], [1, 0, 1]) == pytest.approx((1 + 2 / 3) / 2)
    assert ranking.average_precision([5, 5, 5, 5], [1, 0, 0, 0]) == 0.25


def test_one_class_alone():
    assert np.isnan(ranking.roc_auc([1, 2], [1, 1])) and np.isnan(ranking.roc_auc([1, 2], [0, 0]))
    assert ranking.average_precision([1, 2], [1, 1]) == 1.0
    assert np.isnan(ranking.average_precision([1, 2], [0, 0]))
    assert np.isnan(ranking.roc_auc([], [])) and np.isnan(ranking.average_precision([], []))


def test_a_missing_score_makes_the_result_missing():
    assert np.isnan(ranking.roc_auc([1, np.nan, 3], [0, 1, 1]))
    assert np.isnan(ranking.average_precision([1, np.nan, 3], [0, 1, 1]))


def test_leading_axes_broadcast():
    generator = np.random.default_rng(3)
    scores, positives = generator.random((4, 3, 50)), generator.random((3, 50)) < 0.3
    together = ranking.roc_auc(scores, positives)
    assert together.shape == (4, 3)
    assert together[2, 1] == ranking.roc_auc(scores[2, 1], positives[1])
    assert ranking.average_precision(scores, positives).shape == (4, 3)


def test_counts_give_the_same_as_scores():
    generator = np.random.default_rng(4)
    scores, positives = generator.integers(9, size=(5, 60)), generator.random((5, 60)) < 0.4
    counts = np.stack([np.bincount(row, minlength=9) for row in scores])
    hits = np.stack([np.bincount(row[chosen], minlength=9) for row, chosen in zip(scores, positives, strict=True)])
    assert ranking.roc_auc_of_counts(counts, hits) == pytest.approx(ranking.roc_auc(scores, positives), abs=1e-12)
    assert np.isnan(ranking.roc_auc_of_counts(np.array([3, 1]), np.array([0, 0])))
