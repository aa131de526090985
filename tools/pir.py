"""Measure the pupil-iris ratio frame by frame: a folder of images, a video, an array, or masks.

pir is the major axis of the fitted pupil ellipse over that of the iris, pir_area the ratio of their areas; both of the
apparent pupil. Millimetres are estimates: the ratio times --hvid. Without --checkpoint the shipped weights are used,
which were trained on rendered eyes: look at the masks (gz segment-eyes | gz visualize) before trusting numbers.

Example:
  gz pir left_eye.mp4 --csv pupil.csv -o pupil.zarr
  gz segment-eyes left_eyes/ | gz pir --csv pupil.csv
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import BatchSize, Device, Limit, Out, Overwrite, Seed


def main(
    source: Annotated[
        str, typer.Argument(help="frames, or an artifact of masks or samples", show_default="the pipe")
    ] = "-",
    out: Out = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="also this table, one row per frame and eye")] = None,
    table: Annotated[
        Literal["gz", "pupil"], typer.Option("--schema", help="columns of the table: ours, or Pupil Labs'")
    ] = "gz",
    checkpoint: Annotated[
        str | None, typer.Option(help="weights of ours, or MODEL:PRESET, random ones; without it, the shipped")
    ] = None,
    unit: Annotated[Literal["ratio", "px", "mm"], typer.Option(help="of the smoothed size and its velocity")] = "ratio",
    hvid: Annotated[float, typer.Option(min=5, max=20, help="iris diameter in mm, for mm")] = 11.7,
    eye: Annotated[Literal["L", "R", "auto"], typer.Option(help="whose eye; auto: as names say")] = "auto",
    fps: Annotated[float | None, typer.Option(min=0.1, help="frames per second of images and arrays")] = None,
    limit: Limit = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    import time
    from collections.abc import Iterable
    from itertools import islice

    import numpy as np

    from gazecore import artifacts, cli
    from gazecore.artifacts.copying import carried_attrs
    from gazecore.errors import EXISTS, GazeError
    from gazecore.eval import eye_masks, pir
    from gazecore.prep import eye_frames
    from gazecore.pupil import tables

    output = artifacts.Output(out, overwrite=overwrite, shows=csv is not None and out is None)
    if csv and csv.exists() and not overwrite:
        raise GazeError(f"{csv} exists; --overwrite replaces it", EXISTS)
    attrs: dict[str, Any] = {"unit": unit, "hvid_mm": hvid}
    plan = f"{out or 'a reference'}: pupil-trace of {source}" + (f", and {csv}" if csv else "")
    artifact, total = None, limit
    if eye_frames.is_frames(source):
        cli.plan(plan)
        frames: Iterable[eye_frames.EyeFrame] = islice(eye_frames.read(Path(source), fps, eye), limit)
    else:
        if fps or eye != "auto":
            raise usage("--fps and --eye are for frames; an artifact knows both")
        (artifact,) = artifacts.inputs(source, kind=("eye-masks", "eye-samples"))
        cli.plan(plan)
        attrs |= carried_attrs(artifact, output.folder)
        chosen = np.arange(len(artifact))[:limit]
        frames, total = pir.frames_of(artifact, chosen), len(chosen)
    if artifact is not None and artifact.kind == "eye-masks":
        blocks = pir.of_masks(artifact, chosen, hvid)
    else:
        opened = eye_masks.opened(checkpoint, seed)
        attrs |= opened.attrs
        blocks = pir.of_frames(frames, eye_masks.Segmenter(opened.model, cli.choose_device(device)), batch_size, hvid)

    begun, tally, rows = time.monotonic(), pir.Tally(), []
    measured = cli.progress(blocks, total, "measure", lambda block: len(block["pir"]))
    with output.create("pupil-trace", attrs) as writer:
        for block in pir.smoothed(measured, unit, hvid):
            tally.add(block)
            writer.append(**block)
            if csv:
                rows.append(block)
    if csv:
        tables.write_frames(csv, {name: np.concatenate([block[name] for block in rows]) for name in rows[0]}, table)
    document = tally.document() | {"frames_per_s": round(tally.frames / (time.monotonic() - begun), 1)}
    cli.result(document, list(document.items()))


if __name__ == "__main__":
    run(main)
