"""Where a run computes: a device by its name, one process or several, in which precision."""

import os

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from gazecore.errors import UNAVAILABLE, USAGE, GazeError


def accelerator(name: str, precision: str) -> Accelerator:
    """accelerate, told which device; it finds the other processes by RANK and WORLD_SIZE.

    name       auto (cuda > mps > cpu), cpu, cuda, cuda:1, mps
    precision  no, bf16, fp16
    Errors: a device that is not there; a precision that it does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise GazeError(f"device {name} is not available: {str(error).splitlines()[0]}", UNAVAILABLE) from error
    if precision not in ("no", "bf16", "fp16"):
        raise GazeError(f"--precision {precision}: expected no, bf16 or fp16", USAGE)
    if precision == "fp16" and device.type == "cpu":
        raise GazeError("--precision fp16 needs a GPU; bf16 works on a CPU too", UNAVAILABLE)
    if "WORLD_SIZE" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        AcceleratorState._reset_state(reset_partial_state=True)  # of an earlier run in this process
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    return Accelerator(mixed_precision=precision, cpu=device.type == "cpu")
