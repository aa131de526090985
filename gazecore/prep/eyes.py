"""Eye regions with label masks: folders of images and masks, OpenEDS, or eyes that are rendered.

On disk  ROOT/images/NAME.png, ROOT/masks/NAME.png   and ROOT/truth.csv where they were rendered (synthetic/eyes.py);
         or images and masks in two folders anywhere; subfolders are part of a name, a mask may end in _mask or _label
OpenEDS  ROOT/{train,validation,test}/images/NAME.png, ROOT/SPLIT/labels/NAME.npy   (Garbin et al., arXiv:1905.03702)
Masks    PNG or another lossless format, grey or palette; or .npy (h, w) of whole numbers
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gazecore import images
from gazecore.errors import NO_INPUT, USAGE, GazeError, raise_all, settle
from gazecore.prep.eye_labels import LabelMap, Plausibility
from gazecore.records import EyeSample
from gazecore.synthetic.eye_plan import seed_of
from gazecore.synthetic.eyes import SPLITS, render

OPENEDS_SPLITS = {"train": "train", "validation": "val", "test": "test"}
LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".npy")
ENDING = re.compile(r"[_-](mask|labels?)$")  # of a mask's name
TRUTH_NUMBERS = ("pir", "pir_area", "yaw_deg", "pitch_deg", "iris_visible", "pupil_visible", "blink")
TRUTH_AXES = ("cx", "cy", "major_px", "minor_px", "angle_deg")
SIDES = {"l": "L", "left": "L", "os": "L", "r": "R", "right": "R", "od": "R"}
SIDE = re.compile(r"(?:^|(?<=[^a-z]))(left|right|l|r|os|od)(?:_?eyes?)?(?=[^a-z]|$)", re.IGNORECASE)
EARLY = 64  # masks after which a wrong label map is told, rather than at the end


@dataclass(frozen=True)
class Pair:
    """An image and its mask on disk; truth: further fields of EyeSample."""

    name: str
    image: Path
    mask: Path
    split: str = ""
    truth: Mapping[str, Any] | None = None


def find(root: Path, masks: Path | None = None) -> tuple[list[Pair], str]:
    """Images with their masks, sorted by name, and the label map that their layout usually has: "gz" or "openeds".

    masks   folder of the masks, where `root` holds the images alone
    Errors: no such folder; no layout known here; images without a mask and masks without an image, all at once.
    """
    if not root.is_dir():
        raise GazeError(f"{root}: no such folder; expected images and masks, see gz prep-eyes --help", NO_INPUT)
    if masks is not None:
        return _pairs(root, masks), "gz"
    if (root / "images").is_dir() and (root / "masks").is_dir():
        pairs = _pairs(root / "images", root / "masks")
        return _with_truth(pairs, root / "truth.csv") if (root / "truth.csv").is_file() else pairs, "gz"
    splits = [
        split for split in OPENEDS_SPLITS if (root / split / "labels").is_dir() and (root / split / "images").is_dir()
    ]
    if not splits:
        raise GazeError(
            f"{root} has neither images/ and masks/ nor OpenEDS's train/images/ and train/labels/; name the folder of "
            "the images, and that of their masks with --masks",
            NO_INPUT,
        )
    found = []
    for split in splits:
        pairs = _pairs(root / split / "images", root / split / "labels")
        found += [replace(pair, name=f"{split}/{pair.name}", split=OPENEDS_SPLITS[split]) for pair in pairs]
    return found, "openeds"


def _pairs(image_folder: Path, mask_folder: Path) -> list[Pair]:
    pictures, masks = _by_name(image_folder, images.EXTENSIONS), _by_name(mask_folder, LOSSLESS)
    masks = {
        re.sub(r"[_-](mask|label|labels)$", "", name) if name not in pictures else name: p for name, p in masks.items()
    }
    if not pictures:
        raise GazeError(f"{image_folder} holds no image", NO_INPUT)
    problems = [f"{pictures[name]} has no mask" for name in sorted(pictures.keys() - masks.keys())]
    problems += [f"{masks[name]} has no image" for name in sorted(masks.keys() - pictures.keys())]
    raise_all(problems, f"{image_folder} and {mask_folder}", "An image and its mask have the same name.")
    return [Pair(name, pictures[name], masks[name]) for name in sorted(pictures)]


def _by_name(folder: Path, extensions: Sequence[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise GazeError(f"{folder}: no such folder", NO_INPUT)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in extensions and path.name[0] != ".")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}


def _with_truth(pairs: Sequence[Pair], table: Path) -> list[Pair]:
    """Split and truth of every pair from a renderer's table. Errors: rows that are missing, or cannot be read."""
    rows: dict[str, dict[str, str]] = {}
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows[Path(row.get("file") or "").stem] = row
    found, problems = [], []
    for pair in pairs:
        try:
            row = rows[pair.name]
            truth: dict[str, Any] = {name: row[name] for name in ("subject", "eye", "mode", "iris_color", "skin")}
            truth |= {name: float(row[name]) for name in TRUTH_NUMBERS}
            for part in ("pupil", "iris"):
                truth[f"{part}_ellipse_px"] = np.array([float(row[f"{part}_{axis}"]) for axis in TRUTH_AXES])
            truth["aperture"] = float(row["aperture_px"]) / truth["iris_ellipse_px"][2]
            found.append(replace(pair, split=row["split"], truth=truth))
        except (KeyError, ValueError) as error:
            problems.append(f"{pair.name}: {error}")
    raise_all(problems, f"{table}, which gz make-tiny writes", "Make it again, or take it away.")
    return found


