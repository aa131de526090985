"""Checkpoints: one .safetensors file that says what it is, and the author checkpoints that can become one.

The file's metadata holds JSON texts: format, model (its name in gazecore.models), config, preprocessing, provenance
(the chain of commands, as in artifacts), parameters (their count), left_out and extra. Nothing of ours is a pickle.
"""

import dataclasses
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gazecore import models, weight_files
from gazecore.artifacts import provenance
from gazecore.artifacts.provenance import strict_json
from gazecore.errors import DATA, IO, NO_INPUT, GazeError, raise_all
from gazecore.key_maps import LAYOUTS, Layout

log = logging.getLogger(__name__)

FORMAT = "gz-checkpoint/1"


def save(
    path: str | Path,
    model: nn.Module,
    name: str,
    config: Any = None,
    steps: Sequence[Mapping[str, Any]] = (),
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a model as a checkpoint; the file appears complete or not at all, and replaces one of the same name.

    name         of gazecore.models
    config       None takes model.config
    steps        the entries of the commands that led here (gazecore.artifacts.provenance)
    extra        anything else worth keeping: scores, class names; JSON values
    """
    path, left_out = Path(path), _left_out(model)
    settings: Any = model.config if config is None else config
    tensors = {key: value.detach().cpu().contiguous() for key, value in _kept(model.state_dict(), left_out).items()}
    metadata = {
        "format": FORMAT,
        "model": name,
        "config": dataclasses.asdict(settings),
        "preprocessing": getattr(model, "preprocessing", {}),
        "provenance": list(steps),
        "parameters": sum(parameter.numel() for parameter in _kept(dict(model.named_parameters()), left_out).values()),
        "left_out": {"prefixes": list(left_out), "fingerprint": _fingerprint(model, left_out)},
        "extra": dict(extra or {}),
    }
    part = path.with_name(f".{path.name}.part")
    try:
        save_file(tensors, part, {key: strict_json(value) for key, value in metadata.items()})
        part.chmod(0o666 & ~_umask())  # safetensors gives the file to its owner alone
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise GazeError(f"{path} cannot be written: {error}", IO) from error
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def info(path: str | Path) -> dict[str, Any]:
    """What a checkpoint is, from its first bytes, no tensor loaded.

    returns  model, config, preprocessing, provenance, parameters, left_out, extra; keys (their count), bytes (of the
             file)
    Errors: a missing file, a truncated one, and one that is not ours.
    """
    return _opened(Path(path))[0]


def load(path: str | Path, device: str | torch.device = "cpu", weights: str | Path | None = None) -> nn.Module:
    """The model in a checkpoint, in eval mode.

    weights  a local file of the public backbone that the checkpoint leaves out; None takes the cache or the hub
    Errors: what `info` reports; a model or setting that is not known here; keys missing, unknown or of another shape;
    a backbone other than the one it was trained on.
    """
    path = Path(path)
    record, shapes = _opened(path)
    name, config = record["model"], models.configure(record["model"], record["config"])
    options = _backbone_options(name, shapes, weights)
    model = models.build(name, config, **options)
    expected = {key: list(value.shape) for key, value in model.state_dict().items()}
    missing = [key for key in expected if key not in shapes and not key.startswith(_left_out(model))]
    unknown = [key for key in shapes if key not in expected]
    raise_all(
        _problems(expected, shapes, missing, unknown),
        f"{path} does not hold a {name} of its own configuration",
        "It was changed after it was written, or written by another version; import its source again.",
    )

    stored = load_file(path, device=str(device))  # half precision makes small files; it is not computed in
    stored = {key: value.float() if value.dtype == torch.float16 else value for key, value in stored.items()}
    model.load_state_dict(stored, strict=False, assign=True)
    _check_backbone(path, model, record["left_out"])
    model.preprocessing = record["preprocessing"]
    return model.to(device).eval()


@dataclasses.dataclass(frozen=True)
class Opened:
    """What --checkpoint named: the model, its name, the SHA-256 of its file ("" for random weights), updates done."""

    model: nn.Module
    name: str
    sha256: str
    step: int = 0

    @property
    def attrs(self) -> dict[str, str]:
        """Attributes of what the model predicts."""
        return {"model": self.name} | ({"checkpoint_sha256": self.sha256} if self.sha256 else {})


def open_model(source: str, weights: str | Path | None = None, seed: int = 0) -> Opened:
    """The model that --checkpoint names: a checkpoint, or MODEL:PRESET with random weights from the seed.

    A run's folder means its best checkpoint. A checkpoint becomes an input of the running command, in its provenance.
    """
    if (best := Path(source, "best.safetensors")).is_file():
        source = str(best)
    name, colon, preset = source.partition(":")
    if colon and name in models.names() and not Path(source).exists():
        torch.manual_seed(seed)
        fresh = {"pretrained": False} if hasattr(models.find(name), "left_out") else {}
        log.warning(f"{source} has random weights (seed {seed}): good for trying things, not for results")
        return Opened(models.build(name, preset, **fresh).eval(), name, "")
    record = info(source)
    with Path(source).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    provenance.current().add_input(source, digest, record["provenance"])
    return Opened(load(source, weights=weights), record["model"], digest, record["extra"].get("step", 0))


@dataclasses.dataclass(frozen=True)
class ImportReport:
    """What became of the names in an imported file.

    project, entry   whose layout it was recognised as ("" = our own names), the entry of the file that was taken
    renamed          its name -> ours, where they differ
    dropped          its names without a place in our model
    missing          our names that it did not hold and that now have fresh weights
    keys, parameters counts of what was taken over
    """

    project: str
    entry: str
    renamed: dict[str, str]
    dropped: list[str]
    missing: list[str]
    keys: int
    parameters: int


def import_weights(
    path: str | Path,
    as_model: str,
    config: Any = None,
    *,
    entry: str | None = None,
    partial: bool = False,
    weights: str | Path | None = None,
) -> tuple[nn.Module, ImportReport]:
    """An author's weight file (.pt, .pth, .ckpt, .safetensors) as a model in eval mode; `save` makes it a checkpoint.

    as_model  name in gazecore.models
    config    preset, mapping or configuration; None reads the sizes off the file's shapes
    entry     which entry of the file holds the weights ("ema_params"); None finds "model", "state_dict" or the whole
    partial   accept what the project's files never hold (key_maps, `lacks`), with fresh weights: a start for training
    weights   a local file of the public backbone that the file leaves out; without it the model can be saved, not run
    Errors: a file that is refused, truncated or of another model; all keys that are missing or of another shape.
    """
    path = Path(path)
    tensors, entry = weight_files.state_dict(path, entry)
    layout = _recognise(path, tensors, as_model)
    found, renamed, dropped = _renamed(tensors, layout)

    model_class = models.find(as_model)
    if config is None and hasattr(model_class, "config_of"):
        config = model_class.config_of(found)
    options = _backbone_options(as_model, found, weights)
    if options.get("pretrained") and weights is None:
        options["pretrained"] = None  # a decoder is converted without its backbone at hand
    model = models.build(as_model, config, **options)
    expected = {key: list(value.shape) for key, value in model.state_dict().items()}

    dropped += [key for key in found if key not in expected]
    absent = [key for key in expected if key not in found and not key.startswith(_left_out(model))]
    # PyTorch before 0.4.1 did not store it, and no result depends on it
    absent = [key for key in absent if not key.endswith("num_batches_tracked")]
    absent = [key for key in absent if not key.startswith(getattr(model, "unused", ()))]
    known_lack = [key for key in absent if _matches(key, layout.lacks)]
    missing = [key for key in absent if not (partial and key in known_lack)]
    shapes = {key: list(value.shape) for key, value in found.items()}
    hint = f"The file is of {layout.project or 'no project known here'}, {len(tensors)} keys."
    if missing and len(missing) == len(known_lack):
        hint += (
            f" Its files never hold these {len(missing)}: partial=True (--partial) starts them afresh, for training."
        )
    raise_all(_problems(expected, shapes, missing, ()), f"{path} does not make a {as_model}", hint, most=12)

    types = {key: value.dtype for key, value in model.state_dict().items()}
    taken = {key: value.to(types[key]) for key, value in found.items() if key in expected}
    model.load_state_dict(taken, strict=False, assign=True)
    count = sum(value.numel() for key, value in model.named_parameters() if key in taken)
    return model.eval(), ImportReport(layout.project, entry, renamed, dropped, absent, len(taken), count)


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """A checkpoint's record and the shape of every tensor in it."""
    if path.is_dir():
        raise GazeError(f"{path} is a folder; expected a checkpoint, a .safetensors file (of a run: best.safetensors)")
    if not path.is_file():
        known = ", ".join(f"{name}:{preset}" for name in models.MODELS for preset in models.MODELS[name].presets)
        raise GazeError(f"{path}: there is no such checkpoint; random weights to try things are {known}", NO_INPUT)
    with path.open("rb") as file:
        pickled = file.read(4) in (b"PK\x03\x04", b"\x80\x02}q", b"\x80\x02\x8a\n")
    if pickled:
        raise GazeError(f"{path} is a PyTorch file; bring it in with gz import-weights {path} --as MODEL", DATA)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            shapes = {key: list(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise GazeError(f"{path} is truncated or no checkpoint ({error}); copy or train it again", DATA) from error
    if "format" not in metadata:
        raise GazeError(
            f"{path} holds weights but says nothing about their model; bring it in with "
            f"gz import-weights {path} --as MODEL",
            DATA,
        )
    try:
        record = {key: json.loads(value) for key, value in metadata.items()}
    except json.JSONDecodeError as error:
        raise GazeError(f"{path} has damaged metadata ({error}); copy or train it again", DATA) from error
    if record["format"] != FORMAT:
        raise GazeError(f"{path} is written as {record['format']}; expected {FORMAT}. Update gz to read it", DATA)
    record |= {"keys": len(shapes), "bytes": path.stat().st_size}
    return record, shapes


def _problems(
    expected: Mapping[str, list[int]], found: Mapping[str, list[int]], missing: Sequence[str], unknown: Sequence[str]
) -> list[str]:
    misshapen = [
        f"{key} is {tuple(found[key])}; expected {tuple(shape)}"
        for key, shape in expected.items()
        if key in found and list(found[key]) != shape
    ]
    return [*(f"{key} is missing" for key in missing), *misshapen, *(f"{key} is not known" for key in unknown)]


def _left_out(model: Any) -> tuple[str, ...]:
    return tuple(getattr(model, "left_out", ()))


def _kept(named: Mapping[str, Tensor], left_out: tuple[str, ...]) -> dict[str, Tensor]:
    return {key: value for key, value in named.items() if not key.startswith(left_out)}


def _backbone_options(name: str, keys: Mapping[str, Any], weights: str | Path | None) -> dict[str, Any]:
    """What `build` is told of where a backbone's weights come from: from these keys, or from public ones."""
    if not hasattr(models.find(name), "left_out"):
        return {}
    if any(key.startswith("backbone.") for key in keys):
        return {"pretrained": False}
    return {"pretrained": True, "weights": weights}


def _fingerprint(model: nn.Module, left_out: tuple[str, ...]) -> str | None:
    """A short identity of the weights that a checkpoint leaves out: of their norms and biases, as bfloat16."""
    vectors = [(key, value) for key, value in model.named_parameters() if left_out and key.startswith(left_out)]
    vectors = sorted((key, value) for key, value in vectors if value.ndim == 1)
    if not vectors or vectors[0][1].is_meta:
        return None
    digest = hashlib.sha256()
    for key, value in vectors:
        digest.update(key.encode())
        digest.update(value.detach().cpu().to(torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def _check_backbone(path: Path, model: nn.Module, left_out: Mapping[str, Any]) -> None:
    found = _fingerprint(model, tuple(left_out["prefixes"]))
    if None not in (found, left_out["fingerprint"]) and found != left_out["fingerprint"]:
        raise GazeError(
            f"{path} was trained on another backbone ({left_out['fingerprint']}) than the one given ({found}); pass "
            "that one with --weights",
            DATA,
        )


def _recognise(path: Path, tensors: Mapping[str, Tensor], as_model: str) -> Layout:
    fitting = [
        layout
        for layout in LAYOUTS
        if all(mark in tensors for mark in layout.marks) and not any(mark in tensors for mark in layout.unlike)
    ]
    for layout in fitting:
        if layout.model == as_model:
            return layout
    if fitting:
        possible = " or ".join(f"--as {layout.model}" for layout in fitting)
        raise GazeError(
            f"{path} holds weights of {fitting[0].project}, not of {as_model}; import them {possible}", DATA
        )
    return Layout("", as_model, ())


def _renamed(tensors: Mapping[str, Tensor], layout: Layout) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """A file's tensors under our names, the names that changed, and those that were dropped."""
    found, renamed, dropped = {}, {}, []
    for key, value in tensors.items():
        if _matches(key, layout.drops):
            dropped.append(key)
            continue
        ours = next((re.sub(f"^{old}", new, key) for old, new in layout.renames if re.match(old, key)), key)
        found[ours] = value
        if ours != key:
            renamed[key] = ours
    return found, renamed, dropped


def _matches(key: str, expressions: Sequence[str]) -> bool:
    return any(re.match(expression, key) for expression in expressions)
