"""ObjectAttention as it was recorded: folders of frames and labelImg's XML, found and made into sequences.

On disk  ROOT/SESSION/SETTING/TARGET/...FRAME.ppm   the frames of a recording, named anyhow, there or in a folder below
         XML files in SETTING or anywhere in TARGET

SESSION may be several folders, PARTICIPANT/session_1; they become one name. TARGET ends in the name of the object
looked at, `pringles` or `session5-shiva-pringles`: that object, and one named `head`, are looked for in the files of
TARGET, then in those of SETTING. One annotated frame is enough, for the person stands still.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gazecore import images
from gazecore.errors import EXISTS, NO_INPUT, USAGE, GazeError, settle
from gazecore.prep import labelimg
from gazecore.prep.labelimg import Annotation, Recording

# what the original scripts (shivahanifi/visual-targets:VTD_retrain/src) left beside the frames that came from the robot
NOT_RECORDED = ("openpose", "renamed_rgb_input", "subsampled_frames")
LAYOUT = "expected ROOT/SESSION/SETTING/TARGET/FRAME.ppm, TARGET called after an object that an XML file names"


class Sequence(NamedTuple):
    """All recordings of one setting, in the order of their folders."""

    session: str
    setting: str
    recordings: list[Recording]


def find(root: Path, counts: Counter[str]) -> list[Sequence]:
    """Every sequence below a folder, with the XML files of its recordings checked: the head, the target, the size.

    counts says which folders and files were left aside.
    Raises GazeError: NO_INPUT where no folder holds frames; all recordings whose annotation is missing or ambiguous,
    or was made on frames of another size.
    """
    problems: list[str] = []
    sequences: dict[tuple[str, str], Sequence] = {}
    folders: dict[tuple[str, str], Path] = {}
    for frames in _frame_folders(root, counts):
        try:
            target, recording = _recording(root, frames, counts)
        except GazeError as error:
            problems.append(str(error))
            continue
        setting = target.parent
        key = "-".join(setting.parent.relative_to(root).parts), setting.name
        if folders.setdefault(key, setting) != setting:
            problems.append(f"{setting} and {folders[key]} would both become {'/'.join(key)}; rename one")
            continue
        sequences.setdefault(key, Sequence(*key, [])).recordings.append(recording)
    settle(problems, counts, f"{root}: recordings cannot be used", LAYOUT)
    if not sequences:
        raise GazeError(f"{root} holds no frames; {LAYOUT}.", NO_INPUT)
    return list(sequences.values())


def write(sequences: list[Sequence], work: Path, test_sessions: list[str], every: int = 1) -> int:
    """Copy the frames into the layout that prep/objectattention.py reads and write its tables; the number of frames.

    test_sessions  sessions that become the split test; the others are train
    every          2 takes every second frame of a recording
    Raises GazeError, before anything is written: an unknown session; EXISTS with all sequences that are there already.
    """
    unknown = sorted(set(test_sessions) - {sequence.session for sequence in sequences})
    if unknown:
        known = ", ".join(sorted({sequence.session for sequence in sequences}))
        raise GazeError(f"no session {', '.join(unknown)}; there are {known}", USAGE)
    there = [
        f"{sequence.session}/{sequence.setting}"
        for sequence in sequences
        if images.by_stem(work / "images" / sequence.session / sequence.setting)
        or any(work.glob(f"annotations/*/{sequence.session}/{sequence.setting}/*.txt"))
    ]
    if there:
        raise GazeError(
            f"{work} holds {', '.join(there)} already; prepare {work} as it is, without --xml, or name an empty folder",
            EXISTS,
        )
    return sum(
        labelimg.write_sequence(
            sequence.recordings,
            work,
            "test" if sequence.session in test_sessions else "train",
            sequence.session,
            sequence.setting,
            every,
        )
        for sequence in sequences
    )


def _frame_folders(root: Path, counts: Counter[str]) -> Iterator[Path]:
    """Folders that directly hold images, in the order of their paths."""
    if not root.is_dir():
        raise GazeError(f"{root}: no such folder; {LAYOUT}.", NO_INPUT)
    for name, below, _ in os.walk(root):
        folder = Path(name)
        aside = [child for child in below if child.startswith(".") or any(word in child for word in NOT_RECORDED)]
        counts.update({f"left aside: folder {child}": 1 for child in aside if not child.startswith(".")})
        below[:] = sorted(set(below) - set(aside))
        if images.by_stem(folder):
            yield folder


def _recording(root: Path, frames: Path, counts: Counter[str]) -> tuple[Path, Recording]:
    """The target folder that the frames belong to, and the recording."""
    named: set[str] = set()
    target = frames
    while len(target.relative_to(root).parts) >= 3:
        inside, beside = sorted(target.rglob("*.xml")), sorted(target.parent.glob("*.xml"))
        annotations = {path: labelimg.read_xml(path) for path in (*inside, *beside)}
        named |= {name for annotation in annotations.values() for name in annotation.boxes}
        called = [name for name in named if name != labelimg.HEAD and _ends_in(target.name, name)]
        if called:
            name = max(called, key=len)
            head_xml = _holding(labelimg.HEAD, annotations, frames, counts)
            target_xml = _holding(name, annotations, frames, counts)
            return target, Recording(frames, head_xml, target_xml, name)
        target = target.parent
    found = f"found XML with {', '.join(sorted(named))}" if named else "found no XML file"
    raise GazeError(f"{frames}: no folder above the frames is called after an annotated object; {found}")


def _ends_in(folder: str, name: str) -> bool:
    return folder == name or any(folder.endswith(mark + name) for mark in "-_ ")


def _holding(name: str, annotations: dict[Path, Annotation], frames: Path, counts: Counter[str]) -> Path:
    """The first file that holds an object of that name, once, annotated on a frame of the same size."""
    paths = [path for path, annotation in annotations.items() if name in annotation.boxes]
    if not paths:
        raise GazeError(f'{frames}: no XML file of the recording or its setting names "{name}"')
    labelimg.only_box(annotations[paths[0]], name, paths[0])
    annotated = annotations[paths[0]].size
    size = images.size(next(iter(images.by_stem(frames).values())))
    if annotated not in ((0, 0), size):
        raise GazeError(f"{paths[0]} was drawn on a picture of {annotated}; the frames in {frames} are {size}")
    if len(paths) > 1:
        counts["left aside: further XML file of a recording"] += len(paths) - 1
    return paths[0]
