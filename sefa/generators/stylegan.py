"""StyleGAN (Karras et al., "A Style-Based Generator Architecture for Generative Adversarial
Networks", CVPR 2019).

Inference only. Everything but the learning-rate multiplier is read from the shapes. The canonical
names of the weights, which every file layout is translated to
(i = w index, k = block, block k has resolution r = 4 * 2**k and the indices 2k and 2k+1):

    mapping.dense{n}.weight [out, in], .bias [out]      raw, as trained
    mapping.label_weight [label_dim, z_dim]             labels joined to z, normalised jointly
    w_avg [w_dim], or [num_ws * w_dim] when the mapping gives each index its own w
    synthesis.const [1, C, 4, 4]                        in the place of a convolution 0
    synthesis.conv{i}.weight [out, in, 3, 3]            i >= 1; even i upsample; never flipped
    synthesis.conv{i}.bias [out]                        from i = 0 on, as all that follow
    synthesis.conv{i}.affine.weight [2 * out, w_dim], .affine.bias [2 * out]
                                                        scale, then shift; its bias includes the +1
    synthesis.conv{i}.noise_strength [out], .noise_const [r, r]         both or neither
    synthesis.to_rgb{k}.weight [3, in, 1, 1], .bias [3]
    synthesis.lod []                                    level of detail, 0 when absent

Upsampling by repeated pixels and the "fused" transposed convolution of the larger layers are the
same map with flipped kernels, so that a layout which meets the latter flips them, and nothing of
it is left to configure.

Configuration: edit_range (2 when absent), and that of `mapping.MappedGenerator`.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sefa.generators.generator import Weights, positive
from sefa.generators.mapping import FullyConnected, MappedGenerator
from sefa.generators.noise import draw_noise
from sefa.generators.ops import blur, upsampling_kernel
from sefa.generators.progressive import ProgressiveOutput, count_blocks

SQRT2 = math.sqrt(2.0)


class StyleGAN(MappedGenerator):
    """The canonical network: mapping, then convolutions, each followed by a style."""

    family = "stylegan"
    edit_range = 2.0  # as in the official interface; a file may say otherwise

    def __init__(self, state_dict: Mapping[str, Tensor], config: Mapping):
        super().__init__()
        weights = Weights(state_dict)
        blocks = count_blocks(weights)
        self.num_ws = 2 * blocks
        self.resolution = 4 * 2 ** (blocks - 1)
        self.w_dim = weights.shape("synthesis.conv0.affine.weight", 2)[1]
        self.layer_names = ["4x4 const", "4x4 conv"]
        for k in range(1, blocks):
            size = 4 * 2**k
            self.layer_names += [f"{size}x{size} up conv", f"{size}x{size} conv"]
        self.layer_resolutions = [4 * 2 ** (i // 2) for i in range(self.num_ws)]
        self.take_mapping(weights, config, bias_gain=1.0)
        self.edit_range = positive(config, "edit_range", type(self).edit_range)

        channels = weights.shape("synthesis.const", 4)[1]
        self.register_buffer("const", weights.take("synthesis.const", 1, channels, 4, 4))
        self.convs = nn.ModuleList()  # [0] has none
        self.styles = nn.ModuleList()
        widths = []
        for i in range(self.num_ws):
            name = f"synthesis.conv{i}"
            conv = Conv(weights, name, channels, up=i % 2 == 0) if i else nn.Identity()
            channels = conv.out_channels if i else channels
            self.convs.append(conv)
            size = 4 * 2 ** (i // 2)
            self.styles.append(StyledActivation(weights, name, channels, self.w_dim, size))
            widths.append(channels)
        self.output = ProgressiveOutput(weights, widths[1::2])
        self.num_channels = self.output.num_channels
        in_use = self.styles[: 2 * self.output.blocks]
        self.noise_sizes = tuple(style.noise_size for style in in_use)
        self.has_noise = any(self.noise_sizes)
        self.finish(weights, config)

    def synthesize(self, w: Tensor, noise_seed: int | None = None) -> Tensor:
        """Images [N, num_channels, resolution, resolution] float32, nominal range [-1, 1].

        noise_seed: of other noise than the stored, see `noise.draw_noise`; the same for all samples.
        """
        self.check_ws(w)
        sizes = self.noise_sizes
        fresh = [None] * len(sizes) if noise_seed is None else draw_noise(noise_seed, sizes)
        w = w.to(self.const.dtype)  # float32 codes plus float64 directions are float64
        coarse, fine = None, self.const.expand(len(w), -1, -1, -1)
        for k in range(self.output.blocks):
            x = fine
            for i in (2 * k, 2 * k + 1):
                x = self.styles[i](self.convs[i](x), w[:, i], fresh[i])
            coarse, fine = fine, x
        return self.output(coarse, fine)

    def layer_weights(self, layers: Sequence[int]) -> list[Tensor]:
        """Index i: the affine of layer i, the rows of scale and shift both; toRGB has none."""
        return [self.styles[i].affine.weight for i in layers]


class Conv(nn.Module):
    """3x3 convolution, or nearest upsampling, 3x3 convolution and blur."""

    def __init__(self, weights: Weights, name: str, in_channels: int, up: bool):
        super().__init__()
        self.up = up
        self.out_channels = weights.shape(f"{name}.weight", 4)[0]
        weight = weights.take(f"{name}.weight", self.out_channels, in_channels, 3, 3)
        weight = weight * (SQRT2 / math.sqrt(9 * in_channels))
        self.register_buffer("weight", upsampling_kernel(weight) if up else weight)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            return blur(F.conv_transpose2d(x, self.weight, stride=2, padding=1))
        return F.conv2d(x, self.weight, padding=1)


class StyledActivation(nn.Module):
    """Noise, bias and leaky ReLU, then adaptive instance normalisation by w (equation 1)."""

    def __init__(self, weights: Weights, name: str, channels: int, w_dim: int, size: int):
        super().__init__()
        self.register_buffer("bias", weights.take(f"{name}.bias", channels))
        self.register_buffer("noise_strength", None)  # [C]
        self.register_buffer("noise", None)  # [size, size]
        self.noise_size = 0  # of noise that does anything
        if f"{name}.noise_strength" in weights:
            self.noise_strength = weights.take(f"{name}.noise_strength", channels)
            self.noise = weights.take(f"{name}.noise_const", size, size)
            self.noise_size = size if self.noise_strength.any() else 0
        self.affine = FullyConnected(weights, f"{name}.affine", w_dim, out_dim=2 * channels)

    def forward(self, x: Tensor, w: Tensor, fresh: Tensor | None = None) -> Tensor:
        """fresh: noise [size, size] in place of the stored, before its strength."""
        x = x + self.bias[:, None, None]
        noise = self.noise if fresh is None else fresh.to(x)
        if noise is not None:
            x = torch.addcmul(x, noise, self.noise_strength[:, None, None])
        x = F.leaky_relu(x, 0.2)
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, dim=1)  # [N, C, 1, 1] each
        variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
        scale = scale * (variance + 1e-8).rsqrt()
        return torch.addcmul(shift, x - mean, scale)
