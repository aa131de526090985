"""Your own videos: their frames and the head boxes of any detector, or of ours, without gaze targets.

Box files are those of prep/images.py, with a frame in place of an image: its number, counted from 0, or any file name
that ends in it (frame_000123.jpg). The columns person, track or track_id (of JSON: keys) say whose head it is; without
them heads are followed from frame to frame by prep/tracks.py. Of several videos, boxes are named CLIP/FRAME, or their
file has the video's name.
"""

import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from gazecore import video
from gazecore.errors import USAGE, GazeError, raise_all
from gazecore.images import EXTENSIONS
from gazecore.prep import boxes as head_boxes
from gazecore.prep import images
from gazecore.prep.images import HeadBox
from gazecore.prep.tracks import Tracks
from gazecore.records import GazeSample

DATASET = "videos"
QUALITY = 90  # of the packed JPEGs: what a video codec left of the picture survives it
TRACK = "p"  # before the number of a person whom no box file names

Heads = dict[int, list[HeadBox]]  # frame number -> its boxes


def find(sources: Iterable[Path]) -> list[Path]:
    """The videos among the sources: files, or folders that hold videos and no images. Photos alone give none.

    Raises GazeError(USAGE) where videos and photos are mixed.
    """
    found: list[Path] = []
    others: list[Path] = []
    for source in sources:
        if not source.is_dir():
            (found if video.is_video(source) else others).append(source)
            continue
        inside = sorted(path for path in source.iterdir() if path.name[0] != ".")
        videos = [path for path in inside if video.is_video(path)]
        photos = any(path.suffix.lower() in EXTENSIONS for path in inside)
        found += [] if photos else videos
        others += [source] if photos or not videos else []
    if found and others:
        raise GazeError(
            f"{found[0]} is a video and {others[0]} is none: prepare them apart, then join them with gz concat", USAGE
        )
    return found


def read(
    paths: Iterable[Path],
    boxes: Iterable[Path] | None,
    counts: Counter[str],
    fps: float | None = None,
    allow_missing: bool = False,
    all_objects: bool = False,
) -> Iterator[GazeSample]:
    """One sample per head and frame, video after video, in the order of time; targets and in_frame are NaN.

    boxes          box files, or folders of them; None: heads are looked for in every frame with detect_heads
    fps            at most so many frames a second; heads of boxes are followed through all frames nevertheless
    allow_missing  a frame without a head gives a sample whose box is NaN; else it is left out and counted
    all_objects    boxes of XML and COCO files count whatever their name, not only `head`

    The scene of a sample is the frame as JPEG, with its name in the comment: equal frames stay different scenes.
    Raises GazeError: all box files that are wrong, before any video is opened; a video that is broken; no head at all.
    """
    named = _named(paths)
    heads_of = None if boxes is None else _assigned(images.read_boxes(boxes, all_objects), list(named), counts)
    for clip, path in named.items():
        yield from _clip(clip, path, None if heads_of is None else heads_of[clip], counts, fps, allow_missing)
    if not counts["frames with a head"] and not allow_missing:
        next_step = "give head boxes of your own" if boxes is None else "check the frame numbers of the box files"
        raise GazeError(f"no frame of {', '.join(map(str, named.values()))} has a head box: {next_step}.")


def _clip(
    clip: str, path: Path, heads_of: Heads | None, counts: Counter[str], fps: float | None, allow_missing: bool
) -> Iterator[GazeSample]:
    pace, tracks = video.Pace(1 / fps if fps else None), Tracks()
    for frame in video.frames(path):
        taken = pace.takes(frame.time_s)
        if heads_of is None:
            heads = [HeadBox("", box, "") for box in images.detect_heads(frame.image)] if taken else []
        else:
            heads = heads_of.pop(frame.number, [])
        if not (heads or taken):
            continue
        repairs = counts if taken else Counter()
        heads = _usable(heads, frame.size, tracks, frame.time_s, repairs)
        if taken and (heads or allow_missing):
            yield from _samples(clip, frame, heads)
        if taken:
            counts["frames with a head" if heads else "frames without a head"] += 1
    if heads_of:
        counts["ignored: box of a frame that the video does not have"] += sum(map(len, heads_of.values()))


def _usable(
    heads: list[HeadBox], size: tuple[int, int], tracks: Tracks, time_s: float, counts: Counter[str]
) -> list[HeadBox]:
    """The heads with their boxes repaired, everybody named; those without area left out."""
    if not heads:
        return []
    repaired = head_boxes.usable(np.stack([head.box_px for head in heads]), size, counts)
    nameless = [not head.person for head in heads]
    numbers = iter(tracks.update(repaired[nameless], time_s).tolist())
    named = [
        head._replace(box_px=box, person=head.person or f"{TRACK}{next(numbers)}")
        for head, box in zip(heads, repaired, strict=True)
    ]
    return [head for head in named if not np.isnan(head.box_px).any()]


def _samples(clip: str, frame: video.Frame, heads: list[HeadBox]) -> Iterator[GazeSample]:
    name = f"{clip}/{frame.number:06d}"
    scene = _jpeg(frame.image, name)
    for head in heads or [HeadBox(name, np.full(4, np.nan), "")]:
        yield GazeSample(
            sample_id=f"{name}#{head.person or 0}",
            image=scene,
            image_name=f"{name}.jpg",
            image_size=frame.size,
            head_box_px=head.box_px,
            dataset=DATASET,
            clip=clip,
            track_id=head.person,
            frame=float(frame.number),
            time_s=frame.time_s,
        )


def _jpeg(image: np.ndarray, name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, comment=name.encode())
    return buffer.getvalue()


def _named(paths: Iterable[Path]) -> dict[str, Path]:
    """Videos by name from the folder that they all share, sorted."""
    files = [path.absolute() for path in paths]
    shared = Path(os.path.commonpath([path.parent for path in files]))
    return {path.relative_to(shared).as_posix(): path for path in sorted(files)}


def _assigned(rows: list[HeadBox], clips: list[str], counts: Counter[str]) -> dict[str, Heads]:
    """The boxes of each clip by frame; GazeError with all that name no frame, no one clip, or a person twice."""
    assigned: dict[str, Heads] = {clip: defaultdict(list) for clip in clips}
    problems: dict[str, None] = {}  # each once, in order
    for row in rows:
        folder, _, last = row.image.replace("\\", "/").rpartition("/")
        number = re.search(r"(\d+)$", Path(last).stem)
        possible = clips if len(clips) == 1 else _clips_called(folder, clips) or _clips_called(row.file, clips)
        if number is None:
            problems[f'{row.file}: "{row.image}" does not end in the number of a frame'] = None
        elif len(possible) != 1:
            problems[f'{row.file}: "{row.image}" is of which video? Write CLIP/FRAME, or name the file like it'] = None
        else:
            heads = assigned[possible[0]][int(number[1])]
            if row.person and any(head.person == row.person for head in heads):
                problems[f'{row.file}: frame {number[1]} has two boxes of person "{row.person}"'] = None
            heads.append(row)
    raise_all(problems, f"boxes do not fit {', '.join(clips)}", "Without a column person heads are followed by us.")
    return assigned


def _clips_called(name: str, clips: list[str]) -> list[str]:
    """The clips that a folder or a box file may mean: by whole name, or else by stem."""
    if not name:
        return []
    stem = Path(name).stem
    return [clip for clip in clips if clip == name] or [
        clip for clip in clips if Path(clip).name == name or Path(clip).stem in (name, stem)
    ]
