"""How far a training run is, on stderr: a bar with the time left on a terminal, else a plain line now and then."""

import sys
import time
from types import TracebackType
from typing import Any, Self

EVERY_S = 30.0


class Progress:
    """Shows updates done of all updates. Use as a context manager; `advance` after each update.

    what   is done: the first word of every line
    style  "rich" a bar, "plain" a line per tenth or 30 s, "off" nothing, "auto" whichever suits stderr
    """

    def __init__(self, style: str, done: int, total: int, what: str = "train"):
        self.what = what
        self.style = style if style != "auto" else "rich" if sys.stderr.isatty() else "plain"
        self.done, self.begun_at, self.total = done, done, total
        self._begun = self._told = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self.style == "rich":
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn(self.what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
                TimeRemainingColumn(), TextColumn("{task.description}"), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("", total=self.total, completed=self.done)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, text: str = "") -> None:
        """One update more; text says how it goes."""
        self.done += 1
        if self._bar:
            self._bar.update(self._task, completed=self.done, description=text)
        elif self.style == "plain":
            self._plain(text)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._bar:
            self._bar.console.print(text, highlight=False)
        elif self.style == "plain":
            print(text, file=sys.stderr, flush=True)

    def _plain(self, text: str) -> None:
        now = time.monotonic()
        tenth = self.done * 10 // self.total > (self.done - 1) * 10 // self.total
        if now - self._told < (2 if tenth else EVERY_S) and self.done < self.total:
            return
        self._told = now
        left = (now - self._begun) / (self.done - self.begun_at) * (self.total - self.done)
        print(
            f"{self.what}: {self.done} of {self.total}, {left:.0f} s left{', ' if text else ''}{text}",
            file=sys.stderr,
            flush=True,
        )
