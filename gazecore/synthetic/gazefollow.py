"""A made GazeFollow-extended: rooms where the direction of a head, and nothing else, tells what its person looks at.

On disk  ROOT/train_annotations_release.txt   17 columns, one row per person, starts with a byte order mark
         ROOT/test_annotations_release.txt    16 columns (no inout), one row per annotator, one person's rows adjacent
         ROOT/train/SHARD/IMAGE.jpg, ROOT/test2/SHARD/IMAGE.jpg   eight digits each, 1,000 images per shard

Columns, after ejcgt/attention-target-detection:dataset.py: path, idx, body x y w h, eye x y, gaze x y (all normalised),
head x_min y_min x_max y_max (pixels), inout (1, 0, -1), source, meta; comma separated, without a header.

One person to three look at one of four to seven objects each, or, in train, about one in five out of the picture.
Every image is drawn from its own child of the seed, so image i is the same in a small and in a large set. As in the
original, some train rows want repair: see DEFECTS.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gazecore.errors import USAGE, GazeError
from gazecore.synthetic.people import Facing, Person, eye_position, facing_towards
from gazecore.synthetic.scenes import Scene, draw_scene, plan_scene

SIZES = ((320, 240), (240, 320), (256, 256), (320, 213), (288, 216), (300, 240))
# How many people, how often, and how many objects to choose from. Crowds are the rule: where one person is alone,
# the scene itself shows who is meant even to a model that is not told.
CROWDS = ((1, 0.1, (5, 6, 7)), (2, 0.4, (4, 5, 6)), (3, 0.5, (4, 4, 5)))
OUT_OF_FRAME_SHARE = 0.2
SHARD, JPEG_QUALITY = 1000, 92
# Every sixteenth train image, counted from these, has one row to repair or drop: its first person's head box has its
# corners swapped, its person nearest the border has a head box that leaves the image, its first person is inout -1.
DEFECTS = {1: "swapped_boxes", 3: "boxes_leaving_image", 5: "invalid"}
DEFECT_PERIOD = 16
_FOLDERS = {"train": "train", "test": "test2"}


@dataclass(frozen=True)
class Gaze:
    """Where one person looks.

    target      index of the object, None when out of frame
    facing      direction of the head: x right, y down, z towards the camera
    gaze_px     the point looked at, in pixels, on the object; None when out of frame
    annotators  (n, 2) what annotators say, in pixels, scattered over the object; n is 0 out of frame, 1 in train
    head_box_px  x_min, y_min, x_max, y_max as an annotator draws it
    """

    target: int | None
    facing: Facing
    gaze_px: tuple[float, float] | None
    annotators: np.ndarray
    head_box_px: tuple[float, float, float, float]


@dataclass(frozen=True)
class ImagePlan:
    scene: Scene
    gazes: tuple[Gaze, ...]  # one per person of the scene


def make(root: Path, n: int, seed: int = 0) -> Counter[str]:
    """Write n images, three quarters train and one quarter test, at least two each, and their annotations.

    Returns the numbers of images, people and rows per split, of train people in and out of frame, and of the rows
    that prep has to repair or drop. Raises GazeError for n below 4.
    """
    if n < 4:
        raise GazeError(f"a made GazeFollow of {n} images: at least 4 are needed, 2 train and 2 test", USAGE)
    test = max(2, round(n / 4))
    counts: Counter[str] = Counter()
    root.mkdir(parents=True, exist_ok=True)
    for split, images, encoding in (("train", n - test, "utf-8-sig"), ("test", test, "utf-8")):
        person_index = 0
        with (root / f"{split}_annotations_release.txt").open("w", encoding=encoding, newline="\n") as table:
            for index in range(images):
                plan = plan_image(seed, split, index)
                path = f"{_FOLDERS[split]}/{index // SHARD:08d}/{index:08d}.jpg"
                _save(draw_scene(plan.scene, (gaze.facing for gaze in plan.gazes)), root / path)
                rows = _train_rows(plan, index, counts) if split == "train" else _test_rows(plan)
                for person, columns in rows:
                    table.write(f"{path},{person_index + person},{columns}\n")
                    counts[f"{split}_rows"] += 1
                person_index += len(plan.gazes)
        counts[f"{split}_images"], counts[f"{split}_people"] = images, person_index
    return counts


def plan_image(seed: int, split: str, index: int) -> ImagePlan:
    """Everything about one image before it is drawn; depends on nothing but its arguments."""
    child = np.random.SeedSequence(seed, spawn_key=(list(_FOLDERS).index(split), index))
    rng = np.random.Generator(np.random.PCG64(child))
    people, _, objects = CROWDS[int(np.searchsorted(np.cumsum([share for _, share, _ in CROWDS]), rng.random()))]
    width, height = SIZES[rng.integers(len(SIZES))]
    scene = plan_scene(rng, width, height, people, objects[rng.integers(len(objects))])
    return ImagePlan(scene, tuple(_plan_gaze(rng, scene, person, split) for person in range(people)))


def _plan_gaze(rng: np.random.Generator, scene: Scene, index: int, split: str) -> Gaze:
    """By chance alone, whatever the scene: out of frame or not, and which object."""
    person = scene.people[index]
    depth = float(rng.uniform(0.05, 0.6))
    jitter = rng.uniform(-0.04, 0.04, size=4) * person.radius_px
    x_min, y_min, x_max, y_max = (
        round(edge + float(by), 1) for edge, by in zip(person.head_box_px, jitter, strict=True)
    )
    if split == "train" and rng.random() < OUT_OF_FRAME_SHARE:
        ways_out = scene.ways_out_deg[index]
        angle = math.radians(ways_out[rng.integers(len(ways_out))])
        facing = facing_towards(math.cos(angle), math.sin(angle), depth)
        return Gaze(None, facing, None, np.zeros((0, 2)), (x_min, y_min, x_max, y_max))

    target = int(rng.integers(len(scene.objects)))
    thing = scene.objects[target]
    x, y = (centre + float(rng.uniform(-0.4, 0.4)) * thing.half_size_px for centre in (thing.x_px, thing.y_px))
    annotators = np.array([[x, y]])
    if split == "test":
        scatter = rng.normal(scale=0.25, size=(rng.integers(8, 11), 2)) * thing.half_size_px
        centre, reach = np.array([thing.x_px, thing.y_px]), 0.8 * thing.half_size_px
        annotators = np.clip(annotators + scatter, centre - reach, centre + reach)
    facing = facing_towards(x - person.x_px, y - person.y_px, depth)
    return Gaze(target, facing, (x, y), annotators, (x_min, y_min, x_max, y_max))


def _train_rows(plan: ImagePlan, index: int, counts: Counter[str]) -> Iterator[tuple[int, str]]:
    """Person number and the columns after idx, with the defects counted."""
    scene = plan.scene
    defect = DEFECTS.get(index % DEFECT_PERIOD)
    nearest = min(range(len(scene.people)), key=lambda person: _border_distance(scene, scene.people[person]))
    for number, (person, gaze) in enumerate(zip(scene.people, plan.gazes, strict=True)):
        in_frame = int(gaze.target is not None)
        gaze_target = _normalised(gaze.annotators[0], scene) if in_frame else ("-1", "-1")
        head_box: tuple[float, ...] = gaze.head_box_px
        if number == (nearest if defect == "boxes_leaving_image" else 0) and defect:
            counts[defect] += 1
            if defect == "swapped_boxes":
                head_box = (*head_box[2:], *head_box[:2])
            elif defect == "boxes_leaving_image":
                head_box = _beyond_border(head_box, scene, person)
            else:
                in_frame, gaze_target = -1, ("-1", "-1")
        counts["in_frame" if in_frame == 1 else "out_of_frame"] += in_frame >= 0
        yield number, _columns(scene, person, gaze, gaze_target, head_box, inout=(str(in_frame),))


def _test_rows(plan: ImagePlan) -> Iterator[tuple[int, str]]:
    """Person number and the columns after idx, one row per annotator."""
    for number, (person, gaze) in enumerate(zip(plan.scene.people, plan.gazes, strict=True)):
        for point in gaze.annotators:
            yield number, _columns(plan.scene, person, gaze, _normalised(point, plan.scene), gaze.head_box_px, inout=())


def _columns(
    scene: Scene,
    person: Person,
    gaze: Gaze,
    gaze_target: tuple[str, str],
    head_box: tuple[float, ...],
    inout: tuple[str, ...],
) -> str:
    """The columns from body to meta."""
    x_min, y_min, x_max, y_max = person.box_px
    x_min, y_min = max(x_min, 0), max(y_min, 0)
    x_max, y_max = min(x_max, scene.width), min(y_max, scene.height)
    body = (*_normalised((x_min, y_min), scene), *_normalised((x_max - x_min, y_max - y_min), scene))
    eye = _normalised(eye_position(person, gaze.facing), scene)
    return ",".join((*body, *eye, *gaze_target, *map(str, head_box), *inout, "made_rooms", "False"))


def _normalised(point: tuple[float, float] | np.ndarray, scene: Scene) -> tuple[str, str]:
    """A point in pixels as the table writes it: shares of the image, five decimals as in the original."""
    return str(round(float(point[0]) / scene.width, 5)), str(round(float(point[1]) / scene.height, 5))


def _border_distance(scene: Scene, person: Person) -> float:
    return min(person.x_px, scene.width - person.x_px, person.y_px, scene.height - person.y_px)


def _beyond_border(head_box: tuple[float, ...], scene: Scene, person: Person) -> tuple[float, ...]:
    """The head box with its side next to the image's border pushed a few pixels across it."""
    edges = (person.x_px, person.y_px, scene.width - person.x_px, scene.height - person.y_px)
    side = edges.index(min(edges))
    beyond = (-3.5, -3.5, scene.width + 3.5, scene.height + 3.5)[side]
    return (*head_box[:side], beyond, *head_box[side + 1 :])


def _save(canvas: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(canvas).save(path, quality=JPEG_QUALITY)
