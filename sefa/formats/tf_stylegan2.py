"""StyleGAN2 as the TensorFlow codes name it (NVlabs/stylegan2 and stylegan2-ada
`training/networks_stylegan2.py`, `training/networks.py`).

Names have slashes; `Found.attributes[""]` are the static keyword arguments with which the network
was made, of which those that shapes do not tell are read here.

Differences from our names: blocks are called by their resolution (4x4, 8x8, ...). Matrices are
stored as [in, out] and kernels as [k, k, in, out], the upsampling ones flipped in height and
width; the affine's bias has no +1.
"""

import re
from collections.abc import Mapping
from numbers import Real

import torch
from torch import Tensor

from sefa.errors import CheckpointError, show
from sefa.formats.checkpoint import Checkpoint, Found, put
from sefa.formats.nvidia_stylegan2 import block_of, check_size
from sefa.generators.ops import FIR_TAPS

DESCRIPTION = "NVIDIA's TensorFlow StyleGAN2"

# TensorFlow's name -> ours, in a block; k is the block
MODULES = {"Conv": "conv{i}", "Conv1": "conv{i}", "Conv0_up": "conv{up}"}
MODULES |= {"ToRGB": "to_rgb{k}", "Skip": "skip{k}"}
PARTS = {
    "weight": "weight",
    "bias": "bias",
    "mod_weight": "affine.weight",
    "mod_bias": "affine.bias",
    "noise_strength": "noise_strength",
}
MAPPING = {"LabelEmbed/weight": "embed.weight", "LabelEmbed/bias": "embed.bias"}
MAPPING |= {"LabelConcat/weight": "label_weight"}
UNUSED = ("lod", "synthesis/lod")

# Arguments that mean something only while training, or that the shapes of the weights tell.
IGNORED = {
    "latent_size", "label_size", "dlatent_size", "num_channels", "mapping_fmaps",
    "label_fmaps", "fmap_base", "fmap_decay", "fmap_min", "fmap_max", "num_fp16_res",
    "truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val",
    "style_mixing_prob", "dlatent_avg_beta", "w_avg_beta", "structure", "conditioning",
    "fused_modconv", "is_training", "is_validation", "is_template_graph", "return_dlatents",
    "randomize_noise", "mapping_func", "synthesis_func", "dtype", "impl", "dlatent_broadcast",
}  # fmt: skip
EXPECTED = {"nonlinearity": "lrelu", "mapping_nonlinearity": "lrelu", "normalize_latents": True}


def recognises(found: Found) -> bool:
    return any(name.startswith("synthesis/4x4/") for name in found.tensors)


def translate(found: Found) -> Checkpoint:
    kwargs = found.attributes.get("", {})
    config = read_kwargs(kwargs)
    use_noise = kwargs.get("use_noise", True) is not False
    renamed: dict[str, Tensor] = {}
    for name, tensor in found.tensors.items():
        if name in UNUSED or (not use_noise and "noise" in name):
            continue
        if re.search(r"ToRGB_lod\d", name):
            raise CheckpointError(
                "its toRGB layers are called by level of detail, so it is a StyleGAN2 of the "
                "configurations A to D, which are not read here (E and F are)."
            )
        new_name = rename(name)
        put(renamed, new_name, convert(new_name, tensor), name)
    check_size("resolution", kwargs.get("resolution"), renamed, of="pixels")
    check_size("mapping_layers", kwargs.get("mapping_layers"), renamed, of="layers")
    return Checkpoint(renamed, config)


def read_kwargs(kwargs: Mapping) -> dict:
    """The configuration of the family; refuses arguments that would need another network."""
    read = {"mapping_lrmul", "conv_clamp", "architecture", "use_noise", "resample_kernel"}
    known = IGNORED | read | {"resolution", "mapping_layers"} | set(EXPECTED)
    unknown = [name for name in kwargs if name not in known]
    if unknown:
        raise CheckpointError(f"its setting {show(unknown[0])} is not known here.")
    for name, expected in EXPECTED.items():
        value = kwargs.get(name, expected)
        if type(value) is not type(expected) or value != expected:
            raise CheckpointError(f"its {name} is {show(value)} where {expected!r} was expected.")
    if not is_usual_kernel(kwargs.get("resample_kernel", [1, 3, 3, 1])):
        raise CheckpointError(
            f"its resample_kernel is {show(kwargs['resample_kernel'])}, not the filter "
            "[1, 3, 3, 1] that is read here."
        )
    config = {"family": "stylegan2", "lr_multiplier": kwargs.get("mapping_lrmul")}
    config["conv_clamp"] = kwargs.get("conv_clamp")
    if kwargs:  # the shapes tell where nothing is said at all
        config["architecture"] = kwargs.get("architecture") or "skip"
    return {name: plain(value) for name, value in config.items() if value is not None}


def plain(value: object) -> object:
    """A plain number where numpy may have left one of its own."""
    is_number = isinstance(value, Real) and not isinstance(value, bool) and abs(value) < 1e9
    return float(value) if is_number else value


def is_usual_kernel(kernel: object) -> bool:
    """Whether it is a multiple of [1, 3, 3, 1]: TensorFlow's codes divide it by its sum."""
    if not isinstance(kernel, list | tuple) or len(kernel) != 4:
        return False
    if not all(isinstance(tap, Real) and 0 < tap < 1e9 for tap in kernel):
        return False
    pairs = zip(kernel, FIR_TAPS, strict=True)
    return all(abs(tap / sum(kernel) - usual) < 1e-4 for tap, usual in pairs)


def rename(name: str) -> str:
    """Our name for TensorFlow's; one we have no name for stays, and is refused later."""
    if name in ("dlatent_avg", "synthesis/4x4/Const/const"):
        return "w_avg" if name == "dlatent_avg" else "synthesis.const"
    match = re.fullmatch(r"mapping/Dense(\d+)/(weight|bias)", name)
    if match:
        return f"mapping.dense{match[1]}.{match[2]}"
    if name.startswith("mapping/") and name[8:] in MAPPING:
        return f"mapping.{MAPPING[name[8:]]}"
    match = re.fullmatch(r"synthesis/noise(\d+)", name)
    if match:
        return f"synthesis.conv{match[1]}.noise_const"
    match = re.fullmatch(r"synthesis/(\d+)x\1/(\w+)/(\w+)", name)
    k = block_of(match[1]) if match else None
    if match is None or k is None or match[2] not in MODULES or match[3] not in PARTS:
        return name
    if (match[2] == "Conv") != (k == 0) and match[2] != "ToRGB":  # Conv is the first block's only
        return name
    module = MODULES[match[2]].format(i=2 * k, up=2 * k - 1, k=k)
    return f"synthesis.{module}.{PARTS[match[3]]}"


def convert(name: str, tensor: Tensor) -> Tensor:
    if name.endswith(".weight") and tensor.ndim == 2:
        return tensor.T  # [in, out] -> [out, in]
    if name.endswith("affine.bias") and tensor.is_floating_point():
        return tensor.float() + 1.0
    if name.endswith("noise_const") and tensor.ndim == 4 and tensor.shape[:2] == (1, 1):
        return tensor[0, 0]
    if name.endswith(".weight") and tensor.ndim == 4:
        tensor = tensor.permute(3, 2, 0, 1)  # [k, k, in, out] -> [out, in, k, k]
        match = re.fullmatch(r"synthesis\.conv(\d*[13579])\.weight", name)
        return torch.flip(tensor, (2, 3)) if match else tensor
    return tensor
