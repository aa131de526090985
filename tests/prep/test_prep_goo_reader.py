import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazecore.errors import NO_INPUT, GazeError
from gazecore.prep import goo
from gazecore.prep.goo_pickle import read_records

NAME = "8\\cam1\\cam00001_img00524.jpg"


def record(name=NAME, head_label=-1, hold=list, **other):
    boxes, labels = [[378, 316, 392, 340], [156, 120, 212, 180]], [17, head_label]
    data = {
        "filename": name,
        "width": 1920,
        "height": 1080,
        "ann": {"bboxes": hold(boxes), "labels": hold(labels), "bboxes_ignore": []},
        "gaze_item": 17,
        "gazeIdx": 0,
        "gaze_cx": 320,
        "gaze_cy": 360.0,
        "hx": 160,
        "hy": 120,
        "seg": hold([[x, 330] for x in range(378, 392)]),
        "occluded": False,
    }
    return data | other


@pytest.fixture
def write(tmp_path):
    def write(records, table="testrealhumans.pickle", folder="finalrealdatasetImgsV2", protocol=4, pictures=True):
        path = tmp_path / table
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(records, protocol=protocol))
        for data in records if pictures else []:
            picture = tmp_path / folder / data["filename"].replace("\\", "/")
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (192, 108)).save(picture)
        return tmp_path

    return write


def read(root, split="test", **options):
    counts = Counter()
    return list(goo.read(root, split, counts, **options)), counts


def test_coordinates_are_in_units_of_640_by_480_whatever_the_size_of_the_picture(write):
    (sample,), counts = read(write([record()]))
    assert sample.image_size == (192, 108)
    assert sample.gaze_targets.tolist() == [[0.5, 0.75]]
    np.testing.assert_allclose(sample.head_box_px, [156 * 0.3, 120 * 0.225, 212 * 0.3, 180 * 0.225])
    assert sample.eye.tolist() == [0.25, 0.25]
    assert (sample.dataset, sample.split, sample.in_frame) == ("goo-real", "test", 1) and not counts
    assert sample.sample_id == "finalrealdatasetImgsV2/8/cam1/cam00001_img00524.jpg#head"


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_lists_and_arrays_of_any_protocol_and_order_read_alike(write, protocol):
    scalar = np.float32(320)
    arrays = record(hold=lambda values: np.asfortranarray(np.array(values, ">f4")), gaze_cx=scalar, head_label=25)
    (as_lists,), _ = read(write([record()], protocol=protocol))
    (as_arrays,), _ = read(write([arrays], protocol=protocol))
    np.testing.assert_allclose(as_arrays.head_box_px, as_lists.head_box_px)
    np.testing.assert_array_equal(as_arrays.gaze_targets, as_lists.gaze_targets)


def test_the_head_is_the_box_labelled_so_else_the_last_of_real_else_made_around_the_eyes(write):
    first = record(name="a.jpg")
    first["ann"] = {"bboxes": [[0, 0, 64, 48], [100, 100, 200, 200]], "labels": [25, 3]}
    last = record(name="b.jpg")
    last["ann"] = {"bboxes": [[0, 0, 64, 48], [320, 240, 384, 288]], "labels": [3, 4]}
    synth = record(name="c.jpg", envparams={"cab": 1})
    synth["ann"] = last["ann"]
    samples, counts = read(write([first, last, synth]))
    units = [sample.head_box_px / (1.92, 1.08, 1.92, 1.08) for sample in samples]  # per cent of the picture
    np.testing.assert_allclose(units, [[0, 0, 10, 10], [50, 50, 60, 60], [10, 10, 40, 40]])
    assert [sample.dataset for sample in samples] == ["goo-real", "goo-real", "goo-synth"]
    assert counts == {"made: head box around hx, hy": 1}


def test_boxes_as_the_published_loaders_make_them_on_request(write):
    (sample,), counts = read(write([record()]), reference_boxes=True)
    np.testing.assert_allclose(sample.head_box_px, [19.2, 10.8, 76.8, 43.2])
    assert counts == {"made: head box around hx, hy": 1}


def test_a_gaze_outside_the_picture_is_out_of_frame_and_a_broken_picture_is_left_out(write):
    samples, counts = read(write([record(gaze_cx=700), record(name="15\\cam1\\cam00001_img00530.jpg")]))
    assert [sample.in_frame for sample in samples] == [0] and np.isnan(samples[0].gaze_targets).all()
    assert counts == {"out of frame: gaze outside the picture": 1, "dropped: image known to be broken": 1}


@pytest.mark.parametrize("protocol", [1, 2, 4])
@pytest.mark.parametrize("call", [os.system, subprocess.Popen, eval, print, Path.home, np.load])
def test_a_hostile_pickle_is_refused_by_name_and_nothing_runs(tmp_path, call, protocol, capsys):
    class Hostile:
        def __reduce__(self):
            return call, ("echo owned > owned",)

    (tmp_path / "train.pickle").write_bytes(pickle.dumps([record(gaze_cx=Hostile())], protocol=protocol))
    with pytest.raises(GazeError, match=r"train\.pickle refers to .*do not trust the file"):
        read_records(tmp_path / "train.pickle", [])
    assert not list(tmp_path.glob("owned")) and not Path("owned").exists() and "owned" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps([record()])[:-40],
        b"cos\nsystem\n.",
        b"(lp0\ng7\na.",  # refers to what it does not hold
        b"\x80\x04cnumpy\nndarray\n}(X\x01\x00\x00\x00aK\x01ub.",  # a state for a class
        b"\x80\x04cnumpy\ndtype\n(X\x02\x00\x00\x00f8tR(K\x03tb.",
        pickle.dumps([1, 2, 3]),
        pickle.dumps({"a": 1}),
        b"P7\n.",
    ],
)
def test_what_is_no_such_pickle_is_one_error_that_names_it(tmp_path, content):
    (tmp_path / "test.pickle").write_bytes(content)
    with pytest.raises(GazeError, match=r"test\.pickle"):
        read_records(tmp_path / "test.pickle", [])


