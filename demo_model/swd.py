"""Sliced Wasserstein distance between sets of images, level by level of a Laplacian pyramid.

Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and Variation", ICLR
2018, section 5, with the settings of the reference implementation: levels from the full resolution
down to 16 pixels, 128 descriptors of 7 x 7 x 3 pixels from each image, normalised to zero mean and
unit deviation of each colour channel over their own set, 4 x 128 random directions, times 1000.
The coarse levels compare shapes and poses, the fine ones the drawing of edges and details.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F

SMALLEST = 16  # pixels: resolution of the last level
PATCH = 7
PATCHES = 128  # of each image
DIRECTIONS = 512  # the reference's 4 repeats of 128: their average is that over all
AT_A_TIME = 32  # directions; bounds the memory


def levels(resolution):
    """Resolutions of the pyramid: 64 -> [64, 32, 16]."""
    return [resolution >> k for k in range(resolution.bit_length()) if resolution >> k >= SMALLEST]


def smooth(x):
    """The binomial filter [1, 4, 6, 4, 1] / 16 along both axes, mirrored at the borders."""
    taps = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, groups=x.shape[1])


def down(x):
    """[N, C, r, r] -> [N, C, r/2, r/2]."""
    return smooth(x)[:, :, ::2, ::2]


def up(x):
    """[N, C, r, r] -> [N, C, 2r, 2r]: zeros in between, then `smooth` times 4."""
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, 2 * h, 2 * w)
    spread[:, :, ::2, ::2] = x
    return smooth(spread) * 4


def laplacian_level(images, k):
    """Level k (0 the finest) of the pyramid of float images [N, C, r, r], r a power of two."""
    for _ in range(k):
        images = down(images)
    return images - up(down(images)) if images.shape[-1] > SMALLEST else images


def descriptors(images, k, seed):
    """Normalised patches of level k of uint8 images [N, 3, r, r]: float32 [N * 128, 147]."""
    random = torch.Generator().manual_seed(seed)
    size = images.shape[-1] >> k
    parts = []
    for part in images.split(256):
        level = laplacian_level(part.float(), k)
        windows = level.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # a view [n, 3, y, x, 7, 7]
        shape = (len(part), PATCHES)
        y, x = (torch.randint(size - PATCH + 1, shape, generator=random) for _ in range(2))
        image = torch.arange(len(part))[:, None]
        parts.append(windows[image, :, y, x].flatten(0, 1))  # [n * 128, 3, 7, 7]
    patches = torch.cat(parts)
    patches -= patches.mean([0, 2, 3], keepdim=True)
    patches /= patches.std([0, 2, 3], keepdim=True, correction=0).clamp(min=1e-8)
    return patches.flatten(1)


def sliced_distances(reference, others, seed=0):
    """Wasserstein-1 distances of point sets [M, D] to `reference` [M, D], as a list of floats.

    In one dimension the distance is the mean difference of the sorted points; it is averaged over
    random directions, the same for all sets.
    """
    random = torch.Generator().manual_seed(seed)
    directions = torch.randn(DIRECTIONS, reference.shape[1], generator=random)
    directions = F.normalize(directions)
    sums = [0.0] * len(others)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:

        def project(points, some):  # -> sorted projections [directions, M]
            # numpy sorts ten times as fast as torch does on a CPU
            rows = pool.map(np.sort, (some @ points.T).numpy())
            return list(rows)

        for some in directions.split(AT_A_TIME):
            ours = project(reference, some)
            for i, other in enumerate(others):
                theirs = project(other, some)
                sums[i] += sum(float(np.abs(a - b).mean()) for a, b in zip(ours, theirs))
    return [total / DIRECTIONS for total in sums]


def swd(reference, others, progress=lambda: None):
    """Distances times 1000 of sets of images to a reference set, each uint8 [N, 3, r, r].

    r is a power of two, at least 16; all sets are of one size. Returns for each other set a list
    over the levels, finest first. Every set's patches are drawn at random places of its own. Takes
    about 4 GB for three sets of 8,192 images. `progress()` is called after each level.
    """
    rows = []
    for k in range(len(levels(reference.shape[-1]))):
        patches = [descriptors(s, k, seed) for seed, s in enumerate([reference, *others])]
        distances = sliced_distances(patches[0], patches[1:], seed=k)
        rows.append([d * 1000 for d in distances])
        progress()
    return [list(column) for column in zip(*rows)]