def check_sizes(pairs: Sequence[Pair]) -> None:
    """GazeError that lists the sizes, when the images differ in size and so do not fit one artifact."""
    sizes: dict[tuple[int, int], list[Path]] = {}
    for pair in pairs:
        sizes.setdefault(images.size(pair.image), []).append(pair.image)
    if len(sizes) > 1:
        ordered = sorted(sizes.items(), key=lambda item: -len(item[1]))
        listed = [f"{width} x {height}: {len(paths)}, such as {paths[0]}" for (width, height), paths in ordered]
        raise_all(listed, f"images of {len(sizes)} sizes", "Bring them to one with --size WxH, such as --size 320x240.")


def read(
    pairs: Sequence[Pair],
    label_map: LabelMap,
    counts: Counter[str],
    dataset: str = "",
    size: tuple[int, int] | None = None,
    seen: Plausibility | None = None,
) -> Iterator[EyeSample]:
    """The samples, in order; counts says what was skipped (gazecore.errors.Counts).

    size     (width, height) of a letterbox: images are resized bilinearly, masks to the nearest, the rest is black
    seen     takes what lies beside what in the masks, to be told; of this label map
    Errors, at the end of reading: images and masks that cannot be read or differ in size, values that the label map
    does not know; a label map that does not fit what lies where (that after EARLY masks, too).
    """
    problems: list[str] = []
    seen = seen or Plausibility(label_map)
    for number, pair in enumerate(pairs, 1):
        try:
            sample = _sample(pair, label_map, dataset)
        except GazeError as error:
            problems.append(str(error))
            continue
        if sample.labels is not None:
            seen.add(sample.labels)
        if number in (EARLY, len(pairs)):
            seen.check()
        yield letterboxed(sample, size) if size else sample
    settle(problems, counts, f"{dataset or 'the masks'}, read as {label_map}")


def _sample(pair: Pair, label_map: LabelMap, dataset: str) -> EyeSample:
    picture = images.load(pair.image)
    labels = label_map.apply(_mask(pair.mask), pair.mask)
    if labels.shape != picture.shape[:2]:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (labels.shape, picture.shape)]
        raise GazeError(f"{pair.mask} is {sizes[0]} pixels, its image {sizes[1]}")
    truth = {"eye": side_of(pair.name), **(pair.truth or {})}
    return EyeSample(pair.name, picture, labels, split=pair.split, dataset=dataset, **truth)


