"""Pupil-iris ratio over time: frames -> masks -> ellipses -> a row per frame and eye, smoothed where time is known.

Frames are decoded ahead, batches computed side by side, and only a few are held at once. What grows with the
number of frames are the numbers of the sequence that is being read: it is smoothed as a whole.
"""

import logging
import os
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from gazecore.artifacts import Artifact
from gazecore.eval.eye_masks import Columns, Segmenter
from gazecore.prep.eye_frames import EyeFrame
from gazecore.pupil import trace
from gazecore.pupil.ratio import measure

log = logging.getLogger(__name__)

TOLD = 5  # frames that could not be read, spelt out
AHEAD = 64  # frames that are decoded before they are asked for
MOST_THREADS = 4
S = TypeVar("S")
T = TypeVar("T")


# ---- measuring ------------------------------------------------------------------------------------------------------


def of_frames(
    frames: Iterable[EyeFrame], segmenter: Segmenter, batch_size: int = 8, hvid_mm: float = 11.7
) -> Iterator[Columns]:
    """Rows of frames, in their order, a batch at a time: what pupil.ratio.measure finds, and where the frame is from.

    A frame without image has a row of NaN with the flag no_image. Batches are computed side by side, each by one
    thread: images of eyes are too small for several threads to share one.
    """

    def job(batch: list[EyeFrame]) -> Columns:
        pictures = [frame.image for frame in batch if frame.image is not None]
        if not pictures:
            return _rows(batch, np.empty((0, 1, 1), np.uint8), None, hvid_mm)
        return _rows(batch, *segmenter(np.stack(pictures)), hvid_mm)

    with segmenter.one_thread():
        yield from _side_by_side(job, _batches(_told(_ahead(frames, AHEAD)), batch_size))


def frames_of(artifact: Artifact, rows: np.ndarray, block: int = 32) -> Iterator[EyeFrame]:
    """The pictures of eye samples as frames; without frame numbers, samples count from 0."""
    known = [name for name in ("sample_id", "image", "eye", "subject", "trial", "frame", "time_s") if name in artifact]
    for start in range(0, len(rows), block):
        part = {name: artifact[name].take(rows[start : start + block]) for name in known}
        for i, image in enumerate(part["image"]):
            texts = {name: str(part[name][i]) for name in ("eye", "subject", "trial") if name in part}
            number = part["frame"][i] if "frame" in part else np.nan
            time_s = float(part["time_s"][i]) if "time_s" in part else np.nan
            number = start + i if np.isnan(number) else int(number)
            yield EyeFrame(image, number, time_s, str(part["sample_id"][i]), **texts)


def of_masks(artifact: Artifact, rows: np.ndarray, hvid_mm: float = 11.7, block: int = 64) -> Iterator[Columns]:
    """The same of stored masks, with the probabilities that lie beside them, if any."""
    known = [name for name in ("sample_id", "subject", "trial", "eye", "frame", "time_s") if name in artifact]
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        probability = artifact["probability"].take(part).astype(np.float32) if "probability" in artifact else None
        measured = measure(artifact["labels"].take(part), probability, hvid_mm=hvid_mm)
        columns: Columns = {name: np.full(len(part), "", object) for name in ("subject", "trial", "eye")}
        columns |= {name: np.full(len(part), np.nan) for name in ("frame", "time_s")}
        columns |= {name: artifact[name].take(part) for name in known}
        columns |= {name: columns[name].astype(object) for name in ("sample_id", "subject", "trial", "eye")}
        yield columns | measured


def _rows(batch: list[EyeFrame], labels: np.ndarray, probability: np.ndarray | None, hvid_mm: float) -> Columns:
    measured = measure(labels, probability, hvid_mm=hvid_mm)
    seen = np.array([frame.image is not None for frame in batch])
    columns: Columns = {
        "sample_id": np.array([f"{frame.name}#{frame.frame}" for frame in batch], object),
        "frame": np.array([frame.frame for frame in batch], np.float64),
        "time_s": np.array([frame.time_s for frame in batch], np.float64),
    }
    for name in ("subject", "trial", "eye"):
        columns[name] = np.array([getattr(frame, name) for frame in batch], object)
    for name, values in measured.items():
        empty = "no_image" if name == "flags" else 0 if name == "blink" else np.nan
        columns[name] = np.full(len(batch), empty, object if name == "flags" else values.dtype)
        columns[name][seen] = values
    return columns


def _told(frames: Iterable[EyeFrame]) -> Iterator[EyeFrame]:
    """The frames; the first that could not be read are said, and in the end how many there were."""
    lost = 0
    for frame in frames:
        if frame.problem:
            lost += 1
            if lost <= TOLD:
                log.warning("%s, frame %d %s", frame.name, frame.frame, frame.problem)
        yield frame
    if lost > TOLD:
        log.warning("%d frames could not be read", lost)


