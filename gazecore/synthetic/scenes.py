"""Made rooms with people and candidate objects: planned as pure geometry first, drawn afterwards.

Seen from every head, the objects lie in clearly different directions, no other head hides among them, and at least one
direction leads out of the picture past all of them: a head's facing is enough to know what its person looks at, and
nothing else gives it away. Still pictures draw a scene once; video draws its room once and its people per frame.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from gazecore.synthetic.objects import COLOURS, KINDS, SceneObject, draw_object
from gazecore.synthetic.people import Colour, Facing, Look, Person, draw_person, random_look

SEPARATION_DEG = 26.0  # between two objects, or an object and a way out, as seen from any head
HEAD_CLEARANCE_DEG = 14.0  # between another head and an object or a way out
HEAD_SHARE = (0.15, 0.19)  # height of the head box over the scene's shorter side
OBJECT_SHARE = (0.05, 0.072)  # half size of an object over the shorter side
_WAYS_OUT, _POOL, _PICKS, _ATTEMPTS = 72, 128, 12, 1000

WALLS: tuple[Colour, ...] = ((240, 231, 216), (220, 231, 233), (231, 222, 231), (227, 235, 220), (244, 227, 212))
FLOORS: tuple[Colour, ...] = ((194, 159, 126), (179, 164, 150), (164, 170, 174), (205, 179, 146), (181, 153, 142))
WALL_PATTERNS, FLOOR_PATTERNS = ("plain", "stripes", "panels"), ("planks", "tiles", "carpet")


@dataclass(frozen=True)
class Backdrop:
    """An empty room: its colours and patterns, where the floor begins, where the light falls, its texture's seed."""

    wall: Colour
    floor: Colour
    wall_pattern: str
    floor_pattern: str
    horizon_px: float
    light_px: tuple[float, float]
    texture: int


@dataclass(frozen=True)
class Scene:
    """A planned room of width x height pixels. Nothing in it depends on where anybody looks."""

    width: int
    height: int
    backdrop: Backdrop
    objects: tuple[SceneObject, ...]
    people: tuple[Person, ...]
    ways_out_deg: tuple[tuple[float, ...], ...]  # per person: directions that leave the picture and meet nothing


def plan_scene(
    rng: np.random.Generator, width: int, height: int, people: int, objects: int, separation_deg: float = SEPARATION_DEG
) -> Scene:
    """A room with the given numbers of people and objects, their places spread over the whole picture.

    Seen from every head, objects are at least `separation_deg` apart from each other and from the ways out, and
    HEAD_CLEARANCE_DEG from other heads. Directions are measured clockwise from the x axis, in pixels.
    Raises ValueError where that many cannot be placed.
    """
    backdrop = _plan_backdrop(rng, width, height)
    looks = [random_look(rng) for _ in range(people)]
    for _ in range(_ATTEMPTS):
        persons = _place_people(rng, width, height, looks)
        if persons is None:
            continue
        things = _place_objects(rng, width, height, objects, persons, backdrop.horizon_px, separation_deg)
        if things is None:
            continue
        ways_out = [_ways_out(rng, person, persons, things, width, height, separation_deg) for person in persons]
        if all(ways_out):
            return Scene(width, height, backdrop, tuple(things), tuple(persons), tuple(ways_out))
    raise ValueError(
        f"{people} people and {objects} objects {separation_deg} degrees apart do not fit into a scene: ask for fewer"
    )


def draw_room(scene: Scene) -> np.ndarray:
    """The room with its objects, without people: (h, w, 3), uint8."""
    canvas = _draw_backdrop(scene.width, scene.height, scene.backdrop)
    for thing in sorted(scene.objects, key=lambda thing: (not thing.on_shelf, thing.y_px)):
        draw_object(canvas, thing)
    return canvas


def draw_scene(scene: Scene, facings: Iterable[Facing]) -> np.ndarray:
    """The room with its objects and its people, one facing per person: (h, w, 3), uint8."""
    canvas = draw_room(scene)
    draw_people(canvas, scene.people, facings)
    return canvas


def draw_people(canvas: np.ndarray, people: Iterable[Person], facings: Iterable[Facing]) -> None:
    """People into a drawn room (h, w, 3), uint8, in place; who stands farther down stands nearer to the camera."""
    for person, facing in sorted(zip(people, facings, strict=True), key=lambda pair: pair[0].y_px):
        draw_person(canvas, person, facing)


