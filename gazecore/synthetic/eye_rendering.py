"""One made eye: picture, labels and what is true about it, from a seed."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from gazecore.synthetic.eye_appearance import Painter
from gazecore.synthetic.eye_camera import Camera
from gazecore.synthetic.eye_geometry import Ellipse, EyeGeometry
from gazecore.synthetic.eye_plan import EyePlan, plan_eye

SIZE = (240, 320)
BLINK_PUPIL = 0.25  # less of the pupil than that is a blink


@dataclass(frozen=True)
class EyeTruth:
    """What is true about a made eye.

    iris, pupil       exact ellipses in pixels of the image: full axes, angle in [0, 180)
    pir, pir_area     major / major and area / area of the two ellipses
    iris_visible, pupil_visible  shares of the full iris disc, pupil included, and of the pupil between the lids
    aperture_px       largest vertical distance of the lids
    blink             the lids are shut (aperture up to 0.06 iris diameters: labels are all background), or hide more
                      than three quarters of the pupil
    """

    seed: int
    mode: str
    eye: str
    iris: Ellipse
    pupil: Ellipse
    pir: float
    pir_area: float
    yaw_deg: float
    pitch_deg: float
    iris_visible: float
    pupil_visible: float
    aperture_px: float
    blink: bool
    iris_color: str
    skin: str


@dataclass(frozen=True)
class Eye:
    """image (h, w, 3) uint8, three times the same in mode "nir"; labels (h, w) uint8; truth."""

    image: np.ndarray
    labels: np.ndarray
    truth: EyeTruth


class Renderer:
    """Renders one eye in many poses; skin, eyeball and light are made once."""

    def __init__(self, plan: EyePlan, size: tuple[int, int] = SIZE):
        self.plan, self.size = plan, size
        self.painter, self.camera = Painter(plan, size), Camera(plan, size)

    def frame(self, number: int = 0, pose: EyePlan | None = None, shift_px: tuple[float, float] = (0.0, 0.0)) -> Eye:
        """The eye in a pose: this eye's plan with another pir, aperture, yaw or pitch.

        number    of the frame: it draws the noise
        shift_px  of the eyeball behind the lids
        """
        geometry = EyeGeometry(pose or self.plan, self.size, shift_px)
        labels = geometry.labels()
        image = self.camera.take(self.painter.paint(geometry), number)
        return Eye(image, labels.ids, _truth(geometry, labels.iris_visible, labels.pupil_visible))


def render(seed: int, size: tuple[int, int] = SIZE, mode: str | None = None, **fixed: Any) -> Eye:
    """The eye of a seed in a picture of size (h, w), the same pixels on every machine.

    mode   "rgb", "nir" (near infrared: grey, dark pupil, bright iris), or None: drawn, half and half
    fixed  fields of EyePlan to hold instead of drawing them: pir, aperture, yaw_deg, pitch_deg, skin, noise_sd, ...
    Raises TypeError for a field that is none, ValueError for another mode and for a picture below 24 x 24.
    """
    if min(size) < 24:
        raise ValueError(f"a made eye of {size[1]} x {size[0]} pixels; expected at least 24 x 24")
    return Renderer(dataclasses.replace(plan_eye(seed, mode), **fixed), size).frame()


def _truth(geometry: EyeGeometry, iris_visible: float, pupil_visible: float) -> EyeTruth:
    plan, iris, pupil = geometry.plan, geometry.iris.ellipse, geometry.pupil.ellipse
    return EyeTruth(
        seed=plan.seed,
        mode=plan.mode,
        eye=plan.eye,
        iris=iris,
        pupil=pupil,
        pir=pupil.major / iris.major,
        pir_area=pupil.major * pupil.minor / (iris.major * iris.minor),
        yaw_deg=plan.yaw_deg,
        pitch_deg=plan.pitch_deg,
        iris_visible=iris_visible,
        pupil_visible=pupil_visible,
        aperture_px=geometry.aperture_px(),
        blink=geometry.closed or pupil_visible < BLINK_PUPIL,
        iris_color=plan.iris_color,
        skin=plan.skin,
    )
