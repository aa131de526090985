"""Prepare your own photos with the head boxes of any detector, or of ours.

Boxes come as CSV (image,x_min,y_min,x_max,y_max), JSON, labelImg XML or the demo txt of Chong et al.; in pixels.

Example: gz prep-images photo.jpg --detect haar | gz predict-following --checkpoint gazelle.safetensors | gz visualize -o out/
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Images, Limit, Out, Overwrite, Resume


def main(
    photos: Annotated[list[Path], typer.Argument(help="images, or folders of images")],
    boxes: Annotated[list[Path] | None, typer.Option("--boxes", help="box files or folders of them; repeat it")] = None,
    detect: Annotated[str | None, typer.Option(help="look for heads instead: haar (needs gazecore[detect])")] = None,
    all_objects: Annotated[bool, typer.Option("--all-objects", help="boxes of any name count, not only head")] = False,
    keep_headless: Annotated[bool, typer.Option("--keep-headless", help="keep photos without a head box")] = False,
    out: Out = None,
    images: Images = "packed",
    limit: Limit = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    import os
    from collections import Counter
    from itertools import islice

    from gazecore import artifacts, cli
    from gazecore.artifacts import gaze_samples
    from gazecore.prep import images as photo_prep

    output = artifacts.Output(out, overwrite=overwrite, resume=resume)
    if (boxes is None) == (detect is None):
        raise usage("give head boxes with --boxes, or --detect haar; one of them")
    if detect not in (None, "haar"):
        raise usage(f"--detect {detect}: expected haar")
    root = Path(os.path.commonpath([p.resolve() if p.is_dir() else p.resolve().parent for p in photos]))
    image_root, attrs = gaze_samples.image_attrs(images, root, output.folder)
    cli.plan(f"{out or 'a reference'}: gaze-samples of {', '.join(map(str, photos))}, images {images}")

    counts: Counter[str] = Counter()
    samples = islice(photo_prep.read(photos, boxes, counts, keep_headless, all_objects), limit)
    with output.create("gaze-samples", attrs) as writer:
        count = gaze_samples.write(cli.progress(samples, limit, "prep"), writer, image_root, video=True)
    cli.counted(count, "samples", counts)


if __name__ == "__main__":
    run(main)
