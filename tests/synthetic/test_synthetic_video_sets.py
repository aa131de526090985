"""The made video sets and GOO: their layouts on disk, and that heads tell where their people look."""

import csv
import hashlib
import itertools
import math
import pickle
import xml.etree.ElementTree as ElementTree
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from gazecore import geometry
from gazecore.errors import USAGE, GazeError
from gazecore.prep import childplay as childplay_reader
from gazecore.prep import goo as goo_reader
from gazecore.prep import labelimg, objectattention_raw
from gazecore.prep import objectattention as objectattention_reader
from gazecore.prep import videoattentiontarget as vat_reader
from gazecore.synthetic import childplay, goo, objectattention, videoattentiontarget
from gazecore.synthetic.videoattentiontarget import TEST_SHOWS, TRAIN_SHOWS, TURN, clip_rng, draw_clip, plan_made_clip

MAKERS = {
    "videoattentiontarget": videoattentiontarget.make,
    "childplay": childplay.make,
    "goo-real": goo.make_real,
    "goo-synth": goo.make_synth,
    "objectattention": objectattention.make,
    "objectattention-raw": objectattention.make_raw,
}


@pytest.fixture(scope="module")
def clips():
    """40 planned clips, not drawn."""
    return [plan_made_clip(clip_rng(5, 0, index)) for index in range(40)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every set, small; name -> (folder, counts)."""
    root = tmp_path_factory.mktemp("made")
    return {name: (root / name, make(root / name, 4, seed=3)) for name, make in MAKERS.items()}


def fingerprints(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def angle_deg(facing, person, x, y):
    towards = math.atan2(y - person.y_px, x - person.x_px)
    apart = math.degrees(math.atan2(facing[1], facing[0]) - towards)
    return abs((apart + 180) % 360 - 180)


# --- what people do in a clip


def test_a_head_points_at_its_target_whenever_it_does_not_turn(clips):
    moments = [moment for clip in clips for track in clip.moments for moment in track if moment]
    looking = [moment for moment in moments if moment.gaze_px and not moment.turning]
    assert len(looking) > 0.4 * len(moments)
    assert max(angle_deg(moment.facing, moment.person, *moment.gaze_px) for moment in looking) < 0.01


def test_a_target_is_on_an_object_and_out_of_frame_passes_all_objects(clips):
    for clip in clips:
        for track in clip.moments:
            for moment in track:
                if moment is None or moment.turning:
                    continue
                boxes = [thing.box_px for thing in clip.scene.objects]
                if moment.gaze_px:
                    x, y = moment.gaze_px
                    assert any(a < x < c and b < y < d for a, b, c, d in boxes)
                else:
                    things = [(thing.x_px, thing.y_px) for thing in clip.scene.objects]
                    assert min(angle_deg(moment.facing, moment.person, *thing) for thing in things) > 10


def test_turns_are_smooth_and_no_head_faces_straight_into_the_camera(clips):
    steps = []
    for clip in clips:
        for track in clip.moments:
            facings = np.array([moment.facing if moment else (np.nan,) * 3 for moment in track])
            np.testing.assert_allclose(
                np.linalg.norm(facings, axis=1), np.where(np.isnan(facings[:, 0]), np.nan, 1), atol=1e-5
            )
            assert np.nanmin(np.hypot(facings[:, 0], facings[:, 1])) > 0.15
            steps += list(np.degrees(np.arccos(np.clip((facings[1:] * facings[:-1]).sum(axis=1), -1, 1))))
    assert np.nanmax(steps) < 110 and np.nanpercentile(steps, 95) < 75
    turning = [moment.turning for clip in clips for track in clip.moments for moment in track if moment]
    assert 0.05 < np.mean(turning) < TURN / 6


def test_everybody_looks_at_several_objects_and_some_look_out_of_frame(clips):
    targets = [{m.gaze_px for m in track if m} for clip in clips for track in clip.moments]
    assert np.mean([len(points - {None}) >= 2 for points in targets]) > 0.9
    out = [m.gaze_px is None for clip in clips for track in clip.moments for m in track if m]
    assert 0.15 < np.mean(out) < 0.55


def test_who_leaves_comes_back_and_walks_in_between(clips):
    interrupted = 0
    for clip in clips:
        for track in clip.moments:
            there = [moment is not None for moment in track]
            assert there[0] and there[-1]
            gaps = sum(a and not b for a, b in itertools.pairwise(there))
            assert gaps <= 1
            interrupted += gaps
            places = np.array([(m.person.x_px, m.person.y_px) if m else (np.nan, np.nan) for m in track])
            radius = track[0].person.radius_px
            assert np.nanmax(np.linalg.norm(np.diff(places, axis=0), axis=1)) < 1.2 * radius
    assert interrupted > 0.7 * len(clips)


def test_smoothed_boxes_stay_on_the_heads(clips):
    off = []
    for clip in clips:
        for track in clip.moments:
            boxes = np.array([moment.person.head_box_px for moment in track if moment])
            off += list(np.abs(geometry.smooth_boxes(boxes) - boxes).max(axis=1) / (boxes[:, 2] - boxes[:, 0]))
    assert np.max(off) < 0.6 and np.percentile(off, 95) < 0.25  # of the width of a head


def test_the_room_stays_and_only_people_move():
    clip = plan_made_clip(clip_rng(1, 0, 0))
    frames = list(draw_clip(clip))
    assert len(frames) == len(clip) and frames[0].shape == (clip.scene.height, clip.scene.width, 3)
    changed = np.any(frames[0] != frames[12], axis=2)
    assert changed.any() and changed.mean() < 0.3


# --- files


@pytest.mark.parametrize("name", MAKERS)
def test_a_larger_set_of_the_same_seed_holds_the_same_pictures_and_another_seed_others(name, made, tmp_path):
    root, _ = made[name]
    MAKERS[name](tmp_path / "larger", 5, seed=3)
    few, more = fingerprints(root), fingerprints(tmp_path / "larger")
    pictures = {path: digest for path, digest in few.items() if path.endswith((".jpg", ".png", ".ppm"))}
    assert pictures.items() <= more.items() and len(more) > len(few)
    MAKERS[name](tmp_path / "other", 3, seed=4)
    assert not set(fingerprints(tmp_path / "other").values()) & set(few.values())


@pytest.mark.parametrize(
    "name, least", [("videoattentiontarget", 2), ("childplay", 3), ("goo-real", 3), ("goo-synth", 2)]
)
def test_one_per_split_is_the_least(name, least, tmp_path):
    with pytest.raises(GazeError, match=f"at least {least} are needed") as raised:
        MAKERS[name](tmp_path / "few", least - 1)
    assert raised.value.code == USAGE and not (tmp_path / "few").exists()


def test_videoattentiontarget_has_shows_clips_and_a_file_per_person(made):
    root, counts = made["videoattentiontarget"]
    tables = sorted((root / "annotations").glob("*/*/*/s*.txt"))
    assert {path.parts[-3] for path in tables if "test" in path.parts} <= set(TEST_SHOWS)
    assert {path.parts[-3] for path in tables if "train" in path.parts} <= set(TRAIN_SHOWS)
    assert len(tables) == counts["train_tracks"] + counts["test_tracks"] and counts["interrupted_tracks"] >= 3
    rows = []
    for table in tables:
        first, last = map(int, table.parent.name.split("_"))
        for line in table.read_text().splitlines():
            frame, *numbers = line.split(",")
            x_min, y_min, x_max, y_max, x, y = map(int, numbers)
            image = root / "images" / table.parts[-3] / table.parts[-2] / frame
            assert len(frame) == 12 and first <= int(frame[:8]) <= last and image.is_file()
            width, height = Image.open(image).size
            assert 0 <= x_min < x_max <= width and 0 <= y_min < y_max <= height
            assert (x, y) == (-1, -1) or (0 < x < width and 0 < y < height)
            rows.append((x, y))
    assert counts["in_frame"] == sum(x >= 0 for x, _ in rows) and counts["out_of_frame"] == sum(x < 0 for x, _ in rows)


def test_videoattentiontarget_reads_back_without_repair(made):
    root, counts = made["videoattentiontarget"]
    found: Counter[str] = Counter()
    samples = [sample for split in ("train", "test") for sample in vat_reader.read(root, split, found)]
    assert len(samples) == counts["in_frame"] + counts["out_of_frame"] and not found
    frames = {}
    for sample in samples:
        frames.setdefault((sample.clip, sample.track_id), []).append(sample.frame)
    assert any(np.diff(numbers).max() > 1 for numbers in frames.values())


def test_childplay_has_classes_children_and_a_table_per_clip(made):
    root, counts = made["childplay"]
    classes: Counter[str] = Counter()
    children = set()
    for table in (root / "annotations").glob("*/*.csv"):
        with table.open() as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == childplay.COLUMNS and {row["clip"] for row in rows} == {table.stem}
        assert (root / "images" / table.stem).is_dir()
        classes.update(row["gaze_class"] for row in rows)
        children |= {row["is_child"] for row in rows}
    assert all(classes[name] == counts[name] for name in classes) and {"gaze_shift", "outside_frame"} < set(classes)
    assert children == {"0", "1"}

    found: Counter[str] = Counter()
    samples = [s for split in childplay.SPLITS for s in childplay_reader.read(root, split, found)]
    lost = counts["inside_visible without a point"]
    assert len(samples) == counts["inside_visible"] + counts["outside_frame"] - lost
    assert found["dropped: gaze_shift"] == counts["gaze_shift"] and lost
    assert found["dropped: inside_visible without a point"] == lost


@pytest.mark.parametrize("name, splits", [("goo-real", ("train", "val", "test")), ("goo-synth", ("train", "test"))])
def test_goo_reads_back_with_heads_and_targets_in_the_picture(name, splits, made):
    root, counts = made[name]
    found: Counter[str] = Counter()
    samples = [sample for split in splits for sample in goo_reader.read(root, split, found)]
    assert len(samples) == sum(counts.values()) == 4 and not found and {sample.dataset for sample in samples} == {name}
    for sample in samples:
        x_min, y_min, x_max, y_max = sample.head_box_px / np.tile(sample.image_size, 2)
        assert x_min < sample.eye[0] < x_max and y_min < sample.eye[1] < y_max
        assert (sample.gaze_targets > 0).all() and (sample.gaze_targets < 1).all()
        assert Image.open(sample.image).size == sample.image_size != (640, 480)


class OnlyNumpy(pickle.Unpickler):
    """Loads plain data and numpy arrays."""

    def find_class(self, module: str, name: str):
        assert module.partition(".")[0] in ("numpy", "_codecs"), f"{module}.{name}"
        return super().find_class(module, name)


def test_goo_real_holds_the_pixels_of_the_product_in_lists_and_arrays(made):
    root, _ = made["goo-real"]
    pixels = []
    for table in sorted(root.glob("*.pickle")):
        with table.open("rb") as file:
            (record, *_) = OnlyNumpy(file).load()
        box = record["ann"]["bboxes"][record["gazeIdx"]]
        assert box[0] < record["gaze_cx"] < box[2] and "\\cam" in record["filename"]
        assert record["ann"]["labels"][-1] in (-1, 25) and 1 <= record["gaze_item"] <= 24
        pixels.append(type(record["seg"]))
    assert set(pixels) == {list, np.ndarray}


def test_objectattention_tables_differ_and_all_read_back(made):
    root, counts = made["objectattention"]
    texts = [path.read_text() for path in sorted((root / "annotations").glob("*/*/*/S*.txt"))]
    starts = Counter(text.split(",")[0].split("\n")[-1] for text in texts)
    assert starts == {"00000000": 2, "00000": 1, "00000.json": 1}
    assert sum(text.startswith(objectattention.HEADER) for text in texts) == 2
    assert {path.suffix for path in root.rglob("images/*/*/*")} == {".ppm"}
    found: Counter[str] = Counter()
    samples = [s for split in ("train", "test") for s in objectattention_reader.read(root, split, found)]
    assert found == {"dropped: head box is None": counts["head boxes None"]} and counts["head boxes None"]
    assert len(samples) == counts["frames"] - counts["head boxes None"]


def test_recorded_objectattention_has_xml_beside_numbered_frames(made):
    root, counts = made["objectattention-raw"]
    files = list(root.rglob("*.xml"))
    assert len(files) == counts["xml_files"] and len(list(root.rglob("*.ppm"))) == counts["frames"]
    together = [path for path in files if path.parent.parent.parent == root]
    names = [item.findtext("name") for item in ElementTree.parse(together[0]).getroot().iter("object")]
    assert names[-1] == labelimg.HEAD and len(names) > 3  # the first object of the file is not the head
    sequences = objectattention_raw.find(root, Counter())
    assert len(sequences) == counts["settings"]
    assert sum(len(sequence.recordings) for sequence in sequences) == counts["recordings"]
