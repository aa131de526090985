"""Training of eye segmentation: annotated eye regions -> a checkpoint; the recipes are in eyes_recipes.py."""

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from gazecore import checkpoints, models
from gazecore import segmentation_losses as losses
from gazecore.artifacts import Artifact, selection
from gazecore.data.eyes import EyeBatch, Eyes, held_out, loaded, preprocessing_of, restored
from gazecore.errors import USAGE, GazeError
from gazecore.metrics import eyes as metrics
from gazecore.train.eyes_recipes import Recipe
from gazecore.train.recipes import learning_rate, places
from gazecore.train.run import Run


def train(
    artifact: Artifact,
    rows: np.ndarray,
    recipe: Recipe,
    run: Run,
    *,
    validate_on: Artifact | float | str | None = None,
    init: Path | None = None,
    workers: int = 0,
) -> dict[str, Any]:
    """Train on the given rows of an artifact of eye samples; returns updates, best and best_by.

    validate_on  another artifact, a split of this one, a share of its samples that is held out; None: nothing
    init         a checkpoint to start from
    workers      processes that load samples
    """
    model, name = build(recipe, init)
    rows, validation = divide(artifact, rows, model, validate_on, run)
    seed, share = run.settings.seed, (run.rank, run.world)
    loader = Eyes(artifact, rows, preprocessing_of(model), recipe.batch_size, seed, *share, recipe.augment)
    lengths = [loader.updates(epoch) for epoch in range(recipe.epochs)]
    total = min(sum(lengths), recipe.steps or sum(lengths))
    every = recipe.validate_every or lengths[0]

    def scores() -> dict[str, float]:
        found = validate(model, validation, run) if validate_on is not None else {}
        model.train()
        return found

    with run:
        run.start(model, name, make_optimizer(model, recipe), learning_rate(recipe, lengths, total), total)
        model.train()
        run.after_update(every, scores)  # what a stopped run had still to do
        for (epoch, update), batch in loaded(loader, places(lengths, run.step, total), workers):
            (count,) = run.over_processes(len(batch) if batch else 0)
            loss = torch.zeros((), device=run.device)
            if batch is not None:
                with run.accelerator.autocast():
                    loss = loss_of(recipe, model, batch.to(run.device), run.step / total) * (len(batch) / count)
                run.backward(loss)
            run.update({"loss": loss.detach()}, epoch + (update + 1) / lengths[epoch])
            run.after_update(every, scores)
    return {"updates": run.step, "best": run.best, "best_by": run.settings.best_by}


def loss_of(recipe: Recipe, model: nn.Module, batch: EyeBatch, done: float) -> Tensor:
    """The recipe's loss, a mean over the images of the batch.

    done  part of the run that lies behind, 0..1
    """
    if recipe.loss == "own":
        if not hasattr(model, "set_loss"):
            raise GazeError(f"{recipe.model} has no loss of its own; choose another with --loss", USAGE)
        return model.set_loss(batch.image, batch.labels)
    logits, labels = model(batch.image), batch.labels
    if recipe.loss == "focal":
        return losses.focal(logits, labels)
    if recipe.loss == "tversky":
        return losses.tversky(logits, labels)
    if recipe.loss == "ce-dice":
        return losses.ce_dice(logits, labels)
    distance = losses.distance_maps(labels, logits.shape[1])
    if recipe.loss == "boundary":
        weight = recipe.boundary_weight * done
        return losses.ce_dice(logits, labels) + weight * losses.boundary(logits, distance, background=False)
    overlap = 1 - 2 * done if done < 0.5 else 1.0
    mixed = overlap * losses.generalised_dice(logits, labels) + (1 - overlap) * losses.surface(logits, distance)
    return F.cross_entropy(logits.float(), labels) + mixed


def validate(model: nn.Module, validation: Eyes | None, run: Run) -> dict[str, float]:
    """mean_iou, and iou_ of iris, pupil and sclera, of one confusion matrix over all processes' images.

    At the size of the stored images. Nothing when the run is to stop.
    """
    model.eval()
    confusion = np.zeros((4, 4), np.int64)
    for batch, labels in validation.in_order() if validation else ():
        if run.stopping:
            return {}
        with torch.inference_mode(), run.accelerator.autocast():
            probability = model.predict(batch.to(run.device)).probability.float()
        predicted = restored(probability, labels.shape[1:]).argmax(dim=1).cpu().numpy()
        confusion += metrics.confusion_matrix(predicted, labels).sum(axis=0)
    together = np.sum(run.gather([confusion]), axis=0)
    of_class = metrics.iou(together)
    named = {f"iou_{name}": float(of_class[metrics.CLASSES.index(name)]) for name in metrics.CLASSES[1:]}
    return {"mean_iou": float(metrics.mean_iou(together))} | {k: v for k, v in named.items() if not np.isnan(v)}


# ---- what a run is made of ------------------------------------------------------------------------------------------


def build(recipe: Recipe, init: Path | None) -> tuple[nn.Module, str]:
    """The recipe's model and its name.

    init  a checkpoint whose weights are the start
    Errors: it does not hold all of the model's weights; the model is not one of eyes; a setting it does not have.
    """
    name, _, preset = recipe.model.partition(":")
    if name not in models.names("eyes"):
        raise GazeError(f"{name} is no model of eyes; there are {', '.join(models.names('eyes'))}", USAGE)
    config = models.configure(name, preset or None)
    fields = [f.name for f in dataclasses.fields(config)]
    unknown = [key for key in recipe.model_options if key not in fields]
    if unknown:
        raise GazeError(f"--set model.{unknown[0]}: {name} has {', '.join(fields)}", USAGE)
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in recipe.model_options.items()}
    model = models.build(name, replace(config, **options))
    if init is not None:
        checkpoints.info(init)
        own = model.state_dict()
        with safe_open(init, framework="pt") as file:
            stored = {key: file.get_tensor(key) for key in file.keys() if key in own}  # noqa: SIM118
        lacking = [key for key, value in own.items() if key not in stored or stored[key].shape != value.shape]
        if lacking:
            raise GazeError(
                f"{init} does not start {recipe.model}: {len(lacking)} of {len(own)} weights are missing or of another "
                f"shape, such as {lacking[0]}"
            )
        model.load_state_dict({key: value.to(own[key].dtype) for key, value in stored.items()})
    return model, name


def divide(
    artifact: Artifact, rows: np.ndarray, model: nn.Module, validate_on: Artifact | float | str | None, run: Run
) -> tuple[np.ndarray, Eyes | None]:
    """The rows that are trained on, and this process's part of what is validated on (None: it has none)."""
    if validate_on is None:
        return rows, None
    source = validate_on if isinstance(validate_on, Artifact) else artifact
    if isinstance(validate_on, float):
        rows, others = held_out(artifact, rows, validate_on, run.settings.seed)
    elif isinstance(validate_on, str):
        others = selection.rows(artifact, split=validate_on)
    else:
        others = np.arange(len(source))
    mine = np.array_split(others, run.world)[run.rank]
    return rows, Eyes(source, mine, preprocessing_of(model), 1) if len(mine) else None


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Over all that is trained; norms and biases are not pulled towards zero."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if recipe.optimizer not in kinds:
        raise GazeError(f"--set optimizer={recipe.optimizer}: expected {', '.join(kinds)}", USAGE)
    trained = [value for value in model.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in trained if value.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [value for value in trained if value.ndim <= 1], "weight_decay": 0.0},
    ]
    return kinds[recipe.optimizer]([group for group in groups if group["params"]], lr=recipe.lr, fused=True)
