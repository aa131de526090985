"""Your own photos: images and the head boxes of any detector, or of ours, without gaze targets.

Boxes come in any of these files; coordinates are pixels:
  .csv   with the header image,x_min,y_min,x_max,y_max (or frame,left,top,right,bottom), and person, track or track_id
         if you like
  .txt   rows frame,left,top,right,bottom without header, one file per person: the demo of Chong et al.'s code
  .json  [{"image": "a.jpg", "head_boxes": [[x_min, y_min, x_max, y_max], ...]}, ...]
         or COCO detections [{"image": "a.jpg", "bbox": [x, y, width, height]}, ...]
         or a COCO data set {"images": [...], "annotations": [...], "categories": [...]}
  .xml   labelImg's Pascal VOC, one file per image, the heads named `head`
"""

import csv
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gazecore import images
from gazecore.errors import NO_INPUT, UNAVAILABLE, GazeError, raise_all, settle
from gazecore.prep import boxes as head_boxes
from gazecore.prep import labelimg
from gazecore.records import GazeSample

DATASET = "images"
BOX_FILES = (".csv", ".txt", ".json", ".xml")
SIDES = (("x_min", "left"), ("y_min", "top"), ("x_max", "right"), ("y_max", "bottom"))
SCENES, PEOPLE = ("image", "frame", "file_name"), ("person", "track", "track_id")  # columns, or keys of JSON
NAMED = 10  # images without a head that are named one by one in the counts


class HeadBox(NamedTuple):
    """One line of a box file: the image's name as written there, the box (4,) in pixels, the person or "", the file."""

    image: str
    box_px: np.ndarray
    person: str
    file: str = ""


def read(
    paths: Iterable[Path],
    boxes: Iterable[Path] | None,
    counts: Counter[str],
    allow_missing: bool = False,
    all_objects: bool = False,
) -> Iterator[GazeSample]:
    """One sample per head, image after image in the order of their names; targets and in_frame are NaN.

    paths          images, or folders that hold images
    boxes          box files, or folders that hold some; None: heads are looked for with detect_heads
    allow_missing  an image without a head gives a sample whose box is NaN; else it is left out, counted and named
    all_objects    boxes of XML and COCO files count whatever their name, not only `head`

    A box belongs to the image whose name (from the folder that all images share), or else whose file name, or else
    whose stem it gives; a file name that two images share is a problem. Boxes of images that were not given are
    counted.
    Raises GazeError: no image, no box file, no head at all; at the end all box files and images that are wrong.
    """
    named = _images(paths)
    problems: list[str] = []
    boxes_of = None if boxes is None else _assign(read_boxes(boxes, all_objects), list(named), counts, problems)
    without_head = 0

    for name, path in named.items():
        try:
            size = images.size(path)
            found = (
                [HeadBox(name, box, "") for box in detect_heads(images.load(path))]
                if boxes_of is None
                else boxes_of.get(name, [])
            )
        except GazeError as error:
            if error.code == UNAVAILABLE:
                raise
            problems.append(str(error))
            continue

        if found:
            repaired = head_boxes.usable(np.stack([head.box_px for head in found]), size, counts)
            heads = [head._replace(box_px=box) for head, box in zip(found, repaired, strict=True)]
            heads = [head for head in heads if not np.isnan(head.box_px).any()]
        else:
            heads = []
        if not heads:
            without_head += 1
            counts["without a head: images"] += 1
            if without_head <= NAMED:
                counts[f"without a head: {name}"] += 1
            if allow_missing:
                heads = [HeadBox(name, np.full(4, np.nan), "")]

        people = Counter(head.person for head in heads)
        for number, head in enumerate(heads):
            person = head.person if head.person and people[head.person] == 1 else str(number)
            of_video = bool(head.person) and path.stem.isdecimal()
            yield GazeSample(
                sample_id=f"{name}#{person}",
                image=path,
                image_name=name,
                image_size=size,
                head_box_px=head.box_px,
                dataset=DATASET,
                clip=path.parent.name if of_video else "",
                track_id=head.person,
                frame=float(path.stem) if of_video else np.nan,
            )

    settle(problems, counts, "images or boxes cannot be used")
    if without_head == len(named) and not allow_missing:
        next_step = "give head boxes of your own" if boxes_of is None else "check that the box files name these images"
        raise GazeError(f"none of the {len(named)} images has a head box: {next_step}.")


