"""The public API: few endpoints, typed and documented; nothing of a visitor is kept."""

from sefa.editing import (
    MAX_ALPHA,
    MAX_PSI,
    MAX_SAMPLES,
    MAX_SEED,
    Edit,
    Recipe,
    integer,
    real,
)
from sefa.errors import UserError
from sefa.export import encode_images
from ui import engine
from ui.controls import (
    select_layers,
)
from ui.texts import in_one_sentence

PAPER = "https://arxiv.org/abs/2007.06600"


@in_one_sentence
def factorize(model: str = "avatars", layers: str = "all", num_semantics: int = 5) -> dict:
    """The semantic directions of a model, in closed form.

    Parameters:
        model: a name that the page's model list shows.
        layers: "all", or indices and ranges such as "0-1,4".
        num_semantics: how many directions, strongest first, 1 to w_dim.
    Returns:
        model, family, resolution, num_ws, layer_names; label_dim: number of classes, 0 for a
        model without; layers: the indices factorised;
        eigenvalues: num_semantics numbers, descending; vectors: unit rows, w_dim numbers each;
        seconds: what the decomposition took.
    """
    opened = engine.open_model(model)
    generator = opened.loaded.generator
    count = integer(num_semantics, "num_semantics", 1, generator.w_dim)
    directions, seconds = engine.find_directions(opened, select_layers(layers, generator.num_ws))
    return {
        "model": opened.name,
        "family": generator.family,
        "resolution": generator.resolution,
        "num_ws": generator.num_ws,
        "layer_names": generator.layer_names,
        "label_dim": generator.label_dim,
        "layers": directions.layers,
        "eigenvalues": directions.eigenvalues[:count].tolist(),
        "vectors": directions.vectors[:count].tolist(),
        "seconds": seconds,
    }


@in_one_sentence
def edit(
    model: str = "avatars",
    layers: str = "all",
    alphas: list[float] | None = None,
    seed: int = 0,
    num_samples: int = 1,
    truncation_psi: float = 0.7,
    class_index: int = 0,
) -> list[str]:
    """Images of a model, moved along its semantic directions.

    Parameters:
        model: a name that the page's model list shows.
        layers: "all", or indices and ranges such as "0-1,4": whose directions, and what they move.
        alphas: how far to go along semantic 0, 1, ..., in units of the unit vector, -100 to 100.
        seed: of the first sample, 0 to 4294967295; sample i has seed + i.
        num_samples: 1 to 16.
        truncation_psi: 0 (the mean image) to 2; 1 leaves the samples as they are.
        class_index: of all samples, 0 to label_dim - 1; 0 for a model without classes.
    Returns:
        one PNG a sample, as a data URI.
    """
    if alphas is not None and not isinstance(alphas, list):
        raise UserError("alphas must be a list of numbers, one a semantic.")
    count = integer(num_samples, "num_samples", 1, MAX_SAMPLES)
    opened = engine.open_model(model)
    selection = select_layers(layers, opened.loaded.generator.num_ws)
    numbers = [real(a, "each of alphas", -MAX_ALPHA, MAX_ALPHA) for a in alphas or []]
    generator = opened.loaded.generator
    if len(numbers) > generator.w_dim:
        raise UserError(
            f"{len(numbers)} alphas were given; this model has {generator.w_dim} directions."
        )
    recipe = Recipe(
        model=opened.name,
        seed=integer(seed, "seed", 0, MAX_SEED - count + 1),
        num_samples=count,
        truncation_psi=real(truncation_psi, "truncation_psi", 0.0, MAX_PSI),
        class_index=integer(class_index, "class_index", 0, max(generator.label_dim, 1) - 1),
        layers=selection,
        edits=tuple(Edit.along(selection, i, alpha) for i, alpha in enumerate(numbers) if alpha),
    )
    return encode_images(engine.draw(opened, recipe), "png")
