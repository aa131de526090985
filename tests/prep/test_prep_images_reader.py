import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazecore import images as gz_images
from gazecore.errors import NO_INPUT, UNAVAILABLE, GazeError
from gazecore.prep import images

FIRST, SECOND = [10.0, 20.0, 50.0, 70.0], [80.0, 20.0, 120.0, 70.0]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.png"):
        Image.new("RGB", (160, 120)).save(folder / name)
    return folder


def read(photos, text, name="boxes.csv", **options):
    path = photos.parent / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    counts = Counter()
    return list(images.read([photos], [path], counts, **options)), counts


COCO = {
    "images": [{"id": 7, "file_name": "photos/a.jpg"}, {"id": 8, "file_name": "b.png"}],
    "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "head"}],
    "annotations": [
        {"image_id": 7, "category_id": 2, "bbox": [10, 20, 40, 50]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 100, 120]},
        {"image_id": 7, "category_id": 2, "bbox": [80, 20, 40, 50]},
        {"image_id": 8, "category_id": 2, "bbox": [10, 20, 40, 50]},
    ],
}


@pytest.mark.parametrize(
    "name, text",
    [
        ("b.csv", "image,x_min,y_min,x_max,y_max\na.jpg,10,20,50,70\na.jpg,80,20,120,70\nb.png,10,20,50,70\n"),
        ("b.csv", "\ufeffframe,left,top,right,bottom\na,10,20,50,70\na,80,20,120,70\nb,10,20,50,70\n"),
        (
            "b.csv",
            "score,y_min,x_min,x_max,y_max,image\n1,20,10,50,70,a.jpg\n1,20,80,120,70,a.jpg\n1,20,10,50,70,b.png",
        ),
        ("b.json", [{"image": "a.jpg", "head_boxes": [FIRST, SECOND]}, {"image": "b.png", "head_boxes": [FIRST]}]),
        (
            "b.json",
            [
                {"image": "a.jpg", "bbox": [10, 20, 40, 50]},
                {"file_name": "C:\\photos\\a.jpg", "bbox": [80, 20, 40, 50]},
                {"image": "b.png", "bbox": [10, 20, 40, 50]},
            ],
        ),
        ("b.json", COCO),
    ],
)
def test_every_box_format_gives_the_same_people(photos, name, text):
    samples, counts = read(photos, text, name)
    assert [sample.sample_id for sample in samples] == ["a.jpg#0", "a.jpg#1", "b.png#0"]
    assert [sample.head_box_px.tolist() for sample in samples] == [FIRST, SECOND, FIRST]
    assert all(np.isnan(sample.in_frame) and np.isnan(sample.gaze_targets).all() for sample in samples)
    assert samples[0].image_size == (160, 120) and not counts


def test_pascal_voc_takes_heads_and_on_request_all_objects(photos):
    objects = "".join(
        f"<object><name>{name}</name>"
        "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>50</xmax><ymax>70</ymax></bndbox></object>"
        for name in ("mustard", "head")
    )
    boxes = photos.parent / "boxes"
    boxes.mkdir()
    for name in ("a.jpg", "b.png"):
        (boxes / f"{name[0]}.xml").write_text(f"<annotation><filename>{name}</filename>{objects}</annotation>")
    assert len(list(images.read([photos], [boxes], Counter()))) == 2
    assert len(list(images.read([photos], [boxes], Counter(), all_objects=True))) == 4


