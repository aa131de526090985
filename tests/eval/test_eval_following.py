"""Scoring of gaze-following predictions: what is skipped, what is averaged, what it is compared with."""

from pathlib import Path

import numpy as np
import pytest

from gazecore import artifacts, heatmaps
from gazecore.errors import GazeError
from gazecore.eval import baselines, following, looking_at_head


def block(targets: np.ndarray, points: np.ndarray, in_frame: list[float] | None = None) -> following.Columns:
    """Columns of predictions that peak at `points` (n, 2) for annotated `targets` (n, annotators, 2)."""
    cells = np.round(points * 64) / 64
    return {
        "heatmap": heatmaps.gaussian(cells),
        "gaze_point": cells,
        "gaze_targets": targets,
        "in_frame": np.array([1.0] * len(points) if in_frame is None else in_frame, np.float32),
    }


def test_a_perfect_prediction_has_auc_one_and_distance_zero():
    points = np.array([[0.25, 0.5], [0.75, 0.125]])
    scores = following.Scores("gazelle")
    scored = scores.add(block(points[:, None], points), np.array([[640, 480], [320, 240]]))
    assert scored["auc"] == pytest.approx([1, 1], abs=2e-3)
    assert scored["minimum_l2"].tolist() == [0, 0]
    assert scores.summary()["metrics"]["average_l2"]["mean"] == 0


def test_samples_out_of_frame_or_without_target_are_counted_not_scored():
    points = np.full((3, 2), 0.5)
    targets = np.array([[[0.5, 0.5]], [[0.1, 0.1]], [[np.nan, np.nan]]])
    scores = following.Scores("gazelle")
    scored = scores.add(block(targets, points, [1, 0, 1]), np.full((3, 2), 64))
    assert np.isnan(scored["auc"]).tolist() == [False, True, True]
    assert np.isnan(scored["average_l2"]).tolist() == [False, True, True]
    summary = scores.summary()
    assert summary["n"] == 3 and summary["skipped"] == {"out of frame": 1, "no gaze target": 1}
    assert summary["metrics"]["auc"]["n"] == 1


def test_video_is_scored_against_a_square_and_only_by_its_two_protocols():
    points = np.array([[0.5, 0.5]])
    columns = block(points[:, None], points) | {"dataset": np.array(["videoattentiontarget"])}
    photo = following.Scores("gazelle").add(block(points[:, None], points), np.array([[64, 64]]))
    video = following.Scores("gazelle").add(columns, np.array([[64, 64]]))
    assert video["auc"][0] == 1 and photo["auc"][0] == 1
    off = block(points[:, None], points + 4 / 64) | {"dataset": np.array(["videoattentiontarget"])}
    assert following.Scores("gazelle").add(off, np.array([[64, 64]]))["auc"][0] < 1
    with pytest.raises(GazeError, match="not defined for videoattentiontarget: gazelle or vtd"):
        following.Scores("tonini").add(columns, np.array([[64, 64]]))


def test_an_unknown_protocol_is_refused_by_name():
    with pytest.raises(GazeError, match="--protocol best: expected gazelle, vtd, tonini, sharingan"):
        following.Scores("best")


def test_p_head_counts_those_who_are_predicted_to_look_at_a_head():
    points = np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])
    targets = np.array([[[0.5, 0.5]], [[0.9, 0.1]], [[0.1, 0.9]]])
    heads = np.tile([[0.4, 0.4, 0.6, 0.6]], (3, 1, 1))
    scores = following.Scores("gazelle")
    scores.add(block(targets, points), np.full((3, 2), 64), heads)
    found = scores.summary()["metrics"]["p_head"]
    assert (found["mean"], found["n"]) == (0.5, 2)


def test_everybody_in_a_scene_is_found_whatever_the_order(tmp_path: Path):
    artifact = _samples(tmp_path, image_index=[1, 0, 1])
    heads = looking_at_head.Heads(artifact).everybody(np.array([0, 1]))
    assert heads.shape == (2, 2, 4)
    assert np.isnan(heads[1, 1]).all() and not np.isnan(heads[0]).any()


def test_baselines_never_look_at_the_person(tmp_path: Path):
    rng = np.random.default_rng(0)
    targets = np.clip(rng.normal([0.8, 0.3], 0.05, (40, 2)), 0, 1)
    artifact = _samples(tmp_path, image_index=[0] * 40, targets=targets)
    found = baselines.score(artifact, np.arange(40), "gazelle")
    from_centre = np.linalg.norm(targets - 0.5, axis=1).mean()
    assert found["centre_l2"]["mean"] == pytest.approx(from_centre)
    assert found["mean_map_l2"]["mean"] < found["centre_l2"]["mean"] / 2
    assert found["mean_map_auc"]["mean"] > 0.95 > found["centre_auc"]["mean"]


def _samples(folder: Path, image_index: list[int], targets: np.ndarray | None = None) -> artifacts.Artifact:
    count = len(image_index)
    with artifacts.create(folder / "samples.zarr", "gaze-samples") as writer:
        images = max(image_index) + 1
        writer.append(dim="image", image_name=["x"] * images, image_size_px=np.full((images, 2), 64))
        writer.append(
            sample_id=[str(i) for i in range(count)],
            image_index=np.array(image_index),
            head_box_px=np.arange(4.0) + np.arange(count)[:, None],
            gaze_targets=np.full((count, 1, 2), 0.5) if targets is None else targets[:, None],
            in_frame=np.ones(count),
        )
    return artifacts.open(folder / "samples.zarr")
