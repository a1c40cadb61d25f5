"""What reading a file gives: first what was found, then the same in our names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from sefa.errors import CheckpointError


@dataclass(frozen=True)
class Found:
    """A generator's weights as its training code names them: what a layout translates.

    tensors: by name, on the CPU, of any dtype.
    attributes: of every module, by its dotted path ("" is the generator itself), where the file
        tells them (NVIDIA's pickles): numbers, texts, None, and lists or dicts of these.
    beside: the dict in which the generator lay, with what else is in it (rosinality's latent_avg,
        METADATA of a safetensors file).
    path: the file, for layouts that have a second file beside it (HuggingFace's config.json).
    """

    tensors: Mapping[str, Tensor]
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    beside: Mapping = field(default_factory=dict)
    path: Path | None = None


@dataclass(frozen=True)
class Checkpoint:
    """state_dict: tensors under the canonical names of `config["family"]`, on the CPU.

    config: what shapes cannot tell (see the family's file); plain JSON values.
    layout: whose names the file has, for display.
    facts: what else a file's metadata says, text to text: carried along, not used.
    """

    state_dict: Mapping[str, Tensor]
    config: Mapping
    layout: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def put(renamed: dict[str, Tensor], new_name: str, tensor: Tensor, name: str) -> None:
    """renamed[new_name] = tensor, once: two of a file's names may stand for the same weight."""
    if new_name in renamed:
        raise CheckpointError(f"the weight {name} occurs twice.")
    renamed[new_name] = tensor
