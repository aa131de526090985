"""One variable on its way to disk: rows wait until they fill a shard, so that a shard is written whole."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gazecore.artifacts.identity import Digest
from gazecore.artifacts.schema import VariableSpec
from gazecore.artifacts.shards import Layout, layout
from gazecore.artifacts.store import Variable
from gazecore.errors import GazeError

SMALL_ARRAY = 8 << 20  # bytes; below, an array is one chunk without a shard


class Column:
    """The zarr array of one variable, and the rows that are not yet in it.

    The array is made when the first rows go to disk: at a commit, with a whole shard, or at the end.
    """

    def __init__(self, root: Any, spec: VariableSpec, dtype_name: str, tail: tuple[int, ...], attrs: Mapping[str, str]):
        self.name, self.dims, self.dtype_name, self.tail = spec.name, spec.dims, dtype_name, tail
        self.layout = layout(dtype_name, tail, spec.packed)
        self.array: Any = None
        self.written = 0  # rows on disk that the buffer does not hold
        self.buffer: list[np.ndarray] = []
        self.buffered = 0
        self.digest = Digest()
        self._root, self._attrs = root, {"units": spec.units, "long_name": spec.help, **attrs}

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
        if self.buffered or self.array is None:
            self._put(self._waiting())

    def finish(self, aside: Any) -> None:
        """All rows on disk, and no others: a killed writer may have left some beyond its last commit.

        aside  zarr group in which the array is written once more, when it was begun in shards but stayed small
        """
        rows = self._waiting()
        small = not self.written and rows.nbytes <= SMALL_ARRAY and len(rows) < self.layout.chunk_rows
        home = self._root if self.array is None else aside
        if self.array is not None or not small:
            self.flush()
            if self.array.shape[0] != self.rows:
                self.array.resize((self.rows, *self.tail))
        if small:
            array = self._create(home, Layout(max(len(rows), 1), None, self.layout.codec), len(rows))
            if len(rows):
                array[:] = rows

    def resume(self, rows: int) -> None:
        """Go on after `rows` rows of an earlier writer."""
        self.array = self._root[self.name]
        stored = Variable(self.name, self.array, self.dims, {})
        self.written = rows - rows % self.layout.unit
        step = 4096 if self.layout.codec else self.layout.unit
        for start in range(0, rows, step):
            self.digest.update(stored[start : min(start + step, rows)])
        self.buffer = [stored[self.written : rows].copy()]
        self.buffered = rows - self.written

    def _waiting(self) -> np.ndarray:
        if len(self.buffer) > 1:
            self.buffer = [np.concatenate(self.buffer)]
        return self.buffer[0]

    def _put(self, rows: np.ndarray) -> None:
        stop = self.written + len(rows)
        if self.array is None:
            self.array = self._create(self._root, self.layout, stop)
        elif self.array.shape[0] != stop:
            self.array.resize((stop, *self.tail))
        if len(rows):
            self.array[self.written : stop] = rows

    def _create(self, home: Any, cut: Layout, rows: int) -> Any:
        from zarr.codecs import BloscCodec, ZstdCodec

        codecs = {"lz4": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), "zstd": ZstdCodec(level=3), None: None}
        tail = tuple(max(n, 1) for n in self.tail)
        return home.create_array(
            self.name,
            shape=(rows, *self.tail),
            dtype=str if self.dtype_name == "string" else self.dtype_name,
            chunks=(cut.chunk_rows, *tail),
            shards=(cut.shard_rows, *tail) if cut.shard_rows else None,
            compressors=codecs[cut.codec],
            dimension_names=self.dims,
            attributes=self._attrs,
        )
