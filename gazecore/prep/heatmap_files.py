"""Heat maps in plain files, as other programs keep them.

On disk  VIDEO.npz                     one array [T, H, W], named heatmaps, heatmap, arr_0 or the only one of three axes
         VIDEO/frame_000000.npy        one array [H, W] per frame
         NAME.png                      one greyscale map per image, 8 or 16 bits
A folder may hold many of one sort.
"""

import re
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
    if form == "npz":
        return _write_npz(artifact, folder, names)
    seen: dict[str, int] = {}
    for block in artifact.blocks(BLOCK):
        for name, heatmap in zip(names[block], maps_of(artifact, block), strict=True):
            count = seen[name] = seen.get(name, -1) + 1
            if form == "npy":
                target = folder / _file_name(name) / f"frame_{count:06d}.npy"
                target.parent.mkdir(exist_ok=True)
                np.save(target, heatmap)
            else:
                target = folder / f"{_file_name(name)}{f'_{count:06d}' if count else ''}.png"
                top = max(float(heatmap.max()), np.finfo(np.float32).tiny)
                Image.fromarray(np.round(heatmap / top * 65535).astype(np.uint16)).save(target)
    return len(names)


def maps_of(artifact: "Artifact", block: slice) -> np.ndarray:
    """The heat maps (n, h, w) float32 of some rows, whatever they are stored as."""
    heatmaps = artifact["heatmap"][block]
    if heatmaps.dtype != np.uint8:
        return heatmaps.astype(np.float32)
    return heatmaps * (artifact["scale"][block][:, None, None] / np.float32(255))


def _write_npz(artifact: "Artifact", folder: Path, names: list[str]) -> int:
    order = sorted(set(names), key=names.index)
    for name in order:
        rows = [i for i, n in enumerate(names) if n == name]
        stack = np.concatenate([maps_of(artifact, slice(i, i + 1)) for i in rows])
        np.savez_compressed(folder / f"{_file_name(name)}.npz", heatmaps=stack)
    return len(order)


def _file_name(name: str) -> str:
    """A sample's name as a file name that stays inside the folder."""
    return re.sub(r"[^\w.#-]+", "_", name).lstrip(".") or "_"


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
        except (OSError, ValueError) as error:
            raise GazeError(f"{file} cannot be read: {error}", IO) from error
        if heatmap.ndim != 2:
            raise GazeError(f"{file} holds an array of {heatmap.shape}; expected one map [H, W]")
        number = FRAME.search(file.stem) if in_folder else None
        yield (file.parent.name if in_folder else file.stem), float(number[1]) if number else np.nan, heatmap


def _stack(file: Path) -> np.ndarray:
    with np.load(file, allow_pickle=False) as archive:
        key = next((k for k in ("heatmaps", "heatmap", "arr_0") if k in archive.files), None)
        if key is None:
            arrays = [k for k in archive.files if archive[k].ndim == 3]
            if len(arrays) != 1:
                raise GazeError(
                    f"{file} holds {', '.join(archive.files)}; expected one array [T, H, W], best named heatmaps"
                )
            key = arrays[0]
        if archive[key].ndim != 3:
            raise GazeError(f"{file}: {key} has the shape {archive[key].shape}; expected [T, H, W]")
        return archive[key]
