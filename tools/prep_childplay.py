"""Prepare ChildPlay: its clips of children at play as one artifact.

Rows without a target (gaze_shift, eyes_closed and the like) are dropped and counted. track_id begins with c for a
child and with a for an adult: gz select childplay.zarr --where "startswith(track_id, 'c')"

Example: gz prep-childplay data/ChildPlay-gaze -o childplay.zarr
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run
from gazecore.cli_options import Images, Limit, OnBad, Out, Overwrite, Resume, Split


def main(
    root: Annotated[Path, typer.Argument(help="folder with annotations/SPLIT/CLIP.csv and images/CLIP/")],
    out: Out = None,
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
    from gazecore.prep import childplay

    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    image_root, attrs = gaze_samples.image_attrs(images, root, output.folder)
    there = [s for s in childplay.SPLITS if (root / "annotations" / s).is_dir()]
    splits = [split] if split else there or ["train"]
    tables = [table for s in splits for table in childplay.tables(root, s)]
    cli.plan(f"{out or 'a reference'}: gaze-samples of {len(tables)} clips, {' and '.join(splits)}, images {images}")

    counts = Counts(on_bad)
    samples = islice(chain.from_iterable(childplay.read(root, s, counts) for s in splits), limit)
    with output.create("gaze-samples", attrs) as writer:
        count = gaze_samples.write(cli.progress(samples, limit, "prep"), writer, image_root, video=True, counts=counts)
        writer.summary = dict(counts)
    cli.counted(count, "samples", counts)


if __name__ == "__main__":
    run(main)
