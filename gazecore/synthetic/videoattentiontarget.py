"""A made VideoAttentionTarget: clips of rooms whose people turn their heads from object to object, leave and return.

On disk  ROOT/annotations/SPLIT/SHOW/FIRST_LAST/sNN.txt   one file per person; SPLIT is train or test
         ROOT/images/SHOW/FIRST_LAST/FRAME.jpg            eight digits, from FIRST to LAST

Rows, without header: frame.jpg, x_min, y_min, x_max, y_max of the head, gaze x, y; whole pixels; a gaze out of frame
is -1, -1. After ejcgt/attention-target-detection:dataset.py; the shows are real ones, each in its own split.

A head turns within a few frames, and the label changes half way. In every clip where somebody stands near the border,
one person walks out of the picture and comes back: rows are missing while the head is gone. Every clip is drawn from
its own child of the seed, so clip i is the same in a small and in a large set.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from gazecore.errors import USAGE, GazeError
from gazecore.synthetic.people import HEAD_REACH, Facing, Person, facing_towards
from gazecore.synthetic.scenes import Scene, draw_people, draw_room, plan_scene

# the twelve shows that ObjectAttention was augmented with, and all test shows
TRAIN_SHOWS = (
    "Veep", "Three_Idiots", "The_View", "Tartuffe", "Suits", "Star_Wars",
    "Sherlock", "Seinfeld", "Secret", "Hearing", "Friends", "Coveted",
)  # fmt: skip
TEST_SHOWS = (
    "Jamie_Oliver", "MLB_Interview", "Survivor", "Titanic", "West_World", "CBS_This_Morning", "Downton_Abby",
    "Hell's_Kitchen", "I_Wanna_Marry_Harry", "It's_Always_Sunny_in_Philadelphia",
)  # fmt: skip
SHOWS = {"train": TRAIN_SHOWS, "test": TEST_SHOWS}
USUAL = 8  # clips
SIZES = ((320, 240), (360, 240), (384, 216))
FRAMES = (32, 41)  # of a clip: from 32 to 40
CROWDS = ((1, 5), (2, 5), (2, 6), (3, 4), (3, 5))  # people, objects
OUT_OF_FRAME_SHARE = 0.25
GLANCE = (6, 12)  # frames on one target
TURN = 3  # frames of a head turn
STRIDE = 0.28  # head radii per frame: boxes averaged over 11 frames stay on the head
MOST_STEPS, UNSEEN_STEPS, AWAY = 13, 2, (2, 5)  # frames of walking to the border, beyond it, and of being gone
FARTHEST = 1.5 * MOST_STEPS * STRIDE  # head radii to the border; who stands farther away stays
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Moment:
    """One person in one frame.

    person   where the person stands now
    facing   direction of the head: x right, y down, z towards the camera
    gaze_px  the point looked at, on an object; None when out of frame
    turning  the head is between two targets
    """

    person: Person
    facing: Facing
    gaze_px: tuple[float, float] | None
    turning: bool


@dataclass(frozen=True)
class Clip:
    """A room and what its people do: moments[person][frame]; None while a head is not in the picture."""

    scene: Scene
    moments: tuple[tuple[Moment | None, ...], ...]

    def __len__(self) -> int:
        return len(self.moments[0])


@dataclass(frozen=True)
class _Glance:
    """Frames from `start` on: towards a point on an object, or out of the picture at an angle."""

    start: int
    depth: float
    point_px: tuple[float, float] | None
    angle: float


def make(root: Path, n: int = USUAL, seed: int = 0) -> Counter[str]:
    """Write n clips of 32 to 40 frames, a quarter of them of test shows, at least one each.

    Returns the numbers of clips and tracks per split, of frames, of rows in and out of frame, and of tracks that are
    interrupted. Raises GazeError for n below 2.
    """
    if n < 2:
        raise GazeError(f"a made VideoAttentionTarget of {n} clips: at least 2 are needed, 1 train and 1 test", USAGE)
    test = max(1, round(n / 4))
    counts: Counter[str] = Counter()
    for split, clips in (("train", n - test), ("test", test)):
        for index in range(clips):
            rng = clip_rng(seed, split == "test", index)
            clip = plan_made_clip(rng)
            first = int(rng.integers(1, 9000))
            name = f"{SHOWS[split][index % len(SHOWS[split])]}/{first}_{first + len(clip) - 1}"
            folder = root / "images" / name
            folder.mkdir(parents=True, exist_ok=True)
            for number, canvas in enumerate(draw_clip(clip)):
                Image.fromarray(canvas).save(folder / f"{first + number:08d}.jpg", quality=JPEG_QUALITY)
            _write_tracks(root / "annotations" / split / name, clip, first, rng, counts)
            counts[f"{split}_clips"] += 1
            counts[f"{split}_tracks"] += len(clip.moments)
            counts["frames"] += len(clip)
    return counts


def clip_rng(seed: int, split: int, index: int) -> np.random.Generator:
    """The random numbers of one clip, whatever else is made."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(split, index))))


