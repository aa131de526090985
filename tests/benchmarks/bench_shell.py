"""Start-up of the command line: CPU seconds of `--help`, children included."""

import resource
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


ROWS = (  # ours, the peer, how many times less CPU ours may take at most
    (["gz", "--help"], ["hf", "--help"], 2.2),
    (["gz", "--version"], ["hf", "version"], 2.2),
    (["gz", "eval-following", "--help"], ["torchrun", "--help"], 5.0),
)


def rows() -> list[dict]:
    return [
        {
            "work": " ".join(ours),
            "ours": _cpu_ms(ours),
            "peer": _cpu_ms(peer),
            "peer_name": " ".join(peer),
            "unit": "ms CPU",
            "goal": goal,
            "better": "less",
        }
        for ours, peer, goal in ROWS
    ]


def _cpu_ms(words: list[str], repeats: int = 5) -> float:
    """The least CPU time of some runs, in milliseconds."""
    best = float("inf")
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([BIN / words[0], *words[1:]], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best * 1000
