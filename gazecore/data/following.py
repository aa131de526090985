"""Gaze following: samples -> batches of scenes, head boxes, head prompts and targets.

A photo is decoded and resized once for all people in it. Augmentation is decided once per photo or clip
(augment_following.py); without it items are those of the published test sets.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from gazecore import geometry, heatmaps, images
from gazecore.data import augment_following as augment
from gazecore.errors import GazeError
from gazecore.records import GazeSample


@dataclass(frozen=True)
class Preprocessing:
    """What a model takes; sizes are (h, w), None leaves a field of the batch out.

    order           "resize-then-normalise": the resized picture is rounded to 8 bits, as Pillow does, then normalised
                    "normalise-then-resize": resized without rounding; the two steps commute but for that
    antialias       of "normalise-then-resize"; torchvision did not before 0.17
    head_expansion  fraction by which head boxes grow before anything else (geometry.expand_boxes_sequential)
    augmentation    "vtd" or "gazelle": whose decisions are sampled when augmenting
    compat          "" is right: boxes inside the image, unknown targets ignored. "vtd" and "gazelle" reproduce the
                    published code where it is not, given samples that were read with repair=False
    """

    scene_size: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = images.IMAGENET_MEAN
    std: tuple[float, float, float] = images.IMAGENET_STD
    order: str = "resize-then-normalise"
    antialias: bool = True
    head_expansion: float = 0.0
    head_crop_size: tuple[int, int] | None = None
    head_mask_size: tuple[int, int] | None = None
    head_mask_convention: str = "vtd"
    heatmap_size: tuple[int, int] | None = (64, 64)
    heatmap_sigma: float = 3.0
    heatmap_convention: str = "subpixel"
    augmentation: str = "vtd"
    compat: str = ""


# ejcgt/attention-target-detection:dataset.py; the class of GazeFollow expands head boxes, that of video does not
VTD = Preprocessing(head_expansion=0.1, head_crop_size=(224, 224), head_mask_size=(224, 224))
VTD_VIDEO = replace(VTD, head_expansion=0.0)
# fkryan/gazelle:gazelle/backbone.py, gazelle/model.py
GAZELLE = Preprocessing(
    scene_size=(448, 448),
    order="normalise-then-resize",
    head_mask_size=(32, 32),
    head_mask_convention="gazelle",
    augmentation="gazelle",
)


def as_published(preprocessing: Preprocessing, family: str) -> Preprocessing:
    """The same with the published defects: "vtd" or "gazelle"."""
    return replace(preprocessing, compat=family, heatmap_convention=family)


@dataclass
class FollowingBatch:
    """People of some scenes; p people, s scenes, n annotators.

    scene           (s, 3, H, W) colour-normalised
    image_index     (p,) long, the scene of each person
    head_box        (p, 4) normalised to the scene; NaN where unknown
    head_crop       (p, 3, h, w) colour-normalised; zeros, the mean colour, where there is no head
    head_mask       (p, 1, h, w), 1 inside the head box
    gaze_targets    (p, n, 2) normalised to the scene, the known ones of each person first, NaN behind them
    in_frame        (p,) 1, 0, NaN unknown
    target_heatmap  (p, h, w), zero without a target
    """

    scene: Tensor
    image_index: Tensor
    head_box: Tensor
    head_crop: Tensor | None
    head_mask: Tensor | None
    gaze_targets: Tensor
    in_frame: Tensor
    target_heatmap: Tensor | None

    def __len__(self) -> int:
        return len(self.image_index)

    def to(self, device: torch.device | str) -> Self:
        """The batch with every tensor on the device."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items() if tensor is not None})


@dataclass
class FollowingItem:
    """One person before collation; scene and head_crop (3, h, w) are uint8, or float32 where not rounded, of 0..255.

    People of one photo share one scene tensor, by which collate tells that it is one scene.
    """

    scene: Tensor
    head_box: np.ndarray  # (4,) normalised to the scene
    head_crop: Tensor | None
    gaze_targets: np.ndarray  # (n, 2) normalised to the scene; n may be 0
    in_frame: float


