"""How well a predicted map agrees with recorded gaze: the metrics of saliency research.

The definitions of record are those of pysaliency 0.2.22 (matthias-k/pysaliency:pysaliency/metrics.py,
saliency_map_models.py), the evaluation code of the Tuebingen/MIT benchmark. Each docstring says where the older Matlab
code (cvzoya/saliency:code_forMetrics) differs.

predictions  (..., h, w), any scale; a NaN anywhere makes every score of that map NaN
annotations  (..., h, w), gaze maps of the same h and w; resizing belongs to the caller, who should record it
fixations    (..., n, 2), x, y in pixels of the map, counted from 0 (x = 12.7 lies in column 12); a row of NaN is
             padding; several fixations of one pixel all count
others       (..., m, 2), like fixations: those of other images, for the shuffled AUC
baseline     (..., h, w), a density to beat, for information gain: the centre bias, or the fixations of other images

Leading axes are broadcast against each other, and the scores have their shape. NaN means that a score is undefined:
leave it out of the mean and count it. Maps of float32 and below are worked on in float32 (sums in float64), all others
in float64. The formulas themselves are in saliency_block.py.
"""

import math
from collections.abc import Iterable

import numpy as np

from gazecore.errors import GazeError
from gazecore.metrics.saliency_block import Block, Maps

# what each metric needs besides the predictions, by the names of score_block's arguments
METRICS = {
    "cc": ("annotations",),
    "kl": ("annotations",),
    "sim": ("annotations",),
    "nss": ("fixations",),
    "auc": ("fixations",),
    "auc_judd": ("fixations",),
    "sauc": ("fixations", "others"),
    "ig": ("fixations", "baseline"),
    "auc_borji": ("fixations",),
    "sim_mit": ("annotations",),
    "kl_chartgaze": ("annotations",),
    "spearman": ("annotations",),
    "emd": ("annotations",),
}
STANDARD = ("cc", "kl", "sim", "nss", "auc", "auc_judd", "sauc", "ig")  # the rest must be asked for

BLOCK_PIXELS = 1 << 17  # maps worked on together: what they need fits the processor's cache


