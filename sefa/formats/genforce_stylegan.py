"""StyleGAN as genforce names it (genforce/genforce and genforce/sefa `stylegan_generator.py`).

Differences from our names: the style's bias is stored without the +1 of the scale, and the layers
that upsample to 128 pixels and more hold the kernels of a transposed convolution, flipped in
height and width (`fused_scale` "auto", the default of all published files; it cannot be seen).
"""

import re

import torch
from torch import Tensor

from sefa.errors import CheckpointError
from sefa.formats.checkpoint import Checkpoint, Found, put
from sefa.generators.ops import BLUR_TAPS

DESCRIPTION = "genforce's StyleGAN .pth"
FUSED_FROM = 10  # layer10 upsamples to 128 pixels

# genforce name (after the module's own) -> ours
PARTS = {
    "weight": "weight",
    "bias": "bias",
    "style.weight": "affine.weight",
    "style.bias": "affine.bias",
    "apply_noise.weight": "noise_strength",
    "apply_noise.noise": "noise_const",
}


def recognises(found: Found) -> bool:
    names = ("synthesis.layer0.style.weight", "synthesis.layer0.apply_noise.weight")
    return all(name in found.tensors for name in names)


def translate(found: Found) -> Checkpoint:
    renamed: dict[str, Tensor] = {}
    for name, tensor in found.tensors.items():
        if name.endswith(".blur.kernel"):
            check_kernel(name, tensor)
        else:
            new_name = rename(name)
            put(renamed, new_name, convert(new_name, tensor), name)
    return Checkpoint(renamed, {"family": "stylegan"})


def rename(name: str) -> str:
    """Our name for a genforce name; one we have no name for stays, and is refused later."""
    if name == "truncation.w_avg":
        return "w_avg"
    if name == "synthesis.layer0.const":
        return "synthesis.const"
    match = re.fullmatch(r"synthesis\.(layer|output)([0-9]{1,2})\.(.+)", name)
    if match and match[3] in PARTS:
        module = "conv" if match[1] == "layer" else "to_rgb"
        return f"synthesis.{module}{match[2]}.{PARTS[match[3]]}"
    return name  # mapping.* and synthesis.lod are named alike


def convert(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("affine.bias") and tensor.is_floating_point() and tensor.ndim == 1:
        scale, shift = tensor.float().tensor_split(2)
        return torch.cat([scale + 1.0, shift])
    if name.endswith("noise_const") and tensor.ndim == 4 and tensor.shape[:2] == (1, 1):
        return tensor[0, 0]
    match = re.fullmatch(r"synthesis\.conv([0-9]+)\.weight", name)
    if match and int(match[1]) >= FUSED_FROM and int(match[1]) % 2 == 0 and tensor.ndim == 4:
        return tensor.flip(2, 3)
    return tensor


def check_kernel(name: str, kernel: Tensor) -> None:
    """The network has one blur; a file with another would give wrong images."""
    taps = torch.tensor(BLUR_TAPS)
    expected = torch.outer(taps, taps)
    fits = kernel.is_floating_point() and kernel.ndim == 4 and kernel.shape[1:] == (1, 3, 3)
    if not fits or not (kernel.float() - expected).abs().le(1e-4).all():
        raise CheckpointError(f"{name} is not the blur [1, 2, 1] that is read here.")
