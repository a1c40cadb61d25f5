"""Small images on the way to whole ones: for a slider that moves where whole ones take too long.

A network that grows its images has smaller ones on the way: of a StyleGAN2 the sum of its first toRGBs
(Karras et al., CVPR 2020, figure 7b), of a progressively grown network what its coarser blocks put out
while they were the last (Karras et al., ICLR 2018, figure 2). How near they come to the whole image is
up to the checkpoint: nothing in its training asked for it once the network was grown. So it is
measured, on a few samples, with the change of colours that brings them nearest:

    a few w -> small images and whole ones -> colours, share, seconds -> the largest that is quick enough
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sefa.generators.generator import Generator, take_rows
from sefa.rendering import at_once, to_uint8

LEAST_SHARE = 0.7  # of the variance; what explains less shows too little, or something else
LEAST_PIXELS = 16  # a side: in fewer nothing is to be recognised


@dataclass(frozen=True)
class Preview:
    """What is known of the images of one size that a generator has on the way to whole ones.

    resolution: pixels a side. depth: how many of the first w indices have a say. colours
    [C + 1, C] float64: times (pixel, 1) is the pixel's colour in the whole image, as least squares
    have it. share: of the variance of whole images, shrunk to this size, that those explain (R²).
    seconds: for an image, of a batch.
    """

    resolution: int
    depth: int
    colours: Tensor
    share: float
    seconds: float

    def shows(self, layers: Iterable[Sequence[int]]) -> bool:
        """Whether edits of these layers can be seen: each begins before the image is there."""
        return all(min(each) < self.depth for each in layers)


def measure(
    generator: Generator,
    w: Tensor,
    conditions: Mapping[str, Any],
    turn: Callable[[Callable[[], Any]], Any] = at_once,
) -> list[Preview]:
    """The previews of a generator that are of use, from small to large.

    w [N, num_ws, w_dim]: of the samples that they are measured on; conditions: as `Generator.conditions`
    gives them. turn: how the work is run, a sample or a batch of small images at a time.
    """
    sizes = [size for size in generator.previews if size >= LEAST_PIXELS]
    if not sizes:
        return []

    def whole(row: int) -> dict[int, Tensor]:
        with torch.inference_mode():  # which every thread has of its own
            beside = take_rows(conditions, [row], generator.device)
            image = generator.synthesize(w[row : row + 1], **beside).double()
            return {size: F.adaptive_avg_pool2d(image, size).cpu() for size in sizes}

    def small(size: int) -> tuple[Tensor, float]:
        with torch.inference_mode():
            generator.preview(w, size, **conditions)  # prepares weights
            start = time.perf_counter()
            images = generator.preview(w, size, **conditions).double().cpu()
            return images, (time.perf_counter() - start) / len(w)

    shrunk = [turn(lambda row=row: whole(row)) for row in range(len(w))]
    found = []
    for size in sizes:
        images, seconds = turn(lambda size=size: small(size))
        colours, share = fit_colours(images, torch.cat([each[size] for each in shrunk]))
        if share >= LEAST_SHARE:
            found.append(Preview(size, generator.previews[size], colours, share, seconds))
    return found


def fit_colours(images: Tensor, whole: Tensor) -> tuple[Tensor, float]:
    """(colours [C + 1, C] float64, share) that bring images [N, C, H, W] nearest to others, see `Preview`.

    Least squares, solved by the normal equations; of grey or constant images the least solution.
    """
    x, y = (each.double().transpose(0, 1).flatten(1).T for each in (images, whole))  # [pixels, C]
    mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
    x, y = x - mean_x, y - mean_y
    matrix = torch.linalg.pinv(x.T @ x, rtol=1e-9, hermitian=True) @ (x.T @ y)  # [C, C]
    left, all_of_it = (y - x @ matrix).square().sum().item(), y.square().sum().item()
    colours = torch.cat([matrix, (mean_y - mean_x @ matrix)[None]])
    return colours, 1.0 - left / all_of_it if all_of_it else 0.0


def render_preview(
    generator: Generator, preview: Preview, w: Tensor, conditions: Mapping[str, Any]
) -> np.ndarray:
    """uint8 [N, h, w, C] on the CPU, in the colours of whole images."""
    with torch.inference_mode():
        images = generator.preview(w.to(generator.device), preview.resolution, **conditions)
        colours = preview.colours.to(images)
        images = torch.einsum("nchw,cd->ndhw", images, colours[:-1]) + colours[-1][:, None, None]
        return to_uint8(images).cpu().numpy()


def quickest_enough(
    previews: Sequence[Preview], num_samples: int, seconds: float, layers: Iterable[Sequence[int]]
) -> Preview | None:
    """The largest that shows edits of these layers and takes at most so long for all samples."""
    layers = list(layers)
    usable = [p for p in previews if p.seconds * num_samples <= seconds and p.shows(layers)]
    return max(usable, key=lambda p: p.resolution, default=None)
