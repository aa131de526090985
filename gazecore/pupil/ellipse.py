"""Ellipses through edge points: direct, circle, constrained, and a pupil and its iris at once.

An ellipse is (cx, cy, major, minor, angle_deg): centre in pixels, full axes, angle of the major axis in [0, 180) from
the x axis towards the y axis.

Inside, an ellipse is (cx, cy, s, q1, q2): s the harmonic mean of its semi-axes, q = (a - b) / (a + b) along twice the
angle. With Q = [[-q1, -q2], [-q2, q1]] a point p lies on it where |(I + Q)(p - c)| = s. In these terms the residual is
nearly linear, a circle is nothing special (q = 0), and two ellipses of one plane differ little in q.
"""

import math
from dataclasses import dataclass

import numpy as np

FEWEST_POINTS = 5
LINE = 1e-12  # points whose scatter has no larger determinant, relative to its size, lie on a line
CROSSING_VARIANCE = 1 / 12  # px^2: an outline crosses anywhere between two pixel centres, alike everywhere
SMOOTHED_VARIANCE = 1 / 100  # px^2: of a crossing interpolated between two probabilities
OTHER_VARIANCE = 1 / 200  # px^2, across the outline: what is no ellipse about an outline, at its best
CORRELATED = 16  # neighbouring edge points err together: so many of them say as much as one
TRIM_SD, TRIM_LEAST_PX = 2.5, 1.5  # beyond both, a point is another edge's
CHANCE_SURPLUS = 0.01  # px^2: mean squared distances exceed their variance by so much by chance
SD_OF_MAD = 1.4826
ANYWHERE_PX = 1e4
PART, AXIS = np.arange(2), np.arange(5)
STEP_PX, MOST_STEPS = 0.01, 12  # the next step would be far smaller still

# A pupil and its iris lie in one plane. From anywhere their ellipses have the same q but for the pupil's own (axis
# ratio mostly above 0.94: Wyatt 1995) and nearly the same centre (tenths of a millimetre of 5.9: Yang et al. 2002).
PUPIL_SHAPE_SD = 0.0125
PUPIL_SHIFT_SD = 0.04  # of the iris's size
SHAPE_SD = 0.2  # q of any eye: axis ratio 0.67; holds an ellipse together of which nearly nothing is seen
CIRCLE_SD = 1e-5


def fit(points: np.ndarray) -> np.ndarray:
    """Direct least-squares ellipse (Halir & Flusser 1998): always an ellipse, algebraic distance, no iteration.

    points   (n, 2) x, y
    returns  (5,) cx, cy, major, minor, angle_deg; NaN for fewer than 5 points or points on no ellipse (a line)
    """
    if len(points) < FEWEST_POINTS:
        return np.full(5, np.nan)
    middle = points.mean(axis=0)
    centred = points - middle
    scale = np.sqrt((centred * centred).mean())
    if not scale > 0:
        return np.full(5, np.nan)
    x, y = (centred / scale).T
    design = np.stack([x * x, x * y, y * y, x, y, np.ones(len(x))])
    scatter = design @ design.T
    if not scatter[3, 3] * scatter[4, 4] - scatter[3, 4] ** 2 > LINE * len(x) ** 2:
        return np.full(5, np.nan)
    lines = -np.linalg.solve(scatter[3:, 3:], scatter[3:, :3])  # the linear terms that go best with given squares
    reduced = scatter[:3, :3] + scatter[:3, 3:] @ lines
    _, vectors = np.linalg.eig(np.stack([reduced[2] / 2, -reduced[1], reduced[0] / 2]))
    squares = np.real(vectors[:, (4 * vectors[0] * vectors[2] - vectors[1] ** 2).real.argmax()])
    found = _from_conic(*squares, *(lines @ squares))
    found[:2] = found[:2] * scale + middle
    found[2:4] *= scale
    return found


def fit_circle(points: np.ndarray) -> np.ndarray:
    """Least-squares circle (Kasa 1976), as an ellipse.

    points   (n, 2) x, y
    returns  (5,) cx, cy, diameter, diameter, 0; NaN for fewer than 3 points or points on a line
    """
    return fit_constrained(points, 1.0, 0.0)


