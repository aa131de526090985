"""Made eyes: labels agree with the exact truth, the same seed makes the same pixels, ranges hold."""

import csv
import dataclasses
import hashlib
import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from gazecore import video
from gazecore.synthetic import eyes, plr_video
from gazecore.synthetic.eye_appearance import hairs, value_noise
from gazecore.synthetic.eye_camera import Camera
from gazecore.synthetic.eye_geometry import IRIS, PUPIL, SCLERA, Disc, EyeGeometry
from gazecore.synthetic.eye_plan import IRIS_COLORS, MODES, SKINS, plan_eye
from gazecore.synthetic.eye_rendering import Renderer
from gazecore.synthetic.eyes import frames_of, make, make_openeds, render
from gazecore.synthetic.plr_video import Flash, Recording, plan_recording

SMALL = (120, 160)
OPEN = {"aperture": 1.2, "pitch_deg": 0.0}


def area(ellipse):
    return math.pi * ellipse.major * ellipse.minor / 4


def inside(ellipse, size):
    """Which pixel centres lie in an ellipse."""
    y, x = np.mgrid[: size[0], : size[1]]
    angle = math.radians(ellipse.angle_deg)
    along = (x - ellipse.cx) * math.cos(angle) + (y - ellipse.cy) * math.sin(angle)
    across = -(x - ellipse.cx) * math.sin(angle) + (y - ellipse.cy) * math.cos(angle)
    return (2 * along / ellipse.major) ** 2 + (2 * across / ellipse.minor) ** 2 <= 1


def rim(mask):
    """Pixels with a neighbour of the other kind."""
    rim = np.zeros_like(mask)
    for axis in (0, 1):
        for step in (1, -1):
            rim |= np.roll(mask, step, axis) != mask
    return rim


