"""Recipe -> images: device, loaded models, batches, and uint8 on the CPU."""

import functools
import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sefa import load_generator, precision, reuse
from sefa.calibration import Calibration, Progress, calibrate, natural_spread
from sefa.editing import Edit, Recipe, combine, edit, mix
from sefa.errors import UserError
from sefa.factorization import Directions, factorize, parse_layers
from sefa.generators.generator import Generator, take_rows
from sefa.layer_groups import LayerEffects, LayerGroup, layer_effects, suggest_groups
from sefa.malloc import give_back_memory, keep_freed_memory
from sefa.memory import weight_bytes, weights_limit

MAX_DIRECTIONS = 16  # factorisations kept for each model (one is at most 2 MB)
PIXELS_PER_BATCH = 4 * 1024 * 1024  # four images of 1024 px at a time bound the memory of a GPU
CPU_PIXELS_PER_BATCH = 1024 * 1024  # a CPU gains nothing from more, and its caches lose
# Seeds that directions are measured on: as far as possible from those that people look at.
MEASURED_FROM = 3_000_000_000
MEASURED_PIXELS = 32 * 256**2  # of all samples together: 32 of 256 px, 4 at least, 64 at most
FEWEST = 4
PIXELS_PER_TURN = 512**2  # on a CPU, so that a gallery never waits long for what is measured
MIXED_PIXELS = 16 * 256**2  # of the samples whose layers are mixed: 4 at least, 16 at most
NATURAL_SEEDS = 1024  # for the spread of natural w

Turn = Callable[[Callable[[], Tensor]], Tensor]  # how a batch of images is run


def at_once(batch: Callable[[], Tensor]) -> Tensor:
    """The `Turn` of a process that does nothing else meanwhile."""
    return batch()


@functools.cache
def default_device() -> torch.device:
    """CUDA when there is one, else the CPU, decided once; SEFA_DEVICE ("cuda:1") overrides."""
    wanted = os.environ.get("SEFA_DEVICE", "").strip()
    available = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not wanted:
        return available
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        warnings.warn(f"SEFA_DEVICE={wanted!r} cannot be used ({reason}); using {available}.")
        return available
    return device


