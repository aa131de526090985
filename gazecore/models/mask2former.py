"""Eye regions by Mask2Former, after Cheng et al., CVPR 2022 (arXiv:2112.01527): queries that claim a class and a mask.

The network is that of huggingface/transformers (5.23), made from its configuration alone: nothing is ever fetched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers.models.mask2former.modeling_mask2former import Mask2FormerForUniversalSegmentation

from gazecore.errors import GazeError
from gazecore.images import IMAGENET_MEAN, IMAGENET_STD
from gazecore.models import EyePrediction

if TYPE_CHECKING:
    from gazecore.data.eyes import EyeBatch

MULTIPLE = 32  # sides for which every grid of the backbone lies evenly on the image
STAGES = ["stage1", "stage2", "stage3", "stage4"]
ENCODER = "network.model.pixel_level_module.encoder."
PIXEL_DECODER = "network.model.pixel_level_module.decoder."
DECODER = "network.model.transformer_module."


@dataclass(frozen=True)
class Mask2FormerConfig:
    """backbone       "swin", "resnet-basic" or "resnet-bottleneck"
    depths, widths, backbone_heads, window   of its four stages; heads and window of swin alone
    feature_width, mask_width, width   features of the pixel decoder, of the masks and of the queries: multiples of 32
    encoder_layers, encoder_hidden     of the pixel decoder, and the width inside its perceptrons
    layers, hidden                     of the query decoder: its predictions, one more than its layers, and the same
    heads          of both decoders
    queries, classes
    train_points   at how many points of a mask its loss is taken
    long_side      images are resized so that their longer side has so many pixels; None leaves them
    """

    backbone: str = "swin"
    depths: tuple[int, ...] = (1, 1, 2, 1)
    widths: tuple[int, ...] = (24, 48, 96, 192)
    backbone_heads: tuple[int, ...] = (1, 2, 4, 8)
    window: int = 4
    feature_width: int = 64
    mask_width: int = 64
    width: int = 64
    encoder_layers: int = 2
    encoder_hidden: int = 128
    layers: int = 3
    hidden: int = 128
    heads: int = 4
    queries: int = 8
    classes: int = 4
    train_points: int = 1024
    long_side: int | None = None


PUBLISHED = {  # the decoders of the published models, whatever their backbone
    "feature_width": 256,
    "mask_width": 256,
    "width": 256,
    "encoder_layers": 6,
    "encoder_hidden": 1024,
    "layers": 10,
    "hidden": 2048,
    "heads": 8,
    "queries": 100,
    "train_points": 12544,
}


class Mask2Former(nn.Module):
    """Images -> the logarithm of every class's probability for every pixel."""

    Config = Mask2FormerConfig
    presets: ClassVar = {
        "ci": Mask2FormerConfig(),
        "swin-tiny": Mask2FormerConfig(
            depths=(2, 2, 6, 2), widths=(96, 192, 384, 768), backbone_heads=(3, 6, 12, 24), window=7, **PUBLISHED
        ),
        "resnet18": Mask2FormerConfig(
            backbone="resnet-basic", depths=(2, 2, 2, 2), widths=(64, 128, 256, 512), backbone_heads=(), window=0
        ),
        "resnet50": Mask2FormerConfig(
            backbone="resnet-bottleneck",
            depths=(3, 4, 6, 3),
            widths=(256, 512, 1024, 2048),
            backbone_heads=(),
            window=0,
            **PUBLISHED,
        ),
    }
    # the encoder carries it along, and no result depends on it; transformers 4 did not have it
    unused: ClassVar = (f"{ENCODER}swin.layernorm.",)

    def __init__(self, config: Mask2FormerConfig = presets["ci"]):
        super().__init__()
        self.config = config
        self.preprocessing = {
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "grey": False,
            "gamma": None,
            "clahe": None,
            "long_side": config.long_side,
        }
        self.network = Mask2FormerForUniversalSegmentation(_library_config(config))

    @classmethod
    def config_of(cls, tensors: Mapping[str, Tensor]) -> Mask2FormerConfig:
        """The configuration of a network with these weights; train_points, which they do not tell, as published.

        Errors: a backbone that is neither Swin nor a ResNet of transformers.
        """
        layer = f"{PIXEL_DECODER}encoder.layers."
        offsets = len(tensors[f"{layer}0.self_attn.sampling_offsets.bias"])  # of heads x 3 grids x 4 points x 2
        features = tensors[f"{PIXEL_DECODER}mask_projection.weight"]
        return Mask2FormerConfig(
            **_backbone_of(tensors),
            feature_width=features.shape[1],
            mask_width=features.shape[0],
            width=tensors[f"{DECODER}queries_features.weight"].shape[1],
            encoder_layers=_count(tensors, layer),
            encoder_hidden=len(tensors[f"{layer}0.fc1.bias"]),
            layers=_count(tensors, f"{DECODER}decoder.layers.") + 1,
            hidden=len(tensors[f"{DECODER}decoder.layers.0.fc1.bias"]),
            heads=offsets // 24,
            queries=len(tensors[f"{DECODER}queries_features.weight"]),
            classes=len(tensors["network.class_predictor.bias"]) - 1,
            train_points=PUBLISHED["train_points"],
        )

    def queries(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Images (b, 3, h, w) -> class logits (b, queries, classes + 1), mask logits (b, queries, h / 4, w / 4).

        The last class is "no object".
        """
        output = self.network(pixel_values=image)
        return output.class_queries_logits, output.masks_queries_logits

    def forward(self, image: Tensor) -> Tensor:
        """Images (b, 3, h, w), normalised -> log of class probabilities (b, classes, h, w).

        They are the semantic map divided by its sum over the classes. Sides that 32 does not divide are padded by
        repeating the last pixels, and cut again.
        """
        height, width = image.shape[-2:]
        image = _padded(image)
        semantic = semantic_map(*self.queries(image), image.shape[-2:])[..., :height, :width].clamp(min=1e-12)
        return (semantic / semantic.sum(dim=1, keepdim=True)).log()

    def set_loss(self, image: Tensor, labels: Tensor) -> Tensor:
        """The loss of the queries matched one to one with the regions of each image's labels: ().

        image   (b, 3, h, w), normalised; labels (b, h, w) long. The background is a class like the others.

        2 class + 5 mask + 5 Dice, "no object" weighs 0.1, after every layer; the points where masks are compared are
        drawn at random (arXiv:2112.01527).
        """
        labels = _padded(labels[:, None].float())[:, 0].long()
        present = [of_image.unique() for of_image in labels]
        masks = [
            (of_image == classes[:, None, None]).float() for of_image, classes in zip(labels, present, strict=True)
        ]
        return self.network(pixel_values=_padded(image), mask_labels=masks, class_labels=present).loss.squeeze()

    @torch.no_grad()
    def predict(self, batch: EyeBatch) -> EyePrediction:
        """Class probabilities (b, classes, h, w) of a batch's images."""
        return EyePrediction(self(batch.image).float().exp())


def semantic_map(
    class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int] | None, through: tuple[int, int] | None = None
) -> Tensor:
    """What the queries together say of every pixel.

    class_logits  (b, queries, classes + 1); mask_logits (b, queries, h', w')
    size          (rows, columns) of the result; None leaves it at `through`
    through       None enlarges the masks to the size and sums them there; a size sums them on that grid and resizes the
                  sum: (384, 384) is what transformers does, whatever the image
                  (image_processing_mask2former.py: post_process_semantic_segmentation)
    returns       (b, classes, rows, columns): each class's sum over queries of P(class) P(pixel in mask), 0 or more
    """
    masks = F.interpolate(mask_logits.float(), through or size, mode="bilinear").sigmoid()
    classes = class_logits.float().softmax(dim=-1)[..., :-1]
    semantic = torch.einsum("bqc,bqhw->bchw", classes, masks)
    return semantic if through is None or size is None else F.interpolate(semantic, size, mode="bilinear")


