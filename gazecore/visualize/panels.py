"""Drawing primitives of all panels: heat over a photo, boxes, points, arrows, titles, captions, pictures side by side.

Pictures are PIL images in RGB, arrays (h, w, 3) uint8. Positions are normalised x, y of the picture, origin top left:
marks land on the same place whatever size a panel has. The same input gives the same pixels.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gazecore.heatmaps import peak_normalised, resize

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Text = Literal["captions", "titles", "none"]  # how much is written around the pictures of a panel

INK, MUTED, PAPER, SHADE = (24, 28, 35), (102, 110, 123), (255, 255, 255), (238, 240, 243)
WIDTH, MOST_HEIGHT, LEAST_WIDTH = 440, 640, 200  # of one picture in a panel, pixels
SMALL = 140  # its width where it goes to a terminal: marks stay in sight
GAP, MARGIN, SMOOTH = 8, 12, 3  # SMOOTH: marks are drawn this many times larger, then reduced, for smooth edges
TITLE_SIZE, TEXT_SIZE, SPACE = 15, 16, 6  # between words: Pillow's own font sets them too close

# matplotlib's inferno (CC0) at 17 even steps: lightness rises evenly, readable in grey and with any colour vision
INFERNO = np.array(
    [
        *[(0, 0, 4), (11, 7, 36), (33, 12, 74), (61, 9, 101), (87, 16, 110), (113, 25, 110), (138, 34, 106)],
        *[(163, 44, 97), (188, 55, 84), (210, 70, 68), (228, 90, 49), (241, 115, 29), (249, 142, 9)],
        *[(252, 172, 17), (249, 203, 53), (242, 234, 105), (252, 255, 164)],
    ],
    dtype=np.float64,
)

# Okabe and Ito's colours for people with any colour vision, lightened where a photo would swallow them
PEOPLE: tuple[Colour, ...] = (
    *((86, 180, 233), (240, 228, 66), (0, 190, 140), (230, 159, 0)),
    *((236, 140, 190), (255, 120, 60), (70, 140, 235), (225, 225, 225)),
)


# ---- heat ----


def heat(heatmap: np.ndarray) -> np.ndarray:
    """A heat map (h, w) of any scale -> float32 0..1 of its peak.

    Values below zero and NaN count as zero; a map without any positive value stays zero everywhere.
    """
    return peak_normalised(np.nan_to_num(np.asarray(heatmap, np.float32), nan=0.0).clip(min=0))


def most(heatmap: np.ndarray) -> float:
    """The largest value of a heat map (h, w); NaN where none is known."""
    known = np.asarray(heatmap, float)[~np.isnan(heatmap)]
    return float(known.max()) if known.size else np.nan


def colours(values: np.ndarray) -> np.ndarray:
    """Values (...) in 0..1 -> colours (..., 3) uint8 of the heat scale."""
    steps = np.linspace(0, 1, len(INFERNO))
    table = np.stack([np.interp(np.linspace(0, 1, 256), steps, channel) for channel in INFERNO.T], axis=-1)
    return table.round().astype(np.uint8)[np.rint(np.asarray(values) * 255).astype(np.uint8)]


def resized(values: np.ndarray, width: int, height: int) -> np.ndarray:
    """Values (h, w) in 0..1 -> (height, width): bilinear, half-pixel centres, averaged where it shrinks."""
    return resize(values, (height, width), "bilinear-antialias").clip(0, 1)


def overlay(image: np.ndarray, heatmap: np.ndarray, alpha: float = 0.85) -> np.ndarray:
    """Heat over a photo.

    image    (h, w, 3) uint8
    heatmap  (h', w'), any size and scale; it covers the whole image, cell centres at half pixels: nothing shifts
    alpha    how much the peak covers the photo; elsewhere in proportion to the heat, so the cold parts stay a photo
    returns  (h, w, 3) uint8
    """
    height, width = image.shape[:2]
    values = resized(heat(heatmap), width, height)
    cover = alpha * values[..., None]
    return np.rint(image * (1 - cover) + colours(values) * cover).astype(np.uint8)


def overlay_all(image: np.ndarray, heatmaps: Sequence[np.ndarray], alpha: float = 0.85) -> np.ndarray:
    """Several heat maps over one photo, each scaled to its own peak, the hottest one counting at every pixel."""
    height, width = image.shape[:2]
    layers = [resized(heat(heatmap), width, height) for heatmap in heatmaps]
    return overlay(image, np.max(layers, axis=0), alpha) if layers else image


# ---- marks ----


@dataclass(frozen=True)
class Box:
    """x_min, y_min, x_max, y_max; the part outside the picture is drawn on its border."""

    corners: np.ndarray
    colour: Colour
    label: str = ""


@dataclass(frozen=True)
class Point:
    """A disc (predicted) or, `hollow`, a ring (annotated)."""

    at: np.ndarray
    colour: Colour
    hollow: bool = False
    radius: float = 5.5


@dataclass(frozen=True)
class Arrow:
    """From `start` to just before `end`, where a point's mark fits; too short a way is not drawn."""

    start: np.ndarray
    end: np.ndarray
    colour: Colour


