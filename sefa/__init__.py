"""SeFa: closed-form semantic directions of GAN generators.

    file -> state_dict -> Generator -> layer weights -> Directions -> Recipe -> w + alpha n -> images

>>> generator = sefa.load_generator("model.pth")
>>> directions = sefa.factorize(generator, layers="0-1")
>>> w = generator.map(generator.sample_z([0, 1, 2]), truncation_psi=0.7)
>>> images = generator.synthesize(sefa.edit(w, directions.vectors[0], 3.0, directions.layers))
"""

from pathlib import Path

from sefa import formats, generators
from sefa.editing import Edit, Mix, Recipe, edit, mix
from sefa.errors import CheckpointError, UserError
from sefa.factorization import Directions, factorize, format_layers, parse_layers
from sefa.generators.generator import Disposable, Generator
from sefa.threads import one_thread


def load_generator(path: str | Path) -> Generator:
    """The generator in a checkpoint file, on the CPU, in eval mode, float32.

    Nothing in the file is executed. Raises `CheckpointError` with one sentence when the file is
    missing, damaged, or of a kind that is not read.
    """
    with one_thread():
        checkpoint = formats.read(path)  # file -> state_dict in our names, and its configuration
        config, state_dict = checkpoint.config, Disposable(checkpoint.state_dict)
        del checkpoint  # so that the weights are freed one by one as the generator takes them
        with formats.naming(path):
            return generators.build(state_dict, config)


__all__ = [
    "CheckpointError",
    "Directions",
    "Edit",
    "Generator",
    "Mix",
    "Recipe",
    "UserError",
    "edit",
    "factorize",
    "format_layers",
    "load_generator",
    "mix",
    "parse_layers",
]
