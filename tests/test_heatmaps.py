import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazecore import heatmaps
from gazecore.errors import GazeError


@pytest.mark.parametrize("convention", heatmaps.CONVENTIONS)
def test_gaussian_by_hand(convention):
    heatmap = heatmaps.gaussian((0.5, 0.25), size=(32, 64), sigma=3, convention=convention)
    assert heatmap.shape == (32, 64) and heatmap.dtype == np.float32
    assert heatmap[8, 32] == 1.0
    assert heatmap[8, 35] == pytest.approx(np.exp(-0.5)) and heatmap[11, 32] == pytest.approx(np.exp(-0.5))
    assert heatmap[8, 41] > 0 and heatmap[8, 42] == 0 and heatmap[18, 32] == 0


@pytest.mark.parametrize("convention", heatmaps.CONVENTIONS)
def test_gaussian_of_many_points_is_each_of_them_alone(convention):
    points = np.random.default_rng(0).uniform(-0.2, 1.2, (3, 100, 2))
    points[1, 4] = np.nan
    together = heatmaps.gaussian(points, (20, 30), 2, convention)
    assert together.shape == (3, 100, 20, 30)
    assert not together[1, 4].any()
    for i in np.ndindex(3, 100):
        np.testing.assert_array_equal(together[i], heatmaps.gaussian(points[i], (20, 30), 2, convention))
    peaks = together.max(axis=(-2, -1))
    assert set(np.unique(peaks)) == {0.0, 1.0}


def test_gaussian_moves_with_the_point_below_a_cell():
    left, right = heatmaps.gaussian([[0.5, 0.5], [0.504, 0.5]])
    assert right[32, 33] > left[32, 33]
    whole = heatmaps.gaussian([[0.5, 0.5], [0.504, 0.5]], convention="gazelle")
    np.testing.assert_array_equal(whole[0], whole[1])


def test_vtd_gaussian_near_the_border_peaks_one_cell_further_in():
    point = (0.03, 0.5)  # cell 1.92
    assert heatmaps.peak(heatmaps.gaussian(point, convention="gazelle"))[0] == 1 / 64
    assert heatmaps.peak(heatmaps.gaussian(point, convention="vtd"))[0] == 2 / 64


def test_unknown_gaussian_is_an_error():
    for draw, point in ((heatmaps.gaussian, (0.5, 0.5)), (heatmaps.multi_annotator, [(0.5, 0.5)])):
        with pytest.raises(GazeError, match='"dark"; expected one of subpixel, vtd, gazelle'):
            draw(point, convention="dark")


def test_several_annotators_add_up_and_missing_ones_do_not_count():
    one = heatmaps.gaussian((0.5, 0.5), convention="vtd")
    missing = [np.nan, np.nan]
    twice = heatmaps.multi_annotator([[[0.5, 0.5], [0.5, 0.5], missing], [[0.5, 0.5], missing, missing], [missing] * 3])
    np.testing.assert_allclose(twice[0], one / 2, atol=1e-6)
    np.testing.assert_allclose(twice[1], one, atol=1e-6)
    assert not twice[2].any() and not heatmaps.multi_annotator(np.empty((2, 0, 2))).any()
    apart = heatmaps.multi_annotator([[0.2, 0.2], [0.8, 0.8]])
    assert apart.max() == pytest.approx(0.5) and (apart == apart.max()).sum() == 2


def test_peak_is_the_first_maximum_without_half_a_pixel():
    maps = np.zeros((4, 10, 20))
    maps[1, 5, 10] = maps[1, 6, 2] = 3.0
    maps[2] = -1
    maps[3, 9, 19] = np.nan
    np.testing.assert_array_equal(heatmaps.peak(maps), [[0, 0], [0.5, 0.5], [0, 0], [np.nan, np.nan]])
    assert heatmaps.peak(maps.astype(np.float16)).shape == (4, 2)


def test_resizing_by_hand():
    ramp = np.array([[0.0, 4.0]], np.float32)
    assert heatmaps.resize(ramp, (1, 4))[0] == pytest.approx([0, 1, 3, 4])
    steps = np.array([[0.0, 2, 4, 6]], np.float32)
    assert heatmaps.resize(steps, (1, 2), "area")[0] == pytest.approx([1, 5])
    assert heatmaps.resize(steps, (1, 2), "bilinear")[0] == pytest.approx([1, 5])
    assert heatmaps.resize(steps, (1, 2), "bilinear-antialias")[0] == pytest.approx(
        [(0 * 3 + 2 * 3 + 4) / 7, (2 + 4 * 3 + 6 * 3) / 7]
    )
    with pytest.raises(GazeError, match='"bicubic"; expected one of bilinear'):
        heatmaps.resize(steps, (1, 2), "bicubic")


