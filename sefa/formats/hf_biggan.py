"""BigGAN-deep as HuggingFace names it (huggingface/pytorch-pretrained-BigGAN `model.py`).

A bare state dict, usually with a config.json beside it, which tells what shapes cannot: the blocks
that upsample, and the eps of the norms. It is read when it is there and small. Spectral norms are
divided out here; of the eight or more channels that the last convolution makes, three are images.

BigGANs of ajbrock/BigGAN-PyTorch, which are built and named otherwise, are refused by name.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from sefa.errors import CheckpointError
from sefa.formats.checkpoint import Checkpoint, Found, put

DESCRIPTION = "HuggingFace's BigGAN-deep .bin"

CONFIG_NAME = "config.json"
MAX_CONFIG_BYTES = 1_000_000
SPECTRAL = ("weight_orig", "weight_u", "weight_v")

# HuggingFace's name of a part -> ours
PARTS = {
    "running_means": "running_mean",
    "running_vars": "running_var",
    "snconv1x1_theta.weight": "theta.weight",
    "snconv1x1_phi.weight": "phi.weight",
    "snconv1x1_g.weight": "g.weight",
    "snconv1x1_o_conv.weight": "o.weight",
}
WHOLE = {
    "embeddings.weight": "embedding.weight",
    "generator.gen_z.weight": "synthesis.gen_z.weight",
    "generator.gen_z.bias": "synthesis.gen_z.bias",
    "generator.bn.weight": "synthesis.norm.weight",
    "generator.bn.bias": "synthesis.norm.bias",
    "generator.bn.running_means": "synthesis.norm.running_mean",
    "generator.bn.running_vars": "synthesis.norm.running_var",
    "generator.conv_to_rgb.weight": "synthesis.to_rgb.weight",
    "generator.conv_to_rgb.bias": "synthesis.to_rgb.bias",
}


def recognises(found: Found) -> bool:
    return is_huggingface(found) or is_ajbrock(found)


def is_huggingface(found: Found) -> bool:
    return {"generator.gen_z.bias", "generator.layers.0.conv_0.bias"} <= set(found.tensors)


def is_ajbrock(found: Found) -> bool:
    """Generators and discriminators of BigGAN-PyTorch: blocks in lists of lists."""
    names = set(found.tensors)
    return {"blocks.0.0.conv1.weight", "linear.weight"} <= names and bool(
        {"blocks.0.0.bn1.gain.weight", "blocks.0.0.conv1.u0"} & names
    )


def translate(found: Found) -> Checkpoint:
    if not is_huggingface(found):
        raise CheckpointError(
            "it is a BigGAN in the naming of ajbrock/BigGAN-PyTorch, which is another network and "
            "not read here (HuggingFace's BigGAN-deep is)."
        )
    tensors = fold_spectral_norms(found.tensors)
    check_halves(tensors.get("embeddings.weight"), tensors.get("generator.gen_z.weight"))
    positions = block_positions(tensors)
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        new_name = rename(name, positions)
        if new_name.startswith("synthesis.to_rgb.") and tensor.ndim > 0:
            tensor = tensor[:3]
        put(renamed, new_name, tensor, name)
    blocks = sum(name.endswith(".conv_0.weight") for name in tensors)
    config = read_config(found.path, blocks)
    return Checkpoint(renamed, {"family": "biggan", **config})


def check_halves(embedding: Tensor | None, gen_z: Tensor | None) -> None:
    """The condition [2 * z_dim] is z and an embedding of the class, as long as z."""
    if embedding is None or gen_z is None or embedding.ndim != 2 or gen_z.ndim != 2:
        return  # said later, by name
    if 2 * embedding.shape[0] != gen_z.shape[1]:
        raise CheckpointError(
            f"its classes are embedded in {embedding.shape[0]} numbers where half of the "
            f"{gen_z.shape[1]} that gen_z takes were expected."
        )


def fold_spectral_norms(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that spectral norms make of weight_orig, under the name weight.

    torch before 1.1 also stored the weight itself; its later versions go by that, and so do we.
    """
    folded: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        weight = f"{module}.weight"
        if part not in SPECTRAL:
            folded[name] = tensor
        elif part == "weight_orig" and weight not in tensors:
            u = tensors.get(f"{module}.weight_u")
            folded[weight] = spectral_norm(weight, tensor, u, tensors.get(f"{module}.weight_v"))
    return folded


