"""Segment eye regions: a mask of iris, pupil and sclera for every image of samples, a folder, an array or a video.

SOURCE is an artifact of eye samples (- reads it from the pipe), a folder of images, an image, a multi-frame GIF or
TIFF, an array (.npy, .zarr, .h5) or a video. Without --checkpoint the shipped weights are used; they know rendered eyes
only.

Example:
  gz segment-eyes eyes.zarr --checkpoint runs/eyes/best.safetensors -o masks.zarr
  gz segment-eyes left_eye.mp4 --probabilities -o masks.zarr
"""

from typing import Annotated, Literal

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import BatchSize, Device, Limit, Out, Overwrite, Resume, Seed, Split


def main(
    source: Annotated[str, typer.Argument(help="samples, images or a video", show_default="the pipe")] = "-",
    checkpoint: Annotated[
        str | None, typer.Option(help="weights of ours, or MODEL:PRESET, random ones; without it, the shipped")
    ] = None,
    out: Out = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="store those of all labels, too")] = False,
    size: Annotated[str | None, typer.Option(help="WxH: bring frames of different sizes to one")] = None,
    eye: Annotated[Literal["L", "R", "auto"], typer.Option(help="whose eye; auto: as names say")] = "auto",
    fps: Annotated[float | None, typer.Option(min=0.1, help="frames per second of images and arrays")] = None,
    split: Split = None,
    limit: Limit = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    from itertools import islice
    from pathlib import Path

    from gazecore import artifacts, cli
    from gazecore.artifacts import selection
    from gazecore.artifacts.copying import carried_attrs
    from gazecore.eval import eye_masks
    from gazecore.prep import eye_frames
    from gazecore.prep.eyes import parsed_size

    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    box = parsed_size(size)
    if eye_frames.is_frames(source):
        if split:
            raise usage("frames have no splits; --split is for samples")
        cli.plan(f"{out or 'a reference'}: eye-masks of the frames of {source}")
        opened = eye_masks.opened(checkpoint, seed)
        segmenter = eye_masks.Segmenter(opened.model, cli.choose_device(device))
        frames = (frame for frame in eye_frames.read(Path(source), fps, eye) if frame.image is not None)
        with output.create("eye-masks", opened.attrs) as writer:
            blocks = eye_masks.segment_frames(segmenter, islice(frames, writer.rows(), limit), batch_size, box)
            for block in cli.progress(blocks, None, "segment", eye_masks.samples_in):
                writer.append(**{name: block[name] for name in block if probabilities or name != "probability"})
            count = writer.rows()
        cli.say(f"gz segment-eyes: n = {count}, by {opened.name}")
        return

    if box or fps or eye != "auto":
        raise usage("--size, --fps and --eye are for frames; samples have one size and know the rest")
    for samples in artifacts.inputs(source, kind="eye-samples"):
        rows = selection.rows(samples, split=split, limit=limit)
        cli.plan(f"{out or 'a reference'}: eye-masks, {len(rows)} records")
        opened = eye_masks.opened(checkpoint, seed)
        segmenter = eye_masks.Segmenter(opened.model, cli.choose_device(device))
        attrs = carried_attrs(samples, output.folder) | opened.attrs
        with output.create("eye-masks", attrs, eye_masks.added_specs(samples)) as writer:
            blocks = eye_masks.predict(segmenter, samples, rows[writer.rows() :], batch_size)
            for block in cli.progress(blocks, len(rows), "segment", eye_masks.samples_in):
                writer.append(**{name: block[name] for name in block if probabilities or name != "probability"})
        cli.say(f"gz segment-eyes: n = {len(rows)}, by {opened.name}")


if __name__ == "__main__":
    run(main)
