"""The folder of a training run: who may write it, and what it must look like to be gone on with.

config.yaml        the options of the run; --config reads it
metrics.ndjson     one line per logged update, one per validation
last/              model.safetensors, a checkpoint, and state.safetensors, whatever else a resumed run needs
best.safetensors   the best checkpoint by the recipe's metric; with averaged weights, those
epochs/            0001.safetensors and so on, a checkpoint per epoch, where they are kept
"""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO as File
from typing import Any

import yaml

from gazecore.artifacts.atomic import delete
from gazecore.artifacts.provenance import strict_json
from gazecore.errors import DATA, EXISTS, GazeError

CONFIG, METRICS, LAST, BEST, LOCK = "config.yaml", "metrics.ndjson", "last", "best.safetensors", ".lock"
EPOCHS = "epochs"
TRACKED = ("tensorboard", "wandb")

_held: dict[Path, File[str]] = {}


def check(folder: Path, resume: bool = False, overwrite: bool = False) -> None:
    """Refuse, before any work, a folder that is there without resume or overwrite, or that holds something else."""
    if not folder.absolute().parent.is_dir():
        raise GazeError(
            f"{folder}: the folder {folder.parent} does not exist; mkdir -p {folder.parent} makes it", EXISTS
        )
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / CONFIG).is_file():
        raise GazeError(f"{folder} exists and is no run folder: it has no {CONFIG}. Choose another -o", EXISTS)
    if not (resume or overwrite):
        raise GazeError(f"{folder} exists; --resume goes on with it, --overwrite begins anew", EXISTS)


def begun_with(folder: Path) -> dict[str, Any]:
    """The options of a run that can be gone on with; none where there is nothing to go on with."""
    if not (folder / LAST).is_dir() and not any(folder.glob(f".{LAST}.old-*")):
        return {}
    return yaml.safe_load((folder / CONFIG).read_text("utf-8")) or {}


def claim(
    folder: Path, config: Mapping[str, Any], free: tuple[str, ...] = (), resume: bool = False, overwrite: bool = False
) -> None:
    """Make the folder of a run with these options, or check that they are those it was begun with.

    config  option -> value
    free    options that may differ when going on
    Errors: as `check`; EXISTS for a folder that another process trains in; DATA for other options. With resume and
    nothing to go on with, the run begins.
    """
    check(folder, resume, overwrite)
    folder.mkdir(exist_ok=True)
    _lock(folder)
    _recover(folder)
    config = json.loads(strict_json(config))
    if overwrite and not resume:
        for path in (*folder.glob(f".{LAST}.*"), *(folder / name for name in (LAST, BEST, EPOCHS, METRICS, *TRACKED))):
            delete(path)
    begun = begun_with(folder)
    if begun:
        names = [name for name in {**begun, **config} if name not in free and begun.get(name) != config.get(name)]
        changes = [f"{name} was {begun.get(name)} and is {config.get(name)}" for name in names]
        if changes:
            raise GazeError(
                f"{folder} was begun with other options: {'; '.join(changes)}. Repeat the first command line to go on, "
                "or --overwrite it",
                DATA,
            )
    part = folder / f".{CONFIG}.part"
    part.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), "utf-8")
    part.replace(folder / CONFIG)


def release(folder: Path) -> None:
    """Let another process train in the folder; the end of this one does the same."""
    lock = _held.pop(folder.absolute(), None)
    if lock:
        lock.close()


def _lock(folder: Path) -> None:
    """A record lock: processes that load samples do not inherit it, so that none outlives a kill with it."""
    lock = (folder / LOCK).open("w")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise GazeError(f"another process is training in {folder} right now", EXISTS) from error
    _held[folder.absolute()] = lock


def _recover(folder: Path) -> None:
    """Undo what a kill in the middle of a save left: last/ set aside and its successor not yet in its place."""
    for aside in sorted(folder.glob(f".{LAST}.old-*")):
        if (folder / LAST).exists():
            delete(aside)
        else:
            aside.rename(folder / LAST)
    for part in folder.glob(f".{LAST}.part-*"):
        delete(part)