def batches(
    samples: Iterable[GazeSample],
    preprocessing: Preprocessing,
    batch_size: int,
    draws: augment.Draws | None = None,
) -> Iterator[FollowingBatch]:
    """Batches of batch_size people, in the order of the samples; the last may be smaller.

    Each photo is decoded once if its people follow one another. With draws every person is augmented, and then has a
    scene of their own.
    """
    items: list[FollowingItem] = []
    for item in _items(samples, preprocessing, draws):
        items.append(item)
        if len(items) == batch_size:
            yield collate(items, preprocessing)
            items = []
    if items:
        yield collate(items, preprocessing)


def _items(
    samples: Iterable[GazeSample], preprocessing: Preprocessing, draws: augment.Draws | None
) -> Iterator[FollowingItem]:
    previous, image, scene = None, None, None
    for sample in samples:
        if image is None or sample.image != previous:
            previous, image, scene = sample.image, _decoded(sample), None
        item = make_item(image, sample, preprocessing, draws, scene)
        scene = None if draws else item.scene
        yield item


def _decoded(sample: GazeSample) -> np.ndarray:
    try:
        return images.load(sample.image)
    except GazeError as error:
        raise GazeError(f"the image of {sample.sample_id}: {error}", error.code) from error


def make_item(
    image: np.ndarray,
    sample: GazeSample,
    preprocessing: Preprocessing,
    draws: augment.Draws | None = None,
    scene: Tensor | None = None,
) -> FollowingItem:
    """One person in a photo, augmented if there are draws.

    image  (h, w, 3) uint8, the photo of the sample
    scene  the scene of another person in this photo, made without draws, to be shared
    """
    vtd = preprocessing.compat == "vtd"
    size = image.shape[1::-1]
    head_box_px = _head_boxes(sample.head_box_px, size, preprocessing)
    gaze_targets = np.asarray(sample.gaze_targets, float)
    gaze_targets = gaze_targets[~np.isnan(gaze_targets).any(axis=1)]
    if vtd and draws and not len(gaze_targets):
        gaze_targets = np.full((1, 2), -1.0)  # unknown there, and augmented like any other point
    elif vtd and not draws:
        gaze_targets = gaze_targets[(gaze_targets != -1).any(axis=1)]
    elif not vtd and sample.in_frame == 0:
        gaze_targets = np.empty((0, 2))
    gaze_px = gaze_targets * size

    augmentation = None
    if draws:
        sample_photo = augment.sample_gazelle if preprocessing.augmentation == "gazelle" else augment.sample_photo
        augmentation = sample_photo(draws, head_box_px, gaze_px, size, compat=bool(preprocessing.compat))
    return _item(image, head_box_px, gaze_px, sample.in_frame, preprocessing, augmentation, scene)


def make_clip(
    samples: list[GazeSample],
    preprocessing: Preprocessing,
    draws: augment.Draws | None = None,
    max_frames: int | None = None,
) -> Iterator[FollowingItem]:
    """The frames of one track, augmented alike if there are draws; a frame is decoded when its turn comes.

    max_frames  a longer track is cut to so many, at a random start; without draws to the first so many
    """
    vtd = preprocessing.compat == "vtd"
    size = samples[0].image_size
    sizes = np.array([sample.image_size for sample in samples])[:, None]  # (t, 1, 2)
    in_frame = np.array([sample.in_frame for sample in samples])
    head_boxes_px = np.stack([sample.head_box_px for sample in samples])
    gaze_px = np.stack([sample.gaze_targets for sample in samples])[:, 0] * sizes[:, 0]  # one annotator per frame

    augmentation, frames = None, slice(0, max_frames)
    if draws:
        unknown = -1.0 if vtd else np.nan
        bounding_px = np.where((in_frame == 0)[:, None] | np.isnan(gaze_px), unknown, gaze_px)
        boxes_px = _head_boxes(head_boxes_px, size, preprocessing)
        augmentation, frames = augment.sample_clip(draws, boxes_px, bounding_px, size, max_frames, compat=vtd)

    targets_px = np.where((in_frame == 0)[:, None], np.nan, np.maximum(gaze_px, 0))
    for sample, target_px in zip(samples[frames], targets_px[frames], strict=True):
        image = images.load(sample.image)
        head_box_px = _head_boxes(sample.head_box_px, image.shape[1::-1], preprocessing)
        yield _item(image, head_box_px, target_px[None], sample.in_frame, preprocessing, augmentation)


