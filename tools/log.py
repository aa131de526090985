"""Print the chain of commands that made an artifact.

Example: gz log predictions.zarr        gz log predictions.zarr --as-shell > again.sh
"""

from typing import Annotated

import typer

from gazecore.cli import run
from gazecore.cli_options import Inputs


def main(
    input: Inputs = ["-"],  # noqa: B006  typer copies the default
    as_shell: Annotated[bool, typer.Option("--as-shell", help="as a script that runs the chain again")] = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.artifacts import provenance

    for artifact in artifacts.inputs(input):
        entries = artifact.provenance
        if as_shell:
            print(provenance.as_shell(entries))
        else:
            header = ("step", "parents", "started", "seconds", "command")
            rows = [
                (e["id"], " ".join(e["parents"]) or "-", e.get("started", "-"), e.get("seconds", "-"),
                 provenance.shell_line(e["argv"])) for e in entries
            ]  # fmt: skip
            cli.result(entries, rows, header)


if __name__ == "__main__":
    run(main)
