"""Artifacts as pictures to show: one per sample for a report, one per scene for a folder or the terminal."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.text import Text

from gazecore import images
from gazecore.artifacts import Artifact
from gazecore.artifacts.gaze_samples import Scenes
from gazecore.artifacts.pipe import temp_folder
from gazecore.artifacts.provenance import shell_line
from gazecore.errors import EXISTS, GazeError
from gazecore.geometry import normalise_boxes
from gazecore.metrics.confidence import bootstrap_interval
from gazecore.prep.heatmap_files import maps_of
from gazecore.visualize import epochs, eyes, following, heatmaps, panels, pupil_trace
from gazecore.visualize.report import Item, Summary
from gazecore.visualize.terminal import preview

KINDS = (
    *("gaze-predictions", "gaze-samples", "heatmaps", "epoch-scores"),
    *("eye-samples", "eye-masks", "pupil-trace", "plr"),
)
BLOCK = 64
FOLLOWING_SCORES = ("auc", "average_l2", "minimum_l2", "average_angle_deg", "minimum_angle_deg", "heatmap_ap")
HEATMAP_SCORES = ("cc", "kl", "sim", "nss", "auc", "auc_judd", "sauc", "ig", "emd", "spearman")


@dataclass(frozen=True)
class Scene:
    """One picture of a folder: its file name without ending, its caption, and the picture, drawn when asked."""

    name: str
    caption: str
    draw: Any


def check(artifact: Artifact) -> None:
    """GazeError for a kind that cannot be drawn."""
    if artifact.kind not in KINDS:
        raise GazeError(f'{artifact.path} holds "{artifact.kind}"; gz visualize draws {", ".join(KINDS)}')


def target(out: Path, number: int, overwrite: bool) -> Path:
    """Where the pictures of input `number` go: several inputs get report-2.html or out/2; GazeError if it is there."""
    if number:
        out = out.with_stem(f"{out.stem}-{number + 1}") if out.suffix == ".html" else out / str(number + 1)
    filled = out.exists() and (out.suffix == ".html" or any(p.suffix == ".png" for p in out.iterdir()))
    if filled and not overwrite:
        raise GazeError(f"{out} exists; --overwrite replaces it", EXISTS)
    return out


def save(artifact: Artifact, folder: Path, limit: int | None) -> int:
    """One PNG per scene into a folder; the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for scene in islice(pictures(artifact), limit):
        scene.draw().save(folder / f"{scene.name}.png")
        count += 1
    return count


def show(artifact: Artifact, limit: int, width: int | None) -> None:
    """A preview of the first scenes in the terminal."""
    console = Console()
    for scene in islice(pictures(artifact, "none"), limit):
        console.print(preview(scene.draw(), width))
        console.print(Text(scene.caption, style="dim"))
    if len(artifact) > limit:
        console.print(Text(f"{limit} scenes of {len(artifact)} samples; --limit shows more, -o report.html all"))


def summary(artifact: Artifact) -> dict[str, Summary]:
    """Means of the scores that an artifact holds, with 95 % bootstrap intervals."""
    found = {}
    for name in (*FOLLOWING_SCORES, *HEATMAP_SCORES, *eyes.SCORES):
        if name in artifact and name not in found:
            values = artifact[name].whole()
            values = values[~np.isnan(values)]
            if len(values):
                protocol = artifact.attrs.get("auc_protocol")
                shown = f"{name} ({protocol})" if name == "auc" and protocol else name
                if artifact.kind == "eye-masks":  # gz eval-eyes prints IoU of one confusion matrix over all images
                    shown = f"{name} (mean over images)"
                found[shown] = Summary(float(values.mean()), *bootstrap_interval(values), len(values))
    return found


def title(artifact: Artifact) -> str:
    """What a report is about: the kind, the model, and the file if it is no temporary one."""
    kind = artifact.kind.replace("-", " ").capitalize()
    by = f" by {artifact.attrs['model']}" if "model" in artifact.attrs else ""
    named = "" if artifact.path.parent == temp_folder() else f": {artifact.path.name}"
    return kind + by + named


def steps(artifact: Artifact) -> list[str]:
    """The command lines that made an artifact."""
    return [shell_line(entry["argv"]) for entry in artifact.provenance]


def report_items(artifact: Artifact, limit: int | None = None) -> Iterator[Item]:
    """One item per sample; pictures are drawn when the report asks for them."""
    items = _items(artifact)
    return islice(_following_items(artifact) if items is None else items, limit)


