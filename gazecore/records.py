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


LABELS = ("background", "iris", "pupil", "sclera")  # by their ids in every mask
NO_ELLIPSE = np.full(5, np.nan)


@dataclass(frozen=True)
class EyeSample:
    """One image of the eye region with its mask, and what else is known of it.

    image    (h, w, 3) uint8 RGB; grey is repeated in the three channels
    labels   (h, w) uint8: places in LABELS; None where nobody annotated it
    eye      L or R, the person's own; "" unknown
    pupil_ellipse_px, iris_ellipse_px   (5,) centre x, y, major and minor axis (full lengths), angle in degrees
    pir      pupil-iris ratio: major axis of the pupil over that of the iris; pir_area: the same of the areas
    iris_visible, pupil_visible   shares; aperture: lid opening over the iris diameter; blink: 1.0 or 0.0
    mode     rgb or nir
    What is not known is NaN or "".
    """

    sample_id: str
    image: np.ndarray
    labels: np.ndarray | None = None
    split: str = ""
    dataset: str = ""
    subject: str = ""
    trial: str = ""
    eye: str = ""
    frame: float = np.nan
    time_s: float = np.nan
    pupil_ellipse_px: np.ndarray = field(default_factory=NO_ELLIPSE.copy)
    iris_ellipse_px: np.ndarray = field(default_factory=NO_ELLIPSE.copy)
    pir: float = np.nan
    pir_area: float = np.nan
    iris_visible: float = np.nan
    pupil_visible: float = np.nan
    aperture: float = np.nan
    blink: float = np.nan
    yaw_deg: float = np.nan
    pitch_deg: float = np.nan
    mode: str = ""
    iris_color: str = ""
    skin: str = ""