@pytest.mark.parametrize("size", [(90, 75), (20, 150), (40, 30), (480, 640)])
@pytest.mark.parametrize("method", heatmaps.METHODS)
def test_resizing_equals_torch(size, method):
    from torch import from_numpy
    from torch.nn.functional import interpolate

    maps = np.random.default_rng(1).random((2, 1, 40, 30), np.float32)
    expected = interpolate(
        from_numpy(maps), size, mode=method.split("-")[0], antialias=method.endswith("antialias")
    ).numpy()
    ours = heatmaps.resize(maps, size, method)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-5 if method.endswith("antialias") else 2e-7)


def test_resizing_keeps_types_sizes_and_constants():
    maps = np.random.default_rng(2).random((3, 2, 12, 9))
    assert heatmaps.resize(maps, (20, 30)).dtype == np.float64
    assert heatmaps.resize(maps.astype(np.float16), (20, 30)).dtype == np.float32
    np.testing.assert_array_equal(heatmaps.resize(maps, (12, 9)), maps)
    for method in heatmaps.METHODS:
        assert heatmaps.resize(np.full((5, 5), 0.3), (7, 3), method) == pytest.approx(0.3)
    memory = np.empty((3, 2, 20, 30))
    assert heatmaps.resize(maps, (20, 30), out=memory) is memory
    np.testing.assert_array_equal(memory[1, 1], heatmaps.resize(maps[1, 1], (20, 30)))


def test_density_sums_to_one_and_nothing_is_everywhere():
    maps = np.array([[[1.0, 3], [0, -1e-13]], [[0, 0], [0, 0]], [[np.nan, 1], [1, 1]]])
    densities = heatmaps.density(maps)
    np.testing.assert_allclose(densities[:2], [[[0.25, 0.75], [0, 0]], [[0.25, 0.25], [0.25, 0.25]]])
    assert np.isnan(densities[2]).all()


def test_peak_normalised_leaves_an_empty_map():
    maps = np.array([[[0, 2.0], [1, 0]], [[0, 0], [0, 0]]], np.float32)
    np.testing.assert_array_equal(heatmaps.peak_normalised(maps), [[[0, 1], [0.5, 0]], [[0, 0], [0, 0]]])


def test_fixations_are_counted_at_their_pixels():
    points = [[2.9, 1.0], [2.0, 1.9], [np.nan, 1], [-1, 0], [5, 0], [0, 4]]
    counts = heatmaps.fixation_map(points, (4, 5), sigma_px=0)
    assert counts[1, 2] == 2 and counts.sum() == 2
    weighted = heatmaps.fixation_map(points, (4, 5), sigma_px=0, durations=np.arange(1.0, 7))
    assert weighted[1, 2] == 3
    assert not heatmaps.fixation_map(np.empty((0, 2)), (4, 5), sigma_px=2).any()


def test_fixation_map_keeps_its_sum_only_when_reflected():
    corner = [[0, 0]]
    assert heatmaps.fixation_map(corner, (20, 20), 2.0, mode="reflect").sum() == pytest.approx(1)
    assert heatmaps.fixation_map(corner, (20, 20), 2.0).sum() < 0.5


def test_one_degree_in_pixels():
    # 60 cm away one degree is 1.0472 cm; 40 pixels per centimetre
    assert heatmaps.sigma_px(60, 1920, 48) == pytest.approx(41.889, abs=1e-3)
    assert heatmaps.sigma_px(60, 1920, 48, degrees=2) == pytest.approx(2 * 60 * np.tan(np.deg2rad(1)) * 40)


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6))
def test_eight_bits_are_wrong_by_half_a_level_at_most(seed, scale):
    maps = (np.random.default_rng(seed).random((3, 4, 5)) * scale).astype(np.float32)
    levels, scales = heatmaps.quantise(maps)
    assert levels.dtype == np.uint8 and scales.dtype == np.float32 and scales.shape == (3,)
    error = np.abs(heatmaps.dequantise(levels, scales) - maps)
    assert (error <= scales[:, None, None] / 510 * 1.0001).all()


def test_eight_bits_of_empty_negative_and_missing_maps():
    maps = np.zeros((3, 2, 2), np.float32)
    maps[1] = -1
    maps[2, 0, 0] = np.nan
    levels, scales = heatmaps.quantise(maps)
    assert not levels.any()
    np.testing.assert_array_equal(scales, [0, 0, np.nan])
    restored = heatmaps.dequantise(levels, scales)
    assert restored.dtype == np.float32
    assert not restored[:2].any() and np.isnan(restored[2]).all()
