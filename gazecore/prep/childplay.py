"""ChildPlay (Tafasca et al., ICCV 2023): clips of children at play with others, a class for every look.

On disk  ROOT/annotations/SPLIT/CLIP.csv      SPLIT is train, val or test; CLIP is VIDEO_FIRST-LAST, of some with
                                              -downsample behind it
         ROOT/images/CLIP/VIDEO_NUMBER.jpg    NUMBER is FIRST + frame - 1: frames count from 1

Columns, with header: clip, frame, person_id, bbox_x, bbox_y, bbox_width, bbox_height (head, pixels), gaze_class,
gaze_x, gaze_y (pixels; -1 unless inside_visible), is_child. The images are extracted by the user with the scripts of
the data set, from videos that are not part of it.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gazecore import images
from gazecore.errors import NO_INPUT, GazeError, settle
from gazecore.prep import boxes
from gazecore.records import GazeSample

DATASET = "childplay"
SPLITS = ("train", "val", "test")
COLUMNS = (
    "clip", "frame", "person_id", "bbox_x", "bbox_y", "bbox_width", "bbox_height", "gaze_class", "gaze_x", "gaze_y",
)  # fmt: skip
NUMBERS = (*COLUMNS[3:7], *COLUMNS[8:])
CLIP = re.compile(r"(?P<video>.+)_(?P<first>\d+)-\d+(-downsampled?)?")
AGES = {"1": "c", "1.0": "c", "True": "c", "0": "a", "0.0": "a", "False": "a"}
IN_FRAME = {"inside_visible": 1.0, "outside_frame": 0.0}
# Looks without a target that one could point at; idiap/sharingan:src/datasets/childplay.py leaves them out too
WITHOUT_TARGET = ("gaze_shift", "inside_occluded", "inside_uncertain", "eyes_closed")
NEXT_STEP = "Extract the images with the scripts that come with the data set."


def read(root: Path, split: str, counts: Counter[str]) -> Iterator[GazeSample]:
    """The samples of a split, clip after clip, person after person, in the order of their frames.

    Rows without a target (gaze_shift, inside_occluded, inside_uncertain, eyes_closed) are dropped, and so are rows
    that say inside_visible without a point; counts says how many of which, and what was repaired. Boxes are not
    smoothed. track_id is the person_id, with "c" in front for a child and "a" for an adult.
    Raises GazeError: NO_INPUT at once without annotations or images; at the end all rows and images that are wrong.
    """
    problems: list[str] = []
    size = lru_cache(maxsize=4096)(images.size)  # a frame comes back with every person of its clip
    for table in tables(root, split):
        rows = [row for row in _rows(table, problems) if _wanted(row, counts)]
        rows.sort(key=lambda row: (row.person, row.frame))
        images_of = lru_cache(maxsize=1)(images.by_stem)
        for row in rows:
            path = _image(root, row, images_of)
            try:
                image_size = size(path)
            except GazeError as error:
                problems.append(f"{table.name}, line {row.line}: {error}")
                continue
            head_box_px = boxes.usable(row.head_box_px[None], image_size, counts)[0]
            if np.isnan(head_box_px).any():
                continue
            in_frame = IN_FRAME[row.gaze_class]
            gaze_target = row.gaze_px / image_size if in_frame else np.full(2, np.nan)
            yield GazeSample(
                sample_id=f"{row.clip}/{path.name}#{row.person}",
                image=path,
                image_name=f"{row.clip}/{path.name}",
                image_size=image_size,
                head_box_px=head_box_px,
                gaze_targets=gaze_target[None],
                in_frame=in_frame,
                split=split,
                dataset=DATASET,
                clip=row.clip,
                track_id=row.person,
                frame=float(row.frame),
            )
    lost = any("no such image" in problem for problem in problems)
    settle(problems, counts, f"{root} cannot be used as it is", NEXT_STEP if lost else "")


def tables(root: Path, split: str) -> list[Path]:
    """The annotation files of a split, sorted; NO_INPUT with what was expected when there are none, or no images."""
    expected = f"expected annotations/SPLIT/CLIP.csv and images/CLIP/VIDEO_NUMBER.jpg in {root}"
    folder = root / "annotations" / split
    if not folder.is_dir():
        beside = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
        found = f"; found the splits {', '.join(beside)}" if beside else ""
        raise GazeError(f"{folder}: no such folder; {expected}{found}.", NO_INPUT)
    if not (root / "images").is_dir():
        raise GazeError(f"{root / 'images'}: no such folder; {expected}. {NEXT_STEP}", NO_INPUT)
    found_tables = sorted(path for path in folder.glob("*.csv") if not path.name.startswith("."))
    if not found_tables:
        raise GazeError(f"{folder} holds no .csv file; {expected}.", NO_INPUT)
    return found_tables


class _Row(NamedTuple):
    line: int
    clip: str
    image: str  # without extension
    frame: int
    person: str
    head_box_px: np.ndarray  # (4,)
    gaze_class: str
    gaze_px: np.ndarray  # (2,)


def _rows(table: Path, problems: list[str]) -> Iterator[_Row]:
    """The rows of one file; what is wrong with them joins the problems."""
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (lines.fieldnames or ())]
        if missing:
            found = ", ".join(lines.fieldnames or ()) or "nothing"
            problems.append(f"{table.name} lacks the columns {', '.join(missing)}; found {found}")
            return
        for fields in lines:
            try:
                yield _row(fields, lines.line_num)
            except (AttributeError, OverflowError, TypeError, ValueError) as error:
                problems.append(f"{table.name}, line {lines.line_num}: {error}")


def _row(fields: dict[str, str], line: int) -> _Row:
    x, y, width, height, gaze_x, gaze_y = numbers = [float(fields[name]) for name in NUMBERS]
    if not np.isfinite(numbers).all():
        raise ValueError(f"{', '.join(map(str, numbers))}; expected finite numbers")
    gaze_class = fields["gaze_class"].strip()
    if gaze_class not in IN_FRAME and gaze_class not in WITHOUT_TARGET:
        known = ", ".join((*IN_FRAME, *WITHOUT_TARGET))
        raise ValueError(f'gaze_class "{gaze_class}"; expected one of {known}')
    clip, frame = fields["clip"].strip(), int(float(fields["frame"]))
    named = CLIP.fullmatch(clip)
    if named is None:
        raise ValueError(f'clip "{clip}"; expected VIDEO_FIRST-LAST')
    return _Row(
        line=line,
        clip=clip,
        image=f"{named['video']}_{int(named['first']) + frame - 1}",
        frame=frame,
        person=AGES.get((fields.get("is_child") or "").strip(), "") + fields["person_id"].strip(),
        head_box_px=np.array([x, y, x + width, y + height]),
        gaze_class=gaze_class,
        gaze_px=np.array([gaze_x, gaze_y]),
    )


def _wanted(row: _Row, counts: Counter[str]) -> bool:
    if row.gaze_class in WITHOUT_TARGET:
        counts[f"dropped: {row.gaze_class}"] += 1
        return False
    if row.gaze_class == "inside_visible" and (row.gaze_px == -1).any():
        counts["dropped: inside_visible without a point"] += 1
        return False
    return True


def _image(root: Path, row: _Row, images_of: Callable[[Path], dict[str, Path]]) -> Path:
    """The image of a row, whatever its extension; as the data set names it if it is not there."""
    folder = root / "images" / row.clip
    return images_of(folder).get(row.image, folder / f"{row.image}.jpg")
