"""Gaze following, training: an artifact of gaze samples -> the batches of any update, in any order of asking.

A batch is a function of seed, epoch and place in the epoch alone: its people from a permutation, their augmentation
from a generator of their own. So neither the processes that train nor the workers that load can change it, and a run
goes on at any update.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import tee
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gazecore import artifacts, images
from gazecore.artifacts import Artifact
from gazecore.artifacts.gaze_samples import Scenes
from gazecore.data import augment_following as augment
from gazecore.data.following import FollowingBatch, FollowingItem, Preprocessing, _head_boxes, _item, collate, make_item
from gazecore.errors import GazeError
from gazecore.records import GazeSample

Place = tuple[int, int]  # epoch, update within it
AUGMENTATIONS = ("full", "flip", "none")


class SceneFeatures(Protocol):
    """Image row -> features (d, h, w) of its scene."""

    def __getitem__(self, image: int) -> Tensor: ...


class People:
    """Some samples of an artifact: their numbers in memory (about 100 bytes each), their scenes on disk.

    rows          (n,) in the artifact; all else is parallel to it
    image_index   (n,) row of the scene; sizes_px (n, 2) its width and height
    head_box_px   (n, 4); gaze_targets (n, annotators, 2); in_frame (n,): as in records.GazeSample
    dataset       (n,) names, "" where the artifact has none
    clip, track   (n,) numbers of the clip and of the person in it; of photos, of the photo and of the sample
    frame         (n,) number of the frame; of photos 0
    """

    def __init__(self, artifact: Artifact, rows: np.ndarray):
        self.path, self.rows = artifact.path, rows
        self.image_index = artifact["image_index"].whole()[rows]
        self.sizes_px = artifact["image_size_px"].whole()[self.image_index]
        self.head_box_px = artifact["head_box_px"].whole()[rows]
        self.gaze_targets = artifact["gaze_targets"].whole()[rows]
        self.in_frame = artifact["in_frame"].whole()[rows] if "in_frame" in artifact else np.full(len(rows), np.nan)
        self.dataset = artifact["dataset"].whole()[rows] if "dataset" in artifact else np.full(len(rows), "")
        self.eye = artifact["eye"].whole()[rows] if "eye" in artifact else None
        self.video = "frame" in artifact and "track_id" in artifact
        self.clip, self.track, self.frame = self.image_index, np.arange(len(rows)), np.zeros(len(rows))
        if self.video:
            self.clip, self.track = _tracks(artifact, rows)
            self.frame = artifact["frame"].whole()[rows]
        self._scenes: Scenes | None = None
        self._opened_by = 0

    def __len__(self) -> int:
        return len(self.rows)

    def photo(self, image: int) -> np.ndarray:
        """The scene (h, w, 3) uint8 of an image row."""
        if self._opened_by != os.getpid():  # files and threads of the artifact do not survive a fork
            self._scenes, self._opened_by = Scenes(artifacts.open(self.path)), os.getpid()
        assert self._scenes is not None
        return images.load(self._scenes[image])

    def sample(self, i: int) -> GazeSample:
        """Person i without their scene."""
        width, height = self.sizes_px[i].tolist()
        return GazeSample(
            sample_id="",
            image=b"",
            image_name="",
            image_size=(width, height),
            head_box_px=self.head_box_px[i],
            gaze_targets=self.gaze_targets[i],
            in_frame=float(self.in_frame[i]),
        )


def _tracks(artifact: Artifact, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of each row's clip, and of its person within the clip."""
    clips = artifact["clip"].whole()[rows] if "clip" in artifact else np.full(len(rows), "")
    _, clip = np.unique(clips.astype(object), return_inverse=True)
    _, person = np.unique(artifact["track_id"].whole()[rows].astype(object), return_inverse=True)
    _, track = np.unique(np.stack([clip, person]), axis=1, return_inverse=True)
    return clip, track


