"""File -> state dict in our names. Nothing in a file is ever executed.

    file -> open_container -> nested dicts -> unwrap -> Found -> a layout -> Checkpoint

A container is how tensors lie in the file: torch's zip archives and streams, NVIDIA's and
TensorFlow's pickles, safetensors. `unwrap` finds the generator in it. A layout is how a training
code names its weights (one file each): it translates them into the canonical names of a family.
"""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

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
from sefa.formats.unwrap import unwrap

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
    name = Path(path).name or path
    try:
        yield
    except CheckpointError as error:
        message = "".join(c if c.isprintable() else "?" for c in str(error))
        raise CheckpointError(f"{name}: {message}") from None
    except Exception as error:  # a defect of ours must not take a page down; the cause is kept
        raise CheckpointError(
            f"{name}: reading it failed in an unforeseen way, so it is probably damaged."
        ) from error


def translate(found: Found) -> Checkpoint:
    """Weights in their training code's names -> a checkpoint in ours."""
    for layout in LAYOUTS:
        if layout.recognises(found):
            metadata = found.beside.get(METADATA, {})
            facts = {key: text for key, text in metadata.items() if key != native.CONFIG}
            return replace(layout.translate(found), layout=layout.DESCRIPTION, facts=facts)
    examples = ", ".join(list(found.tensors)[:3]) + (", ..." if len(found.tensors) > 3 else "")
    known = " and ".join(layout.DESCRIPTION for layout in LAYOUTS)
    raise CheckpointError(
        f"its weights ({examples}) are of a kind that is not read here yet (only {known} are)."
    )