@pytest.fixture(scope="module")
def fifty():
    return [render(seed, SMALL) for seed in range(50)]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    root = tmp_path_factory.mktemp("plr")
    return root, eyes.make_plr_video(root, 1, seed=3, seconds=4.0)


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def fingerprints(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# --- labels and truth


@pytest.mark.parametrize("seed", range(6))
def test_labels_of_a_wide_open_eye_have_the_area_of_the_exact_ellipses(seed):
    eye = render(seed, **OPEN)
    counts = np.bincount(eye.labels.ravel(), minlength=4)
    assert counts[PUPIL] == pytest.approx(area(eye.truth.pupil), rel=0.01)
    if eye.truth.iris_visible == 1:
        assert counts[PUPIL] + counts[IRIS] == pytest.approx(area(eye.truth.iris), rel=0.003)


def test_labels_neither_grow_nor_shrink_the_pupil():
    ratios = []
    for seed in range(60):
        geometry = EyeGeometry(dataclasses.replace(plan_eye(seed), **OPEN), SMALL)
        ratios.append(np.count_nonzero(geometry.labels().ids == PUPIL) / area(geometry.pupil.ellipse))
    assert np.mean(ratios) == pytest.approx(1, abs=0.002)


def test_iris_and_pupil_labels_lie_in_their_ellipses_and_sclera_around(fifty):
    for eye in fifty:
        pupil, iris = inside(eye.truth.pupil, SMALL), inside(eye.truth.iris, SMALL)
        assert np.all(iris[pupil])
        for ids, mask in (((PUPIL,), pupil), ((IRIS, PUPIL), iris)):
            labelled = np.isin(eye.labels, ids)
            assert not np.any(labelled & ~mask & ~rim(mask))
        assert not np.any((eye.labels == SCLERA) & iris & ~rim(iris))
        assert not np.any((eye.labels == IRIS) & pupil & ~rim(pupil))


def test_the_ratio_is_that_of_the_major_axes_and_may_be_given():
    for pir in (0.2, 0.41, 0.65):
        truth = render(5, SMALL, pir=pir).truth
        assert truth.pir == pytest.approx(pir, abs=1e-9)
        assert truth.pupil.major / truth.iris.major == truth.pir
        assert truth.pir_area == pytest.approx(area(truth.pupil) / area(truth.iris))


def test_an_iris_seen_from_the_side_is_as_narrow_as_its_normal_says():
    truth = render(2, yaw_deg=25.0, pitch_deg=0.0).truth
    assert truth.iris.minor / truth.iris.major == pytest.approx(math.cos(math.radians(25)))
    assert truth.iris.angle_deg == pytest.approx(90)
    truth = render(2, yaw_deg=20.0, pitch_deg=-10.0).truth
    depth = math.cos(math.radians(20)) * math.cos(math.radians(10))
    assert truth.iris.minor / truth.iris.major == pytest.approx(depth)
    normal = (math.sin(math.radians(20)) * math.cos(math.radians(10)), -math.sin(math.radians(10)))
    along = math.radians(truth.iris.angle_deg)
    assert normal[0] * math.cos(along) + normal[1] * math.sin(along) == pytest.approx(0, abs=1e-9)


def test_the_ellipse_of_a_map_by_hand():
    ellipse = Disc(7.0, 8.0, np.array([[0.0, -2.0], [3.0, 0.0]])).ellipse
    assert ellipse == pytest.approx((7, 8, 6, 4, 90))


def test_visible_shares_are_those_of_the_labels(fifty):
    for eye in fifty:
        for share, ellipse, ids in (
            (eye.truth.pupil_visible, eye.truth.pupil, (PUPIL,)),
            (eye.truth.iris_visible, eye.truth.iris, (IRIS, PUPIL)),
        ):
            assert np.isin(eye.labels, ids).sum() / area(ellipse) == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("aperture", [0.0, 0.03, 0.06])
def test_a_shut_eye_has_no_labels_but_still_a_ratio(aperture):
    eye = render(1, SMALL, aperture=aperture, pir=0.4)
    assert eye.truth.blink and not eye.labels.any()
    assert (eye.truth.iris_visible, eye.truth.pupil_visible, eye.truth.aperture_px) == (0, 0, 0)
    assert eye.truth.pir == pytest.approx(0.4)


def test_an_eye_whose_pupil_is_hidden_blinks_and_an_open_one_does_not():
    narrow = render(1, SMALL, aperture=0.12)
    assert narrow.truth.blink and narrow.truth.pupil_visible < 0.25 and narrow.labels.any()
    assert not render(1, SMALL, aperture=0.9).truth.blink


def test_the_aperture_is_the_opening_of_the_lids_in_iris_diameters():
    for aperture in (0.3, 0.8, 1.2):
        truth = render(4, aperture=aperture, lid_skew=0.0, roll_deg=0.0).truth
        assert truth.aperture_px == pytest.approx(aperture * truth.iris.major, rel=0.03)


def test_lids_follow_the_gaze_down():
    up, down = (
        EyeGeometry(dataclasses.replace(plan_eye(3), pitch_deg=pitch, y=0.0), (240, 320)) for pitch in (-14.0, 14.0)
    )
    middle = 160
    assert down.lids().upper[middle] > up.lids().upper[middle] and down.lids().lower[middle] > up.lids().lower[middle]
    moved = down.lids().lower[middle] - up.lids().lower[middle]
    assert moved == pytest.approx(0.45 * (down.iris.cy - up.iris.cy), rel=0.05)


def test_lashes_reflections_and_the_camera_leave_the_labels_alone():
    bare = render(7, SMALL, lashes=0, glints=(), window=None, blur_px=0.0, noise_sd=0.0, motion_px=None, brow=0.0)
    rich = render(7, SMALL, lashes=45, glints=((0.0, 0.0, 0.11),), motion_px=(6, 2), blur_px=1.6)
    assert np.array_equal(bare.labels, rich.labels) and not np.array_equal(bare.image, rich.image)
    assert bare.truth == rich.truth


# --- ranges


def test_what_is_drawn_keeps_to_the_ranges(fifty):
    plans = [plan_eye(seed) for seed in range(400)]
    for name, low, high in (
        ("radius_px", 48, 70), ("yaw_deg", -28, 28), ("pitch_deg", -16, 16), ("pir", 0.18, 0.65),
        ("pupil_x", -0.05, 0.05), ("pupil_axis_ratio", 0.94, 1), ("aperture", 0, 1.25), ("roll_deg", -8, 8),
        ("lid_half_width", 2.15, 2.75), ("lid_skew", -0.25, 0.25), ("lashes", 0, 45), ("gradient", 0.1, 0.45),
        ("exposure", 0.65, 1.15), ("noise_sd", 1, 9), ("limbal_width", 0.05, 0.12), ("vessels", 0, 0.35),
    ):  # fmt: skip
        values = [getattr(plan, name) for plan in plans]
        assert low <= min(values) and max(values) <= high and np.ptp(values) > 0.8 * (high - low), name
    assert {plan.skin for plan in plans} == set(SKINS) and {plan.iris_color for plan in plans} == set(IRIS_COLORS)
    assert {len(plan.glints) for plan in plans} == {1, 2, 3}
    assert 0.15 < np.mean([plan.window is not None for plan in plans]) < 0.35
    assert 0.08 < np.mean([plan.motion_px is not None for plan in plans]) < 0.22
    assert 0.4 < np.mean([plan.mode == "nir" for plan in plans]) < 0.6
    for eye in fifty:
        assert eye.image.shape == (*SMALL, 3) and eye.image.dtype == eye.labels.dtype == np.uint8
        assert 24 <= eye.truth.iris.major / 2 <= 35.001 and 0.18 <= eye.truth.pir <= 0.65
        assert eye.truth.pir_area <= eye.truth.pir**2 / 0.94
        reach = eye.truth.iris.major / 2
        assert reach < eye.truth.iris.cx < 159 - reach and reach < eye.truth.iris.cy < 119 - reach


def test_near_infrared_is_grey_and_its_pupil_darker_than_its_iris():
    for seed in range(12):
        eye = render(seed, SMALL, "nir", glints=(), window=None, lashes=0, aperture=1.0, jpeg_quality=0)
        assert np.array_equal(eye.image[..., 0], eye.image[..., 1])
        assert np.array_equal(eye.image[..., 0], eye.image[..., 2])
        grey = eye.image[..., 0].astype(float)
        assert grey[eye.labels == PUPIL].mean() < 0.4 * grey[eye.labels == IRIS].mean()
    brown = {"iris_color": "dark brown", "exposure": 1.0, "gradient": 0.0, **OPEN}
    by_eye, infrared = (render(3, SMALL, mode, **brown) for mode in MODES)
    assert infrared.image[infrared.labels == IRIS].mean() > 2 * by_eye.image[by_eye.labels == IRIS].mean()


def test_a_blue_iris_is_bluer_than_a_brown_one():
    blue, brown = (render(3, SMALL, "rgb", iris_color=name, **OPEN) for name in ("blue", "brown"))
    colors = [eye.image[eye.labels == IRIS].mean(axis=0) for eye in (blue, brown)]
    assert colors[0][2] > colors[0][0] and colors[1][2] < colors[1][0]


def test_the_mode_changes_the_light_and_nothing_else():
    colour, grey = (render(9, SMALL, mode) for mode in MODES)
    assert np.array_equal(colour.labels, grey.labels)
    assert dataclasses.replace(colour.truth, mode="nir") == grey.truth


def test_the_same_eye_at_another_size_is_the_same_eye():
    small, large = render(11, SMALL), render(11, (240, 320))
    assert small.truth.pir == pytest.approx(large.truth.pir) and small.truth.yaw_deg == large.truth.yaw_deg
    assert large.truth.iris.major == pytest.approx(2 * small.truth.iris.major, rel=1e-6)
    assert np.mean(small.labels == large.labels[::2, ::2]) > 0.97


@pytest.mark.parametrize("size", [(24, 24), (33, 41), (48, 200), (200, 48), (112, 160)])
def test_any_size_can_be_rendered(size):
    eye = render(4, size, aperture=0.9)
    assert eye.image.shape == (*size, 3) and eye.labels.shape == size and (eye.labels == PUPIL).any()


def test_what_cannot_be_rendered_is_refused():
    with pytest.raises(ValueError, match="20 x 30 pixels"):
        render(0, (30, 20))
    with pytest.raises(ValueError, match="no mode 'thermal'"):
        render(0, mode="thermal")
    with pytest.raises(TypeError, match="pupil_size"):
        render(0, pupil_size=3)


# --- the same on every machine


def test_a_seed_gives_the_same_pixels_as_ever():
    eye = render(2024, (48, 64), "rgb", jpeg_quality=0)
    digest = hashlib.sha256(eye.image.tobytes() + eye.labels.tobytes()).hexdigest()
    assert digest[:16] == "13ea247d8e459a1e"
    again = render(2024, (48, 64), "rgb", jpeg_quality=0)
    assert np.array_equal(again.image, eye.image) and again.truth == eye.truth
    assert not np.array_equal(render(2025, (48, 64), "rgb").image, eye.image)


# --- pieces


def test_hairs_across_the_border_are_cut_off_and_do_not_wrap_around():
    root = np.array([[5.0, 30.0], [-3.0, 10.0]])
    tip = np.array([[-40.0, 30.0], [-3.0, -20.0]])
    part, cover = hairs(root, (root + tip) / 2, tip, 2.0, (60, 80))
    picture = np.zeros((60, 80))
    picture[part] = cover
    assert picture[30, :5].min() > 0.3 and not picture[:, 9:].any() and not picture[34:].any()
    assert hairs(root - 200, root - 210, tip - 200, 2.0, (60, 80)) is None
    assert hairs(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2)), 2.0, (60, 80)) is None


