"""ObjectAttention: a person looks at one of several objects on a table, told to the robot in front of them.

On disk  ROOT/annotations/SPLIT/SESSION/SETTING/S11.txt   (or SESSION/SETTING.txt)
         ROOT/images/SESSION/SETTING/FRAME.ppm            .ppm, .png and .jpg may be mixed

Sessions are VideoAttentionTarget's shows and settings its clips. The files differ in how they were made
(shivahanifi/visual-targets:VTD_retrain/src): with the header `frame x_min y_min x_max y_max gaze_x gaze_y`, separated
by spaces, over rows separated by commas, or without; frames of 8 digits or of 5; `None` for a head that was not
found.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from gazecore import images
from gazecore.errors import settle
from gazecore.prep.videoattentiontarget import Track, tables_of
from gazecore.records import GazeSample

DATASET = "objectattention"


def read(root: Path, split: str, counts: Counter[str], repair: bool = True) -> Iterator[GazeSample]:
    """The samples of a split, sequence after sequence in the order of their paths, frames in the order of the file.

    Head boxes are averaged over 11 rows, as in VideoAttentionTarget; rows whose box is `None` are dropped before. A
    frame is a name, not a number: 00003 and 00000003 differ. Where the folder holds only the other form, and once,
    that one is taken, and counted. repair=False is for `compat="vtd"` alone, as in the reader of
    VideoAttentionTarget.
    Raises GazeError: NO_INPUT at once without annotations or images; at the end all rows and images that are wrong.
    """
    tables = tables_of(
        root,
        split,
        ("*/*.txt", "*/*/*.txt"),
        "annotations/SPLIT/SESSION/SETTING/S11.txt",
        "images/SESSION/SETTING/FRAME.ppm",
    )
    problems: list[str] = []
    frames_of = lru_cache(maxsize=1)(_frames)

    for table in tables:
        session, setting, *_ = table.relative_to(root / "annotations" / split).with_suffix("").parts
        track = Track(DATASET, split, f"{session}/{setting}", table.stem)
        folder = root / "images" / session / setting
        where = table.relative_to(root).as_posix()
        for number, line in enumerate(table.read_text("utf-8-sig", errors="replace").splitlines(), 1):
            fields = re.split(r"\s*[,\s]\s*", line.strip())
            if fields[0] in ("", "frame"):
                continue
            if "None" in fields[1:5]:
                counts["dropped: head box is None"] += 1
                continue
            path = _frame(folder, fields[0], *frames_of(folder), counts)
            track.add(path, fields[1:], f"{where}, line {number}", problems)
        yield from track.samples(counts, problems, repair)

    settle(problems, counts, f"{root} cannot be used as it is")


def _frames(folder: Path) -> tuple[dict[str, Path], dict[int, Path]]:
    """The images of a sequence by name and, where only one name has it, by number."""
    by_stem = images.by_stem(folder)
    numbers = Counter(int(stem) for stem in by_stem if stem.isdecimal())
    by_number = {int(stem): path for stem, path in by_stem.items() if stem.isdecimal() and numbers[int(stem)] == 1}
    return by_stem, by_number


def _frame(folder: Path, name: str, by_stem: dict[str, Path], by_number: dict[int, Path], counts: Counter[str]) -> Path:
    stem = name.partition(".")[0]  # one of the original scripts leaves `.json` behind the frame
    if stem in by_stem:
        return by_stem[stem]
    if stem.isdecimal() and int(stem) in by_number:
        counts["repaired: frame padded with another number of zeros"] += 1
        return by_number[int(stem)]
    return folder / name
