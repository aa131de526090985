"""Masks of an eye -> pupil-iris ratio (PIR), frame by frame.

`pir` is the major axis of the fitted, full pupil ellipse over that of the iris: seen from afar, the major axis does
not foreshorten. `pir_area` is the pupil's area over that of the full iris disc. Both are of the apparent (entrance)
pupil, which the cornea magnifies. Lids do not matter: what they hide is no edge, and the ellipses go on beneath them.

Classes: 0 background, 1 iris, 2 pupil, 3 sclera. Pixels: the centre of the top-left pixel is (0, 0).
"""

import math
from dataclasses import dataclass

import numpy as np

from gazecore.errors import USAGE, GazeError
from gazecore.pupil import edges, ellipse
from gazecore.pupil.edges import Crop, Region
from gazecore.pupil.ellipse import Edge

IRIS_FITS = ("auto", "ellipse", "circle")
AXES = ("cx_px", "cy_px", "major_px", "minor_px", "angle_deg")
NUMBERS = (
    "pir",
    "pir_area",
    *(f"{part}_{axis}" for part in ("pupil", "iris") for axis in AXES),
    "pupil_confidence",
    "iris_confidence",
    "iris_visible",
    "aperture",
)

FEWEST_POINTS = 12
LEAST_AXIS_RATIO = 0.5
LARGEST_BESIDE_MASK = 4  # an ellipse so many times as long as what is seen goes through points of a line
LARGEST_PIR_SD = 0.05  # standard error of log(pir) beyond which a ratio says nothing
SHORT_ARC = 0.25  # share of an outline's points that lids leave free
PIR_RANGE = (0.1, 0.85)
PUPIL_MM_RANGE = (1.5, 9.0)
BLINK_APERTURE = 0.35
FRAMES_AT_ONCE = 16  # their fits share each step of arithmetic
NO_EDGE = Edge(np.empty((0, 2)), 0)
ARC_SAMPLES = 128
AROUND = 2 * np.pi * np.arange(ARC_SAMPLES) / ARC_SAMPLES
COSINES, SINES = np.cos(AROUND), np.sin(AROUND)


def measure(
    labels: np.ndarray, probability: np.ndarray | None = None, iris_fit: str = "auto", hvid_mm: float = 11.7
) -> dict[str, np.ndarray]:
    """Pupil and iris ellipses and their ratio for every mask, under the names of the pupil-trace artifact.

    labels       (..., h, w) uint8, classes 0 to 3
    probability  (..., 4, h, w) or None: of the classes; it places edges between pixels and fills the confidences
    iris_fit     "auto": pupil and iris lie in one plane, which counts the more the less of either is seen;
                 "ellipse": each by itself; "circle": the iris is one, for a frontal eye
    hvid_mm      horizontal visible iris diameter of the person; only for the flag pupil_size
    returns      arrays (...): NUMBERS (float64, NaN where there is nothing to measure), blink (uint8), flags (str,
                 joined by ";")

    Flags without a ratio: no_pupil, no_iris, pupil_points and iris_points (fewer than 12 free of lids), pupil_shape
    and iris_shape (axis ratio below 0.5, or a line), pupil_outside_iris, uncertain (standard error above 5 %).
    Flags beside one: pupil_short_arc and iris_short_arc (lids leave less than a quarter of the outline), pir_range
    (outside 0.1 to 0.85), pupil_size (outside 1.5 to 9 mm), aperture. `blink` is 1 without a pupil or where the
    lids are less than 0.35 iris diameters apart.
    Raises GazeError for arrays that do not fit, other classes and an unknown `iris_fit`.
    """
    labels = np.asarray(labels)
    if labels.ndim < 2 or labels.dtype != np.uint8:
        raise GazeError(f"labels are {labels.dtype} {labels.shape}; expected uint8 (..., h, w) of classes 0 to 3")
    if labels.max(initial=0) > 3:
        raise GazeError(f"labels hold class {labels.max()}; expected 0 background, 1 iris, 2 pupil, 3 sclera")
    if iris_fit not in IRIS_FITS:
        raise GazeError(f'iris_fit "{iris_fit}"; expected one of {", ".join(IRIS_FITS)}', USAGE)
    lead, size = labels.shape[:-2], labels.shape[-2:]
    masks = labels.reshape(-1, *size)
    maps = _maps(probability, lead, size) if probability is not None else [None] * len(masks)
    numbers = np.full((len(masks), len(NUMBERS)), np.nan)
    blink = np.zeros(len(masks), np.uint8)
    flags = np.empty(len(masks), object)
    for first in range(0, len(masks), FRAMES_AT_ONCE):
        chosen = range(first, min(first + FRAMES_AT_ONCE, len(masks)))
        views = [_view(masks[i], maps[i]) for i in chosen]
        ellipses, sds = ellipse.fit_pairs([view.edges for view in views], iris_fit, probability is not None)
        for i, view, shapes, sd in zip(chosen, views, ellipses, sds.tolist(), strict=True):
            found, doubts = view.numbers(shapes, sd, hvid_mm)
            numbers[i] = [found.get(name, np.nan) for name in NUMBERS]
            blink[i] = "no_pupil" in doubts or "aperture" in doubts
            flags[i] = ";".join(doubts)
    columns = {name: numbers[:, k].reshape(lead) for k, name in enumerate(NUMBERS)}
    return columns | {"blink": blink.reshape(lead), "flags": flags.astype(np.str_).reshape(lead)}