def test_noise_is_smooth_and_centred():
    noise = value_noise(np.random.Generator(np.random.PCG64(0)), (200, 300), 20.0, octaves=4)
    assert noise.shape == (200, 300) and abs(noise.mean()) < 0.1 and 0.2 < noise.std() < 0.8
    assert np.abs(np.diff(noise, axis=1)).max() < 0.6


def test_a_camera_without_faults_shows_the_scene_under_its_light():
    plain = {"gradient": 0.0, "exposure": 1.0, "white_balance": (1.0, 1.0, 1.0), "noise_sd": 0.0}
    plan = dataclasses.replace(plan_eye(0, "rgb"), **plain, blur_px=0.0, motion_px=None, jpeg_quality=0)
    scene = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (3, 30, 40)).astype(np.float32)
    assert np.array_equal(Camera(plan, (30, 40)).take(scene), scene.transpose(1, 2, 0).astype(np.uint8))
    flat = np.full((3, 30, 40), 100, np.float32)
    for faults in ({"blur_px": 1.6}, {"motion_px": (6, -3)}):
        assert np.all(Camera(dataclasses.replace(plan, **faults), (30, 40)).take(flat) == 100)
    spot = np.zeros((3, 31, 31), np.float32)
    spot[:, 15, 15] = 250
    moved = Camera(dataclasses.replace(plan, motion_px=(4, 0)), (31, 31)).take(spot)[..., 0]
    assert np.flatnonzero(moved[15]).tolist() == [13, 14, 15, 16, 17]  # labels stay in the middle of the path


