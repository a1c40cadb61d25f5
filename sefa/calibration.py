"""How strong a direction is: its effect on images, measured. Tensors in, numbers out.

    directions, samples -> calibrate -> Calibration: a unit, a reach and a consistency for each

A unit vector may turn a face or do nothing to be seen; eigenvalues tell how far the first linear
step is moved, not the image. Here directions are compared by their images: one unit of any of them
is the same change, `SHARE` of the mean distance between two samples that have nothing in common.

Images are float [N, C, r, r], nominal range [-1, 1]; alphas are raw, in units of the unit vector.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sefa.editing import edit

SHARE = 0.1  # of the distance between unrelated samples: a tenth of the way to somebody else
LARGEST = 100.0  # alpha where the search for a unit ends: what still does nothing has no unit
NATURAL = 4.0  # standard deviations of w along a direction: from -2 of them to +2
FLAT = 0.25  # growth of the change with alpha (1: in proportion) below which it is saturated
SIDE = 128  # pixels at which images are compared
COARSE = 16  # pixels at which changes are held against each other
SHOWN = 4  # samples whose changes are kept, to tell directions that do the same
SAME = 0.9  # likeness of two directions from which on they pass for one
TRIES = 3  # lengths tried for a unit: the third is within some percent, and sets the fourth
FEW = 8  # samples on which the reach is found

Synthesize = Callable[[Tensor], Tensor]  # w [N, num_ws, w_dim] -> images
Progress = Callable[[int, int], bool | None]  # (done, total) -> False to stop there


@dataclass(frozen=True)
class Calibration:
    """What was measured of K directions, in `factorize`'s order: [K] float64 on the CPU.

    unit: alpha > 0 whose mean change, over the samples and both signs, is the common one; LARGEST
        for a direction that reaches it nowhere.
    reach: alpha up to which an edit is worth looking at: NATURAL standard deviations of natural w,
        or less where the change does not grow any further.
    consistency: mean cosine between the changes of two samples, 0 to 1: 1 for a direction that does
        the same to every image.
    change: the common mean change (a number), see `image_distance`.
    changes: [K, n, C, side, side] float16, from -unit to +unit on the first SHOWN samples, at
        COARSE pixels.
    """

    unit: Tensor
    reach: Tensor
    consistency: Tensor
    change: float
    changes: Tensor

    def __len__(self) -> int:
        return len(self.unit)

    @property
    def effect(self) -> Tensor:
        """Change by unit vector, [K]: how strong a direction is as it comes."""
        return self.change / self.unit

    @property
    def usefulness(self) -> Tensor:
        """Effect times consistency, [K]."""
        return self.effect * self.consistency

    def order(self) -> list[int]:
        """Indices by usefulness, most useful first; ties stay in the order they had."""
        return self.usefulness.argsort(descending=True, stable=True).tolist()


def calibrate(
    synthesize: Synthesize,
    w: Tensor,
    vectors: Tensor,
    layers: Sequence[int],
    spread: Tensor,
    progress: Progress | None = None,
    known: Calibration | None = None,
) -> Calibration:
    """Measure directions on the samples w [N, num_ws, w_dim], N at least 2.

    vectors: [K, w_dim] unit rows, applied at the indices `layers`. spread: [K], the standard
    deviation of natural w along each (`natural_spread`). `progress(done, total)` is called after
    each direction; where it returns False, what is measured so far is returned, and as `known`
    it is the beginning of the next call, which goes on as if nothing had happened. Takes about
    6 N images a direction; the same numbers every time.
    """
    before = compared(synthesize(w))
    target = SHARE * image_distance(before, before.roll(1, 0)).mean().item()
    rows, changes, guess = [], [], 1.0
    if known is not None:
        rows = torch.stack([known.unit, known.reach, known.consistency]).T.tolist()
        changes = list(known.changes)
        guess = next((unit for unit, *_ in reversed(rows) if unit < LARGEST), guess)
    start = len(rows)
    for vector, deviation in zip(vectors[start:], spread[start:].tolist(), strict=True):
        probe = Probe(synthesize, w, before, vector, layers)
        unit = matching_alpha(probe.amount, target, guess, tries=TRIES)
        guess = unit if unit < LARGEST else guess
        consistency = agreement(probe.change)
        changes.append(coarse(probe.change[:SHOWN]).to("cpu", torch.float16))
        few = Probe(synthesize, w[:FEW], before[:FEW], vector, layers)
        rows.append((unit, reach(few.amount, NATURAL * deviation), consistency))
        if progress is not None and progress(len(rows), len(vectors)) is False:
            break
    numbers = torch.tensor(rows, dtype=torch.float64).T.contiguous()
    return Calibration(*numbers, target, torch.stack(changes))


class Probe:
    """One direction and the samples that it is tried on, whose images are `before`."""

    def __init__(
        self,
        synthesize: Synthesize,
        w: Tensor,
        before: Tensor,
        vector: Tensor,
        layers: Sequence[int],
    ):
        self._synthesize, self._w, self._before = synthesize, w, before
        self._vector, self._layers = vector, layers
        self.change = torch.zeros_like(before)  # from -alpha to +alpha, when last tried

    def amount(self, alpha: float) -> float:
        """Mean distance from the images at +alpha and at -alpha to those before."""
        plus, minus = (
            compared(self._synthesize(edit(self._w, self._vector, a, self._layers)))
            for a in (alpha, -alpha)
        )
        self.change = plus - minus
        ends = (image_distance(end, self._before).mean() for end in (plus, minus))
        return (sum(ends) / 2).item()


def natural_spread(w: Tensor, vectors: Tensor, layers: Sequence[int]) -> Tensor:
    """Standard deviation of untruncated w [N, num_ws, w_dim] along vectors [K, w_dim]: [K] float64.

    Where the layers have a w of their own each, the mean over them.
    """
    along = w[:, list(layers)].double() @ vectors.double().T.to(w.device)  # [N, layers, K]
    return along.std(0).mean(0).cpu()


# --- images ---------------------------------------------------------------------------------------


def compared(images: Tensor) -> Tensor:
    """Images as they are compared: as shown (clipped), averaged down to SIDE pixels at most."""
    side = min(SIDE, 2 ** int(math.log2(images.shape[-1])))
    return F.adaptive_avg_pool2d(images.clamp(-1, 1), side)


def image_distance(a: Tensor, b: Tensor) -> Tensor:
    """Distance of pairs of images [N, C, r, r], r a power of two: [N], 0 to about 2 log2 r.

    The mean absolute difference of every level of a Laplacian pyramid, summed over the levels: the
    Lap1 loss of Bojanowski et al., "Optimizing the Latent Space of Generative Networks", ICML 2018,
    equation 4, from the finest level to the mean colour. Pixels alone would see little but the
    brightness of large areas. A level counts what moved at its scale, so an eye that opens, a head
    that turns and a light that dims all have a say, and no network has to be downloaded for it.
    Levels are averages of 2 x 2 pixels (Haar's), which takes one pass over the image.
    """
    return sum(changes_by_scale(a - b))


def agreement(changes: Tensor) -> float:
    """Mean cosine between two of the changes [N, C, r, r], N at least 2; 0 at least.

    Taken at COARSE pixels: what happens where, not the drawing of an edge.
    """
    rows = coarse(changes).flatten(1)
    n, rows = len(rows), F.normalize(rows.double())
    # The squared length of the sum has every pair twice, and every sample with itself.
    pairs = rows.sum(0).square().sum() - rows.square().sum()
    return max(0.0, pairs.item() / (n * (n - 1)))


def coarse(changes: Tensor) -> Tensor:
    """Changes [..., C, r, r] averaged down to COARSE pixels at most."""
    return F.adaptive_avg_pool2d(changes, min(COARSE, changes.shape[-1]))


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """How alike directions are: `Calibration.changes` of Ka and of Kb of them -> [Ka, Kb] float64.

    The cosine of their change images on the same samples, -1 to 1: -1 where one is the other
    turned around, in whichever layers either acts. 0 for one that does nothing.
    """
    rows = [F.normalize(changes.double().flatten(1)) for changes in (a, b)]
    return rows[0] @ rows[1].T


# --- how far to go --------------------------------------------------------------------------------


def matching_alpha(
    amount: Callable[[float], float],
    target: float,
    start: float = 1.0,
    largest: float = LARGEST,
    tolerance: float = 0.02,
    tries: int = 8,
) -> float:
    """The alpha at which the rising function `amount(alpha)` is `target`, to `tolerance`.

    Secant steps between logarithms, where the function is nearly a line. Stays below `largest`: a
    direction that does nothing has no such alpha.
    """
    points: list[tuple[float, float]] = []  # (log alpha, log amount)
    alpha = start
    for _ in range(tries):
        reached = max(amount(alpha), 1e-12)
        if abs(reached / target - 1) < tolerance or (alpha >= largest and reached < target):
            break
        points.append((math.log(alpha), math.log(reached)))
        slope = 1.0
        if len(points) > 1:
            (x0, y0), (x1, y1) = points[-2:]
            slope = (y1 - y0) / (x1 - x0) if x1 != x0 else 1.0
            slope = min(max(slope, 0.3), 3.0)  # noise must not throw it far away
        alpha = min(alpha * (target / reached) ** (1 / slope), largest)
    return alpha


def reach(amount: Callable[[float], float], natural: float) -> float:
    """The alpha, `natural` at most, from which on twice as much changes hardly more.

    Halves of `natural` are tried from the far end, three times.
    """
    far = amount(natural)
    for _ in range(3):
        near = amount(natural / 2)
        growth = math.log2(max(far, 1e-12) / max(near, 1e-12))  # 1: in proportion to alpha
        if growth >= FLAT:
            break
        natural, far = natural / 2, near
    return natural


# --- scales ---------------------------------------------------------------------------------------


def changes_by_scale(difference: Tensor) -> Tensor:
    """Mean absolute value of each level of the pyramid of images [N, C, r, r], r a power of two.

    [1 + log2 r, N], finest level first: what is left of r, r/2, ... 2 pixels a side beside their
    averages of 2 x 2 pixels, and the mean colour last. See `image_distance`, which is their sum.
    """
    rest, levels = difference, []
    while rest.shape[-1] > 1:
        coarse = F.avg_pool2d(rest, 2)
        levels.append((rest - F.interpolate(coarse, scale_factor=2)).abs().mean([1, 2, 3]))
        rest = coarse
    return torch.stack([*levels, rest.abs().mean([1, 2, 3])])
