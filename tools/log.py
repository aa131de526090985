"""Print the chain of commands that made an artifact or a checkpoint.

Example: gz log predictions.zarr        gz log predictions.zarr --as-shell > again.sh
"""

from itertools import chain
from typing import Annotated, Any

import typer

from gazecore.cli import run
from gazecore.cli_options import Inputs


def main(
    input: Inputs = ["-"],  # noqa: B006  typer copies the default
    as_shell: Annotated[bool, typer.Option("--as-shell", help="as a script that runs the chain again")] = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.artifacts import provenance

    checkpoints = [source for source in input if source.endswith(".safetensors")]
    chains = (artifact.provenance for artifact in artifacts.inputs([s for s in input if s not in checkpoints]))
    for entries in chain((_of_checkpoint(path) for path in checkpoints), chains):
        if as_shell:
            print(provenance.as_shell(entries))
        else:
            header = ("step", "parents", "started", "seconds", "command")
            rows = [
                (e["id"], " ".join(e["parents"]) or "-", e.get("started", "-"), e.get("seconds", "-"),
                 provenance.shell_line(e["argv"])) for e in entries
            ]  # fmt: skip
            cli.result(entries, rows, header)


def _of_checkpoint(path: str) -> list[dict[str, Any]]:
    from gazecore import checkpoints

    return checkpoints.info(path)["provenance"]


if __name__ == "__main__":
    run(main)
