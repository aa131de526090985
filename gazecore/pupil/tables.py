"""Pupil tables on disk: frames and trials as tidy CSV files, frames in the names of Pupil Player too, events.

Frames  one row per frame and eye; FRAMES gives the columns. Missing is an empty cell, never a list in a cell.
        Pupil Player's `pupil_positions.csv` is read by its own names: pupil_timestamp, eye_id (0 right, 1 left),
        confidence, diameter (px), diameter_3d (mm), method; of rows in two methods those of one unit are taken.
Events  a CSV with onset_s, optionally stimulus_s, subject, trial, eye: without one of these the event holds for all.
Trials  one row per recording and onset; TRIALS gives the columns.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gazecore.artifacts import Artifact, inputs
from gazecore.artifacts.pipe import scratch
from gazecore.errors import DATA, NO_INPUT, GazeError, raise_all
from gazecore.pupil.reflex import clinical
from gazecore.pupil.trace import segmentation_blinks

Unit = Literal["ratio", "px", "mm"]
ELLIPSE = ("cx_px", "cy_px", "major_px", "minor_px", "angle_deg")

# column of the table -> variable of a pupil-trace artifact
FRAMES = {
    **{name: name for name in ("frame", "time_s", "eye", "subject", "trial", "pir", "pir_area")},
    "pupil_cx": "pupil_cx_px",
    "pupil_cy": "pupil_cy_px",
    **{name: name for name in ("pupil_major_px", "pupil_minor_px", "pupil_angle_deg")},
    "iris_cx": "iris_cx_px",
    "iris_cy": "iris_cy_px",
    **{name: name for name in ("iris_major_px", "iris_minor_px", "iris_angle_deg")},
    "pupil_conf": "pupil_confidence",
    "iris_conf": "iris_confidence",
    **{name: name for name in ("iris_visible", "aperture", "blink", "interpolated", "pir_smooth", "velocity_per_s")},
    "flags": "flags",
}
# column of Pupil Player's export -> variable
PLAYER = {
    "pupil_timestamp": "time_s",
    "eye_id": "eye",
    "confidence": "pupil_confidence",
    "diameter": "pupil_major_px",
    "diameter_3d": "pupil_mm",
    "world_index": "frame",
    "ellipse_center_x": "pupil_cx_px",
    "ellipse_center_y": "pupil_cy_px",
    "ellipse_angle": "pupil_angle_deg",
}
PLAYER_EYES = {"0": "R", "1": "L"}
PLAYER_CONFIDENCE = 0.8  # what Pupil Labs recommend, below which a sample counts as missing
TEXT = {"eye", "subject", "trial", "flags"}
MASKS = {"blink", "interpolated"}

# column of the table -> variable of a plr artifact
TRIALS = {
    **{name: name for name in ("subject", "eye", "trial", "onset_s")},
    "stim_s": "stimulus_s",
    "fs_hz": "sampling_rate_hz",
    "resolution_ms": "resolution_ms",
    "n": "n",
    "pct_missing": "missing_percent",
    "pct_interpolated": "interpolated_percent",
    "baseline": "baseline",
    "anisocoria": "anisocoria",
    "latency_pct1": "latency_pct1_s",
    "latency_vel10": "latency_vel10_s",
    "latency_acc": "latency_acc_s",
    "peak": "peak",
    "peak_time": "peak_s",
    "amplitude": "amplitude",
    "amplitude_pct": "amplitude_percent",
    "mcv": "mcv_per_s",
    "mcv_time": "mcv_s",
    "acv": "acv_per_s",
    "constriction_time": "constriction_time_s",
    "mdv": "mdv_per_s",
    "adv": "adv_per_s",
    "t50": "t50_s",
    "t75": "t75_s",
    "t50_from_onset": "t50_from_onset_s",
    "t75_from_onset": "t75_from_onset_s",
    "pipr6_pct": "pipr6_percent",
    "plateau_pct": "plateau_percent",
    "auc_early_pct_s": "auc_early_percent_s",
    "auc_late_pct_s": "auc_late_percent_s",
    "noise": "noise",
    "units": "unit",
    "flags": "flags",
    "ok": "ok",
}


@dataclass(frozen=True, eq=False)
class Recording:
    """One eye of one trial: sizes (t,) at time_s (t,), and the samples that are not to be trusted."""

    subject: str
    trial: str
    eye: str
    time_s: np.ndarray
    size: np.ndarray
    blink: np.ndarray

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.subject, self.trial, self.eye))) or "the recording"


@dataclass(frozen=True)
class Event:
    """A light: None where it holds for every subject, trial or eye."""

    onset_s: float
    stimulus_s: float
    subject: str | None = None
    trial: str | None = None
    eye: str | None = None

    def concerns(self, recording: Recording) -> bool:
        return all(getattr(self, name) in (None, getattr(recording, name)) for name in ("subject", "trial", "eye"))


# ---- frames ----


def sources(source: str) -> Iterator[Artifact]:
    """The pupil traces that a command reads: artifacts by name or from the pipe, or tables."""
    if source != "-" and Path(source).suffix.lower() in (".csv", ".tsv"):
        columns = read_frames(Path(source))
        yield scratch("pupil-trace", [columns], {"source": Path(source).name})
    else:
        yield from inputs(source, kind="pupil-trace")


def read_frames(path: Path) -> dict[str, np.ndarray]:
    """The columns of a table of frames under the names of a pupil-trace artifact, rows in their order.

    GazeError  NO_INPUT when there is no such file, DATA with all lines that cannot be read
    """
    header, rows = _table(path)
    known = {**FRAMES, **{name: name for name in FRAMES.values()}, "confidence": "pupil_confidence"}
    player = "pupil_timestamp" in header
    if player:
        known = PLAYER
        rows = _one_method(header, rows)
    at = {known[name]: header.index(name) for name in known if name in header}
    if "time_s" not in at:
        raise GazeError(f"{path} has no column time_s (or pupil_timestamp); it has {', '.join(header)}")
    problems: list[str] = []
    columns: dict[str, np.ndarray] = {}
    for name, column in at.items():
        cells = [row[column] if column < len(row) else "" for _, row in rows]
        if name in TEXT:
            columns[name] = np.array([PLAYER_EYES.get(c, c) for c in cells] if player else cells, dtype=str)
        else:
            lines = [line for line, _ in rows]
            columns[name] = _numbers(cells, lines, header[column], problems)
    raise_all(problems, str(path), "Every cell is a number, or empty where there is none")
    if not len(rows):
        raise GazeError(f"{path} has a header but no rows")
    for name in MASKS & columns.keys():
        columns[name] = np.nan_to_num(columns[name]).astype(np.uint8)
    if "pir" not in columns:
        columns["pir"] = np.full(len(rows), np.nan)
    columns["sample_id"] = np.array([f"{path.stem}/{line}" for line, _ in rows])
    return columns


def write_frames(path: Path, columns: Mapping[str, Any], names: Literal["gz", "pupil"] = "gz") -> None:
    """Frames, as variables of a pupil-trace artifact (t,), to a CSV file.

    names  "gz": FRAMES; "pupil": Pupil Player's (pupil_timestamp, eye_id, confidence, diameter in px, method)
    """
    if names == "gz":
        header = {name: ours for name, ours in FRAMES.items() if ours in columns}
        table: dict[str, Any] = {name: columns[ours] for name, ours in header.items()}
    else:
        eye_ids = {eye: number for number, eye in PLAYER_EYES.items()}
        table = {name: columns[ours] for name, ours in PLAYER.items() if ours in columns}
        table["eye_id"] = [eye_ids.get(str(eye), "") for eye in columns.get("eye", [""] * len(columns["time_s"]))]
        table["method"] = ["gz pir"] * len(columns["time_s"])
    _write(path, table)


def recordings(
    columns: Mapping[str, np.ndarray], unit: Unit | None = None, hvid_mm: float = 11.7, confidence: float | None = None
) -> tuple[list[Recording], str]:
    """Frames grouped by subject, trial and eye, in the order in which they first appear; and the unit of their sizes.

    unit        "ratio" takes pir, "px" the pupil's major axis, "mm" the diameter_3d of Pupil Player or else pir times
                hvid_mm, an estimate, since irises differ; None takes the first of these that there is
    confidence  samples of lower pupil_confidence count as missing; None: PLAYER_CONFIDENCE where the sizes are Pupil
                Player's, else 0
    """
    sizes, measured_in, player = _sizes(columns, unit, hvid_mm)
    time_s = columns["time_s"]
    keys = [columns.get(name, np.full(len(time_s), "")) for name in ("subject", "trial", "eye")]
    least = confidence if confidence is not None else PLAYER_CONFIDENCE if player else 0.0
    if "pupil_confidence" in columns:
        sizes = np.where(columns["pupil_confidence"] < least, np.nan, sizes)
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, labels in enumerate(zip(*(map(str, column) for column in keys), strict=True)):
        groups.setdefault(labels, []).append(i)
    found = []
    for (subject, trial, eye), members in groups.items():
        rows = np.array(members)
        area = columns["pupil_major_px"][rows] * columns["pupil_minor_px"][rows] if _has_axes(columns) else None
        aperture = columns["aperture"][rows] if "aperture" in columns else None
        blink = segmentation_blinks(time_s[rows], area, aperture)
        if "blink" in columns:
            blink |= columns["blink"][rows] > 0
        found.append(Recording(subject, trial, eye, time_s[rows], sizes[rows], blink))
    return found, measured_in


# ---- events and trials ----


def read_events(path: Path, stimulus_s: float) -> list[Event]:
    """Events of a table; stimulus_s for those that do not say how long their light lasts."""
    header, rows = _table(path)
    if "onset_s" not in header:
        raise GazeError(f"{path} has no column onset_s; it has {', '.join(header)}")
    at = {name: header.index(name) for name in ("onset_s", "stimulus_s", "subject", "trial", "eye") if name in header}
    problems: list[str] = []
    lines = [line for line, _ in rows]
    times = {
        name: _numbers([row[at[name]] for _, row in rows], lines, name, problems)
        for name in ("onset_s", "stimulus_s")
        if name in at
    }
    problems += [
        f"line {line}: no onset_s" for line, onset in zip(lines, times["onset_s"], strict=True) if onset != onset
    ]
    raise_all(problems, str(path))
    lasting = np.nan_to_num(times.get("stimulus_s", np.full(len(rows), np.nan)), nan=stimulus_s)
    return [
        Event(
            float(times["onset_s"][i]),
            float(lasting[i]),
            **{name: row[at[name]] or None for name in ("subject", "trial", "eye") if name in at},
        )
        for i, (_, row) in enumerate(rows)
    ]


def matched(events: Sequence[Event], found: Sequence[Recording]) -> list[list[Event]]:
    """The events of each recording, by onset; GazeError with all that lie outside, or concern no recording."""
    problems, of_each = [], []
    for recording in found:
        own = sorted((event for event in events if event.concerns(recording)), key=lambda event: event.onset_s)
        begin, end = float(recording.time_s.min()), float(recording.time_s.max())
        problems += [
            f"{recording.name}: {event.onset_s:g} s; it was recorded from {begin:g} to {end:g} s"
            for event in own
            if not begin <= event.onset_s <= end
        ]
        of_each.append(own)
    for event in events:
        if not any(event.concerns(recording) for recording in found):
            whose = ", ".join(str(key) for key in (event.subject, event.trial, event.eye) if key)
            problems.append(f"{event.onset_s:g} s of {whose}: there is no such recording")
    raise_all(problems, "events outside the recordings", "Onsets are seconds on the clock of time_s")
    return of_each


def write_trials(path: Path, columns: Mapping[str, Any], unit: str, names: Literal["gz", "clinical"] = "gz") -> None:
    """Trials, as variables of a plr artifact, to a CSV file.

    names  "gz": TRIALS; "clinical": those of clinical pupillometers, MAX, MIN, CON%, LAT ..., each with its unit
    """
    columns = {**columns, "unit": [unit] * len(columns["onset_s"])}
    table = {name: columns[ours] for name, ours in TRIALS.items() if ours in columns}
    if names == "clinical":
        table = {name: table[name] for name in ("subject", "eye", "trial", "onset_s", "flags", "ok") if name in table}
        table |= clinical(columns, unit)
    _write(path, table)


# ---- cells ----


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and rows with their line numbers; the delimiter is what the header has most of."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise GazeError(f"{path} does not exist", NO_INPUT) from error
    except UnicodeDecodeError as error:
        raise GazeError(f"{path} is no UTF-8 text: {error}", DATA) from error
    lines = text.splitlines()
    if not lines:
        raise GazeError(f"{path} is empty; expected a table with a header")
    delimiter = max(",\t;", key=lines[0].count)
    reader = csv.reader(lines, delimiter=delimiter)
    header = [name.strip() for name in next(reader)]
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    raise_all(
        (f"line {n}: {len(row)} cells; the header has {len(header)}" for n, row in rows if len(row) != len(header)),
        str(path),
    )
    return header, rows


def _numbers(cells: list[str], lines: list[int], name: str, problems: list[str]) -> np.ndarray:
    found = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        if cell and cell.lower() not in ("nan", "na", "none"):
            try:
                found[i] = float(cell)
            except ValueError:
                problems.append(f"line {lines[i]}: {name} is {cell!r}, no number")
    return found


def _one_method(header: list[str], rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Pupil Player writes each frame once per method: the rows of 3-D where there are any, else all."""
    if "method" not in header:
        return rows
    column = header.index("method")
    three = [(line, row) for line, row in rows if "3d" in row[column].lower()]
    return three or rows


