"""A heat map drawn, alone or beside its reference, over its image or on its own."""

import numpy as np
from PIL import Image

from gazecore.visualize import panels
from gazecore.visualize.panels import Text


def panel(
    heatmap: np.ndarray,
    reference: np.ndarray | None = None,
    image: np.ndarray | None = None,
    caption: str = "",
    text: Text = "captions",
) -> Image.Image:
    """Image | heat map | reference, as far as they are given, over a caption.

    heatmap    (h, w), any scale: colours run from zero to the map's own peak, which stands beside its title
    reference  (h', w'), its size may differ
    image      (h, w, 3) uint8; without it the maps are drawn in opaque colours, each at its own shape
    caption    each of its lines is a paragraph
    text       "titles" leaves the caption away, "none" the titles too, with small pictures for a terminal
    """
    width = panels.SMALL if text == "none" else panels.WIDTH
    views = []
    if image is not None:
        scene = panels.fitted(image, width)
        views += [(scene, "image", "")]
    for title, values in (("heat map", heatmap), ("reference", reference)):
        if values is None:
            continue
        values = np.asarray(values, np.float32)
        if image is not None:
            drawn = Image.fromarray(panels.overlay(np.asarray(scene), values))
        else:
            size = panels.fitted(np.zeros(values.shape, np.uint8), width).size
            drawn = Image.fromarray(panels.colours(panels.resized(panels.heat(values), *size)))
        views += [(drawn, title, f"peak {panels.number(panels.most(values))}")]

    if text == "none":
        return panels.side_by_side([drawn for drawn, *_ in views], gap=panels.GAP // 2)
    rows = [panels.side_by_side([panels.titled(*view) for view in views])]
    if text == "captions":
        rows += [panels.caption(rows[0].width, [panels.words(line) for line in caption.splitlines()])]
    return panels.bordered(panels.stacked(rows))