def plan_made_clip(rng: np.random.Generator) -> Clip:
    """A clip of one to three people by chance."""
    width, height = SIZES[rng.integers(len(SIZES))]
    people, objects = CROWDS[rng.integers(len(CROWDS))]
    scene = plan_scene(rng, width, height, people, objects)
    return plan_clip(rng, scene, int(rng.integers(*FRAMES)))


def plan_clip(rng: np.random.Generator, scene: Scene, frames: int) -> Clip:
    """What the people of a room do in so many frames, at least 24: glances, turns, and one who leaves and returns."""
    ways = [_way_to_leave(scene, index) for index in range(len(scene.people))]
    leaver = min(range(len(ways)), key=lambda index: way.border_px if (way := ways[index]) else math.inf)
    moments = [_moments(rng, scene, i, frames, ways[i] if i == leaver else None) for i in range(len(ways))]
    return Clip(scene, tuple(moments))


def draw_clip(clip: Clip) -> Iterator[np.ndarray]:
    """The frames (h, w, 3), uint8, one after another; the room is drawn once."""
    room = draw_room(clip.scene)
    for frame in range(len(clip)):
        there = [moments[frame] for moments in clip.moments]
        canvas = room.copy()
        shown = [moment for moment in there if moment is not None]
        draw_people(canvas, (moment.person for moment in shown), (moment.facing for moment in shown))
        yield canvas


def annotated_box_px(rng: np.random.Generator, clip: Clip, moment: Moment) -> tuple[float, ...]:
    """x_min, y_min, x_max, y_max around the head as an annotator draws it, inside the picture."""
    x_min, y_min, x_max, y_max = moment.person.head_box_px
    jitter = rng.uniform(-0.04, 0.04, size=4) * moment.person.radius_px
    corners = (max(x_min, 0), max(y_min, 0), min(x_max, clip.scene.width), min(y_max, clip.scene.height))
    limits = (clip.scene.width, clip.scene.height) * 2
    return tuple(float(min(max(at + by, 0), limit)) for at, by, limit in zip(corners, jitter, limits, strict=True))


