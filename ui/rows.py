"""Which directions have sliders, in which order, and what stands beside each.

    model, recipe -> rows -> one slider each

A slider counts in units: one unit is the same visual change for every direction that was measured,
and the unit vector for one that was not. What a unit is, a row says as an `Edit`; a recipe keeps raw
alphas.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from sefa.calibration import LARGEST, SAME, SHARE, Calibration, likeness
from sefa.editing import MAX_ALPHA, Direction, Edit, Recipe
from sefa.factorization import Directions, format_layers, parse_layers
from sefa.labels import Labels, is_index
from sefa.layer_groups import LayerGroup
from ui import engine, measuring

OFFICIAL = (("Coarse", 0, 1), ("Middle", 2, 5), ("Fine", 6, None))  # the official interface's
PER_GROUP = 10  # directions of each layer group among which the best are
FARTHEST = 10.0  # units: from there on little is left of the sample


@dataclass(frozen=True)
class Row:
    """One slider.

    step: what one unit of it does. limit: how many units it goes either way.
    label: its name; facts: what is known of it, in one line.
    """

    step: Edit
    limit: float
    label: str
    facts: str


@dataclass(frozen=True)
class Candidate:
    """A direction of the selection `layers`, and what was measured of that selection, if anything.

    eigenvalue: NaN for a combination, which has none.
    """

    layers: str
    direction: Direction
    eigenvalue: float
    known: Calibration | None

    @property
    def index(self) -> int | None:
        """Its eigenvalue index; None for a combination."""
        return self.direction[0][0] if is_index(self.direction) else None

    @property
    def measured(self) -> bool:
        return self.known is not None and self.index is not None and self.index < len(self.known)

    @property
    def usefulness(self) -> float:
        """Effect times consistency; below all others where it was not measured."""
        return self.known.usefulness[self.index].item() if self.measured else -1.0

    @property
    def changes(self) -> Tensor:
        """`Calibration.changes` of this one, which was measured: [1, ...]."""
        return self.known.changes[self.index : self.index + 1]

    def same_as(self, other: "Candidate") -> bool:
        """Whether it does nearly what another does, one way or the other."""
        if not (self.measured and other.measured):
            return False
        return abs(likeness(self.changes, other.changes).item()) >= SAME


# --- layer groups ---------------------------------------------------------------------------------


def official_groups(num_ws: int) -> list[tuple[str, str]]:
    """The official layer groups that a model has, as (name, selection)."""
    groups = []
    for name, first, last in OFFICIAL:
        last = num_ws - 1 if last is None else min(last, num_ws - 1)
        if first <= last and num_ws > 1:
            groups.append((name, format_layers(range(first, last + 1))))
    return groups


def layer_groups(model: engine.OpenModel) -> list[tuple[str, str]]:
    """The layer groups to choose from, as (label, selection): those that suit this model where
    they are known, and the official ones.
    """
    official = official_groups(model.loaded.generator.num_ws)
    suggested = suggested_groups(model)
    if not suggested:
        return [(f"{name} {dashed(layers)}", layers) for name, layers in official]
    found = {}
    for group in suggested:
        pixels = f" ({group.pixels_text})" if group.pixels else ""
        found[group.selection] = f"{group.name} {dashed(group.selection)}{pixels}"
    for _, layers in official:
        found.setdefault(layers, f"Official {dashed(layers)}")
    return [(label, layers) for layers, label in found.items()]


def suggested_groups(model: engine.OpenModel) -> list[LayerGroup]:
    """The groups that suit this model, where there are several and they are known."""
    groups = measuring.known_groups(model) or []
    return groups if len(groups) > 1 else []


def groups_of(model: engine.OpenModel) -> list[str]:
    """The selections among which the best of every group are."""
    suggested = [group.selection for group in suggested_groups(model)]
    official = [layers for _, layers in official_groups(model.loaded.generator.num_ws)]
    return suggested or official or ["all"]


def selections(model: engine.OpenModel, view: str | None = None) -> list[str]:
    """The selections of layers whose directions a view shows; of all that the page offers if None."""
    num_ws = model.loaded.generator.num_ws
    named = [format_layers(layers) for layers, _ in sorted(engine.labels_of(model).names)]
    offered = [layers for _, layers in layer_groups(model)]
    texts = {"named": named, "groups": groups_of(model), None: ["all", *offered, *named]}
    found: dict[tuple[int, ...], str] = {}
    for text in texts.get(view, [view]):
        found.setdefault(tuple(parse_layers(text, num_ws)), text)
    return list(found.values())


# --- which directions -----------------------------------------------------------------------------


def rows_of(model: engine.OpenModel, recipe: Recipe) -> list[Row]:
    """The rows of a recipe: `recipe.num_semantics` of them at most."""
    labels = labels_of(model, recipe)
    found = in_order(candidates(model, recipe.layers, labels), recipe.order)
    if recipe.layers == "groups":
        found = different(found, recipe.num_semantics)
    found = found[: recipe.num_semantics]
    several = len({candidate.layers for candidate in found}) > 1
    return [row(model, candidate, labels, several) for candidate in found]


def row_of(model: engine.OpenModel, recipe: Recipe, change: Edit) -> Row:
    """The slider of an edit that is in force."""
    found = candidate(model, change.layers, change.direction)
    return row(model, found, labels_of(model, recipe), several=True)


def is_measured_row(model: engine.OpenModel, step: Edit) -> bool:
    """Whether one unit of a slider was measured, as against being the unit vector."""
    return candidate(model, step.layers, step.direction).measured


def has_view(model: engine.OpenModel, recipe: Recipe) -> bool:
    """Whether there is anything in what a recipe shows: names, or more than one layer."""
    if recipe.layers == "named":
        return bool(labels_of(model, recipe).names)
    return recipe.layers != "groups" or model.loaded.generator.num_ws > 1


def labels_of(model: engine.OpenModel, recipe: Recipe) -> Labels:
    """What the directions are called: by the recipe, and by those who made the model."""
    return engine.labels_of(model).with_names(recipe.names, model.loaded.generator.num_ws)


def candidates(model: engine.OpenModel, view: str, labels: Labels) -> list[Candidate]:
    """The directions that a view is of, in the order of their layers and eigenvalues."""
    w_dim = model.loaded.generator.w_dim
    if view == "named":
        places = sorted(labels.names)
        return [candidate(model, format_layers(layers), terms) for layers, terms in places]
    if view == "groups":
        first = range(min(PER_GROUP, w_dim))
        return [c for layers in groups_of(model) for c in of_layers(model, layers, first)]
    return of_layers(model, view, range(w_dim))


def of_layers(model: engine.OpenModel, layers: str, indices: Iterable[int]) -> list[Candidate]:
    """Some eigenvectors of one selection of layers."""
    directions, layers, known = about(model, layers)
    eigenvalues = directions.eigenvalues.tolist()
    return [Candidate(layers, ((i, 1.0),), eigenvalues[i], known) for i in indices]


def candidate(model: engine.OpenModel, layers: str, direction: Direction) -> Candidate:
    """Any direction."""
    directions, layers, known = about(model, layers)
    index = direction[0][0]
    eigenvalue = directions.eigenvalues[index].item() if is_index(direction) else math.nan
    return Candidate(layers, direction, eigenvalue, known)


def about(model: engine.OpenModel, layers: str) -> tuple[Directions, str, Calibration | None]:
    """The directions of a selection, the text that recipes have for it, and what was measured."""
    directions, _ = engine.find_directions(model, layers)
    if len(directions.layers) == model.loaded.generator.num_ws:
        layers = "all"
    return directions, layers, measuring.known(model, layers)


def in_order(found: Sequence[Candidate], order: str) -> list[Candidate]:
    """Directions in one of `editing.ORDERS`; ties stay as they are."""
    if order == "effect":
        return sorted(found, key=lambda c: -c.usefulness)
    if order == "layers":
        groups = list(dict.fromkeys(c.layers for c in found))
        if len(groups) > 1:  # within one the eigenvalue says it
            return sorted(found, key=lambda c: (groups.index(c.layers), -c.usefulness))
    return sorted(found, key=lambda c: math.inf if math.isnan(c.eigenvalue) else -c.eigenvalue)


def different(found: Sequence[Candidate], count: int) -> list[Candidate]:
    """The first `count` directions that do something else than those before them."""
    kept: list[Candidate] = []
    for direction in found:
        if len(kept) == count:
            break
        if not any(direction.same_as(other) for other in kept):
            kept.append(direction)
    return kept


# --- what stands beside them ----------------------------------------------------------------------


def row(model: engine.OpenModel, direction: Candidate, labels: Labels, several: bool) -> Row:
    """The slider of one direction; it tells its layers where `several` selections are shown."""
    generator = model.loaded.generator
    unit, limit = 1.0, generator.edit_range
    facts = [say_layers(direction.layers)] if several else []
    if direction.index is not None:
        facts.append(f"eigenvalue {direction.eigenvalue:.2f}")
    if direction.measured:
        measured, i = direction.known, direction.index
        if (measured.unit[i] < LARGEST).item():
            unit = float(f"{measured.unit[i].item():.3g}")  # a short number keeps links short
            limit = min(max(round(measured.reach[i].item() / unit, 1), 1.0), FARTHEST)
            limit = min(limit, MAX_ALPHA / unit)
            facts.append(f"effect {100 * SHARE / unit:.0f} %")
            facts.append(f"consistency {100 * measured.consistency[i].item():.0f} %")
        else:
            facts.append("changes nothing to be seen")
        facts += twins(model, direction)
    label = say_direction(model, labels, direction.layers, direction.direction)
    return Row(Edit(direction.layers, direction.direction, unit), limit, label, " · ".join(facts))


def twins(model: engine.OpenModel, direction: Candidate) -> list[str]:
    """ "same as …" for the measured directions of other groups that do what this one does."""
    names = []
    for layers in ("all", *groups_of(model)):
        known = measuring.known(model, layers)
        if layers != direction.layers and known is not None:
            alike = likeness(direction.changes, known.changes)[0].abs() >= SAME
            names += [f"{say_layers(layers)} · {i:03d}" for i in alike.nonzero().flatten().tolist()]
    return [f"same as {', '.join(names)}"] if names else []


def say_layers(layers: str) -> str:
    return "all layers" if layers == "all" else f"layers {dashed(layers)}"


def dashed(layers: str) -> str:
    """A selection as it is shown: "2–5"."""
    return layers.replace("-", "–")


def say_direction(
    model: engine.OpenModel, labels: Labels, layers: str, direction: Direction
) -> str:
    """What a slider is called: "Smile → · 003" where somebody named it."""
    name = labels.text(parse_layers(layers, model.loaded.generator.num_ws), direction)
    if not is_index(direction):
        return name or f"Combination of {len(direction)}"
    return f"{name or 'Semantic'}{' ·' if name else ''} {direction[0][0]:03d}"