def _plan_backdrop(rng: np.random.Generator, width: int, height: int) -> Backdrop:
    return Backdrop(
        wall=WALLS[rng.integers(len(WALLS))],
        floor=FLOORS[rng.integers(len(FLOORS))],
        wall_pattern=WALL_PATTERNS[rng.integers(len(WALL_PATTERNS))],
        floor_pattern=FLOOR_PATTERNS[rng.integers(len(FLOOR_PATTERNS))],
        horizon_px=float(round(rng.uniform(0.3, 0.42) * height)),
        light_px=(round(rng.uniform(0, width), 1), round(rng.uniform(0, 0.5 * height), 1)),
        texture=int(rng.integers(2**31)),
    )


def _place_people(rng: np.random.Generator, width: int, height: int, looks: list[Look]) -> list[Person] | None:
    """People whose heads and bodies do not hide each other; None where chance put them badly."""
    persons: list[Person] = []
    for look in looks:
        radius = rng.uniform(*HEAD_SHARE) * min(width, height) / 2.3  # the head box is 2.3 radii high
        for _ in range(20):
            x = rng.uniform(1.35 * radius, width - 1.35 * radius)
            y = rng.uniform(1.35 * radius, height - 1.35 * radius)
            person = Person(round(x, 2), round(y, 2), round(radius, 2), look)
            if not any(_overlap(person.box_px, other.box_px) for other in persons):
                persons.append(person)
                break
        else:
            return None
    return persons


def _place_objects(
    rng: np.random.Generator,
    width: int,
    height: int,
    count: int,
    persons: list[Person],
    horizon_px: float,
    separation_deg: float,
) -> list[SceneObject] | None:
    """Objects at random places, any two of them apart in space and as seen from every head; None where none fit.

    A pool of places is thrown once; objects are then picked one after the other among the places that go with all
    places picked before.
    """
    half = np.round(rng.uniform(*OBJECT_SHARE, size=_POOL) * min(width, height), 2)
    places = rng.uniform(size=(_POOL, 2)) * np.stack([width - 2.9 * half, height - 2.55 * half], axis=-1)
    places = np.round(places + np.stack([1.45 * half, 1.2 * half], axis=-1), 2)

    free = np.ones(_POOL, bool)
    for person in persons:
        x_min, y_min, x_max, y_max = person.box_px
        reach = 1.35 * half  # shelf or shadow included
        x, y = places[:, 0], places[:, 1]
        free &= (x + reach < x_min) | (x - reach > x_max) | (y + reach < y_min) | (y - reach > y_max)
        free &= _clear(_directions(person, places), _directions(person, _centres(persons)), HEAD_CLEARANCE_DEG)
    places, half = places[free], half[free]

    offset = np.maximum(*np.abs(places.T[:, :, None] - places.T[:, None, :]))
    apart = offset > 1.35 * (half[:, None] + half[None])  # (k, k)
    for person in persons:
        towards = _directions(person, places)
        apart &= _cosines(towards, towards) < math.cos(math.radians(separation_deg))
    picked = _pick(rng, apart, count)
    if picked is None:
        return None

    names = list(KINDS)
    things = []
    for index in picked:
        x_px, y_px, half_px = float(places[index, 0]), float(places[index, 1]), float(half[index])
        kind, colour = names[rng.integers(len(names))], COLOURS[rng.integers(len(COLOURS))]
        things.append(SceneObject(kind, x_px, y_px, half_px, colour, on_shelf=y_px + half_px < horizon_px + 2))
    return things


def _pick(rng: np.random.Generator, compatible: np.ndarray, count: int) -> list[int] | None:
    """`count` indices of which any two are compatible (k, k), by chance; None where a few tries find none."""
    for _ in range(_PICKS):
        left = np.arange(len(compatible))
        picked: list[int] = []
        while len(left) and len(picked) < count:
            picked.append(int(left[rng.integers(len(left))]))
            left = left[compatible[picked[-1], left]]
        if len(picked) == count:
            return picked
    return None


def _ways_out(
    rng: np.random.Generator,
    person: Person,
    persons: list[Person],
    things: list[SceneObject],
    width: int,
    height: int,
    separation_deg: float,
) -> tuple[float, ...]:
    """Directions in degrees that leave the picture soon and pass every object and every other head by."""
    angles_deg = np.round(360 / _WAYS_OUT * (np.arange(_WAYS_OUT) + rng.random()), 3)
    rays = np.stack([np.cos(np.radians(angles_deg)), np.sin(np.radians(angles_deg))], axis=-1)
    clear = _clear(rays, _directions(person, _centres(things)), separation_deg)
    clear &= _clear(rays, _directions(person, _centres(persons)), HEAD_CLEARANCE_DEG)
    head = np.array([person.x_px, person.y_px])
    edge = np.where(rays > 0, (width, height) - head, head)
    distance = np.min(edge / np.maximum(np.abs(rays), 1e-9), axis=-1)
    clear &= distance < 0.4 * max(width, height)
    return tuple(float(angle) for angle in angles_deg[clear])


