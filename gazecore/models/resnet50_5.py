"""The five-stage ResNet-50 that the VTD family looks at scenes and heads with.

Chong et al., CVPR 2020 (ejcgt/attention-target-detection:model.py): ResNet-50's four stages and a fifth of 256 planes
and stride 1, so that 224x224 pixels become 1024 channels of 7x7.
"""

import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4
PLANES = (1, 2, 4, 8, 4)  # of each stage, in units of the stem's width
STRIDES = (1, 2, 2, 2, 1)
OUTPUT = PLANES[-1] * EXPANSION  # channels of the last stage in units of the stem's width


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut; (b, inputs, h, w) -> (b, 4 planes, h / stride, w / stride)."""

    def __init__(self, inputs: int, planes: int, stride: int = 1):
        super().__init__()
        outputs = EXPANSION * planes
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = F.relu(self.bn1(self.conv1(features)), inplace=True)
        features = F.relu(self.bn2(self.conv2(features)), inplace=True)
        return F.relu(self.bn3(self.conv3(features)) + shortcut, inplace=True)


def stages(depths: tuple[int, ...], width: int, block: type[nn.Module] = Bottleneck) -> list[nn.Sequential]:
    """The stages after the stem, of `depths` blocks each; block(inputs, planes, stride) makes one of them."""
    layers, inputs = [], width
    for depth, planes, stride in zip(depths, PLANES, STRIDES, strict=True):
        outputs = EXPANSION * planes * width
        first = block(inputs, planes * width, stride)
        layers.append(nn.Sequential(first, *(block(outputs, planes * width, 1) for _ in range(depth - 1))))
        inputs = outputs
    return layers


def initialise(model: nn.Module) -> None:
    """He's normal over the fan-out for every convolution and transposed convolution, as the family is started."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
