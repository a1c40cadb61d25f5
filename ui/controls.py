"""What the controls of the page hold, and the Recipe that it stands for.

values of CONTROLS and of the sliders -> read -> Recipe -> split_edits -> values of the sliders
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import checkpoints
from sefa import Generator
from sefa.editing import (
    MAX_ALL_TERMS,
    MAX_ALPHA,
    MAX_EDITS,
    MAX_LAYERS,
    MAX_PSI,
    MAX_QUERY,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_SEMANTICS,
    VIEWS,
    Edit,
    Mix,
    Recipe,
    canonical_layers,
    canonical_view,
    fit,
    integer,
    order_name,
    parse_edits,
    parse_names,
    query_values,
    real,
)
from sefa.errors import UserError
from sefa.factorization import parse_layers
from ui import engine
from ui.rows import Row, labels_of, layer_groups

ORDER_CHOICES = [
    ("Measured effect", "effect"),
    ("Eigenvalue", "eigenvalue"),
    ("Layer group", "layers"),
]
CUSTOM = "custom"
MAX_FIRST_SLIDERS = 10  # more would hide what is below them
CONTROLS = (  # what a request carries, in this order, then one alpha a slider
    "model",
    "layers",
    "custom",
    "order",
    "num_semantics",
    "num_samples",
    "seed",
    "psi",
    "cutoff",
    "class_index",
    "mix_layers",
    "mix_seed",
    "noise",
    "shown_model",
    "shown_layers",
    "shown_order",
    "shown_rows",
    "kept",
    "names",
    "brushed",
)
SHOWN = CONTROLS[CONTROLS.index("shown_model") :]  # what the sliders mean; no one sees these


def read(values: Sequence[Any]) -> Recipe:
    """The recipe of what the page shows. `values` are those of CONTROLS, then the sliders.

    Raises `UserError` for a value out of range, as a stranger may send anything.
    """
    c = dict(zip(CONTROLS, values, strict=False))
    sliders = values[len(CONTROLS) :]
    notices: list[str] = []
    edits = list(parse_edits(str(c["kept"] or "")[:MAX_QUERY], notices))
    for step, value in zip(read_steps(c["shown_rows"]), sliders, strict=False):
        farthest = MAX_ALPHA / step.alpha
        if units := real(value, "A slider", -farthest, farthest):
            edits.append(replace(step, alpha=alpha_of(units, step)))
    if len(edits) > MAX_EDITS or sum(len(e.direction) for e in edits) > MAX_ALL_TERMS:
        raise UserError(f"At most {MAX_EDITS} edits add up; reset some sliders first.")
    num_samples = integer(c["num_samples"], "The number of samples", 1, MAX_SAMPLES)
    return Recipe(
        model=str(c["shown_model"]),
        seed=integer(c["seed"] or 0, "The seed", 0, MAX_SEED - num_samples + 1),
        num_samples=num_samples,
        truncation_psi=real(c["psi"], "Truncation", 0.0, MAX_PSI),
        truncation_cutoff=integer(c["cutoff"] or 0, "Truncated layers", 0, MAX_LAYERS) or None,
        class_index=integer(c["class_index"] or 0, "The class", 0, 10**6),
        mix=read_mix(c["mix_layers"], c["mix_seed"]),
        noise_seed=read_noise(c["noise"]),
        layers=canonical_view(c["shown_layers"]),
        order=order_name(c["shown_order"]),
        num_semantics=integer(c["num_semantics"], "The number of semantics", 1, MAX_SEMANTICS),
        edits=tuple(edits),
        names=parse_names(str(c["names"] or "")[:MAX_QUERY], notices),
    )


def read_mix(layers: Any, seed: Any) -> Mix | None:
    """Which layers are those of another seed; None where no layers are picked."""
    if not layers:
        return None
    return Mix(integer(seed or 0, "The seed to mix in", 0, MAX_SEED), canonical_layers(layers))


def read_noise(text: Any) -> int | None:
    """The seed of the noise; None where the field is empty."""
    if text is None or not str(text)[:MAX_QUERY].strip():
        return None
    return integer(text, "The noise seed", 0, MAX_SEED)


def told(text: Any) -> dict[str, Any]:
    """What a script of the page adds to a request, an object as JSON; empty for anything else."""
    try:
        found = json.loads(str(text)[: 2 * MAX_QUERY])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def link_told(text: Any) -> str:
    """Where the page is, of what is `told`: {"link"}; "" unless anybody can open it."""
    link = told(text).get("link")
    return link if isinstance(link, str) and link.startswith("https://") else ""


def in_sight(values: Sequence[Any], recipe: Recipe) -> int | None:
    """The one sample that shows, where the page says so behind the sliders; None where all do.

    Raises `UserError`.
    """
    for only in values[len(CONTROLS) + MAX_SEMANTICS :]:
        if only is not None and recipe.num_samples > 1:
            return min(integer(only, "The sample in sight", 0, MAX_SAMPLES), recipe.num_samples - 1)
    return None


def sample_of(text: Any) -> int:
    """Which sample is chosen, of what is `told`: {"sample": i}. Raises `UserError`."""
    found = told(text)
    if "sample" not in found:
        raise UserError("This does not say which sample.")
    return integer(found["sample"], "The sample", 0, MAX_SAMPLES - 1)


def read_steps(text: Any) -> list[Edit]:
    """What one unit of each slider does, as `write_steps` wrote it. Raises `UserError`."""
    parts = list(filter(None, str(text or "")[:MAX_QUERY].split("~")))
    steps = [Edit.from_text(part) for part in parts[:MAX_SEMANTICS]]
    if any(step.alpha < 0.001 for step in steps):
        raise UserError("One unit of a slider must be an alpha of at least 0.001.")
    return steps


def write_steps(rows: Sequence[Row]) -> str:
    """What one unit of each slider does, as text."""
    return "~".join(row.step.to_text() for row in rows)


def alpha_of(units: float, step: Edit) -> float:
    """The raw alpha of so many units; a few digits less than a float has, so that links are short."""
    return max(-MAX_ALPHA, min(float(f"{units * step.alpha:.10g}"), MAX_ALPHA))


def split_edits(recipe: Recipe, steps: Sequence[Edit]) -> tuple[list[float], list[Edit]]:
    """(units of each slider, the edits that have no slider now: other layers, or further down)."""
    places = {(step.layers, step.direction): i for i, step in enumerate(steps)}
    alphas = [0.0] * len(steps)
    kept = []
    for change in recipe.edits:
        i = places.get((change.layers, change.direction))
        if i is not None and abs(alphas[i] + change.alpha) <= MAX_ALPHA:
            alphas[i] += change.alpha
        else:
            kept.append(change)
    return [alpha / step.alpha for alpha, step in zip(alphas, steps, strict=True)], kept


def layer_choices(model: engine.OpenModel, recipe: Recipe) -> list[tuple[str, str]]:
    """What the layer picker offers, as (label, selection): what has names, the best of every
    group, and the layer groups themselves.
    """
    num_ws = model.loaded.generator.num_ws
    choices = [("Named", "named")] if labels_of(model, recipe).names else []
    if num_ws > 1:
        choices.append(("Best of each group", "groups"))
    choices.append(("All layers", "all"))
    choices += layer_groups(model)
    return [*choices, ("Custom", CUSTOM)] if num_ws > 1 else choices


def mix_choices(model: engine.OpenModel, recipe: Recipe) -> list[tuple[str, str]]:
    """What the picker of mixed layers offers, as (label, selection): "" for none."""
    choices = [("none", ""), *layer_groups(model)]
    picked = recipe.mix.layers if recipe.mix else ""
    listed = picked in [selection for _, selection in choices]
    return choices if listed else [*choices, (f"Layers {picked}", picked)]


def first_look(model: engine.OpenModel) -> Recipe:
    """What somebody sees first: a seed worth it, and the directions that have names.

    As many as MAX_FIRST_SLIDERS; those that do most where there are no names.
    """
    labels = engine.labels_of(model)
    recipe = Recipe(model=model.name, seed=next(iter(labels.seeds), 0), order="effect")
    if not labels.names:
        return recipe
    return replace(recipe, layers="named", num_semantics=min(len(labels.names), MAX_FIRST_SLIDERS))


def names_only_a_model(query: str | Mapping[str, Any]) -> bool:
    """Whether a query names a model and nothing else: then `first_look` is what it opens."""
    return query_values(query, []).keys() == {"model"}


def fit_to(model: engine.OpenModel, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """`fit` for what this model has."""
    g = model.loaded.generator
    return fit(recipe, g.num_ws, g.w_dim, g.label_dim, has_noise=g.has_noise)


def class_choices(generator: Generator) -> list[tuple[str, int]]:
    """What the class picker offers, as (label, index); one entry for a model without classes."""
    if generator.class_names is None:
        return [(f"class {i}", i) for i in range(max(generator.label_dim, 1))]
    return [(f"{i} {name[:80]}", i) for i, name in enumerate(generator.class_names)]


def model_choices() -> list[tuple[str, str]]:
    """What the model picker offers, as (label, name): a download says how large it is."""
    return [
        (f"{name} · {model.size_mb:.0f} MB" if model.repo and model.size_mb else name, name)
        for name, model in checkpoints.available().items()
    ]


def select_view(text: Any, num_ws: int) -> str:
    """A view, or a selection as recipes write it. Raises `UserError` as `select_layers` does."""
    return text if isinstance(text, str) and text in VIEWS else select_layers(text, num_ws)


def select_layers(text: Any, num_ws: int) -> str:
    """A selection as recipes write it. Raises `UserError` naming the layers this model has."""
    if isinstance(text, str):
        parse_layers(text, num_ws)
    return canonical_layers(text)
