import numpy as np
import pytest
from scipy.spatial.distance import directed_hausdorff

from gazecore.errors import GazeError
from gazecore.metrics import eyes


def disc(radius, row=20, column=24, shape=(40, 48)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def eye(radius=5, shift=0):
    labels = np.where(disc(15), 3, 0)
    labels[disc(10)] = 1
    labels[disc(radius, column=24 + shift)] = 2
    return labels.astype(np.uint8)


def test_confusion_counts_labels_in_rows_and_predictions_in_columns():
    predicted, labels = np.array([[0, 1], [2, 2]]), np.array([[0, 1], [1, 2]])
    assert eyes.confusion_matrix(predicted, labels, classes=3).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_a_stack_of_images_has_a_matrix_each_and_their_sum_is_that_of_one_long_image():
    rng = np.random.default_rng(0)
    predicted, labels = rng.integers(0, 4, (2, 2, 3, 5, 7), dtype=np.uint8)
    stacked = eyes.confusion_matrix(predicted, labels)
    assert stacked.shape == (2, 3, 4, 4)
    assert (stacked[1, 2] == eyes.confusion_matrix(predicted[1, 2], labels[1, 2])).all()
    assert (stacked.sum((0, 1)) == eyes.confusion_matrix(predicted.reshape(-1, 7), labels.reshape(-1, 7))).all()


def test_a_confusion_matrix_of_no_image():
    assert eyes.confusion_matrix(np.zeros((0, 4, 4), int), np.zeros((0, 4, 4), int)).shape == (0, 4, 4)


def test_unknown_classes_and_other_shapes_are_named():
    with pytest.raises(GazeError, match="labels hold class 0 to 7; expected 0 to 3"):
        eyes.confusion_matrix(np.zeros((2, 2), int), np.array([[0, 0], [7, 1]]))
    with pytest.raises(GazeError, match="prediction hold class -1 to 0"):
        eyes.confusion_matrix(np.array([[-1, 0]]), np.zeros((1, 2), int))
    with pytest.raises(GazeError, match=r"prediction is \(2, 2\), the labels are \(2, 3\)"):
        eyes.confusion_matrix(np.zeros((2, 2), int), np.zeros((2, 3), int))


def test_overlap_of_the_perfect_prediction_is_1_and_of_absent_classes_unknown():
    confusion = eyes.confusion_matrix(np.where(eye() == 2, 1, eye()), np.where(eye() == 2, 1, eye()))
    np.testing.assert_array_equal(eyes.iou(confusion), [1, 1, np.nan, 1])
    np.testing.assert_array_equal(eyes.dice(confusion), [1, 1, np.nan, 1])
    assert eyes.mean_iou(confusion) == 1
    assert np.isnan(eyes.mean_iou(np.zeros((4, 4))))


def test_a_class_that_is_only_predicted_has_no_overlap():
    confusion = np.array([[4, 0], [0, 0]]) + np.array([[0, 2], [0, 0]])
    assert eyes.iou(confusion).tolist() == [4 / 6, 0]
    assert eyes.dice(confusion).tolist() == [8 / 10, 0]


def test_the_mean_over_images_is_not_that_over_the_set():
    small, large = np.array([[0, 1], [0, 1]]), np.array([[50, 0], [0, 50]])
    confusions = np.stack([small, large])
    assert eyes.macro_mean_iou(confusions) == pytest.approx((0.25 + 1) / 2)
    assert eyes.mean_iou(confusions.sum(0)) == pytest.approx((50 / 51 + 51 / 52) / 2)
    assert np.isnan(eyes.macro_mean_iou(np.zeros((0, 2, 2))))


def test_contours_of_equal_masks_agree_and_a_shift_counts_beyond_the_tolerance():
    assert eyes.boundary_f(disc(8), disc(8)) == 1
    shifted = disc(8, column=26)
    assert eyes.boundary_f(shifted, disc(8), 1) < 0.7 < eyes.boundary_f(shifted, disc(8), 2)
    assert eyes.boundary_f(shifted, disc(8), 3) == 1


def test_contours_of_empty_masks():
    empty = np.zeros((40, 48), bool)
    masks, others = np.stack([empty, empty, disc(5)]), np.stack([empty, disc(5), empty])
    assert eyes.boundary_f(masks, others).tolist() == [1, 0, 0]


def test_a_contour_is_one_pixel_wide_and_open_at_the_border_of_the_image():
    mask = np.zeros((1, 4, 5), bool)
    mask[0, :, :2] = True
    assert eyes._contours(mask)[0].sum(axis=0).tolist() == [0, 4, 0, 0, 0]


def test_contours_of_a_stack_are_those_of_its_images():
    stack = np.stack([disc(4), disc(7), disc(9)])
    found = eyes.boundary_f(stack.reshape(3, 1, 40, 48), stack[::-1].reshape(3, 1, 40, 48), 2)
    assert found.shape == (3, 1)
    assert found[0, 0] == eyes.boundary_f(disc(4), disc(9), 2)


def test_distances_of_outlines():
    assert tuple(eyes.surface_distance(disc(8), disc(8))) == (0, 0, 0)
    moved = eyes.surface_distance(disc(8, column=27), disc(8))
    outlines = [
        np.argwhere(m & ~(np.roll(m, 1, 0) & np.roll(m, -1, 0) & np.roll(m, 1, 1) & np.roll(m, -1, 1)))
        for m in (disc(8, column=27), disc(8))
    ]
    assert moved.hausdorff == max(directed_hausdorff(*outlines)[0], directed_hausdorff(*outlines[::-1])[0]) == 3
    assert 0 < moved.average < moved.hausdorff95 <= moved.hausdorff


def test_distances_of_empty_masks():
    empty = np.zeros((40, 48), bool)
    found = eyes.surface_distance(np.stack([empty, empty, disc(5)]), np.stack([empty, disc(5), empty]))
    np.testing.assert_array_equal(found.hausdorff, [np.nan, np.inf, np.inf])
    np.testing.assert_array_equal(found.average, [np.nan, np.inf, np.inf])


def test_ellipse_errors_by_hand():
    truth = np.array([[10, 20, 40, 20, 175], [10, 20, 40, 39, 10], [np.nan] * 5])
    predicted = np.array([[13, 24, 44, 20, 5], [10, 20, 30, 30, 80], [1, 2, 3, 4, 5]])
    error = eyes.ellipse_error(predicted, truth)
    np.testing.assert_allclose(error.centre_px, [5, 0, np.nan])
    np.testing.assert_allclose(error.diameter_percent, [10, 25, np.nan])
    np.testing.assert_allclose(error.angle_deg, [10, np.nan, np.nan])  # the second is round
    assert all(np.nanmax(part) == 0 for part in eyes.ellipse_error(truth, truth))


def test_detection_rate_counts_a_missing_prediction_as_a_miss_and_an_unknown_truth_not_at_all():
    truth = np.array([[0, 0], [0, 0], [0, 0], [np.nan, np.nan]])
    predicted = np.array([[0, 1], [3, 4], [np.nan, np.nan], [0, 0]])
    np.testing.assert_allclose(eyes.detection_rate(predicted, truth), [1 / 3, 1 / 3, 1 / 3, 1 / 3, 2 / 3])
    assert np.isnan(eyes.detection_rate(predicted[:0], truth[:0])).all()
    assert eyes.detection_rate(np.zeros((2, 4, 2)), np.zeros((2, 4, 2)), (2,)).tolist() == [[1], [1]]


def test_agreement_by_hand():
    truth, predicted = np.array([0.2, 0.4, 0.5, np.nan]), np.array([0.3, 0.4, 0.4, 0.9])
    found = eyes.agreement(predicted, truth)
    assert found.n == 3
    assert found.mae == pytest.approx(0.2 / 3) and found.mape == pytest.approx(100 * (0.5 + 0 + 0.2) / 3)
    assert found.bias == pytest.approx(0)
    assert (found.lower, found.upper) == pytest.approx((-0.196, 0.196))


def test_icc_is_that_of_shrout_and_fleiss():
    # two of the judges of table 2 in Shrout & Fleiss, 1979, their mean squares by the definition
    table = np.array([[9, 2], [6, 1], [8, 4], [7, 1], [10, 5], [6, 2]], float)
    n, k = table.shape
    subjects = k * table.mean(1).var(ddof=1)
    raters = n * table.mean(0).var(ddof=1)
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    left = (rest**2).sum() / ((n - 1) * (k - 1))
    expected = (subjects - left) / (subjects + (k - 1) * left + k * (raters - left) / n)
    assert eyes.agreement(*table.T).icc == pytest.approx(expected)


def test_perfect_and_constant_and_lonely_measurements():
    perfect = eyes.agreement(np.array([0.2, 0.3, 0.5]), np.array([0.2, 0.3, 0.5]))
    assert (perfect.mae, perfect.bias, perfect.lower, perfect.upper) == (0, 0, 0, 0) and perfect.icc == pytest.approx(1)
    assert np.isnan(eyes.agreement(np.full(3, 0.4), np.full(3, 0.4)).icc)
    lonely = eyes.agreement(np.array([0.4]), np.array([0.5]))
    assert lonely.bias == pytest.approx(-0.1) and np.isnan([lonely.lower, lonely.icc]).all()
    none = eyes.agreement(np.array([np.nan]), np.array([0.5]))
    assert none.n == 0 and np.isnan(none[1:]).all()


def test_agreement_of_rows_is_that_of_each():
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.2, 0.6, (2, 20))
    predicted = truth + rng.normal(0, 0.02, (2, 20))
    predicted[0, 3] = np.nan
    together = eyes.agreement(predicted, truth)
    for row in range(2):
        np.testing.assert_allclose([part[row] for part in together], eyes.agreement(predicted[row], truth[row]))
