"""StyleGAN2 as rosinality names it (rosinality/stylegan2-pytorch `model.py`).

Differences from our names: layers are counted in several lists, and weights have leading
dimensions of 1. The mean w lies beside the generator (`latent_avg`) in converted files only; for
the files of `train.py` the generator computes it from 4096 codes, as many as `generate.py` takes
(see `sefa.generators.mapping.mean_w` for the seed). Files from before the noise images were stored
get images drawn from seed 0.
"""

import re

import numpy as np
import torch
from numpy.random import RandomState  # named here, as numpy imports it when it is first used
from torch import Tensor

from sefa.errors import CheckpointError
from sefa.formats.checkpoint import Checkpoint, Found, put
from sefa.formats.kernels import check_kernel
from sefa.generators.generator import MAX_BLOCKS

DESCRIPTION = "rosinality's StyleGAN2 .pt"

W_AVG_SAMPLES = 4096
NOISE_SEED = 0

# rosinality's name (after the module's own) -> ours
PARTS = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}


def recognises(found: Found) -> bool:
    return {"input.input", "style.1.weight"} <= set(found.tensors)


def translate(found: Found) -> Checkpoint:
    renamed: dict[str, Tensor] = {}
    for name, tensor in found.tensors.items():
        if ".iwt." in name or ".dwt." in name:
            raise CheckpointError("this is rosinality's SWAGAN, a network that is not read here.")
        if name.endswith((".blur.kernel", ".upsample.kernel")):
            check_kernel(name, tensor, gain=4.0)
        else:
            new_name = rename(name)
            put(renamed, new_name, convert(new_name, tensor), name)
    if not any(name.endswith("noise_const") for name in renamed):
        renamed |= draw_noise(renamed)
    config: dict = {"family": "stylegan2"}
    mean = found.beside.get("latent_avg", renamed.pop("latent_avg", None))
    if mean is None:
        config["w_avg_samples"] = W_AVG_SAMPLES
    elif isinstance(mean, Tensor):
        renamed["w_avg"] = mean[0] if mean.ndim == 2 and len(mean) == 1 else mean
    else:
        raise CheckpointError(f"its latent_avg is a {type(mean).__name__[:40]}, not a tensor.")
    return Checkpoint(renamed, config)


def rename(name: str) -> str:
    """Our name for rosinality's; one we have no name for stays, and is refused later."""
    if name == "input.input":
        return "synthesis.const"
    match = re.fullmatch(r"style\.([1-9]\d{0,3})\.(weight|bias)", name)
    if match:  # style.0 is the normalisation
        return f"mapping.dense{int(match[1]) - 1}.{match[2]}"
    match = re.fullmatch(r"noises\.noise_(\d+)", name)
    if match:
        return f"synthesis.conv{match[1]}.noise_const"
    match = re.fullmatch(r"(conv1|convs|to_rgb1|to_rgbs)\.(?:(\d{1,4})\.)?(.+)", name)
    if match is None or match[3] not in PARTS or match[1].endswith("s") != (match[2] is not None):
        return name
    module = "conv" if match[1].startswith("conv") else "to_rgb"
    index = 0 if match[2] is None else int(match[2]) + 1
    return f"synthesis.{module}{index}.{PARTS[match[3]]}"


def convert(name: str, tensor: Tensor) -> Tensor:
    """The tensor without rosinality's dimensions of 1."""
    shape = tuple(tensor.shape)
    if name.endswith(".weight") and len(shape) == 5 and shape[0] == 1:
        return tensor[0]  # [1, out, in, k, k]
    if name.endswith(".bias") and len(shape) == 4 and shape == (1, shape[1], 1, 1):
        return tensor[0, :, 0, 0]  # toRGB's [1, 3, 1, 1]
    if name.endswith(".noise_const") and len(shape) == 4 and shape[:2] == (1, 1):
        return tensor[0, 0]
    if name.endswith(".noise_strength") and shape == (1,):
        return tensor[0]
    return tensor


def draw_noise(renamed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Noise images [r, r] for the convolutions that have a strength, from one seed in order."""
    random = RandomState(NOISE_SEED)
    images = {}
    for i in range(2 * MAX_BLOCKS - 1):
        if f"synthesis.conv{i}.noise_strength" not in renamed:
            break
        size = 4 << (i + 1) // 2
        noise = random.randn(size, size).astype(np.float32)
        images[f"synthesis.conv{i}.noise_const"] = torch.from_numpy(noise)
    return images
