"""Optional trackers that a run's metrics also go to; each is imported on use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from gazecore.errors import UNAVAILABLE, USAGE, GazeError


class Tracker(Protocol):
    """Takes metrics by name, until it is closed."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...
    def close(self) -> None: ...


class TensorBoard:
    def __init__(self, folder: Path, step: int):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    def __init__(self, folder: Path, step: int):
        import wandb

        self._run = wandb.init(project="gz", dir=folder, name=folder.name, id=_run_id(folder), resume="allow")

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


TRACKERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def open_all(names: tuple[str, ...], folder: Path, step: int) -> list[Tracker]:
    """The trackers of --log; a run that goes on at `step` replaces what came after it.

    Errors: an unknown name; a package that is not installed.
    """
    opened: list[Tracker] = []
    for name in names:
        if name not in TRACKERS:
            raise GazeError(f"--log {name}: expected {', '.join(TRACKERS)}", USAGE)
        try:
            opened.append(TRACKERS[name](folder, step))
        except ImportError as error:
            raise GazeError(f"--log {name} is not installed: pip install 'gazecore[track]'", UNAVAILABLE) from error
    return opened


def _run_id(folder: Path) -> str:
    """The id by which a resumed run finds itself again, kept in the run's folder."""
    import secrets

    path = folder / "wandb" / "id"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        path.write_text(secrets.token_hex(8))
    return path.read_text()
