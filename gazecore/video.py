"""Video in and out: frames by presentation time stamp, upright and RGB, one at a time; an mp4 written frame by frame.

Times are seconds since the first frame, as the file's time stamps say: frame rates vary, streams start late, and frames
are stored in another order than they are shown. Frames are numbered from 0 in the order in which they are shown.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import av
import numpy as np

from gazecore.errors import NO_INPUT, USAGE, GazeError

EXTENSIONS = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv"),
)
TICKS = 60_000  # per second of what we write: whole for common frame rates, and MPEG-4 takes no more than 65,535
EARLY_S = 0.001  # Matroska rounds times to milliseconds
NO_FRAME = "holds no frame that can be decoded: it was cut short, copy it again"
SHORT_S, SHORT_SHARE = 1.0, 0.02  # a video may end so much before its header says


class Info(NamedTuple):
    """size (width, height) upright; fps guessed, duration_s promised by the header, both NaN where unknown; codec."""

    size: tuple[int, int]
    fps: float
    duration_s: float
    codec: str


class Frame:
    """number from 0; time_s since the first frame; the picture is converted only when asked for."""

    def __init__(self, number: int, time_s: float, decoded: Any, turn: "_Turn", size: tuple[int, int] | None = None):
        self.number, self.time_s = number, time_s
        self._decoded, self._turn = decoded, turn
        self.size: tuple[int, int] = size or turn.size(decoded.width, decoded.height)  # width, height

    @cached_property
    def image(self) -> np.ndarray:
        """(h, w, 3) uint8 RGB, upright."""
        width, height = self._turn.size(*self.size)
        stored = self._decoded.to_ndarray(format="rgb24", width=width, height=height, interpolation="BILINEAR")
        return self._turn.upright(stored)


class Damage(NamedTuple):
    """Where a frame is missing: its number, its time or NaN, and what is wrong with the file there."""

    number: int
    time_s: float
    problem: str


class Pace:
    """Which frames to take so that there is at most one in `every_s` seconds: the first at or after each multiple."""

    def __init__(self, every_s: float | None):
        self.every_s, self._next_s = every_s or 0.0, 0.0

    def takes(self, time_s: float) -> bool:
        """Ask for each frame once, in order."""
        if self.every_s and time_s < self._next_s - EARLY_S:
            return False
        if self.every_s:
            self._next_s = (math.floor((time_s + EARLY_S) / self.every_s) + 1) * self.every_s
        return True


def is_video(path: Path) -> bool:
    """By its extension."""
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def info(path: Path) -> Info:
    """What the header and the first frame say. Raises GazeError as frames does."""
    with _opened(path) as (container, stream):
        first = next(_decoded(path, container, stream), None)
        if first is None:
            raise GazeError(f"{path} {NO_FRAME}")
        duration_s = _end_s(container, stream) - _start_s(stream)
        rate = stream.guessed_rate
        size = _Turn.of(first).size(first.width, first.height)
        return Info(size, float(rate) if rate else math.nan, duration_s, stream.codec_context.name)


def frames(
    path: Path, every_s: float | None = None, fps: float | None = None, size: tuple[int, int] | None = None
) -> Iterator[Frame]:
    """The frames in the order in which they are shown; memory does not grow with their number.

    every_s, fps  thin them: at most one in every_s seconds, or fps a second, the first at or after each multiple
    size          (width, height) to which pictures are resized while they are converted, bilinear

    Raises GazeError: no such file, not a video, no picture in it; a frame that is damaged; an end long before the one
    that the header promises (a transport stream promises none).
    """
    if every_s is not None and fps is not None:
        raise GazeError(f"every {every_s} s and {fps} frames a second: give one of them", USAGE)
    pace = Pace(1 / fps if fps else every_s)
    with _opened(path) as (container, stream):
        number, time_s, last_s = -1, 0.0, 0.0
        turn = _Turn()
        for number, decoded in enumerate(_decoded(path, container, stream)):
            turn = turn if number else _Turn.of(decoded)
            time_s = _time_s(path, decoded, stream)
            last_s = time_s + float((decoded.duration or 0) * decoded.time_base)
            if pace.takes(time_s):
                yield Frame(number, time_s, decoded, turn, size)
        if number < 0:
            raise GazeError(f"{path} {NO_FRAME}")
        if short := _short(container, stream, last_s):
            raise GazeError(f"{path} {short}: it was cut short, copy it again")


def whatever_is_left(path: Path) -> Iterator[Frame | Damage]:
    """The frames as `frames` has them, but a damaged file goes on behind the damage, which is told in its place.

    A packet that cannot be decoded, a frame that the decoder calls corrupt, and an end that comes too early are told.
    Raises GazeError: no such file, not a video.
    """
    with _opened(path) as (container, stream):
        stream.codec_context.flags |= av.codec.context.Flags.output_corrupt
        number, last_s, turn = 0, 0.0, None
        for decoded, at_s, problem in _packets(container, stream):
            for picture in decoded:
                turn = turn or _Turn.of(picture)
                time_s = math.nan if picture.pts is None else _time_s(path, picture, stream)
                if not math.isnan(time_s):
                    last_s = time_s + float((picture.duration or 0) * picture.time_base)
                damaged = Damage(number, time_s, "is damaged in the file") if picture.is_corrupt else None
                yield damaged or Frame(number, time_s, picture, turn)
                number += 1
            if problem:
                yield Damage(number, at_s, problem)
                number += 1
        if short := _short(container, stream, last_s):
            yield Damage(number, math.nan, f"is missing: the video {short}")


def at(path: Path, times_s: Iterable[float], size: tuple[int, int] | None = None) -> np.ndarray:
    """The frames shown nearest to the given times, (t, h, w, 3) uint8: a clip without what lies before and behind it.

    times_s  at least one, seconds since the first frame, in any order; before the start the first frame
             is meant, behind the end the last
    size     as in frames
    Decoding begins at the key frame before the earliest time and ends behind the latest.
    """
    wanted = np.asarray(list(times_s), float)
    order = np.argsort(wanted, kind="stable")
    begin_s, back_s = float(wanted.min(initial=math.inf)), 0.0
    while True:
        with _opened(path) as (container, stream):
            from_s = begin_s - back_s
            if from_s > 0:
                container.seek(int((from_s + _start_s(stream)) / stream.time_base), stream=stream)
            shown = ((_time_s(path, decoded, stream), decoded) for decoded in _decoded(path, container, stream))
            first = next(shown, None)
            if from_s > 0 and (first is None or first[0] > begin_s):
                back_s = max(4 * back_s, 1.0)  # some containers seek to where no picture begins
                continue
            if first is None:
                raise GazeError(f"{path} {NO_FRAME}")
            pictures: list[np.ndarray] = []
            previous, turn = None, _Turn.of(first[1])
            for decoded in _nearest(first, shown, wanted[order].tolist()):
                pictures.append(pictures[-1] if decoded is previous else Frame(-1, 0.0, decoded, turn, size).image)
                previous = decoded
            return np.stack(pictures)[np.argsort(order)]


def _nearest(first: tuple[float, Any], shown: Iterator[tuple[float, Any]], times_s: list[float]) -> Iterator[Any]:
    """Of (time, frame) in ascending order the frame nearest to each of the ascending times."""
    before_s, before = first
    after_s, after = next(shown, (math.inf, None))
    for time_s in times_s:
        while time_s > (before_s + after_s) / 2:
            (before_s, before), (after_s, after) = (after_s, after), next(shown, (math.inf, None))
        yield before


class Writer:
    """An mp4 that plays anywhere (H.264, else MPEG-4): frames as they come, each shown until the next one's time.

    with Writer(path) as writer:
        writer.add(image, time_s)

    The file appears complete or not at all, and replaces one of the same name.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._container: Any = None
        self._stream: Any = None
        self._waiting: Any = None  # the last frame, until it is known how long it is shown
        self._size = (0, 0)
        self._gap = TICKS // 25
        self._ticks: dict[int, int] = {}  # time stamp -> duration of what the encoder still holds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._container is not None:
                if kind is None:
                    self._show(self._gap)
                    self._mux(None)
                self._container.close()
            if kind is None:
                if self._container is None:
                    raise GazeError(f"{self.path}: there is no frame to write")
                self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, image: np.ndarray, time_s: float) -> None:
        """A picture (h, w, 3) uint8 shown from time_s on; later than the one before, and all of one size.

        Sides that are not even repeat their last row or column, as the codec wants it.
        """
        height, width = image.shape[:2]
        if self._container is None:
            self._begin(width, height)
        if (width, height) != self._size:
            raise GazeError(
                f"{self.path}: a frame of {width} x {height} pixels after {self._size[0]} x {self._size[1]}; expected "
                "one size"
            )
        tick = round(time_s * TICKS)
        if self._waiting is not None:
            tick = max(tick, self._waiting.pts + 1)
            self._gap = tick - self._waiting.pts
            self._show(self._gap)
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._waiting = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        self._waiting.pts, self._waiting.time_base = tick, Fraction(1, TICKS)

    def _show(self, ticks: int) -> None:
        self._ticks[self._waiting.pts] = ticks
        self._mux(self._waiting)

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._ticks.pop(packet.pts)  # the encoder forgets it
            self._container.mux(packet)

    def _begin(self, width: int, height: int) -> None:
        h264 = "libx264" in av.codecs_available
        self._container = av.open(str(self._part), "w", format="mp4", options={"movflags": "+faststart"})
        # without B frames the muxer's durations are right also where frames come at uneven times
        options = {"crf": "20", "preset": "veryfast", "bf": "0"} if h264 else {"qscale": "3"}
        self._stream = self._container.add_stream("libx264" if h264 else "mpeg4", rate=25, options=options)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709: what players take it for
        context.color_range = 1
        self._size = (width, height)