def _sizes(columns: Mapping[str, np.ndarray], unit: Unit | None, hvid_mm: float) -> tuple[np.ndarray, str, bool]:
    """Sizes, their unit, and whether they are Pupil Player's own (it knows no iris)."""
    known = {name for name in ("pir", "pupil_major_px", "pupil_mm") if _any(columns.get(name))}
    player = "pupil_mm" in columns or "pir" not in known
    if unit is None:
        unit = "ratio" if "pir" in known else "mm" if "pupil_mm" in known else "px"
    if unit == "mm" and "pupil_mm" in known:
        return columns["pupil_mm"], "mm", player
    wanted = {"ratio": "pir", "mm": "pir", "px": "pupil_major_px"}[unit]
    if wanted not in known:
        raise GazeError(f"--unit {unit} needs {wanted}, which has no value here; there is {', '.join(sorted(known))}")
    if unit == "mm":
        return columns["pir"] * hvid_mm, f"mm (estimated: iris of {hvid_mm:g} mm)", player
    return columns[wanted], unit, player


def _any(values: np.ndarray | None) -> bool:
    return values is not None and bool(np.isfinite(values).any())


def _has_axes(columns: Mapping[str, np.ndarray]) -> bool:
    return "pupil_major_px" in columns and "pupil_minor_px" in columns