def _head_boxes(boxes_px: np.ndarray, size: tuple[int, int], preprocessing: Preprocessing) -> np.ndarray:
    """Head boxes (..., 4) as the model is to see them: expanded, and clipped unless reproducing."""
    if preprocessing.head_expansion:
        boxes_px = geometry.expand_boxes_sequential(boxes_px, preprocessing.head_expansion)
    return np.asarray(boxes_px, float) if preprocessing.compat else np.clip(boxes_px, 0, [*size, *size])


def _item(
    image: np.ndarray,
    head_box_px: np.ndarray,
    gaze_px: np.ndarray,
    in_frame: float,
    preprocessing: Preprocessing,
    augmentation: augment.Augmentation | None,
    scene: Tensor | None = None,
) -> FollowingItem:
    augmentation = augmentation or augment.Augmentation(keep_inside=False)
    cut = _cut_as_published if preprocessing.compat == "vtd" else _cut
    scene, head_crop = cut(image, head_box_px, preprocessing, augmentation, scene)
    size: tuple[float, float] = image.shape[1::-1]
    augmented = augmentation.size(size)
    return FollowingItem(
        scene=scene,
        head_box=geometry.normalise_boxes(augmentation.boxes(head_box_px, size), np.array(augmented)),
        head_crop=head_crop,
        gaze_targets=augmentation.points(gaze_px, size) / augmented,
        in_frame=in_frame,
    )


