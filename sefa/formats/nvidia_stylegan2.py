"""StyleGAN2 as NVIDIA names it (stylegan2-ada-pytorch `training/networks.py`, and stylegan3's
`training/networks_stylegan2.py`).

A pickle holds the attributes of every module (clamps, gains, activations), whose defaults differ
between the two repositories; what the file says is used. A bare state dict has none: learning-rate
multiplier 0.01 and no clamp, the defaults of stylegan2-ada-pytorch.

Differences from our names: blocks are called by their resolution (b4, b8, ...), with conv0 (up),
conv1, torgb and skip inside. Weights are stored as we store them.
"""

import math
import re
from collections.abc import Mapping
from numbers import Real

from torch import Tensor

from sefa.errors import CheckpointError, show
from sefa.formats.checkpoint import Checkpoint, Found, put
from sefa.formats.kernels import check_kernel
from sefa.generators.generator import MAX_BLOCKS

DESCRIPTION = "NVIDIA's StyleGAN2 (stylegan2-ada-pytorch, stylegan3)"

W_AVG_SAMPLES = 4096  # where the training kept no mean (w_avg_beta None)
DEFAULT_LR_MULTIPLIER = 0.01

SYNTHESIS_LAYER = {
    "__class__": "SynthesisLayer", "activation": "lrelu", "act_gain": math.sqrt(2.0), "padding": 1,
}  # fmt: skip
LINEAR = {"__class__": "FullyConnectedLayer", "activation": "linear"}

# What the network we know has, by the last part of a module's path. Anything else that a file says
# here would need another network; what may differ (clamps, gains of the weights) is not listed.
EXPECTED: dict[str, Mapping] = {
    "mapping": {"__class__": "MappingNetwork"},
    "fc": {"__class__": "FullyConnectedLayer", "activation": "lrelu"},
    "embed": LINEAR,
    "affine": LINEAR,
    "b": {"__class__": "SynthesisBlock"},
    "conv0": {**SYNTHESIS_LAYER, "up": 2},
    "conv1": {**SYNTHESIS_LAYER, "up": 1},
    "torgb": {"__class__": "ToRGBLayer"},
    "skip": {
        "__class__": "Conv2dLayer", "activation": "linear", "up": 2, "down": 1, "padding": 0,
        "conv_clamp": None,
    },
}  # fmt: skip


def recognises(found: Found) -> bool:
    return any(name.startswith("synthesis.b4.") for name in found.tensors)


def translate(found: Found) -> Checkpoint:
    for path, attributes in found.attributes.items():
        check_module(path, attributes)
    config: dict = {"family": "stylegan2"}
    config["lr_multiplier"] = lr_multiplier = read_lr_multiplier(found)
    config["conv_clamp"] = read_clamps(found)
    config["architecture"] = read_architecture(found)
    mapping = found.attributes.get("mapping", {})
    if "mapping.w_avg" not in found.tensors and mapping.get("w_avg_beta", 0) is None:
        config["w_avg_samples"] = W_AVG_SAMPLES

    renamed: dict[str, Tensor] = {}
    for name, tensor in found.tensors.items():
        path, _, part = name.rpartition(".")
        attributes = found.attributes.get(path, {})
        if part == "resample_filter":
            check_kernel(name, tensor, gain=1.0)
        elif part.startswith("noise_") and attributes.get("use_noise") is False:
            continue
        else:
            new_name = rename(name)
            put(renamed, new_name, convert(name, tensor, attributes, lr_multiplier), name)
    said = found.attributes.get("", {}).get("img_resolution")
    check_size("img_resolution", said, renamed, of="pixels")
    check_size("num_layers", mapping.get("num_layers"), renamed, of="layers")
    return Checkpoint(renamed, {name: value for name, value in config.items() if value is not None})


def rename(name: str) -> str:
    """Our name for NVIDIA's; one we have no name for stays, and is refused later."""
    if name == "mapping.w_avg":
        return "w_avg"
    if name == "synthesis.b4.const":
        return "synthesis.const"
    match = re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", name)
    if match:
        return f"mapping.dense{match[1]}.{match[2]}"
    match = re.fullmatch(r"(synthesis\.b\d+\.\w+)\.(.+)", name)
    module = name_module(match[1]) if match else None
    return f"synthesis.{module}.{match[2]}" if match and module else name


def name_module(path: str) -> str | None:
    """Our name for a convolution: "synthesis.b8.conv0" is conv1. None for any other module."""
    match = re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb|skip)", path)
    k = block_of(match[1]) if match else None
    if match is None or k is None:
        return None
    if match[2].startswith("conv"):
        i = 2 * k - 1 + int(match[2][-1])
        return f"conv{i}" if i >= 0 else None  # the first block has no conv0
    return f"to_rgb{k}" if match[2] == "torgb" else f"skip{k}"


