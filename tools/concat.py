"""Join artifacts of one kind: all samples after one another.

Example: gz concat train.zarr more.zarr -o all.zarr        ls -d shows/*.zarr | gz concat -o vat.zarr
"""

from gazecore.cli import run
from gazecore.cli_options import Inputs, Out, Overwrite


def main(
    input: Inputs = ["-"],  # noqa: B006  typer copies the default
    out: Out = None,
    overwrite: Overwrite = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.artifacts import copying

    output = artifacts.Output(out, overwrite=overwrite)
    parts = list(artifacts.inputs(input))
    joined = copying.Concatenation(parts, output.folder)
    total = sum(len(part) for part in parts)
    cli.plan(f"{out or 'a reference'}: {parts[0].kind}, {total} records of {len(parts)} artifacts")
    with output.create(parts[0].kind, joined.attrs, joined.specs) as writer:
        for part in parts:
            joined.append(part, writer)
    cli.say(f"gz concat: {total} records of {len(parts)} artifacts")


if __name__ == "__main__":
    run(main)
