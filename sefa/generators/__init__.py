"""Generator families: one inference-only file each, all with the interface of `generator.py`."""

from collections.abc import Mapping

from torch import Tensor

from sefa.errors import CheckpointError, show
from sefa.generators.biggan import BigGAN
from sefa.generators.dcgan import DCGAN
from sefa.generators.generator import MAX_DIM, MAX_RESOLUTION, Generator
from sefa.generators.pggan import PGGAN
from sefa.generators.stylegan import StyleGAN
from sefa.generators.stylegan2 import StyleGAN2
from sefa.generators.stylegan3 import StyleGAN3

FAMILIES: dict[str, type[Generator]] = {
    family.family: family for family in (PGGAN, StyleGAN, StyleGAN2, StyleGAN3, BigGAN, DCGAN)
}


def build(state_dict: Mapping[str, Tensor], config: Mapping) -> Generator:
    """The generator for a state dict in our names; `config["family"]` tells which one.

    Raises `CheckpointError` for an unknown family or weights that do not fit together.
    """
    family = config.get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise CheckpointError(f"The model family {show(family)} is unknown; known: {known}.")
    generator = FAMILIES[family](state_dict, config).eval()
    if generator.num_channels not in (1, 3):
        raise CheckpointError(f"Images of {generator.num_channels} channels cannot be shown.")
    for what, size, most in (
        ("Images of {} px", generator.resolution, MAX_RESOLUTION),
        ("Latent codes of {} numbers", max(generator.z_dim, generator.w_dim), MAX_DIM),
    ):
        if size > most:
            raise CheckpointError(
                f"{what.format(size)} are more than {most}, the most that is read."
            )
    return generator
