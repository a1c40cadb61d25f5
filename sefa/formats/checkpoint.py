"""What reading a file gives."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """state_dict: tensors under the canonical names of `config["family"]`, on the CPU.

    config: what shapes cannot tell (see the family's file); plain JSON values.
    """

    state_dict: Mapping[str, Tensor]
    config: Mapping
