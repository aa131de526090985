"""Eye regions from folders, from OpenEDS's layout and from the renderer; label maps that cannot be right."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazecore.errors import Counts, GazeError
from gazecore.prep import eyes
from gazecore.prep.eye_labels import KNOWN, LabelMap, Plausibility, label_map
from gazecore.records import EyeSample
from gazecore.synthetic import eyes as made

SMALL = (64, 48)
TO_OPENEDS = np.array([0, 2, 3, 1], np.uint8)  # ours -> background, sclera, iris, pupil


@pytest.fixture(scope="module")
def some() -> list[EyeSample]:
    return list(eyes.rendered(6, seed=4, size=SMALL))


@pytest.fixture
def folder(tmp_path: Path, some: list[EyeSample]) -> Path:
    """ROOT/images and ROOT/masks of six eyes."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number, sample in enumerate(some):
        Image.fromarray(sample.image).save(tmp_path / "images" / f"eye{number}_left.png")
        Image.fromarray(sample.labels).save(tmp_path / "masks" / f"eye{number}_left.png")
    return tmp_path


def samples_of(root: Path, map_name: str = "gz", **options) -> list[EyeSample]:
    pairs, _ = eyes.find(root)
    return list(eyes.read(pairs, label_map(map_name), Counts(), **options))


def test_rendered_eyes_do_not_depend_on_how_many_are_asked_for(some):
    (third,) = eyes.rendered(3, seed=4, size=SMALL, start=2)
    assert np.array_equal(third.image, some[2].image) and third.pir == some[2].pir
    assert {sample.image.shape for sample in some} == {(48, 64, 3)}


def test_a_folder_gives_images_masks_and_the_side_in_the_name(folder, some):
    found = samples_of(folder)
    assert [sample.sample_id for sample in found] == [f"eye{i}_left" for i in range(6)]
    assert all(np.array_equal(a.labels, b.labels) for a, b in zip(found, some, strict=True))
    assert {sample.eye for sample in found} == {"L"}


def test_made_eyes_come_with_their_split_and_their_exact_ratio(tmp_path):
    made.make(tmp_path, 4, seed=4, size=SMALL[::-1])
    found = samples_of(tmp_path)
    direct = list(eyes.rendered(4, seed=4, size=SMALL))
    assert [sample.split for sample in found] == [sample.split for sample in direct]
    for one, other in zip(found, direct, strict=True):
        assert np.array_equal(one.labels, other.labels)
        assert one.pir == pytest.approx(other.pir, abs=1e-5)
        assert one.iris_ellipse_px == pytest.approx(other.iris_ellipse_px, abs=1e-5)
        assert one.aperture == pytest.approx(other.aperture, abs=1e-4)


def test_openeds_is_known_by_its_layout_and_mapped_to_our_labels(tmp_path):
    made.make_openeds(tmp_path, 4, seed=1)
    pairs, usual = eyes.find(tmp_path)
    assert usual == "openeds" and {pair.split for pair in pairs} == {"train", "val", "test"}
    for sample in eyes.read(pairs, label_map(usual), Counts()):
        stored = np.load(next(pair.mask for pair in pairs if pair.name == sample.sample_id))
        assert np.array_equal(TO_OPENEDS[sample.labels], stored)


def test_a_permuted_label_map_is_refused_and_the_right_one_named(folder):
    with pytest.raises(GazeError, match=r"openeds .* does not fit.*With --label-map gz it would be"):
        samples_of(folder, "openeds")


def test_a_map_that_no_name_has_is_spelt_out(some):
    wrong = Plausibility(LabelMap("mine", {0: 0, 10: 3, 20: 2, 30: 1}))  # true: 10 pupil, 20 iris, 30 sclera
    for sample in some:
        ours = np.array([0, 2, 3, 1], np.uint8)[sample.labels]  # what that map makes of true masks
        wrong.add(ours)
    with pytest.raises(GazeError, match="10 pupil, 20 iris, 30 sclera"):
        wrong.check()


