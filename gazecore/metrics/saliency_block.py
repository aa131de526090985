"""The formulas of the saliency metrics, over a block of maps: what several metrics share is computed once.

`saliency.py` says what each metric means; here is how it is computed.
"""

from functools import cached_property

import numpy as np

from gazecore.errors import GazeError
from gazecore.metrics.saliency_roc import RocSums, roc_sums
from gazecore.metrics.transport import transport_cost

KL_EPSILON = 2.2204e-16  # pysaliency.metrics.MIT_KLDiv
CHARTGAZE_EPSILON = 1e-8  # alisalamatian1/ChartGaze:evaluate.py
BORJI_THRESHOLDS = np.linspace(1, 0, 11)
EMD_MOST_CELLS = 32  # a side


class Maps:
    """Maps (b, h, w) and their sums (b,), each computed when first asked for."""

    def __init__(self, maps: np.ndarray):
        self.maps = maps
        self.flat = maps.reshape(len(maps), -1)
        self.size = self.flat.shape[1]

    @cached_property
    def lowest(self) -> np.ndarray:
        return self.flat.min(axis=-1)  # NaN if there is one anywhere

    @cached_property
    def highest(self) -> np.ndarray:
        return self.flat.max(axis=-1)

    @cached_property
    def constant(self) -> np.ndarray:
        # std == 0 would miss 0.1, whose mean is not 0.1; a std above rounding needs no look at the highest value
        constant = self.std <= 1e-4 * np.abs(self.mean)
        return constant & (self.lowest == self.highest) if constant.any() else constant

    @cached_property
    def total(self) -> np.ndarray:
        return _total(self.maps)

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.size

    @cached_property
    def centred(self) -> np.ndarray:
        return self.maps - self.mean.astype(self.maps.dtype)[:, None, None]

    @property
    def offset(self) -> np.ndarray:
        """What is left of the mean in `centred`, because float32 rounds the mean."""
        return self.mean - self.mean.astype(self.maps.dtype)

    @cached_property
    def std(self) -> np.ndarray:
        return np.sqrt(np.maximum(_dot(self.centred, self.centred) / self.size - self.offset**2, 0))

    @cached_property
    def density(self) -> np.ndarray:
        """Sum 1, as pysaliency's convert_saliency_map_to_density: negative maps shifted to 0, zero maps uniform."""
        maps, total = self.maps, self.total
        if (self.lowest < 0).any():
            maps = maps - np.minimum(self.lowest, 0)[:, None, None]
            total = _total(maps)
        density = maps * (1 / total).astype(maps.dtype)[:, None, None]
        density[total == 0] = 1 / self.size
        return density

    @property
    def stretched(self) -> "Maps":
        """The maps from 0 to 1; constant ones become NaN."""
        lowest, span = self.lowest[:, None, None], (self.highest - self.lowest)[:, None, None]
        return Maps((self.maps - lowest) / span)

    @property
    def ranked(self) -> "Maps":
        ranks = np.stack([_ranks(values) for values in self.flat])
        return Maps(ranks.reshape(self.maps.shape))


