"""Who made this from what: the chain of commands that every artifact and checkpoint carries.

Each command is one entry {id, parents, argv, version, started, seconds, seed, device, config, inputs, packages};
the entries of all inputs are carried along, so the list is a directed graph in topological order.
"""

import hashlib
import json
import math
import re
import shlex
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gazecore import __version__

SECRET = re.compile(r"token|key|password|secret", re.IGNORECASE)
PACKAGES = ("numpy", "torch", "timm", "transformers", "zarr", "h5py", "pillow", "scipy")


@dataclass
class Step:
    """The command that is running: set once by the shell, read by every writer."""

    argv: list[str]
    config: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    device: str | None = None
    keep: bool = True
    started: float = field(default_factory=time.time)
    inputs: dict[int, dict[str, Any]] = field(default_factory=dict)
    chains: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    outputs: int = 0  # artifacts that were finished so far

    def add_input(self, path: Path | str, identity: str, entries: list[dict[str, Any]], piped: bool = False) -> int:
        """Note an artifact or checkpoint that was read: its chain becomes part of ours. Returns the note's number."""
        number = max(self.inputs, default=0) + 1
        step = entries[-1]["id"] if entries else None
        self.inputs[number] = {"path": Path(path).name, "id": identity, "step": step, "piped": piped or None}
        self.chains[number] = entries
        return number

    def forget(self, number: int) -> None:
        """An input that is no parent of what comes next."""
        del self.inputs[number], self.chains[number]

    def entries(self) -> list[dict[str, Any]]:
        """The whole chain, this command last."""
        argv = hide_secrets(self.argv)
        started = datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        chain = {entry["id"]: entry for entries in self.chains.values() for entry in entries}
        parents = [i["step"] for i in self.inputs.values() if i["step"]]
        text = json.dumps([argv, self.started, parents])
        entry = {
            "id": hashlib.sha256(text.encode()).hexdigest()[:12],
            "parents": sorted(set(parents)),
            "argv": argv,
            "version": __version__,
            "started": started,
            "seconds": round(time.time() - self.started, 3),
            "seed": self.seed,
            "device": self.device,
            "config": {k: "***" if SECRET.search(k) else v for k, v in self.config.items()},
            "inputs": [{k: v for k, v in i.items() if v is not None} for i in self.inputs.values()],
            "packages": _packages(),
        }
        return [*chain.values(), entry]


_current: Step | None = None


def begin(step: Step) -> None:
    """The shell sets the command that runs now."""
    global _current
    _current = step


def current() -> Step:
    """The command that runs now; a script that uses the library is its own command."""
    global _current
    if _current is None:
        _current = Step(argv=[Path(sys.argv[0]).name or "python", *sys.argv[1:]])
    return _current


def attributes(step: Step, history: str = "") -> dict[str, str]:
    """The root attributes `history` (newest first, as NCO and CDO write it) and `gz_provenance`; none if kept out."""
    if not step.keep:
        return {}
    entries = step.entries()
    line = f"{entries[-1]['started']} {shlex.join(entries[-1]['argv'])}"
    return {"history": "\n".join(filter(None, [line, history])), "gz_provenance": strict_json(entries)}


def parsed(text: str) -> list[dict[str, Any]]:
    """The entries in a gz_provenance attribute; ValueError for what is no list of commands."""
    entries = json.loads(text)
    for entry in entries if isinstance(entries, list) else [None]:
        words = [[entry.get("id")], entry.get("parents"), entry.get("argv")] if isinstance(entry, dict) else []
        if not words or not all(isinstance(part, list) and all(isinstance(w, str) for w in part) for part in words):
            raise ValueError(f"{str(entry)[:80]} is no entry with id, parents and argv")
    return entries


def hide_secrets(argv: list[str]) -> list[str]:
    """The command line with the values of options named *token*, *key*, *password*, *secret* replaced by ***."""
    hidden, mask = [], False
    for word in argv:
        name, equals, _ = word.partition("=")
        if mask and not word.startswith("--"):
            hidden.append("***")
        elif word.startswith("-") and SECRET.search(name):
            hidden.append(name + "=***" if equals else word)
        else:
            hidden.append(word)
        mask = word.startswith("-") and not equals and bool(SECRET.search(name))
    return hidden


def strict_json(value: Any, indent: int | None = None) -> str:
    """JSON without the invalid tokens NaN and Infinity: they become null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return value if isinstance(value, str | int | bool | None) else str(value)


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        if name in sys.modules or (name == "pillow" and "PIL" in sys.modules):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = "unknown"
    return found


def shell_line(argv: list[str]) -> str:
    """A command line as one would type it."""
    return shlex.join(argv)


def as_shell(entries: list[dict[str, Any]]) -> str:
    """A script that runs the chain again: commands in order, joined by pipes where their output went down one.

    An output that several commands read goes into a file of its own.
    """
    readers = [parent for entry in entries for parent in entry["parents"]]
    lines = ["set -euo pipefail"]
    open_pipes: dict[str, str] = {}  # a step whose output waits for its only reader -> the pipe line so far
    stored: dict[str, str] = {}  # a step whose output several commands read -> the file
    for entry in entries:
        line = shlex.join(entry["argv"])
        parents = entry["parents"]
        named = [i for i in entry.get("inputs", []) if not i.get("piped") and i.get("step") in open_pipes]
        lines += [f"{open_pipes.pop(i['step'])} -o {shlex.quote(i['path'])}" for i in named]
        piped = [p for p in parents if p in open_pipes]
        if len(piped) == 1 and not any(p in stored for p in parents):
            line = f"{open_pipes.pop(piped[0])} | {line}"
        else:
            for parent in piped:
                stored[parent] = f"step-{parent}.zarr"
                lines.append(f"{open_pipes.pop(parent)} -o {stored[parent]}")
            line = " ".join([line, *(stored[p] for p in parents if p in stored)])
        identity, count = entry["id"], readers.count(entry["id"])
        if _names_its_output(entry["argv"]) or count == 0:
            lines.append(line)
        elif count == 1:
            open_pipes[identity] = line
        else:
            stored[identity] = f"step-{identity}.zarr"
            lines.append(f"{line} -o {stored[identity]}")
    return "\n".join(lines)


def _names_its_output(argv: list[str]) -> bool:
    words = zip(argv, [*argv[1:], "-"], strict=True)
    return any((word in ("-o", "--out") and value != "-") or word.startswith("--out=") for word, value in words)
