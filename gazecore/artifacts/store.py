"""Reading artifacts: one interface over a zarr v3 directory, a .zarr.zip and an .h5 file of the same schema.

One group = one xarray Dataset: every array names its dimensions, ragged data are CF contiguous ragged arrays
(a count variable with the attribute `sample_dimension`, rows concatenated), strings are UTF-8, missing is NaN.
"""

import contextlib
import warnings
import zipfile
from collections.abc import Iterator
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from gazecore.artifacts import migrations, provenance, schema
from gazecore.artifacts.identity import Digest, combine
from gazecore.artifacts.mapped import MappedBytes
from gazecore.artifacts.shards import LARGEST_CHUNK
from gazecore.errors import IO, NO_INPUT, GazeError

READ_BYTES = 8 << 20  # one block when an artifact is read in sequence
WHOLE_BYTES = 2 << 30  # variables that are read whole (counts, indices, names) are smaller than this
LARGEST_DIM = 1 << 40
# what zarr, h5py and zipfile raise over files that are damaged, or somebody else's
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile)


class Variable:
    """One array: dims, shape, attrs; slicing gives numpy."""

    def __init__(
        self, name: str, array: Any, dims: tuple[str, ...], attrs: dict[str, Any], mapped: MappedBytes | None = None
    ):
        self.name, self.array, self.dims, self.attrs, self.mapped = name, array, dims, attrs, mapped
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype_name: str = attrs.get("gz_dtype") or _dtype_name(array)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in memory; a string counts as 64."""
        item = 64 if self.dtype_name == "string" else np.dtype(self.dtype_name).itemsize
        return item * prod(self.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if self.mapped and isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            return np.frombuffer(self.mapped.between(start, max(start, stop)), np.uint8)[::step]
        try:
            if self.dtype_name == "string":
                array = self.array.asstr() if hasattr(self.array, "asstr") else self.array
                return np.asarray(array[rows], dtype=np.dtypes.StringDType())
            return np.asarray(self.array[rows]).astype(self.dtype_name, copy=False)
        except IndexError:
            raise
        except DAMAGED as error:
            raise GazeError(f"{self.name} cannot be read ({error}); run gz verify on the artifact", IO) from error

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The given rows, in the given order; each chunk is read once."""
        if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            return self[int(rows[0]) : int(rows[0]) + len(rows)]
        wanted, back = np.unique(rows, return_inverse=True)
        chunk = (getattr(self.array, "chunks", None) or (4096,))[0]
        owners = wanted // chunk
        parts = []
        for owner in np.unique(owners).tolist():
            block = self[owner * chunk : (owner + 1) * chunk]
            parts.append(block[wanted[owners == owner] - owner * chunk])
        return np.concatenate(parts)[back] if parts else self[0:0]

    def whole(self) -> np.ndarray:
        """All rows; refused when they would not fit (they are meant for counts, indices, names)."""
        if len(self) * max(self.row_bytes, 1) > WHOLE_BYTES:
            raise GazeError(f"{self.name} claims {len(self):,} rows; refused to read them at once")
        return self[:]

    def row_blocks(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of consecutive blocks of bounded size."""
        rows = max(1, READ_BYTES // max(self.row_bytes, 1))
        unit = getattr(self.array, "chunks", None)
        if unit and rows > unit[0] and not self.mapped:
            rows -= rows % unit[0]
        for start in range(0, len(self), rows):
            yield start, min(start + rows, len(self))

    def digest(self) -> str:
        digest = Digest()
        for start, stop in self.row_blocks():
            digest.update(self[start:stop])
        return digest.hexdigest()


class Packed:
    """Encoded images packed into one array of bytes: item i without its neighbours."""

    def __init__(self, data: Variable, counts: np.ndarray):
        self._data = data
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._starts = self._ends - counts
        if len(self._ends) and self._ends[-1] != len(data):
            raise GazeError(f"{data.name} holds {len(data):,} bytes; its counts add up to {self._ends[-1]:,}")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, i: int) -> bytes:
        start, stop = int(self._starts[i]), int(self._ends[i])
        return self._data.mapped.between(start, stop) if self._data.mapped else self._data[start:stop].tobytes()


class Artifact:
    """An open artifact. Use `artifacts.open(path)`; close it or use it as a context manager.

    kind, version   of its schema, e.g. "heatmaps", "1.0"
    variables       name -> Variable; also artifact["heatmap"]
    stored          the same as they lie on disk, before older versions were migrated
    dims            name -> length
    attrs           the root attributes
    """

    def __init__(self, path: Path, container: str, root: Any, close: Any):
        self.path, self.container, self._root, self._close = path, container, root, close
        self.attrs: dict[str, Any] = {k: _plain(v) for k, v in root.attrs.items()}
        self.kind: str = str(self.attrs.get("gz_schema", ""))
        self.version: str = str(self.attrs.get("gz_schema_version", ""))
        if not self.kind:
            raise GazeError(f"{path} is a {container} container without the attribute gz_schema; not written by gz")
        self.stored = {v.name: v for v in _variables(path, container, root)}
        for variable in self.stored.values():
            if not variable.shape:
                raise GazeError(f"{path}: {variable.name} has no dimension; not written by gz")
            _refuse_absurd(path, variable)
        self.variables: dict[str, Variable] = dict(self.stored)
        migrations.apply(self)
        self.dims: dict[str, int] = {}
        for variable in self.variables.values():
            for dim, length in zip(variable.dims, variable.shape, strict=True):
                if self.dims.setdefault(dim, length) != length:
                    raise GazeError(
                        f"{path}: dimension {dim} is {self.dims[dim]} long, but {length} in {variable.name}; "
                        "run gz verify"
                    )

    def __repr__(self) -> str:
        return f"<{self.kind} {self.version}: {len(self)} records in {self.path}>"

    def __enter__(self) -> "Artifact":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._close()

    def __contains__(self, name: str) -> bool:
        return name in self.variables

    def __getitem__(self, name: str) -> Variable:
        if name not in self.variables:
            raise GazeError(f'{self.path} ({self.kind}) has no variable "{name}"; it has {", ".join(self.variables)}')
        return self.variables[name]

    def __len__(self) -> int:
        return self.dims.get(self.main_dim, 0)

    @property
    def main_dim(self) -> str:
        """The dimension along which the kind counts its records: `sample`, or the first of the first variable."""
        if "sample" in self.dims:
            return "sample"
        return next(iter(self.dims), "sample")

    @property
    def complete(self) -> bool:
        return bool(self.attrs.get("gz_complete", 1))

    @property
    def id(self) -> str:
        return str(self.attrs.get("gz_id", ""))

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """One entry per command that led here, this one's maker last."""
        try:
            return provenance.parsed(self.attrs.get("gz_provenance", "[]"))
        except ValueError as error:
            raise GazeError(f"{self.path}: the attribute gz_provenance is damaged: {error}") from error

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        if self.path.is_dir():
            return sum(f.stat().st_size for f in self.path.rglob("*") if f.is_file())
        return self.path.stat().st_size

    def blocks(self, most: int = 4096, dim: str = "") -> Iterator[slice]:
        """Consecutive slices along `dim` (the main dimension), sized so that a block of every variable fits memory."""
        dim = dim or self.main_dim
        row = sum(v.row_bytes for v in self.variables.values() if v.dims[0] == dim)
        rows = max(1, min(most, READ_BYTES // max(row, 1)))
        if rows > 64:
            rows -= rows % 64
        total = self.dims.get(dim, 0)
        return (slice(start, min(start + rows, total)) for start in range(0, total, rows))

    def packed(self, name: str) -> Packed:
        """The encoded images of a packed variable, by index."""
        return Packed(self[name], self[self.counts_of(name)].whole())

    def counts_of(self, name: str) -> str:
        """The variable that counts the rows of ragged variable `name`."""
        dim = self[name].dims[0]
        for variable in self.variables.values():
            if variable.attrs.get("sample_dimension") == dim:
                return variable.name
        raise GazeError(f"{self.path}: no count variable has sample_dimension {dim!r}")

    @cached_property
    def ragged_dims(self) -> dict[str, str]:
        """Ragged dimension -> its count variable."""
        counted = ((v.attrs.get("sample_dimension"), v.name) for v in self.variables.values())
        return {str(dim): name for dim, name in counted if dim}

    def content_id(self) -> str:
        """The content id computed from what is stored; equal in every container."""
        return combine({v.name: (v.dtype_name, v.shape, v.dims, v.digest()) for v in self.stored.values()})

    def schema_name(self) -> str:
        return f"{self.kind}/{self.version.split('.')[0]}"


def open_artifact(path: Path | str, kind: str | tuple[str, ...] = (), incomplete: bool = False) -> Artifact:
    """Open a finished artifact of any container.

    kind        refuse any other kind (one name or several)
    incomplete  also open what its writer did not finish
    GazeError   NO_INPUT when nothing is there; DATA when it is no artifact, unfinished, or of another kind or version
    """
    path = Path(path)
    kinds = (kind,) if isinstance(kind, str) else kind
    if not path.exists():
        raise GazeError(f"{path}: no such file or folder; expected an artifact (.zarr, .zarr.zip or .h5)", NO_INPUT)
    try:
        artifact = _open(path)
    except GazeError:
        raise
    except PermissionError as error:
        raise GazeError(f"{path} cannot be read: {error.strerror}", IO) from error
    except DAMAGED as error:
        raise GazeError(f"{path} is damaged or no artifact: {(str(error) or repr(error)).splitlines()[0]}") from error
    if not artifact.complete and not incomplete:
        artifact.close()
        raise GazeError(f"{path} was not finished by its writer; make it again, or go on with --resume")
    if kinds and artifact.kind not in kinds:
        artifact.close()
        raise GazeError(f'{path} holds "{artifact.kind}"; expected {_expected(kinds)}')
    return artifact


def _expected(kinds: tuple[str, ...]) -> str:
    makers = sorted({f"gz {command}" for kind in kinds for command in schema.load(kind).made_by})
    return " or ".join(f'"{kind}"' for kind in kinds) + f". Make them with {', '.join(makers)}."


def _open(path: Path) -> Artifact:
    import zarr

    if path.is_dir():
        if not (path / "zarr.json").is_file():
            raise GazeError(
                f"{path} is a folder without zarr.json, so no artifact; "
                "original data sets are read by the gz prep-... commands"
            )
        root = zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)  # each array speaks for itself
        return Artifact(path, "zarr", root, lambda: None)
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith(b"PK\3\4"):
        zipfile.ZipFile(path).close()  # says what is wrong with it, if anything; zarr does not
        store = zarr.storage.ZipStore(path, mode="r")
        with warnings.catch_warnings(), _closed_on_error(store):
            warnings.simplefilter("error", zarr.errors.ZarrUserWarning)
            return Artifact(path, "zarr.zip", zarr.open_group(store, mode="r", zarr_format=3), store.close)
    if magic == b"\x89HDF\r\n\x1a\n":
        import h5py

        file = h5py.File(path, "r")
        with _closed_on_error(file):
            return Artifact(path, "h5", file, file.close)
    raise GazeError(f"{path} is neither a zarr folder, a .zarr.zip nor an HDF5 file (it starts with {magic[:4]!r})")


@contextlib.contextmanager
def _closed_on_error(container: Any) -> Iterator[None]:
    try:
        yield
    except BaseException:
        container.close()
        raise


def _variables(path: Path, container: str, root: Any) -> Iterator[Variable]:
    if container != "h5":
        for name, array in sorted(root.arrays()):
            dims = array.metadata.dimension_names
            if dims is None or None in dims or len(dims) != array.ndim:
                raise GazeError(f"{path}: variable {name} has dimensions without names; not written by gz")
            mapped = container == "zarr" and _is_raw(array)
            own = MappedBytes(path / name, array.chunks[0]) if mapped else None
            yield Variable(name, array, tuple(dims), dict(array.attrs), own)
        return
    for name, dataset in sorted(root.items()):
        if not hasattr(dataset, "ndim"):
            continue  # a group of somebody else
        marker = dataset.attrs.get("NAME", b"")
        if bytes(marker).startswith(b"This is a netCDF dimension but not a netCDF variable"):
            continue
        dims = tuple(
            name if d == 0 and dataset.is_scale else _scale_name(path, dataset, d) for d in range(dataset.ndim)
        )
        hidden = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates")
        attrs = {k: _plain(v) for k, v in dataset.attrs.items() if k not in hidden}
        yield Variable(name, dataset, dims, attrs)


def _scale_name(path: Path, dataset: Any, axis: int) -> str:
    scales = dataset.dims[axis]
    if not len(scales):
        name = dataset.name.lstrip("/")
        raise GazeError(f"{path}: variable {name} has a dimension without a scale; not written by gz")
    return scales[0].name.lstrip("/")


def _refuse_absurd(path: Path, variable: Variable) -> None:
    chunks = getattr(variable.array, "shards", None) or getattr(variable.array, "chunks", None) or ()
    item = 64 if variable.dtype_name == "string" else np.dtype(variable.dtype_name).itemsize
    largest = max(variable.row_bytes, prod(chunks) * item)
    if max(variable.shape) > LARGEST_DIM or largest > LARGEST_CHUNK:
        raise GazeError(
            f"{path}: {variable.name} claims the shape {variable.shape} in chunks of {tuple(chunks)}; "
            "refused: no artifact of gz is cut like that"
        )


def _is_raw(array: Any) -> bool:
    codecs = [c.to_dict()["name"] for c in array.metadata.codecs]
    return array.ndim == 1 and codecs == ["bytes"] and array.dtype == np.uint8


def _dtype_name(array: Any) -> str:
    dtype = array.dtype
    if dtype.kind in "TOSU":
        return "string"
    return np.dtype(dtype).name


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
