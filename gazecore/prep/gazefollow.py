"""GazeFollow-extended: photos, one annotated person per training row, about ten annotators per test person.

On disk  ROOT/train_annotations_release.txt   one row per person, 17 columns
         ROOT/test_annotations_release.txt    one row per annotator, 16 columns: no in/out label, always in frame
         ROOT/train/XXXXXXXX/YYYYYYYY.jpg     and ROOT/test2/...

Columns: path, idx, body x, y, w, h, eye x, y, gaze x, y (normalised), head x_min, y_min, x_max, y_max (pixels),
in/out (1, 0, -1 invalid; training only), source, meta. No header; the file may begin with a byte order mark. The
original release of Recasens et al. 2015 has neither head boxes nor in/out labels; Chong et al. (ECCV 2018) added
both.
"""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from gazecore import images
from gazecore.errors import NO_INPUT, GazeError, settle
from gazecore.prep import boxes
from gazecore.records import GazeSample

DATASET = "gazefollow"
TABLES = {"train": "train_annotations_release.txt", "test": "test_annotations_release.txt"}
IMAGES = {"train": "train", "test": "test2"}
COLUMNS = {"train": 17, "test": 16}
MOST_ANNOTATORS = 20
ORIGINAL = "as in the original MIT release"
NOT_EXTENDED = (
    "The original MIT release lacks head boxes and in/out labels. Use GazeFollow-extended, which adds both: the "
    "README of ejcgt/attention-target-detection on GitHub says where to get it."
)


def read(root: Path, split: str, counts: Counter[str], repair: bool = True) -> Iterator[GazeSample]:
    """The people of a split, "train" in file order, "test" image after image; counts says what was repaired or dropped.

    Training rows marked -1 are dropped; the gaze target of an out-of-frame row is NaN. A test person is all rows of
    one (path, eye_x), in any order in the file (ejcgt/attention-target-detection:dataset.py), and has one target per
    annotator. repair=False yields boxes and targets as annotated, -1 included: what `compat="vtd"` needs to reproduce
    that code.
    Raises GazeError: NO_INPUT at once without table or images; at the end of reading all rows and images that are
    wrong.
    """
    table = annotation_table(root, split)
    problems: list[str] = []
    size = lru_cache(maxsize=1024)(images.size)
    people = _train_people(table, counts, problems) if split == "train" else _test_people(table, problems)

    for person in people:
        try:
            image_size = size(root / person.path)
        except GazeError as error:
            problems.append(f"{person.where}: {error}")
            continue

        head_box_px, gaze_targets, eye = person.head_box_px, person.gaze_targets, person.eye
        if repair:
            head_box_px = boxes.usable(head_box_px[None], image_size, counts)[0]
            if np.isnan(head_box_px).any():
                continue
            unknown = (gaze_targets == -1).all(axis=-1) | (person.in_frame == 0)
            gaze_targets = np.where(unknown[:, None], np.nan, gaze_targets)
            eye = np.where((eye == -1).all(), np.nan, eye)

        yield GazeSample(
            sample_id=person.sample_id,
            image=root / person.path,
            image_name=person.path,
            image_size=image_size,
            head_box_px=head_box_px,
            gaze_targets=gaze_targets,
            in_frame=person.in_frame,
            eye=eye,
            split=split,
            dataset=DATASET,
        )

    settle(problems, counts, str(table), NOT_EXTENDED if any(ORIGINAL in problem for problem in problems) else "")


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    idx: str
    eye: np.ndarray  # (2,)
    gaze: np.ndarray  # (2,)
    head_box_px: np.ndarray  # (4,)
    in_frame: float


@dataclass(frozen=True)
class _Person:
    sample_id: str
    where: str
    path: str
    eye: np.ndarray  # (2,)
    head_box_px: np.ndarray  # (4,)
    gaze_targets: np.ndarray  # (n, 2)
    in_frame: float


