"""Filmstrips: beside each slider, what it makes of one of the visitor's own images.

The page asks for the strips of the rows in sight that it does not have (`Strip.key` says what a strip
is of), and the server answers with as many as it can draw in a moment, at least one; then the page
asks for the rest. So a slow model shows its first strip as soon as that is there, a gallery never
waits for more than one image, and what nobody looks at any more is not drawn. On a GPU all are one
batch. Scrubbing switches among frames that are in the browser already and asks for nothing.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np
import torch

from sefa.editing import MAX_ALPHA, MAX_SAMPLES, MAX_SEMANTICS, Edit, Recipe, edit, integer, real
from sefa.errors import UserError
from sefa.export import encode_images, resize_images
from sefa.regions import change_map
from sefa.rendering import take_rows
from ui import engine
from ui.gallery import sends
from ui.kept import Kept
from ui.renderer import STRIP
from ui.web import asset

FRAMES = 9  # of a strip, 0 in the middle
FEW_FRAMES = 5  # of a model that takes its time
SLOW_SECONDS = 0.25  # for an image
MOMENT = 0.4  # seconds; what one answer may take if it has a strip
SIZE = 256  # pixels of a frame at most: it stands in for the image while it is scrubbed
MAP_SIZE = 64  # pixels of a change map at most
ACCENT = (255, 64, 129)  # the colour of what moves
MAX_WANTED = 4096  # characters


@dataclass(frozen=True)
class Wanted:
    """Strips that a page asks for: of which of its samples, and (row, units to either end).

    number: of the request, which the answer repeats, so that no two answers are the same.
    """

    sample: int
    rows: tuple[tuple[int, float], ...]
    number: int = 0

    @classmethod
    def parse(cls, text: Any) -> "Wanted":
        """Reads {"sample": i, "rows": [[row, limit], ...], "number": n}. Raises `UserError`."""
        try:
            data = json.loads(str(text)[:MAX_WANTED])
            sample, rows = data["sample"], [(i, limit) for i, limit in data["rows"]]
            number = data["number"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise UserError("This is no list of strips.") from None
        return cls(
            integer(sample, "The sample", 0, MAX_SAMPLES - 1),
            tuple(
                (integer(i, "A row", 0, MAX_SEMANTICS - 1), real(x, "A limit", 0.001, 1e5))
                for i, x in rows[:MAX_SEMANTICS]
            ),
            integer(number, "The request's number", 0, 2**53),
        )


def own_recipe(recipe: Recipe, step: Edit) -> Recipe:
    """The recipe of everything that a row's strip depends on, but for the sample and the step."""
    others = [e for e in recipe.edits if (e.layers, e.direction) != (step.layers, step.direction)]
    bare = replace(recipe.originals(), num_samples=1)
    return replace(bare, edits=tuple(sorted(others, key=Edit.to_text)))


def strip_key(recipe: Recipe, step: Edit) -> str:
    """What the strip of a row is of: the same for the same frames."""
    text = f"{own_recipe(recipe, step).to_query()} {step.to_text()}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def positions(limit: float, count: int) -> list[float]:
    """Where the frames of a strip are, in units of its slider: from -limit to limit."""
    inner = [round(x, 1) for x in np.linspace(-limit, limit, count).tolist()[1:-1]]
    return [-limit, *inner, limit]  # on a slider's own steps


def strips(
    model: engine.OpenModel, recipe: Recipe, steps: Sequence[Edit], wanted: Wanted
) -> list[dict[str, Any]]:
    """The first of the strips that are wanted, as many as there is time for; see `draw_strips`."""
    if wanted.sample >= recipe.num_samples:
        raise UserError(f"There is no sample {wanted.sample}.")
    rows = [(i, limit) for i, limit in wanted.rows if i < len(steps)]
    count = FEW_FRAMES if engine.seconds_per_image(model) > SLOW_SECONDS else FRAMES
    if rows and engine.on_gpu(model):  # one call, whatever it takes: calls are counted
        try:
            return draw_strips(model, recipe, steps, wanted.sample, rows, count)
        except engine.NoGpu:  # the gallery says so
            if not engine.cpu_will_do(model):
                return []
    start, found = time.monotonic(), []
    for row in rows:
        found += draw_strips(model, recipe, steps, wanted.sample, [row], count, ask_gpu=False)
        if time.monotonic() - start > MOMENT:
            break
    return found


