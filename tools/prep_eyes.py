"""Prepare eye regions with label masks: folders, OpenEDS, or eyes rendered on the spot.

ROOT holds images/ and masks/ with files of the same names, or OpenEDS's train/images, train/labels and so on; or it is
the folder of the images, and --masks that of their masks. Values of masks: gz 0 background, 1 iris, 2 pupil, 3 sclera;
openeds 0 background, 1 sclera, 2 iris, 3 pupil; or a YAML file with lines such as `255: pupil`. A map that cannot be
right (no iris around the pupils) is refused.

Example:
  gz prep-eyes data/my_eyes --label-map gz --size 320x240 -o eyes.zarr
  gz prep-eyes --render 1000 --seed 1 --size 160x120 -o rendered.zarr
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Limit, OnBad, Out, Overwrite, Resume, Seed, Split


def main(
    root: Annotated[Path | None, typer.Argument(help="folder of images and masks", show_default=False)] = None,
    masks: Annotated[Path | None, typer.Option(help="folder of the masks, where ROOT holds images alone")] = None,
    label_map: Annotated[
        str | None, typer.Option(help="gz, openeds or FILE; without it, that of the folders' layout")
    ] = None,
    render: Annotated[int | None, typer.Option(min=1, help="render so many eyes instead")] = None,
    size: Annotated[str | None, typer.Option(help="WxH: bring all to one size; rendered eyes have 320x240")] = None,
    split: Split = None,
    on_bad: OnBad = "fail",
    out: Out = None,
    limit: Limit = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    from itertools import islice

    from gazecore import artifacts, cli
    from gazecore.artifacts import eye_samples
    from gazecore.errors import Counts, GazeError
    from gazecore.prep import eye_labels, eyes

    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    if (root is None) == (render is None):
        raise usage("name the folder of images and masks, or --render N; one of them")
    if render and split:
        raise usage("--split is for folders; all rendered eyes are kept, gz select --split takes some")
    box = eyes.parsed_size(size)
    counts = Counts(on_bad)
    if render is not None:
        total = min(render, limit or render)
        cli.plan(f"{out or 'a reference'}: eye-samples, {total} rendered eyes")
        with output.create("eye-samples") as writer:
            made = eyes.rendered(total, seed, box or (320, 240), start=writer.rows())
            count = eye_samples.write(cli.progress(made, total, "render"), writer, truth=True)
        cli.counted(count, "samples", counts)
        return

    assert root is not None
    pairs, usual = eyes.find(root, masks)
    splits = sorted({pair.split for pair in pairs})
    pairs = [pair for pair in pairs if split in (None, pair.split)][:limit]
    if not pairs:
        raise GazeError(f"{root} has no image of split {split}; its splits are {', '.join(splits)}")
    values = eye_labels.label_map(label_map or usual)
    if box is None:
        eyes.check_sizes(pairs)
    cli.plan(f"{out or 'a reference'}: eye-samples, {len(pairs)} images with masks, label map {values}")
    seen = eye_labels.Plausibility(values)
    with output.create("eye-samples", {"label_map": str(values)}) as writer:
        samples = eyes.read(pairs, values, counts, root.name, box, seen)
        rest = islice(cli.progress(samples, len(pairs), "prep"), writer.rows(), None)
        count = eye_samples.write(rest, writer, truth=any(pair.truth for pair in pairs))
        writer.summary = dict(counts)
    for line in seen.lines():
        cli.say(line)
    cli.counted(count, "samples", counts)


if __name__ == "__main__":
    run(main)
