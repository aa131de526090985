from pathlib import Path

import numpy as np
import pytest

from gazecore import artifacts, heatmaps, images, video
from gazecore.errors import EXISTS, GazeError
from gazecore.synthetic.people import facing_towards
from gazecore.synthetic.scenes import draw_people, draw_room, plan_scene
from gazecore.visualize import overlay
from gazecore.visualize.panels import PEOPLE

SIZE = (320, 240)


def person(**known) -> overlay.Person:
    defaults = {
        "head_box": np.array([0.1, 0.1, 0.3, 0.4]),
        "heatmap": None,
        "gaze_point": None,
        "gaze_targets": np.full((1, 2), np.nan),
        "in_frame_score": None,
        "number": 0,
        "name": "",
        "looks_at": "",
    }
    return overlay.Person(**(defaults | known))


def drawn(*people: overlay.Person, background: int = 128) -> np.ndarray:
    return np.asarray(overlay.draw(np.full((240, 320, 3), background, np.uint8), people, 1.5)).astype(int)


def close(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel - colour).max() < 40)


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tracks of a made room, one stored behind the other; heads turn to the other head, then to an object."""
    rng = np.random.Generator(np.random.PCG64(5))
    scene = plan_scene(rng, *SIZE, people=2, objects=3)
    room, size = draw_room(scene), np.array(SIZE)
    frames, targets = [], np.empty((2, 6, 2))
    for number in range(6):
        goals = [scene.people[1], scene.people[0]] if number < 3 else scene.objects[:2]
        facings = [
            facing_towards(goal.x_px - one.x_px, goal.y_px - one.y_px)
            for one, goal in zip(scene.people, goals, strict=True)
        ]
        targets[:, number] = [(goal.x_px, goal.y_px) / size for goal in goals]
        canvas = room.copy()
        draw_people(canvas, scene.people, facings)
        frames.append(images.encode_jpeg(canvas) + bytes([number]))  # every frame is a scene of its own
    path = tmp_path_factory.mktemp("overlay") / "predictions.zarr"
    with artifacts.create(path, "gaze-predictions") as writer:
        writer.append(
            dim="image",
            image_name=[f"room/{number}.jpg" for number in range(6)],
            image_size_px=np.tile(np.array([SIZE], np.int32), (6, 1)),
            image_data=frames,
        )
        for track in range(2):
            writer.append(
                sample_id=[f"room/{number}#{track}" for number in range(6)],
                image_index=np.arange(6, dtype=np.int32),
                head_box_px=np.tile(scene.people[track].head_box_px, (6, 1)),
                gaze_targets=targets[track][:, None],
                in_frame=np.ones(6, np.float32),
                clip=["room"] * 6,
                track_id=[f"person{track}"] * 6,
                frame=np.arange(6.0),
                time_s=np.array([0.0, 0.1, 0.2, 0.5, 0.6, 0.7]) + 3,
                heatmap=heatmaps.gaussian(targets[track]).astype(np.float16),
                gaze_point=targets[track],
                in_frame_score=np.array([0.9, 0.9, 0.9, 0.2, 0.9, 0.9], np.float32),
                head_looked_at=[f"person{1 - track}"] * 3 + [""] * 3,
            )
    return path


def test_the_frames_of_a_clip_become_a_video_in_the_order_of_time(predictions, tmp_path):
    with artifacts.open(predictions) as artifact:
        written = overlay.write(artifact, tmp_path / "overlay.mp4")
        originals = [images.load(artifact.packed("image_data")[number]) for number in range(6)]
    assert written.frames == 6 and written.seconds == pytest.approx(0.7)
    frames = list(video.frames(tmp_path / "overlay.mp4"))
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.5, 0.6, 0.7])
    assert all(frame.size == SIZE for frame in frames)
    apart = np.array([[np.abs(f.image.astype(int) - o).mean() for o in originals] for f in frames])
    assert (apart.argmin(axis=1) // 3 == np.arange(6) // 3).all()  # the room itself, everywhere else than the marks


def test_everybody_has_a_colour_of_their_own_around_the_head(predictions):
    with artifacts.open(predictions) as artifact:
        (_, _, people), *_ = overlay._moments(artifact, fps=25)
    assert [one.label for one in people] == ["person0 → person1, in 0.90", "person1 → person0, in 0.90"]
    picture = drawn(*people)
    for one in people:
        left, _, _, bottom = (one.head_box * np.tile(SIZE, 2)).astype(int)
        edge = picture[bottom - 2 : bottom + 3, left + 12]
        assert any(close(pixel, PEOPLE[one.number]) for pixel in edge)


def test_heat_covers_the_gaze_point_and_leaves_the_rest_of_the_frame():
    heatmap = heatmaps.gaussian(np.array([0.75, 0.75]))
    picture = drawn(person(head_box=np.full(4, np.nan), heatmap=heatmap))
    assert np.abs(picture[184, 244] - 128).max() > 60
    assert np.abs(picture[:100] - 128).max() == 0


def test_the_point_is_a_disc_inside_the_frame_and_a_ring_without_arrow_outside():
    point = np.array([0.75, 0.75])
    inside, outside = (drawn(person(gaze_point=point, in_frame_score=score)) for score in (0.8, 0.3))
    assert close(inside[180, 240], PEOPLE[0]) and not close(outside[180, 240], PEOPLE[0])
    along = [inside[60 + 60, 64 + 88], outside[60 + 60, 64 + 88]]  # half way from the head's middle to the point
    assert np.abs(along[0] - 128).max() > 30 and (along[1] == 128).all()


def test_whoever_looks_out_of_the_frame_has_a_faint_heat_map():
    heatmap = heatmaps.gaussian(np.array([0.75, 0.75]))
    strong, weak = (
        drawn(person(head_box=np.full(4, np.nan), heatmap=heatmap, in_frame_score=score)) for score in (0.9, 0.1)
    )
    assert np.abs(weak[184, 244] - 128).max() < np.abs(strong[184, 244] - 128).max()


@pytest.mark.parametrize(
    "known, label",
    [
        ({"name": "ann", "in_frame_score": 0.93}, "ann, in 0.93"),
        ({"name": "ann", "looks_at": "ben", "in_frame_score": 0.93}, "ann → ben, in 0.93"),
        ({"name": "ann", "in_frame_score": 0.2}, "ann, out 0.20"),
        ({"name": "ann"}, "ann"),
        ({"in_frame_score": 0.5}, "in 0.50"),
        ({"in_frame_score": float("nan")}, ""),
    ],
)
def test_the_plate_says_who_it_is_and_how_surely_they_look_into_the_frame(known, label):
    assert person(**known).label == label


@pytest.mark.parametrize("box", [[-0.2, -0.1, 0.1, 0.2], [0.9, 0.9, 1.1, 1.2], [0.0, 0.0, 1.0, 1.0], [np.nan] * 4])
@pytest.mark.parametrize("point", [[0.0, 0.0], [1.0, 1.0], [1.4, -0.3], [np.nan, np.nan]])
def test_anything_may_lie_on_or_behind_the_border(box, point):
    one = person(
        head_box=np.array(box), gaze_point=np.array(point), name="a person with a long name", in_frame_score=0.9
    )
    assert drawn(one).shape == (240, 320, 3)
    assert drawn(one._replace(gaze_targets=np.array([point, [0.5, 0.5]]))).shape == (240, 320, 3)


def test_frame_numbers_and_a_rate_stand_in_for_times(predictions, tmp_path):
    with artifacts.open(predictions) as artifact:
        artifact.variables.pop("time_s")
        written = overlay.write(artifact, tmp_path / "o.mp4", limit=4, fps=2)
    assert written.frames == 4 and written.seconds == pytest.approx(1.5)


def test_photos_are_refused_and_other_ways_named(predictions, tmp_path):
    with artifacts.open(predictions) as artifact:
        artifact.variables.pop("clip")
        with pytest.raises(GazeError, match=r"holds photos; .* -o report\.html, or prepare a video"):
            overlay.write(artifact, tmp_path / "o.mp4")
    assert not list(tmp_path.iterdir())


def test_several_clips_frames_without_order_and_other_kinds_are_refused(predictions):
    class Clips:
        def whole(self):
            return np.array(["one", "two"])

    with artifacts.open(predictions) as artifact:
        clip = artifact.variables["clip"]
        artifact.variables["clip"] = Clips()
        with pytest.raises(GazeError, match=r"holds 2 clips \(one, two\).* --where 'clip == \"one\"'"):
            overlay.check(artifact)
        artifact.variables["clip"] = clip
        del artifact.variables["time_s"], artifact.variables["frame"]
        with pytest.raises(GazeError, match="their order is not known"):
            overlay.check(artifact)
        artifact.kind = "heatmaps"
        with pytest.raises(GazeError, match='holds "heatmaps"'):
            overlay.check(artifact)


def test_a_video_that_is_there_stays_and_a_second_input_gets_its_own(tmp_path):
    out = tmp_path / "o.mp4"
    assert overlay.target(out, 0, False) == out and overlay.target(out, 1, False).name == "o-2.mp4"
    out.touch()
    assert overlay.target(out, 0, True) == out
    with pytest.raises(GazeError, match="--overwrite") as raised:
        overlay.target(out, 0, False)
    assert raised.value.code == EXISTS