def annotation_table(root: Path, split: str) -> Path:
    """The annotation file of a split; GazeError when it, or the folder of its images, is not there."""
    if split not in TABLES:
        raise GazeError(f'GazeFollow has no split "{split}"; expected one of {", ".join(TABLES)}.')
    table, folder = root / TABLES[split], root / IMAGES[split]
    if not table.is_file():
        elsewhere = sorted(root.glob(f"*/{TABLES[split]}"))
        hint = f" Found {elsewhere[0]}: give {elsewhere[0].parent}." if elsewhere else ""
        raise GazeError(
            f"{table}: no such file; expected the folder of GazeFollow-extended, with {TABLES[split]} and the images "
            f"in {IMAGES[split]}/.{hint}",
            NO_INPUT,
        )
    if not folder.is_dir():
        raise GazeError(f"{folder}: no such folder; expected the images that {table.name} names.", NO_INPUT)
    return table


def _train_people(table: Path, counts: Counter[str], problems: list[str]) -> Iterator[_Person]:
    largest = -1
    with table.open("rb") as file:
        for number, line in enumerate(file, 1):
            row = _parse(line, number, "train", problems)
            if row is None:
                continue
            if row.in_frame == -1:
                counts["dropped: in_frame is -1"] += 1
                continue
            # idx counts upwards through the file; where it does not, the line number keeps the name unique
            idx = int(row.idx) if row.idx.isdecimal() else -1
            sample_id = f"{row.path}#{row.idx}" if idx > largest else f"{row.path}#{row.idx}@{number}"
            largest = max(largest, idx)
            where = f"line {number}"
            yield _Person(sample_id, where, row.path, row.eye, row.head_box_px, row.gaze[None], row.in_frame)


def _test_people(table: Path, problems: list[str]) -> Iterator[_Person]:
    """Two passes: the first keeps 16 bytes per row, the second reads the rows of one image at a time.

    Images come in the order of their first row, and so do the people of an image.
    """
    hashes, offsets, lines = array("Q"), array("Q"), array("L")
    with table.open("rb") as file:
        offset = 0
        for number, line in enumerate(file, 1):
            if line.strip():
                path = _text(line, number).split(",", 1)[0]
                hashes.append(int.from_bytes(blake2b(path.encode(), digest_size=8).digest(), "little"))
                offsets.append(offset)
                lines.append(number)
            offset += len(line)

        keys = np.frombuffer(hashes, np.uint64)
        by_image = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(keys[by_image]) != 0]) if len(keys) else np.zeros(0, int)
        groups = np.split(by_image, starts[1:])
        for group in sorted(groups, key=lambda group: group[0]) if len(keys) else []:
            rows: dict[tuple[str, float], list[_Row]] = {}
            for index in group:
                file.seek(offsets[index])
                row = _parse(file.readline(), lines[index], "test", problems)
                if row is not None:
                    rows.setdefault((row.path, float(row.eye[0])), []).append(row)
            for (path, eye_x), annotators in rows.items():
                last = annotators[-1]  # whose box and eye VTD's loop keeps
                gaze_targets = np.stack([row.gaze for row in annotators])
                sample_id = f"{path}#eye{eye_x!r}"
                yield _Person(sample_id, f"line {last.line}", path, last.eye, last.head_box_px, gaze_targets, 1.0)


def _parse(line: bytes, number: int, split: str, problems: list[str]) -> _Row | None:
    """One row; None for an empty line and for a wrong one, which is added to the problems."""
    fields = [field.strip() for field in _text(line, number).split(",")]
    if fields == [""]:
        return None
    if len(fields) != COLUMNS[split]:
        original = f", {ORIGINAL}" if len(fields) <= 15 else ""
        problems.append(f"line {number} has {len(fields)} columns{original}; expected {COLUMNS[split]}")
        return None
    try:
        eye, gaze, head_box_px = (
            np.array([float(field) for field in fields[a:b]]) for a, b in ((6, 8), (8, 10), (10, 14))
        )
        in_frame = float(fields[14]) if split == "train" else 1.0
    except ValueError as error:
        problems.append(f"line {number}: {error}")
        return None
    if in_frame not in (-1, 0, 1):
        problems.append(f"line {number}: in/out is {fields[14]}; expected 1, 0 or -1")
        return None
    return _Row(number, fields[0], fields[1], eye, gaze, head_box_px, in_frame)


def _text(line: bytes, number: int) -> str:
    return line.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace").strip()
