"""Make a small data set in its original layout on disk, from a seed.

The same seed gives the same files; image or clip i is the same in a small and in a large set.

Example: gz make-tiny gazefollow -o raw --n 64 && gz prep-gazefollow raw -o gf.zarr
"""

from pathlib import Path
from typing import Annotated

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Overwrite, Seed

MAKERS = {  # name -> module, or module:function where it is not make
    "gazefollow": "gazecore.synthetic.gazefollow",
    "videoattentiontarget": "gazecore.synthetic.videoattentiontarget",
    "childplay": "gazecore.synthetic.childplay",
    "goo-real": "gazecore.synthetic.goo:make_real",
    "goo-synth": "gazecore.synthetic.goo:make_synth",
    "objectattention": "gazecore.synthetic.objectattention",
    "objectattention-raw": "gazecore.synthetic.objectattention:make_raw",
    "eyes": "gazecore.synthetic.eyes",
    "openeds": "gazecore.synthetic.eyes:make_openeds",
    "plr-video": "gazecore.synthetic.plr_video",
}
USUAL = 64  # images, where the module does not name its own number of images or clips


def main(
    dataset: Annotated[str, typer.Argument(help="which: " + ", ".join(MAKERS), autocompletion=lambda: list(MAKERS))],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder to make")],
    n: Annotated[
        int | None, typer.Option(min=1, help="number of images, or of clips of a video set; all splits together")
    ] = None,
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
    name, _, function = MAKERS[dataset].partition(":")
    maker = importlib.import_module(name)
    n = n or getattr(maker, "USUAL", USUAL)
    cli.plan(f"{out}: {dataset}, n = {n}")
    counts = getattr(maker, function or "make")(out, n=n, seed=seed)
    cli.result(dict(counts), sorted(counts.items()))


if __name__ == "__main__":
    run(main)
