"""The documents' commands: console and python blocks run in order, as a newcomer would; all others must exist.

```console   `$ ` lines run through bash on a terminal of 100 columns; what follows is what they print. `...` stands for
             anything; a number with a point may differ a little (other processors round otherwise); `# exit 66` behind
             a command is its exit code. photo.jpg and clip.mp4 lie in the folder.
```python    runs in the same folder.
```sh        needs data, weights or another machine, and is not run: its commands and options must exist.
"""

import fcntl
import inspect
import os
import re
import struct
import subprocess
import sys
import termios
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from docs import examples
from gazecore.tools.__main__ import COMMANDS
from PIL import Image

from gazecore.cli import command_of

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
DOCUMENTS = ("README.md", "gazecore/README.md")
COLUMNS = 100
DECIMAL = r"-?\d+\.\d+"


class Block(NamedTuple):
    """A fenced block of a document and the line it begins at."""

    language: str
    line: int
    text: str


def blocks(text: str) -> list[Block]:
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(b[1], text.count("\n", 0, b.start()) + 2, b[2]) for b in found]


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it prints."""
    return [(c, printed) for c, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE)]


def expected_exit(command: str) -> int:
    mark = re.search(r"# exit (\d+)$", command)
    return int(mark[1]) if mark else 0


def squeezed(text: str) -> str:
    """Without line ends of a terminal, trailing blanks, and the widths of columns."""
    lines = (re.sub(r" +", " ", line).strip() for line in text.replace("\r\n", "\n").split("\n"))
    return "\n".join(lines).strip()


def agrees(shown: str, printed: str) -> bool:
    """Is this what a document shows, but for `...` and the last digits of numbers with a point?"""
    shown, printed = squeezed(shown), squeezed(printed)
    pattern = "".join(
        ".*?" if part == "..." else f"({DECIMAL})" if re.fullmatch(DECIMAL, part) else re.escape(part)
        for part in re.split(rf"(\.\.\.|{DECIMAL})", shown)
    )
    found = re.fullmatch(pattern, printed, re.DOTALL)
    if found is None:
        return False
    numbers = [float(part) for part in re.split(rf"(\.\.\.|{DECIMAL})", shown) if re.fullmatch(DECIMAL, part)]
    return [float(group) for group in found.groups()] == [pytest.approx(n, rel=0.05, abs=0.02) for n in numbers]


def on_terminal(command: str, folder: Path) -> tuple[int, str]:
    """Exit code and output of a command line in bash, on a terminal."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GZ_")} | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "GZ_TMPDIR": str(folder / "gz-tmp"),
        "TERM": "dumb",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    environment |= {f"GZ_{name.upper().replace('-', '_')}_PROGRESS": "off" for name in COMMANDS}
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    process = subprocess.Popen(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, process_group=0,
    )  # fmt: skip
    os.close(theirs)
    output = bytearray()
    try:
        while read := os.read(ours, 1 << 16):
            output += read
    except OSError:  # how Linux says that the last one has closed the terminal
        pass
    os.close(ours)
    return process.wait(), output.decode()


def own_files(folder: Path) -> None:
    """photo.jpg, a portrait, and clip.mp4, two seconds in which it moves: what the reader is supposed to have."""
    import av
    from skimage import data

    portrait = data.astronaut()
    Image.fromarray(portrait).save(folder / "photo.jpg", quality=95)
    with av.open(folder / "clip.mp4", "w") as clip:
        stream = clip.add_stream("libx264", rate=25, width=512, height=512, pix_fmt="yuv420p")
        for shift in range(50):
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(portrait, shift, axis=1), format="rgb24")))
        clip.mux(stream.encode())


@pytest.mark.parametrize("document", [pytest.param("README.md", marks=pytest.mark.slow), "gazecore/README.md"])
def test_a_document_shows_what_its_commands_print(document: str, tmp_path: Path):
    own_files(tmp_path)
    wrong = []
    for block in blocks((ROOT / document).read_text("utf-8")):
        if block.language == "console":
            for command, shown in commands(block):
                code, printed = on_terminal(command, tmp_path)
                if code != expected_exit(command) or not agrees(shown, printed):
                    wrong.append(f"{document}:{block.line}\n$ {command}\n{squeezed(printed)}\n[exit {code}]")
        elif block.language == "python":
            done = subprocess.run(
                [sys.executable, "-c", block.text], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            if done.returncode:
                wrong.append(f"{document}:{block.line}\n{done.stderr}")
    assert not wrong, "\n\n".join(wrong)
    left = tmp_path / "gz-tmp"
    assert not left.exists() or list(left.iterdir()) == []


def gz_calls(text: str) -> list[tuple[str, list[str]]]:
    """(command, options) of every `gz ...` in shell text, those inside quotes (ssh, sh -c) as well."""
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"(^|\s)#.*", "", text)
    text = re.sub(r"'(?![^']*\bgz )[^']*'|\"(?![^\"]*\bgz )[^\"]*\"", "QUOTED", text)
    found = []
    for call in re.finditer(r"(?<![\w./-])gz ([^|;&'\"\n)]+)", text):
        words = call[1].split(" -- ")[0].split()
        found.append((words[0], [word.split("=")[0] for word in words[1:] if re.match(r"-{1,2}[a-z]", word)]))
    return found


def strange(calls: list[tuple[str, list[str]]]) -> list[str]:
    """What is no command, or no option of its command."""
    known = {"-h", "--help"}
    found = []
    for name, options in calls:
        if name.startswith("-"):
            if name not in known | {"--version", "--install-completion", "--show-completion"}:
                found.append(f"gz {name}")
        elif name not in COMMANDS:
            found.append(f"gz {name}")
        else:
            parameters = command_of(import_module(COMMANDS[name][0]).main, name).params
            takes = known | {option for parameter in parameters for option in parameter.opts}
            found += [f"gz {name} {option}" for option in options if option not in takes]
    return found


@pytest.mark.parametrize("document", (*DOCUMENTS, "tests/README.md", "tools/README.md"))
def test_every_command_in_a_document_exists_with_its_options(document: str):
    calls = []
    for block in blocks((ROOT / document).read_text("utf-8")):
        lines = "\n".join(command for command, _ in commands(block)) if block.language == "console" else block.text
        calls += gz_calls(lines) if block.language in ("console", "sh") else []
    assert strange(calls) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_in_a_help_page_exists_with_its_options(name: str):
    calls = gz_calls("\n".join(examples(inspect.getdoc(import_module(COMMANDS[name][0])) or "")[1]))
    assert calls and strange(calls) == []


def test_mistakes_in_documents_are_found():
    calls = gz_calls(
        "gz prep-gazefolow x | ssh box 'gz info --jsn -' # gz nothing\ngz select a --where 'b < --c' --limit 3"
    )
    assert calls == [("prep-gazefolow", []), ("info", ["--jsn"]), ("select", ["--where", "--limit"])]
    assert strange(calls) == ["gz prep-gazefolow", "gz info --jsn"]
    assert agrees("auc  0.49  n 5\n...\nend", "auc 0.50 n 5\r\nanything\r\nat all\r\nend\r\n")
    assert not agrees("auc 0.49 n 5", "auc 0.49 n 6")
    assert not agrees("auc 0.49", "auc 0.63")
