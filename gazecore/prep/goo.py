"""GOO-Real and GOO-Synth (Tomas et al., CVPR Workshops 2021): one person looks at a product on shelves.

On disk  Real   ROOT/{oneshot,val,test}realhumans*.pickle, ROOT/finalrealdatasetImgsV2/HUMAN/camN/camNNNNN_imgNNNNN.jpg
         Synth  ROOT/picklefile/goosynth_{train,test}_v2_no_segm.pkl, ROOT/{train,test}/images/N.png
The pickles may lie in ROOT or a folder below, the images in any folder down to two below.

A pickle is a list of dictionaries: filename (maybe with backslashes), ann (bboxes x_min, y_min, x_max, y_max; labels),
gaze_cx, gaze_cy, hx, hy and more; see upeee/GOO-GAZE2021:dataset/goo{real,synth}-download.txt. Coordinates are in
units of a picture of 640 x 480 whatever its size. The head is the box labelled -1 (Real) or 25, of Real else the
last; where none is labelled, it is made around hx, hy as the published loaders always do.

Pickles are programs. These are read without running any: goo_pickle.py.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gazecore import images
from gazecore.errors import NO_INPUT, GazeError, settle
from gazecore.prep import boxes
from gazecore.prep.goo_pickle import Records, read_records
from gazecore.records import GazeSample

REAL, SYNTH = "goo-real", "goo-synth"
UNITS = np.array([640.0, 480.0])
REACH = 0.15  # of the picture on each side of hx, hy; upeee/GOO-GAZE2021:gazefollowing/dataloader/gazenet.py
PICKLES = {
    "train": ("oneshotreal", "goosynth_train", "train"),
    "val": ("valreal", "val"),
    "test": ("testreal", "goosynth_test", "test"),
}
SUFFIXES = (".pickle", ".pkl")
SPARSE = "sparse"  # a second test set of Real, with its own pictures under the same names
# francescotonini/multimodal-across-domains-gaze-target-detection:datasets/GOO.py
BROKEN_IMAGES = ("15/cam1/cam00001_img00530.jpg",)


def read(
    root: Path,
    split: str,
    counts: Counter[str],
    table: Path | None = None,
    folder: Path | None = None,
    reference_boxes: bool = False,
) -> Iterator[GazeSample]:
    """The samples of a split in the order of its pickle; counts says what was repaired or dropped.

    table            the pickle, where its name does not tell; folder: of the pictures, where several hold such names
    reference_boxes  make every head box around hx, hy as the published loaders do, a 0.3 of the picture wide and high

    Of a record about 150 bytes are kept while the samples are read; the segmentation (`seg`) is dropped as it comes.
    Raises GazeError: NO_INPUT at once without pickle or pictures; at once for a pickle that holds anything but plain
    data and numpy arrays; at the end all records and pictures that are wrong.
    """
    table = table or annotation_pickle(root, split)
    problems: list[str] = []
    records = read_records(table, problems)
    folder = folder or image_folder(root, split, table, records) if len(records) else root
    inside = folder.resolve()

    for number, name in enumerate(records.filenames):
        if name in BROKEN_IMAGES:
            counts["dropped: image known to be broken"] += 1
            continue
        path = folder / name
        where = f"record {records.positions[number]}"
        try:
            if not path.resolve().is_relative_to(inside):
                raise GazeError(f"{name} leads out of {folder}; expected a picture in it")
            image_size = images.size(path)
        except GazeError as error:
            problems.append(f"{where}: {error}")
            continue

        gaze_target, eye = records.gaze[number] / UNITS, records.head[number] / UNITS
        in_frame = float(((gaze_target >= 0) & (gaze_target <= 1)).all())
        if not in_frame:
            counts["out of frame: gaze outside the picture"] += 1
        head_box = records.head_boxes[number] / np.tile(UNITS, 2)
        if reference_boxes or np.isnan(head_box).any():
            counts["made: head box around hx, hy"] += 1
            head_box = np.concatenate([eye - REACH, eye + REACH])
            head_box = np.clip(head_box, 0, 1)
        head_box_px = boxes.usable((head_box * np.tile(image_size, 2))[None], image_size, counts)[0]
        if np.isnan(head_box_px).any():
            continue
        image_name = path.relative_to(root).as_posix() if path.is_relative_to(root) else name
        yield GazeSample(
            sample_id=f"{image_name}#head",
            image=path,
            image_name=image_name,
            image_size=image_size,
            head_box_px=head_box_px,
            gaze_targets=(gaze_target if in_frame else np.full(2, np.nan))[None],
            in_frame=in_frame,
            eye=eye,
            split=split,
            dataset=SYNTH if records.synthetic[number] else REAL,
        )

    settle(problems, counts, f"{table} and {folder} cannot be used as they are")


def annotation_pickles(root: Path, split: str | None = None) -> dict[str, Path]:
    """The pickle of one split, or of every split that has one; GazeError when there is none."""
    if split:
        return {split: annotation_pickle(root, split)}
    found = [path.stem.lower() for path in pickles(root) if SPARSE not in path.stem.lower()]
    there = [name for name, begins in PICKLES.items() if any(stem.startswith(begins) for stem in found)]
    return {name: annotation_pickle(root, name) for name in there or ["train"]}


def annotation_pickle(root: Path, split: str) -> Path:
    """The pickle of a split by its name; GazeError when there is none, or several."""
    if split not in PICKLES:
        raise GazeError(f'GOO has no split "{split}"; expected one of {", ".join(PICKLES)}.')
    found = pickles(root)
    named = [path for path in found if path.stem.lower().startswith(PICKLES[split]) and SPARSE not in path.stem.lower()]
    if len(named) == 1:
        return named[0]
    there = ", ".join(path.relative_to(root).as_posix() for path in named or found) or "none"
    if named:
        raise GazeError(f"{root} holds several pickles of {split}: {there}; name one.", NO_INPUT)
    raise GazeError(
        f"{root} holds no pickle of {split}; expected one whose name begins with {' or '.join(PICKLES[split])}. "
        f"Found {there}.",
        NO_INPUT,
    )


def pickles(root: Path) -> list[Path]:
    """The pickles in a folder and in those directly below it, sorted; not those of single pictures."""
    found = [path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.suffix.lower() in SUFFIXES]
    return sorted(path for path in found if path.name[0] != "." and not path.stem.isdecimal())


def image_folder(root: Path, split: str, table: Path, records: Records) -> Path:
    """The folder that filenames are relative to, found by the first picture; NO_INPUT when none is, or several are."""
    name = records.filenames[0]
    folders = [root, *(path for pattern in ("*", "*/*") for path in sorted(root.glob(pattern)) if path.is_dir())]
    sparse = SPARSE in table.stem.lower()
    found = [
        folder
        for folder in folders
        if (folder / name).is_file() and (SPARSE in folder.relative_to(root).as_posix().lower()) == sparse
    ]
    if len(found) > 1:
        found = [folder for folder in found if split in folder.relative_to(root).as_posix().lower()] or found
    if len(found) == 1:
        return found[0]
    several = f"{', '.join(map(str, found))} all hold {name}" if found else f"no folder in {root} holds {name}"
    raise GazeError(f"{several}, the first picture of {table.name}; name the folder of the pictures.", NO_INPUT)
