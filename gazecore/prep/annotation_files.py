"""Annotations that other projects made of GazeFollow and VideoAttentionTarget, beside the original images.

  .json  fkryan/gazelle's {train,test}_preprocessed.json: [{path, heads: [{bbox_norm, gazex_norm, gazey_norm, inout,
         head_id}]}], of video [{frames: [such]}]; gaze is a number or a list with one per annotator
  .txt   idiap/sharingan's {train,val}_annotations_new.txt: the 17 columns of GazeFollow's training table, with heads
         detected anew

Paths are relative to the folder of the data set.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from gazecore import images
from gazecore.errors import NO_INPUT, GazeError, settle
from gazecore.prep import boxes
from gazecore.records import GazeSample

SUFFIXES = (".json", ".txt")
CHUNK = 1 << 20  # characters read at once
COLUMNS = 17
MOST_ANNOTATORS = 20


class Head(NamedTuple):
    """One person as annotated: the box in pixels or, if normalised, in 0..1; in_frame 1, 0 or -1, which is invalid."""

    where: str
    path: str
    person: str
    track: str
    box: np.ndarray  # (4,)
    normalised: bool
    gaze_targets: np.ndarray  # (n, 2) normalised
    in_frame: float
    eye: np.ndarray  # (2,) normalised; NaN where unknown


def read(table: Path, root: Path, split: str, dataset: str, counts: Counter[str]) -> Iterator[GazeSample]:
    """The people of a file, in its order; one image's or clip's entry is in memory at a time.

    Clip and frame of a sample come from paths like images/SHOW/CLIP/FRAME.jpg.
    Raises GazeError: NO_INPUT for a missing file; a file that is neither; at the end all entries and images that are
    wrong.
    """
    if table.suffix not in SUFFIXES:
        raise GazeError(f"{table}: expected {' or '.join(SUFFIXES)}.")
    if not table.is_file():
        raise GazeError(f"{table}: no such file.", NO_INPUT)
    problems: list[str] = []
    size = lru_cache(maxsize=1024)(images.size)
    for head in (_json_heads if table.suffix == ".json" else _text_heads)(table, problems):
        if head.in_frame == -1:
            counts["dropped: in_frame is -1"] += 1
            continue
        try:
            image_size = size(root / head.path)
        except GazeError as error:
            problems.append(f"{head.where}: {error}")
            continue
        box_px = head.box * np.tile(image_size, 2) if head.normalised else head.box
        box_px = boxes.usable(box_px[None], image_size, counts)[0]
        if np.isnan(box_px).any():
            continue
        in_frame = float(head.in_frame == 1)
        parts = PurePosixPath(head.path).parts
        frame = PurePosixPath(head.path).stem
        of_video = len(parts) == 4 and parts[0] == "images"
        yield GazeSample(
            sample_id=f"{head.path}#{head.person}",
            image=root / head.path,
            image_name=head.path,
            image_size=image_size,
            head_box_px=box_px,
            gaze_targets=head.gaze_targets if in_frame else np.full((1, 2), np.nan),
            in_frame=in_frame,
            eye=head.eye,
            split=split,
            dataset=dataset,
            clip="/".join(parts[1:3]) if of_video else "",
            track_id=head.track if of_video else "",
            frame=float(frame) if of_video and frame.isdecimal() else np.nan,
        )
    settle(problems, counts, f"{table} cannot be used as it is")


def _json_heads(table: Path, problems: list[str]) -> Iterator[Head]:
    for number, item in enumerate(_json_items(table)):
        frames = item.get("frames", [item]) if isinstance(item, dict) else [item]
        for frame in frames:
            try:
                heads = [_json_head(frame["path"], i, head) for i, head in enumerate(frame["heads"])]
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                problems.append(f"entry {number}: {type(error).__name__} {error}; expected path, heads with bbox_norm")
                continue
            yield from heads


def _json_head(path: str, index: int, head: dict[str, Any]) -> Head:
    columns = [np.atleast_1d(np.asarray(head[key], float)) for key in ("gazex_norm", "gazey_norm")]
    gaze_targets = np.stack(columns, axis=-1)[:MOST_ANNOTATORS]
    box = np.asarray(head["bbox_norm"], float)
    if box.shape != (4,) or gaze_targets.ndim != 2:
        raise ValueError(f"bbox_norm of shape {box.shape}, gaze of {gaze_targets.shape}")
    person = str(head.get("head_id", index))
    track = str(head.get("head_id", ""))  # without a name, a place in the list may be another person's in each frame
    return Head(path, path, person, track, box, True, gaze_targets, float(head.get("inout", 1)), np.full(2, np.nan))


def _json_items(table: Path) -> Iterator[Any]:
    """The entries of a JSON list, one after another."""
    decoder = json.JSONDecoder()
    with table.open(encoding="utf-8-sig") as file:
        text, at, chunk = file.read(CHUNK).lstrip(), 1, CHUNK
        if not text.startswith("["):
            raise GazeError(f"{table} holds no JSON list; it begins with {text[:40]!r}.")
        while True:
            while at < len(text) and text[at] in ", \t\r\n":
                at += 1
            if text[at : at + 1] == "]":
                return
            try:
                item, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                more = file.read(chunk)
                if not more:
                    raise GazeError(f"{table} is not JSON, or is cut off: {error}.") from error
                text, at, chunk = text[at:] + more, 0, 2 * chunk  # an entry longer than a chunk
                continue
            yield item


def _text_heads(table: Path, problems: list[str]) -> Iterator[Head]:
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row:
                continue
            if len(row) != COLUMNS:
                problems.append(f"line {number} has {len(row)} columns; expected {COLUMNS}")
                continue
            try:
                eye, gaze, box = (
                    np.array([float(field) for field in row[a:b]]) for a, b in ((6, 8), (8, 10), (10, 14))
                )
                in_frame = float(row[14])
            except ValueError as error:
                problems.append(f"line {number}: {error}")
                continue
            yield Head(f"line {number}", row[0], row[1], "", box, False, gaze[None], in_frame, eye)
