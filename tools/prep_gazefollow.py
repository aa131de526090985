"""Prepare GazeFollow-extended: its annotations and images as one artifact.

Example: gz prep-gazefollow data/gazefollow_extended -o gf.zarr
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run
from gazecore.cli_options import Images, Limit, Out, Overwrite, Resume, Split


def main(
    root: Annotated[Path, typer.Argument(help="folder with train_annotations_release.txt, train/, test2/")],
    out: Out = None,
    split: Split = None,
    images: Images = "packed",
    limit: Limit = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    from collections import Counter
    from itertools import islice

    from gazecore import artifacts, cli
    from gazecore.artifacts import gaze_samples
    from gazecore.prep import gazefollow

    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    splits = [split] if split else list(gazefollow.TABLES)
    image_root, attrs = gaze_samples.image_attrs(images, root, output.folder)
    tables = [gazefollow.annotation_table(root, s) for s in splits]
    cli.plan(f"{out or 'a reference'}: gaze-samples of {', '.join(map(str, tables))}, images {images}")

    counts: Counter[str] = Counter()
    samples = islice((sample for s in splits for sample in gazefollow.read(root, s, counts)), limit)
    with output.create("gaze-samples", attrs) as writer:
        count = gaze_samples.write(
            cli.progress(samples, limit, "prep"), writer, image_root, annotators=gazefollow.MOST_ANNOTATORS
        )
    cli.counted(count, "samples", counts)


if __name__ == "__main__":
    run(main)
