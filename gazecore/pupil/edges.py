"""Where the outline of a mask runs: between two pixels, not through their centres.

A contour through pixel centres (cv2.findContours) makes every diameter a pixel too short. Here an edge point lies
midway between two neighbours of which one belongs to the region: on average, that is where the true outline is.
Regions lie in a crop around them whose rim is OUTSIDE, so that one can step through it by flat pixel indices.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

# px, Chebyshev: an edge so near to background may be the lid's, not the eye's; 2 or 3 cost more arc than they save
LID_DISTANCE = 1
RIM = LID_DISTANCE + 1
OUTSIDE = 255  # no class: beyond the border of the image


@dataclass(frozen=True)
class Crop:
    """Part of a label map, at `left`, `top` of the image: `labels` (h, w), OUTSIDE where the image has ended."""

    labels: np.ndarray
    left: int
    top: int

    @cached_property
    def near_lid(self) -> np.ndarray:
        """(h * w,) bool: within LID_DISTANCE of class 0; what runs over the end of a row stays within the rim."""
        width = self.labels.shape[1]
        background = self.labels.ravel() == 0
        near = background.copy()
        for step in range(1, LID_DISTANCE + 1):
            near[step:] |= background[:-step]
            near[:-step] |= background[step:]
        across = near.copy()
        for step in range(width, width * LID_DISTANCE + 1, width):
            near[step:] |= across[:-step]
            near[:-step] |= across[step:]
        return near

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The same part of another image (height, width) of the same eye, 0 on the rim."""
        height, width = self.labels.shape
        out = np.zeros((height, width), image.dtype)
        inside = image[max(self.top, 0) : self.top + height, max(self.left, 0) : self.left + width]
        out[max(-self.top, 0) :, max(-self.left, 0) :][: inside.shape[0], : inside.shape[1]] = inside
        return out


@dataclass(frozen=True)
class Region:
    """A connected region without holes in a crop.

    starts, ends  (n,) flat indices of the first and last pixel of each of its runs, in reading order
    mask          (h * w,) bool
    """

    starts: np.ndarray
    ends: np.ndarray
    mask: np.ndarray

    @cached_property
    def area(self) -> int:
        return int((self.ends - self.starts).sum()) + len(self.starts)


@dataclass(frozen=True)
class Outline:
    """Edge points of a region, those on rows first.

    points    (n, 2) x, y in pixels of the image, centre of the top-left pixel at (0, 0)
    on_rows   how many of them lie between neighbours of a row; the others between neighbours of a column
    inner     (n,) flat index of the neighbour within the region
    outer     (n,) of the one without
    free      (n,) bool: farther than LID_DISTANCE from class 0
    """

    points: np.ndarray
    on_rows: int
    inner: np.ndarray
    outer: np.ndarray
    free: np.ndarray