def _items(artifact: Artifact, text: panels.Text = "titles") -> Iterator[Item] | None:
    """One item per picture; None for people in scenes, of whom several may share a picture."""
    if artifact.kind == "heatmaps":
        return _heatmap_items(artifact, text)
    if artifact.kind == "epoch-scores":
        return epochs.items(artifact)
    if artifact.kind in ("eye-samples", "eye-masks"):
        return eyes.items(artifact, text)
    if artifact.kind == "pupil-trace":
        return pupil_trace.items(artifact)
    if artifact.kind == "plr":
        from gazecore.visualize import light_reflex  # matplotlib, 0.3 s

        return light_reflex.report_items(artifact, text)
    return None


def _following_items(artifact: Artifact) -> Iterator[Item]:
    scenes = Scenes(artifact)
    for block in _blocks(artifact):
        for person, index, name in zip(*_people(artifact, block, scenes), strict=True):
            draw = partial(_drawn, scenes, index, [person], "titles")
            remarks = following.describe(replace(person, label="", scores={}))
            yield Item(
                name, draw, person.scores, {"image": str(scenes.names[index])} | ({"gaze": remarks} if remarks else {})
            )


def pictures(artifact: Artifact, text: panels.Text = "captions") -> Iterator[Scene]:
    """One picture per scene, with all people in it that follow one another."""
    items = _items(artifact, text)
    if items is not None:
        for number, item in enumerate(items):
            yield Scene(_file_name(number, item.name), item.name, item.picture)
        return
    scenes = Scenes(artifact)
    group: list[following.Person] = []
    current, number = -1, 0
    for block in _blocks(artifact):
        for person, index, _ in zip(*_people(artifact, block, scenes), strict=True):
            if group and index != current:
                yield _scene(scenes, current, number, group, text)
                group, number = [], number + 1
            group.append(person)
            current = index
    if group:
        yield _scene(scenes, current, number, group, text)


def _scene(scenes: Scenes, index: int, number: int, people: list[following.Person], text: panels.Text) -> Scene:
    name = str(scenes.names[index])
    caption = " | ".join([name, *filter(None, (following.describe(person) for person in people))])
    return Scene(_file_name(number, name), caption, partial(_drawn, scenes, index, people, text))


def _drawn(scenes: Scenes, index: int, people: list[following.Person], text: panels.Text) -> Image.Image:
    return following.panel(images.load(scenes[index]), people, text)


def _people(artifact: Artifact, block: slice, scenes: Scenes) -> tuple[list[following.Person], list[int], list[str]]:
    held = {name: artifact[name][block] for name in artifact.variables if artifact[name].dims[0] == "sample"}
    index = held["image_index"]
    head_boxes = normalise_boxes(held["head_box_px"], scenes.sizes_px[index])
    names = [str(name) for name in held["sample_id"]]
    people = []
    for i in range(len(index)):
        known = not np.isnan(held["gaze_targets"][i]).all() or not np.isnan(held["in_frame"][i])
        people.append(
            following.Person(
                head_box=head_boxes[i],
                heatmap=held["heatmap"][i].astype(np.float32) if "heatmap" in held else None,
                gaze_point=held["gaze_point"][i] if "gaze_point" in held else None,
                gaze_targets=held["gaze_targets"][i] if known else None,
                in_frame_score=float(held["in_frame_score"][i]) if "in_frame_score" in held else None,
                in_frame=float(held["in_frame"][i]),
                scores={name: float(held[name][i]) for name in FOLLOWING_SCORES if name in held},
                label=names[i],
            )
        )
    return people, index.tolist(), names


def _heatmap_items(artifact: Artifact, text: panels.Text = "titles") -> Iterator[Item]:
    for block in _blocks(artifact):
        maps = maps_of(artifact, block)
        names = artifact["name"][block] if "name" in artifact else [str(i) for i in range(block.start, block.stop)]
        frames = artifact["frame"][block] if "frame" in artifact else np.full(len(maps), np.nan)
        scores = {name: artifact[name][block] for name in HEATMAP_SCORES if name in artifact}
        for i, heatmap in enumerate(maps):
            name = str(names[i]) + ("" if np.isnan(frames[i]) else f" #{frames[i]:.0f}")
            own = {score: float(values[i]) for score, values in scores.items()}
            yield Item(name, partial(heatmaps.panel, heatmap, caption=name, text=text), own)


def _blocks(artifact: Artifact) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, len(artifact))) for start in range(0, len(artifact), BLOCK))


def _file_name(number: int, name: str) -> str:
    """Deterministic, safe and sorted in the order of the artifact."""
    stem = re.sub(r"\.(jpe?g|png|ppm|bmp)$", "", name, flags=re.IGNORECASE)
    return f"{number:05d}_{re.sub(r'[^0-9A-Za-z._#-]+', '_', stem)[-80:]}"
