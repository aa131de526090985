import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazecore import images, video
from gazecore.errors import USAGE, GazeError
from gazecore.prep import videos

HEADER = "frame,x_min,y_min,x_max,y_max"
LEFT, RIGHT = [10.0, 20.0, 50.0, 70.0], [80.0, 20.0, 120.0, 70.0]


def film(path: Path, frames: int = 10, still: bool = False) -> Path:
    with video.Writer(path) as writer:
        for number in range(frames):
            writer.add(np.full((120, 160, 3), 100 if still else 20 * number, np.uint8), number / 10)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """10 frames of 160 x 120 at 10 a second, frame i of grey 20 i."""
    return film(tmp_path / "clip.mp4")


def read(clip: Path | list[Path], text: object, name: str = "boxes.csv", **options):
    clips = clip if isinstance(clip, list) else [clip]
    path = clips[0].parent / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    counts: Counter[str] = Counter()
    return list(videos.read(clips, [path], counts, **options)), counts


def rows(*numbered: tuple[int | str, list[float]], header: str = HEADER) -> str:
    return "\n".join([header, *(",".join(map(str, (frame, *box))) for frame, box in numbered)])


def test_every_head_becomes_a_sample_with_its_frame_its_time_and_its_clip(clip):
    samples, counts = read(clip, rows((2, LEFT), (2, RIGHT), (7, LEFT)))
    assert [sample.sample_id for sample in samples] == [
        "clip.mp4/000002#p1",
        "clip.mp4/000002#p2",
        "clip.mp4/000007#p1",
    ]
    assert [(sample.clip, sample.track_id, sample.frame) for sample in samples] == [
        ("clip.mp4", "p1", 2),
        ("clip.mp4", "p2", 2),
        ("clip.mp4", "p1", 7),
    ]
    assert [sample.time_s for sample in samples] == pytest.approx([0.2, 0.2, 0.7])
    assert [sample.head_box_px.tolist() for sample in samples] == [LEFT, RIGHT, LEFT]
    for sample in samples:
        scene = images.load(sample.image)
        assert scene.shape == (120, 160, 3) and sample.image_size == (160, 120)
        assert abs(scene.mean() - 20 * sample.frame) < 3
        assert np.isnan(sample.gaze_targets).all() and np.isnan(sample.in_frame)
    assert samples[0].image is samples[1].image
    assert counts == {"frames with a head": 2, "frames without a head": 8}


def test_frames_that_look_alike_stay_different_scenes(tmp_path):
    samples, _ = read(film(tmp_path / "still.mp4", still=True), rows((1, LEFT), (2, LEFT)))
    assert samples[0].image != samples[1].image
    with Image.open(io.BytesIO(samples[1].image)) as picture:
        assert picture.info["comment"] == b"still.mp4/000002"


@pytest.mark.parametrize(
    "name, text",
    [
        ("b.csv", rows((0, ["ann", *LEFT]), (0, ["ben", *RIGHT]), header="frame,person,x_min,y_min,x_max,y_max")),
        ("b.csv", rows(("f_0000.png", ["ann", *LEFT]), ("f_0000.png", ["ben", *RIGHT]),
                       header="image,track,left,top,right,bottom")),
        ("b.csv", rows(("out/clip-3_000000.jpg", [*LEFT, "ann"]), ("0.0", [*RIGHT, "ben"]),
                       header="frame,left,top,right,bottom,track_id")),
        ("b.json", [{"frame": 0, "bbox": [10, 20, 40, 50], "track_id": "ann"},
                    {"image": "00000000.jpg", "bbox": [80, 20, 40, 50], "person": "ben"}]),
    ],
)  # fmt: skip
def test_boxes_of_any_detector_name_frames_and_people(clip, name, text):
    samples, _ = read(clip, text, name)
    assert [sample.sample_id for sample in samples] == ["clip.mp4/000000#ann", "clip.mp4/000000#ben"]
    assert [sample.track_id for sample in samples] == ["ann", "ben"]
    assert [sample.head_box_px.tolist() for sample in samples] == [LEFT, RIGHT]


def test_demo_files_of_one_person_each_fit_a_video_too(clip):
    for person, box in (("person1", LEFT), ("person2", RIGHT)):
        (clip.parent / f"{person}.txt").write_text(f"00000003.jpg,{','.join(map(str, box))}\n")
    counts: Counter[str] = Counter()
    samples = list(videos.read([clip], [clip.parent / "person1.txt", clip.parent / "person2.txt"], counts))
    assert [(sample.track_id, sample.frame) for sample in samples] == [("person1", 3), ("person2", 3)]


def test_nameless_heads_are_followed_through_frames_that_are_left_out(clip):
    moving = [(number, [10.0 + 12 * number, 20, 50 + 12 * number, 70]) for number in range(10)]
    samples, counts = read(clip, rows(*moving), fps=2)
    assert [(sample.frame, sample.track_id) for sample in samples] == [(0, "p1"), (5, "p1")]
    assert counts == {"frames with a head": 2}


