"""The made GazeFollow: its layout on disk, and that a head's direction is the only cue to where its person looks."""

import hashlib
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from gazecore.errors import USAGE, GazeError
from gazecore.synthetic import gazefollow
from gazecore.synthetic.gazefollow import make, plan_image
from gazecore.synthetic.objects import COLOURS, KINDS, SceneObject, draw_object
from gazecore.synthetic.people import Person, draw_person, eye_position, facing_towards, random_look
from gazecore.synthetic.scenes import (
    HEAD_CLEARANCE_DEG,
    SEPARATION_DEG,
    draw_people,
    draw_room,
    draw_scene,
    plan_scene,
)


@pytest.fixture(scope="module")
def plans():
    """400 planned images: 300 train, 100 test."""
    return [plan_image(7, "train", i) for i in range(300)] + [plan_image(7, "test", i) for i in range(100)]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("gazefollow")
    return root, make(root, 24, seed=3)


def in_frame(plans):
    """(scene, person, gaze) of everybody who looks at an object."""
    for plan in plans:
        for person, gaze in zip(plan.scene.people, plan.gazes, strict=True):
            if gaze.target is not None:
                yield plan.scene, person, gaze


def angle_deg(person, x, y):
    return math.degrees(math.atan2(y - person.y_px, x - person.x_px))


def apart_deg(first, second):
    return abs((first - second + 180) % 360 - 180)


def chi_square(observed, expected):
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


def rows(path):
    return [line.split(",") for line in path.read_text(encoding="utf-8-sig").splitlines()]