def spectral_norm(name: str, weight: Tensor, u: Tensor | None, v: Tensor | None) -> Tensor:
    """weight [out, ...] / (u^T W v), W the matrix [out, rest], with the stored u [out], v [rest].

    Not the largest singular value, which they only come near (Miyato et al., ICLR 2018). Without v
    (old files), v = W^T u, normalised.
    """
    if weight.ndim < 2 or not weight.is_floating_point():
        raise CheckpointError(f"{name}_orig is no matrix of floating-point numbers.")
    matrix = weight.float().flatten(1)
    if u is None:
        raise CheckpointError(f"The weight {name}_u is missing.")
    if u.shape != matrix.shape[:1] or not u.is_floating_point():
        raise CheckpointError(
            f"{name}_u has shape {list(u.shape)} where {[len(matrix)]} was expected."
        )
    if v is None:
        v = F.normalize(matrix.T @ u.float(), dim=0)
    if v.shape != matrix.shape[1:] or not v.is_floating_point():
        raise CheckpointError(
            f"{name}_v has shape {list(v.shape)} where {[matrix.shape[1]]} was expected."
        )
    sigma = u.float() @ (matrix @ v.float())
    if not 1e-12 < sigma.abs() < 1e12:  # false for NaN
        raise CheckpointError(
            f"The spectral norm of {name} is {sigma:.3g}, no number to divide by."
        )
    return weight.float() / sigma


def block_positions(tensors: Mapping[str, Tensor]) -> dict[int, int]:
    """Position in generator.layers -> block; an attention layer has the block that follows."""
    names = [re.match(r"generator\.layers\.(\d{1,4})\.", name) for name in tensors]
    positions: dict[int, int] = {}
    block = 0
    for position in sorted({int(match[1]) for match in names if match}):
        positions[position] = block
        block += f"generator.layers.{position}.gamma" not in tensors
    return positions


def rename(name: str, positions: Mapping[int, int]) -> str:
    """Our name for a HuggingFace name; one we have no name for stays, and is refused later."""
    match = re.fullmatch(r"generator\.layers\.(\d{1,4})\.(.+)", name)
    if match is None:
        return WHOLE.get(name, name)
    block, part = positions[int(match[1])], match[2]
    norm_or_conv = re.fullmatch(r"(bn|conv)_([0-3])\.(.+)", part)
    if norm_or_conv:
        kind = "norm" if norm_or_conv[1] == "bn" else "conv"
        inner = PARTS.get(norm_or_conv[3], norm_or_conv[3])
        return f"synthesis.block{block}.{kind}{norm_or_conv[2]}.{inner}"
    if part in PARTS or part == "gamma":
        return f"synthesis.attention{block}.{PARTS.get(part, part)}"
    return name


def read_config(path: Path | None, blocks: int) -> dict[str, Any]:
    """Our configuration from the config.json beside the file; empty when there is none."""
    beside = None if path is None else path.parent / CONFIG_NAME
    try:
        if beside is None or not beside.is_file():
            return {}
        with beside.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        content = json.loads(text) if len(text) <= MAX_CONFIG_BYTES else None
    except OSError as error:
        raise CheckpointError(
            f"{CONFIG_NAME} beside it cannot be read ({error.strerror})."
        ) from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CheckpointError(f"{CONFIG_NAME} beside it is not a JSON object of at most 1 MB.")
    config: dict[str, Any] = {}
    if "layers" in content:
        config["upsample"] = upsampling_blocks(content["layers"], blocks)
    if "eps" in content:
        config["eps"] = content["eps"]
    return config


def upsampling_blocks(layers: Any, blocks: int) -> list[bool]:
    """The first item of every [upsamples, in, out] of a configuration's "layers"."""
    fits = isinstance(layers, list) and all(
        isinstance(layer, list) and len(layer) == 3 and isinstance(layer[0], bool)
        for layer in layers
    )
    if not fits or len(layers) != blocks:
        raise CheckpointError(
            f"{CONFIG_NAME} beside it is of another model, since its layers are not a list of "
            f"{blocks} times [upsamples, in, out]."
        )
    return [layer[0] for layer in layers]
