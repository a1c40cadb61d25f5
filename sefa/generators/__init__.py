"""Generator families: one inference-only file each, all with the interface of `generator.py`."""

from collections.abc import Mapping

from torch import Tensor

from sefa.errors import CheckpointError
from sefa.generators.generator import Generator
from sefa.generators.stylegan2 import StyleGAN2
from sefa.generators.stylegan3 import StyleGAN3

FAMILIES: dict[str, type[Generator]] = {family.family: family for family in (StyleGAN2, StyleGAN3)}


def build(state_dict: Mapping[str, Tensor], config: Mapping) -> Generator:
    """The generator for a state dict in our names; `config["family"]` tells which one.

    Raises `CheckpointError` for an unknown family or weights that do not fit together.
    """
    family = config.get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise CheckpointError(f"The model family {str(family)[:40]!r} is unknown; known: {known}.")
    return FAMILIES[family](state_dict, config).eval()