@dataclass(frozen=True)
class Curve:
    """A closed line through points (n, 2)."""

    points: np.ndarray
    colour: Colour


Mark = Box | Point | Arrow | Curve


def draw(picture: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """A copy of the picture with smooth marks, dark around the edge so that they show on any photo.

    A mark with a NaN coordinate is left out: nothing is known to be drawn.
    """
    known = [mark for mark in marks if np.isfinite(_coordinates(mark)).all()]
    layer = Image.new("RGBA", (picture.width * SMOOTH, picture.height * SMOOTH))
    pen = ImageDraw.Draw(layer)
    for mark in known:
        for colour, spread in (((0, 0, 0, 160), 1.2), ((*mark.colour, 255), 0.0)):
            _stroke(pen, mark, picture.size, colour, spread)
    marked = Image.alpha_composite(picture.convert("RGBA"), layer.reduce(SMOOTH)).convert("RGB")
    for box in (mark for mark in known if isinstance(mark, Box) and mark.label):
        _tag(marked, box)
    return marked


def _coordinates(mark: Mark) -> np.ndarray:
    where = {Box: ("corners",), Point: ("at",), Arrow: ("start", "end"), Curve: ("points",)}[type(mark)]
    return np.concatenate([np.asarray(getattr(mark, name), float).ravel() for name in where])


def _stroke(pen: ImageDraw.ImageDraw, mark: Mark, size: tuple[int, int], colour, spread: float) -> None:
    """One mark on the enlarged layer, `spread` pixels wider on each side."""
    full = np.array(size, float) * SMOOTH
    numbers = _coordinates(mark).reshape(-1, 2) * full
    thick = round((2.2 + 2 * spread) * SMOOTH)
    if isinstance(mark, Box):
        inset = 1.5 * SMOOTH  # keeps both strokes of a box at the border in sight
        (left, top), (right, bottom) = np.sort(numbers, axis=0).clip(inset, full - 1 - inset)
        around = spread * SMOOTH
        pen.rectangle((left - around, top - around, right + around, bottom + around), outline=colour, width=thick)
    elif isinstance(mark, Curve):
        corners = [(float(x), float(y)) for x, y in (*numbers, *numbers[:2])]
        pen.line(corners, fill=colour, width=round(thick * 0.7), joint="curve")
    elif isinstance(mark, Point):
        (x, y), r = numbers[0], (mark.radius + spread) * SMOOTH
        if mark.hollow:
            pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=thick)
        else:
            pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    else:
        start, end = numbers
        way = end - start
        length = np.hypot(*way)
        if length < 24 * SMOOTH:
            return
        ahead = way / length
        aside = np.array([-ahead[1], ahead[0]])
        tip = end - ahead * 8 * SMOOTH
        base = tip - ahead * 11 * SMOOTH
        pen.line((*start, *base), fill=colour, width=thick)
        wide = (5.5 + spread) * SMOOTH
        head = (tip + ahead * spread * SMOOTH, base + aside * wide, base - aside * wide)
        pen.polygon([tuple(corner) for corner in head], fill=colour)


