"""Run the main job on made data, offline: every shell line is printed before it runs.

Example:
  gz demo
  gz demo -o somewhere/ --n 200
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run
from gazecore.cli_options import Overwrite, Seed

LINES = (
    "gz make-tiny gazefollow -o raw --n {n} --seed {seed}",
    "gz prep-gazefollow raw -o gf.zarr",
    "gz predict-following gf.zarr --split test --checkpoint gazelle:tiny --seed {seed} -o predictions.zarr "
    "| gz eval-following -o scored.zarr | gz visualize -o report.html",
    "gz log scored.zarr",
)
MADE = ("raw", "gf.zarr", "predictions.zarr", "scored.zarr", "report.html")  # all that --overwrite may delete


def main(
    out: Annotated[Path, typer.Option("-o", "--out", help="folder to work in")] = Path("gz-demo"),
    n: Annotated[int, typer.Option(min=8, help="number of made images")] = 48,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    import os
    import shutil
    import subprocess
    import sys

    from gazecore import cli
    from gazecore.errors import EXISTS, GazeError

    if out.exists() and not overwrite:
        raise GazeError(f"{out} exists; --overwrite makes it anew", EXISTS)
    others = sorted(path.name for path in out.iterdir() if path.name not in MADE) if out.is_dir() else []
    if others:
        raise GazeError(f"{out} holds {others[0]}, which no demo made; name another folder with -o", EXISTS)
    lines = [line.format(n=n, seed=seed) for line in LINES]
    cli.plan(*(f"{out} by: {line}" for line in lines))
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    for line in lines:
        print(f"\n$ {line}", flush=True)
        done = subprocess.run(["sh", "-c", line], cwd=out, env=environment, check=False)
        if done.returncode:
            raise GazeError(f"the demo stopped: exit {done.returncode} of {line}", done.returncode)
    print(f"\nThe weights were random, so the scores are those of chance. Open {out / 'report.html'} in a browser.")


if __name__ == "__main__":
    run(main)
