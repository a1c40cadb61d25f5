"""SeFa's directions beside those of PCA and random ones, on the visitor's own image.

All go as far as it takes for the same mean change of other images (`sefa.comparison`), so that what
differs is what changes and not how much.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sefa.baselines import METHODS, directions_by
from sefa.comparison import NOTICED, EqualChange, equal_change
from sefa.editing import MAX_ALPHA, VIEWS, Recipe, edit
from sefa.errors import UserError
from sefa.export import resize_images
from sefa.factorization import Directions
from sefa.pictures import one_of
from sefa.rendering import take_rows
from ui import engine
from ui.kept import Kept
from ui.renderer import STRIP

COUNT = 3  # directions of each method
DISTANCE = 3.0  # units to either end; ten are the mean difference of two samples
FRAMES = 5
SIZE = 160  # pixels of a frame at most
MOST_SECONDS = 120.0  # that finding the alphas may take
IMAGES = len(METHODS) * COUNT * 80  # that it draws, about

Report = Callable[[int, int], Any]  # done, total


def compare(
    model: engine.OpenModel, recipe: Recipe, sample: int, report: Report | None = None
) -> list[dict[str, Any]]:
    """A row for each direction of each method: "method", "direction", "note", "frames" (data URIs).

    Of one sample of the recipe, unedited. Raises `UserError` for a model that is too slow for it.
    """
    layers = "all" if recipe.layers in VIEWS else recipe.layers
    seconds = IMAGES * engine.seconds_per_image(model)
    if seconds > MOST_SECONDS and not engine.on_gpu(model):
        raise UserError(
            f"For this model it would take about {seconds / 60:.0f} minutes on this machine; "
            f"python -m sefa {model.name} -L {layers} --compare does it on yours."
        )
    methods, equal = measure(model, layers, recipe.class_index, report)
    w, beside = model.loaded.inputs(one_of(recipe.originals(), sample))
    parts, notes = [], []
    for (title, directions), alphas, shares in zip(
        methods, equal.alphas, equal.shares, strict=True
    ):
        for i, (vector, alpha, share) in enumerate(
            zip(directions.vectors, alphas, shares, strict=False)
        ):
            less = f", {share:.0%} of the change" if abs(share - 1) > NOTICED else ""
            notes.append((title, i, f"alpha ±{alpha:.3g}{less}"))
            for fraction in np.linspace(-1, 1, FRAMES).tolist():
                along = max(-MAX_ALPHA, min(fraction * alpha, MAX_ALPHA))
                parts.append(edit(w, vector, along, directions.layers))
    drawn = torch.cat(parts)
    images = engine.draw_ws(model, drawn, take_rows(beside, [0] * len(drawn)), STRIP)
    if images.shape[1] > SIZE:
        images = resize_images(images, SIZE)
    return rows_of(notes, engine.encode(images))


def rows_of(notes: Sequence[tuple[str, int, str]], frames: Sequence[str]) -> list[dict[str, Any]]:
    """By direction, so that the methods stand under one another."""
    rows = [
        {"method": title, "direction": i, "note": note, "frames": frames[k : k + FRAMES]}
        for k, (title, i, note) in zip(range(0, len(frames), FRAMES), notes, strict=True)
    ]
    return sorted(rows, key=lambda row: row["direction"])  # stable: the methods keep their order


def measure(
    model: engine.OpenModel, layers: str, class_index: int, report: Report | None
) -> tuple[list[tuple[str, Directions]], EqualChange]:
    """(each method's title and directions, how far they go for the same change)."""
    key = (model, layers, class_index)
    known = _measured.get(key)
    if known is None:
        known = _measure(model, layers, class_index, report)
        size = sum(directions.vectors.nbytes for _, directions in known[0])
        _measured.keep(key, known, size)
    return known


_measured = Kept(64 * 1024**2)  # of each method's directions all: 2 MB for a w of 512


def _measure(model, layers, class_index, report):
    drawing = model.drawing
    turn = functools.partial(engine.RENDERER.run, STRIP)
    generator = drawing.generator
    methods = [
        (title, turn(functools.partial(directions_by, method, generator, layers)))
        for method, title in METHODS.items()
    ]
    found = [directions for _, directions in methods]
    label = class_index if generator.label_dim else None
    return methods, equal_change(drawing, found, COUNT, DISTANCE, label, report, turn)
