"""gz: the toolbox of gaze and attention research."""

import sys
from typing import Annotated

import typer

from gazecore import __version__
from gazecore.cli import EPILOG, LazyGroup

DATA, HEATMAPS, FOLLOWING = "Make data", "Heat maps", "Gaze following"
EYES = "Eyes"
LOOK, ARTIFACTS, WHOLE = "Look", "Artifacts", "Whole"

# in the order of the work: name -> (module, first line of its help, panel)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "make-tiny": (
        "gazecore.tools.make_tiny",
        "Make a small data set in its original layout on disk, from a seed.",
        DATA,
    ),
    "prep-images": (
        "gazecore.tools.prep_images",
        "Prepare your own photos or videos with the head boxes of any detector, or of ours.",
        DATA,
    ),
    "prep-gazefollow": (
        "gazecore.tools.prep_gazefollow",
        "Prepare GazeFollow-extended: its annotations and images as one artifact.",
        DATA,
    ),
    "prep-videoattentiontarget": (
        "gazecore.tools.prep_videoattentiontarget",
        "Prepare VideoAttentionTarget: its clips of television shows as one artifact.",
        DATA,
    ),
    "prep-childplay": (
        "gazecore.tools.prep_childplay",
        "Prepare ChildPlay: its clips of children at play as one artifact.",
        DATA,
    ),
    "prep-goo": (
        "gazecore.tools.prep_goo",
        "Prepare GOO-Real or GOO-Synth: pictures of people before shelves as one artifact.",
        DATA,
    ),
    "prep-objectattention": (
        "gazecore.tools.prep_objectattention",
        "Prepare ObjectAttention: its tables and frames, or frames as recorded with labelImg's XML, as one artifact.",
        DATA,
    ),
    "prep-eyes": (
        "gazecore.tools.prep_eyes",
        "Prepare eye regions with label masks: folders, OpenEDS, or eyes rendered on the spot.",
        DATA,
    ),
    "eval-heatmaps": (
        "gazecore.tools.eval_heatmaps",
        "Score heat maps against reference maps or fixations: CC, KL, SIM, NSS, AUC and more.",
        HEATMAPS,
    ),
    "train-following": (
        "gazecore.tools.train_following",
        "Train gaze following on prepared samples: VTD, VTD with memory, Gaze-LLE; killed at any moment, --resume goes on.",
        FOLLOWING,
    ),
    "predict-following": (
        "gazecore.tools.predict_following",
        "Predict where people look: heat map, gaze point and in-frame score of every sample.",
        FOLLOWING,
    ),
    "eval-following": (
        "gazecore.tools.eval_following",
        "Score gaze following: predictions from the pipe, or samples with --checkpoint.",
        FOLLOWING,
    ),
    "export-following": (
        "gazecore.tools.export_following",
        "Export a gaze-following model for other programs: a .pt2 of PyTorch, or ONNX (needs gazecore[onnx]).",
        FOLLOWING,
    ),
    "train-eyes": (
        "gazecore.tools.train_eyes",
        "Train eye segmentation on prepared samples: SegFormer, RITnet, Mask2Former; killed at any moment, --resume goes on.",
        EYES,
    ),
    "segment-eyes": (
        "gazecore.tools.segment_eyes",
        "Segment eye regions: a mask of iris, pupil and sclera for every image of samples, a folder, an array or a video.",
        EYES,
    ),
    "eval-eyes": (
        "gazecore.tools.eval_eyes",
        "Score eye segmentation: masks from the pipe, or samples with --checkpoint.",
        EYES,
    ),
    "pir": (
        "gazecore.tools.pir",
        "Measure the pupil-iris ratio frame by frame: a folder of images, a video, an array, or masks.",
        EYES,
    ),
    "plr": (
        "gazecore.tools.plr",
        "Measure pupil light reflexes: clean the trace, then latency, amplitude, velocities and recovery of each trial.",
        EYES,
    ),
    "visualize": (
        "gazecore.tools.visualize",
        "Draw an artifact: pictures into a folder, one HTML report, a video of a clip, or a preview in the terminal.",
        LOOK,
    ),
    "info": (
        "gazecore.tools.info",
        "Say what is inside an artifact or a checkpoint: sizes, variables, where it comes from.",
        LOOK,
    ),
    "log": ("gazecore.tools.log", "Print the chain of commands that made an artifact or a checkpoint.", LOOK),
    "select": (
        "gazecore.tools.select_",
        "Keep some samples: by an expression, a split, a number, in any order.",
        ARTIFACTS,
    ),
    "concat": ("gazecore.tools.concat", "Join artifacts of one kind: all samples after one another.", ARTIFACTS),
    "convert": (
        "gazecore.tools.convert",
        "Change the container (.zarr, .zarr.zip, .h5); heat maps from and to files.",
        ARTIFACTS,
    ),
    "verify": (
        "gazecore.tools.verify",
        "Check an artifact: schema, completeness, ranges, content id, images.",
        ARTIFACTS,
    ),
    "clean": ("gazecore.tools.clean", "Delete temporary artifacts and unfinished work that nobody uses.", ARTIFACTS),
    "import-weights": (
        "gazecore.tools.import_weights",
        "Bring an author's weight file (.pt, .pth, .safetensors) in as a checkpoint of ours.",
        ARTIFACTS,
    ),
    "demo": (
        "gazecore.tools.demo",
        "Run the main job on made data, offline: every shell line is printed before it runs.",
        WHOLE,
    ),
    "sweep": (
        "gazecore.tools.sweep",
        "Run a command over a grid of options; cells that fail are recorded and the others go on.",
        WHOLE,
    ),
    "plugins": ("gazecore.tools.plugins", "List what other packages add: commands, models, metrics.", WHOLE),
}


class Commands(LazyGroup):
    table = COMMANDS


app = typer.Typer(
    name="gz",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gz {__version__}")
        raise typer.Exit


@app.callback()
def group(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Gaze following, point of gaze, eyes, VQA, anticipation: small commands that work together in pipes."""


def main() -> None:
    """The program `gz`."""
    if sys.argv[1:] == ["--version"]:  # at once, without building the commands
        print(f"gz {__version__}")
        return
    app(prog_name="gz")


if __name__ == "__main__":
    main()
