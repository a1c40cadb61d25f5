"""Fresh noise images for the families that add noise to their features (StyleGAN, StyleGAN2).

Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR
2019, section 3.2: noise decides where single hairs and leaves lie, and little else.
"""

import functools

import torch
from numpy.random import RandomState  # named here, as numpy imports it when it is first used
from torch import Tensor


# Drawing takes 60 ms for a network of 1024 px: little beside an image on a CPU, several images on a
# GPU. So the last few are kept, 11 MB each at 1024 px; on the CPU and outside the networks, since
# these are moved and shared, and the noise is the same for all.
@functools.lru_cache(maxsize=4)
def draw_noise(seed: int, sizes: tuple[int, ...]) -> tuple[Tensor | None, ...]:
    """Standard-normal images [size, size] for each layer, float32 on the CPU; None for size 0.

    Not to be changed in place. seed: 0 to 2**32 - 1. Layer i is RandomState([seed, i]).randn(size,
    size): it depends on no other layer, and has nothing in common with the z of the same seed.
    """
    with torch.inference_mode(False):  # they outlive the images that asked first
        return tuple(
            torch.from_numpy(RandomState([seed, i]).randn(size, size)).float() if size else None
            for i, size in enumerate(sizes)
        )
