"""Metrics of other packages: entry points of the group `gz.metrics`, name -> function(predictions, annotations).

For gaze following the function takes heatmaps (n, h, w) and gaze_targets (n, annotators, 2), for heat maps
predictions (n, h, w) and annotations (n, h, w); it returns (n,), NaN where it is not defined.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

import numpy as np

from gazecore.errors import UNAVAILABLE, USAGE, GazeError

Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]


def load(names: Sequence[str]) -> dict[str, Metric]:
    """The metrics of these names; GazeError for one that no package adds, or that cannot be loaded."""
    points = {point.name: point for point in entry_points(group="gz.metrics")} if names else {}
    found = {}
    for name in names:
        if name not in points:
            there = ", ".join(sorted(points)) or "none"
            raise GazeError(f"no package adds a metric {name!r}; those installed: {there}", USAGE)
        try:
            found[name] = points[name].load()
        except Exception as error:  # a stranger's module may fail in any way
            raise GazeError(f"plug-in metric {name} cannot be loaded: {error!r}", UNAVAILABLE) from error
    return found


def score(name: str, metric: Metric, predictions: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """One plug-in metric of a block, (n,); GazeError when it returns anything else."""
    values = np.asarray(metric(predictions, annotations), float)
    if values.shape != predictions.shape[:1]:
        raise GazeError(f"plug-in metric {name} gave {values.shape} for {len(predictions)} samples", UNAVAILABLE)
    return values
