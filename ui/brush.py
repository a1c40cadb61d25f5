"""A brushed region -> the directions that move it and little else, as rows like any other.

Each of the strongest directions of every layer group is tried on the visitor's own image; the rest is
`sefa.regions`. What is found is drawn once more, to say what it really does, and in that order.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sefa.calibration import LARGEST, NATURAL
from sefa.editing import MAX_ALPHA, MAX_QUERY, MAX_SAMPLES, MAX_TERMS, Edit, Recipe, edit, integer
from sefa.errors import UserError
from sefa.factorization import parse_layers
from sefa.regions import check_region, inside_outside, region_directions
from sefa.rendering import take_rows
from ui import engine, measuring
from ui.renderer import STRIP
from ui.rows import FARTHEST, Row, groups_of, labels_of, say_layers

SIDE = 32  # cells of the brush's grid, and pixels at which changes are held against it
FOUND = 5  # directions at most
EACH = 2  # of a layer group
ALIKE = 0.9  # cosine of the changes of two that are one
UNIT = 0.08  # mean change inside the region at one unit: ten grey levels
NEAREST = 3.0  # units that a slider goes at least: less could hardly be seen
# Directions of a layer group that are tried, by the size of the images: two images each.
TRIED = {128: 128, 256: 64, 512: 16}
TRIED_LARGE, TRIED_GPU = 8, 128


@dataclass(frozen=True)
class Brushed:
    """A direction that a brush found: one unit of it, how far its slider goes, and what it does.

    ratio: mean change inside the region over that outside, by area, at one unit.
    """

    step: Edit
    limit: float
    ratio: float

    def row(self, model: engine.OpenModel, recipe: Recipe, place: int) -> Row:
        """Its slider; it was the `place`th, from 0."""
        layers = parse_layers(self.step.layers, model.loaded.generator.num_ws)
        name = labels_of(model, recipe).text(layers, self.step.direction)
        what = f"moves the region {self.ratio:.1f} times as much as the rest"
        facts = f"{what} · {say_layers(self.step.layers)}"
        return Row(self.step, self.limit, name or f"Brushed {place + 1}", facts)


def to_text(found: list[Brushed]) -> str:
    """What `from_text` reads back."""
    return "~".join(f"{b.ratio:.2f}|{b.limit:.1f}|{b.step.to_text()}" for b in found)


def from_text(text: Any) -> list[Brushed]:
    """The directions that a page has of a brush; none for a text that is no such list."""
    found = []
    try:
        for part in filter(None, str(text or "")[:MAX_QUERY].split("~")):
            ratio, limit, step = part.split("|")
            found.append(Brushed(Edit.from_text(step), float(limit), float(ratio)))
            one = found[-1]
            if not (one.step.alpha > 0 and 0 < one.limit < 1e6 and 0 <= one.ratio < 1e9):
                return []
    except (ValueError, UserError):
        return []
    return found[:FOUND]


def parse_region(text: Any) -> tuple[int, Tensor]:
    """{"sample": i, "mask": 256 hex digits} -> i, and the mask, bool [SIDE, SIDE], row by row.

    Raises `UserError`.
    """
    try:
        data = json.loads(str(text)[:1000])
        sample, cells = data["sample"], bytes.fromhex(data["mask"])
        if len(cells) != SIDE * SIDE // 8:
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError("This is no brushed region.") from None
    bits = [cell >> (7 - i) & 1 for cell in cells for i in range(8)]
    mask = torch.tensor(bits, dtype=torch.bool).reshape(SIDE, SIDE)
    return integer(sample, "The sample", 0, MAX_SAMPLES - 1), mask


def find(
    model: engine.OpenModel,
    recipe: Recipe,
    sample: int,
    mask: Tensor,
    report: Callable[[int, int], None] | None = None,
) -> list[Brushed]:
    """The directions that move the region of a sample most for what they move elsewhere.

    mask: bool [SIDE, SIDE], of the sample with the recipe's edits. `report(done, total)` counts
    images. Raises `UserError` for a region without inside or outside.
    """
    if sample >= recipe.num_samples:
        raise UserError(f"There is no sample {sample}.")
    check_region(mask)  # before anything is drawn
    one = replace(recipe, seed=recipe.seed + sample, num_samples=1)
    generator = model.loaded.generator
    side = min(SIDE, generator.resolution)
    mask = F.adaptive_max_pool2d(mask[None].float(), side)[0].bool()
    groups = groups_of(model)
    tried = min(count_tried(model), generator.w_dim)
    total = 2 * (tried * len(groups) + EACH * len(groups))
    probe = Probe(model, one, side, lambda done: report and report(min(done, total), total))

    found: list[tuple[Brushed, Tensor]] = []
    for layers in groups:
        directions = model.loaded.directions(layers)
        units = steps_tried(model, layers, tried)
        vectors = directions.vectors[:tried] * units[:, None]
        changes = probe.changes(vectors, directions.layers)
        rows, _ = region_directions(changes[:, None], mask, EACH, MAX_TERMS)
        inside = torch.einsum("km,mchw->kchw", rows, changes.double()).abs()[..., mask]
        sizes = inside.flatten(1).mean(1).tolist()
        steps = [step_of(layers, row * units, size) for row, size in zip(rows, sizes, strict=True)]
        vectors = torch.stack([model.loaded.vector(step)[0] for step in steps])
        natural = NATURAL * model.loaded.natural_spread(vectors, directions.layers)
        alphas = torch.tensor([step.alpha for step in steps])
        drawn = probe.changes(vectors * alphas[:, None], directions.layers)
        for step, change, far in zip(steps, drawn, natural.tolist(), strict=True):
            limit = min(max(far / step.alpha, NEAREST), FARTHEST, MAX_ALPHA / step.alpha)
            ratio = inside_outside(change, mask)
            found.append((Brushed(step, round(limit, 1), ratio), change))
    kept: list[tuple[Brushed, Tensor]] = []
    for one_found, change in sorted(found, key=lambda pair: -pair[0].ratio):
        if all(abs(F.cosine_similarity(change.flatten(), c.flatten(), 0)) < ALIKE for _, c in kept):
            kept.append((one_found, change))
    return [one_found for one_found, _ in kept[:FOUND]]


def count_tried(model: engine.OpenModel) -> int:
    """How many directions of each layer group are tried."""
    if engine.on_gpu(model):
        return TRIED_GPU
    fitting = (n for side, n in TRIED.items() if model.loaded.generator.resolution <= side)
    return next(fitting, TRIED_LARGE)


def steps_tried(model: engine.OpenModel, layers: str, count: int) -> Tensor:
    """The alpha [count] at which each direction is tried: a unit, where that is known."""
    known = measuring.known(model, layers)
    units = torch.ones(count, dtype=torch.float64)
    if known is not None:
        measured = known.unit[:count]
        measured = measured.where(measured < LARGEST, torch.ones(()))
        units[: len(measured)] = measured
        units[len(measured) :] = measured[-1]  # about as strong as the last that was measured
    return units.clamp(max=2.0)


def step_of(layers: str, coefficients: Tensor, change: float) -> Edit:
    """One unit of a combination of eigenvectors [M] that changes the region by so much."""
    length = coefficients.norm().item()
    terms = [(i, c / length) for i, c in enumerate(coefficients.tolist()) if c]
    unit = min(UNIT / max(change, 1e-6) * length, MAX_ALPHA)
    return Edit(
        layers,
        tuple((i, float(f"{c:.3g}")) for i, c in terms),  # few digits keep links short
        float(f"{unit:.3g}"),
    )


class Probe:
    """Draws one sample, moved along directions, and tells what changes."""

    def __init__(
        self,
        model: engine.OpenModel,
        recipe: Recipe,
        side: int,
        report: Callable[[int], Any],
    ):
        self._model, self._side, self._report, self._done = model, side, report, 0
        self._w, self._conditions = model.loaded.inputs(recipe)
        self._ask_gpu = True

    def changes(self, vectors: Tensor, layers: list[int]) -> Tensor:
        """Half the difference between +1 and -1 of vectors [M, w_dim]: [M, C, side, side]."""
        parts = []
        for some in vectors.split(32):
            w = torch.cat([edit(self._w, v, sign, layers) for v in some for sign in (1.0, -1.0)])
            beside = take_rows(self._conditions, [0] * len(w))
            images = self._draw(w, beside)
            images = images.permute(0, 3, 1, 2).float() / 127.5
            images = F.adaptive_avg_pool2d(images, self._side)
            parts.append((images[0::2] - images[1::2]) / 2)
            self._done += len(w)
            self._report(self._done)
        return torch.cat(parts)

    def _draw(self, w: Tensor, conditions: dict[str, Any]) -> Tensor:
        """Images uint8 [N, H, W, C]; once the GPU is not to be had, it is not asked again."""
        if self._ask_gpu:
            try:
                return torch.from_numpy(engine.draw_ws(self._model, w, conditions, STRIP))
            except engine.NoGpu as error:
                engine.on_cpu_instead(self._model, error, None)
            self._ask_gpu = False
        images = engine.draw_ws(self._model, w, conditions, STRIP, ask_gpu=False)
        return torch.from_numpy(images)
