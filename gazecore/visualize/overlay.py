"""An overlay video: the frames of a clip in the order of time, with everybody's head, gaze point and heat map.

Each person has a colour; the plate says who it is, at whose head they look and how surely they look into the frame.

Whoever looks out of the frame (in-frame score below one half) gets no arrow, an open circle and a faint heat map.
Masks of an eye over video are drawn as visualize/eyes.py draws them, one frame of one eye after another.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from gazecore import images, video
from gazecore.artifacts import Artifact
from gazecore.artifacts.gaze_samples import Scenes
from gazecore.errors import EXISTS, GazeError
from gazecore.geometry import normalise_boxes
from gazecore.visualize import eyes, panels
from gazecore.visualize.panels import INK, PAPER, PEOPLE, Colour

KINDS = ("gaze-predictions", "gaze-samples", "eye-masks")
ALPHA = 0.7  # how much the hottest cell covers of the frame
IN_FRAME = 0.5
UNIT_PX = 360  # shorter side of a frame on which marks have their plain size
SMOOTH = 3
BLOCK = 64  # samples read at once


class Written(NamedTuple):
    """What an overlay video holds."""

    frames: int
    seconds: float


class Person(NamedTuple):
    """One person in one frame; positions normalised, NaN where unknown.

    head_box (4,), heatmap (h, w) of any scale or None, gaze_point (2,) or None, gaze_targets (n, 2) annotated,
    in_frame_score 0..1 or None, number of the person in the clip, name, looks_at: whose head is looked at, or ""
    """

    head_box: np.ndarray
    heatmap: np.ndarray | None
    gaze_point: np.ndarray | None
    gaze_targets: np.ndarray
    in_frame_score: float | None
    number: int
    name: str
    looks_at: str

    @property
    def inside(self) -> bool:
        return self.in_frame_score is None or not self.in_frame_score < IN_FRAME

    @property
    def label(self) -> str:
        """As in `anna → ben, in 0.93`."""
        who = " → ".join(filter(None, (self.name, self.looks_at)))
        if self.in_frame_score is None or np.isnan(self.in_frame_score):
            return who
        return f"{who}, {'in' if self.inside else 'out'} {self.in_frame_score:.2f}".removeprefix(", ")


def target(out: Path, number: int, overwrite: bool) -> Path:
    """Where the video of input `number` goes: several inputs get overlay-2.mp4; GazeError if it is there."""
    out = out.with_stem(f"{out.stem}-{number + 1}") if number else out
    if out.exists() and not overwrite:
        raise GazeError(f"{out} exists; --overwrite replaces it", EXISTS)
    return out


def check(artifact: Artifact) -> None:
    """GazeError for what is no clip: photos, other artifacts, frames without number or time, several clips."""
    if artifact.kind not in KINDS:
        raise GazeError(f'{artifact.path} holds "{artifact.kind}"; an overlay video shows {" or ".join(KINDS)}')
    of_eyes = artifact.kind == "eye-masks"
    for name in ("subject", "trial", "eye") if of_eyes else ("clip",):
        clips = list(dict.fromkeys(artifact[name].whole().tolist())) if name in artifact else [""]
        if len(clips) > 1 and (of_eyes or "" not in clips):
            some = ", ".join(clips[:4]) + (", ..." if len(clips) > 4 else "")
            raise GazeError(
                f"{artifact.path} holds {len(clips)} {name}s ({some}); an overlay video shows one: "
                f"gz select --where '{name} == \"{clips[0]}\"'"
            )
    if "" in clips and not of_eyes:
        raise GazeError(
            f"{artifact.path} holds photos; an overlay video needs the frames of a clip. Draw photos with -o folder/ "
            "or -o report.html, or prepare a video: gz prep-images clip.mp4 --boxes heads.csv"
        )
    if np.isnan(_times(artifact, fps=1.0)).any():
        raise GazeError(f"{artifact.path} has frames without time_s and frame number: their order is not known")


def write(artifact: Artifact, path: Path, limit: int | None = None, fps: float = 25.0) -> Written:
    """The clip as an mp4, as large as its frames; memory does not grow with its length.

    limit  only so many frames
    fps    frames per second where the artifact has frame numbers and no times
    Raises GazeError as check does.
    """
    check(artifact)
    begin_s = float(_times(artifact, fps).min(initial=np.inf))
    count, time_s = 0, begin_s
    shown = _eyes(artifact, fps) if artifact.kind == "eye-masks" else _people(artifact, fps)
    with video.Writer(path) as writer:
        for time_s, picture in islice(shown, limit):
            writer.add(np.asarray(picture), time_s - begin_s)
            count += 1
    return Written(count, time_s - begin_s)


def _people(artifact: Artifact, fps: float) -> Iterator[tuple[float, Image.Image]]:
    scenes = Scenes(artifact)
    for time_s, index, people in _moments(artifact, fps):
        yield time_s, draw(images.load(scenes[index]), people, time_s)


def _eyes(artifact: Artifact, fps: float) -> Iterator[tuple[float, Image.Image]]:
    time_s = _times(artifact, fps)
    order = np.argsort(time_s, kind="stable")
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        labels = artifact["labels"].take(rows)
        pictures = artifact["image"].take(rows) if "image" in artifact else np.zeros((*labels.shape, 3), np.uint8)
        for row, picture in zip(rows, eyes.marked(pictures, labels), strict=True):
            _clock(picture, float(time_s[row]), max(min(picture.size) / UNIT_PX, 0.75))
            yield float(time_s[row]), picture


def draw(scene: np.ndarray, people: Sequence[Person], time_s: float) -> Image.Image:
    """One frame (h, w, 3) uint8 with everything that is known of its people, of the same size."""
    picture = Image.fromarray(scene)
    unit = max(min(picture.size) / UNIT_PX, 0.75)
    heated = [(p.heatmap, 1.0 if p.inside else float(p.in_frame_score or 0)) for p in people if p.heatmap is not None]
    if heated:
        _heat(picture, heated)
    for person in people:
        _rectangle(picture, person, unit)
    for person in people:
        _gaze(picture, person, unit)
    for person in people:
        if np.isfinite(person.head_box).all() and person.label:
            _plate(picture, person, unit)
    _clock(picture, time_s, unit)
    return picture


# ---- what is drawn ---------------------------------------------------------------------------------------------------


@cache
def _heat_tables() -> tuple[bytes, list[int]]:
    levels = np.arange(256)
    return panels.colours(levels / 255).tobytes(), np.rint(ALPHA * levels).astype(int).tolist()


def _heat(picture: Image.Image, heatmaps: Sequence[tuple[np.ndarray, float]]) -> None:
    """Heat maps, each scaled to its peak and its weight, over the picture, the hottest counting; in place."""
    hottest = np.max([weight * panels.heat(heatmap) for heatmap, weight in heatmaps], axis=0)
    levels = Image.fromarray(np.rint(255 * hottest).astype(np.uint8))
    levels = levels.resize(picture.size, Image.Resampling.BILINEAR)
    palette, cover = _heat_tables()
    mask = levels.point(cover)
    levels.putpalette(palette)
    picture.paste(levels.convert("RGB"), mask=mask)


def _rectangle(picture: Image.Image, person: Person, unit: float) -> None:
    if np.isnan(person.head_box).any():
        return
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = person.head_box * np.tile(picture.size, 2)
    thick, edge = max(1, round(2 * unit)), max(1, round(0.7 * unit))
    for colour, around in (((0, 0, 0), edge), (_colour(person), 0)):
        corners = (left - around, top - around, right + around, bottom + around)
        pen.rectangle(corners, outline=colour, width=thick + 2 * around)


def _gaze(picture: Image.Image, person: Person, unit: float) -> None:
    """The arrow to the gaze point, its disc, and a ring at each annotated target."""
    size, colour, radius = np.array(picture.size), _colour(person), 5 * unit
    for gaze_target in person.gaze_targets[np.isfinite(person.gaze_targets).all(axis=-1)]:
        _disc(picture, gaze_target * size, 1.5 * radius, colour, unit, hollow=True)
    if person.gaze_point is None or not np.isfinite(person.gaze_point).all():
        return
    point = person.gaze_point * size
    head = person.head_box.reshape(2, 2).mean(axis=0) * size
    if person.inside and np.hypot(*(point - head)) > 5 * radius:
        _arrow(picture, head, point, colour, unit)
    _disc(picture, point, radius, colour, unit, hollow=not person.inside)


def _disc(picture: Image.Image, at: np.ndarray, radius: float, colour: Colour, unit: float, hollow: bool) -> None:
    def paint(pen: ImageDraw.ImageDraw, corner: np.ndarray, spread: float) -> None:
        x, y = (at - corner) * SMOOTH
        r, wide = (radius + spread) * SMOOTH, round((2 * unit + 2 * spread) * SMOOTH)
        circle = (x - r, y - r, x + r, y + r)
        pen.ellipse(circle, outline=255, width=wide) if hollow else pen.ellipse(circle, fill=255)

    _stamp(picture, np.array([at, at]), radius + 3 * unit, colour, unit, paint)


def _arrow(picture: Image.Image, start: np.ndarray, end: np.ndarray, colour: Colour, unit: float) -> None:
    ahead = (end - start) / np.hypot(*(end - start))
    aside = np.array([-ahead[1], ahead[0]])
    tip = end - 7 * unit * ahead
    base = tip - 9 * unit * ahead

    def paint(pen: ImageDraw.ImageDraw, corner: np.ndarray, spread: float) -> None:
        wide = (4.5 * unit + spread) * aside
        line = [tuple((at - corner) * SMOOTH) for at in (start, base)]
        pen.line(line, fill=255, width=round((2 * unit + 2 * spread) * SMOOTH))
        pen.polygon(
            [tuple((at - corner) * SMOOTH) for at in (tip + spread * ahead, base + wide, base - wide)], fill=255
        )

    _stamp(picture, np.array([start, tip]), 6 * unit, colour, unit, paint)


def _stamp(
    picture: Image.Image,
    points: np.ndarray,
    margin: float,
    colour: Colour,
    unit: float,
    paint: Callable[[ImageDraw.ImageDraw, np.ndarray, float], None],
) -> None:
    """A smooth mark with a dark edge around points (n, 2), painted enlarged on the part of the picture it covers."""
    low = np.clip(np.floor(points.min(axis=0) - margin), 0, picture.size).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + margin), 0, picture.size).astype(int)
    if (high <= low).any():
        return
    for ink, spread in (((0, 0, 0), 0.8 * unit), (colour, 0.0)):
        mask = Image.new("L", tuple((high - low) * SMOOTH))
        paint(ImageDraw.Draw(mask), low, spread)
        picture.paste(ink, (*low.tolist(), *high.tolist()), mask.reduce(SMOOTH))


def _plate(picture: Image.Image, person: Person, unit: float) -> None:
    """Who it is and the in-frame score, above the head, inside the picture."""
    face = panels.font(person.label, round(12 * unit))
    width, height = face.getlength(person.label) + 6 * unit, 16 * unit
    left = min(max(person.head_box[0] * picture.width, 0), max(picture.width - width, 0))
    top = person.head_box[1] * picture.height - height - 2 * unit
    top = min(max(top, 0), picture.height - height)
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((left, top, left + width, top + height), 3 * unit, fill=_colour(person))
    pen.text((left + 3 * unit, top + height / 2), person.label, font=face, fill=INK, anchor="lm")


def _clock(picture: Image.Image, time_s: float, unit: float) -> None:
    text, at = f"{time_s:.2f} s", (6 * unit, picture.height - 6 * unit)
    face = panels.font(text, round(12 * unit))
    edge = max(1, round(1.5 * unit))
    ImageDraw.Draw(picture).text(at, text, font=face, fill=PAPER, anchor="lb", stroke_width=edge, stroke_fill=INK)


def _colour(person: Person) -> Colour:
    return PEOPLE[person.number % len(PEOPLE)]


# ---- what is read ----------------------------------------------------------------------------------------------------


def _times(artifact: Artifact, fps: float) -> np.ndarray:
    """Seconds (rows,): presentation times, or frame numbers over fps where there is any without; NaN: neither."""
    time_s = artifact["time_s"].whole() if "time_s" in artifact else np.full(len(artifact), np.nan)
    if not np.isnan(time_s).any():
        return time_s
    return artifact["frame"].whole() / fps if "frame" in artifact else np.full(len(artifact), np.nan)


def _moments(artifact: Artifact, fps: float) -> Iterator[tuple[float, int, list[Person]]]:
    """(time, image row, people) of each frame, in the order of time; tracks may lie one behind the other."""
    time_s = _times(artifact, fps)
    for moment, rows in groupby(_rows(artifact, np.argsort(time_s, kind="stable"), time_s), key=lambda row: row[0]):
        found = list(rows)
        yield moment, found[0][1], [person for _, _, person in found]


def _rows(artifact: Artifact, order: np.ndarray, time_s: np.ndarray) -> Iterator[tuple[float, int, Person]]:
    held = [v.name for v in artifact.variables.values() if v.dims[0] == "sample"]
    sizes_px = artifact["image_size_px"].whole()
    numbers: dict[str, int] = {}
    for start in range(0, len(order), BLOCK):
        part = order[start : start + BLOCK]
        block = {name: artifact[name].take(part) for name in held}
        boxes = normalise_boxes(block["head_box_px"], sizes_px[block["image_index"]])
        for i, row in enumerate(part):
            name = str(block["track_id"][i]) if "track_id" in block else ""
            person = Person(
                head_box=boxes[i],
                heatmap=block["heatmap"][i].astype(np.float32) if "heatmap" in block else None,
                gaze_point=block["gaze_point"][i] if "gaze_point" in block else None,
                gaze_targets=block["gaze_targets"][i],
                in_frame_score=float(block["in_frame_score"][i]) if "in_frame_score" in block else None,
                number=numbers.setdefault(name, len(numbers)),
                name=name,
                looks_at=str(block["head_looked_at"][i]) if "head_looked_at" in block else "",
            )
            yield float(time_s[row]), int(block["image_index"][i]), person
