"""Prepare VideoAttentionTarget: its clips of television shows as one artifact.

Some shows of it: gz select vat.zarr --where "startswith(clip, 'Friends/') or startswith(clip, 'Veep/')"

Example: gz prep-videoattentiontarget data/videoattentiontarget -o vat.zarr
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Images, Limit, OnBad, Out, Overwrite, Resume, Split


def main(
    root: Annotated[Path, typer.Argument(help="folder with annotations/SPLIT/SHOW/CLIP/sNN.txt and images/SHOW/CLIP/")],
    out: Out = None,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", help="another's file for --split: *_preprocessed.json of Gaze-LLE")
    ] = None,
    split: Split = None,
    images: Images = "packed",
    on_bad: OnBad = "fail",
    limit: Limit = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    from itertools import chain, islice

    from gazecore import artifacts, cli
    from gazecore.artifacts import gaze_samples
    from gazecore.errors import Counts
    from gazecore.prep import annotation_files, videoattentiontarget

    if annotations and not split:
        raise usage("--annotations is the table of one split; say which with --split")
    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    image_root, attrs = gaze_samples.image_attrs(images, root, output.folder)
    there = [s for s in ("train", "val", "test") if (root / "annotations" / s).is_dir()]
    splits = [split] if split else there or ["train"]
    counts = Counts(on_bad)
    if annotations:
        samples = annotation_files.read(annotations, root, splits[0], videoattentiontarget.DATASET, counts)
    else:
        samples = chain.from_iterable(videoattentiontarget.read(root, s, counts) for s in splits)
    first = list(islice(samples, 1))  # what is not there at all is told before anything is planned
    cli.plan(f"{out or 'a reference'}: gaze-samples of {root}, {' and '.join(splits)}, images {images}")

    wanted = islice(chain(first, samples), limit)
    with output.create("gaze-samples", attrs) as writer:
        count = gaze_samples.write(cli.progress(wanted, limit, "prep"), writer, image_root, video=True, counts=counts)
        writer.summary = dict(counts)
    cli.counted(count, "samples", counts)


if __name__ == "__main__":
    run(main)