def test_demo_files_are_one_person_each_and_frames_of_a_video(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in (21, 22):
        Image.new("RGB", (160, 120)).save(frames / f"{number:08d}.jpg")
    for person, number in ((1, 21), (2, 21), (2, 22)):
        with (tmp_path / f"person{person}.txt").open("a") as file:
            file.write(f"{number:08d}.jpg,10.0,20.0,50.0,70.0\n")
    samples = list(images.read([frames], [tmp_path / "person1.txt", tmp_path / "person2.txt"], Counter()))
    assert [sample.sample_id for sample in samples] == [
        "00000021.jpg#person1",
        "00000021.jpg#person2",
        "00000022.jpg#person2",
    ]
    assert [(sample.clip, sample.track_id, sample.frame) for sample in samples[1:]] == [
        ("frames", "person2", 21),
        ("frames", "person2", 22),
    ]


def test_images_without_a_head_are_counted_and_named(photos):
    text = "image,x_min,y_min,x_max,y_max\na.jpg,10,20,50,70\nc.jpg,10,20,50,70\n"
    samples, counts = read(photos, text)
    assert [sample.image_name for sample in samples] == ["a.jpg"]
    assert counts == {
        "without a head: images": 1,
        "without a head: b.png": 1,
        "ignored: box of an image that was not given": 1,
    }
    samples, _ = read(photos, text, allow_missing=True)
    assert samples[1].image_name == "b.png" and np.isnan(samples[1].head_box_px).all()


def test_boxes_are_repaired_and_counted(photos):
    text = "image,x_min,y_min,x_max,y_max\na.jpg,50,20,10,70\na.jpg,-5,20,50,70\nb.png,300,20,310,70\n"
    samples, counts = read(photos, text)
    assert [sample.head_box_px.tolist() for sample in samples] == [FIRST, [0, 20, 50, 70]]
    assert counts["repaired: swapped box"] == 1 and counts["dropped: box without area"] == 1
    assert counts["without a head: b.png"] == 1


def test_images_of_one_name_need_their_folder(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (160, 120)).save(tmp_path / folder / "a.jpg")
    boxes = tmp_path / "b.csv"
    boxes.write_text("image,x_min,y_min,x_max,y_max\none/a.jpg,10,20,50,70\ntwo/a.jpg,80,20,120,70\n")
    samples = list(images.read([tmp_path / "one", tmp_path / "two"], [boxes], Counter()))
    assert [sample.sample_id for sample in samples] == ["one/a.jpg#0", "two/a.jpg#0"]
    boxes.write_text("image,x_min,y_min,x_max,y_max\na.jpg,10,20,50,70\none/a.jpg,1,2,50,70\n")
    with pytest.raises(GazeError, match=r"may be any of one/a\.jpg, two/a\.jpg"):
        list(images.read([tmp_path / "one", tmp_path / "two"], [boxes], Counter()))


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("b.csv", "image,x_min,y_min\na.jpg,1,2\n", "has the columns image, x_min, y_min; expected"),
        ("b.csv", "a.jpg,1,2,3\n", "line 1 is a.jpg,1,2,3"),
        ("b.csv", "image,x_min,y_min,x_max,y_max\na.jpg,.1,.2,.3,.4\n", "normalised"),
        ("b.json", "{", "is not JSON"),
        ("b.json", {"a.jpg": []}, "holds no JSON list"),
        ("b.json", [{"image": "a.jpg"}, 3], "2 problems"),
        ("b.json", {**COCO, "categories": [{"id": 1, "name": "person"}]}, "knows the categories person"),
        ("b.xml", "<html/>", "holds <html>"),
        ("b.yaml", "", "is not a box file"),
        ("b.csv", "image,x_min,y_min,x_max,y_max\n", "none of the 2 images has a head box"),
    ],
)
def test_a_wrong_box_file_is_named(photos, name, text, message):
    with pytest.raises(GazeError, match=message):
        read(photos, text, name)


def test_missing_and_broken_images_are_named(photos, tmp_path):
    with pytest.raises(GazeError, match="no such file; expected an image or a folder") as raised:
        list(images.read([tmp_path / "lost"], None, Counter()))
    assert raised.value.code == NO_INPUT
    (photos / "c.jpg").write_text("nothing")
    with pytest.raises(GazeError, match=r"c\.jpg is not an image"):
        read(photos, "image,x_min,y_min,x_max,y_max\na.jpg,10,20,50,70\n")


def test_a_face_is_found_and_grown_to_a_head(tmp_path):
    skimage = pytest.importorskip("skimage")
    astronaut = Path(skimage.__file__).parent / "data" / "astronaut.png"
    (head,) = images.detect_heads(gz_images.load(astronaut))
    x_min, y_min, x_max, y_max = head
    assert x_min < 205 < 245 < x_max and y_min < 60 and 150 < y_max < 220  # eyes at 205 and 245, chin at 160

    Image.new("RGB", (160, 120)).save(tmp_path / "nobody.png")
    counts = Counter()
    (sample,) = images.read([astronaut, tmp_path / "nobody.png"], None, counts)
    np.testing.assert_array_equal(sample.head_box_px, head)
    assert counts["without a head: images"] == 1


def test_without_opencv_the_extra_is_named(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(GazeError, match=r'pip install "gazecore\[detect\]"') as raised:
        list(images.read([photos], None, Counter()))
    assert raised.value.code == UNAVAILABLE
