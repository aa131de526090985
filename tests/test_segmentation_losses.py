import pytest
import torch
import torch.nn.functional as F

from gazecore import segmentation_losses as losses


@pytest.fixture
def labels():
    """An eye (classes 1, 2, 3 on 0) and a closed one."""
    made = torch.zeros(2, 12, 16, dtype=torch.long)
    made[0, 2:10, 2:14] = 3
    made[0, 3:9, 5:11] = 1
    made[0, 5:7, 7:9] = 2
    return made


@pytest.fixture
def logits(labels):
    return torch.randn(2, 4, 12, 16, generator=torch.Generator().manual_seed(0)) + F.one_hot(labels, 4).movedim(-1, 1)


def certain(labels):
    return 60.0 * F.one_hot(labels, 4).movedim(-1, 1)


OF_LABELS = {
    "focal": losses.focal,
    "tversky": losses.tversky,
    "focal_tversky": losses.focal_tversky,
    "dice": losses.dice,
    "ce_dice": losses.ce_dice,
    "generalised_dice": losses.generalised_dice,
}


@pytest.mark.parametrize("loss", OF_LABELS.values(), ids=OF_LABELS)
def test_the_perfect_prediction_loses_nothing(loss, labels):
    assert loss(certain(labels), labels).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", OF_LABELS.values(), ids=OF_LABELS)
def test_every_loss_has_a_finite_gradient_and_is_lower_for_a_better_prediction(loss, logits, labels):
    logits.requires_grad_()
    value = loss(logits, labels)
    value.backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0
    assert loss(logits - 0.1 * logits.grad / logits.grad.abs().max(), labels) < value


@pytest.mark.parametrize("loss", OF_LABELS.values(), ids=OF_LABELS)
def test_half_precision_is_computed_in_single(loss, logits, labels):
    half = loss(logits.half(), labels)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(loss(logits, labels).item(), abs=1e-3)


def test_tversky_by_hand():
    labels = torch.tensor([[[0, 1]]])
    probability = torch.tensor([[[[0.8, 0.4]], [[0.2, 0.6]]]])  # of class 0 and 1 at two pixels
    background = 0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2)
    foreground = 0.6 / (0.6 + 0.3 * 0.2 + 0.7 * 0.4)
    at = probability.log()
    assert losses.tversky(at, labels, smooth=0).item() == pytest.approx(1 - (background + foreground) / 2, abs=1e-6)
    assert losses.tversky(at, labels, smooth=0, background=False).item() == pytest.approx(1 - foreground, abs=1e-6)


def test_focal_by_hand():
    at = torch.tensor([[[[0.8, 0.4]], [[0.2, 0.6]]]]).log()
    expected = -(0.2**2 * torch.tensor(0.8).log() + 0.4**2 * torch.tensor(0.6).log()) / 2
    assert losses.focal(at, torch.tensor([[[0, 1]]])).item() == pytest.approx(expected.item(), abs=1e-6)


def test_distances_to_a_class_are_positive_outside_and_zero_on_its_outermost_pixels():
    labels = torch.zeros(1, 5, 7, dtype=torch.long)
    labels[0, 1:4, 1:4] = 2
    maps = losses.distance_maps(labels)
    assert maps.shape == (1, 4, 5, 7) and maps.dtype == torch.float32
    assert maps[0, 2, 2].tolist() == [1, 0, -1, 0, 1, 2, 3]
    assert maps[0, 2, 0, 0].item() == pytest.approx(2**0.5)  # not cut to a whole number
    assert not maps[0, [1, 3]].any()


def test_the_boundary_loss_grows_as_a_region_moves_away(labels):
    distance = losses.distance_maps(labels[:1])
    shifts = [losses.boundary(certain(labels[:1].roll(shift, -1)), distance).item() for shift in (0, 1, 2)]
    assert shifts[0] < shifts[1] < shifts[2] and shifts[0] < 0
    foreground = losses.boundary(certain(labels[:1].roll(2, -1)), distance, background=False).item()
    assert foreground != shifts[2]
    assert losses.surface(certain(labels[:1]), distance).item() == pytest.approx(shifts[0] / (11**2 + 15**2) ** 0.5)


def test_a_closed_eye_leaves_the_generalised_dice_loss_a_gradient(labels, logits):
    closed, at = labels[1:], logits[1:].clone().requires_grad_()
    loss = losses.generalised_dice(at, closed)
    loss.backward()
    assert 0 < loss < 0.9 and at.grad.abs().sum() > 1e-3


def test_a_class_that_the_batch_lacks_costs_the_focal_tversky_loss_nothing(labels):
    closed = labels[1:]
    assert losses.focal_tversky(certain(closed), closed).item() == pytest.approx(0, abs=1e-6)
    assert losses.focal_tversky(certain(closed + 3), closed).item() == pytest.approx(0.25 ** (4 / 3), abs=1e-5)
