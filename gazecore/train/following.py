"""Training of gaze following: VTD over photos, VTD with memory over tracks of video, Gaze-LLE on frozen features.

The recipes are in following_recipes.py; here are the loop and what it is made of.
"""

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from gazecore import checkpoints, heatmaps, losses, models
from gazecore.artifacts import Artifact, selection
from gazecore.data.following import FollowingBatch, preprocessing_of
from gazecore.data.following_loader import (
    AUGMENTATIONS,
    People,
    Photos,
    Piece,
    Share,
    Tracks,
    every_nth_frame,
    has_target,
    held_out,
    loaded,
)
from gazecore.errors import USAGE, GazeError
from gazecore.eval.following import Scores
from gazecore.metrics.following import in_frame_ap, l2_distance
from gazecore.models.vtd import Vtd
from gazecore.models.vtd_temporal import VtdTemporal
from gazecore.train.features import Features, cached
from gazecore.train.following_guide import Guide
from gazecore.train.following_recipes import Recipe
from gazecore.train.recipes import learning_rate, places
from gazecore.train.run import Run

TRUNKS = {"vtd": ("conv1_", "bn1_", "layer"), "gazelle": ("backbone.",)}  # the parameters that --freeze trunk leaves
PER_PERSON = ("auc", "average_l2", "minimum_l2", "centre_l2")


def train(
    artifact: Artifact,
    rows: np.ndarray,
    recipe: Recipe,
    run: Run,
    *,
    validate_on: Artifact | float | str | None = None,
    init: Path | None = None,
    weights: Path | None = None,
    pretrained: bool = True,
    workers: int = 0,
    cache: Path | None = None,
    keep_epochs: bool = False,
) -> dict[str, Any]:
    """Train on the given rows of an artifact of gaze samples; returns updates, best and best_by.

    validate_on  another artifact, a split of this one, a share of its clips (photos) that is held out; None: nothing
    init, weights, pretrained   as in `build`
    workers      processes that load samples
    cache        artifact of the frozen backbone's features of every scene, made if it is not there; scenes are then
                 not augmented, head boxes are
    keep_epochs  a checkpoint of every epoch stays, for eval-following --every-epoch
    """
    model, name = build(recipe, init, weights, pretrained)
    people, others = divide(artifact, rows, recipe, validate_on, run)
    features, features_of_others = None, None
    if cache:
        shared = others if others is not None and others.path == people.path else None
        images = [some.image_index for some in (people, shared) if some is not None]
        features = cached(cache, artifact, np.concatenate(images), model, run)
        features_of_others = features if shared is not None else None
    loader = load(people, model, recipe, run, features)
    validation = load(others, model, recipe, run, features_of_others) if others else None
    lengths = [loader.updates(epoch) for epoch in range(recipe.epochs)]
    total = min(sum(lengths), recipe.steps or sum(lengths))
    every = recipe.validate_every or lengths[0]
    guide = Guide(model, recipe)

    def scores() -> dict[str, float]:
        found = validate(model, validation, run) if others is not None else {}
        set_modes(model, recipe)
        return found

    with run:
        run.start(model, name, make_optimizer(model, recipe), learning_rate(recipe, lengths, total), total)
        set_modes(model, recipe)
        run.after_update(every, scores)  # what a stopped run had still to do
        for (epoch, update), pieces in loaded(loader, places(lengths, run.step, total), workers):
            counts = [(piece.inside, piece.known) if piece else (0, 0) for piece in pieces]
            all_inside, all_known = run.over_processes(*(sum(count) for count in zip(*counts, strict=True)))
            shares = torch.zeros(3, device=run.device)
            for number, (piece, (inside, known)) in enumerate(zip(pieces, counts, strict=True)):
                if piece is None:  # its tracks have ended
                    continue
                piece = piece.to(run.device)
                with run.accelerator.autocast():
                    output = outputs(model, piece, run.carried, number, features is not None)
                in_frame = in_frame_loss(recipe, output, piece.batch) * (known / max(all_known, 1))
                heatmap = heatmap_loss(recipe, output, piece.batch) * (inside / max(all_inside, 1))
                aside = guide.loss(output, piece.batch) * (inside / max(all_inside, 1))
                run.backward(heatmap + in_frame + aside)
                shares += torch.stack([heatmap, in_frame, aside]).detach()
            named = dict(zip(("heatmap_loss", "in_frame_loss", "guide_loss"), shares, strict=True))
            run.update({"loss": shares.sum()} | named, epoch + (update + 1) / lengths[epoch])
            if keep_epochs and update + 1 == lengths[epoch]:
                run.keep_epoch(epoch + 1)
            run.after_update(every, scores)
    return {"updates": run.step, "best": run.best, "best_by": run.settings.best_by}