def fingerprints(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# --- layout on disk


def test_columns_marks_and_folders_are_those_of_the_original(small):
    root, counts = small
    train, test = root / "train_annotations_release.txt", root / "test_annotations_release.txt"
    assert train.read_bytes().startswith(b"\xef\xbb\xbftrain/00000000/00000000.jpg,0,")
    assert test.read_bytes().startswith(b"test2/00000000/00000000.jpg,0,")
    assert {len(row) for row in rows(train)} == {17} and {len(row) for row in rows(test)} == {16}
    assert len(rows(train)) == counts["train_rows"] == counts["train_people"]
    assert len(rows(test)) == counts["test_rows"]
    assert {row[14] for row in rows(train)} == {"1", "0", "-1"}

    images = {str(path.relative_to(root)) for path in root.rglob("*.jpg")}
    assert images == {row[0] for row in rows(train) + rows(test)}
    assert counts["train_images"] == 18 and counts["test_images"] == 6 and len(images) == 24


def test_image_1000_begins_the_second_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(gazefollow, "SHARD", 2)
    make(tmp_path, 6)
    assert (tmp_path / "train/00000001/00000002.jpg").is_file() and (tmp_path / "train/00000001/00000003.jpg").is_file()


def test_points_are_normalised_and_head_boxes_are_pixels_inside_the_image_but_for_the_counted_rows(small):
    root, counts = small
    found = Counter()
    for row in rows(root / "train_annotations_release.txt"):
        width, height = Image.open(root / row[0]).size
        body, eye, gaze = (np.array(row[a:b], float) for a, b in ((2, 6), (6, 8), (8, 10)))
        x_min, y_min, x_max, y_max = (float(value) for value in row[10:14])
        assert np.all((body >= 0) & (body <= 1)) and np.all(body[:2] + body[2:] <= 1.0001)
        assert row[14] in ("0", "-1") if np.all(gaze == -1) else np.all((gaze > 0) & (gaze < 1))
        assert row[14] == "1" or np.all(gaze == -1)
        found["invalid"] += row[14] == "-1"
        found["in_frame"] += row[14] == "1"
        found["out_of_frame"] += row[14] == "0"
        if x_min > x_max:
            found["swapped_boxes"] += 1
            (x_min, x_max), (y_min, y_max) = sorted((x_min, x_max)), sorted((y_min, y_max))
        found["boxes_leaving_image"] += x_min < 0 or y_min < 0 or x_max > width or y_max > height
        assert x_min < eye[0] * width < x_max and y_min < eye[1] * height < y_max
    assert {name: counts[name] for name in found} == found
    assert all(found.values())


def test_a_test_person_has_eight_to_ten_adjacent_rows_that_scatter_a_little(small):
    root, counts = small
    people = [
        list(group) for _, group in itertools.groupby(rows(root / "test_annotations_release.txt"), lambda r: r[1])
    ]
    assert len(people) == counts["test_people"] == len({(rows[0][0], rows[0][6]) for rows in people})
    for annotations in people:
        assert 8 <= len(annotations) <= 10
        assert len({(*row[:8], *row[10:]) for row in annotations}) == 1  # all but the gaze is the person's own
        gaze = np.array([row[8:10] for row in annotations], float)
        assert np.all((gaze > 0) & (gaze < 1)) and 0 < gaze.std(axis=0).max() < 0.06


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(small, tmp_path):
    root, counts = small
    assert make(tmp_path / "again", 24, seed=3) == counts
    assert fingerprints(tmp_path / "again") == fingerprints(root)
    make(tmp_path / "other", 4, seed=4)
    assert (tmp_path / "other/train/00000000/00000000.jpg").read_bytes() != (
        root / "train/00000000/00000000.jpg"
    ).read_bytes()


def test_an_image_and_its_rows_do_not_depend_on_how_many_are_made(small, tmp_path):
    root, _ = small
    make(tmp_path, 8, seed=3)
    few, many = fingerprints(tmp_path), fingerprints(root)
    assert all(many[path] == digest for path, digest in few.items() if path.endswith(".jpg"))
    for table in ("train_annotations_release.txt", "test_annotations_release.txt"):
        assert (root / table).read_bytes().startswith((tmp_path / table).read_bytes())


def test_annotations_and_people_are_these_bytes_on_every_machine(small):
    root, _ = small
    digest = {
        split: hashlib.sha256((root / f"{split}_annotations_release.txt").read_bytes()) for split in ("train", "test")
    }
    assert digest["train"].hexdigest() == "0cfd56e7f89df7625d94d2438a9467db0c27ebb3cc1b71685c3d12b563dc98e6"
    assert digest["test"].hexdigest() == "3ec45d05eb803bdbdcedcf19c937d0ff2d5e61f53d4c496dff918662a101255c"

    canvas = np.full((90, 80, 3), 200, np.uint8)
    look = random_look(np.random.Generator(np.random.PCG64(5)))
    draw_person(canvas, Person(40.0, 30.0, 18.0, look), facing_towards(-2, 1, 0.4))
    drawn = hashlib.sha256(canvas.tobytes()).hexdigest()
    assert drawn == "3a640dd1f4de05773d7705725cc76533e44901150c4030a919f3cece76fdcf95"


def test_at_least_two_images_per_split_and_an_error_below(tmp_path):
    counts = make(tmp_path / "four", 4)
    assert counts["train_images"] == counts["test_images"] == 2
    with pytest.raises(GazeError, match="at least 4") as error:
        make(tmp_path / "three", 3)
    assert error.value.code == USAGE and not (tmp_path / "three").exists()


# --- what the pictures ask


def test_people_look_at_objects_and_their_heads_point_there(plans):
    for _, person, gaze in in_frame(plans):
        facing_deg = math.degrees(math.atan2(gaze.facing[1], gaze.facing[0]))
        assert apart_deg(facing_deg, angle_deg(person, *gaze.gaze_px)) < 0.01


def test_every_annotation_lies_on_the_target(plans):
    for scene, _, gaze in in_frame(plans):
        x_min, y_min, x_max, y_max = scene.objects[gaze.target].box_px
        assert np.all((gaze.annotators > (x_min, y_min)) & (gaze.annotators < (x_max, y_max)))
        assert x_min > 0 and y_min > 0 and x_max < scene.width and y_max < scene.height


def test_objects_and_other_heads_lie_in_different_directions_as_seen_from_every_head(plans):
    for plan in plans:
        for person in plan.scene.people:
            objects = [angle_deg(person, thing.x_px, thing.y_px) for thing in plan.scene.objects]
            assert all(apart_deg(a, b) >= SEPARATION_DEG - 1e-6 for a, b in itertools.combinations(objects, 2))
            heads = [angle_deg(person, p.x_px, p.y_px) for p in plan.scene.people if p is not person]
            assert all(apart_deg(a, b) >= HEAD_CLEARANCE_DEG - 1e-6 for a in objects for b in heads)


def test_nothing_lies_on_the_way_out_of_the_picture(plans):
    outs = 0
    for plan in plans:
        for person, gaze in zip(plan.scene.people, plan.gazes, strict=True):
            if gaze.target is None:
                outs += 1
                facing_deg = math.degrees(math.atan2(gaze.facing[1], gaze.facing[0]))
                objects = [angle_deg(person, thing.x_px, thing.y_px) for thing in plan.scene.objects]
                assert min(apart_deg(facing_deg, direction) for direction in objects) >= SEPARATION_DEG - 0.01
                assert gaze.gaze_px is None and gaze.annotators.shape == (0, 2)
    assert 0.15 < outs / sum(len(plan.gazes) for plan in plans[:300]) < 0.25
    assert all(gaze.target is not None for plan in plans[300:] for gaze in plan.gazes)


def test_nothing_overlaps_the_objects_and_all_is_within_the_promised_numbers(plans):
    for plan in plans:
        scene = plan.scene
        assert 1 <= len(scene.people) <= 3 and 4 <= len(scene.objects) <= 7
        boxes = [one.box_px for one in (*scene.objects, *scene.people)]
        for a, b in itertools.combinations(boxes, 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        for x_min, y_min, x_max, y_max in (gaze.head_box_px for gaze in plan.gazes):
            assert x_min >= 0 and y_min >= 0 and x_max <= scene.width and y_max <= scene.height
            assert 0.13 < (y_max - y_min) / min(scene.width, scene.height) < 0.21


def test_objects_do_not_betray_the_target(plans):
    """Each object of a scene is the target with the same chance, whatever it is: chi-square below its 99.9 % point."""
    looks = list(in_frame(plans))
    kinds, expected_kinds, colours, expected_colours = Counter(), Counter(), Counter(), Counter()
    ranks = {"size": [], "left": [], "high": [], "near head": [], "near centre": [], "number": []}
    for scene, person, gaze in looks:
        share = 1 / len(scene.objects)
        target = scene.objects[gaze.target]
        kinds[target.kind] += 1
        colours[target.colour] += 1
        for thing in scene.objects:
            expected_kinds[thing.kind] += share
            expected_colours[thing.colour] += share
        cues = {
            "size": lambda thing: thing.half_size_px,
            "left": lambda thing: thing.x_px,
            "high": lambda thing: thing.y_px,
            "near head": lambda thing, p=person: math.hypot(thing.x_px - p.x_px, thing.y_px - p.y_px),
            "near centre": lambda thing, s=scene: math.hypot(thing.x_px - s.width / 2, thing.y_px - s.height / 2),
            "number": lambda thing, s=scene: s.objects.index(thing),
        }
        for name, cue in cues.items():
            before = sum(cue(thing) < cue(target) for thing in scene.objects)
            ranks[name].append((before + 0.5) * share)

    assert chi_square([kinds[k] for k in KINDS], [expected_kinds[k] for k in KINDS]) < 26.1  # 8 degrees of freedom
    assert chi_square([colours[c] for c in COLOURS], [expected_colours[c] for c in COLOURS]) < 24.3  # 7 degrees
    for name, values in ranks.items():  # the mean rank is .5, its deviation at most .29 / sqrt(n)
        assert abs(np.mean(values) - 0.5) < 3.5 * 0.29 / math.sqrt(len(looks)), name


def test_gaze_directions_go_all_round(plans):
    directions = [math.atan2(gaze.facing[1], gaze.facing[0]) for plan in plans for gaze in plan.gazes]
    octants = np.histogram(directions, bins=8, range=(-math.pi, math.pi))[0] / len(directions)
    assert np.all(octants > 0.08)


def test_always_the_centre_and_always_the_commonest_place_are_weak(plans):
    targets = np.array([gaze.annotators.mean(axis=0) / (s.width, s.height) for s, _, gaze in in_frame(plans)])
    assert np.linalg.norm(targets - 0.5, axis=1).mean() > 0.3
    cells = np.histogram2d(targets[:, 0], targets[:, 1], bins=4, range=((0, 1), (0, 1)))[0] / len(targets)
    assert cells.max() < 0.15


# --- drawing


def test_the_bright_side_of_a_head_is_the_side_that_looks():
    rng = np.random.Generator(np.random.PCG64(0))
    agreement = []
    for turn in np.arange(0, 360, 5):
        canvas = np.full((60, 60, 3), 128, np.uint8)
        person = Person(30.0, 30.0, 18.0, random_look(rng))
        dx, dy = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        draw_person(canvas, person, facing_towards(dx, dy, depth=rng.uniform(0.05, 0.6)))
        y, x = np.mgrid[-29.5:30, -29.5:30]
        grey = np.where(np.hypot(x, y) < 22, canvas.mean(axis=2) - 128, 0)
        bright = np.array([(grey * x).sum(), (grey * y).sum()])
        agreement.append(bright @ (dx, dy) / np.linalg.norm(bright))
    assert np.mean(np.array(agreement) > math.cos(math.radians(45))) > 0.9


def test_only_the_head_shows_where_somebody_looks():
    plan = plan_image(1, "test", 0)
    scene = plan.scene
    one = draw_scene(scene, [gaze.facing for gaze in plan.gazes])
    other = draw_scene(scene, [facing_towards(-gaze.facing[0], -gaze.facing[1], 0.2) for gaze in plan.gazes])
    y, x = np.mgrid[: scene.height, : scene.width]
    near_a_head = np.zeros(one.shape[:2], bool)
    for person in scene.people:
        near_a_head |= np.maximum(abs(x - person.x_px), abs(y - person.y_px)) < 1.7 * person.radius_px
    assert np.array_equal(one[~near_a_head], other[~near_a_head]) and not np.array_equal(one, other)


def test_people_drawn_into_a_drawn_room_make_the_scene():
    plan = plan_image(1, "train", 3)
    facings = [gaze.facing for gaze in plan.gazes]
    canvas = draw_room(plan.scene)
    assert canvas.shape == (plan.scene.height, plan.scene.width, 3) and canvas.dtype == np.uint8
    draw_people(canvas, plan.scene.people, facings)
    assert np.array_equal(canvas, draw_scene(plan.scene, facings))


def test_people_and_objects_across_the_border_are_cut_off():
    look = random_look(np.random.Generator(np.random.PCG64(2)))
    wide = np.full((140, 140, 3), 200, np.uint8)
    draw_person(wide, Person(40.0, 45.0, 18.0, look), facing_towards(1, 0))
    draw_object(wide, SceneObject("ball", 120.0, 100.0, 15.0, COLOURS[0]))
    narrow = np.full((100, 100, 3), 200, np.uint8)
    draw_person(narrow, Person(10.0, 15.0, 18.0, look), facing_towards(1, 0))
    draw_object(narrow, SceneObject("ball", 90.0, 70.0, 15.0, COLOURS[0]))
    assert np.array_equal(narrow, wide[30:130, 30:130])
    draw_person(narrow, Person(-200.0, 15.0, 18.0, look), facing_towards(1, 0))
    assert np.array_equal(narrow, wide[30:130, 30:130])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_object_fills_its_box(kind):
    canvas = np.full((80, 80, 3), 90, np.uint8)
    draw_object(canvas, SceneObject(kind, 40.0, 40.0, 20.0, COLOURS[0], on_shelf=True))
    changed = np.any(canvas != 90, axis=2)
    assert changed[20:60, 20:60].mean() > 0.25 and changed[32:48, 34:46].mean() > 0.2
    assert not changed[:18].any() and not changed[68:].any()


def test_a_facing_keeps_its_direction_and_its_depth_and_is_a_unit_vector():
    x, y, z = facing_towards(3, 4, depth=0.6)
    assert (x, y, z) == pytest.approx((0.48, 0.64, 0.6)) and math.hypot(x, y, z) == pytest.approx(1)
    with pytest.raises(ValueError, match="no direction"):
        facing_towards(0, 0)
    with pytest.raises(ValueError, match="depth 1"):
        facing_towards(1, 0, depth=1)


def test_the_eyes_lie_on_the_ray_from_the_head_to_the_target():
    person = Person(100.0, 80.0, 20.0, random_look(np.random.Generator(np.random.PCG64(0))))
    x, y = eye_position(person, facing_towards(0, 1, depth=0))
    assert x == 100 and 80 < y < 100


def test_a_scene_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="9 people and 12 objects"):
        plan_scene(np.random.Generator(np.random.PCG64(0)), 320, 240, people=9, objects=12)
