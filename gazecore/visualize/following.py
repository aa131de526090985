"""A gaze prediction drawn: head and truth, the predicted heat map with its point, the annotated heat map, the scores.

One row per person; where many people are in one photo, a single overview with a colour for each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from gazecore.heatmaps import gaussian, peak
from gazecore.visualize import panels
from gazecore.visualize.panels import MUTED, Arrow, Box, Colour, Point, Text, Token

HEAD, PREDICTED, ANNOTATED = (255, 220, 70), (86, 200, 255), (70, 225, 120)
MOST_ROWS = 4
CELLS = 64  # of the annotated heat map along each side


@dataclass(frozen=True, eq=False)
class Person:
    """One person in one scene: what a model said and what is known.

    head_box        (4,) x_min, y_min, x_max, y_max, normalised; NaN where unknown
    heatmap         (h, w) predicted, any size and scale, or None
    gaze_point      (2,) predicted, normalised x, y; None takes the centre of the heat map's hottest cell
    gaze_targets    (n, 2) annotated, one row per annotator, NaN where there is none; None without truth
    in_frame_score  predicted, larger is more surely inside the scene; None where the model has none
    in_frame        1 the gaze target lies inside the scene, 0 outside; anything else (NaN, -1) unknown
    scores          name -> value of this person, NaN where it could not be computed
    """

    head_box: np.ndarray
    heatmap: np.ndarray | None = None
    gaze_point: np.ndarray | None = None
    gaze_targets: np.ndarray | None = None
    in_frame_score: float | None = None
    in_frame: float = np.nan
    scores: Mapping[str, float] = field(default_factory=dict)
    label: str = ""


def panel(scene: np.ndarray, people: Sequence[Person], text: Text = "captions") -> Image.Image:
    """The picture of one scene (h, w, 3) uint8 and what was predicted for its people.

    Up to MOST_ROWS people get a row each: scene with truth | prediction | annotated heat map, where any is known.
    More people share one overview. Without any person the scene alone is drawn.

    text  "captions": titles, labels, scores; "titles": only these, where a report holds the rest; "none": small bare
          pictures, whose marks are still seen in a terminal. `describe` gives a caption as text.
    """
    picture = panels.fitted(scene, panels.SMALL if text == "none" else panels.WIDTH)
    marks = [str(n + 1) if len(people) > 1 and text != "none" else "" for n in range(len(people))]
    truth = any(_has_truth(person) for person in people)

    if not people:
        drawn = _row([("scene", "", None, picture)], text)
    elif len(people) <= MOST_ROWS:
        rows = []
        for person, mark in zip(people, marks, strict=True):
            row = _row(_views(picture, person, mark, truth), text)
            rows += [_captioned(row, _text(person, mark, MUTED)) if text == "captions" else row]
        drawn = panels.stacked(rows, gap=panels.GAP)
    else:
        tints = [panels.PEOPLE[n % len(panels.PEOPLE)] for n in range(len(people))]
        views = _overview(picture, people, tints, marks, truth)
        each = (_text(person, mark, _dark(tint)) for person, mark, tint in zip(people, marks, tints, strict=True))
        paragraphs = [[*who, panels.BREAK, *numbers] for who, numbers in each]
        row = _row(views, text)
        drawn = _captioned(row, paragraphs) if text == "captions" else row
    return drawn if text == "none" else panels.bordered(drawn)


def describe(person: Person) -> str:
    """A person's caption as one line of plain text."""
    parts = [person.label] if person.label else []
    parts += [f"{name} {panels.number(value)}" for name, value in person.scores.items()]
    return " · ".join(parts + _remarks(person))


def truth_heatmap(gaze_targets: np.ndarray) -> np.ndarray:
    """Annotators (n, 2), normalised, NaN where there is none -> (64, 64) mean of their Gaussians, peak 1.

    Pictures have a cell's centre half a cell behind its index, training targets on it: hence the shift, with which the
    blob lies on the annotated point. Without any annotator all is zero.
    """
    known = _known(gaze_targets)
    if not len(known):
        return np.zeros((CELLS, CELLS), np.float32)
    return panels.heat(gaussian(known - 0.5 / CELLS, (CELLS, CELLS)).mean(axis=0))


# ---- the views of one row ----


def _views(picture: Image.Image, person: Person, mark: str, truth: bool):
    """(title, note, legend, picture) of the columns."""
    head = Box(person.head_box, HEAD, mark)
    point = _point(person)
    rings = [Point(target, ANNOTATED, hollow=True) for target in _targets(person)]
    views = [("scene", "", rings[0] if rings else None, panels.draw(picture, [head, *rings]))]
    if person.heatmap is not None or point is not None:
        disc = [] if point is None else [Point(point, PREDICTED)]
        arrow = [] if point is None else [Arrow(_centre(person.head_box), point, PREDICTED)]
        maps = [] if person.heatmap is None else [person.heatmap]
        note = f"peak {panels.number(panels.most(maps[0]))}" if maps else ""
        shown = panels.draw(_heated(picture, maps), [head, *arrow, *disc])
        views += [("prediction", note, disc[0] if disc else None, shown)]
    if truth:
        views += [("annotated", "", None, _truth(picture, person, head))]
    return views


