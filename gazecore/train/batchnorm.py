"""Batch norm whose statistics are those of the whole batch, however many processes share it.

torch.nn.SyncBatchNorm does this on GPUs only; a run on two CPU processes must equal one process too.
"""

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SharedBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d over the rows of all processes in training; in evaluation the same as that."""

    def forward(self, features: Tensor) -> Tensor:
        """(rows, channels, h, w) -> the same shape; every process calls it equally often."""
        if not self.training:
            return super().forward(features)
        values = features.float()
        count = values.new_tensor([values.numel() / values.shape[1]])
        torch.distributed.all_reduce(count)
        mean = all_reduce(values.sum(dim=(0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = all_reduce(centred.square().sum(dim=(0, 2, 3))) / count
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked += 1  # type: ignore[operator]
                self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr, arg-type]
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)  # type: ignore[union-attr, arg-type]
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(features.dtype)


def share_statistics(model: nn.Module) -> None:
    """Make every batch norm of a model a SharedBatchNorm2d; weights and names stay."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d
