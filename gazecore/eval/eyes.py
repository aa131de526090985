"""Eye segmentation: masks + annotation -> scores, by stratum too, beside predictors that never look; no torch."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gazecore.artifacts import Artifact
from gazecore.eval import summaries
from gazecore.eval.eye_masks import Columns
from gazecore.metrics import eyes as metrics
from gazecore.metrics.confidence import bootstrap_interval
from gazecore.pupil.ratio import measure

BLOCK = 64
PARTS = metrics.CLASSES[1:]
STRATA = ("mode", "iris_color", "skin", "dataset", "opening")
NARROW, CLOSED = 0.7, 0.35  # lid opening over the iris diameter
VISIBLE = 0.25  # share of the pupil from which on it ought to be found
DETECTED_PX = (2, 5)  # EllSeg counts centres within 2 px as found
DRAWS = 200


@dataclass
class Scores:
    """Scores of masks, block by block, and what they add up to.

    skipped  reason -> number of samples without a score of the pupil
    """

    n: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    edges: str = "mask"
    _columns: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, block: Columns) -> Columns:
        """The block's columns with its scores: labels against labels_true, ellipses and ratios against the truth.

        Ellipses are fitted to the probabilities where the block has them. The truth of ellipses and ratio is the exact
        one where it is known (rendered eyes), else what is measured in the annotated mask.
        """
        predicted, labels = block["labels"], block["labels_true"]
        confusion = metrics.confusion_matrix(predicted, labels)
        overlap, dice = metrics.iou(confusion), metrics.dice(confusion)
        found: Columns = {"mean_iou": metrics.mean_iou(confusion)}
        for label, name in enumerate(metrics.CLASSES[1:], 1):
            found |= {f"iou_{name}": overlap[:, label], f"dice_{name}": dice[:, label]}
        for tolerance in (1, 2):
            each = [metrics.boundary_f(predicted == label, labels == label, tolerance) for label in (1, 2, 3)]
            found[f"boundary_f_{tolerance}px"] = np.mean(each, axis=0)

        self.edges = "probability" if "probability" in block else "mask"
        measured = measure(predicted, block.get("probability"))
        truth = _truth(block, labels)
        found |= {"pir_predicted": measured["pir"], "pir_true": truth["pir"]}
        found["pir_error"] = measured["pir"] - truth["pir"]
        kept: Columns = {"confusion": confusion, "visible": truth["visible"]}
        for part in ("pupil", "iris"):
            fitted = np.stack([measured[f"{part}_{axis}"] for axis in _AXES], axis=-1)
            error = metrics.ellipse_error(fitted, truth[part])
            found[f"{part}_centre_error_px"] = error.centre_px
            found[f"{part}_diameter_error_pct"] = error.diameter_percent
        kept |= {name: np.asarray(values) for name, values in found.items()}
        kept |= {name: block[name].astype(object) for name in STRATA if name in block}
        kept["opening"] = _opening(truth["aperture"])
        for name, values in kept.items():
            self._columns.setdefault(name, []).append(values)
        self.n += len(labels)
        self.skipped["no pupil to be seen"] += int((~truth["visible"]).sum())
        return block | found

    def summary(self, seed: int = 0) -> dict[str, Any]:
        """{"n", "ellipses_from", "skipped", "metrics": {name: {"mean", "low", "high", "n"}}, "strata"}.

        mean_iou and iou_ are of one confusion matrix over all pixels, macro_mean_iou is the mean of each image's own.
        pir_ and ellipses are of visible pupils; detection is the share of those for which a ratio was found, with _2px
        that of centres so near; false_pupils the share of pupils found where none is to be seen.
        """
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        confusion, visible = columns["confusion"], columns["visible"]
        found = _overlaps(confusion, seed)
        found["macro_mean_iou"] = summaries.mean(columns["mean_iou"], seed)
        for name in ("boundary_f_1px", "boundary_f_2px"):
            found[name] = summaries.mean(columns[name], seed)
        for part in ("pupil", "iris"):
            for name in ("centre_error_px", "diameter_error_pct"):
                found[f"{part}_{name}"] = summaries.mean(columns[f"{part}_{name}"][visible], seed)
        found |= _ratios(columns["pir_predicted"][visible], columns["pir_true"][visible], seed)
        found |= _detections(columns, seed)
        skipped = {reason: count for reason, count in self.skipped.items() if count}
        return {
            "n": self.n,
            "ellipses_from": self.edges,
            "skipped": skipped,
            "metrics": {name: score for name, score in found.items() if score},
            "strata": _strata(columns),
        }


_AXES = ("cx_px", "cy_px", "major_px", "minor_px", "angle_deg")


def _truth(block: Columns, labels: np.ndarray) -> Columns:
    """pir, pupil (n, 5), iris (n, 5), visible (n,) bool, aperture: exact ones, else measured in the annotation."""
    measured = measure(labels)
    found: Columns = {"pir": measured["pir"], "aperture": measured["aperture"]}
    found["visible"] = (labels == metrics.CLASSES.index("pupil")).any(axis=(-2, -1))
    for part in ("pupil", "iris"):
        found[part] = np.stack([measured[f"{part}_{axis}"] for axis in _AXES], axis=-1)
        if f"{part}_ellipse_px" in block:
            found[part] = _else(block[f"{part}_ellipse_px"], found[part])
    for name in ("pir", "aperture"):
        if name in block:
            found[name] = _else(block[name], found[name])
    if "pupil_visible" in block:
        known = ~np.isnan(block["pupil_visible"])
        found["visible"] = np.where(known, block["pupil_visible"] >= VISIBLE, found["visible"]) & found["visible"]
    return found


def _else(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), others, values)


def _opening(aperture: np.ndarray) -> np.ndarray:
    names = np.where(aperture < CLOSED, "closed", np.where(aperture < NARROW, "narrow", "open"))
    return np.where(np.isnan(aperture), "", names).astype(object)


def _overlaps(confusion: np.ndarray, seed: int) -> dict[str, Any]:
    """mean_iou, iou_ and dice_ of the parts, of the one matrix that all images add up to."""
    flat = confusion.reshape(len(confusion), -1).astype(np.float64)

    def of_set(statistic: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        def drawn(rows: np.ndarray, axis: int) -> np.ndarray:
            counts = np.apply_along_axis(np.bincount, 1, rows.astype(int), minlength=len(flat))
            return statistic((counts @ flat).reshape(-1, 4, 4))

        low, high = bootstrap_interval(np.arange(len(flat)), drawn, n=DRAWS, seed=seed)
        return {"mean": float(statistic(confusion.sum(axis=0))), "low": low, "high": high, "n": len(flat)}

    found: dict[str, Any] = {"mean_iou": of_set(metrics.mean_iou)}
    for name, overlap in (("iou", metrics.iou), ("dice", metrics.dice)):
        for label, part in enumerate(PARTS, 1):
            if not np.isnan(overlap(confusion.sum(axis=0))[label]):
                found[f"{name}_{part}"] = of_set(lambda m, o=overlap, k=label: o(m)[..., k])  # type: ignore[misc]
    return found


def _ratios(predicted: np.ndarray, truth: np.ndarray, seed: int) -> dict[str, Any]:
    """pir_mae, pir_mape (percent), its median, pir_bias, limits of Bland and Altman, ICC(2,1); none without pairs."""
    agreement = metrics.agreement(predicted, truth)
    if not agreement.n:
        return {}
    relative = 100 * np.abs(predicted - truth) / truth
    found = {
        "pir_mae": summaries.mean(np.abs(predicted - truth), seed),
        "pir_mape": summaries.mean(relative, seed),
        "pir_bias": summaries.mean(predicted - truth, seed),
    }
    low, high = bootstrap_interval(relative, np.median, seed=seed)
    found["pir_median_ape"] = {"mean": float(np.nanmedian(relative)), "low": low, "high": high, "n": int(agreement.n)}
    limits = {"lower_limit": agreement.lower, "upper_limit": agreement.upper, "icc": agreement.icc}
    for name, value in limits.items():
        found[f"pir_{name}"] = {"mean": float(value), "low": np.nan, "high": np.nan, "n": int(agreement.n)}
    return found


def _detections(columns: Columns, seed: int) -> dict[str, Any]:
    visible, error = columns["visible"], columns["pupil_centre_error_px"]
    seen = ~np.isnan(columns["pir_predicted"])
    found = {"detection": summaries.mean(seen[visible].astype(float), seed)}
    for tolerance in DETECTED_PX:
        found[f"detection_{tolerance}px"] = summaries.mean((error[visible] <= tolerance).astype(float), seed)
    found["false_pupils"] = summaries.mean(seen[~visible].astype(float), seed)
    return found


def _strata(columns: Columns) -> dict[str, dict[str, dict[str, float]]]:
    """Stratum -> value -> n, mean_iou, iou_pupil, pir_mape, detection; strata with one value alone are left out."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in STRATA:
        if name not in columns:
            continue
        values = sorted({value for value in columns[name] if value})
        if len(values) < 2:
            continue
        found[name] = {}
        for value in values:
            mine = columns[name] == value
            confusion, visible = columns["confusion"][mine].sum(axis=0), mine & columns["visible"]
            predicted, truth = columns["pir_predicted"][visible], columns["pir_true"][visible]
            found[name][value] = {
                "n": int(mine.sum()),
                "mean_iou": float(metrics.mean_iou(confusion)),
                "iou_pupil": float(metrics.iou(confusion)[2]),
                "pir_mape": float(metrics.agreement(predicted, truth).mape),
                "detection": float(np.mean(~np.isnan(predicted))) if len(predicted) else np.nan,
            }
    return found


