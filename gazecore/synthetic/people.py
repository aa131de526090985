"""People for made scenes: wooden-doll figures whose head, and nothing else, is turned to where they look.

The head is an ellipsoid, ray-cast per pixel, with hair, eyes, brows, mouth, ears and a nose fixed to it; the body never
turns. A direction is a `facing`: a unit vector x right, y down, z towards the camera. Only +, -, *, / and square roots
touch pixels, so that every machine draws the same bytes.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]
Facing = tuple[float, float, float]
Axes = tuple[Facing, Facing, Facing]  # right, up and front of a head
Knob = tuple[Facing, float, Colour]  # place and radius in head radii

SKINS: tuple[Colour, ...] = (
    (250, 220, 196),
    (240, 200, 166),
    (224, 178, 140),
    (206, 156, 116),
    (178, 130, 94),
    (148, 102, 70),
)
HAIRS: tuple[Colour, ...] = ((34, 28, 26), (62, 42, 32), (96, 60, 34), (112, 50, 30), (72, 72, 80))
CAPS: tuple[Colour, ...] = ((120, 34, 44), (30, 70, 104), (34, 84, 60), (92, 48, 102))
CLOTHES: tuple[Colour, ...] = (
    (88, 104, 128),
    (126, 108, 128),
    (104, 124, 112),
    (140, 118, 98),
    (112, 112, 118),
    (148, 128, 132),
)
HAIRCUTS = ("short", "bun", "long", "cap")
WHITE, IRIS, MOUTH, CHEEK, TASSEL = (252, 252, 250), (36, 30, 34), (150, 62, 62), (226, 120, 104), (236, 232, 224)

HEAD_AXES = (0.86, 1.0, 0.94)  # half-widths of the skull across, up and along the facing, in head radii
HEAD_REACH = 1.62  # no part of any head reaches farther from its centre, in head radii
BODY_HALF_WIDTH, BODY_TOP, BODY_BOTTOM = 1.28, 0.72, 3.3  # in head radii, below the head's centre
_OVERSAMPLING = 2


@dataclass(frozen=True)
class Look:
    """What one person looks like, whatever the direction of the head."""

    skin: Colour
    hair: Colour
    clothes: Colour
    haircut: str
    fringe: float  # how far the hair reaches into the forehead, -1..1


@dataclass(frozen=True)
class Person:
    """A person in a scene: the centre and radius of the head in pixels; the body hangs below it."""

    x_px: float
    y_px: float
    radius_px: float
    look: Look

    @property
    def head_box_px(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max around the head. It is the same whatever the facing: the box tells nothing."""
        reach = 1.15 * self.radius_px
        return (self.x_px - reach, self.y_px - reach, self.x_px + reach, self.y_px + reach)

    @property
    def box_px(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max around head and body; it may leave the image."""
        half = BODY_HALF_WIDTH * self.radius_px
        bottom = self.y_px + (BODY_BOTTOM + 0.15) * self.radius_px
        return (self.x_px - half, self.y_px - 1.2 * self.radius_px, self.x_px + half, bottom)


def random_look(rng: np.random.Generator) -> Look:
    """Skin, hair, clothes and haircut by chance.

    Skin is always clearly lighter than hair: in a small grey crop the bright side of a head is the side that looks.
    """
    haircut = HAIRCUTS[rng.integers(len(HAIRCUTS))]
    skin, clothes = SKINS[rng.integers(len(SKINS))], CLOTHES[rng.integers(len(CLOTHES))]
    hairs = [hair for hair in (CAPS if haircut == "cap" else HAIRS) if _luma(skin) - _luma(hair) > 50]
    return Look(skin, hairs[rng.integers(len(hairs))], clothes, haircut, fringe=round(float(rng.uniform(-1, 1)), 3))


def facing_towards(dx: float, dy: float, depth: float = 0.3) -> Facing:
    """The unit facing that points along (dx, dy) in the image plane, x right, y down, and has z = depth.

    depth  0 is a pure profile, towards 1 the face turns to the camera, below 0 away from it; |depth| < 1
    """
    length = math.hypot(dx, dy)
    if length == 0 or not -1 < depth < 1:
        raise ValueError(f"no direction in the image plane: dx {dx}, dy {dy}, depth {depth}")
    along = math.sqrt(1 - depth * depth) / length
    return (round(dx * along, 6), round(dy * along, 6), round(depth, 6))


def eye_position(person: Person, facing: Facing) -> tuple[float, float]:
    """The midpoint of the eyes in pixels; it lies on the ray from the head's centre along the facing."""
    along = 0.8 * HEAD_AXES[2] * person.radius_px
    return (person.x_px + along * facing[0], person.y_px + along * facing[1])


def draw_person(canvas: np.ndarray, person: Person, facing: Facing) -> None:
    """Draw body and head into the canvas (h, w, 3), uint8, in place; what leaves the canvas is cut off."""
    draw_shadow(
        canvas, person.x_px, person.y_px + (BODY_BOTTOM + 0.02) * person.radius_px, 1.5 * person.radius_px, strength=0.4
    )
    draw_body(canvas, person)
    draw_head(canvas, person, facing)


def draw_shadow(canvas: np.ndarray, x_px: float, y_px: float, half_width_px: float, strength: float) -> None:
    """A soft flat shadow on the floor around a point, in place."""
    half_height = 0.32 * half_width_px
    left, top = math.floor(x_px - half_width_px), math.floor(y_px - half_height)
    width, height = math.ceil(2 * half_width_px) + 2, math.ceil(2 * half_height) + 2
    across = (np.arange(left, left + width, dtype=np.float32) + np.float32(0.5 - x_px)) / np.float32(half_width_px)
    down = (np.arange(top, top + height, dtype=np.float32) + np.float32(0.5 - y_px)) / np.float32(half_height)
    alpha = np.float32(strength) * np.clip(1 - across * across - (down * down)[:, None], 0, 1)
    blend(canvas, left, top, np.zeros((3, height, width), np.float32), alpha)


def draw_body(canvas: np.ndarray, person: Person) -> None:
    """The body seen from the front, the same for every facing, in place."""
    patch = _Patch(person, (-1.4, BODY_TOP - 0.1, 1.4, BODY_BOTTOM + 0.1))
    x, y, look = patch.x, patch.y, person.look

    collar = patch.part((-0.6, BODY_TOP - 0.1, 0.6, 1.6))
    collar.paint(_scaled(look.skin, 0.82), collar.edge(0.36 - np.abs(collar.x)) * (collar.y < 1.5))

    shoulder = np.clip((np.float32(1.9) - y) / np.float32(0.9), 0, 1)  # 1 at the collar, 0 below the shoulders
    half_width = BODY_HALF_WIDTH * np.sqrt(1 - 0.9 * shoulder * shoulder) - 0.07 * np.clip(y - 1.9, 0, 2)
    rounding = (x / BODY_HALF_WIDTH) ** 2
    v_neck = 1.0 + 0.5 * np.clip(0.42 - np.abs(x), 0, 1)
    body = patch.edge(np.minimum(half_width - np.abs(x), np.minimum(y - v_neck, BODY_BOTTOM - 0.16 * rounding - y)))
    patch.paint(look.clothes, body, (1.14 - 0.30 * rounding - 0.10 * x) - 0.05 * y)
    patch.blend_into(canvas)


def draw_head(canvas: np.ndarray, person: Person, facing: Facing) -> None:
    """The head turned to the facing, in place."""
    patch, axes, look = (
        _Patch(person, (-HEAD_REACH, -HEAD_REACH, HEAD_REACH, HEAD_REACH)),
        _head_axes(facing),
        person.look,
    )
    behind, before = _knobs(look, axes)
    for place, radius, colour in behind:
        _paint_knob(patch, place, radius, colour)
    skull = patch.part((-1.1, -1.1, 1.1, 1.1))
    _paint_face(skull, look, axes)
    _paint_hair(skull, look, axes)
    _paint_nose(patch, look, facing)
    for place, radius, colour in before:
        _paint_knob(patch, place, radius, colour)
    patch.blend_into(canvas)


def blend(canvas: np.ndarray, left: int, top: int, colour: np.ndarray, alpha: np.ndarray) -> None:
    """Lay a patch over the canvas (h, w, 3), uint8, in place; parts outside the canvas are cut off.

    colour  (3, h, w) float, 0..255, already multiplied by alpha
    alpha   (h, w) float, 0..1
    """
    height, width = canvas.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + alpha.shape[1], width), min(top + alpha.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    target = canvas[y0:y1, x0:x1]
    keep = 1 - alpha[inside]
    for channel in range(3):
        mixed = target[..., channel] * keep + colour[channel][inside] + np.float32(0.5)
        target[..., channel] = np.clip(mixed, 0, 255).astype(np.uint8)


class _Patch:
    """A small oversampled picture around a head under construction.

    colour, alpha  (3, h, w) 0..255, already multiplied by alpha, and (h, w) 0..1
    x, y           (1, w), (h, 1): the pixels' places in head radii from the head's centre
    """

    def __init__(self, person: Person, box: tuple[float, float, float, float]):
        radius = person.radius_px
        self.left, self.top = math.floor(person.x_px + box[0] * radius), math.floor(person.y_px + box[1] * radius)
        width = math.ceil(person.x_px + box[2] * radius) - self.left
        height = math.ceil(person.y_px + box[3] * radius) - self.top
        x = (self.left + (np.arange(width * _OVERSAMPLING) + 0.5) / _OVERSAMPLING - person.x_px) / radius
        y = (self.top + (np.arange(height * _OVERSAMPLING) + 0.5) / _OVERSAMPLING - person.y_px) / radius
        self.x, self.y = x.astype(np.float32)[None, :], y.astype(np.float32)[:, None]
        self.pixels_per_radius = np.float32(radius * _OVERSAMPLING)
        self.colour = np.zeros((3, self.y.size, self.x.size), np.float32)
        self.alpha = np.zeros((self.y.size, self.x.size), np.float32)

    def part(self, box: tuple[float, float, float, float]) -> "_Patch":
        """The part inside x_min, y_min, x_max, y_max, in head radii: painting it paints this patch."""
        columns = slice(*np.searchsorted(self.x[0], (box[0], box[2])))
        rows = slice(*np.searchsorted(self.y[:, 0], (box[1], box[3])))
        part = copy.copy(self)
        part.x, part.y = self.x[:, columns], self.y[rows]
        part.colour, part.alpha = self.colour[:, rows, columns], self.alpha[rows, columns]
        return part

    def edge(self, distance: np.ndarray) -> np.ndarray:
        """Coverage 0..1 from the signed distance to an outline, in head radii, positive inside."""
        return np.clip(distance * self.pixels_per_radius + 0.5, 0, 1)

    def paint(self, colour: Colour, mask: np.ndarray, light: np.ndarray | float = 1.0) -> None:
        """One layer on top: mask (h, w) 0..1 is its coverage, light (h, w) scales its colour."""
        keep = 1 - mask
        lit = mask * light
        self.colour *= keep
        for channel, value in enumerate(colour):
            self.colour[channel] += np.float32(value) * lit
        self.alpha *= keep
        self.alpha += mask

    def blend_into(self, canvas: np.ndarray) -> None:
        blend(canvas, self.left, self.top, _halve(self.colour), _halve(self.alpha))


def _halve(picture: np.ndarray) -> np.ndarray:
    """The mean of 2 x 2 blocks, summed in a fixed order."""
    rows = picture[..., ::2, :] + picture[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)


def _head_axes(facing: Facing) -> Axes:
    """Right, up and front of the head. The crown leans to the camera when looking down and away when looking up."""
    fx, fy, fz = facing
    ux, uy, uz = 0.0, -1.0, 0.6 * fy
    along = ux * fx + uy * fy + uz * fz
    ux, uy, uz = ux - along * fx, uy - along * fy, uz - along * fz
    length = math.sqrt(ux * ux + uy * uy + uz * uz)
    ux, uy, uz = ux / length, uy / length, uz / length
    return (uy * fz - uz * fy, uz * fx - ux * fz, ux * fy - uy * fx), (ux, uy, uz), (fx, fy, fz)


def _raycast(patch: _Patch, axes: Axes, scale: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Coverage (h, w) of the skull scaled by `scale`, and where each pixel's ray meets it, in the head's own axes.

    The three coordinates are on the unit sphere: across (right), above (up), ahead (front).
    """
    a, b, c = (
        [np.float32(axis[i] / (length * scale)) for axis, length in zip(axes, HEAD_AXES, strict=True)] for i in range(3)
    )
    cc = c[0] * c[0] + c[1] * c[1] + c[2] * c[2]
    flat = [a[k] * patch.x + b[k] * patch.y for k in range(3)]
    half = c[0] * flat[0] + c[1] * flat[1] + c[2] * flat[2]
    rest = flat[0] * flat[0] + flat[1] * flat[1] + flat[2] * flat[2] - 1
    discriminant = half * half - cc * rest
    coverage = patch.edge(discriminant * (np.float32(0.5) / cc))
    z = (np.sqrt(np.maximum(discriminant, 0)) - half) / cc
    return coverage, [flat[k] + c[k] * z for k in range(3)]


def _paint_face(patch: _Patch, look: Look, axes: Axes) -> None:
    """Skin, cheeks, mouth and eyes."""
    skull, (across, above, ahead) = _raycast(patch, axes, 1.0)
    patch.paint(look.skin, skull, (0.90 - 0.10 * patch.y - 0.07 * patch.x) + 0.12 * ahead)
    visible = skull * (ahead > 0)
    aside = np.abs(across)

    cheek = np.sqrt((aside - 0.46) ** 2 + (above + 0.28) ** 2)
    patch.paint(CHEEK, visible * np.clip(0.42 - 2.1 * cheek, 0, 0.35))
    smile = np.abs(above + 0.52 - 0.5 * across * across)
    patch.paint(MOUTH, visible * patch.edge(np.minimum(0.055 - smile, 0.27 - aside)))

    white = 0.235 - np.sqrt((aside - 0.37) ** 2 + (0.8 * (above - 0.05)) ** 2)
    white = visible * patch.edge(white)
    patch.paint(WHITE, white)
    # The eyes turn farther than the head, as real ones do.
    turn_right, turn_up = (0.1 * (axes[2][0] * axis[0] + axes[2][1] * axis[1]) for axis in axes[:2])
    centre = np.where(across < 0, np.float32(turn_right - 0.37), np.float32(turn_right + 0.37))
    iris = 0.135 - np.sqrt((across - centre) ** 2 + (above - np.float32(0.05 + turn_up)) ** 2)
    patch.paint(IRIS, white * patch.edge(iris))


def _paint_hair(patch: _Patch, look: Look, axes: Axes) -> None:
    """Hair or a cap: a thin shell over the crown and down to the nape."""
    shell, (across, above, ahead) = _raycast(patch, axes, 1.08)
    if look.haircut == "cap":
        rim = np.maximum(0.50 * above - 0.74 * ahead + 0.14, -0.24 - ahead)
    else:
        fringe = (
            np.minimum(0.62 * above - 0.80 * ahead, 2 * above) + (0.20 - 0.09 * look.fringe) - 0.14 * across * across
        )
        rim = np.maximum(fringe, -0.14 - ahead + 0.12 * above)
    patch.paint(look.hair, shell * patch.edge(rim), (0.92 - 0.10 * patch.y - 0.07 * patch.x) + 0.22 * above)


def _paint_nose(patch: _Patch, look: Look, facing: Facing) -> None:
    """A nose from the face's surface to a tip in front of it: a capsule that thins out towards the bridge."""
    base, tip = 0.78, 1.22
    fx, fy = facing[0], facing[1]
    reach = 0.27
    part = patch.part(
        (
            min(base * fx, tip * fx) - reach,
            min(base * fy, tip * fy) - reach,
            max(base * fx, tip * fx) + reach,
            max(base * fy, tip * fy) + reach,
        )
    )
    along = np.clip((part.x * np.float32(fx) + part.y * np.float32(fy)) / np.float32(fx * fx + fy * fy), base, tip)
    distance = np.sqrt((part.x - along * np.float32(fx)) ** 2 + (part.y - along * np.float32(fy)) ** 2)
    inside = 0.13 + 0.16 * (along - base) - distance
    part.paint(_scaled(look.skin, 0.80), part.edge(inside + 0.045))
    part.paint(_scaled(look.skin, 0.99), part.edge(inside))


def _knobs(look: Look, axes: Axes) -> tuple[list[Knob], list[Knob]]:
    """Round parts that stick out, ears and what the haircut adds, behind the skull and before it."""

    def place(right: float, up: float, front: float) -> Facing:
        x, y, z = (right * axes[0][i] + up * axes[1][i] + front * axes[2][i] for i in range(3))
        return (x, y, z)

    ear = _scaled(look.skin, 0.86)
    knobs = [(place(side * 0.88, -0.05, -0.08), 0.2, ear) for side in (-1, 1)]
    if look.haircut == "bun":
        knobs.append((place(0, 0.45, -1.08), 0.42, _scaled(look.hair, 0.9)))
    if look.haircut == "cap":
        knobs.append((place(0, 0.98, -0.55), 0.26, TASSEL))
    behind = [knob for knob in knobs if knob[0][2] < 0]
    if look.haircut == "long":  # falls down the back: never before the face, not even when the head looks up
        behind.append((place(0, -0.5, -0.72), 0.62, _scaled(look.hair, 0.9)))
    return behind, [knob for knob in knobs if knob[0][2] >= 0]


def _paint_knob(patch: _Patch, place: Facing, radius: float, colour: Colour) -> None:
    px, py = np.float32(place[0]), np.float32(place[1])
    reach = radius + 0.05
    part = patch.part((place[0] - reach, place[1] - reach, place[0] + reach, place[1] + reach))
    dx, dy = part.x - px, part.y - py
    part.paint(colour, part.edge(radius - np.sqrt(dx * dx + dy * dy)), 1.0 - 0.25 * dy - 0.15 * dx)


def _scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return (red, green, blue)


def _luma(colour: Colour) -> float:
    """Brightness after ITU-R BT.601, 0..255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
