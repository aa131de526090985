"""Files that appear under their name whole or not at all, and the signals that must not disturb that."""

import contextlib
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from gazecore.errors import EXISTS, GazeError


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect after the block: zarr's threads would go on writing behind their backs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handlers[number] = signal.signal(number, lambda number, _: arrived.append(number)) or signal.SIG_DFL
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def replace(done: Path, target: Path, overwrite: bool) -> None:
    """Rename a finished file or folder to its final name; an old one goes aside first and is deleted last."""
    if not os.path.lexists(target):
        done.rename(target)
        return
    if not overwrite:
        raise GazeError(f"{target} appeared while it was being written; --overwrite replaces it", EXISTS)
    aside = target.with_name(f".{target.name}.old-{secrets.token_hex(3)}")
    target.rename(aside)
    try:
        done.rename(target)
    except OSError:
        aside.rename(target)
        raise
    delete(aside)


def delete(path: Path) -> None:
    """Delete a file, a link or a whole folder; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """What was written to a file, or to all files in a folder, is on the disk when this returns."""
    for entry in [*path.rglob("*"), path]:
        if entry.is_file() or entry == path:
            sync_entry(entry)


def sync_entry(path: Path) -> None:
    """One file's bytes, or the names in one folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
