"""StyleGAN3 (Karras et al., "Alias-Free Generative Adversarial Networks", NeurIPS 2021).

Inference only; configurations T (3x3 kernels) and R (1x1 kernels, radial filters). The low-pass
filters come with the weights. The canonical names of the weights, which every file layout is
translated to (N layers without toRGB; num_ws = N + 2; mapping as in mapping.py):

    mapping.dense{n}.weight, .bias, mapping.embed.weight, .bias
    w_avg [w_dim]
    synthesis.input.weight [C, C], .freqs [C, 2], .phases [C]
    synthesis.input.affine.weight [4, w_dim], .affine.bias [4]      rotation (2), translation (2)
    synthesis.input.transform [3, 3]                                inverse, of the image
    synthesis.conv{i}.weight [out, in, k, k], .bias [out]           i = 0 .. N-1
    synthesis.conv{i}.affine.weight [in, w_dim], .affine.bias [in]  bias includes the +1
    synthesis.conv{i}.magnitude_ema []                              mean square of its input
    synthesis.conv{i}.up_filter [taps]                              absent: no filter
    synthesis.conv{i}.down_filter [taps] or [taps, taps]            absent: no filter
    synthesis.to_rgb.*                                              the same, 1x1

Configuration: what shapes cannot tell,

    input: {"size", "sampling_rate", "bandwidth"}                   pixels, pixels, cycles a unit
    layers: [{"size", "up", "down", "clamp"}, ...]                  N + 1 of them, toRGB last; clamp
                                                                    may be null
    output_scale (0.25 when absent), edit_range (10)
    lr_multiplier, w_avg_samples                    of the mapping, see `mapping.MappedGenerator`

`default_schedule` gives input and layers for the authors' settings at any resolution and depth.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sefa.errors import CheckpointError, show
from sefa.generators.convolution import convolution
from sefa.generators.generator import Features, Weights, positive
from sefa.generators.mapping import FullyConnected, MappedGenerator
from sefa.generators.ops import affine_, downsample, upsample

SQRT2 = math.sqrt(2.0)
MAX_LAYERS = 64  # toRGB included; the authors' have 15
MAX_SIZE = 2304  # of a layer: 2048 px and a margin; the authors have 10 pixels a side
MAX_FACTOR = 16  # of resampling; theirs are 1, 2 and 4
MAX_UPSAMPLED = 3 * MAX_SIZE  # of what the leaky ReLU sees: about twice a layer's size
MAX_TAPS = 256


class StyleGAN3(MappedGenerator):
    """Fourier features, then modulated convolutions, each with a filtered leaky ReLU."""

    family = "stylegan3"
    edit_range = 10.0  # about as far as codes lie from the mean; what changes is as large by then

    def __init__(self, state_dict: Mapping[str, Tensor], config: Mapping):
        super().__init__()
        weights = Weights(state_dict)
        num_layers = count_layers(weights)
        self.num_ws = num_layers + 2
        self.w_dim = weights.shape("synthesis.input.affine.weight", 2)[1]
        self.take_mapping(weights, config)
        self.edit_range = positive(config, "edit_range", type(self).edit_range)
        self.output_scale = positive(config, "output_scale", 0.25)

        settings = layer_settings(config, num_layers + 1)
        self.input = FourierFeatures(weights, "synthesis.input", self.w_dim, config.get("input"))
        channels, size = self.input.channels, self.input.size
        self.layers = nn.ModuleList()
        self.layer_names = ["input"]
        # Sizes have a margin, and the last layers are cut to the image; rates tell the scale.
        rate = self.input.sampling_rate
        self.layer_resolutions = [max(1, round(rate))]
        for i, setting in enumerate(settings):
            is_rgb = i == num_layers
            name = "synthesis.to_rgb" if is_rgb else f"synthesis.conv{i}"
            layer = Layer(weights, name, channels, size, self.w_dim, setting, is_rgb)
            channels, size = layer.out_channels, layer.size
            rate = rate * layer.up / layer.down
            self.layer_resolutions.append(max(1, round(rate)))
            self.layers.append(layer)
            self.layer_names.append(f"L{i}_{size}_{channels}" + (" (toRGB)" if is_rgb else ""))
        self.resolution, self.num_channels = size, channels
        self.finish(weights, config)

    def step(self, features: Features, i: int, w: Tensor) -> Features:
        """Index 0: the input; i: layer i - 1."""
        return {"x": self.layers[i - 1](features["x"], w) if i else self.input(w)}

    def image(self, features: Features) -> Tensor:
        return features["x"] * self.output_scale

    def layer_weights(self, layers: Sequence[int]) -> list[Tensor]:
        """Index 0: the affine of the Fourier features; i: that of layer i - 1; the last: toRGB's.

        The official code of SeFa knows no StyleGAN3. This follows its idea, the first linear step
        that meets the latent: here each index of w meets exactly one affine, so none is left out
        and none is shared. toRGB's enters as the last toRGB of StyleGAN2 does.

        Index 0 has four rows only, rotation (cosine and sine) and translation (x and y) of the
        image as a whole, so alone it has rank 4 and its other directions have eigenvalue 0. Among
        all layers four rows among thousands weigh nothing. In a network whose input was never
        trained they are zero, and `factorize` drops them.
        """
        modules = [self.input, *self.layers]
        return [modules[i].affine.weight for i in layers]


def count_layers(weights: Weights) -> int:
    """Number of layers without toRGB."""
    layers = weights.count("synthesis.conv{}.weight")
    if layers + 1 > MAX_LAYERS:
        raise CheckpointError(f"Found {layers + 1} layers where at most {MAX_LAYERS} are read.")
    return layers


class FourierFeatures(nn.Module):
    """w [N, w_dim] -> [N, C, size, size]: sine waves, moved as w says, and mixed (section 3.2).

    The image spans [-0.5, 0.5] in both axes, `sampling_rate` pixels, the margin lies outside.
    """

    def __init__(self, weights: Weights, name: str, w_dim: int, setting: Any):
        super().__init__()
        if not isinstance(setting, Mapping):
            raise CheckpointError("The configuration of the input is missing.")
        self.size = whole(setting, "size", "the input", 1, MAX_SIZE)
        self.sampling_rate = positive(setting, "sampling_rate", None)
        self.bandwidth = positive(setting, "bandwidth", None)
        if None in (self.sampling_rate, self.bandwidth) or (
            self.bandwidth >= self.sampling_rate / 2
        ):
            raise CheckpointError(
                f"The input has bandwidth {self.bandwidth} and sampling rate {self.sampling_rate} "
                "where a bandwidth below half the rate was expected."
            )
        self.channels = weights.shape(f"{name}.freqs", 2)[0]
        c = self.channels
        weight = weights.take(f"{name}.weight", c, c) / math.sqrt(c)
        self.register_buffer("weight", weight[:, :, None, None])  # a 1x1 convolution
        self.register_buffer("freqs", weights.take(f"{name}.freqs", c, 2))
        self.register_buffer("phases", weights.take(f"{name}.phases", c))
        self.register_buffer("transform", weights.take(f"{name}.transform", 3, 3))
        self.affine = FullyConnected(weights, f"{name}.affine", w_dim)
        if len(self.affine.weight) != 4:
            raise CheckpointError(
                f"{name}.affine gives {len(self.affine.weight)} numbers where 4 were expected."
            )

    def forward(self, w: Tensor) -> Tensor:
        freqs, phases = self.move(w)  # [N, C, 2] cycles a unit, [N, C] cycles
        # A wave above the bandwidth fades, and is gone at half the sampling rate.
        excess = freqs.norm(dim=2) - self.bandwidth
        amplitudes = (1 - excess / (self.sampling_rate / 2 - self.bandwidth)).clamp(0, 1)
        grid = torch.arange(self.size, device=w.device, dtype=w.dtype)
        grid = (grid + 0.5 - self.size / 2) / self.sampling_rate  # pixel centres
        along_x = freqs[:, :, :1] * grid  # [N, C, size]
        along_y = freqs[:, :, 1:] * grid + phases[:, :, None]
        angle = along_x[:, :, None, :] + along_y[:, :, :, None]  # [N, C, size, size]
        waves = torch.sin(angle * (2 * math.pi)) * amplitudes[:, :, None, None]
        return F.conv2d(waves, self.weight)

    def move(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Frequencies and phases of the waves after the rotation and translation that w asks for.

        The transforms are inverse: of the coordinates, first `transform`, then t, then r.
        """
        t = self.affine(w)  # [N, 4]: cosine, sine, x, y of any length
        t = t / t[:, :2].norm(dim=1, keepdim=True).clamp(min=1e-20)
        cosine, sine, x, y = t.unbind(dim=1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rows = [cosine, -sine, zero, sine, cosine, zero, zero, zero, one]
        rotation = torch.stack(rows, dim=1).view(-1, 3, 3)
        rows = [one, zero, -x, zero, one, -y, zero, zero, one]
        translation = torch.stack(rows, dim=1).view(-1, 3, 3)
        m = rotation @ translation @ self.transform  # [N, 3, 3]
        phases = self.phases + (self.freqs @ m[:, :2, 2:]).squeeze(2)
        return self.freqs @ m[:, :2, :2], phases


class Layer(nn.Module):
    """Modulated convolution, then the filtered leaky ReLU (sections 3.2 and appendix C.3).

    x [N, in, size, size], w [N, w_dim] -> [N, out, size', size']. As in StyleGAN2 the style
    multiplies the activations and the demodulation the result, so that a batch shares one
    convolution. The reference also scales styles to mean square 1 over the whole batch; the
    demodulation undoes that but for its epsilon, so here each sample has its own mean, and an image
    does not depend on its batch.

    toRGB has neither normalisation nor demodulation nor activation.
    """

    def __init__(
        self,
        weights: Weights,
        name: str,
        in_channels: int,
        in_size: int,
        w_dim: int,
        setting: Mapping,
        is_rgb: bool,
    ):
        super().__init__()
        self.is_rgb = is_rgb
        self.size = whole(setting, "size", name, 1, MAX_SIZE)
        self.up = whole(setting, "up", name, 1, MAX_FACTOR)
        self.down = whole(setting, "down", name, 1, MAX_FACTOR)
        self.clamp = positive(setting, "clamp", None)
        up_taps = self.take_filter(weights, name, "up_filter", ndims=(1,))
        down_taps = self.take_filter(weights, name, "down_filter", ndims=(1, 2))

        self.out_channels, _, kernel, _ = weights.shape(f"{name}.weight", 4)
        if kernel > in_size or (is_rgb and kernel != 1):
            raise CheckpointError(f"{name} has a kernel of {kernel} pixels, which fits nowhere.")
        weight = weights.take(f"{name}.weight", self.out_channels, in_channels, kernel, kernel)
        bias = weights.take(f"{name}.bias", self.out_channels)
        self.affine = FullyConnected(weights, f"{name}.affine", w_dim)
        magnitude = weights.take(f"{name}.magnitude_ema").item()
        if not magnitude > 0:
            raise CheckpointError(f"{name}.magnitude_ema is {magnitude:g}, not a positive number.")
        gain = 1 / math.sqrt(magnitude)  # inputs of about unit variance
        if is_rgb:
            weight = weight * (gain / math.sqrt(in_channels))
        else:
            mean_square = weight.square().mean(dim=(1, 2, 3), keepdim=True)
            weight = weight * mean_square.clamp(min=1e-30).rsqrt()
            gain, bias = gain * SQRT2, bias * SQRT2  # the leaky ReLU's, which is homogeneous
        self.gain = gain
        self.conv = convolution(weight, padding=kernel - 1)  # every pixel that it touches
        self.register_buffer("weight_squares", None if is_rgb else self.conv.squares())
        self.register_buffer("bias", bias)

        # The convolution keeps all pixels ("full"); this much is added (negative: cut)
        # after upsampling so that `size` pixels remain after the filters and the downsampling.
        self.upsampled = (self.size - 1) * self.down + down_taps
        if max(self.upsampled, (in_size + kernel) * self.up) > MAX_UPSAMPLED:
            raise CheckpointError(
                f"{name} would work on {self.upsampled} pixels where at most {MAX_UPSAMPLED} are "
                "sensible."
            )
        total = self.upsampled + up_taps - 1 - (in_size + kernel - 1) * self.up
        self.pad = (total + self.up) // 2  # on the left and top; samples stay symmetric

    def take_filter(self, weights: Weights, name: str, part: str, ndims: tuple[int, ...]) -> int:
        """Registers a filter, None when there is none; the number of its taps (1 when none)."""
        if f"{name}.{part}" not in weights:
            self.register_buffer(part, None)
            return 1
        ndim = weights.ndim(f"{name}.{part}")
        taps = weights.shape(f"{name}.{part}", ndim if ndim in ndims else ndims[0])[0]
        if taps > MAX_TAPS:
            raise CheckpointError(f"{name}.{part} has {taps} taps where at most {MAX_TAPS} fit.")
        self.register_buffer(part, weights.take(f"{name}.{part}", *[taps] * ndim))
        return taps

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)  # [N, in]
        if self.is_rgb:
            return self.filtered(self.conv(x, style) + self.bias[:, None, None])
        style = style * style.square().mean(dim=1, keepdim=True).clamp(min=1e-30).rsqrt()
        demodulation = F.linear(style.square(), self.weight_squares).add(1e-8).rsqrt() * self.gain
        bias = self.bias[:, None, None]

        def finish(part: Tensor, samples: slice, rows: slice) -> Tensor:
            return affine_(part, demodulation[samples, :, None, None], bias)

        return self.filtered(self.conv(x, style, finish))

    def filtered(self, x: Tensor) -> Tensor:
        """`filtered_chunk` of a few samples or a few channels at a time.

        Every channel of every sample is filtered alike, and what is upsampled is large: in one
        piece a layer of 276 pixels takes twice as long on a CPU, and much memory everywhere.
        """
        bound = 2e7 if x.device.type == "cpu" else 1e9  # bytes
        room = int(bound / (4 * self.upsampled**2))  # channels
        samples, channels = max(1, room // x.shape[1]), max(16, room // 16 * 16)
        rows = [
            torch.cat([self.filtered_chunk(part) for part in row.split(channels, dim=1)], dim=1)
            for row in x.split(samples)
        ]
        return torch.cat(rows)

    def filtered_chunk(self, x: Tensor) -> Tensor:
        """Upsampling, leaky ReLU, clamp, downsampling: [N, C, H, H] -> [N, C, size, size]."""
        x = upsample(x, self.up_filter, self.up, self.pad, self.upsampled)
        x = x if self.is_rgb else F.leaky_relu(x, 0.2)
        x = x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
        return downsample(x, self.down_filter, self.down)


# ------------------------------------------------------------------------------- configuration


def whole(setting: Mapping, name: str, where: str, low: int, high: int) -> int:
    """The integer `name` of a part's configuration, within [low, high]."""
    value = setting.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise CheckpointError(
            f"The {name} of {where} is {show(value, 20)} where {low} to {high} was expected."
        )
    return value


def layer_settings(config: Mapping, count: int) -> list[Mapping]:
    """`config["layers"]`: one dict a layer."""
    settings = config.get("layers")
    if not isinstance(settings, list) or not all(isinstance(s, Mapping) for s in settings):
        raise CheckpointError("The configuration of the layers is missing.")
    if len(settings) != count:
        raise CheckpointError(
            f"The configuration has {len(settings)} layers where {count} have weights."
        )
    return settings


def default_schedule(resolution: int, num_layers: int, margin: int = 10) -> dict[str, Any]:
    """The configuration ("input" and "layers") of a network with the authors' settings.

    num_layers: without toRGB, at least 3. Cutoffs and stopbands grow geometrically to the last two
    layers, which are critically sampled; every layer has the smallest power of two of pixels that
    holds its stopband (section 3.2, "Flexible layer specifications").
    """
    first_cutoff, first_stopband = 2.0, 2**2.1
    last_cutoff = resolution / 2
    last_stopband = last_cutoff * 2**0.3
    rates = []
    for i in range(num_layers + 1):
        exponent = min(i / (num_layers - 2), 1.0)
        stopband = first_stopband * (last_stopband / first_stopband) ** exponent
        rates.append(2 ** math.ceil(math.log2(min(2 * stopband, resolution))))
    sizes = [rate + 2 * margin for rate in rates[:-2]] + [resolution, resolution]
    layers = []
    for i, (size, rate) in enumerate(zip(sizes, rates, strict=True)):
        before = rates[max(i - 1, 0)]
        upsampled = max(before, rate) * (1 if i == num_layers else 2)  # lrelu at twice the rate
        layers.append(
            {"size": size, "up": upsampled // before, "down": upsampled // rate, "clamp": 256.0}
        )
    features = {"size": sizes[0], "sampling_rate": rates[0], "bandwidth": first_cutoff}
    return {"input": features, "layers": layers}
