"""A model with memory over video: what it remembers does not depend on how its frames come in batches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gazecore import artifacts, images, models
from gazecore.artifacts import Artifact, gaze_samples
from gazecore.errors import GazeError
from gazecore.eval import following
from gazecore.eval.memory import packed
from gazecore.records import GazeSample

CPU = torch.device("cpu")


def video(path: Path, frames: list[tuple[str, int]]) -> Artifact:
    """A clip with a person (track) per entry, in the given order of tracks and frames."""

    def sample(track: str, frame: int) -> GazeSample:
        picture = np.random.default_rng(frame).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        return GazeSample(
            sample_id=f"{track}{frame}",
            image=images.encode_pixels(picture),
            image_name=f"{frame}.ppm",
            image_size=(64, 48),
            head_box_px=np.array([8, 4, 24, 20.0]) + 10 * (track == "b"),
            gaze_targets=np.array([[0.4, 0.7]]),
            in_frame=1.0,
            clip="c",
            track_id=track,
            frame=float(frame),
        )

    with artifacts.create(path, "gaze-samples") as writer:
        gaze_samples.write((sample(*each) for each in frames), writer, video=True)
    return artifacts.open(path)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return models.build("vtd-temporal", "tiny").eval()


def scores(model, artifact: Artifact, batch_size: int) -> dict[str, float]:
    blocks = following.predict(model, artifact, np.arange(len(artifact)), batch_size, CPU, "float32")
    found = np.concatenate([block["in_frame_score"] for block in blocks])
    maps = following.predict(model, artifact, np.arange(len(artifact)), batch_size, CPU, "float32")
    means = np.concatenate([block["heatmap"].mean(axis=(1, 2)) for block in maps])
    return dict(zip(artifact["sample_id"].whole().tolist(), (found + means).tolist(), strict=True))


def test_rows_of_several_tracks_are_packed_by_time_with_the_longest_first():
    order, batch_sizes, tracks = packed(np.array([7, 3, 3, 7, 3]))
    assert (order.tolist(), batch_sizes, tracks) == ([1, 0, 2, 3, 4], [2, 2, 1], [3, 7])


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_size_of_batches_and_the_order_of_tracks_change_nothing(tmp_path, model, batch_size: int):
    by_track = [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)]
    by_frame = sorted(by_track, key=lambda each: each[1])
    whole = scores(model, video(tmp_path / "track.zarr", by_track), 16)
    parts = scores(model, video(tmp_path / "frame.zarr", by_frame), batch_size)
    assert parts == pytest.approx(whole, abs=1e-5)


def test_the_past_of_a_track_counts(tmp_path, model):
    with_past = scores(model, video(tmp_path / "a.zarr", [("a", 0), ("a", 1), ("a", 2)]), 2)
    alone = scores(model, video(tmp_path / "b.zarr", [("a", 2)]), 2)
    assert abs(with_past["a2"] - alone["a2"]) > 1e-5


def test_frames_out_of_order_are_refused(tmp_path, model):
    with pytest.raises(GazeError, match=r"a1, frame 1, comes after a later one or twice"):
        scores(model, video(tmp_path / "a.zarr", [("a", 2), ("a", 1)]), 2)
