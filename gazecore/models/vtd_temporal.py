"""Gaze following over video (VTD with memory), after Chong et al., CVPR 2020.

ModelSpatioTemporal of ejcgt/attention-target-detection:model.py with two ConvLSTM layers, and its parameter names: the
frame model of vtd.py with a convolutional LSTM (Shi et al., NeurIPS 2015) between encoding and heatmap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazecore.models import Prediction
from gazecore.models.resnet50_5 import EXPANSION, OUTPUT, Bottleneck
from gazecore.models.vtd import Vtd, VtdConfig

if TYPE_CHECKING:
    from gazecore.data.following import FollowingBatch

State = tuple[Tensor, Tensor]  # hidden and cell, each (layers, clips, 512, 7, 7)


@dataclass(frozen=True)
class VtdTemporalConfig(VtdConfig):
    """compat "vtd" repeats the reference's skipping of batch norm where a single row is packed, also in evaluation.

    A clip's scores then depend on how many other clips share its batch; by default they do not.
    """

    lstm_layers: int = 2
    lstm_dropout: float = 0.5
    compat: str = ""


class VtdTemporalOutput(NamedTuple):
    """heatmap (rows, 64, 64) raw; in_frame_logit (rows,); attention (rows, 7, 7); state to carry to the next chunk."""

    heatmap: Tensor
    in_frame_logit: Tensor
    attention: Tensor
    state: State


class TemporalBottleneck(Bottleneck):
    """A bottleneck whose shortcut, where it changes shape, is batch-normalised a second time."""

    skip_lone_norm = False

    def __init__(self, inputs: int, planes: int, stride: int = 1):
        super().__init__(inputs, planes, stride)
        self.bn_ds = nn.BatchNorm2d(EXPANSION * planes)  # unused where there is no downsample; the weights exist

    def forward(self, features: Tensor) -> Tensor:
        bare = self.skip_lone_norm and len(features) == 1
        shortcut = features
        if self.downsample is not None:
            shortcut = self.downsample(features) if bare else self.bn_ds(self.downsample(features))
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2)):
            features = convolution(features) if bare else norm(convolution(features))
            features = F.relu(features, inplace=True)
        features = self.conv3(features) if bare else self.bn3(self.conv3(features))
        return F.relu(features + shortcut, inplace=True)


class ConvLstm(nn.Module):
    """A stack of convolutional LSTM layers over packed rows; gates are stored as input, forget, cell, output."""

    def __init__(self, channels: int, layers: int, dropout: float):
        super().__init__()
        self.layers, self.dropout = layers, dropout
        bound = (9 * channels) ** -0.5
        for layer in range(layers):
            for source in ("ih", "hh"):
                weight = torch.empty(4 * channels, channels, 3, 3).uniform_(-bound, bound)
                self.register_parameter(f"weight_{source}_l{layer}", nn.Parameter(weight))
                bias = torch.empty(4 * channels).uniform_(-bound, bound)
                self.register_parameter(f"bias_{source}_l{layer}", nn.Parameter(bias))

    def forward(self, rows: Tensor, batch_sizes: Sequence[int], state: State | None) -> tuple[Tensor, State]:
        """Rows (sum(batch_sizes), c, h, w), packed time-major -> the top layer's output, same shape, and the state."""
        if state is None:
            state = (rows.new_zeros(self.layers, batch_sizes[0], *rows.shape[1:]),) * 2
        finals = []
        for layer in range(self.layers):
            if layer:
                rows = F.dropout(rows, self.dropout, self.training)
            rows, final = self._layer(layer, rows, batch_sizes, state[0][layer], state[1][layer])
            finals.append(final)
        hidden, cell = zip(*finals, strict=True)
        return rows, (torch.stack(hidden), torch.stack(cell))

    def _layer(
        self, layer: int, rows: Tensor, batch_sizes: Sequence[int], hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, State]:
        weight, bias = self.get_parameter(f"weight_hh_l{layer}"), self.get_parameter(f"bias_hh_l{layer}")
        # the inputs of all steps are known beforehand: one convolution for the whole chunk
        drive = F.conv2d(
            rows, self.get_parameter(f"weight_ih_l{layer}"), self.get_parameter(f"bias_ih_l{layer}"), padding=1
        )

        outputs, ended = [], []
        for inputs in drive.split(list(batch_sizes)):
            alive = len(inputs)
            if alive < len(hidden):  # the clips that ended keep their last state
                ended.append((hidden[alive:], cell[alive:]))
                hidden, cell = hidden[:alive], cell[:alive]
            gates = inputs + F.conv2d(hidden, weight, bias, padding=1)
            enter, forget, new, leave = gates.chunk(4, dim=1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            outputs.append(hidden)
        finals = [(hidden, cell), *reversed(ended)]
        return torch.cat(outputs), (torch.cat([h for h, _ in finals]), torch.cat([c for _, c in finals]))


class VtdTemporal(Vtd):
    """Packed rows of several clips -> heatmaps and in-frame logits, with a state carried from chunk to chunk."""

    config: VtdTemporalConfig
    Config = VtdTemporalConfig
    presets: ClassVar = {"default": VtdTemporalConfig(), "tiny": VtdTemporalConfig(depths=(1, 1, 1, 1, 1), width=8)}
    remembers = True
    block = TemporalBottleneck
    # what the published recipe trains (train_on_videoatttarget.py): the rest keeps the frame model's weights
    trained = ("convlstm_scene.", "deconv1.", "deconv2.", "deconv3.", "conv4.", "fc_inout.")

    def __init__(self, config: VtdTemporalConfig = VtdTemporalConfig()):
        super().__init__(config)
        self.convlstm_scene = ConvLstm(OUTPUT * config.width // 2, config.lstm_layers, config.lstm_dropout)
        for module in self.modules():
            if isinstance(module, TemporalBottleneck):
                module.skip_lone_norm = config.compat == "vtd"

    @classmethod
    def config_of(cls, tensors: Mapping[str, Tensor]) -> VtdTemporalConfig:
        """The sizes of a model with these weights; those of the frame model alone leave the memory at its default."""
        frame = Vtd.config_of(tensors)
        layers = sum(name.startswith("convlstm_scene.weight_ih_l") for name in tensors)
        return VtdTemporalConfig(frame.depths, frame.width, layers or VtdTemporalConfig.lstm_layers)

    def freeze_encoder(self) -> None:
        """Leave gradients to the parameters of `trained` alone: no graph is then kept for the two trunks.

        The update is the published one, in half its time and memory: train_on_videoatttarget.py back-propagates
        through both trunks although its optimizer holds only these parameters.
        """
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(self.trained))

    def decode(self, encoding: Tensor) -> Tensor:
        """Encoding (rows, 512, 7, 7) -> heatmap (rows, 64, 64); a lone row goes without batch norm under compat."""
        if self.config.compat != "vtd" or len(encoding) > 1:
            return super().decode(encoding)
        for transposed in (self.deconv1, self.deconv2, self.deconv3):
            encoding = F.relu(transposed(encoding), inplace=True)
        return self.conv4(encoding).squeeze(1)

    def forward(  # type: ignore[override]  # its result carries the state as well
        self,
        scene: Tensor,
        head_crop: Tensor,
        head_mask: Tensor,
        state: State | None = None,
        batch_sizes: Sequence[int] | None = None,
    ) -> VtdTemporalOutput:
        """A chunk of frames of several clips.

        scene        (rows, 3, 224, 224) packed time-major, the longest clip first; or (t, b, 3, 224, 224)
        head_crop    likewise, 3 channels; head_mask likewise, 1 channel
        batch_sizes  how many clips are alive at each step, never growing; None: rows are one step, or t steps of b
        state        of the clips so far, None at their start; clips that ended since are dropped from its end
        returns      rows of the input's order; the state has a row per clip of the first step, at its last frame
        """
        if scene.ndim == 5:
            batch_sizes = batch_sizes or [scene.shape[1]] * scene.shape[0]
            scene, head_crop, head_mask = (rows.flatten(0, 1) for rows in (scene, head_crop, head_mask))
        batch_sizes = list(batch_sizes or [len(scene)])
        if sum(batch_sizes) != len(scene) or sorted(batch_sizes, reverse=True) != batch_sizes:
            raise ValueError(f"batch_sizes {batch_sizes} must not grow and must add up to the {len(scene)} rows")
        if state is not None:
            state = (state[0][:, : batch_sizes[0]], state[1][:, : batch_sizes[0]])

        encoding, in_frame, attention = self.encode(scene, head_crop, head_mask)
        remembered, state = self.convlstm_scene(encoding, batch_sizes, state)
        return VtdTemporalOutput(self.decode(remembered), self.fc_inout(in_frame).squeeze(1), attention, state)

    @torch.no_grad()
    def predict(
        self, batch: FollowingBatch, state: State | None = None, batch_sizes: Sequence[int] | None = None
    ) -> Prediction:
        """As Vtd.predict; without state and batch_sizes every person is a clip of one frame.

        Over video, pass the people packed time-major with `batch_sizes` and the state of the prediction before.
        """
        output = self(batch.scene[batch.image_index], batch.head_crop, batch.head_mask, state, batch_sizes)
        return Prediction(output.heatmap, output.in_frame_logit.sigmoid(), output.state)
