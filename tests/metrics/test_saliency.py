import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gazecore.errors import GazeError
from gazecore.metrics import saliency, saliency_block
from gazecore.metrics.transport import transport_cost

RAMP = np.arange(16.0).reshape(4, 4)
FIXED = np.array([[3, 3], [0, 0], [3, 3]])  # twice on the 15, once on the 0
MAP_METRICS = [name for name, needs in saliency.METRICS.items() if needs == ("annotations",)]
POINT_METRICS = [name for name, needs in saliency.METRICS.items() if "fixations" in needs]


def random_case(seed: int = 0, batch: tuple[int, ...] = (), size: tuple[int, int] = (9, 7), n: int = 6) -> dict:
    rng = np.random.default_rng(seed)
    points = {name: rng.integers(0, size[::-1], (*batch, n, 2)).astype(float) for name in ("fixations", "others")}
    return {name: rng.random((*batch, *size)) for name in ("predictions", "annotations", "baseline")} | points


# perfect predictions and cases by hand


def test_the_annotation_itself_is_the_best_prediction():
    annotation = random_case()["annotations"]
    scores = saliency.score_block(annotation, annotation, metrics=MAP_METRICS)
    best = {"cc": 1, "kl": 0, "sim": 1, "sim_mit": 1, "kl_chartgaze": 0, "spearman": 1, "emd": 0}
    assert set(best) == set(MAP_METRICS)
    for name, value in best.items():
        assert scores[name] == pytest.approx(value, abs=1e-12), name


def test_a_map_that_peaks_at_its_only_fixation():
    heatmap = np.zeros((4, 4))
    heatmap[1, 2] = 1
    scores = saliency.score_block(heatmap, fixations=[[2, 1]], metrics=["auc", "auc_judd", "auc_borji", "nss"])
    assert scores["auc"] == 1 - 0.5 / 16  # it ties with its own pixel
    assert scores["auc_judd"] == 1
    assert scores["auc_borji"] == 1 - 0.5 / 16
    assert scores["nss"] == pytest.approx((1 - 1 / 16) / np.sqrt(1 / 16 - 1 / 256))


def test_cc_by_hand():
    assert saliency.cc([[1, 2, 3]], [[1, 3, 2]]) == pytest.approx(0.5)
    assert saliency.cc([[1, 2, 3]], [[-2, -4, -6]]) == pytest.approx(-1)


def test_kl_by_hand():
    assert saliency.kl([[1, 1]], [[1, 3]]) == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    assert saliency.kl([[0, 1]], [[1, 1]]) == pytest.approx(0.5 * np.log(0.5 / 2.2204e-16) + 0.5 * np.log(0.5))


def test_chartgazes_kl_by_hand():
    assert saliency.kl_chartgaze([[0, 1]], [[1, 1]]) == pytest.approx(0.5 * np.log(0.5e8) + 0.5 * np.log(0.5), rel=1e-6)


def test_sim_by_hand():
    assert saliency.sim([[2, 2]], [[1, 3]]) == pytest.approx(0.75)
    assert saliency.sim_mit([[10, 11, 12]], [[12, 11, 10]]) == pytest.approx(1 / 3)
    assert saliency.sim([[10, 11, 12]], [[12, 11, 10]]) == pytest.approx(31 / 33)


def test_spearman_counts_only_the_order_and_shares_tied_ranks():
    assert saliency.spearman([[1, 2, 3]], [[1, 10, 1000]]) == pytest.approx(1)
    assert saliency.spearman([[1, 1, 2]], [[1, 2, 3]]) == pytest.approx(np.sqrt(3) / 2)


def test_nss_by_hand_counts_every_fixation():
    expected = (2 * (15 - 7.5) + (0 - 7.5)) / 3 / RAMP.std()
    assert saliency.nss(RAMP, FIXED) == pytest.approx(expected)
    assert saliency.nss(5 * RAMP + 3, FIXED) == pytest.approx(expected)


def test_auc_by_hand():
    assert saliency.auc(RAMP, [[3, 3]]) == pytest.approx(15.5 / 16)
    assert saliency.auc(RAMP, FIXED) == pytest.approx((2 * 15.5 + 0.5) / 3 / 16)
    assert saliency.auc([[1, 1, 2]], [[0, 0]]) == pytest.approx(1 / 3)