# ---- reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream."""
    path = Path(path)
    if not path.is_file():
        raise GazeError(f"{path}: no such file; expected a video", NO_INPUT)
    try:  # "file:" and the whitelist: no name and no content of a file makes FFmpeg open another or go to the network
        container = av.open(f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except av.FFmpegError as error:
        raise GazeError(
            f"{path} is not a video, or was cut short ({error.strerror}); play it, or copy it again"
        ) from error
    with container:
        if not container.streams.video:
            raise GazeError(f"{path} holds no pictures, only {', '.join(s.type for s in container.streams)}")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _decoded(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    last_s = 0.0
    try:
        for decoded in container.decode(stream):
            last_s = _time_s(path, decoded, stream)
            yield decoded
    except av.FFmpegError as error:
        raise GazeError(
            f"{path} is damaged after {last_s:.2f} s ({error.strerror}): it was cut short, copy it again"
        ) from error


def _packets(container: Any, stream: Any) -> Iterator[tuple[list[Any], float, str]]:
    """(its frames, its time, what is wrong with it) of every packet."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            yield [], math.nan, f"is missing: the file ends or is damaged here ({error.strerror})"
            return
        try:
            yield packet.decode(), math.nan, ""
        except av.FFmpegError as error:
            at_s = math.nan if packet.pts is None else float(packet.pts * stream.time_base) - _start_s(stream)
            yield [], at_s, f"cannot be decoded ({error.strerror})"


def _short(container: Any, stream: Any, last_s: float) -> str:
    """How much too early a video ended at last_s; empty if it did not."""
    promised_s = _end_s(container, stream) - _start_s(stream)
    if last_s >= promised_s - max(SHORT_S, SHORT_SHARE * promised_s) or math.isnan(promised_s):
        return ""
    return f"ends after {last_s:.1f} s; its header promises {promised_s:.1f} s"


def _time_s(path: Path, decoded: Any, stream: Any) -> float:
    if decoded.pts is None:
        raise GazeError(
            f"{path} has a frame without time stamp: put it into a container, such as .mp4, with its frame rate"
        )
    return float(decoded.pts * decoded.time_base) - _start_s(stream)


def _start_s(stream: Any) -> float:
    return float((stream.start_time or 0) * stream.time_base)


def _end_s(container: Any, stream: Any) -> float:
    """When the last frame ends, as the header says, in the time of the stamps; NaN where it does not say."""
    if stream.duration:
        return _start_s(stream) + float(stream.duration * stream.time_base)
    if tagged := stream.metadata.get("DURATION"):  # Matroska
        hours, minutes, seconds = (float(part) for part in tagged.split(":"))
        return 3600 * hours + 60 * minutes + seconds
    if container.duration and len(container.streams) == 1:
        return (container.start_time + container.duration) / av.time_base
    return math.nan


class _Turn(NamedTuple):
    """How stored pictures become upright: axes exchanged, then mirrored."""

    transposed: bool = False
    left_right: bool = False
    up_down: bool = False

    @classmethod
    def of(cls, decoded: Any) -> "_Turn":
        """From the display matrix, to the nearest quarter turn: x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12).

        Ask one frame of a video: PyAV's side_data keeps its frame in memory until Python looks for cycles.
        """
        for data in decoded.side_data:
            if data.type.name == "DISPLAYMATRIX":
                a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
                return cls(False, a < 0, d < 0) if abs(a) >= abs(b) else cls(True, c < 0, b < 0)
        return cls()

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the upright picture, given that of the stored one, or the other way round."""
        return (height, width) if self.transposed else (width, height)

    def upright(self, image: np.ndarray) -> np.ndarray:
        if not any(self):
            return image
        image = image.swapaxes(0, 1) if self.transposed else image
        return np.ascontiguousarray(image[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1])