def read_boxes(sources: Iterable[Path], all_objects: bool = False) -> list[HeadBox]:
    """All boxes of the files, and of the box files that lie directly in the folders.

    Raises GazeError with everything that is wrong in any of them.
    """
    readers = {".csv": _read_csv, ".txt": _read_csv, ".json": _read_json, ".xml": _read_xml}
    found: list[HeadBox] = []
    problems: list[str] = []
    for path in _files(sources, BOX_FILES, "a box file"):
        try:
            rows = readers[path.suffix.lower()](path, all_objects)
        except GazeError as error:
            problems.append(str(error))
            continue
        if rows and all((row.box_px <= 1).all() for row in rows):
            problems.append(f"{path}: no coordinate above 1; expected pixels, these look normalised to 0..1")
            continue
        found += [row._replace(file=path.name) for row in rows]
    raise_all(problems, "box files cannot be read")
    return found


def detect_heads(image: np.ndarray, longest_px: int = 1280) -> np.ndarray:
    """Heads in a photo (h, w, 3) uint8 -> (n, 4) pixels, the largest first: a stopgap where no detector is at hand.

    Frontal and profile faces by the Haar cascades that come with OpenCV (Viola and Jones, CVPR 2001), on a copy whose
    longer side is at most longest_px, grown to the size of a head. It misses heads from behind and small ones: a
    trained detector of heads is better. Raises GazeError(UNAVAILABLE) without OpenCV.
    """
    try:
        import cv2
    except ImportError as error:
        raise GazeError(
            'detecting heads needs OpenCV: pip install "gazecore[detect]", or give head boxes of your own', UNAVAILABLE
        ) from error

    height, width = image.shape[:2]
    scale = min(1.0, longest_px / max(height, width))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = cv2.equalizeHist(grey)

    faces: list[np.ndarray] = []
    for cascade, mirrored in (("frontalface_default", False), ("profileface", False), ("profileface", True)):
        seen = _cascade(cascade).detectMultiScale(grey[:, ::-1].copy() if mirrored else grey, 1.1, 6, minSize=(24, 24))
        for x, y, w, h in seen:
            x = grey.shape[1] - x - w if mirrored else x  # the cascade knows faces turned to one side only
            faces.append(np.array([x, y, x + w, y + h]) / scale)
    heads = _head_sized(np.array(faces, float).reshape(-1, 4))
    heads = np.clip(heads, 0, [width, height, width, height])
    return _largest_of_overlapping(heads)


@lru_cache
def _cascade(name: str) -> Any:
    import cv2.data

    return cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")


def _head_sized(faces: np.ndarray) -> np.ndarray:
    """Square face boxes (n, 4) -> heads: hair above, ears beside, chin below; fractions judged on portraits."""
    side = (faces[:, 2] - faces[:, 0])[:, None]
    return faces + side * np.array([-0.2, -0.4, 0.2, 0.2])


