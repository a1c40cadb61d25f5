"""BigGAN-deep (Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
ICLR 2019, appendix B).

Inference only. The canonical names of the weights, which every file layout is translated to
(i = block; D = z_dim + class_dim; T = numbers of truncation values with statistics of their own,
51 in all published models; spectral norms are already divided out):

    embedding.weight [class_dim, label_dim]
    synthesis.gen_z.weight [4*4*C, D], .bias            rows: height, width, then channel
    synthesis.block{i}.norm{j}.running_mean [T, C], .running_var [T, C]         j = 0 to 3
    synthesis.block{i}.norm{j}.scale.weight [C, D], .offset.weight [C, D]
    synthesis.block{i}.conv{j}.weight [out, in, k, k], .bias        k = 1, 3, 3, 1
    synthesis.attention{i}.theta.weight [K, C, 1, 1], .phi.weight [K, C, 1, 1],
        .g.weight [V, C, 1, 1], .o.weight [C, V, 1, 1], .gamma [1]  before block i, where there
    synthesis.norm.weight [C], .bias [C], .running_mean [T, C], .running_var [T, C]
    synthesis.to_rgb.weight [3, C, 3, 3], .bias [3]

Configuration: upsample, a list of true or false for each block (every second one, from block 1,
when absent), eps of all norms (1e-4 when absent), edit_range (5 when absent).

The official SeFa code has no BigGAN, so which matrices to factorise is chosen here, by the paper's
idea: the first linear step that meets the latent. z enters in gen_z and, through the class-
conditional batch norms, in every block; so the w indices are 0 for gen_z and i + 1 for block i,
whose matrix stacks the scale and offset projections of its four norms. Of all these matrices only
the first z_dim columns count; the others belong to the class. An edit of index i moves the z of
that place only, as GANSpace does (Harkonen et al., NeurIPS 2020).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import RandomState  # named here, as numpy imports it when it is first used
from torch import Tensor, nn

from sefa.errors import CheckpointError, show
from sefa.generators.convolution import convolution
from sefa.generators.generator import MAX_RESOLUTION, Features, Generator, Weights, positive
from sefa.generators.imagenet import CLASS_NAMES


class BigGAN(Generator):
    """Class-conditional, every block with its own copy of z: w [N, 1 + blocks, z_dim].

    Truncation shrinks z to psi * z, and selects the statistics of the batch norms that were
    measured for that psi; so `synthesize` takes `truncation_psi` too. They hold for the whole
    network: there is no truncation of some indices only, and `truncation_cutoff` is ignored.
    """

    family = "biggan"
    num_channels = 3
    has_cutoff = False
    edit_range = 5.0  # half of a usual |z|

    def __init__(self, state_dict: Mapping[str, Tensor], config: Mapping):
        super().__init__()
        weights = Weights(state_dict)
        eps = positive(config, "eps", 1e-4)
        self.edit_range = positive(config, "edit_range", type(self).edit_range)

        class_dim, self.label_dim = weights.shape("embedding.weight", 2)
        self.register_buffer(
            "embedding", weights.take("embedding.weight", class_dim, self.label_dim)
        )
        self.class_names = CLASS_NAMES if self.label_dim == len(CLASS_NAMES) else None

        rows, condition_dim = weights.shape("synthesis.gen_z.weight", 2)
        self.z_dim = self.w_dim = condition_dim - class_dim
        channels = rows // 16
        if self.z_dim < 1 or rows != 16 * channels:
            raise CheckpointError(
                f"synthesis.gen_z.weight has shape [{rows}, {condition_dim}] where 4x4 pixels and "
                f"more than the {class_dim} numbers of the class were expected."
            )
        self.gen_z = Linear(weights, "synthesis.gen_z", condition_dim, rows, bias=True)

        up = read_upsample(config, weights.count("synthesis.block{}.conv0.weight"))
        self.resolution = 4 * 2 ** sum(up)
        self.blocks = nn.ModuleList()
        self.attention = nn.ModuleDict()  # keyed by the block that follows
        for i, upsamples in enumerate(up):
            if f"synthesis.attention{i}.gamma" in weights:
                self.attention[str(i)] = Attention(weights, f"synthesis.attention{i}", channels)
            block = Block(weights, f"synthesis.block{i}", channels, condition_dim, upsamples, eps)
            channels = block.out_channels
            self.blocks.append(block)
        self.norm = BatchNorm(weights, "synthesis.norm", channels, None, eps)
        self.to_rgb = Conv(weights, "synthesis.to_rgb", channels, size=3)
        if self.to_rgb.out_channels != self.num_channels:
            raise CheckpointError(
                f"Images of {self.to_rgb.out_channels} channels were found where BigGAN has 3."
            )
        weights.finish()

        self.num_ws = 1 + len(self.blocks)
        self.layer_names = ["gen_z", *(f"block {i}" for i in range(len(self.blocks)))]
        doublings = [0, *itertools.accumulate(up)]  # up to the output of each block
        self.layer_resolutions = [4 * 2**n for n in doublings]

    def map(
        self,
        z: Tensor,
        label: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """psi * z for every index [N, num_ws, z_dim]; the class only matters to `synthesize`."""
        if label is None:
            label = self.embedding.new_zeros(*z.shape[:1], self.label_dim)
        self.check_codes(z, label)
        z = z.to(self.embedding.dtype)
        return (truncation_psi * z)[:, None].repeat(1, self.num_ws, 1)

    def synthesize(
        self, w: Tensor, label: Tensor | None = None, truncation_psi: float = 1.0
    ) -> Tensor:
        """Images [N, 3, resolution, resolution] in [-1, 1] (tanh).

        label: float [N, label_dim], one-hot or a mix of classes. truncation_psi: the one given to
        `map`; beyond 0 to 1 there are no statistics, and those of the nearest are used. Raises
        `UserError` for a wrong shape or a missing label.
        """
        return super().synthesize(w, **self.conditions(label, truncation_psi))

    def step(
        self,
        features: Features,
        i: int,
        w: Tensor,
        label: Tensor | None = None,
        truncation_psi: float = 1.0,
    ) -> Features:
        """Index 0: the first features; i: block i - 1, after the attention where it has one."""
        self.check_codes(w, label)
        psi = max(0.0, min(1.0, float(truncation_psi)))
        embedded = F.linear(label.to(w), self.embedding)  # [N, class_dim]
        condition = torch.cat([w, embedded], dim=1)  # [N, z_dim + class_dim]
        if i == 0:
            x = self.gen_z(condition)  # [N, 4*4*C], channels last
            x = x.view(len(w), 4, 4, x.shape[1] // 16).permute(0, 3, 1, 2)
        else:
            x = features["x"]
            if str(i - 1) in self.attention:
                x = self.attention[str(i - 1)](x)
            x = self.blocks[i - 1](x, condition, psi)
        return {"x": x if i < len(self.blocks) else F.relu(self.norm(x, None, psi))}

    def image(self, features: Features) -> Tensor:
        return torch.tanh(self.to_rgb(features["x"]).to(self.dtype))

    def conditions(
        self, label: Tensor | None, truncation_psi: float, noise_seed: int | None = None
    ) -> dict[str, Any]:
        return {"label": label, "truncation_psi": truncation_psi}

    def layer_weights(self, layers: Sequence[int]) -> list[Tensor]:
        """0: gen_z [16*C, z_dim]; i: the norms of block i - 1, scales and offsets stacked."""
        matrices = [self.gen_z.weight, *(block.projections() for block in self.blocks)]
        return [matrices[i][:, : self.z_dim] for i in layers]

    def sample_z(self, seeds: Sequence[int]) -> Tensor:
        """z from the normal distribution cut at -2 and 2, one seed a row, float32.

        By its inverse cumulative distribution, the same numbers as HuggingFace's
        `truncated_noise_sample(1, z_dim, seed=seed)`.
        """
        uniform = np.stack([RandomState(seed).uniform(size=self.z_dim) for seed in seeds])
        low, high = torch.special.ndtr(torch.tensor([-2.0, 2.0], dtype=torch.float64))
        return torch.special.ndtri(low + torch.from_numpy(uniform) * (high - low)).float()


def read_upsample(config: Mapping, blocks: int) -> list[bool]:
    """Which blocks double the resolution; not to be seen in the shapes."""
    up = config.get("upsample", [i % 2 == 1 for i in range(blocks)])
    if not isinstance(up, list | tuple) or not all(isinstance(flag, bool) for flag in up):
        raise CheckpointError(
            f"The upsample setting is {show(up, 20)} where a list of true or false was expected."
        )
    if len(up) != blocks:
        raise CheckpointError(f"The upsample setting is for {len(up)} blocks, found {blocks}.")
    if 4 * 2 ** sum(up) > MAX_RESOLUTION:
        raise CheckpointError(
            f"{sum(up)} blocks that upsample would make images of more than {MAX_RESOLUTION} px."
        )
    return list(up)


class Linear(nn.Module):
    """x [N, in] -> [N, out]."""

    def __init__(self, weights: Weights, name: str, in_dim: int, out_dim: int, bias: bool):
        super().__init__()
        self.register_buffer("weight", weights.take(f"{name}.weight", out_dim, in_dim))
        self.register_buffer("bias", weights.take(f"{name}.bias", out_dim) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Conv(nn.Module):
    """x [N, in, H, W] -> [N, out, H, W], zero padding; size: 1 or 3."""

    def __init__(self, weights: Weights, name: str, in_channels: int, size: int, bias: bool = True):
        super().__init__()
        self.out_channels = weights.shape(f"{name}.weight", 4)[0]
        shape = (self.out_channels, in_channels, size, size)
        self.conv = convolution(weights.take(f"{name}.weight", *shape), padding=size // 2)
        bias = weights.take(f"{name}.bias", self.out_channels) if bias else None
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, finish=None if self.bias is None else self.finish)

    def finish(self, part: Tensor, samples: slice, rows: slice) -> Tensor:
        bias = self.bias[:, None, None]
        return part + bias if part.requires_grad else part.add_(bias)


class BatchNorm(nn.Module):
    """Batch norm with stored statistics for several truncations, conditional or plain affine."""

    def __init__(
        self, weights: Weights, name: str, channels: int, condition_dim: int | None, eps: float
    ):
        super().__init__()
        self.eps = eps
        count = weights.shape(f"{name}.running_mean", 2)[0]
        self.register_buffer("mean", weights.take(f"{name}.running_mean", count, channels))
        self.register_buffer("var", weights.take(f"{name}.running_var", count, channels))
        if (self.var < 0).any():
            raise CheckpointError(f"{name}.running_var holds a negative variance.")
        self.scale = self.offset = None
        if condition_dim is None:
            self.register_buffer("weight", weights.take(f"{name}.weight", channels))
            self.register_buffer("bias", weights.take(f"{name}.bias", channels))
        else:
            self.scale = Linear(weights, f"{name}.scale", condition_dim, channels, bias=False)
            self.offset = Linear(weights, f"{name}.offset", condition_dim, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor | None, psi: float) -> Tensor:
        if condition is None:
            gain, shift = self.weight, self.bias  # [C]
        else:
            gain, shift = 1.0 + self.scale(condition), self.offset(condition)  # [N, C]
        mean, var = statistics(self.mean, psi), statistics(self.var, psi)
        gain = gain * (var + self.eps).rsqrt()
        shift = shift - gain * mean
        return x * gain[..., None, None] + shift[..., None, None]


def statistics(table: Tensor, psi: float) -> Tensor:
    """The row [C] of table [T, C] for psi from 0 to 1: T values at even distances.

    Between two rows the reference gives the weights the wrong way round: the nearer row counts
    less. Kept, since its images are what is expected; and so is its arithmetic, since psi = 0.58
    is not exactly 29 steps of 1 / 50 in floating point, which by the above means row 28.
    """
    last = len(table) - 1
    if last == 0:
        return table[0]
    fraction, row = math.modf(psi / (1.0 / last))
    row = min(int(row), last)
    if fraction == 0.0:
        return table[row]
    return fraction * table[row] + (1.0 - fraction) * table[min(row + 1, last)]


class Block(nn.Module):
    """Residual bottleneck: norm, ReLU and convolution four times; 1x1, 3x3, 3x3, 1x1."""

    def __init__(
        self,
        weights: Weights,
        name: str,
        in_channels: int,
        condition_dim: int,
        up: bool,
        eps: float,
    ):
        super().__init__()
        self.up = up
        self.norms, self.convs = nn.ModuleList(), nn.ModuleList()
        channels = in_channels
        for j, size in enumerate((1, 3, 3, 1)):
            self.norms.append(BatchNorm(weights, f"{name}.norm{j}", channels, condition_dim, eps))
            self.convs.append(Conv(weights, f"{name}.conv{j}", channels, size))
            channels = self.convs[j].out_channels
        self.out_channels = channels
        if channels not in (in_channels, in_channels // 2):  # the shortcut drops channels
            raise CheckpointError(
                f"{name} makes {channels} channels of {in_channels} where as many or half of them "
                "were expected."
            )

    def forward(self, x: Tensor, condition: Tensor, psi: float) -> Tensor:
        shortcut = x[:, : self.out_channels]
        for j, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            x = F.relu(norm(x, condition, psi))
            if self.up and j == 1:
                x = F.interpolate(x, scale_factor=2)  # nearest
            x = conv(x)
        return x + (F.interpolate(shortcut, scale_factor=2) if self.up else shortcut)

    def projections(self) -> Tensor:
        """All rows that condition the norms: scale and offset of each [2*(C0+C1+C2+C3), D]."""
        return torch.cat([part.weight for norm in self.norms for part in (norm.scale, norm.offset)])


class Attention(nn.Module):
    """Self-attention with keys and values at half the resolution (Zhang et al., ICML 2019)."""

    def __init__(self, weights: Weights, name: str, channels: int):
        super().__init__()
        self.theta = Conv(weights, f"{name}.theta", channels, size=1, bias=False)  # queries
        self.phi = Conv(weights, f"{name}.phi", channels, size=1, bias=False)  # keys
        self.g = Conv(weights, f"{name}.g", channels, size=1, bias=False)  # values
        self.o = Conv(weights, f"{name}.o", self.g.out_channels, size=1, bias=False)
        if self.theta.out_channels != self.phi.out_channels or self.o.out_channels != channels:
            raise CheckpointError(f"The shapes of the weights of {name} do not fit together.")
        self.register_buffer("gamma", weights.take(f"{name}.gamma", 1))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.theta(x).flatten(2)  # [N, K, H*W]
        keys = F.max_pool2d(self.phi(x), 2).flatten(2)  # [N, K, H*W/4]
        values = F.max_pool2d(self.g(x), 2).flatten(2)  # [N, V, H*W/4]
        attention = torch.bmm(queries.transpose(1, 2), keys).softmax(dim=2)  # [N, H*W, H*W/4]
        attended = torch.bmm(values, attention.transpose(1, 2))  # [N, V, H*W]
        return x + self.gamma * self.o(attended.unflatten(2, x.shape[2:]))
