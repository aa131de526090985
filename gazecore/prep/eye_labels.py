"""What the values of a mask mean, and whether that can be true of an eye."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import numpy as np
import yaml

from gazecore.errors import NO_INPUT, USAGE, GazeError
from gazecore.records import LABELS

BACKGROUND, IRIS, PUPIL, SCLERA = range(4)
KNOWN = {
    "gz": {0: BACKGROUND, 1: IRIS, 2: PUPIL, 3: SCLERA},
    "openeds": {0: BACKGROUND, 1: SCLERA, 2: IRIS, 3: PUPIL},  # and RITnet's, EllSeg's
}
UNKNOWN = 255
LARGEST = 1 << 16
LEAST_CONTACTS = 50  # pairs of neighbouring pixels at the pupil's edge, below which nothing can be said
SUSPICIOUS, CONVINCING = 0.5, 0.8  # share of the pupil's edge at which the iris lies


@dataclass(frozen=True)
class LabelMap:
    """name, and the place in records.LABELS of each value that a mask may hold."""

    name: str
    values: Mapping[int, int]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(f'{value} {LABELS[label]}' for value, label in sorted(self.values.items()))})"

    def apply(self, mask: np.ndarray, path: Path) -> np.ndarray:
        """(h, w) of any whole numbers -> (h, w) uint8 places in LABELS. Error: values that the map does not know."""
        table = np.full(max(self.values) + 2, UNKNOWN, np.uint8)
        table[list(self.values)] = list(self.values.values())
        labels = table[np.where(mask < 0, len(table) - 1, np.minimum(mask, len(table) - 1))]
        unknown = labels == UNKNOWN
        if unknown.any():
            values = np.unique(mask[unknown])
            listed = ", ".join(map(str, values[:8].tolist())) + (", ..." if len(values) > 8 else "")
            raise GazeError(f"{path} holds {listed}; the label map {self} does not say what that is")
        return labels


def label_map(source: str) -> LabelMap:
    """A map by its name, gz or openeds, or from a YAML or JSON file: `value: name` lines with the names of LABELS.

    Errors: neither; a file of another form; a name that is not one of LABELS.
    """
    if source in KNOWN:
        return LabelMap(source, KNOWN[source])
    path = Path(source)
    if not path.is_file():
        raise GazeError(f"--label-map {source}: neither {' nor '.join(KNOWN)} nor a file", NO_INPUT)
    try:
        text = path.read_text("utf-8")
        read = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise GazeError(f"{path} is neither YAML nor JSON: {error}") from error
    example = "expected lines such as `0: background`, `85: sclera`"
    if not isinstance(read, dict) or not read:
        raise GazeError(f"{path} holds no label map; {example}")
    values = {}
    for value, name in read.items():
        if not str(value).isdecimal() or int(value) >= LARGEST or name not in LABELS:
            raise GazeError(f"{path}: {value!r}: {name!r}; {example}, with the names {', '.join(LABELS)}", USAGE)
        values[int(value)] = LABELS.index(name)
    return LabelMap(path.name, values)


@dataclass
class Plausibility:
    """Whether a label map fits what lies beside what: the iris surrounds the pupil, so it lies at most of its edge.

    A permuted map is the likeliest mistake with masks, and trains without a word. Reading another way round is tried
    for every mask, so that the error can name the map that does fit.
    """

    label_map: LabelMap
    masks: int = 0
    contacts: np.ndarray = field(default_factory=lambda: np.zeros((4, 4), np.int64))
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(4, np.int64))

    def add(self, labels: np.ndarray) -> None:
        """Count a mask's (h, w) neighbouring pixels of different labels."""
        for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
            edge = one != other
            pairs = np.bincount(one[edge].astype(int) * 4 + other[edge], minlength=16).reshape(4, 4)
            self.contacts += pairs + pairs.T
        self.pixels += np.bincount(labels.ravel(), minlength=4)
        self.masks += 1

    def around(self, pupil: int = PUPIL, iris: int = IRIS) -> float:
        """Share of the pupil's edge at which the iris lies; NaN where there is too little edge to tell."""
        total = self.contacts[pupil].sum()
        return self.contacts[pupil, iris] / total if total >= LEAST_CONTACTS else np.nan

    def check(self) -> None:
        """GazeError when the map cannot be right and another one would be."""
        own = self.around()
        if np.isnan(own) or own >= SUSPICIOUS:
            return
        fitting = [order for order in permutations(range(4)) if order[0] == BACKGROUND and self._fits(order)]
        if not fitting:
            return
        labels = {label: LABELS[place] for place, label in enumerate(fitting[0])}
        turned = {value: LABELS.index(labels[label]) for value, label in self.label_map.values.items()}
        known = next((f"--label-map {name}" for name, values in KNOWN.items() if values == turned), "")
        right = known or f"a --label-map FILE with {LabelMap('', turned)}".replace(" (", " ").rstrip(")")
        raise GazeError(
            f"the label map {self.label_map} does not fit: of {self.masks} masks, only {own:.0%} of the pupil's edge "
            f"lies at the iris. With {right} it would be {self.around(fitting[0][PUPIL], fitting[0][IRIS]):.0%}"
        )

    def _fits(self, order: tuple[int, ...]) -> bool:
        """Whether, read as pupil and iris, labels order[PUPIL] and order[IRIS] lie so, and the pupil is not the larger
        one with the sclera inside."""
        pupil, iris, sclera = order[PUPIL], order[IRIS], order[SCLERA]
        apart = self.contacts[pupil, sclera] <= 0.05 * self.contacts[pupil].sum()
        return bool(self.around(pupil, iris) >= CONVINCING and apart)

    def lines(self) -> list[str]:
        """What was read, to be shown: the map, and how much of the pictures each label covers."""
        shares = self.pixels / max(self.pixels.sum(), 1)
        covered = ", ".join(f"{name} {share:.1%}" for name, share in zip(LABELS, shares, strict=True))
        around = self.around()
        doubt = "; no iris lies around most pupils: is the label map right?" if around < SUSPICIOUS else ""
        return [f"label map {self.label_map}", f"pixels: {covered}{doubt}"]
