"""Behind the page: names -> loaded models, recipes -> frames. No layout, no components.

Every function takes plain values and keeps nothing about a visitor, so that two visitors can
never meet. The caches hold what is the same for everybody: models, factorisations, originals.
"""

import functools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import spaces
import torch
from spaces.config import Config

import checkpoints
from sefa.editing import Recipe
from sefa.export import encode_images
from sefa.factorization import Directions
from sefa.labels import Labels
from sefa.rendering import LoadedModel, ModelCache, default_device, render, take_rows
from ui.renderer import GALLERY, Renderer

EMBEDDED = "avatars"
LIVE_SECONDS = 0.15  # a gallery that takes longer than this is drawn on release, not while dragging
TURN_SECONDS = 0.25  # on a CPU, of what is not urgent
TINY = 64  # images of fewer pixels a side are shown enlarged, every pixel in sight
GPU_SECONDS = 5  # asked of ZeroGPU for one call; what is asked for is what counts
ON_ZERO_GPU = Config.zero_gpu

MODELS = ModelCache(max_loaded=4)  # a model may be there twice, on the CPU and on the GPU
os.register_at_fork(after_in_child=MODELS.renew_lock)  # ZeroGPU forks its workers
RENDERER = Renderer()


@dataclass(frozen=True)
class OpenModel:
    """A model whose file is on this machine: what is known of it. Small enough to be a cache's key."""

    name: str
    path: Path
    revision: str | None

    @property
    def loaded(self) -> LoadedModel:
        """The model in memory, on the CPU; read again when it had to make room for others."""
        return MODELS.get(self.path, "cpu")

    @property
    def drawing(self) -> LoadedModel:
        """The model where it draws: on the GPU where there is one that is this process's own."""
        return self.loaded if ON_ZERO_GPU else MODELS.get(self.path, default_device())


# A model's commit is resolved once; family and resolution are known without reading it again.
_opened: dict[str, tuple[OpenModel, str, int]] = {}


def open_model(
    name: object, progress: Callable[[int, int | None], None] | None = None
) -> OpenModel:
    """The model a visitor names, downloaded and loaded where it is not there yet.

    Raises `UserError` for a name that is not offered, and for whatever keeps it from being had.
    """
    model = checkpoints.resolve_name(name)
    opened = _opened[model.name][0] if model.name in _opened else None
    if opened is None or not opened.path.exists():
        fetched = checkpoints.fetch(model, progress)
        opened = OpenModel(model.name, fetched.path, fetched.revision)
    generator = opened.loaded.generator  # a file that does not load is no open model
    _opened[model.name] = opened, generator.family, generator.resolution
    return opened


def seen(name: str) -> tuple[str, int] | None:
    """(family, resolution) of a model that was opened here; None for one that was not yet."""
    return _opened[name][1:] if name in _opened else None


@functools.lru_cache(maxsize=64)
def find_directions(model: OpenModel, layers: str) -> tuple[Directions, float]:
    """`factorize` for these layers, and the seconds that the decomposition took."""
    start = time.perf_counter()
    directions = model.loaded.directions(layers)
    return directions, time.perf_counter() - start


@functools.lru_cache(maxsize=64)
def labels_of(model: OpenModel) -> Labels:
    """The names of its directions and its curated seeds, read once; most models have none."""
    entry = checkpoints.resolve_name(model.name)
    return checkpoints.load_labels(entry, model.path, model.loaded.generator)


def synthesize(path: str, w: np.ndarray, conditions: Mapping[str, Any]) -> np.ndarray:
    """uint8 [N, H, W, C] for float32 w [N, num_ws, w_dim], on this machine's device.

    `conditions`: what the images depend on beside w, arrays with N rows and plain values.
    """
    return render_arrays(MODELS.get(path, default_device()), w, conditions)


def render_arrays(model: LoadedModel, w: np.ndarray, conditions: Mapping[str, Any]) -> np.ndarray:
    """`render` for what `portable` made."""
    tensors = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in conditions.items()
    }
    return render(model.generator, torch.from_numpy(w), conditions=tensors)


