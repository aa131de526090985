"""A grid of runs: every combination of some options, one command after another, whatever becomes of each.

On disk  OUT/sweep.ndjson   one line per finished cell: options, state, exit, seconds, message, scores
         OUT/NAME/          the run folder of a cell, NAME such as batch-size=8,chunk=2; its stderr in OUT/NAME.log
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from gazecore.artifacts.provenance import strict_json
from gazecore.errors import STOPPED, USAGE, GazeError
from gazecore.train.folder import METRICS

OUT_OF_MEMORY = ("out of memory", "not enough memory", "cannot allocate memory", "memoryerror")
KILLED = (137, -9)  # what the kernel does to a process when memory is used up


@dataclass
class Cell:
    """One combination of options and what became of it: state is done, out of memory, failed or stopped."""

    options: dict[str, str]
    state: str = ""
    exit: int = 0
    seconds: float = 0.0
    message: str = ""
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return ",".join(f"{key}={value}" for key, value in self.options.items()).replace("/", "_")


def cells(grid: Sequence[str]) -> list[Cell]:
    """Every combination of `option=a,b,c` texts, the last option changing fastest; USAGE error for another form."""
    axes = []
    for text in grid:
        option, equals, values = text.partition("=")
        if not (option and equals and values):
            raise GazeError(f"--grid {text}: expected option=value,value", USAGE)
        axes.append([(option.lstrip("-"), value) for value in values.split(",")])
    return [Cell(dict(combination)) for combination in product(*axes)]


def run(command: Sequence[str], planned: Sequence[Cell], out: Path) -> Iterator[Cell]:
    """Run what is not done yet and yield every cell with its outcome; a failing cell does not stop the others.

    command  the gz command and its options, without -o and the options of the grid
    """
    table = out / "sweep.ndjson"
    known = _known(table)
    for cell in planned:
        finished = known.get(cell.name)
        if finished is None or finished.state in ("failed", "stopped"):
            finished = _run_cell(command, cell, out / cell.name)
            with table.open("a", encoding="utf-8") as file:
                file.write(strict_json(asdict(finished)) + "\n")
        yield finished
        if finished.state == "stopped":
            raise GazeError(f"stopped in {cell.name}; the same command line goes on there", STOPPED)


def _known(table: Path) -> dict[str, Cell]:
    """The last outcome of every cell that ran before."""
    if not table.is_file():
        return {}
    found = [Cell(**json.loads(line)) for line in table.read_text("utf-8").splitlines()]
    return {cell.name: cell for cell in found}


def _run_cell(command: Sequence[str], cell: Cell, folder: Path) -> Cell:
    options = [f"--{key}={value}" for key, value in cell.options.items()]
    program = [sys.executable, "-m", "gazecore.tools", *command, *options, "-o", str(folder)]
    if folder.exists():
        program.append("--resume")
    begun = time.monotonic()
    log = folder.with_name(folder.name + ".log")
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(program, stdout=subprocess.DEVNULL, stderr=file, env=os.environ, check=False)
    said = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    message = said[-1] if done.returncode and said else ""
    state = _state(done.returncode, said)
    return Cell(
        cell.options, state, done.returncode, round(time.monotonic() - begun, 1), message, scores(folder / METRICS)
    )


def _state(code: int, said: Sequence[str]) -> str:
    if code == 0:
        return "done"
    if code in (STOPPED, 130, 143):
        return "stopped"
    text = "\n".join(said[-20:]).lower()
    return "out of memory" if code in KILLED or any(words in text for words in OUT_OF_MEMORY) else "failed"


def scores(log: Path) -> dict[str, float]:
    """The last value of every number that a run logged."""
    found: dict[str, float] = {}
    if log.is_file():
        for line in log.read_text("utf-8").splitlines():
            found |= {k: float(v) for k, v in json.loads(line).items() if isinstance(v, int | float)}
    return found


def table(found: Sequence[Cell], score: str) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Rows and header to print: with two options a square table, else one line per cell."""
    options = list(found[0].options)
    if len(options) != 2:
        header = (*options, "state", score, "seconds")
        return [(*c.options.values(), c.state, _shown(c, score), f"{c.seconds:.0f}") for c in found], header
    down, across = (list(dict.fromkeys(cell.options[o] for cell in found)) for o in options)
    by_options: Mapping[tuple[str, ...], Cell] = {tuple(cell.options.values()): cell for cell in found}
    rows = [(row, *(_shown(by_options[row, column], score) for column in across)) for row in down]
    return rows, (f"{options[0]} \\ {options[1]}", *across)


def _shown(cell: Cell, score: str) -> str:
    if cell.state != "done":
        return cell.state
    return f"{cell.scores[score]:.4f}" if score in cell.scores else f"no {score}"


def draw(found: Sequence[Cell], score: str, path: Path) -> None:
    """The table as a picture; cells coloured by the score, those that failed say why."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows, header = table(found, score)
    width, height = 1.6 * len(header), 0.5 * (len(rows) + 1)
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.axis("off")
    values = [c.scores[score] for c in found if c.state == "done" and score in c.scores]
    colours = [[_colour(text, values) for text in row] for row in rows]
    drawn = axes.table(rows, cellColours=colours, colLabels=header, loc="center", cellLoc="center")
    drawn.scale(1, 1.6)
    axes.set_title(score, fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _colour(text: str, values: Sequence[float]) -> Any:
    """A tint between the least and the largest score; grey for a cell without one."""
    import matplotlib

    try:
        value = float(text)
    except ValueError:
        return "0.93" if text[:1].isalpha() else "white"
    if not values or value not in [round(v, 4) for v in values]:
        return "white"
    span = max(values) - min(values) or 1
    return matplotlib.colormaps["viridis"](0.35 + 0.6 * (value - min(values)) / span)
