"""DCGAN (Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", ICLR 2016), as in the PyTorch tutorial.

Inference only. A chain of transposed convolutions: the first makes k x k pixels of the code (stride
1, padding 0), every further one doubles the resolution (4x4 kernel, stride 2, padding 1). Batch
norm (eps 1e-5) and ReLU between, tanh last. The canonical names of the weights, which every file
layout is translated to (i = 0 to the number of convolutions - 1):

    synthesis.conv{i}.weight [in, out, k, k]            in of conv0 is z_dim; out of the last 1 or 3
    synthesis.conv{i}.bias [out]                        where there
    synthesis.norm{i}.running_mean [out], .running_var [out]    after every conv but the last
    synthesis.norm{i}.weight [out], .bias [out]         both or neither

Configuration: edit_range (5 when absent).
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sefa.errors import CheckpointError
from sefa.generators.generator import Generator, Weights, positive

EPS = 1e-5  # torch's default, not stored in files


class DCGAN(Generator):
    """z is w, of one index: w [N, 1, z_dim]. Nothing to truncate, no classes."""

    family = "dcgan"
    label_dim = 0
    num_ws = 1
    has_truncation = False
    has_cutoff = False
    edit_range = 5.0  # half of a usual |z|; digits of MNIST change little beyond

    def __init__(self, state_dict: Mapping[str, Tensor], config: Mapping):
        super().__init__()
        weights = Weights(state_dict)
        self.edit_range = positive(config, "edit_range", type(self).edit_range)
        count = count_convs(weights)
        first = weights.shape("synthesis.conv0.weight", 4)
        self.z_dim = self.w_dim = first[0]
        self.layer_names = [f"{first[2]}x{first[2]} conv"]
        self.layer_resolutions = [first[2]]
        self.resolution = first[2] * 2 ** (count - 1)

        channels = self.z_dim
        self.convs = nn.ModuleList()
        for i in range(count):
            conv = UpConv(weights, i, channels, norm=i < count - 1)
            channels = conv.out_channels
            self.convs.append(conv)
        self.num_channels = channels
        weights.finish()

    def map(
        self,
        z: Tensor,
        label: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """z as it is [N, 1, z_dim]; truncation does nothing."""
        self.check_codes(z, label)
        return z.to(self.convs[0].weight.dtype)[:, None]

    def synthesize(self, w: Tensor) -> Tensor:
        self.check_ws(w)
        x = w.to(self.convs[0].weight.dtype)[:, 0, :, None, None]  # [N, z_dim, 1, 1]
        for conv in self.convs[:-1]:
            x = F.relu(conv(x))
        return torch.tanh(self.convs[-1](x))

    def layer_weights(self, layers: Sequence[int]) -> list[Tensor]:
        """The first convolution as [out * k * k, z_dim].

        With its batch norm, which only scales rows; the factorisation makes them unit length.
        """
        return [self.convs[0].weight.flatten(1).T for _ in layers]


def count_convs(weights: Weights) -> int:
    """Number of convolutions: the first makes pixels of the code, the others double them."""
    # More than 16 would have no pixel to start from; what is left over is refused.
    return min(weights.count("synthesis.conv{}.weight"), 16)


class UpConv(nn.Module):
    """x [N, in, H, W] -> [N, out, 2H, 2W]; for i = 0, [N, in, 1, 1] -> [N, out, k, k].

    The batch norm that follows, if any, is folded into the weights.
    """

    def __init__(self, weights: Weights, i: int, in_channels: int, norm: bool):
        super().__init__()
        name = f"synthesis.conv{i}"
        self.stride, self.padding = (2, 1) if i else (1, 0)
        _, self.out_channels, size, _ = weights.shape(f"{name}.weight", 4)
        if i and size != 4:
            raise CheckpointError(
                f"{name} has a {size}x{size} kernel, whose stride and padding cannot be told; "
                "after the first, 4x4 with stride 2 and padding 1 is read."
            )
        weight = weights.take(f"{name}.weight", in_channels, self.out_channels, size, size)
        bias = torch.zeros(self.out_channels)
        if f"{name}.bias" in weights:
            bias = weights.take(f"{name}.bias", self.out_channels)
        if norm:
            gain, shift = take_norm(weights, f"synthesis.norm{i}", self.out_channels)
            weight, bias = weight * gain[:, None, None], bias * gain + shift
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding)


def take_norm(weights: Weights, name: str, channels: int) -> tuple[Tensor, Tensor]:
    """A batch norm with its stored statistics as x * gain + shift, both [channels]."""
    mean = weights.take(f"{name}.running_mean", channels)
    var = weights.take(f"{name}.running_var", channels)
    if (var < 0).any():
        raise CheckpointError(f"{name}.running_var holds a negative variance.")
    gain, shift = (var + EPS).rsqrt(), torch.zeros(channels)
    if f"{name}.weight" in weights or f"{name}.bias" in weights:
        gain = gain * weights.take(f"{name}.weight", channels)
        shift = weights.take(f"{name}.bias", channels)
    return gain, shift - mean * gain