def _tag(picture: Image.Image, box: Box) -> None:
    """The box's label on a small plate above its top left corner, inside the picture."""
    face = font(box.label, 13)
    width, height = face.getlength(box.label) + 8, 18
    left = min(max(box.corners[0] * picture.width, 0), max(picture.width - width, 0))
    top = box.corners[1] * picture.height - height
    top = top if top >= 0 else max(box.corners[1], 0) * picture.height + 2
    top = min(top, picture.height - height)
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((left, top, left + width, top + height - 2), 3, fill=box.colour)
    pen.text((left + 4, top + height / 2 - 1), box.label, font=face, fill=INK, anchor="lm")


# ---- text ----


@cache
def _face(plain: bool, size: int) -> Font:
    if plain:
        return ImageFont.load_default(size=size)
    dejavu = "matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf"  # found, not imported: importing takes 0.2 s
    return ImageFont.truetype(str(distribution("matplotlib").locate_file(dejavu)), size=size - 1)


def font(text: str, size: int = TEXT_SIZE) -> Font:
    """The font that can write this text: Pillow's own knows little more than ASCII, DejaVu all of Europe's letters."""
    return _face(text.isascii(), size)


# what one line never breaks apart: pieces of text, each in its colour; an empty piece is a space
Token = tuple[tuple[str, Colour], ...]
BREAK: Token = (("·", MUTED),)


def words(text: str, colour: Colour = INK) -> list[Token]:
    """Running text: lines break between its words."""
    return [((word, colour),) for word in text.split()]


def score(name: str, value: float) -> list[Token]:
    """A name and its number, kept together."""
    return [((name, MUTED), ("", INK), (number(value), INK), ("", INK))]


def caption(width: int, paragraphs: Sequence[Sequence[Token]], most_lines: int = 3) -> Image.Image:
    """A strip of text as wide as a panel; long paragraphs wrap and end in … after `most_lines` lines."""
    room = width - 4
    lines = [line for paragraph in paragraphs if paragraph for line in _wrapped(paragraph, room, most_lines)]
    step = round(TEXT_SIZE * 1.5)
    strip = Image.new("RGB", (width, step * len(lines) + MARGIN if lines else 0), PAPER)
    pen = ImageDraw.Draw(strip)
    for row, line in enumerate(lines):
        x = 2.0
        for text, colour in line:
            pen.text((x, MARGIN / 2 + (row + 0.5) * step), text, font=font(text), fill=colour, anchor="lm")
            x += _length(text)
    return strip


def _wrapped(paragraph: Sequence[Token], room: float, most_lines: int) -> list[list[tuple[str, Colour]]]:
    """Greedy line breaking into lines of pieces."""
    lines: list[list[tuple[str, Colour]]] = [[]]
    used = 0.0
    for token in (part for whole in paragraph for part in _cut(whole, room)):
        length = sum(_length(text) for text, _ in token)
        if lines[-1] and used + SPACE + length > room:
            lines.append([])
        used = used + SPACE + length if lines[-1] else length
        lines[-1] += [("", INK), *token] if lines[-1] else token
    if len(lines) > most_lines:
        text, colour = lines[most_lines - 1].pop()
        left = room - sum(_length(piece) for piece, _ in lines[most_lines - 1])
        lines[most_lines - 1].append((_shortened(text, left, cut=True), colour))
    return lines[:most_lines]


def _cut(token: Token, room: float) -> list[Token]:
    """The token; one longer than a line, such as a path, is cut wherever a line ends."""
    if sum(_length(text) for text, _ in token) <= room:
        return [token]
    parts: list[Token] = []
    for text, colour in token:
        while text:
            fits = max(1, _fitting(text, room, font(text)))
            parts.append(((text[:fits], colour),))
            text = text[fits:]
    return parts


def _length(text: str) -> float:
    return font(text).getlength(text) if text else SPACE


def _shortened(text: str, room: float, size: int = TEXT_SIZE, cut: bool = False) -> str:
    """The text, or as much of its beginning as fits before …; `cut` says that something follows it in any case."""
    if not cut and font(text, size).getlength(text) <= room:
        return text
    face = font("…", size)
    return text[: _fitting(text, room - face.getlength("…"), face)].rstrip() + "…"


