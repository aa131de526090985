"""Fixation maps against SciPy and pysaliency's FixationMap (golden/vqa/README.md, fixation_maps.json)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from gazecore import heatmaps

pytestmark = pytest.mark.golden
FOLDER = Path(os.environ.get("GZ_GOLDEN", Path(__file__).parents[1] / "golden")) / "vqa"
CASES = json.loads((FOLDER / "fixation_maps.json").read_text())
RECIPE = json.loads((FOLDER / "recipe.json").read_text()).get("fixations", {})


def fixations(case: dict) -> np.ndarray:
    """Formula FX of the README, (n, 2) x, y in pixels."""
    k = np.arange(case["n_fix"])
    row = case["h"] * np.modf(RECIPE.get("row_step", 0.61803398875) * k + case["s"])[0]
    column = case["w"] * np.modf(RECIPE.get("column_step", 0.41421356237) * k + case["t"])[0]
    return np.floor(np.stack([column, row], axis=-1))


@pytest.mark.parametrize("name", CASES)
def test_fixation_map(name):
    case = CASES[name]
    durations = 0.1 + 0.05 * (np.arange(case["n_fix"]) % 7) if case["duration_weighted"] else None
    blurred = heatmaps.fixation_map(
        fixations(case), (case["h"], case["w"]), case["sigma_px"], durations=durations, mode=case["mode"]
    )
    assert blurred.sum() == pytest.approx(case["sum"], abs=1e-8)
    assert blurred.max() == pytest.approx(case["max"], abs=1e-8)
    assert list(np.unravel_index(blurred.argmax(), blurred.shape)) == case["argmax_rc"]
    every = next(int(key.removeprefix("sample_every_")) for key in case if key.startswith("sample_every_"))
    assert blurred[::every, ::every] == pytest.approx(np.array(case[f"sample_every_{every}"]), abs=1e-8)