def outputs(model: nn.Module, piece: Piece, carried: dict[str, Tensor], number: int, encoded: bool = False) -> Any:
    """The model's own output of a piece: it has heatmap (rows, 64, 64) and in_frame_logit (rows,) or None.

    carried  where the state of piece `number` of a batch of tracks is taken from and put, cut off from its history
    encoded  the batch's scenes are the backbone's features already
    """
    batch = piece.batch
    if isinstance(model, VtdTemporal):
        names = f"{number}.hidden", f"{number}.cell"
        state = None if piece.first else (carried[names[0]], carried[names[1]])
        scene = batch.scene[batch.image_index]
        found = model(scene, batch.head_crop, batch.head_mask, state, piece.batch_sizes)
        carried |= {key: value.detach() for key, value in zip(names, found.state, strict=True)}
        return found
    if isinstance(model, Vtd):
        return model(batch.scene[batch.image_index], batch.head_crop, batch.head_mask)
    if encoded:
        return model.decode(batch.scene.float(), batch.head_box, batch.image_index)
    return model(batch.scene, batch.head_box, batch.image_index)


def heatmap_loss(recipe: Recipe, output: Any, batch: FollowingBatch) -> Tensor:
    """Mean over the rows with a gaze target, times the recipe's weight; zero without any."""
    inside = has_target(batch).float()
    if recipe.heatmap_loss == "mse":
        return losses.heatmap_mse(output.heatmap, batch.target_heatmap, inside, recipe.heatmap_weight)
    return losses.heatmap_bce(output.heatmap, batch.target_heatmap, inside) * recipe.heatmap_weight


def in_frame_loss(recipe: Recipe, output: Any, batch: FollowingBatch) -> Tensor:
    """Mean over the rows of which in_frame is known, times the recipe's weight; zero without any, or without a head."""
    if output.in_frame_logit is None:
        return batch.in_frame.new_zeros(())
    return losses.in_frame_bce(output.in_frame_logit, batch.in_frame, recipe.in_frame_weight)


def validate(model: nn.Module, validation: Photos | Tracks | None, run: Run) -> dict[str, float]:
    """Scores of the model over the people of all processes; validation None: this process has none of them.

    returns  as gz eval-following computes them: auc, average_l2, minimum_l2, centre_l2 (of always the centre), and
             in_frame_ap where somebody looks out of frame; nothing when the run is to stop
    """
    model.eval()
    scores, carried = Scores("gazelle"), dict[str, Tensor]()
    columns: list[dict[str, np.ndarray]] = []
    for piece in validation.in_order() if validation else ():
        if run.stopping:
            return {}
        with torch.inference_mode(), run.accelerator.autocast():
            encoded = isinstance(validation, Photos) and validation.features is not None
            output = outputs(model, piece.to(run.device), carried, 0, encoded)
        people, mine = validation.people, piece.people  # type: ignore[union-attr]
        block = {
            "heatmap": output.heatmap.float().cpu().numpy(),
            "gaze_targets": people.gaze_targets[mine],
            "in_frame": people.in_frame[mine],
            "dataset": people.dataset[mine],
        }
        block["gaze_point"] = heatmaps.peak(block["heatmap"])
        found = scores.add(block, people.sizes_px[mine])
        found["centre_l2"] = np.where(
            np.isnan(found["average_l2"]),
            np.nan,
            l2_distance(np.full_like(block["gaze_point"], 0.5), block["gaze_targets"])[0],
        )
        kept = {name: found[name] for name in (*PER_PERSON, "in_frame")}
        if output.in_frame_logit is not None:
            kept["in_frame_score"] = output.in_frame_logit.float().cpu().numpy()
        columns.append(kept)
    gathered = run.gather(columns)
    joined = {name: np.concatenate([part[name] for part in gathered]) for name in gathered[0]}
    means = {name: float(np.nanmean(joined[name])) for name in PER_PERSON if not np.isnan(joined[name]).all()}
    if "in_frame_score" in joined and (joined["in_frame"] == 0).any():
        means["in_frame_ap"] = float(in_frame_ap(joined["in_frame_score"], joined["in_frame"]))
    return means


