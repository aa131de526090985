"""Make a small data set in its original layout on disk, from a seed.

Example: gz make-tiny gazefollow -o raw --n 64 && gz prep-gazefollow raw -o gf.zarr
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Overwrite, Seed

MAKERS = {"gazefollow": "gazecore.synthetic.gazefollow"}


def main(
    dataset: Annotated[str, typer.Argument(help="which: " + ", ".join(MAKERS), autocompletion=lambda: list(MAKERS))],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder to make")],
    n: Annotated[int, typer.Option(min=4, help="number of images, train and test together")] = 64,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    import importlib

    from gazecore import cli
    from gazecore.errors import EXISTS, GazeError

    if dataset not in MAKERS:
        raise usage(f"no made data set {dataset!r}; there are {', '.join(MAKERS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise GazeError(f"{out} exists; --overwrite writes into it", EXISTS)
    cli.plan(f"{out}: {dataset}, {n} images")
    counts = importlib.import_module(MAKERS[dataset]).make(out, n=n, seed=seed)
    cli.result(dict(counts), [(key, value) for key, value in counts.items()])


if __name__ == "__main__":
    run(main)
