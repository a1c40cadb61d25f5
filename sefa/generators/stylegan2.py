"""StyleGAN2 (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020).

Inference only. Everything but the learning-rate multiplier and the clamps is read from the shapes.
The canonical names of the weights, which every file layout is translated to
(i = w index, k = block, block k has resolution 4 * 2**k):

    mapping.dense{n}.weight [out, in], .bias [out]      raw, as trained
    mapping.label_weight [label_dim, z_dim]             labels joined to z, normalised jointly
    mapping.embed.weight [E, label_dim], .bias [E]      or labels embedded, normalised separately
    w_avg [w_dim], or [num_ws * w_dim] when the mapping gives each index its own w
    synthesis.const [1, C, 4, 4]
    synthesis.conv{i}.weight [out, in, 3, 3]            odd i upsample; no kernel flip anywhere
    synthesis.conv{i}.bias [out]
    synthesis.conv{i}.affine.weight [in, w_dim], .affine.bias [in]      bias includes the +1
    synthesis.conv{i}.noise_strength [], .noise_const [r, r]            both or neither
    synthesis.to_rgb{k}.weight [3, in, 1, 1], .bias [3], .affine.weight, .affine.bias
    synthesis.skip{k}.weight [out, in, 1, 1]            resnet only, k >= 1

Configuration, every key optional:

    architecture    "skip", "orig" or "resnet"; read from the shapes when absent
    lr_multiplier, w_avg_samples    of the mapping, see `mapping.MappedGenerator`
    conv_clamp      bound of every convolution's output, or {"conv3": 256, "to_rgb0": null, ...}
                    by module, where one that is not named has none; none at all when absent
    edit_range      15 when absent
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sefa.errors import CheckpointError, show
from sefa.generators.convolution import Conv3x3, Convolution, UpConv3x3
from sefa.generators.generator import MAX_BLOCKS, Features, Weights, positive
from sefa.generators.mapping import FullyConnected, MappedGenerator
from sefa.generators.noise import draw_noise
from sefa.generators.ops import activate_, upsample2x

SQRT2 = math.sqrt(2.0)


class StyleGAN2(MappedGenerator):
    """The canonical network: mapping, then modulated convolutions (figure 7: a, b or c)."""

    family = "stylegan2"
    edit_range = 15.0  # as in the official interface; a file may say otherwise

    def __init__(self, state_dict: Mapping[str, Tensor], config: Mapping):
        super().__init__()
        weights = Weights(state_dict)
        blocks = count_blocks(weights)
        self.num_ws = 2 * blocks
        self.resolution = 4 * 2 ** (blocks - 1)
        self.w_dim = weights.shape("synthesis.conv0.affine.weight", 2)[1]
        self.num_channels = weights.shape(f"synthesis.to_rgb{blocks - 1}.bias", 1)[0]
        self.layer_names = ["4x4 conv"]
        for k in range(1, blocks):
            size = 4 * 2**k
            self.layer_names += [f"{size}x{size} up conv", f"{size}x{size} conv"]
        self.layer_names.append("toRGB")
        convs = [4 * 2 ** ((i + 1) // 2) for i in range(self.num_ws - 1)]
        self.layer_resolutions = [*convs, self.resolution]

        self.take_mapping(weights, config)
        self.edit_range = positive(config, "edit_range", type(self).edit_range)
        clamps = read_clamps(config, blocks)
        channels = weights.shape("synthesis.const", 4)[1]
        block_in = channels
        self.register_buffer("const", weights.take("synthesis.const", 1, channels, 4, 4))
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleDict()  # keyed by block: orig and resnet have the last one only
        self.skips = nn.ModuleDict()  # keyed by block: resnet only, all but the first
        for i in range(self.num_ws - 1):
            block = (i + 1) // 2
            up = i % 2 == 1
            block_in = channels if up else block_in
            adds = not up and block > 0 and f"synthesis.skip{block}.weight" in weights
            conv = ModulatedConv(
                weights, f"synthesis.conv{i}", channels, self.w_dim, clamps[f"conv{i}"], up,
                gain=math.sqrt(0.5) if adds else 1.0,
            )  # fmt: skip
            conv.take_noise(weights, f"synthesis.conv{i}", size=4 * 2**block)
            channels = conv.out_channels
            self.convs.append(conv)
            if adds:
                name = f"synthesis.skip{block}"
                self.skips[str(block)] = Skip(weights, name, block_in, channels)
            if not up and f"synthesis.to_rgb{block}.weight" in weights:
                self.to_rgbs[str(block)] = ToRGB(
                    weights, f"synthesis.to_rgb{block}", channels, self.num_channels, self.w_dim,
                    clamps[f"to_rgb{block}"],
                )  # fmt: skip
        self.check_architecture(config.get("architecture"), blocks)
        # Before the toRGB of a block, the convolutions up to its end have had their say.
        self.previews = {4 * 2**k: 2 * k + 1 for k in range(blocks - 1) if str(k) in self.to_rgbs}
        self.noise_sizes = tuple(conv.noise_size for conv in self.convs)
        self.has_noise = any(self.noise_sizes)
        self.finish(weights, config)

    def check_architecture(self, named: str | None, blocks: int) -> None:
        """skip has a toRGB in every block, the others only in the last; resnet has skips."""
        every, last = [str(k) for k in range(blocks)], [str(blocks - 1)]
        found = (list(self.to_rgbs), list(self.skips))
        layers = {"skip": (every, []), "orig": (last, []), "resnet": (last, every[1:])}
        fits = [name for name, expected in layers.items() if found == expected]
        if not fits or (named is not None and named not in fits):
            wrong = (
                f"do not fit the architecture {show(named, 20)}"
                if fits
                else "fit none of the architectures skip, orig and resnet"
            )
            to_rgbs, skips = (", ".join(names) or "none" for names in found)
            raise CheckpointError(
                f"The toRGB layers (found in blocks {to_rgbs} of 0 to {blocks - 1}) and the skip "
                f"layers (in {skips}) {wrong}."
            )

    def synthesize(self, w: Tensor, noise_seed: int | None = None) -> Tensor:
        """Images [N, num_channels, resolution, resolution] float32, nominal range [-1, 1].

        noise_seed: of other noise than the stored, see `noise.draw_noise`; the same for all samples.
        """
        return super().synthesize(w, noise_seed=noise_seed)

    def begin(self, w: Tensor) -> Features:
        return {"x": self.const.repeat(len(w), 1, 1, 1), "image": None}

    def step(
        self, features: Features, i: int, w: Tensor, noise_seed: int | None = None
    ) -> Features:
        """Index i: toRGB of the block that ends before conv i, where there is one, and conv i."""
        x, image = features["x"], self.add_rgb(features, i, w)
        block = str((i + 1) // 2)
        if i == len(self.convs):
            return {"image": image}
        shortcut = features.get("shortcut")
        if i % 2 == 1 and block in self.skips:
            shortcut = self.skips[block](x)
        fresh = None if noise_seed is None else draw_noise(noise_seed, self.noise_sizes)[i]
        x = self.convs[i](x, w, fresh)
        if i % 2 == 0 and block in self.skips:
            x, shortcut = x + shortcut, None
        return {"x": x, "image": image, "shortcut": shortcut}

    def add_rgb(self, features: Features, i: int, w: Tensor) -> Tensor | None:
        """The image so far with the toRGB of the block that ends before conv i, where it has one."""
        x, image = features["x"], features["image"]
        ended = str((i - 1) // 2)
        if i % 2 == 0 or ended not in self.to_rgbs:
            return image
        rgb = self.to_rgbs[ended](x, w)
        return rgb if image is None else rgb + upsample2x(image)

    def image(self, features: Features) -> Tensor:
        return features["image"]

    def preview(self, w: Tensor, resolution: int, noise_seed: int | None = None) -> Tensor:
        """The sum of the toRGBs up to a block (figure 7b); see `Generator.preview`."""
        i = self.previews[resolution]
        features = self.features(w, i, noise_seed=noise_seed)
        return self.add_rgb(features, i, w[:, i].to(self.dtype))

    def layer_weights(self, layers: Sequence[int]) -> list[Tensor]:
        """Index i: the affine of conv i; the last: the affine of the last toRGB.

        The other toRGBs never enter, as in the official code.
        """
        modules = [*self.convs, self.to_rgbs[str(self.num_ws // 2 - 1)]]
        return [modules[i].affine.weight for i in layers]


def count_blocks(weights: Weights) -> int:
    """Number of resolutions, from the convolutions that are there: 2 * blocks - 1 of them."""
    convs = weights.count("synthesis.conv{}.weight")
    if convs % 2 == 0 or convs > 2 * MAX_BLOCKS - 1:
        raise CheckpointError(
            f"A StyleGAN2 has an odd number of convolutions up to {2 * MAX_BLOCKS - 1}, "
            f"found {convs}."
        )
    return (convs + 1) // 2


def read_clamps(config: Mapping, blocks: int) -> dict[str, float | None]:
    """The bound of every conv and to_rgb by the module's name, None where there is none."""
    names = [f"conv{i}" for i in range(2 * blocks - 1)] + [f"to_rgb{k}" for k in range(blocks)]
    named = config.get("conv_clamp")
    if not isinstance(named, Mapping):
        return dict.fromkeys(names, positive(config, "conv_clamp", None))
    unknown = [name for name in named if name not in names]
    if unknown:
        raise CheckpointError(
            f"The conv_clamp names {show(unknown[0], 20)}, no layer of this network."
        )
    return {name: positive(named, name, None) for name in names}


