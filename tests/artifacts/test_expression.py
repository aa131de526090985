"""`gz select --where`: what it computes, what it refuses."""

import numpy as np
import pytest

from gazecore.artifacts import selection
from gazecore.artifacts.expression import evaluate, names
from gazecore.artifacts.store import open_artifact
from gazecore.errors import USAGE, GazeError

VARIABLES = {
    "auc": np.array([0.2, 0.9, np.nan]),
    "box": np.array([[1, 2], [3, 4], [5, 6]]),
    "split": np.array(["train", "test", "val"], np.dtypes.StringDType()),
    "count": np.array([0, 1, 2], np.int32),
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("auc < 0.5", [1, 0, 0]),
        ("not auc < 0.5", [0, 1, 1]),
        ("isnan(auc)", [0, 0, 1]),
        ("0.1 < auc <= 0.9 and count == 1", [0, 1, 0]),
        ("auc < 0.5 or split == 'val'", [1, 0, 1]),
        ("split in ('train', 'val')", [1, 0, 1]),
        ("split not in ['train']", [0, 1, 1]),
        ("count in (0, 2)", [1, 0, 1]),
        ("box[1] - box[0] == 1 and box[-1] % 4 == 0", [0, 1, 0]),
        ("abs(-count) * 2 + 1 >= 3", [0, 1, 1]),
        ("count / 2 == 0.5", [0, 1, 0]),
        ("startswith(split, 't') and not endswith(split, 'st')", [1, 0, 0]),
        ("contains(split, 'a')", [1, 0, 1]),
        ("count", None),
    ],
)
def test_expressions_are_computed_row_by_row(expression, expected):
    if expected is None:
        with pytest.raises(GazeError, match="no yes or no per sample"):
            evaluate(expression, VARIABLES)
    else:
        assert evaluate(expression, VARIABLES).tolist() == [bool(e) for e in expected]


def test_the_names_of_variables_are_found_and_those_of_functions_are_not():
    assert names("isnan(auc) and box[0] > count") == {"auc", "box", "count"}


@pytest.mark.parametrize(
    "hostile",
    [
        "auc.__class__", "().__class__.__bases__[0].__subclasses__()", "auc.tofile('x')",
        "__import__('os').system('true')", "open('/etc/passwd')", "print(auc)", "eval('1')", "exec('1')",
        "(lambda: 1)()", "lambda: auc", "[x for x in auc]", "{auc}", "{'a': auc}", "f'{auc}'", "auc if auc else count",
        "9 ** 9 ** 9 ** 9", "2 ** auc", "1 << 99999999999", "auc @ auc", "~count", "auc is auc", "auc := 1", "*auc",
        "auc[0:1]", "auc[count]", "box[0][1]", "b'a' == split", "1j < auc", "... == auc", "None",
        "isnan(auc, where=count)", "isnan(auc, auc)", "abs(auc, auc)", "startswith(*split)", "startswith(split)",
        "'a' * 99999999999 == split", "count < 1e999999 < 'a'", "count < " + "9" * 400, "count < " + "9" * 5000,
        "(" * 300 + "auc" + ")" * 300, "not " * 20000 + "isnan(auc)", "-" * 20000 + "count < 1",
        "auc < 1 and " * 20000 + "auc < 1", "import os", "auc; auc", "", " ", "auc <", "auc\0 < 1", "\ud800",
    ],
)  # fmt: skip
def test_anything_else_is_a_usage_error_at_once(hostile):
    try:
        value = evaluate(hostile, VARIABLES)
    except GazeError as error:
        assert error.code == USAGE and "--where" in str(error) and len(str(error)) < 700
    else:
        assert value.dtype == bool and value.ndim <= 1


def test_a_very_long_sum_is_refused_not_a_crash():
    with pytest.raises(GazeError, match="--where"):
        evaluate("+".join(["count"] * 30000) + " > 0", VARIABLES)


# ---- which rows ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples(tmp_path_factory, fill):
    return open_artifact(fill(tmp_path_factory.mktemp("rows") / "a.zarr", "gaze-samples", n=40, image=5))


def test_rows_are_chosen_by_split_expression_and_number(samples):
    splits = samples["split"][:]
    word = str(splits[0])
    chosen = selection.rows(samples, split=word, where="image_index > 1", limit=3)
    index = samples["image_index"][:]
    assert chosen.tolist() == [i for i in range(40) if splits[i] == word and index[i] > 1][:3]


def test_shuffling_is_repeatable_and_comes_before_the_limit(samples):
    first = selection.rows(samples, shuffle=True, seed=1, limit=10).tolist()
    assert first == selection.rows(samples, shuffle=True, seed=1, limit=10).tolist()
    assert first != selection.rows(samples, shuffle=True, seed=2, limit=10).tolist()
    assert sorted(selection.rows(samples, shuffle=True, seed=1).tolist()) == list(range(40))


def test_an_expression_that_is_the_same_for_all_rows_takes_all(samples):
    assert len(selection.rows(samples, where="1 < 2")) == 40


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        ({"split": "tset"}, r"has no sample of split 'tset'; its splits are "),
        ({"where": "nose > 1"}, "has no variable nose per sample; it has clip"),
        ({"where": "image_size_px[0] > 1"}, "has no variable image_size_px per sample"),
        ({"where": "image_index > 99"}, "no sample of .* fulfils 'image_index > 99'"),
    ],
)
def test_nothing_left_is_an_error_that_says_what_there_is(samples, chosen, complaint):
    with pytest.raises(GazeError, match=complaint):
        selection.rows(samples, **chosen)
