"""Behind the page: names -> loaded models, recipes -> frames. No layout, no components.

Every function takes plain values and keeps nothing about a visitor, so that two visitors can
never meet. The caches hold what is the same for everybody: models, factorisations, originals.
"""

import functools
import logging
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import spaces
import torch
from spaces.config import Config

import checkpoints
from hub_cache import note_use
from sefa.editing import Recipe
from sefa.errors import UserError
from sefa.export import encode_images
from sefa.factorization import Directions
from sefa.labels import Labels
from sefa.precision import IMAGES_LOOKED_AT
from sefa.rendering import (
    PIXELS_PER_BATCH,
    LoadedModel,
    ModelCache,
    default_device,
    render,
    take_rows,
)
from ui.kept import Kept
from ui.renderer import GALLERY, Renderer
from ui.visitors import visitor

EMBEDDED = "avatars"
LIVE_SECONDS = 0.15  # a gallery that takes longer than this is drawn on release, not while dragging
LIVE_BACKLOG = 0.6  # seconds; with so much before it, a slider's frame is drawn on release
TURN_SECONDS = 0.25  # on a CPU, of what is not urgent
BATCH_SECONDS = 0.3  # of what is drawn together for several visitors
TINY = 64  # images of fewer pixels a side are shown enlarged, every pixel in sight
# What is asked of ZeroGPU for one call is what counts against a visitor's minutes.
GPU_START_SECONDS = 2.0  # until a worker has CUDA
GPU_BYTES_PER_SECOND = 100e6  # of a checkpoint that is read and moved to the GPU
GPU_PIXELS_PER_SECOND = 20e6  # 20 images of 1024 px: a cautious guess, measured on no such GPU
GPU_LEAST, GPU_MOST = 2, 60
WARM_SECONDS = 60.0  # a worker that has drawn a model a minute ago has it still, most likely
CPU_SECONDS = 2.0  # for an image; a model that takes longer is not drawn on the CPU instead
CPU_PIXELS = 256  # a side; what is larger is slower than that, as far as nothing is known
ON_ZERO_GPU = Config.zero_gpu

MODELS = ModelCache()
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


@dataclass(frozen=True)
class News:
    """What came of it when a model was last opened.

    facts: family, size and layers, where it opened. refused: why it did not, one sentence.
    family, resolution: where it opened.
    """

    facts: str = ""
    family: str = ""
    resolution: int = 0
    revision: str | None = None
    refused: str = ""


_opened: dict[str, tuple[Path, str | None]] = {}  # a model's commit is resolved once
_news: OrderedDict[str, News] = OrderedDict()  # by name, the latest last
MAX_NEWS = 256


def open_model(
    name: object, progress: Callable[[int, int | None], None] | None = None
) -> OpenModel:
    """The model a visitor names, downloaded and loaded where it is not there yet.

    Raises `UserError` for a name that is not offered, and for whatever keeps it from being had.
    """
    model = checkpoints.resolve_name(name)
    path, revision = _opened.get(model.name, (None, None))
    try:
        if path is None or not path.exists():
            fetched = checkpoints.fetch(model, progress)
            path, revision = fetched.path, fetched.revision
        note_use(path)
        return load_file(model.name, path, revision)
    except UserError as error:
        note_news(model.name, News(refused=str(error)))
        raise


def load_file(name: str, path: Path, revision: str | None) -> OpenModel:
    """The model of this name, which is in this file. Raises `UserError` if it does not load."""
    opened = OpenModel(name, path, revision)
    generator = opened.loaded.generator  # a file that does not load is no open model
    layers = "1 layer" if generator.num_ws == 1 else f"{generator.num_ws} layers"
    family, pixels = generator.family, generator.resolution
    news = News(f"{family}, {pixels} px, {layers}", family, pixels, revision)
    if news_of(name) != news:
        note_news(name, news)
    _opened[name] = path, revision
    return opened


def note_news(name: str, news: News) -> None:
    _news[name] = news
    _news.move_to_end(name)
    while len(_news) > MAX_NEWS:
        _news.popitem(last=False)


def news_of(name: str) -> News | None:
    """What came of it when a model of this name was last opened; None if it never was."""
    return _news.get(name)


def seen(name: str) -> tuple[str, int] | None:
    """(family, resolution) of a model that opened when it was last tried here; else None."""
    news = news_of(name)
    return (news.family, news.resolution) if news and news.family else None


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
    return render(model.generator, torch.from_numpy(w), conditions=tensors(conditions))


