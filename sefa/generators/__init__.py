"""Generator families: one inference-only file each, all with the interface of `generator.py`."""

from collections.abc import Mapping

from torch import Tensor

from sefa.errors import CheckpointError, show
from sefa.generators.biggan import BigGAN
from sefa.generators.dcgan import DCGAN
from sefa.generators.generator import Generator
from sefa.generators.pggan import PGGAN
from sefa.generators.stylegan import StyleGAN
from sefa.generators.stylegan2 import StyleGAN2
from sefa.generators.stylegan3 import StyleGAN3

FAMILIES: dict[str, type[Generator]] = {
    family.family: family for family in (PGGAN, StyleGAN, StyleGAN2, StyleGAN3, BigGAN, DCGAN)
}
# What a few numbers in a file may ask for: a layer doubles the image, and directions take the square
# of w_dim. Published models reach 1024 px and 1024 numbers.
MAX_RESOLUTION = 2048
MAX_DIM = 4096


def build(state_dict: Mapping[str, Tensor], config: Mapping) -> Generator:
    """The generator for a state dict in our names; `config["family"]` tells which one.

    Raises `CheckpointError` for an unknown family or weights that do not fit together.
    """
    family = config.get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise CheckpointError(f"The model family {show(family)} is unknown; known: {known}.")
    generator = FAMILIES[family](state_dict, config).eval()
    for what, size, most in (
        ("images of {} px", generator.resolution, MAX_RESOLUTION),
        ("latent codes of {} numbers", max(generator.z_dim, generator.w_dim), MAX_DIM),
    ):
        if size > most:
            raise CheckpointError(f"It would make {what.format(size)}; at most {most} are made.")
    return generator