# --- files


def test_a_made_set_has_images_masks_and_truth(tmp_path):
    counts = make(tmp_path, 12, seed=1, size=SMALL)
    table = rows(tmp_path / "truth.csv")
    assert tuple(table[0]) == eyes.TRUTH_COLUMNS and len(table) == 12
    assert Counter(row["split"] for row in table) == {"train": 10, "val": 1, "test": 1}
    assert (counts["train_images"], counts["val_images"], counts["test_images"]) == (10, 1, 1)
    assert counts["rgb_images"] + counts["nir_images"] == 12 and len({row["subject"] for row in table}) == 12
    for row in table:
        image = Image.open(tmp_path / "images" / row["file"])
        mask = np.asarray(Image.open(tmp_path / "masks" / row["file"]))
        assert image.size == (160, 120) and image.mode == ("L" if row["mode"] == "nir" else "RGB")
        again = render(int(row["seed"]), SMALL)
        assert np.array_equal(mask, again.labels) and float(row["pir"]) == pytest.approx(again.truth.pir, abs=1e-6)
        assert float(row["pupil_angle_deg"]) == pytest.approx(again.truth.pupil.angle_deg, abs=1e-6)
        assert row["blink"] == str(int(again.truth.blink))


def test_image_i_is_the_same_in_a_small_and_a_large_set_and_another_with_another_seed(tmp_path):
    make(tmp_path / "few", 4, seed=3, size=SMALL)
    make(tmp_path / "more", 7, seed=3, size=SMALL)
    make(tmp_path / "other", 4, seed=4, size=SMALL)
    few, more, other = (fingerprints(tmp_path / name) for name in ("few", "more", "other"))
    few.pop("truth.csv")
    assert few.items() <= more.items() and not set(other.values()) & set(few.values())
    assert rows(tmp_path / "more" / "truth.csv")[:4] == rows(tmp_path / "few" / "truth.csv")