def portable(model: OpenModel, recipe: Recipe, edited: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """(w, conditions) of a recipe as numpy and plain values, which any process can be sent."""
    loaded, key = model.loaded, (model, recipe.originals())
    with torch.inference_mode():
        known = _unedited.get(key)
        w, conditions = loaded.inputs(key[1]) if known is None else known
        if known is None:
            _unedited.keep(key, (w, conditions), w.nbytes)
        w = loaded.edited(w, recipe) if edited else w
        return w.cpu().numpy(), plain(conditions)


# (w, conditions) of recipes without edits: while a slider moves they stay, and mapping takes a
# quarter of the time that drawing takes.
_unedited = Kept(32 * 1024**2)


def plain(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions as numpy and plain values."""
    return {
        name: value.cpu().numpy() if isinstance(value, torch.Tensor) else value
        for name, value in conditions.items()
    }


def tensors(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `plain`."""
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in conditions.items()
    }


def gpu_seconds(path: str, w: np.ndarray, conditions: Mapping[str, Any]) -> int:
    """What is asked of ZeroGPU for `synthesize` of the same arguments: start, model, images."""
    load, images = 0.0, len(w)
    if time.monotonic() - _drawn_on_gpu.get(path, -math.inf) > WARM_SECONDS:
        load = os.path.getsize(path) / GPU_BYTES_PER_SECOND
        images += IMAGES_LOOKED_AT
    pixels = images * MODELS.get(path, "cpu").generator.resolution ** 2
    seconds = GPU_START_SECONDS + load + pixels / GPU_PIXELS_PER_SECOND
    return min(max(GPU_LEAST, math.ceil(seconds)), GPU_MOST)


_drawn_on_gpu: dict[str, float] = {}  # path -> when a worker last drew it

# The one entry that may run on a ZeroGPU worker: a path, numpy and plain values in, numpy out,
# nothing kept. `spaces` calls `gpu_seconds` here, in this process, with the call's own arguments.
synthesize_on_gpu = spaces.GPU(duration=gpu_seconds)(synthesize)


class NoGpu(UserError):
    """ZeroGPU does not draw this now. `reason`: why, a clause; the message is a whole sentence."""

    def __init__(self, reason: str):
        self.reason = reason
        super().__init__(
            f"{reason}, and this model is too slow for the CPU: try again later, or choose "
            f"{EMBEDDED}, which needs no GPU."
        )


# What `spaces` calls an error -> what a visitor reads. It raises a gr.Error with these titles, and
# errors of other kinds where its own service fails.
GPU_REASONS = {
    "ZeroGPU quota exceeded": "Your GPU minutes are used up for now",
    "ZeroGPU pending credits exceeded": "Your GPU minutes are used up for now",
    "ZeroGPU queue timeout": "No GPU is free at the moment",
    "ZeroGPU client error": "No GPU is free at the moment",
    "ZeroGPU illegal duration": "The GPU is not lent for as long as this takes",
}
GPU_FAILED = "The GPU has broken off"


def call_gpu(model: OpenModel, w: np.ndarray, conditions: Mapping[str, Any]) -> np.ndarray:
    """`synthesize` on ZeroGPU, one call, in the thread of the request, which tells whose quota it
    uses up. Raises `NoGpu`.
    """
    path = str(model.path)
    try:
        images = synthesize_on_gpu(path, w, conditions)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - the worker's own come as gr.Error too
        title = getattr(error, "title", "") if isinstance(error, gr.Error) else ""
        logging.getLogger(__name__).warning(
            "ZeroGPU: %s %s: %.500s", type(error).__name__, title, error
        )
        _drawn_on_gpu.pop(path, None)
        raise NoGpu(GPU_REASONS.get(title, GPU_FAILED)) from None
    _drawn_on_gpu[path] = time.monotonic()
    return images


def cpu_will_do(model: OpenModel) -> bool:
    """Whether the CPU can draw instead of a GPU that is not to be had."""
    seconds = _seconds_per_image.get(str(model.path))
    if seconds is None:
        return model.loaded.generator.resolution <= CPU_PIXELS
    return seconds <= CPU_SECONDS


def on_cpu_instead(model: OpenModel, error: NoGpu, notes: list[str] | None) -> None:
    """Adds to `notes` that the CPU draws now; raises the error where it would take too long."""
    if not cpu_will_do(model):
        raise error
    note = f"{error.reason}; drawing on the CPU, which is slower."
    if notes is not None and note not in notes:
        notes.append(note)


def draw(
    model: OpenModel, recipe: Recipe, edited: bool = True, notes: list[str] | None = None
) -> np.ndarray:
    """uint8 [num_samples, H, W, C] of a recipe, with or without its edits.

    `notes` gets a sentence where a visitor should know how they were drawn. Raises `Busy` where too
    many wait, `Dropped` when nobody wants it any more.
    """
    return draw_each(model, [(recipe, edited)], notes)[0]


def draw_each(
    model: OpenModel, recipes: Sequence[tuple[Recipe, bool]], notes: list[str] | None = None
) -> list[np.ndarray]:
    """`draw` for each (recipe, edited): at once, and with what other visitors wait for."""
    if on_zero_gpu(model):
        try:
            return [call_gpu(model, *portable(model, *recipe)) for recipe in recipes]
        except NoGpu as error:
            on_cpu_instead(model, error, notes)
    RENDERER.admit(GALLERY)
    return RENDERER.wait(
        [
            submit_drawing(model, GALLERY, recipe.num_samples, portable, model, recipe, edited)
            for recipe, edited in recipes
        ]
    )


def submit_drawing(
    model: OpenModel, urgency: int, count: int, inputs: Callable[..., Any], *arguments: Any
) -> "Future[np.ndarray]":
    """A place in the line for `count` images of a model, of the (w, conditions) that
    `inputs(*arguments)` gives: in the rendering thread, which may draw others in the same batch.
    """
    seconds, pixels = seconds_per_image(model), PIXELS_PER_BATCH // pixels_of(model)
    most = pixels if on_gpu(model) else min(pixels, int(BATCH_SECONDS / max(seconds, 1e-6)))
    return RENDERER.submit(
        urgency,
        functools.partial(draw_together, model),
        inputs,
        *arguments,
        seconds=count * seconds,
        group=model,
        size=count,
        most=most,
    )


def draw_together(
    model: OpenModel, asked: Sequence[tuple[Any, ...]]
) -> list[np.ndarray | Exception]:
    """For each (inputs, *arguments) its images uint8 [n, H, W, C], or the error of its inputs.

    For the rendering thread. One batch for all whose conditions can be in one; timed.
    """
    found: list[Any] = [None] * len(asked)
    batches: dict[Any, list[tuple[int, np.ndarray, Mapping[str, Any]]]] = {}
    for i, (inputs, *arguments) in enumerate(asked):
        try:
            w, conditions = inputs(*arguments)
            batches.setdefault(kind_of(conditions), []).append((i, w, conditions))
        except Exception as error:  # noqa: BLE001 - it is that caller's alone
            found[i] = error
    for batch in batches.values():
        places, ws, beside = zip(*batch, strict=True)
        start = time.perf_counter()
        images = draw_arrays(model, np.concatenate(ws), stack_conditions(beside))
        note_speed(str(model.path), (time.perf_counter() - start) / len(images))
        ends = np.cumsum([len(w) for w in ws])
        for i, part in zip(places, np.split(images, ends[:-1]), strict=True):
            found[i] = part
    return found


def kind_of(conditions: Mapping[str, Any]) -> tuple:
    """The same for conditions that can be in one batch: those whose plain values are equal."""
    return tuple(
        (name, value.shape[1:] if isinstance(value, np.ndarray) else (type(value), value))
        for name, value in sorted(conditions.items())
    )


def stack_conditions(conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Conditions of one kind as those of all their samples: arrays row after row."""
    return {
        name: np.concatenate([each[name] for each in conditions])
        if isinstance(value, np.ndarray)
        else value
        for name, value in conditions[0].items()
    }


def draw_arrays(model: OpenModel, w: np.ndarray, conditions: Mapping[str, Any]) -> np.ndarray:
    """uint8 [N, H, W, C] in this process; for the rendering thread."""
    if ON_ZERO_GPU:
        # Quick on the CPU, and a call to the GPU for every move would use up a visitor's quota.
        return render_arrays(model.loaded, w, conditions)
    return synthesize_on_gpu(str(model.path), w, conditions)


def draw_ws(
    model: OpenModel,
    w: torch.Tensor,
    conditions: Mapping[str, Any],
    urgency: int,
    ask_gpu: bool = True,
) -> np.ndarray:
    """uint8 [N, H, W, C] for w [N, num_ws, w_dim], in turns that a gallery never waits long for.

    On a GPU it is one call. On ZeroGPU it raises `NoGpu`; without `ask_gpu` the CPU draws there.
    """
    if on_gpu(model) and (ask_gpu or not on_zero_gpu(model)):
        arrays = w.cpu().numpy(), plain(conditions)
        if on_zero_gpu(model):
            return call_gpu(model, *arrays)
        return RENDERER.run(urgency, draw_arrays, model, *arrays)
    RENDERER.admit(urgency)
    size = max(1, min(len(w), int(TURN_SECONDS / max(seconds_per_image(model), 1e-6))))
    turns = []
    for start in range(0, len(w), size):
        rows = range(start, min(start + size, len(w)))
        arrays = w[rows.start : rows.stop].cpu().numpy(), plain(take_rows(conditions, rows))
        turns.append(submit_drawing(model, urgency, len(rows), as_they_are, *arrays))
    return np.concatenate(RENDERER.wait(turns))


def as_they_are(w: np.ndarray, conditions: Mapping[str, Any]) -> tuple[np.ndarray, Any]:
    """The inputs of a drawing for which nothing is left to be computed."""
    return w, conditions


_seconds_per_image: dict[str, float] = {}


def note_speed(path: str, seconds: float) -> None:
    """Remembers how long an image takes: a running mean that forgets a slow first call quickly.

    One that took far longer than those before it, as when the machine was suspended, says little.
    """
    known = _seconds_per_image.get(path, seconds)
    _seconds_per_image[path] = 0.5 * (known + min(seconds, 4 * known))


def pixels_of(model: OpenModel) -> int:
    """Of one image; as the model opened, so that a model that had to go is not loaded for it."""
    known = seen(model.name)
    return (known[1] if known else model.loaded.generator.resolution) ** 2


def seconds_per_image(model: OpenModel) -> float:
    """How long an image takes as far as is known; a second before the first was drawn."""
    return _seconds_per_image.get(str(model.path), 1.0)


def on_zero_gpu(model: OpenModel) -> bool:
    """Whether the model is drawn by calls that a visitor's quota is charged for."""
    return ON_ZERO_GPU and model.name != EMBEDDED


def on_gpu(model: OpenModel) -> bool:
    """Whether many images at once are no slower than few."""
    return on_zero_gpu(model) or (not ON_ZERO_GPU and default_device().type == "cuda")


def is_idle() -> bool:
    """Whether a frame for a slider that moves would come soon; else it is drawn on release."""
    return RENDERER.ahead(visitor())[1] <= LIVE_BACKLOG


def is_live(model: OpenModel, num_samples: int) -> bool:
    """Whether the gallery follows a slider while it is dragged, or is drawn when it is let go."""
    if on_zero_gpu(model):
        return False  # the number of calls to the GPU is limited
    if default_device().type == "cuda":
        return True
    seconds = _seconds_per_image.get(str(model.path))
    return seconds is not None and seconds * num_samples <= LIVE_SECONDS


_originals = Kept(64 * 1024**2)  # data URIs of recipes without edits


def frames(
    model: OpenModel, recipe: Recipe, notes: list[str] | None = None
) -> tuple[list[str], list[str]]:
    """(after, before): data URIs of every sample with and without the edits; `notes` as in `draw`.

    Those without edits are kept, because every move is compared with them.
    """
    key = model, recipe.originals()
    before = _originals.get(key)
    if before is not None:
        return (edited_frames(model, recipe, notes) if recipe.edits else before), before
    wanted = [(key[1], False), *([(recipe, True)] if recipe.edits else [])]
    drawn = [encode(images) for images in draw_each(model, wanted, notes)]
    _originals.keep(key, drawn[0], sum(map(len, drawn[0])))
    return drawn[-1], drawn[0]


def edited_frames(model: OpenModel, recipe: Recipe, notes: list[str] | None = None) -> list[str]:
    """Data URIs of every sample with the edits; `notes` as in `draw`."""
    return encode(draw(model, recipe, notes=notes))


def encode(images: np.ndarray) -> list[str]:
    """Data URIs for the gallery: jpeg, which is quick to make; tiny images lose nothing by png."""
    return encode_images(images, "png" if images.shape[1] < TINY else "jpeg")