def crop(labels: np.ndarray) -> Crop | None:
    """The box around iris and pupil (classes 1 and 2) of labels (h, w) uint8 and RIM pixels more; None without any."""
    disc = np.subtract(labels, 1, dtype=np.uint8) <= 1
    rows = np.flatnonzero(disc.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(disc[rows[0] : rows[-1] + 1].any(axis=0))
    (height, width), top, left = labels.shape, int(rows[0]) - RIM, int(columns[0]) - RIM
    bottom, right = int(rows[-1]) + RIM + 1, int(columns[-1]) + RIM + 1
    inside = labels[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    framed = np.full((bottom - top, right - left), OUTSIDE, np.uint8)
    framed[max(-top, 0) :, max(-left, 0) :][: inside.shape[0], : inside.shape[1]] = inside
    return Crop(framed, left, top)


def opening(labels: np.ndarray) -> float:
    """The largest distance of the lids in pixels: of the part of the eye around iris and pupil, not of stray ones.

    Parts are told apart on every second pixel: where there are several, the distance is right to a pixel.
    """
    shown = labels != 0
    thin = labels[::2, ::2]
    parts, count = ndimage.label(thin)
    if count > 1:
        sizes = np.bincount(parts[(thin == 1) | (thin == 2)], minlength=count + 1)
        if sizes.any():
            own = np.repeat(np.repeat(parts == sizes.argmax(), 2, axis=0), 2, axis=1)
            shown = shown & own[: labels.shape[0], : labels.shape[1]]
    return float(shown.view(np.uint8).sum(axis=0, dtype=np.uint16).max(initial=0))


def interpolated(line: Outline, margin: np.ndarray) -> np.ndarray:
    """The points (n, 2) of an outline, each moved to where the margin passes 0 between its two neighbours.

    margin  (h * w,) of the crop: probability of the region less that of what lies beyond its outline

    A point stays midway where the margin does not change its sign, as where the neighbour is of a third class.
    """
    within, without = margin[line.inner], margin[line.outer]
    crossing = (within > 0) & (without < 0)
    share = np.where(crossing, within / np.where(crossing, within - without, 1), 0.5)
    shift = (share - 0.5) * np.sign(line.outer - line.inner)
    points = line.points.copy()
    points[: line.on_rows, 0] += shift[: line.on_rows]
    points[line.on_rows :, 1] += shift[line.on_rows :]
    return points


def region(mask: np.ndarray, touching: np.ndarray | None = None) -> Region:
    """The largest 4-connected part of a mask (h, w) bool, its holes filled; the mask is not empty, its rim is False.

    touching  (h * w,) bool: only parts that hold one of these pixels count; all of them if none does
    """
    return _whole(mask.ravel(), mask.shape[1]) or _largest(mask, touching)


def outline(part: Region, frame: Crop) -> Outline:
    """The edge points of a region, without those on the border of the image."""
    labels, width = frame.labels.ravel(), frame.labels.shape[1]
    upper = np.flatnonzero(part.mask[width:] != part.mask[:-width])
    upper_inside = part.mask[upper]
    inner = np.concatenate([part.starts, part.ends, np.where(upper_inside, upper, upper + width)])
    outer = np.concatenate([part.starts - 1, part.ends + 1, np.where(upper_inside, upper + width, upper)])
    on_rows = 2 * len(part.starts)
    inside = labels[outer] != OUTSIDE
    if not inside.all():
        on_rows = int(np.count_nonzero(inside[:on_rows]))
        inner, outer = inner[inside], outer[inside]
    y, x = np.divmod(inner, width)
    half = (outer - inner) / 2  # +-0.5 between neighbours of a row, +-width / 2 between those of a column
    points = np.empty((len(inner), 2))
    points[:, 0] = x
    points[:, 1] = y
    points[:on_rows, 0] += half[:on_rows]
    points[on_rows:, 1] += half[on_rows:] / width
    points += frame.left, frame.top
    return Outline(points, on_rows, inner, outer, ~frame.near_lid[inner])


def _whole(mask: np.ndarray, width: int) -> Region | None:
    """The region if each row has one run and each run touches the next: then there is nothing to search or to fill.

    The outline of an eye is of this kind; only a network's specks and holes are not.
    """
    found = _runs(mask)
    starts, ends = found.starts, found.ends
    if not (np.diff(starts // width) == 1).all():
        return None
    joined = (starts[1:] <= ends[:-1] + width) & (starts[:-1] + width <= ends[1:])
    return found if joined.all() else None


def _runs(mask: np.ndarray) -> Region:
    changes = np.flatnonzero(mask[1:] != mask[:-1])
    return Region(changes[::2] + 1, changes[1::2], mask)


def _largest(mask: np.ndarray, touching: np.ndarray | None) -> Region:
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    if touching is not None:
        touched = np.bincount(parts.ravel()[touching], minlength=len(sizes)) > 0
        touched[0] = False
        if touched.any():
            sizes[~touched] = 0
    chosen = parts == sizes.argmax()
    whole = _whole(chosen.ravel(), chosen.shape[1])
    if whole is not None:
        return whole
    around, _ = ndimage.label(~chosen)
    return _runs((around != around[0, 0]).ravel())
