"""Where a direction acts, and the reverse: the directions that act in a region and little elsewhere.

    changes of the strongest directions, mask -> region_directions -> coefficients, ratios

A small step along a direction changes an image nearly in proportion, and steps along several add
up. So the change along a combination a of M directions is the combination of their changes, its
energy inside a region a' P a, outside a' Q a, and the combinations that change most inside for what
they change outside are those of the generalised eigenproblem P a = lambda Q a: SeFa's own argument,
on images in place of weights. Closed form; no training, no gradients.

Changes are float [..., C, r, r], half the difference between the images at +1 and at -1 of a unit.
"""

import torch
from torch import Tensor

from sefa.errors import UserError

DAMPING = 0.1  # of the mean energy outside, added to it: what hardly does anything must not win


def change_map(change: Tensor) -> Tensor:
    """Which pixels move: changes [..., C, r, r] -> [r, r], 0 to 1 where most moves.

    The length of the change of colour, averaged over all samples given.
    """
    length = change.norm(dim=-3)
    while length.ndim > 2:
        length = length.mean(0)
    return length / length.max().clamp(min=1e-6)


def inside_outside(change: Tensor, mask: Tensor) -> float:
    """Mean absolute change [..., C, r, r] inside a mask [r, r] of bool over that outside."""
    size = change.abs()
    return (size[..., mask].mean() / size[..., ~mask].mean().clamp(min=1e-12)).item()


def check_region(mask: Tensor) -> None:
    """Raises `UserError` for a mask that is empty or all of the image."""
    if not mask.any() or mask.all():
        raise UserError("Brush over a part of the image: there must be an inside and an outside.")


def region_directions(
    changes: Tensor, mask: Tensor, count: int, terms: int
) -> tuple[Tensor, Tensor]:
    """Combinations of M directions that change a region most for what they change elsewhere.

    changes: [M, N, C, r, r], of each direction on N samples. mask: [r, r] bool, the region.
    Returns coefficients [K, M] float64, unit rows of at most `terms` numbers that are not zero,
    best first, K at most `count`; and for each the mean squared change inside over that outside,
    [K]. Best is what has most of it with the damping.
    Sign: the coefficient of largest magnitude is positive.

    Raises `UserError` where the mask is empty or all of the image, or nothing moves at all.
    """
    check_region(mask)
    parts = changes.double().flatten(1, 2)  # [M, N C, r, r]
    inside, outside = (energy(parts[..., area]) for area in (mask, ~mask))
    scale = outside.diagonal().mean()
    if not scale > 0:
        raise UserError("None of the directions moves anything in this image.")
    damped = outside + DAMPING * scale * torch.eye(len(outside), dtype=outside.dtype)
    every = torch.arange(len(changes))
    _, vectors = solve(inside, damped, every)
    rows = []
    for vector in vectors[:count]:
        row = fewest(vector, inside, damped, terms)
        # What restricting the terms has brought into line with an earlier one is none of its own.
        if all(abs(row @ other) < 0.9 for other in rows):
            rows.append(row)
    coefficients = torch.stack(rows)

    def quotient(outside: Tensor) -> Tensor:
        change, elsewhere = (((coefficients @ m) * coefficients).sum(1) for m in (inside, outside))
        return change / elsewhere.clamp(min=1e-12)

    order = quotient(damped).argsort(descending=True, stable=True)
    return coefficients[order], quotient(outside)[order]


def energy(parts: Tensor) -> Tensor:
    """Mean products of changes: [M, C, pixels] -> [M, M]."""
    flat = parts.flatten(1)
    return flat @ flat.T / flat.shape[1]


def solve(inside: Tensor, outside: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors (rows) of inside a = lambda outside a, largest first.

    Over the directions `keep` alone; by Cholesky's factor of `outside`, which is positive definite.
    """
    factor = torch.linalg.inv(torch.linalg.cholesky(outside[keep][:, keep]))
    values, columns = torch.linalg.eigh(factor @ inside[keep][:, keep] @ factor.T)  # ascending
    return values.flip(0), (factor.T @ columns).T.flip(0)


def fewest(vector: Tensor, inside: Tensor, outside: Tensor, terms: int) -> Tensor:
    """The combination nearest to `vector` [M] that takes `terms` directions: a unit row [M].

    Those that matter least are dropped, some at a time, and the problem solved again for the rest.
    """
    size = outside.diagonal().sqrt()
    keep, row = torch.arange(len(vector)), vector
    while len(keep) > terms:
        n = max(terms, int(0.7 * len(keep)))
        weight = (row * size)[keep].abs()
        keep = keep[weight.argsort(descending=True, stable=True)[:n]].sort().values
        _, rows = solve(inside, outside, keep)
        # The one that goes on doing what `vector` did.
        metric = outside[keep][:, keep]
        alike = (rows @ metric @ row[keep]).abs() / (
            ((rows @ metric) * rows).sum(1).clamp(min=1e-30).sqrt()
        )
        row = torch.zeros_like(vector)
        row[keep] = rows[alike.argmax()]
    row = row / row.norm()
    return row * row[row.abs().argmax()].sign()
