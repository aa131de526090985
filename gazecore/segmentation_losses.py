"""Losses of segmentation: pure functions on tensors; the convention of each, of which there are many, is written down.

Throughout:
logits     (b, classes, h, w), any real numbers; in half precision they are computed in single
labels     (b, h, w) long, class ids
background False leaves class 0 out of the mean over classes; its logits still count in the softmax
returns    ()
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

TINY = 1e-10


def distance_maps(labels: Tensor, classes: int = 4) -> Tensor:
    """How far each pixel is from each class: (b, classes, h, w) float32, pixels.

    Outside a region the distance to its nearest pixel, inside it minus the distance to the nearest pixel outside, plus
    1: 0 on its outermost pixels. A class that an image does not hold is 0 everywhere; one that fills it is measured
    from one row above its first pixel, as scipy does. LIVIAETS/boundary-loss:dataloader.py (one_hot2dist), which cuts
    distances to whole numbers when its input is of whole numbers; these are not.
    """
    maps = np.zeros((len(labels), classes, *labels.shape[1:]), np.float32)
    for image, of_image in zip(labels.cpu().numpy(), maps, strict=True):
        for label in np.intersect1d(image, np.arange(classes)):
            inside = image == label
            of_image[label] = distance_transform_edt(~inside)
            # of what is inside, the nearest pixel outside is no farther than just beside the region's box
            box = tuple(_from_to(inside.any(axis=axis)) for axis in (1, 0))
            of_image[label][box] -= np.maximum(distance_transform_edt(inside[box]) - 1, 0)
    return torch.from_numpy(maps).to(labels.device)


def _from_to(occupied: np.ndarray) -> slice:
    """From one before the first occupied place to one after the last."""
    places = np.flatnonzero(occupied)
    return slice(max(places[0] - 1, 0), places[-1] + 2)


def boundary(logits: Tensor, distance: Tensor, background: bool = True) -> Tensor:
    """Mean over images, classes and pixels of probability times distance map (Kervadec et al., 2019, arXiv:1812.07032).

    distance  of distance_maps. The authors leave the background out and add 0.01 of it to the generalised Dice loss;
              it can be negative.
    """
    return (_probability(logits) * distance)[:, 0 if background else 1 :].mean()


def surface(logits: Tensor, distance: Tensor) -> Tensor:
    """`boundary` with distances in parts of the image's diagonal (AayushKrChaudhary/RITnet:dataset.py, utils.py)."""
    height, width = distance.shape[-2:]
    return boundary(logits, distance) / ((height - 1) ** 2 + (width - 1) ** 2) ** 0.5


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean over pixels of -(1 - p)^gamma log p, p the softmax probability of the pixel's label (arXiv:1708.02002).

    As in RITnet and boundary-loss; MONAI divides it by the number of classes, others take one sigmoid per class.
    """
    log_probability = F.log_softmax(logits.float(), dim=1).gather(1, labels[:, None])
    return -((1 - log_probability.exp()).pow(gamma) * log_probability).mean()


def tversky(
    logits: Tensor,
    labels: Tensor,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1e-5,
    background: bool = True,
) -> Tensor:
    """1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth), per image and class, then their mean (arXiv:1706.05721).

    alpha weighs what is predicted too much, beta what is missed. MONAI's convention: an absent class counts, and is
    lost unless nothing of it is predicted.
    """
    true, false_positive, false_negative = _counts(logits, labels, (2, 3))
    score = (true + smooth) / (true + alpha * false_positive + beta * false_negative + smooth)
    return 1 - score[:, 0 if background else 1 :].mean()


def focal_tversky(
    logits: Tensor, labels: Tensor, alpha: float = 0.7, beta: float = 0.3, gamma: float = 4 / 3, smooth: float = 1e-7
) -> Tensor:
    """The mean over classes of 1 - TP / (TP + alpha FP + beta FN) to the power of gamma, counts of the whole batch.

    The convention of qubvel-org/segmentation_models.pytorch:losses/tversky.py: a class that the batch does not hold
    loses nothing. gamma 1 is its Tversky loss.
    """
    true, false_positive, false_negative = _counts(logits, labels, (0, 2, 3))
    score = true / (true + alpha * false_positive + beta * false_negative).clamp(min=smooth)
    present = true + false_negative > 0
    return torch.where(present, 1 - score, 0.0).mean() ** gamma


def dice(logits: Tensor, labels: Tensor, smooth: float = 1e-5, background: bool = True) -> Tensor:
    """1 - (2 TP + smooth) / (2 TP + FP + FN + smooth), per image and class, then their mean; MONAI's convention."""
    return tversky(logits, labels, 0.5, 0.5, smooth / 2, background)


def ce_dice(logits: Tensor, labels: Tensor, smooth: float = 1e-5) -> Tensor:
    """Cross-entropy plus `dice`, background included (DiceCELoss of MONAI)."""
    return F.cross_entropy(logits.float(), labels) + dice(logits, labels, smooth)


def generalised_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - 2 sum(w TP) / sum(w (predicted + labelled)), w = 1 / labelled^2 of each class; the mean over images.

    Sudre et al., 2017 (arXiv:1707.03237). A class that an image does not hold has no weight in it: published versions
    give it 1 / 1e-20, so that one closed eye makes the loss 1 and its gradient 0.
    """
    true, false_positive, false_negative = _counts(logits, labels, (2, 3))  # (b, classes)
    labelled = true + false_negative
    present = labelled > 0.5
    weight = torch.where(present, labelled.clamp(min=0.5) ** -2, 0.0)
    both = (weight * (2 * true + false_positive + false_negative)).sum(dim=1)
    return (1 - (2 * (weight * true).sum(dim=1) + TINY) / (both + TINY)).mean()


def _probability(logits: Tensor) -> Tensor:
    return logits.float().softmax(dim=1)


def _counts(logits: Tensor, labels: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over axes of what is rightly predicted, wrongly predicted and missed, in probabilities."""
    probability = _probability(logits)
    labelled = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probability)
    true = (probability * labelled).sum(axes)
    return true, probability.sum(axes) - true, labelled.sum(axes) - true
