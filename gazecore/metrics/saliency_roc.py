"""The exact ROC curve of few fixated values against every pixel of a map, without sorting the map."""

from typing import NamedTuple

import numpy as np

BINS = 16, 1 << 14  # per map: at least, at most


class RocSums(NamedTuple):
    """Sums over the pixels of each map, (b,) each: how its fixations, duplicates included, lie around a pixel."""

    higher: np.ndarray  # fixations higher than the pixel
    equal: np.ndarray  # fixations equal to the pixel
    reached: np.ndarray  # fixations at least as high as the highest fixated value that the pixel reaches
    fixated_halves: np.ndarray  # higher + reached, over the fixated pixels only


def roc_sums(
    maps: np.ndarray, lowest: np.ndarray, highest: np.ndarray, fixated: np.ndarray, first: np.ndarray
) -> RocSums:
    """The sums of which both AUCs are made; whole numbers, so the AUCs are exact.

    maps             (b, h, w)
    lowest, highest  (b,) of each map
    fixated          (b, n) values of the map at its fixations; NaN, for padding and maps with a NaN, counts nothing
    first            (b, n) the first fixation of each pixel

    A sort of the map, or a binary search of each pixel, would cost more than all other metrics. Instead pixels and
    fixated values go into bins that keep their order, rounding included. In a bin without a fixated value all pixels
    have the same sums, which are looked up; only the few pixels in other bins are compared with the values there.
    """
    b, height, width = maps.shape
    order = np.argsort(fixated, axis=-1)  # NaN comes last
    levels, first = np.take_along_axis(fixated, order, axis=-1), np.take_along_axis(first, order, axis=-1)
    known = ~np.isnan(levels)
    new = known.copy()
    new[:, 1:] &= levels[:, 1:] != levels[:, :-1]
    edges, (owner, place) = levels[new], new.nonzero()  # (e,) each fixated value of each map once, its map, its rank
    edge = new.ravel().cumsum()[known.ravel()] - 1  # the edge of each fixation

    # slot: how many edges of its map a pixel reaches, 0 to all; the slots of all maps, (e + b,), in one row
    counts = known.sum(axis=-1)
    ends = new.sum(axis=-1).cumsum()
    starts = np.append(0, ends[:-1])
    at_least = counts[owner] - place
    higher = np.insert(at_least, ends, 0)
    reached = np.insert(at_least, starts, np.maximum(counts, 1))  # positive even in a map without fixations

    bins = int(np.clip(4 * np.sqrt(height * width * fixated.shape[1]), *BINS))
    scale = (bins - 1) ** 2 / (highest - lowest)
    scale[~((scale > 0) & (scale < np.inf))] = 0  # constant or not finite: all in one bin

    def bin_of(values: np.ndarray, row: np.ndarray) -> np.ndarray:
        root = values - lowest[row]
        root *= scale[row]
        np.sqrt(root, out=root)  # maps are peaked: without the root, most pixels would share the lowest bins
        found = root.astype(np.int32)
        if not scale.all():
            found *= scale[row] > 0
        if b > 1:
            found += (row * bins).astype(np.int32)
        return found.astype(np.intp)

    edge_bin = bin_of(edges, owner)
    edges_in = np.bincount(edge_bin, minlength=b * bins)
    edges_below = edges_in.cumsum() - edges_in
    both = higher + (reached << 32)  # in one number: one look-up for two sums
    look_up = both[edges_below + np.repeat(np.arange(b), bins)]
    look_up[edge_bin] = 0  # elsewhere it is positive: `reached` is
    pixel_bin = bin_of(maps.reshape(b, -1), np.arange(b)[:, None]).ravel()
    looked_up = look_up.take(pixel_bin)
    rows = looked_up.reshape(maps.shape).sum(axis=-1)  # of a row, so that the lower half cannot overflow
    higher_sum, reached_sum = (rows & 0xFFFFFFFF).sum(axis=-1), (rows >> 32).sum(axis=-1)

    contested = np.flatnonzero(looked_up == 0)
    values, owner_of_value, value_bin = maps.ravel()[contested], contested // (height * width), pixel_bin[contested]
    start = edges_below[value_bin]
    passed = _passed(values, edges, start, edges_in[value_bin])
    slot = passed + owner_of_value
    higher_sum += np.bincount(owner_of_value, higher[slot], minlength=b).astype(np.intp)
    reached_sum += np.bincount(owner_of_value, reached[slot], minlength=b).astype(np.intp)

    ties = (passed > start) & (edges.take(passed - 1, mode="clip") == values)
    same = np.bincount(edge, minlength=len(edges))[passed[ties] - 1]
    pixels = np.bincount(edge, first[known], minlength=len(edges))
    halves = pixels * (at_least + higher[np.arange(len(edges)) + owner + 1])
    return RocSums(
        higher_sum,
        np.bincount(owner_of_value[ties], same, minlength=b),
        reached_sum,
        np.bincount(owner, halves, minlength=b),
    )


def _passed(values: np.ndarray, edges: np.ndarray, start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Where each value belongs among its own `count` ascending edges from `start` on: behind those that it reaches.

    A binary search without branches, for all values at once: np.searchsorted spends its time on wrong guesses.
    """
    place, end = start.copy(), start + count
    for step in 1 << np.arange(int(count.max(initial=0)).bit_length())[::-1]:
        probe = place + step
        reaches = (probe <= end) & (edges.take(probe - 1, mode="clip") <= values)
        np.copyto(place, probe, where=reaches)
    return place
