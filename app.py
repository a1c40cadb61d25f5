"""The Space: `python app.py` serves the page. Layout and events; the work is done in ui/ and sefa/.

The sliders mean what `shown_model` and `shown_layers` say. The model and layer pickers are wishes:
`choose` turns them into sliders, and only then do the shown ones follow. So a frame is always of
the sliders that the visitor sees, whatever is still under way.
"""

import base64
import functools
import html
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

import checkpoints
from sefa.directions_file import DirectionRow, DirectionsFile, directions_bytes
from sefa.editing import (
    MAX_ALPHA,
    MAX_NAMES,
    MAX_PSI,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_SEMANTICS,
    Edit,
    Named,
    Recipe,
    direction_name,
    fit,
    in_order,
    integer,
    order_name,
    real,
)
from sefa.errors import UserError
from sefa.export import encode_images
from sefa.labels import is_index, labels_json
from ui import brush, engine, measuring, strips
from ui.brush import Brushed
from ui.controls import (
    CONTROLS,
    CUSTOM,
    ORDER_CHOICES,
    class_choices,
    first_look,
    layer_choices,
    model_choices,
    read,
    read_steps,
    select_layers,
    select_view,
    split_edits,
    write_steps,
)
from ui.gallery import STAMP, frame, gallery, sends
from ui.rows import (
    Row,
    has_view,
    is_measured_row,
    labels_of,
    row_of,
    rows_of,
    say_layers,
    selections,
)
from ui.texts import say_found, say_kept, say_model

PAPER = "https://arxiv.org/abs/2007.06600"
INTRO = f"""# Look what is inside a GAN
Each slider moves every image along one direction that the generator's own weights reveal, in
closed form: no training, no labels ([SeFa, CVPR 2021]({PAPER})). **Drag one.**"""

MAX_SEQUENCE = 2**53  # as far as a browser counts without gaps


def say(notices: Sequence[str]) -> dict:
    """The notice above the gallery, with whatever a stranger wrote in it shown as text."""
    lines = "<br>".join(html.escape(notice) for notice in dict.fromkeys(notices))
    return gr.update(value=f"<div role='status'>{lines}</div>", visible=bool(notices))


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


# --- events ---------------------------------------------------------------------------------------


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
        say_found(model, recipe),
        say_model(model),
        gr.update(value=say_kept(model, labels_of(model, recipe), kept), visible=bool(kept)),
        say(notices),
    ]


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


