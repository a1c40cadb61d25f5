"""What happens when a visitor does something: plain functions of what the page sends.

The sliders mean what `shown_model` and `shown_layers` say. The model and layer pickers are wishes:
`choose` turns them into sliders, and only then do the shown ones follow. So a frame is always of
the sliders that the visitor sees, whatever is still under way.
"""

import asyncio
import contextvars
import functools
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import gradio as gr

import checkpoints
from sefa.editing import (
    MAX_NAMES,
    MAX_SEMANTICS,
    Named,
    Recipe,
    direction_name,
    in_order,
    integer,
    order_name,
    query_values,
)
from sefa.errors import UserError
from sefa.pictures import one_of
from ui import brush, comparing, engine, measuring, previewing, strips
from ui.brush import Brushed
from ui.controls import (
    CONTROLS,
    CUSTOM,
    first_look,
    fit_to,
    in_sight,
    names_only_a_model,
    read,
    read_steps,
    sample_of,
    select_view,
    told,
)
from ui.gallery import frame
from ui.layout import brushed_of, lay_out
from ui.renderer import MOST_JOBS, Busy, Dropped, visitors_say
from ui.rows import say_layers, selections
from ui.texts import in_one_sentence, say
from ui.visitors import FRAME, Frame, visitor

ANSWERS = itertools.count()
# Of a recipe whose model is not the one that shows.
NOTHING_SET = {"edits": (), "names": (), "class_index": 0, "mix": None, "noise_seed": None}
EVERYTHING = len(CONTROLS) + MAX_SEMANTICS + 5  # what `lay_out` updates
MAX_SEQUENCE = 2**53  # as far as a browser counts without gaps
# What a page says, which asks again by itself, where others are told when to.
FOLLOWS = "your settings are kept, and the images follow as soon as there is room."
SAY_SECONDS = 1.0  # how often a visitor who waits is told how many come first
# Threads that wait for a frame: more than the renderer lets wait, so that its answer is the only no.
DRAWING = ThreadPoolExecutor(MOST_JOBS + 32, "frame")


def beside_the_images(function: Callable) -> Callable:
    """Of an event that answers with a frame: a `UserError` is shown below the gallery, which stays.

    So it does where nobody wants the frame any more. "again": seconds after which the page asks once
    more of its own accord, because too many others waited.
    """

    @functools.wraps(function)
    def wrapped(*inputs):
        number = number_of(inputs)
        dragging = bool(inputs[-1])  # then a frame is asked for again as the slider is let go
        place = FRAME.set(Frame(number, last=dragging or function.__name__ == "settle"))
        try:
            return function(*inputs)
        except Dropped:
            return gr.skip()
        except Busy as error:
            said = f"{error.reason}: {FOLLOWS}"
            return {"sequence": number, "problem": said, "again": error.seconds}
        except UserError as error:
            return {"sequence": number, "problem": str(error)}
        finally:
            FRAME.reset(place)

    return wrapped


def number_of(inputs: Sequence[Any]) -> float:
    """Which request for a frame these are the inputs of."""
    return inputs[-2] if isinstance(inputs[-2], int | float) else 0


def in_the_notice(function: Callable) -> Callable:
    """Of an event that lays out the page: a `UserError` is the notice, and all else stays."""

    @functools.wraps(function)
    def wrapped(*inputs, **options):
        try:
            return function(*inputs, **options)
        except UserError as error:
            return [*[gr.skip()] * (EVERYTHING - 1), say([str(error)])]

    return wrapped


