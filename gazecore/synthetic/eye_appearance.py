"""How a made eye looks before the camera: skin, eyeball, iris, pupil, shadows, reflections, lashes.

Scenes are (c, h, w) float32, 0..255, c = 3 or, in near infrared, 1. Edges are anti-aliased by their signed distance.
Only +, -, *, /, square roots and comparisons touch pixels: every machine paints the same.
"""

import math

import numpy as np

from gazecore.synthetic.eye_geometry import BALL_RADIUS, EyeGeometry, Lids
from gazecore.synthetic.eye_plan import (
    BALL,
    FIBRES,
    HAIR,
    IRIS_COLORS,
    NIR_IRISES,
    NIR_SKINS,
    SKIN,
    SKINS,
    EyePlan,
    stream,
)

Box = tuple[slice, slice]
F = np.float32
RINGS = 9  # of the fibres' texture


class Painter:
    """Paints one eye in any pose at one size; what no pose changes is painted once."""

    def __init__(self, plan: EyePlan, size: tuple[int, int]):
        self.plan, self.size = plan, size
        self.rgb = plan.mode == "rgb"
        height, width = size
        self.x = np.arange(width, dtype=np.float32)[None]
        self.y = np.arange(height, dtype=np.float32)[:, None]
        geometry = EyeGeometry(plan, size)
        self.radius = geometry.radius
        self.skin_color = self._skin_color()
        self.skin = self._skin(geometry)
        self.ball_box, self.ball = self._ball(geometry)
        rng = stream(plan.seed, FIBRES)
        around = min(max(int(1.5 * self.radius), 36), 110)
        steps = rng.uniform(-1, 1, (RINGS, around)).astype(np.float32)
        for ring in range(1, RINGS):  # a fibre goes on from ring to ring
            steps[ring] = F(0.7) * steps[ring - 1] + F(0.6) * steps[ring]
        self.fibres = np.concatenate([steps, steps[:, :1]], axis=1)
        self._lid_pose: tuple[float, float] | None = None
        self._lid_layers: tuple[Lids, np.ndarray, list[tuple[Box, np.ndarray]]]

    def paint(self, geometry: EyeGeometry) -> np.ndarray:
        """The scene of a pose of this eye."""
        pose = (geometry.plan.aperture, geometry.plan.pitch_deg)
        if pose != self._lid_pose:
            self._lid_pose, self._lid_layers = pose, self._around(geometry)
        lids, skin, lashes = self._lid_layers
        scene = skin.copy()
        if not geometry.closed:
            self._eye(scene, geometry, lids)
        for part, cover in lashes:
            blend(scene[:, *part], self._hair(), cover * F(0.9))
        return scene

    def _around(self, geometry: EyeGeometry) -> tuple[Lids, np.ndarray, list[tuple[Box, np.ndarray]]]:
        """All that the lids alone decide: their edges, the skin with their margins, the lashes."""
        lids, skin = geometry.lids(), self.skin.copy()
        self._lid_margins(skin, lids)
        return lids, skin, self._lashes(geometry, lids)

    # ---- skin

    def _tone(self, red: float, green: float, blue: float) -> np.ndarray:
        """A colour (c, 1, 1); its luma in near infrared."""
        color = (red, green, blue) if self.rgb else (0.299 * red + 0.587 * green + 0.114 * blue,)
        return np.array(color, np.float32)[:, None, None]

    def _skin_color(self) -> np.ndarray:
        plan = self.plan
        if not self.rgb:
            return self._tone(*(NIR_SKINS[plan.skin] * plan.skin_light,) * 3)
        red, green, blue = (channel * plan.skin_light for channel in SKINS[plan.skin])
        return self._tone(red * (1 + plan.skin_red), green, blue * (1 - plan.skin_red))

    def _skin(self, geometry: EyeGeometry) -> np.ndarray:
        """Skin everywhere, folds above and below the eye and shading of its socket included."""
        plan, radius = self.plan, F(self.radius)
        rng = stream(plan.seed, SKIN)
        texture = value_noise(rng, self.size, self.radius, octaves=5)
        light = 1 + F(plan.skin_texture) * texture
        lids = geometry.lids(least_aperture=0.55)
        centre_x, centre_y = (F(value) for value in geometry.lid_centre)
        aside, down = (self.x - centre_x) / radius, (self.y - centre_y) / radius

        nose = -1 if plan.eye == "L" else 1
        away = aside - F(1.2 * nose)
        hollow = np.maximum(1 - (away * away / 6 + (down + F(0.7)) * (down + F(0.7)) / F(1.5)), 0)
        light -= F(plan.socket) * hollow
        bulge = np.maximum(1 - (aside * aside / 5 + down * down / 3), 0)
        light += F(0.08) * bulge

        along = np.clip(1 - (aside / F(plan.lid_half_width)) ** 2, 0, 1)
        above = (lids.upper.astype(np.float32) - radius * F(plan.crease_up) * (F(0.3) + F(0.7) * along)) - self.y
        sharp = above / (radius * np.where(above > 0, F(0.16), F(0.05)))
        deep = F(plan.crease * (0.35 if geometry.closed else 1))  # a shut lid stretches
        light -= deep * np.minimum(2 * along + F(0.1), 1) / (1 + sharp * sharp)
        below = self.y - (lids.lower.astype(np.float32) + radius * F(0.38) * (F(0.2) + along))
        sharp = below / (radius * F(0.12))
        light -= F(plan.fold) * along / (1 + sharp * sharp)

        skin = self.skin_color * np.maximum(light, F(0.2))
        if self.rgb:  # shaded and textured skin is redder
            skin[0] += F(0.09) * (self.skin_color[0] - skin[0])
            skin[2] -= F(0.05) * (self.skin_color[2] - skin[2])
        if plan.brow:
            self._brow(skin, geometry)
        return skin

    def _lid_margins(self, scene: np.ndarray, lids: Lids) -> None:
        """The wet edge of the lower lid and the dark line of the upper lashes."""
        radius, plan = F(self.radius), self.plan
        rows = _rows(lids, 0.5 * self.radius, self.size[0])
        part, y = scene[:, rows], self.y[rows]
        inside = lids.inside.astype(np.float32)
        over = lids.upper.astype(np.float32) - y
        under = y - lids.lower.astype(np.float32)
        skin = over >= under
        shade = np.clip(1 - np.where(skin, over, under) / (F(0.45) * radius), 0, 1)
        part *= 1 - F(0.13) * shade * shade * inside
        wet = F(plan.waterline) * inside * np.clip(1.4 - under / (F(0.07) * radius), 0, 1) * (under > -1) * ~skin
        blend(part, self._tone(226, 168, 156) * F(0.55) + self.skin_color * F(0.5), wet)
        rim = F(0.25 + 0.012 * plan.lashes) * inside * np.clip(1.5 - np.abs(over) / (F(0.035) * radius + F(0.4)), 0, 1)
        blend(part, self._tone(52, 36, 30) * F(0.6) + self.skin_color * F(0.14), rim)

    # ---- eyeball

    def _ball(self, geometry: EyeGeometry) -> tuple[Box, np.ndarray]:
        """The white of the eye without iris: all rows and columns that any opening of the lids shows."""
        plan, radius = self.plan, self.radius
        cx, cy = geometry.ball
        height, width = self.size
        reach = (plan.lid_half_width + 0.3) * radius
        lid_x = geometry.lid_centre[0]
        rows = slice(max(int(cy - 2.7 * radius), 0), min(int(cy + 2.2 * radius) + 2, height))
        columns = slice(max(int(lid_x - reach), 0), min(int(lid_x + reach) + 2, width))
        x, y = (self.x[:, columns] - F(cx)) / F(radius), (self.y[rows] - F(cy)) / F(radius)

        far = (x * x + y * y) / F(BALL_RADIUS**2)
        facing = np.sqrt(np.maximum(1 - far, 0))
        light = F(0.66) + F(0.34) * facing
        base = self._tone(228, 222, 216) if self.rgb else self._tone(196, 196, 196)
        yellow = np.array([1, 1 - 0.35 * plan.sclera_yellow, 1 - plan.sclera_yellow], np.float32)[:, None, None]
        ball = base * (yellow if self.rgb else 1) * F(plan.sclera_light) * light

        shape = facing.shape
        noise = value_noise(stream(plan.seed, BALL), shape, (1.5 * radius, 0.42 * radius), octaves=4)
        vessel = np.clip(1 - np.abs(noise) * F(9), 0, 1)
        veins = F(plan.vessels) * np.clip(far * F(1.6) - F(0.25), 0, 1) * (F(0.35) + vessel)
        blend(ball, self._tone(186, 92, 82) if self.rgb else self._tone(150, 150, 150), veins)

        corner_x, corner_y = geometry.lids().corners[0 if plan.eye == "L" else 1]
        away_x = (self.x[:, columns] - F(corner_x)) / F(0.5 * radius)
        away_y = (self.y[rows] - F(corner_y)) / F(0.36 * radius)
        caruncle = np.clip(F(1.5) - F(1.4) * np.sqrt(away_x * away_x + away_y * away_y), 0, F(0.9))
        blend(ball, self._tone(206, 128, 116) * F(0.72) + self.skin_color * F(0.2), caruncle)
        return (rows, columns), ball

    def _eye(self, scene: np.ndarray, geometry: EyeGeometry, lids: Lids) -> None:
        """Eyeball, iris, pupil, reflections and the lid's shadow, between the lids."""
        plan, radius = self.plan, F(self.radius)
        ball_rows, columns = self.ball_box
        seen = _rows(lids, 2.0, self.size[0])
        rows = slice(max(seen.start, ball_rows.start), max(min(seen.stop, ball_rows.stop), seen.start))
        eye = self.ball[:, rows.start - ball_rows.start : rows.stop - ball_rows.start].copy()
        self._iris(eye, geometry, (rows, columns))

        y = self.y[rows]
        upper, lower = lids.upper[columns].astype(np.float32), lids.lower[columns].astype(np.float32)
        over, under = y - upper, lower - y
        shadow = np.clip(1 - over / (F(0.5) * radius), 0, 1)
        shadow = F(plan.lid_shadow) * shadow * shadow
        wet = np.clip(1 - under / (F(0.16) * radius), 0, 1)
        eye *= (1 - shadow) * (1 - F(0.22) * wet * wet)
        self._reflections(eye, geometry, (rows, columns))

        cover = np.clip(over * _steepness(upper) + F(0.5), 0, 1) * np.clip(under * _steepness(lower) + F(0.5), 0, 1)
        blend(scene[:, rows, columns], eye, cover * lids.inside[columns])

    def _iris(self, eye: np.ndarray, geometry: EyeGeometry, box: Box) -> None:
        plan, iris, pupil, pir = self.plan, geometry.iris, geometry.pupil, geometry.plan.pir
        rows, columns = (_within(part, whole) for part, whole in zip(iris.box(3.0, *self.size), box, strict=True))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        x, y = self.x[:, columns], self.y[rows]
        p, q = iris.plane(x, y)
        r = np.sqrt(p * p + q * q)
        pp, pq = pupil.plane(x, y)
        s = np.sqrt(pp * pp + pq * pq)  # 1 on the pupil's edge
        ring = np.clip((s - 1) * F(pir) / F(1 - pir), 0, 1)  # 0 at the pupil, about 1 at the limbus

        inner, outer = self._iris_colors()
        change = np.clip(ring * F(2.2) - F(0.25), 0, 1)
        color = inner + (outer - inner) * (change * change * (3 - 2 * change))
        light = 1 + F(plan.fibre) * self._fibre_light(p, q, ring)
        ridge = (ring - F(0.3)) * F(9)
        light += F(plan.collarette) / (1 + ridge * ridge) - F(0.1)
        edge = np.clip((r - F(1 - 2 * plan.limbal_width)) / F(2 * plan.limbal_width), 0, 1)
        light *= 1 - F(plan.limbal_dark) * edge * edge
        light *= 1 - F(0.45) * np.clip(1 - ring * F(14), 0, 1)  # the ruff around the pupil
        light *= 1 - F(0.12) * q  # light from above falls through the cornea on the lower half
        color = np.clip(color * light, 2, 250)

        dark = F(plan.pupil_light) * self._tone(1.0, 0.9, 0.88)
        narrow = iris.ellipse.minor / 2
        soft = F(1 / (0.9 + plan.limbus_soft * self.radius))
        blend(color, dark, np.clip((1 - s) * F(narrow * pir) * F(0.8) + F(0.5), 0, 1))
        part = eye[
            :, rows.start - box[0].start : rows.stop - box[0].start,
            columns.start - box[1].start : columns.stop - box[1].start,
        ]  # fmt: skip
        blend(part, color, np.clip((1 - r) * F(narrow) * soft + F(0.5), 0, 1))

    def _iris_colors(self) -> tuple[np.ndarray, np.ndarray]:
        plan = self.plan
        if self.rgb:
            inner, outer = IRIS_COLORS[plan.iris_color]
            return self._tone(*inner) * F(plan.iris_light), self._tone(*outer) * F(plan.iris_light)
        grey = NIR_IRISES[plan.iris_color] * plan.iris_light
        return self._tone(*(1.06 * grey,) * 3), self._tone(*(0.94 * grey,) * 3)

    def _fibre_light(self, p: np.ndarray, q: np.ndarray, ring: np.ndarray) -> np.ndarray:
        """Fibres from the pupil outwards, about -1..1: a texture over direction and place between the edges."""
        along, across = np.abs(p), np.abs(q)
        turn = across / np.maximum(along + across, F(1e-6))  # 0..1 over a quarter
        turn -= F(0.363) * turn * (1 - turn) * (1 - 2 * turn)  # now within 1 % of the angle
        turn = np.where(p < 0, 2 - turn, turn)
        turn = np.where(q < 0, 4 - turn, turn) * F(0.25)
        around = self.fibres.shape[1] - 1
        column = np.minimum(turn * around, F(around - 0.001))
        row = np.minimum(ring * (RINGS - 1), F(RINGS - 1.001))
        left, top = column.astype(np.int32), row.astype(np.int32)
        column -= left
        row -= top
        at = top * (around + 1) + left
        flat = self.fibres.ravel()
        first = flat[at] * (1 - column) + flat[at + 1] * column
        second = flat[at + around + 1] * (1 - column) + flat[at + around + 2] * column
        return first + (second - first) * row

    def _reflections(self, eye: np.ndarray, geometry: EyeGeometry, box: Box) -> None:
        """A window and lamps on the cornea: they move less than the iris."""
        plan, radius = self.plan, self.radius
        centre_x, centre_y = (0.55 * a + 0.45 * b for a, b in zip(geometry.iris.centre, geometry.ball, strict=True))
        rows, columns = box
        x, y = self.x[:, columns], self.y[rows]
        if plan.window:
            wx, wy, half_width, half_height, strength = plan.window
            dx = np.abs(x - F(centre_x + wx * radius)) / F(radius)
            dy = np.abs(y - F(centre_y + wy * radius)) / F(radius)
            pixel = F(1 / radius)
            pane = np.clip((F(half_width) - dx) / pixel, 0, 1) * np.clip((F(half_height) - dy) / pixel, 0, 1)
            bars = np.clip((dx - F(0.02)) / pixel, 0, 1) * np.clip((dy - F(0.015)) / pixel, 0, 1)
            blend(eye, self._tone(226, 236, 250), F(strength) * pane * bars)
        for gx, gy, size in plan.glints:
            reach = max(size * radius, 0.7)
            dx, dy = x - F(centre_x + gx * radius), y - F(centre_y + gy * radius)
            blend(eye, self._tone(262, 262, 262), np.clip(F(reach + 0.5) - np.sqrt(dx * dx + dy * dy), 0, 1))

    # ---- hair

    def _lashes(self, geometry: EyeGeometry, lids: Lids) -> list[tuple[Box, np.ndarray]]:
        """Upper lashes rise over an open eye's lid and hang down from a shut one; fewer, shorter ones below."""
        plan, radius = self.plan, self.radius
        rng = stream(plan.seed, HAIR)
        (left, _), (right, _) = lids.corners
        opening = 0.0 if geometry.closed else geometry.plan.aperture
        rise = 0.8 - 1.9 * min(opening / 0.75, 1.0)  # down is positive
        middle, half = (left + right) / 2, (right - left) / 2
        layers = []
        for edge, count, length, lift, droop in (
            (lids.upper, plan.lashes, plan.lash_length, rise, 0.16),
            (lids.lower, plan.lashes // 2, 0.45 * plan.lash_length, 0.9, 0.0),
        ):
            t = np.sort(rng.uniform(-0.94, 0.94, count))
            x = middle + half * t
            y = np.interp(x, lids.x, edge)
            long = radius * length * rng.uniform(0.6, 1.15, count)
            fan = 0.75 * t + rng.uniform(-0.22, 0.22, count)
            bend = np.stack([x + 0.3 * fan * long, y + (0.35 * lift + droop) * long], axis=-1)
            tip = np.stack([x + fan * long, y + lift * long * rng.uniform(0.85, 1.1, count)], axis=-1)
            layer = hairs(np.stack([x, y], axis=-1), bend, tip, plan.lash_width_px * geometry.unit, self.size)
            layers += [layer] if layer else []
        return layers

    def _brow(self, skin: np.ndarray, geometry: EyeGeometry) -> None:
        rng = stream(self.plan.seed, HAIR, 1)
        radius, outwards = self.radius, 1 if self.plan.eye == "L" else -1
        count = 200
        t = rng.uniform(-1, 1, count)
        x = geometry.lid_centre[0] + radius * (2.5 * t + 0.2 * outwards)
        thick = 0.42 - 0.22 * t * outwards
        arch = self.plan.brow + 0.25 * (1 - t * t)
        y = geometry.lid_centre[1] - radius * (arch + thick * rng.uniform(-0.5, 0.5, count))
        lean = outwards * rng.uniform(0.25, 0.6, count) * radius
        tip = np.stack([x + lean, y - radius * 0.3 * (0.4 - t * outwards) * rng.uniform(0.5, 1, count)], axis=-1)
        root = np.stack([x, y], axis=-1)
        layer = hairs(root, (root + tip) / 2 - (0, 0.05 * radius), tip, 2 * geometry.unit, self.size)
        if layer:
            blend(skin[:, *layer[0]], self._hair(), layer[1] * F(0.85))

    def _hair(self) -> np.ndarray:
        return self._tone(36, 27, 24) * F(0.7) + self.skin_color * F(0.08)


def blend(below: np.ndarray, color: np.ndarray, cover: np.ndarray) -> None:
    """Lay a colour (c, h, w) or (c, 1, 1) over what is below (c, h, w), in place; cover (h, w) is 0..1."""
    below += (color - below) * cover


def value_noise(
    rng: np.random.Generator, size: tuple[int, int], cell_px: float | tuple[float, float], octaves: int
) -> np.ndarray:
    """Smooth noise (h, w), about -1..1: random values on grids of halving cells, (across, down), and of halving weight.

    Cells finer than 1.5 pixels are left out.
    """
    across, down = cell_px if isinstance(cell_px, tuple) else (cell_px, cell_px)
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        if min(across, down) < 1.5:
            break
        (top, below), (left, beside) = (_smooth_steps(n, cell) for n, cell in zip(size, (down, across), strict=True))
        grid = rng.uniform(-1, 1, (int(top[-1]) + 2, int(left[-1]) + 2)).astype(np.float32)
        rows = grid[top] + (grid[top + 1] - grid[top]) * below[:, None]
        step = rows[:, 1:] - rows[:, :-1]
        total += (rows.take(left, axis=1) + step.take(left, axis=1) * beside) * F(0.55**octave)
        across, down = across / 2, down / 2
    return total


def _smooth_steps(count: int, cell_px: float) -> tuple[np.ndarray, np.ndarray]:
    """The cell of each pixel, and how far in it, eased at both ends."""
    at = np.arange(count) / cell_px
    cell = at.astype(np.int64)
    part = (at - cell).astype(np.float32)
    return cell, part * part * (3 - 2 * part)


def hairs(
    root: np.ndarray, bend: np.ndarray, tip: np.ndarray, width_px: float, size: tuple[int, int]
) -> tuple[Box, np.ndarray] | None:
    """Cover, 0..1, of hairs that thin out, and the part of a picture of `size` it belongs to; None outside of it.

    root, bend, tip (n, 2), in pixels, are the points of quadratic Bezier curves; width_px is that of the roots.
    """
    if not len(root):
        return None
    points = max(math.ceil(float(np.max(np.abs(tip - root)))) + 1, 3)
    t = np.linspace(0, 1, points)[:, None]
    a, b, c = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
    x, y = (np.round(a * root[:, k] + b * bend[:, k] + c * tip[:, k], 4).ravel() for k in range(2))
    thick = (width_px * (1 - 0.75 * t) + np.zeros((1, len(root)))).ravel()
    columns, lines = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
    reach = max(math.ceil(width_px / 2), 1)
    top, left = max(int(lines.min()) - reach, 0), max(int(columns.min()) - reach, 0)
    bottom, right = min(int(lines.max()) + reach + 1, size[0]), min(int(columns.max()) + reach + 1, size[1])
    if top >= bottom or left >= right:
        return None
    # one more pixel around: whatever leaves the picture goes there; a negative index would wrap around
    cover = np.zeros((bottom - top + 2, right - left + 2))
    lines, columns = lines - top + 1, columns - left + 1
    x, y = x - left + 1, y - top + 1
    last_line, last_column = cover.shape[0] - 1, cover.shape[1] - 1
    strength = np.minimum(thick, 1)
    for down in range(-reach, reach + 1):
        line = lines + down
        rise = (line - y) ** 2
        start = np.clip(line, 0, last_line) * cover.shape[1]
        for across in range(-reach, reach + 1):
            column = columns + across
            near = np.clip(thick / 2 + 0.5 - np.sqrt((column - x) ** 2 + rise), 0, 1)
            np.maximum.at(cover.ravel(), start + np.clip(column, 0, last_column), near * strength)
    return (slice(top, bottom), slice(left, right)), cover[1:-1, 1:-1].astype(np.float32)


def _rows(lids: Lids, margin: float, height: int) -> slice:
    """Rows of the picture between the lids, and a margin."""
    top = max(int(lids.upper.min() - margin), 0)
    return slice(min(top, height), max(min(int(lids.lower.max() + margin) + 2, height), min(top, height)))


def _within(part: slice, whole: slice) -> slice:
    return slice(max(part.start, whole.start), min(part.stop, whole.stop))


def _steepness(edge: np.ndarray) -> np.ndarray:
    """What turns vertical distances from a curve over the columns into distances from it."""
    slope = np.gradient(edge)
    return 1 / np.sqrt(1 + slope * slope)
