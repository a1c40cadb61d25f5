"""Files that a visitor saves: recipe -> arrays -> bytes -> a file that Gradio serves for an hour.

Each is drawn anew, exactly: what the gallery shows are previews.
"""

import html
import io
import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from gradio import processing_utils
from gradio.utils import get_upload_folder

from sefa.animation import (
    check_animation,
    draw_frames,
    encode_animation,
    frame_size,
    plan,
    same_direction,
)
from sefa.directions_file import DirectionRow, DirectionsFile, directions_bytes
from sefa.editing import MAX_ALPHA, MAX_SEMANTICS, Edit, Recipe, edit, integer, real
from sefa.errors import UserError
from sefa.export import ORDERS, TraversalGrid, encode_images, page_chunks, resize_images
from sefa.factorization import parse_layers
from sefa.files import keep_newest
from sefa.labels import is_index, labels_json
from sefa.pictures import grid, one_of, png_bytes
from sefa.rendering import take_rows
from sefa.snippets import as_command
from sefa.teaser import MAX_STRIPS, draw_strips, strip_recipes, teaser_page
from ui import engine, measuring
from ui.controls import CONTROLS, link_told, read, read_steps, sample_of
from ui.layout import brushed_of, rows_shown
from ui.renderer import STRIP
from ui.rows import Row, is_measured_row, labels_of
from ui.settings import settings

STEPS = 11  # of a row of the two pages, as in the official tool
FPS = 25.0  # of an animation
MOVE_UNITS = 5.0  # that an animation or a teaser goes, where the slider does
PAGE_SIZE = 256  # pixels of an image there
FOLDER = "sefa-saved"  # in Gradio's folder of what it serves, which other programs may share
MAX_FILES, MAX_SAVED = 1000, 1_000_000_000  # files and bytes there, the last written
OLD_S = 2 * 3600.0  # Gradio looks every hour for what is an hour old

Report = Callable[[int, int], Any]  # done, total


@dataclass(frozen=True)
class Asked:
    """What a request for a file says beside the recipe.

    values: of the controls, and what more there is for this kind of file; sample: which is chosen;
    link: where the page is, "" unless anybody can open it.
    """

    values: Sequence[Any]
    sample: int
    link: str


def saves(function: Callable) -> Callable:
    """An event: the values of the controls, and {"sample", "link"} as JSON -> (paths or None, what is said).

    `function(model, recipe, asked, report)` gives (name, content) of one or more files.
    """

    def wrapped(progress: gr.Progress = gr.Progress(), *inputs: Any) -> tuple[Any, str]:  # noqa: B008
        def report(done: int, total: int) -> None:
            progress(done / total if total else 0, desc=f"Drawing, {done} of {total}")

        try:
            *values, more = inputs
            recipe = read(values)
            model = engine.open_model(recipe.model)
            asked = Asked(values, sample_of(more), link_told(more))
            files = function(model, recipe, asked, report)
        except UserError as error:
            return None, f"<p class='problem' role='alert'>{html.escape(str(error))}</p>"
        return [keep(model, name, content) for name, content in files], say_saved(files)

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    return wrapped


def keep(model: engine.OpenModel, name: str, content: bytes) -> str:
    """Puts a file where Gradio serves it, and deletes it after an hour; returns its path."""
    stem = re.sub(r"[^\w.-]+", "_", model.name)[:100]
    folder = Path(get_upload_folder()) / FOLDER
    path = processing_utils.save_bytes_to_cache(content, f"{stem}-{name}", str(folder))
    tidy(folder)
    return path


def tidy(folder: Path) -> None:
    """Deletes saved files beyond MAX_SAVED, and those that a program which was killed left. Never
    raises.

    Gradio deletes only what its own process has written.
    """
    try:
        files = list(folder.glob("*/*"))
        keep_newest(files, MAX_FILES, MAX_SAVED)
        for file in files:
            if file.exists() and time.time() - file.stat().st_mtime > OLD_S:
                file.unlink(missing_ok=True)
            if not any(file.parent.iterdir()):
                file.parent.rmdir()
    except OSError as error:  # somebody else tidies; what was saved is there
        logging.getLogger(__name__).info("Saved files are not tidied: %s", error)


def say_saved(files: Sequence[tuple[str, bytes]]) -> str:
    """How large it was: the browser says where it is."""
    total = sum(len(content) for _, content in files)
    size = f"{total / 1e6:.1f} MB" if total >= 1e5 else f"{max(1, round(total / 1e3))} kB"
    return f"<p role='status'>Saved {size}.</p>"


