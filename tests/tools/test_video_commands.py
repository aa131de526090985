"""Own videos through the shell: a clip and head boxes in at one end of the pipe, an overlay video out at the other."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell_lines import shell

from gazecore import artifacts, video
from gazecore.synthetic.people import facing_towards
from gazecore.synthetic.scenes import draw_people, draw_room, plan_scene

FRAMES = 12

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a made clip of two people who turn their heads, their boxes, and what a pipe made of it."""
    folder = tmp_path_factory.mktemp("video")
    scene = plan_scene(np.random.Generator(np.random.PCG64(11)), 320, 240, people=2, objects=3)
    room = draw_room(scene)
    lines = ["frame,x_min,y_min,x_max,y_max"]
    with video.Writer(folder / "clip.mp4") as writer:
        for number in range(FRAMES):
            goal = scene.objects[number * 3 // FRAMES]
            facings = [facing_towards(goal.x_px - one.x_px, goal.y_px - one.y_px) for one in scene.people]
            canvas = room.copy()
            draw_people(canvas, scene.people, facings)
            writer.add(canvas, number / 10)
            lines += [",".join(map(str, (number, *one.head_box_px))) for one in scene.people]
    (folder / "heads.csv").write_text("\n".join(lines) + "\n")
    done = shell(
        "gz prep-images clip.mp4 --boxes heads.csv -o clip.zarr "
        "| gz predict-following --checkpoint gazelle:tiny --device cpu -o predictions.zarr "
        "| gz visualize -o overlay.mp4",
        folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_clip_becomes_samples_of_followed_people(work: Path):
    with artifacts.open(work / "clip.zarr", kind="gaze-samples") as samples:
        assert len(samples) == 2 * FRAMES and samples.dims["image"] == FRAMES
        assert samples["clip"].whole().tolist() == ["clip.mp4"] * 2 * FRAMES
        assert samples["track_id"].whole().tolist() == ["p1", "p2"] * FRAMES
        np.testing.assert_allclose(samples["time_s"][::2], np.arange(FRAMES) / 10)
        assert samples["image_name"].whole()[3] == "clip.mp4/000003.jpg"
    assert shell("gz verify clip.zarr predictions.zarr", work).returncode == 0


def test_the_pipe_ends_in_an_overlay_of_every_frame(work: Path):
    frames = list(video.frames(work / "overlay.mp4"))
    originals = list(video.frames(work / "clip.mp4"))
    assert [frame.time_s for frame in frames] == pytest.approx([frame.time_s for frame in originals])
    assert all(frame.size == (320, 240) for frame in frames)
    boxes = np.loadtxt(work / "heads.csv", delimiter=",", skiprows=1)[:2, 1:].astype(int)
    for left, _, _, bottom in boxes:  # the edges of both heads are drawn
        edge = (slice(bottom - 3, bottom + 4), slice(left + 8, left + 12))
        assert np.abs(frames[0].image[edge].astype(int) - originals[0].image[edge]).max() > 60


def test_predictions_say_who_looks_at_whose_head(work: Path):
    with artifacts.open(work / "predictions.zarr") as predictions:
        looks = predictions["predicted_looks_at_head"][:]
        whose = predictions["head_looked_at"].whole()
        assert set(np.unique(looks)) <= {0.0, 1.0} and np.isnan(predictions["looks_at_head"][:]).all()
        assert ((whose != "") == (looks == 1)).all() and set(whose.tolist()) <= {"", "p1", "p2"}
        assert not (whose == predictions["track_id"].whole()).any()


def test_frames_are_thinned_and_the_report_draws_them_too(work: Path):
    done = shell("gz prep-images clip.mp4 --boxes heads.csv --fps 2.5 --json -o thin.zarr", work)
    assert json.loads(done.stdout) == {"samples": 6, "frames with a head": 3}
    with artifacts.open(work / "thin.zarr") as samples:
        assert samples["frame"][:].tolist() == [0, 0, 4, 4, 8, 8]
        assert samples["track_id"].whole().tolist() == ["p1", "p2"] * 3
    assert shell("gz visualize thin.zarr -o thin.html && gz visualize thin.zarr -o thin.mp4", work).returncode == 0
    assert len(list(video.frames(work / "thin.mp4"))) == 3


def test_a_resumed_preparation_has_the_content_of_an_unbroken_one(work: Path):
    line = "gz prep-images clip.mp4 --boxes heads.csv"
    assert shell(f"{line} -o whole.zarr && {line} -o part.zarr --resume", work).returncode == 0
    with artifacts.open(work / "whole.zarr") as whole, artifacts.open(work / "part.zarr") as part:
        assert whole.id == part.id


@pytest.mark.parametrize(
    "line, code, message",
    [
        (
            "gz prep-images photo.png --boxes photo.csv | gz visualize -o photo.mp4",
            65,
            "holds photos; an overlay",
        ),
        ("gz visualize clip.zarr -o overlay.mp4", 73, "overlay.mp4 exists; --overwrite"),
        ("gz visualize clip.zarr -o overlay.avi", 2, "expected a folder"),
        ("gz prep-images clip.mp4 photo.png --boxes heads.csv -o x.zarr", 2, "prepare them apart"),
        ("gz prep-images clip.mp4 --boxes heads.csv --images paths -o x.zarr", 2, "--images packed"),
        ("gz prep-images photo.png --boxes photo.csv --fps 2 -o x.zarr", 2, "--fps is for videos"),
        ("gz prep-images broken.mp4 --boxes heads.csv -o x.zarr", 65, "broken.mp4 is not a video"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(work: Path, line: str, code: int, message: str):
    Image.new("RGB", (64, 48)).save(work / "photo.png")
    (work / "photo.csv").write_text("image,x_min,y_min,x_max,y_max\nphoto.png,4,5,20,25\n")
    (work / "broken.mp4").write_text("nothing")
    done = shell(line, work)
    assert done.returncode == code and message in done.stderr
    assert not (work / "x.zarr").exists() and not (work / "photo.mp4").exists()


@pytest.mark.slow
def test_labels_stay_when_predictions_are_scored_later(work: Path):
    alone = "gz select predictions.zarr --where 'track_id == \"p1\"'"
    assert shell(f"{alone} | gz eval-following -o scored.zarr", work).returncode == 0
    with artifacts.open(work / "scored.zarr") as scored, artifacts.open(work / "predictions.zarr") as predictions:
        first = predictions["track_id"].whole() == "p1"
        assert scored["head_looked_at"].whole().tolist() == predictions["head_looked_at"].whole()[first].tolist()


@pytest.mark.slow
def test_a_model_is_exported_compared_and_reported(tmp_path: Path):
    pytest.importorskip("onnxruntime")
    for name in ("gazelle.onnx", "gazelle.pt2"):
        done = shell(f"gz export-following --checkpoint gazelle:tiny -o {name} --json", tmp_path)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert set(result["largest_difference"]) == {"heatmap", "in_frame"}
        assert max(result["largest_difference"].values()) < result["tolerance"]
        assert result["bytes"] == (tmp_path / name).stat().st_size
    done = shell("gz export-following --checkpoint gazelle:tiny -o gazelle.onnx", tmp_path)
    assert done.returncode == 73
    done = shell("gz export-following --checkpoint gazelle:tiny -o strict.onnx --tolerance 0", tmp_path)
    assert done.returncode == 65 and "would differ" in done.stderr and not (tmp_path / "strict.onnx").exists()
