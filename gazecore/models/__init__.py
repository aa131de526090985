"""One file = one architecture, all of it. Checkpoints store a model's name; the table here says whose it is.

A model is an nn.Module class with `Config` (a frozen dataclass), `presets` (name -> Config), and on the instance
`config` and `preprocessing`, what its inputs must look like: JSON values, stored in its checkpoints. Of gaze following:

input_size          [rows, columns] of the scene
mean, std           per channel, of values 0..1
order               "resize-then-normalise" or "normalise-then-resize": they round differently
head_crop_size      [rows, columns] of the head crop, or None where the model takes none
head_mask           "truncate": a binary mask of the scene's size, box edges cut to whole pixels, half-open; or None
head_box_expansion  how much of its size the head box grows before the crop is cut, or 0

A model on a public backbone takes `pretrained` and `weights` (see gazelle.py), and its `left_out` names the prefixes
of the parameters that its checkpoints do not hold. `config_of(tensors)`, where a class has it, reads the sizes off an
author's weights.

All models of a task have the same `predict(batch)`; one of video that `remembers` also takes the state and batch_sizes
of packed tracks (see vtd_temporal.py). A package adds a model by an entry point of the group "gz.models",
its name -> such a class.
"""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

from gazecore.errors import DATA, UNAVAILABLE, USAGE, GazeError

if TYPE_CHECKING:
    from torch import Tensor, nn


class Model(NamedTuple):
    """Where a model lies and the names of its presets, the first of them the default: known without importing torch."""

    module: str
    class_name: str
    presets: tuple[str, ...]
    task: str


MODELS = {
    "vtd": Model("gazecore.models.vtd", "Vtd", ("default", "tiny"), "following"),
    "vtd-temporal": Model("gazecore.models.vtd_temporal", "VtdTemporal", ("default", "tiny"), "following"),
    "gazelle": Model(
        "gazecore.models.gazelle",
        "Gazelle",
        ("vitb14-inout", "vitb14", "vitl14-inout", "vitl14", "tiny"),
        "following",
    ),
    "segformer": Model("gazecore.models.segformer", "Segformer", ("tiny", "b0"), "eyes"),
    "ritnet": Model("gazecore.models.ritnet", "Ritnet", ("default", "16ch"), "eyes"),
    "mask2former": Model(
        "gazecore.models.mask2former", "Mask2Former", ("ci", "swin-tiny", "resnet18", "resnet50"), "eyes"
    ),
}


@dataclass(frozen=True)
class Prediction:
    """What predict(batch) of gaze following returns, one row per person of the batch.

    heatmap   (people, 64, 64), any scale
    in_frame  (people,) probability that the gaze target lies inside the scene image; None where the model has no such
              head
    state     what a video model hands to the prediction of the next frames
    """

    heatmap: Tensor
    in_frame: Tensor | None = None
    state: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class EyePrediction:
    """What predict(batch) of eye regions returns.

    probability  (b, 4, h, w) of background, iris, pupil, sclera; float32, they sum to 1
    """

    probability: Tensor


def names(task: str | None = None) -> list[str]:
    """Our models, of one task or of all, and the installed plug-ins (none of which is imported)."""
    ours = [name for name, model in MODELS.items() if task in (None, model.task)]
    return ours + sorted(_plug_ins())


def find(name: str) -> type[Any]:
    """The class of a model.

    Errors: an unknown name, and a plug-in that cannot be imported; the other models work on.
    """
    if name in MODELS:
        return getattr(import_module(MODELS[name].module), MODELS[name].class_name)
    plug_ins = _plug_ins()
    if name not in plug_ins:
        known = names()
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise GazeError(f'no model is called "{name}"; {hint}', USAGE)
    entry = plug_ins[name]
    try:
        found = entry.load()
    except Exception as error:  # a plug-in is foreign code: whatever it raises is its author's to put right
        package = entry.dist.name if entry.dist else entry.value
        raise GazeError(
            f'the model "{name}" comes from the plug-in {package} ({entry.value}), which cannot be loaded: {error!r}. '
            f"Update or uninstall {package}",
            UNAVAILABLE,
        ) from error
    lacking = [member for member in ("Config", "presets") if not hasattr(found, member)]
    if lacking:
        raise GazeError(f'the plug-in model "{name}" ({entry.value}) has no {" and no ".join(lacking)}', UNAVAILABLE)
    return found


def configure(name: str, config: Any = None) -> Any:
    """A model's configuration from a preset's name, a mapping of fields, a ready one, or None for the first preset.

    A mapping may come from JSON or YAML: lists become tuples. Errors: an unknown preset or field.
    """
    model = find(name)
    if config is None:
        return next(iter(model.presets.values()))
    if isinstance(config, str):
        if config not in model.presets:
            raise GazeError(f'{name} has no preset "{config}"; there are {", ".join(model.presets)}', USAGE)
        return model.presets[config]
    if not isinstance(config, Mapping):
        return config
    fields = [field.name for field in dataclasses.fields(model.Config)]
    unknown = [key for key in config if key not in fields]
    if unknown:
        raise GazeError(f"{name} has no setting {', '.join(unknown)}; there are {', '.join(fields)}", DATA)
    return model.Config(**{key: _tuples(value) for key, value in config.items()})


def build(name: str, config: Any = None, **options: Any) -> nn.Module:
    """A model with fresh weights (and pretrained ones where it has a public backbone).

    name     of MODELS or of a plug-in
    config   see `configure`
    options  what else the model takes: gazelle has `pretrained` and `weights`
    """
    return find(name)(configure(name, config), **options)


def _plug_ins() -> dict[str, EntryPoint]:
    found = {}
    for entry in entry_points(group="gz.models"):
        if entry.name in MODELS:
            warnings.warn(f'the plug-in model "{entry.name}" ({entry.value}) is hidden by ours', stacklevel=3)
        else:
            found[entry.name] = entry
    return found


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
