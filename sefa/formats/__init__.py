"""File -> state dict in our names. Nothing in a file is ever executed.

Two steps: a container (how tensors lie in the file: torch's zip and legacy streams, safetensors)
gives nested dicts of tensors; a layout (how a training code names its weights; one file each)
translates the generator's tensors into the canonical names of its family.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from sefa.errors import CheckpointError
from sefa.formats import genforce_stylegan2, native
from sefa.formats.checkpoint import Checkpoint
from sefa.formats.containers import read_container
from sefa.formats.unwrap import unwrap

LAYOUTS = (native, genforce_stylegan2)


def read(path: str | Path) -> Checkpoint:
    """The generator's weights in `path`, in our names, with the configuration of its family.

    Raises `CheckpointError`: one sentence that starts with the file's name.
    """
    with naming(path):
        return translate(read_container(Path(path)))


@contextmanager
def naming(path: str | Path):
    """Puts the file's name before the message of a `CheckpointError`, which stays one line."""
    try:
        yield
    except CheckpointError as error:
        message = "".join(c if c.isprintable() else "?" for c in str(error))
        raise CheckpointError(f"{Path(path).name or path}: {message}") from None


def translate(content: Mapping) -> Checkpoint:
    """Nested dicts of tensors -> a checkpoint in our names; EMA weights win."""
    tensors = unwrap(content)
    for layout in LAYOUTS:
        if layout.recognises(tensors):
            return layout.translate(tensors, content)
    examples = ", ".join(list(tensors)[:3]) + (", ..." if len(tensors) > 3 else "")
    known = " and ".join(layout.DESCRIPTION for layout in LAYOUTS)
    raise CheckpointError(
        f"its weights ({examples}) are of a kind that is not read here yet (only {known} are)."
    )