def _write_tracks(folder: Path, clip: Clip, first: int, rng: np.random.Generator, counts: Counter[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for person, moments in enumerate(clip.moments):
        rows = []
        for number, moment in enumerate(moments):
            if moment is None:
                continue
            x, y = moment.gaze_px or (-1, -1)
            box = annotated_box_px(rng, clip, moment)
            rows.append(",".join([f"{first + number:08d}.jpg", *(str(round(value)) for value in (*box, x, y))]))
            counts["in_frame" if moment.gaze_px else "out_of_frame"] += 1
        (folder / f"s{person:02d}.txt").write_text("\n".join(rows) + "\n")
        counts["interrupted_tracks"] += len(rows) < len(moments)


@dataclass(frozen=True)
class _Way:
    """A direction x, y in which somebody leaves; pixels to the border of the picture, and until nothing is seen."""

    x: float
    y: float
    border_px: float
    length_px: float


def _way_to_leave(scene: Scene, index: int) -> _Way | None:
    """The shortest way on which a person can walk out of the picture to the side or downwards.

    It is one of the ways out, so that a head that faces it looks at nothing; None where all cross another head, or
    leave upwards or at a flat angle.
    """
    person = scene.people[index]
    far_px = 1.1 * HEAD_REACH * person.radius_px
    best = None
    for degrees in scene.ways_out_deg[index]:
        x, y = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        edges = [
            ((scene.width if x > 0 else 0) - person.x_px) / x if x else math.inf,
            ((scene.height if y > 0 else 0) - person.y_px) / y if y else math.inf,
        ]
        side = edges.index(min(edges))
        steepness = abs((x, y)[side])
        length = edges[side] + far_px / steepness
        if (side == 1 and y < 0) or steepness < 0.6 or _meets_a_head(scene, index, x, y, length):
            continue
        if edges[side] > FARTHEST * person.radius_px:
            continue
        if best is None or length < best.length_px:
            best = _Way(x, y, edges[side], length)
    return best


def _meets_a_head(scene: Scene, index: int, x: float, y: float, length: float) -> bool:
    person = scene.people[index]
    for other in scene.people:
        dx, dy = other.x_px - person.x_px, other.y_px - person.y_px
        along = min(max(dx * x + dy * y, 0), length)
        if other is not person and math.hypot(dx - along * x, dy - along * y) < 1.3 * (
            person.radius_px + other.radius_px
        ):
            return True
    return False


def _moments(
    rng: np.random.Generator, scene: Scene, index: int, frames: int, way: _Way | None
) -> tuple[Moment | None, ...]:
    person = scene.people[index]
    sway = rng.uniform(0, 2 * math.pi, size=2)
    walked_px = np.zeros(frames)
    if way is None:
        glances = _glances(rng, scene, index, 0, frames)
    else:
        steps = min(max(math.ceil(way.border_px / (STRIDE * person.radius_px)), 4), MOST_STEPS)
        seen = np.linspace(0, way.border_px, steps + 1)[1:]
        leaving = np.concatenate([seen, np.linspace(way.border_px, way.length_px, UNSEEN_STEPS + 1)[1:]])
        start = int(rng.integers(5, 8))
        away = np.full(int(rng.integers(*AWAY)), way.length_px)
        walk = np.concatenate([leaving, away, leaving[::-1]])[: frames - start]
        walked_px[start : start + len(walk)] = walk
        glances = _glances(rng, scene, index, 0, start)
        glances.append(_Glance(start, 0.15, None, math.atan2(way.y, way.x)))
        glances += _glances(rng, scene, index, start + len(leaving) + len(away), frames, in_frame_first=True)

    moments: list[Moment | None] = []
    now = before = glances[0]
    for frame in range(frames):
        if glances and glances[0].start == frame:
            before, now = now, glances.pop(0)
        x = person.x_px + 0.05 * person.radius_px * math.sin(0.31 * frame + sway[0])
        y = person.y_px + 0.04 * person.radius_px * math.sin(0.23 * frame + sway[1])
        if way is not None:
            x, y = x + float(walked_px[frame]) * way.x, y + float(walked_px[frame]) * way.y
        place = replace(person, x_px=round(x, 2), y_px=round(y, 2))
        since = frame - now.start + 1
        turning = before is not now and since <= TURN and frame >= TURN
        facing = _facing(place, now)
        if turning:
            facing = _between(_facing(place, before), facing, since / (TURN + 1))
        looks = before if turning and 2 * since <= TURN else now
        inside = 0 <= x <= scene.width and 0 <= y <= scene.height
        moments.append(Moment(place, facing, looks.point_px, turning) if inside else None)
    return tuple(moments)


def _glances(
    rng: np.random.Generator, scene: Scene, index: int, start: int, end: int, in_frame_first: bool = False
) -> list[_Glance]:
    """Glances from frame `start` to before `end`, at another object each time."""
    glances: list[_Glance] = []
    last = -1
    while start < end:
        depth = float(rng.uniform(0.05, 0.6))
        if (glances or not in_frame_first) and rng.random() < OUT_OF_FRAME_SHARE:
            ways = scene.ways_out_deg[index]
            glances.append(_Glance(start, depth, None, math.radians(ways[rng.integers(len(ways))])))
        else:
            last = int(rng.choice([i for i in range(len(scene.objects)) if i != last]))
            thing = scene.objects[last]
            x, y = (at + float(rng.uniform(-0.4, 0.4)) * thing.half_size_px for at in (thing.x_px, thing.y_px))
            glances.append(_Glance(start, depth, (x, y), 0.0))
        start += int(rng.integers(*GLANCE))
    return glances


def _facing(place: Person, glance: _Glance) -> Facing:
    if glance.point_px is None:
        return facing_towards(math.cos(glance.angle), math.sin(glance.angle), glance.depth)
    return facing_towards(glance.point_px[0] - place.x_px, glance.point_px[1] - place.y_px, glance.depth)


def _between(start: Facing, end: Facing, share: float) -> Facing:
    """A facing on the way from one to another, eased at both ends; opposite ones turn through the camera's side."""
    eased = share * share * (3 - 2 * share)
    x, y, z = (a + (b - a) * eased for a, b in zip(start, end, strict=True))
    z += 1.2 * eased * (1 - eased)
    flat = math.hypot(x, y)
    if flat < 0.25:  # a head that faces straight into the camera has no direction to draw a nose in
        x, y = 0.25 * end[0], 0.25 * end[1]
        flat = math.hypot(x, y)
    return facing_towards(x, y, z / math.hypot(flat, z))