def fit_constrained(points: np.ndarray, axis_ratio: float, angle_deg: float) -> np.ndarray:
    """The ellipse of a given shape: only centre and size are sought, in closed form.

    points      (n, 2) x, y
    axis_ratio  minor / major, in (0, 1]
    angle_deg   of the major axis
    returns     (5,) cx, cy, major, minor, angle_deg; NaN for fewer than 3 points or points on a line

    The points are stretched until the ellipse is a circle, which is fitted there by Kasa's linear equations.
    """
    if len(points) < 3:
        return np.full(5, np.nan)
    radians = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    middle = points.mean(axis=0)
    stretched = (points - middle) @ turn.T / (1.0, axis_ratio)
    centre, radius = _circle(stretched)
    if not radius > 0:
        return np.full(5, np.nan)
    centre = (centre * (1.0, axis_ratio)) @ turn + middle
    return np.array([*centre, 2 * radius, 2 * radius * axis_ratio, angle_deg % 180 % 180])


def distances(points: np.ndarray, ellipse: np.ndarray) -> np.ndarray:
    """Signed distance of each point from an ellipse to first order (Sampson 1982), positive outside.

    points   (n, 2) x, y
    ellipse  (5,) cx, cy, major, minor, angle_deg
    returns  (n,) pixels; at the very centre infinite
    """
    cx, cy, s, q1, q2 = to_inner(ellipse).tolist()
    stretch = np.array([[1 - q1, -q2], [-q2, 1 + q1]])
    mapped = (points - (cx, cy)) @ stretch
    length = np.hypot(*mapped.T)
    gradient = mapped @ stretch / length[:, None]
    return (length - s) / np.hypot(*gradient.T)


def to_inner(ellipses: np.ndarray) -> np.ndarray:
    """(..., 5) cx, cy, major, minor, angle_deg -> (..., 5) cx, cy, s, q1, q2."""
    cx, cy, major, minor, angle = np.moveaxis(ellipses, -1, 0)
    q, double = (major - minor) / (major + minor), np.deg2rad(2 * angle)
    return np.stack([cx, cy, major * minor / (major + minor), q * np.cos(double), q * np.sin(double)], axis=-1)


def from_inner(inner: np.ndarray) -> np.ndarray:
    """(..., 5) cx, cy, s, q1, q2 -> (..., 5) cx, cy, major, minor, angle_deg; NaN for no ellipse (s <= 0, |q| >= 1)."""
    cx, cy, s, q1, q2 = np.moveaxis(inner, -1, 0)
    q = np.hypot(q1, q2)
    ellipse = (q < 1) & (s > 0)
    q = np.where(ellipse, q, 0.0)
    angle = np.rad2deg(np.arctan2(q2, q1)) / 2 % 180 % 180  # -1e-17 % 180 alone is 180
    found = np.stack([cx, cy, 2 * s / (1 - q), 2 * s / (1 + q), angle], axis=-1)
    found[~ellipse] = np.nan
    return found


@dataclass(frozen=True)
class Edge:
    """Points to fit (n, 2), n may be 0; those on rows first, since these err along x and the others along y."""

    points: np.ndarray
    on_rows: int


