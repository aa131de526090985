"""The content id: what changes it, what does not."""

import hashlib
import json

import numpy as np
import pytest

from gazecore import artifacts
from gazecore.artifacts.identity import Digest, combine

STRING = np.dtypes.StringDType()


def digest(*portions: np.ndarray) -> str:
    made = Digest()
    for rows in portions:
        made.update(rows)
    return made.hexdigest()


def test_portions_do_not_matter():
    rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    assert digest(rows) == digest(rows[:7], rows[7:7], rows[7:]) == digest(*rows[:, None])


def test_memory_layout_and_byte_order_do_not_matter():
    rows = np.arange(60, dtype=np.float64).reshape(20, 3)
    assert digest(rows) == digest(np.asfortranarray(rows)) == digest(rows.astype(">f8")) == digest(rows[::1])


def test_strings_are_told_apart_by_where_they_end():
    joined, apart = np.array(["ab", "c"], STRING), np.array(["a", "bc"], STRING)
    assert digest(joined) != digest(apart)
    assert digest(joined) == digest(joined.astype(object)) == digest(np.array(["ab", "c"]))


def test_the_digest_of_numbers_is_that_of_their_little_endian_bytes():
    rows = np.array([1, -2, 3], np.int32)
    assert digest(rows) == hashlib.sha256(rows.astype("<i4").tobytes()).hexdigest()


def test_the_id_is_one_hash_over_variables_in_name_order():
    rows = np.array([1.5], np.float32)
    variables = {"b": ("float32", (1,), ("sample",), digest(rows)), "a": ("uint8", (0,), ("byte",), digest(rows[:0]))}
    sha = hashlib.sha256()
    for name, (dtype, shape, dims, hexdigest) in sorted(variables.items()):
        sha.update(json.dumps([name, dtype, list(shape), list(dims), hexdigest]).encode() + b"\n")
    assert combine(variables) == combine(dict(reversed(variables.items()))) == sha.hexdigest()


@pytest.mark.parametrize(
    "changed",
    [
        {"y": ("float32", (1,), ("sample",), "0")},
        {"x": ("float64", (1,), ("sample",), "0")},
        {"x": ("float32", (1, 1), ("sample",), "0")},
        {"x": ("float32", (1,), ("row",), "0")},
        {"x": ("float32", (1,), ("sample",), "1")},
    ],
)
def test_name_dtype_shape_dims_and_values_matter(changed):
    assert combine({"x": ("float32", (1,), ("sample",), "0")}) != combine(changed)


def test_attributes_command_and_time_do_not_matter(tmp_path, fill):
    first = artifacts.open(fill(tmp_path / "a.zarr", "plr", attrs={"source": "one"}))
    second = artifacts.open(fill(tmp_path / "b.zarr", "plr", attrs={"source": "two"}))
    assert first.id == second.id != artifacts.open(fill(tmp_path / "c.zarr", "plr", seed=1)).id
