"""Where everything of a made eye is, exactly: iris and pupil as ellipses, lids as curves, and the labels of pixels.

Orthographic view, x right, y down; the centre of the top-left pixel is (0, 0). The iris is a circle on a turned eyeball
of 2.05 iris radii, the pupil an ellipse in its plane, the lids two arcs in a frame that is rolled a little.

Transcendental functions meet scalars and the lids' curves only, and results are rounded: every machine makes the same
pixels.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gazecore.synthetic.eye_plan import CLOSED, EyePlan

BACKGROUND, IRIS, PUPIL, SCLERA = range(4)
BALL_RADIUS = 2.05  # iris radii
IRIS_DEPTH = math.sqrt(BALL_RADIUS**2 - 1)  # of the iris' plane from the eyeball's centre
LIDS_FOLLOW_PITCH = 0.45
SUB = 3  # odd: an even grid has ties on every edge and would make pupils systematically smaller
# places along the lids from corner to corner, and the arcs of the upper and the lower one there
_T = np.linspace(-1, 1, 1025)
_UPPER_ARC = 1 - _T * _T
_LOWER_ARC = np.round(_UPPER_ARC**1.3, 9)


class Ellipse(NamedTuple):
    """Centre in pixels, full axes in pixels, angle of the major axis in degrees, [0, 180)."""

    cx: float
    cy: float
    major: float
    minor: float
    angle_deg: float


@dataclass(frozen=True)
class Disc:
    """An ellipse as the image of the unit circle: centre + to_px @ (p, q)."""

    cx: float
    cy: float
    to_px: np.ndarray  # (2, 2)

    @cached_property
    def ellipse(self) -> Ellipse:
        """Exact, by singular values of the map."""
        directions, axes, _ = np.linalg.svd(self.to_px)
        angle = math.degrees(math.atan2(directions[1, 0], directions[0, 0])) % 180
        return Ellipse(self.cx, self.cy, 2 * float(axes[0]), 2 * float(axes[1]), angle)

    @property
    def centre(self) -> tuple[float, float]:
        return self.cx, self.cy

    @cached_property
    def from_px(self) -> tuple[float, float, float, float]:
        """The inverse map, row by row."""
        (a, b), (c, d) = self.to_px.tolist()
        determinant = a * d - b * c
        return (d / determinant, -b / determinant, -c / determinant, a / determinant)

    def box(self, margin: float, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the picture around the disc; may be empty."""
        reach_x, reach_y = (math.sqrt(a * a + b * b) + margin for a, b in self.to_px.tolist())
        rows = slice(max(math.floor(self.cy - reach_y), 0), min(math.ceil(self.cy + reach_y) + 1, height))
        columns = slice(max(math.floor(self.cx - reach_x), 0), min(math.ceil(self.cx + reach_x) + 1, width))
        return rows, columns

    def plane(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels x (1, w), y (h, 1) as places (p, q) in the plane of the unit circle, both (h, w)."""
        a, b, c, d = (x.dtype.type(value) for value in self.from_px)
        dx, dy = x - x.dtype.type(self.cx), y - y.dtype.type(self.cy)
        return a * dx + b * dy, c * dx + d * dy

    def spans(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last x inside the ellipse for each y; the first is the larger one where there is none."""
        a, b, c, d = self.from_px
        xx, xy, yy = a * a + c * c, a * b + c * d, b * b + d * d
        dy = y - self.cy
        root = (xy * dy) ** 2 - xx * (yy * dy * dy - 1)
        half = np.where(root > 0, np.sqrt(np.maximum(root, 0)), -1.0) / xx
        middle = self.cx - xy * dy / xx
        return middle - half, middle + half


@dataclass(frozen=True)
class Lids:
    """The lids' edges over the columns of the picture.

    x             columns, in pixels
    upper, lower  y of the edges; the corner's own y where the eye does not reach
    inside        whether the column lies between the corners
    corners       ((x, y), (x, y)), left and right
    """

    x: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    inside: np.ndarray
    corners: tuple[tuple[float, float], tuple[float, float]]


class Labels(NamedTuple):
    """Class ids (h, w) uint8, and the visible shares of the iris' disc (pupil included) and of the pupil."""

    ids: np.ndarray
    iris_visible: float
    pupil_visible: float


class EyeGeometry:
    """A plan at one size of picture; shift_px moves the eyeball, and not the lids, as small eye movements do."""

    def __init__(self, plan: EyePlan, size: tuple[int, int], shift_px: tuple[float, float] = (0.0, 0.0)):
        self.plan, self.size = plan, size
        height, width = size
        self.unit = min(width / 320, height / 220)  # of lengths given for a picture 320 wide
        self.radius = round(plan.radius_px * self.unit, 6)
        yaw, pitch = math.radians(plan.yaw_deg), math.radians(plan.pitch_deg)
        look_x, look_y = IRIS_DEPTH * math.sin(yaw) * math.cos(pitch), IRIS_DEPTH * math.sin(pitch)

        # the whole iris stays in the picture
        room_x = (width / 2 - 1) / self.radius - 1.05
        room_y = (height / 2 - 1) / self.radius - 1.05
        x = min(max(plan.x, -room_x - look_x), room_x - look_x)
        y = min(max(plan.y, -room_y - look_y), room_y - look_y)
        self.lid_centre = self._px(x, y + 0.12)
        x, y = x + shift_px[0] / self.radius, y + shift_px[1] / self.radius
        self.ball = self._px(x, y)

        plane = np.array([[math.cos(yaw), -math.sin(yaw) * math.sin(pitch)], [0, math.cos(pitch)]])
        self.iris = Disc(*self._px(x + look_x, y + look_y), np.round(self.radius * plane, 9))
        turn = math.radians(plan.pupil_angle_deg)
        shape = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        shape = plane @ (shape * (1, plan.pupil_axis_ratio))
        across = self.radius * plan.pir / float(np.linalg.svd(shape, compute_uv=False)[0])
        offset = plane @ (plan.pupil_x, plan.pupil_y)
        centre = self._px(x + look_x + float(offset[0]), y + look_y + float(offset[1]))
        self.pupil = Disc(*centre, np.round(across * shape, 9))
        self._follow = LIDS_FOLLOW_PITCH * look_y

    def _px(self, x: float, y: float) -> tuple[float, float]:
        height, width = self.size
        return (
            round((width - 1) / 2 + x * self.radius, 6),
            round((height - 1) / 2 + y * self.radius, 6),
        )

    @property
    def closed(self) -> bool:
        return self.plan.aperture <= CLOSED

    def lids(self, sub: int = 1, least_aperture: float = 0.0) -> Lids:
        """The lids over every column, or over `sub` places per column, evenly; not less open than least_aperture."""
        plan = self.plan
        opening = 2 * max(0.0 if self.closed else plan.aperture, least_aperture)
        low = 0.55 + 0.1 * opening + self._follow
        up = opening - low
        tilt = plan.lid_tilt_px * self.unit * _T
        arc = _UPPER_ARC * (1 + plan.lid_skew * _T) if up > 0 else _LOWER_ARC  # lids that meet have one shape
        turn = math.radians(plan.roll_deg)
        cos, sin = math.cos(turn), math.sin(turn)
        across = plan.lid_half_width * self.radius * _T
        columns = (np.arange(sub * self.size[1]) - (sub - 1) / 2) / sub
        edges = []
        for down in (tilt - up * self.radius * arc, tilt + low * self.radius * _LOWER_ARC):
            x = self.lid_centre[0] + across * cos - down * sin
            y = self.lid_centre[1] + across * sin + down * cos
            edges.append(np.round(np.interp(columns, x, y), 4))
        corners = ((float(x[0]), float(y[0])), (float(x[-1]), float(y[-1])))
        inside = (columns > x[0]) & (columns < x[-1])
        return Lids(columns, edges[0], edges[1], inside, corners)

    def aperture_px(self) -> float:
        """The largest vertical distance of the lids; 0 for a shut eye."""
        lids = self.lids()
        return float(np.max(lids.lower - lids.upper, initial=0.0, where=lids.inside))

    def labels(self) -> Labels:
        """The class with most of 3 x 3 places in each pixel; all background for a shut eye."""
        ids = np.zeros(self.size, np.uint8)
        if self.closed:
            return Labels(ids, 0.0, 0.0)
        lids = self.lids(SUB)
        y = (np.arange(SUB * self.size[0]) - 1) / SUB
        eye = (y[:, None] >= lids.upper) & (y[:, None] <= lids.lower) & lids.inside
        iris, iris_visible = self._count(self.iris, y, lids.x, eye)
        pupil, pupil_visible = self._count(self.pupil, y, lids.x, eye)
        inside = _per_pixel(eye)
        most = SUB * SUB - inside
        for name, count in ((IRIS, iris - pupil), (PUPIL, pupil), (SCLERA, inside - iris)):
            ids[count > most] = name
            np.maximum(most, count, out=most)
        return Labels(ids, iris_visible, pupil_visible)

    def _count(self, disc: Disc, y: np.ndarray, x: np.ndarray, eye: np.ndarray) -> tuple[np.ndarray, float]:
        """Places of the disc between the lids per pixel, (h, w), and their share of all the disc's places."""
        counts = np.zeros(self.size, np.uint8)
        rows, columns = disc.box(1.0, *self.size)
        fine = tuple(slice(SUB * part.start, SUB * max(part.stop, part.start)) for part in (rows, columns))
        first, last = disc.spans(y[fine[0]])
        places = (x[fine[1]] >= first[:, None]) & (x[fine[1]] <= last[:, None])
        seen = places & eye[fine]
        counts[rows, columns] = _per_pixel(seen)
        return counts, int(np.count_nonzero(seen)) / max(int(np.count_nonzero(places)), 1)


def _per_pixel(places: np.ndarray) -> np.ndarray:
    """(3 h, 3 w) bool -> how many of each 3 x 3, (h, w) uint8."""
    rows = places[0::SUB].view(np.uint8) + places[1::SUB].view(np.uint8) + places[2::SUB].view(np.uint8)
    return rows[:, 0::SUB] + rows[:, 1::SUB] + rows[:, 2::SUB]