def _batches(frames: Iterable[EyeFrame], most: int) -> Iterator[list[EyeFrame]]:
    """Frames that follow one another, up to `most`, their pictures of one size; some may have no picture."""
    batch: list[EyeFrame] = []
    size: tuple[int, ...] | None = None
    for frame in frames:
        own = None if frame.image is None else frame.image.shape
        if len(batch) >= most or (size is not None and own not in (None, size)):
            yield batch
            batch, size = [], None
        batch.append(frame)
        size = size or own
    if batch:
        yield batch


def _ahead(items: Iterable[T], most: int) -> Iterator[T]:
    """The items, made in a thread up to `most` before they are taken; its error is raised here."""
    waiting: queue.Queue[Any] = queue.Queue(most)
    end, stopped = object(), threading.Event()

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(end)
        except BaseException as error:  # whatever it is, it belongs to the one who asked
            put((end, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not end:
            if isinstance(item, tuple) and len(item) == 2 and item[0] is end:
                raise item[1]
            yield item
    finally:
        stopped.set()
        thread.join()


def _side_by_side(job: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """The job's results, in the order of the items; as many run at once as there are cores, up to MOST_THREADS."""
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, MOST_THREADS)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(job, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


# ---- over time ------------------------------------------------------------------------------------------------------


def smoothed(blocks: Iterable[Columns], unit: str = "ratio", hvid_mm: float = 11.7) -> Iterator[Columns]:
    """The rows with pir_smooth, velocity_per_s and interpolated, a recording (subject and trial) at a time.

    unit  of the two: the ratio itself; px: of the pupil's major axis; mm: of the ratio times hvid_mm, an estimate
    Each eye is cleaned by itself (pupil.trace.clean). Without times, or with fewer than two frames, the three stay NaN
    and 0, and the rows carry the flag no_time.
    """
    held: list[Columns] = []
    for block in blocks:
        subject, trial = block["subject"], block["trial"]
        cuts = np.flatnonzero((subject[1:] != subject[:-1]) | (trial[1:] != trial[:-1])) + 1
        for rows in np.split(np.arange(len(trial)), cuts):
            part = {name: values[rows] for name, values in block.items()}
            if held and (held[-1]["subject"][0], held[-1]["trial"][0]) != (part["subject"][0], part["trial"][0]):
                yield _smooth(_joined(held), unit, hvid_mm)
                held = []
            held.append(part)
    if held:
        yield _smooth(_joined(held), unit, hvid_mm)


def _joined(blocks: list[Columns]) -> Columns:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _smooth(rows: Columns, unit: str, hvid_mm: float) -> Columns:
    count = len(rows["pir"])
    sizes = rows["pupil_major_px"] if unit == "px" else rows["pir"] * (hvid_mm if unit == "mm" else 1)
    found: Columns = {"pir_smooth": np.full(count, np.nan), "velocity_per_s": np.full(count, np.nan)}
    found["interpolated"] = np.zeros(count, np.uint8)
    rows["flags"] = rows["flags"].astype(object)
    for eye in sorted(set(rows["eye"])):
        timed = (rows["eye"] == eye) & np.isfinite(rows["time_s"])
        mine = np.flatnonzero(timed)[np.argsort(rows["time_s"][timed], kind="stable")]
        time_s = rows["time_s"][mine]
        if len(mine) < 2 or not (np.diff(time_s) > 0).all():
            whole = rows["eye"] == eye
            rows["flags"][whole] = [";".join(filter(None, (flags, "no_time"))) for flags in rows["flags"][whole]]
            continue
        area = rows["pupil_major_px"][mine] * rows["pupil_minor_px"][mine]
        shut = trace.segmentation_blinks(time_s, area, rows["aperture"][mine]) | (rows["blink"][mine] == 1)
        rows["blink"][mine] = shut
        cleaned = trace.clean(time_s, sizes[mine], blink=shut)
        found["pir_smooth"][mine], found["velocity_per_s"][mine], _ = cleaned.at(time_s)
        place = np.rint((time_s - cleaned.time_s[0]) * cleaned.rate_hz).astype(int)
        found["interpolated"][mine] = cleaned.interpolated[np.clip(place, 0, len(cleaned.time_s) - 1)]
    return rows | found


class Tally:
    """What a command says in the end: how many frames, how many with a ratio, and what kept it from the others."""

    def __init__(self) -> None:
        self.frames = self.measured = self.blinks = 0
        self.flags: Counter[str] = Counter()

    def add(self, rows: Columns) -> None:
        self.frames += len(rows["pir"])
        self.measured += int(np.isfinite(rows["pir"]).sum())
        self.blinks += int((rows["blink"] == 1).sum())
        self.flags.update(flag for flags in rows["flags"] for flag in str(flags).split(";") if flag)

    def document(self) -> dict[str, int]:
        """frames, with_ratio, in_blinks, and the number of frames with each flag."""
        flags = {f"flag {name}": count for name, count in self.flags.most_common()}
        return {"frames": self.frames, "with_ratio": self.measured, "in_blinks": self.blinks, **flags}
