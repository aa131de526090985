"""labelImg's Pascal VOC files: boxes with names, drawn by hand on one frame.

On disk  ANYWHERE/FRAME.xml: annotation/{filename, size/{width, height}, object*/{name, bndbox}},
         bndbox/{xmin, ymin, xmax, ymax} in pixels

ObjectAttention's convention: the person is the object named `head`, the gaze target is the centre of the box of the
object looked at. A person who stands still needs one annotated frame for a whole recording.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from gazecore import images
from gazecore.errors import EXISTS, NO_INPUT, GazeError

HEAD = "head"
FIELDS = ("xmin", "ymin", "xmax", "ymax")


class Annotation(NamedTuple):
    """filename of the frame; size (width, height) as written, (0, 0) without; boxes: name -> (n, 4) pixels, n >= 1."""

    filename: str
    size: tuple[int, int]
    boxes: dict[str, np.ndarray]


def read_xml(path: Path) -> Annotation:
    """The named boxes of one file.

    Raises GazeError: missing, not XML, a document type or entities (never written by labelImg; they can swallow
    memory or read other files), not an annotation, a box without four numbers.
    """
    root = _parse(path)
    if root.tag != "annotation":
        raise GazeError(f"{path} holds <{root.tag}>; expected the <annotation> that labelImg writes as Pascal VOC.")
    found: dict[str, list[list[float]]] = {}
    for number, item in enumerate(root.iter("object"), 1):
        name = (item.findtext("name") or "").strip()
        texts = [item.findtext(f"bndbox/{field}") for field in FIELDS]
        try:
            found.setdefault(name, []).append([float(text or "") for text in texts])
        except ValueError as error:
            raise GazeError(f'{path}: object {number} "{name}" has the box {texts}; expected 4 numbers.') from error
    width, height = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    filename = (root.findtext("filename") or "").strip()
    return Annotation(filename, (width, height), {name: np.array(boxes) for name, boxes in found.items()})


def only_box(annotation: Annotation, name: str, path: Path) -> np.ndarray:
    """The box (4,) of the one object of that name. GazeError when there is none, or several.

    By name, not by order: shivahanifi/visual-targets takes the first object of the file for the head, whatever it is.
    """
    boxes = annotation.boxes.get(name, np.empty((0, 4)))
    if len(boxes) != 1:
        named = ", ".join(sorted(annotation.boxes)) or "nothing"
        raise GazeError(f'{path} holds {len(boxes)} objects named "{name}"; expected one. It names {named}.')
    return boxes[0]


def centre(box: np.ndarray) -> np.ndarray:
    """The middle (..., 2) x, y of boxes (..., 4): the gaze target of whoever looks at the object."""
    box = np.asarray(box, float)
    return (box[..., :2] + box[..., 2:]) / 2


class Recording(NamedTuple):
    """Frames of a person who stands still and looks at one object; head and target may be in separate files."""

    frames: Path
    head_xml: Path
    target_xml: Path
    target: str


def write_sequence(
    recordings: Iterable[Recording], root: Path, split: str, session: str, setting: str, every: int = 1
) -> int:
    """The recordings of one setting as one sequence in the layout that prep/objectattention.py reads; their number.

    Frames go to ROOT/images/SESSION/SETTING under consecutive names of 8 digits, keeping their extensions, as hard
    links or, where the file system has none, as copies; the originals stay as they are. The rows are written to
    ROOT/annotations/SPLIT/SESSION/SETTING/S11.txt with the header of the original files. every=2 takes every second
    frame. Raises GazeError: EXISTS when the sequence is there already; annotations or
    frames missing.
    """
    table = root / "annotations" / split / session / setting / "S11.txt"
    folder = root / "images" / session / setting
    if table.exists() or images.by_stem(folder):
        raise GazeError(f"{folder} or {table} exists already; remove both, or name another session or setting.", EXISTS)

    copies: list[tuple[Path, np.ndarray, np.ndarray]] = []
    for recording in recordings:
        frames = sorted(images.by_stem(recording.frames).values(), key=lambda path: path.name)
        if not frames:
            raise GazeError(f"{recording.frames} holds no image; expected the frames of a recording.", NO_INPUT)
        head = only_box(read_xml(recording.head_xml), HEAD, recording.head_xml)
        target = only_box(read_xml(recording.target_xml), recording.target, recording.target_xml)
        copies += [(frame, head, centre(target)) for frame in frames[::every]]

    folder.mkdir(parents=True, exist_ok=True)
    table.parent.mkdir(parents=True, exist_ok=True)
    lines = ["frame x_min y_min x_max y_max gaze_x gaze_y"]
    for number, (frame, head, gaze) in enumerate(copies):
        _link_or_copy(frame, folder / f"{number:08d}{frame.suffix}")
        lines.append(", ".join([f"{number:08d}", *(f"{value:g}" for value in head), *(str(float(v)) for v in gaze)]))
    table.write_text("\n".join(lines) + "\n")  # last: a broken copy leaves no table
    return len(copies)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def _parse(path: Path) -> ElementTree.Element:
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise GazeError(f"{path} declares a document type or entities; expected the plain XML that labelImg writes.")

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except FileNotFoundError as error:
        raise GazeError(f"{path}: no such file; expected an annotation of labelImg.", NO_INPUT) from error
    except expat.ExpatError as error:
        raise GazeError(f"{path} is not XML: {error}; expected an annotation of labelImg.") from error
    return builder.close()