def _maps(probability: np.ndarray, lead: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    probability = np.asarray(probability)
    if probability.shape != (*lead, 4, *size):
        raise GazeError(
            f"the probability is {probability.shape}, the labels are {lead + size}; expected {(*lead, 4, *size)}"
        )
    return probability.reshape(-1, 4, *size)


@dataclass(frozen=True)
class _View:
    """What one frame shows: its lids, regions, the edge points of pupil and iris, what is doubtful about these.

    parts, edges, scores  of the pupil and of the iris disc; scores are probabilities within the crop
    """

    opening_px: float
    frame: Crop | None
    parts: tuple[Region, Region] | None
    edges: tuple[Edge, Edge]
    scores: tuple[np.ndarray | None, np.ndarray | None]
    flags: list[str]

    def numbers(self, shapes: np.ndarray, log_pir_sd: float, hvid_mm: float) -> tuple[dict[str, float], list[str]]:
        """The numbers that exist, given the ellipses (2, 5), and all flags."""
        numbers: dict[str, float] = {}
        flags = list(self.flags)
        if self.frame is None or self.parts is None:
            return numbers, flags
        pupil, iris = shapes.tolist()
        for i, (name, shape) in enumerate((("pupil", pupil), ("iris", iris))):
            if not len(self.edges[i].points):
                continue
            longest = LARGEST_BESIDE_MASK * max(self.frame.labels.shape)
            if not (LEAST_AXIS_RATIO * shape[2] <= shape[3] and shape[2] <= longest):
                flags.append(f"{name}_shape")
                continue
            numbers |= {f"{name}_{axis}": value for axis, value in zip(AXES, shape, strict=True)}
            numbers[f"{name}_confidence"] = _confidence(self.parts[i], shape, self.frame, self.scores[i])
        if "iris_major_px" not in numbers:
            return numbers, flags
        numbers["iris_visible"] = _visible(iris, self.frame)
        numbers["aperture"] = self.opening_px / iris[2]
        if numbers["aperture"] < BLINK_APERTURE:
            flags.append("aperture")
        if "pupil_major_px" not in numbers:
            return numbers, flags
        if not _holds(iris, pupil[0], pupil[1]) or pupil[2] > iris[2]:
            flags.append("pupil_outside_iris")
        elif not log_pir_sd <= LARGEST_PIR_SD:
            flags.append("uncertain")
        else:
            pir = numbers["pir"] = pupil[2] / iris[2]
            numbers["pir_area"] = pupil[2] * pupil[3] / (iris[2] * iris[3])
            if not PIR_RANGE[0] <= pir <= PIR_RANGE[1]:
                flags.append("pir_range")
            if not PUPIL_MM_RANGE[0] <= pir * hvid_mm <= PUPIL_MM_RANGE[1]:
                flags.append("pupil_size")
        return numbers, flags


def _view(labels: np.ndarray, probability: np.ndarray | None) -> _View:
    opening, frame = edges.opening(labels), edges.crop(labels)
    is_pupil = frame.labels == 2 if frame else np.zeros(0, bool)
    if frame is None or not is_pupil.any():
        missing = ["no_pupil"] if frame else ["no_pupil", "no_iris"]
        return _View(opening, None, None, (NO_EDGE, NO_EDGE), (None, None), missing)
    pupil = edges.region(is_pupil)
    disc = edges.region(is_pupil | (frame.labels == 1), pupil.mask)
    scores: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    margins = scores
    if probability is not None:
        _, of_iris, of_pupil, of_sclera = (frame.cut(one) for one in probability)
        scores = of_pupil, of_iris + of_pupil
        margins = of_pupil - of_iris, of_iris + of_pupil - of_sclera
    flags: list[str] = []
    pupil_edge = _edge(pupil, "pupil", frame, margins[0], flags)
    if disc.area == pupil.area:
        return _View(opening, frame, (pupil, disc), (pupil_edge, NO_EDGE), scores, [*flags, "no_iris"])
    iris_edge = _edge(disc, "iris", frame, margins[1], flags)
    return _View(opening, frame, (pupil, disc), (pupil_edge, iris_edge), scores, flags)


def _edge(part: Region, name: str, frame: Crop, margin: np.ndarray | None, flags: list[str]) -> Edge:
    """The edge points of a part that no lid makes; none and a flag for too few."""
    outline = edges.outline(part, frame)
    free = outline.free
    count = np.count_nonzero(free)
    if count < FEWEST_POINTS:
        flags.append(f"{name}_points")
        return NO_EDGE
    if count < SHORT_ARC * len(free):
        flags.append(f"{name}_short_arc")
    points = outline.points if margin is None else edges.interpolated(outline, margin.ravel())
    return Edge(points[free], int(np.count_nonzero(free[: outline.on_rows])))


def _confidence(part: Region, shape: list[float], frame: Crop, score: np.ndarray | None) -> float:
    """Overlap (IoU) of mask and ellipse, times the mean probability within the ellipse (DeepVOG's confidence).

    What lids hide of the ellipse counts as not overlapped.
    """
    width = frame.labels.shape[1]
    y = part.starts // width
    left, right = _chords(shape, frame, y)
    begin = y * width
    common = np.minimum(part.ends - begin + 0.5, right) - np.maximum(part.starts - begin - 0.5, left)
    shared = float(np.maximum(common, 0).sum())
    overlap = shared / (part.area + math.pi / 4 * shape[2] * shape[3] - shared)
    if score is None:
        return overlap
    left, right = _chords(shape, frame, np.arange(len(score))[:, None])
    columns = np.arange(width)
    within = score[(columns > left) & (columns < right)]
    return overlap * float(within.mean()) if within.size else 0.0


def _chords(shape: list[float], frame: Crop, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rows y of the crop enter and leave an ellipse; infinitely far apart the wrong way where they miss it."""
    cx, cy, major, minor, angle = shape
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    a, b = major / 2, minor / 2
    height = (a * sine) ** 2 + (b * cosine) ** 2
    off = y - (cy - frame.top)
    inside = height - off * off
    half = np.sqrt(np.maximum(inside, 0))
    half *= a * b / height
    half[inside <= 0] = -np.inf
    middle = cx - frame.left + off * ((a * a - b * b) * sine * cosine / height)
    return middle - half, middle + half


def _holds(shape: list[float], x: float, y: float) -> bool:
    """Whether a point lies within an ellipse."""
    cx, cy, major, minor, angle = shape
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, aside = (x - cx) * cosine + (y - cy) * sine, (y - cy) * cosine - (x - cx) * sine
    return math.hypot(2 * along / major, 2 * aside / minor) <= 1


def _visible(shape: list[float], frame: Crop) -> float:
    """Share of an ellipse's outline that lies in the image and not on class 0."""
    cx, cy, major, minor, angle = shape
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    a, b = major / 2, minor / 2
    x = a * cosine * COSINES - b * sine * SINES + (cx - frame.left + 0.5)
    y = a * sine * COSINES + b * cosine * SINES + (cy - frame.top + 0.5)
    columns, rows = x.astype(np.intp), y.astype(np.intp)
    height, width = frame.labels.shape
    there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    classes = frame.labels[rows[there], columns[there]]
    return float(np.count_nonzero((classes != 0) & (classes != edges.OUTSIDE)) / ARC_SAMPLES)
