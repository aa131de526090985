"""What every reader does with annotated head boxes: repair them, and count what was repaired and what is lost."""

from collections import Counter

import numpy as np

from gazecore import geometry


def usable(boxes_px: np.ndarray, sizes_px: np.ndarray | tuple[int, int], counts: Counter[str]) -> np.ndarray:
    """Boxes (n, 4) in pixels as annotated, of images of sizes_px (n, 2) or (2,) -> (n, 4) ordered and inside the image.

    A box that is missing or has no area left is NaN: a row to drop. counts gains one entry per kind of repair or loss.
    """
    boxes_px = np.asarray(boxes_px, float)
    missing = np.isnan(boxes_px).any(axis=-1)
    boxes_px, swapped, clipped, degenerate = geometry.repair_boxes(boxes_px, np.asarray(sizes_px))
    for what, rows in (
        ("repaired: swapped box", swapped & ~degenerate),
        ("repaired: box clipped to the image", clipped & ~degenerate),
        ("dropped: box without area", degenerate),
        ("dropped: no head box", missing),
    ):
        if rows.any():
            counts[what] += int(rows.sum())
    return boxes_px
