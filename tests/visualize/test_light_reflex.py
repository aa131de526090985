"""Pictures of light reflexes: every trial has one, whatever is missing from it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazecore import artifacts
from gazecore.pupil import tables, trials
from gazecore.synthetic.pupil_trace import trace
from gazecore.visualize import light_reflex


def measured(unit: str = "ratio", **shape) -> dict:
    t = np.arange(480) / 60 - 2
    sizes = trace(t, **shape)
    recording = tables.Recording("p1", "a", "L", t, sizes, np.zeros(len(t), bool))
    return trials.columns(list(trials.measure([recording], [[tables.Event(0.0, 1.0)]])))


@pytest.fixture
def plr(tmp_path: Path):
    """A plr artifact with a good trial, a flat one and an empty one."""
    with artifacts.create(tmp_path / "plr.zarr", "plr", {"unit": "ratio"}) as writer:
        writer.append(**measured(blinks=[(2.5, 2.6)]))
        writer.append(**measured(amplitude=0.0))
        writer.append(**measured(blinks=[(-2, 6)]))
    with artifacts.open(tmp_path / "plr.zarr") as artifact:
        yield artifact


def coloured(picture: Image.Image, colour: str, within: int = 12) -> int:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(np.asarray(picture, int) - wanted).max(axis=-1) <= within).sum())


def test_a_good_trial_shows_its_marks_and_says_ok(plr):
    item = next(light_reflex.report_items(plr))
    picture = item.picture()
    for colour in (light_reflex.LATENCY, light_reflex.PEAK, light_reflex.RECOVERED, light_reflex.REPAIRED):
        assert coloured(picture, colour) > 20
    assert coloured(picture, light_reflex.GOOD[1], 2) > 200 and coloured(picture, light_reflex.DOUBTFUL[1], 2) == 0
    assert item.name == "p1 a L, light at 0 s" and item.text == {}
    assert item.scores["amplitude_percent"] == pytest.approx(30, abs=0.2)


def test_doubtful_and_empty_trials_are_drawn_with_their_flags(plr):
    _, flat, empty = light_reflex.report_items(plr)
    for item, flag in ((flat, "no_reflex"), (empty, "no_baseline")):
        picture = item.picture()
        assert flag in item.text["flags"] and coloured(picture, light_reflex.DOUBTFUL[1], 2) > 200
        assert coloured(picture, light_reflex.PEAK) == 0


def test_pictures_repeat_and_the_bare_one_is_small(plr):
    first, again = (next(light_reflex.report_items(plr)).picture() for _ in range(2))
    bare = next(light_reflex.report_items(plr, "none")).picture()
    assert first.tobytes() == again.tobytes() and first.mode == "RGB"
    assert bare.width < first.width / 2


def test_an_artifact_without_traces_is_still_drawn(tmp_path: Path):
    columns = {name: values for name, values in measured().items() if not name.startswith("trace_")}
    with artifacts.create(tmp_path / "bare.zarr", "plr") as writer:
        writer.append(**columns)
    with artifacts.open(tmp_path / "bare.zarr") as artifact:
        assert next(light_reflex.report_items(artifact)).picture().width > 500


def test_bland_altman_leaves_out_what_one_side_lacks():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.3, 0.6, 30), rng.uniform(0.3, 0.6, 30)
    whole = light_reflex.bland_altman(a, b)
    a[0] = np.nan
    assert light_reflex.bland_altman(a, b).tobytes() != whole.tobytes()
    for few in (0, 1, 2):
        assert light_reflex.bland_altman(a[1 : 1 + few], b[1 : 1 + few], names=("ours", "PyPlr"), unit="mm").width > 500
