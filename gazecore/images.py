"""Images in and out: load, size, resize, encode, colour-normalise; (h, w, 3) uint8 RGB, sizes are (width, height)."""

import io
import re
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gazecore.errors import DATA, IO, NO_INPUT, GazeError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Of two files with one stem the earlier extension is taken: lossless before lossy
EXTENSIONS = (".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")

# Pillow's own limit, which it only warns of: a few kilobytes can claim to be a picture of many gigabytes
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485

EXIF_ORIENTATION = 0x0112
SIDEWAYS = {5, 6, 7, 8}  # orientations that exchange width and height

PIXELS = re.compile(rb"P6\n(\d{1,5}) (\d{1,5})\n255\n")  # how encode_pixels begins

# What Pillow's decoders raise on broken files
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def load(source: Path | bytes) -> np.ndarray:
    """The picture as (h, w, 3) uint8 RGB, turned upright as its EXIF orientation says.

    Grey, palette and CMYK pictures become RGB, 16-bit grey keeps its upper 8 bits, transparency is dropped.
    Raises GazeError naming the file: missing, not an image, cut off, more than MAX_PIXELS.
    """
    if isinstance(source, bytes) and (header := PIXELS.match(source)):
        width, height = map(int, header.groups())
        if len(source) == header.end() + 3 * width * height:
            return np.frombuffer(source, np.uint8, offset=header.end()).reshape(height, width, 3).copy()
    with _open(source) as image:
        try:
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith("I;16"):
                return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
        except BROKEN as error:
            raise GazeError(
                f"{_name(source)} cannot be decoded ({error}): the file is damaged, copy it again"
            ) from error


def size(source: Path | bytes) -> tuple[int, int]:
    """(width, height) after the EXIF orientation, from the header alone. Raises GazeError as load does."""
    with _open(source) as image:
        try:
            sideways = image.getexif().get(EXIF_ORIENTATION) in SIDEWAYS
        except BROKEN as error:
            raise GazeError(f"{_name(source)} has a damaged header ({error}): copy it again") from error
        return (image.height, image.width) if sideways else image.size


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8 -> another size (width, height), bilinear with antialiasing.

    To the bit what torchvision's Resize makes of a Pillow image.
    """
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """(h, w, 3) uint8 -> the bytes of a JPEG file; quality 1 to 100."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def encode_pixels(image: np.ndarray) -> bytes:
    """(h, w, 3) uint8 -> the bytes of a binary PPM file, which `load` has nothing to decode of."""
    height, width, _ = image.shape
    return b"P6\n%d %d\n255\n" % (width, height) + image.tobytes()


def colour_normalise(
    image: np.ndarray, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> np.ndarray:
    """(..., h, w, c) uint8 -> float32 of the same shape: (value / 255 - mean) / std for each channel."""
    scale = 1 / (255 * np.asarray(std, np.float64))
    shift = -np.asarray(mean, np.float64) / np.asarray(std, np.float64)
    return image * scale.astype(np.float32) + shift.astype(np.float32)


def by_stem(folder: Path) -> dict[str, Path]:
    """The images that lie directly in a folder, by file name without extension; empty if there is no such folder.

    Data sets differ in the extension that their annotations name, mix .ppm with .jpg, or name none at all.
    """
    if not folder.is_dir():
        return {}
    found = [path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.name[0] != "."]
    found.sort(key=lambda path: (EXTENSIONS.index(path.suffix.lower()), path.name), reverse=True)
    return {path.stem: path for path in found}


def _open(source: Path | bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except FileNotFoundError as error:
        raise GazeError(f"{_name(source)}: no such image", NO_INPUT) from error
    except Image.UnidentifiedImageError as error:
        raise GazeError(f"{_name(source)} is not an image that Pillow can read: {_beginning(source)}") from error
    except Image.DecompressionBombError as error:
        raise GazeError(f"{_name(source)}: {error}; expected at most {MAX_PIXELS:,} pixels: shrink it first") from error
    except BROKEN as error:
        raise GazeError(f"{_name(source)} cannot be opened: {error}", IO if _is_os_error(error) else DATA) from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise GazeError(
            f"{_name(source)} claims {image.width} x {image.height} pixels; expected at most {MAX_PIXELS:,} in all: "
            "shrink it first"
        )
    return image


def _is_os_error(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno is not None


def _name(source: Path | bytes) -> str:
    return f"an image of {len(source):,} bytes" if isinstance(source, bytes) else str(source)


def _beginning(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        start = source[:16]
    else:
        with source.open("rb") as file:
            start = file.read(16)
    return f"it begins with {start!r}" if start else "the file is empty"
