"""Eye regions: images as a model wants them, its probabilities back at the size of the images, batches for training.

A batch is a function of seed, epoch and place in the epoch alone: its samples from a permutation, their augmentation
from a generator of their own. So neither the processes that train nor the workers that load can change it, and a run
goes on at any update.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import tee
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gazecore import artifacts
from gazecore.artifacts import Artifact
from gazecore.data.augment_eyes import augmented, draw
from gazecore.data.clahe import clahe
from gazecore.errors import GazeError

AUGMENTATIONS = ("full", "flip", "none")
KEPT_BYTES = 2 << 30  # an artifact whose images are smaller is read once and kept in memory
BLOCK = 64
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and OpenCV turn colour to grey

Place = tuple[int, int]  # epoch, update within it


@dataclass
class EyeBatch:
    """image (b, 3, h, w) float, normalised; labels (b, h, w) long, None where there are none."""

    image: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str) -> "EyeBatch":
        return EyeBatch(self.image.to(device), None if self.labels is None else self.labels.to(device))


@dataclass(frozen=True)
class Preprocessing:
    """What a model wants its images to be, in this order.

    long_side   pixels of the longer side after resizing, bilinear; None leaves images as they are
    grey        all channels become the luma
    gamma       grey values v become 255 (v / 255) ** gamma, cut to whole numbers
    clahe       (clip, tiles) of data/clahe.py, on each channel
    mean, std   per channel, of values 0..1
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    grey: bool = False
    gamma: float | None = None
    clahe: tuple[float, int] | None = None
    long_side: int | None = None

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which the model sees an image of that size."""
        if self.long_side is None or self.long_side == max(height, width):
            return height, width
        scale = self.long_side / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def apply(self, image: np.ndarray) -> Tensor:
        """(b, h, w, 3) uint8 -> (b, 3, h', w') float32, resized and normalised."""
        picture = torch.from_numpy(np.ascontiguousarray(image)).permute(0, 3, 1, 2)
        size = self.size(*image.shape[1:3])
        if size != image.shape[1:3]:
            picture = F.interpolate(picture, size, mode="bilinear", antialias=True)
        return self.normalised(picture)

    def normalised(self, image: Tensor) -> Tensor:
        """Everything but the resizing: (b, 3, h, w), uint8 or float 0..255, -> float32."""
        if self.grey:
            weights = torch.tensor(LUMA).view(1, 3, 1, 1)
            image = (image * weights).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        if self.gamma is not None or self.clahe is not None:
            image = torch.from_numpy(self._equalised(image.round().to(torch.uint8).numpy()))
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return torch.addcmul(-mean / std, image.float(), 1 / (255 * std)).contiguous()

    def _equalised(self, image: np.ndarray) -> np.ndarray:
        """(b, 3, h, w) uint8 -> the same after gamma and CLAHE; of grey images, one channel is computed."""
        channels = image[:, :1] if self.grey else image
        if self.gamma is not None:
            table = (255.0 * np.linspace(0, 1, 256) ** self.gamma).astype(np.uint8)
            channels = table[channels]
        if self.clahe is not None:
            flat = channels.reshape(-1, *channels.shape[2:])
            channels = np.stack([clahe(one, *self.clahe) for one in flat]).reshape(channels.shape)
        return np.ascontiguousarray(np.broadcast_to(channels, image.shape))


def preprocessing_of(model: Any) -> Preprocessing:
    """A model's `preprocessing`, read. Errors: keys that are not known here, or are missing."""
    found = dict(model.preprocessing)
    unknown = sorted(found.keys() - Preprocessing.__dataclass_fields__.keys())
    if unknown or not {"mean", "std"} <= found.keys():
        raise GazeError(
            f"the model is to be fed in a way not known here: {', '.join(unknown) or 'no mean and std'}; expected "
            f"{', '.join(Preprocessing.__dataclass_fields__)}"
        )
    if isinstance(found.get("clahe"), dict):
        found["clahe"] = (float(found["clahe"]["clip"]), int(found["clahe"]["tiles"]))
    return Preprocessing(**found | {"mean": tuple(found["mean"]), "std": tuple(found["std"])})


def restored(probability: Tensor, size: tuple[int, int]) -> Tensor:
    """(b, labels, h, w) -> (b, labels, *size): a model's probabilities at the size of the images it was asked about."""
    if probability.shape[-2:] == size:
        return probability
    shrinks = size[0] < probability.shape[-2]
    return F.interpolate(probability, size, mode="bilinear", antialias=shrinks)


