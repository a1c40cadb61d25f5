"""The public API: few endpoints, typed and documented; nothing of a visitor is kept.

fields, or a link -> recipe_of -> Recipe that fits its model -> w + alpha * n -> PNGs

Gradio reads the docstrings, for its page of the API and for MCP clients: one line a parameter and one
line a returned value, whatever their length.
"""

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

import checkpoints
from sefa import editing
from sefa.editing import (
    LISTS,
    MAX_ALPHA,
    MAX_PSI,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_SEMANTICS,
    QUERY_FIELDS,
    Edit,
    Recipe,
    integer,
    query_values,
    real,
)
from sefa.errors import UserError, show
from sefa.export import encode_images
from sefa.factorization import parse_layers
from sefa.labels import Labels
from sefa.rendering import take_rows
from sefa.snippets import as_command, as_python
from ui import engine
from ui.controls import alpha_of, fit_to, select_layers
from ui.renderer import STRIP
from ui.rows import is_measured_row, labels_of, row_of
from ui.texts import in_one_sentence

MAX_STEPS = 25  # frames of a strip


@in_one_sentence
def models() -> list[dict]:
    """The models that the other endpoints take, by name. Nothing is downloaded for it.

    Returns:
        one entry a model, the embedded one first, with
        name: what the other endpoints call it
        family, resolution: such as "stylegan2" and 512, null where that is not known before it is loaded
        licence: the uploader's tag, null where there is none; it says nothing more than that
        source: address of the file's page on the Hub, null for the embedded model
        size_mb: megabytes to download, null where that is not known
        note: what it shows, in a few words
        embedded: whether it ships with this page, and so is always there
        loaded: whether it was used here already; if not, its first use downloads it
    """
    found = []
    for name, entry in checkpoints.available().items():
        family, resolution = engine.seen(name) or (entry.family, None)
        found.append(
            {
                "name": name,
                "family": family,
                "resolution": resolution,
                "licence": entry.licence,
                "source": entry.source,
                "size_mb": entry.size_mb,
                "note": entry.note,
                "embedded": name == engine.EMBEDDED,
                "loaded": engine.seen(name) is not None,
            }
        )
    return found


