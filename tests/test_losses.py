import math

import pytest
import torch

from gazecore import losses


def heatmaps():
    return torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_perfect_heatmap_loses_nothing():
    assert losses.heatmap_mse(heatmaps(), heatmaps(), torch.ones(3)) == 0


def test_heatmap_mse_by_hand_counts_in_frame_people_alone():
    heatmap, target = torch.zeros(3, 2, 2), torch.stack([torch.full((2, 2), value) for value in (0.1, 0.3, math.nan)])
    loss = losses.heatmap_mse(heatmap, target, torch.tensor([1.0, 1.0, 0.0]))
    assert loss.item() == pytest.approx(10_000 * (0.01 + 0.09) / 2)


def test_in_frame_bce_by_hand_ignores_the_unknown():
    logit, in_frame = torch.tensor([0.0, 2.0, 5.0, 5.0]), torch.tensor([1.0, 0.0, math.nan, -1.0])
    expected = 100 * (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert losses.in_frame_bce(logit, in_frame).item() == pytest.approx(expected)


def test_heatmap_bce_equals_torch_on_in_frame_people():
    heatmap, target = heatmaps(), heatmaps().flip(0)
    expected = torch.nn.functional.binary_cross_entropy(heatmap[:2], target[:2])
    torch.testing.assert_close(losses.heatmap_bce(heatmap, target, torch.tensor([1.0, 1.0, 0.0])), expected)


@pytest.mark.parametrize("loss", [losses.heatmap_mse, losses.heatmap_bce])
@pytest.mark.parametrize("in_frame", [torch.zeros(3), torch.full((3,), math.nan), torch.full((3,), -1.0)])
def test_nobody_in_frame_gives_zero_and_no_gradient(loss, in_frame):
    heatmap = heatmaps().requires_grad_()
    value = loss(heatmap, torch.full((3, 8, 8), math.nan), in_frame)
    value.backward()
    assert value.item() == 0 and (heatmap.grad == 0).all()


def test_nobody_known_gives_zero_and_no_gradient():
    logit = torch.randn(3).requires_grad_()
    value = losses.in_frame_bce(logit, torch.full((3,), math.nan))
    value.backward()
    assert value.item() == 0 and (logit.grad == 0).all()


def test_saturated_heatmaps_keep_a_finite_loss_and_gradient():
    heatmap = torch.tensor([[[0.0, 1.0]]], requires_grad=True)
    value = losses.heatmap_bce(heatmap, torch.tensor([[[1.0, 0.0]]]), torch.ones(1))
    value.backward()
    assert value.isfinite() and heatmap.grad.isfinite().all()


def test_heatmap_bce_runs_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert losses.heatmap_bce(heatmaps(), heatmaps(), torch.ones(3)).isfinite()
