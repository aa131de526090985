"""Rows of artifacts into a writer: all of them, chosen ones, or those of several artifacts after one another.

Tables that rows point into (the scenes of gaze samples) keep only the rows that are still pointed to; ragged rows
follow their counts; anything else is copied as it is.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gazecore.artifacts import schema
from gazecore.artifacts.store import Artifact, Variable
from gazecore.artifacts.writer import Writer, blocks_of, copied_specs
from gazecore.errors import GazeError

MISSING_BLOCK = 1024  # rows of a missing variable that are filled in at once
INTERNAL = ("Conventions", "gz_schema", "gz_schema_version", "gz_version", "gz_id", "gz_complete", "gz_provenance")


def carried_attrs(artifact: Artifact, folder: Path) -> dict[str, Any]:
    """The attributes that a copy in `folder` keeps; the path of the images is made relative to it."""
    attrs = {k: v for k, v in artifact.attrs.items() if k not in (*INTERNAL, "gz_summary")}
    if "image_root" in attrs:
        attrs["image_root"] = _relative(image_root(artifact), folder)
    return attrs


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder.resolve())).as_posix()


def image_root(artifact: Artifact) -> Path:
    """The folder that the image names of an artifact are relative to."""
    return (artifact.path.absolute().parent / artifact.attrs.get("image_root", ".")).resolve()


def copy_table(artifact: Artifact, writer: Writer, skip_dims: Sequence[str] = ()) -> None:
    """Copy every variable as it is stored, but those that run along one of `skip_dims`."""
    for variable in artifact.variables.values():
        if variable.dims[0] not in skip_dims:
            for rows in blocks_of(variable):
                writer.append_raw(variable.name, rows)


def copy_rows(artifact: Artifact, writer: Writer, rows: np.ndarray) -> None:
    """Copy the given rows of the main dimension, in the given order."""
    kept = copy_tables(artifact, writer, rows)
    _copy_along(artifact, writer, artifact.main_dim, rows, kept)


def copy_tables(artifact: Artifact, writer: Writer, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Copy what does not run along the main dimension; of the tables that rows point into, what they point to.

    returns  pointer variable -> the table rows that were kept, for `columns`
    """
    kept = kept_rows(artifact, rows)
    tables = {_pointers(artifact)[name]: used for name, used in kept.items()}
    for table, used in tables.items():
        _copy_along(artifact, writer, table, used, {})
    along = (artifact.main_dim, *tables)
    copy_table(
        artifact, writer, (*along, *(d for d, c in artifact.ragged_dims.items() if artifact[c].dims[0] in along))
    )
    return kept


