"""A made GOO-Real and a made GOO-Synth: one person looks at one of several products; pickles of dictionaries.

On disk  real   ROOT/{oneshot,val,test}realhumans.pickle, ROOT/finalrealdatasetImgsV2/HUMAN/camN/camNNNNN_imgNNNNN.jpg
         synth  ROOT/picklefile/goosynth_{train,test}_v2_no_segm.pkl, ROOT/{train,test}/images/N.png

A pickle is a list of dictionaries, after upeee/GOO-GAZE2021:dataset/goo{real,synth}-download.txt: filename (of Real
with backslashes), width, height, ann (bboxes, labels), gaze_item, gazeIdx, gaze_cx, gaze_cy, hx, hy, occluded; of
Real also seg, the pixels of the product; of Synth envparams, pitch, yaw, roll, segm_gazeIdx. Every coordinate is in
units of a picture of 640 x 480, whatever the size of the picture; here it has another, to tell. Originals hold lists
in some files and numpy arrays in others, and mark the head by -1 or by 25: here train does one, the rest the other.
"""

import math
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gazecore.errors import USAGE, GazeError
from gazecore.synthetic.objects import COLOURS, KINDS, SceneObject
from gazecore.synthetic.people import Facing, facing_towards
from gazecore.synthetic.scenes import Scene, draw_scene, plan_scene
from gazecore.synthetic.videoattentiontarget import clip_rng

USUAL = 24  # images
UNITS = (640, 480)
REAL_SIZE, SYNTH_SIZE = (480, 270), (320, 240)
CLASSES, HEAD, HEAD_OF_REAL = 24, 25, -1
HUMANS, CAMERAS = 8, 2
JPEG_QUALITY = 92
Look = tuple[Scene, int, Facing, tuple[float, float]]  # room, product looked at, facing, point in pixels


def make_real(root: Path, n: int = USUAL, seed: int = 0) -> Counter[str]:
    """Write n images of GOO-Real: a half for one-shot training, the rest for test and val, at least one each.

    Returns the numbers of images per pickle. Raises GazeError for n below 3.
    """
    _refuse_below(3, n, "GOO-Real")
    val = max(1, n // 8)
    test = max(1, n // 2 - val)
    counts: Counter[str] = Counter()
    for number, (name, images) in enumerate((("oneshot", n - test - val), ("val", val), ("test", test))):
        records = []
        for index in range(images):
            look = _plan(clip_rng(seed, 20 + number, index), REAL_SIZE)
            human, camera = str(number * HUMANS + index % HUMANS), index % CAMERAS + 1
            path = (human, f"cam{camera}", f"cam{camera:05d}_img{index:05d}.jpg")
            target = root.joinpath("finalrealdatasetImgsV2", *path)
            _save(look, target, quality=JPEG_QUALITY)
            as_arrays = name != "oneshot"
            record = _record(look, "\\".join(path), REAL_SIZE, HEAD if as_arrays else HEAD_OF_REAL, as_arrays)
            pixels = _pixels(look)
            record |= {"seg": np.array(pixels, np.float32) if as_arrays else pixels, "cam": camera, "occluded": False}
            records.append(record)
        _write(records, root / f"{name}realhumans.pickle")
        counts[f"{name}_images"] = images
    return counts


def make_synth(root: Path, n: int = USUAL, seed: int = 0) -> Counter[str]:
    """Write n images of GOO-Synth, three quarters train and one quarter test, at least one each.

    Returns the numbers of images per pickle. Raises GazeError for n below 2.
    """
    _refuse_below(2, n, "GOO-Synth")
    test = max(1, n // 4)
    counts: Counter[str] = Counter()
    for number, (name, images) in enumerate((("train", n - test), ("test", test))):
        records = []
        for index in range(images):
            rng = clip_rng(seed, 30 + number, index)
            look = _plan(rng, SYNTH_SIZE)
            _save(look, root / name / "images" / f"{index}.png")
            record = _record(look, f"{index}.png", SYNTH_SIZE, HEAD, as_arrays=name == "test")
            record |= {
                "envparams": {"cab": index % 6 + 1, "hum": index % 20 + 1, "light": 0.7, "cam": 1, "env": 1},
                "pitch": round(math.degrees(math.asin(-look[2][1])), 3),
                "yaw": round(math.degrees(math.atan2(look[2][0], look[2][2])), 3),
                "roll": 0.0,
                "segm_gazeIdx": look[1] + 1,
                "occluded": False,
            }
            records.append(record)
        _write(records, root / "picklefile" / f"goosynth_{name}_v2_no_segm.pkl")
        counts[f"{name}_images"] = images
    return counts


def _refuse_below(least: int, n: int, what: str) -> None:
    if n < least:
        raise GazeError(f"a made {what} of {n} images: at least {least} are needed, one per pickle", USAGE)


def _plan(rng: np.random.Generator, size: tuple[int, int]) -> Look:
    scene = plan_scene(rng, *size, people=1, objects=int(rng.integers(5, 8)))
    target = int(rng.integers(len(scene.objects)))
    thing, person = scene.objects[target], scene.people[0]
    x, y = (at + float(rng.uniform(-0.4, 0.4)) * thing.half_size_px for at in (thing.x_px, thing.y_px))
    facing = facing_towards(x - person.x_px, y - person.y_px, float(rng.uniform(0.05, 0.6)))
    return scene, target, facing, (x, y)


def _save(look: Look, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_scene(look[0], [look[2]])).save(path, **options)


def _record(look: Look, filename: str, size: tuple[int, int], head_label: int, as_arrays: bool) -> dict[str, Any]:
    """What both halves of the data set hold; boxes and points in units of 640 x 480."""
    scene, target, _, point_px = look
    person = scene.people[0]
    boxes = [_units(box, size) for box in (*(thing.box_px for thing in scene.objects), person.head_box_px)]
    labels = [_class_of(thing) for thing in scene.objects] + [head_label]
    hold: Callable[[Any], Any] = np.array if as_arrays else list
    (gaze_cx, gaze_cy), (hx, hy) = _units(point_px, size), _units((person.x_px, person.y_px), size)
    return {
        "filename": filename,
        "width": size[0],
        "height": size[1],
        "ann": {"bboxes": hold(boxes), "labels": hold(labels)},
        "gaze_item": labels[target],
        "gazeIdx": target,
        "gaze_cx": gaze_cx,
        "gaze_cy": gaze_cy,
        "hx": hx,
        "hy": hy,
    }


def _units(point_px: tuple[float, ...], size: tuple[int, int]) -> list[float]:
    """Points x, y or boxes in pixels of the picture, in units of 640 x 480."""
    return [round(value * UNITS[i % 2] / size[i % 2], 2) for i, value in enumerate(point_px)]


def _class_of(thing: SceneObject) -> int:
    """One of the 24 products."""
    return (list(KINDS).index(thing.kind) * len(COLOURS) + COLOURS.index(thing.colour)) % CLASSES + 1


def _pixels(look: Look) -> list[list[int]]:
    """Every unit of the box of the product looked at, as x, y."""
    x_min, y_min, x_max, y_max = (int(edge) for edge in _units(look[0].objects[look[1]].box_px, REAL_SIZE))
    return [[x, y] for y in range(y_min, y_max + 1) for x in range(x_min, x_max + 1)]


def _write(records: list[dict[str, Any]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pickle.dump(records, file, protocol=4)
