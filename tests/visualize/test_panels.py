import numpy as np
import pytest
from PIL import Image

from gazecore.visualize import following, heatmaps, panels
from gazecore.visualize.following import Person
from gazecore.visualize.panels import Arrow, Box, Point

GREY = np.full((60, 80, 3), 128, np.uint8)
HEAD = np.array([0.1, 0.1, 0.3, 0.4])
RED = (255, 0, 0)


def spot(x, y, size=64, sigma=3.0):
    """A Gaussian at a normalised point, cell centres at half pixels."""
    cells = (np.arange(size) + 0.5) / size
    return np.exp(-((cells[None] - x) ** 2 + (cells[:, None] - y) ** 2) * (size / sigma) ** 2 / 2)


def changed(picture, original=128):
    """How much each pixel differs from the original."""
    return np.abs(np.asarray(picture, float) - original).sum(axis=-1)


def centre(weights):
    """Normalised x, y of the weights' mean position, pixel centres at half pixels."""
    h, w = weights.shape
    total = weights.sum()
    x = (weights.sum(axis=0) * (np.arange(w) + 0.5)).sum() / total / w
    y = (weights.sum(axis=1) * (np.arange(h) + 0.5)).sum() / total / h
    return x, y


def red(picture):
    pixels = np.asarray(picture, int)
    return (pixels[..., 0] > 180) & (pixels[..., 1] < 80)


# ---- heat ----


def test_a_photo_without_heat_stays_as_it_is():
    for cold in (np.zeros((8, 8)), np.full((8, 8), -1.0), np.full((8, 8), np.nan)):
        assert (panels.overlay(GREY, cold) == GREY).all()


def test_the_hottest_place_takes_the_hottest_colour_and_the_cold_stays_photo():
    hot = panels.overlay(GREY, spot(0.5, 0.5), alpha=1.0)
    assert np.abs(hot[30, 40].astype(int) - panels.colours(np.array(1.0))).max() < 12
    assert (hot[0, 0] == 128).all()


def test_a_hot_cell_lies_over_its_part_of_the_photo():
    heatmap = np.zeros((4, 4))
    heatmap[1, 2] = 1.0
    weights = changed(panels.overlay(np.full((400, 800, 3), 128, np.uint8), heatmap))
    assert centre(weights) == pytest.approx((2.5 / 4, 1.5 / 4), abs=1e-3)


def test_a_larger_heat_map_than_the_photo_keeps_its_place():
    weights = changed(panels.overlay(GREY, spot(0.3, 0.6, size=512, sigma=40)))
    assert centre(weights) == pytest.approx((0.3, 0.6), abs=0.01)


def test_the_scale_of_a_heat_map_does_not_matter():
    one, tiny = (panels.overlay(GREY, spot(0.5, 0.5) * scale) for scale in (1, 2.0**-20))
    assert (one == tiny).all()


def test_nan_counts_as_cold():
    heatmap = np.full((8, 8), np.nan)
    heatmap[4, 4] = 2.0
    assert panels.heat(heatmap).max() == 1 and panels.heat(heatmap).sum() == 1
    assert panels.most(heatmap) == 2 and np.isnan(panels.most(np.full((2, 2), np.nan)))


def test_lightness_rises_with_heat():
    lightness = panels.colours(np.linspace(0, 1, 64)).astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > 0).all()


def test_several_maps_show_the_hottest_at_every_pixel():
    both = panels.overlay_all(GREY, [spot(0.2, 0.5), 0.001 * spot(0.8, 0.5)])
    weights = changed(both)
    assert weights[30, 16] == pytest.approx(weights[30, 63], rel=0.1) and weights[30, 40] == 0
    assert panels.overlay_all(GREY, []) is GREY


# ---- marks ----


def test_a_point_lies_where_it_is_said_to():
    canvas = Image.new("RGB", (200, 100), (128, 128, 128))
    for hollow in (False, True):
        weights = changed(panels.draw(canvas, [Point(np.array([0.25, 0.5]), RED, hollow)]))
        assert centre(weights) == pytest.approx((0.25, 0.5), abs=0.005)


