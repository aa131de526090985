"""The dataset classes of Chong et al. and of ObjectAttention, reproduced from files in their original layout.

preprocess.json holds annotation lines and what the references made of them with scripted random numbers; the README
beside it the formula of the images and the tolerances.
"""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazecore import images
from gazecore.data import following
from gazecore.prep import gazefollow, labelimg, objectattention, videoattentiontarget

pytestmark = pytest.mark.golden

GOLDEN = Path(os.environ.get("GZ_GOLDEN", Path(__file__).parents[1] / "golden")) / "following"
PREPROCESS = json.loads((GOLDEN / "preprocess.json").read_text())
RECIPE = json.loads((GOLDEN / "recipe.json").read_text()) if (GOLDEN / "recipe.json").exists() else {}
PHASE = RECIPE.get("image_phase", 0)
IMAGE_SIZE = PREPROCESS["gazefollow"]["image"]  # width, height

PHOTOS = following.as_published(following.VTD, "vtd")
VIDEO = following.as_published(following.VTD_VIDEO, "vtd")

# README: one step of 8 bits on pictures, boxes exact, heat maps 1e-4; means and sums carry the same per value
PIXEL, HEATMAP = 0.02, 1e-4


class Scripted:
    """random_sample() is always the same, uniform and randint lie at one fraction of their range."""

    def __init__(self, case):
        self.sample, self.fraction = case["random_sample"], case["uniform_fraction"]

    def random_sample(self):
        return self.sample

    def uniform(self, low, high):
        return low + self.fraction * (high - low)

    def randint(self, low, high):
        return int(low + self.fraction * (high - low))


def write_image(path, phase):
    width, height = IMAGE_SIZE
    y, x, c = np.mgrid[:height, :width, :3]
    wave = np.sin(0.05 * x * (c + 1) + 0.07 * y + c + phase + PHASE)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.floor(127.5 + 127.5 * wave).astype(np.uint8)).save(path)


def lines_of(section, name):
    """The lines under a key whose brackets name their file or say how it begins: `rows (ShowA/clip1/s00.txt)`."""
    (key,) = [key for key in section if key.split(" ")[0] == name]
    return section[key], key.partition("(")[2].rstrip(")")


def close_to_stored(values, stored, tolerance):
    values = np.asarray(values, np.float64)
    assert list(values.shape) == stored["shape"]
    np.testing.assert_allclose(values.ravel()[:: stored["stride"]], stored["values"], rtol=0, atol=tolerance)
    assert values.mean() == pytest.approx(stored["mean"], abs=tolerance)
    assert values.std(ddof=1) == pytest.approx(stored["std"], abs=tolerance)


def marked(mask):
    """x_min, y_min, x_max, y_max, half-open, of the ones in a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else None


def peak_yx(heatmap):
    return list(np.unravel_index(heatmap.argmax(), heatmap.shape))


@pytest.fixture(scope="module")
def gazefollow_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("gazefollow")
    section = PREPROCESS["gazefollow"]
    for split, first_phase in (("train", 0), ("test", 10)):
        lines, note = lines_of(section, f"{split}_lines")
        mark = "\ufeff" if "BOM" in note else ""
        (root / gazefollow.TABLES[split]).write_text(mark + "\n".join(lines) + "\n", encoding="utf-8")
        for path in {line.split(",")[0] for line in lines}:
            write_image(root / path, first_phase + int(Path(path).stem))
    return root


@pytest.fixture(scope="module")
def people(gazefollow_root):
    """The samples of both splits as annotated, in the reference's order."""
    read = {
        split: list(gazefollow.read(gazefollow_root, split, Counter(), repair=False)) for split in ("train", "test")
    }
    # pandas' groupby sorts the people of the test set
    read["test"].sort(key=lambda sample: (sample.image_name, sample.eye[0]))
    return read


def test_the_readers_find_the_samples_of_the_reference(people):
    section = PREPROCESS["gazefollow"]
    assert len(people["train"]) == section["train_len"]
    assert len(people["test"]) == section["test_len"]
    assert [[sample.image_name, sample.eye[0]] for sample in people["test"]] == section["test_keys"]


@pytest.mark.parametrize("case", PREPROCESS["gazefollow"]["train_items"])
def test_training_items_of_gazefollow(case, people):
    sample = people["train"][case["index"]]
    item = following.make_item(images.load(sample.image), sample, PHOTOS, Scripted(case))
    assert sample.image_name == case["path"]
    check_photo(following.collate([item], PHOTOS), case)
    assert bool(item.in_frame) == case["inside"]


