"""Change the container (.zarr, .zarr.zip, .h5); heat maps from and to files.

Plain heat-map files are VIDEO.npz ([T, H, W]), VIDEO/frame_000000.npy, or a folder of greyscale PNG.

Example: gz convert maps.zarr -o maps.h5        gz convert folder/ -o maps.zarr
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Input, Out, Overwrite


def main(
    input: Input = "-",
    out: Out = None,
    to: Annotated[str | None, typer.Option(help="plain files of heat maps: npz, npy or png; --out is a folder")] = None,
    keep_half: Annotated[bool, typer.Option("--keep-half", help="float16 stays so in HDF5 (netCDF-C crashes)")] = False,
    overwrite: Overwrite = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.artifacts import copying
    from gazecore.prep import heatmap_files

    if to is not None:
        if out is None or out == "-":
            raise usage("--to writes files: name their folder with -o")
        for artifact in artifacts.inputs(input, kind=("heatmaps", "gaze-predictions")):
            cli.plan(f"{out}: {len(artifact)} heat maps as {to}")
            count = heatmap_files.write(artifact, Path(out), to, overwrite)
            cli.say(f"gz convert: wrote {count} files to {out}")
        return
    output = artifacts.Output(out, overwrite=overwrite)
    if input != "-" and heatmap_files.is_plain(Path(input)):
        cli.plan(f"{out or 'a reference'}: heatmaps from {input}")
        with output.create("heatmaps", {"source": Path(input).name, "normalisation": "none"}) as writer:
            for block in heatmap_files.read(Path(input)):
                writer.append(**block)
        return
    for artifact in artifacts.inputs(input):
        cli.plan(f"{out or 'a reference'}: {artifact.kind}, {len(artifact)} records")
        attrs = copying.carried_attrs(artifact, output.folder)
        with output.create(artifact.kind, attrs, copying.copied_specs(artifact), keep_half=keep_half) as writer:
            copying.copy_table(artifact, writer)


if __name__ == "__main__":
    run(main)