def test_a_box_is_drawn_on_its_edges_and_clipped_to_the_picture():
    canvas = Image.new("RGB", (200, 100), (128, 128, 128))
    rows, columns = np.nonzero(red(panels.draw(canvas, [Box(np.array([0.25, 0.2, 0.75, 0.8]), RED)])))
    assert [columns.min(), columns.max(), rows.min(), rows.max()] == pytest.approx([50, 150, 20, 80], abs=2)
    assert not red(panels.draw(canvas, [Box(np.array([0.25, 0.2, 0.75, 0.8]), RED)]))[50, 100]
    outside = red(panels.draw(canvas, [Box(np.array([-0.5, -0.5, 0.5, 0.5]), RED)]))
    assert outside[1:50, 1:4].any(axis=1).all()


def test_a_box_with_swapped_corners_is_the_same_box():
    canvas = Image.new("RGB", (200, 100))
    one, other = (
        panels.draw(canvas, [Box(np.array(corners), RED)]) for corners in ([0.2, 0.3, 0.6, 0.9], [0.6, 0.9, 0.2, 0.3])
    )
    assert one == other


def test_an_arrow_leads_from_start_to_end_and_leaves_room_for_the_point():
    canvas = Image.new("RGB", (200, 100), (128, 128, 128))
    drawn = red(panels.draw(canvas, [Arrow(np.array([0.1, 0.5]), np.array([0.9, 0.5]), RED)]))
    assert drawn[50, 22:160].all() and not drawn[50, 176:].any()
    near = panels.draw(canvas, [Arrow(np.array([0.1, 0.5]), np.array([0.15, 0.5]), RED)])
    assert near == canvas


def test_unknown_places_are_not_drawn_and_the_original_is_untouched():
    canvas = Image.new("RGB", (50, 50))
    nowhere = np.full(2, np.nan)
    marks = [Point(nowhere, RED), Box(np.full(4, np.nan), RED, "1"), Arrow(np.zeros(2), nowhere, RED)]
    assert panels.draw(canvas, marks) == canvas
    panels.draw(canvas, [Point(np.array([0.5, 0.5]), RED)])
    assert not np.asarray(canvas).any()


def test_a_label_stays_inside_the_picture():
    canvas = Image.new("RGB", (60, 60))
    for corners in ([0.9, 0.0, 1.0, 0.2], [-0.2, 0.95, 0.1, 1.0]):
        assert changed(panels.draw(canvas, [Box(np.array(corners), RED, "12")]), 0).any()


# ---- text and layout ----


@pytest.mark.parametrize("text", ["many words " * 60, "a/very/long/path" * 60, "é" * 500])
def test_long_captions_wrap_inside_the_panel_and_end(text):
    strip = panels.caption(300, [panels.words(text)])
    assert strip.size == panels.caption(300, [panels.words("a " * 1000)]).size
    ink = np.asarray(strip.convert("L")) < 250
    assert ink.any() and not ink[:, 299:].any()


def test_a_caption_without_text_takes_no_room():
    assert panels.caption(300, [[], []]).size == (300, 0)


def test_letters_outside_ascii_are_in_the_font():
    empty = panels.font("é").getmask("\U0010ffff").getbbox()
    assert all(panels.font(letter).getmask(letter).getbbox() != empty for letter in "éüßЖα–…∞")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(0.95712, "0.9571"), (-0.5, "-0.5000"), (0.0, "0.0000"), (12.345, "12.35"), (4782.0, "4782")],
        *[(0.00001234, "1.23e-05"), (np.nan, "–"), (None, "–"), (np.inf, "∞"), (-np.inf, "-∞")],
    ],
)
def test_numbers_read_well(value, text):
    assert panels.number(value) == text


@pytest.mark.parametrize(
    ("shape", "size"),
    [((24, 32, 3), (440, 330)), ((3000, 4000, 3), (440, 330)), ((1600, 900, 3), (360, 640)), ((60, 80), (440, 330))],
)
def test_scenes_of_any_size_fit_a_panel(shape, size):
    assert panels.fitted(np.zeros(shape, np.uint8)).size == size


def test_side_by_side_and_stacked_keep_every_picture_whole():
    small, tall = Image.new("RGB", (10, 20), RED), Image.new("RGB", (30, 50), RED)
    assert panels.side_by_side([small, tall], gap=5).size == (45, 50)
    assert panels.stacked([small, tall], gap=5).size == (30, 75)
    assert red(panels.side_by_side([small, tall])).sum() == red(panels.stacked([small, tall])).sum() == 1700


# ---- gaze following ----