@pytest.mark.parametrize("case", PREPROCESS["gazefollow"]["test_items"])
def test_test_items_of_gazefollow(case, people):
    sample = people["test"][case["index"]]
    item = following.make_item(images.load(sample.image), sample, PHOTOS)
    assert (sample.image_name, list(sample.image_size)) == (case["path"], case["imsize"])
    assert (~np.isnan(item.gaze_targets).any(axis=1)).sum() == case["n_valid"]
    check_photo(following.collate([item], PHOTOS), case)


def check_photo(batch, case):
    close_to_stored(batch.scene[0], case["image"], PIXEL)
    close_to_stored(batch.head_crop[0], case["face"], PIXEL)
    assert marked(batch.head_mask[0, 0].numpy()) == case["head_box_x0y0x1y1"]
    heatmap = batch.target_heatmap[0].numpy()
    close_to_stored(heatmap, case["heatmap"], HEATMAP)
    assert heatmap.sum() == pytest.approx(case["heatmap_sum"], abs=HEATMAP)
    if "heatmap_argmax_yx" in case:
        assert peak_yx(heatmap) == case["heatmap_argmax_yx"]


@pytest.mark.parametrize("case", PREPROCESS["vat"]["cases"])
def test_clips_of_videoattentiontarget(case, tmp_path):
    rows, table = lines_of(PREPROCESS["vat"], "rows")
    folder = tmp_path / "images" / Path(table).parent
    for row in rows:
        name = row.split(",")[0]
        write_image(folder / f"{Path(name).stem}.png", 0.3 * int(Path(name).stem))
    write_table(tmp_path, table, rows)
    check_clip(videoattentiontarget, tmp_path, case)


@pytest.mark.parametrize("case", PREPROCESS["objectattention"]["cases"])
def test_clips_of_objectattention(case, tmp_path):
    lines, table = lines_of(PREPROCESS["objectattention"], "lines")
    folder = tmp_path / "images" / Path(table).parent
    for line in lines[1:]:
        frame = line.split(",")[0]
        write_image(folder / f"{frame}.ppm", 0.3 * int(frame))
    write_table(tmp_path, table, lines)
    check_clip(objectattention, tmp_path, case)


def write_table(root, table, lines):
    path = root / "annotations" / "test" / table
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")


def check_clip(reader, root, case):
    track = list(reader.read(root, "test", Counter(), repair=False))
    draws = None if case["test"] else Scripted(case)
    items = list(following.make_clip(track, VIDEO, draws, None if case["test"] else case.get("seq_len_limit", 400)))
    batch = following.collate(items, VIDEO)

    assert len(batch) == case["n"]
    assert batch.in_frame.tolist() == case["inout"]
    if case["gaze"] is not None:
        gaze = np.nan_to_num(batch.gaze_targets[:, 0].numpy(), nan=-1.0)
        np.testing.assert_allclose(gaze, case["gaze"], rtol=0, atol=1e-6)
    assert [marked(mask) for mask in batch.head_mask[:, 0].numpy()] == case["head_boxes"]
    heatmaps = batch.target_heatmap.numpy()
    assert [peak_yx(heatmap) for heatmap in heatmaps] == case["heatmap_argmax_yx"]
    np.testing.assert_allclose(heatmaps.sum(axis=(1, 2)), case["heatmap_sums"], rtol=0, atol=HEATMAP)
    np.testing.assert_allclose(batch.scene.mean(dim=(1, 2, 3)), case["image_means"], rtol=0, atol=PIXEL)
    np.testing.assert_allclose(batch.head_crop.mean(dim=(1, 2, 3)), case["face_means"], rtol=0, atol=PIXEL)


def test_labelimg_head_and_target(tmp_path):
    section = PREPROCESS["labelimg_xml"]
    (tmp_path / "a.xml").write_text(section["xml"])
    annotation = labelimg.read_xml(tmp_path / "a.xml")
    head = labelimg.only_box(annotation, labelimg.HEAD, tmp_path / "a.xml")
    target = labelimg.only_box(annotation, section["gaze_target"], tmp_path / "a.xml")
    key = next(key for key in section if key.startswith("reference_head"))
    filename, x_min, x_max, y_min, y_max = section[key]
    assert annotation.filename == filename
    assert head.tolist() == [float(x_min), float(y_min), float(x_max), float(y_max)]
    assert labelimg.centre(target).tolist() == [float(value) for value in section["reference_gaze_xy"]]
