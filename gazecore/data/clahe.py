"""Contrast-limited adaptive histogram equalisation, as OpenCV's CLAHE computes it: RITnet was trained behind it."""

import numpy as np

LEVELS = 256


def clahe(image: np.ndarray, clip: float, tiles: int) -> np.ndarray:
    """(h, w) uint8 -> the same, every tile's histogram flattened, at most `clip` times the mean in any of its bins.

    tiles   along each side; an image they do not divide is mirrored on at its right and bottom to be measured
    clip    0 or less: no limit
    To the bit opencv/opencv: modules/imgproc/src/clahe.cpp (Zuiderveld, Graphics Gems IV, 1994).
    """
    height, width = image.shape
    below, right = (-height % tiles, -width % tiles)
    if below or right:  # OpenCV adds a whole tile's count to a side that is even, when the other is not
        below, right = tiles - height % tiles, tiles - width % tiles
    whole = np.pad(image, ((0, below), (0, right)), mode="reflect")
    rows, columns = whole.shape[0] // tiles, whole.shape[1] // tiles
    tables = _tables(whole, tiles, rows, columns, clip)  # (tiles, tiles, 256)

    top, bottom, down = _neighbours(height, rows, tiles)
    left, right_, across = _neighbours(width, columns, tiles)
    top, bottom, down = top[:, None], bottom[:, None], down[:, None]
    upper = tables[top, left, image] * (1 - across) + tables[top, right_, image] * across
    lower = tables[bottom, left, image] * (1 - across) + tables[bottom, right_, image] * across
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)


def _tables(whole: np.ndarray, tiles: int, rows: int, columns: int, clip: float) -> np.ndarray:
    """Grey value -> new grey value of every tile, (tiles, tiles, 256) float32."""
    area = rows * columns
    place = np.arange(whole.shape[0])[:, None] // rows * tiles + np.arange(whole.shape[1]) // columns
    counts = np.bincount((place * LEVELS + whole).ravel(), minlength=tiles * tiles * LEVELS).reshape(-1, LEVELS)
    if clip > 0:
        limit = max(int(clip * area / LEVELS), 1)
        excess = np.maximum(counts - limit, 0).sum(axis=1)
        counts = np.minimum(counts, limit) + (excess // LEVELS)[:, None]
        for own, rest in zip(counts, (excess % LEVELS).tolist(), strict=True):
            if rest:  # what is left over goes to bins at even distances
                own[:: max(LEVELS // rest, 1)][:rest] += 1
    grown = np.cumsum(counts, axis=1).astype(np.float32) * np.float32((LEVELS - 1) / area)
    return np.clip(np.rint(grown), 0, LEVELS - 1).astype(np.float32).reshape(tiles, tiles, LEVELS)


def _neighbours(length: int, size: int, tiles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every pixel along a side: the tiles whose centres lie before and behind it, and how far it is between them."""
    place = np.arange(length, dtype=np.float32) * np.float32(1 / size) - np.float32(0.5)
    before = np.floor(place)
    share = place - before
    return (
        np.maximum(before, 0).astype(int),
        np.minimum(before + 1, tiles - 1).astype(int),
        share.astype(np.float32),
    )
