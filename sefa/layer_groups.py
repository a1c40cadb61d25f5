"""Which layers belong together: the effect of each, measured. Tensors in, numbers out.

    samples -> layer_effects -> LayerEffects: a profile for each -> suggest_groups -> LayerGroups

Style mixing, one layer at a time (Karras et al., "A Style-Based Generator Architecture for
Generative Adversarial Networks", CVPR 2019, section 3.1): one index of w is replaced by that of
another sample, and what changes in the image is told by scale. It is a natural change, which needs
no directions. Neighbours whose changes lie at the same scales are one group.

The official groups 0-1, 2-5 and 6- are for networks of two layers a resolution that were trained
on faces; these are for any.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sefa.calibration import Progress, Synthesize, changes_by_scale
from sefa.editing import mix
from sefa.factorization import format_layers

# Two groups are worth it when their changes are this far apart: as if 15 % of the change was found
# one octave away. (For halves of equal effect; a small part must differ by more.) Around this the
# groups of `avatars` are the same on most sets of 16 samples; at twice of it there is one.
APART = 0.15
NOTHING = 1e-4  # of the effect of all layers together: what rounding leaves of no effect at all
NAMES = (
    ("All",),
    ("Coarse", "Fine"),
    ("Coarse", "Middle", "Fine"),
    ("Coarse", "Middle", "Fine", "Finest"),
)


@dataclass(frozen=True)
class LayerEffects:
    """What was measured of the layers of a model.

    changes: [num_ws, levels] float64 on the CPU, each at least 0: the mean absolute change of the
        images when only this index of w is another sample's, by scale: of the mean colour, then of
        2, 4, 8 ... pixels a side (`changes_by_scale`). Nominal range of images is [-1, 1].
    """

    changes: Tensor

    @property
    def effects(self) -> Tensor:
        """How much each layer changes, [num_ws]: the mean `image_distance` that it is worth."""
        return self.changes.sum(1)

    @property
    def profiles(self) -> Tensor:
        """How much of its change a layer makes at each scale, [num_ws, levels].

        Rows sum to 1; zero for a layer that does nothing.
        """
        return self.changes / self.effects.clamp(min=1e-30)[:, None]


@dataclass(frozen=True)
class LayerGroup:
    """Neighbouring layers that are edited together.

    name: "Coarse", "Middle", ... by their order; "All" where there is one group.
    layers: ascending indices of w; those in between that do nothing are left out.
    pixels: smallest and largest resolution that they act on; None for a model of one layer, where
        everything follows from it.
    share: of the effect of all layers, 0 to 1.
    """

    name: str
    layers: tuple[int, ...]
    pixels: tuple[int, int] | None
    share: float

    @property
    def selection(self) -> str:
        """The layers as `parse_layers` reads them and recipes write them: "2-5"."""
        return format_layers(self.layers)

    @property
    def pixels_text(self) -> str:
        """The resolutions as they are shown: "4–8 px", "4 px", or nothing."""
        if self.pixels is None:
            return ""
        low, high = self.pixels
        return f"{low} px" if low == high else f"{low}–{high} px"


# --- what each layer does -------------------------------------------------------------------------


def layer_effects(
    synthesize: Synthesize, w: Tensor, progress: Progress | None = None
) -> LayerEffects:
    """Measure every index of the samples w [N, num_ws, w_dim], N at least 2.

    The other sample is the one before, the last one for the first. `progress(done, total)` is
    called after each index. Takes N images, and N more an index; the same numbers every time.
    """
    before, others = shown(synthesize(w)), w.roll(1, 0)
    rows = []
    for index in range(w.shape[1]):
        change = shown(synthesize(mix(w, others, [index]))) - before
        rows.append(changes_by_scale(change).double().mean(1).flip(0).cpu())
        if progress is not None:
            progress(len(rows), w.shape[1])
    return LayerEffects(torch.stack(rows))


def shown(images: Tensor) -> Tensor:
    """Images as shown (clipped), averaged down to the nearest power of two.

    Not to the size at which `calibrate` compares: the finest layers act on what that leaves out.
    """
    side = 2 ** int(math.log2(images.shape[-1]))
    return F.adaptive_avg_pool2d(images.clamp(-1, 1), side)


# --- which belong together ------------------------------------------------------------------------


def suggest_groups(effects: LayerEffects, resolutions: Sequence[int]) -> list[LayerGroup]:
    """One to four groups of neighbouring layers, coarse to fine, for a model with these effects.

    resolutions: what each index acts on, in pixels (`Generator.layer_resolutions`). Together they
    hold every layer that does anything, or all where none does.

    Layers are points, their profiles summed up from the coarsest scale on, so that scales next to
    each other count as close: the squared distance of two of them is that of Cramér, whose unit is
    all of the change one octave away. Of all ways to cut them into runs, the one is taken that has
    the least scatter within them, weighted by effect, plus a price for each cut (`segment`). A cut
    costs what it saves between halves that are APART; so layers that are all alike stay together,
    and noise cuts nothing.
    """
    share = effects.effects / effects.effects.sum().clamp(min=1e-30)
    alive = [i for i, part in enumerate(share.tolist()) if part > NOTHING]
    alive = alive or list(range(len(share)))
    points = effects.profiles[alive].cumsum(1)
    runs = segment(points, share[alive], price=APART**2 / 4, most=len(NAMES))
    groups = []
    for name, run in zip(NAMES[len(runs) - 1], runs, strict=True):
        layers = tuple(alive[i] for i in run)
        sizes = [resolutions[i] for i in layers]
        pixels = (min(sizes), max(sizes)) if len(share) > 1 else None
        groups.append(LayerGroup(name, layers, pixels, share[list(layers)].sum().item()))
    return groups


def segment(points: Tensor, weights: Tensor, price: float, most: int) -> list[range]:
    """The best cut of points [n, d] with weights [n] into at most `most` runs, n at least 1.

    Best is the smallest sum of weights times squared distances from the mean of the run, plus
    `price` for each cut. By dynamic programming, so that no other cut is better (Fisher, "On
    Grouping for Maximum Homogeneity", JASA 1958).
    """
    n = len(points)

    def scatter(start: int, end: int) -> float:
        part, weight = points[start:end], weights[start:end, None]
        mean = (weight * part).sum(0) / weight.sum().clamp(min=1e-30)
        return (weight * (part - mean).square()).sum().item()

    within = {(i, j): scatter(i, j) for i in range(n) for j in range(i + 1, n + 1)}
    # best[j]: (cost, where its runs start) of the first j points in the number of runs so far
    best = {j: (within[0, j], (0,)) for j in range(1, n + 1)}
    found = best[n]
    for runs in range(2, min(most, n) + 1):
        best = {
            j: min((best[i][0] + within[i, j] + price, (*best[i][1], i)) for i in best if i < j)
            for j in range(runs, n + 1)
        }
        found = min(found, best[n])
    starts = found[1]
    return [range(a, b) for a, b in zip(starts, (*starts[1:], n), strict=True)]