def _centres(placed: Sequence[Person] | Sequence[SceneObject]) -> np.ndarray:
    return np.array([(one.x_px, one.y_px) for one in placed])


def _directions(person: Person, points: np.ndarray) -> np.ndarray:
    """Unit vectors (k, 2) from a head to points (k, 2); to the head itself 0, 0, which is near no direction."""
    x, y = points[:, 0] - person.x_px, points[:, 1] - person.y_px
    length = np.maximum(np.sqrt(x * x + y * y), 1e-9)
    return np.stack([x / length, y / length], axis=-1)


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosines (k, m) between unit vectors (k, 2) and (m, 2)."""
    return first[:, None, 0] * second[None, :, 0] + first[:, None, 1] * second[None, :, 1]


def _clear(first: np.ndarray, second: np.ndarray, degrees: float) -> np.ndarray:
    """Which of the unit vectors `first` (k, 2) keep at least so many degrees from all of `second` (m, 2): (k,)."""
    return np.max(_cosines(first, second), axis=1) < math.cos(math.radians(degrees))


def _overlap(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _draw_backdrop(width: int, height: int, backdrop: Backdrop) -> np.ndarray:
    """Wall and floor with their patterns, a soft light and a faint cloudy texture: (h, w, 3), uint8."""
    horizon = int(backdrop.horizon_px)
    image = Image.new("RGB", (width, height), backdrop.wall)
    draw = ImageDraw.Draw(image)
    _draw_wall(draw, width, horizon, backdrop)
    draw.rectangle((0, horizon, width, height), backdrop.floor)
    _draw_floor(draw, width, height, horizon, backdrop)
    draw.rectangle((0, horizon - 5, width, horizon), _shift(backdrop.wall, 14))
    draw.line([(0, horizon + 1), (width, horizon + 1)], _shift(backdrop.floor, -34))

    rng = np.random.Generator(np.random.PCG64(backdrop.texture))
    clouds = Image.fromarray(rng.integers(0, 256, (7, 9), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    x = (np.arange(width, dtype=np.float32) - np.float32(backdrop.light_px[0])) / np.float32(width)
    y = (np.arange(height, dtype=np.float32) - np.float32(backdrop.light_px[1])) / np.float32(height)
    light = (x * x * np.float32(-0.15))[None] + (np.float32(0.94) - np.float32(0.15) * y * y)[:, None]
    light += np.asarray(clouds) * np.float32(0.06 / 255)
    shade = Image.fromarray((light * np.float32(255) + np.float32(0.5)).astype(np.uint8))
    return np.array(ImageChops.multiply(image, Image.merge("RGB", (shade, shade, shade))))


def _draw_wall(draw: ImageDraw.ImageDraw, width: int, horizon: int, backdrop: Backdrop) -> None:
    darker = _shift(backdrop.wall, -7)
    if backdrop.wall_pattern == "stripes":
        for x in range(backdrop.texture % 24 - 24, width, 24):
            draw.rectangle((x, 0, x + 11, horizon), darker)
    if backdrop.wall_pattern == "panels":
        top = horizon * 3 // 5
        draw.rectangle((0, top, width, horizon), darker)
        draw.line([(0, top), (width, top)], _shift(backdrop.wall, 12), 2)
        for x in range(backdrop.texture % 40 - 40, width, 40):
            draw.rectangle((x, top + 5, x + 32, horizon - 9), outline=_shift(backdrop.wall, -16))


def _draw_floor(draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int, backdrop: Backdrop) -> None:
    """Lines that run to a vanishing point above the picture; tiles also get cross lines, the carpet a border."""
    line = _shift(backdrop.floor, -12)
    centre, vanishing = width / 2, horizon - 1.2 * height
    if backdrop.floor_pattern == "carpet":
        draw.rectangle((0, horizon + 8, width, horizon + 11), _shift(backdrop.floor, 12))
        draw.rectangle((0, horizon + 14, width, horizon + 15), _shift(backdrop.floor, 12))
        return
    step = width / (13 if backdrop.floor_pattern == "planks" else 9)
    for index in range(-12, 13):
        x = centre + (index + 0.37) * step
        spread = (height - vanishing) / (horizon - vanishing)
        draw.line([(x, horizon), (centre + (x - centre) * spread, height)], line)
    if backdrop.floor_pattern == "tiles":
        y, gap = float(horizon), 0.05 * height
        while y < height:
            draw.line([(0, y), (width, y)], line)
            y, gap = y + gap, 1.14 * gap


def _shift(colour: Colour, by: int) -> Colour:
    red, green, blue = (max(0, min(255, value + by)) for value in colour)
    return (red, green, blue)