class Eyes(Dataset):
    """Batches of annotated eyes from an artifact of eye samples.

    batch_size    samples in a batch, over all processes; what is left at the end of an epoch is left out
    rank, world   this process, and how many share every batch
    augmentation  of AUGMENTATIONS: full (augment_eyes.py), flip left to right only, none
    Images are kept in memory up to KEPT_BYTES in all, else read again for every batch.
    """

    def __init__(
        self,
        artifact: Artifact,
        rows: np.ndarray,
        preprocessing: Preprocessing,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        augmentation: str = "full",
    ):
        if "labels" not in artifact:
            raise GazeError(f"{artifact.path} has no labels: prepare it with masks, gz prep-eyes IMAGES --masks MASKS")
        if not len(rows):
            raise GazeError(f"{artifact.path}: no sample to train on is left")
        self.rows, self.preprocessing, self.seed = rows, preprocessing, seed
        self.batch_size, self.rank, self.world = min(batch_size, len(rows)), rank, world
        self.augmentation = augmentation
        self._path, self._opened_by = artifact.path, -1
        self._opened: Artifact | None = None
        self._kept: tuple[np.ndarray, np.ndarray] | None = None
        if len(rows) * (artifact["image"].row_bytes + artifact["labels"].row_bytes) <= KEPT_BYTES:
            self._kept = artifact["image"].take(rows), artifact["labels"].take(rows)
        self._epoch, self._order = -1, np.empty(0, int)

    def __len__(self) -> int:
        return len(self.rows)

    def updates(self, epoch: int) -> int:
        """Batches in an epoch."""
        return len(self.rows) // self.batch_size

    def __getitem__(self, place: Place) -> EyeBatch | None:
        """This process's part of the batch; None where it has none."""
        epoch, update = place
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, 2, epoch]).permutation(len(self.rows))
        batch = self._order[update * self.batch_size : (update + 1) * self.batch_size]
        mine = np.array_split(batch, self.world)[self.rank]
        if not len(mine):
            return None
        image, labels = self.read(mine)
        size = self.preprocessing.size(*image.shape[1:3])
        draws = [draw(np.random.default_rng([self.seed, 3, epoch, int(self.rows[i])]), self.augmentation) for i in mine]
        pictures, targets = augmented(torch.from_numpy(image), torch.from_numpy(labels), draws, size)
        return EyeBatch(self.preprocessing.normalised(pictures), targets)

    def read(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (k, h, w, 3) and labels (k, h, w), uint8, of places in `rows`."""
        if self._kept is not None:
            return self._kept[0][chosen], self._kept[1][chosen]
        if self._opened is None or self._opened_by != os.getpid():  # its files and threads do not survive a fork
            self._opened, self._opened_by = artifacts.open(self._path), os.getpid()
        return self._opened["image"].take(self.rows[chosen]), self._opened["labels"].take(self.rows[chosen])

    def in_order(self) -> Iterator[tuple[EyeBatch, np.ndarray]]:
        """Everybody once, in the order of the samples, not augmented; and their labels (b, h, w) uint8 as stored."""
        for start in range(0, len(self.rows), BLOCK):
            image, labels = self.read(np.arange(start, min(start + BLOCK, len(self.rows))))
            yield EyeBatch(self.preprocessing.apply(image)), labels


def loaded(eyes: Eyes, places: Iterator[Place], workers: int = 0) -> Iterator[tuple[Place, EyeBatch | None]]:
    """(place, batch) of the given places; loaded ahead by worker processes, without any when they are asked for."""
    if not workers:
        yield from ((place, eyes[place]) for place in places)
        return
    ahead, behind = tee(places)
    own = torch.Generator()  # else the loader would draw from the generator that dropout draws from
    batches = DataLoader(eyes, None, sampler=ahead, num_workers=workers, prefetch_factor=4, generator=own)  # type: ignore[arg-type]
    yield from zip(behind, batches, strict=True)


def held_out(artifact: Artifact, rows: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rest and a share of the rows, chosen by the seed: whole subjects where they are known."""
    groups = np.arange(len(rows))
    if "subject" in artifact:
        subjects = artifact["subject"].whole()[rows].astype(object)
        if all(subjects) and len(set(subjects)) > 1:
            _, groups = np.unique(subjects, return_inverse=True)
    names = np.unique(groups)
    chosen = np.random.default_rng([seed, 1]).permutation(names)[: max(1, round(share * len(names)))]
    out = np.isin(groups, chosen)
    return rows[~out], rows[out]