def test_a_huge_claim_of_an_array_is_not_believed(tmp_path):
    state = (1, (1 << 40,), np.dtype("f8"), False, b"12345678")

    class Claim:
        def __reduce__(self):
            return np.empty(0).__reduce__()[0], (np.ndarray, (0,), b"b"), state

    (tmp_path / "test.pickle").write_bytes(pickle.dumps([record(ann={"bboxes": Claim(), "labels": []})]))
    problems: list[str] = []
    assert len(read_records(tmp_path / "test.pickle", problems)) == 0
    assert len(problems) == 1 and "record 0: cannot reshape array" in problems[0]


def test_lists_that_records_share_are_read_all_the_same(write):
    shared = record()["ann"]
    samples, _ = read(write([record(name=f"{i}.jpg", ann=shared) for i in range(3)]))
    assert [sample.head_box_px.tolist() for sample in samples] == [samples[0].head_box_px.tolist()] * 3


def test_memory_is_that_of_a_record_not_of_the_pickle(tmp_path):
    """240 segmentations of 0.6 MB and 200 of 1,000 lists; the reader may grow by a few of them."""
    records = [record(name=f"{i}.jpg", seg=np.zeros((480, 640), np.int16)) for i in range(240)]
    records += [record(name=f"{i}.jpg", seg=[[x, x] for x in range(1000)]) for i in range(200)]
    (tmp_path / "test.pickle").write_bytes(pickle.dumps(records, protocol=4))
    line = (
        "import resource, sys; from pathlib import Path; from gazecore.prep.goo_pickle import read_records; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak(); "
        "records = read_records(Path(sys.argv[1]), []); print(len(records), peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", line, str(tmp_path / "test.pickle")], capture_output=True, text=True, check=True
    )
    count, grown = map(int, done.stdout.split())
    assert count == 440 and grown < 16_000 * (1 if sys.platform == "linux" else 1024)  # kB; bytes on macOS


def test_all_that_is_wrong_comes_in_one_error(write):
    records = [
        record(name="0.jpg"),
        record(name="1.jpg", gaze_cx=None),
        record(name="2.jpg", hx=float("nan")),
        record(name="3.jpg", ann={"bboxes": [[1, 2, 3]], "labels": [25]}),
        record(name="..\\..\\secret.jpg"),
        record(name="5.jpg"),
    ]
    del records[5]["hy"]
    root = write(records, pictures=False)
    folder = root / "pictures"
    folder.mkdir()
    Image.new("RGB", (64, 48)).save(folder / "0.jpg")
    with pytest.raises(GazeError) as raised:
        read(root)
    message = str(raised.value)
    assert "5 problems" in message and "record 1: gaze_cx is NoneType; expected a number" in message
    assert "record 2: hx is nan" in message and "record 3: a box of 3 values" in message
    assert "record 4: ../../secret.jpg leads out of" in message and "record 5: no 'hy'" in message


def test_pickles_and_folders_are_found_by_name_or_asked_for(write, tmp_path):
    write([record(name="0.png")], table="picklefile/goosynth_test_v2_no_segm.pkl", folder="test/images")
    write([record(name="0.png")], table="picklefile/goosynth_train_v2_no_segm.pkl", folder="train/images")
    assert read(tmp_path)[0][0].image == tmp_path / "test/images/0.png"
    assert read(tmp_path, "train")[0][0].image == tmp_path / "train/images/0.png"
    assert list(goo.annotation_pickles(tmp_path)) == ["train", "test"]
    with pytest.raises(GazeError, match=r"no pickle of val.*Found picklefile/goosynth_test") as raised:
        read(tmp_path, "val")
    assert raised.value.code == NO_INPUT
    with pytest.raises(GazeError, match='no split "dev"'):
        read(tmp_path, "dev")
    with pytest.raises(GazeError, match="no such pickle"):
        read(tmp_path, table=tmp_path / "lost.pickle")

    write([record(name="0.png")], folder="more/test")
    with pytest.raises(GazeError, match=r"several pickles of test: picklefile/.*, testrealhumans\.pickle"):
        read(tmp_path)
    table = tmp_path / "testrealhumans.pickle"
    with pytest.raises(GazeError, match=r"all hold 0\.png"):
        read(tmp_path, table=table)
    (sample,), _ = read(tmp_path, table=table, folder=tmp_path / "more/test")
    assert sample.image_name == "more/test/0.png"


def test_the_sparse_test_set_has_its_own_pictures_under_the_same_names(write, tmp_path):
    write([record()])
    write([record()], table="testrealhumansSparsed.pickle", folder="finalrealdatasetImgsV2Sparsed")
    assert "Sparsed" not in read(tmp_path)[0][0].image_name
    samples, _ = read(tmp_path, table=tmp_path / "testrealhumansSparsed.pickle")
    assert samples[0].image_name.startswith("finalrealdatasetImgsV2Sparsed/")