class LoadedModel:
    """A generator on its device, with the factorisations that were asked of it."""

    def __init__(self, generator: Generator):
        self.generator = generator
        self._directions: OrderedDict[str, Directions] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """On its device: of the weights, what the first image prepared of them, and kept features."""
        return weight_bytes(self.generator) + reuse.kept_bytes(self.generator)

    def directions(self, layers: str) -> Directions:
        """`factorize(generator, layers)`, computed once for each selection."""
        key = ",".join(map(str, parse_layers(layers, self.generator.num_ws)))
        with self._lock:
            if key not in self._directions:
                with torch.inference_mode(False):  # they outlive the render that asked first
                    self._directions[key] = factorize(self.generator, layers)
                if len(self._directions) > MAX_DIRECTIONS:
                    self._directions.popitem(last=False)
            self._directions.move_to_end(key)
            return self._directions[key]

    def calibration(
        self,
        layers: str,
        count: int,
        progress: Progress | None = None,
        first_seed: int = MEASURED_FROM,
        known: Calibration | None = None,
        turn: Turn = at_once,
    ) -> Calibration:
        """`calibrate` for the first `count` directions of a selection, at the truncation of a new
        recipe.

        The samples are seeds `first_seed` and following, of a conditional model classes in turn.
        `progress`, `known`: see `calibrate`; `turn`: how batches are run.
        """
        generator, directions = self.generator, self.directions(layers)
        vectors = directions.vectors[:count]
        samples = min(max(FEWEST, MEASURED_PIXELS // generator.resolution**2), 64)

        with torch.inference_mode():
            w, conditions = self.measured_codes(samples, Recipe.truncation_psi, first_seed)

            def synthesize(w: Tensor) -> Tensor:  # of the first len(w) samples
                return self.in_turns(w, conditions, turn)

            spread = self.natural_spread(vectors, directions.layers, first_seed)
            return calibrate(synthesize, w, vectors, directions.layers, spread, progress, known)

    def in_turns(self, w: Tensor, conditions: Mapping[str, Any], turn: Turn = at_once) -> Tensor:
        """Images [N, C, H, W] of w: each batch is one call of `turn`, which may let others go first."""
        generator = self.generator
        size = PIXELS_PER_BATCH if generator.device.type == "cuda" else PIXELS_PER_TURN
        size = max(1, size // generator.resolution**2)

        def batch(rows: range) -> Tensor:
            with torch.inference_mode():  # which every thread has of its own
                return generator.synthesize(
                    w[rows.start : rows.stop].to(generator.device),
                    **take_rows(conditions, rows, generator.device),
                )

        def in_turn(rows: range) -> Tensor:
            return turn(functools.partial(batch, rows))

        return torch.cat(list(cut(in_turn, len(w), size, generator)))

    def natural_spread(
        self, vectors: Tensor, layers: Sequence[int], first_seed: int = MEASURED_FROM
    ) -> Tensor:
        """Standard deviation of natural w along vectors [K, w_dim]: [K] float64."""
        with torch.inference_mode():
            natural, _ = self.measured_codes(NATURAL_SEEDS, 1.0, first_seed)
            return natural_spread(natural, vectors, layers)

    def measured_codes(
        self,
        n: int,
        truncation_psi: float,
        first_seed: int = MEASURED_FROM,
        class_index: int | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """(w, conditions) of the seeds from `first_seed` on.

        Of a conditional model all of one class, or classes in turn.
        """
        generator = self.generator
        z = generator.sample_z(range(first_seed, first_seed + n)).to(generator.device)
        if class_index is None:
            label = generator.classes_in_turn(range(n))
        else:
            label = generator.one_hot(class_index, n)
        label = None if label is None else label.to(z)
        w = generator.map(z, label, truncation_psi)
        return w, generator.conditions(label, truncation_psi)

    def ws(self, recipe: Recipe, edited: bool = True) -> Tensor:
        """w [num_samples, num_ws, w_dim] of a recipe, with or without its edits.

        What is mixed into the samples is part of them, edited or not. Raises `UserError` for layers,
        directions or a class that the model does not have.
        """
        return self.inputs(recipe, edited)[0]

    def inputs(self, recipe: Recipe, edited: bool = True) -> tuple[Tensor, dict[str, Any]]:
        """What `render` needs for the images of a recipe: (w, conditions), see `ws`."""
        with torch.inference_mode():
            w, label = self.mapped(recipe, recipe.seeds())
            if recipe.mix is not None:
                other, _ = self.mapped(recipe, [recipe.mix.seed])
                w = mix(w, other, recipe.mix.layers)
            conditions = self.generator.conditions(label, recipe.truncation_psi, recipe.noise_seed)
            return self.edited(w, recipe) if edited else w, conditions

    def edited(self, w: Tensor, recipe: Recipe) -> Tensor:
        """w [N, num_ws, w_dim] with the edits of a recipe. Raises as `vector`."""
        for change in recipe.edits:
            vector, layers = self.vector(change)
            w = edit(w, vector, change.alpha, layers)
        return w

    def mapped(self, recipe: Recipe, seeds: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """(w [N, num_ws, w_dim], label [N, label_dim] or None) of any seeds, truncated, in the class
        of a recipe.
        """
        generator = self.generator
        z = generator.sample_z(seeds).to(generator.device)
        label = generator.one_hot(recipe.class_index, len(z))
        label = None if label is None else label.to(z)
        w = generator.map(z, label, recipe.truncation_psi, recipe.truncation_cutoff)
        return w, label

    def vector(self, change: Edit) -> tuple[Tensor, list[int]]:
        """The direction [w_dim] float64 of an edit, and the w indices that it is for.

        Raises `UserError` for layers or directions that the model does not have.
        """
        directions = self.directions(change.layers)
        return combine(directions.vectors, change.direction), directions.layers

    def images(self, recipe: Recipe, edited: bool = True) -> np.ndarray:
        """uint8 [num_samples, H, W, C] of a recipe."""
        w, conditions = self.inputs(recipe, edited)
        return render(self.generator, w, conditions=conditions)

    def layer_groups(
        self,
        progress: Progress | None = None,
        first_seed: int = MEASURED_FROM,
        turn: Turn = at_once,
    ) -> list[LayerGroup]:
        """`suggest_groups` for this model, coarse to fine, on the samples that `calibration` draws.

        For one layer nothing is measured: it is the only group.
        """
        generator = self.generator
        if generator.num_ws == 1:
            return suggest_groups(LayerEffects(torch.ones(1, 1)), generator.layer_resolutions)
        samples = min(max(4, MIXED_PIXELS // generator.resolution**2), 16)
        with torch.inference_mode():
            w, conditions = self.measured_codes(samples, Recipe.truncation_psi, first_seed)

            def synthesize(w: Tensor) -> Tensor:
                return self.in_turns(w, conditions, turn)

            effects = layer_effects(synthesize, w, progress)
        return suggest_groups(effects, generator.layer_resolutions)


def prepare(generator: Generator, device: torch.device | str) -> Generator:
    """The generator on `device`, and this process, as they draw quickest."""
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    # Channels last: a fifth to a third quicker on a CPU.
    generator = generator.to(device, memory_format=torch.channels_last)
    if precision.is_quick(generator.device):
        precision.halve(generator)
    return generator


class ModelCache:
    """The models last used, by path and device; safe to share between threads.

    max_bytes: of all weights on one device together; None is what `weights_limit` says of it. The
    last one used is always kept, however large it is.
    """

    def __init__(self, max_bytes: int | None = None):
        self._max_bytes = max_bytes
        self._models: OrderedDict[tuple[str, str], LoadedModel] = OrderedDict()
        self.renew_lock()

    def renew_lock(self) -> None:
        """For a forked child: a thread of the parent's may have held the lock, or have been
        loading, and is not there.
        """
        self._lock = threading.Lock()
        self._loading: dict[tuple[str, str], Future[LoadedModel]] = {}

    def get(self, path: str | Path, device: torch.device | str) -> LoadedModel:
        """The model in `path` on `device`; loaded when it is not there, which keeps nobody waiting
        but those who want the same.

        Raises `CheckpointError`.
        """
        key = (str(path), str(device))
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
            loading = self._loading.get(key)
            if loading is None:
                mine = self._loading[key] = Future()
        if loading is not None:
            return loading.result()
        try:
            model = LoadedModel(prepare(load_generator(path), device))
        except BaseException as error:
            with self._lock:
                self._loading.pop(key, None)
            mine.set_exception(error)
            raise
        with self._lock:
            self._loading.pop(key, None)
            self._models[key] = model
            self._make_room(key)
        mine.set_result(model)
        return model

    def _make_room(self, newest: tuple[str, str]) -> None:
        """Lets go of the models on the newest one's device that were used least recently.

        Who draws with one at the moment keeps it alive until that is done.
        """
        device = newest[1]
        limit = weights_limit(torch.device(device)) if self._max_bytes is None else self._max_bytes
        sizes = {k: m.bytes for k, m in self._models.items() if k[1] == device}
        total = sum(sizes.values())
        for key, size in sizes.items():
            if total <= limit or key == newest:
                break
            del self._models[key]
            total -= size
        if device == "cpu" and len(self._models) < len(sizes):
            give_back_memory()


def render(
    generator: Generator,
    w: Tensor,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """uint8 images [N, H, W, C] on the CPU for w [N, num_ws, w_dim] on any device.

    `progress(done, total)` is called after each batch. `conditions`: what `Generator.conditions`
    gave for these samples.
    """
    parts = []
    with torch.inference_mode():
        for images in batches(generator, w, conditions or {}, batch_size):
            parts.append(to_uint8(images))
            if progress is not None:
                progress(sum(map(len, parts)), len(w))
        return torch.cat(parts).cpu().numpy()  # one transfer


def batches(
    generator: Generator, w: Tensor, conditions: Mapping[str, Any], batch_size: int | None = None
) -> Iterator[Tensor]:
    """Images [n, C, H, W] of w, as many at a time as suit the device, or `batch_size`."""
    if batch_size is None:
        on_gpu = generator.device.type == "cuda"
        pixels = PIXELS_PER_BATCH if on_gpu else min(PIXELS_PER_BATCH, CPU_PIXELS_PER_BATCH)
        batch_size = max(1, pixels // generator.resolution**2)

    def draw(rows: range) -> Tensor:
        batch = w[rows.start : rows.stop].to(generator.device)
        return reuse.synthesize(generator, batch, take_rows(conditions, rows, generator.device))

    yield from cut(draw, len(w), batch_size, generator)


def cut(
    draw: Callable[[range], Tensor], count: int, size: int, generator: Generator
) -> Iterator[Tensor]:
    """`draw(rows)` for `count` rows, `size` at a time or as many as fit, see `as_fits`."""
    for start in range(0, count, size):
        yield from as_fits(draw, range(start, min(start + size, count)), generator)


def as_fits(draw: Callable[[range], Tensor], rows: range, generator: Generator) -> Iterator[Tensor]:
    """`draw(rows)` in one piece or, where the GPU has no memory for so many, in halves.

    Raises `UserError` where it has none for a single image.
    """
    try:
        images = draw(rows)
    except torch.OutOfMemoryError:
        images = None  # and go on outside, where nothing holds what was drawn so far
    if images is not None:
        yield images
        return
    reuse.forget(generator)
    torch.cuda.empty_cache()
    if len(rows) == 1:
        raise UserError("The GPU has not enough free memory for an image of this model.")
    middle = len(rows) // 2
    yield from as_fits(draw, rows[:middle], generator)
    yield from as_fits(draw, rows[middle:], generator)


def to_uint8(images: Tensor) -> Tensor:
    """[N, C, H, W] nominal [-1, 1] -> uint8 [N, H, W, C]: floor(clip(127.5 x + 128, 0, 255)).

    As genforce and NVIDIA do.
    """
    return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
