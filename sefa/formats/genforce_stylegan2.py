"""StyleGAN2 as genforce names it (genforce/genforce and genforce/sefa `stylegan2_generator.py`).

Differences from our names: the affine's bias is stored without its +1, and the upsampling kernels
are flipped in height and width before the transposed convolution. genforce's StyleGAN2-ADA
(`stylegan2ada_generator.py`) is the same network but for labels, which it embeds.
"""

import re

from torch import Tensor

from sefa.formats.checkpoint import Checkpoint, Found, put
from sefa.formats.kernels import check_kernel

DESCRIPTION = "genforce's StyleGAN2 .pth"

# genforce name (after the module's own) -> ours
PARTS = {
    "weight": "weight",
    "bias": "bias",
    "style.weight": "affine.weight",
    "style.bias": "affine.bias",
    "noise_strength": "noise_strength",
    "noise": "noise_const",
}


def recognises(found: Found) -> bool:
    names = ("synthesis.early_layer.const", "synthesis.layer0.style.weight")
    return all(name in found.tensors for name in names)


def translate(found: Found) -> Checkpoint:
    renamed: dict[str, Tensor] = {}
    for name, tensor in found.tensors.items():
        if name.endswith(("filter.kernel", "upsample.kernel")):
            check_kernel(name, tensor, gain=4.0)
        else:
            new_name = rename(name)
            put(renamed, new_name, convert(new_name, tensor), name)
    return Checkpoint(renamed, {"family": "stylegan2"})


def rename(name: str) -> str:
    """Our name for a genforce name; one we have no name for stays, and is refused later."""
    if name == "truncation.w_avg":
        return "w_avg"
    if name == "synthesis.early_layer.const":
        return "synthesis.const"
    if name.startswith("mapping.LabelEmbed."):  # the stylegan2ada variant; normalised on its own
        return name.replace("LabelEmbed", "embed")
    match = re.fullmatch(r"synthesis\.(layer|output)(\d+)\.(.+)", name)
    if match and match[3] in PARTS:
        module = "conv" if match[1] == "layer" else "to_rgb"
        return f"synthesis.{module}{match[2]}.{PARTS[match[3]]}"
    return name  # mapping.* is named alike


def convert(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("affine.bias") and tensor.is_floating_point():
        return tensor.float() + 1.0
    if name.endswith("noise_const") and tensor.ndim == 4 and tensor.shape[:2] == (1, 1):
        return tensor[0, 0]
    match = re.fullmatch(r"synthesis\.conv(\d+)\.weight", name)
    if match and int(match[1]) % 2 == 1 and tensor.ndim == 4:
        return tensor.flip(2, 3)
    return tensor