# --- images ---------------------------------------------------------------------------------------


@saves
def save_image(model, recipe, asked, report) -> list[tuple[str, bytes]]:
    """The chosen sample, exactly, with its recipe."""
    one = one_of(recipe, asked.sample)
    return [(f"seed{one.seed}.png", png_bytes(engine.draw(model, one)[0], one))]


@saves
def save_grid(model, recipe, asked, report) -> list[tuple[str, bytes]]:
    """All samples side by side, exactly, with their recipe."""
    images = grid(engine.draw(model, recipe))
    return [(f"seed{recipe.seed}-n{recipe.num_samples}.png", png_bytes(images, recipe))]


# --- the paper's two pages ------------------------------------------------------------------------


@saves
def save_pages(model, recipe, asked, report) -> list[tuple[str, bytes]]:
    """Both pages: every sample along every direction that has a slider."""
    traversals = traverse(
        model, recipe, rows_shown(model, recipe, brushed_of(asked.values)), report
    )
    pages = [(order, "".join(page_chunks(traversals, order))) for order in ORDERS]
    return [(f"{order}.html", page.encode()) for order, page in pages]


def traverse(
    model: engine.OpenModel, recipe: Recipe, rows: Sequence[Row], report: Report
) -> TraversalGrid:
    """Every unedited sample of a recipe along every row, from the slider's least to its most."""
    base = recipe.originals()
    generator = model.loaded.generator
    w, conditions = model.loaded.inputs(base)
    fractions = np.linspace(-1, 1, STEPS)
    images: list[list[list[str]]] = []
    for i in range(len(w)):
        images.append([])
        for row in rows:
            report(i * len(rows) + len(images[-1]), len(w) * len(rows))
            vector, layers = model.loaded.vector(row.step)
            alphas = np.clip(fractions * row.limit * row.step.alpha, -MAX_ALPHA, MAX_ALPHA)
            edited = torch.cat([edit(w[i : i + 1], vector, a, layers) for a in alphas.tolist()])
            beside = take_rows(conditions, [i] * len(edited))
            drawn = resize_images(engine.draw_ws(model, edited, beside, STRIP), PAGE_SIZE)
            images[-1].append(encode_images(drawn, "jpeg"))
    far = "; ".join(f"{row.label}: {row.limit * row.step.alpha:.3g}" for row in rows)
    return TraversalGrid(
        model=model.name,
        layers=", ".join(dict.fromkeys(row.step.layers for row in rows)),
        samples=[f"seed {seed}" for seed in base.seeds()],
        eigenvalues=(),
        distances=[round(float(x), 3) for x in fractions],
        images=images,
        image_size=(PAGE_SIZE, PAGE_SIZE),
        names=[row.label for row in rows],
        facts=[
            ("Model", f"{generator.family}, {generator.resolution} px"),
            ("Alpha at distance 1", far),
        ],
        command=as_command(base),
    )


# --- animations and the teaser --------------------------------------------------------------------


def drawer(model: engine.OpenModel, recipes: Sequence[Recipe]) -> Callable[[Recipe], np.ndarray]:
    """Recipe -> uint8 [num_samples, H, W, C], for any of `recipes`.

    On a GPU all are drawn at once, as calls are counted; else each when it is asked for, so that
    galleries come in between.
    """
    if not engine.on_gpu(model):
        return lambda recipe: engine.draw_ws(model, *model.loaded.inputs(recipe), STRIP)
    distinct = list(dict.fromkeys(recipes))
    inputs = [model.loaded.inputs(recipe) for recipe in distinct]
    size = len(inputs[0][0])  # the same for all, and so are the conditions
    w = torch.cat([part for part, _ in inputs])
    beside = take_rows(inputs[0][1], list(range(size)) * len(distinct))
    parts = np.split(engine.draw_ws(model, w, beside, STRIP), len(distinct))
    return dict(zip(distinct, parts, strict=True)).__getitem__


