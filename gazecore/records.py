"""One dataclass per sample artifact: what a dataset reader in prep/ yields and what one row of the artifact means."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MISSING_POINT = (np.nan, np.nan)


@dataclass(frozen=True)
class GazeSample:
    """One person in one scene image.

    image         the scene, a path or the encoded bytes of a JPEG or PNG
    image_size    (width, height) in pixels
    head_box_px   (4,) x_min, y_min, x_max, y_max in pixels, repaired: ordered and inside the image; NaN where unknown
    gaze_targets  (n, 2) normalised x, y, one row per annotator; NaN where there is none
    in_frame      1.0 the gaze target lies inside the scene image, 0.0 outside, NaN unknown
    eye           (2,) normalised x, y of the eyes' midpoint; NaN where unknown
    clip, track_id, frame, time_s   of video: which sequence, which person in it, when; empty or NaN for a photo
    """

    sample_id: str
    image: Path | bytes
    image_name: str
    image_size: tuple[int, int]
    head_box_px: np.ndarray
    gaze_targets: np.ndarray = field(default_factory=lambda: np.full((1, 2), np.nan))
    in_frame: float = np.nan
    eye: np.ndarray = field(default_factory=lambda: np.full(2, np.nan))
    split: str = ""
    dataset: str = ""
    clip: str = ""
    track_id: str = ""
    frame: float = np.nan
    time_s: float = np.nan
