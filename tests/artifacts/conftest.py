"""Artifacts of every kind with made-up values, derived from their schemas."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazecore import artifacts
from gazecore.artifacts import schema
from gazecore.artifacts.schema import Schema, VariableSpec

WORDS = ("", "img_001.jpg", "dír/é_2.jpg", "眼.png", "a b\tc")
Lengths = dict[str, int]


@pytest.fixture(scope="module", autouse=True)
def _disks_are_not_waited_for():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def fill() -> Callable[..., Path]:
    """fill(path, kind, n=6, seed=0, without=(), attrs=None, dtypes=None, y=..): an artifact with random values."""
    return write_random


@pytest.fixture(scope="module")
def content() -> Callable[[Path], dict[str, Any]]:
    """content(path): name -> (dtype, dims, values) of every variable, NaN as text so that it compares equal."""
    return read_content


def write_random(
    path: Path,
    kind: str,
    n: int = 6,
    seed: int = 0,
    without: tuple[str, ...] = (),
    attrs: dict[str, Any] | None = None,
    dtypes: dict[str, str] | None = None,
    **dims: int,
) -> Path:
    known = schema.load(kind)
    rng = np.random.default_rng(seed)
    lengths = {dim: length or dims.get(dim, 2 + number) for number, (dim, length) in enumerate(known.dims.items())}
    lengths["sample"] = n
    specs = {name: spec for name, spec in known.variables.items() if name not in without}
    counts: dict[str, np.ndarray] = {}
    for spec in specs.values():
        if spec.ragged_by and spec.ragged_by not in counts:
            records = lengths[known.variables[spec.ragged_by].dims[0]]
            sizes = np.full(records, len(png(0))) if spec.packed else rng.integers(0, 4, records)
            counts[spec.ragged_by], lengths[spec.dims[0]] = sizes, int(sizes.sum())
    with artifacts.create(path, kind, attrs) as writer:
        for name, spec in specs.items():
            dtype = (dtypes or {}).get(name, spec.dtypes[0])
            writer.append_raw(name, counts[name] if name in counts else values(spec, known, lengths, rng, dtype))
    return path


def values(spec: VariableSpec, known: Schema, lengths: Lengths, rng: np.random.Generator, dtype: str) -> np.ndarray:
    shape = tuple(lengths[dim] for dim in spec.dims)
    if spec.packed:
        images = (png(int(shade)) for shade in rng.integers(0, 256, shape[0] // len(png(0))))
        return np.frombuffer(b"".join(images), np.uint8)
    if dtype == "string":
        return np.array(rng.choice(WORDS, shape).tolist(), np.dtypes.StringDType())
    if spec.indexes:
        return rng.integers(0, lengths[spec.indexes], shape)
    low = spec.minimum if spec.minimum is not None else 0
    high = spec.maximum if spec.maximum is not None else low + 9
    if np.issubdtype(dtype, np.integer):
        return rng.integers(int(low), int(high) + 1, shape).astype(dtype)
    floats = rng.uniform(low, high, shape).astype(dtype)
    if floats.ndim == 1 and len(floats) > 1:
        floats[1] = np.nan
    return floats


def png(shade: int) -> bytes:
    """A grey PNG of 4 by 3 pixels; stored without compression, so that all of them are equally long."""
    rows = b"".join(b"\0" + bytes([shade] * 4) for _ in range(3))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 4, 3, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + tag + d + struct.pack(">I", zlib.crc32(tag + d)) for tag, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def read_content(path: Path) -> dict[str, Any]:
    with artifacts.open(path) as artifact:
        return {v.name: (v.dtype_name, v.dims, repr(v[:].tolist())) for v in artifact.variables.values()}