def draw_strips(
    model: engine.OpenModel,
    recipe: Recipe,
    steps: Sequence[Edit],
    sample: int,
    rows: Sequence[tuple[int, float]],
    count: int,
    ask_gpu: bool = True,
) -> list[dict[str, Any]]:
    """The strips of these (row, limit), in one batch: as the page wants them.

    row, key, sample, limit; positions: `count` numbers, in units; frames: data URIs, one each; map:
    the data URI of an image that covers what moves.
    """
    one = replace(recipe, seed=recipe.seed + sample, num_samples=1)
    middle, owns = count // 2, [own_recipe(one, steps[row]) for row, _ in rows]
    parts, beside = [], {}
    still = {own: _unmoved.get((model, own)) for own in owns}
    new = {own for own, frame in still.items() if frame is None}  # else 0 is drawn already
    order = []  # of the frames that are drawn: (row's place, frame)
    for i, ((row, limit), own) in enumerate(zip(rows, owns, strict=True)):
        step = steps[row]
        w, beside = model.loaded.inputs(own)
        vector, layers = model.loaded.vector(step)
        for j, units in enumerate(positions(limit, count)):
            if j != middle or own in new:
                alpha = max(-MAX_ALPHA, min(units * step.alpha, MAX_ALPHA))
                parts.append(edit(w, vector, alpha, layers))
                order.append((i, j))
        new.discard(own)
    w = torch.cat(parts)
    images = engine.draw_ws(model, w, take_rows(beside, [0] * len(w)), STRIP, ask_gpu)
    if images.shape[1] > SIZE:
        images = resize_images(images, SIZE)
    frames_of = dict(zip(order, images, strict=True))
    for i, own in enumerate(owns):
        if (i, middle) in frames_of:
            still[own] = frames_of[i, middle].copy()  # and nothing of the batch it is in
            _unmoved.keep((model, own), still[own], still[own].nbytes)
        frames_of[i, middle] = still[own]
    found = []
    for i, (row, limit) in enumerate(rows):
        frames = np.stack([frames_of[i, j] for j in range(count)])
        found.append(
            {
                "row": row,
                "key": strip_key(recipe, steps[row]),
                "sample": sample,
                "limit": limit,
                "positions": positions(limit, count),
                "frames": engine.encode(frames),
                "map": map_image(frames),
            }
        )
    return found


# The frame at 0 of a recipe of one sample, which is the same for every slider that is at 0.
_unmoved = Kept(48 * 1024**2)  # 200 kB each at most


def map_image(frames: np.ndarray) -> str:
    """Frames uint8 [S, H, W, C] of a strip -> a data URI: the accent colour over what moves."""
    middle = len(frames) // 2
    ends = torch.from_numpy(frames[[middle + 1, middle - 1]]).float().permute(0, 3, 1, 2)
    change = torch.nn.functional.adaptive_avg_pool2d(
        (ends[0] - ends[1])[None], min(MAP_SIZE, frames.shape[1])
    )
    strength = (change_map(change) * 200).to(torch.uint8).numpy()
    colour = np.broadcast_to(np.array(ACCENT, np.uint8), (*strength.shape, 3))
    return encode_images(np.concatenate([colour, strength[..., None]], 2)[None], "png")[0]


# --- the page's side ------------------------------------------------------------------------------


def component() -> gr.HTML:
    """Takes the strips that come, puts them beside the sliders, and asks for those still missing."""
    return gr.HTML(
        None,
        html_template="<div></div>",
        js_on_load=asset("strips.js"),
        apply_default_css=False,
        elem_id="strips",
    )


# Run before a request for strips leaves, which it notes.
ASK = sends("wanted", "{sample: 0, rows: [], number: 0}", "window.sefa.asked.left = true;")
