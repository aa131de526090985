"""Artifact kinds: one JSON document each in schemas/, read here, and artifacts checked against them."""

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from gazecore.errors import GazeError

if TYPE_CHECKING:
    from gazecore.artifacts.store import Artifact


@dataclass(frozen=True)
class VariableSpec:
    """One variable of a kind: what the document says of it."""

    name: str
    dims: tuple[str, ...]
    dtypes: tuple[str, ...]
    help: str
    required: bool = False
    units: str = "1"
    minimum: float | None = None
    maximum: float | None = None
    ragged_by: str | None = None
    indexes: str | None = None
    packed: bool = False


@dataclass(frozen=True)
class Schema:
    """One artifact kind: dims (None: any length), variables, attributes, groups of which one must be there."""

    name: str
    version: str
    title: str
    made_by: tuple[str, ...]
    dims: dict[str, int | None]
    variables: dict[str, VariableSpec]
    attrs: dict[str, str]
    any_of: tuple[tuple[str, ...], ...] = field(default=())

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


@cache
def names() -> tuple[str, ...]:
    """Every artifact kind, in alphabetical order."""
    documents = (entry.name for entry in files("gazecore.schemas").iterdir())
    return tuple(sorted(n[:-5] for n in documents if n.endswith(".json") and not n.startswith("_")))


@cache
def load(kind: str) -> Schema:
    """The schema of a kind; GazeError for a kind that does not exist."""
    if kind not in names():
        raise GazeError(f'no artifact kind "{kind}"; there are {", ".join(names())}')
    document = json.loads((files("gazecore.schemas") / f"{kind}.json").read_text("utf-8"))
    counters = {v["dims"][0]: v["ragged_by"] for v in document["variables"].values() if "ragged_by" in v}
    variables = {
        name: VariableSpec(
            name=name,
            dims=tuple(v["dims"]),
            dtypes=tuple(v["dtype"]),
            help=v["help"],
            required=v.get("required", False),
            units=v.get("units", "1"),
            minimum=v.get("min"),
            maximum=v.get("max"),
            ragged_by=counters.get(v["dims"][0]),  # of all variables that share the ragged dimension
            indexes=v.get("indexes"),
            packed=v.get("packed", False),
        )
        for name, v in document["variables"].items()
    }
    return Schema(
        name=document["name"],
        version=document["version"],
        title=document["title"],
        made_by=tuple(document["made_by"]),
        dims=document["dims"],
        variables=variables,
        attrs=document.get("attrs", {}),
        any_of=tuple(tuple(group) for group in document.get("any_of", [])),
    )


def problems(artifact: "Artifact", values: bool = False) -> list[str]:
    """Everything in which an artifact departs from its schema; values=True also reads and checks the numbers' ranges.

    Variables that the schema does not know pass: a newer minor version, or a user's own addition.
    """
    schema = load(artifact.kind)
    found = [
        f"{name} is missing: {spec.help}"
        for name, spec in schema.variables.items()
        if spec.required and name not in artifact
    ]
    found += [
        f"none of {', '.join(group)} is there; at least one is needed"
        for group in schema.any_of
        if not any(name in artifact for name in group)
    ]
    for name, variable in artifact.variables.items():
        if name not in schema.variables:
            continue
        spec = schema.variables[name]
        if variable.dims != spec.dims:
            found.append(f"{name} has dims ({', '.join(variable.dims)}); expected ({', '.join(spec.dims)})")
        if variable.dtype_name not in spec.dtypes:
            found.append(f"{name} is {variable.dtype_name}; expected {' or '.join(spec.dtypes)}")
        for dim, length in zip(variable.dims, variable.shape, strict=True):
            wanted = schema.dims.get(dim)
            if wanted is not None and length != wanted:
                found.append(f"{name}: dimension {dim} is {length} long; expected {wanted}")
    if not found and values:
        found += _value_problems(artifact, schema)
    return found


def _value_problems(artifact: "Artifact", schema: Schema) -> list[str]:
    found = []
    for name, spec in schema.variables.items():
        if name not in artifact or artifact[name].dtype_name == "string":
            continue
        low, high = spec.minimum, spec.maximum
        if spec.indexes:
            low, high = 0, artifact.dims.get(spec.indexes, 0) - 1
        outside = 0
        total = 0
        for start, stop in artifact[name].row_blocks():
            rows: Any = artifact[name][start:stop]
            total += int(rows.sum()) if spec.ragged_by is None and _counts(schema, name) else 0
            if low is not None:
                outside += int(np.count_nonzero(rows < low))
            if high is not None:
                outside += int(np.count_nonzero(rows > high))
        if outside:
            found.append(f"{name}: {outside} values outside {low}..{high}")
        ragged = _counts(schema, name)
        if ragged and ragged in artifact and total != artifact[ragged].shape[0]:
            found.append(f"{name} adds up to {total} rows; {ragged} holds {artifact[ragged].shape[0]}")
    return found


def _counts(schema: Schema, name: str) -> str | None:
    """The ragged variable whose rows `name` counts."""
    return next((v.name for v in schema.variables.values() if v.ragged_by == name), None)
