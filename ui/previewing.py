"""Small images while a slider of a slow model moves: which are of use, measured once, and drawn.

Nobody waits for the measuring: it begins when a model has been drawn, and gives way to everything
else. Until it is done, and for networks that have no small images, a drag is drawn on release.
"""

import logging
import threading
from collections.abc import Callable

import numpy as np
import torch

from sefa.editing import Recipe
from sefa.errors import UserError
from sefa.factorization import parse_layers
from sefa.previews import Preview, measure, quickest_enough, render_preview
from ui import engine, measuring
from ui.renderer import GALLERY

SECONDS = 0.25  # that the small images of a gallery may take: four times a second
SAMPLES = 4  # that are measured

# By path; nothing while they are measured, where that failed, and where none is of use.
_known: dict[str, list[Preview]] = {}
_knowing = threading.Lock()


def prepare(model: engine.OpenModel) -> None:
    """Begins to measure what is not known of a model, in a thread of its own.

    On the CPU: where a GPU draws, whole images are quick enough, and on ZeroGPU calls are few.
    """
    path = str(model.path)
    with _knowing:
        if path in _known or measuring.seconds() <= 0:
            return
        _known[path] = []
    in_background(find, model)


def in_background(function: Callable, *arguments: object) -> None:
    """Calls it in a thread that nobody waits for, not even the end of the program."""
    threading.Thread(target=function, args=arguments, name="previews", daemon=True).start()


def find(model: engine.OpenModel) -> None:
    """Measures the previews of a model; what goes wrong is in the log alone."""
    try:
        loaded = model.loaded
        with torch.inference_mode():
            w, conditions = loaded.measured_codes(SAMPLES, Recipe.truncation_psi)
        found = measure(loaded.generator, w, conditions, measuring.turn)
        _known[str(model.path)] = found
    except Exception as error:  # noqa: BLE001 - the page does without
        level = logging.INFO if isinstance(error, UserError) else logging.WARNING
        logging.getLogger(__name__).log(level, "%s has no previews: %.300s", model.name, error)


def draw(model: engine.OpenModel, recipe: Recipe) -> list[str] | None:
    """Data URIs of small images of a recipe's samples; None where none would be quick, or any use.

    Raises as `engine.draw`.
    """
    prepare(model)
    num_ws = model.loaded.generator.num_ws
    layers = [parse_layers(change.layers, num_ws) for change in recipe.edits]
    preview = quickest_enough(_known.get(str(model.path), ()), recipe.num_samples, SECONDS, layers)
    if preview is None:
        return None
    engine.RENDERER.admit(GALLERY)
    seconds = preview.seconds * recipe.num_samples
    return engine.encode(
        engine.RENDERER.run(GALLERY, images, model, recipe, preview, seconds=seconds)
    )


def images(model: engine.OpenModel, recipe: Recipe, preview: Preview) -> np.ndarray:
    """uint8 [num_samples, h, w, C]; for the rendering thread."""
    w, conditions = engine.portable(model, recipe, edited=True)
    return render_preview(
        model.loaded.generator, preview, torch.from_numpy(w), engine.tensors(conditions)
    )