def test_auc_judd_by_hand_is_biased_with_one_fixation():
    low = saliency.score_block(RAMP, fixations=[[0, 0]], metrics=["auc", "auc_judd"])
    assert low["auc"] == pytest.approx(0.5 / 16)
    assert low["auc_judd"] == pytest.approx(0.5)  # two straight lines through (1, 1)
    # thresholds 15 and 0: (0, 0), (0, 2/3), (1, 1)
    assert saliency.auc_judd(RAMP, FIXED) == pytest.approx((2 / 3 + 1) / 2)


def test_auc_borji_by_hand():
    # stretched: 0, 0.5, 1; fixated 0.5; from the threshold 0.5 down: (1/3, 0), (2/3, 1), (1, 1)
    assert saliency.auc_borji([[0, 1, 2]], [[1, 0]]) == pytest.approx(0.5 * (2 / 3 - 1 / 3) + (1 - 2 / 3))


def test_sauc_by_hand():
    others = [[2, 3], [3, 3], [1, 0], [1, 0]]  # values 14, 15, 1, 1
    assert saliency.sauc(RAMP, [[3, 3]], others) == pytest.approx((3 + 0.5) / 4)
    assert saliency.sauc(RAMP, FIXED, others) == pytest.approx(2 * 3.5 / 4 / 3)


def test_information_gain_by_hand_is_in_bits():
    uniform = np.ones((1, 4))
    assert saliency.information_gain([[4, 2, 1, 1]], [[0, 0]], uniform) == pytest.approx(1)
    assert saliency.information_gain([[4, 2, 1, 1]], [[0, 0], [3, 0]], uniform) == pytest.approx(0)
    assert saliency.information_gain([[0, 1, 1, 2]], [[0, 0]], uniform) == -np.inf


def test_emd_by_hand_is_in_cells():
    far = np.zeros((2, 4, 5))
    far[0, 0, 0] = far[1, 3, 4] = 7
    assert saliency.emd(far[0], far[1]) == pytest.approx(5)
    assert saliency.emd([[1, 1, 0]], [[0, 1, 1]]) == pytest.approx(1)
    assert saliency.emd([[3, 1]], [[1, 3]]) == pytest.approx(0.5)


# exactness


def auc_pixel_by_pixel(heatmap, fixations):
    values = [heatmap[int(y), int(x)] for x, y in fixations]
    return np.mean([np.mean((heatmap < v) + 0.5 * (heatmap == v)) for v in values])


