"""Draw an artifact: pictures into a folder, one HTML report, a video of a clip, or a preview in the terminal.

In the middle of a pipe it passes its input on.

Example:
  gz visualize predictions.zarr -o report.html
  gz select predictions.zarr --where 'auc < 0.8' | gz visualize -o worst/
  gz predict-following clip.zarr --checkpoint gazelle.safetensors | gz visualize -o overlay.mp4
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Input, Limit, Overwrite

MOST_IN_TERMINAL = 4
FILES = ("png", "jpg", "jpeg", "gif", "pdf", "svg", "htm", "zarr", "zip", "h5", "avi", "mov", "mkv")  # no folders


def main(
    input: Input = "-",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="folder of PNG, report.html or overlay.mp4; else the terminal")
    ] = None,
    limit: Limit = None,
    most: Annotated[int, typer.Option("--max", min=1, help="samples shown in a report")] = 200,
    by: Annotated[str, typer.Option(help="score by which a report chooses when it cannot show all")] = "",
    fps: Annotated[float, typer.Option(min=0.1, help="of a video, where the frames have numbers but no times")] = 25.0,
    width: Annotated[int | None, typer.Option(min=10, help="columns of a preview in the terminal")] = None,
    overwrite: Overwrite = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.visualize import items, overlay, report

    output = artifacts.Output(shows=True)
    if out and out.suffix.lower().lstrip(".") in FILES:
        raise usage(f"-o {out}: expected a folder, which gets one PNG per scene, or a file .html or .mp4")
    if out is None and not sys.stdout.isatty():
        raise usage("stdout is no terminal: name a folder, a report.html or an overlay.mp4 with -o")
    film = out is not None and out.suffix.lower() == ".mp4"
    for number, artifact in enumerate(artifacts.inputs(input)):
        check, place = (overlay.check, overlay.target) if film else (items.check, items.target)
        check(artifact)
        target = place(out, number, overwrite) if out else None
        cli.plan(f"{out or 'the terminal'}: {len(artifact)} {artifact.kind}")
        if target is None:
            items.show(artifact, limit or MOST_IN_TERMINAL, width)
        elif film:
            shown = overlay.write(artifact, target, limit, fps)
            cli.say(f"gz visualize: {target} shows {shown.frames} frames of {shown.seconds:.2f} s")
        elif target.suffix == ".html":
            written = report.write(
                target, items.title(artifact), items.report_items(artifact, limit),
                items.summary(artifact), items.steps(artifact), most=most, chosen_by=by,
            )  # fmt: skip
            cli.say(f"gz visualize: {target} shows {written.shown} of {written.of} samples, {written.size:,} bytes")
        else:
            count = items.save(artifact, target, limit)
            cli.say(f"gz visualize: {target} has {count} PNG, one per scene")
        output.pass_on(artifact)


if __name__ == "__main__":
    run(main)