@in_one_sentence
def factorize(model: str = "avatars", layers: str = "all", num_semantics: int = 5) -> dict:
    """The semantic directions of a model, in closed form.

    Parameters:
        model: a name that /models lists.
        layers: "all", or indices and ranges such as "0-1,4".
        num_semantics: how many directions, strongest first, 1 to w_dim.
    Returns:
        model, family, resolution, num_ws, layer_names: what the model is
        label_dim: number of classes, 0 for a model without
        layers: the indices factorised
        eigenvalues: num_semantics numbers, descending
        vectors: unit rows, w_dim numbers each
        seconds: what the decomposition took
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
    recipe: str = "",
) -> list[str]:
    """Images of a model, moved along its semantic directions.

    Parameters:
        model: a name that /models lists.
        layers: "all", or indices and ranges such as "0-1,4": whose directions, and what they move.
        alphas: how far to go along semantic 0, 1, ..., in units of the unit vector, -100 to 100 each.
        seed: of the first sample, 0 to 4294967295; sample i has seed + i.
        num_samples: 1 to 16.
        truncation_psi: 0 (the mean image) to 2; 1 leaves the samples as they are.
        class_index: of all samples, 0 to label_dim - 1; 0 for a model without classes.
        recipe: a link to an edit on the page, or its query, instead of all others. The model must be able to do all of it; /recipe says what it cannot.
    Returns:
        one PNG a sample: a data URI, to MCP clients an image
    """
    fields = dict(locals())
    opened, made, notices = recipe_of(**fields)
    if notices:
        raise UserError(notices[0])
    return encode_images(engine.draw(opened, made), "png")


@in_one_sentence
def strip(
    model: str = "avatars",
    layers: str = "all",
    semantic: int = 0,
    start: float | None = None,
    end: float | None = None,
    in_units: bool = False,
    steps: int = 9,
    seed: int = 0,
    truncation_psi: float = 0.7,
    class_index: int = 0,
) -> dict:
    """One sample of a model, moved step by step along one semantic direction.

    Parameters:
        model: a name that /models lists.
        layers: "all", or indices and ranges such as "0-1,4": whose directions, and what they move.
        semantic: which direction, 0 (the strongest) to w_dim - 1.
        start: of the first frame, an alpha of -100 to 100 in units of the unit vector; null for where the direction's slider on the page begins.
        end: of the last frame, likewise; null for where the slider ends.
        in_units: whether start and end count in the slider's units, of which one is the same visual change for every measured direction.
        steps: how many frames, evenly spaced, 2 to 25.
        seed: of the sample, 0 to 4294967295.
        truncation_psi: 0 (the mean image) to 2; 1 leaves the sample as it is.
        class_index: 0 to label_dim - 1; 0 for a model without classes.
    Returns:
        model, layers, semantic, seed: what the frames are of
        name, sign: what the direction is called, and whether positive (1) or negative (-1) alphas bring that; null where nobody named it
        unit, measured: the alpha of one unit, and whether it was measured; if not, it is 1
        alphas, units: where each frame is
        frames: one PNG each: a data URI, to MCP clients an image
    """
    opened = engine.open_model(model)
    generator = opened.loaded.generator
    index = integer(semantic, "semantic", 0, generator.w_dim - 1)
    along = Edit.along(select_layers(layers, generator.num_ws), index, 1.0)
    count = integer(steps, "steps", 2, MAX_STEPS)
    if not isinstance(in_units, bool):
        raise UserError(f"in_units must be true or false, not {show(in_units)}.")
    sample = Recipe(
        model=opened.name,
        seed=integer(seed, "seed", 0, MAX_SEED),
        num_samples=1,
        truncation_psi=real(truncation_psi, "truncation_psi", 0.0, MAX_PSI),
        class_index=integer(class_index, "class_index", 0, max(generator.label_dim, 1) - 1),
    )
    row = row_of(opened, sample, along)
    unit, most = row.step.alpha, MAX_ALPHA / row.step.alpha if in_units else MAX_ALPHA

    def alpha(value: Any, what: str, otherwise: float) -> float:
        if value is None:
            return alpha_of(otherwise, row.step)
        given = real(value, what, -most, most)
        return alpha_of(given, row.step) if in_units else given

    first, last = alpha(start, "start", -row.limit), alpha(end, "end", row.limit)
    alphas = [first + (last - first) * i / (count - 1) for i in range(count)]
    alphas = [round(a, 10) + 0.0 for a in alphas]  # 0 where the middle is meant
    w, conditions = opened.loaded.inputs(sample)
    vector, moved = opened.loaded.vector(along)
    ws = torch.cat([editing.edit(w, vector, a, moved) for a in alphas])
    images = engine.draw_ws(opened, ws, take_rows(conditions, [0] * count), STRIP)
    return {
        "model": opened.name,
        "layers": along.layers,
        "semantic": index,
        "seed": sample.seed,
        **name_of(labels_of(opened, sample), along, generator.num_ws),
        "unit": unit,
        "measured": is_measured_row(opened, along),
        "alphas": alphas,
        "units": [round(a / unit, 6) for a in alphas],
        "frames": encode_images(images, "png"),
    }


@in_one_sentence
def recipe(
    recipe: str = "",
    model: str = "avatars",
    layers: str = "all",
    alphas: list[float] | None = None,
    seed: int = 0,
    num_samples: int = 1,
    truncation_psi: float = 0.7,
    class_index: int = 0,
) -> dict:
    """What a link to an edit says, or the link to what /edit draws. Draws nothing.

    Parameters:
        recipe: a link to an edit on the page, or its query; "" for the recipe of the other arguments.
        model: a name that /models lists; this and all that follow as in /edit, where there is no recipe.
        layers: "all", or indices and ranges such as "0-1,4".
        alphas: along semantic 0, 1, ..., in units of the unit vector, -100 to 100 each.
        seed: of the first sample, 0 to 4294967295.
        num_samples: 1 to 16.
        truncation_psi: 0 to 2.
        class_index: 0 to label_dim - 1; 0 for a model without classes.
    Returns:
        query: the recipe as the page writes it, the same for all ways to say the same; /edit takes it
        link: the page's path and query, to put behind its address
        fields: model, seed, num_samples, truncation_psi, truncation_cutoff, class_index, mix (seed and layers, or null), noise_seed, and what has sliders: layers, order, num_semantics
        edits: of each its layers, its direction as in the query and as terms (semantic, coefficient), its alpha, and the name and sign of a named one, else null
        command, python: a command line, and Python, that make the same images
        notices: one sentence for each part of the link that could not be read or that the model cannot do, and that was left out
    """
    fields = dict(locals())
    opened, made, notices = recipe_of(**fields)
    query, labels = made.to_query(), labels_of(opened, made)
    num_ws = opened.loaded.generator.num_ws
    taken = asdict(made)
    return {
        "query": query,
        "link": f"/?{query}",
        "fields": {name: taken[name] for name in taken if name not in LISTS},
        "edits": [
            {
                "layers": change.layers,
                "direction": editing.format_direction(change.direction),
                "terms": [{"semantic": i, "coefficient": c} for i, c in change.direction],
                "alpha": change.alpha,
                **name_of(labels, change, num_ws),
            }
            for change in made.edits
        ],
        "command": as_command(made),
        "python": as_python(made),
        "notices": notices,
    }


# --- from what is asked to a recipe ---------------------------------------------------------------


def recipe_of(recipe: Any, **fields: Any) -> tuple[engine.OpenModel, Recipe, list[str]]:
    """(the model, the recipe as far as the model can do it, a sentence for what was left out).

    `recipe`: a link or query, which says everything; "" for the recipe of `fields`, /edit's others.
    """
    if recipe == "":
        return recipe_of_fields(**fields)
    defaults = inspect.signature(edit).parameters
    also = [name for name, value in fields.items() if value != defaults[name].default]
    if also:
        raise UserError(f"recipe says everything, so leave out {', '.join(also)}.")
    made, notices = read_recipe(recipe)
    opened = engine.open_model(made.model)
    made, misfits = fit_to(opened, made)
    return opened, made, [*notices, *misfits]


def recipe_of_fields(
    model: Any,
    layers: Any,
    alphas: Any,
    seed: Any,
    num_samples: Any,
    truncation_psi: Any,
    class_index: Any,
) -> tuple[engine.OpenModel, Recipe, list[str]]:
    """`recipe_of` for the arguments of /edit, of which nothing is left out. Raises `UserError`."""
    if alphas is not None and not isinstance(alphas, list):
        raise UserError("alphas must be a list of numbers, one a semantic.")
    count = integer(num_samples, "num_samples", 1, MAX_SAMPLES)
    opened = engine.open_model(model)
    generator = opened.loaded.generator
    selection = select_layers(layers, generator.num_ws)
    numbers = [real(a, "each of alphas", -MAX_ALPHA, MAX_ALPHA) for a in alphas or []]
    if len(numbers) > generator.w_dim:
        raise UserError(
            f"{len(numbers)} alphas were given; this model has {generator.w_dim} directions."
        )
    made = Recipe(
        model=opened.name,
        seed=integer(seed, "seed", 0, MAX_SEED - count + 1),
        num_samples=count,
        truncation_psi=real(truncation_psi, "truncation_psi", 0.0, MAX_PSI),
        class_index=integer(class_index, "class_index", 0, max(generator.label_dim, 1) - 1),
        layers=selection,
        num_semantics=sliders_for(len(numbers), generator.w_dim),
        edits=tuple(Edit.along(selection, i, alpha) for i, alpha in enumerate(numbers) if alpha),
    )
    return opened, made, []


def sliders_for(count: int, w_dim: int) -> int:
    """How many sliders show so many alphas, as far as there are that many."""
    return min(max(count, Recipe.num_semantics), MAX_SEMANTICS, w_dim)


def read_recipe(text: Any) -> tuple[Recipe, list[str]]:
    """The recipe of a link or query, and a sentence for each part that was not taken over.

    Raises `UserError` for what is neither, and for a model that is not offered.
    """
    notices: list[str] = []
    query = text.strip().partition("#")[0] if isinstance(text, str) else ""
    query = query.partition("?")[2] if "?" in query else query
    values = query_values(query, notices)
    if notices:
        raise UserError(notices[0])
    if not values.keys() & {"v", *QUERY_FIELDS, *LISTS}:
        raise UserError(
            f"recipe must be a link to an edit or its query, such as 'model=avatars&seed=7', "
            f"not {show(text)}."
        )
    made, notices = Recipe.from_query(query)
    if "model" in values:  # the recipe is of no other: nothing of it would mean the same
        checkpoints.resolve_name(values["model"])
    return made, notices


def name_of(labels: Labels, change: Edit, num_ws: int) -> Mapping[str, Any]:
    """The name and sign of a direction, as the endpoints return them."""
    name, sign = labels.find(parse_layers(change.layers, num_ws), change.direction) or (None, None)
    return {"name": name, "sign": sign}