# ---- what a run is made of ------------------------------------------------------------------------------------------


def build(recipe: Recipe, init: Path | None, weights: Path | None, pretrained: bool) -> tuple[nn.Module, str]:
    """The recipe's model, frozen as it says, and its name.

    init        a checkpoint to start from, see `start_from`
    weights     a local file of the public backbone's weights; pretrained False: random ones
    """
    name, _, preset = recipe.model.partition(":")
    config = models.configure(name, preset or None)
    fields = [f.name for f in dataclasses.fields(config)]
    unknown = [key for key in recipe.model_options if key not in fields]
    if unknown:
        raise GazeError(f"--set model.{unknown[0]}: {name} has {', '.join(fields)}", USAGE)
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in recipe.model_options.items()}
    own: dict[str, Any] = {}
    if "stored_backbone" in fields:
        own = {"pretrained": pretrained, "weights": weights}
        options |= {"stored_backbone": True} if recipe.freeze == "nothing" else {}  # a trained one is our own
    model = models.build(name, replace(config, **options), **own)
    if recipe.head_box_expansion is not None:
        model.preprocessing["head_box_expansion"] = recipe.head_box_expansion
    if recipe.last_scale is not None and isinstance(model, Vtd):
        nn.init.constant_(model.conv4.weight, recipe.last_scale)
        nn.init.zeros_(model.conv4.bias)
    if init is not None:
        start_from(model, init)
    if recipe.freeze == "trunk":
        freeze_trunk(model, name)
    if isinstance(model, Vtd):
        model.to(memory_format=torch.channels_last)  # half the time of its convolutions, on CPUs too
    return model, name


def start_from(model: nn.Module, init: Path) -> list[str]:
    """Take over the weights whose names a checkpoint shares with the model; returns the names that it lacks.

    So a frame model starts the one with memory (all its 771 names return there), and a decoder without an in-frame head
    one with. Errors: no name shared; a weight of another shape.
    """
    checkpoints.info(init)
    own = model.state_dict()
    with safe_open(init, framework="pt") as file:
        shared = {key: file.get_tensor(key) for key in file.keys() if key in own}  # noqa: SIM118
    wrong = [
        f"{key} is {tuple(value.shape)}; expected {tuple(own[key].shape)}"
        for key, value in shared.items()
        if value.shape != own[key].shape
    ]
    if wrong or not shared:
        raise GazeError(f"{init} does not start this model: {'; '.join(wrong[:5]) or 'no weight has a name in common'}")
    model.load_state_dict(shared, strict=False)
    left_out = tuple(getattr(model, "left_out", ()))
    return [key for key in own if key not in shared and not key.startswith(left_out)]


