"""Preprocessing as models want it, augmentation that moves image and labels alike, batches that never vary."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gazecore import artifacts
from gazecore.artifacts import eye_samples
from gazecore.data.augment_eyes import Draw, augmented, draw
from gazecore.data.clahe import clahe
from gazecore.data.eyes import Eyes, Preprocessing, held_out, loaded, preprocessing_of, restored
from gazecore.errors import GazeError
from gazecore.prep import eyes as prep

PLAIN = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> artifacts.Artifact:
    path = tmp_path_factory.mktemp("eyes") / "eyes.zarr"
    with artifacts.create(path, "eye-samples") as writer:
        eye_samples.write(prep.rendered(10, seed=2, size=(64, 48)), writer, truth=True)
    return artifacts.open(path)


def square(height: int = 48, width: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright rectangle on black and its label 2, off the middle."""
    image, labels = np.zeros((1, height, width, 3), np.uint8), np.zeros((1, height, width), np.uint8)
    image[:, 10:20, 14:34], labels[:, 10:20, 14:34] = 255, 2
    return torch.from_numpy(image), torch.from_numpy(labels)


def test_images_are_resized_by_their_longer_side_and_normalised():
    image = np.full((2, 40, 80, 3), 255, np.uint8)
    found = Preprocessing((0.5,) * 3, (0.5,) * 3, long_side=60).apply(image)
    assert found.shape == (2, 3, 30, 60) and found == pytest.approx(torch.ones_like(found), abs=1e-6)


def test_grey_is_the_luma_in_all_channels():
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[..., 1] = 100
    found = Preprocessing((0.0,) * 3, (1.0,) * 3, grey=True).apply(image)
    assert found == pytest.approx(torch.full_like(found, 58.7 / 255), abs=1e-6)


def test_gamma_cuts_to_whole_grey_values_as_a_table_does():
    image = np.full((1, 32, 32, 3), 100, np.uint8)
    found = Preprocessing((0.0,) * 3, (1.0,) * 3, gamma=0.8).apply(image)
    assert found[0, 0, 0, 0].item() * 255 == pytest.approx(int(255 * (100 / 255) ** 0.8), abs=1e-3)


@pytest.mark.parametrize("shape", [(48, 64), (100, 133), (101, 160)])
@pytest.mark.parametrize("clip", [1.5, 4.0, 0.0])
def test_clahe_is_that_of_opencv_to_the_bit(shape, clip):
    cv2 = pytest.importorskip("cv2")
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = (128 + 60 * np.sin(rows / 9) + 50 * np.cos(columns / 13)).astype(np.uint8)
    assert np.array_equal(clahe(image, clip, 8), cv2.createCLAHE(clip, (8, 8)).apply(image))


def test_an_unknown_wish_of_a_model_is_refused():
    class Model:
        preprocessing = {"mean": [0], "std": [1], "sepia": True}  # noqa: RUF012

    with pytest.raises(GazeError, match="sepia"):
        preprocessing_of(Model())


def test_probabilities_come_back_at_the_images_size_and_still_add_up():
    probability = torch.rand(2, 4, 24, 32).softmax(dim=1)
    found = restored(probability, (48, 70))
    assert found.shape == (2, 4, 48, 70) and found.sum(1) == pytest.approx(torch.ones(2, 48, 70), abs=1e-5)


def test_without_augmentation_nothing_changes():
    image, labels = square()
    picture, target = augmented(image, labels, [Draw()], (48, 64))
    assert picture == pytest.approx(image.permute(0, 3, 1, 2).float(), abs=0.01)
    assert torch.equal(target, labels.long())


def test_a_flip_mirrors_image_and_labels():
    image, labels = square()
    picture, target = augmented(image, labels, [Draw(flip=True)], (48, 64))
    assert picture == pytest.approx(image.permute(0, 3, 1, 2).flip(3).float(), abs=0.01)
    assert torch.equal(target, labels.long().flip(2))


@pytest.mark.parametrize("seed", range(6))
def test_labels_lie_where_the_image_shows_them_however_it_is_moved(seed):
    image, labels = square()
    moved = draw(np.random.default_rng(seed))
    only_moved = Draw(moved.flip, moved.scale, moved.aspect, moved.turn_deg, moved.shift)
    picture, target = augmented(image, labels, [only_moved], (48, 64))
    assert ((picture[:, 0] > 127) == (target == 2)).float().mean() > 0.985


def test_a_pictures_scale_is_that_of_the_eye():
    image, labels = square()
    _, larger = augmented(image, labels, [Draw(scale=1.5)], (48, 64))
    assert (larger == 2).sum() / (labels == 2).sum() == pytest.approx(2.25, rel=0.15)


def test_an_update_is_the_same_whatever_was_asked_for_before(samples):
    rows = np.arange(len(samples))
    one, other = (Eyes(samples, rows, PLAIN, 4, seed=3) for _ in range(2))
    later = one[1, 1]
    for place in ((0, 0), (0, 1)):
        other[place]
    assert torch.equal(later.image, other[1, 1].image) and torch.equal(later.labels, other[1, 1].labels)
    assert not torch.equal(later.image, one[0, 1].image)


def test_processes_share_a_batch_and_augment_it_alike(samples):
    rows = np.arange(len(samples))
    whole = Eyes(samples, rows, PLAIN, 5, seed=3)[0, 0]
    parts = [Eyes(samples, rows, PLAIN, 5, seed=3, rank=rank, world=2)[0, 0] for rank in range(2)]
    assert torch.equal(whole.image, torch.cat([part.image for part in parts]))


def test_images_kept_in_memory_or_read_again_are_the_same(samples, monkeypatch):
    rows = np.arange(1, 8)
    kept = Eyes(samples, rows, PLAIN, 4)[0, 0]
    monkeypatch.setattr("gazecore.data.eyes.KEPT_BYTES", 0)
    assert torch.equal(kept.image, Eyes(samples, rows, PLAIN, 4)[0, 0].image)


def test_workers_load_what_the_process_itself_would(samples):
    source = Eyes(samples, np.arange(len(samples)), PLAIN, 4)
    places = [(0, 0), (0, 1), (1, 0)]
    alone = [batch.image for _, batch in loaded(source, iter(places))]
    helped = [batch.image for _, batch in loaded(source, iter(places), workers=1)]
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_samples_without_masks_cannot_be_trained_on(tmp_path: Path):
    with artifacts.create(tmp_path / "a.zarr", "eye-samples") as writer:
        writer.append(sample_id=["a"], image=np.zeros((1, 32, 32, 3), np.uint8))
    with artifacts.open(tmp_path / "a.zarr") as samples, pytest.raises(GazeError, match="has no labels"):
        Eyes(samples, np.arange(1), PLAIN, 1)


def test_people_are_held_out_whole(tmp_path: Path):
    with artifacts.create(tmp_path / "a.zarr", "eye-samples") as writer:
        names = ["anna", "anna", "ben", "ben", "cleo", "cleo"]
        writer.append(sample_id=list("abcdef"), subject=names, image=np.zeros((6, 32, 32, 3), np.uint8))
    with artifacts.open(tmp_path / "a.zarr") as samples:
        rest, out = held_out(samples, np.arange(6), 0.34, seed=0)
    assert len(out) == 2 and names[out[0]] == names[out[1]] and sorted([*rest, *out]) == list(range(6))
