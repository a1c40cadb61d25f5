"""File -> state dict in our names. Nothing in a file is ever executed.

    file -> open_container -> nested dicts -> unwrap -> Found -> a layout -> Checkpoint

A container is how tensors lie in the file: torch's zip archives and streams, NVIDIA's and
TensorFlow's pickles, safetensors. `unwrap` finds the generator in it. A layout is how a training
code names its weights (one file each): it translates them into the canonical names of a family.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from sefa.errors import CheckpointError
from sefa.formats import genforce_stylegan2, native
from sefa.formats.checkpoint import Checkpoint, Found
from sefa.formats.containers import open_container
from sefa.formats.kinds import kind_of
from sefa.formats.network_pickles import CLASS
from sefa.formats.pickles import shown
from sefa.formats.unwrap import unwrap

SHORT_FLOATS = (torch.float16, torch.bfloat16)
PLAIN_TYPES = (
    torch.float32, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
    torch.bool,
)  # fmt: skip

LAYOUTS = (native, genforce_stylegan2)


def read(path: str | Path) -> Checkpoint:
    """The generator's weights in `path`, in our names, with the configuration of its family.

    Raises `CheckpointError`: one sentence that starts with the file's name.
    """
    with naming(path):
        with open_container(Path(path)) as content:
            found = unwrap(content)
        return translate(replace(found, path=Path(path)))


@contextmanager
def naming(path: str | Path):
    """Puts the file's name before the message of a `CheckpointError`, which stays one line."""
    name = printable(Path(path).name or str(path))
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {printable(str(error))}") from None
    except Exception as error:  # a defect of ours must not take a page down; the cause is kept
        raise CheckpointError(
            f"{name}: reading it failed in an unforeseen way, so it is probably damaged."
        ) from error


def plain_numbers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with which everything can be done: short floats become float32.

    Raises `CheckpointError` for complex numbers and for what torch can do little with.
    """
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.dtype in SHORT_FLOATS:
            tensor = tensor.float()
        elif tensor.dtype not in PLAIN_TYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"the weight {name} holds {kind} values, which are not read.")
        plain[name] = tensor
    return plain


def printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def translate(found: Found) -> Checkpoint:
    """Weights in their training code's names -> a checkpoint in ours."""
    for layout in LAYOUTS:
        if layout.recognises(found):
            return layout.translate(replace(found, tensors=plain_numbers(found.tensors)))
    names = list(found.tensors)
    examples = ", ".join(shown(name, 40) for name in names[:3]) + ", ..." * (len(names) > 3)
    class_name = found.attributes.get("", {}).get(CLASS)
    kind = kind_of(names, class_name)
    if kind is not None:
        raise CheckpointError(f"this is {kind}, which is not read here (its weights: {examples}).")
    if isinstance(class_name, str):
        examples += f" of a {shown(class_name, 40)}"
    known = " and ".join(layout.DESCRIPTION for layout in LAYOUTS)
    raise CheckpointError(
        f"its weights ({examples}) are of a kind that is not read here yet (only {known} are)."
    )
