"""Prepare GOO-Real or GOO-Synth: pictures of people before shelves as one artifact.

The pickles are read without running any code in them, and their segmentation is dropped as it comes.

Example: gz prep-goo gooreal -o goo.zarr        gz prep-goo gooreal --pickle testrealhumansSparsed.pickle --split test
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Images, Limit, OnBad, Out, Overwrite, Resume, Split


def main(
    root: Annotated[Path, typer.Argument(help="folder with the pickles and, in it or below, the pictures")],
    out: Out = None,
    split: Split = None,
    pickle: Annotated[Path | None, typer.Option("--pickle", help="the pickle of --split, if not found by name")] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="the folder that filenames are relative to, if not found")
    ] = None,
    reference_boxes: Annotated[
        bool, typer.Option("--reference-boxes", help="head boxes as published loaders make them, around hx, hy")
    ] = False,
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
    from gazecore.prep import goo

    if pickle and not split:
        raise usage("--pickle is the table of one split; say which with --split")
    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    image_root, attrs = gaze_samples.image_attrs(images, root, output.folder)
    tables = {split: pickle} if split and pickle else goo.annotation_pickles(root, split)
    cli.plan(f"{out or 'a reference'}: gaze-samples of {', '.join(map(str, tables.values()))}, images {images}")

    counts = Counts(on_bad)
    parts = (goo.read(root, s, counts, table, folder, reference_boxes) for s, table in tables.items())
    samples = islice(chain.from_iterable(parts), limit)
    with output.create("gaze-samples", attrs) as writer:
        count = gaze_samples.write(cli.progress(samples, limit, "prep"), writer, image_root, counts=counts)
        writer.summary = dict(counts)
    cli.counted(count, "samples", counts)


if __name__ == "__main__":
    run(main)
