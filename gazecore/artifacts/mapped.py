"""Bytes of an uncompressed, unsharded zarr array, straight from its chunk files by mmap: 3 us instead of 500 us."""

import mmap
from pathlib import Path

from gazecore.errors import IO, GazeError

MOST_MAPS = 2  # what is mapped counts as memory of the process, 16 MiB each


class MappedBytes:
    """The bytes of a 1-D uint8 array whose chunk files lie in `folder`/c, `chunk` bytes each."""

    def __init__(self, folder: Path, chunk: int):
        self._folder, self._chunk = folder, chunk
        self._maps: dict[int, mmap.mmap] = {}  # in the order in which they were used

    def between(self, start: int, stop: int) -> bytes:
        """Bytes start..stop, over as many chunks as they lie in; IO error where a file is missing or cut short."""
        parts = []
        while start < stop:
            k, offset = divmod(start, self._chunk)
            end = min(stop - k * self._chunk, self._chunk)
            parts.append(self._map(k)[offset:end])
            start = k * self._chunk + end
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _map(self, k: int) -> mmap.mmap:
        found = self._maps.pop(k, None)
        if found is None:
            path = self._folder / "c" / str(k)
            try:
                with path.open("rb") as file:
                    found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise GazeError(f"{path} cannot be read ({error}); run gz verify on the artifact", IO) from error
            if len(found) != self._chunk:
                raise GazeError(f"{path} is {len(found):,} bytes long; expected {self._chunk:,}: it was cut short", IO)
            if len(self._maps) >= MOST_MAPS:
                self._maps.pop(next(iter(self._maps))).close()
        self._maps[k] = found
        return found
