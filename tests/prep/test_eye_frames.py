"""Frames of eyes from folders, films, arrays and videos, in their order, with a damaged one among them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazecore import video
from gazecore.errors import GazeError
from gazecore.prep import eye_frames


def picture(number: int) -> np.ndarray:
    """(32, 48, 3): grey value 10 * number."""
    return np.full((32, 48, 3), 10 * number, np.uint8)


def greys(source: Path, **options) -> list[int]:
    return [round(float(frame.image.mean()) / 10) for frame in eye_frames.read(source, **options)]


def test_images_come_in_natural_order_and_count_per_eye(tmp_path):
    for number in (10, 2, 1):
        Image.fromarray(picture(number)).save(tmp_path / f"f{number}_left.png")
        Image.fromarray(picture(number)).save(tmp_path / f"f{number}_right.png")
    found = list(eye_frames.read(tmp_path, fps=10))
    assert [(frame.name, frame.frame, frame.eye) for frame in found[:3]] == [
        ("f1_left.png", 0, "L"), ("f1_right.png", 0, "R"), ("f2_left.png", 1, "L"),
    ]  # fmt: skip
    assert found[-1].time_s == pytest.approx(0.2) and found[-1].image.mean() == 100


def test_folders_are_subject_and_trial_and_a_folder_may_be_an_eye(tmp_path):
    for name in ("anna/t1/left_eyes", "anna/t2/left_eyes"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(picture(1)).save(tmp_path / name / "0.png")
    found = list(eye_frames.read(tmp_path))
    assert [frame.sequence for frame in found] == [("anna", "t1", "L"), ("anna", "t2", "L")]


def test_a_film_of_pictures_has_its_own_times(tmp_path):
    pictures = [Image.fromarray(picture(number)) for number in (1, 3, 5)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=40)
    assert [frame.time_s for frame in eye_frames.read(tmp_path / "a.gif")] == pytest.approx([0, 0.04, 0.08])
    pictures[0].save(tmp_path / "a.tiff", save_all=True, append_images=pictures[1:])
    assert greys(tmp_path / "a.tiff") == [1, 3, 5]


def test_arrays_of_any_sort_are_frames(tmp_path):
    import h5py
    import zarr

    grey = np.stack([picture(number)[..., 0] for number in (1, 2, 3)])
    np.save(tmp_path / "a.npy", grey)
    np.save(tmp_path / "f.npy", grey / np.float32(255))
    np.save(tmp_path / "w.npy", grey.astype(np.uint16) << 8)
    zarr.create_array(tmp_path / "a.zarr", data=np.repeat(grey[..., None], 3, axis=-1))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["somewhere/eye"] = grey
    for name in ("a.npy", "f.npy", "w.npy", "a.zarr", "a.h5"):
        assert greys(tmp_path / name) == [1, 2, 3], name
        assert eye_frames.is_frames(str(tmp_path / name))


def test_a_video_gives_frames_by_time_stamp(tmp_path):
    with video.Writer(tmp_path / "s1_right.mp4") as writer:
        for number in range(5):
            writer.add(picture(2 * number), 0.04 * number)
    found = list(eye_frames.read(tmp_path / "s1_right.mp4"))
    assert [frame.time_s for frame in found] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=1e-4)
    assert {(frame.eye, frame.trial) for frame in found} == {("R", "s1")}
    assert {frame.eye for frame in eye_frames.read(tmp_path / "s1_right.mp4", eye="L")} == {"L"}


def test_a_damaged_image_is_a_frame_without_picture_and_the_rest_is_kept(tmp_path):
    for number in range(3):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    found = list(eye_frames.read(tmp_path))
    assert [frame.image is None for frame in found] == [False, True, False]
    assert "1.png" in found[1].problem


def test_a_video_damaged_in_its_middle_goes_on_behind_it(tmp_path):
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(0)
    with video.Writer(path) as writer:
        for number in range(30):
            writer.add(noise.integers(0, 255, (64, 64, 3), dtype=np.uint8), 0.04 * number)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    found = list(eye_frames.read(path))
    assert 28 <= len(found) <= 30 and any(frame.problem for frame in found)
    assert found[-1].image is not None and all(frame.image is not None for frame in found[:10])


def test_what_holds_no_frames_is_said(tmp_path):
    with pytest.raises(GazeError, match="no such file"):
        list(eye_frames.read(tmp_path / "a.mp4"))
    with pytest.raises(GazeError, match="holds no frames"):
        list(eye_frames.read(tmp_path))
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    with pytest.raises(GazeError, match=r"array \(4, 4\); expected \(frames, h, w\)"):
        list(eye_frames.read(tmp_path / "a.npy"))
    (tmp_path / "a.txt").write_text("?")
    with pytest.raises(GazeError, match="no kind of file known here"):
        list(eye_frames.read(tmp_path / "a.txt"))
