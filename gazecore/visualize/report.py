"""One HTML page of pictures and scores: a single file that opens from disk, without a server or network.

Samples stream through: of more than fit, a bounded set is kept: the worst, the best and an even spread between.
"""

import base64
import hashlib
import io
import json
import math
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, features

from gazecore.errors import IO, GazeError
from gazecore.visualize.panels import number

MOST, SIZE_CAP = 200, 20_000_000
LARGEST = (1600, 3200)  # pixels of a picture in the page
SHARE_UNSCORED = 0.1  # of a cut selection, kept for samples without a score
# parts of a score's name (between _) that say that less is better
LESS_IS_BETTER = frozenset({"l1", "l2", "mae", "mse", "rmse", "error", "distance", "loss", "kl", "emd", "nll"})


@dataclass(frozen=True)
class Item:
    """One sample of a report.

    picture  a PIL image, or a function that draws it: called only if the sample may be shown
    scores   name -> value, NaN where it could not be computed
    text     name -> text shown under the picture and searched by the page's filter
    """

    name: str
    picture: Image.Image | Callable[[], Image.Image]
    scores: Mapping[str, float] = field(default_factory=dict)
    text: Mapping[str, str] = field(default_factory=dict)


class Summary(NamedTuple):
    """One row of the page's table: a score over all samples, its 95 % confidence interval, how many samples count."""

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int | None = None


class Written(NamedTuple):
    """What a report holds: `shown` of `of` samples in `size` bytes."""

    shown: int
    of: int
    size: int