def portable(model: OpenModel, recipe: Recipe, edited: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """(w, conditions) of a recipe as numpy and plain values, which any process can be sent."""
    w, conditions = model.loaded.inputs(recipe, edited)
    return w.cpu().numpy(), plain(conditions)


def plain(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions as numpy and plain values."""
    return {
        name: value.cpu().numpy() if isinstance(value, torch.Tensor) else value
        for name, value in conditions.items()
    }


# The one entry that may run on a ZeroGPU worker: a path, numpy and plain values in, numpy out,
# nothing kept.
synthesize_on_gpu = spaces.GPU(duration=GPU_SECONDS)(synthesize)


def draw(model: OpenModel, recipe: Recipe, edited: bool = True) -> np.ndarray:
    """uint8 [num_samples, H, W, C] of a recipe, with or without its edits."""
    if on_zero_gpu(model):
        # Whose quota a call uses up is told by the thread that the request runs in.
        return synthesize_on_gpu(str(model.path), *portable(model, recipe, edited))
    return RENDERER.run(GALLERY, draw_here, model, recipe, edited)


def draw_here(model: OpenModel, recipe: Recipe, edited: bool) -> np.ndarray:
    """`draw` in this process, timed; for the rendering thread."""
    start = time.perf_counter()
    images = draw_arrays(model, *portable(model, recipe, edited))
    note_speed(str(model.path), (time.perf_counter() - start) / len(images))
    return images


def draw_arrays(model: OpenModel, w: np.ndarray, conditions: Mapping[str, Any]) -> np.ndarray:
    """uint8 [N, H, W, C] in this process; for the rendering thread."""
    if ON_ZERO_GPU:
        # Quick on the CPU, and a call to the GPU for every move would use up a visitor's quota.
        return render_arrays(model.loaded, w, conditions)
    return synthesize_on_gpu(str(model.path), w, conditions)


def draw_ws(
    model: OpenModel, w: torch.Tensor, conditions: Mapping[str, Any], urgency: int
) -> np.ndarray:
    """uint8 [N, H, W, C] for w [N, num_ws, w_dim], in turns that a gallery never waits long for.

    On a GPU it is one call.
    """
    if on_gpu(model):
        arrays = w.cpu().numpy(), plain(conditions)
        if on_zero_gpu(model):
            return synthesize_on_gpu(str(model.path), *arrays)
        return RENDERER.run(urgency, draw_arrays, model, *arrays)
    size = max(1, min(len(w), int(TURN_SECONDS / max(seconds_per_image(model), 1e-6))))
    turns = []
    for start in range(0, len(w), size):
        rows = range(start, min(start + size, len(w)))
        arrays = w[rows.start : rows.stop].cpu().numpy(), plain(take_rows(conditions, rows))
        turns.append(RENDERER.submit(urgency, draw_arrays, model, *arrays))
    return np.concatenate([turn.result() for turn in turns])


_seconds_per_image: dict[str, float] = {}


def note_speed(path: str, seconds: float) -> None:
    """Remembers how long an image takes: a running mean that forgets a slow first call quickly."""
    _seconds_per_image[path] = 0.5 * (_seconds_per_image.get(path, seconds) + seconds)


def seconds_per_image(model: OpenModel) -> float:
    """How long an image takes as far as is known; a second before the first was drawn."""
    return _seconds_per_image.get(str(model.path), 1.0)


def on_zero_gpu(model: OpenModel) -> bool:
    """Whether the model is drawn by calls that a visitor's quota is charged for."""
    return ON_ZERO_GPU and model.name != EMBEDDED


def on_gpu(model: OpenModel) -> bool:
    """Whether many images at once are no slower than few."""
    return on_zero_gpu(model) or (not ON_ZERO_GPU and default_device().type == "cuda")


def is_live(model: OpenModel, num_samples: int) -> bool:
    """Whether the gallery follows a slider while it is dragged, or is drawn when it is let go."""
    if on_zero_gpu(model):
        return False  # the number of calls to the GPU is limited
    if default_device().type == "cuda":
        return True
    seconds = _seconds_per_image.get(str(model.path))
    return seconds is not None and seconds * num_samples <= LIVE_SECONDS


@functools.lru_cache(maxsize=64)
def originals(model: OpenModel, recipe: Recipe) -> list[str]:
    """The frames of a recipe without edits, kept because every move is compared with them."""
    return encode(draw(model, recipe, edited=False))


def frames(model: OpenModel, recipe: Recipe) -> tuple[list[str], list[str]]:
    """(after, before): data URIs of every sample with and without the edits."""
    before = originals(model, recipe.originals())
    return (edited_frames(model, recipe) if recipe.edits else before), before


def edited_frames(model: OpenModel, recipe: Recipe) -> list[str]:
    """Data URIs of every sample with the edits."""
    return encode(draw(model, recipe))


def encode(images: np.ndarray) -> list[str]:
    """Data URIs for the gallery: jpeg, which is quick to make; tiny images lose nothing by png."""
    return encode_images(images, "png" if images.shape[1] < TINY else "jpeg")
