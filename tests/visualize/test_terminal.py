import io

import numpy as np
from PIL import Image
from rich.console import Console

from gazecore.visualize import terminal


def printed(picture, width=None, columns=80, **options):
    told = {"force_terminal": True, "color_system": "truecolor", "legacy_windows": False, "_environ": {}, **options}
    console = Console(file=io.StringIO(), width=columns, **told)
    console.print(terminal.preview(picture, width))
    return console.file.getvalue()


def test_a_letter_holds_two_pixels():
    pixels = np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8)
    assert printed(Image.fromarray(pixels)) == "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m\n"


def test_a_last_odd_row_has_no_background():
    pixels = np.array([[[255, 0, 0]], [[0, 0, 255]], [[0, 255, 0]]], np.uint8)
    assert printed(Image.fromarray(pixels)).splitlines()[1] == "\x1b[38;2;0;255;0m▀\x1b[0m"


def test_the_aspect_is_kept_within_the_terminal():
    wide = printed(Image.new("RGB", (400, 200)), columns=60).splitlines()
    assert len(wide) == 15 and all(line.count("▀") == 60 for line in wide)
    chosen = printed(Image.new("RGB", (400, 200)), width=20, columns=60).splitlines()
    assert len(chosen) == 5 and chosen[0].count("▀") == 20


def test_a_small_picture_is_not_enlarged_unless_asked():
    assert printed(Image.new("RGB", (10, 4))).count("▀") == 20
    assert printed(Image.new("RGB", (10, 4)), width=20).count("▀") == 80


def test_a_flat_picture_still_has_a_row():
    assert printed(Image.new("RGB", (1000, 2))).count("▀") == 80


def test_without_colours_brightness_is_written_in_letters():
    half = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 2, axis=0))
    assert printed(half, no_color=True) == " @\n"
    assert printed(half, force_terminal=False, color_system=None) == " @\n"


def test_captions_are_not_markup():
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    terminal.show([Image.new("RGB", (4, 2))], ["[bold]sample[/bold] [0]"], console)
    assert "[bold]sample[/bold] [0]\n" in console.file.getvalue()
