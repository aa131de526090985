import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from gazecore import heatmaps
from gazecore.errors import GazeError
from gazecore.metrics import following

MISSING = [np.nan, np.nan]


def spot(h: int, w: int, row: int, column: int) -> np.ndarray:
    heatmap = np.zeros((h, w), np.float32)
    heatmap[row, column] = 1
    return heatmap


def random_maps(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


# ---- AUC on GazeFollow


@pytest.mark.parametrize("protocol", following.PROTOCOLS)
def test_auc_of_the_perfect_and_the_worst_map(protocol):
    target = [[0.25, 0.25]]
    heatmap = heatmaps.gaussian(target[0], sigma=20)
    size_px = (256, 192)
    assert following.auc(heatmap, target, size_px, protocol) > 0.995
    assert following.auc(1 - heatmap, target, size_px, protocol) < 0.005


@pytest.mark.parametrize("protocol", following.PROTOCOLS)
@pytest.mark.parametrize("value", [0.0, 0.3, -7.0])
def test_auc_of_a_constant_map_is_one_half(protocol, value):
    heatmap = np.full((64, 64), value, np.float32)
    assert following.auc(heatmap, [[0.3, 0.7], [0.31, 0.7]], (333, 251), protocol) == 0.5
    np.testing.assert_array_equal(heatmaps.peak(heatmap), [0, 0])


def test_auc_by_hand():
    heatmap = np.array([[1, 2], [3, 4]], np.float32)  # at the image's size: nothing is resized
    assert following.auc(heatmap, [[0.9, 0.1]], (2, 2)) == pytest.approx(1 / 3)
    assert following.auc(heatmap, [[0.9, 0.1], [0.9, 0.9]], (2, 2)) == pytest.approx(3 / 4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(30, 200), st.integers(30, 200))
def test_auc_equals_scikit_learn_on_the_enlarged_map(seed, width, height):
    generator = np.random.default_rng(seed)
    heatmap, targets = generator.random((16, 16), np.float32), generator.random((4, 2))
    truth = np.zeros((height, width), bool)
    truth[tuple((targets * (width, height)).astype(int).T[::-1])] = True
    enlarged = {
        "gazelle": heatmaps.resize(heatmap, (height, width)),
        "vtd": np.asarray(following.eight_bits(heatmap, (height, width))),
        "tonini": following.mirrored(heatmap, (height, width)),
    }
    for protocol, compared in enlarged.items():
        expected = roc_auc_score(truth.ravel(), compared.ravel())
        assert following.auc(heatmap, targets, (width, height), protocol) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [(150, 201), (40, 48), (64, 30), (20, 100), (64, 64)])
def test_mirrored_map_equals_scikit_image(size):
    from skimage.transform import resize

    heatmap = random_maps(64, 64)
    np.testing.assert_allclose(following.mirrored(heatmap, size), resize(heatmap, size), atol=1e-6)


def test_eight_bit_map_spans_all_levels_and_is_not_resized_at_its_own_size():
    heatmap = np.array([[-1, 0], [0.5, 1]], np.float32)
    np.testing.assert_array_equal(np.asarray(following.eight_bits(heatmap, (2, 2))), [[0, 128], [191, 255]])


@pytest.mark.parametrize("protocol", following.PROTOCOLS)
def test_auc_of_a_block_is_each_sample_alone(protocol):
    maps, targets = random_maps(2, 3, 32, 32), np.random.default_rng(1).random((2, 3, 4, 2))
    targets[0, 1, 2:] = np.nan
    targets[1, 2] = np.nan
    size_px = np.array([[[100, 80], [64, 128], [100, 80]], [[90, 91], [300, 20], [10, 10]]])
    scores = following.auc(maps, targets, size_px, protocol)
    assert scores.shape == (2, 3) and np.isnan(scores[1, 2])
    alone = following.auc(maps[0, 1], targets[0, 1, :2], size_px[0, 1], protocol)
    assert scores[0, 1] == alone and alone.shape == ()
    np.testing.assert_array_equal(
        following.auc(maps, targets, (100, 80), protocol)[0, 0],
        following.auc(maps[0, 0], targets[0, 0], (100, 80), protocol),
    )