def test_masks_without_a_pupil_say_nothing_against_a_map():
    shut = Plausibility(LabelMap("gz", KNOWN["gz"]))
    shut.add(np.zeros((48, 64), np.uint8))
    shut.check()


def test_values_that_the_map_does_not_know_are_all_listed_with_their_files(folder):
    for number, value in ((1, 9), (3, 77)):
        path = folder / "masks" / f"eye{number}_left.png"
        mask = np.array(Image.open(path))
        mask[0, 0] = value
        Image.fromarray(mask).save(path)
    with pytest.raises(GazeError, match=r"2 problems(?s:.)*eye1_left.png holds 9(?s:.)*eye3_left.png holds 77"):
        samples_of(folder)
    counts = Counts("skip")
    pairs, _ = eyes.find(folder)
    assert len(list(eyes.read(pairs, label_map("gz"), counts))) == 4 and counts["skipped"] == 2


def test_images_and_masks_without_a_partner_are_listed(folder):
    (folder / "masks" / "eye0_left.png").unlink()
    (folder / "images" / "eye5_left.png").unlink()
    with pytest.raises(GazeError, match=r"eye0_left.png has no mask(?s:.)*eye5_left.png has no image"):
        eyes.find(folder)


def test_sizes_that_differ_are_listed_and_a_letterbox_brings_them_to_one(folder):
    Image.new("RGB", (80, 48)).save(folder / "images" / "eye2_left.png")
    Image.new("L", (80, 48)).save(folder / "masks" / "eye2_left.png")
    pairs, _ = eyes.find(folder)
    with pytest.raises(GazeError, match=r"2 sizes(?s:.)*64 x 48: 5(?s:.)*80 x 48: 1.*(?s:.)*--size WxH"):
        eyes.check_sizes(pairs)
    assert {sample.image.shape for sample in samples_of(folder, size=(100, 60))} == {(60, 100, 3)}


def test_a_letterbox_moves_ellipses_with_the_picture(some):
    from gazecore.pupil.ratio import measure

    sample = next(eyes.rendered(1, seed=9, size=(160, 120)))
    moved = eyes.letterboxed(sample, (300, 200))
    assert moved.labels.shape == (200, 300) and not moved.labels[:, :16].any()
    measured = measure(moved.labels)
    assert measured["iris_cx_px"] == pytest.approx(moved.iris_ellipse_px[0], abs=0.7)
    assert measured["iris_cy_px"] == pytest.approx(moved.iris_ellipse_px[1], abs=0.7)
    assert measured["pir"] == pytest.approx(sample.pir, rel=0.03)


@pytest.mark.parametrize(
    ("name", "side", "rest"),
    [
        ("recording000_left", "L", "recording000"),
        ("S01-OD", "R", "S01"),
        ("eye_r_2", "R", "eye_2"),
        ("bright", "", "bright"),
        ("left_right", "", "left_right"),
    ],
)
def test_sides_are_read_from_names(name, side, rest):
    assert (eyes.side_of(name), eyes.without_side(name)) == (side, rest)


def test_label_maps_come_from_files_and_say_what_is_wrong_with_them(tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text("0: background\n85: sclera\n170: iris\n255: pupil\n")
    assert label_map(str(path)).values == {0: 0, 85: 3, 170: 1, 255: 2}
    path.write_text("0: backround\n")
    with pytest.raises(GazeError, match=r"backround.*expected lines such as"):
        label_map(str(path))
    with pytest.raises(GazeError, match="neither gz nor openeds nor a file"):
        label_map("ritnet")


def test_a_size_has_one_form():
    assert eyes.parsed_size("320x240") == (320, 240) and eyes.parsed_size(None) is None
    with pytest.raises(GazeError, match="WIDTHxHEIGHT"):
        eyes.parsed_size("320")
