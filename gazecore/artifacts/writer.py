"""Writing artifacts: rows in, whole chunks out; nothing under the final name before it is complete.

A writer works in `.NAME.part-XXXX` beside the target, commits the rows that are safe on disk now and then (so that a
killed writer can be resumed), and at the end computes the content id, writes the attributes and renames.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import secrets
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gazecore import __version__
from gazecore.artifacts import export, provenance, schema
from gazecore.artifacts.atomic import delete, replace, signals_wait, sync, sync_entry
from gazecore.artifacts.columns import Column
from gazecore.artifacts.identity import combine
from gazecore.artifacts.shards import check_whole_shards
from gazecore.artifacts.store import Artifact, Variable, open_artifact
from gazecore.errors import EXISTS, IO, USAGE, GazeError

COMMIT_ROWS = 4096
COMMIT_SECONDS = 30.0
SUFFIXES = (".zarr", ".zarr.zip", ".h5")
BYTES = (bytes, bytearray, memoryview)
SMALL = "gz_small"  # group of an unfinished artifact: small arrays written anew, about to replace the first ones
FREE = ("out", "overwrite", "resume", "workers", "progress", "device", "batch_size")  # may differ when resumed


class Writer:
    """Writes one artifact; `artifacts.create(...)` makes it. Append rows, then leave the `with` block.

    with artifacts.create("maps.zarr", "heatmaps") as writer:
        writer.append(heatmap=block, name=names)                 # rows of the main dimension `sample`
        writer.append(dim="image", image_name=..., image_data=[jpeg, jpeg])   # ragged: a list, one item per row
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        resume: bool = False,
        extra: Sequence[schema.VariableSpec] = (),
        keep_half: bool = False,
        durable: bool = True,
    ):
        import zarr

        self.path, self.kind, self.overwrite = Path(path), kind, overwrite
        self.keep_half, self.durable = keep_half, durable
        self.attrs: dict[str, Any] = dict(attrs or {})
        self.resumable = resume
        self.summary: dict[str, Any] = {}  # headline numbers, for the reference line and the attribute gz_summary
        self.complete = False
        self._specs, self._version = _specs(kind, extra)
        check_target(self.path, overwrite)
        zarr.config.set({"array.write_empty_chunks": True})
        found = find_part(self.path) if resume else None
        self.part = found or self.path.parent / f".{self.path.name}.part-{secrets.token_hex(3)}"
        self._columns: dict[str, Column] = {}
        self._empty: set[str] = set()  # variables that got empty lists, which know neither dtype nor shape
        self._consistent: dict[str, int] = {}  # rows of each column after the last whole record
        self._committed = time.monotonic()
        self._rows_at_commit = 0
        job = self._job(provenance.current().entries()[-1])
        begun = {
            "gz_schema": kind,
            "gz_schema_version": self._version,
            "gz_complete": 0,
            "gz_rows": "{}",
            "gz_job": job,
        }
        with signals_wait():
            try:
                if found:
                    self._root = zarr.open_group(self.part, mode="r+", zarr_format=3, use_consolidated=False)
                else:
                    self._root = zarr.create_group(self.part, zarr_format=3, attributes=begun)
            except OSError as error:
                code = IO if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else EXISTS
                raise GazeError(f"cannot write beside {self.path}: {error.strerror or error}", code) from error
            self._lock = os.open(self.part, os.O_RDONLY)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if found:
                    self._continue(job)
            except BlockingIOError as error:
                os.close(self._lock)
                raise GazeError(f"another command is writing {self.path} right now", EXISTS) from error
            except BaseException:
                os.close(self._lock)
                raise
            _unfinished.append(self)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            if not self.complete:
                self.abandon()

    def rows(self, dim: str = "sample") -> int:
        """Rows that were appended so far, those of a resumed run included: where to go on."""
        return max((c.rows for c in self._columns.values() if c.dims[0] == dim), default=0)

    def append(self, dim: str = "sample", **columns: Any) -> None:
        """Append rows along `dim`: one array, or for ragged variables one list of arrays (or bytes) per variable.

        Rows of other dims that belong to a sample (its images) come before it: a resumed run goes on after the last
        append along `sample`.
        """
        lengths = {name: len(rows) for name, rows in columns.items()}
        if len(set(lengths.values())) > 1:
            raise GazeError(f"columns of different lengths in one append: {lengths}")
        ready = {name: rows for name, rows in columns.items() if not self._spec(name).ragged_by}
        for name in sorted(columns.keys() - ready.keys()):
            ready[name], counts = self._joined(columns[name])
            counter = self._spec(name).ragged_by or ""
            if not np.array_equal(ready.setdefault(counter, counts), counts):
                raise GazeError(f"{name} does not have the numbers of rows that {counter} says")
        for name in ready:
            spec = self._spec(name)
            if spec.dims[0] != dim and not spec.ragged_by:
                raise GazeError(f"{name} runs along {spec.dims[0]}, not along {dim}")
        with signals_wait():
            for name, rows in ready.items():
                self._add(self._spec(name), rows)
            if dim == "sample":
                self._consistent = {name: column.rows for name, column in self._columns.items()}
                new_rows = self.rows() - self._rows_at_commit
                if new_rows >= COMMIT_ROWS or time.monotonic() - self._committed > COMMIT_SECONDS:
                    self.commit()

    def append_raw(self, name: str, rows: np.ndarray) -> None:
        """Append rows of one variable as they are stored (ragged rows without their counts): for copies."""
        with signals_wait():
            self._add(self._spec(name), rows)

    def commit(self) -> None:
        """Every whole record appended so far is safe on disk and would survive a kill."""
        for column in self._columns.values():
            column.flush()
        self._root.attrs["gz_rows"] = json.dumps(self._consistent)
        self._committed, self._rows_at_commit = time.monotonic(), self.rows()

    def finish(self) -> Path:
        """Complete the artifact and move it to its final name."""
        import zarr

        with signals_wait():
            if not self._root.attrs["gz_complete"]:
                self._complete()
            self._take_small()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # consolidated metadata is not in the v3 specification yet
                zarr.consolidate_metadata(self._root.store)
        self._export_and_rename()
        self._end()
        return self.path

    def _complete(self) -> None:
        """All rows and, as the one last step, the attributes that say so."""
        self._begin_empty()
        aside = self._root.create_group(SMALL)
        for column in self._columns.values():
            column.finish(aside)
        self._check()
        identity = {
            n: (c.dtype_name, (c.rows, *c.tail), c.dims, c.digest.hexdigest()) for n, c in self._columns.items()
        }
        history = self.attrs.pop("history", "")
        self._root.attrs.put(
            {
                "Conventions": "CF-1.11",
                "gz_schema": self.kind,
                "gz_schema_version": self._version,
                "gz_version": __version__,
                "gz_id": combine(identity),
                "gz_complete": 1,
                **({"gz_summary": provenance.strict_json(self.summary)} if self.summary else {}),
                **provenance.attributes(provenance.current(), history),
                **{k: _attribute(v) for k, v in self.attrs.items() if _attribute(v) is not None},
            }
        )

    def _take_small(self) -> None:
        """Put the arrays of the group SMALL in place of those they were copied from; a resumed writer may repeat it."""
        for folder in sorted((self.part / SMALL).glob("*/")):
            shutil.rmtree(self.part / folder.name, ignore_errors=True)
            folder.rename(self.part / folder.name)
        shutil.rmtree(self.part / SMALL, ignore_errors=True)

    def abandon(self) -> None:
        """Leave nothing behind; a resumable writer keeps what is safe on disk."""
        with signals_wait():
            if not self.resumable:
                for pause in (0.0, 0.02, 0.1):  # after an error, threads of zarr may still be writing
                    time.sleep(pause)
                    delete(self.part)
            elif not self._root.attrs["gz_complete"]:
                with contextlib.suppress(OSError):
                    self.commit()
            delete(self._exported)
            self._end()

    def _end(self) -> None:
        os.close(self._lock)
        self.complete = True
        _unfinished.remove(self)

    def _check(self) -> None:
        if self.kind not in schema.names():
            return
        with open_artifact(self.part, incomplete=True) as artifact:
            found = schema.problems(artifact)
        if found:
            raise GazeError(f"what was written is no {self.kind}: {'; '.join(found)}")

    @property
    def _exported(self) -> Path:
        return self.part.with_name(self.part.name + ".file")

    def _export_and_rename(self) -> None:
        done = self.part
        if self.path.name.endswith((".zip", ".h5")):
            done = self._exported
            with open_artifact(self.part) as artifact:
                export.write(artifact, done, "h5" if self.path.suffix == ".h5" else "zarr.zip", self.keep_half)
        with signals_wait():
            if self.durable:
                sync(done)
            replace(done, self.path, self.overwrite)
            if self.durable:
                sync_entry(self.path.absolute().parent)
            delete(self.part)

    def _spec(self, name: str) -> schema.VariableSpec:
        if name not in self._specs:
            raise GazeError(f'"{self.kind}" has no variable {name}; it has {", ".join(self._specs)}')
        return self._specs[name]

    def _add(self, spec: schema.VariableSpec, rows: Any) -> None:
        column = self._columns.get(spec.name)
        if not len(rows) and (column or not isinstance(rows, np.ndarray)):
            self._empty.add(spec.name)
            return
        rows = _typed(rows, spec, column)
        if rows.ndim != len(spec.dims):
            raise GazeError(f"{spec.name} has rows of shape {rows.shape[1:]}; expected ({', '.join(spec.dims[1:])})")
        if column is None:
            dtype = "string" if rows.dtype.kind in "TOU" else rows.dtype.name
            column = self._columns[spec.name] = self._column(spec, dtype, rows.shape[1:])
        column.append(rows)

    def _column(self, spec: schema.VariableSpec, dtype_name: str, tail: tuple[int, ...]) -> Column:
        counted = next((other.dims[0] for other in self._specs.values() if other.ragged_by == spec.name), None)
        return Column(self._root, spec, dtype_name, tail, {"sample_dimension": counted} if counted else {})

    def _joined(self, items: Sequence[Any]) -> tuple[Any, np.ndarray]:
        """The rows of all items after one another, and how many each has."""
        parts = [np.frombuffer(item, np.uint8) if isinstance(item, BYTES) else np.asarray(item) for item in items]
        filled = [part for part in parts if len(part)]
        return np.concatenate(filled) if filled else [], np.array([len(part) for part in parts], np.int64)

    def _begin_empty(self) -> None:
        """Begin the variables that got empty lists only, if the schema says how long their other dimensions are."""
        dims = schema.load(self.kind).dims if self.kind in schema.names() else {}
        for spec in (self._specs[name] for name in sorted(self._empty - self._columns.keys())):
            tail = [dims.get(dim) for dim in spec.dims[1:]]
            if None not in tail:
                self._add(spec, np.empty((0, *tail), object if spec.dtypes[0] == "string" else spec.dtypes[0]))

    def _job(self, entry: Mapping[str, Any]) -> str:
        """What must be equal for a resumed run: options and inputs, not where or how fast it writes."""
        plain = json.loads(provenance.strict_json(entry))
        config = {k: v for k, v in sorted(plain["config"].items()) if k not in FREE}
        return json.dumps([self.kind, config, [i.get("id") for i in plain["inputs"]]])

    def _continue(self, ours: str) -> None:
        """Go on with the work of a killed writer; GazeError when it did something else."""
        for file in self.part.rglob("*.partial"):  # of zarr's, which renames them when they are whole
            file.unlink()
        attrs: dict[str, Any] = dict(self._root.attrs)
        began = attrs.get("gz_job")
        if attrs["gz_complete"]:  # killed between its last attribute and the renaming
            self._take_small()
            attrs["gz_rows"] = json.dumps({name: array.shape[0] for name, array in self._root.arrays()})
            steps = json.loads(attrs.get("gz_provenance", "[]"))
            began = self._job(steps[-1]) if steps else ours
        if began != ours:
            raise GazeError(
                f"{self.part.name} was begun with other options or inputs: {began} instead of {ours}; "
                "repeat the first command line, or remove it with gz clean"
            )
        self._consistent = json.loads(attrs["gz_rows"])
        for name in sorted({key for key, _ in self._root.members()} - self._consistent.keys()):
            del self._root[name]  # begun, but never committed
        for name, rows in self._consistent.items():
            stored = Variable(name, self._root[name], self._spec(name).dims, {})
            self._columns[name] = self._column(self._spec(name), stored.dtype_name, stored.shape[1:])
            self._columns[name].resume(rows)
        self._rows_at_commit = self.rows()


