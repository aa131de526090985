"""Eye segmentation learns, with every loss; a resumed run is an unbroken one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from gazecore import artifacts
from gazecore.artifacts import eye_samples
from gazecore.data.eyes import Eyes, preprocessing_of
from gazecore.errors import GazeError
from gazecore.prep import eyes as prep
from gazecore.train import folder, recipes
from gazecore.train.eyes import build, loss_of, train
from gazecore.train.eyes_recipes import RECIPES, Recipe
from gazecore.train.run import Run, Settings

QUICK = ["schedule=constant", "warmup=0", "model.long_side=64"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> artifacts.Artifact:
    path = tmp_path_factory.mktemp("eyes") / "eyes.zarr"
    with artifacts.create(path, "eye-samples") as writer:
        eye_samples.write(prep.rendered(10, seed=2, size=(64, 48)), writer, truth=True)
    return artifacts.open(path)


def recipe_of(*settings: str, **options) -> Recipe:
    return recipes.chosen(RECIPES, "segformer-tiny-quick", {"batch_size": 4, **options}, [*QUICK, *settings])


def trained(samples: artifacts.Artifact, out: Path, steps: int, resume: bool = False, **changes) -> dict:
    folder.claim(out, {}, resume=resume)
    recipe = recipe_of(steps=steps, augment="full", **changes)
    settings = Settings(device="cpu", save_every=2, best_by="mean_iou", progress="off")
    run = Run(out, settings, samples.id)
    try:
        return train(samples, np.arange(8), recipe, run, validate_on="test")
    finally:
        folder.release(out)


@pytest.mark.parametrize("loss", ["ce-dice", "focal", "tversky", "boundary", "ritnet"])
def test_every_loss_falls_on_four_eyes(samples, loss):
    torch.manual_seed(0)
    recipe = recipe_of("lr=0.003", loss=loss)
    model, _ = build(recipe, None)
    batch = Eyes(samples, np.arange(4), preprocessing_of(model), 4, augmentation="none")[0, 0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        value = loss_of(recipe, model.train(), batch, 0.2)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
    assert losses[-1] < 0.9 * losses[0] if losses[0] > 0 else losses[-1] < losses[0]


def test_a_run_leaves_a_checkpoint_that_opens_and_scores(samples, tmp_path):
    from gazecore import checkpoints

    told = trained(samples, tmp_path / "run", 3)
    assert told["updates"] == 3 and 0 <= told["best"] <= 1
    opened = checkpoints.open_model(str(tmp_path / "run" / "best.safetensors"))
    assert opened.name == "segformer" and opened.model.preprocessing["long_side"] == 64


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(samples, tmp_path):
    trained(samples, tmp_path / "whole", 4)
    trained(samples, tmp_path / "parts", 2)
    trained(samples, tmp_path / "parts", 4, resume=True)
    whole, parts = (load_file(tmp_path / run / "last" / "model.safetensors") for run in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(whole[key].tobytes() == parts[key].tobytes() for key in whole)


def test_a_run_starts_from_a_checkpoint_of_the_same_model_only(samples, tmp_path):
    trained(samples, tmp_path / "run", 1)
    start = tmp_path / "run" / "best.safetensors"
    model, _ = build(recipe_of(), start)
    stored = load_file(start)
    assert all(np.array_equal(value.numpy(), stored[key]) for key, value in model.state_dict().items())
    with pytest.raises(GazeError, match="weights are missing or of another shape"):
        build(recipe_of("model.decoder_width=32"), start)


def test_wishes_that_cannot_be_fulfilled_are_said_at_once():
    with pytest.raises(GazeError, match="did you mean segformer-tiny"):
        recipes.chosen(RECIPES, "segformer-tny", {})
    with pytest.raises(GazeError, match="no such setting; did you mean lr"):
        recipes.chosen(RECIPES, "eyes", {}, ["lrr=1"])
    with pytest.raises(GazeError, match="expected int"):
        recipes.chosen(RECIPES, "eyes", {}, ["batch_size=many"])
    with pytest.raises(GazeError, match="expected ce-dice"):
        recipes.chosen(RECIPES, "eyes", {}, ["loss=mse"])
    with pytest.raises(GazeError, match="vtd is no model of eyes; there are segformer"):
        build(recipe_of(model="vtd"), None)
    with pytest.raises(GazeError, match="no loss of its own"):
        loss_of(recipe_of(loss="own"), torch.nn.Identity(), None, 0.0)


def test_the_rate_warms_up_and_falls_to_its_end():
    rate = recipes.learning_rate(recipes.chosen(RECIPES, "eyes", {}, ["warmup=10", "final_lr=0.0001"]), [100], 100)
    assert rate(0, 1.0) == pytest.approx(0.1, rel=0.01) and rate(10, 1.0) > 0.9
    assert rate(100, 1.0) == pytest.approx(1e-4)
