"""Saliency metrics against pysaliency, MIT's Matlab code, UNISAL and ChartGaze (golden/vqa/README.md).

| ours         | golden block, key                      | remark                                                    |
|--------------|----------------------------------------|-----------------------------------------------------------|
| cc           | pysaliency CC                          | of record                                                 |
| cc           | mit_matlab CC                          | the same; NaN where the prediction is constant, ours 0    |
| cc           | chartgaze correlation                  | NaN made 0 there                                          |
| kl           | pysaliency MIT_KLDiv                   | of record; clamped at 0, their identical maps give -1e-13 |
| kl_chartgaze | chartgaze kl_divergence                | epsilon 1e-8                                              |
| sim          | pysaliency SIM                         | of record                                                 |
| sim          | unisal similarity_of_sum1_maps         | NaN for maps of zeros, which we count as uniform          |
| sim_mit      | mit_matlab similarity                  | stretched to 0..1 first                                   |
| nss          | pysaliency NSS                         | of record; constant prediction: 0, whatever its rounding  |
| auc          | pysaliency AUC_uniform                 | of record                                                 |
| auc_judd     | pysaliency AUC_Judd_nojitter           | of record; an error there (every pixel fixated) is NaN    |
| auc_judd     | unisal auc_judd                        | rates rounded to four digits: 2e-4                        |
| auc_borji    | mit_matlab AUC_Borji_mean1000          | random there: four standard errors + 0.003                |
| sauc         | pysaliency sAUC_given_other_fixations  | of record                                                 |
| ig           | pysaliency IG_bits_vs_base             | of record; null where a map holds zeros                   |
| emd          | emd.json emd_pot, emd_linprog          | 1e-6                                                      |

Whatever a project returns for a prediction with a NaN, ours is NaN.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from gazecore.metrics import saliency

pytestmark = pytest.mark.golden

GOLDEN = Path(os.environ.get("GZ_GOLDEN", Path(__file__).parents[1] / "golden")) / "vqa"
CASES = json.loads((GOLDEN / "saliency_metrics.json").read_text())
EMD_CASES = json.loads((GOLDEN / "emd.json").read_text())

OF_RECORD = {
    "cc": ("pysaliency", "CC"),
    "kl": ("pysaliency", "MIT_KLDiv"),
    "sim": ("pysaliency", "SIM"),
    "nss": ("pysaliency", "NSS"),
    "auc": ("pysaliency", "AUC_uniform"),
    "auc_judd": ("pysaliency", "AUC_Judd_nojitter"),
    "sauc": ("pysaliency", "sAUC_given_other_fixations"),
    "ig": ("pysaliency", "IG_bits_vs_base"),
    "sim_mit": ("mit_matlab", "similarity"),
    "kl_chartgaze": ("chartgaze", "kl_divergence"),
}
WHERE_THEY_HAVE_ONE = (  # ours, theirs, absolute tolerance
    ("cc", ("mit_matlab", "CC"), 1e-10),
    ("sim", ("unisal", "similarity_of_sum1_maps"), 1e-10),
    ("auc_judd", ("unisal", "auc_judd"), 2e-4),
)


def gaze_map(case: dict, recipe: dict | str) -> np.ndarray:
    """Formula M of the README, or `deltaRC`."""
    h, w = case["h"], case["w"]
    if isinstance(recipe, str):
        digits = recipe.removeprefix("delta")
        row, column = int(digits[: len(digits) // 2]), int(digits[len(digits) // 2 :])
        return np.eye(h * w)[row * w + column].reshape(h, w)
    if recipe.get("kind") == "const":
        return np.full((h, w), float(recipe["val"]))
    row, column = np.mgrid[:h, :w]
    values = (0.5 + 0.5 * np.sin(recipe["a"] * row + recipe["b"] * column + recipe["c"])) ** recipe["p"]
    values[values < recipe.get("z", 0)] = 0
    if recipe.get("q"):
        values = np.floor(255 * values)
    if recipe.get("kind") == "nan":
        values[0, 0] = np.nan
    return values


def given(case: dict, dtype: type = np.float64) -> dict[str, np.ndarray]:
    """The arguments of score_block."""
    recipe = case["recipe"]
    maps = {"predictions": recipe["pred"], "annotations": recipe["gt"], "baseline": recipe["base"]}
    points = {"fixations": case["fixations_rc"], "others": case["other_rc"]}
    return {name: gaze_map(recipe, m).astype(dtype) for name, m in maps.items()} | {
        name: np.array(rows, float)[:, ::-1] for name, rows in points.items()
    }


def number(value) -> float | None:
    """A stored figure; None where the project has none: null."""
    if value is None:
        return None
    return np.nan if isinstance(value, str) and value.startswith("error") else float(value)


@pytest.mark.parametrize("name", CASES)
def test_the_recipe_makes_the_maps_of_the_case(name):
    maps, check = given(CASES[name]), CASES[name]["check"]
    assert maps["predictions"].sum() == pytest.approx(float(check["pred_sum"]), rel=1e-9, nan_ok=True)
    assert maps["annotations"].sum() == pytest.approx(float(check["gt_sum"]), rel=1e-9)
    assert len(np.unique(maps["fixations"], axis=0)) == check["unique_fixated"]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("metric", OF_RECORD)
def test_definitions_of_record(name, metric):
    case = CASES[name]
    block, key = OF_RECORD[metric]
    arguments = given(case)
    score = saliency.score_block(**arguments, metrics=[metric])[metric]
    expected = number(case[block][key])
    if np.isnan(arguments["predictions"]).any():
        assert np.isnan(score)
    elif metric == "nss" and np.ptp(arguments["predictions"]) == 0:
        assert score == 0
    elif expected is None:
        holds_zeros = any((arguments[which] == 0).any() for which in ("predictions", "baseline"))
        assert metric == "ig" and holds_zeros and not score > np.log2(arguments["predictions"].size)
    else:
        assert score == pytest.approx(expected, rel=1e-9, abs=1e-10, nan_ok=True)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("metric", "theirs", "tolerance"), WHERE_THEY_HAVE_ONE)
def test_other_projects_agree_where_they_have_a_number(name, metric, theirs, tolerance):
    arguments = given(CASES[name])
    expected = number(CASES[name][theirs[0]][theirs[1]])
    if not np.isnan(expected) and not np.isnan(arguments["predictions"]).any():
        score = saliency.score_block(**arguments, metrics=[metric])[metric]
        assert score == pytest.approx(expected, rel=1e-9, abs=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_chartgaze_makes_an_undefined_correlation_zero(name):
    arguments = given(CASES[name])
    score = saliency.cc(arguments["predictions"], arguments["annotations"])
    assert np.nan_to_num(score) == pytest.approx(CASES[name]["chartgaze"]["correlation"], rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_borjis_auc_is_the_mean_over_random_splits(name):
    arguments, matlab = given(CASES[name]), CASES[name]["mit_matlab"]
    expected, spread = (number(matlab[key]) for key in ("AUC_Borji_mean1000", "AUC_Borji_sd_of_100split_score"))
    if not np.isnan(expected) and not np.isnan(arguments["predictions"]).any():
        score = saliency.auc_borji(arguments["predictions"], arguments["fixations"])
        assert score == pytest.approx(expected, abs=4 * spread / np.sqrt(10) + 0.003)


@pytest.mark.parametrize("name", CASES)
def test_single_precision_agrees_to_2e_5(name):
    arguments = given(CASES[name], np.float32)
    single = saliency.score_block(**arguments, metrics=OF_RECORD)
    same_maps = {which: values.astype(float) for which, values in arguments.items()}
    double = saliency.score_block(**same_maps, metrics=OF_RECORD)
    for metric in OF_RECORD:
        exact = "auc" in metric  # only ranks count
        tolerance = {"rel": 1e-12} if exact else {"rel": 2e-5, "abs": 1e-6}
        assert single[metric] == pytest.approx(double[metric], **tolerance, nan_ok=True), metric


def test_a_batch_scores_as_its_maps_one_by_one():
    sizes = {(case["recipe"]["h"], case["recipe"]["w"]) for case in CASES.values()}
    for size in sizes:
        alike = [given(case) for case in CASES.values() if (case["recipe"]["h"], case["recipe"]["w"]) == size]
        most = {name: max(len(case[name]) for case in alike) for name in ("fixations", "others")}
        for case in alike:
            for name, n in most.items():
                case[name] = np.pad(case[name], ((0, n - len(case[name])), (0, 0)), constant_values=np.nan)
        batch = saliency.score_block(**{name: np.stack([case[name] for case in alike]) for name in alike[0]})
        for i, case in enumerate(alike):
            for metric, score in saliency.score_block(**case).items():
                assert batch[metric][i] == pytest.approx(score, rel=1e-12, abs=1e-15, nan_ok=True)


@pytest.mark.parametrize("name", EMD_CASES)
@pytest.mark.parametrize("solver", ["emd_pot", "emd_linprog"])
def test_earth_movers_distance(name, solver):
    case = EMD_CASES[name]
    score = saliency.emd(gaze_map(case, case["pred"]), gaze_map(case, case["gt"]))
    assert score == pytest.approx(case[solver], abs=1e-6)
