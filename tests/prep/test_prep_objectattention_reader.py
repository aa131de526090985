from collections import Counter

import numpy as np
import pytest
from PIL import Image

from gazecore.errors import EXISTS, NO_INPUT, GazeError
from gazecore.prep import labelimg, objectattention

HEADER = "frame x_min y_min x_max y_max gaze_x gaze_y"
TABLE = "session_1/settingA/S11.txt"


@pytest.fixture
def write(tmp_path):
    def write(lines, frames, table=TABLE, split="train", setting="session_1/settingA"):
        path = tmp_path / "annotations" / split / table
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        for frame in frames:
            image = tmp_path / "images" / setting / frame
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (640, 480)).save(image)
        return tmp_path

    return write


def read(root, split="train", **options):
    counts = Counter()
    return list(objectattention.read(root, split, counts, **options)), counts


def test_the_header_is_optional_and_its_separator_another(write):
    row = "00000003, 303, 8, 424, 142, 320.0, 360.0"
    with_header, _ = read(write([HEADER, row], ["00000003.ppm"]))
    without, _ = read(write([row], []))
    spaces, _ = read(write([HEADER, row.replace(",", "")], []))
    for (sample,) in (with_header, without, spaces):
        assert sample.sample_id == "session_1/settingA/00000003.ppm#S11"
        assert sample.head_box_px.tolist() == [303, 8, 424, 142]
        assert sample.gaze_targets.tolist() == [[0.5, 0.75]]
        assert (sample.in_frame, sample.clip, sample.track_id, sample.frame) == (1, "session_1/settingA", "S11", 3)


def test_extensions_may_be_mixed_in_one_sequence(write):
    lines = [HEADER, *(f"{i:05d}, 10, 10, 50, 50, 320, 240" for i in range(3))]
    samples, _ = read(write(lines, ["00000.ppm", "00001.jpg", "00002.png"]))
    assert [sample.image.name for sample in samples] == ["00000.ppm", "00001.jpg", "00002.png"]


def test_padding_distinguishes_frames_unless_only_one_form_is_there(write):
    lines = [f"{frame}, 10, 10, 50, 50, 320, 240" for frame in ("00003", "00000003", "00004", "00005.json")]
    samples, counts = read(write(lines, ["00003.ppm", "00000003.ppm", "00000004.ppm", "00005.ppm"]))
    assert [sample.image.name for sample in samples] == ["00003.ppm", "00000003.ppm", "00000004.ppm", "00005.ppm"]
    assert counts == {"repaired: frame padded with another number of zeros": 1}


def test_heads_that_were_not_found_are_dropped_before_smoothing(write):
    lines = ["00000, 10, 10, 50, 50, 320, 240", "00001, None, None, None, None, 320, 240"]
    (sample,), counts = read(write(lines, ["00000.ppm", "00001.ppm"]))
    assert sample.head_box_px.tolist() == [10, 10, 50, 50]
    assert counts == {"dropped: head box is None": 1}


def test_a_table_may_stand_beside_its_setting(write):
    (sample,), _ = read(write(["00000, 10, 10, 50, 50, 320, 240"], ["00000.ppm"], table="session_1/settingA.txt"))
    assert (sample.clip, sample.track_id) == ("session_1/settingA", "settingA")


def test_all_that_is_wrong_comes_in_one_error(write):
    root = write([HEADER, "00000, 10, 10, 50, 50, 320", "00001, 10, 10, 50, 50, 320, 240"], ["00009.ppm"])
    with pytest.raises(GazeError) as raised:
        read(root)
    assert "2 problems" in str(raised.value)
    assert "line 2: 6 columns" in str(raised.value)
    assert "00001: no such image" in str(raised.value)
    with pytest.raises(GazeError, match="images/SESSION/SETTING/FRAME") as missing:
        read(root, "test")
    assert missing.value.code == NO_INPUT


def voc(*objects, filename="00000003.ppm"):
    boxes = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for name, (a, b, c, d) in objects
    )
    size = "<size><width>640</width><height>480</height><depth>3</depth></size>"
    return f"<annotation><filename>{filename}</filename>{size}{boxes}</annotation>"


def test_the_head_is_found_by_its_name_not_by_its_place(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(voc(("mustard", (500, 310, 550, 390)), ("head", (303, 8, 424, 142))))
    filename, size, boxes = annotation = labelimg.read_xml(path)
    assert (filename, size, sorted(boxes)) == ("00000003.ppm", (640, 480), ["head", "mustard"])
    assert labelimg.only_box(annotation, "head", path).tolist() == [303, 8, 424, 142]
    assert labelimg.centre(labelimg.only_box(annotation, "mustard", path)).tolist() == [525, 350]
    with pytest.raises(GazeError, match=r'0 objects named "sugarbox"; expected one\. It names head, mustard'):
        labelimg.only_box(annotation, "sugarbox", path)
    path.write_text(voc(("head", (1, 2, 3, 4)), ("head", (5, 6, 7, 8))))
    with pytest.raises(GazeError, match='2 objects named "head"'):
        labelimg.only_box(labelimg.read_xml(path), "head", path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE a [<!ENTITY x "1234567890"><!ENTITY y "&x;&x;">]>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
        "<!DOCTYPE annotation>",
    ],
)
def test_entities_are_refused_in_any_encoding(tmp_path, declaration, encoding):
    path = tmp_path / "bomb.xml"
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{declaration}<annotation/>'.encode(encoding))
    with pytest.raises(GazeError, match=r"bomb\.xml declares a document type or entities"):
        labelimg.read_xml(path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("not xml", "is not XML"),
        ("<html></html>", "holds <html>"),
        ("", "is not XML"),
        ("<annotation><object><name>head</name></object></annotation>", 'object 1 "head" has the box'),
    ],
)
def test_a_file_that_is_no_annotation_is_named(tmp_path, text, message):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(GazeError, match=message):
        labelimg.read_xml(path)
    with pytest.raises(GazeError, match="no such file"):
        labelimg.read_xml(tmp_path / "lost.xml")


def test_recordings_become_a_sequence_that_the_reader_reads(tmp_path):
    recordings = []
    for target, names in (("mustard", ["9.ppm", "a.jpg"]), ("bleach", ["x.png"])):
        folder = tmp_path / target
        folder.mkdir()
        for name in names:
            Image.new("RGB", (640, 480)).save(folder / name)
        xml = tmp_path / f"{target}.xml"
        xml.write_text(voc((target, (500, 310, 550, 390)), ("head", (303, 8, 424.5, 142))))
        recordings.append(labelimg.Recording(folder, xml, xml, target))

    root = tmp_path / "prepared"
    assert labelimg.write_sequence(recordings, root, "train", "session_1", "settingA") == 3
    samples, counts = read(root)
    assert [sample.image.name for sample in samples] == ["00000000.ppm", "00000001.jpg", "00000002.png"]
    np.testing.assert_allclose(samples[0].head_box_px, [303, 8, 424.5, 142])
    np.testing.assert_allclose(samples[2].gaze_targets, [[525 / 640, 350 / 480]])
    assert not counts
    with pytest.raises(GazeError, match="exists already") as raised:
        labelimg.write_sequence(recordings, root, "train", "session_1", "settingA")
    assert raised.value.code == EXISTS
    assert labelimg.write_sequence(recordings, root, "train", "session_1", "settingB", every=2) == 2