def _truth(picture: Image.Image, person: Person, head: Box) -> Image.Image:
    if len(_targets(person)):
        return panels.draw(_heated(picture, [truth_heatmap(_targets(person))]), [head])
    grey = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, panels.SHADE), 0.7)
    words = "out of frame" if person.in_frame == 0 else "not annotated"
    return panels.lettered(grey, words)


def _overview(
    picture: Image.Image, people: Sequence[Person], tints: Sequence[Colour], marks: Sequence[str], truth: bool
):
    heads = [Box(person.head_box, tint, mark) for person, tint, mark in zip(people, tints, marks, strict=True)]
    known = [
        Point(target, tint, hollow=True)
        for person, tint in zip(people, tints, strict=True)
        for target in _targets(person)
    ]
    points = [(person.head_box, tint, _point(person)) for person, tint in zip(people, tints, strict=True)]
    arrows = [Arrow(_centre(head_box), point, tint) for head_box, tint, point in points if point is not None]
    discs = [Point(point, tint) for _, tint, point in points if point is not None]
    maps = [person.heatmap for person in people if person.heatmap is not None]
    views = [("scene", f"{len(people)} people", None, panels.draw(picture, [*heads, *known]))]
    if maps or discs:
        views += [("prediction", "", None, panels.draw(_heated(picture, maps), [*heads, *arrows, *discs]))]
    if truth:
        blobs = [truth_heatmap(_targets(person)) for person in people if len(_targets(person))]
        views += [("annotated", "", None, panels.draw(_heated(picture, blobs), heads))]
    return views


def _row(views, text: Text) -> Image.Image:
    framed = [shown if text == "none" else panels.titled(shown, *titles) for *titles, shown in views]
    return panels.side_by_side(framed, gap=panels.GAP // 2 if text == "none" else panels.GAP)


def _captioned(row: Image.Image, paragraphs: Sequence[Sequence[Token]]) -> Image.Image:
    return panels.stacked([row, panels.caption(row.width, paragraphs)])


def _heated(picture: Image.Image, heatmaps: Sequence[np.ndarray]) -> Image.Image:
    return Image.fromarray(panels.overlay_all(np.asarray(picture), heatmaps))


# ---- what is known of a person ----


def _known(gaze_targets: np.ndarray | None) -> np.ndarray:
    """The annotators that there are, (n, 2)."""
    targets = np.empty((0, 2)) if gaze_targets is None else np.asarray(gaze_targets, float).reshape(-1, 2)
    return targets[np.isfinite(targets).all(axis=1)]


def _targets(person: Person) -> np.ndarray:
    """Where annotators saw the person look, (n, 2); nowhere in the scene if that is out of frame."""
    return np.empty((0, 2)) if person.in_frame == 0 else _known(person.gaze_targets)


def _has_truth(person: Person) -> bool:
    return person.in_frame == 0 or len(_targets(person)) > 0


def _point(person: Person) -> np.ndarray | None:
    if person.gaze_point is not None:
        point = np.asarray(person.gaze_point, float)
        return point if np.isfinite(point).all() else None
    if person.heatmap is None or not panels.heat(person.heatmap).any():
        return None
    return peak(panels.heat(person.heatmap)) + 0.5 / np.array(person.heatmap.shape[::-1])


def _centre(head_box: np.ndarray) -> np.ndarray:
    return np.asarray(head_box, float).reshape(2, 2).mean(axis=0)


def _remarks(person: Person) -> list[str]:
    score = [] if person.in_frame_score is None else [f"in-frame score {panels.number(person.in_frame_score)}"]
    annotators = len(_targets(person))
    if person.in_frame == 0:
        truth = "truth: out of frame"
    elif annotators:
        truth = "truth: in frame" + (f", {annotators} annotators" if annotators > 1 else "")
    else:
        truth = "truth: in frame, no target" if person.in_frame == 1 else "no truth"
    return [*score, truth]


def _text(person: Person, mark: str, tint: Colour) -> tuple[list[Token], list[Token]]:
    """The two paragraphs of the caption: who, then the numbers."""
    who = [*panels.words(f"person {mark}" if mark else "", tint), *panels.words(person.label)]
    scores = [token for name, value in person.scores.items() for token in panels.score(name, value)]
    return who, [*scores, *panels.words(" · ".join(_remarks(person)), MUTED)]


def _dark(tint: Colour) -> Colour:
    """The colour of a person as ink on paper."""
    red, green, blue = (round(0.55 * channel) for channel in tint)
    return red, green, blue
