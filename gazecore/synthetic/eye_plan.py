"""Everything about a made eye that is drawn by chance, before a pixel is touched.

A plan does not depend on the size of the picture: its lengths are in iris radii, or in pixels of a picture 320 wide
(names ending in _px). Ranges follow human anatomy: an iris of 11.7 mm between lids 30 mm wide and 10 mm open.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

MODES = ("rgb", "nir")
SKINS: dict[str, Colour] = {
    "porcelain": (236, 200, 182),
    "fair": (224, 180, 154),
    "beige": (206, 158, 128),
    "tan": (176, 126, 96),
    "brown": (132, 90, 66),
    "dark": (90, 62, 48),
}
IRIS_COLORS: dict[str, tuple[Colour, Colour]] = {  # around the pupil, towards the sclera
    "dark brown": ((64, 40, 26), (40, 26, 19)),
    "brown": ((116, 72, 40), (74, 46, 28)),
    "hazel": ((142, 98, 48), (94, 98, 62)),
    "green": ((134, 122, 68), (86, 110, 82)),
    "grey": ((150, 150, 142), (108, 118, 124)),
    "blue": ((142, 162, 172), (76, 110, 144)),
}
# Melanin hardly absorbs near infrared light: dark irises and skins are as bright as others there.
NIR_SKINS = dict(zip(SKINS, (196, 192, 186, 178, 166, 150), strict=True))
NIR_IRISES = dict(zip(IRIS_COLORS, (136, 140, 142, 144, 138, 132), strict=True))
CLOSED = 0.06  # an aperture up to this is drawn shut
CLOSED_SHARE = 0.04
BLURS_PX, JPEG_QUALITIES = (0.0, 0.6, 1.0, 1.6), (0, 95, 80, 60)  # quality 0: no JPEG
# The chances of one eye come from separate streams, so that fixing one of them leaves the others as they are.
POSE, LOOK, CAMERA, SKIN, BALL, FIBRES, HAIR, NOISE, RECORDING = range(9)


@dataclass(frozen=True)
class EyePlan:
    """One eye, its look and the camera. Lengths without unit are in iris radii."""

    seed: int
    mode: str  # rgb or nir
    eye: str  # L or R, the person's own: the nose is to the left of a left eye
    # pose
    radius_px: float  # of the iris
    x: float  # of the eyeball's centre from the middle of the picture
    y: float
    yaw_deg: float  # positive to the right of the picture
    pitch_deg: float  # positive down
    pir: float  # major axis of the pupil / major axis of the iris
    pupil_x: float  # in the plane of the iris, from its centre
    pupil_y: float
    pupil_axis_ratio: float
    pupil_angle_deg: float
    aperture: float  # largest distance of the lids / diameter of the iris
    roll_deg: float  # of the lids
    lid_half_width: float
    lid_skew: float
    lid_tilt_px: float
    # look
    skin: str
    iris_color: str
    skin_light: float  # of this person's skin, 1 is the tone's own
    skin_red: float
    skin_texture: float
    crease: float  # depth of the fold above the eye
    crease_up: float  # distance of the fold from the lid
    socket: float  # depth of the shading around the eye
    waterline: float
    fold: float  # below the eye
    iris_light: float
    fibre: float
    collarette: float
    limbal_width: float
    limbal_dark: float
    limbus_soft: float
    pupil_light: float  # 0..255
    sclera_light: float
    sclera_yellow: float
    vessels: float
    lid_shadow: float
    lashes: int
    lash_length: float
    lash_width_px: float
    brow: float  # height above the eye; 0 for none in the picture
    # light and camera
    glints: tuple[tuple[float, float, float], ...]  # x, y from the iris' centre, radius
    window: tuple[float, float, float, float, float] | None  # x, y, half width, half height, strength
    gradient: float
    gradient_deg: float
    exposure: float
    white_balance: Colour
    noise_sd: float  # of a middle grey, 0..255
    blur_px: float  # standard deviation, pixels of the picture itself
    motion_px: tuple[int, int] | None  # of the picture itself
    jpeg_quality: int


def stream(seed: int, name: int, *more: int) -> np.random.Generator:
    """One of the independent streams of an eye's chances: PCG64, the same on every machine."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(name, *more))))


