"""Writing artifacts: rows in, whole chunks out; nothing under the final name before it is complete.

A writer works in `.NAME.part-XXXX` beside the target, commits the rows that are safe on disk now and then (so that a
killed writer can be resumed), and at the end computes the content id, writes the attributes and renames.
"""

import contextlib
import fcntl
import json
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
from gazecore.artifacts.identity import Digest, combine
from gazecore.artifacts.shards import Layout, check_whole_shards, layout
from gazecore.artifacts.store import Artifact, Variable, open_artifact
from gazecore.errors import EXISTS, IO, USAGE, GazeError

COMMIT_ROWS = 4096
COMMIT_SECONDS = 30.0
SMALL_ARRAY = 8 << 20  # bytes; below, an array is one chunk
SUFFIXES = (".zarr", ".zarr.zip", ".h5")


class Column:
    """One variable on its way to disk: rows wait here until they fill a shard (or a chunk)."""

    def __init__(self, root: Any, spec: schema.VariableSpec, rows: np.ndarray):
        self.name, self.dims = spec.name, spec.dims
        self.dtype_name = "string" if rows.dtype.kind in "TOU" else rows.dtype.name
        self.tail = rows.shape[1:]
        self.layout = layout(self.dtype_name, self.tail, spec.packed)
        attrs = {"units": spec.units, "long_name": spec.help}
        self.array = _create(root, spec.name, self.dtype_name, self.tail, self.layout, spec.dims, attrs)
        self.written = 0  # rows on disk that the buffer does not hold
        self.buffer: list[np.ndarray] = []
        self.buffered = 0
        self.digest = Digest()

    @property
    def rows(self) -> int:
        return self.written + self.buffered

    def append(self, rows: np.ndarray) -> None:
        if rows.shape[1:] != self.tail:
            raise GazeError(f"{self.name}: rows of shape {rows.shape[1:]} after rows of shape {self.tail}")
        self.digest.update(rows)
        self.buffer.append(rows)
        self.buffered += len(rows)
        whole = self.buffered - self.buffered % self.layout.unit
        if whole:
            waiting = self._waiting()
            self._put(waiting[:whole])
            self.written += whole
            self.buffer = [waiting[whole:].copy()]
            self.buffered -= whole

    def flush(self) -> None:
        """Put the incomplete last shard on disk too; its rows stay here, so that it is written whole again later."""
        if self.buffered:
            self._put(self._waiting())

    def shrink(self, root: Any) -> None:
        """Cut an array that stayed small into one chunk without a shard; all its rows are still in the buffer."""
        rows = self._waiting() if self.buffer else None
        if rows is None or self.written or rows.nbytes > SMALL_ARRAY or len(rows) >= self.layout.chunk_rows:
            return
        attrs = dict(self.array.attrs)
        cut = Layout(max(len(rows), 1), None, self.layout.codec)
        del root[self.name]
        self.array = _create(root, self.name, self.dtype_name, self.tail, cut, self.dims, attrs)
        self._put(rows)

    def resume(self, rows: int) -> None:
        """Go on after `rows` rows of an earlier writer."""
        stored = Variable(self.name, self.array, self.dims, {})
        self.written = rows - rows % self.layout.unit
        step = max(1, COMMIT_ROWS if self.layout.codec else self.layout.unit)
        for start in range(0, rows, step):
            self.digest.update(stored[start : min(start + step, rows)])
        self.buffer = [stored[self.written : rows].copy()]
        self.buffered = rows - self.written

    def _waiting(self) -> np.ndarray:
        return self.buffer[0] if len(self.buffer) == 1 else np.concatenate(self.buffer)

    def _put(self, rows: np.ndarray) -> None:
        stop = self.written + len(rows)
        if self.array.shape[0] != stop:
            self.array.resize((stop, *self.tail))
        self.array[self.written : stop] = rows


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
    ):
        import zarr

        self.path, self.kind, self.overwrite, self.keep_half = Path(path), kind, overwrite, keep_half
        self.attrs: dict[str, Any] = dict(attrs or {})
        self.resumable = resume
        self.summary: dict[str, Any] = {}  # headline numbers, for the reference line and the attribute gz_summary
        self.complete = False
        self._specs, self._version = _specs(kind, extra)
        check_target(self.path, overwrite)
        zarr.config.set({"array.write_empty_chunks": True})
        found = find_part(self.path) if resume else None
        self.part = found or self.path.parent / f".{self.path.name}.part-{secrets.token_hex(3)}"
        try:
            self._root = zarr.open_group(self.part, mode="r+" if found else "w-", zarr_format=3)
        except OSError as error:
            raise GazeError(f"cannot write beside {self.path}: {error.strerror or error}", IO) from error
        self._lock = os.open(self.part, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise GazeError(f"another command is writing {self.path} right now", EXISTS) from error
        self._columns: dict[str, Column] = {}
        self._committed = time.monotonic()
        self._rows_at_commit = 0
        if found:
            self._continue()
        else:
            begun = {"gz_schema": kind, "gz_schema_version": self._version, "gz_complete": 0}
            self._root.attrs.update({**begun, "gz_rows": "{}", "gz_job": self._job()})

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        if kind is None:
            self.finish()
        elif not self.complete:
            self.abandon()

    def rows(self, dim: str = "sample") -> int:
        """Rows that were appended so far, those of a resumed run included: where to go on."""
        return max((c.rows for c in self._columns.values() if c.dims[0] == dim), default=0)

    def append(self, dim: str = "sample", **columns: Any) -> None:
        """Append rows along `dim`: one array, or for ragged variables one list of arrays (or bytes) per variable."""
        lengths = {name: len(rows) for name, rows in columns.items()}
        if len(set(lengths.values())) > 1:
            raise GazeError(f"columns of different lengths in one append: {lengths}")
        counts: dict[str, np.ndarray] = {}
        for name, rows in columns.items():
            spec = self._spec(name)
            if spec.ragged_by:
                counted = spec.ragged_by in columns or spec.ragged_by in counts
                parts = [np.frombuffer(r, np.uint8) if isinstance(r, bytes) else np.asarray(r) for r in rows]
                if not counted:
                    counts[spec.ragged_by] = np.array([len(p) for p in parts], np.int64)
                rows = np.concatenate(parts) if parts else np.empty(0, np.uint8)
            elif spec.dims[0] != dim:
                raise GazeError(f"{name} runs along {spec.dims[0]}, not along {dim}")
            self._add(spec, rows)
        for name, numbers in counts.items():
            self._add(self._spec(name), numbers)
        rows_now = self.rows()
        if dim == "sample" and (
            rows_now - self._rows_at_commit >= COMMIT_ROWS or time.monotonic() - self._committed > COMMIT_SECONDS
        ):
            self.commit()

    def append_raw(self, name: str, rows: np.ndarray) -> None:
        """Append rows of one variable as they are stored (ragged rows without their counts): for copies."""
        self._add(self._spec(name), rows)

    def commit(self) -> None:
        """Everything appended so far is safe on disk and would survive a kill."""
        for column in self._columns.values():
            column.flush()
        self._root.attrs["gz_rows"] = json.dumps({name: c.rows for name, c in self._columns.items()})
        self._committed, self._rows_at_commit = time.monotonic(), self.rows()

    def finish(self) -> Path:
        """Complete the artifact and move it to its final name."""
        import zarr

        if not self._root.attrs["gz_complete"]:
            self._complete()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # consolidated metadata is not in the v3 specification yet; readers may use it
            zarr.consolidate_metadata(self._root.store)
        os.close(self._lock)
        self._export_and_rename()
        self.complete = True
        return self.path

    def _complete(self) -> None:
        """All rows and, as the one last step, the attributes that say so."""
        for name, column in self._columns.items():
            column.flush()
            if column.array.shape[0] != column.rows:  # rows of an earlier, killed writer beyond its last commit
                column.array.resize((column.rows, *column.tail))
            column.shrink(self._root)
            ragged = next((s.dims[0] for s in self._specs.values() if s.ragged_by == name), None)
            if ragged in {c.dims[0] for c in self._columns.values()}:
                column.array.attrs["sample_dimension"] = ragged
        self._check()
        identity = {
            n: (c.dtype_name, (c.rows, *c.tail), c.dims, c.digest.hexdigest()) for n, c in self._columns.items()
        }
        self._root.attrs.put(
            {
                "Conventions": "CF-1.11",
                "gz_schema": self.kind,
                "gz_schema_version": self._version,
                "gz_version": __version__,
                "gz_id": combine(identity),
                "gz_complete": 1,
                **({"gz_summary": provenance.strict_json(self.summary)} if self.summary else {}),
                **provenance.attributes(provenance.current(), self.attrs.pop("history", "")),
                **{k: v for k, v in self.attrs.items() if v is not None},
            }
        )

    def abandon(self) -> None:
        """Leave nothing behind; a resumable writer keeps what is safe on disk."""
        if self.resumable:
            with contextlib.suppress(OSError):
                self.commit()
        else:
            shutil.rmtree(self.part, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)
        self.complete = True

    def _check(self) -> None:
        if self.kind not in schema.names():
            return
        with open_artifact(self.part, incomplete=True) as artifact:
            found = schema.problems(artifact)
        if found:
            raise GazeError(f"what was written is no {self.kind}: {'; '.join(found)}")

    def _export_and_rename(self) -> None:
        done = self.part
        if self.path.name.endswith((".zip", ".h5")):
            done = self.part.with_name(self.part.name + ".file")
            with open_artifact(self.part) as artifact:
                export.write(artifact, done, "h5" if self.path.suffix == ".h5" else "zarr.zip", self.keep_half)
            shutil.rmtree(self.part)
        _sync(done)
        replace(done, self.path, self.overwrite)

    def _spec(self, name: str) -> schema.VariableSpec:
        if name not in self._specs:
            raise GazeError(f'"{self.kind}" has no variable {name}; it has {", ".join(self._specs)}')
        return self._specs[name]

    def _add(self, spec: schema.VariableSpec, rows: Any) -> None:
        rows = _typed(rows, spec, self._columns.get(spec.name))
        if spec.name not in self._columns:
            self._columns[spec.name] = Column(self._root, spec, rows)
        self._columns[spec.name].append(rows)

    def _job(self) -> str:
        """What must be equal for a resumed run: the command and its options, not where or how fast it writes."""
        step = provenance.current()
        free = ("out", "overwrite", "resume", "workers", "progress", "device", "batch_size")
        config = {k: str(v) for k, v in sorted(step.config.items()) if k not in free}
        return json.dumps([self.kind, config])

    def _continue(self) -> None:
        attrs = dict(self._root.attrs)
        if attrs["gz_complete"]:  # killed between its last attribute and the renaming
            attrs |= {"gz_rows": json.dumps({name: array.shape[0] for name, array in self._root.arrays()})}
        elif attrs.get("gz_job") != self._job():
            raise GazeError(
                f"{self.part.name} was begun with other options: {attrs.get('gz_job')} instead of {self._job()}; "
                "repeat the first command line, or remove it with gz clean"
            )
        committed = json.loads(attrs["gz_rows"])
        for name, rows in committed.items():
            array = self._root[name]
            column = Column.__new__(Column)
            column.name, column.dims, column.array = name, self._spec(name).dims, array
            column.dtype_name = Variable(name, array, column.dims, {}).dtype_name
            column.tail = tuple(array.shape[1:])
            column.layout = layout(column.dtype_name, column.tail, self._spec(name).packed)
            column.digest = Digest()
            column.resume(rows)
            self._columns[name] = column
        self._rows_at_commit = self.rows()


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse, before any work, a target that exists, has no known suffix or whose folder is missing."""
    if not path.name.endswith(SUFFIXES):
        raise GazeError(f"{path}: artifacts end in {', '.join(SUFFIXES)}", USAGE)
    if path.exists() and not overwrite:
        raise GazeError(f"{path} exists; --overwrite replaces it", EXISTS)
    if not path.absolute().parent.is_dir():
        raise GazeError(f"{path}: the folder {path.parent} does not exist", EXISTS)


def find_part(path: Path) -> Path | None:
    """The unfinished work of an earlier writer of `path`, the newest if there are several."""
    parts = [p for p in path.absolute().parent.glob(f".{path.name}.part-*") if (p / "zarr.json").is_file()]
    return max(parts, key=lambda p: p.stat().st_mtime, default=None)


def replace(done: Path, target: Path, overwrite: bool) -> None:
    """Rename a finished file or folder to its final name; an old one goes aside first and is deleted last."""
    if not target.exists():
        done.rename(target)
        return
    if not overwrite:
        raise GazeError(f"{target} appeared while it was being written; --overwrite replaces it", EXISTS)
    aside = target.with_name(f".{target.name}.old-{secrets.token_hex(3)}")
    target.rename(aside)
    done.rename(target)
    shutil.rmtree(aside) if aside.is_dir() else aside.unlink()


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
    """The rows of a variable in blocks of bounded size."""
    return (variable[start:stop] for start, stop in variable.row_blocks())


def _specs(kind: str, extra: Sequence[schema.VariableSpec]) -> tuple[dict[str, schema.VariableSpec], str]:
    known: dict[str, schema.VariableSpec] = {}
    version = "1.0"
    if kind in schema.names():
        loaded = schema.load(kind)
        known, version = dict(loaded.variables), loaded.version
    return known | {spec.name: spec for spec in extra}, version


def _typed(rows: Any, spec: schema.VariableSpec, column: Column | None) -> np.ndarray:
    """Rows in the dtype of the column: as it began, else as given where the schema allows it, else its first."""
    if spec.dtypes[0] == "string":
        return np.asarray(rows, dtype=np.dtypes.StringDType())
    rows = np.asarray(rows)
    if column is not None:
        return rows.astype(column.dtype_name, copy=False)
    wanted = rows.dtype.name if rows.dtype.name in spec.dtypes else spec.dtypes[0]
    return rows.astype(wanted, copy=False)


def _create(root: Any, name: str, dtype: str, tail: tuple[int, ...], cut: Any, dims: Any, attrs: Any) -> Any:
    from zarr.codecs import BloscCodec, ZstdCodec

    codecs = {"lz4": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), "zstd": ZstdCodec(level=3), None: None}
    return root.create_array(
        name,
        shape=(0, *tail),
        dtype=str if dtype == "string" else dtype,
        chunks=(cut.chunk_rows, *(max(n, 1) for n in tail)),
        shards=(cut.shard_rows, *(max(n, 1) for n in tail)) if cut.shard_rows else None,
        compressors=codecs[cut.codec],
        dimension_names=dims,
        attributes=attrs,
    )


def _sync(path: Path) -> None:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
