"""A recipe -> what every control and text of the page holds.

recipe, model -> rows -> updates of all components, in the order of CONTROLS, the sliders, texts
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from sefa.editing import (
    MAX_SEMANTICS,
    Recipe,
)
from sefa.labels import is_index
from ui import brush, engine
from ui.brush import Brushed
from ui.controls import (
    CONTROLS,
    CUSTOM,
    class_choices,
    layer_choices,
    mix_choices,
    split_edits,
    write_steps,
)
from ui.rows import (
    Row,
    has_view,
    labels_of,
    row_of,
    rows_of,
)
from ui.texts import say, say_found, say_kept, say_model


def lay_out(
    model: engine.OpenModel,
    recipe: Recipe,
    notices: Sequence[str],
    brushed: Sequence[Brushed] = (),
) -> list[Any]:
    """Updates of all controls and texts for a recipe that fits the model."""
    generator = model.loaded.generator
    if not has_view(model, recipe):
        recipe = replace(recipe, layers="all")
    rows = rows_shown(model, recipe, brushed)
    units, kept = split_edits(recipe, [row.step for row in rows])
    choices = layer_choices(model, recipe)
    listed = recipe.layers in [value for _, value in choices]
    several = len(choices) > 1  # else there is nothing to pick
    picked = recipe.layers if listed else CUSTOM if several else "all"
    # An empty number field arrives as 0, so on the page 0 truncates all layers; a recipe that
    # truncates none is shown as psi 1, which is the same.
    untruncated = generator.has_cutoff and recipe.truncation_cutoff == 0
    truncates_layers = generator.has_truncation and generator.has_cutoff
    updates = [
        gr.update(value=model.name),
        gr.update(choices=choices, value=picked, visible=several),
        gr.update(value="" if listed else recipe.layers, visible=several and not listed),
        recipe.order,
        recipe.num_semantics,
        recipe.num_samples,
        recipe.seed,
        gr.update(
            value=1.0 if untruncated else recipe.truncation_psi, visible=generator.has_truncation
        ),
        gr.update(value=recipe.truncation_cutoff or 0, visible=truncates_layers),
        gr.update(
            choices=class_choices(generator),
            value=recipe.class_index,
            visible=generator.label_dim > 0,
        ),
        gr.update(
            choices=mix_choices(model, recipe),
            value=recipe.mix.layers if recipe.mix else "",
            visible=generator.num_ws > 1,
        ),
        gr.update(value=recipe.mix.seed if recipe.mix else 1, visible=generator.num_ws > 1),
        gr.update(
            value="" if recipe.noise_seed is None else str(recipe.noise_seed),
            visible=generator.has_noise,
        ),
        model.name,
        recipe.layers,
        recipe.order,
        write_steps(rows),
        "~".join(change.to_text() for change in kept),
        "~".join(named.to_text() for named in recipe.names),
        brush.to_text(brushed),
    ]
    for row, value in zip(rows, units, strict=True):
        limit = max(row.limit, abs(value))
        about = {"label": row.label, "info": row.facts, "minimum": -limit, "maximum": limit}
        updates.append(gr.update(value=value, visible=True, **about))
    hidden = gr.update(value=0.0, visible=False)
    return [
        *updates,
        *[hidden] * (MAX_SEMANTICS - len(rows)),
        gr.update(choices=[(row.label, i) for i, row in enumerate(rows)], value=moving(units)),
        say_found(model, recipe),
        say_model(model),
        gr.update(value=say_kept(model, labels_of(model, recipe), kept), visible=bool(kept)),
        say(notices),
    ]


def moving(units: Sequence[float]) -> list[int]:
    """Which sliders an animation is of, unless somebody picks others: those in use, or the first."""
    return [i for i, value in enumerate(units) if value] or [0]


def rows_shown(model: engine.OpenModel, recipe: Recipe, brushed: Sequence[Brushed]) -> list[Row]:
    """What has sliders: what a brush found, what the recipe shows, and combinations in force."""
    rows = [found.row(model, recipe, i) for i, found in enumerate(brushed)]
    rows += rows_of(model, recipe)
    shown = {(row.step.layers, row.step.direction) for row in rows}
    for change in recipe.edits:
        if not is_index(change.direction) and (change.layers, change.direction) not in shown:
            rows.insert(len(brushed), row_of(model, recipe, change))
            shown.add((change.layers, change.direction))
    return rows[:MAX_SEMANTICS]


def brushed_of(values: Sequence[Any]) -> list[Brushed]:
    """What a brush has found on the page."""
    return brush.from_text(values[CONTROLS.index("brushed")])


def first_values(updates: Sequence[Any]) -> dict[str, dict]:
    """`lay_out`'s updates as arguments for the components, by name."""
    names = [*CONTROLS, *(f"slider {i}" for i in range(MAX_SEMANTICS))]
    names += ["moves", "found", "facts", "kept_text", "notice"]
    arguments = {}
    for name, update in zip(names, updates, strict=True):
        arguments[name] = dict(update) if isinstance(update, dict) else {"value": update}
        arguments[name].pop("__type__", None)
    return arguments
