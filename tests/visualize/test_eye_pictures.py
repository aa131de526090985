"""Eyes, traces and epochs drawn: a picture per sample, recording or run, with what the artifact says beside it."""

from pathlib import Path

import numpy as np
import pytest

from gazecore import artifacts, video
from gazecore.errors import GazeError
from gazecore.synthetic.eyes import render
from gazecore.visualize import eyes, items, overlay


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rendered eyes, the last of them shut."""
    path = tmp_path_factory.mktemp("eyes") / "eyes.zarr"
    made = [render(1, (60, 80)), render(2, (60, 80)), render(3, (60, 80), aperture=0.0)]
    with artifacts.create(path, "eye-samples") as writer:
        writer.append(
            sample_id=["a", "b", "c"],
            image=np.stack([eye.image for eye in made]),
            labels=np.stack([eye.labels for eye in made]),
        )
    return path


def test_labels_colour_their_pixels_and_leave_the_background():
    image = np.full((2, 2, 3), 100, np.uint8)
    drawn = eyes.coloured(image, np.array([[0, 1], [2, 3]], np.uint8))
    assert (drawn[0, 0] == 100).all() and len(np.unique(drawn.reshape(-1, 3), axis=0)) == 4


def test_every_sample_is_a_picture_with_its_ratio_or_why_there_is_none(samples: Path):
    with artifacts.open(samples) as artifact:
        shown = list(items.report_items(artifact))
        assert [item.name for item in shown] == ["a", "b", "c"]
        assert "no_pupil" in shown[2].text["flags"] and "flags" not in shown[0].text
        sizes = {item.picture().size for item in shown}
    assert len(sizes) == 1


def test_a_recording_is_one_picture_of_both_eyes(tmp_path: Path):
    time_s = np.tile(np.arange(40) / 30, 2)
    with artifacts.create(tmp_path / "trace.zarr", "pupil-trace", {"unit": "ratio"}) as writer:
        writer.append(
            sample_id=[str(i) for i in range(80)],
            eye=["L"] * 40 + ["R"] * 40,
            time_s=time_s,
            pir=np.where(np.arange(80) % 40 < 35, 0.4, np.nan),
            blink=(np.arange(80) % 40 >= 35).astype(np.uint8),
            pupil_confidence=np.full(80, 0.9),
        )
    with artifacts.open(tmp_path / "trace.zarr") as artifact:
        (item,) = items.report_items(artifact)
        assert item.text["frames"] == "80" and item.text["measured"] == "87.5 %"
        assert item.scores["pir"] == pytest.approx(0.4)
        assert item.picture().size == (1200, 552)


def test_epochs_are_drawn_with_the_scores_that_are_known(tmp_path: Path):
    attrs = {"centre_auc": 0.5, "centre_l2": 0.4, "mean_map_auc": 0.7, "mean_map_l2": 0.5}
    with artifacts.create(tmp_path / "epochs.zarr", "epoch-scores", attrs) as writer:
        writer.append(epoch=[1, 2], step=[10, 20], auc=np.array([0.6, 0.8]), in_frame_ap=np.array([np.nan, np.nan]))
    with artifacts.open(tmp_path / "epochs.zarr") as artifact:
        (item,) = items.report_items(artifact)
        assert item.scores == {"auc": 0.8}
        assert item.picture().width == 630  # one panel: nothing else is known


def test_scored_ratios_and_both_eyes_are_first_compared(tmp_path: Path):
    labels = np.stack([render(seed, (60, 80)).labels for seed in (1, 2)])
    with artifacts.create(tmp_path / "masks.zarr", "eye-masks") as writer:
        ratios = {"pir_predicted": np.array([0.4, 0.5]), "pir_true": np.array([0.41, 0.5])}
        writer.append(sample_id=["a", "b"], labels=labels, mean_iou=np.array([0.8, 0.9]), **ratios)
    eyes_of = {"eye": ["L", "R", "L", "R"], "anisocoria": np.array([0.02, 0.02, 0.01, 0.01])}
    with artifacts.create(tmp_path / "plr.zarr", "plr") as writer:
        writer.append(baseline=np.array([0.5, 0.48, 0.52, 0.51]), onset_s=np.array([1.0, 1, 11, 11]), **eyes_of)
    for name, first, count in (("masks", "agreement of the ratio", 3), ("plr", "left and right", 5)):
        with artifacts.open(tmp_path / f"{name}.zarr") as artifact:
            shown = list(items.report_items(artifact))
            assert (shown[0].name, len(shown)) == (first, count)
            assert shown[0].picture().width > 400
    with artifacts.open(tmp_path / "masks.zarr") as artifact:  # not the IoU of one matrix, so by another name
        assert items.summary(artifact)["mean_iou (mean over images)"].value == pytest.approx(0.85)


def test_masks_over_video_become_an_overlay_of_one_eye(tmp_path: Path):
    made = [render(seed, (60, 80)) for seed in (1, 2, 4)]
    columns = {"image": np.stack([eye.image for eye in made]), "labels": np.stack([eye.labels for eye in made])}
    columns |= {"sample_id": ["a", "b", "c"], "time_s": np.array([0.1, 0.0, 0.2])}
    for name, eyes_of in (("one", ["L"] * 3), ("two", ["L", "L", "R"])):
        with artifacts.create(tmp_path / f"{name}.zarr", "eye-masks") as writer:
            writer.append(**columns, eye=eyes_of)
    with artifacts.open(tmp_path / "one.zarr") as one:
        assert overlay.write(one, tmp_path / "one.mp4") == (3, pytest.approx(0.2))
    assert [frame.size for frame in video.frames(tmp_path / "one.mp4")] == [(440, 330)] * 3
    with artifacts.open(tmp_path / "two.zarr") as two, pytest.raises(GazeError, match=r"2 eyes.*where 'eye == .L.'"):
        overlay.check(two)