def test_a_made_openeds_has_its_folders_and_its_order_of_classes(tmp_path):
    counts = make_openeds(tmp_path, 4, seed=3)
    assert counts == {"train_images": 2, "validation_images": 1, "test_images": 1}
    for split in ("train", "validation", "test"):
        for path in (tmp_path / split / "images").iterdir():
            image = Image.open(path)
            labels = np.load(tmp_path / split / "labels" / f"{path.stem}.npy")
            assert image.mode == "L" and image.size == (320, 200) and labels.shape == (200, 320)
            ours = render(eyes.seed_of(3, int(path.stem)), (200, 320), "nir").labels
            assert labels.dtype == np.uint8 and np.array_equal(labels == 3, ours == PUPIL)
            assert np.array_equal(labels == 2, ours == IRIS) and np.array_equal(labels == 1, ours == SCLERA)


# --- recordings


def flash_at(onset_s):
    return Flash(
        onset_s=onset_s, stimulus_s=1.0, amplitude=0.16, sustained=0.02, shape=3.0, time_to_peak_s=0.75,
        latency_s=0.22, sustained_rise_s=0.8, sustained_decay_s=12.0,
    )  # fmt: skip


def test_a_response_follows_its_formula():
    flash = flash_at(2.0)
    recording = Recording(0.52, (flash,), ())
    assert np.all(recording.pir([0.0, 2.0, 2.22]) == 0.52)
    late = 1 - math.exp(-0.75 / 0.8)
    expected = 0.52 - 0.16 - 0.02 * late * math.exp(-0.75 / 12)
    assert recording.pir(2.97) == pytest.approx(expected)
    half = (2 * math.exp(-1)) ** 3 * 0.16 + 0.02 * (1 - math.exp(-1.5 / 0.8)) * math.exp(-1.5 / 12)
    assert recording.pir(3.72) == pytest.approx(0.52 - half)


