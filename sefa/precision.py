"""Half precision: float16 convolutions where the hardware is quick at them and nobody can tell.

Only the convolutions' weights and the features between them are float16; mapping, styles,
demodulation, statistics and the sum of the image stay float32. Whether a checkpoint's images bear it is up to
its weights, so it is looked at: a generator whose images change by more than `LEVELS`, or overflow,
stays as it is. bfloat16, with eight bits where float16 has eleven, changes images by more than that.
"""

import os
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from sefa.generators.convolution import Convolution
from sefa.generators.generator import Generator, take_rows

LEVELS = 2  # of 255, between images in float16 and in float32
SAMPLES = 2  # that are looked at, as they are and moved as far as a slider's range
IMAGES_LOOKED_AT = 4 * SAMPLES  # each of these in either precision


def is_quick(device: torch.device) -> bool:
    """Whether a device has units for products of float16: NVIDIA's from Volta on.

    SEFA_PRECISION=float32 says that they are not to be used.
    """
    wanted = os.environ.get("SEFA_PRECISION", "").strip()
    if wanted not in ("", "float16", "float32"):
        warnings.warn(f"SEFA_PRECISION={wanted[:100]!r} is neither float16 nor float32.")
    if device.type != "cuda" or wanted == "float32":
        return False
    return torch.cuda.get_device_capability(device) >= (7, 0)


def convolutions(generator: Generator) -> list[Convolution]:
    """Those whose precision can be set, in the order of the network."""
    return [module for module in generator.modules() if isinstance(module, Convolution)]


def set_precision(generator: Generator, dtype: torch.dtype) -> None:
    """Its convolutions in this precision from now on; everything else as it is."""
    for module in convolutions(generator):
        module.weight = module.weight.to(dtype)


def halve(generator: Generator) -> bool:
    """Float16 convolutions from now on, if the images of this generator bear it; says whether."""
    before = [module.weight for module in convolutions(generator)]
    if not before:
        return False
    try:
        exact = list(some_images(generator))
        set_precision(generator, torch.float16)
        changes = zip(exact, some_images(generator), strict=True)
        if all(change(a, b) <= LEVELS for a, b in changes):
            return True
    except torch.OutOfMemoryError:  # so it will draw as it may
        pass
    for module, weight in zip(convolutions(generator), before, strict=True):
        module.weight = weight
    return False


@torch.inference_mode()
def some_images(generator: Generator) -> Iterator[Tensor]:
    """[1, C, H, W] of a few samples, and of each moved along some direction in all layers."""
    z = generator.sample_z(range(SAMPLES)).to(generator.device)
    label = generator.classes_in_turn(range(SAMPLES))
    label = None if label is None else label.to(z)
    w = generator.map(z, label, truncation_psi=0.7)
    conditions = generator.conditions(label, 0.7)
    direction = torch.ones_like(w[0, 0]) / generator.w_dim**0.5
    for row in range(SAMPLES):
        beside = take_rows(conditions, [row], generator.device)
        for alpha in (0.0, generator.edit_range):
            yield generator.synthesize(w[row : row + 1] + alpha * direction, **beside)


def change(image: Tensor, other: Tensor) -> float:
    """The largest difference in grey levels, of 255; not a number where one is no image."""
    return (image.clamp(-1, 1) - other.clamp(-1, 1)).abs().max().item() * 127.5
