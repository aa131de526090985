"""Heat maps in plain files, as other programs keep them.

On disk  VIDEO.npz                     one array [T, H, W], named heatmaps, heatmap, arr_0 or the only one of three axes
         VIDEO/frame_000000.npy        one array [H, W] per frame
         NAME.png                      one greyscale map per image, 8 or 16 bits
A folder may hold many of one sort.
"""

import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gazecore.errors import EXISTS, IO, USAGE, GazeError

if TYPE_CHECKING:
    from gazecore.artifacts import Artifact

FRAME = re.compile(r"(\d+)$")
BLOCK = 256
FORMATS = ("npz", "npy", "png")
# what numpy and pillow raise over damaged files, and over those that claim impossible sizes
UNREADABLE = (
    OSError, ValueError, TypeError, EOFError, MemoryError, zlib.error, zipfile.BadZipFile, Image.DecompressionBombError,
)  # fmt: skip


def is_plain(path: Path) -> bool:
    """Is this a file or folder of plain heat maps rather than an artifact?"""
    return path.suffix == ".npz" or (path.is_dir() and not (path / "zarr.json").exists() and bool(_files(path)))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Blocks of columns heatmap (n, h, w) float32, name (n,), frame (n,) of every file, in name order.

    GazeError names the file whose maps have another size, another number of axes, or that cannot be read.
    """
    maps = _maps(path)
    size: tuple[int, ...] | None = None
    while block := list(islice(maps, BLOCK)):
        for name, _, heatmap in block:
            size = size or heatmap.shape
            if heatmap.shape != size:
                raise GazeError(
                    f"{path}: {name} is {heatmap.shape}, the maps before it {size}; resize them to one size"
                )
        yield {
            "heatmap": np.stack([heatmap for _, _, heatmap in block]).astype(np.float32),
            "name": [name for name, _, _ in block],
            "frame": np.array([frame for _, frame, _ in block], np.float64),
        }


def write(artifact: "Artifact", folder: Path, form: str, overwrite: bool) -> int:
    """Write the heat maps of an artifact as npz (one per video), npy or 16-bit png files; the number of files."""
    if form not in FORMATS:
        raise GazeError(f"--to {form}: expected {', '.join(FORMATS)}", USAGE)
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise GazeError(f"{folder} exists and is not empty; --overwrite adds to it", EXISTS)
    folder.mkdir(parents=True, exist_ok=True)
    names = artifact["name" if "name" in artifact else "sample_id"].whole().tolist()
    files = _file_names(names)
    if form == "npz":
        return _write_npz(artifact, folder, names, files)
    seen: Counter[str] = Counter()
    for block in artifact.blocks(BLOCK):
        for name, heatmap in zip(names[block], maps_of(artifact, block), strict=True):
            count = seen[name]
            seen[name] += 1
            if form == "npy":
                target = folder / files[name] / f"frame_{count:06d}.npy"
                target.parent.mkdir(exist_ok=True)
                np.save(target, heatmap)
            else:
                target = folder / f"{files[name]}{f'_{count:06d}' if count else ''}.png"
                top = max(float(heatmap.max()), np.finfo(np.float32).tiny)
                Image.fromarray(np.round(heatmap / top * 65535).astype(np.uint16)).save(target)
    return len(names)


def maps_of(artifact: "Artifact", block: slice) -> np.ndarray:
    """The heat maps (n, h, w) float32 of some rows, whatever they are stored as."""
    heatmaps = artifact["heatmap"][block]
    return _scaled(heatmaps, artifact["scale"][block] if heatmaps.dtype == np.uint8 else None)


def _scaled(heatmaps: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    if scale is None:
        return heatmaps.astype(np.float32)
    return heatmaps * (scale[:, None, None] / np.float32(255))


def _write_npz(artifact: "Artifact", folder: Path, names: list[str], files: dict[str, str]) -> int:
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault(name, []).append(row)
    for name, rows in rows_of.items():
        heatmaps = artifact["heatmap"].take(np.array(rows))
        scale = artifact["scale"].take(np.array(rows)) if heatmaps.dtype == np.uint8 else None
        np.savez_compressed(folder / f"{files[name]}.npz", heatmaps=_scaled(heatmaps, scale))
    return len(rows_of)


def _file_names(names: list[str]) -> dict[str, str]:
    """Each sample's name as a file name that stays inside the folder; names that would clash get a number."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        file = plain = re.sub(r"[^\w.#-]+", "_", name).lstrip(".")[:200] or "_"
        number = 1
        while file.lower() in taken:  # some disks do not tell A from a
            number += 1
            file = f"{plain}_{number}"
        taken.add(file.lower())
        found[name] = file
    return found


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    for pattern in ("*.npz", "*/*.npy", "*.npy", "*.png", "*/*.png"):
        found = sorted(path.glob(pattern))
        if found:
            return found
    return []


def _maps(path: Path) -> Iterator[tuple[str, float, np.ndarray]]:
    for file in _files(path):
        try:
            if file.suffix == ".npz":
                stack = _stack(file)
                yield from ((file.stem, float(frame), heatmap) for frame, heatmap in enumerate(stack))
                continue
            if file.suffix == ".npy":
                heatmap, in_folder = np.load(file, allow_pickle=False), file.parent != path
            else:
                with Image.open(file) as picture:
                    heatmap, in_folder = np.asarray(picture.convert("I") if picture.mode != "L" else picture), False
        except UNREADABLE as error:
            raise GazeError(f"{file} cannot be read: {error}", IO) from error
        if heatmap.ndim != 2:
            raise GazeError(f"{file} holds an array of {heatmap.shape}; expected one map [H, W]")
        number = FRAME.search(file.stem) if in_folder else None
        yield (file.parent.name if in_folder else file.stem), float(number[1]) if number else np.nan, heatmap


def _stack(file: Path) -> np.ndarray:
    with np.load(file, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    key = next((k for k in ("heatmaps", "heatmap", "arr_0") if k in arrays), None)
    if key is None:
        keys = [k for k, array in arrays.items() if array.ndim == 3]
        if len(keys) != 1:
            raise GazeError(f"{file} holds {', '.join(arrays)}; expected one array [T, H, W], best named heatmaps")
        key = keys[0]
    if arrays[key].ndim != 3:
        raise GazeError(f"{file}: {key} has the shape {arrays[key].shape}; expected [T, H, W]")
    return arrays[key]