def kept_rows(artifact: Artifact, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Pointer variable -> the rows of its table, ascending, that the given rows point to."""
    kept = {}
    for name, table in _pointers(artifact).items():
        kept[name] = np.unique(artifact[name].whole()[rows])
        if len(kept[name]) and not 0 <= kept[name][0] <= kept[name][-1] < artifact.dims.get(table, 0):
            raise GazeError(f"{artifact.path}: {name} points outside its table {table}; run gz verify")
    return kept


def columns(artifact: Artifact, rows: np.ndarray, kept: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every variable along the main dimension, at the given rows; pointers count among the kept table rows."""
    found = {v.name: v.take(rows) for v in artifact.variables.values() if v.dims[0] == artifact.main_dim}
    return found | {name: _moved(found[name], used) for name, used in kept.items()}


def _moved(pointers: np.ndarray, kept: np.ndarray) -> np.ndarray:
    return np.searchsorted(kept, pointers).astype(pointers.dtype)


def _pointers(artifact: Artifact) -> dict[str, str]:
    """Variables whose values are rows of a table, and that table's dimension."""
    known = schema.load(artifact.kind).variables if artifact.kind in schema.names() else {}
    return {n: known[n].indexes for n in artifact.variables if n in known and known[n].indexes}  # type: ignore[misc]


def _copy_along(artifact: Artifact, writer: Writer, dim: str, rows: np.ndarray, kept: dict[str, np.ndarray]) -> None:
    for variable in artifact.variables.values():
        if variable.dims[0] == dim:
            for part in _portions(rows, variable):
                values = variable.take(part)
                writer.append_raw(
                    variable.name, _moved(values, kept[variable.name]) if variable.name in kept else values
                )
    for ragged, counts_name in artifact.ragged_dims.items():
        if artifact[counts_name].dims[0] != dim:
            continue
        starts, ends = _ranges(artifact, ragged, counts_name)
        for variable in artifact.variables.values():
            if variable.dims[0] == ragged:
                writer.append_raw(variable.name, variable[0:0])
                for start, stop in _runs(starts[rows], ends[rows]):
                    writer.append_raw(variable.name, variable[start:stop])


def _ranges(artifact: Artifact, ragged: str, counts_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the rows of each record begin and end along a ragged dimension."""
    counts = artifact[counts_name].whole()
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if (counts < 0).any() or total != artifact.dims.get(ragged, 0):
        raise GazeError(f"{artifact.path}: {counts_name} does not count the rows of {ragged}; run gz verify")
    return ends - counts, ends


def _portions(rows: np.ndarray, variable: Variable) -> Iterable[np.ndarray]:
    step = max(1, (8 << 20) // max(variable.row_bytes, 1))
    return (rows[start : start + step] for start in range(0, len(rows), step))


def _runs(starts: np.ndarray, stops: np.ndarray, most: int = 8 << 20) -> Iterable[tuple[int, int]]:
    """Neighbouring ranges joined, up to a bounded length."""
    begin = end = -1
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if start == end and stop - begin <= most:
            end = stop
            continue
        if end > begin:
            yield begin, end
        begin, end = start, stop
    if end > begin:
        yield begin, end


# ---- several artifacts after one another -----------------------------------------------------------------------------


class Concatenation:
    """Artifacts of one kind, to be appended one after another; GazeError lists everything that keeps them apart.

    specs   the specifications of all their variables, for the writer
    attrs   the attributes in which they agree, for the writer
    """

    def __init__(self, artifacts: Sequence[Artifact], folder: Path):
        self._artifacts = artifacts
        self._annotators = max(a.dims.get("annotator", 0) for a in artifacts)
        self._once: set[str] = set()  # dimensions of tables that all artifacts share, such as the names of classes
        self.attrs = {
            k: v
            for k, v in carried_attrs(artifacts[0], folder).items()
            if all(carried_attrs(a, folder).get(k) == v for a in artifacts)
        }
        self.attrs["history"] = artifacts[0].attrs.get("history", "")
        found = [
            f'{a.path} holds "{a.kind}", {artifacts[0].path} holds "{artifacts[0].kind}"'
            for a in artifacts[1:]
            if a.kind != artifacts[0].kind
        ]
        self.specs = self._joined_specs(found)
        self._share_tables(found)
        self._prefixes = self._join_image_roots(folder, found)
        if found:
            raise GazeError("these artifacts cannot be joined:\n  " + "\n  ".join(found))

    def append(self, artifact: Artifact, writer: Writer) -> None:
        """Append a whole artifact: pointers are moved, missing variables NaN or empty, annotators padded with NaN."""
        pointers = _pointers(artifact)
        offsets = {name: writer.rows(table) for name, table in pointers.items()}
        there = {dim for dim in self._once if writer.rows(dim)}
        for spec in self.specs:
            if spec.dims[0] in there:
                continue
            if spec.name not in artifact:
                fill = "" if spec.dtypes[0] == "string" else np.nan
                count = artifact.dims.get(spec.dims[0], 0)
                for start in range(0, count, MISSING_BLOCK):
                    shape = (min(MISSING_BLOCK, count - start), *self._tail(spec))
                    writer.append_raw(spec.name, np.full(shape, fill))
                continue
            for rows in blocks_of(artifact[spec.name]):
                if spec.name in offsets:
                    rows = rows + np.asarray(offsets[spec.name], rows.dtype)
                if spec.name == "image_name":
                    rows = np.strings.add(self._prefixes[artifact.path], rows)
                writer.append_raw(spec.name, self._padded(rows, spec))

    def _joined_specs(self, found: list[str]) -> list[schema.VariableSpec]:
        specs: dict[str, schema.VariableSpec] = {}
        for artifact in self._artifacts:
            for spec in copied_specs(artifact):
                specs.setdefault(spec.name, spec)
        for name, spec in specs.items():
            holders = [a for a in self._artifacts if name in a]
            dtypes = {a[name].dtype_name for a in holders}
            if len({"string" if d == "string" else np.dtype(d).kind for d in dtypes}) > 1:
                found.append(f"{name} is {' and '.join(sorted(dtypes))}")
                continue
            if any(a[name].dims != spec.dims for a in holders):
                found.append(f"{name} has dims {' and '.join(sorted({str(a[name].dims) for a in holders}))}")
                continue
            dtype = dtypes.pop() if len(dtypes) == 1 else str(np.result_type(*dtypes))
            specs[name] = replace(spec, dtypes=(dtype,))
            tails = {self._padded_tail(a[name].shape, spec) for a in holders}
            if len(tails) > 1:
                found.append(f"{name} has rows of {' and '.join(str(t) for t in sorted(tails))}")
            missing = [str(a.path) for a in self._artifacts if name not in a and a.dims.get(spec.dims[0])]
            if missing and not dtype.startswith(("float", "string")) and not spec.name.startswith("image_"):
                found.append(f"{name} is missing in {', '.join(missing)} and cannot be NaN")
        return list(specs.values())

    def _share_tables(self, found: list[str]) -> None:
        """Tables that no pointer leads to are taken once where they are equal; class tables must be."""
        appended = {dim for a in self._artifacts for dim in (a.main_dim, *_pointers(a).values(), *a.ragged_dims)}
        tables = [spec for spec in self.specs if spec.dims[0] not in appended]
        differ = [s for s in tables if len({a[s.name].digest() for a in self._artifacts if s.name in a}) > 1]
        self._once = {spec.dims[0] for spec in tables} - {spec.dims[0] for spec in differ}
        names = {spec.name for spec in self.specs}
        found += [f"{s.name} differs, so the classes do too" for s in differ if f"{s.dims[0]}_class" in names]

    def _join_image_roots(self, folder: Path, found: list[str]) -> dict[Path, str]:
        """What comes before the image names of each artifact; sets image_root when the images are files."""
        by_path = [a for a in self._artifacts if "image_root" in a.attrs]
        if not by_path:
            return {a.path: "" for a in self._artifacts}
        packed = [str(a.path) for a in self._artifacts if a not in by_path]
        if packed:
            files = ", ".join(str(a.path) for a in by_path)
            found.append(
                f"{', '.join(packed)} hold their images, {files} name files; prepare all with the same --images"
            )
        roots = {a.path: image_root(a) for a in by_path}
        common = Path(os.path.commonpath(list(roots.values())))
        self.attrs["image_root"] = _relative(common, folder)
        prefixes = {path: root.relative_to(common).as_posix() for path, root in roots.items()}
        return {path: "" if prefix == "." else prefix + "/" for path, prefix in prefixes.items()}

    def _padded_tail(self, shape: tuple[int, ...], spec: schema.VariableSpec) -> tuple[int, ...]:
        return tuple(self._annotators if d == "annotator" else n for n, d in zip(shape[1:], spec.dims[1:], strict=True))

    def _tail(self, spec: schema.VariableSpec) -> tuple[int, ...]:
        holder = next(a for a in self._artifacts if spec.name in a)
        return self._padded_tail(holder[spec.name].shape, spec)

    def _padded(self, rows: np.ndarray, spec: schema.VariableSpec) -> np.ndarray:
        if "annotator" not in spec.dims:
            return rows
        axis = spec.dims.index("annotator")
        pad = [(0, self._annotators - rows.shape[axis] if i == axis else 0) for i in range(rows.ndim)]
        return np.pad(rows, pad, constant_values=np.nan)
