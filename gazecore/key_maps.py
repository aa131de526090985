"""How other projects name the weights that we can use: plain data, read by checkpoints.import_weights.

VTD  ejcgt/attention-target-detection             MAD  francescotonini/multimodal-across-domains-gaze-target-detection
GZ   fkryan/gazelle                               DGF  Mostafa-Haggag/DiffusionGazeFollowingModel
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The names in a project's weight file, seen from one model of ours.

    project   whose file it is; model  ours that it can become
    marks     names it holds, by which it is recognised; unlike  names it must not hold
    renames   (regular expression, replacement) pairs, the first that matches a name's beginning applies
    drops     expressions of names that our model has no place for
    lacks     expressions of our names that such a file never holds: fresh weights, only on request
    """

    project: str
    model: str
    marks: tuple[str, ...]
    unlike: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    drops: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


LSTM = "convlstm_scene.weight_ih_l0"

# the trunks and the attention alone: both projects decode in ways of their own
HEATMAP_HEAD = (r"compress_conv[12]\.", r"compress_bn[12]\.", r"deconv", r"conv4\.")
IN_FRAME_HEAD = (r"compress_(conv|bn)[12]_inout\.", r"fc_inout\.")

LAYOUTS = (
    Layout("VTD", "vtd", marks=("conv1_scene.weight", "compress_conv1.weight"), unlike=(LSTM,)),
    Layout("VTD with ConvLSTM", "vtd-temporal", marks=("conv1_scene.weight", LSTM)),
    Layout(  # how the temporal model starts: train_on_videoatttarget.py
        "VTD",
        "vtd-temporal",
        marks=("conv1_scene.weight", "compress_conv1.weight"),
        unlike=(LSTM,),
        lacks=(r"convlstm_scene\.", r"layer\d_(scene|face)\.\d+\.bn_ds\."),
    ),
    Layout(
        "MAD",
        "vtd",
        marks=("scene_backbone.conv1.weight", "depth_backbone.conv1.weight"),
        renames=((r"(scene|face)_backbone\.(conv1|bn1|layer\d)\.", r"\2_\1."),),
        drops=(r"depth_backbone\.", r"(scene|depth)_encoder\.", r"(inout_)?decoder\.", r"(adv|multimodal)_da\."),
        lacks=(*HEATMAP_HEAD, *IN_FRAME_HEAD),
    ),
    Layout(
        "DGF",
        "vtd",
        marks=("gaze_model.scene_backbone.conv1.weight", "sequential.0.weight"),
        renames=(
            (r"gaze_model\.(scene|face)_backbone\.(conv1|bn1|layer\d)\.", r"\2_\1."),
            (r"gaze_model\.attn\.", r"attn."),
            (r"sequential\.0\.", r"compress_conv1_inout."),
            (r"sequential\.1\.", r"compress_bn1_inout."),
            (r"sequential\.3\.", r"compress_conv2_inout."),
            (r"sequential\.4\.", r"compress_bn2_inout."),
        ),
        drops=(r"model\.", r"gaze_model\.depth_backbone\."),
        lacks=HEATMAP_HEAD,
    ),
    Layout(
        "GZ",
        "gazelle",
        marks=("linear.weight", "head_token.weight", "heatmap_head.0.weight"),
        renames=((r"backbone\.model\.", r"backbone.vit."),),
        drops=(r"backbone\.model\.mask_token",),
    ),
)