class ModulatedConv(nn.Module):
    """3x3 convolution whose weights are modulated by w and demodulated (section 2.2).

    The style multiplies the activations and the demodulation the result, which is the same as
    scaling the weights for each sample, so that a batch shares one convolution. `gain` multiplies
    the activation and its clamp. Whatever multiplies the activation is folded into what goes into it,
    since a leaky ReLU is homogeneous.
    """

    def __init__(
        self,
        weights: Weights,
        name: str,
        in_channels: int,
        w_dim: int,
        clamp: float | None,
        up: bool,
        gain: float,
    ):
        super().__init__()
        self.gain = SQRT2 * gain
        self.clamp = None if clamp is None else clamp * gain
        self.out_channels = weights.shape(f"{name}.weight", 4)[0]
        weight = weights.take(f"{name}.weight", self.out_channels, in_channels, 3, 3)
        self.register_buffer("weight_squares", None, persistent=False)  # see `squares`
        self.conv = UpConv3x3(weight) if up else Conv3x3(weight)
        self.register_buffer(
            "bias", weights.take(f"{name}.bias", self.out_channels).mul_(self.gain)
        )
        # The scale 1 / sqrt(9 in) of the weights is the style's, which is smaller and multiplies them.
        scale = 1 / math.sqrt(9 * in_channels)
        self.affine = FullyConnected(
            weights, f"{name}.affine", w_dim, gain=scale, out_dim=in_channels
        )
        self.register_buffer("noise", None)  # [size, size], times its strength
        self.noise_strength = 0.0  # of fresh noise, times the gain
        self.noise_size = 0  # of noise that does anything

    def take_noise(self, weights: Weights, name: str, size: int) -> None:
        """The stored noise image [size, size], its strength and the gain, multiplied.

        Stored noise that is zero is none, but where it has a strength fresh noise is not.
        """
        if f"{name}.noise_strength" in weights:
            strength = weights.take(f"{name}.noise_strength").mul_(self.gain)
            self.noise_strength = strength.item()
            self.noise_size = size if self.noise_strength else 0
            noise = weights.take(f"{name}.noise_const", size, size) * strength
            if noise.any():
                self.noise = noise

    def squares(self) -> Tensor:
        """[out, in]: the sum of squares of each kernel.

        Computed once, when the first image asks: by then the weights are on the device that draws,
        and many a model is loaded only for its directions.
        """
        if self.weight_squares is None:
            with torch.inference_mode(False), torch.no_grad():  # it outlives the first image
                self.weight_squares = self.conv.squares()
        return self.weight_squares

    def forward(self, x: Tensor, w: Tensor, fresh: Tensor | None = None) -> Tensor:
        """The caller gives up x. fresh: noise [size, size] in place of the stored, before its strength."""
        style = self.affine(w)  # [N, in]
        demodulation = F.linear(style.square(), self.squares()).add(1e-8).rsqrt()  # [N, out]
        demodulation = demodulation * self.gain
        noise = self.noise if fresh is None else fresh.to(x) * self.noise_strength

        def finish(part: Tensor, samples: slice, rows: slice) -> Tensor:
            some = None if noise is None else noise[rows]
            return activate_(part, demodulation[samples], self.bias, some, self.clamp)

        return self.conv(x, style, finish)


class ToRGB(Convolution):
    """1x1 convolution to the image, modulated but not demodulated, no activation."""

    def __init__(
        self,
        weights: Weights,
        name: str,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        clamp: float | None,
    ):
        weight = weights.take(f"{name}.weight", out_channels, in_channels, 1, 1)
        super().__init__(weight / math.sqrt(in_channels))
        self.clamp = clamp
        self.register_buffer("bias", weights.take(f"{name}.bias", out_channels))
        self.affine = FullyConnected(weights, f"{name}.affine", w_dim, out_dim=in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)[:, :, None, None].to(x.dtype)
        bias = self.bias.to(self.weight.dtype)
        x = F.conv2d(self.ready(x * style), self.weight, bias).to(self.bias.dtype)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class Skip(Convolution):
    """The shortcut of a resnet block: 1x1 convolution, then twice the size, scaled by sqrt(1/2)."""

    def __init__(self, weights: Weights, name: str, in_channels: int, out_channels: int):
        weight = weights.take(f"{name}.weight", out_channels, in_channels, 1, 1)
        super().__init__(weight * math.sqrt(0.5 / in_channels))

    def forward(self, x: Tensor) -> Tensor:
        return upsample2x(F.conv2d(self.ready(x), self.weight))