def person(**changes):
    known = {"heatmap": spot(0.7, 0.6), "gaze_targets": np.array([[0.7, 0.55], [np.nan, np.nan]]), "in_frame": 1.0}
    return Person(**{"head_box": HEAD, "scores": {"auc": 0.95, "average_l2": np.nan}, **known, **changes})


def columns(picture):
    """How many views of GREY's panel stand side by side."""
    return (picture.width + panels.GAP - 2 * panels.MARGIN) // (panels.WIDTH + panels.GAP)


def test_a_prediction_with_truth_has_three_views_and_two_without():
    assert columns(following.panel(GREY, [person()])) == 3
    assert columns(following.panel(GREY, [person(gaze_targets=None, in_frame=np.nan)])) == 2
    assert columns(following.panel(GREY, [person(gaze_targets=None, in_frame=-1)])) == 2
    assert columns(following.panel(GREY, [person(gaze_targets=np.full((20, 2), np.nan), in_frame=0)])) == 3
    assert columns(following.panel(GREY, [])) == 1


def test_the_same_prediction_gives_the_same_picture():
    assert following.panel(GREY, [person()]) == following.panel(GREY, [person()])


def test_people_have_a_row_each_until_there_are_too_many():
    one, two, four = (following.panel(GREY, [person()] * n, text="none").height for n in (1, 2, 4))
    assert two == 2 * one + panels.GAP and four == 4 * one + 3 * panels.GAP
    assert following.panel(GREY, [person()] * 5, text="none").height == one


def test_text_can_be_left_to_the_report_or_the_terminal():
    full, titles, bare = (following.panel(GREY, [person()], text=text) for text in ("captions", "titles", "none"))
    assert full.width == titles.width and full.height > titles.height
    assert bare.size == (3 * panels.SMALL + 2 * (panels.GAP // 2), round(panels.SMALL * 0.75))


def test_the_predicted_point_is_the_hottest_cells_centre_unless_given():
    given = following.panel(GREY, [person(gaze_point=np.array([44.5, 38.5]) / 64)])
    found = following.panel(GREY, [person(heatmap=spot(44.5 / 64, 38.5 / 64))])
    assert given.size == found.size
    assert found == following.panel(
        GREY, [person(heatmap=spot(44.5 / 64, 38.5 / 64), gaze_point=np.array([44.5, 38.5]) / 64)]
    )


def test_odd_people_are_drawn_too():
    following.panel(GREY, [person(head_box=np.full(4, np.nan), heatmap=np.zeros((64, 64)))])
    following.panel(GREY, [person(heatmap=None, gaze_point=np.full(2, np.nan))])
    following.panel(GREY, [person(heatmap=None, gaze_point=None, label="x" * 3000, scores={})])
    following.panel(GREY, [person(head_box=np.array([-1.0, -1, 2, 2]))] * 9)


def test_the_annotated_heat_lies_on_the_mean_of_the_annotators():
    blob = following.truth_heatmap(np.array([[0.5, 0.25], [0.6, 0.25], [np.nan, np.nan]]))
    assert blob.shape == (64, 64) and blob.max() == 1 and centre(blob) == pytest.approx((0.55, 0.25), abs=1e-3)
    assert not following.truth_heatmap(np.full((3, 2), np.nan)).any()


def test_a_person_in_words():
    words = following.describe(person(label="a.jpg", in_frame_score=0.5))
    assert words == "a.jpg · auc 0.9500 · average_l2 – · in-frame score 0.5000 · truth: in frame"
    assert following.describe(person(in_frame=0, scores={})) == "truth: out of frame"
    assert following.describe(person(gaze_targets=None, in_frame=np.nan, scores={})) == "no truth"


# ---- heat maps ----


def test_a_heat_map_is_drawn_alone_beside_its_reference_and_over_its_image():
    assert columns(heatmaps.panel(spot(0.5, 0.5))) == 1
    assert columns(heatmaps.panel(spot(0.5, 0.5), spot(0.4, 0.5, size=32))) == 2
    assert columns(heatmaps.panel(spot(0.5, 0.5), spot(0.4, 0.5), GREY, "two\nlines")) == 3
    assert heatmaps.panel(spot(0.5, 0.5), text="none").size == (panels.SMALL, panels.SMALL)


def test_a_heat_map_without_values_is_drawn_cold():
    drawn = np.asarray(heatmaps.panel(np.full((8, 8), np.nan), text="none"))
    assert (drawn == panels.INFERNO[0].astype(np.uint8)).all()