def block_of(resolution: str) -> int | None:
    """0 for "4", 1 for "8", ...; None for what is no resolution."""
    resolutions = [str(4 << k) for k in range(MAX_BLOCKS)]
    return resolutions.index(resolution) if resolution in resolutions else None


def convert(name: str, tensor: Tensor, attributes: Mapping, lr_multiplier: float) -> Tensor:
    """The tensor as we store it: gains that are not the usual ones go into the weights."""
    if name == "synthesis.b4.const" and tensor.ndim == 3:
        return tensor[None]
    path, _, part = name.rpartition(".")
    kind = kind_of(path)
    if kind not in ("fc", "embed", "affine", "torgb", "skip") or tensor.ndim == 0:
        return tensor
    usual = lr_multiplier if kind == "fc" else 1.0
    if part == "weight":
        usual /= math.sqrt(max(1, math.prod(tensor.shape[1:])))
        gain = read_gain(path, attributes, "weight_gain", usual)
        if kind == "skip":
            gain *= read_gain(path, attributes, "act_gain", 1.0)
    elif part == "bias" and kind in ("fc", "embed", "affine"):
        gain = read_gain(path, attributes, "bias_gain", usual)
    else:
        return tensor
    if math.isclose(gain, usual, rel_tol=1e-6) or not tensor.is_floating_point():
        return tensor
    return tensor.float() * (gain / usual)


def kind_of(path: str) -> str:
    """A module's kind, a key of `EXPECTED`: its last name, without number for fc{i} and b{r}."""
    last = path.rpartition(".")[2]
    return re.sub(r"^(fc|b)\d+$", r"\1", last)


# ------------------------------------------------------------------------ what the modules say


def read_gain(path: str, attributes: Mapping, name: str, usual: float) -> float:
    value = attributes.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < 1e9:
        raise CheckpointError(f"The {name} of {path} is {show(value, 20)}, not a positive number.")
    return float(value)


def read_lr_multiplier(found: Found) -> float:
    """That of the first layer, from its bias; layers that differ have it in their weights."""
    first = found.attributes.get("mapping.fc0", {})
    return read_gain("mapping.fc0", first, "bias_gain", DEFAULT_LR_MULTIPLIER)


def read_clamps(found: Found) -> float | dict | None:
    """conv_clamp: one number where all convolutions have the same, else by our module names."""
    clamps = {}
    for path, attributes in found.attributes.items():
        name = name_module(path)
        if name is None or name.startswith("skip"):
            continue
        clamp = attributes.get("conv_clamp")
        clamps[name] = None if clamp is None else read_gain(path, attributes, "conv_clamp", 0.0)
    values = set(clamps.values())
    if len(values) > 1:
        return {name: clamp for name, clamp in clamps.items() if clamp is not None}
    return values.pop() if values else None


def read_architecture(found: Found) -> str | None:
    """What all blocks say, None where they say nothing (the shapes tell then)."""
    said = {
        path: attributes["architecture"]
        for path, attributes in found.attributes.items()
        if kind_of(path) == "b" and "architecture" in attributes
    }
    for path, architecture in said.items():
        if architecture not in ("skip", "orig", "resnet"):
            raise CheckpointError(f"The architecture of {path} is {show(architecture)}.")
    if len(set(said.values())) > 1:
        raise CheckpointError(
            f"Blocks of several architectures: {', '.join(sorted(set(said.values())))}."
        )
    return next(iter(said.values()), None)


def check_module(path: str, attributes: Mapping) -> None:
    """Raises `CheckpointError` for a module that is not the one we know."""
    for name, expected in EXPECTED.get(kind_of(path), {}).items():
        value = attributes.get(name, expected)
        if not same(value, expected):
            raise CheckpointError(
                f"The {name.strip('_')} of {path} is {show(value, 40)} where {expected!r} was "
                "expected, so its images would be wrong."
            )


def same(value: object, expected: object) -> bool:
    if isinstance(expected, Real) and isinstance(value, Real):
        return abs(value) < 1e9 and math.isclose(value, expected, rel_tol=1e-5)
    return isinstance(value, type(expected)) and value == expected


def check_size(name: str, said: object, renamed: Mapping[str, Tensor], of: str) -> None:
    """A file that says how large it is must hold that much: shapes alone do not show a loss.

    of: what `said` counts, "pixels" (the resolution) or "layers" (of the mapping).
    """
    blocks = sum(f"synthesis.conv{2 * k}.weight" in renamed for k in range(MAX_BLOCKS))
    dense = [name for name in renamed if re.fullmatch(r"mapping\.dense\d+\.weight", name)]
    count = 4 << max(blocks - 1, 0) if of == "pixels" else len(dense)
    if isinstance(said, int) and said != count:
        raise CheckpointError(
            f"its {name} is {show(said, 20)}, but its weights are for {count} {of}."
        )