def auc_judd_threshold_by_threshold(heatmap, fixations):
    column, row = fixations.astype(int).T
    free = np.ones(heatmap.shape, bool)
    free[row, column] = False
    levels = np.unique(heatmap[row, column])[::-1]
    hits = [0, *((heatmap[row, column] >= level).mean() for level in levels), 1]
    false_alarms = [0, *((heatmap[free] >= level).mean() for level in levels), 1]
    return np.trapezoid(hits, false_alarms)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 40), st.integers(2, 40)),
    n=st.integers(1, 30),
    power=st.sampled_from([0.2, 1, 9, 60]),
    levels=st.sampled_from([None, 2, 5, 200]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_both_aucs_are_exact(seed, size, n, power, levels, dtype):
    rng = np.random.default_rng(seed)
    heatmap = rng.normal(size=size) if power == 1 else rng.random(size) ** power
    if levels:
        heatmap = np.floor(heatmap * levels) / levels
    heatmap = heatmap.astype(dtype)
    fixations = rng.integers(0, size[::-1], (n, 2)).astype(float)
    scores = saliency.score_block(heatmap, fixations=fixations, metrics=["auc", "auc_judd"])
    assert scores["auc"] == pytest.approx(auc_pixel_by_pixel(heatmap, fixations), rel=1e-12)
    if len(np.unique(fixations, axis=0)) < heatmap.size:
        expected = auc_judd_threshold_by_threshold(heatmap, fixations)
        assert scores["auc_judd"] == pytest.approx(expected, rel=1e-12, abs=1e-12)
    else:
        assert np.isnan(scores["auc_judd"])


@pytest.mark.parametrize("values", ["peaked", "quantised", "logarithms", "far from 0", "infinite", "denormal"])
def test_aucs_are_exact_on_large_maps(values):
    rng = np.random.default_rng(3)
    heatmap = rng.random((240, 320))
    heatmap = {
        "peaked": heatmap**80,
        "quantised": np.floor(heatmap * 255),
        "logarithms": np.log(heatmap),
        "far from 0": heatmap * 1e-6 + 1000,
        "infinite": np.where(heatmap < 0.3, -np.inf, np.where(heatmap > 0.9, np.inf, heatmap)),
        "denormal": heatmap * 1e-310,
    }[values]
    fixations = rng.integers(0, (320, 240), (150, 2)).astype(float)
    scores = saliency.score_block(heatmap, fixations=fixations, metrics=["auc", "auc_judd"])
    assert scores["auc"] == pytest.approx(auc_pixel_by_pixel(heatmap, fixations), rel=1e-12)
    assert scores["auc_judd"] == pytest.approx(auc_judd_threshold_by_threshold(heatmap, fixations), rel=1e-12)


@pytest.mark.parametrize("size", [(1, 9), (3, 4), (9, 7)])
def test_emd_equals_the_whole_linear_programme(size):
    rng = np.random.default_rng(5)
    p, g = rng.random((2, *size)) ** 4
    cells = np.argwhere(np.ones(size)).astype(float)
    n = len(cells)
    distances = np.linalg.norm(cells[:, None] - cells, axis=-1)
    out_and_in = np.concatenate([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
    masses = np.concatenate([p.ravel() / p.sum(), g.ravel() / g.sum()])
    assert saliency.emd(p, g) == pytest.approx(linprog(distances.ravel(), A_eq=out_and_in, b_eq=masses).fun, abs=1e-7)


def test_emd_of_a_shifted_map_is_the_shift():
    p, g = np.zeros((2, 32, 32))
    p[:20, 3:24] = np.random.default_rng(1).random((20, 21)) ** 3
    g[7:27, 11:32] = p[:20, 3:24]
    assert saliency.emd(p, g) == pytest.approx(np.hypot(7, 8), abs=1e-9)


def test_transport_between_uneven_numbers_of_sources_and_sinks():
    distances = np.array([[1.0, 2.0, 9.0]])
    assert transport_cost(np.array([3.0]), np.array([1.0, 1.0, 1.0]), distances) == pytest.approx(12)
    assert transport_cost(np.array([1.0, 1.0, 1.0]), np.array([3.0]), distances.T) == pytest.approx(12)
    assert transport_cost(np.empty(0), np.empty(0), np.empty((0, 0))) == 0


def test_single_precision_loses_nothing_to_a_large_mean():
    rng = np.random.default_rng(0)
    p, g = (rng.random((2, 48, 64)) + 100).astype(np.float32)
    single = saliency.score_block(p, g, [[3, 4], [50, 40]], metrics=["cc", "nss", "kl", "sim"])
    double = saliency.score_block(p.astype(float), g.astype(float), [[3, 4], [50, 40]], metrics=single)
    for name in ("cc", "nss", "sim"):
        assert single[name] == pytest.approx(double[name], rel=2e-5), name
    assert single["kl"] == pytest.approx(double["kl"], abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, np.int64, bool])
def test_maps_of_any_type_are_scored(dtype):
    case = random_case(size=(8, 8))
    p, g = (np.floor(case[name] * 2).astype(dtype) for name in ("predictions", "annotations"))
    scores = saliency.score_block(p, g, case["fixations"])
    double = saliency.score_block(p.astype(float), g.astype(float), case["fixations"])
    for name, value in double.items():
        assert scores[name].dtype == np.float64
        assert scores[name] == pytest.approx(value, rel=2e-5), name


# undefined and constant input


CONSTANT, ZERO, ANY = np.full((4, 4), 0.1), np.zeros((4, 4)), RAMP / 7
UNIFORM_KL, UNIFORM_SIM = saliency.kl(np.ones((4, 4)), ANY), saliency.sim(np.ones((4, 4)), ANY)


@pytest.mark.parametrize(
    ("prediction", "annotation", "expected"),
    [
        (CONSTANT, ANY, {"cc": 0, "spearman": 0, "kl": UNIFORM_KL, "sim": UNIFORM_SIM, "sim_mit": np.nan}),
        (ZERO, ANY, {"cc": 0, "spearman": 0, "kl": UNIFORM_KL, "sim": UNIFORM_SIM, "sim_mit": 0}),
        (ANY, CONSTANT, {"cc": np.nan, "spearman": np.nan, "sim": UNIFORM_SIM, "sim_mit": np.nan}),
        (ANY, ZERO, {"cc": np.nan, "spearman": np.nan, "sim": UNIFORM_SIM, "sim_mit": 0}),
        (CONSTANT, ZERO, {"cc": np.nan, "spearman": np.nan, "kl": 0, "sim": 1, "emd": 0}),
    ],
)
def test_constant_and_zero_maps(prediction, annotation, expected):
    scores = saliency.score_block(prediction, annotation, metrics=expected)
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0, 0.1, 1 / 3, -7.3])
def test_a_constant_prediction_says_nothing_about_fixations(value, dtype):
    scores = saliency.score_block(
        np.full((5, 7), value, dtype), fixations=FIXED, others=FIXED[:2], metrics=[*POINT_METRICS[:-2], "auc_borji"]
    )
    assert scores == pytest.approx({"nss": 0, "auc": 0.5, "auc_judd": 0.5, "sauc": 0.5, "auc_borji": 0.5})


