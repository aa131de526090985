import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gazecore import images
from gazecore.errors import NO_INPUT, GazeError

RNG = np.random.default_rng(0)
SCENE = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_lossless_image_comes_back_from_a_path_and_from_bytes(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "scene.ppm")
    assert np.array_equal(images.load(tmp_path / "scene.ppm"), SCENE)
    assert np.array_equal(images.load(saved(Image.fromarray(SCENE))), SCENE)
    assert images.size(tmp_path / "scene.ppm") == (9, 6)


@pytest.mark.parametrize(
    "orientation, upright", [(3, SCENE[::-1, ::-1]), (6, np.rot90(SCENE, -1)), (8, np.rot90(SCENE))]
)
def test_exif_orientation_turns_the_picture_and_its_size(orientation, upright):
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = orientation
    source = saved(Image.fromarray(SCENE), exif=exif)
    assert np.array_equal(images.load(source), upright)
    assert images.size(source) == upright.shape[1::-1]


def test_every_mode_becomes_rgb():
    grey = SCENE[..., 0]
    for mode in ("L", "P", "RGBA", "1", "LA"):
        assert images.load(saved(Image.fromarray(SCENE).convert(mode))).shape == (6, 9, 3)
    assert np.array_equal(images.load(saved(Image.fromarray(grey)))[..., 2], grey)
    assert np.array_equal(images.load(saved(Image.fromarray(grey.astype(np.uint16) << 8)))[..., 1], grey)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(GazeError, match=r"lost\.jpg: no such image") as raised:
        images.load(tmp_path / "lost.jpg")
    assert raised.value.code == NO_INPUT


def test_a_file_that_is_no_image_is_named_with_its_beginning(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>404")
    with pytest.raises(GazeError, match=r"page\.jpg is not an image .* begins with b'<html>404'"):
        images.size(tmp_path / "page.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(GazeError, match=r"empty\.jpg is not an image .* is empty"):
        images.load(tmp_path / "empty.jpg")
    with pytest.raises(GazeError, match="cannot be opened"):
        images.load(tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_cut_off_image_is_named(kind, tmp_path):
    whole = saved(Image.fromarray(RNG.integers(0, 256, (80, 80, 3), dtype=np.uint8)), kind)
    (tmp_path / "cut.img").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GazeError, match=r"cut\.img cannot be decoded"):
        images.load(tmp_path / "cut.img")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("width, height", [(10_000, 10_000), (60_000, 60_000)])
def test_a_small_file_that_claims_a_huge_picture_is_refused_unread(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    for read in (images.load, images.size):
        with pytest.raises(GazeError, match=r"expected at most 89,478,485"):
            read(bomb)


def test_resize_is_bilinear_with_antialiasing():
    stripes = np.zeros((4, 8, 3), np.uint8)
    stripes[:, ::2] = 240
    halved = images.resize(stripes, (4, 4))
    assert halved.shape == (4, 4, 3)
    assert np.array_equal(halved[:, 1:3], np.full((4, 2, 3), 120))  # without antialiasing single stripes would show
    assert np.array_equal(images.resize(SCENE, (9, 6)), SCENE)


def test_jpeg_keeps_a_smooth_picture_nearly():
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (64, 64, 3))
    decoded = images.load(images.encode_jpeg(np.ascontiguousarray(ramp), quality=95))
    assert np.abs(decoded.astype(int) - ramp).max() <= 3


def test_colour_normalisation_by_hand():
    grey = np.full((2, 3, 3), 51, np.uint8)  # 0.2
    normalised = images.colour_normalise(grey)
    expected = (0.2 - np.array(images.IMAGENET_MEAN)) / np.array(images.IMAGENET_STD)
    np.testing.assert_allclose(normalised, np.broadcast_to(expected, (2, 3, 3)), atol=1e-6)
    assert normalised.dtype == np.float32


def test_by_stem_prefers_the_lossless_of_two_and_skips_what_is_no_image(tmp_path):
    for name in ("a.jpg", "a.ppm", "b.JPG", "notes.txt", "._b.jpg"):
        (tmp_path / name).touch()
    assert {stem: path.name for stem, path in images.by_stem(tmp_path).items()} == {"a": "a.ppm", "b": "b.JPG"}
    assert images.by_stem(tmp_path / "nowhere") == {}