def opener(opens: str, notices: Sequence[str] = ()) -> Callable[..., Any]:
    """The event of a page that opens: it shows what the link's query says, and without a link the
    query `opens`, or where that is "" the page as it is.

    notices: what it says then beside what the query brings: else that would take their place.
    """

    def open_link(
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Any:
        if link := link_of(request):
            return open_query(link, show_bytes(progress))
        return open_query(opens, show_bytes(progress), first=notices)

    return open_link


def link_of(request: gr.Request) -> dict[str, str]:
    """The query of the page's address, without what Gradio puts there, and how the page looks."""
    query = dict(request.query_params).items()
    return {k: v for k, v in query if not k.startswith("__") and k != "embed"}


def restore_event(progress: gr.Progress = gr.Progress(), *inputs: Any) -> list[Any]:  # noqa: B008
    """`restore` with progress."""
    return restore(*inputs, report=show_bytes(progress))


def restore(*inputs: Any, report: checkpoints.Progress | None = None) -> list[Any]:
    """The page as a query says that it has of its past, or of an image: {"query"}, the last input.

    Never raises: a bad part is a notice.
    """
    *values, restoring = inputs
    query = told(restoring).get("query")
    query = query if isinstance(query, str) else ""
    same = Recipe.from_query(query)[0].model == values[CONTROLS.index("shown_model")]
    return open_query(query or "v=1", report, brushed_of(values) if same else [])


def open_query(
    query: str | Mapping[str, Any],
    report: checkpoints.Progress | None = None,
    brushed: Sequence[Brushed] = (),
    first: Sequence[str] = (),
) -> Any:
    """The page as a query describes it; as it is for an empty one.

    What cannot be had is a notice, after those in `first`, and the embedded model shows.
    `brushed`: of the same model.
    """
    if not query:
        return gr.skip()
    recipe, notices = Recipe.from_query(query)
    if query_values(query, []).get("model", recipe.model) != recipe.model:  # a notice says so
        recipe = replace(recipe, layers="all", **NOTHING_SET)
    try:
        model = engine.open_model(recipe.model, report)
        if names_only_a_model(query):
            recipe = first_look(model)
    except UserError as error:
        notices.append(f"{error} Showing {engine.EMBEDDED} instead, without the link's edits.")
        model = engine.open_model(engine.EMBEDDED)
        recipe = replace(recipe, model=model.name, layers="all", **NOTHING_SET)
    recipe, misfits = fit_to(model, recipe)
    return lay_out(model, recipe, [*first, *notices, *misfits], brushed)


def choose_event(progress: gr.Progress = gr.Progress(), *values: Any) -> list[Any]:  # noqa: B008
    """`choose` with progress; Gradio looks for it among the arguments before `*values` only."""
    return choose(*values, report=show_bytes(progress))


@in_the_notice
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
        recipe = replace(recipe, model=model.name, **NOTHING_SET)
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
    recipe, misfits = fit_to(model, recipe)
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


@in_the_notice
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


def find_region_event(progress: gr.Progress = gr.Progress(), *inputs: Any) -> list[Any]:  # noqa: B008
    """`find_region` with progress."""
    return find_region(*inputs, report=lambda at, total: progress(at / total, desc="Looking"))


@in_the_notice
def find_region(*inputs: Any, report: Callable[[int, int], Any] | None = None) -> list[Any]:
    """Sliders for what moves the region that the visitor brushed, which is the last input."""
    *values, region = inputs
    recipe = read(values)
    model = engine.open_model(recipe.model)
    found = brush.find(model, recipe, *brush.parse_region(region), report)
    return lay_out(model, recipe, [], found)


@in_the_notice
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


def compare_event(progress: gr.Progress = gr.Progress(), *inputs: Any) -> dict[str, Any]:  # noqa: B008
    """The methods' strips of the sample in the last input, {"sample"}: {"rows"} or {"problem"}."""
    *values, more = inputs
    number = next(ANSWERS)  # two answers of the same value would be one to the page
    try:
        recipe = read(values)
        model = engine.open_model(recipe.model)
        sample = sample_of(more)

        def report(done: int, total: int) -> None:
            progress(done / total, desc=f"Measuring equal change, {done} of {total}")

        report(0, 1)
        return {"number": number, "rows": comparing.compare(model, recipe, sample, report)}
    except UserError as error:
        return {"number": number, "problem": str(error)}


@beside_the_images
def follow(*inputs: Any) -> Any:
    """One frame while a slider moves, or small images where whole ones take too long; else nothing."""
    *values, sequence, dragging = inputs
    recipe, number = read(values), integer(sequence, "The request's number", 0, MAX_SEQUENCE)
    model = engine.open_model(recipe.model)
    if dragging and not engine.is_idle():
        return gr.skip()
    drawn, only = what_shows(values, recipe)
    if dragging and not engine.is_live(model, drawn.num_samples):
        small = previewing.draw(model, drawn)
        if small is None:
            return gr.skip()
        return {"sequence": number, "preview": in_place(small, recipe, only)}
    notes: list[str] = []
    after = in_place(engine.edited_frames(model, drawn, notes), recipe, only)
    return the_frame(model, recipe, after, None, values, number, notes)


@beside_the_images
def settle(*inputs: Any) -> Any:
    """The frame of the page as it is, with the originals to compare it with."""
    *values, sequence, _ = inputs
    recipe, number = read(values), integer(sequence, "The request's number", 0, MAX_SEQUENCE)
    model = engine.open_model(recipe.model)
    notes: list[str] = []
    drawn, only = what_shows(values, recipe)
    frames = engine.frames(model, drawn, notes)
    after, before = (in_place(uris, recipe, only) for uris in frames)
    answer = the_frame(model, recipe, after, before, values, number, notes)
    if not answer["live"]:
        previewing.prepare(model)
    return answer


def what_shows(values: Sequence[Any], recipe: Recipe) -> tuple[Recipe, int | None]:
    """The recipe of what is in sight, and which sample that is where it is one alone."""
    only = in_sight(values, recipe)
    return recipe if only is None else one_of(recipe, only), only


def in_place(uris: list[str], recipe: Recipe, only: int | None) -> list[str | None]:
    """The images of all samples, where those of one alone were drawn: None for the others."""
    if only is None:
        return uris
    return [uris[0] if i == only else None for i in range(recipe.num_samples)]


async def settle_event(*inputs: Any) -> AsyncIterator[Any]:
    """`settle`, and before that, where it takes a while, who else is waiting."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    drawing = loop.run_in_executor(DRAWING, context.run, settle, *inputs)
    said, who = "", visitor()
    while not (await asyncio.wait([drawing], timeout=SAY_SECONDS))[0]:
        waiting = say_waiting(*engine.RENDERER.ahead(who))
        if waiting != said:
            said = waiting
            yield {"sequence": number_of(inputs), "waiting": waiting}
    yield drawing.result()


def say_waiting(visitors: int, seconds: float) -> str:
    """How many come first, and until when; "" where nobody does."""
    if not visitors:
        return ""
    return (
        f"{visitors_say(visitors)} before you: your images come in about {max(seconds, 1):.0f} s."
    )


def the_frame(
    model: engine.OpenModel,
    recipe: Recipe,
    after: list[str | None],
    before: list[str | None] | None,
    values: Sequence[Any],
    number: int,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The answer to the request `number`, which sent `values`; `note` says how it was drawn."""
    drawn = sum(uri is not None for uri in after)
    keys, live = keys_of(recipe, values), engine.is_live(model, drawn)
    answer = frame(recipe, after, before, model.loaded.generator.resolution, keys, live, number)
    return {**answer, "note": " ".join(notes)}


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
