"""File -> state dict in our names. Nothing in a file is ever executed.

Two steps: a container (how tensors lie in the file: torch's zip and legacy streams, safetensors)
gives nested dicts of tensors; a layout (how a training code names its weights; one file each)
translates the generator's tensors into the canonical names of its family.
"""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sefa.errors import CheckpointError
from sefa.formats import (
    genforce_stylegan2,
    native,
    nvidia_stylegan2,
    rosinality,
    tf_stylegan2,
)
from sefa.formats.checkpoint import Checkpoint, Found
from sefa.formats.containers import read_container
from sefa.formats.unwrap import unwrap

LAYOUTS = (
    native,
    genforce_stylegan2,
    nvidia_stylegan2,
    rosinality,
    tf_stylegan2,
)


def read(path: str | Path) -> Checkpoint:
    """The generator's weights in `path`, in our names, with the configuration of its family.

    Raises `CheckpointError`: one sentence that starts with the file's name.
    """
    with naming(path):
        return translate(replace(unwrap(read_container(Path(path))), path=Path(path)))


@contextmanager
def naming(path: str | Path):
    """Puts the file's name before the message of a `CheckpointError`, which stays one line."""
    try:
        yield
    except CheckpointError as error:
        message = "".join(c if c.isprintable() else "?" for c in str(error))
        raise CheckpointError(f"{Path(path).name or path}: {message}") from None


def translate(found: Found) -> Checkpoint:
    """Weights in their training code's names -> a checkpoint in ours."""
    for layout in LAYOUTS:
        if layout.recognises(found):
            return layout.translate(found)
    examples = ", ".join(list(found.tensors)[:3]) + (", ..." if len(found.tensors) > 3 else "")
    known = " and ".join(layout.DESCRIPTION for layout in LAYOUTS)
    raise CheckpointError(
        f"its weights ({examples}) are of a kind that is not read here yet (only {known} are)."
    )
