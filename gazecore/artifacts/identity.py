"""The content id: one SHA-256 over what an artifact holds, equal in every container."""

import hashlib
import json

import numpy as np


class Digest:
    """SHA-256 of one variable's rows, fed in order and in any portions."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def update(self, rows: np.ndarray) -> None:
        if rows.dtype.kind in "TOU":  # each string as its length and its UTF-8 bytes
            for text in rows.ravel().tolist():
                encoded = text.encode()
                self._sha.update(len(encoded).to_bytes(4, "little") + encoded)
        elif rows.size:
            little_endian = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
            self._sha.update(little_endian.data.cast("B"))

    def hexdigest(self) -> str:
        return self._sha.hexdigest()


def combine(variables: dict[str, tuple[str, tuple[int, ...], tuple[str, ...], str]]) -> str:
    """The content id of an artifact from {name: (logical dtype, shape, dims, digest of the rows)}, in name order."""
    sha = hashlib.sha256()
    for name, (dtype, shape, dims, digest) in sorted(variables.items()):
        sha.update(json.dumps([name, dtype, list(shape), list(dims), digest]).encode() + b"\n")
    return sha.hexdigest()