def _largest_of_overlapping(boxes: np.ndarray, overlap: float = 0.3) -> np.ndarray:
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    for index in np.argsort(-areas, kind="stable"):
        low, high = np.maximum(boxes[index, :2], boxes[kept, :2]), np.minimum(boxes[index, 2:], boxes[kept, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        if (shared <= overlap * areas[index]).all():
            kept.append(int(index))
    return boxes[kept]


def _images(paths: Iterable[Path]) -> dict[str, Path]:
    """Images by name from the folder that they all share, sorted."""
    files = _files(paths, images.EXTENSIONS, "an image")
    shared = Path(os.path.commonpath([path.absolute().parent for path in files]))
    return {path.absolute().relative_to(shared).as_posix(): path for path in sorted(files)}


def _files(sources: Iterable[Path], extensions: tuple[str, ...], what: str) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = [path for path in source.iterdir() if path.suffix.lower() in extensions and path.name[0] != "."]
            if not inside:
                raise GazeError(f"{source} does not hold {what}; expected {', '.join(extensions)}.", NO_INPUT)
            found += sorted(inside)
        elif not source.is_file():
            raise GazeError(f"{source}: no such file; expected {what} or a folder.", NO_INPUT)
        elif what == "a box file" and source.suffix.lower() not in extensions:
            raise GazeError(f"{source} is not {what}; expected one of {', '.join(extensions)}.")
        else:
            found.append(source)
    if not found:
        raise GazeError(f"nothing given; expected {what} or a folder.", NO_INPUT)
    return found


def _assign(
    rows: list[HeadBox], names: list[str], counts: Counter[str], problems: list[str]
) -> dict[str, list[HeadBox]]:
    by_end: dict[str, set[str]] = defaultdict(set)
    for name in names:
        by_end[Path(name).name].add(name)
        by_end[Path(name).stem].add(name)
    known = set(names)

    assigned: dict[str, list[HeadBox]] = defaultdict(list)
    ambiguous: set[str] = set()
    for row in rows:
        written = row.image.replace("\\", "/")
        last = written.rpartition("/")[2]
        candidates = {written} if written in known else by_end.get(last) or by_end.get(Path(last).stem) or set()
        if len(candidates) == 1:
            assigned[next(iter(candidates))].append(row)
        elif candidates:
            ambiguous.add(f'"{row.image}" may be any of {", ".join(sorted(candidates))}; name it with its folder')
        else:
            counts["ignored: box of an image that was not given"] += 1
    problems += sorted(ambiguous)
    return assigned


def _read_csv(path: Path, all_objects: bool) -> list[HeadBox]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [[field.strip() for field in line] for line in csv.reader(file)]
    rows = [(number, line) for number, line in enumerate(lines, 1) if any(line)]
    if not rows:
        return []
    header = [name.lower() for name in rows[0][1]]
    if image_columns := [header.index(name) for name in SCENES if name in header]:
        columns = [header.index(name) for names in SIDES for name in names if name in header]
        if len(columns) != 4:
            raise GazeError(f"{path} has the columns {', '.join(header)}; expected image, x_min, y_min, x_max, y_max.")
        person_column = next((header.index(name) for name in PEOPLE if name in header), None)
        image_column, rows = image_columns[0], rows[1:]
    else:
        image_column, columns, person_column = 0, [1, 2, 3, 4], None

    found: list[HeadBox] = []
    problems: list[str] = []
    person_of_file = "" if image_columns else path.stem
    for number, line in rows:
        try:
            box = [float(line[column]) for column in columns]
            person = person_of_file if person_column is None else line[person_column]
            found.append(HeadBox(line[image_column], np.array(box), person))
        except (ValueError, IndexError):
            problems.append(f"line {number} is {','.join(line)}")
    raise_all(problems, f"{path}: expected an image and 4 numbers in each line")
    return found


def _read_json(path: Path, all_objects: bool) -> list[HeadBox]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise GazeError(f"{path} is not JSON: {error}.") from error
    names: dict[Any, str] = {}
    categories: set[Any] | None = None
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        names = {image.get("id"): str(image.get("file_name")) for image in content["images"]}
        categories = _head_categories(path, content.get("categories"), all_objects)
        content = content["annotations"]
    if not isinstance(content, list):
        raise GazeError(f'{path} holds no JSON list; expected one of {{"image", "head_boxes"}}.')

    found: list[HeadBox] = []
    problems: list[str] = []
    for number, item in enumerate(content, 1):
        try:
            if categories is not None and item.get("category_id") not in categories:
                continue
            image = names[item["image_id"]] if names else _first(item, SCENES)
            corners = [item["bbox"]] if "bbox" in item else item["head_boxes"]
            boxes = np.array(corners, float).reshape(len(corners), 4)
            if "bbox" in item:
                boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
            found += [HeadBox(image, box, _first(item, PEOPLE)) for box in boxes]
        except (AttributeError, KeyError, TypeError, ValueError):
            problems.append(f"entry {number} is {json.dumps(item)[:120]}")
    raise_all(
        problems, f'{path}: expected "image" with "head_boxes" [[x_min, y_min, x_max, y_max]] or "bbox" [x, y, w, h]'
    )
    return found


def _first(item: dict[str, Any], keys: tuple[str, ...]) -> str:
    return next((str(item[key]) for key in keys if item.get(key) is not None), "")


def _head_categories(path: Path, categories: list[dict[str, Any]] | None, all_objects: bool) -> set[Any] | None:
    """The ids of the category named head; None where every annotation counts."""
    if all_objects or not categories:
        return None
    heads = {category.get("id") for category in categories if str(category.get("name")).lower() == labelimg.HEAD}
    if not heads:
        named = ", ".join(str(category.get("name")) for category in categories)
        raise GazeError(f"{path} knows the categories {named}; expected one named head, or take all objects.")
    return heads


def _read_xml(path: Path, all_objects: bool) -> list[HeadBox]:
    annotation = labelimg.read_xml(path)
    image = annotation.filename or path.stem
    return [
        HeadBox(image, box, "")
        for name, boxes in annotation.boxes.items()
        if all_objects or name == labelimg.HEAD
        for box in boxes
    ]
