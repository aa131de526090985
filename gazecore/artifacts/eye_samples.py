"""EyeSample records into an artifact of eye samples: images and masks lie in it as arrays, all of one size."""

from collections.abc import Iterable
from dataclasses import fields
from itertools import islice
from typing import Any

import numpy as np

from gazecore.artifacts.writer import Writer
from gazecore.errors import GazeError
from gazecore.records import EyeSample

BLOCK = 32
NAMES = tuple(field.name for field in fields(EyeSample))
TRUTH = NAMES[NAMES.index("pupil_ellipse_px") :]  # what only a renderer, or somebody who measured, knows


def write(samples: Iterable[EyeSample], writer: Writer, truth: bool = False) -> int:
    """Append samples after those that a resumed writer already has; returns how many it has in the end.

    truth   also the columns of TRUTH
    Errors: an image or a mask of another size than the first one's.
    """
    samples = iter(samples)
    names = [name for name in NAMES if truth or name not in TRUTH]
    size: tuple[int, ...] = ()
    while block := list(islice(samples, BLOCK)):
        size = size or block[0].image.shape[:2]
        _check(block, size)
        known = [name for name in names if name != "labels" or block[0].labels is not None]
        writer.append(**{name: _column(block, name) for name in known})
    return writer.rows()


def _column(block: list[EyeSample], name: str) -> Any:
    values = [getattr(sample, name) for sample in block]
    if isinstance(values[0], str):
        return values
    dtype = np.uint8 if name in ("image", "labels") else np.float64
    return np.stack([np.asarray(value, dtype) for value in values])


def _check(block: list[EyeSample], size: tuple[int, ...]) -> None:
    for sample in block:
        shapes = [sample.image.shape[:2]] + ([] if sample.labels is None else [sample.labels.shape])
        for shape in shapes:
            if shape != size:
                raise GazeError(
                    f"{sample.sample_id} is {shape[1]} x {shape[0]} pixels, the first {size[1]} x {size[0]}; expected "
                    "one size: prepare with --size WxH"
                )
