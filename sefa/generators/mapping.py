"""The mapping network z -> w that the StyleGAN families share, and truncation.

Canonical names of its weights:

    mapping.dense{n}.weight [out, in], .bias [out]      raw, as trained
    mapping.label_weight [label_dim, z_dim]             labels joined to z, normalised jointly
    mapping.embed.weight [E, label_dim], .bias [E]      or labels embedded, normalised separately
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from numpy.random import RandomState  # named here, as numpy imports it when it is first used
from torch import Tensor, nn

from sefa.errors import CheckpointError, show
from sefa.generators.generator import Generator, Weights, positive
from sefa.generators.ops import pixel_norm

SQRT2 = math.sqrt(2.0)
MAX_SAMPLES = 2**16  # for the mean w; the reference takes 4096
MEAN_SEED = 123  # of the codes whose mean replaces a w_avg; that of NVIDIA's projector
MEAN_CHUNK = 2**22  # numbers in the widest layer at once, 16 MiB


class MappedGenerator(Generator):
    """A generator that maps z to w by a `MappingNetwork` and truncates towards `w_avg`.

    Configuration, every key optional:

        lr_multiplier   0.01 when absent
        w_avg_samples   where w_avg is missing: how many codes are mapped to compute it (see
                        `mean_w`); without it, a missing w_avg is refused
    """

    def take_mapping(self, weights: Weights, config: Mapping, bias_gain: float = SQRT2) -> None:
        """Reads the mapping and the mean w; `num_ws` and `w_dim` must be known already.

        The last layer gives one w, or one for every index.
        """
        lr_multiplier = positive(config, "lr_multiplier", 0.01)
        self.mapping = MappingNetwork(weights, lr_multiplier, bias_gain)
        self.z_dim, self.label_dim = self.mapping.z_dim, self.mapping.label_dim
        if self.mapping.out_dim not in (self.w_dim, self.num_ws * self.w_dim):
            raise CheckpointError(
                f"The mapping gives {self.mapping.out_dim} numbers where w has {self.w_dim}."
            )
        samples = count_samples(config)
        self.register_buffer("w_avg", None)
        if "w_avg" in weights or samples is None:
            self.w_avg = weights.take("w_avg", self.mapping.out_dim)

    def finish(self, weights: Weights, config: Mapping) -> None:
        """Refuses weights that were not used, and computes a mean w that is missing.

        The last step of a constructor, since the mean takes a while.
        """
        weights.finish()
        if self.w_avg is None:
            self.w_avg = mean_w(self.mapping, count_samples(config))

    def map(
        self,
        z: Tensor,
        label: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        self.check_codes(z, label)
        z = z.to(self.w_avg.dtype)  # numpy draws float64
        label = None if label is None else label.to(z)
        w = self.mapping(z, label).unflatten(1, (-1, self.w_dim))  # [N, 1 or num_ws, w_dim]
        w = w.repeat(1, self.num_ws // w.shape[1], 1)
        return truncate(w, self.w_avg, truncation_psi, truncation_cutoff)


class MappingNetwork(nn.Module):
    """z [N, z_dim] and an optional label [N, label_dim] -> w [N, out_dim].

    bias_gain: sqrt 2, as the weights have it (StyleGAN2 multiplies the activations), or 1
    (StyleGAN multiplies the weights alone).
    """

    def __init__(self, weights: Weights, lr_multiplier: float, bias_gain: float = SQRT2):
        super().__init__()
        first = weights.shape("mapping.dense0.weight", 2)[1]
        self.joint = "mapping.label_weight" in weights
        self.label_dim, embedding = 0, 0
        if self.joint:
            self.label_dim, embedding = weights.shape("mapping.label_weight", 2)
            self.register_buffer(
                "embed", weights.take("mapping.label_weight", self.label_dim, embedding)
            )
        elif "mapping.embed.weight" in weights:
            embedding, self.label_dim = weights.shape("mapping.embed.weight", 2)
            self.embed = FullyConnected(weights, "mapping.embed", self.label_dim)
        self.z_dim = first - embedding
        if self.z_dim < 1:
            raise CheckpointError(
                f"The mapping takes {first} numbers, but the label alone brings {embedding}."
            )
        self.dense = nn.ModuleList()
        while f"mapping.dense{len(self.dense)}.weight" in weights:
            layer = FullyConnected(
                weights, f"mapping.dense{len(self.dense)}", first, lr_multiplier, SQRT2, bias_gain
            )
            first = layer.weight.shape[0]
            self.dense.append(layer)
        self.out_dim = first

    def forward(self, z: Tensor, label: Tensor | None) -> Tensor:
        if self.label_dim == 0:
            x = pixel_norm(z)
        elif self.joint:  # genforce: one norm over both
            x = pixel_norm(torch.cat([z, label @ self.embed], dim=1))
        else:  # NVIDIA: a norm each
            x = torch.cat([pixel_norm(z), pixel_norm(self.embed(label))], dim=1)
        for layer in self.dense:
            x = F.leaky_relu(layer(x), 0.2)
        return x


class FullyConnected(nn.Module):
    """x [N, in] -> lr * (gain * x @ (W / sqrt(in))^T + bias_gain * b), all scales folded in.

    `bias_gain` is `gain` unless given: a positive gain of the activations may be folded in before
    the leaky ReLU that follows, which is homogeneous. `out_dim` is read from the shape unless
    given.
    """

    def __init__(
        self,
        weights: Weights,
        name: str,
        in_dim: int,
        lr_multiplier: float = 1.0,
        gain: float = 1.0,
        bias_gain: float | None = None,
        out_dim: int | None = None,
    ):
        super().__init__()
        out_dim = out_dim or weights.shape(f"{name}.weight", 2)[0]
        bias_gain = gain if bias_gain is None else bias_gain
        weight = weights.take(f"{name}.weight", out_dim, in_dim)
        self.register_buffer("weight", weight.mul_(lr_multiplier * gain / math.sqrt(in_dim)))
        self.register_buffer(
            "bias", weights.take(f"{name}.bias", out_dim) * (lr_multiplier * bias_gain)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def truncate(w: Tensor, w_avg: Tensor, psi: float, cutoff: int | None) -> Tensor:
    """w [N, num_ws, w_dim] with its first `cutoff` indices (None: all) moved towards the mean.

    w_avg [w_dim] or [num_ws * w_dim]; psi 1 leaves w as it is, 0 gives the mean (Karras et al.,
    "A Style-Based Generator Architecture", CVPR 2019, appendix B).
    """
    num_ws, w_dim = w.shape[1:]
    cutoff = num_ws if cutoff is None else cutoff
    if psi == 1.0 or cutoff <= 0:
        return w
    mean = w_avg.view(-1, w_dim).expand(num_ws, -1)[:cutoff]
    return torch.cat([mean + psi * (w[:, :cutoff] - mean), w[:, cutoff:]], dim=1)


def count_samples(config: Mapping) -> int | None:
    """The w_avg_samples of a configuration, None when absent."""
    samples = config.get("w_avg_samples")
    if samples is None:
        return None
    if isinstance(samples, bool) or not isinstance(samples, int) or not 0 < samples <= MAX_SAMPLES:
        raise CheckpointError(
            f"The w_avg_samples is {show(samples, 20)}, not a whole number from 1 to {MAX_SAMPLES}."
        )
    return samples


def mean_w(mapping: MappingNetwork, samples: int) -> Tensor:
    """w_avg [out_dim] of a network that came without: the mean of `samples` mapped codes.

    The codes are the rows of numpy.random.RandomState(123).randn(samples, z_dim); row i of a
    conditional model has class i modulo label_dim, so that all classes count alike. Raises
    `CheckpointError` when the mean is not finite.
    """
    random = RandomState(MEAN_SEED)
    widest = max(mapping.z_dim, mapping.label_dim, *(max(x.weight.shape) for x in mapping.dense))
    chunk = max(1, MEAN_CHUNK // widest)
    total = torch.zeros(mapping.out_dim, dtype=torch.float64)
    for start in range(0, samples, chunk):
        rows = torch.arange(start, min(start + chunk, samples))
        z = torch.from_numpy(random.randn(len(rows), mapping.z_dim)).float()
        label = None
        if mapping.label_dim:
            label = torch.zeros(len(rows), mapping.label_dim)
            label[torch.arange(len(rows)), rows % mapping.label_dim] = 1.0
        total += mapping(z, label).double().sum(dim=0)
    mean = (total / samples).float()
    if not mean.isfinite().all():
        raise CheckpointError("The mapping's weights are so large that the mean w is not finite.")
    return mean
