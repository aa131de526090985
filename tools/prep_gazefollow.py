"""Prepare GazeFollow-extended: its annotations and images as one artifact.

Example: gz prep-gazefollow data/gazefollow_extended -o gf.zarr
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Images, Limit, OnBad, Out, Overwrite, Resume, Split


def main(
    root: Annotated[Path, typer.Argument(help="folder with train_annotations_release.txt, train/, test2/")],
    out: Out = None,
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", help="another's file for --split: *_preprocessed.json, Sharingan's txt"),
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
    from gazecore.prep import annotation_files, gazefollow

    if annotations and not split:
        raise usage("--annotations is the table of one split; say which with --split")
    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    splits = [split] if split else list(gazefollow.TABLES)
    image_root, attrs = gaze_samples.image_attrs(images, root, output.folder)
    tables = [annotations] if annotations else [gazefollow.annotation_table(root, s) for s in splits]
    cli.plan(f"{out or 'a reference'}: gaze-samples of {', '.join(map(str, tables))}, images {images}")

    counts = Counts(on_bad)
    if annotations:
        people = annotation_files.read(annotations, root, splits[0], gazefollow.DATASET, counts)
    else:
        people = chain.from_iterable(gazefollow.read(root, s, counts) for s in splits)
    samples = cli.progress(islice(people, limit), limit, "prep")
    with output.create("gaze-samples", attrs) as writer:
        count = gaze_samples.write(samples, writer, image_root, annotators=gazefollow.MOST_ANNOTATORS, counts=counts)
        writer.summary = dict(counts)
    cli.counted(count, "samples", counts)


if __name__ == "__main__":
    run(main)
