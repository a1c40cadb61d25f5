"""StyleGAN3 as NVIDIA names it (NVlabs/stylegan3 `networks_stylegan3.py`).

A pickle tells each layer's numbers as attributes of its object, and these are what is read. A bare
state dict (.pt, .safetensors) has only names, L{i}_{size}_{channels}: then the authors' settings
are assumed (`default_schedule`) and must give the very sizes in the names; the clamp is taken to be
256 and the output scale 0.25, their defaults.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sefa.errors import CheckpointError, show
from sefa.formats.checkpoint import Checkpoint, Found, put
from sefa.generators.stylegan3 import MAX_LAYERS, default_schedule

DESCRIPTION = "NVIDIA's StyleGAN3"

INPUT = "synthesis.input"
LAYER = re.compile(r"synthesis\.(L(\d{1,4})_(\d{1,5})_(\d{1,6}))\.(.+)", re.ASCII)
FILTER_SIZE = 6  # taps a pixel of the lower resolution
MAPPING_LR = 0.01  # what our mapping multiplies the stored weights with


def recognises(found: Found) -> bool:
    return f"{INPUT}.freqs" in found.tensors and any(map(LAYER.fullmatch, found.tensors))


def translate(found: Found) -> Checkpoint:
    refuse_stylegan_xl(found)
    layers = list_layers(found.tensors)
    check_activations(found.attributes)
    renamed: dict[str, Tensor] = {}
    for name, tensor in found.tensors.items():
        put(renamed, rename(name, len(layers)), fold_gains(name, tensor, found.attributes), name)
    tells = found.attributes.get(INPUT)
    config = config_from_attributes(found, layers) if tells else config_from_names(found, layers)
    return Checkpoint(renamed, {"family": "stylegan3", **config})


def refuse_stylegan_xl(found: Found) -> None:
    """StyleGAN-XL shares the names, but embeds classes by a pretrained network's features."""
    if (
        any(name.startswith("mapping.embed_proj.") for name in found.tensors)
        or ("mapping.embed.weight" in found.tensors and "mapping.embed.bias" not in found.tensors)
        or is_text(found.attributes.get("", {}).get("__class__"), "SuperresGenerator")
        or any(re.search(r"\.(up|down)_filter\d+$", name) for name in found.tensors)
    ):
        raise CheckpointError("this is a StyleGAN-XL generator, a kind that is not read here.")


def list_layers(tensors: Mapping[str, Tensor]) -> list[tuple[str, int]]:
    """Name and size of each layer in order, toRGB last: [("L0_36_512", 36), ...].

    Each index must be there once.
    """
    found = {match[1]: match for match in map(LAYER.fullmatch, tensors) if match}
    indices = sorted(int(match[2]) for match in found.values())
    if indices != list(range(len(indices))) or not 2 <= len(indices) <= MAX_LAYERS:
        numbers = ", ".join(map(str, indices[:4])) + (", ..." if len(indices) > 4 else "")
        raise CheckpointError(
            f"it has StyleGAN3 layers numbered {numbers} ({len(indices)} in all) where 0, 1, 2 and "
            f"so on, at most {MAX_LAYERS}, were expected."
        )
    ordered = sorted(found.values(), key=lambda match: int(match[2]))
    return [(match[1], int(match[3])) for match in ordered]


def rename(name: str, count: int) -> str:
    """Our name for NVIDIA's; one we have no name for stays, and is refused later."""
    if name == "mapping.w_avg":
        return "w_avg"
    if match := re.fullmatch(r"mapping\.fc(\d{1,4})\.(weight|bias)", name):
        return f"mapping.dense{int(match[1])}.{match[2]}"
    if match := LAYER.fullmatch(name):
        index = int(match[2])
        module = "to_rgb" if index == count - 1 else f"conv{index}"
        return f"synthesis.{module}.{match[5]}"
    return name  # mapping.embed and synthesis.input are named alike


# ------------------------------------------------------------------ fully connected layers


def check_activations(attributes: Mapping[str, Mapping]) -> None:
    """lrelu in the mapping's own layers, linear in all others."""
    for path, values in attributes.items():
        activation = values.get("activation")
        expected = "lrelu" if re.fullmatch(r"mapping\.fc\d+", path) else "linear"
        if activation is not None and not is_text(activation, expected):
            raise CheckpointError(
                f"{path} has the activation {show(activation, 20)} where {expected} was expected."
            )


def fold_gains(name: str, tensor: Tensor, attributes: Mapping[str, Mapping]) -> Tensor:
    """A weight or bias times what its module multiplies it with beyond what ours does."""
    module, _, part = name.rpartition(".")
    gain = attributes.get(module, {}).get(f"{part}_gain")
    if part not in ("weight", "bias") or gain is None or not tensor.is_floating_point():
        return tensor
    usual = MAPPING_LR if module.startswith("mapping.fc") else 1.0
    if part == "weight" and tensor.ndim == 2 and tensor.numel():
        usual /= math.sqrt(tensor.shape[1])
    gain = number(gain, f"{part}_gain of {module}")
    return tensor if math.isclose(gain, usual, rel_tol=1e-6) else tensor.float() * (gain / usual)


