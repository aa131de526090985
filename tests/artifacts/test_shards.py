"""How arrays are cut, and who may write which rows."""

import numpy as np
import pytest
import zarr

from gazecore.artifacts import shards
from gazecore.artifacts.writer import place
from gazecore.errors import GazeError


def test_half_precision_heat_maps_lie_in_chunks_of_64_and_shards_of_4096():
    assert shards.layout("float16", (64, 64)) == shards.Layout(64, 4096, "lz4")
    assert shards.layout("float16", (64, 64)).unit == 4096


def test_packed_images_are_raw_bytes_in_chunks_of_16_mib():
    assert shards.layout("uint8", (), packed=True) == shards.Layout(16 << 20, None, None)


def test_short_rows_are_never_sharded():
    for dtype, tail in (("float64", ()), ("float32", (4,)), ("int64", ()), ("string", ())):
        assert shards.layout(dtype, tail).shard_rows is None


@pytest.mark.parametrize("tail", [(64, 64), (224, 224), (480, 640), (1080, 1920), (2160, 3840, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_no_shard_is_larger_than_our_reader_takes_or_memory_holds(dtype, tail):
    cut = shards.layout(dtype, tail)
    row = np.dtype(dtype).itemsize * int(np.prod(tail))
    assert cut.unit % cut.chunk_rows == 0
    assert cut.unit * row <= max(row, 64 << 20) < shards.LARGEST_CHUNK


def test_empty_axes_are_no_division_by_zero():
    assert shards.layout("float32", (0, 4)).chunk_rows > 0


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [0, 1, 15, 16, 17, 100])
def test_every_row_belongs_to_one_process_and_every_block_is_whole_shards(total, world):
    blocks = [block for rank in range(world) for block in shards.my_blocks(total, 16, rank, world)]
    assert sorted(row for start, stop in blocks for row in range(start, stop)) == list(range(total))
    for start, stop in blocks:
        shards.check_whole_shards(start, stop - start, total, 16, "x")


@pytest.mark.parametrize(("start", "count"), [(0, 8), (8, 16), (16, 15), (80, 19), (1, 99)])
def test_a_shard_in_part_is_refused(start, count):
    with pytest.raises(GazeError, match=f"rows {start}..{start + count} of x fill a shard of 16 rows only in part"):
        shards.check_whole_shards(start, count, 100, 16, "x")


def test_rows_are_placed_into_whole_shards_of_a_sized_array(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    array = group.create_array("x", shape=(100,), dtype="i4", chunks=(4,), shards=(16,))
    for start, stop in [b for rank in (1, 0) for b in shards.my_blocks(100, 16, rank, 2)]:
        place(array, start, np.arange(start, stop))
    assert array[:].tolist() == list(range(100))
    with pytest.raises(GazeError, match="of x fill a shard of 16 rows only in part"):
        place(array, 8, np.arange(8))
