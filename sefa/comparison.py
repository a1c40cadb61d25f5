"""Directions at equal visual change: how far to go along each so that all change images as much.

An alpha of 1 may be much for one direction and nothing for another, so methods that find directions
cannot be compared at equal alphas. Here all go as far as it takes for the same mean change of the
same samples, which are not those that are shown. The unit of change is that of `calibration`: SHARE of
the mean distance between two samples that have nothing in common.

    directions, distance -> equal_change -> alphas
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sefa.calibration import SHARE, Probe, Progress, compared, image_distance, matching_alpha
from sefa.editing import Recipe
from sefa.errors import UserError
from sefa.factorization import Directions
from sefa.rendering import MEASURED_PIXELS, LoadedModel, Turn, at_once

# At most half of what a unit is measured on: there are three times as many directions, and those of
# one page are all measured on the same samples.
FEWEST, MOST = 8, 32
TOLERANCE = 0.02  # of the change, within which it is equal
NOTICED = 0.05  # from which on a change that is not equal is told


@dataclass(frozen=True)
class EqualChange:
    """What equal change took, for the first K directions of every method.

    distance: where the change is equal, in units; SHARE * distance of that between two samples.
    alphas: [method][K] raw alphas > 0 at `distance`; LARGEST for a direction that gets nowhere.
    shares: [method][K] change reached there as a share of what was asked; 1 within TOLERANCE,
        less for a direction that cannot change images as much.
    samples: how many images this was measured on.
    """

    distance: float
    alphas: list[list[float]]
    shares: list[list[float]]
    samples: int


def equal_change(
    model: LoadedModel,
    methods: Sequence[Directions],
    count: int,
    distance: float,
    class_index: int | None = None,
    progress: Progress | None = None,
    turn: Turn = at_once,
) -> EqualChange:
    """Alphas at which the first `count` directions change images by `distance` units, > 0.

    Measured as `LoadedModel.calibration` does, at the truncation of a new recipe, on images of one
    class where `class_index` says so. The change is the mean of those at +alpha and -alpha.
    `progress(done, total)` is called after each direction; `turn`: how batches are run. Raises
    `UserError` for a model all of whose images are alike.
    """
    samples = min(max(FEWEST, MEASURED_PIXELS // model.generator.resolution**2), MOST)
    with torch.inference_mode():
        w, conditions = model.measured_codes(
            samples, Recipe.truncation_psi, class_index=class_index
        )

        def synthesize(w: Tensor) -> Tensor:
            return model.in_turns(w, conditions, turn)

        before = compared(synthesize(w))
        unit = SHARE * image_distance(before, before.roll(1, 0)).mean().item()
        if not unit > 0:
            raise UserError("All images of this model are alike, so no change can be measured.")
        rows = []
        for directions in methods:
            guess = distance  # what follows depends on the directions before it, not on `count`
            for vector in directions.vectors[:count]:
                probe = Probe(synthesize, w, before, vector, directions.layers)
                alpha, share = matched(probe, distance * unit, guess)
                guess = alpha if abs(share - 1) < 0.1 else guess
                rows.append((alpha, share))
                if progress is not None:
                    progress(len(rows), count * len(methods))
    split = [rows[start : start + count] for start in range(0, len(rows), count)]
    alphas, shares = ([[row[i] for row in part] for part in split] for i in (0, 1))
    return EqualChange(distance, alphas, shares, samples)


def matched(probe: Probe, target: float, guess: float) -> tuple[float, float]:
    """(alpha, the share of `target` that it reaches)."""
    tried: dict[float, float] = {}

    def amount(alpha: float) -> float:
        tried[alpha] = probe.amount(alpha)
        return tried[alpha]

    alpha = matching_alpha(amount, target, guess, tolerance=TOLERANCE)
    if alpha not in tried:  # the search ended with a step
        amount(alpha)
    return alpha, tried[alpha] / target
