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
from torch import Tensor, nn

from sefa.generators.convolution import Conv3x3, Finish, NearestUpConv3x3, finished
from sefa.generators.generator import Features, Weights, positive
from sefa.generators.mapping import FullyConnected, MappedGenerator
from sefa.generators.noise import draw_noise
from sefa.generators.ops import activate_, add_product_, affine_, at_least_float32, blur
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
            if i:
                out_channels = weights.shape(f"{name}.weight", 4)[0]
                weight = weights.take(f"{name}.weight", out_channels, channels, 3, 3)
                weight = weight * (SQRT2 / math.sqrt(9 * channels))
                self.convs.append(Conv3x3(weight) if i % 2 else UpConv(weight))
                channels = out_channels
            else:
                self.convs.append(nn.Identity())
            size = 4 * 2 ** (i // 2)
            self.styles.append(StyledActivation(weights, name, channels, self.w_dim, size))
            widths.append(channels)
        self.output = ProgressiveOutput(weights, widths[1::2])
        self.num_channels = self.output.num_channels
        self.previews = {size: 2 * k + 2 for size, k in self.output.smaller.items()}
        in_use = self.styles[: 2 * self.output.blocks]
        self.noise_sizes = tuple(style.noise_size for style in in_use)
        self.has_noise = any(self.noise_sizes)
        self.finish(weights, config)

    def synthesize(self, w: Tensor, noise_seed: int | None = None) -> Tensor:
        """Images [N, num_channels, resolution, resolution] float32, nominal range [-1, 1].

        noise_seed: of other noise than the stored, see `noise.draw_noise`; the same for all samples.
        """
        return super().synthesize(w, noise_seed=noise_seed)

    def begin(self, w: Tensor) -> Features:
        return {"coarse": None, "fine": None, "x": self.const.repeat(len(w), 1, 1, 1)}

    def step(
        self, features: Features, i: int, w: Tensor, noise_seed: int | None = None
    ) -> Features:
        """Index i: conv i, what is activated, and its style; coarse and fine are the last blocks."""
        if i >= 2 * self.output.blocks:
            return features
        style, x = self.styles[i], features["x"]
        fresh = None if noise_seed is None else draw_noise(noise_seed, self.noise_sizes)[i]
        moments = Moments(len(w), style.channels)
        finish = style.activation(fresh, moments)
        x = self.convs[i](x, finish=finish) if i else finished(x, finish)
        x = style(x, w, moments)
        if i % 2 == 0:
            return {**features, "x": x}
        return {"coarse": features["fine"], "fine": x, "x": x}

    def image(self, features: Features) -> Tensor:
        return self.output(features["coarse"], features["fine"])

    def preview(self, w: Tensor, resolution: int, noise_seed: int | None = None) -> Tensor:
        features = self.features(w, self.previews[resolution], noise_seed=noise_seed)
        return self.output.to_rgbs[self.output.smaller[resolution]](features["fine"])

    def layer_weights(self, layers: Sequence[int]) -> list[Tensor]:
        """Index i: the affine of layer i, the rows of scale and shift both; toRGB has none."""
        return [self.styles[i].affine.weight for i in layers]


class UpConv(NearestUpConv3x3):
    """Nearest upsampling, 3x3 convolution and blur."""

    def forward(self, x: Tensor, finish: Finish | None = None) -> Tensor:
        return finished(blur(super().forward(x)), finish)


class StyledActivation(nn.Module):
    """Noise, bias and leaky ReLU (`activation`), then adaptive instance normalisation by w
    (equation 1).
    """

    def __init__(self, weights: Weights, name: str, channels: int, w_dim: int, size: int):
        super().__init__()
        self.channels = channels
        self.register_buffer("bias", weights.take(f"{name}.bias", channels))
        self.register_buffer("noise_strength", None)  # [C]
        self.register_buffer("noise", None)  # [size, size]
        self.noise_size = 0  # of noise that does anything
        if f"{name}.noise_strength" in weights:
            self.noise_strength = weights.take(f"{name}.noise_strength", channels)
            self.noise = weights.take(f"{name}.noise_const", size, size)
            self.noise_size = size if self.noise_strength.any() else 0
        self.affine = FullyConnected(weights, f"{name}.affine", w_dim, out_dim=2 * channels)

    def activation(self, fresh: Tensor | None, moments: "Moments") -> Finish:
        """What comes before the style, which adds to `moments`.

        fresh: noise [size, size] in place of the stored, before its strength.
        """
        noise = self.noise if fresh is None else fresh.to(self.bias)

        def finish(part: Tensor, samples: slice, rows: slice) -> Tensor:
            if noise is not None:
                part = add_product_(part, noise[rows], self.noise_strength[:, None, None])
            part = activate_(part, None, self.bias)
            moments.add(part, samples)
            return part

        return finish

    def forward(self, x: Tensor, w: Tensor, moments: "Moments") -> Tensor:
        """The style of w, for activated features, whose memory the caller gives up."""
        scale, shift = self.affine(w).chunk(2, dim=1)  # [N, C] each
        mean, variance = moments.total()
        scale = scale * (variance + 1e-8).rsqrt()
        shift = shift - mean * scale
        return affine_(x, scale[:, :, None, None], shift[:, :, None, None])


class Moments:
    """Mean and variance over the pixels of each channel, from parts of the pixels.

    A part is counted while it is in the cache. As exact as all at once: the variance of a part is
    about its own mean (Chan, Golub and LeVeque, 1983, equation 2.1).
    """

    def __init__(self, samples: int, channels: int):
        self.parts = [[] for _ in range(samples)]  # of each sample: (pixels, mean, sum of squares)

    def add(self, x: Tensor, samples: slice) -> None:
        """x [n, C, rows, W] of these samples."""
        pixels = x[0, 0].numel()
        for sample, own in zip(range(len(self.parts))[samples], at_least_float32(x), strict=True):
            flat = own.flatten(1).T  # [pixels, C]
            ones = flat.new_ones(1, pixels)
            mean = ones @ flat / pixels  # a product is much quicker than a sum along this axis
            squares = ones @ (flat - mean).square_()
            self.parts[sample].append((pixels, mean, squares))

    def total(self) -> tuple[Tensor, Tensor]:
        """(mean, variance): [N, C] each."""
        return tuple(torch.cat(found) for found in zip(*map(combine, self.parts), strict=True))


def combine(parts: list[tuple[int, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The mean and variance [1, C] of all the pixels of the parts."""
    pixels, means, squares = zip(*parts, strict=True)
    total, means = sum(pixels), torch.cat(means)  # [parts, C]
    weights = means.new_tensor([pixels])
    mean = weights @ means / total
    within = torch.cat(squares).sum(dim=0, keepdim=True)
    return mean, (within + weights @ (means - mean).square()) / total
