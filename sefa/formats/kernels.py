"""The low-pass filters that training codes store beside the weights: checked, then left out."""

import torch
from torch import Tensor

from sefa.errors import CheckpointError
from sefa.generators.ops import FIR_TAPS


def check_kernel(name: str, kernel: Tensor, gain: float) -> None:
    """The network has one filter, here with sum `gain`; with another, images would be wrong."""
    taps = torch.tensor(FIR_TAPS)
    expected = gain * torch.outer(taps, taps)
    if (
        kernel.numel() != 16
        or not kernel.is_floating_point()
        or not torch.allclose(kernel.float().reshape(4, 4), expected, atol=1e-4)
    ):
        raise CheckpointError(f"{name} is not the filter [1, 3, 3, 1] that is read here.")
