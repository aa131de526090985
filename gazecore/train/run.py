"""One training run: processes and precision (accelerate), seeds, log, saves at any moment, exact resuming.

A recipe makes model, optimizer and loader; its loop is its own:

    with run:
        run.start(model, "vtd", optimizer, learning_rate, total)
        for pieces in loader.after(run.step):
            counted = run.over_processes(...)
            for piece in pieces:
                with run.accelerator.autocast():
                    loss = ...
                run.backward(loss)
            run.update({"loss": loss}, epoch)
            run.after_update(every, validate)

Every loss is a sum over its own rows divided by the count over all processes and pieces, and gradients are added up: so
neither the number of processes nor of pieces changes what is learnt.
"""

import contextlib
import json
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gazecore import checkpoints
from gazecore.artifacts import provenance
from gazecore.artifacts.atomic import delete, replace, sync
from gazecore.artifacts.provenance import strict_json
from gazecore.errors import IO, STOPPED, USAGE, GazeError
from gazecore.train import trackers
from gazecore.train.batchnorm import share_statistics
from gazecore.train.device import accelerator
from gazecore.train.folder import BEST, EPOCHS, LAST, METRICS
from gazecore.train.progress import Progress

MODEL, STATE = "model.safetensors", "state.safetensors"
LOWER_IS_BETTER = ("loss", "l2", "deg")  # endings of metrics' names


@dataclass(frozen=True)
class Settings:
    """How a run goes, whatever it trains.

    device       auto (cuda > mps > cpu), cpu, cuda, cuda:1, mps
    precision    no, bf16, fp16
    clip         largest norm of the whole gradient; None leaves it as it is
    ema          decay of the averaged weights that validation and best.safetensors see; None: no averaging
    log_every    updates between two lines of metrics.ndjson; save_every: between two saves of last/
    best_by      name of the validation metric; those that end in loss, l2 and deg are better when low
    trackers     of gazecore.train.trackers
    progress     auto, rich, plain, off
    """

    device: str = "auto"
    precision: str = "no"
    clip: float | None = None
    ema: float | None = None
    seed: int = 0
    log_every: int = 10
    save_every: int = 500
    best_by: str = "loss"
    trackers: tuple[str, ...] = ()
    progress: str = "auto"


