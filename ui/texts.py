"""What the page says of models and directions, in one line each."""

import functools
import html
from collections.abc import Callable, Sequence

import gradio as gr

import checkpoints
from sefa.editing import VIEWS, Edit, Recipe
from sefa.errors import UserError
from sefa.labels import Labels
from ui import engine
from ui.rows import say_direction


def say_found(model: engine.OpenModel, recipe: Recipe) -> str:
    """The line above the sliders: what the decomposition was of, and how long it took."""
    generator = model.loaded.generator
    if recipe.layers in VIEWS:
        whose = "that somebody named" if recipe.layers == "named" else "that do most, of all groups"
        return f"**Directions** {whose}, found in closed form in the generator's weights"
    directions, seconds = engine.find_directions(model, recipe.layers)
    names = [generator.layer_names[i] for i in (directions.layers[0], directions.layers[-1])]
    span = names[0] if len(directions.layers) == 1 else f"{names[0]} … {names[1]}"
    some = f"{len(directions.layers)} of {generator.num_ws} layers"
    part = some if generator.num_ws > 1 else "one layer"
    return (
        f"**{generator.w_dim} directions** from {part} ({span}), "
        f"found in **{f'{seconds * 1000:.0f}' if seconds >= 0.001 else 'under 1'} ms**"
    )


def say_model(model: engine.OpenModel) -> str:
    """Family, size, classes, where it comes from, its licence tag, the commit that was resolved."""
    entry = checkpoints.resolve_name(model.name)
    generator = model.loaded.generator
    source = f"[source]({entry.source})" if entry.source else "ships with this Space"
    commit = f" at `{model.revision[:8]}`" if model.revision else ""
    facts = [generator.family, f"{generator.resolution} px"]
    facts.append("1 layer" if generator.num_ws == 1 else f"{generator.num_ws} layers")
    if generator.label_dim:
        facts.append(f"{generator.label_dim} classes")
    return f"{', '.join(facts)} · licence tag: {entry.licence_shown} · {source}{commit}"


def say_kept(model: engine.OpenModel, labels: Labels, kept: Sequence[Edit]) -> str:
    """The edits in force that have no slider at the moment."""
    parts = []
    for change in kept:
        name = say_direction(model, labels, change.layers, change.direction)
        name = name.removeprefix("Semantic ")
        parts.append(f"{name} of layers {change.layers} at {change.alpha:+.3g}")
    return "Also applied: " + "; ".join(parts) if parts else ""


def say(notices: Sequence[str]) -> dict:
    """The notice above the gallery, with whatever a stranger wrote in it shown as text."""
    lines = "<br>".join(html.escape(notice) for notice in dict.fromkeys(notices))
    return gr.update(value=f"<div>{lines}</div>", visible=bool(notices))


def in_one_sentence(function: Callable) -> Callable:
    """Turns a `UserError` into the message the page and the API show."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except UserError as error:
            message = str(error).replace("<", "‹").replace(">", "›")  # it is shown as HTML
            raise gr.Error(message, print_exception=False) from None

    return wrapped
