"""Eye regions drawn: the image, its label mask in colours, and the ellipses of pupil and iris that fit the mask."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from gazecore.artifacts import Artifact
from gazecore.pupil import ratio
from gazecore.visualize import panels
from gazecore.visualize.panels import Curve, Text
from gazecore.visualize.report import Item

BLOCK = 64
COLOURS = np.array([(0, 0, 0), (86, 180, 233), (230, 90, 60), (0, 190, 140)])  # background, iris, pupil, sclera
COVER = 0.45  # of the image by its labels
SCORES = (
    *("mean_iou", "iou_pupil", "iou_iris", "iou_sclera", "boundary_f_1px", "boundary_f_2px"),
    *("pupil_centre_error_px", "pir_error"),
)
FACTS = ("subject", "trial", "eye", "mode", "iris_color", "skin")


def items(artifact: Artifact, text: Text = "titles") -> Iterator[Item]:
    """One picture per sample of eye-samples or eye-masks; where ratios were scored, their agreement first."""
    if "pir_predicted" in artifact and "pir_true" in artifact and text != "none":
        yield Item("agreement of the ratio", partial(_agreement, artifact))
    for start in range(0, len(artifact), BLOCK):
        block = slice(start, min(start + BLOCK, len(artifact)))
        held = {name: v[block] for name, v in artifact.variables.items() if v.dims[0] == "sample" and _drawn(name)}
        fitted = ratio.measure(held["labels"])
        for i in range(block.stop - block.start):
            columns = {name: values[i] for name, values in held.items()}
            found = {name: values[i] for name, values in fitted.items()}
            scores = {name: float(columns[name]) for name in SCORES if name in columns}
            facts = {name: str(columns[name]) for name in FACTS if name in columns and str(columns[name])}
            facts |= {"flags": str(found["flags"])} if str(found["flags"]) else {}
            picture = partial(panel, columns, found, artifact.kind == "eye-masks", text)
            yield Item(str(columns["sample_id"]), picture, scores, facts)


def _agreement(artifact: Artifact) -> Image.Image:
    from gazecore.visualize.light_reflex import bland_altman  # matplotlib, 0.3 s

    predicted, true = artifact["pir_predicted"].whole(), artifact["pir_true"].whole()
    return bland_altman(predicted, true, names=("predicted", "annotated"), quantity="pupil-iris ratio")


def _drawn(name: str) -> bool:
    return name not in ("probability", "pupil_ellipse_px", "iris_ellipse_px")


def panel(columns: dict[str, Any], fitted: dict[str, Any], predicted: bool, text: Text = "titles") -> Image.Image:
    """Image | labels with the ellipses that fit them | true labels, as far as they are there.

    columns    of one sample: labels (h, w), and if any image (h, w, 3), labels_true (h, w)
    fitted     what pupil.ratio.measure says of the labels
    predicted  the labels are a model's
    """
    labels = columns["labels"]
    image = columns.get("image", np.full((*labels.shape, 3), 255, np.uint8))
    width = panels.SMALL if text == "none" else panels.WIDTH
    pir = float(fitted["pir"])
    note = f"PIR {pir:.3f}" if np.isfinite(pir) else str(fitted["flags"]).replace(";", ", ")
    views = [(panels.fitted(image, width), "image", "")] if "image" in columns else []
    marked = panels.draw(panels.fitted(coloured(image, labels), width), _ellipses(fitted, labels.shape))
    views.append((marked, "predicted" if predicted else "labels", note))
    if "labels_true" in columns:
        views.append((panels.fitted(coloured(image, columns["labels_true"]), width), "annotated", ""))
    if text == "none":
        return panels.side_by_side([drawn for drawn, *_ in views], gap=panels.GAP // 2)
    return panels.bordered(panels.side_by_side([panels.titled(*view) for view in views]))


def marked(image: np.ndarray, labels: np.ndarray) -> Iterator[Image.Image]:
    """Frames (n, h, w, 3) uint8 under the colours and ellipses of their labels (n, h, w), at a width to look at."""
    fitted = ratio.measure(labels)
    for i in range(len(labels)):
        found = {name: values[i] for name, values in fitted.items()}
        shown = panels.fitted(coloured(image[i], labels[i]))
        yield panels.draw(shown, _ellipses(found, labels.shape[1:]))


def coloured(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Image (h, w, 3) uint8 under the colours of its labels (h, w)."""
    cover = np.where(labels > 0, COVER, 0.0)[..., None]
    return np.rint(image * (1 - cover) + COLOURS[labels] * cover).astype(np.uint8)


def _ellipses(fitted: dict[str, Any], size: tuple[int, ...]) -> list[Curve]:
    """The outlines of pupil and iris, normalised to the image; pixel centres lie at whole numbers."""
    height, width = size
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    curves = []
    for name, colour in (("iris", (255, 255, 255)), ("pupil", (255, 220, 90))):
        x, y, major, minor, angle = (
            float(fitted[f"{name}_{part}"]) for part in ("cx_px", "cy_px", "major_px", "minor_px", "angle_deg")
        )
        along, across = major / 2 * np.cos(turn), minor / 2 * np.sin(turn)
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        points = np.stack([x + along * cos - across * sin + 0.5, y + along * sin + across * cos + 0.5], axis=-1)
        curves.append(Curve(points / (width, height), colour))
    return curves