def fit_pairs(
    pairs: list[tuple[Edge, Edge]], iris_fit: str = "auto", interpolated: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest pupils and irises, each from its own edge points and, in "auto", from lying in one plane.

    pairs         edge points of k pupils and of their irises, farther than a few pixels from any lid
    iris_fit      "auto"; "ellipse": each by itself; "circle": the iris is one, the pupil by itself
    interpolated  the points lie where a probability changes sides, not midway between two pixels
    returns       ellipses (k, 2, 5): cx, cy, major, minor, angle_deg, NaN without points, huge for those of a line;
                  standard error (k,) of log(pupil major / iris major), NaN without either

    Gauss-Newton on distances across the outlines, each point weighed by how well a mask can say where it is. That
    they share a plane counts as one more observation: of weight next to none against a whole limbus, but it bears
    what is missing where lids leave two short arcs.
    """
    outlines = _Outlines.of(pairs, SMOOTHED_VARIANCE if interpolated else CROSSING_VARIANCE)
    inner = outlines.start()
    there = inner[..., 2] > 0
    priors = _priors(there, inner[:, 1, 2], iris_fit)
    information = np.empty_like(priors)
    moving = np.arange(len(pairs))
    for _ in range(MOST_STEPS):
        now = inner[moving]
        seen, gradient = outlines.equations(now)
        seen += priors[moving]
        gradient += priors[moving] @ now.reshape(-1, 10, 1)
        change = np.linalg.solve(seen, gradient).reshape(-1, 2, 5)
        inner[moving] -= change
        information[moving] = seen
        still = np.abs(change[..., :3]).max(axis=(1, 2)) >= STEP_PX
        if not still.any():
            break
        if not still.all():
            moving, outlines = moving[still], outlines[still]
    ellipses = from_inner(inner)
    ellipses[~there] = np.nan
    return ellipses, np.where(there.all(axis=1), _log_pir_sd(inner, information), np.nan)


def _priors(there: np.ndarray, iris_px: np.ndarray, iris_fit: str) -> np.ndarray:
    """What is known of each pair before a point is seen: inverse covariances (k, 10, 10) of its numbers, around 0.

    there    (k, 2) whether there is a pupil, an iris
    iris_px  (k,) about s of the iris
    """
    priors = np.zeros((len(there), 2, 5, 2, 5))
    shape = SHAPE_SD**-2
    iris_shape = CIRCLE_SD**-2 if iris_fit == "circle" else shape
    priors[:, 0, AXIS, 0, AXIS] = ANYWHERE_PX**-2, ANYWHERE_PX**-2, ANYWHERE_PX**-2, shape, shape
    priors[:, 1, AXIS, 1, AXIS] = ANYWHERE_PX**-2, ANYWHERE_PX**-2, ANYWHERE_PX**-2, iris_shape, iris_shape
    if iris_fit == "auto":
        same = np.zeros((len(there), 5))
        same[:, :2] = (PUPIL_SHIFT_SD * np.maximum(iris_px, 1.0))[:, None] ** -2
        same[:, 3:] = PUPIL_SHAPE_SD**-2
        same[~there.all(axis=1)] = 0.0
        for one, other, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 0, -1)):
            priors[:, one, AXIS, other, AXIS] += sign * same
    return priors.reshape(-1, 10, 10)


@dataclass(frozen=True)
class _Outlines:
    """The points of k pupils and irises in one array, filled up to the longest outline.

    points    (k, 2, 2, m) x, y
    on_row    (k, 2, m) bool
    given     (k, 2, m) 1.0 for points, 0.0 for what fills up
    crossing  variance of a point along its row or column
    """

    points: np.ndarray
    on_row: np.ndarray
    given: np.ndarray
    crossing: float

    @classmethod
    def of(cls, pairs: list[tuple[Edge, Edge]], crossing: float) -> "_Outlines":
        most = max((len(edge.points) for pair in pairs for edge in pair), default=1) or 1
        shape = (len(pairs), 2, most)
        outlines = cls(np.ones((len(pairs), 2, 2, most)), np.zeros(shape, bool), np.zeros(shape), crossing)
        for i, pair in enumerate(pairs):
            for j, edge in enumerate(pair):
                count = len(edge.points)
                if count:
                    outlines.points[i, j, :, :count] = edge.points.T
                    outlines.points[i, j, :, count:] = edge.points[:1].T  # within the range of the others
                    outlines.on_row[i, j, : edge.on_rows] = True
                    outlines.given[i, j, :count] = 1.0
        return outlines

    def __getitem__(self, chosen: np.ndarray) -> "_Outlines":
        return _Outlines(self.points[chosen], self.on_row[chosen], self.given[chosen], self.crossing)

    def start(self) -> np.ndarray:
        """Ellipses (k, 2, 5) to start from: conics of least squared algebraic distance; s = 0 without points.

        |(I + Q)(p - c)|^2 = s^2 is x^2 + y^2 = A (x^2 - y^2) + 2 B x y + D x + E y + F with
        (A, B) = 2 (q1, q2) / (1 + q^2), linear in A to F. A ridge on A and B keeps a short arc's conic an ellipse.
        """
        count = np.maximum(self.given.sum(axis=-1), 1.0)[..., None]
        middle = (self.points @ self.given[..., None])[..., 0] / count
        centred = (self.points - middle[..., None]) * self.given[:, :, None]
        squares = centred * centred
        size = np.sqrt(np.maximum(squares.sum(axis=(-1, -2))[..., None] / count, 1e-6))[..., None]
        design = np.empty((*self.points.shape[:2], 6, self.points.shape[-1]))
        np.divide(centred, size, out=design[:, :, 2:4])
        squares /= size * size
        np.subtract(squares[:, :, 0], squares[:, :, 1], out=design[:, :, 0])
        np.multiply(design[:, :, 2], design[:, :, 3], out=design[:, :, 1])
        design[:, :, 1] *= 2
        design[:, :, 4] = self.given
        np.add(squares[:, :, 0], squares[:, :, 1], out=design[:, :, 5])
        moments = design[:, :, :5] @ design.swapaxes(-1, -2)
        ridge = np.full((*count.shape[:2], 5), 1e-9)
        ridge[..., :2] += (size[..., 0] * SHAPE_SD) ** -2
        moments[:, :, AXIS, AXIS] += ridge
        a, b, d, e, f = np.moveaxis(np.linalg.solve(moments[..., :5], moments[..., 5:])[..., 0], -1, 0)
        q = np.minimum(np.hypot(a, b), 0.99)
        # the centre is where the conic's slope vanishes: (1 - A) 2x - 2By = D, (1 + A) 2y - 2Bx = E
        determinant = 2 * (1 - q * q)
        x, y = ((1 + a) * d + b * e) / determinant, ((1 - a) * e + b * d) / determinant
        level = np.maximum(f + (d * x + e * y) / 2, 0.0)
        shrink = 1 / (1 + np.sqrt(1 - q * q))  # undoes 2 q / (1 + q^2)
        s = np.sqrt(level * (1 + (q * shrink) ** 2))
        centre = np.stack([x, y], axis=-1) * size[..., 0] + middle
        return np.concatenate([centre, np.stack([s * size[..., 0, 0], a * shrink, b * shrink], axis=-1)], axis=-1)

    def equations(self, inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Information (k, 10, 10) and gradient (k, 10, 1) of the squared distances across the outlines."""
        offset = self.points - inner[..., :2, None]
        q1, q2 = inner[..., 3], inner[..., 4]
        stretch = np.stack([1 - q1, -q2, -q2, 1 + q1], axis=-1).reshape(-1, 2, 2, 2)
        direction = stretch @ offset
        squared = direction * direction
        length = np.sqrt(squared[:, :, 0] + squared[:, :, 1])
        direction /= np.maximum(length, 1e-9)[:, :, None]
        across = stretch @ direction
        np.multiply(across, across, out=squared)
        steep = squared[:, :, 0] + squared[:, :, 1]
        scale = 1 / np.sqrt(np.maximum(steep, 1e-9))
        distance = (length - inner[..., 2, None]) * scale

        jacobian = np.empty((*self.points.shape[:2], 5, self.points.shape[-1]))
        jacobian[:, :, :2] = across
        jacobian[:, :, 2] = 1.0
        turned = direction * offset
        np.subtract(turned[:, :, 0], turned[:, :, 1], out=jacobian[:, :, 3])
        np.multiply(direction, offset[:, :, ::-1], out=turned)
        np.add(turned[:, :, 0], turned[:, :, 1], out=jacobian[:, :, 4])
        jacobian *= -scale[:, :, None]

        # where an outline runs nearly along a row, it crosses that anywhere, but this hardly moves it across itself
        variance = np.where(self.on_row, squared[:, :, 0], squared[:, :, 1])
        variance *= self.crossing * scale * scale
        variance += OTHER_VARIANCE
        kept = self._kept(distance)
        surplus = (kept * (distance * distance - variance)).sum(axis=-1) / np.maximum(kept.sum(axis=-1), 1.0)
        variance += CORRELATED * np.maximum(surplus - CHANCE_SURPLUS, 0.0)[..., None]
        weighted = jacobian * (kept / variance)[:, :, None]
        information = np.zeros((len(inner), 2, 5, 2, 5))
        information[:, PART, :, PART] = (weighted @ jacobian.swapaxes(-1, -2)).swapaxes(0, 1)
        return information.reshape(-1, 10, 10), (weighted @ distance[..., None]).reshape(-1, 10, 1)

    def _kept(self, distance: np.ndarray) -> np.ndarray:
        """1.0 for points to keep, 0.0 for those farther out than TRIM_SD robust standard deviations."""
        apart = np.ptp(distance, axis=-1) > TRIM_LEAST_PX
        if not apart.any():
            return self.given
        kept = self.given.copy()
        for i, j in np.argwhere(apart):
            own = distance[i, j]
            seen = own[self.given[i, j] > 0]
            if seen.size:
                middle = np.median(seen)
                sd = SD_OF_MAD * np.median(np.abs(seen - middle))
                kept[i, j] *= np.abs(own - middle) <= max(TRIM_SD * sd, TRIM_LEAST_PX)
        return kept


def _log_pir_sd(inner: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Standard errors (k,) of log(pupil major / iris major); log major is log s - log(1 - |q|)."""
    q = np.maximum(np.hypot(inner[..., 3], inner[..., 4]), 1e-9)
    slope = np.zeros((len(inner), 2, 5))
    slope[..., 2] = 1 / np.maximum(inner[..., 2], 1e-9)
    slope[..., 3:] = inner[..., 3:] / (q * np.maximum(1 - q, 1e-9))[..., None]
    slope[:, 1] *= -1
    slope = slope.reshape(-1, 10, 1)
    return np.sqrt((slope * np.linalg.solve(information, slope)).sum(axis=(1, 2)))


def _circle(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of the circle with the least squared power of its points; NaN for points on a line."""
    middle = points.sum(axis=0) / len(points)
    centred = points - middle
    power = (centred * centred).sum(axis=1)
    (xx, xy), (_, yy) = (centred.T @ centred).tolist()
    determinant = xx * yy - xy * xy
    if not determinant > LINE * (xx + yy) ** 2:
        return np.full(2, np.nan), np.nan
    u, v = (power @ centred / 2).tolist()
    x, y = (yy * u - xy * v) / determinant, (xx * v - xy * u) / determinant
    return middle + np.array([x, y]), math.sqrt(x * x + y * y + (xx + yy) / len(points))


def _from_conic(a: float, b: float, c: float, d: float, e: float, f: float) -> np.ndarray:
    """a x^2 + b x y + c y^2 + d x + e y + f = 0 -> (cx, cy, major, minor, angle_deg); NaN if that is no ellipse."""
    determinant = 4 * a * c - b * b
    if not determinant > 0:
        return np.full(5, np.nan)
    cx, cy = (b * e - 2 * c * d) / determinant, (b * d - 2 * a * e) / determinant
    sign = math.copysign(1, a + c)
    level = -(f + (d * cx + e * cy) / 2) * sign
    total, difference = abs(a + c), math.hypot(a - c, b)
    if not (level > 0 and total > difference):
        return np.full(5, np.nan)
    major, minor = (2 * math.sqrt(2 * level / (total + side * difference)) for side in (-1, 1))
    angle = math.atan2(-b * sign, (c - a) * sign) / 2
    return np.array([cx, cy, major, minor, _half_turn(angle)])


def _half_turn(radians: float) -> float:
    """Degrees in [0, 180); -1e-17 % 180 alone would be 180."""
    return math.degrees(radians) % 180 % 180
