"""Made eyes with labels and exact truth: as folders of images and masks, and as an OpenEDS 2019.

make          ROOT/images/000000.png, ROOT/masks/000000.png (grey: 0 background, 1 iris, 2 pupil, 3 sclera),
              ROOT/truth.csv, one row per image
make_openeds  ROOT/{train,validation,test}/images/000000000000.png (grey), .../labels/000000000000.npy (uint8:
              0 background, 1 sclera, 2 iris, 3 pupil), after the README of AayushKrChaudhary/RITnet; the original's
              pictures are 640 x 400, ours 320 x 200, and ours come with the test split's labels

One image is rendered by `render`, a video by `frames_of`, recordings of the pupil light reflex by `make_plr_video`.
"""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from gazecore.synthetic.eye_geometry import Ellipse
from gazecore.synthetic.eye_plan import seed_of
from gazecore.synthetic.eye_rendering import SIZE, Eye, EyeTruth, render
from gazecore.synthetic.plr_video import frames_of
from gazecore.synthetic.plr_video import make as make_plr_video

__all__ = ["TRUTH_COLUMNS", "Eye", "EyeTruth", "frames_of", "make", "make_openeds", "make_plr_video", "render"]

SPLITS = ("train", "train", "val", "test", "train", "train", "train", "train", "train", "train")  # of image i % 10
OPENEDS_SPLITS = {"train": "train", "val": "validation", "test": "test"}
OPENEDS_SIZE = (200, 320)
OPENEDS_IDS = np.array([0, 2, 3, 1], np.uint8)  # of our background, iris, pupil, sclera
_ELLIPSE = ("cx", "cy", "major_px", "minor_px", "angle_deg")
TRUTH_COLUMNS = (
    "file", "split", "subject", "seed", "mode", "eye",
    *(f"iris_{name}" for name in _ELLIPSE), *(f"pupil_{name}" for name in _ELLIPSE),
    "pir", "pir_area", "yaw_deg", "pitch_deg", "iris_visible", "pupil_visible", "aperture_px", "blink",
    "iris_color", "skin",
)  # fmt: skip


def make(root: Path, n: int, seed: int = 0, size: tuple[int, int] = SIZE) -> Counter[str]:
    """Write n images of size (h, w), half colour and half near infrared, with masks and truth.

    Of every ten images eight are train, one val and one test; each is the eye of another person. Returns the numbers
    of images per split and mode, and of blinks.
    """
    counts: Counter[str] = Counter()
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    with (root / "truth.csv").open("w", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        for index in range(n):
            eye, split = render(seed_of(seed, index), size), SPLITS[index % len(SPLITS)]
            name = f"{index:06d}"
            grey = eye.truth.mode == "nir"
            Image.fromarray(eye.image[..., 0] if grey else eye.image).save(root / f"images/{name}.png")
            Image.fromarray(eye.labels).save(root / f"masks/{name}.png")
            writer.writerow([f"{name}.png", split, f"person{name}", *_row(eye.truth)])
            counts.update([f"{split}_images", f"{eye.truth.mode}_images"])
            counts["blinks"] += eye.truth.blink
    return counts


def make_openeds(root: Path, n: int, seed: int = 0) -> Counter[str]:
    """Write n near infrared images, eight in ten train, one validation and one test. Returns the numbers per split."""
    counts: Counter[str] = Counter()
    for split in OPENEDS_SPLITS.values():
        for folder in ("images", "labels"):
            (root / split / folder).mkdir(parents=True, exist_ok=True)
    for index in range(n):
        eye = render(seed_of(seed, index), OPENEDS_SIZE, "nir")
        split = OPENEDS_SPLITS[SPLITS[index % len(SPLITS)]]
        Image.fromarray(eye.image[..., 0]).save(root / split / "images" / f"{index:012d}.png")
        np.save(root / split / "labels" / f"{index:012d}.npy", OPENEDS_IDS[eye.labels])
        counts[f"{split}_images"] += 1
    return counts


def _row(truth: EyeTruth) -> list[object]:
    """Everything after the subject: six decimals, blink as 0 or 1."""
    row: list[object] = []
    for value in vars(truth).values():
        if isinstance(value, Ellipse):
            row += [round(part, 6) for part in value]
        elif isinstance(value, bool):
            row.append(int(value))
        else:
            row.append(round(value, 6) if isinstance(value, float) else value)
    return row