class Run:
    """A training run in a folder that `claim` prepared; see the module's example.

    step      updates done
    main      this process is the one that writes and speaks
    """

    def __init__(self, folder: Path, settings: Settings, data: str = "", extra: Mapping[str, Any] | None = None):
        """data   content id of the samples: a run goes on with the same only
        extra  what checkpoints are to say besides: the recipe, JSON values
        """
        self.folder, self.settings, self.data, self.extra = folder, settings, data, dict(extra or {})
        self.accelerator = accelerator(settings.device, settings.precision)
        self.device = self.accelerator.device
        self.main = self.accelerator.is_main_process
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        provenance.current().device = str(self.device)
        torch.use_deterministic_algorithms(self.device.type == "cpu", warn_only=True)  # else a resumed run would drift
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.manual_seed(settings.seed)
        self.step = self.total = 0
        self.epoch = 0.0
        self.best: float | None = None
        self.validated_at = self.saved_at = 0
        self.carried: dict[str, Tensor] = {}  # state from update to update of a recipe's own, saved too
        self._means: dict[str, dict[str, list[float]]] = {"log": {}, "epoch": {}}
        self._pending: dict[str, list[Tensor]] = {}
        self._asked = self._stop = 0  # by a signal; agreed between the processes
        self._log: Any = None
        self._trackers: list[trackers.Tracker] = []
        self._ema: dict[str, Tensor] = {}
        self._handlers: dict[int, Any] = {}
        self._began, self._text = time.monotonic(), ""

    # ---- the recipe's loop ------------------------------------------------------------------------------------------

    def start(
        self,
        model: nn.Module,
        name: str,
        optimizer: torch.optim.Optimizer,
        learning_rate: Callable[[int, float], float],
        total: int,
    ) -> None:
        """Take the model to the device, and go on from last/ if it is there.

        name           of the model in gazecore.models
        learning_rate  (step, the group's own rate) -> rate
        total          updates of the whole run
        """
        self.model, self.name, self.total = model.to(self.device), name, total
        if self.world > 1:
            share_statistics(model)
        self._learning_rate = learning_rate
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self._trained = {key: value for key, value in model.named_parameters() if value.requires_grad}
        if self.settings.ema is not None:
            self._ema = {key: value.detach().clone() for key, value in self._trained.items()}
        torch.manual_seed(int(np.random.SeedSequence([self.settings.seed, self.rank]).generate_state(1)[0]))
        if (self.folder / LAST / STATE).is_file():
            self._restore()
        elif self.main:
            (self.folder / METRICS).write_bytes(b"")
        if self.main:
            self._log = (self.folder / METRICS).open("a", encoding="utf-8")
            self._trackers = trackers.open_all(self.settings.trackers, self.folder, self.step)
        style = self.settings.progress if self.main else "off"
        self._progress = Progress(style, self.step, total).__enter__()
        self._set_learning_rate()

    def over_processes(self, *counts: Tensor | int) -> list[float]:
        """Sums over all processes; they also agree here on whether to stop."""
        own = torch.tensor([*map(float, counts), self._asked], dtype=torch.float64)
        *sums, stop = self._summed(own.to(self.device)).tolist() if self.world > 1 else own.tolist()
        self._stop = int(stop)
        return sums

    def _summed(self, own: Tensor) -> Tensor:
        if self.world > 1:
            torch.distributed.all_reduce(own)
        return own

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a piece of the batch; in half precision, of the scaled loss."""
        self.accelerator.backward(loss)

    def update(self, losses: Mapping[str, Tensor], epoch: float) -> None:
        """Change the weights by the gradients that were added up in all processes.

        losses  name -> this process's share of it, for the log; epoch: how far in the data this update leads
        """
        if self.world > 1:
            self._add_gradients()
        if self.settings.clip is not None:
            self.accelerator.clip_grad_norm_(list(self._trained.values()), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.epoch = epoch
        self._set_learning_rate()
        if self._ema:
            self._average()
        for key, value in losses.items():
            self._pending.setdefault(key, []).append(value.detach())
        told = self.step % self.settings.log_every == 0 or self.step == self.total
        if told:
            self._write("train", self._taken("log") | {"lr": self.optimizer.param_groups[0]["lr"]})
        self._progress.advance(self._text if told else "")

    def after_update(self, every: int, scores: Callable[[], Mapping[str, float]]) -> None:
        """Validate when due, save when due; when asked to stop, save and raise GazeError STOPPED.

        every   updates between validations; the last update is followed by one, too
        scores  computes them; once `stopping`, it may return at once: a resumed run makes up for it
        """
        due = self.step and (self.step % every == 0 or self.step == self.total) and self.validated_at < self.step
        if due and not self.stopping:
            with self.averaged():
                found = scores()
            if not self.stopping:
                self._validated(found)
        if self.saved_at < self.step and (
            self.stopping or self.step % self.settings.save_every == 0 or self.step == self.total
        ):
            self.save()
        if self.stopping and self.step < self.total:
            raise GazeError(
                f"stopped after {self.step} of {self.total} updates; the same command line with --resume goes on",
                STOPPED,
            )

    def _validated(self, scores: Mapping[str, float]) -> None:
        """Log validation scores, with the mean losses since the last, and keep the best checkpoint."""
        means = self._taken("epoch")
        found = {**means, **scores}
        self.validated_at = self.step
        self._write("validation", found)
        value = found.get(self.settings.best_by)
        if value is None:
            raise GazeError(
                f"best by {self.settings.best_by}: validation has no such metric; it has {', '.join(found)}", USAGE
            )
        low = self.settings.best_by.endswith(LOWER_IS_BETTER)
        if self.best is None or (value < self.best if low else value > self.best):
            self.best = value
            with self.averaged():
                self._checkpoint(self.folder / BEST, {"step": self.step, "scores": found})

    def keep_epoch(self, epoch: int) -> None:
        """Write the checkpoint of an epoch that has ended, counted from 1, beside the best and the last."""
        if self.main:
            (self.folder / EPOCHS).mkdir(exist_ok=True)
        with self.averaged():
            self._checkpoint(self.folder / EPOCHS / f"{epoch:04}.safetensors", {"step": self.step, "epoch": epoch})

    @property
    def stopping(self) -> bool:
        """Whether a signal asked to stop; several processes have to agree first."""
        return bool(self._stop or (self._asked and self.world == 1))

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights, where there are any."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def gather(self, items: list[Any]) -> list[Any]:
        """The lists of all processes after one another."""
        return gather_object(items) if self.world > 1 else items

    # ---- saving and going on ----------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write last/: it changes all at once, so that a kill at any moment leaves the old one or the new one."""
        self._settle()
        own = {f"carried.{key}": value.cpu().contiguous() for key, value in self.carried.items()}
        own["rng.torch"] = torch.get_rng_state()
        if self.device.type == "cuda":
            own["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        processes = self.gather([own])
        if self.main:
            self._log.flush()
            part = self.folder / f".{LAST}.part-{secrets.token_hex(3)}"
            part.mkdir()
            self._checkpoint(part / MODEL, {"step": self.step})
            tensors, record = self._state()
            tensors |= {f"process.{i}.{key}": value for i, each in enumerate(processes) for key, value in each.items()}
            try:
                save_file(tensors, part / STATE, {"record": strict_json(record)})
                sync(part)
                replace(part, self.folder / LAST, overwrite=True)
            except (OSError, SafetensorError) as error:
                delete(part)
                raise GazeError(f"{self.folder / LAST} cannot be written: {error}", IO) from error
        self.saved_at = self.step
        self.accelerator.wait_for_everyone()

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        optimizer = self.optimizer.state_dict()
        tensors = {f"ema.{key}": value for key, value in self._ema.items()}
        for index, values in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value.detach() for key, value in values.items()}
        scaler = self.accelerator.scaler
        record = {
            "step": self.step,
            "epoch": self.epoch,
            "world": self.world,
            "data": self.data,
            "best": self.best,
            "validated_at": self.validated_at,
            "means": self._means,
            "groups": optimizer["param_groups"],
            "scaler": scaler.state_dict() if scaler else None,
            "metrics_bytes": self._log.tell(),
            "random": [random.getstate()[1], _plain_numpy_state()],
        }
        return {key: value.cpu().contiguous() for key, value in tensors.items()}, record

    def _restore(self) -> None:
        path = self.folder / LAST / STATE
        try:
            with safe_open(path, framework="pt") as file:
                record = json.loads(file.metadata()["record"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise GazeError(f"{path} cannot be read ({error}); begin anew with --overwrite") from error
        if record["world"] != self.world:
            raise GazeError(f"{self.folder} ran in {record['world']} processes; go on with as many, not {self.world}")
        if record["data"] != self.data:
            raise GazeError(f"{self.folder} was begun on other samples ({record['data'][:12]}, not {self.data[:12]})")
        _load_weights(self.folder / LAST / MODEL, self.model)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, "optimizer.").items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": record["groups"]})
        for parameter, values in self.optimizer.state.items():  # a fused optimizer takes them to lie as the parameter
            values |= {k: torch.empty_like(parameter).copy_(v) for k, v in values.items() if v.shape == parameter.shape}
        for key, value in _below(tensors, "ema.").items():
            self._ema[key].copy_(value)
        if self.accelerator.scaler and record["scaler"]:
            self.accelerator.scaler.load_state_dict(record["scaler"])
        own = _below(tensors, f"process.{self.rank}.")
        torch.set_rng_state(own["rng.torch"])
        if "rng.cuda" in own and self.device.type == "cuda":
            torch.cuda.set_rng_state(own["rng.cuda"], self.device)
        self.carried = {key: value.to(self.device) for key, value in _below(own, "carried.").items()}
        words, generator = record["random"]
        random.setstate((3, tuple(words), None))
        np.random.set_state(("MT19937", *generator))  # what a plug-in's model may draw from
        self.step, self.epoch, self.best = record["step"], record["epoch"], record["best"]
        self.validated_at, self._means = record["validated_at"], record["means"]
        self.saved_at = self.step
        if self.main:
            with (self.folder / METRICS).open("ab") as log:
                log.truncate(record["metrics_bytes"])  # what a killed run logged after its last save comes again

    def _checkpoint(self, path: Path, extra: Mapping[str, Any]) -> None:
        if self.main:
            step = provenance.current()
            entries = step.entries() if step.keep else ()
            checkpoints.save(path, self.model, self.name, steps=entries, extra=self.extra | extra)

    # ---- gradients and averages -------------------------------------------------------------------------------------

    def _add_gradients(self) -> None:
        """Sums over the processes; a process whose pieces were empty adds nothing."""
        for value in self._trained.values():
            if value.grad is None:
                value.grad = torch.zeros_like(value)
        gradients = [value.grad for value in self._trained.values()]
        together = torch.cat([gradient.flatten() for gradient in gradients])  # type: ignore[union-attr]
        torch.distributed.all_reduce(together)
        for gradient, part in zip(gradients, together.split([value.numel() for value in gradients]), strict=True):  # type: ignore[union-attr]
            gradient.copy_(part.view_as(gradient))  # type: ignore[union-attr]

    def _set_learning_rate(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(self.step, group["initial_lr"])

    @torch.no_grad()
    def _average(self) -> None:
        """The decay grows to its value over the first updates, else the average would long be the first weights."""
        decay = min(self.settings.ema or 0.0, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self._ema.values()), list(self._trained.values()), 1 - decay)

    @torch.no_grad()
    def _swap(self) -> None:
        for key, value in list(self._ema.items()):
            self._ema[key], self._trained[key].data = self._trained[key].data, value

    # ---- the log ----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Losses of the updates since, summed over all processes, into the running means."""
        names = sorted(self._pending)
        if names:
            own = torch.stack([torch.stack(self._pending[name]).double().sum() for name in names])
            for name, value in zip(names, self._summed(own).tolist(), strict=True):
                for window in self._means.values():
                    mean = window.setdefault(name, [0.0, 0])
                    mean[0] += value
                    mean[1] += len(self._pending[name])
            self._pending.clear()

    def _taken(self, window: str) -> dict[str, float]:
        self._settle()
        means = {name: total / count for name, (total, count) in self._means[window].items()}
        self._means[window] = {}
        return means

    def _write(self, kind: str, values: Mapping[str, float]) -> None:
        if not self.main:
            return
        line = {"kind": kind, "step": self.step, "epoch": round(self.epoch, 4), **values}
        self._log.write(strict_json(line | {"seconds": round(time.monotonic() - self._began, 3)}) + "\n")
        self._log.flush()
        self._text = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if name != "lr")
        if kind == "validation":
            self._progress.say(f"validation at update {self.step}: {self._text}")
        for tracker in self._trackers:
            tracker.log({f"{kind}/{name}": value for name, value in values.items()}, self.step)

    # ---- signals and the end ----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """The first signal lets the update end and saves; a second Ctrl-C stops at once."""
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = 1

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if hasattr(self, "_progress"):
            self._progress.__exit__(None, None, None)
        if self._log:
            self._log.close()
        for tracker in self._trackers:
            tracker.close()
        self.accelerator.end_training()
        torch.use_deterministic_algorithms(False)


def _plain_numpy_state() -> list[Any]:
    _, words, *rest = np.random.get_state(legacy=True)
    return [words.tolist(), *rest]


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _load_weights(path: Path, model: nn.Module) -> None:
    """The weights of a checkpoint of this very model into it; what checkpoints leave out stays."""
    found = model.load_state_dict(load_file(path), strict=False)
    left_out = tuple(getattr(model, "left_out", ()))
    lacking = [key for key in found.missing_keys if not key.startswith(left_out)] + found.unexpected_keys
    if lacking:
        raise GazeError(f"{path} is of another model: {', '.join(lacking[:3])} differ; begin anew with --overwrite")
