"""VideoAttentionTarget (Chong et al., CVPR 2020): clips of television shows, one annotated track per person.

On disk  ROOT/annotations/SPLIT/SHOW/CLIP/sNN.txt   one file per person; SPLIT is train or test
         ROOT/images/SHOW/CLIP/FRAME.jpg

Rows, without header: frame.jpg, x_min, y_min, x_max, y_max of the head, gaze x, y; pixels. A gaze of exactly -1, -1
is out of frame; one coordinate slightly below 0 is moved to 0 and in frame. A person may leave and return: frames may
be missing.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from gazecore import geometry, images
from gazecore.errors import NO_INPUT, GazeError, settle
from gazecore.prep import boxes
from gazecore.records import GazeSample

DATASET = "videoattentiontarget"
SMOOTHING = 11  # frames; ejcgt/attention-target-detection:dataset.py, in training and in test


def read(root: Path, split: str, counts: Counter[str], repair: bool = True) -> Iterator[GazeSample]:
    """The samples of a split, track after track in the order of their paths, frames in the order of the file.

    Head boxes are averaged over 11 rows of their track. counts says what was repaired or dropped.
    repair=False leaves boxes unclipped and targets as annotated, -1 included: for `compat="vtd"` alone.
    Raises GazeError: NO_INPUT at once without annotations or images; at the end all rows and images that are wrong.
    """
    tables = tables_of(root, split, ("*/*/*.txt",), "annotations/SPLIT/SHOW/CLIP/sNN.txt", "images/SHOW/CLIP/FRAME.jpg")
    problems: list[str] = []
    images_of = lru_cache(maxsize=1)(images.by_stem)  # the tracks of a clip follow one another

    for table in tables:
        show, clip = table.parts[-3:-1]
        track = Track(DATASET, split, f"{show}/{clip}", table.stem)
        folder = root / "images" / show / clip
        where = table.relative_to(root).as_posix()
        for number, line in enumerate(table.read_text("utf-8-sig", errors="replace").splitlines(), 1):
            fields = [field.strip() for field in line.split(",")]
            if fields != [""]:
                path = folder / fields[0]
                path = images_of(folder).get(path.stem, path) if not path.is_file() else path
                track.add(path, fields[1:], f"{where}, line {number}", problems)
        yield from track.samples(counts, problems, repair)

    settle(problems, counts, f"{root} cannot be used as it is")


def tables_of(root: Path, split: str, patterns: tuple[str, ...], tables: str, frames: str) -> list[Path]:
    """The annotation files of a split, sorted; NO_INPUT with what was expected when there are none, or no images."""
    expected = f"expected {tables} and {frames} in {root}"
    folder = root / "annotations" / split
    if not folder.is_dir():
        beside = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
        found = f"; found the splits {', '.join(beside)}" if beside else ""
        raise GazeError(f"{folder}: no such folder; {expected}{found}.", NO_INPUT)
    if not (root / "images").is_dir():
        raise GazeError(f"{root / 'images'}: no such folder; {expected}.", NO_INPUT)
    # macOS leaves a hidden ._name beside each file that it packs
    found_tables = sorted(
        path for pattern in patterns for path in folder.glob(pattern) if not path.name.startswith(".")
    )
    if not found_tables:
        raise GazeError(f"{folder} holds no annotation file; {expected}.", NO_INPUT)
    return found_tables


@dataclass
class Track:
    """The rows of one person in one clip, in frame order; ObjectAttention has the same and is read with it too."""

    dataset: str
    split: str
    clip: str
    track_id: str

    def __post_init__(self):
        self.paths: list[Path] = []
        self.where: list[str] = []
        self.rows: list[list[float]] = []  # of 6: head box, gaze; pixels

    def add(self, path: Path, fields: list[str], where: str, problems: list[str]) -> None:
        """One row: x_min, y_min, x_max, y_max, gaze_x, gaze_y as text; what is wrong with it joins the problems."""
        if len(fields) != 6:
            problems.append(f"{where}: {1 + len(fields)} columns; expected a frame and 6 numbers")
            return
        try:
            row = [float(field) for field in fields]
        except ValueError as error:
            problems.append(f"{where}: {error}")
            return
        if not np.isfinite(row).all():
            problems.append(f"{where}: {', '.join(fields)}; expected 6 finite numbers")
            return
        self.rows.append(row)
        self.paths.append(path)
        self.where.append(where)

    def samples(self, counts: Counter[str], problems: list[str], repair: bool) -> Iterator[GazeSample]:
        """Smoothed, normalised and, unless asked not to, repaired. Frames without an image join the problems."""
        if not self.rows:
            return
        rows = np.array(self.rows)  # (t, 6)
        sizes = [self._size(index, problems) for index in range(len(rows))]
        sizes_px = np.array([size or (np.inf, np.inf) for size in sizes])  # (t, 2)

        head_boxes_px, gaze_px = rows[:, :4], rows[:, 4:]
        out_of_frame = (gaze_px == -1).all(axis=-1)
        if repair:
            gaze_px = np.where(out_of_frame[:, None], np.nan, np.maximum(gaze_px, 0))
            if moved := int((~out_of_frame & (rows[:, 4:] < 0).any(axis=-1)).sum()):
                counts["repaired: gaze moved into the image"] += moved
            head_boxes_px = _ordered(head_boxes_px, counts)  # a swapped box would spread over its neighbours
        head_boxes_px = geometry.smooth_boxes(head_boxes_px, SMOOTHING, compat=not repair)
        if repair:
            head_boxes_px = boxes.usable(head_boxes_px, sizes_px, counts)

        seen: set[Path] = set()
        for index, path in enumerate(self.paths):
            size = sizes[index]
            if size is None or (repair and np.isnan(head_boxes_px[index]).any()):
                continue
            if path in seen:
                counts["dropped: frame twice in a track"] += 1
                continue
            seen.add(path)
            image_name = f"{self.clip}/{path.name}"
            yield GazeSample(
                sample_id=f"{image_name}#{self.track_id}",
                image=path,
                image_name=image_name,
                image_size=size,
                head_box_px=head_boxes_px[index],
                gaze_targets=gaze_px[index : index + 1] / sizes_px[index],
                in_frame=0.0 if out_of_frame[index] else 1.0,
                split=self.split,
                dataset=self.dataset,
                clip=self.clip,
                track_id=self.track_id,
                frame=float(path.stem) if path.stem.isdecimal() else float(index),
            )

    def _size(self, index: int, problems: list[str]) -> tuple[int, int] | None:
        try:
            return images.size(self.paths[index])
        except GazeError as error:
            problems.append(f"{self.where[index]}: {error}")
            return None


def _ordered(boxes_px: np.ndarray, counts: Counter[str]) -> np.ndarray:
    low, high = np.minimum(boxes_px[:, :2], boxes_px[:, 2:]), np.maximum(boxes_px[:, :2], boxes_px[:, 2:])
    ordered = np.concatenate([low, high], axis=1)
    if swapped := int((ordered != boxes_px).any(axis=1).sum()):
        counts["repaired: swapped box"] += swapped
    return ordered