def write(
    path: Path,
    title: str,
    items: Iterable[Item],
    summary: Mapping[str, Summary | float] | None = None,
    provenance: Sequence[str] | None = None,
    most: int = MOST,
    size_cap: int = SIZE_CAP,
    chosen_by: str = "",
) -> Written:
    """Write the page; it appears under its name only when it is complete.

    items      any number of samples, taken one by one; no more than about `size_cap` bytes are held
    summary    name -> Summary, or a plain number
    most       samples shown at most; of more, the worst and the best quarter by `chosen_by` stay, an even spread over
               the scores between, and up to a tenth without a score, spread evenly over the order of the data
    size_cap   bytes of the file at most; where it is reached first, fewer samples stay, chosen in the same way
    chosen_by  name of the score that decides; empty takes the first score of the first sample that has any

    Samples keep the order of the data. Raises GazeError where the folder does not exist or no sample has `chosen_by`.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise GazeError(f"{path}: there is no folder {path.parent}. Make it first: mkdir -p {path.parent}", IO)
    rows = {name: row if isinstance(row, Summary) else Summary(row) for name, row in (summary or {}).items()}
    page = _page()
    frame = page.opening(title, "", rows, provenance, "", [], [], False) + page.closing()
    room = size_cap - len(frame.encode()) - 4000  # 4000: the sentences and score names that are known only at the end

    selection = _Selection(most, room)
    names = dict.fromkeys([chosen_by] if chosen_by else [])  # an ordered set
    found: set[str] = set()
    for order, item in enumerate(items):
        names |= dict.fromkeys(item.scores)
        found |= item.scores.keys()
        chosen_by = chosen_by or next(iter(item.scores), "")
        selection.add(item, order, float(item.scores.get(chosen_by, math.nan)), page.card)

    if selection.seen and chosen_by and chosen_by not in found:
        raise GazeError(
            f"no sample has a score {chosen_by!r}; there are: {', '.join(sorted(found)) or 'none'}. Choose one."
        )

    kept = selection.kept()
    wide = sum(card.wide for card in kept) > len(kept) / 2
    counted = f"{selection.seen:,} sample{'' if selection.seen == 1 else 's'}"
    note = selection.described(chosen_by, most)
    lower = [name for name in names if less_is_better(name)]
    written = [page.opening(title, counted, rows, provenance, note, list(names), lower, wide)]
    written += [card.html for card in kept] + [page.closing()]

    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            size = sum(file.write(text.encode()) for text in written)
        part.replace(path)
    except OSError as error:
        raise GazeError(f"{path}: cannot be written: {error.strerror}. Choose another -o.", IO) from error
    finally:
        part.unlink(missing_ok=True)
    return Written(len(kept), selection.seen, size)


def less_is_better(name: str) -> bool:
    """Whether a smaller value of this score is better, told by its name: average_l2, kl, error_cm."""
    return not LESS_IS_BETTER.isdisjoint(name.lower().split("_"))


# ---- which samples stay ----


@dataclass(frozen=True, order=True)
class _Card:
    """A sample as it will stand in the page; `key` is the score, or the place in the data where there is none."""

    key: float
    order: int
    html: str = field(compare=False, default="")
    size: int = field(compare=False, default=0)
    wide: bool = field(compare=False, default=False)


class _Selection:
    """Up to `most` cards in up to `room` bytes, whatever passes by.

    Scored cards are kept sorted. When there is one too many, the one goes that lies closest between its neighbours; a
    quarter at either end is safe. That quarter never grows again, so it holds exactly the worst and the best of all
    that passed.
    """

    def __init__(self, most: int, room: int):
        self.most, self.room = most, room
        self.scored: list[_Card] = []
        self.unscored: list[_Card] = []
        self.seen = self.seen_unscored = 0
        self.ends = max(1, most // 4)  # cards that are safe at either end
        self.full = False  # the size cap, not `most`, was the limit

    def add(self, item: Item, order: int, value: float, render: Callable[..., str]) -> None:
        self.seen += 1
        self.seen_unscored += math.isnan(value)
        among = self.unscored if math.isnan(value) else self.scored
        key = float(order) if math.isnan(value) else max(-1e300, min(value, 1e300))  # a gap to infinity has a width
        card = _Card(key, order)
        insort(among, card)
        if len(self.scored) + len(self.unscored) > self.most and self._drop() is card:
            return  # before it is drawn
        among[among.index(card)] = card = _drawn(item, card, render)
        self.room -= card.size
        while self.room < 0 and (self.scored or self.unscored):
            self._drop()
            self.most, self.full = len(self.scored) + len(self.unscored), True

    def _drop(self) -> _Card:
        """Take out the card that is missed least."""
        reserved = int(self.most * SHARE_UNSCORED) if self.scored else 0
        among = self.unscored if len(self.unscored) > reserved else self.scored
        if among is self.scored:
            self.ends = max(1, min(self.ends, len(among) // 4))
        safe = self.ends if among is self.scored else 1
        inner = range(safe, len(among) - safe)
        closest = min(
            inner, key=lambda i: (among[i + 1].key - among[i - 1].key, -among[i].order), default=len(among) - 1
        )
        dropped = among.pop(closest)
        self.room += dropped.size
        return dropped

    def kept(self) -> list[_Card]:
        """In the order of the data."""
        return sorted(self.scored + self.unscored, key=lambda card: card.order)

    def described(self, chosen_by: str, most: int) -> str:
        """A sentence on what is shown of how much and how it was chosen; empty if all is shown."""
        shown = len(self.scored) + len(self.unscored)
        if shown == self.seen:
            return ""
        limit = "the file's size limit" if self.full else f"the limit of {most:,}"
        parts = []
        seen_scored = self.seen - self.seen_unscored
        if len(self.scored) < seen_scored and len(self.scored) > 2 * self.ends:
            parts += [f"the {self.ends:,} worst and the {self.ends:,} best by {chosen_by}"]
            parts += [f"{len(self.scored) - 2 * self.ends:,} spread evenly over the scores between"]
        elif seen_scored:
            parts += [f"{len(self.scored):,} of {seen_scored:,} with {chosen_by}"]
        if self.seen_unscored:
            without = f" without {chosen_by}" if chosen_by else " spread evenly over the data"
            parts += [f"{len(self.unscored):,} of {self.seen_unscored:,}{without}"]
        return f"{shown:,} of {self.seen:,} samples are shown, because of {limit}: {', '.join(parts)}."


def _drawn(item: Item, card: _Card, render: Callable[..., str]) -> _Card:
    picture = item.picture() if callable(item.picture) else item.picture
    picture = picture.convert("RGB")
    picture.thumbnail(LARGEST, Image.Resampling.LANCZOS, reducing_gap=3.0)
    source = io.BytesIO()
    kind = "webp" if features.check("webp") else "jpeg"
    picture.save(source, kind, quality=75, **({"method": 2} if kind == "webp" else {"optimize": True}))
    address = f"data:image/{kind};base64,{base64.b64encode(source.getvalue()).decode()}"
    html = str(render(item, _numbers(item.scores), address, *picture.size))
    return _Card(card.key, card.order, html, len(html.encode()), picture.width >= 2 * picture.height)


# ---- the page ----


@cache
def _page() -> Any:
    """The template's macros: opening, card, closing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"number": number, "digest": _digest}
    return environment.get_template("report.html.jinja").module


def _digest(text: str) -> str:
    """How a page's policy names the one style or script that it allows (W3C CSP 3, hash-source)."""
    return base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode()


def _numbers(scores: Mapping[str, float]) -> str:
    """Scores as JSON: NaN as null, infinities as the text that JavaScript reads as such."""
    plain = {name: float(value) for name, value in scores.items()}
    safe = {
        name: value if math.isfinite(value) else None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        for name, value in plain.items()
    }
    return json.dumps(safe)
