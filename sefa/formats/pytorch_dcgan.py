"""DCGAN as in the PyTorch tutorial: ConvTranspose2d and BatchNorm2d, under any names of modules.

What belongs where is told by the order of the state dict, which is that of the modules: the i-th
batch norm follows the i-th convolution, and the last convolution has none. Safetensors files do
not keep that order but sort by name; there the order is by the numbers in the names ("net.3"
before "net.10"), convolutions and norms each among themselves.

Only files that hold nothing else, and whose shapes make a chain from a code to an image, are taken.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from sefa.errors import CheckpointError
from sefa.formats.checkpoint import Checkpoint, Found
from sefa.formats.containers import METADATA

DESCRIPTION = "PyTorch's DCGAN .pth"

NORM_PARTS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


@dataclass(frozen=True)
class Chain:
    """Names of modules, in order."""

    convs: list[str]
    norms: list[str]


def recognises(found: Found) -> bool:
    chain = read_chain(found)
    return chain is not None and (
        is_generator(found.tensors, chain)
        or is_discriminator(found.tensors, chain)
        or has_plain_convs(found.tensors, chain)
    )


def translate(found: Found) -> Checkpoint:
    chain = read_chain(found)
    if not is_generator(found.tensors, chain):
        if is_discriminator(found.tensors, chain):
            raise CheckpointError("only a discriminator is in this file, and no generator.")
        raise CheckpointError(
            "its chain of convolutions is not one of transposed convolutions only, as a DCGAN's "
            "is, and what it does between them cannot be told from shapes."
        )
    kernels = [tuple(found.tensors[f"{name}.weight"].shape[2:]) for name in chain.convs]
    if kernels[0][0] != kernels[0][1] or any(kernel != (4, 4) for kernel in kernels[1:]):
        found_kernels = ", ".join(f"{height}x{width}" for height, width in kernels[:8])
        raise CheckpointError(
            f"its transposed convolutions have kernels of {found_kernels}, whose strides and "
            "paddings cannot be told; a DCGAN is read when all but the first are 4x4 (stride 2, "
            "padding 1)."
        )
    if len(chain.norms) != len(chain.convs) - 1:
        raise CheckpointError(
            f"it has {len(chain.convs)} transposed convolutions and {len(chain.norms)} batch norms "
            f"where {len(chain.convs) - 1} were expected, one after each but the last."
        )
    ours = {name: f"synthesis.conv{i}" for i, name in enumerate(chain.convs)}
    ours |= {name: f"synthesis.norm{i}" for i, name in enumerate(chain.norms)}
    renamed: dict[str, Tensor] = {}
    for name, tensor in found.tensors.items():
        module, _, part = name.rpartition(".")
        if part != "num_batches_tracked":
            renamed[f"{ours[module]}.{part}"] = tensor
    return Checkpoint(renamed, {"family": "dcgan"})


def read_chain(found: Found) -> Chain | None:
    """The modules of a file of nothing but convolutions and batch norms; None for any other."""
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in found.tensors.items():
        module, _, part = name.rpartition(".")
        modules.setdefault(module, {})[part] = tensor
    chain = Chain([], [])
    for module, parts in modules.items():
        if not module:
            return None
        if is_conv(parts):
            chain.convs.append(module)
        elif is_norm(parts):
            chain.norms.append(module)
        else:
            return None
    if len(chain.convs) < 2 or not chain.norms:
        return None
    if METADATA in found.beside:  # a safetensors file
        return Chain(sorted(chain.convs, key=natural), sorted(chain.norms, key=natural))
    return chain


def is_conv(parts: Mapping[str, Tensor]) -> bool:
    shapes = {part: tensor.ndim for part, tensor in parts.items()}
    return shapes in ({"weight": 4}, {"weight": 4, "bias": 1})


def is_norm(parts: Mapping[str, Tensor]) -> bool:
    return {"running_mean", "running_var"} <= set(parts) <= NORM_PARTS and all(
        tensor.ndim == (part != "num_batches_tracked") for part, tensor in parts.items()
    )


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value: net.3 before net.10."""
    return [
        (int(text), "") if text.isdecimal() and len(text) < 10 else (-1, text)
        for text in re.split(r"(\d+)", name)
    ]


def is_generator(tensors: Mapping[str, Tensor], chain: Chain) -> bool:
    """ConvTranspose2d weights [in, out, k, k]: every in is the out before, the last an image."""
    shapes = [tensors[f"{name}.weight"].shape for name in chain.convs]
    chained = all(b[0] == a[1] for a, b in pairwise(shapes))
    return chained and shapes[-1][1] in (1, 3)


def is_discriminator(tensors: Mapping[str, Tensor], chain: Chain) -> bool:
    """Conv2d weights [out, in, k, k] from an image to one number."""
    shapes = [tensors[f"{name}.weight"].shape for name in chain.convs]
    chained = all(b[1] == a[0] for a, b in pairwise(shapes))
    return chained and shapes[0][1] in (1, 3) and shapes[-1][0] == 1


def has_plain_convs(tensors: Mapping[str, Tensor], chain: Chain) -> bool:
    """A chain from a code to an image in which some weights can only be Conv2d's [out, in, k, k].

    The first must be a transposed convolution of several pixels, as in a DCGAN.
    """
    first, *others = [tensors[f"{name}.weight"].shape for name in chain.convs]
    channels = {first[1]}  # what may come out of the layers so far
    for shape in others:
        channels = {b for a, b in (shape[:2], shape[1::-1]) if a in channels}
    return first[2] > 1 and bool(channels & {1, 3})
