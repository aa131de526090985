"""How arrays are cut into chunks and shards, and who may write which rows of them.

zarr-python loses data without a word when two processes write parts of one shard
(zarr-developers/zarr-python#3682), so a shard is written whole, by one process.
"""

from dataclasses import dataclass

import numpy as np

from gazecore.errors import GazeError

PACKED_CHUNK = 16 << 20  # bytes of one uncompressed chunk of packed images: each chunk file can be mapped into memory
INNER_CHUNK = 1 << 19
SHARD_CHUNKS = 64
LARGEST_SHARD = 64 << 20
SMALL_ROW = 1024  # rows below this many bytes are never sharded
LARGEST_CHUNK = 1 << 30  # a file that claims more was not written by us


@dataclass(frozen=True)
class Layout:
    """Rows of one chunk, rows of one shard (None: not sharded), codec name (None: raw bytes)."""

    chunk_rows: int
    shard_rows: int | None
    codec: str | None

    @property
    def unit(self) -> int:
        """Rows that one process writes at once."""
        return self.shard_rows or self.chunk_rows


def layout(dtype: np.dtype | str, tail: tuple[int, ...], packed: bool = False) -> Layout:
    """The layout of an array whose rows have shape `tail`; packed = ragged bytes of encoded images."""
    if packed:
        return Layout(PACKED_CHUNK, None, None)
    if dtype == "string":
        return Layout(16384, None, "zstd")
    row = np.dtype(dtype).itemsize * int(np.prod(tail))
    if row < SMALL_ROW:
        return Layout(_power_of_two(INNER_CHUNK // max(row, 1), 65536), None, "lz4")
    if np.dtype(dtype) == np.uint8:  # video: short windows are read, and blosc gains nothing on bytes
        chunk = _power_of_two(INNER_CHUNK // 4 // row, 4096)
        return Layout(chunk, _shard(chunk, row), "zstd")
    chunk = _power_of_two(INNER_CHUNK // row, 4096)
    return Layout(chunk, _shard(chunk, row), "lz4")


def _shard(chunk: int, row: int) -> int | None:
    """Rows of a shard: 64 chunks, fewer where rows are so long that a shard would not fit the memory."""
    count = min(SHARD_CHUNKS, LARGEST_SHARD // (chunk * row))
    return chunk * count if count > 1 else None


def _power_of_two(rows: int, most: int) -> int:
    return min(most, 1 << max(rows, 1).bit_length() - 1)


def check_whole_shards(start: int, count: int, total: int, unit: int, name: str) -> None:
    """Refuse rows that fill a shard only in part: a second writer of the same shard would lose data silently."""
    if start % unit or (count % unit and start + count != total):
        raise GazeError(
            f"rows {start}..{start + count} of {name} fill a shard of {unit} rows only in part; "
            f"parallel writers write whole shards: start at a multiple of {unit} and write {unit} rows, "
            f"or up to the last row ({total})"
        )


def my_blocks(total: int, unit: int, rank: int, world: int) -> list[tuple[int, int]]:
    """Whole shards of process `rank` among `world`: (start, stop) rows; every row belongs to exactly one process."""
    return [(start, min(start + unit, total)) for start in range(rank * unit, total, world * unit)]
