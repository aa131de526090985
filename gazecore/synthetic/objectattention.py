"""A made ObjectAttention: one person in front of a robot looks at each of several objects, standing almost still.

make writes the prepared layout:
  ROOT/annotations/SPLIT/SESSION/SETTING/S11.txt      frame, x_min, y_min, x_max, y_max of the head, gaze x, y; pixels
  ROOT/images/SESSION/SETTING/FRAME.ppm

make_raw writes what comes from the robot and from labelImg:
  ROOT/SESSION/SETTING/TARGET/rgb/NUMBER.ppm          the frames of one recording, numbered from anywhere
  ROOT/SESSION/SETTING/NUMBER.xml                     one annotated frame: the head and all objects, in any order; or
  ROOT/SESSION/SETTING/TARGET/{head,objects}/NUMBER.xml   the head in one file and the objects in another

A session is a participant, a setting an arrangement of objects, named after them; the target of a recording is the
object that its folder is called after. The tables differ as the original ones do
(shivahanifi/visual-targets:VTD_retrain/src): with the header, separated by spaces, over rows separated by commas and
frames of 8 digits; without header, with frames of 5 digits and `None` for a head that was not found; and with `.json`
behind the frames.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from gazecore.errors import USAGE, GazeError
from gazecore.synthetic.people import Person, facing_towards
from gazecore.synthetic.scenes import Scene, draw_people, draw_room, plan_scene
from gazecore.synthetic.videoattentiontarget import clip_rng

OBJECTS = ("pringles", "masterchef", "sugarbox", "bleach", "mustard")
USUAL = 6  # settings
SIZE = (256, 192)
RECORDING = (5, 9)  # frames that look at one object: from 5 to 8
HEADER = "frame x_min y_min x_max y_max gaze_x gaze_y"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
MARKS = "<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"


@dataclass(frozen=True)
class Setting:
    """One arrangement of objects before one person.

    session, name  folders: whose, and the objects by name, as arranged
    names          name of each object of the scene
    places         (frames, 2) of each recording: how far the person has swayed, pixels
    """

    session: str
    name: str
    scene: Scene
    names: tuple[str, ...]
    places: tuple[np.ndarray, ...]

    @property
    def head_box_px(self) -> tuple[int, ...]:
        """The head as annotated on one frame; for all of them."""
        return _pixels(self.scene.people[0].head_box_px)

    def object_box_px(self, index: int) -> tuple[int, ...]:
        """The box of one object as annotated."""
        return _pixels(self.scene.objects[index].box_px)


def make(root: Path, n: int = USUAL, seed: int = 0) -> Counter[str]:
    """Write n settings in the prepared layout, a quarter of them test, at least one each; 5 to 8 frames per object.

    Returns the numbers of settings per split, of frames, and of rows whose head box is `None`. Raises GazeError for n
    below 2.
    """
    if n < 2:
        raise GazeError(f"a made ObjectAttention of {n} settings: at least 2 are needed, 1 train and 1 test", USAGE)
    counts: Counter[str] = Counter()
    test = max(1, round(n / 4))
    for index in range(n):
        setting = plan_setting(seed, index)
        split = "train" if index < n - test else "test"
        folder = root / "images" / setting.session / setting.name
        folder.mkdir(parents=True, exist_ok=True)
        digits, ending = ((8, ""), (5, ""), (5, ".json"))[index % 3]
        rows: list[str] = []
        for target, canvas in _frames(setting):
            frame = f"{len(rows):0{digits}d}"
            Image.fromarray(canvas).save(folder / f"{frame}.ppm")
            lost = digits == 5 and len(rows) == 3
            box = ("None",) * 4 if lost else setting.head_box_px
            rows.append(", ".join(map(str, (frame + ending, *box, *_centre(setting.object_box_px(target))))))
            counts["head boxes None"] += lost
        folder = root / "annotations" / split / setting.session / setting.name
        table = folder / ("S11.txt" if digits == 8 else "S01.txt")
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("\n".join([HEADER] * (digits == 8) + rows) + "\n")
        counts[f"{split}_settings"] += 1
        counts["frames"] += len(rows)
    return counts


def make_raw(root: Path, n: int = USUAL, seed: int = 0) -> Counter[str]:
    """Write n settings as recorded, with one annotated frame each; of every second setting one per recording.

    Returns the numbers of settings, recordings, frames and XML files.
    """
    counts: Counter[str] = Counter()
    for index in range(n):
        setting = plan_setting(seed, index)
        folder = root / setting.session / setting.name
        apart = index % 2 == 1
        everything = [("head", setting.head_box_px)]
        everything += [(name, setting.object_box_px(i)) for i, name in enumerate(setting.names)]
        number, last = 37 * index, -1
        for target, canvas in _frames(setting):
            recording = folder / setting.names[target]
            frame = recording / "rgb" / f"{number:08d}.ppm"
            frame.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(canvas).save(frame)
            if target != last and apart:
                _write_xml(recording / "head" / f"{number:08d}.xml", everything[:1], counts)
                _write_xml(recording / "objects" / f"{number:08d}.xml", everything[1:], counts)
            elif last == -1:
                _write_xml(folder / f"{number:08d}.xml", everything[::-1], counts)
            counts["recordings"] += target != last
            counts["frames"] += 1
            number, last = number + 1 + (number % 5 == 0), target  # recorders drop frames
        counts["settings"] += 1
    return counts


def plan_setting(seed: int, index: int) -> Setting:
    """Everything about one setting before it is drawn; depends on nothing but its arguments."""
    rng = clip_rng(seed, 40, index)
    count = int(rng.integers(3, 6))
    scene = plan_scene(rng, *SIZE, people=1, objects=count)
    names = tuple(OBJECTS[i] for i in rng.permutation(len(OBJECTS))[:count])
    places = tuple(np.cumsum(rng.uniform(-0.4, 0.4, size=(int(rng.integers(*RECORDING)), 2)), axis=0) for _ in names)
    session = f"participant_{index // 2 + 1}"  # each brings two settings
    return Setting(session, "-".join(names) + f"_{index % 2 + 1}", scene, names, places)


def _frames(setting: Setting) -> Iterator[tuple[int, np.ndarray]]:
    """Target and picture (h, w, 3), uint8, of every frame, recording after recording."""
    room = draw_room(setting.scene)
    person: Person = setting.scene.people[0]
    for target, places in enumerate(setting.places):
        x, y = _centre(setting.object_box_px(target))
        for dx, dy in places:
            place = replace(person, x_px=round(person.x_px + float(dx), 2), y_px=round(person.y_px + float(dy), 2))
            canvas = room.copy()
            draw_people(canvas, [place], [facing_towards(x - place.x_px, y - place.y_px, 0.3)])
            yield target, canvas


def _write_xml(path: Path, objects: list[tuple[str, tuple[int, ...]]], counts: Counter[str]) -> None:
    """A file as labelImg writes it, in Pascal VOC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = path.with_suffix(".ppm").name
    lines = [
        "<annotation>",
        "\t<folder>rgb</folder>",
        f"\t<filename>{frame}</filename>",
        f"\t<path>/rgb/{frame}</path>",
    ]
    lines.append("\t<source><database>Unknown</database></source>")
    lines.append(f"\t<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>")
    lines.append("\t<segmented>0</segmented>")
    lines += [f"\t<object><name>{name}</name>{MARKS}{BOX.format(*box)}</object>" for name, box in objects]
    path.write_text("\n".join([*lines, "</annotation>"]) + "\n")
    counts["xml_files"] += 1


def _pixels(box_px: tuple[float, ...]) -> tuple[int, ...]:
    """Whole pixels inside the picture, as labelImg draws boxes."""
    return tuple(min(max(round(edge), 0), SIZE[i % 2]) for i, edge in enumerate(box_px))


def _centre(box_px: tuple[int, ...]) -> tuple[float, float]:
    return (box_px[0] + box_px[2]) / 2, (box_px[1] + box_px[3]) / 2