_unfinished: list[Writer] = []


def abandon_unfinished() -> None:
    """Abandon the writers whose `with` block a signal did not let begin."""
    for writer in list(_unfinished):
        writer.abandon()


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse, before any work, a target that exists, has no known suffix or whose folder is missing."""
    if not path.name.endswith(SUFFIXES):
        raise GazeError(f"{path}: artifacts end in {', '.join(SUFFIXES)}", USAGE)
    if os.path.lexists(path) and not overwrite:
        raise GazeError(f"{path} exists; --overwrite replaces it", EXISTS)
    if not path.absolute().parent.is_dir():
        raise GazeError(f"{path}: the folder {path.parent} does not exist", EXISTS)


def find_part(path: Path) -> Path | None:
    """The unfinished work of an earlier writer of `path`, the newest if there are several."""
    parts = [p for p in path.absolute().parent.glob(f".{path.name}.part-*") if (p / "zarr.json").is_file()]
    return max(parts, key=lambda p: p.stat().st_mtime, default=None)


def place(array: Any, start: int, rows: np.ndarray) -> None:
    """Write rows of a pre-sized array as one of several processes; rows that fill a shard only in part are refused."""
    unit = (array.shards or array.chunks)[0]
    check_whole_shards(start, len(rows), array.shape[0], unit, array.basename or "the array")
    array[start : start + len(rows)] = rows


def copied_specs(artifact: Artifact) -> list[schema.VariableSpec]:
    """Specifications of the variables of an open artifact, for a writer that copies it whatever its kind."""
    known = schema.load(artifact.kind).variables if artifact.kind in schema.names() else {}
    ragged = artifact.ragged_dims
    return [
        known.get(v.name)
        or schema.VariableSpec(
            name=v.name,
            dims=v.dims,
            dtypes=(v.dtype_name,),
            help=str(v.attrs.get("long_name", "")),
            units=str(v.attrs.get("units", "1")),
            ragged_by=ragged.get(v.dims[0]),
            packed=v.dtype_name == "uint8" and v.dims[0] in ragged and len(v.dims) == 1,
        )
        for v in artifact.variables.values()
    ]


def blocks_of(variable: Variable) -> Iterator[np.ndarray]:
    """The rows of a variable in blocks of bounded size; one empty block when it has none."""
    return (variable[start:stop] for start, stop in [*variable.row_blocks()] or [(0, 0)])


def _specs(kind: str, extra: Sequence[schema.VariableSpec]) -> tuple[dict[str, schema.VariableSpec], str]:
    known: dict[str, schema.VariableSpec] = {}
    version = "1.0"
    if kind in schema.names():
        loaded = schema.load(kind)
        known, version = dict(loaded.variables), loaded.version
    return known | {spec.name: spec for spec in extra}, version


def _typed(rows: Any, spec: schema.VariableSpec, column: Column | None) -> np.ndarray:
    """Rows in the dtype of the column: as it began, else as given where the schema allows it, else its first."""
    try:
        if spec.dtypes[0] == "string":
            return np.asarray(rows, dtype=np.dtypes.StringDType())
        rows = np.asarray(rows)
        given = rows.dtype.name
        wanted = column.dtype_name if column else given if given in spec.dtypes else spec.dtypes[0]
        if given == wanted:
            return rows
        with np.errstate(over="raise", invalid="raise"):
            typed = rows.astype(wanted)
    except (TypeError, ValueError, FloatingPointError) as error:
        raise GazeError(f"{spec.name}: {error}; expected {' or '.join(spec.dtypes)}") from error
    if typed.dtype.kind in "iu" and not np.array_equal(typed, rows):
        raise GazeError(f"{spec.name} is {wanted}, which cannot hold {rows[typed != rows].ravel()[0]}")
    return typed


def _attribute(value: Any) -> str | int | float | None:
    """A root attribute as every container can hold it: text or a finite number; else JSON text; missing is None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, str | int | float) else provenance.strict_json(value)
