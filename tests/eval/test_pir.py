"""Ratios over time: rows in the order of the frames, each eye smoothed by itself, lost frames without numbers."""

import contextlib
import dataclasses

import numpy as np
import pytest

from gazecore.eval import pir
from gazecore.prep.eye_frames import EyeFrame
from gazecore.synthetic.eyes import render

SIZE = (120, 160)


class Knows:
    """A segmenter that reads the labels off the picture's first channel."""

    one_thread = contextlib.nullcontext

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = image[..., 0]
        return labels, np.stack([(labels == label).astype(np.float32) for label in range(4)], axis=1)


def frame(number: int, ratio: float, **known) -> EyeFrame:
    """A picture that is its own mask, of an open eye with that ratio; 30 frames per second."""
    labels = render(5, SIZE, "nir", pir=ratio, aperture=1.1, yaw_deg=0.0, pitch_deg=0.0).labels
    image = np.repeat(labels[..., None], 3, axis=-1)
    return EyeFrame(image, number, number / 30, "a.mp4", **known)


def all_rows(frames: list[EyeFrame], unit: str = "ratio", batch_size: int = 4) -> dict[str, np.ndarray]:
    blocks = list(pir.smoothed(pir.of_frames(frames, Knows(), batch_size), unit))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


RATIOS = 0.4 - 0.1 * np.clip(np.arange(40) / 30 - 0.5, 0, 0.5)


@pytest.fixture(scope="module")
def frames() -> list[EyeFrame]:
    return [frame(number, float(ratio)) for number, ratio in enumerate(RATIOS)]


def test_rows_are_the_frames_in_their_order_and_smoothing_keeps_to_them(frames):
    rows = all_rows(frames, batch_size=3)
    assert rows["frame"].tolist() == list(range(40))
    assert rows["pir"] == pytest.approx(RATIOS, rel=0.04)
    assert rows["pir_smooth"] == pytest.approx(RATIOS, rel=0.04)
    assert np.median(rows["velocity_per_s"][20:26]) == pytest.approx(-0.1, abs=0.03)


def test_a_lost_frame_is_a_row_that_smoothing_repairs(frames):
    lost = list(frames)
    lost[12] = dataclasses.replace(lost[12], image=None, problem="damaged")
    rows = all_rows(lost)
    assert np.isnan(rows["pir"][12]) and rows["flags"][12] == "no_image" and len(rows["pir"]) == 40
    assert rows["interpolated"][12] == 1 and rows["pir_smooth"][12] == pytest.approx(0.4, rel=0.03)
    assert rows["interpolated"].sum() == 1


def test_recordings_that_are_lost_altogether_are_rows_all_the_same():
    rows = all_rows([EyeFrame(None, number, number / 30, "a.mp4", problem="?") for number in range(5)])
    assert np.isnan(rows["pir"]).all() and set(rows["flags"]) == {"no_image"}


def test_two_eyes_that_alternate_are_smoothed_each_by_itself(frames):
    both = [dataclasses.replace(f, eye=eye) for f in frames for eye in "LR"]
    rows = all_rows(both)
    left = rows["eye"] == "L"
    assert rows["pir_smooth"][left] == pytest.approx(rows["pir_smooth"][~left])
    assert rows["pir_smooth"][left] == pytest.approx(all_rows(frames)["pir_smooth"])


def test_pictures_of_another_size_are_batches_of_their_own(frames):
    larger = dataclasses.replace(frames[1], image=np.pad(frames[1].image, ((4, 4), (4, 4), (0, 0))))
    assert all_rows([frames[0], larger, frames[2]])["pir"] == pytest.approx(RATIOS[:3], rel=0.04)


def test_without_times_nothing_is_smoothed_and_the_rows_say_so(frames):
    rows = all_rows([dataclasses.replace(f, time_s=np.nan) for f in frames[:6]])
    assert np.isnan(rows["pir_smooth"]).all() and set(rows["flags"]) == {"no_time"}
    assert np.isfinite(rows["pir"]).all()


def test_millimetres_are_the_ratio_times_the_iris(frames):
    assert all_rows(frames, "mm")["pir_smooth"] == pytest.approx(11.7 * RATIOS, rel=0.04)


def test_an_error_while_reading_reaches_the_one_who_measures(frames):
    def broken():
        yield from frames[:5]
        raise ValueError("the disk is gone")

    with pytest.raises(ValueError, match="the disk is gone"):
        list(pir.of_frames(broken(), Knows()))


def test_no_more_frames_are_read_than_will_soon_be_needed(frames):
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield frames[read % 40]

    rows = pir.of_frames(endless(), Knows())
    next(rows)
    rows.close()
    assert read < pir.AHEAD + 100
