"""SeFa: the directions that move the first linear step the most, in closed form.

Shen & Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR 2021. The first linear
step that meets the latent is y = A w + b, so w + alpha * n moves y by alpha * A n whatever w is.
The unit n that maximise |A n|^2 are the eigenvectors of A^T A (section 3.2, equations 4 to 7).
"""

import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sefa.errors import UserError
from sefa.generators.generator import Generator
from sefa.threads import one_thread

Layers = str | Iterable[int]


@dataclass(frozen=True)
class Directions:
    """What a factorisation found.

    layers: the w indices whose weights were factorised, ascending; an edit applies to these.
    vectors: [K, w_dim] float64 on the CPU, orthonormal rows, strongest first. Sign: the component
        of largest magnitude is positive.
    eigenvalues: [K] float64, descending, each >= 0; they sum to the number of rows
        of A that are not zero.
    """

    layers: list[int]
    vectors: Tensor
    eigenvalues: Tensor


def factorize(generator: Generator, layers: Layers = "all") -> Directions:
    """All directions of `generator` for `layers` ("all", "0-1,4", or indices): K = w_dim.

    Raises `UserError`, naming the valid range, for layers the generator does not have.
    """
    indices = parse_layers(layers, generator.num_ws)
    vectors, eigenvalues = factorize_weights(generator.layer_weights(indices))
    return Directions(indices, vectors, eigenvalues)


def factorize_weights(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Eigenvectors [K, K] (unit rows) and eigenvalues [K] (descending) of A^T A, both float64.

    `weights` are matrices [rows_i, K], any float dtype or device; A is their stack with every row
    scaled to unit length and zero rows dropped, as in the official code (genforce/sefa
    `factorize_weight`), but with a symmetric solver, a sorted result and a fixed sign.
    """
    a = torch.cat([weight.detach().to("cpu", torch.float64) for weight in weights])
    norms = a.norm(dim=1, keepdim=True)
    a = a / norms.where(norms > 0, 1.0)  # a zero row adds nothing to the sum, and never 0 / 0
    gram = a.T @ a
    with one_thread():
        eigenvalues, columns = torch.linalg.eigh(gram)  # ascending
    return fixed_signs(columns.T.flip(0).contiguous()), eigenvalues.flip(0).clamp(min=0)


def fixed_signs(vectors: Tensor) -> Tensor:
    """Rows [K, D] with the component of largest magnitude positive.

    A solver's sign is arbitrary and differs between machines.
    """
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * largest.sign()


def parse_layers(layers: Layers, num_layers: int) -> list[int]:
    """Ascending, distinct w indices for "all", "0-1,4" (ranges are inclusive) or integers.

    Raises `UserError` for anything else, an empty selection, or an index outside
    0..num_layers-1.
    """
    valid = f"layers are 0 to {num_layers - 1}" if num_layers > 1 else "the only layer is 0"
    if isinstance(layers, str):
        text = layers.strip()
        if text.lower() == "all":
            return list(range(num_layers))
        if len(text) > 400:
            raise UserError(f"This layer selection is too long; {valid}.")
        indices: set[int] = set()
        for part in text.split(","):
            match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
            if match is None:
                raise UserError(
                    f"{text[:40]!r} is not a layer selection; write 'all', or indices and ranges "
                    f"such as '0-1,4' ({valid})."
                )
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise UserError(f"The layer range {first}-{last} runs backwards; {valid}.")
            indices.update(range(first, last + 1))
    else:
        try:
            numbers = list(layers)
        except TypeError:
            raise UserError(f"Layers must be a text or a list of integers; {valid}.") from None
        try:
            indices = {operator.index(n) for n in numbers}
        except (TypeError, ValueError):  # has none, or is an array that stands for none
            indices = None
        if indices is None or any(isinstance(n, bool) for n in numbers):
            raise UserError(f"Layers must be integers; {valid}.")
    if not indices:
        raise UserError(f"No layer is selected; {valid}.")
    outside = sorted(i for i in indices if not 0 <= i < num_layers)
    if outside:
        named = f"{outside[0]}" if abs(outside[0]) < 10**9 else "of such a large number"
        raise UserError(f"This model has no layer {named}; {valid}.")
    return sorted(indices)


def format_layers(layers: Iterable[int]) -> str:
    """The shortest text that `parse_layers` reads back: [0, 1, 4] -> "0-1,4"."""
    runs: list[list[int]] = []
    for index in sorted(set(layers)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