@pytest.mark.parametrize("which", ["predictions", "annotations", "baseline"])
def test_a_nan_in_a_map_is_a_nan_score_and_no_warning(which):
    case = random_case()
    case[which][0, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = saliency.score_block(**case, metrics=saliency.METRICS)
    touched = {"predictions": set(saliency.METRICS), "annotations": set(MAP_METRICS), "baseline": {"ig"}}[which]
    assert {name for name, score in scores.items() if np.isnan(score)} == touched


def test_without_fixations_scores_are_nan():
    case = random_case()
    for none in (np.full((3, 2), np.nan), np.empty((0, 2))):
        scores = saliency.score_block(**case | {"fixations": none}, metrics=POINT_METRICS)
        assert np.isnan(list(scores.values())).all()
        assert np.isnan(saliency.sauc(case["predictions"], case["fixations"], none))


def test_every_pixel_fixated_leaves_auc_judd_no_negatives():
    everywhere = saliency.fixations_from_map(np.ones((4, 4)))
    scores = saliency.score_block(RAMP, fixations=everywhere, metrics=["auc", "auc_judd"])
    assert scores["auc"] == pytest.approx(0.5)
    assert np.isnan(scores["auc_judd"])


def test_negative_maps_are_shifted_before_they_become_densities():
    case = random_case()
    p, g = case["predictions"], case["annotations"]
    for metric in (saliency.kl, saliency.sim, saliency.emd):
        assert metric(p - 0.5, g) == pytest.approx(metric(p - p.min(), g))


# fixations


def test_padding_does_not_count_and_duplicates_do():
    case = random_case(n=5)
    once = saliency.score_block(**case, metrics=POINT_METRICS)
    for name in ("fixations", "others"):
        padding = np.full((4, 2), np.nan)
        case[name] = np.concatenate([padding, case[name][:2], padding, case[name][2:]])
    padded = saliency.score_block(**case, metrics=POINT_METRICS)
    assert padded == pytest.approx(once, rel=1e-14)
    case["fixations"] = np.concatenate([case["fixations"], case["fixations"][4:5]])
    assert saliency.score_block(**case, metrics=["nss"])["nss"] != pytest.approx(once["nss"])
    assert saliency.score_block(**case, metrics=["auc_borji"])["auc_borji"] == pytest.approx(once["auc_borji"])


def test_fixations_between_pixels_lie_in_the_pixel_that_holds_them():
    assert saliency.nss(RAMP, [[2.99, 3.5]]) == saliency.nss(RAMP, [[2, 3]])


@pytest.mark.parametrize("outside", [[4, 0], [0, 4], [-0.1, 0], [np.inf, 1]])
def test_fixations_outside_the_map_are_refused(outside):
    with pytest.raises(GazeError, match=r"1 of 2 fixations lie outside the map of 4 x 4"):
        saliency.nss(RAMP, [[0, 0], outside, [np.nan, np.nan]])


def test_fixations_of_a_binary_map():
    maps = np.zeros((2, 3, 4), np.uint8)
    maps[0, 1, 2] = maps[0, 2, 0] = maps[1, 0, 3] = 255
    found = saliency.fixations_from_map(maps)
    assert found.shape == (2, 2, 2)
    np.testing.assert_array_equal(found, [[[2, 1], [0, 2]], [[3, 0], [np.nan, np.nan]]])
    assert saliency.fixations_from_map(np.zeros((3, 4), bool)).shape == (0, 2)


def test_a_fixation_map_that_is_no_binary_map_is_refused():
    with pytest.raises(GazeError, match=r"fixation map holds 16 values from 0.0 to 15.0; expected 0 and one other"):
        saliency.fixations_from_map(RAMP)
    with pytest.raises(GazeError, match=r"fixations have shape \(4, 4\); expected \(..., n, 2\).*fixations_from_map"):
        saliency.nss(RAMP, RAMP > 3)


# batches, shapes and errors


def test_a_block_equals_its_maps_one_by_one():
    case = random_case(batch=(3, 2), size=(6, 5))
    case["fixations"][0, 1, 3:] = np.nan
    case["predictions"][2, 0] = 0.25
    case["predictions"][1, 1, 2, 2] = np.nan
    scores = saliency.score_block(**case, metrics=saliency.METRICS)
    assert list(scores) == list(saliency.METRICS)
    for index in np.ndindex(3, 2):
        alone = saliency.score_block(**{name: value[index] for name, value in case.items()}, metrics=saliency.METRICS)
        for name, value in alone.items():
            assert scores[name].shape == (3, 2)
            assert scores[name][index] == pytest.approx(value, rel=1e-12, abs=1e-15, nan_ok=True), name


def test_blocks_larger_than_the_cache_are_cut():
    case = random_case(batch=(5,), size=(240, 320))
    scores = saliency.score_block(**case)
    alone = saliency.score_block(**{name: value[4] for name, value in case.items()})
    assert {name: value[4] for name, value in scores.items()} == pytest.approx(alone, rel=1e-12)


def test_one_annotation_or_baseline_serves_a_whole_batch():
    case = random_case(batch=(3,))
    one = {name: case[name][0] for name in ("annotations", "fixations", "others", "baseline")}
    scores = saliency.score_block(case["predictions"], **one)
    repeated = {name: np.stack([value] * 3) for name, value in one.items()}
    assert scores["ig"].shape == (3,)
    for name, value in saliency.score_block(case["predictions"], **repeated).items():
        np.testing.assert_array_equal(scores[name], value)


def test_an_empty_batch_has_no_scores():
    scores = saliency.score_block(np.empty((0, 4, 4)), np.empty((0, 4, 4)), np.empty((0, 3, 2)))
    assert {name: value.shape for name, value in scores.items()} == dict.fromkeys(scores, (0,))


def test_single_functions_agree_with_the_block():
    case = random_case()
    scores = saliency.score_block(**case, metrics=saliency.METRICS)
    for name, needs in saliency.METRICS.items():
        function = saliency.information_gain if name == "ig" else getattr(saliency, name)
        assert function(case["predictions"], *(case[need] for need in needs)) == pytest.approx(scores[name]), name
        assert callable(getattr(saliency_block.Block, name))


def test_what_is_given_decides_the_standard_metrics():
    case = random_case()
    maps_only = saliency.score_block(case["predictions"], case["annotations"])
    assert list(maps_only) == ["cc", "kl", "sim"]
    fixations_only = saliency.score_block(case["predictions"], fixations=case["fixations"])
    assert list(fixations_only) == ["nss", "auc", "auc_judd"]
    assert tuple(saliency.score_block(**case)) == saliency.STANDARD


def test_missing_inputs_and_unknown_metrics_are_named():
    with pytest.raises(GazeError, match="ig needs baseline; sauc needs others: not given"):
        saliency.score_block(RAMP, fixations=FIXED, metrics=["nss", "ig", "sauc"])
    with pytest.raises(GazeError, match="unknown saliency metric CC, auc-judd; expected some of cc, kl, sim"):
        saliency.score_block(RAMP, RAMP, metrics=["CC", "auc-judd"])


def test_sizes_that_differ_are_both_named():
    with pytest.raises(GazeError, match=r"predictions are 4 x 4 \(h x w\), annotations 4 x 5; expected one size"):
        saliency.cc(RAMP, np.ones((4, 5)))
    with pytest.raises(GazeError, match=r"predictions \(2,\), annotations \(3,\)"):
        saliency.cc(np.ones((2, 4, 4)), np.ones((3, 4, 4)))
    with pytest.raises(GazeError, match=r"predictions have shape \(4,\)"):
        saliency.cc(np.ones(4), np.ones(4))


def test_emd_refuses_grids_above_32():
    with pytest.raises(GazeError, match="emd: the maps are 32 x 33; expected at most 32 x 32"):
        saliency.emd(np.ones((32, 33)), np.ones((32, 33)))


def test_information_gain_refuses_what_is_no_density():
    with pytest.raises(GazeError, match=r"a baseline holds negative values \(down to -1\)"):
        saliency.information_gain(RAMP, FIXED, RAMP - 1)
    assert np.isnan(saliency.information_gain(ZERO, FIXED, RAMP))
