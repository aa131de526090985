"""Pictures in a terminal, two pixels to a character: works through ssh and tmux, needs nothing but colours."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

Pixel = tuple[int, int, int]
GREYS = " .:-=+*#%@"  # dark to light, for a terminal without colours


def preview(picture: Image.Image, width: int | None = None) -> RenderableType:
    """A picture as half blocks ▀, for console.print: a letter's colour is one pixel, its background the one below.

    width  in characters, at most the terminal's; None takes the terminal's, but no more than the picture has pixels
    The aspect is kept. Without colours (NO_COLOR, a dumb terminal) brightness is written in letters.
    """
    return _Preview(picture, width)


@dataclass(frozen=True)
class _Preview:
    picture: Image.Image
    width: int | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(1, min(self.width or self.picture.width, options.max_width))
        height = max(1, round(self.picture.height * width / self.picture.width))
        small = self.picture.convert("RGB").resize((width, height), Image.Resampling.BOX, reducing_gap=3.0)
        colourless = console.no_color or console.color_system is None
        yield from _letters(small) if colourless else _blocks(small)


def show(pictures: Iterable[Image.Image], captions: Iterable[str], console: Console | None = None) -> None:
    """Print every picture above its caption; captions are taken as they are, markup has no meaning in them."""
    console = console or Console()
    for picture, caption in zip(pictures, captions, strict=True):
        console.print(preview(picture))
        console.print(Text(caption, style="dim"))
        console.print()


def _blocks(picture: Image.Image) -> Iterable[Segment]:
    rows: list[list[Pixel | None]] = [[tuple(pixel) for pixel in row] for row in np.asarray(picture).tolist()]
    if len(rows) % 2:
        rows.append([None] * picture.width)
    for above, below in zip(rows[::2], rows[1::2], strict=True):
        yield from (Segment("▀", _style(*pixels)) for pixels in zip(above, below, strict=True))
        yield Segment.line()


def _letters(picture: Image.Image) -> Iterable[Segment]:
    """One letter for the mean of two pixels: a letter is about twice as high as wide."""
    grey = picture.convert("L").resize((picture.width, (picture.height + 1) // 2), Image.Resampling.BOX)
    for row in np.asarray(grey, int) * len(GREYS) // 256:
        yield Segment("".join(GREYS[level] for level in row))
        yield Segment.line()


@lru_cache(maxsize=4096)
def _style(above: Pixel, below: Pixel | None) -> Style:
    return Style(
        color="#{:02x}{:02x}{:02x}".format(*above), bgcolor="#{:02x}{:02x}{:02x}".format(*below) if below else None
    )