def _cut(
    image: np.ndarray,
    head_box_px: np.ndarray,
    preprocessing: Preprocessing,
    augmentation: augment.Augmentation,
    scene: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Scene and head crop. Flip and colour come last, on the small pictures: the same up to 8-bit rounding."""
    whole = augmentation.cropped(head_box_px, image.shape[1::-1])
    if augmentation.crop:
        x, y, width, height = (int(value) for value in augmentation.crop)
        image = image[y : y + height, x : x + width]
    pictures = [_resized(image, preprocessing.scene_size, preprocessing) if scene is None else scene]
    if preprocessing.head_crop_size:
        pictures.append(_resized(_head(image, whole, preprocessing), preprocessing.head_crop_size, preprocessing))
    scene, *head_crop = augmentation.finished(pictures)
    return scene, head_crop[0] if head_crop else None


def _head(image: np.ndarray, head_box_px: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The head cut out, corners truncated to whole pixels, at least one; the mean colour where there is no head."""
    if np.isnan(head_box_px).any():
        return np.rint(255 * np.array(preprocessing.mean)).astype(np.uint8)[None, None]
    height, width, _ = image.shape
    left, top, right, bottom = (max(int(side), 0) for side in head_box_px)
    left, top = min(left, width - 1), min(top, height - 1)
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def _resized(image: np.ndarray, size: tuple[int, int], preprocessing: Preprocessing) -> Tensor:
    """(h, w, 3) uint8 -> (3, *size) of 0..255, rounded to uint8 or float32 as the order asks.

    torch's resizing of 8 bits takes a fifth of Pillow's time and is within one step of 255 of it.
    """
    values = torch.from_numpy(image).permute(2, 0, 1)[None]
    if preprocessing.order == "resize-then-normalise":
        return interpolate(values, size, mode="bilinear", antialias=True)[0]
    return interpolate(values.float(), size, mode="bilinear", antialias=preprocessing.antialias)[0]


def _cut_as_published(
    image: np.ndarray,
    head_box_px: np.ndarray,
    preprocessing: Preprocessing,
    augmentation: augment.Augmentation,
    scene: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """What _cut does, by the operations of ejcgt/attention-target-detection:dataset.py; black outside the photo."""
    picture = augmentation.published_picture(Image.fromarray(image))
    if scene is None:
        scene = _resized_as_published(picture, preprocessing.scene_size)
    if preprocessing.head_crop_size is None:
        return scene, None
    if np.isnan(head_box_px).any():
        head = Image.fromarray(_head(image, head_box_px, preprocessing))
    else:
        left, top, right, bottom = (int(side) for side in augmentation.boxes(head_box_px, image.shape[1::-1]))
        head = picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    return scene, _resized_as_published(head, preprocessing.head_crop_size)


def _resized_as_published(picture: Image.Image, size: tuple[int, int]) -> Tensor:
    return torch.from_numpy(images.resize(np.asarray(picture), size[::-1])).permute(2, 0, 1)


def collate(items: list[FollowingItem], preprocessing: Preprocessing) -> FollowingBatch:
    """The items of one batch; a scene that people share is stored once."""
    scenes: dict[int, int] = {}
    image_index = [scenes.setdefault(id(item.scene), len(scenes)) for item in items]
    distinct = [items[image_index.index(index)].scene for index in range(len(scenes))]
    head_crops = [item.head_crop for item in items if item.head_crop is not None]

    head_boxes = np.stack([item.head_box for item in items])
    known = [item.gaze_targets[~np.isnan(item.gaze_targets).any(axis=1)] for item in items]
    gaze_targets = np.full((len(items), max(1, *map(len, known)), 2), np.nan)
    for row, targets in zip(gaze_targets, known, strict=True):
        row[: len(targets)] = targets

    return FollowingBatch(
        scene=_normalised(distinct, preprocessing),
        image_index=torch.tensor(image_index),
        head_box=torch.from_numpy(head_boxes).float(),
        head_crop=_normalised(head_crops, preprocessing) if head_crops else None,
        head_mask=_head_masks(head_boxes, preprocessing),
        gaze_targets=torch.from_numpy(gaze_targets).float(),
        in_frame=torch.tensor([item.in_frame for item in items], dtype=torch.float32),
        target_heatmap=_target_heatmaps(gaze_targets, preprocessing),
    )


def scene_batch(photos: list[np.ndarray], preprocessing: Preprocessing) -> Tensor:
    """Photos (h, w, 3) uint8 of any sizes -> scenes (images, 3, *scene_size) as a model takes them, not augmented."""
    return _normalised([_resized(photo, preprocessing.scene_size, preprocessing) for photo in photos], preprocessing)


def _normalised(pictures: list[Tensor], preprocessing: Preprocessing) -> Tensor:
    """(3, h, w) of 0..255 each -> (pictures, 3, h, w), channels last in memory as decoded pictures are.

    One after the other, as one fits into the processor's cache, and by whole rows of pixels.
    """
    _, height, width = pictures[0].shape
    mean, std = (255 * torch.tensor(values).repeat(width) for values in (preprocessing.mean, preprocessing.std))
    normalised = torch.from_numpy(np.empty((len(pictures), height, width, 3), np.float32))  # numpy asks for huge pages
    for picture, out in zip(pictures, normalised, strict=True):
        out.copy_(picture.permute(1, 2, 0))
        out.view(height, 3 * width).sub_(mean).div_(std)
    return normalised.permute(0, 3, 1, 2)


def _head_masks(head_boxes: np.ndarray, preprocessing: Preprocessing) -> Tensor | None:
    if preprocessing.head_mask_size is None:
        return None
    published = preprocessing.compat == "gazelle"
    convention = preprocessing.head_mask_convention
    masks = geometry.head_mask(head_boxes, preprocessing.head_mask_size, convention, compat=published)
    return torch.from_numpy(masks)[:, None]


def _target_heatmaps(gaze_targets: np.ndarray, preprocessing: Preprocessing) -> Tensor | None:
    if preprocessing.heatmap_size is None:
        return None
    size, sigma = preprocessing.heatmap_size, preprocessing.heatmap_sigma
    convention = preprocessing.heatmap_convention
    if gaze_targets.shape[1] == 1:
        return torch.from_numpy(heatmaps.gaussian(gaze_targets[:, 0], size, sigma, convention))
    return torch.from_numpy(heatmaps.multi_annotator(gaze_targets, size, sigma, convention))


def preprocessing_of(model: Any) -> Preprocessing:
    """What a model of gaze following takes, from its `preprocessing` (gazecore.models says what that holds)."""
    wanted = model.preprocessing
    size = tuple(wanted["input_size"])
    crop = wanted["head_crop_size"]
    return Preprocessing(
        scene_size=size,
        mean=tuple(wanted["mean"]),
        std=tuple(wanted["std"]),
        order=wanted["order"],
        head_expansion=wanted["head_box_expansion"],
        head_crop_size=tuple(crop) if crop else None,
        head_mask_size=size if wanted["head_mask"] else None,
        augmentation="vtd" if crop else "gazelle",
    )
