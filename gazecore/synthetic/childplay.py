"""A made ChildPlay: clips of two or three people, children and adults, with a class for every look.

On disk  ROOT/annotations/SPLIT/CLIP.csv        SPLIT is train, val or test; CLIP is VIDEO_FIRST-LAST, some with
                                                -downsample behind it
         ROOT/images/CLIP/VIDEO_FRAME.jpg       FRAME from FIRST on

Columns, with header: clip, frame (from 1), person_id, bbox_x, bbox_y, bbox_width, bbox_height (head, pixels),
gaze_class, gaze_x, gaze_y (pixels; -1 unless inside_visible), is_child. After the README of the data set
(Tafasca et al., ICCV 2023). A head that turns is a gaze_shift; some looks are inside_uncertain; in every fourth clip
one row says inside_visible without a point, as in the original.
"""

import csv
import string
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from gazecore.errors import USAGE, GazeError
from gazecore.synthetic.scenes import HEAD_SHARE, plan_scene
from gazecore.synthetic.videoattentiontarget import Clip, Moment, annotated_box_px, clip_rng, draw_clip, plan_clip

COLUMNS = (
    "clip", "frame", "person_id", "bbox_x", "bbox_y", "bbox_width", "bbox_height",
    "gaze_class", "gaze_x", "gaze_y", "is_child",
)  # fmt: skip
SPLITS = ("train", "val", "test")
USUAL = 6  # clips
SIZE = (384, 216)
FRAMES = (30, 37)  # of a clip: from 30 to 36
UNCERTAIN_SHARE = 0.05
VIDEO_ID = string.ascii_letters + string.digits + "-_"  # of YouTube
JPEG_QUALITY = 92


def make(root: Path, n: int = USUAL, seed: int = 0) -> Counter[str]:
    """Write n clips of 30 to 36 frames: half train, the rest val and test in turn, at least one each.

    Returns the numbers of clips per split, of frames, and of rows per gaze class. Raises GazeError for n below 3.
    """
    if n < 3:
        raise GazeError(f"a made ChildPlay of {n} clips: at least 3 are needed, one per split", USAGE)
    counts: Counter[str] = Counter()
    test = max(1, n // 4)
    val = max(1, (n - test) // 3)
    for number, (split, clips) in enumerate(zip(SPLITS, (n - test - val, val, test), strict=True)):
        (root / "annotations" / split).mkdir(parents=True, exist_ok=True)
        for index in range(clips):
            rng = clip_rng(seed, 10 + number, index)
            people, objects = ((2, 5), (2, 6), (3, 4))[rng.integers(3)]
            clip = plan_clip(rng, plan_scene(rng, *SIZE, people, objects), int(rng.integers(*FRAMES)))
            video = "".join(VIDEO_ID[i] for i in rng.integers(len(VIDEO_ID), size=11))
            first = int(rng.integers(1, 9000))
            name = f"{video}_{first}-{first + len(clip) - 1}{'-downsample' if index % 3 == 2 else ''}"
            folder = root / "images" / name
            folder.mkdir(parents=True, exist_ok=True)
            for frame, canvas in enumerate(draw_clip(clip)):
                Image.fromarray(canvas).save(folder / f"{video}_{first + frame}.jpg", quality=JPEG_QUALITY)
            rows = _rows(clip, name, rng, counts)
            if index % 4 == 0:
                _lose_a_point(rows, counts)
            with (root / "annotations" / split / f"{name}.csv").open("w", newline="") as table:
                writer = csv.writer(table, lineterminator="\n")
                writer.writerow(COLUMNS)
                writer.writerows(rows)
            counts[f"{split}_clips"] += 1
            counts["frames"] += len(clip)
    return counts


def _rows(clip: Clip, name: str, rng: np.random.Generator, counts: Counter[str]) -> list[list[object]]:
    """Person after person, frame after frame."""
    middle_px = sum(HEAD_SHARE) / 2 * min(SIZE) / 2.3  # between the smallest and the largest head
    rows = []
    for person_id, moments in enumerate(clip.moments, 1):
        for frame, moment in enumerate(moments, 1):
            if moment is None:
                continue
            gaze_class = _gaze_class(moment, rng)
            x_min, y_min, x_max, y_max = (round(edge, 1) for edge in annotated_box_px(rng, clip, moment))
            box = [x_min, y_min, round(x_max - x_min, 1), round(y_max - y_min, 1)]
            point = moment.gaze_px if gaze_class == "inside_visible" and moment.gaze_px else (-1, -1)
            child = int(clip.scene.people[person_id - 1].radius_px < middle_px)
            rows.append([name, frame, person_id, *box, gaze_class, *(round(float(at), 1) for at in point), child])
            counts[gaze_class] += 1
    return rows


def _gaze_class(moment: Moment, rng: np.random.Generator) -> str:
    if moment.turning:
        return "gaze_shift"
    if moment.gaze_px is None:
        return "outside_frame"
    return "inside_uncertain" if rng.random() < UNCERTAIN_SHARE else "inside_visible"


def _lose_a_point(rows: list[list[object]], counts: Counter[str]) -> None:
    at = COLUMNS.index("gaze_class")
    for row in rows:
        if row[at] == "inside_visible":
            row[at + 1 : at + 3] = [-1.0, -1.0]
            counts["inside_visible without a point"] += 1
            return
