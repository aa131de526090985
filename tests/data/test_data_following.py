import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gazecore import geometry, heatmaps, images
from gazecore.data import augment_following as augment
from gazecore.data import following
from gazecore.data.following import GAZELLE, VTD, VTD_VIDEO, as_published
from gazecore.records import GazeSample

WIDTH, HEIGHT = 160, 120
SMALL = replace(VTD, scene_size=(60, 80), head_crop_size=(16, 16), head_mask_size=(60, 80))


def photo(seed=0, size=(WIDTH, HEIGHT)):
    """Smooth, coloured, lossless."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)).copy()


def encoded(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def sample(image=None, box=(40, 30, 70, 70), gaze=((0.75, 0.5),), in_frame=1.0, **fields):
    image = encoded(photo()) if image is None else image
    return GazeSample(
        sample_id="a",
        image=image,
        image_name="a",
        image_size=(WIDTH, HEIGHT),
        head_box_px=np.array(box, float),
        gaze_targets=np.array(gaze, float),
        in_frame=in_frame,
        **fields,
    )


def draws(seed=0):
    return augment.SeededDraws(np.random.default_rng(seed))


class Always:
    """Every probability decides for the augmentation, every range gives its fraction."""

    def __init__(self, fraction=0.5, chance=0.0):
        self.fraction, self.chance = fraction, chance

    def random_sample(self):
        return self.chance

    def uniform(self, low, high):
        return low + self.fraction * (high - low)

    def randint(self, low, high):
        return int(self.uniform(low, high))


def collated(sample, preprocessing, draws=None):
    return following.collate(
        [following.make_item(images.load(sample.image), sample, preprocessing, draws)], preprocessing
    )


def test_a_batch_of_the_vtd_family():
    (batch,) = following.batches([sample(), sample()], VTD, batch_size=4)
    assert len(batch) == 2
    assert batch.scene.shape == (1, 3, 224, 224) and batch.scene.dtype == torch.float32
    assert batch.image_index.tolist() == [0, 0]
    assert batch.head_crop.shape == (2, 3, 224, 224)
    assert batch.head_mask.shape == (2, 1, 224, 224)
    assert batch.target_heatmap.shape == (2, 64, 64)
    assert batch.gaze_targets.shape == (2, 1, 2) and batch.in_frame.tolist() == [1, 1]


def test_a_batch_of_the_gazelle_family():
    (batch,) = following.batches([sample()], replace(GAZELLE, scene_size=(56, 56)), batch_size=4)
    assert batch.scene.shape == (1, 3, 56, 56) and batch.head_crop is None
    assert batch.head_mask.shape == (1, 1, 32, 32)
    assert batch.head_box[0].tolist() == pytest.approx([40 / 160, 30 / 120, 70 / 160, 70 / 120])


def test_head_boxes_grow_by_a_tenth_and_stay_inside():
    batch = collated(sample(box=(40, 30, 70, 70)), SMALL)
    assert batch.head_box[0].tolist() == pytest.approx([37 / 160, 26 / 120, 73.3 / 160, 74.4 / 120])
    assert collated(sample(box=(0, 0, 160, 120)), SMALL).head_box[0].tolist() == [0, 0, 1, 1]
    expected = geometry.head_mask(batch.head_box.numpy().astype(float), (60, 80))
    np.testing.assert_array_equal(batch.head_mask[:, 0], expected)


def test_each_photo_is_decoded_once_and_stored_once(monkeypatch):
    first, second = encoded(photo(1)), encoded(photo(2))
    decoded = []
    load = images.load
    monkeypatch.setattr(images, "load", lambda source: decoded.append(source) or load(source))
    people = [sample(first), sample(first, box=(90, 20, 120, 60)), sample(first), sample(second)]

    one, two = following.batches(people, SMALL, batch_size=2)
    assert decoded == [first, second]
    assert one.image_index.tolist() == [0, 0] and len(one.scene) == 1
    assert two.image_index.tolist() == [0, 1] and len(two.scene) == 2
    torch.testing.assert_close(one.scene[0], two.scene[0], rtol=0, atol=0)

    decoded.clear()
    (augmented,) = following.batches(people, SMALL, batch_size=9, draws=draws())
    assert decoded == [first, second]
    assert augmented.image_index.tolist() == [0, 1, 2, 3]


def test_no_samples_make_no_batch_and_the_last_may_be_smaller():
    assert list(following.batches([], SMALL, 3)) == []
    assert [len(batch) for batch in following.batches([sample()] * 5, SMALL, 3)] == [3, 2]


def test_an_unknown_head_gives_the_mean_colour_and_an_empty_mask():
    batch = collated(sample(box=[np.nan] * 4), SMALL)
    assert batch.head_box.isnan().all()
    assert batch.head_mask.sum() == 0
    assert batch.head_crop.abs().max() < 0.5 / 255 / min(VTD.std)
    nothing = sample(box=[np.nan] * 4, gaze=[[np.nan, np.nan]], in_frame=np.nan)
    for preprocessing in (SMALL, as_published(SMALL, "vtd")):
        augmented = collated(nothing, preprocessing, Always())
        assert augmented.head_box.isnan().all() and augmented.in_frame.isnan().all()


def test_targets_are_padded_and_missing_ones_are_nan():
    annotators = sample(gaze=[(0.2, 0.2), (np.nan, np.nan), (0.6, 0.4)])
    (batch,) = following.batches([annotators, sample(), sample(in_frame=0.0)], SMALL, 3)
    assert batch.gaze_targets.shape == (3, 2, 2)
    np.testing.assert_allclose(batch.gaze_targets[0], [(0.2, 0.2), (0.6, 0.4)], rtol=1e-6)
    assert batch.gaze_targets[1, 1:].isnan().all() and batch.gaze_targets[2].isnan().all()
    np.testing.assert_allclose(
        batch.target_heatmap[0], heatmaps.multi_annotator(annotators.gaze_targets, convention="subpixel")
    )
    np.testing.assert_allclose(batch.target_heatmap[1], heatmaps.gaussian([0.75, 0.5]), atol=1e-6)
    assert batch.target_heatmap[2].sum() == 0
    assert collated(sample(), replace(SMALL, heatmap_size=None)).target_heatmap is None


def test_a_batch_moves_as_a_whole():
    (batch,) = following.batches([sample()], replace(GAZELLE, scene_size=(56, 56)), 1)
    moved = batch.to("meta")
    assert moved.scene.is_meta and moved.target_heatmap.is_meta and moved.head_crop is None
    assert not batch.scene.is_meta


def test_the_scene_is_within_one_step_of_8_bits_of_pillow_in_either_order():
    image = photo(size=(331, 247))
    expected = images.colour_normalise(images.resize(image, (80, 60))).transpose(2, 0, 1)
    step = 1 / 255 / min(VTD.std)
    for order in ("resize-then-normalise", "normalise-then-resize"):
        scene = collated(sample(encoded(image)), replace(SMALL, order=order)).scene[0]
        np.testing.assert_allclose(scene, expected, atol=1.01 * step)


def test_the_same_seed_gives_the_same_batch_and_another_does_not():
    one, same, other = (collated(sample(), SMALL, draws(seed)) for seed in (3, 3, 4))
    torch.testing.assert_close(one.scene, same.scene, rtol=0, atol=0)
    assert not torch.equal(one.scene, other.scene)


@pytest.mark.parametrize("preprocessing", [SMALL, replace(GAZELLE, scene_size=(60, 80))], ids=["vtd", "gazelle"])
@pytest.mark.parametrize("seed", range(12))
def test_box_and_target_follow_the_picture(preprocessing, seed, monkeypatch):
    monkeypatch.setattr(augment, "_colour", lambda draws: None)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[28:33, 118:123] = 255  # the target, centred at x 120.5, y 30.5
    image[60:100, 20:60, 0] = 255  # the head is red
    person = sample(encoded(image), box=(20, 60, 60, 100), gaze=[(120.5 / WIDTH, 30.5 / HEIGHT)])
    batch = collated(person, replace(preprocessing, order="normalise-then-resize"), draws(seed))

    scene = (batch.scene[0] * torch.tensor(VTD.std).view(3, 1, 1) + torch.tensor(VTD.mean).view(3, 1, 1)).numpy()
    green = scene[1] - scene[1].min()  # the target alone has any
    rows, columns = np.mgrid[:60, :80]
    seen = np.array([(green * (columns + 0.5)).sum() / 80, (green * (rows + 0.5)).sum() / 60]) / green.sum()
    np.testing.assert_allclose(batch.gaze_targets[0, 0], seen, atol=0.02)

    x_min, y_min, x_max, y_max = batch.head_box[0].numpy() * [80, 60, 80, 60]
    red = (scene[0] - scene[1]) > 0.5 * (scene[0] - scene[1]).max()
    inside = (columns + 1 > x_min - 0.2) & (columns < x_max + 0.2) & (rows + 1 > y_min - 0.2) & (rows < y_max + 0.2)
    assert (red & inside).sum() >= 0.6 * red.sum()  # Gaze-LLE's jitter may cut up to 20 % from each side


boxes = st.tuples(*[st.floats(0, 1)] * 4).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)


@settings(max_examples=60, deadline=None)
@given(
    box=boxes,
    gaze=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    in_frame=st.sampled_from([0.0, 1.0, np.nan]),
    seed=st.integers(0, 2**32),
    decide=st.sampled_from([augment.sample_photo, augment.sample_gazelle]),
)
def test_an_augmentation_stays_inside_the_photo_and_holds_box_and_target(box, gaze, in_frame, seed, decide):
    size = (WIDTH, HEIGHT)
    box_px = np.array(box) * [*size, *size]
    gaze_px = np.array([gaze]) * size if in_frame else np.full((1, 2), np.nan)
    decided = decide(draws(seed), box_px, gaze_px, size)
    width, height = decided.size(size)
    if decided.crop:
        x, y, _, _ = decided.crop
        assert all(isinstance(value, int) for value in decided.crop)
        assert x >= 0 and y >= 0 and width >= 1 and height >= 1 and x + width <= WIDTH and y + height <= HEIGHT
    x_min, y_min, x_max, y_max = decided.boxes(box_px, size)
    assert -1e-9 <= x_min <= x_max <= width + 1e-9 and -1e-9 <= y_min <= y_max <= height + 1e-9
    points = decided.points(gaze_px, size)
    assert in_frame == 0 or ((points >= -1e-9) & (points <= np.array([width, height]) + 1e-9)).all()


def test_out_of_frame_targets_pad_the_picture_only_where_published_code_is_reproduced():
    white = encoded(np.full((HEIGHT, WIDTH, 3), 255, np.uint8))
    person = sample(white, gaze=[(-1, -1)], in_frame=0.0)

    class CropOnly(Always):
        def __init__(self):
            super().__init__(fraction=0.5)
            self.chances = [0.9, 0.1, 0.9, 0.9]  # jitter, crop, flip, colour

        def random_sample(self):
            return self.chances.pop(0)

    right = collated(person, SMALL, CropOnly())
    published = collated(person, as_published(SMALL, "vtd"), CropOnly())
    assert (right.scene > 2).all() and right.gaze_targets.isnan().all()
    assert (published.scene < 0).float().mean() > 0.5
    assert right.in_frame.tolist() == published.in_frame.tolist() == [0]


def test_colour_after_resizing_is_close_to_pillows_before_it():
    class ColourOnly(Always):
        def __init__(self):
            super().__init__(fraction=0.6)
            self.chances = [0.9, 0.9, 0.9, 0.1]

        def random_sample(self):
            return self.chances.pop(0)

    dim = encoded(photo() // 2 + 40)  # nothing saturates: then the order would matter
    ours = collated(sample(dim), SMALL, ColourOnly())
    published = collated(sample(dim), as_published(SMALL, "vtd"), ColourOnly())
    step = 1 / 255 / min(VTD.std)
    assert (ours.scene - published.scene).abs().max() < 4 * step
    assert (ours.scene - published.scene).abs().mean() < 2 * step  # Pillow rounds down three times


def clip(count=8, gaze=(0.75, 0.5)):
    return [
        sample(encoded(photo(i)), box=(40 + i, 30, 70 + i, 70), gaze=[gaze], in_frame=float(i % 4 != 3), frame=float(i))
        for i in range(count)
    ]


def test_a_clip_is_augmented_alike_in_every_frame():
    items = list(following.make_clip(clip(), VTD_VIDEO, Always(fraction=0.3)))
    batch = following.collate(items, VTD_VIDEO)
    assert len(batch.scene) == 8 and batch.image_index.tolist() == list(range(8))
    # the head moves by one pixel a frame; crop and flip are the same for all, so its steps are equal
    steps = batch.head_box.diff(dim=0)
    torch.testing.assert_close(steps, steps[:1].expand(7, 4), atol=1e-5, rtol=0)
    known = batch.gaze_targets[batch.in_frame == 1]
    torch.testing.assert_close(known, known[:1].expand_as(known))
    assert batch.gaze_targets[batch.in_frame == 0].isnan().all()


def test_a_clip_is_not_expanded_and_without_draws_not_changed():
    batch = following.collate(list(following.make_clip(clip(2), VTD_VIDEO)), VTD_VIDEO)
    assert batch.head_box[1].tolist() == pytest.approx([41 / 160, 30 / 120, 71 / 160, 70 / 120])
    torch.testing.assert_close(batch.scene[0], collated(clip(1)[0], VTD_VIDEO).scene[0], rtol=0, atol=0)


def test_a_long_clip_is_cut_and_frames_are_decoded_one_by_one(monkeypatch):
    frames = clip(8)
    assert len(list(following.make_clip(frames, SMALL, max_frames=5))) == 5
    decoded = []
    load = images.load
    monkeypatch.setattr(images, "load", lambda source: decoded.append(source) or load(source))
    items = following.make_clip(frames, SMALL, Always(fraction=0.7), max_frames=5)
    next(items)
    assert decoded == [frames[2].image]  # randint(0, 3) at 0.7 is 2
    assert len(list(items)) == 4


def test_a_clip_that_is_out_of_frame_throughout_is_cropped_around_its_heads():
    lost = [replace(frame, in_frame=0.0, gaze_targets=np.full((1, 2), np.nan)) for frame in clip(3)]
    for preprocessing in (SMALL, as_published(SMALL, "vtd")):
        batch = following.collate(list(following.make_clip(lost, preprocessing, Always())), preprocessing)
        assert ((batch.head_box >= 0) & (batch.head_box <= 1)).all()
        assert batch.target_heatmap.sum() == 0
