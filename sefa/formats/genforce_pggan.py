"""PGGAN as genforce names it (genforce/genforce and genforce/sefa `pggan_generator.py`).

Differences from our names: no prefix, and with `fused_scale` the upsampling layers hold the
kernels of a transposed convolution: [in, out, 3, 3], flipped in height and width.
"""

import re

from torch import Tensor

from sefa.formats.checkpoint import Checkpoint, Found, put

DESCRIPTION = "genforce's PGGAN .pth"


def recognises(found: Found) -> bool:
    return all(name in found.tensors for name in ("layer0.weight", "output0.weight"))


def translate(found: Found) -> Checkpoint:
    """`label_size` cannot be told from the shapes: all inputs of layer0 are taken for z."""
    fused = is_fused(found)
    renamed: dict[str, Tensor] = {}
    for name, tensor in found.tensors.items():
        new_name = rename(name)
        if fused and upsamples(name) and tensor.ndim == 4:
            tensor = tensor.transpose(0, 1).flip(2, 3)
        put(renamed, new_name, tensor, name)
    return Checkpoint(renamed, {"family": "pggan"})


def rename(name: str) -> str:
    """Our name for a genforce name; one we have no name for stays, and is refused later."""
    if name == "lod":
        return "synthesis.lod"
    match = re.fullmatch(r"(layer|output)([0-9]{1,2})\.(weight|bias)", name)
    if match:
        module = "conv" if match[1] == "layer" else "to_rgb"
        return f"synthesis.{module}{match[2]}.{match[3]}"
    return name


def upsamples(name: str) -> bool:
    match = re.fullmatch(r"layer([0-9]{1,2})\.weight", name)
    return match is not None and int(match[1]) >= 2 and int(match[1]) % 2 == 0


def is_fused(found: Found) -> bool:
    """Seen where an upsampling layer changes the number of channels, [in, out] or [out, in].

    The setting is one for all layers. Where no layer tells, it is taken to be off, its default.
    """
    transposed = set()
    for name, weight in found.tensors.items():
        bias = found.tensors.get(name.removesuffix("weight") + "bias")
        if upsamples(name) and weight.ndim == 4 and bias is not None and bias.ndim == 1:
            rows, columns = weight.shape[:2]
            if rows != columns:
                transposed.add(columns == len(bias))
    return transposed == {True}
