"""The scores of a training run over its epochs, with those of predictors that never look at the person beside them."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from gazecore.artifacts import Artifact
from gazecore.visualize.report import Item

PANELS = (  # title, scores, the ending of their baselines' names, which end is better
    ("AUC", ("auc",), "auc", "higher is better"),
    ("distance (normalised)", ("average_l2", "minimum_l2"), "l2", "lower is better"),
    ("in-frame average precision", ("in_frame_ap",), "", "higher is better"),
)
COLOURS, BASELINES = ("#0b6e99", "#d1495b"), {"centre": "--", "mean_map": ":"}


def items(artifact: Artifact) -> Iterator[Item]:
    """One picture of all epochs."""
    last = {
        name: float(artifact[name].whole()[-1]) for name in ("auc", "average_l2", "in_frame_ap") if name in artifact
    }
    yield Item("scores over epochs", lambda: panel(artifact), {k: v for k, v in last.items() if not np.isnan(v)})


def panel(artifact: Artifact) -> Image.Image:
    """A plot per kind of score over the epochs; baselines are dashed, the best epoch is marked."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def values(name: str) -> np.ndarray:
        return artifact[name].whole() if name in artifact else np.full(len(artifact), np.nan)

    shown = [each for each in PANELS if not np.isnan([values(name) for name in each[1]]).all()]
    epoch = artifact["epoch"].whole()
    figure, axes = plt.subplots(1, len(shown), figsize=(4.2 * len(shown), 3.2), layout="constrained", squeeze=False)
    for axis, (title, names, ending, better) in zip(axes[0], shown, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            axis.plot(epoch, values(name), "o-", color=colour, markersize=4, linewidth=1.5, label=name)
        chosen = values(names[0])
        best = np.nanargmin(chosen) if better.startswith("lower") else np.nanargmax(chosen)
        axis.plot(epoch[best], chosen[best], "o", color=COLOURS[0], markersize=9, fillstyle="none")
        axis.annotate(
            f"{chosen[best]:.3f}", (epoch[best], chosen[best]), (0, 8), textcoords="offset points", ha="center"
        )
        for baseline, style in BASELINES.items():
            level = artifact.attrs.get(f"{baseline}_{ending}") if ending else None
            if level is not None:
                axis.axhline(float(level), color="0.4", linestyle=style, linewidth=1, label=baseline.replace("_", " "))
        axis.set_title(f"{title}, {better}", fontsize=10)
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.margins(y=0.15)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=150)
    plt.close(figure)
    return Image.open(drawn).convert("RGB")
