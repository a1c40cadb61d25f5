"""What the progressively grown families share: a toRGB for every block, and the level of detail.

Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and Variation", ICLR
2018, section 2 and figure 2. Canonical names of the weights (k = block, of 4 * 2**k pixels):

    synthesis.to_rgb{k}.weight [3, in, 1, 1], .bias [3]
    synthesis.lod []                                    0 when absent
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from sefa.errors import CheckpointError
from sefa.generators.convolution import Convolution
from sefa.generators.generator import MAX_BLOCKS, Weights


def count_blocks(weights: Weights) -> int:
    """Number of resolutions, from the toRGB layers that are there."""
    blocks = weights.count("synthesis.to_rgb{}.weight")
    if blocks > MAX_BLOCKS:
        raise CheckpointError(f"Found {blocks} toRGB layers where {MAX_BLOCKS} is the most.")
    return blocks


class ProgressiveOutput(nn.Module):
    """Features of the two finest blocks in use -> the image at full resolution.

    A level of detail of lod leaves out the floor(lod) finest blocks; its fraction is how much of
    the block below shows through. 0, a network whose training went to the end, is the usual case.
    """

    def __init__(self, weights: Weights, channels: list[int]):
        """channels: of the features of every block."""
        super().__init__()
        last = len(channels) - 1
        self.num_channels = weights.shape(f"synthesis.to_rgb{last}.bias", 1)[0]
        self.to_rgbs = nn.ModuleList(
            ToRGB(weights, f"synthesis.to_rgb{k}", in_channels, self.num_channels)
            for k, in_channels in enumerate(channels)
        )
        lod = 0.0
        if "synthesis.lod" in weights:
            lod = weights.take("synthesis.lod").item()
        if not 0.0 <= lod <= last:
            raise CheckpointError(f"The level of detail is {lod:g} where 0 to {last} was expected.")
        self.fade = lod - math.floor(lod)
        self.blocks = len(channels) - math.floor(lod)  # how many are in use

    @property
    def smaller(self) -> dict[int, int]:
        """Size in pixels -> block, of the images before the last that is in use."""
        return {4 * 2**k: k for k in range(self.blocks - 1)}

    def forward(self, coarse: Tensor | None, fine: Tensor) -> Tensor:
        image = self.to_rgbs[self.blocks - 1](fine)
        if self.fade:  # lod <= last, so that there is a block below
            below = nearest(self.to_rgbs[self.blocks - 2](coarse), 2)
            image = (1.0 - self.fade) * image + self.fade * below
        return nearest(image, 2 ** (len(self.to_rgbs) - self.blocks))


class ToRGB(Convolution):
    """1x1 convolution to the image, with the weights scaled by 1 / sqrt(in)."""

    def __init__(self, weights: Weights, name: str, in_channels: int, out_channels: int):
        weight = weights.take(f"{name}.weight", out_channels, in_channels, 1, 1)
        super().__init__(weight / math.sqrt(in_channels))
        self.register_buffer("bias", weights.take(f"{name}.bias", out_channels))

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias.to(self.weight.dtype)
        return F.conv2d(self.ready(x), self.weight, bias).to(self.bias.dtype)


def nearest(x: Tensor, factor: int) -> Tensor:
    """[N, C, H, W] -> [N, C, factor * H, factor * W], every pixel repeated."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="nearest")