def test_auc_of_targets_on_and_beyond_the_border_is_that_of_the_border():
    heatmap = random_maps(64, 64)
    border = following.auc(heatmap, [[0.9999, 0.9999]], (640, 480))
    assert following.auc(heatmap, [[1.0, 1.0]], (640, 480)) == border
    assert following.auc(heatmap, [[1.02, 1.5]], (640, 480)) == border
    assert following.auc(heatmap, [[-0.01, 0.0]], (640, 480)) == following.auc(heatmap, [[0.0, 0.0]], (640, 480))


def test_auc_counts_annotators_of_one_pixel_once():
    heatmap, size_px = random_maps(64, 64), (64, 48)
    once = following.auc(heatmap, [[0.5, 0.5], [0.2, 0.2]], size_px)
    assert following.auc(heatmap, [[0.5, 0.5], [0.501, 0.5], [0.2, 0.2]], size_px) == once


@pytest.mark.parametrize("protocol", following.PROTOCOLS)
def test_auc_is_missing_where_it_is_not_defined(protocol):
    assert np.isnan(following.auc(random_maps(1, 1), [[0.5, 0.5]], (1, 1), protocol))  # only positives
    assert np.isnan(following.auc(random_maps(8, 8), [MISSING], (10, 10), protocol))
    assert np.isnan(following.auc(np.full((8, 8), np.nan), [[0.5, 0.5]], (10, 10), protocol))


def test_no_samples_and_no_annotators():
    nothing, maps, nobody = np.empty((0, 8, 8)), random_maps(2, 8, 8), np.empty((2, 0, 2))
    for score in (lambda *of: following.auc(*of, (10, 10)), following.vat_auc, following.mean_l2, following.heatmap_ap):
        assert score(nothing, np.empty((0, 3, 2))).shape == (0,)
        np.testing.assert_array_equal(score(maps, nobody), [np.nan, np.nan])
    np.testing.assert_array_equal(following.l2_distance(maps, nobody), np.full((2, 2), np.nan))
    np.testing.assert_array_equal(following.angular_error(maps, np.zeros((2, 2)), nobody), np.full((2, 2), np.nan))


def test_auc_of_half_precision_maps_and_logits():
    maps = (random_maps(3, 64, 64) * 8 - 4).astype(np.float16)
    targets = np.random.default_rng(2).random((3, 5, 2))
    for protocol in following.PROTOCOLS:
        exact = following.auc(maps.astype(np.float32), targets, (320, 240), protocol)
        np.testing.assert_array_equal(following.auc(maps, targets, (320, 240), protocol), exact)


def test_unknown_protocols_and_a_missing_size_are_errors():
    heatmap = spot(64, 64, 1, 1)
    with pytest.raises(GazeError, match='"judd"; expected one of gazelle, vtd, tonini, sharingan'):
        following.auc(heatmap, [[0.5, 0.5]], (64, 64), "judd")
    with pytest.raises(GazeError, match="size_px is missing"):
        following.auc(heatmap, [[0.5, 0.5]])
    with pytest.raises(GazeError, match='"tonini"; expected one of gazelle, vtd'):
        following.vat_auc(heatmap, [[0.5, 0.5]], "tonini")
    with pytest.raises(GazeError, match='"judd"; expected one of'):
        following.l2_distance(heatmap, [[0.5, 0.5]], "judd")


# ---- AUC on VideoAttentionTarget


