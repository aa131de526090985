import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from gazecore import video
from gazecore.errors import NO_INPUT, USAGE, GazeError

UNEVEN_S = [*(0.04 * i for i in range(10)), *(0.4 + 0.15 * i for i in range(14))]


def picture(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A frame that tells its number by its grey, and up from down, left from right by a white corner."""
    image = np.full((size[1], size[0], 3), 8 * number % 200, np.uint8)
    image[: size[1] // 4, : size[0] // 4] = 255
    return image


def number_in(image: np.ndarray) -> int:
    return round(float(image[image.shape[0] // 2, image.shape[1] // 2].mean()) / 8)


def make(path: Path, times_s: list[float], codec: str = "libx264", start_s: float = 0.0, **options: str) -> Path:
    """A video of pictures at the given times, as other programs write them: B frames, late starts, any container."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 60_000)
        for number, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = round((time_s + start_s) * 60_000), Fraction(1, 60_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """24 frames at 25 a second."""
    return make(tmp_path / "clip.mp4", [i / 25 for i in range(24)])


@pytest.mark.parametrize(
    "name, times_s, options",
    [
        ("plain.mp4", [i / 25 for i in range(24)], {}),
        ("uneven.mp4", UNEVEN_S, {}),
        ("b.mp4", [i / 25 for i in range(24)], {"bf": "3", "b_strategy": "0"}),
        ("uneven-b.mkv", UNEVEN_S, {"bf": "3"}),
        ("late.mkv", [i / 25 for i in range(24)], {"start_s": 5.0}),
        ("late-b.ts", [i / 25 for i in range(24)], {"start_s": 7.0, "bf": "2"}),
        ("old.avi", [i / 25 for i in range(24)], {"codec": "mpeg4"}),
    ],
)
def test_frames_come_in_the_order_of_their_time_stamps(tmp_path, name, times_s, options):
    frames = list(video.frames(make(tmp_path / name, times_s, **options)))
    assert [frame.number for frame in frames] == list(range(24))
    assert [frame.time_s for frame in frames] == pytest.approx(times_s, abs=6e-4)  # Matroska has milliseconds
    assert [number_in(frame.image) for frame in frames] == list(range(24))
    assert all(frame.size == (64, 48) and frame.image.shape == (48, 64, 3) for frame in frames)


@pytest.mark.parametrize("name, options", [("b.mp4", {"bf": "3", "g": "8"}), ("b.ts", {"start_s": 7.0, "bf": "2"})])
def test_frames_at_given_times_are_the_nearest_of_all(tmp_path, name, options):
    path = make(tmp_path / name, UNEVEN_S, **options)
    frames = list(video.frames(path))
    known_s = np.array([frame.time_s for frame in frames])
    asked_s = np.random.default_rng(0).uniform(-0.3, known_s[-1] + 0.3, 16)
    asked_s[5] = asked_s[2]
    nearest = [int(np.abs(known_s - time_s).argmin()) for time_s in asked_s]
    np.testing.assert_array_equal(video.at(path, asked_s), [frames[number].image for number in nearest])
    for time_s, number in zip(asked_s[:4], nearest[:4], strict=True):
        np.testing.assert_array_equal(video.at(path, [time_s])[0], frames[number].image)


def test_frames_are_thinned_to_a_rate_or_a_period(clip):
    assert [frame.number for frame in video.frames(clip, fps=5)] == [0, 5, 10, 15, 20]
    assert [frame.number for frame in video.frames(clip, every_s=0.3)] == [0, 8, 15, 23]
    assert [frame.number for frame in video.frames(clip, fps=1000)] == list(range(24))
    with pytest.raises(GazeError, match="give one of them") as raised:
        next(video.frames(clip, every_s=1, fps=1))
    assert raised.value.code == USAGE


def test_thinning_an_uneven_video_takes_at_most_one_frame_in_each_period(tmp_path):
    path = make(tmp_path / "uneven.mp4", UNEVEN_S)
    taken_s = [frame.time_s for frame in video.frames(path, every_s=0.2)]
    assert taken_s == pytest.approx([0.0, 0.2, 0.4, 0.7, 0.85, 1.0, 1.3, 1.45, 1.6, 1.9, 2.05, 2.2])


def test_pictures_are_resized_while_they_are_converted(clip):
    frame = next(video.frames(clip, size=(32, 20)))
    assert frame.size == (32, 20) and frame.image.shape == (20, 32, 3)
    assert video.at(clip, [0.1, 0.2, 0.3], size=(32, 20)).shape == (3, 20, 32, 3)


@pytest.mark.parametrize(
    "matrix, corner, size",
    [
        ((1, 0, 0, 1), (0, 0), (64, 48)),
        ((0, 1, -1, 0), (0, -1), (48, 64)),  # a phone held upright: a quarter turn clockwise
        ((0, -1, 1, 0), (-1, 0), (48, 64)),
        ((-1, 0, 0, -1), (-1, -1), (64, 48)),
        ((-1, 0, 0, 1), (0, -1), (64, 48)),  # mirrored
    ],
)
def test_rotation_in_the_header_is_applied(clip, matrix, corner, size):
    a, b, c, d = (value << 16 for value in matrix)
    content = bytearray(clip.read_bytes())
    place = content.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    clip.write_bytes(content)
    image = next(video.frames(clip)).image
    whites = {at: int(image[at].min()) > 200 for at in ((0, 0), (0, -1), (-1, 0), (-1, -1))}
    assert [at for at, white in whites.items() if white] == [corner]
    assert video.info(clip).size == next(video.frames(clip)).size == size
    assert next(video.frames(clip, size=(20, 10))).image.shape == (10, 20, 3)


def test_a_header_is_read_without_the_frames(clip):
    info = video.info(clip)
    assert info.size == (64, 48) and info.codec == "h264"
    assert info.fps == 25 and info.duration_s == pytest.approx(24 / 25)


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_a_video_that_was_cut_short_is_named(tmp_path, name):
    path = make(tmp_path / name, [i / 5 for i in range(24)], g="1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(GazeError, match=f"{name}.* cut short"):
        list(video.frames(path))


def test_a_video_that_ends_before_its_header_says_is_named(tmp_path):
    whole = make(tmp_path / "whole.mp4", [i / 5 for i in range(24)], g="1")
    started = tmp_path / "started.mp4"  # its header lies in front, so that it opens
    with av.open(str(whole)) as source, av.open(str(started), "w", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    started.write_bytes(started.read_bytes()[: started.stat().st_size * 2 // 3])
    with pytest.raises(GazeError, match=r"started\.mp4 .*cut short"):
        list(video.frames(started))


@pytest.mark.parametrize("content", [b"", b"no video at all" * 50])
def test_what_is_not_a_video_is_named(tmp_path, content):
    path = tmp_path / "text.mp4"
    path.write_bytes(content)
    for use in (video.info, lambda path: next(video.frames(path)), lambda path: video.at(path, [0])):
        with pytest.raises(GazeError, match=r"text\.mp4 is not a video"):
            use(path)


def test_a_missing_video_and_a_sound_are_named(tmp_path):
    with pytest.raises(GazeError, match="no such file; expected a video") as raised:
        video.info(tmp_path / "lost.mp4")
    assert raised.value.code == NO_INPUT
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(GazeError, match="holds no pictures, only audio"):
        video.info(tmp_path / "sound.mp4")


def test_a_file_cannot_make_another_be_opened(tmp_path):
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n")
    with pytest.raises(GazeError, match=r"list\.mp4"):
        list(video.frames(tmp_path / "list.mp4"))


def test_written_frames_come_back_with_times_sizes_and_colours(tmp_path):
    times_s = [0.0, 0.1, 0.2, 1.2, 1.3]
    image = np.zeros((31, 45, 3), np.uint8)
    image[:, :22], image[:, 22:] = (200, 60, 30), (20, 180, 90)
    with video.Writer(tmp_path / "out.mp4") as writer:
        for time_s in times_s:
            writer.add(image, time_s)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    frames = list(video.frames(tmp_path / "out.mp4"))
    assert [frame.time_s for frame in frames] == pytest.approx(times_s)
    assert video.info(tmp_path / "out.mp4").duration_s == pytest.approx(1.4)
    for frame in frames:
        assert frame.size == (46, 32)  # even, as the codec wants it
        np.testing.assert_allclose(frame.image[15, 8], (200, 60, 30), atol=6)
        np.testing.assert_allclose(frame.image[15, 40], (20, 180, 90), atol=6)


def test_without_h264_mpeg4_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    with video.Writer(tmp_path / "out.mp4") as writer:
        for number in range(5):
            writer.add(picture(number), number / 30)
    assert video.info(tmp_path / "out.mp4").codec == "mpeg4"
    assert [number_in(frame.image) for frame in video.frames(tmp_path / "out.mp4")] == list(range(5))


def test_an_unfinished_video_leaves_no_file_and_keeps_the_old_one(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_text("the old one")
    with pytest.raises(ZeroDivisionError), video.Writer(path) as writer:
        writer.add(picture(0), 0.0)
        1 / 0  # noqa: B018
    with pytest.raises(GazeError, match="expected one size"), video.Writer(path) as writer:
        writer.add(picture(0), 0.0)
        writer.add(picture(1, (32, 32)), 0.1)
    with pytest.raises(GazeError, match="no frame to write"), video.Writer(path):
        pass
    assert path.read_text() == "the old one" and list(tmp_path.iterdir()) == [path]


def test_memory_does_not_grow_with_the_length(tmp_path):
    path = tmp_path / "long.mp4"
    with video.Writer(path) as writer:
        for number in range(400):
            writer.add(picture(number, (640, 360)), number / 30)
    frames = video.frames(path)
    for _ in range(50):
        next(frames).image.sum()
    process = psutil.Process()
    before = process.memory_info().rss
    for frame in frames:
        frame.image.sum()
    assert frame.number == 399 and process.memory_info().rss - before < 30e6  # the frames are 276 MB


def test_what_is_left_of_a_damaged_video_is_read_and_its_early_end_told(tmp_path):
    path, noise = tmp_path / "a.mp4", np.random.default_rng(0)
    with video.Writer(path) as writer:
        for number in range(60):
            writer.add(noise.integers(0, 255, (64, 64, 3), dtype=np.uint8), 0.1 * number)
    whole = list(video.whatever_is_left(path))
    assert [frame.number for frame in whole] == list(range(60)) and not any(map(is_damage, whole))
    assert [frame.time_s for frame in whole] == pytest.approx([frame.time_s for frame in video.frames(path)])

    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    cut = list(video.whatever_is_left(path))
    assert is_damage(cut[-1]) and re.search(r"ends after .* its header promises 6.\d s", cut[-1].problem)
    assert not any(map(is_damage, cut[:10]))


def is_damage(frame) -> bool:
    return isinstance(frame, video.Damage)