@saves
def save_animation(model, recipe, asked, report) -> list[tuple[str, bytes]]:
    """The chosen sample, or all, moved along the directions that were picked, one after another."""
    picked, kind, easing, seconds, loop, everybody = asked.values[len(CONTROLS) + MAX_SEMANTICS :]
    rows = rows_shown(model, recipe, brushed_of(asked.values))
    if not isinstance(picked, list) or not picked:
        raise UserError("Pick at least one direction to animate.")
    picked = [integer(i, "A direction", 0, len(rows) - 1) for i in picked[:MAX_SEMANTICS]]
    kind, easing = str(kind), str(easing)
    if not everybody:
        recipe = one_of(recipe, asked.sample)
    frames = round(real(seconds, "The seconds", 0.2, 20) * FPS)
    moves = [move_of(rows[i]) for i in picked]
    recipes = plan(recipe, moves, frames, easing, bool(loop))
    size = max(model.loaded.generator.resolution, PAGE_SIZE)
    check_animation(kind, FPS, len(recipes), *frame_size(size, recipe.num_samples))
    images = drawer(model, recipes)
    drawn = draw_frames(recipes, lambda r: resize_images(images(r), size), progress=report)
    name = f"seed{recipe.seed}-animation.{kind}"
    return [(name, encode_animation(drawn, kind, FPS, bool(loop)))]


def move_of(row: Row) -> Edit:
    """A slider as a move: as far as it goes, within what is worth looking at."""
    units = min(row.limit, MOVE_UNITS)
    return replace(row.step, alpha=max(-MAX_ALPHA, min(units * row.step.alpha, MAX_ALPHA)))


@saves
def save_teaser(model, recipe, asked, report) -> list[tuple[str, bytes]]:
    """The chosen sample with the first sliders, or those in use, in one file without a server."""
    rows = rows_shown(model, recipe, brushed_of(asked.values))
    used = [row for row in rows if any(same_direction(e, row.step) for e in recipe.edits)]
    rows = [*used, *(row for row in rows if row not in used)][:MAX_STRIPS]
    labels, num_ws = labels_of(model, recipe), model.loaded.generator.num_ws
    called = []
    for row in rows:
        named = labels.find(parse_layers(row.step.layers, num_ws), row.step.direction)
        called.append(named or (row.label, 1))
    moves, one = [move_of(row) for row in rows], one_of(recipe, asked.sample)
    recipes, _ = strip_recipes(one, moves, [sign for _, sign in called])
    strips = draw_strips(one, moves, called, drawer(model, recipes), progress=report)
    return [("teaser.html", teaser_page(settings().title, strips, asked.link).encode("ascii"))]


# --- directions and names -------------------------------------------------------------------------


def direction_rows(model, recipe, asked) -> tuple[DirectionRow, ...]:
    """The directions that have sliders."""
    labels = labels_of(model, recipe)
    rows = []
    for step in read_steps(asked.values[CONTROLS.index("shown_rows")]):
        directions, _ = engine.find_directions(model, step.layers)
        name, sign = labels.find(directions.layers, step.direction) or ("", 1)
        measured = not is_index(step.direction) or is_measured_row(model, step)
        unit = step.alpha if measured else math.nan
        rows.append(
            DirectionRow.of(
                directions, step.layers, step.direction, unit=unit, name=name, sign=sign
            )
        )
    return tuple(rows)


@saves
def save_directions(model, recipe, asked, report) -> list[tuple[str, bytes]]:
    """The directions that have sliders, with all that is known of them."""
    generator = model.loaded.generator
    file = DirectionsFile(
        model.name,
        measuring.weights_of(model),
        generator.family,
        generator.num_ws,
        direction_rows(model, recipe, asked),
    )
    return [("directions.safetensors", directions_bytes(file))]


@saves
def save_vectors(model, recipe, asked, report) -> list[tuple[str, bytes]]:
    """The directions that have sliders, as an array float32 [K, w_dim] and nothing else."""
    rows = direction_rows(model, recipe, asked)
    buffer = io.BytesIO()
    np.save(buffer, torch.stack([row.vector for row in rows]).float().numpy(), allow_pickle=False)
    return [("directions.npy", buffer.getvalue())]


@saves
def save_names(model, recipe, asked, report) -> list[tuple[str, bytes]]:
    """All names of the model's directions, the visitor's too, as a file that a Space can ship."""
    content = labels_json(measuring.weights_of(model), labels_of(model, recipe))
    return [("names.json", content.encode())]


SAVES = {
    "image": save_image,
    "grid": save_grid,
    "pages": save_pages,
    "teaser": save_teaser,
    "animation": save_animation,
    "directions": save_directions,
    "vectors": save_vectors,
    "names": save_names,
}
