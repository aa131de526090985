"""Losses of gaze following: pure functions on tensors; a batch without a row that counts gives zero, never NaN."""

import torch
import torch.nn.functional as F
from torch import Tensor


def heatmap_mse(heatmap: Tensor, target: Tensor, in_frame: Tensor, amplification: float = 10_000.0) -> Tensor:
    """Each in-frame person's mean squared difference of heatmap and target, averaged over them, times amplification.

    heatmap, target  (people, h, w); a target of somebody looking out of frame may hold anything, NaN too
    in_frame         (people,) 1 looks into the frame; 0, negative and NaN (unknown) do not count
    returns          (), zero with zero gradient without an in-frame row, where ejcgt/attention-target-detection:
                     train_on_gazefollow.py divides by zero; equal to it otherwise
    """
    inside = in_frame == 1
    difference = torch.where(inside[:, None, None], heatmap.float() - target, 0.0)
    return amplification * difference.square().mean(dim=(-2, -1)).sum() / inside.sum().clamp(min=1)


def heatmap_bce(heatmap: Tensor, target: Tensor, in_frame: Tensor) -> Tensor:
    """Mean binary cross-entropy of every pixel of the in-frame people's maps.

    The loss of fkryan/gazelle:scripts/train_gazefollow.py.

    heatmap          (people, h, w) probabilities; target (people, h, w) in 0..1, anything where not in frame
    in_frame         (people,) as for heatmap_mse
    returns          (), zero with zero gradient without an in-frame row
    """
    inside = (in_frame == 1)[:, None, None]
    probability, target = torch.where(inside, heatmap.float(), 0.5), torch.where(inside, target, 0.5)
    with torch.autocast(heatmap.device.type, enabled=False):  # torch refuses this loss in half precision
        cross_entropy = F.binary_cross_entropy(probability, target.float(), reduction="none")
    counted = torch.where(inside, cross_entropy, 0.0)
    return counted.mean(dim=(-2, -1)).sum() / inside.sum().clamp(min=1)


def in_frame_bce(logit: Tensor, in_frame: Tensor, amplification: float = 100.0) -> Tensor:
    """Binary cross-entropy of the in-frame logits, averaged over the people for whom it is known, times amplification.

    logit     (people,); in_frame (people,) 1 or 0; NaN and negative are unknown and do not count
    returns   (), zero with zero gradient where none is known
    """
    known = in_frame >= 0
    cross_entropy = F.binary_cross_entropy_with_logits(
        logit.float(), torch.where(known, in_frame, 0.0).float(), reduction="none"
    )
    return amplification * torch.where(known, cross_entropy, 0.0).sum() / known.sum().clamp(min=1)