def _mask(path: Path) -> np.ndarray:
    """(h, w) whole numbers as they are stored: of a palette, its places."""
    try:
        if path.suffix.lower() == ".npy":
            mask = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                mask = np.asarray(image)
    except images.BROKEN as error:
        raise GazeError(f"{path} cannot be read: {error}") from error
    if mask.ndim == 3 and (mask == mask[..., :1]).all():  # grey, saved as RGB
        mask = mask[..., 0]
    if mask.ndim != 2:
        raise GazeError(f"{path} has the shape {mask.shape}; expected one label per pixel, (h, w): not colours")
    if mask.dtype == bool or (mask.dtype.kind == "f" and (mask == np.floor(mask)).all()):
        mask = mask.astype(np.int64)
    if mask.dtype.kind not in "ui":
        raise GazeError(f"{path} holds {mask.dtype}; expected whole numbers")
    return mask


def side_of(name: str) -> str:
    """L or R, as a file's name says (left, right, L, R, OS, OD between other signs); "" if it says neither, or both."""
    sides = {
        {"l": "L", "os": "L", "r": "R", "od": "R"}.get(found.lower(), found[0].upper()) for found in SIDE.findall(name)
    }
    return sides.pop() if len(sides) == 1 else ""


def without_side(name: str) -> str:
    """A name without the word that says whose eye it is, so that the two eyes of a recording share it."""
    return re.sub(r"[_ -]{2,}", "_", SIDE.sub("_", name)).strip("_- ") if side_of(name) else name


def parsed_size(text: str | None) -> tuple[int, int] | None:
    """(width, height) of WxH; None of None. Error: another form."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)[x×](\d+)", text.strip().lower())
    if not found or not all(32 <= int(side) <= 4096 for side in found.groups()):
        raise GazeError(f"--size {text}: expected WIDTHxHEIGHT in pixels, 32 to 4096, such as 320x240", USAGE)
    return int(found[1]), int(found[2])


def letterboxed(sample: EyeSample, size: tuple[int, int]) -> EyeSample:
    """The same eye in the middle of a picture of size (width, height), as large as it fits."""
    height, width = sample.image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    inner = min(size[0], max(1, round(width * scale))), min(size[1], max(1, round(height * scale)))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[top : top + inner[1], left : left + inner[0]] = images.resize(sample.image, inner)
    labels = None
    if sample.labels is not None:
        labels = np.zeros((size[1], size[0]), np.uint8)
        nearest = Image.fromarray(sample.labels).resize(inner, Image.Resampling.NEAREST)
        labels[top : top + inner[1], left : left + inner[0]] = np.asarray(nearest)
    pupil, iris = (_moved(one, scale, (left, top)) for one in (sample.pupil_ellipse_px, sample.iris_ellipse_px))
    return replace(sample, image=image, labels=labels, pupil_ellipse_px=pupil, iris_ellipse_px=iris)


def _moved(ellipse: np.ndarray, scale: float, corner: tuple[int, int]) -> np.ndarray:
    """An ellipse whose picture is scaled and put with its corner there; (0, 0) is a pixel's centre."""
    centre = (ellipse[:2] + 0.5) * scale - 0.5 + corner
    return np.concatenate([centre, ellipse[2:4] * scale, ellipse[4:]])


# ---- rendered eyes --------------------------------------------------------------------------------------------------


def rendered(n: int, seed: int, size: tuple[int, int] = (320, 240), start: int = 0) -> Iterator[EyeSample]:
    """Eyes number `start` to n - 1 of a seed, one at a time: those of gz make-tiny eyes, without a detour by files.

    size   (width, height)
    """
    for number in range(start, n):
        eye = render(seed_of(seed, number), size[::-1])
        truth = eye.truth
        yield EyeSample(
            sample_id=f"rendered-{seed}-{number:06}",
            image=eye.image,
            labels=eye.labels,
            split=SPLITS[number % len(SPLITS)],
            dataset="rendered",
            subject=f"person{number:06}",
            eye=truth.eye,
            pupil_ellipse_px=np.array(truth.pupil),
            iris_ellipse_px=np.array(truth.iris),
            pir=truth.pir,
            pir_area=truth.pir_area,
            iris_visible=truth.iris_visible,
            pupil_visible=truth.pupil_visible,
            aperture=truth.aperture_px / truth.iris.major,
            blink=float(truth.blink),
            yaw_deg=truth.yaw_deg,
            pitch_deg=truth.pitch_deg,
            mode=truth.mode,
            iris_color=truth.iris_color,
            skin=truth.skin,
        )