class Block:
    """Predictions and what they are scored against; a method for each name in saliency.METRICS, -> (b,).

    maps    predictions, and where needed annotations and baseline: (b, h, w)
    pixels  fixations and others where needed: flat pixels (b, n), ascending, h * w for padding
    """

    def __init__(self, maps: dict[str, Maps], pixels: dict[str, np.ndarray]):
        self.maps, self.pixels = maps, pixels
        self.prediction = maps["predictions"]

    @property
    def annotation(self) -> Maps:
        return self.maps["annotations"]

    @property
    def fixations(self) -> np.ndarray:
        return self.pixels["fixations"]

    @cached_property
    def seen(self) -> np.ndarray:
        return self.fixations < self.prediction.size

    @cached_property
    def count(self) -> np.ndarray:
        return self.seen.sum(axis=-1)

    @cached_property
    def fixated(self) -> np.ndarray:
        """Predicted values at the fixations (b, n); NaN for padding and for maps with a NaN."""
        values = _take(self.prediction.flat, self.fixations)
        values[np.isnan(self.prediction.lowest)] = np.nan
        return values

    @cached_property
    def first(self) -> np.ndarray:
        """The first fixation of each pixel (b, n): counts pixels instead of fixations."""
        first = self.seen.copy()
        first[:, 1:] &= self.fixations[:, 1:] != self.fixations[:, :-1]
        return first

    @cached_property
    def roc(self) -> RocSums:
        return roc_sums(self.prediction.maps, self.prediction.lowest, self.prediction.highest, self.fixated, self.first)

    def cc(self):
        return _correlation(self.prediction, self.annotation)

    def spearman(self):
        return _correlation(self.prediction.ranked, self.annotation.ranked)

    def kl(self):
        p, g = self.prediction.density, self.annotation.density
        quotient = p + KL_EPSILON
        np.divide(g, quotient, out=quotient)
        quotient += KL_EPSILON
        # a divergence is not negative; rounding leaves about -1e-13 where both maps agree
        return np.maximum(_dot(g, np.log(quotient, out=quotient)), 0)

    def kl_chartgaze(self):
        e = CHARTGAZE_EPSILON
        p, g = (maps.maps / (maps.total[:, None, None] + e) for maps in (self.prediction, self.annotation))
        return _total(g * np.log((g + e) / (p + e)))

    def sim(self):
        return _total(np.minimum(self.prediction.density, self.annotation.density))

    def sim_mit(self):
        p, g = self.prediction.stretched, self.annotation.stretched
        smaller = np.minimum(p.maps / p.total[:, None, None], g.maps / g.total[:, None, None])
        zero = [(maps.constant & (maps.highest == 0)) for maps in (self.prediction, self.annotation)]
        unknown = np.isnan(self.prediction.lowest + self.annotation.lowest)
        return np.where((zero[0] | zero[1]) & ~unknown, 0.0, _total(smaller))

    def emd(self):
        height, width = self.prediction.maps.shape[1:]
        if max(height, width) > EMD_MOST_CELLS:
            raise GazeError(
                f"emd: the maps are {height} x {width}; expected at most {EMD_MOST_CELLS} x {EMD_MOST_CELLS}, "
                "beyond which the exact distance takes too long. Resize both maps first"
            )
        densities = (Maps(maps.maps.astype(np.float64)).density for maps in (self.prediction, self.annotation))
        return [_earth_moved(p, g) for p, g in zip(*densities, strict=True)]

    def nss(self):
        p = self.prediction
        deviation = (self.fixated - p.mean[:, None]) / p.std[:, None]
        deviation[p.constant] = 0
        return self._mean(deviation)

    def auc(self):
        return self._known((self.roc.higher + self.roc.equal / 2) / (self.prediction.size * self.count))

    def auc_judd(self):
        # trapezia: a pixel counts with the hit rate halfway between the thresholds around it
        free = self.prediction.size - self.first.sum(axis=-1)
        halves = self.roc.higher + self.roc.reached - self.roc.fixated_halves
        return self._known(halves / (2 * self.count * free))

    def auc_borji(self):
        stretched = self.prediction.stretched.flat
        stretched[self.prediction.constant] = 0  # one value: every threshold above it is reached by none
        fixated = _take(stretched, self.fixations)
        pixels = self.first.sum(axis=-1)
        curve = np.ones((2, len(BORJI_THRESHOLDS) + 2, len(stretched)))
        curve[:, 0] = 0
        for point, threshold in enumerate(BORJI_THRESHOLDS, start=1):
            curve[0, point] = ((fixated >= threshold) & self.first).sum(axis=-1) / pixels
            curve[1, point] = np.count_nonzero(stretched >= threshold, axis=-1) / self.prediction.size
        return self._known(np.trapezoid(curve[0], curve[1], axis=0))

    def sauc(self):
        others = np.sort(_take(self.prediction.flat, self.pixels["others"]), axis=-1)  # padding, NaN, comes last
        counts = (self.pixels["others"] < self.prediction.size).sum(axis=-1)
        lower = np.empty(self.fixated.shape)
        for row, values, count, fixated in zip(lower, others, counts, self.fixated, strict=True):
            below, upto = (np.searchsorted(values[:count], fixated, side) for side in ("left", "right"))
            row[:] = (below + upto) / (2 * count)
        return self._mean(lower)

    def ig(self):
        p, b = self.prediction, self.maps["baseline"]
        for name, maps in (("prediction", p), ("baseline", b)):
            if (maps.lowest < 0).any():
                raise GazeError(
                    f"ig: a {name} holds negative values (down to {np.nanmin(maps.lowest):.4g}); expected densities. "
                    "Turn scores or logarithms into a density first, for example by exp"
                )
        baseline = _take(b.flat, self.fixations)
        bits = np.log2(self.fixated / p.total[:, None]) - np.log2(baseline / b.total[:, None])
        bits[np.isnan(b.lowest)] = np.nan
        return self._mean(bits)

    def _mean(self, scores: np.ndarray) -> np.ndarray:
        """Mean of scores at the fixations (b, n) -> (b,)."""
        return self._known(np.where(self.seen, scores, 0).sum(axis=-1, dtype=np.float64) / self.count)

    def _known(self, scores: np.ndarray) -> np.ndarray:
        """Scores (b,), NaN for maps without fixations or with a NaN."""
        return np.where((self.count == 0) | np.isnan(self.prediction.lowest), np.nan, scores)


def _correlation(p: Maps, g: Maps) -> np.ndarray:
    covariance = _dot(p.centred, g.centred) / p.size - p.offset * g.offset
    score = np.clip(covariance / (p.std * g.std), -1, 1)
    score[p.constant & ~np.isnan(g.lowest)] = 0
    score[g.constant] = np.nan
    return score


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of products (b, h, w) -> (b,): within rows in the maps' own precision, over rows in float64."""
    return np.vecdot(a, b).sum(axis=-1, dtype=np.float64)


def _total(maps: np.ndarray) -> np.ndarray:
    return _dot(maps, np.ones(maps.shape[-1], maps.dtype))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing their mean rank; all NaN if one value is."""
    if np.isnan(values).any():
        return np.full(values.shape, np.nan)
    _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[level]


def _earth_moved(p: np.ndarray, g: np.ndarray) -> float:
    if np.isnan(p).any() or np.isnan(g).any():
        return np.nan
    # under a metric, mass that both maps have in a cell can stay there: only the differences travel
    surplus = p - g
    rounding = 1e-15
    sources, sinks = np.argwhere(surplus > rounding), np.argwhere(surplus < -rounding)
    distances = np.linalg.norm(sources[:, None] - sinks, axis=-1)
    return transport_cost(surplus[surplus > rounding], -surplus[surplus < -rounding], distances)


def _take(flat: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Values of maps (b, h * w) at pixels (b, n); NaN for padding."""
    padding = pixels == flat.shape[-1]
    values = np.take_along_axis(flat, np.where(padding, 0, pixels), axis=-1)
    values[padding] = np.nan
    return values