def every_nth_frame(people: People, n: int) -> np.ndarray:
    """Which people (of video) are in every n-th of their clip's annotated frames, counted from its first."""
    chosen = np.zeros(len(people), bool)
    for clip in np.unique(people.clip):
        mine = people.clip == clip
        _, number = np.unique(people.frame[mine], return_inverse=True)
        chosen[mine] = number % n == 0
    return np.flatnonzero(chosen)


def held_out(people: People, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rest and a share of all clips (of photos: of all photos), whole ones, chosen by the seed."""
    clips = np.unique(people.clip)
    chosen = np.random.default_rng([seed, 1]).permutation(clips)[: max(1, round(share * len(clips)))]
    out = np.isin(people.clip, chosen)
    return np.flatnonzero(~out), np.flatnonzero(out)


@dataclass(frozen=True)
class Share:
    """Which part of every batch this process loads, and in how many pieces."""

    rank: int = 0
    world: int = 1
    pieces: int = 1

    def of(self, batch: np.ndarray) -> list[np.ndarray]:
        """This process's pieces of a batch; people that follow one another stay together."""
        return np.array_split(batch, self.world * self.pieces)[self.rank * self.pieces : (self.rank + 1) * self.pieces]


@dataclass
class Piece:
    """What a process computes at once: people of photos, or some frames of several tracks.

    people        (rows,) places in the loader's `people`
    batch         of tracks, rows are packed time-major, the longest track first
    batch_sizes   of tracks: how many are alive at each of the frames
    first         the tracks begin here: there is no state yet
    """

    people: np.ndarray
    batch: FollowingBatch
    batch_sizes: list[int] | None = None
    first: bool = True

    @property
    def inside(self) -> int:
        """Rows with a gaze target: those whose heat map counts."""
        return int(has_target(self.batch).sum())

    @property
    def known(self) -> int:
        """Rows of which it is known whether the gaze target lies in the frame."""
        return int((self.batch.in_frame >= 0).sum())

    def to(self, device: torch.device | str) -> "Piece":
        return replace(self, batch=self.batch.to(device))


def has_target(batch: FollowingBatch) -> Tensor:
    """(people,) whether there is a gaze target in the frame; the known ones stand first."""
    return ~batch.gaze_targets[:, 0, 0].isnan()


class Photos(Dataset):
    """Batches of people in photos (or in single frames); people of one photo stand together.

    batch_size    people in a batch, over all processes; what is left at the end of an epoch is left out
    augmentation  of AUGMENTATIONS: full as the preprocessing says, flip left to right only, none
    share_scene   one augmentation for all people of a photo, so that a model encodes it once; else each person's own
    features      scenes are not decoded but come from here, (d, h, w) per image row; head boxes alone are augmented
    """

    def __init__(
        self,
        people: People,
        preprocessing: Preprocessing,
        batch_size: int,
        seed: int = 0,
        share: Share = Share(),
        augmentation: str = "full",
        share_scene: bool = False,
        features: "SceneFeatures | None" = None,
    ):
        if not len(people):
            raise GazeError(f"{people.path}: no sample to train on is left")
        self.people, self.preprocessing, self.share = people, preprocessing, share
        self.batch_size, self.seed = min(batch_size, len(people)), seed
        self.augmentation, self.share_scene, self.features = augmentation, share_scene, features
        _, self._image = np.unique(people.image_index, return_inverse=True)
        by_image = np.argsort(self._image, kind="stable")
        self._people_of = np.split(by_image, np.flatnonzero(np.diff(self._image[by_image])) + 1)
        self._epoch, self._order = -1, np.empty(0, int)

    def updates(self, epoch: int) -> int:
        """Batches in an epoch."""
        return len(self.people) // self.batch_size

    def _permuted(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            images = np.random.default_rng([self.seed, 2, epoch]).permutation(len(self._people_of))
            self._epoch, self._order = epoch, np.concatenate([self._people_of[image] for image in images])
        return self._order

    def __getitem__(self, place: Place) -> list[Piece | None]:
        """This process's pieces of the batch; None for one without people."""
        epoch, update = place
        batch = self._permuted(epoch)[update * self.batch_size : (update + 1) * self.batch_size]
        return [self._loaded(piece, epoch) if len(piece) else None for piece in self.share.of(batch)]

    def in_order(self) -> Iterator[Piece]:
        """Everybody once, in the order of the samples, not augmented."""
        for start in range(0, len(self.people), self.batch_size):
            yield self._loaded(np.arange(start, min(start + self.batch_size, len(self.people))), None)

    def _loaded(self, chosen: np.ndarray, epoch: int | None) -> Piece:
        """People of one photo follow one another in `chosen`; epoch None: not augmented."""
        items: list[FollowingItem] = []
        for part in np.split(chosen, np.flatnonzero(np.diff(self.people.image_index[chosen])) + 1):
            image = int(self.people.image_index[part[0]])
            if self.features is not None:
                items += self._without_scene(part, epoch)
            elif self.augmentation == "full" and epoch is not None and not self.share_scene:
                photo = self.people.photo(image)
                for i in part.tolist():
                    draws = self._draws(epoch, int(self.people.rows[i]))
                    items.append(make_item(photo, self.people.sample(i), self.preprocessing, draws))
            else:
                items += self._sharing(self.people.photo(image), part, epoch)
        batch = collate(items, self.preprocessing)
        if self.features is not None:
            scenes = dict.fromkeys(self.people.image_index[chosen].tolist())
            batch = replace(batch, scene=torch.stack([self.features[image] for image in scenes]))
        return Piece(chosen, batch)

    def _sharing(self, photo: np.ndarray, part: np.ndarray, epoch: int | None) -> list[FollowingItem]:
        """People of one photo under one augmentation; head boxes are jittered each on its own."""
        people, size = self.people, photo.shape[1::-1]
        shared = None
        if self.augmentation == "flip" and epoch is not None:
            draws = self._draws(epoch, -1 - int(people.image_index[part[0]]))
            shared = augment.Augmentation(flip=draws.random_sample() < 0.5)
        elif self.augmentation == "full" and epoch is not None:
            everybody = self._people_of[self._image[part[0]]]
            boxes_px = _head_boxes(people.head_box_px[everybody], size, self.preprocessing)
            gaze_px = (_known_targets(people, everybody) * size).reshape(-1, 2)
            draws = self._draws(epoch, -1 - int(people.image_index[part[0]]))
            shared, _ = augment.sample_clip(draws, boxes_px, gaze_px, size)
            shared = replace(
                shared, grow=0.0, colour=shared.colour if self.preprocessing.augmentation == "vtd" else None
            )
        items: list[FollowingItem] = []
        for i in part.tolist():
            sides = self._jitter(epoch, i) if shared and epoch is not None else (0.0, 0.0, 0.0, 0.0)
            alone = not items or self.preprocessing.head_crop_size is not None
            box_px = _head_boxes(people.head_box_px[i], size, self.preprocessing)
            own = replace(shared, sides=sides) if shared else None
            gaze_px = _known_targets(people, np.array([i]))[0] * size
            drawn = None if alone else torch.zeros(3, 1, 1)
            item = _item(photo, box_px, gaze_px, float(people.in_frame[i]), self.preprocessing, own, drawn)
            items.append(item if not items else replace(item, scene=items[0].scene))
        return items

    def _without_scene(self, part: np.ndarray, epoch: int | None) -> list[FollowingItem]:
        people, scene = self.people, torch.zeros(3, 1, 1)
        items = []
        for i in part.tolist():
            size = tuple(people.sizes_px[i].tolist())
            sides = self._jitter(epoch, i)
            box_px = _head_boxes(people.head_box_px[i], size, self.preprocessing)
            box_px = augment.Augmentation(sides=sides).jittered(box_px, size)
            targets = _known_targets(people, np.array([i]))[0]
            items.append(FollowingItem(scene, box_px / [*size, *size], None, targets, float(people.in_frame[i])))
        return items

    def _draws(self, epoch: int, key: int) -> augment.SeededDraws:
        return augment.SeededDraws(_generator(self.seed, epoch, key))

    def _jitter(self, epoch: int | None, i: int) -> tuple[float, float, float, float]:
        """As Gaze-LLE: half of the head boxes have each side moved by up to a fifth (augment.sample_gazelle)."""
        if epoch is None or self.augmentation != "full":
            return 0.0, 0.0, 0.0, 0.0
        draws = self._draws(epoch, int(self.people.rows[i]))
        if draws.random_sample() > 0.5:
            return 0.0, 0.0, 0.0, 0.0
        left, top, right, bottom = (draws.uniform(-0.2, 0.2) for _ in range(4))
        return left, top, right, bottom


class Tracks(Dataset):
    """Chunks of batches of tracks: memory does not depend on how long a track is.

    batch_size   tracks in a batch, over all processes; what is left at the end of an epoch is left out
    chunk        frames of a track per update
    most_frames  a longer track is cut to so many at a random start, in every epoch another; None: never
    A batch of tracks is as many updates as its longest track has chunks; tracks that end earlier drop out.
    """

    def __init__(
        self,
        people: People,
        preprocessing: Preprocessing,
        batch_size: int,
        chunk: int,
        most_frames: int | None = None,
        seed: int = 0,
        share: Share = Share(),
        augmentation: str = "full",
    ):
        if not people.video:
            raise GazeError(
                f"{people.path} holds photos; a model with memory needs tracks: samples with clip and frame"
            )
        self.people, self.preprocessing, self.share = people, preprocessing, share
        self.chunk, self.most_frames, self.seed, self.augmentation = chunk, most_frames, seed, augmentation
        order = np.lexsort([people.frame, people.track])
        self._tracks = np.split(order, np.flatnonzero(np.diff(people.track[order])) + 1)
        self.batch_size = min(batch_size, len(self._tracks))
        limit = most_frames or len(people)
        self._lengths = np.minimum([len(track) for track in self._tracks], limit)
        self._epoch: int | None = None
        self._planned: tuple[list[np.ndarray], list[tuple[int, int]]] = ([], [])
        self._decided: dict[tuple[int | None, int], tuple[np.ndarray, augment.Augmentation | None]] = {}

    def updates(self, epoch: int) -> int:
        """Chunks in an epoch, over all its batches."""
        return len(self._places(epoch)[1])

    def _places(self, epoch: int) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
        """The epoch's batches of tracks, and (batch, first frame) of each of its updates."""
        if epoch == self._epoch:
            return self._planned
        tracks = np.random.default_rng([self.seed, 2, epoch]).permutation(len(self._tracks))
        size = self.batch_size
        batches = [tracks[start : start + size] for start in range(0, len(tracks) - size + 1, size)]
        batches = [batch[np.argsort(-self._lengths[batch], kind="stable")] for batch in batches]
        places = [
            (number, first)
            for number, batch in enumerate(batches)
            for first in range(0, int(self._lengths[batch[0]]), self.chunk)
        ]
        self._epoch, self._planned = epoch, (batches, places)
        return self._planned

    def __getitem__(self, place: Place) -> list[Piece | None]:
        """This process's pieces of the update's chunk; None for a piece whose tracks have all ended."""
        epoch, update = place
        batches, places = self._places(epoch)
        number, first = places[update]
        world = self.share.world * self.share.pieces
        own = range(self.share.rank * self.share.pieces, (self.share.rank + 1) * self.share.pieces)
        return [self._loaded(batches[number][piece::world], epoch, first) for piece in own]

    def in_order(self) -> Iterator[Piece]:
        """Every track once, batch by batch of tracks of like length, not augmented and not cut."""
        tracks = np.argsort([-len(track) for track in self._tracks], kind="stable")
        for start in range(0, len(tracks), self.batch_size):
            batch = tracks[start : start + self.batch_size]
            for first in range(0, len(self._tracks[batch[0]]), self.chunk):
                chunk = self._loaded(batch, None, first)
                assert chunk is not None
                yield chunk

    def _loaded(self, tracks: np.ndarray, epoch: int | None, first: int) -> Piece | None:
        """Frames first to first + chunk of the tracks, the longest of which comes first."""
        if first == 0:
            self._decided.clear()
        decided = [self._decisions(epoch, int(track)) for track in tracks]
        rows, items, batch_sizes = [], [], []
        for step in range(first, first + self.chunk):
            alive = [(people[step], augmentation) for people, augmentation in decided if step < len(people)]
            if not alive:
                break
            batch_sizes.append(len(alive))
            for i, augmentation in alive:
                rows.append(int(i))
                items.append(self._frame(int(i), augmentation))
        if not items:
            return None
        return Piece(np.array(rows), collate(items, self.preprocessing), batch_sizes, first == 0)

    def _decisions(self, epoch: int | None, track: int) -> tuple[np.ndarray, augment.Augmentation | None]:
        """The people of a track's frames that are taken, and the one augmentation of them all."""
        if (epoch, track) not in self._decided:
            self._decided[epoch, track] = self._decide(epoch, track)
        return self._decided[epoch, track]

    def _decide(self, epoch: int | None, track: int) -> tuple[np.ndarray, augment.Augmentation | None]:
        people, mine = self.people, self._tracks[track]
        if epoch is None:
            return mine, None
        if self.augmentation == "none":
            return mine[: self.most_frames], None
        size = tuple(people.sizes_px[mine[0]].tolist())
        boxes_px = _head_boxes(people.head_box_px[mine], size, self.preprocessing)
        gaze_px = _known_targets(people, mine)[:, 0] * size
        draws = augment.SeededDraws(_generator(self.seed, epoch, int(people.rows[mine[0]])))
        found, frames = augment.sample_clip(draws, boxes_px, gaze_px, size, self.most_frames)
        if self.augmentation == "flip":
            found = augment.Augmentation(flip=found.flip)
        return mine[frames], found

    def _frame(self, i: int, augmentation: augment.Augmentation | None) -> FollowingItem:
        photo = self.people.photo(int(self.people.image_index[i]))
        size = photo.shape[1::-1]
        box_px = _head_boxes(self.people.head_box_px[i], size, self.preprocessing)
        gaze_px = _known_targets(self.people, np.array([i]))[0] * size
        return _item(photo, box_px, gaze_px, float(self.people.in_frame[i]), self.preprocessing, augmentation)


def _known_targets(people: People, chosen: np.ndarray) -> np.ndarray:
    """Gaze targets (k, annotators, 2); NaN where there is none or it is out of frame."""
    outside = people.in_frame[chosen] == 0
    return np.where(outside[:, None, None], np.nan, people.gaze_targets[chosen])


def _generator(seed: int, epoch: int, key: int) -> np.random.Generator:
    """Of one sample (key >= 0) or photo (key < 0) in one epoch."""
    return np.random.default_rng([seed, 3, epoch, 2 * key if key >= 0 else -2 * key - 1])


def loaded(
    source: Photos | Tracks, places: Iterator[Place], workers: int = 0
) -> Iterator[tuple[Place, list[Piece | None]]]:
    """(place, pieces) of the given places; loaded ahead by worker processes, without any when they are asked for."""
    if not workers:
        yield from ((place, source[place]) for place in places)
        return
    ahead, behind = tee(places)
    own = torch.Generator()  # else the loader would draw from the generator that dropout draws from
    pieces = DataLoader(source, None, sampler=ahead, num_workers=workers, prefetch_factor=4, generator=own)  # type: ignore[arg-type]
    yield from zip(behind, pieces, strict=True)
