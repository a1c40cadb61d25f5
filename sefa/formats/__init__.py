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
from sefa.formats import (
    genforce_pggan,
    genforce_stylegan,
    genforce_stylegan2,
    hf_biggan,
    native,
    nvidia_stylegan2,
    nvidia_stylegan3,
    pytorch_dcgan,
    rosinality,
    tf_stylegan2,
)
from sefa.formats.checkpoint import Checkpoint, Found
from sefa.formats.containers import METADATA, open_container
from sefa.formats.kinds import kind_of
from sefa.formats.network_pickles import CLASS
from sefa.formats.pickles import shown
from sefa.formats.unwrap import unwrap
from sefa.generators import FAMILIES

PLAIN_TYPES = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip

LAYOUTS = (  # the last takes any names, as long as the shapes chain
    native,
    genforce_pggan,
    genforce_stylegan,
    genforce_stylegan2,
    nvidia_stylegan2,
    nvidia_stylegan3,
    rosinality,
    tf_stylegan2,
    hf_biggan,
    pytorch_dcgan,
)


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
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):  # torch's
            raise unforeseen(name) from error
        raise CheckpointError(f"{name}: there is not enough memory to read it.") from None
    except Exception as error:  # a defect of ours must not take a page down; the cause is kept
        raise unforeseen(name) from error


def unforeseen(name: str) -> CheckpointError:
    return CheckpointError(
        f"{name}: reading it failed in an unforeseen way, so it is probably damaged."
    )


def check_types(tensors: Mapping[str, Tensor]) -> None:
    """Refuses complex numbers, and those that torch can do little with, such as 8-bit floats."""
    for name, tensor in tensors.items():
        if tensor.dtype not in PLAIN_TYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"the weight {name} holds {kind} values, which are not read.")


def printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def translate(found: Found) -> Checkpoint:
    """Weights in their training code's names -> a checkpoint in ours."""
    for layout in LAYOUTS:
        if layout.recognises(found):
            metadata = found.beside.get(METADATA, {})
            facts = {key: text for key, text in metadata.items() if key != native.CONFIG}
            check_types(found.tensors)
            return replace(layout.translate(found), layout=layout.DESCRIPTION, facts=facts)
    names = list(found.tensors)
    examples = ", ".join(shown(name, 40) for name in names[:3]) + ", ..." * (len(names) > 3)
    class_name = found.attributes.get("", {}).get(CLASS)
    kind = kind_of(names, class_name)
    if kind is not None:
        raise CheckpointError(f"this is {kind}, which is not read here (its weights: {examples}).")
    if isinstance(class_name, str):
        examples += f" of a {shown(class_name, 40)}"
    raise CheckpointError(
        f"its weights ({examples}) are those of no generator that is read here "
        f"({', '.join(FAMILIES)})."
    )