def test_frames_have_the_ratio_of_the_formula_and_blinks_where_the_lids_are_shut():
    flash = flash_at(0.1)
    recording = Recording(0.5, (flash,), ((0.5, 0.6),))
    frames = list(frames_of(1, 1.5, 30, SMALL, recording=recording))
    times_s = np.arange(45) / 30
    assert [eye.truth.pir for eye in frames] == pytest.approx(recording.pir(times_s).tolist(), abs=1e-9)
    blinks = {index for index, eye in enumerate(frames) if eye.truth.blink}
    assert {15, 16, 17, 18} <= blinks <= set(range(13, 24))
    assert all(not frames[index].labels.any() for index in (15, 16, 17, 18))


def test_the_eyeball_trembles_and_the_skin_stays():
    frames = list(frames_of(6, 1.0, 30, SMALL, noise_sd=0.0, recording=Recording(0.4, (), ())))
    centres = np.array([eye.truth.iris[:2] for eye in frames])
    away = centres - (centres.max(axis=0) + centres.min(axis=0)) / 2
    assert 0.4 < np.abs(away).max() <= 0.6 + 1e-6
    images = np.stack([eye.image for eye in frames])
    assert np.all(images[:, -8:] == images[0, -8:]) and not np.array_equal(images[0], images[1])


def test_both_eyes_are_of_one_person_and_have_their_noses_on_opposite_sides():
    left, right = (next(frames_of(6, 1.0, eye=eye)) for eye in "LR")
    assert (left.truth.eye, right.truth.eye) == ("L", "R") and left.truth.skin == right.truth.skin
    assert left.truth.pir == right.truth.pir and not np.array_equal(left.image, right.image)


def test_frame_k_does_not_depend_on_how_it_was_reached():
    plan = plan_eye(8, "nir")
    renderer, pose = Renderer(plan, SMALL), dataclasses.replace(plan, pir=0.3, aperture=0.5)
    renderer.frame(0)
    renderer.frame(1, dataclasses.replace(plan, aperture=0.02))
    after, fresh = renderer.frame(2, pose), Renderer(plan, SMALL).frame(2, pose)
    assert np.array_equal(after.image, fresh.image) and after.truth == fresh.truth


@pytest.mark.parametrize("seed", range(20))
def test_planned_recordings_stay_in_range_and_nobody_blinks_while_the_pupil_constricts(seed):
    recording = plan_recording(seed, 60.0)
    pir = recording.pir(np.arange(0, 60, 0.01))
    assert pir.min() > 0.2 and pir.max() <= 0.65 and len(recording.flashes) == 6
    assert all(not -0.8 < first - flash.onset_s < 1.8 for first, _ in recording.blinks for flash in recording.flashes)
    assert np.ptp(pir) > 0.08 and plan_recording(seed, 120.0).blinks[: len(recording.blinks)] == recording.blinks


def test_made_recordings_are_videos_with_truth_and_events(recordings):
    root, counts = recordings
    names = {path.name for path in root.iterdir()}
    assert names == {
        "events.csv", "recording000_left.mp4", "recording000_left.csv", "recording000_right.mp4",
        "recording000_right.csv",
    }  # fmt: skip
    assert counts["frames"] == 240 and counts["videos"] == 2 and counts["flashes"] == 1 and plr_video.USUAL == 1
    assert rows(root / "events.csv") == [{"recording": "recording000", "onset_s": "3.0", "stimulus_s": "1.0"}]
    table = rows(root / "recording000_left.csv")
    times_s = [float(row["time_s"]) for row in table]
    assert list(table[0]) == ["frame", "time_s", "pir", "blink"] and np.allclose(np.diff(times_s), 1 / 30, atol=2e-6)
    recording = plan_recording(eyes.seed_of(3, 0), 4.0)
    assert [float(row["pir"]) for row in table] == pytest.approx(recording.pir(times_s).tolist(), abs=1e-5)
    shown = list(video.frames(root / "recording000_left.mp4"))
    assert len(shown) == 120 and shown[0].image.shape == (120, 160, 3)
    assert [frame.time_s for frame in shown] == pytest.approx(times_s, abs=1e-3)
