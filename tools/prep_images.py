"""Prepare your own photos or videos with the head boxes of any detector, or of ours.

Boxes come as CSV (image,x_min,y_min,x_max,y_max), JSON, labelImg XML or the demo txt of Chong et al.; in pixels.
A column person or track says whose they are. Of a video, frame is counted from 0; people without a name are followed.

Example:
  gz prep-images photos/ --boxes heads.csv -o photos.zarr
  gz prep-images clip.mp4 --boxes heads.csv --fps 5 -o clip.zarr
  gz prep-images photo.jpg --detect haar | gz predict-following --checkpoint gazelle.safetensors | gz visualize -o out/
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Images, Limit, OnBad, Out, Overwrite, Resume


def main(
    sources: Annotated[list[Path], typer.Argument(help="images, or videos, or folders of either")],
    boxes: Annotated[list[Path] | None, typer.Option("--boxes", help="box files or folders of them; repeat it")] = None,
    detect: Annotated[
        Literal["haar"] | None, typer.Option(help="look for heads instead: haar (needs gazecore[detect])")
    ] = None,
    all_objects: Annotated[bool, typer.Option("--all-objects", help="boxes of any name count, not only head")] = False,
    keep_headless: Annotated[bool, typer.Option("--keep-headless", help="keep what has no head box")] = False,
    fps: Annotated[float | None, typer.Option(min=0.001, help="of a video, only so many frames a second")] = None,
    out: Out = None,
    images: Images = "packed",
    on_bad: OnBad = "fail",
    limit: Limit = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    import os
    from itertools import islice

    from gazecore import artifacts, cli
    from gazecore.artifacts import gaze_samples
    from gazecore.errors import Counts
    from gazecore.prep import images as photo_prep
    from gazecore.prep import videos as video_prep

    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    if (boxes is None) == (detect is None):
        raise usage("give head boxes with --boxes, or --detect haar; one of them")
    videos = video_prep.find(sources)
    if videos and images == "paths":
        raise usage("the frames of a video are no files that an artifact could refer to: --images packed")
    if fps and not videos:
        raise usage("--fps is for videos; these are photos")
    root = Path(os.path.commonpath([p.resolve() if p.is_dir() else p.resolve().parent for p in sources]))
    image_root, attrs = gaze_samples.image_attrs(images, root, output.folder)
    cli.plan(f"{out or 'a reference'}: gaze-samples of {', '.join(map(str, sources))}, images {images}")

    counts = Counts(on_bad)
    if videos:
        found = video_prep.read(videos, boxes, counts, fps, keep_headless, all_objects)
    else:
        found = photo_prep.read(sources, boxes, counts, keep_headless, all_objects)
    samples = islice(found, limit)
    with output.create("gaze-samples", attrs) as writer:
        count = gaze_samples.write(cli.progress(samples, limit, "prep"), writer, image_root, video=True, counts=counts)
        writer.summary = dict(counts)
    cli.counted(count, "samples", counts)


if __name__ == "__main__":
    run(main)
