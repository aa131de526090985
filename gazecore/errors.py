"""Errors that the user can put right: one line without a traceback, and an exit code that scripts can test."""

import logging
from collections import Counter
from collections.abc import Iterable

log = logging.getLogger(__name__)

# sysexits.h; 1 is left for bugs, 2 for a mistyped command line
DATA, NO_INPUT, UNAVAILABLE, EXISTS, IO, STOPPED = 65, 66, 69, 73, 74, 75
USAGE = 2


class GazeError(Exception):
    """Something the user can put right.

    The message names the thing, what was found, what was expected and the next step.
    code  the exit code of the command: DATA 65 bad data (default), NO_INPUT 66, UNAVAILABLE 69 missing dependency
          or device, EXISTS 73, IO 74, STOPPED 75 resumable, USAGE 2
    """

    def __init__(self, message: str, code: int = DATA):
        super().__init__(message)
        self.code = code


def raise_all(problems: Iterable[str], subject: str, next_step: str = "", most: int = 20) -> None:
    """All problems of a data set in one error (the first `most` of them spelt out); no problem, no error."""
    problems = list(problems)
    if not problems:
        return
    listed = "".join(f"\n  {problem}" for problem in problems[:most])
    rest = f"\n  ... and {len(problems) - most} more" if len(problems) > most else ""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise GazeError(f"{subject}: {count}{listed}{rest}" + (f"\n{next_step}" if next_step else ""))


class Counts(Counter[str]):
    """What a reader of a data set repaired, dropped and skipped: how often, by name.

    on_bad  fail: whatever cannot be used is raised at the end, all of it at once; skip: it is left out and counted
    """

    def __init__(self, on_bad: str = "fail"):
        super().__init__()
        self.on_bad = on_bad


def settle(problems: Iterable[str], counts: Counter[str], subject: str, next_step: str = "", most: int = 20) -> None:
    """The end of reading: raise all problems, or, if `counts` is to skip, count them and say the first `most`."""
    if getattr(counts, "on_bad", "fail") == "fail":
        raise_all(problems, subject, f"{next_step} --on-bad skip leaves them out.".strip(), most)
        return
    problems = list(problems)
    counts["skipped"] += len(problems)
    for problem in problems[:most]:
        log.warning("skipped: %s", problem)
    if len(problems) > most:
        log.warning("skipped: %d more", len(problems) - most)