@pytest.mark.parametrize("protocol", following.VAT_PROTOCOLS)
def test_vat_auc_of_the_perfect_constant_and_missing_map(protocol):
    targets = [[[0.5, 0.5]], [[0.1, 0.9]], [MISSING], [[0.5, 0.5]]]
    maps = np.stack([heatmaps.gaussian(target[0], convention="vtd") > 0 for target in targets]).astype(np.float32)
    maps[1], maps[3] = 0.3, np.nan
    np.testing.assert_array_equal(following.vat_auc(maps, targets, protocol), [1.0, 0.5, np.nan, np.nan])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_vat_auc_equals_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    heatmap, target = generator.random((64, 64), np.float32), generator.random(2)
    square = heatmaps.gaussian(target, convention="vtd") > 0
    levels = ((heatmap - heatmap.min()) * np.float32(255 / (heatmap.max() - heatmap.min())) + 0.5).astype(np.uint8)
    expected = roc_auc_score(square.ravel(), levels.ravel())
    assert following.vat_auc(heatmap, target[None], "vtd") == pytest.approx(expected, abs=1e-5)
    square[-1], square[:, -1] = False, False
    expected = roc_auc_score(square.ravel(), heatmap.ravel())
    assert following.vat_auc(heatmap, target[None], "gazelle") == pytest.approx(expected, abs=1e-12)


def test_vat_auc_of_a_block_is_each_sample_alone(monkeypatch):
    monkeypatch.setattr(following, "CHUNK", 4)
    maps, targets = random_maps(3, 5, 64, 64), np.random.default_rng(5).random((3, 5, 1, 2))
    for protocol in following.VAT_PROTOCOLS:
        scores = following.vat_auc(maps, targets, protocol)
        assert scores.shape == (3, 5)
        assert scores[2, 3] == following.vat_auc(maps[2, 3], targets[2, 3], protocol)


# ---- distances and angles


def test_distance_of_the_perfect_prediction_is_zero():
    average, minimum = following.l2_distance(spot(64, 64, row=16, column=32), [[0.5, 0.25]])
    assert average == 0 and minimum == 0


def test_average_distance_is_to_the_mean_annotator():
    either_side = np.array([[0.4, 0.25], [0.6, 0.25]])
    heatmap = spot(64, 64, row=16, column=32)
    average, minimum = following.l2_distance(heatmap, either_side)
    assert average == pytest.approx(0.0, abs=1e-12) and minimum == pytest.approx(0.1)
    assert following.mean_l2(heatmap, either_side) == pytest.approx(0.1)


def test_missing_annotators_are_ignored_and_none_is_missing():
    heatmap = spot(64, 64, row=16, column=32)
    targets = [[[0.5, 0.35], MISSING], [MISSING, MISSING], [[0.5, np.nan], [0.5, 0.15]]]
    average, minimum = following.l2_distance(np.stack([heatmap] * 3), targets)
    for distance in (average, minimum, following.mean_l2(np.stack([heatmap] * 3), targets)):
        assert distance == pytest.approx([0.1, np.nan, 0.1], nan_ok=True)


def test_distances_take_points_and_the_later_corner_of_the_peak():
    assert following.l2_distance(np.array([0.5, 0.5]), [[0.5, 0.4]])[0] == pytest.approx(0.1)
    heatmap = spot(64, 32, row=63, column=31)
    assert following.l2_distance(heatmap, [[1.0, 1.0]], "sharingan")[1] == pytest.approx(0, abs=1e-12)
    assert following.l2_distance(heatmap, [[1.0, 1.0]])[1] == pytest.approx(np.hypot(1 / 32, 1 / 64))


def test_angle_by_hand():
    eye, targets = np.array([0.5, 0.5]), [[1.0, 0.5], [0.5, 1.0], MISSING]
    average, minimum = following.angular_error(np.array([0.9, 0.9]), eye, targets)
    assert average == pytest.approx(45, abs=1e-3) and minimum == pytest.approx(45, abs=1e-3)
    average, minimum = following.angular_error(np.array([0.9, 0.5]), eye, targets)
    assert average == pytest.approx(45, abs=0.1) and minimum == pytest.approx(0, abs=0.2)
    opposite, _ = following.angular_error(np.array([0.1, 0.5]), np.stack([eye] * 3), targets[:1] + [MISSING] * 2)
    assert opposite == pytest.approx(180, abs=0.2)


