"""Recipes of gaze following: what is chosen, that it learns, what it refuses."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gazecore import artifacts
from gazecore.artifacts import Artifact, gaze_samples
from gazecore.errors import GazeError
from gazecore.prep import gazefollow
from gazecore.synthetic.gazefollow import make
from gazecore.train import following, recipes
from gazecore.train.following_recipes import RECIPES, chosen
from gazecore.train.run import Run, Settings

QUICK = ["schedule=constant", "warmup=0", "direction_weight=0", "batch_size=4"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("samples")
    make(folder / "raw", n=12, seed=4)
    with artifacts.create(folder / "gf.zarr", "gaze-samples") as writer:
        gaze_samples.write(gazefollow.read(folder / "raw", "train", Counter()), writer)
    return artifacts.open(folder / "gf.zarr")


def run_in(folder: Path, **settings) -> Run:
    folder.mkdir(exist_ok=True)
    return Run(folder, Settings(device="cpu", progress="off", best_by="loss", **settings))


def losses(run: Run) -> list[float]:
    lines = map(json.loads, (run.folder / "metrics.ndjson").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "train"]


# ---- which settings hold --------------------------------------------------------------------------------------------


def test_an_option_overrides_the_preset_and_a_setting_overrides_both():
    recipe = chosen("vtd-gazefollow", {"lr": 0.5, "epochs": None}, ["lr=0.25", "model.depth=2"])
    assert (recipe.lr, recipe.epochs) == (0.25, RECIPES["vtd-gazefollow"].epochs)
    assert recipe.model_options == {"depth": 2}


def test_tiny_with_another_model_is_that_models_recipe():
    assert chosen("tiny", {"model": "vtd"}) == RECIPES["vtd-tiny"]


@pytest.mark.parametrize(
    "preset, settings, message",
    [
        ("vtd-gazefolow", [], "did you mean vtd-gazefollow"),
        ("tiny", ["lr"], "expected NAME=VALUE"),
        ("tiny", ["lerning_rate=1"], "no such setting"),
        ("tiny", ["lr=fast"], "lr=fast: expected float"),
        ("tiny", ["share_scene=2"], "share_scene=2: expected bool"),
    ],
)
def test_a_setting_that_is_none_is_refused_by_name(preset: str, settings: list[str], message: str):
    with pytest.raises(GazeError, match=message):
        chosen(preset, {}, settings)


@pytest.mark.parametrize(
    "setting, message",
    [
        ("schedule=step", "schedule=step: expected constant, cosine, cosine-epochs, poly"),
        ("optimizer=sgd", "optimizer=sgd: expected adam, adamw"),
        ("augment=some", "augment=some: expected full, flip, none"),
        ("attention_weight=1", "only VTD has an attention"),
        ("model.widht=3", "gazelle has"),
    ],
)
def test_a_setting_that_the_recipe_cannot_follow_is_refused(samples, tmp_path, setting: str, message: str):
    with pytest.raises(GazeError, match=message):
        following.train(samples, np.arange(4), chosen("tiny", {}, [*QUICK, setting]), run_in(tmp_path / "r"))


def test_a_model_with_memory_refuses_photos(samples, tmp_path):
    with pytest.raises(GazeError, match="holds photos; a model with memory needs tracks"):
        following.train(samples, np.arange(4), chosen("vtd-temporal-tiny", {}), run_in(tmp_path / "r"))


# ---- rates and places -----------------------------------------------------------------------------------------------


def test_a_cosine_falls_from_the_rate_to_the_final_one_after_a_warm_up():
    recipe = chosen("tiny", {}, ["schedule=cosine", "warmup=2", "final_lr=0.1"])
    rate = recipes.learning_rate(recipe, [10], 10)
    assert [rate(0, 1.0), rate(10, 1.0)] == pytest.approx([0.5, 0.1], abs=0.02)
    assert rate(5, 1.0) == pytest.approx(0.55)


def test_a_cosine_over_epochs_is_constant_within_one():
    recipe = chosen("tiny", {}, ["schedule=cosine-epochs", "warmup=0"])
    rate = recipes.learning_rate(recipe, [4, 4], 8)
    assert rate(0, 1.0) == rate(3, 1.0) == 1.0
    assert rate(4, 1.0) == rate(7, 1.0) == pytest.approx(0.5)


def test_a_run_goes_on_at_the_update_after_the_last():
    assert list(recipes.places([2, 3], 1, 4)) == [(0, 1), (1, 0), (1, 1)]


# ---- learning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["tiny", "vtd-tiny"])
def test_loss_falls_on_four_samples(samples, tmp_path, preset: str):
    recipe = chosen(preset, {}, [*QUICK, "steps=30", "augment=none"])
    run = run_in(tmp_path / preset, log_every=10)
    following.train(samples, np.arange(4), recipe, run)
    first, _, last = losses(run)
    assert last < 0.8 * first


def test_frozen_parameters_do_not_change(samples, tmp_path):
    recipe = chosen("tiny", {}, [*QUICK, "steps=2", "freeze=trunk"])
    run = run_in(tmp_path / "r")  # seeds what is drawn next
    model, _ = following.build(recipe, None, None, True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(run.settings.seed)
    following.train(samples, np.arange(4), recipe, run)
    after = load_file(tmp_path / "r" / "best.safetensors")
    moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert moved and not any(key.startswith("backbone.") for key in moved)


def test_the_control_is_told_of_no_head_in_training_and_validation(samples, tmp_path):
    recipe = chosen("tiny", {}, [*QUICK, "blank_head=true"])
    people, others = following.divide(samples, np.arange(8), recipe, 0.5, run_in(tmp_path / "r"))
    assert np.isnan(people.head_box_px).all() and np.isnan(others.head_box_px).all()
    assert not set(people.image_index) & set(others.image_index)


# ---- features of a frozen backbone ----------------------------------------------------------------------------------


def cached_run(samples: Artifact, folder: Path, name: str, *settings: str) -> Run:
    run = run_in(folder / name, log_every=1)
    recipe = chosen("tiny", {}, [*QUICK, "steps=3", "augment=none", "freeze=trunk", *settings])
    following.train(samples, np.arange(8), recipe, run, cache=folder / "features.zarr", validate_on=0.3)
    return run


def test_cached_features_train_as_scenes_do(samples, tmp_path):
    """But for their rounding to float16."""
    plain = run_in(tmp_path / "plain", log_every=1)
    recipe = chosen("tiny", {}, [*QUICK, "steps=3", "augment=none", "freeze=trunk"])
    following.train(samples, np.arange(8), recipe, plain, validate_on=0.3)
    made, again = (cached_run(samples, tmp_path, name) for name in ("made", "again"))
    assert losses(made) == losses(again) == pytest.approx(losses(plain), rel=1e-3)


def test_features_of_another_model_or_a_trained_backbone_are_refused(samples, tmp_path):
    cached_run(samples, tmp_path, "made")
    with pytest.raises(GazeError, match=r"holds input_size 128x128, not 64x64.*Name another file"):
        cached_run(samples, tmp_path, "other", "model.input_size=[64, 64]")
    with pytest.raises(GazeError, match="the backbone is trained, its features change"):
        cached_run(samples, tmp_path, "trained", "freeze=nothing")
