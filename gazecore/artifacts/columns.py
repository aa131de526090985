"""One variable on its way to disk: rows wait until they fill a shard, so that a shard is written whole."""

from typing import Any

import numpy as np

from gazecore.artifacts.identity import Digest
from gazecore.artifacts.schema import VariableSpec
from gazecore.artifacts.shards import Layout, layout
from gazecore.artifacts.store import Variable
from gazecore.errors import GazeError

SMALL_ARRAY = 8 << 20  # bytes; below, an array is one chunk


class Column:
    """The array of one variable, and the rows that are not yet in it.

    array  a zarr array that holds `written` rows, and after `flush` also those that wait
    """

    def __init__(self, spec: VariableSpec, array: Any):
        self.name, self.dims, self.array = spec.name, spec.dims, array
        self.stored = Variable(spec.name, array, spec.dims, {})
        self.dtype_name, self.tail = self.stored.dtype_name, self.stored.shape[1:]
        self.layout = layout(self.dtype_name, self.tail, spec.packed)
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
        whole = (self.buffered + len(rows)) // self.layout.unit * self.layout.unit
        if whole:
            waiting = np.concatenate([*self.buffer, rows])
            self._put(waiting[:whole])
            self.written += whole
            self.buffer, self.buffered = [waiting[whole:].copy()], len(waiting) - whole
        else:
            self.buffer.append(rows.copy())  # the caller may use its array again
            self.buffered += len(rows)

    def flush(self) -> None:
        """Put the incomplete last shard on disk too; its rows stay here, so that it is written whole again later."""
        if self.buffered:
            self._put(self._waiting())

    def finish(self, sample_dimension: str | None) -> None:
        """All rows on disk, and no others: a killed writer may have left some beyond its last commit."""
        self.flush()
        if self.array.shape[0] != self.rows:
            self.array.resize((self.rows, *self.tail))
        if sample_dimension:
            self.array.attrs["sample_dimension"] = sample_dimension

    def write_small(self, folder: Any) -> None:
        """Write a column that stayed small once more, as one chunk without a shard, into another zarr group."""
        if self.written or not self.buffer:
            return
        rows = self._waiting()
        if rows.nbytes <= SMALL_ARRAY and len(rows) < self.layout.chunk_rows:
            cut = Layout(max(len(rows), 1), None, self.layout.codec)
            array = create(folder, self.name, self.dtype_name, self.tail, cut, self.dims, dict(self.array.attrs))
            array.resize((len(rows), *self.tail))
            array[:] = rows

    def resume(self, rows: int) -> None:
        """Go on after `rows` rows of an earlier writer."""
        self.written = rows - rows % self.layout.unit
        step = 4096 if self.layout.codec else self.layout.unit
        for start in range(0, rows, step):
            self.digest.update(self.stored[start : min(start + step, rows)])
        self.buffer = [self.stored[self.written : rows].copy()]
        self.buffered = rows - self.written

    def _waiting(self) -> np.ndarray:
        if len(self.buffer) > 1:
            self.buffer = [np.concatenate(self.buffer)]
        return self.buffer[0]

    def _put(self, rows: np.ndarray) -> None:
        stop = self.written + len(rows)
        if self.array.shape[0] != stop:
            self.array.resize((stop, *self.tail))
        self.array[self.written : stop] = rows


def begin(root: Any, spec: VariableSpec, rows: np.ndarray) -> Column:
    """A column for rows of this dtype and shape; its array is made empty."""
    dtype = "string" if rows.dtype.kind in "TOU" else rows.dtype.name
    cut = layout(dtype, rows.shape[1:], spec.packed)
    attrs = {"units": spec.units, "long_name": spec.help}
    return Column(spec, create(root, spec.name, dtype, rows.shape[1:], cut, spec.dims, attrs))


def create(
    root: Any, name: str, dtype: str, tail: tuple[int, ...], cut: Layout, dims: tuple[str, ...], attrs: dict[str, Any]
) -> Any:
    """An empty zarr array in the layout of artifacts."""
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
