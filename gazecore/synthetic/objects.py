"""Things to look at for made scenes: balls, cubes, cups, plants, lamps, books, bottles, vases and clocks, with shading.

Every kind fills a square that reaches `half_size_px` from its centre and stands on the square's lower side. They are
drawn with Pillow at three times the size and averaged down.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from gazecore.synthetic.people import Colour, blend, draw_shadow

# Strong colours: the rooms and the clothes are muted.
COLOURS: tuple[Colour, ...] = (
    (214, 52, 48),
    (238, 128, 32),
    (244, 196, 40),
    (66, 160, 70),
    (36, 148, 164),
    (48, 98, 204),
    (136, 72, 182),
    (222, 84, 144),
)
LEAF, SOIL, PAPER, METAL, INK = (58, 134, 62), (92, 64, 46), (246, 240, 226), (96, 98, 104), (52, 48, 52)
_OVERSAMPLING = 3


@dataclass(frozen=True)
class SceneObject:
    """One candidate of a scene: its kind, centre and half size in pixels, and colour.

    on_shelf  it hangs on the wall on its own shelf; otherwise it stands on the floor
    """

    kind: str
    x_px: float
    y_px: float
    half_size_px: float
    colour: Colour
    on_shelf: bool = False

    @property
    def box_px(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max."""
        half = self.half_size_px
        return (self.x_px - half, self.y_px - half, self.x_px + half, self.y_px + half)


def draw_object(canvas: np.ndarray, thing: SceneObject) -> None:
    """Draw an object with its shelf or its shadow into the canvas (h, w, 3), uint8, in place."""
    half, base = thing.half_size_px, thing.y_px + thing.half_size_px
    if not thing.on_shelf:
        draw_shadow(canvas, thing.x_px, base - 0.04 * half, 1.15 * half, strength=0.45)

    left, top = round(thing.x_px - 1.4 * half), round(thing.y_px - 1.1 * half)
    pen = _Pen(round(2.8 * half), round(2.5 * half), (thing.x_px - left, thing.y_px - top), half)
    if thing.on_shelf:
        pen.polygon([(-1.3, 1.0), (1.3, 1.0), (1.3, 1.16), (-1.3, 1.16)], (142, 106, 74))
        pen.polygon([(-1.3, 1.16), (1.3, 1.16), (1.2, 1.3), (-1.2, 1.3)], (104, 76, 54))
    KINDS[thing.kind](pen, thing.colour)
    rgba = np.asarray(pen.image.reduce(_OVERSAMPLING), np.float32)
    alpha = rgba[..., 3] / np.float32(255)
    blend(canvas, left, top, np.moveaxis(rgba[..., :3], -1, 0) * alpha, alpha)