def open_link(request: gr.Request, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
    """The page as the link's query describes it; the default page when there is none."""
    query = {k: v for k, v in dict(request.query_params).items() if not k.startswith("__")}
    if not query:
        return gr.skip()
    recipe, notices = Recipe.from_query(query)
    if query.get("model", recipe.model) != recipe.model:  # no name at all: a notice says so
        recipe = replace(recipe, layers="all", edits=(), names=(), class_index=0)
    try:
        model = engine.open_model(recipe.model, show_bytes(progress))
    except UserError as error:
        notices.append(f"{error} Showing {engine.EMBEDDED} instead, without the link's edits.")
        model = engine.open_model(engine.EMBEDDED)
        recipe = replace(recipe, model=model.name, layers="all", edits=(), names=(), class_index=0)
    generator = model.loaded.generator
    recipe, misfits = fit(
        recipe,
        generator.num_ws,
        generator.w_dim,
        generator.label_dim,
        has_noise=generator.has_noise,
    )
    return lay_out(model, recipe, [*notices, *misfits])


def choose_event(progress: gr.Progress = gr.Progress(), *values: Any) -> list[Any]:  # noqa: B008
    """`choose` with progress; Gradio looks for it among the arguments before `*values` only."""
    return choose(*values, report=show_bytes(progress))


@in_one_sentence
def choose(*values: Any, report: checkpoints.Progress | None = None) -> list[Any]:
    """The sliders for the model, layers and number of semantics that were picked.

    When they cannot be had, the page stays as it is and says why.
    """
    recipe = read(values)
    wish, shown = dict(zip(CONTROLS, values, strict=False)), recipe.model
    model, notices = first_to_be_had([wish["model"], recipe.model, engine.EMBEDDED], report)
    if notices:
        verb = "Staying with" if model.name == recipe.model else "Showing"
        notices[-1] += f" {verb} {model.name}."
    if model.name != recipe.model:
        recipe = replace(recipe, model=model.name, edits=(), names=(), class_index=0)
    generator = model.loaded.generator
    if generator.num_ws == 1:
        wish["layers"] = "all"
    wanted = wish["custom"] if wish["layers"] == CUSTOM else wish["layers"]
    if wish["layers"] != CUSTOM or str(wanted or "").strip():
        try:
            recipe = replace(recipe, layers=select_view(wanted, generator.num_ws))
        except UserError as error:
            notices.append(str(error))
    recipe = replace(recipe, order=order_name(wish["order"]))
    recipe, misfits = fit(
        recipe,
        generator.num_ws,
        generator.w_dim,
        generator.label_dim,
        has_noise=generator.has_noise,
    )
    brushed = brushed_of(values) if model.name == shown else []
    if recipe.layers != wish["shown_layers"]:  # what is looked for now is something else
        used = {(change.layers, change.direction) for change in recipe.edits}
        brushed = [b for b in brushed if (b.step.layers, b.step.direction) in used]
    updates = lay_out(model, recipe, [*notices, *misfits], brushed)
    if wish["layers"] == CUSTOM:  # what is being typed stays
        updates[CONTROLS.index("layers")]["value"] = CUSTOM
        updates[CONTROLS.index("custom")] = gr.update(visible=True)
    return updates


def first_to_be_had(
    names: Sequence[Any], report: checkpoints.Progress | None
) -> tuple[engine.OpenModel, list[str]]:
    """The first of these models that opens, and a sentence for each that was tried and does not."""
    reasons: list[str] = []
    for name in names[:-1]:
        try:
            return engine.open_model(name, report), reasons
        except UserError as error:
            if str(error) not in reasons:
                reasons.append(str(error))
    return engine.open_model(names[-1], report), reasons


def show_bytes(progress: gr.Progress) -> Callable[[int, int | None], None]:
    def report(done: int, total: int | None) -> None:
        megabytes = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
        progress(done / total if total else 0, desc=f"Downloading, {megabytes}")

    return report


@in_one_sentence
def measure(
    name: Any,
    view: Any,
    done: Any,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> Any:
    """Measures what the sliders' directions do, where that is not known; then counts one up.

    `name`, `view`: of the model and the directions shown. The count tells the page that rows have
    changed; it stays as it is where nothing has.
    """
    if measuring.seconds() <= 0:
        return gr.skip()
    model = engine.open_model(name)
    changed = False
    if measuring.known_groups(model) is None and measuring.groups_are_quick(model):
        text = "Measuring what each layer does"
        measuring.measure_groups(
            model, lambda at, total: progress(at / total, desc=f"{text}, {at} of {total}")
        )
        changed = True
    missing = [s for s in selections(model, str(view)) if not measuring.is_measured(model, s)]
    for i, layers in enumerate(missing):
        where = f" in {say_layers(layers)}" if len(missing) > 1 else ""

        def report(at: int, total: int, i: int = i, where: str = where) -> None:
            text = f"Measuring what each direction does{where}, {at} of {total}"
            progress((i + at / total) / len(missing), desc=text)

        report(0, 1)
        measuring.measure(model, layers, report)
    return integer(done, "The count", 0, MAX_SEQUENCE) + 1 if missing or changed else gr.skip()


@in_one_sentence
def relay(*values: Any) -> list[Any]:
    """The page's own recipe once more, for rows that are known better now; pickers stay."""
    recipe = read(values)
    updates = lay_out(engine.open_model(recipe.model), recipe, [], brushed_of(values))
    for name in ("model", "custom", "order"):  # somebody may be choosing
        updates[CONTROLS.index(name)] = gr.skip()
    picked = CONTROLS.index("layers")  # there may be other groups to choose from
    updates[picked] = gr.update(choices=updates[picked]["choices"])
    updates[-1] = gr.skip()  # the notice
    return updates


def brushed_of(values: Sequence[Any]) -> list[Brushed]:
    """What a brush has found on the page."""
    return brush.from_text(values[CONTROLS.index("brushed")])


def find_region_event(progress: gr.Progress = gr.Progress(), *inputs: Any) -> list[Any]:  # noqa: B008
    """`find_region` with progress."""
    return find_region(*inputs, report=lambda at, total: progress(at / total, desc="Looking"))


@in_one_sentence
def find_region(*inputs: Any, report: Callable[[int, int], Any] | None = None) -> list[Any]:
    """Sliders for what moves the region that the visitor brushed, which is the last input."""
    *values, region = inputs
    recipe = read(values)
    model = engine.open_model(recipe.model)
    found = brush.find(model, recipe, *brush.parse_region(region), report)
    return lay_out(model, recipe, [], found)


@in_one_sentence
def rename(*inputs: Any) -> list[Any]:
    """The page with a direction named as the visitor says, in the last input; "" takes it back."""
    *values, naming = inputs
    recipe = read(values)
    model = engine.open_model(recipe.model)
    steps = read_steps(values[CONTROLS.index("shown_rows")])
    try:
        said = json.loads(str(naming)[:1000])
        row, name = said["row"], str(said["name"]).strip()
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError("This is no name of a direction.") from None
    step = steps[integer(row, "The row", 0, len(steps) - 1)]
    place = step.layers, in_order(step.direction)
    names = [n for n in recipe.names if (n.layers, in_order(n.direction)) != place]
    if name:
        names.append(Named(step.layers, step.direction, direction_name(name)))
    if len(names) > MAX_NAMES:
        raise UserError(f"At most {MAX_NAMES} directions can be named.")
    return lay_out(model, replace(recipe, names=tuple(names)), [], brushed_of(values))


@in_one_sentence
def take_directions(*values: Any) -> dict[str, str]:
    """The directions that have sliders, as a file: {"name", "uri"}."""
    recipe = read(values)
    model = engine.open_model(recipe.model)
    generator, labels = model.loaded.generator, labels_of(model, recipe)
    rows = []
    for step in read_steps(values[CONTROLS.index("shown_rows")]):
        directions, _ = engine.find_directions(model, step.layers)
        name, sign = labels.find(directions.layers, step.direction) or ("", 1)
        measured = not is_index(step.direction) or is_measured_row(model, step)
        unit = step.alpha if measured else math.nan
        rows.append(
            DirectionRow.of(
                directions, step.layers, step.direction, unit=unit, name=name, sign=sign
            )
        )
    weights = measuring.weights_of(model)
    family, num_ws = generator.family, generator.num_ws
    file = directions_bytes(DirectionsFile(model.name, weights, family, num_ws, tuple(rows)))
    return as_file(model, "directions.safetensors", file)


@in_one_sentence
def take_names(*values: Any) -> dict[str, str]:
    """All names of the model's directions, the visitor's too, as a file that a Space can ship."""
    recipe = read(values)
    model = engine.open_model(recipe.model)
    content = labels_json(measuring.weights_of(model), labels_of(model, recipe))
    return as_file(model, "names.json", content.encode())


def as_file(model: engine.OpenModel, kind: str, content: bytes) -> dict[str, str]:
    """A file that the browser saves: {"name", "uri"}."""
    stem = re.sub(r"[^\w.-]+", "_", model.name)[:100]
    data = base64.b64encode(content).decode("ascii")
    return {"name": f"{stem}-{kind}", "uri": f"data:application/octet-stream;base64,{data}"}


@in_one_sentence
def follow(*inputs: Any) -> Any:
    """One frame while a slider moves, of a model that is quick enough; else nothing."""
    *values, sequence, dragging = inputs
    recipe, number = read(values), integer(sequence, "The request's number", 0, MAX_SEQUENCE)
    model = engine.open_model(recipe.model)
    if dragging and not engine.is_live(model, recipe.num_samples):
        return gr.skip()
    after = engine.edited_frames(model, recipe)
    return the_frame(model, recipe, after, None, values, number)


@in_one_sentence
def settle(*inputs: Any) -> Any:
    """The frame of the page as it is, with the originals to compare it with."""
    *values, sequence, _ = inputs
    recipe, number = read(values), integer(sequence, "The request's number", 0, MAX_SEQUENCE)
    model = engine.open_model(recipe.model)
    after, before = engine.frames(model, recipe)
    return the_frame(model, recipe, after, before, values, number)


def the_frame(
    model: engine.OpenModel,
    recipe: Recipe,
    after: list[str],
    before: list[str] | None,
    values: Sequence[Any],
    number: int,
) -> dict[str, Any]:
    """The answer to the request `number`, which sent `values`."""
    keys, live = keys_of(recipe, values), engine.is_live(model, recipe.num_samples)
    return frame(recipe, after, before, model.loaded.generator.resolution, keys, live, number)


def keys_of(recipe: Recipe, values: Sequence[Any]) -> list[str]:
    """What the strip of each slider is of."""
    steps = read_steps(values[CONTROLS.index("shown_rows")])
    return [strips.strip_key(recipe, step) for step in steps]


@in_one_sentence
def draw_strips(*inputs: Any) -> dict[str, Any]:
    """Some of the strips that the page wants, which says so in the last of its inputs."""
    *values, wanted = inputs
    recipe = read(values)
    model = engine.open_model(recipe.model)
    steps = read_steps(values[CONTROLS.index("shown_rows")])
    asked = strips.Wanted.parse(wanted)
    return {"number": asked.number, "strips": strips.strips(model, recipe, steps, asked)}


# --- the public API -------------------------------------------------------------------------------


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


# --- layout ---------------------------------------------------------------------------------------

CSS = """
.gradio-container { max-width: 1280px !important; }
#intro h1 { margin-bottom: 2px; }
#notice { border-left: 4px solid var(--color-accent); padding: 8px 12px; border-radius: 6px;
  background: var(--background-fill-secondary); max-height: 30vh; overflow-y: auto !important; }
#model-facts, #kept { font-size: 13px; color: var(--body-text-color-subdued); }
#settle, #ask-strips, #find-region, #name-it { display: none; }
#model input, #class-index input { text-overflow: ellipsis; margin-right: 24px; }  /* its arrow */
/* The images stay in sight while the controls below or beside them are moved. */
#stage { position: sticky; top: 0; z-index: 45;  /* Gradio's labels have 40, its menus more */
  align-self: flex-start; padding-bottom: 6px;
  background: var(--body-background-fill); }
.gradio-container, .gradio-container main, .gradio-container .wrap { overflow: visible !important; }
@media (max-width: 768px) {
  .gradio-container { padding: 8px !important; }
  #intro h1 { font-size: 22px; }
  [id^=semantic-] .head input { width: 64px; }
  [id^=semantic-] .head label { flex: 1; min-width: 0; }
  [id^=semantic-] .info-text { font-size: 11px; white-space: nowrap; overflow: hidden;
    text-overflow: ellipsis; }
  #notice { max-height: 16vh; }  /* it shares the screen with the images and a slider */
}
"""
SAVE = """file => {
    const link = document.createElement('a');
    [link.href, link.download] = [file.uri, file.name];
    link.click();
}"""
RESET = f"() => [{', '.join(['0'] * MAX_SEMANTICS)}, '', '']"  # the sliders, kept, kept_text


def next_seed(model: engine.OpenModel) -> str:
    """The script of Random, (seed, model) -> seed: the curated seeds in turn, then any."""
    curated = json.dumps({model.name: engine.labels_of(model).seeds})
    return f"""(seed, model) => {{
        const seeds = ({curated})[model] ?? [];
        const next = seeds.indexOf(seed) + 1;
        const any = Math.floor(Math.random() * {MAX_SEED - MAX_SAMPLES});
        return next > 0 && next < seeds.length ? seeds[next] : any;
    }}"""


def build_page() -> gr.Blocks:
    """The page, its first gallery drawn already."""
    model = engine.open_model(engine.EMBEDDED)
    start = first_look(model)
    keys = [strips.strip_key(start, row.step) for row in rows_of(model, start)]
    first = frame(start, *engine.frames(model, start), model.loaded.generator.resolution, keys)
    _, refused = checkpoints.owner_models()
    initial = first_values(lay_out(model, start, refused))

    with gr.Blocks(
        title="SeFa: look what is inside a GAN", analytics_enabled=False, delete_cache=(3600, 3600)
    ) as page:
        gr.Markdown(INTRO, elem_id="intro")
        with gr.Row():
            with gr.Column(scale=6, min_width=320, elem_id="stage"):
                notice = gr.HTML(elem_id="notice", **initial["notice"])
                images = gallery(first)
            with gr.Column(scale=5, min_width=320):
                found = gr.Markdown(elem_id="found", **initial["found"])
                with gr.Column(elem_id="sliders"):
                    sliders = [
                        gr.Slider(step=0.1, elem_id=f"semantic-{i}", **initial[f"slider {i}"])
                        for i in range(MAX_SEMANTICS)
                    ]
                kept_text = gr.Markdown(elem_id="kept", **initial["kept_text"])
                with gr.Row():
                    reset = gr.Button("Reset", elem_id="reset", min_width=80)
                    shuffle = gr.Button("Random", elem_id="random", min_width=80)
                with gr.Accordion("Model, layers and samples", open=True):
                    c = make_settings(initial)
                    facts = gr.Markdown(elem_id="model-facts", **initial["facts"])
                with gr.Accordion("Take away", open=False):
                    gr.Markdown(
                        "The directions above as a file of vectors with their layers, units and "
                        "names, and the names of this model's directions as a file that its Space "
                        "can ship."
                    )
                    with gr.Row():
                        take_all = gr.Button("Directions", elem_id="take-directions", min_width=80)
                        take_some = gr.Button("Names", elem_id="take-names", min_width=80)
        # What a request carries besides: what the sliders mean, and the request's number.
        c["shown_model"] = gr.Textbox(visible=False, **initial["shown_model"])
        for name in ("shown_layers", "shown_order", "shown_rows", "kept", "names", "brushed"):
            c[name] = gr.Textbox(visible=False, **initial[name])
        sequence = gr.Number(0, visible=False)
        measured = gr.Number(0, visible=False)  # counted up when rows are known better
        dragging = gr.Checkbox(False, visible=False)
        let_go = gr.Button("Draw", elem_id="settle", visible="hidden")
        film = strips.component()
        wanted = gr.Textbox(visible=False)
        ask = gr.Button("Strips", elem_id="ask-strips", visible="hidden")
        region = gr.Textbox(visible=False)
        look = gr.Button("Look", elem_id="find-region", visible="hidden")
        naming = gr.Textbox(visible=False)
        name_it = gr.Button("Name", elem_id="name-it", visible="hidden")
        taken = gr.JSON(visible=False)

        controls = [*(c[name] for name in CONTROLS), *sliders]
        everything = [*controls, found, facts, kept_text, notice]
        request = {"inputs": [*controls, sequence, dragging], "outputs": images, "js": STAMP}
        private = {"api_visibility": "private"}
        one_by_one = {"concurrency_id": "gpu", "concurrency_limit": 1}
        # A download must keep nobody from drawing, nor from opening the page.
        in_parallel = {"concurrency_id": "open", "concurrency_limit": 16}
        draw = {"fn": settle, **request, **private, **one_by_one, "show_progress": "minimal"}

        # Without the queue a frame is one short request; always_last keeps the end of a drag.
        gr.on(
            [slider.input for slider in sliders],
            follow,
            **request,
            **private,
            queue=False,
            trigger_mode="always_last",
            show_progress="hidden",
        )
        gr.on(
            [*(slider.release for slider in sliders), let_go.click],
            **draw,
            trigger_mode="always_last",
        )
        ask.click(
            draw_strips,
            [*controls, wanted],
            film,
            js=strips.ASK,
            **private,
            concurrency_id="strips",
            concurrency_limit=4,
            show_progress="hidden",
            trigger_mode="multiple",
        )
        look.click(
            find_region_event,
            [*controls, region],
            everything,
            js=sends("region"),
            **private,
            concurrency_id="strips",
            show_progress="full",
            show_progress_on=found,
        ).success(**draw)
        name_it.click(
            rename,
            [*controls, naming],
            everything,
            js=sends("naming"),
            **private,
            show_progress="hidden",
        ).success(**draw)
        for button, take in ((take_all, take_directions), (take_some, take_names)):
            button.click(take, controls, taken, **private).success(None, taken, None, js=SAVE)
        gr.on(
            [c[name].input for name in ("num_samples", "psi", "cutoff", "class_index")]
            + [c["seed"].input],
            **draw,
            trigger_mode="always_last",
        )
        chosen = gr.on(
            [c[name].input for name in ("model", "layers", "order", "num_semantics")]
            + [c["custom"].submit],
            choose_event,
            controls,
            everything,
            **private,
            **in_parallel,
            trigger_mode="always_last",
            show_progress="full",  # a download may take minutes
            show_progress_on=c["model"],
        )
        seen = [c["seed"], c["shown_model"]]
        shuffle.click(None, seen, c["seed"], js=next_seed(model), **private).then(**draw)
        reset.click(None, None, [*sliders, c["kept"], kept_text], js=RESET, **private).then(**draw)
        opened = page.load(
            open_link,
            None,
            everything,
            **private,
            **in_parallel,
            show_progress="full",
            show_progress_on=c["model"],
        )
        for event in (chosen, opened):
            event.success(**draw)
            event.success(
                measure,
                [c["shown_model"], c["shown_layers"], measured],
                measured,
                **private,
                concurrency_id="measure",
                concurrency_limit=1,
                show_progress="full",  # a minute, while everything else goes on
                show_progress_on=found,
            )
        measured.change(relay, controls, everything, **private, show_progress="hidden").success(
            **draw
        )  # its frame says what the strips of the new rows are of

        gr.api(factorize, api_name="factorize", **in_parallel)
        gr.api(edit, api_name="edit", **one_by_one)
    return page


def first_values(updates: Sequence[Any]) -> dict[str, dict]:
    """`lay_out`'s updates as arguments for the components, by name."""
    names = [*CONTROLS, *(f"slider {i}" for i in range(MAX_SEMANTICS))]
    names += ["found", "facts", "kept_text", "notice"]
    arguments = {}
    for name, update in zip(names, updates, strict=True):
        arguments[name] = dict(update) if isinstance(update, dict) else {"value": update}
        arguments[name].pop("__type__", None)
    return arguments


def make_settings(initial: dict[str, dict]) -> dict[str, gr.components.Component]:
    """The pickers for model, layers and samples, by their name in CONTROLS."""
    c = {}
    c["model"] = gr.Dropdown(
        choices=model_choices(), label="Model", elem_id="model", **initial["model"]
    )
    c["class_index"] = gr.Dropdown(label="Class", elem_id="class-index", **initial["class_index"])
    c["layers"] = gr.Radio(label="Layers", elem_id="layers", **initial["layers"])
    c["custom"] = gr.Textbox(
        label="Custom layers",
        info="Indices and ranges such as 0-1,4; press Enter",
        max_lines=1,
        elem_id="custom-layers",
        **initial["custom"],
    )
    c["order"] = gr.Radio(ORDER_CHOICES, label="Order", elem_id="order", **initial["order"])
    with gr.Row():
        c["num_semantics"] = gr.Slider(
            1, MAX_SEMANTICS, step=1, label="Semantics", min_width=120, buttons=[],
            elem_id="num-semantics", **initial["num_semantics"],
        )  # fmt: skip
        c["num_samples"] = gr.Slider(
            1, MAX_SAMPLES, step=1, label="Samples", min_width=120, buttons=[],
            elem_id="num-samples", **initial["num_samples"],
        )  # fmt: skip
    with gr.Row():
        c["seed"] = gr.Number(
            precision=0, label="Seed", min_width=100, elem_id="seed", **initial["seed"]
        )
        c["psi"] = gr.Slider(
            0, MAX_PSI, step=0.05, label="Truncation ψ", min_width=160, buttons=[],
            elem_id="psi", **initial["psi"],
        )  # fmt: skip
        c["cutoff"] = gr.Number(
            precision=0, label="Truncated layers (0: all)", min_width=100,
            minimum=0,
            elem_id="cutoff", **initial["cutoff"],
        )  # fmt: skip
    return c


def theme() -> gr.themes.Base:
    """Fonts of the visitor's own machine, so that nothing is fetched from elsewhere."""
    return gr.themes.Soft(
        primary_hue="indigo",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_text_weight="500",
    )


def main() -> None:
    """Serves the page; GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say where."""
    build_page().queue(max_size=64).launch(
        theme=theme(),
        css=CSS + strips.CSS,
        footer_links=["api", "gradio", "settings"],
        run_history=False,  # it would fill the browser's storage with every public event's images
    )


if __name__ == "__main__":
    main()
