"""PGGAN (Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and
Variation", ICLR 2018), appendix A and table 2.

Inference only; everything is read from the shapes. The canonical names of the weights, which
every file layout is translated to (k = block, block k has resolution 4 * 2**k):

    synthesis.conv0.weight [out, z_dim, 4, 4]           on the code as an image of one pixel
    synthesis.conv{i}.weight [out, in, 3, 3]            even i upsample; never flipped or transposed
    synthesis.conv{i}.bias [out]                        conv{2k} and conv{2k+1} are block k
    synthesis.to_rgb{k}.weight [3, in, 1, 1], .bias [3]
    synthesis.lod []                                    level of detail, 0 when absent

The paper's upsampling by repeated pixels and its "fused" transposed convolution are the same
map with flipped kernels, so that a layout which meets the latter flips them, and nothing of it is
left to configure.

Configuration: edit_range (5 when absent).

w is the code divided by its root mean square. There is no mean to truncate towards: `map`
ignores `truncation_psi` and `truncation_cutoff`.
"""

import math
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from sefa.generators.convolution import Conv3x3, NearestUpConv3x3
from sefa.generators.generator import Generator, Weights, positive
from sefa.generators.ops import activate_, pixel_norm, pixel_norm_
from sefa.generators.progressive import ProgressiveOutput, count_blocks

SQRT2 = math.sqrt(2.0)


class PGGAN(Generator):
    """The canonical network: pairs of convolutions, each after a pixel norm."""

    family = "pggan"
    label_dim = 0
    num_ws = 1
    has_truncation = False
    has_cutoff = False
    edit_range = 5.0  # as in the official interface; a file may say otherwise

    def __init__(self, state_dict: Mapping[str, Tensor], config: Mapping):
        super().__init__()
        weights = Weights(state_dict)
        blocks = count_blocks(weights)
        self.resolution = 4 * 2 ** (blocks - 1)
        self.layer_names, self.layer_resolutions = ["4x4 conv"], [4]
        self.edit_range = positive(config, "edit_range", type(self).edit_range)
        first = FirstLayer(weights, "synthesis.conv0")
        self.z_dim = self.w_dim = first.weight.shape[1]
        self.blocks = nn.ModuleList()
        channels = [first.bias.shape[0]]
        for k in range(blocks):
            name = f"synthesis.conv{2 * k}"
            start = first if k == 0 else Layer(weights, name, channels[-1], up=True)
            end = Layer(weights, f"synthesis.conv{2 * k + 1}", start.bias.shape[0], up=False)
            self.blocks.append(nn.Sequential(start, end))
            channels.append(end.bias.shape[0])
        self.output = ProgressiveOutput(weights, channels[1:])
        self.num_channels = self.output.num_channels
        self.previews = dict.fromkeys(self.output.smaller, 1)
        weights.finish()

    def map(
        self,
        z: Tensor,
        label: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        self.check_codes(z, label)
        return pixel_norm(z.to(self.blocks[0][0].weight.dtype))[:, None]

    def synthesize(self, w: Tensor) -> Tensor:
        return self.output(*self.block_features(w, self.output.blocks))

    def preview(self, w: Tensor, resolution: int) -> Tensor:
        block = self.output.smaller[resolution]
        return self.output.to_rgbs[block](self.block_features(w, block + 1)[1])

    def block_features(self, w: Tensor, blocks: int) -> tuple[Tensor | None, Tensor]:
        """Of the last two of the first `blocks` blocks."""
        self.check_ws(w)
        w = w.to(self.blocks[0][0].weight.dtype)  # float32 codes plus float64 directions
        # An edit changes the length: the network norms its input, then each layer norms its own.
        coarse, fine = None, pixel_norm(pixel_norm(w[:, 0]))
        for block in self.blocks[:blocks]:
            coarse, fine = fine, block(fine)
        return coarse, fine

    def layer_weights(self, layers: Sequence[int]) -> list[Tensor]:
        """The only index: conv0, a matrix [out * 16, z_dim] with a row a channel and pixel."""
        return [self.blocks[0][0].weight for _ in layers]


class FirstLayer(nn.Module):
    """Code [N, z_dim] -> features [N, out, 4, 4], pixel-normalised.

    A convolution with padding 3 on one pixel: each of the 16 pixels sees one tap of the kernel,
    the last one first, so it is a matrix.
    """

    def __init__(self, weights: Weights, name: str):
        super().__init__()
        out_channels, in_dim = weights.shape(f"{name}.weight", 4)[:2]
        weight = weights.take(f"{name}.weight", out_channels, in_dim, 4, 4).flip(2, 3)
        matrix = weight.permute(0, 2, 3, 1).reshape(-1, in_dim)  # [out * 16, in]
        self.register_buffer("weight", matrix * (SQRT2 / math.sqrt(16 * in_dim)))
        self.register_buffer("bias", weights.take(f"{name}.bias", out_channels))

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight).unflatten(1, (-1, 4, 4))
        return pixel_norm(F.leaky_relu(x + self.bias[:, None, None], 0.2))


class Layer(nn.Module):
    """[nearest upsampling,] 3x3 convolution, leaky ReLU without gain, and pixel norm.

    The reference norms the input of every layer, toRGB included, which is the same.
    """

    def __init__(self, weights: Weights, name: str, in_channels: int, up: bool):
        super().__init__()
        out_channels = weights.shape(f"{name}.weight", 4)[0]
        weight = weights.take(f"{name}.weight", out_channels, in_channels, 3, 3)
        weight = weight * (SQRT2 / math.sqrt(9 * in_channels))
        self.conv = NearestUpConv3x3(weight) if up else Conv3x3(weight)
        self.register_buffer("bias", weights.take(f"{name}.bias", out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, finish=self.finish)

    def finish(self, part: Tensor, samples: slice, rows: slice) -> Tensor:
        return pixel_norm_(activate_(part, None, self.bias))