def strata_table(strata: dict[str, dict[str, dict[str, float]]]) -> list[tuple[str, ...]]:
    """A summary's strata as rows to print: which, mean_iou, the other scores, n."""
    return [
        (
            f"{name} {value}: mean_iou",
            f"{row['mean_iou']:.4f}",
            f"pir_mape {row['pir_mape']:.2f}, detection {row['detection']:.3f}",
            str(row["n"]),
        )
        for name, rows in strata.items()
        for value, row in rows.items()
    ]


# ---- what scores must be compared with ------------------------------------------------------------------------------

MOST = 1000  # samples that baselines are learnt from and scored on, evenly spread


def baselines(artifact: Artifact, rows: np.ndarray) -> dict[str, dict[str, float]]:
    """Scores of predictors that never look at the image, on up to MOST of the rows.

    background_mean_iou   of always answering background
    mean_mask_mean_iou    of the label that each place has most often
    mean_pir_mape         percent: of always answering the mean ratio
    Learnt from the training split where the artifact has one, else from the other half of what is scored.
    """
    name = "labels_true" if "labels_true" in artifact else "labels"
    chosen = rows[:: -(-len(rows) // MOST)]
    train = np.flatnonzero(artifact["split"].whole() == "train") if "split" in artifact else np.empty(0, int)
    train = np.setdiff1d(train, rows)
    learnt = train[:: max(1, -(-len(train) // MOST))] if len(train) else chosen
    halves = [(chosen, learnt)] if len(train) else [(chosen[0::2], chosen[1::2]), (chosen[1::2], chosen[0::2])]
    background, mean_mask, errors = np.zeros((4, 4), np.int64), np.zeros((4, 4), np.int64), []
    for part, of in halves:
        if not len(part) or not len(of):
            continue
        common, ratio = _learnt(artifact, name, of)
        for start in range(0, len(part), BLOCK):
            block = part[start : start + BLOCK]
            labels = artifact[name].take(block)
            background += metrics.confusion_matrix(np.zeros_like(labels), labels).sum(axis=0)
            mean_mask += metrics.confusion_matrix(np.broadcast_to(common, labels.shape), labels).sum(axis=0)
            errors.append(np.abs(ratio / _ratio_of(artifact, block, labels) - 1))
    if not errors:
        return {}
    of_ratio = np.concatenate(errors)
    values = {
        "background_mean_iou": float(metrics.mean_iou(background)),
        "mean_mask_mean_iou": float(metrics.mean_iou(mean_mask)),
        "mean_pir_mape": 100 * float(np.nanmean(of_ratio)) if not np.isnan(of_ratio).all() else np.nan,
    }
    shared = {"low": np.nan, "high": np.nan, "n": len(chosen)}
    return {name: {"mean": value, **shared} for name, value in values.items() if not np.isnan(value)}


def _learnt(artifact: Artifact, name: str, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """The most frequent label of every place, and the mean ratio."""
    votes, ratios = np.zeros((4, *artifact[name].shape[1:]), np.int64), []
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        labels = artifact[name].take(block)
        votes += (labels == np.arange(4)[:, None, None, None]).sum(axis=1)
        ratios.append(_ratio_of(artifact, block, labels))
    together = np.concatenate(ratios)
    return votes.argmax(axis=0).astype(np.uint8), float(np.mean(together[~np.isnan(together)]))


def _ratio_of(artifact: Artifact, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """True ratios where they are known, else measured ones; NaN for eyes without a visible pupil."""
    exact = artifact["pir"].take(rows) if "pir" in artifact else np.full(len(rows), np.nan)
    visible = (labels == metrics.CLASSES.index("pupil")).any(axis=(-2, -1))
    if np.isnan(exact).any():
        exact = _else(exact, measure(labels)["pir"])
    return np.where(visible, exact, np.nan)