class _Pen:
    """Draws in units of an object's half size around its centre: x right, y down, the base at y = 1."""

    def __init__(self, width: int, height: int, centre_px: tuple[float, float], half_size_px: float):
        self.image = Image.new("RGBA", (width * _OVERSAMPLING, height * _OVERSAMPLING))
        self._draw = ImageDraw.Draw(self.image)
        self._centre = (centre_px[0] * _OVERSAMPLING, centre_px[1] * _OVERSAMPLING)
        self._unit = half_size_px * _OVERSAMPLING

    def _at(self, x: float, y: float) -> tuple[int, int]:
        return round(self._centre[0] + x * self._unit), round(self._centre[1] + y * self._unit)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self._draw.polygon([self._at(x, y) for x, y in points], fill=colour)

    def ellipse(self, x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
        self._draw.ellipse(
            (*self._at(x - half_width, y - half_height), *self._at(x + half_width, y + half_height)), colour
        )

    def line(self, points: list[tuple[float, float]], width: float, colour: Colour) -> None:
        self._draw.line([self._at(x, y) for x, y in points], colour, max(1, round(width * self._unit)), joint="curve")

    def arc(self, x: float, y: float, half_width: float, half_height: float, width: float, colour: Colour) -> None:
        box = (*self._at(x - half_width, y - half_height), *self._at(x + half_width, y + half_height))
        self._draw.ellipse(box, outline=colour, width=max(1, round(width * self._unit)))

    def barrel(self, rows: list[tuple[float, float]], colour: Colour, x: float = 0) -> None:
        """A body of revolution around x, rows of (y, half width): darker to the right, with a highlight on the left."""
        for left, right, light in ((-1, 1, 0.78), (-1, 0.62, 0.9), (-1, 0.25, 1.0), (-0.72, -0.4, 1.25)):
            outline = [(x + left * half, y) for y, half in rows] + [(x + right * half, y) for y, half in reversed(rows)]
            self.polygon(outline, tint(colour, light))


def tint(colour: Colour, light: float) -> Colour:
    """The colour darker (light < 1) or mixed with white (light > 1)."""
    if light <= 1:
        red, green, blue = (round(value * light) for value in colour)
    else:
        red, green, blue = (round(value + (255 - value) * (light - 1)) for value in colour)
    return (red, green, blue)


def _ball(pen: _Pen, colour: Colour) -> None:
    for step in range(10):  # from the dark rim to the highlight
        share = step / 9
        radius = 0.98 * (1 - share) + 0.12 * share
        pen.ellipse(-0.36 * share, 0.02 - 0.42 * share, radius, radius, tint(colour, 0.68 + 0.9 * share * share))


def _cube(pen: _Pen, colour: Colour) -> None:
    pen.polygon([(-0.95, -0.42), (0.35, -0.42), (0.35, 1.0), (-0.95, 1.0)], colour)
    pen.polygon([(-0.95, -0.42), (-0.4, -0.92), (0.92, -0.92), (0.35, -0.42)], tint(colour, 1.35))
    pen.polygon([(0.35, -0.42), (0.92, -0.92), (0.92, 0.5), (0.35, 1.0)], tint(colour, 0.66))
    pen.polygon([(-0.42, -0.42), (-0.18, -0.42), (-0.18, 1.0), (-0.42, 1.0)], PAPER)
    pen.polygon([(-0.42, -0.42), (0.13, -0.92), (0.37, -0.92), (-0.18, -0.42)], tint(PAPER, 0.92))


def _cup(pen: _Pen, colour: Colour) -> None:
    pen.arc(0.66, 0.12, 0.34, 0.42, 0.15, tint(colour, 0.72))
    pen.ellipse(-0.14, 0.86, 0.54, 0.14, tint(colour, 0.8))
    pen.barrel([(-0.62, 0.74), (0.86, 0.54)], colour, x=-0.14)
    pen.ellipse(-0.14, -0.62, 0.74, 0.26, tint(colour, 1.3))
    pen.ellipse(-0.14, -0.59, 0.62, 0.19, SOIL)


def _plant(pen: _Pen, colour: Colour) -> None:
    for x, y, light in (
        (-0.7, -0.2, 0.8),
        (0.72, -0.25, 0.75),
        (-0.42, -0.72, 1.0),
        (0.45, -0.74, 0.9),
        (0.02, -0.95, 1.18),
    ):
        pen.polygon([(0, 0.34), (0.5 * x - 0.2, 0.5 * y), (x, y), (0.5 * x + 0.22, 0.5 * y)], tint(LEAF, light))
    pen.barrel([(0.22, 0.6), (1.0, 0.42)], colour)
    pen.polygon([(-0.68, 0.16), (0.68, 0.16), (0.64, 0.38), (-0.64, 0.38)], tint(colour, 1.15))


def _lamp(pen: _Pen, colour: Colour) -> None:
    pen.ellipse(0, 0.88, 0.5, 0.12, tint(METAL, 0.8))
    pen.polygon([(-0.08, -0.1), (0.08, -0.1), (0.08, 0.88), (-0.08, 0.88)], METAL)
    pen.barrel([(-0.98, 0.46), (0.12, 0.9)], colour)
    pen.ellipse(0, 0.12, 0.9, 0.13, tint(colour, 1.7))


def _books(pen: _Pen, colour: Colour) -> None:
    for index, (x, half, light) in enumerate(
        ((0.05, 0.92, 1.0), (-0.08, 0.82, 0.62), (0.1, 0.78, 1.45), (0.0, 0.62, 0.85))
    ):
        low = 1.0 - 0.47 * index
        pen.polygon(
            [(x - half, low - 0.44), (x + half, low - 0.44), (x + half, low), (x - half, low)], tint(colour, light)
        )
        pen.polygon(
            [
                (x + half - 0.3, low - 0.36),
                (x + half, low - 0.36),
                (x + half, low - 0.09),
                (x + half - 0.3, low - 0.09),
            ],
            PAPER,
        )


def _bottle(pen: _Pen, colour: Colour) -> None:
    pen.barrel([(-0.98, 0.17), (-0.5, 0.17), (-0.22, 0.44), (0.92, 0.46), (1.0, 0.4)], colour)
    pen.polygon([(-0.2, -1.0), (0.2, -1.0), (0.2, -0.76), (-0.2, -0.76)], INK)
    pen.polygon([(-0.46, 0.1), (0.46, 0.1), (0.46, 0.62), (-0.46, 0.62)], PAPER)
    pen.polygon([(-0.46, 0.28), (0.46, 0.28), (0.46, 0.42), (-0.46, 0.42)], tint(colour, 0.8))


def _vase(pen: _Pen, colour: Colour) -> None:
    for x, y in ((-0.46, -0.62), (0.44, -0.66), (0.0, -0.8)):
        pen.line([(0, 0.1), (x, y)], 0.09, LEAF)
    for x, y in ((-0.46, -0.62), (0.44, -0.66), (0.0, -0.78)):
        pen.ellipse(x, y, 0.25, 0.22, PAPER)
        pen.ellipse(x, y, 0.1, 0.09, (240, 186, 50))
    pen.barrel([(-0.06, 0.32), (0.1, 0.26), (0.36, 0.56), (0.62, 0.6), (1.0, 0.36)], colour)


def _clock(pen: _Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.line([(0.4 * side, 0.6), (0.56 * side, 0.96)], 0.16, METAL)
        pen.ellipse(0.52 * side, -0.72, 0.27, 0.24, METAL)
    pen.ellipse(0, 0.02, 0.86, 0.86, tint(colour, 0.85))
    pen.ellipse(-0.04, -0.03, 0.8, 0.8, colour)
    pen.ellipse(0, 0.02, 0.62, 0.62, PAPER)
    pen.line([(0, -0.42), (0, 0.02), (0.3, 0.2)], 0.1, INK)


KINDS: dict[str, Callable[[_Pen, Colour], None]] = {
    "ball": _ball,
    "cube": _cube,
    "cup": _cup,
    "plant": _plant,
    "lamp": _lamp,
    "books": _books,
    "bottle": _bottle,
    "vase": _vase,
    "clock": _clock,
}