def _write(path: Path, table: Mapping[str, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*(map(_cell, column) for column in table.values()), strict=True))


def _cell(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else f"{value:.9g}"
    return value


def shown(columns: Mapping[str, Any], unit: str) -> tuple[dict[str, Any], list[tuple], tuple[str, ...]]:
    """Trials as a document with all numbers, and as a table (rows, header) with those that one looks at first."""
    single = {name: np.asarray(columns[name]).tolist() for name in TRIALS.values() if name in columns}
    rows = [dict(zip(single, row, strict=True)) for row in zip(*single.values(), strict=True)]
    header = ("recording", "onset_s", "baseline", "ampl_%", "lat_ms", "peak_s", "mcv_/s", "t75_s", "flags")
    table = [
        (
            " ".join(str(row[name]) for name in ("subject", "trial", "eye") if row[name]) or "-",
            f"{row['onset_s']:g}",
            _short(row["baseline"], 4),
            _short(row["amplitude_percent"], 1),
            _short(1000 * row["latency_pct1_s"], 0),
            _short(row["peak_s"], 3),
            _short(row["mcv_per_s"], 3),
            _short(row["t75_s"], 3),
            row["flags"] or "ok",
        )
        for row in rows
    ]
    return {"unit": unit, "trials": rows}, table, header


def _short(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
