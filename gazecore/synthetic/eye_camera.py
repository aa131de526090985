"""Light and camera of a made eye: gradient, exposure, white balance, blur, noise, JPEG.

Only +, -, *, / touch pixels, in a fixed order: every machine makes the same picture.
"""

import io
import math

import numpy as np
from PIL import Image

from gazecore.synthetic.eye_plan import NOISE, EyePlan, stream

# halves of Gaussian kernels, from the middle outwards, for the blurs a plan may name
KERNELS = {
    sigma: tuple(round(math.exp(-(at**2) / (2 * sigma**2)), 5) for at in range(math.ceil(2.6 * sigma) + 1))
    for sigma in (0.6, 1.0, 1.6)
}


class Camera:
    """Takes pictures of (c, h, w) float32 scenes, 0..255; c is 3, or 1 for near infrared. The light stays."""

    def __init__(self, plan: EyePlan, size: tuple[int, int]):
        self.plan = plan
        height, width = size
        angle = math.radians(plan.gradient_deg)
        reach = abs(math.cos(angle)) + abs(math.sin(angle))
        across, down = (np.float32(round(plan.gradient * part(angle) / reach, 6)) for part in (math.cos, math.sin))
        x = np.linspace(-1, 1, width, dtype=np.float32)
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        balance = plan.white_balance if plan.mode == "rgb" else (1.0,)
        gain = np.array([plan.exposure * channel for channel in balance], np.float32)
        self.light = gain[:, None, None] * (1 + across * x + down * y)

    def take(self, scene: np.ndarray, frame: int = 0) -> np.ndarray:
        """The picture (h, w, 3), uint8; the noise is that of the frame's number."""
        plan = self.plan
        picture = scene * self.light
        if plan.motion_px:
            picture = _moved(picture, *plan.motion_px)
        if plan.blur_px:
            picture = _blurred(picture, KERNELS[plan.blur_px])
        noise = stream(plan.seed, NOISE, frame).standard_normal(picture.shape, np.float32)
        spread = np.sqrt(np.maximum(picture, 8)) * np.float32(plan.noise_sd / math.sqrt(128))
        picture += noise * spread
        picture += np.float32(0.5)
        np.clip(picture, 0, 255, out=picture)
        image = picture.astype(np.uint8).transpose(1, 2, 0)
        if plan.jpeg_quality:
            image = _through_jpeg(image, plan.jpeg_quality)
        return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def _blurred(picture: np.ndarray, kernel: tuple[float, ...]) -> np.ndarray:
    """Convolved with a symmetric kernel along both axes; the border repeats."""
    total = kernel[0] + 2 * sum(kernel[1:])
    weights = [np.float32(weight / total) for weight in kernel]
    reach = len(kernel) - 1
    for pad, cut in (
        (((0, 0), (reach, reach), (0, 0)), lambda a, at: a[:, at : a.shape[1] - 2 * reach + at]),
        (((0, 0), (0, 0), (reach, reach)), lambda a, at: a[:, :, at : a.shape[2] - 2 * reach + at]),
    ):
        padded = np.pad(picture, pad, mode="edge")
        picture = cut(padded, reach) * weights[0]
        for at in range(1, reach + 1):
            picture += (cut(padded, reach - at) + cut(padded, reach + at)) * weights[at]
    return picture


def _moved(picture: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """The mean over a straight path of the camera, centred, so that what is labelled stays where it is."""
    steps = max(abs(dx), abs(dy))
    reach = steps // 2 + 1
    padded = np.pad(picture, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    _, height, width = picture.shape
    total = np.zeros_like(picture)
    for step in range(steps + 1):
        x, y = (reach + round(way * (step / steps - 0.5)) for way in (dx, dy))
        total += padded[:, y : y + height, x : x + width]
    return total * np.float32(1 / (steps + 1))


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image if image.shape[2] == 3 else image[..., 0]).save(file, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(file))
    return decoded if decoded.ndim == 3 else decoded[..., None]
