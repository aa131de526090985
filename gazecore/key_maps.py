"""How other projects name the weights that we can use: plain data, read by checkpoints.import_weights.

VTD  ejcgt/attention-target-detection             MAD  francescotonini/multimodal-across-domains-gaze-target-detection
Gaze-LLE   fkryan/gazelle                               DGF  Mostafa-Haggag/DiffusionGazeFollowingModel
RITnet  AayushKrChaudhary/RITnet                  Mask2Former, SegFormer  huggingface/transformers, versions 4 and 5
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

# PyTorch Lightning puts the attribute that holds the network before every name; inside Mask2Former is a `model` as well
LIGHTNING = r"(?:model\.)?"

# what version 5 calls otherwise: transformers/conversion_mapping.py, "swin", "SwinBackbone"
SWIN = LIGHTNING + r"model\.pixel_level_module\.encoder\.(?:swin\.)?"
SWIN_BLOCK = SWIN + r"encoder\.layers\.(\d+)\.blocks\.(\d+)\."
OUR_SWIN = "network.model.pixel_level_module.encoder.swin."
OUR_SWIN_BLOCK = OUR_SWIN + r"encoder.layers.\1.blocks.\2."
MASK2FORMER = (
    (SWIN_BLOCK + r"attention\.self\.(q|k|v)(?:uery|ey|alue)\.", OUR_SWIN_BLOCK + r"attention.\3_proj."),
    (SWIN_BLOCK + r"attention\.self\.(relative_position_bias)_", OUR_SWIN_BLOCK + r"attention.\3.\3_"),
    (SWIN_BLOCK + r"attention\.output\.dense\.", OUR_SWIN_BLOCK + r"attention.o_proj."),
    (SWIN_BLOCK + r"intermediate\.dense\.", OUR_SWIN_BLOCK + r"mlp.fc1."),
    (SWIN_BLOCK + r"output\.dense\.", OUR_SWIN_BLOCK + r"mlp.fc2."),
    (SWIN + r"(embeddings|encoder\.layers|layernorm)\.", OUR_SWIN + r"\1."),
    (LIGHTNING + r"(model|class_predictor|criterion)\.", r"network.\1."),
)

# there as well: "SegformerModel", "SegformerForSemanticSegmentation"
STAGE = LIGHTNING + r"segformer\.encoder\.block\.(\d+)\.(\d+)\."
OUR_STAGE = r"segformer.stages.\1.blocks.\2."
SEGFORMER = (
    (STAGE + r"attention\.self\.(q|k|v)(?:uery|ey|alue)\.", OUR_STAGE + r"attention.\3_proj."),
    (STAGE + r"attention\.self\.sr\.", OUR_STAGE + "attention.sequence_reduction.sequence_reduction."),
    (STAGE + r"attention\.self\.layer_norm\.", OUR_STAGE + "attention.sequence_reduction.layer_norm."),
    (STAGE + r"attention\.output\.dense\.", OUR_STAGE + "attention.o_proj."),
    (STAGE + r"layer_norm_1\.", OUR_STAGE + "layernorm_before."),
    (STAGE + r"layer_norm_2\.", OUR_STAGE + "layernorm_after."),
    (STAGE + r"mlp\.dense([12])\.", OUR_STAGE + r"mlp.fc\3."),
    (STAGE, OUR_STAGE),
    (LIGHTNING + r"segformer\.encoder\.(patch_embeddings|layer_norm)\.(\d+)\.", r"segformer.stages.\2.\1."),
    (LIGHTNING + r"decode_head\.linear_c\.", "decode_head.linear_projections."),
    (LIGHTNING + r"(segformer|decode_head)\.", r"\1."),
)

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
        "Gaze-LLE",
        "gazelle",
        marks=("linear.weight", "head_token.weight", "heatmap_head.0.weight"),
        renames=((r"backbone\.model\.", r"backbone.vit."),),
        drops=(r"backbone\.model\.mask_token",),
    ),
    Layout("RITnet", "ritnet", marks=("down_block1.conv21.weight", "up_block4.conv22.weight", "out_conv1.weight")),
    *(
        Layout(
            project,
            "mask2former",
            marks=(f"{outer}model.transformer_module.queries_features.weight", f"{outer}class_predictor.weight"),
            renames=MASK2FORMER,
            drops=(r".*\.relative_position_index$",),
        )
        for project, outer in (("Mask2Former", ""), ("Mask2Former in Lightning", "model."))
    ),
    *(
        Layout(project, "segformer", marks=(f"{outer}decode_head.linear_fuse.weight",), renames=SEGFORMER)
        for project, outer in (("SegFormer", ""), ("SegFormer in Lightning", "model."))
    ),
)