def _fitting(text: str, room: float, face: Font) -> int:
    """How many of the text's first letters fit."""
    return bisect(range(1, len(text) + 1), room, key=lambda letters: face.getlength(text[:letters]))


# ---- pictures together ----


def fitted(image: np.ndarray, width: int = WIDTH) -> Image.Image:
    """A scene (h, w), (h, w, 3) or (h, w, 4) uint8 at the size of a panel.

    Tiny scenes are enlarged, large ones reduced, to `width` pixels, or to MOST_HEIGHT high where that comes first.
    """
    picture = Image.fromarray(np.ascontiguousarray(image)).convert("RGB")
    scale = min(width / picture.width, MOST_HEIGHT / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return picture.resize(size, how, reducing_gap=3.0)


def titled(picture: Image.Image, title: str, note: str = "", mark: Point | None = None) -> Image.Image:
    """The picture under its title; the note stands right; the mark is the legend of what the title names."""
    bar = 28
    width = max(picture.width, LEAST_WIDTH)
    framed = Image.new("RGB", (width, picture.height + bar), PAPER)
    framed.paste(picture, (0, bar))
    pen = ImageDraw.Draw(framed)
    face = font(note, TITLE_SIZE)
    pen.text((width - 2, bar / 2), note, font=face, fill=MUTED, anchor="rm")
    title = _shortened(title, width - face.getlength(note) - 32, TITLE_SIZE)
    end = 2 + font(title, TITLE_SIZE).getlength(title)
    pen.text((2, bar / 2), title, font=font(title, TITLE_SIZE), fill=INK, anchor="lm")
    if mark:
        legend = draw(
            Image.new("RGB", (24, bar), PAPER), [Point(np.array([0.5, 0.5]), mark.colour, mark.hollow, radius=5)]
        )
        framed.paste(legend, (round(end) + 2, 0))
    return framed


def lettered(picture: Image.Image, text: str) -> Image.Image:
    """A copy with a word in its middle, on a plate: what is to be said where nothing is to be seen."""
    lettered = picture.copy()
    pen = ImageDraw.Draw(lettered)
    middle = picture.width / 2, picture.height / 2
    left, top, right, bottom = pen.textbbox(middle, text, font=font(text), anchor="mm")
    pen.rounded_rectangle((left - 10, top - 7, right + 10, bottom + 7), 6, fill=PAPER)
    pen.text(middle, text, font=font(text), fill=MUTED, anchor="mm")
    return lettered


def side_by_side(pictures: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Pictures in a row, top edges aligned."""
    row = Image.new(
        "RGB", (sum(p.width for p in pictures) + gap * (len(pictures) - 1), max(p.height for p in pictures))
    )
    row.paste(PAPER, (0, 0, *row.size))
    x = 0
    for picture in pictures:
        row.paste(picture, (x, 0))
        x += picture.width + gap
    return row


def stacked(pictures: Sequence[Image.Image], gap: int = 0) -> Image.Image:
    """Pictures under each other, left edges aligned."""
    pictures = [picture for picture in pictures if picture.height]
    column = Image.new(
        "RGB", (max(p.width for p in pictures), sum(p.height for p in pictures) + gap * (len(pictures) - 1)), PAPER
    )
    y = 0
    for picture in pictures:
        column.paste(picture, (0, y))
        y += picture.height + gap
    return column


def bordered(picture: Image.Image, margin: int = MARGIN) -> Image.Image:
    """The picture on paper with a margin all around."""
    sheet = Image.new("RGB", (picture.width + 2 * margin, picture.height + 2 * margin), PAPER)
    sheet.paste(picture, (margin, margin))
    return sheet


def number(value: float | None) -> str:
    """A score as people read it: four digits behind the point at most, – where there is none."""
    if value is None or np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size and (size < 0.001 or size >= 1e6):
        return f"{value:.2e}"
    return f"{value:.{4 if size < 10 else 2 if size < 1000 else 0}f}"
