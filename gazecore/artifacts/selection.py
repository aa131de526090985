"""Which rows of an artifact are meant: by expression, split, number, order."""

import numpy as np

from gazecore.artifacts import expression
from gazecore.artifacts.store import Artifact
from gazecore.errors import GazeError


def rows(
    artifact: Artifact,
    where: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """Row numbers (k,) of the main dimension; GazeError when nothing is left, naming what there is."""
    chosen = np.arange(len(artifact))
    if split is not None:
        splits = artifact["split"].whole()
        chosen = chosen[splits == split]
        if not len(chosen):
            there = ", ".join(sorted(set(splits.tolist())))
            raise GazeError(f"{artifact.path} has no sample of split {split!r}; its splits are {there}")
    if where is not None:
        chosen = chosen[_matching(artifact, where)[chosen]]
        if not len(chosen):
            raise GazeError(f"no sample of {artifact.path} fulfils {where!r}")
    if shuffle:
        chosen = np.random.default_rng(seed).permutation(chosen)
    return chosen[:limit]


def _matching(artifact: Artifact, where: str) -> np.ndarray:
    asked = expression.names(where)
    along = [v.name for v in artifact.variables.values() if v.dims[0] == artifact.main_dim]
    unknown = sorted(asked - set(along))
    if unknown:
        raise GazeError(f"{artifact.path} has no variable {', '.join(unknown)} per sample; it has {', '.join(along)}")
    parts = [
        np.broadcast_to(
            expression.evaluate(where, {name: artifact[name][block] for name in asked}), block.stop - block.start
        )
        for block in artifact.blocks()
    ]
    return np.concatenate(parts) if parts else np.empty(0, bool)
