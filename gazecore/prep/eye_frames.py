"""Frames of eyes, one after another, from wherever they lie; memory does not grow with their number.

A folder    images in natural order (2 before 10), each folder below it a sequence of its own; or videos
An image    a GIF, TIFF, APNG or WebP of several pictures with its own times, or a single picture
A video     by its time stamps
An array    .npy, a zarr array or group (also .zarr.zip), HDF5: (frames, h, w) or (frames, h, w, 1 or 3), 8 bits, more
            bits, or floats; of several arrays "image", "images", "frames" or the largest of three axes or more
SUBJECT/TRIAL/... of the folders below becomes subject and trial; left, right, L, R, OS, OD in a name become the eye.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gazecore import images, video
from gazecore.errors import NO_INPUT, USAGE, GazeError
from gazecore.prep.eyes import side_of, without_side

ARRAYS = (".npy", ".zarr", ".zip", ".h5", ".hdf5")
IMAGES = (*images.EXTENSIONS, ".gif", ".apng")
NAMES = ("image", "images", "frames")
BLOCK = 64  # frames of an array that are read at once


@dataclass(frozen=True)
class EyeFrame:
    """One picture of one eye.

    image    (h, w, 3) uint8 RGB; None where it could not be decoded, then `problem` says why
    frame    number from 0 in its sequence; time_s NaN where it is not known
    name     of the file
    eye      L or R, the person's own; "" where nothing says so
    """

    image: np.ndarray | None
    frame: int
    time_s: float
    name: str
    eye: str = ""
    subject: str = ""
    trial: str = ""
    problem: str = ""

    @property
    def sequence(self) -> tuple[str, str, str]:
        """What must be equal for frames to follow one another in time."""
        return self.subject, self.trial, self.eye


def is_frames(source: str) -> bool:
    """Whether a source holds frames, rather than an artifact or the pipe."""
    path = Path(source)
    if source == "-" or not path.exists():
        return False
    if path.is_dir():
        return not (path / "zarr.json").is_file() or _is_foreign(path)
    return path.suffix.lower() not in (".zip", ".h5", ".hdf5") or _is_foreign(path)


def read(source: Path, fps: float | None = None, eye: str = "auto") -> Iterator[EyeFrame]:
    """Every frame of a source, sequence by sequence.

    fps   frames per second of what has no times of its own: folders of images, arrays
    eye   L or R for all frames; auto: what the names say
    A frame that cannot be decoded comes without image, and the rest after it. Errors: nothing there; nothing that is
    known here; not one frame.
    """
    if not source.exists():
        raise GazeError(f"{source}: no such file or folder; expected images, an array or a video", NO_INPUT)
    if eye not in ("L", "R", "auto"):
        raise GazeError(f"--eye {eye}: expected L, R or auto", USAGE)
    found = False
    for frame in _all(source, fps):
        found = True
        yield frame if eye == "auto" else replace(frame, eye=eye)
    if not found:
        raise GazeError(f"{source} holds no frames: neither images nor videos nor an array", NO_INPUT)


def _all(source: Path, fps: float | None) -> Iterator[EyeFrame]:
    if source.is_dir() and source.suffix != ".zarr":
        yield from _folder(source, fps)
    elif source.suffix.lower() in ARRAYS:
        yield from _array(source, fps)
    elif video.is_video(source):
        yield from _video(source, without_side(source.stem))
    elif source.suffix.lower() in IMAGES:
        yield from _image(source, itertools.count(), fps)
    else:
        known = ", ".join(sorted({*IMAGES, *ARRAYS, *video.EXTENSIONS}))
        raise GazeError(f"{source} is no kind of file known here; expected a folder, or {known}")


def _folder(root: Path, fps: float | None) -> Iterator[EyeFrame]:
    """Images count per folder and eye; every video is a trial of its own."""
    files = [path for path in root.rglob("*") if path.suffix.lower() in (*IMAGES, *video.EXTENSIONS)]
    files = [path for path in files if path.name[0] != "." and path.is_file()]
    numbers: dict[tuple[str, str, str], Iterator[int]] = {}
    for path in sorted(files, key=lambda path: natural(path.relative_to(root).as_posix())):
        folders = [part for part in path.relative_to(root).parent.parts if not side_of(part)]
        trial, subject = folders[-1] if folders else "", folders[-2] if len(folders) > 1 else ""
        eye = side_of(path.stem) or next(
            filter(None, map(side_of, [*path.relative_to(root).parent.parts, root.name])), ""
        )
        if video.is_video(path):
            for frame in _video(path, without_side(path.stem)):
                yield replace(frame, eye=eye, subject=trial)
            continue
        count = numbers.setdefault((subject, trial, eye), itertools.count())
        for frame in _image(path, count, fps):
            yield replace(frame, name=path.relative_to(root).as_posix(), eye=eye, subject=subject, trial=trial)


def natural(name: str) -> list[Any]:
    """A key that sorts frame2 before frame10."""
    return [int(part) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", name)]


def _image(path: Path, numbers: Iterator[int], fps: float | None) -> Iterator[EyeFrame]:
    """All pictures of a file; those of several have their own times."""
    try:
        with Image.open(path) as opened:
            count = getattr(opened, "n_frames", 1)
            time_s = 0.0
            for place in range(count) if count > 1 else ():
                number, problem, image = next(numbers), "", None
                try:
                    opened.seek(place)
                    image = _rgb(np.asarray(opened if opened.mode.startswith("I;16") else opened.convert("RGB")))
                except images.BROKEN as error:
                    problem = f"cannot be decoded: {error}"
                own = number / fps if fps else time_s if opened.info.get("duration") else np.nan
                time_s += float(opened.info.get("duration", 0)) / 1000
                yield EyeFrame(image, number, own, path.name, side_of(path.stem), problem=problem)
            if count > 1:
                return
    except images.BROKEN:
        pass  # said below, by what reads single pictures
    number = next(numbers)
    frame = EyeFrame(None, number, number / fps if fps else np.nan, path.name, side_of(path.stem))
    try:
        yield replace(frame, image=images.load(path))
    except GazeError as error:
        yield replace(frame, problem=str(error))


def _video(path: Path, trial: str) -> Iterator[EyeFrame]:
    """Frames by time stamp; what cannot be decoded is a frame without an image, at its time."""
    for frame in video.whatever_is_left(path):
        shown = EyeFrame(None, frame.number, frame.time_s, path.name, side_of(path.stem), trial=trial)
        if isinstance(frame, video.Damage):
            yield replace(shown, problem=frame.problem)
        else:
            yield replace(shown, image=frame.image)


def _array(path: Path, fps: float | None) -> Iterator[EyeFrame]:
    """Frames of an array on disk, some at a time."""
    array = _opened_array(path)
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[-1] not in (1, 3)):
        raise GazeError(f"{path} holds an array {array.shape}; expected (frames, h, w) or (frames, h, w, 1 or 3)")
    for start in range(0, array.shape[0], BLOCK):
        for number, picture in enumerate(np.asarray(array[start : start + BLOCK]), start):
            time_s = number / fps if fps else np.nan
            yield EyeFrame(_rgb(picture), number, time_s, path.name, side_of(path.stem), trial=without_side(path.stem))


def _opened_array(path: Path) -> Any:
    if path.suffix == ".npy":
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise GazeError(f"{path} is no array that numpy can read: {error}") from error
    try:
        if path.suffix.lower() in (".h5", ".hdf5"):
            import h5py

            root: Any = h5py.File(path, "r")
            arrays: dict[str, Any] = {}
            root.visititems(lambda name, item: arrays.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        else:
            import zarr

            root = zarr.open(zarr.storage.ZipStore(path, mode="r") if path.suffix == ".zip" else path, mode="r")
            arrays = {"image": root} if isinstance(root, zarr.Array) else dict(root.arrays())
    except (OSError, ValueError, KeyError) as error:
        raise GazeError(f"{path} cannot be opened as an array: {error}") from error
    pictures = {name: array for name, array in arrays.items() if len(array.shape) >= 3}
    if not pictures:
        raise GazeError(f"{path} holds no array of three axes or more; it has {', '.join(arrays) or 'none'}")
    named = next((name for name in NAMES if name in pictures), "")
    return pictures[named] if named else max(pictures.values(), key=lambda array: array.size)


def _is_foreign(path: Path) -> bool:
    """Whether an array file is not one of our artifacts."""
    try:
        if path.suffix.lower() in (".h5", ".hdf5"):
            import h5py

            with h5py.File(path, "r") as file:
                return "gz_schema" not in file.attrs
        import zarr

        store = zarr.storage.ZipStore(path, mode="r") if path.suffix == ".zip" else path
        return "gz_schema" not in zarr.open(store, mode="r").attrs
    except (OSError, ValueError, KeyError):
        return False


def _rgb(picture: np.ndarray) -> np.ndarray:
    """(h, w), (h, w, 1) or (h, w, 3) of any number -> (h, w, 3) uint8: 16 bits keep their upper 8, floats are 0..1."""
    if picture.dtype.kind == "f":
        picture = np.rint(np.clip(picture, 0, 1) * 255)
    elif picture.dtype == np.uint16:
        picture = picture >> 8
    elif picture.dtype == bool:
        picture = picture * 255
    picture = picture.astype(np.uint8)
    if picture.ndim == 2:
        picture = picture[..., None]
    return np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else np.ascontiguousarray(picture)
