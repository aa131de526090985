"""Prepare ObjectAttention: its tables and frames, or frames as recorded with labelImg's XML, as one artifact.

With --xml the folder holds SESSION/SETTING/TARGET/FRAME.ppm and XML files that name the head and the objects. All
recordings of a setting are copied to one sequence of frames in --work, with their table, and read from there; the
recorded frames stay as they are.

Example: gz prep-objectattention retrain -o oa.zarr        gz prep-objectattention robot --xml --work retrain -o oa.zarr
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Images, Limit, OnBad, Out, Overwrite, Resume, Split


def main(
    root: Annotated[Path, typer.Argument(help="folder with annotations/SPLIT/SESSION/SETTING/S11.txt and images/")],
    out: Out = None,
    xml: Annotated[
        bool, typer.Option("--xml", help="frames as recorded, annotated with labelImg; needs --work")
    ] = False,
    work: Annotated[Path | None, typer.Option("--work", help="new folder for the sequences made of --xml")] = None,
    test_session: Annotated[
        list[str] | None, typer.Option("--test-session", help="with --xml: a session that is test; repeat it")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="with --xml: take every Nth frame of a recording")] = 1,
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
    from gazecore.prep import objectattention, objectattention_raw

    if xml != (work is not None):
        raise usage("--xml and --work go together: the frames are renamed in a copy, never where they are")
    if (test_session or every != 1) and not xml:
        raise usage("--test-session and --every are for frames as recorded, with --xml")
    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    counts = Counts(on_bad)
    if work is not None:
        if work.resolve().is_relative_to(root.resolve()):
            raise usage(f"--work {work} lies in {root}; name a folder outside the recordings")
        sequences = objectattention_raw.find(root, counts)
        cli.plan(
            f"{work}: {len(sequences)} sequences", f"{out or 'a reference'}: gaze-samples of them, images {images}"
        )
        frames = objectattention_raw.write(sequences, work, test_session or [], every)
        cli.say(f"gz prep-objectattention: {len(sequences)} sequences, {frames} frames in {work}")
        root = work

    image_root, attrs = gaze_samples.image_attrs(images, root, output.folder)
    there = [s for s in ("train", "val", "test") if (root / "annotations" / s).is_dir()]
    splits = [split] if split else there or ["train"]
    samples = chain.from_iterable(objectattention.read(root, s, counts) for s in splits)
    first = list(islice(samples, 1))  # what is not there at all is told before anything is planned
    cli.plan(f"{out or 'a reference'}: gaze-samples of {root}, {' and '.join(splits)}, images {images}")

    wanted = islice(chain(first, samples), limit)
    with output.create("gaze-samples", attrs) as writer:
        count = gaze_samples.write(cli.progress(wanted, limit, "prep"), writer, image_root, video=True, counts=counts)
        writer.summary = dict(counts)
    cli.counted(count, "samples", counts)


if __name__ == "__main__":
    run(main)