def freeze_trunk(model: nn.Module, name: str) -> None:
    """No gradients for what encodes the scene; of the model with memory, for all that the published recipe leaves."""
    if isinstance(model, VtdTemporal):
        model.freeze_encoder()
        return
    if name not in TRUNKS:
        raise GazeError(f"--freeze trunk: it is not known what the trunk of {name} is; --freeze nothing", USAGE)
    for key, parameter in model.named_parameters():
        if key.startswith(TRUNKS[name]):
            parameter.requires_grad_(False)


def set_modes(model: nn.Module, recipe: Recipe) -> None:
    """Training, but evaluation for what is frozen: its dropout and the statistics of its batch norms."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        frozen = bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
        if frozen or (recipe.freeze_batchnorm and isinstance(module, nn.BatchNorm2d)):
            module.eval()


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Over what is trained, in one group, or two where the in-frame head has a rate of its own."""
    named = {key: value for key, value in model.named_parameters() if value.requires_grad}
    of_head = [value for key, value in named.items() if recipe.in_frame_lr is not None and "inout" in key]
    groups = [
        {"params": [value for value in named.values() if not any(value is other for other in of_head)], "lr": recipe.lr}
    ]
    if of_head:
        groups.append({"params": of_head, "lr": recipe.in_frame_lr})
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if recipe.optimizer not in kinds:
        raise GazeError(f"--set optimizer={recipe.optimizer}: expected {', '.join(kinds)}", USAGE)
    return kinds[recipe.optimizer](groups, weight_decay=recipe.weight_decay, fused=True)


def divide(
    artifact: Artifact, rows: np.ndarray, recipe: Recipe, validate_on: Artifact | float | str | None, run: Run
) -> tuple[People, People | None]:
    """Who is trained on, and this process's part of who is validated on (None: nobody is)."""
    others: People | None = None
    if isinstance(validate_on, float):
        everybody = People(artifact, rows)
        rest, out = held_out(everybody, validate_on, run.settings.seed)
        rows, others = everybody.rows[rest], People(artifact, everybody.rows[out])
    elif isinstance(validate_on, str):
        others = People(artifact, selection.rows(artifact, split=validate_on))
    elif validate_on is not None:
        others = People(validate_on, np.arange(len(validate_on)))
    people = People(artifact, rows)
    learnable = ~np.isnan(people.gaze_targets).all(axis=(1, 2)) | (people.in_frame >= 0)
    if recipe.in_frame_only:
        learnable &= people.in_frame != 0
    if recipe.every_frame > 1 and people.video:
        learnable[~np.isin(np.arange(len(people)), every_nth_frame(people, recipe.every_frame))] = False
    people = People(artifact, people.rows[learnable])
    if others is not None and run.world > 1:
        mine = np.array_split(np.unique(others.clip), run.world)[run.rank]
        source = validate_on if isinstance(validate_on, Artifact) else artifact
        others = People(source, others.rows[np.isin(others.clip, mine)])
    if recipe.blank_head:
        for some in filter(None, (people, others)):
            some.head_box_px = np.full_like(some.head_box_px, np.nan)
    return people, others


def load(
    people: People, model: nn.Module, recipe: Recipe, run: Run, features: Features | None = None
) -> Photos | Tracks:
    """The loader that a recipe wants: tracks for a model with memory, else photos (or single frames)."""
    preprocessing, seed = preprocessing_of(model), run.settings.seed
    share = Share(run.rank, run.world, recipe.accumulate)
    if recipe.augment not in AUGMENTATIONS:
        raise GazeError(f"--set augment={recipe.augment}: expected {', '.join(AUGMENTATIONS)}", USAGE)
    if recipe.chunk is None:
        return Photos(
            people, preprocessing, recipe.batch_size, seed, share, recipe.augment, recipe.share_scene, features
        )
    if not recipe.freeze_batchnorm:
        raise GazeError("tracks that end leave batches too uneven for batch norm: --set freeze_batchnorm=true", USAGE)
    return Tracks(
        people, preprocessing, recipe.batch_size, recipe.chunk, recipe.most_frames, seed, share, recipe.augment
    )