def test_frames_without_a_head_are_counted_and_kept_on_request(clip):
    samples, _ = read(clip, rows((2, LEFT)), allow_missing=True)
    assert [sample.frame for sample in samples] == list(range(10))
    assert [np.isnan(sample.head_box_px).any() for sample in samples] == [number != 2 for number in range(10)]
    assert samples[0].sample_id == "clip.mp4/000000#0" and samples[0].track_id == ""


def test_boxes_are_repaired_and_counted(clip):
    samples, counts = read(clip, rows((0, [50, 20, 10, 70]), (1, [-5, 20, 50, 70]), (2, [300, 20, 310, 70])))
    assert [sample.head_box_px.tolist() for sample in samples] == [LEFT, [0, 20, 50, 70]]
    assert [sample.track_id for sample in samples] == ["p1", "p1"]
    assert counts["repaired: swapped box"] == counts["repaired: box clipped to the image"] == 1
    assert counts["dropped: box without area"] == 1 and counts["frames with a head"] == 2


def test_boxes_behind_the_end_are_counted(clip):
    _, counts = read(clip, rows((9, LEFT), (10, LEFT), (11, LEFT)))
    assert counts["ignored: box of a frame that the video does not have"] == 2


def test_boxes_of_several_videos_name_theirs_or_their_file_does(tmp_path):
    clips = [film(tmp_path / "one.mp4"), film(tmp_path / "two.mov.mp4")]
    for text, name in (
        (rows(("one.mp4/1", LEFT), ("two.mov/00002.jpg", RIGHT)), "all.csv"),
        (rows(("one/1", LEFT), ("two.mov.mp4/2", RIGHT)), "all.csv"),
    ):
        samples, _ = read(clips, text, name)
        assert [(sample.clip, sample.frame) for sample in samples] == [("one.mp4", 1), ("two.mov.mp4", 2)]
    (tmp_path / "one.csv").write_text(rows((1, LEFT)))
    (tmp_path / "two.mov.csv").write_text(rows((2, RIGHT)))
    samples = list(videos.read(clips, [tmp_path / "one.csv", tmp_path / "two.mov.csv"], Counter()))
    assert [(sample.clip, sample.frame) for sample in samples] == [("one.mp4", 1), ("two.mov.mp4", 2)]
    with pytest.raises(GazeError, match=r"mixed\.csv: \"1\" is of which video\? Write CLIP/FRAME"):
        read(clips, rows((1, LEFT)), "mixed.csv")


@pytest.mark.parametrize(
    "text, message",
    [
        (rows(("first", LEFT)), '"first" does not end in the number of a frame'),
        (rows((0, ["a", *LEFT]), (0, ["a", *RIGHT]), header=f"frame,person,{HEADER[6:]}"), 'two boxes of person "a"'),
        (rows((0, [0.1, 0.2, 0.3, 0.4])), "normalised"),
        (rows((50, LEFT)), "no frame of .* has a head box: check the frame numbers"),
    ],
)
def test_wrong_boxes_are_named(clip, text, message):
    with pytest.raises(GazeError, match=message):
        read(clip, text)


def test_a_broken_video_is_named_and_wrong_boxes_before_it_is_opened(tmp_path):
    (tmp_path / "broken.mp4").write_text("nothing")
    with pytest.raises(GazeError, match=r"broken\.mp4 is not a video"):
        read(tmp_path / "broken.mp4", rows((0, LEFT)))
    with pytest.raises(GazeError, match="does not end in the number"):
        read(tmp_path / "broken.mp4", rows(("x", LEFT)))


def test_videos_are_told_from_photos(clip, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "films").mkdir()
    film(tmp_path / "films" / "b.MOV.mp4", 1)
    assert videos.find([clip, tmp_path / "films"]) == [clip, tmp_path / "films" / "b.MOV.mp4"]
    assert videos.find([tmp_path / "a.png"]) == videos.find([tmp_path]) == []
    with pytest.raises(GazeError, match="prepare them apart") as raised:
        videos.find([clip, tmp_path / "a.png"])
    assert raised.value.code == USAGE


def test_faces_are_looked_for_in_the_frames_that_are_taken(tmp_path):
    pytest.importorskip("cv2")
    skimage = pytest.importorskip("skimage")
    astronaut = images.load(Path(skimage.__file__).parent / "data" / "astronaut.png")
    with video.Writer(tmp_path / "astronaut.mp4") as writer:
        for number in range(8):
            writer.add(np.roll(astronaut, 2 * number, axis=1), number / 8)
    counts: Counter[str] = Counter()
    samples = list(videos.read([tmp_path / "astronaut.mp4"], None, counts, fps=2))
    assert [(sample.frame, sample.track_id) for sample in samples] == [(0, "p1"), (4, "p1")]
    for sample in samples:
        x_min, y_min, x_max, y_max = sample.head_box_px - 2 * sample.frame * np.array([1, 0, 1, 0])
        assert x_min < 205 < 245 < x_max and y_min < 60 and 150 < y_max < 220  # eyes at 205 and 245, chin at 160
