"""What the card of the shipped weights promises, measured again on rendered eyes that training never saw."""

import numpy as np
import pytest
import torch

from gazecore import artifacts
from gazecore.artifacts import Artifact, eye_samples
from gazecore.eval import eye_masks, eyes
from gazecore.prep.eyes import rendered
from gazecore.pupil import ratio

pytestmark = pytest.mark.slow
EYES, SEED, SIZE = 500, 424_242, (320, 240)  # the card's seed is another, training's too


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("fresh") / "fresh.zarr"
    with artifacts.create(path, "eye-samples") as writer:
        eye_samples.write(rendered(EYES, SEED, SIZE), writer, truth=True)
    return artifacts.open(path)


def test_ratios_of_true_masks_are_exact(fresh: Artifact):
    open_eyes = fresh["blink"].whole() == 0
    found = ratio.measure(fresh["labels"][:])["pir"][open_eyes]
    error = 100 * np.abs(found / fresh["pir"].whole()[open_eyes] - 1)
    assert not np.isnan(error).any()
    assert np.median(error) <= 0.2 and error.mean() <= 0.4 and np.percentile(error, 95) <= 1.5


def test_the_shipped_weights_hold_what_their_card_says(fresh: Artifact):
    segmenter, scores = eye_masks.Segmenter(eye_masks.opened(None).model, torch.device("cpu")), eyes.Scores()
    for block in eye_masks.predict(segmenter, fresh, np.arange(len(fresh)), 16):
        scores.add(block)
    found = {name: score["mean"] for name, score in scores.summary()["metrics"].items()}
    assert found["mean_iou"] >= 0.92
    assert found["pir_median_ape"] <= 2.0
    assert found["detection"] >= 0.97
    assert found["false_pupils"] <= 0.05