# ------------------------------------------------------------------------ layers' numbers


def config_from_attributes(found: Found, layers: list[tuple[str, int]]) -> dict[str, Any]:
    """Configuration of a pickle, whose modules tell their numbers."""

    def tell(module: str, name: str) -> Any:
        values = found.attributes.get(module, {})
        if name not in values:
            raise CheckpointError(f"its pickle does not tell the {name} of {module}.")
        return values[name]

    features = {
        "size": square(tell(INPUT, "size"), f"size of {INPUT}"),
        "sampling_rate": number(tell(INPUT, "sampling_rate"), f"sampling_rate of {INPUT}"),
        "bandwidth": number(tell(INPUT, "bandwidth"), f"bandwidth of {INPUT}"),
    }
    settings, before = [], features["size"]
    for name, size in layers:
        module = f"synthesis.{name}"
        sizes = [square(tell(module, n), f"{n} of {module}") for n in ("in_size", "out_size")]
        if sizes != [before, size]:
            raise CheckpointError(
                f"{module} says it makes {sizes[1]} pixels of {sizes[0]} where {size} of {before} "
                "were expected."
            )
        clamp = tell(module, "conv_clamp")
        setting = {
            "size": size,
            "up": integer(tell(module, "up_factor"), f"up_factor of {module}"),
            "down": integer(tell(module, "down_factor"), f"down_factor of {module}"),
            "clamp": None if clamp is None else number(clamp, f"conv_clamp of {module}"),
        }
        settings.append(setting)
        before = size
    scale = number(tell("synthesis", "output_scale"), "output_scale")
    return {"input": features, "layers": settings, "output_scale": scale}


def config_from_names(found: Found, layers: list[tuple[str, int]]) -> dict[str, Any]:
    """Configuration of a bare state dict: the authors' settings, where they give the names' sizes.

    Raises `CheckpointError` where they do not, or where the filters or the frequencies show that
    others were used.
    """
    sizes = [size for _, size in layers]
    resolution, num_layers = sizes[-1], len(sizes) - 1
    if num_layers >= 3 and resolution >= 4 and resolution.bit_count() == 1:
        rate = default_schedule(resolution, num_layers)["input"]["sampling_rate"]
        config = default_schedule(resolution, num_layers, margin=(sizes[0] - rate) // 2)
        if [layer["size"] for layer in config["layers"]] == sizes:
            check_filters(found.tensors, layers, config)
            return {**config, "output_scale": 0.25}
    shown = ", ".join(map(str, sizes[:20]))
    raise CheckpointError(
        f"its layers have the sizes {shown}, which are not those of the usual settings of "
        "StyleGAN3, and without its original pickle the others cannot be told."
    )


def check_filters(tensors: Mapping[str, Tensor], layers: list, config: Mapping) -> None:
    """A filter of 6 taps a pixel where something is resampled, and waves within the band."""
    last = len(layers) - 1
    for i, ((name, _), setting) in enumerate(zip(layers, config["layers"], strict=True)):
        for part in ("up", "down"):
            taps = tensors.get(f"synthesis.{name}.{part}_filter")
            factor = setting[part] if i < last else 1  # toRGB has no filter
            count = 1 if taps is None else taps.shape[0] if taps.ndim else 0
            if count != (FILTER_SIZE * factor if factor > 1 else 1):
                raise CheckpointError(
                    f"the {part}_filter of {name} has {count} taps where {FILTER_SIZE * factor} "
                    "would be usual, and without its original pickle the settings cannot be told."
                )
    freqs, bandwidth = tensors[f"{INPUT}.freqs"], config["input"]["bandwidth"]
    if freqs.ndim == 2 and freqs.is_floating_point() and freqs.numel():
        highest = freqs.float().norm(dim=1).max().item()
        if highest > bandwidth * 1.01:
            raise CheckpointError(
                f"its input has frequencies up to {highest:.3g} where at most {bandwidth:g} would "
                "be usual, and without its original pickle the settings cannot be told."
            )


def is_text(value: Any, text: str) -> bool:
    return isinstance(value, str) and value == text  # an array would compare element by element


def number(value: Any, what: str) -> float:
    """A finite number of any kind that a pickle may hold."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise CheckpointError(f"the {what} is {show(value, 20)} where a number was expected.")
    return float(value)


def integer(value: Any, what: str) -> int:
    whole = number(value, what)
    if whole != int(whole):
        raise CheckpointError(f"the {what} is {whole:g} where a whole number was expected.")
    return int(whole)


def square(value: Any, what: str) -> int:
    """The side of a size that is stored as one number or as [width, height]."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, list | tuple):
        value = [value]
    sides = {integer(side, what) for side in value[:3]}
    if len(sides) != 1 or len(value) > 2:
        raise CheckpointError(f"the {what} is {show(value)}, and only squares are read.")
    return sides.pop()