def seed_of(seed: int, index: int) -> int:
    """The seed of image or recording `index` of a set: the same in a small and a large one, and below 2**53."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]) >> 11


def plan_eye(seed: int, mode: str | None = None) -> EyePlan:
    """The eye of a seed; mode "rgb" or "nir" instead of the one drawn changes nothing else about it.

    Raises ValueError for another mode.
    """
    if mode not in (None, *MODES):
        raise ValueError(f"no mode {mode!r} of made eyes; there are {', '.join(MODES)}")
    return EyePlan(**_pose(stream(seed, POSE)), **_look(stream(seed, LOOK)), **_camera(seed, mode), seed=seed)


def _pose(rng: np.random.Generator) -> dict:
    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 6)

    closed = rng.random() < CLOSED_SHARE
    aperture = between(0, CLOSED) if closed else min(round(float(rng.beta(4, 2)) + 0.15, 6), 1.25)
    return {
        "eye": "LR"[rng.integers(2)],
        "radius_px": between(48, 70),
        "x": between(-0.35, 0.35),
        "y": between(-0.25, 0.3),
        "yaw_deg": between(-28, 28),
        "pitch_deg": between(-16, 16),
        "pir": between(0.18, 0.65),
        "pupil_x": between(-0.05, 0.05),
        "pupil_y": between(-0.05, 0.05),
        "pupil_axis_ratio": between(0.94, 1),
        "pupil_angle_deg": between(0, 180),
        "aperture": aperture,
        "roll_deg": between(-8, 8),
        "lid_half_width": between(2.15, 2.75),
        "lid_skew": between(-0.25, 0.25),
        "lid_tilt_px": between(-6, 6),
    }


def _look(rng: np.random.Generator) -> dict:
    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 6)

    return {
        "skin": list(SKINS)[rng.integers(len(SKINS))],
        "iris_color": list(IRIS_COLORS)[rng.integers(len(IRIS_COLORS))],
        "skin_light": between(0.9, 1.08),
        "skin_red": between(-0.04, 0.05),
        "skin_texture": between(0.03, 0.14),
        "crease": between(0.05, 0.42),
        "crease_up": between(0.18, 0.55),
        "socket": between(0.05, 0.4),
        "waterline": between(0.2, 0.8),
        "fold": between(0, 0.18),
        "iris_light": between(0.85, 1.2),
        "fibre": between(0.1, 0.35),
        "collarette": between(0, 0.3),
        "limbal_width": between(0.05, 0.12),
        "limbal_dark": between(0.2, 0.7),
        "limbus_soft": between(0.012, 0.045),
        "pupil_light": between(6, 26),
        "sclera_light": between(0.86, 1.02),
        "sclera_yellow": between(0, 0.09),
        "vessels": between(0, 0.35),
        "lid_shadow": between(0.15, 0.6),
        "lashes": int(rng.integers(0, 46)),
        "lash_length": between(0.3, 0.75),
        "lash_width_px": between(1.0, 2.2),
        "brow": between(1.9, 2.5) if rng.random() < 0.5 else 0.0,
    }


def _camera(seed: int, mode: str | None) -> dict:
    rng = stream(seed, CAMERA)

    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 6)

    drawn = MODES[rng.integers(len(MODES))]
    glints = tuple((between(-0.4, 0.4), between(-0.45, 0.2), between(0.03, 0.11)) for _ in range(rng.integers(1, 4)))
    window = (between(-0.5, 0.5), between(-0.5, 0.1), between(0.12, 0.3), between(0.15, 0.35), between(0.15, 0.55))
    has_window, moves = rng.random() < 0.25, rng.random() < 0.15
    motion = (int(rng.integers(2, 7)), int(rng.integers(-3, 4)))
    return {
        "mode": mode or drawn,
        "glints": glints,
        "window": window if has_window else None,
        "gradient": between(0.1, 0.45),
        "gradient_deg": between(0, 360),
        "exposure": between(0.65, 1.15),
        "white_balance": (between(0.94, 1.06), between(0.94, 1.06), between(0.94, 1.06)),
        "noise_sd": between(1, 9),
        "blur_px": BLURS_PX[rng.integers(len(BLURS_PX))],
        "motion_px": motion if moves else None,
        "jpeg_quality": JPEG_QUALITIES[rng.integers(len(JPEG_QUALITIES))],
    }
