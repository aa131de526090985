"""Scores of eye masks: what perfect masks, empty ones and predictors that never look are given."""

import numpy as np
import pytest

from gazecore import artifacts
from gazecore.artifacts import eye_samples
from gazecore.errors import GazeError
from gazecore.eval import eye_masks, eyes
from gazecore.prep import eyes as prep


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> artifacts.Artifact:
    path = tmp_path_factory.mktemp("eyes") / "eyes.zarr"
    with artifacts.create(path, "eye-samples") as writer:
        eye_samples.write(prep.rendered(12, seed=2, size=(160, 120)), writer, truth=True)
    return artifacts.open(path)


def block_of(samples: artifacts.Artifact, change=lambda labels: labels) -> dict:
    columns = {v.name: v[:] for v in samples.variables.values()}
    columns["labels_true"] = columns["labels"]
    columns["labels"] = change(columns["labels"].copy())
    return columns


def summary_of(block: dict) -> dict:
    scores = eyes.Scores()
    scores.add(block)
    return scores.summary()


def test_the_annotation_itself_is_perfect_and_its_ratio_nearly_exact(samples):
    found = summary_of(block_of(samples))["metrics"]
    for name in ("mean_iou", "macro_mean_iou", "dice_pupil", "boundary_f_1px", "detection"):
        assert found[name]["mean"] == pytest.approx(1.0)
    assert found["pir_mape"]["mean"] < 1.5 and found["pir_median_ape"]["mean"] < 1.0
    assert found["iris_centre_error_px"]["mean"] < 0.5


def test_all_background_finds_nothing(samples):
    found = summary_of(block_of(samples, np.zeros_like))
    assert found["metrics"]["iou_pupil"]["mean"] == 0 and found["metrics"]["detection"]["mean"] == 0
    assert "pir_mape" not in found["metrics"]


def test_strata_add_up_to_the_whole(samples):
    summary = summary_of(block_of(samples))
    assert set(summary["strata"]) >= {"mode", "iris_color"}
    assert sum(row["n"] for row in summary["strata"]["mode"].values()) == summary["n"] == 12


def test_a_larger_pupil_is_seen_in_ratio_and_contours(samples):
    from scipy.ndimage import binary_dilation

    def larger(labels):
        for one in labels:
            one[binary_dilation(one == 2, iterations=2) & (one == 1)] = 2
        return labels

    found = summary_of(block_of(samples, larger))["metrics"]
    assert found["pir_bias"]["mean"] > 0.03 and found["boundary_f_1px"]["mean"] < 0.9
    assert found["pir_lower_limit"]["mean"] < found["pir_bias"]["mean"] < found["pir_upper_limit"]["mean"]


def test_without_exact_truth_the_annotated_masks_are_measured(samples):
    block = block_of(samples)
    known = {name: block[name] for name in ("sample_id", "labels", "labels_true")}
    found = summary_of(known)["metrics"]
    assert found["pir_mae"]["mean"] == pytest.approx(0, abs=1e-9)


def test_baselines_are_those_that_never_look(samples):
    found = eyes.baselines(samples, np.arange(len(samples)))
    labels = samples["labels"][:]
    background = (labels == 0).mean() / 4  # of four classes one has an overlap
    assert found["background_mean_iou"]["mean"] == pytest.approx(background, abs=1e-9)
    assert found["background_mean_iou"]["mean"] < found["mean_mask_mean_iou"]["mean"] < 0.7
    assert found["mean_pir_mape"]["mean"] > 5


def test_samples_without_annotation_cannot_be_scored(tmp_path):
    with artifacts.create(tmp_path / "a.zarr", "eye-samples") as writer:
        writer.append(sample_id=["a"], image=np.zeros((1, 32, 32, 3), np.uint8))
    with artifacts.open(tmp_path / "a.zarr") as bare, pytest.raises(GazeError, match="has no labels"):
        eye_masks.check_annotated(bare)


@pytest.fixture(scope="module")
def shipped() -> eye_masks.Segmenter:
    import torch

    return eye_masks.Segmenter(eye_masks.opened(None).model, torch.device("cpu"))


def test_the_shipped_weights_are_small_and_know_rendered_eyes(samples, shipped):
    from importlib.resources import files

    assert (files("gazecore") / "weights" / eye_masks.SHIPPED).stat().st_size < 1_500_000
    scores = eyes.Scores()
    for block in eye_masks.predict(shipped, samples, np.arange(len(samples)), 4):
        assert block["probability"].sum(axis=1) == pytest.approx(np.ones((len(block["labels"]), 120, 160)), abs=1e-4)
        scores.add(block)
    found = scores.summary()["metrics"]
    assert found["mean_iou"]["mean"] > 0.9 and found["pir_median_ape"]["mean"] < 5


@pytest.mark.parametrize("size", [(32, 32), (75, 100), (480, 640)])
def test_images_of_any_size_are_segmented_at_their_own(shipped, size):
    image = np.zeros((2, *size, 3), np.uint8)
    labels, probability = shipped(image)
    assert labels.shape == (2, *size) and probability.shape == (2, 4, *size)


def test_a_model_of_another_task_is_refused():
    import torch

    with pytest.raises(GazeError, match="no model of eyes"):
        eye_masks.Segmenter(torch.nn.Identity(), torch.device("cpu"))