def score_block(
    predictions: np.ndarray,
    annotations: np.ndarray | None = None,
    fixations: np.ndarray | None = None,
    others: np.ndarray | None = None,
    baseline: np.ndarray | None = None,
    metrics: Iterable[str] | None = None,
) -> dict[str, np.ndarray]:
    """Several metrics of a block of maps at once; what they share is computed once.

    predictions, annotations, fixations, others, baseline: as at the head of this module
    metrics  names from METRICS; without it, those of STANDARD that the given arguments allow
    returns  {name: (...) float64} in the order asked for; NaN where a score is undefined
    raises   GazeError for an unknown metric, one whose input is missing, sizes that differ, fixations outside the map
    """
    given: dict[str, np.ndarray | None]
    given = {"annotations": annotations, "fixations": fixations, "others": others, "baseline": baseline}
    present = {name for name, value in given.items() if value is not None}
    if metrics is None:
        metrics = [name for name in STANDARD if present.issuperset(METRICS[name])]
    metrics = list(metrics)
    _check_metrics(metrics, present)

    needed = {need for name in metrics for need in METRICS[name]}
    maps = {"predictions": np.asarray(predictions)}
    maps |= {name: np.asarray(given[name]) for name in ("annotations", "baseline") if name in needed}
    points: dict[str, np.ndarray]
    points = {name: np.asarray(given[name], float) for name in ("fixations", "others") if name in needed}
    batch, height, width = _check_shapes(maps, points)
    dtype = np.result_type(np.float32, *maps.values())
    maps = {name: _one_axis(value, batch, 2) for name, value in maps.items()}
    pixels = {name: _one_axis(_pixels(value, height, width, name), batch, 1) for name, value in points.items()}

    count = len(maps["predictions"])
    scores = {name: np.empty(count) for name in metrics}
    step = max(1, BLOCK_PIXELS // (height * width))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # undefined scores are NaN, by design
        for start in range(0, count, step):
            rows = slice(start, start + step)
            block = Block(
                {name: Maps(np.ascontiguousarray(value[rows], dtype)) for name, value in maps.items()},
                {name: value[rows] for name, value in pixels.items()},
            )
            for name in metrics:
                scores[name][rows] = getattr(block, name)()
    return {name: values.reshape(batch)[()] for name, values in scores.items()}


def cc(predictions: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """Pearson correlation over the pixels, (...).

    A constant prediction scores 0; a constant annotation makes the score undefined: NaN.
    """
    return score_block(predictions, annotations, metrics=["cc"])["cc"]


def kl(predictions: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence of the prediction from the annotation, in nats, (...); 0 is best.

    Both maps as densities p and g: sum of g ln(e + g / (p + e)) with e = 2.2204e-16, which decides the score where
    p = 0: never compare across epsilons. A map with negative values is shifted up to 0, a map of zeros counts as
    uniform (MIT's Matlab code leaves it 0). Depends on the resolution: state it. Source: pysaliency's MIT_KLDiv.
    """
    return score_block(predictions, annotations, metrics=["kl"])["kl"]


def kl_chartgaze(predictions: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """The divergence that ChartGaze's published tables hold, in nats, (...); 0 is best.

    With e = 1e-8, p and g = map / (sum + e): sum of g ln((g + e) / (p + e)). Where maps hold zeros it is far smaller
    than `kl`. A map of zeros stays 0, and as an annotation scores 0. Source: alisalamatian1/ChartGaze:evaluate.py.
    """
    return score_block(predictions, annotations, metrics=["kl_chartgaze"])["kl_chartgaze"]


def sim(predictions: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """Similarity, or histogram intersection, (...) in 0..1: sum of min(p, g) of both maps as densities (see `kl`).

    1 is best. MIT's Matlab code stretches the maps to 0..1 first: `sim_mit`. Depends on the resolution: state it.
    """
    return score_block(predictions, annotations, metrics=["sim"])["sim"]


def sim_mit(predictions: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """Similarity of maps stretched to 0..1 before they become densities, (...), as cvzoya/saliency:similarity.m.

    A constant map leaves it undefined: NaN; but a map of zeros scores 0 there, and so here.
    """
    return score_block(predictions, annotations, metrics=["sim_mit"])["sim_mit"]


def spearman(predictions: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """Rank correlation over the pixels, (...), equal values sharing their mean rank; constant maps as in `cc`.

    Usual for the 14 x 14 maps of VQA-HAT (Das et al., EMNLP 2016).
    """
    return score_block(predictions, annotations, metrics=["spearman"])["spearman"]


def emd(predictions: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """Earth mover's distance between both maps as densities (see `kl`), in cells of the grid, (...); 0 is best.

    Exact, with the Euclidean distance between cell centres, hence only for grids of at most 32 x 32: a GazeError
    otherwise. State the grid beside the number. MIT's Matlab code shrinks the maps by 32 first.
    """
    return score_block(predictions, annotations, metrics=["emd"])["emd"]


def nss(predictions: np.ndarray, fixations: np.ndarray) -> np.ndarray:
    """Normalised scanpath saliency, (...): the mean of (p - mean) / std at the fixations, std over all pixels.

    A constant prediction scores 0; NaN without fixations. MIT's Matlab code divides by n - 1 in the std, and counts
    every fixated pixel once.
    """
    return score_block(predictions, fixations=fixations, metrics=["nss"])["nss"]


def auc(predictions: np.ndarray, fixations: np.ndarray) -> np.ndarray:
    """Area under the exact ROC curve, (...): fixations against all pixels of the map, ties counting 1/2.

    A constant prediction scores 0.5; NaN without fixations. Source: pysaliency's AUC with uniform nonfixations.
    """
    return score_block(predictions, fixations=fixations, metrics=["auc"])["auc"]


def auc_judd(predictions: np.ndarray, fixations: np.ndarray) -> np.ndarray:
    """Area under the ROC curve with only the fixated values as thresholds, (...): fixations against the other pixels.

    Biased upwards, the more so the fewer fixations there are (one fixation on a low value can score 0.55): print `auc`
    beside it. A constant prediction scores 0.5; NaN without fixations, or when every pixel is fixated. Exact, without
    the random jitter of MIT's Matlab code, which decides ties. Source: pysaliency's AUC_Judd(jitter=False).
    """
    return score_block(predictions, fixations=fixations, metrics=["auc_judd"])["auc_judd"]


def auc_borji(predictions: np.ndarray, fixations: np.ndarray) -> np.ndarray:
    """What Borji's AUC tends to, (...): fixated pixels (each once) against all pixels, thresholds 0, 0.1, ... 1.

    cvzoya/saliency:AUC_Borji.m draws random pixels and averages over 100 splits. At fixed thresholds the area is linear
    in the false positive rate, so its expectation needs no draw: it is the area at the rate over all pixels. `auc` is
    the better choice: the same without the coarse grid. A constant prediction scores 0.5; NaN without fixations.
    """
    return score_block(predictions, fixations=fixations, metrics=["auc_borji"])["auc_borji"]


def sauc(predictions: np.ndarray, fixations: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Shuffled AUC, (...): the exact ROC of the fixations against the fixations of other images, ties counting 1/2.

    Takes the centre bias out. A constant prediction scores 0.5; NaN without fixations or without others. MIT's Matlab
    code draws 100 random subsets of the others and uses thresholds 0.1 apart.
    """
    return score_block(predictions, fixations=fixations, others=others, metrics=["sauc"])["sauc"]


def information_gain(predictions: np.ndarray, fixations: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Bits per fixation that the prediction gains over the baseline, (...): mean of log2 p - log2 baseline there.

    Both maps must be densities up to their sum: a negative value is a GazeError. A density of 0 at a fixation gives
    -inf (the baseline's: +inf); a map of zeros NaN. MIT's Matlab code stretches the maps to 0..1 first, which leaves no
    density and can flip the sign. Source: Kuemmerer et al., PNAS 2015 (doi:10.1073/pnas.1510393112).
    """
    return score_block(predictions, fixations=fixations, baseline=baseline, metrics=["ig"])["ig"]


def fixations_from_map(fixation_maps: np.ndarray) -> np.ndarray:
    """Fixations of binary maps: (..., h, w), 0 or one other value, -> (..., n, 2) x, y in pixels, padded with NaN.

    Such a map holds each pixel once, however often it was fixated. A map that is not binary is a GazeError: it is a
    density, and counting its non-zero pixels as fixations gives numbers that mean nothing.
    """
    fixation_maps = np.asarray(fixation_maps)
    if fixation_maps.ndim < 2:
        raise GazeError(f"fixation map has shape {fixation_maps.shape}; expected (..., h, w)")
    *batch, height, width = fixation_maps.shape
    flat = fixation_maps.reshape(-1, height * width)
    for values in flat:
        levels = np.unique(values)
        if np.isnan(levels).any() or (levels < 0).any() or np.count_nonzero(levels) > 1:
            raise GazeError(
                f"fixation map holds {len(levels)} values from {levels[0]} to {levels[-1]}; expected 0 and one other. "
                "Pass the list of fixations, or score the map as an annotation with cc, kl and sim"
            )
    maps, pixels = np.nonzero(flat)
    counts = np.bincount(maps, minlength=len(flat))
    place = np.arange(len(maps)) - np.repeat(counts.cumsum() - counts, counts)
    fixations = np.full((len(flat), counts.max(initial=0), 2), np.nan)
    fixations[maps, place] = np.stack([pixels % width, pixels // width], axis=-1)
    return fixations.reshape(*batch, -1, 2)


def _check_metrics(metrics: list[str], present: set[str]) -> None:
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise GazeError(f"unknown saliency metric {', '.join(unknown)}; expected some of {', '.join(METRICS)}")
    lacking = {name: [need for need in METRICS[name] if need not in present] for name in metrics}
    listed = "; ".join(f"{name} needs {' and '.join(needs)}" for name, needs in lacking.items() if needs)
    if listed:
        raise GazeError(f"{listed}: not given. Pass them, or leave these metrics out")


def _check_shapes(maps: dict[str, np.ndarray], points: dict[str, np.ndarray]) -> tuple[tuple[int, ...], int, int]:
    """Common leading axes, h and w; a GazeError that names both sizes where they do not fit."""
    size = maps["predictions"].shape[-2:]
    for name, value in maps.items():
        if value.ndim < 2 or 0 in value.shape[-2:]:
            raise GazeError(f"{name} have shape {value.shape}; expected (..., h, w)")
        if value.shape[-2:] != size:
            wanted, found = (" x ".join(map(str, hw)) for hw in (size, value.shape[-2:]))
            raise GazeError(
                f"predictions are {wanted} (h x w), {name} {found}; expected one size. Resize the predictions first"
            )
    for name, value in points.items():
        if value.ndim < 2 or value.shape[-1] != 2:
            raise GazeError(
                f"{name} have shape {value.shape}; expected (..., n, 2): x, y in pixels. "
                "fixations_from_map makes them of a binary map"
            )
    batches = {name: value.shape[:-2] for name, value in (maps | points).items()}
    try:
        return np.broadcast_shapes(*batches.values()), *size
    except ValueError as error:
        listed = ", ".join(f"{name} {batch}" for name, batch in batches.items())
        raise GazeError(f"leading axes do not fit together: {listed}; expected one block of samples") from error


def _one_axis(values: np.ndarray, batch: tuple[int, ...], own: int) -> np.ndarray:
    """All leading axes as one; the last `own` axes stay."""
    shape = values.shape[-own:]
    return np.broadcast_to(values, batch + shape).reshape(math.prod(batch), *shape)


def _pixels(points: np.ndarray, height: int, width: int, name: str) -> np.ndarray:
    """Flat pixels (..., n), ascending, of points (..., n, 2); height * width for padding."""
    seen = ~np.isnan(points).any(axis=-1)
    outside = seen & ((points < 0) | (points >= (width, height))).any(axis=-1)
    if outside.any():
        x, y = points[outside][0]
        raise GazeError(
            f"{outside.sum()} of {seen.sum()} {name} lie outside the map of {height} x {width} (h x w), the first at "
            f"x {x:g}, y {y:g}; expected pixels counted from 0. Drop them, or scale them to the map"
        )
    column, row = np.moveaxis(np.where(seen[..., None], points, 0).astype(np.intp), -1, 0)
    return np.sort(np.where(seen, row * width + column, height * width), axis=-1)
