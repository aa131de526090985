"""Gaze samples into an artifact, every scene once."""

import numpy as np
import pytest

from gazecore import artifacts
from gazecore.artifacts import gaze_samples
from gazecore.errors import GazeError
from gazecore.records import GazeSample


def people(count: int) -> list[GazeSample]:
    """Three people in each photo, which are PNG bytes that begin as they should."""
    return [
        GazeSample(f"{i}", b"\x89PNG" + bytes([i // 3]), f"{i // 3}.png", (4, 3), np.array([0, 0, 2, 2.0]))
        for i in range(count)
    ]


def write(path, samples, resume=False):
    with artifacts.create(path, "gaze-samples", resume=resume) as writer:
        gaze_samples.write(samples, writer)
    with artifacts.open(path) as artifact:
        return artifact.id


def test_people_of_one_photo_share_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr(gaze_samples, "BLOCK", 4)
    write(tmp_path / "a.zarr", people(10))
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert artifact["image_index"][:].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
        assert artifact["image_name"][:].tolist() == ["0.png", "1.png", "2.png", "3.png"]


@pytest.mark.parametrize("stop", [4, 8, 12])
def test_a_resumed_run_goes_on_in_the_photo_where_it_stopped(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(gaze_samples, "BLOCK", 4)

    def until(count):
        yield from people(20)[:count]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.zarr", until(stop), resume=True)
    assert write(tmp_path / "a.zarr", people(20), resume=True) == write(tmp_path / "b.zarr", people(20))


def test_too_many_annotators_are_named(tmp_path):
    sample = GazeSample("s", b"\x89PNG", "s.png", (4, 3), np.zeros(4), gaze_targets=np.zeros((3, 2)))
    with pytest.raises(GazeError, match="s has 3 annotators; expected up to 1"):
        write(tmp_path / "a.zarr", [sample])
