"""Heat maps against reference maps and fixations: pairing by name, resizing, saliency metrics, summary."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gazecore import heatmaps
from gazecore.artifacts import Artifact, schema
from gazecore.artifacts.pipe import inputs, scratch
from gazecore.artifacts.schema import VariableSpec
from gazecore.errors import NO_INPUT, USAGE, GazeError, raise_all
from gazecore.eval import summaries
from gazecore.metrics import plugins, saliency
from gazecore.prep import heatmap_files

KINDS = ("heatmaps", "gaze-predictions")
KNOWN = schema.load("heatmaps").variables
BLOCK = 256
MOST_OTHERS = 10_000  # fixations of other images that shuffled AUC compares with

Key = tuple[str, float]
Columns = dict[str, Any]


def sources(source: str) -> Iterator[Artifact]:
    """The heat maps that a command reads: artifacts by name or from the pipe, or plain files."""
    if source != "-" and heatmap_files.is_plain(Path(source)):
        yield open_maps(Path(source))
    else:
        yield from inputs(source, kind=KINDS)


def open_maps(path: Path) -> Artifact:
    """An artifact, or plain files by way of a temporary artifact that goes away with the command."""
    if not heatmap_files.is_plain(path):
        return next(inputs(path, kind=KINDS))
    return scratch("heatmaps", heatmap_files.read(path), {"source": path.name, "normalisation": "none"})


def blocks(predictions: Artifact, count: int) -> Iterator[Columns]:
    """The first `count` maps as columns of a heatmaps artifact."""
    for start in range(0, count, BLOCK):
        rows = slice(start, min(start + BLOCK, count))
        names, frames = _keys(predictions, rows)
        yield {"heatmap": heatmap_files.maps_of(predictions, rows), "name": names, "frame": frames}


def _keys(artifact: Artifact, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    names = artifact["name" if artifact.kind == "heatmaps" else "sample_id"][rows]
    frames = artifact["frame"][rows] if "frame" in artifact else np.full(len(names), np.nan)
    return names, frames


def _key(name: str, frame: float) -> Key:
    return str(name), -1.0 if np.isnan(frame) else float(frame)


def read_fixations(path: Path, coords: str) -> dict[str, np.ndarray]:
    """Fixations (n, 2) by image from a table with the header image,x,y; pixels from 0, or normalised (marked later).

    coords  "px" pixels from 0, "px1" pixels from 1, "norm" 0..1 of the map (kept as they are)
    """
    if coords not in ("px", "px1", "norm"):
        raise GazeError(f"--coords {coords}: expected px, px1 or norm", USAGE)
    found: dict[str, list[tuple[float, float]]] = {}
    problems = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"image", "x", "y"} - set(reader.fieldnames or ())
            if missing:
                raise GazeError(f"{path} has no column {', '.join(sorted(missing))}; its header is {reader.fieldnames}")
            for number, row in enumerate(reader, 2):
                try:
                    x, y = float(row["x"]), float(row["y"])
                except (TypeError, ValueError):
                    problems.append(f"line {number}: x {row['x']!r}, y {row['y']!r} are no numbers")
                    continue
                shift = 1 if coords == "px1" else 0
                found.setdefault(row["image"], []).append((x - shift, y - shift))
    except OSError as error:
        raise GazeError(f"{path} cannot be read: {error.strerror}", NO_INPUT) from error
    raise_all(problems, str(path))
    return {name: np.array(points) for name, points in found.items()}


def chosen(metrics: str) -> tuple[list[str] | None, dict[str, plugins.Metric]]:
    """--metrics as our own names (None: all that the inputs permit) and the plug-ins among them."""
    if metrics == "auto":
        return None, {}
    names = [name.strip() for name in metrics.split(",")]
    ours = [name for name in names if name in saliency.METRICS]
    return ours, plugins.load([name for name in names if name not in ours])


@dataclass
class Truth:
    """What predictions are compared with.

    reference  maps, paired by name and frame
    fixations  image name -> (n, 2) x, y of the compared map
    baseline   maps for information gain, paired like the reference; a single one serves all
    """

    reference: Artifact | None = None
    fixations: dict[str, np.ndarray] = field(default_factory=dict)
    normalised: bool = False
    baseline: Artifact | None = None
    matched: bool = False

    def __post_init__(self) -> None:
        self._rows = {a: _rows_by_key(a) for a in (self.reference, self.baseline) if a is not None}

    def rows(self, artifact: Artifact, names: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """The row of each name in an artifact, -1 where there is none."""
        rows = self._rows[artifact]
        if artifact is self.baseline and len(artifact) == 1:
            return np.zeros(len(names), int)
        return np.array([rows.get(_key(n, f), -1) for n, f in zip(names, frames, strict=True)])

    def points(self, names: np.ndarray, size: tuple[int, int], dropped: Counter[str]) -> np.ndarray:
        """Fixations (len(names), most, 2) in pixels of maps of `size`, NaN padded; those outside are dropped."""
        found = [self._points_of(str(name), size, dropped) for name in names]
        padded = np.full((len(found), max(map(len, found), default=0), 2), np.nan)
        for row, points in zip(padded, found, strict=True):
            row[: len(points)] = points
        return padded

    def others(self, names: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Fixations of the other images, (len(names), k, 2), for shuffled AUC."""
        ignored: Counter[str] = Counter()
        pool = [(name, self._points_of(name, size, ignored)) for name in self.fixations]
        found = []
        for name in names:
            rest = [points for other, points in pool if other not in (str(name), Path(str(name)).stem)]
            joined = np.concatenate(rest) if rest else np.empty((0, 2))
            found.append(joined[:: max(1, -(-len(joined) // MOST_OTHERS))])
        padded = np.full((len(found), max(map(len, found), default=0), 2), np.nan)
        for row, points in zip(padded, found, strict=True):
            row[: len(points)] = points
        return padded

    def _points_of(self, name: str, size: tuple[int, int], dropped: Counter[str]) -> np.ndarray:
        points = self.fixations.get(name, self.fixations.get(Path(name).stem))
        if points is None:
            return np.empty((0, 2))
        self.matched = True
        height, width = size
        points = points * (width, height) if self.normalised else points
        inside = ((points >= 0) & (points < (width, height))).all(axis=-1)
        dropped["fixations outside the map"] += int((~inside).sum())
        return points[inside]


def _rows_by_key(artifact: Artifact) -> dict[Key, int]:
    names, frames = _keys(artifact, slice(0, len(artifact)))
    rows = {_key(n, f): i for i, (n, f) in enumerate(zip(names, frames, strict=True))}
    if len(rows) < len(names):
        raise GazeError(
            f"{artifact.path}: {len(names) - len(rows)} maps share name and frame with another; rename them"
        )
    return rows


@dataclass
class Scores:
    """Scores of heat maps, block by block, and what they add up to."""

    truth: Truth
    metrics: Sequence[str] | None
    added: dict[str, plugins.Metric] = field(default_factory=dict)
    strict_size: bool = False
    n: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    size: str = ""
    _columns: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, block: Columns) -> Columns:
        """The block's columns with its scores; NaN where a partner is missing or a score is not defined."""
        maps, names, frames = block["heatmap"], block["name"], block["frame"]
        reference = self.truth.reference
        rows = self.truth.rows(reference, names, frames) if reference is not None else np.zeros(len(maps), int)
        paired = rows >= 0
        given: Columns = {}
        size = maps.shape[1:]
        if reference is not None:
            size = reference["heatmap"].shape[1:]
            given["annotations"] = _taken(reference, rows[paired])
        compared = self._resized(maps[paired], size)
        if self.truth.fixations:
            given["fixations"] = self.truth.points(names[paired], size, self.skipped)
            if len(self.truth.fixations) > 1 and (self.metrics is None or "sauc" in self.metrics):
                given["others"] = self.truth.others(names[paired], size)
        if self.truth.baseline is not None:
            baseline = self.truth.rows(self.truth.baseline, names[paired], frames[paired])
            if (baseline < 0).any():
                raise GazeError(f"{self.truth.baseline.path} lacks maps for {(baseline < 0).sum()} of the predictions")
            given["baseline"] = heatmaps.density(_resize(_taken(self.truth.baseline, baseline), size))
        found = saliency.score_block(compared, metrics=self.metrics, **given) if paired.any() else {}
        for name, metric in self.added.items():
            if "annotations" not in given:
                raise GazeError(f"plug-in metric {name} compares with maps: give --reference", USAGE)
            found[name] = plugins.score(name, metric, compared, given["annotations"])
        self.n += len(maps)
        self.skipped["no reference of that name"] += int((~paired).sum())
        scores = {}
        for name, values in found.items():
            scores[name] = np.full(len(maps), np.nan)
            scores[name][paired] = values
            self.skipped[f"{name} not defined"] += int(np.isnan(values).sum())
            self._columns.setdefault(name, []).append(scores[name])
        return block | scores

    def specs(self) -> list[VariableSpec]:
        """Specifications of the columns that the schema does not know."""
        names = [*(self.metrics or ()), *self.added]
        return [VariableSpec(n, ("sample",), ("float64",), f"score {n}") for n in names if n not in KNOWN]

    def _resized(self, maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        self.size = f"{size[0]} x {size[1]}"
        if maps.shape[1:] == size:
            return maps
        if self.strict_size:
            raise GazeError(
                f"predictions are {maps.shape[1:]}, their references {size}; --strict-size forbids resizing"
            )
        self.size += f", predictions resized from {maps.shape[1]} x {maps.shape[2]}"
        return _resize(maps, size)

    def summary(self, seed: int = 0) -> dict[str, Any]:
        """See eval/summaries.py; `compared_at` says at which size, KL and SIM depend on it."""
        if self.truth.fixations and not self.truth.matched:
            some = ", ".join(list(self.truth.fixations)[:3])
            raise GazeError(f"no fixation belongs to any of the maps; the table names {some}: compare with gz info")
        if not self._columns:
            raise GazeError("no prediction has a reference of its name; compare the names with gz info")
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        found = {name: summaries.mean(values, seed) for name, values in columns.items()}
        return {
            "n": self.n,
            "compared_at": self.size,
            "skipped": {reason: count for reason, count in self.skipped.items() if count},
            "metrics": {name: score for name, score in found.items() if score},
        }


def _taken(artifact: Artifact, rows: np.ndarray) -> np.ndarray:
    maps = artifact["heatmap"].take(rows)
    if maps.dtype == np.uint8:
        return heatmaps.dequantise(maps, artifact["scale"].take(rows))
    return maps.astype(np.float32)


def _resize(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if maps.shape[1:] == size:
        return maps
    shrinks = size[0] < maps.shape[1] or size[1] < maps.shape[2]
    return heatmaps.resize(maps, size, "bilinear-antialias" if shrinks else "bilinear")