def _padded(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    below, right = -height % MULTIPLE, -width % MULTIPLE
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def _library_config(config: Mask2FormerConfig) -> transformers.Mask2FormerConfig:
    backbone: Any = transformers.SwinConfig
    stages: dict[str, Any] = {"depths": list(config.depths), "out_features": STAGES}
    if config.backbone == "swin":
        stages |= {"embed_dim": config.widths[0], "num_heads": list(config.backbone_heads)}
        stages |= {"window_size": config.window}
    else:
        backbone = transformers.ResNetConfig
        stages |= {"layer_type": config.backbone.removeprefix("resnet-"), "hidden_sizes": list(config.widths)}
    return transformers.Mask2FormerConfig(
        backbone_config=backbone(**stages),  # any other way to name one asks the hub
        feature_size=config.feature_width,
        mask_feature_size=config.mask_width,
        hidden_dim=config.width,
        encoder_layers=config.encoder_layers,
        encoder_feedforward_dim=config.encoder_hidden,
        decoder_layers=config.layers,
        dim_feedforward=config.hidden,
        num_attention_heads=config.heads,
        num_queries=config.queries,
        train_num_points=config.train_points,
        **{"num_labels": config.classes},
    )


def _backbone_of(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration's fields about the backbone, from its weights."""
    if f"{ENCODER}swin.embeddings.norm.bias" in tensors:
        layers = [f"{ENCODER}swin.encoder.layers.{stage}.blocks." for stage in range(len(STAGES))]
        tables = [
            tensors[f"{layer}0.attention.relative_position_bias.relative_position_bias_table"] for layer in layers
        ]
        embedded = len(tensors[f"{ENCODER}swin.embeddings.norm.bias"])
        return {
            "backbone": "swin",
            "depths": tuple(_count(tensors, layer) for layer in layers),
            "widths": tuple(embedded * 2**stage for stage in range(len(STAGES))),
            "backbone_heads": tuple(table.shape[1] for table in tables),
            "window": (math.isqrt(len(tables[0])) + 1) // 2,  # a table has a row per offset, (2 window - 1)^2
        }
    if f"{ENCODER}embedder.embedder.convolution.weight" not in tensors:
        found = sorted({name.removeprefix(ENCODER).split(".")[0] for name in tensors if name.startswith(ENCODER)})
        raise GazeError(
            f"the backbone of these weights holds {', '.join(found) or 'nothing'}; expected Swin or ResNet as "
            "transformers names them"
        )
    layers = [f"{ENCODER}encoder.stages.{stage}.layers." for stage in range(len(STAGES))]
    convolutions = _count(tensors, f"{layers[0]}0.layer.")
    last = [tensors[f"{layer}0.layer.{convolutions - 1}.convolution.weight"] for layer in layers]
    return {
        "backbone": "resnet-basic" if convolutions == 2 else "resnet-bottleneck",
        "depths": tuple(_count(tensors, layer) for layer in layers),
        "widths": tuple(len(weight) for weight in last),
        "backbone_heads": (),
        "window": 0,
    }


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers there are of a prefix that ends before their number."""
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})