def test_angle_without_eye_or_annotators_is_missing():
    for eye, target in ((MISSING, [0.5, 0.5]), ([0.5, 0.5], MISSING)):
        assert np.isnan(following.angular_error(spot(8, 8, 1, 1), np.array(eye), [target])).all()


def test_angles_of_a_block():
    maps, eyes = random_maps(4, 3, 8, 8), np.random.default_rng(6).random((4, 3, 2))
    targets = np.random.default_rng(7).random((4, 3, 5, 2))
    average, minimum = following.angular_error(maps, eyes, targets)
    assert average.shape == minimum.shape == (4, 3) and (minimum <= average).all()
    alone = following.angular_error(maps[2, 1], eyes[2, 1], targets[2, 1])
    np.testing.assert_allclose((average[2, 1], minimum[2, 1]), alone)


# ---- in frame, heads


def test_in_frame_ap_by_hand_and_without_out_of_frame_samples():
    assert following.in_frame_ap([2.0, -1.0, 0.5], [1, 0, 0]) == 1.0
    assert following.in_frame_ap([0.1, 0.9], [1, 0]) == 0.5
    assert following.in_frame_ap([0.1, 0.9], [1, 1]) == 1.0
    assert np.isnan(following.in_frame_ap([0.1, 0.9], [0, 0]))


def test_in_frame_ap_leaves_out_unknown_samples():
    scores, in_frame = np.array([0.9, 0.8, np.nan, 0.3]), np.array([1, 0, np.nan, 1])
    assert following.in_frame_ap(scores, in_frame) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(following.in_frame_ap(scores, [1, 0, 1, 1]))
    assert following.in_frame_ap(np.stack([scores, scores]), in_frame).shape == (2,)


def test_heatmap_ap_ranks_the_annotators_cells():
    heatmap, targets = random_maps(16, 16), np.random.default_rng(8).random((3, 2))
    truth = np.zeros((16, 16), bool)
    truth[tuple((targets * 16).astype(int).T[::-1])] = True
    expected = average_precision_score(truth.ravel(), heatmap.ravel())
    assert following.heatmap_ap(heatmap, targets) == pytest.approx(expected, abs=1e-12)
    assert following.heatmap_ap(spot(16, 16, 15, 15), [[1.0, 1.0], MISSING]) == 1.0
    assert np.isnan(following.heatmap_ap(heatmap, [MISSING]))


def test_looking_at_head_includes_the_border_and_skips_missing_boxes():
    boxes = [[0.1, 0.1, 0.2, 0.2], [np.nan] * 4]
    points = [[0.15, 0.15], [0.2, 0.1], [0.21, 0.1], MISSING]
    assert following.looking_at_head(points, boxes).tolist() == [True, True, False, False]


def test_p_head_is_the_precision_of_looking_at_a_head():
    head, away = [0.15, 0.15], [0.8, 0.8]
    boxes = np.tile([[0.1, 0.1, 0.2, 0.2], [0.5, 0.5, 0.6, 0.6]], (4, 1, 1))
    predicted = following.looking_at_head(np.array([head, head, head, away]), boxes)
    targets = np.array([[head, head], [head, away], [away, away], [head, head]])
    assert following.p_head(predicted, following.annotated_at_head(targets, boxes)) == pytest.approx(2 / 3)
    by_two = following.annotated_at_head(targets, boxes, annotators=2)
    assert following.p_head(predicted, by_two) == pytest.approx(1 / 3)
    assert np.isnan(following.p_head(predicted[3:], by_two[3:]))


def test_annotators_at_different_heads_do_not_agree():
    boxes = np.array([[[0.1, 0.1, 0.2, 0.2], [0.5, 0.5, 0.6, 0.6]]])
    apart = np.array([[[0.15, 0.15], [0.55, 0.55]]])
    assert following.annotated_at_head(apart, boxes).tolist() == [True]
    assert following.annotated_at_head(apart, boxes, annotators=2).tolist() == [False]
    unknown = np.full((1, 2, 2), np.nan)
    assert following.annotated_at_head(unknown, boxes).tolist() == [False]
