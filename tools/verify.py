"""Check an artifact: schema, completeness, ranges, content id, images.

Example: gz verify samples.zarr        find . -name '*.zarr' | gz verify
"""

from gazecore.cli import run
from gazecore.cli_options import Inputs


def main(input: Inputs = ["-"]) -> None:  # noqa: B006  typer copies the default
    from gazecore import artifacts, cli
    from gazecore.artifacts import checks
    from gazecore.errors import DATA, GazeError

    checked: dict[str, list[str]] = {}
    for artifact in artifacts.inputs(input, refused=lambda path, error: checked.update({str(path): [str(error)]})):
        with artifact:
            checked[str(artifact.path)] = checks.problems(artifact)
    cli.result(checked, [(path, "; ".join(found) or "ok") for path, found in checked.items()])
    broken = [path for path, found in checked.items() if found]
    if broken:
        raise GazeError(f"{len(broken)} of {len(checked)} artifacts are not whole: {', '.join(broken)}", DATA)


if __name__ == "__main__":
    run(main)
