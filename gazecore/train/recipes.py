"""What the recipes of all tasks share: how one is chosen and changed, on what it validates, its rates and its order.

A recipe is a frozen dataclass with `model_options`, `schedule`, `final_lr` and `warmup` among its fields.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import cos, pi
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from gazecore import artifacts
from gazecore.artifacts import Artifact
from gazecore.errors import NO_INPUT, USAGE, GazeError

R = TypeVar("R")
FIXED = ("model_options", "expected")  # fields that no option and no setting names


def chosen(known: Mapping[str, R], preset: str, options: Mapping[str, Any], settings: Sequence[str] = ()) -> R:
    """A preset, changed by options (name -> value; None and names that are no field of a recipe change nothing) and by
    settings, "name=value" or "model.name=value" with values as in YAML.

    Errors: an unknown preset, field or setting; a value of another kind.
    """
    if preset not in known:
        raise GazeError(f"no preset {preset!r}; {_hint(preset, known)}", USAGE)
    found: Any = known[preset]
    fields = {f.name: f for f in dataclasses.fields(found) if f.name not in FIXED}
    found = dataclasses.replace(found, **{k: v for k, v in options.items() if k in fields and v is not None})
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise GazeError(f"--set {setting}: expected NAME=VALUE", USAGE)
        if name.startswith("model."):
            change = {name.removeprefix("model."): yaml.safe_load(text)}
            found = dataclasses.replace(found, model_options={**found.model_options, **change})
        elif name in fields:
            found = dataclasses.replace(found, **{name: _typed(text, fields[name].type, name)})
        else:
            raise GazeError(f"--set {name}: no such setting; {_hint(name, [*fields, 'model.NAME'])}", USAGE)
    return found


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def _typed(text: str, annotation: Any, name: str) -> Any:
    """A setting's value in the type of the recipe's field, such as float | None."""
    kinds = (annotation.__name__ if isinstance(annotation, type) else str(annotation)).split(" | ")
    if text in ("null", "none", "None") and "None" in kinds:
        return None
    try:
        if kinds[0] == "bool":
            return {"true": True, "false": False}[text.lower()]
        return {"int": int, "float": float, "str": str}[kinds[0]](text)
    except (KeyError, ValueError) as error:
        raise GazeError(f"--set {name}={text}: expected {' or '.join(kinds)}", USAGE) from error


def split_of(samples: Artifact, wanted: str) -> str | None:
    """The split, if the artifact has it."""
    return wanted if "split" in samples and wanted in samples["split"].whole() else None


def validation(samples: Artifact, validate_on: str | None) -> Artifact | float | str | None:
    """What --validate-on names: a share ("10%"), an artifact, or a split; without it val, if there is one.

    Errors: what is neither.
    """
    if validate_on is None:
        return split_of(samples, "val")
    if validate_on.endswith("%"):
        try:
            share = float(validate_on[:-1]) / 100
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            raise GazeError(f"--validate-on {validate_on}: expected a share between 0% and 100%", USAGE)
        return share
    if Path(validate_on).exists():
        return artifacts.open(validate_on, kind=samples.kind)
    if split_of(samples, validate_on) is None:
        raise GazeError(f"--validate-on {validate_on}: neither an artifact nor a split of {samples.path}", NO_INPUT)
    return validate_on


def learning_rate(recipe: Any, lengths: Sequence[int], total: int) -> Callable[[int, float], float]:
    """(updates done, a group's rate) -> its rate in the next update.

    lengths  updates of each epoch; total: of the whole run
    schedule constant; cosine; cosine-epochs, the same in a step per epoch; poly, with power 0.9; from the rate down to
             final_lr. warmup: updates during which it grows from zero
    """
    ends = np.cumsum(lengths)
    shapes: dict[str, Callable[[int], float]] = {
        "constant": lambda step: 1.0,
        "cosine": lambda step: (1 + cos(pi * min(step / total, 1.0))) / 2,
        "cosine-epochs": lambda step: (1 + cos(pi * np.searchsorted(ends, step, side="right") / len(ends))) / 2,
        "poly": lambda step: (1 - min(step / total, 1.0)) ** 0.9,
    }
    if recipe.schedule not in shapes:
        raise GazeError(f"--set schedule={recipe.schedule}: expected {', '.join(shapes)}", USAGE)
    shape = shapes[recipe.schedule]

    def rate(step: int, own: float) -> float:
        warm = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
        return warm * (recipe.final_lr + (own - recipe.final_lr) * shape(step))

    return rate


def places(lengths: Sequence[int], step: int, total: int) -> Iterator[tuple[int, int]]:
    """(epoch, update in it) of every update after `step`, up to `total`."""
    done = 0
    for epoch, length in enumerate(lengths):
        for update in range(length):
            if step <= done < total:
                yield epoch, update
            done += 1
