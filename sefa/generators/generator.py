"""What all families share: the interface that the rest of the project sees, and checked weights."""

import difflib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import RandomState  # named here, as numpy imports it when it is first used
from torch import Tensor, nn

from sefa.errors import CheckpointError, UserError, show

# What a few numbers in a file may ask for: a layer doubles the image, and directions take the square
# of w_dim. Published models reach 1024 px and 1024 numbers.
MAX_RESOLUTION = 2048
MAX_BLOCKS = 10  # of a network that starts at 4 px and doubles
MAX_DIM = 4096
Features = dict[str, Tensor | None]  # of N samples, between two steps of a network, by name
TOO_LARGE = 1e12  # weights are about 1, at most 100 / lr_multiplier; squares must stay finite


class Generator(nn.Module):
    """An inference-only generator. Immutable once built, so that it can be shared.

    family: the field's name of the architecture, for display only.
    resolution: height and width of the images in pixels.
    z_dim, w_dim: sizes of the latent code and of what an edit moves.
    label_dim: number of classes, 0 for an unconditional model.
    num_ws: number of w indices ("layers").
    layer_names: num_ws names, in the order of the indices.
    layer_resolutions: num_ws sizes in pixels: of the features that each index acts on itself, as
        its layer puts them out; what finer layers make of them does not count.
    num_channels: 1 (grey) or 3 (RGB).
    class_names: label_dim names in the order of the classes, or None where they are not known.
    has_truncation: whether `truncation_psi` does anything; has_cutoff: and `truncation_cutoff`.
    has_noise: whether `synthesize` adds noise to its features, and takes a `noise_seed` for other
        noise than what the checkpoint stores.
    edit_range: alpha up to which edits are usually worth looking at; a slider's default range.
    previews: of the smaller images that the network has on the way to whole ones, see `preview`: size
        in pixels -> how many of the first w indices have a say, from small to large. Empty for a
        network that has none.
    """

    family: str
    resolution: int
    z_dim: int
    w_dim: int
    label_dim: int
    num_ws: int
    layer_names: list[str]
    layer_resolutions: list[int]
    num_channels: int
    class_names: Sequence[str] | None = None
    has_truncation: bool = True
    has_cutoff: bool = True
    has_noise: bool = False
    edit_range: float = 5.0
    previews: Mapping[int, int] = MappingProxyType({})

    def map(
        self,
        z: Tensor,
        label: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """w [N, num_ws, w_dim] for z [N, z_dim] and a float one-hot label [N, label_dim].

        The first `truncation_cutoff` indices (None: all) are moved towards the mean by
        `truncation_psi` (1: untouched, 0: the mean). Raises `UserError` for a wrong shape or a
        missing label.
        """
        raise NotImplementedError

    def synthesize(self, w: Tensor, **conditions: Any) -> Tensor:
        """Images [N, num_channels, resolution, resolution] float32, nominal range [-1, 1].

        A family whose images depend on more takes it as keywords with defaults, see `conditions`.
        The indices of w come into play one after another, in `step`s, so that what the first decide
        can be kept.
        """
        return self.synthesize_from(self.begin(w), 0, w, **conditions)

    def features(self, w: Tensor, first: int, **conditions: Any) -> Features:
        """What the images of w are before index `first` of w has a say, 0 to num_ws - 1.

        For `synthesize_from`. conditions: as of `synthesize`.
        """
        return self.advance(self.begin(w), w, 0, first, **conditions)

    def synthesize_from(
        self, features: Features, first: int, w: Tensor, **conditions: Any
    ) -> Tensor:
        """`synthesize` for w whose indices below `first` are those that `features` is of.

        The features are given up: their memory is used.
        """
        return self.image(self.advance(features, w, first, self.num_ws, **conditions))

    def advance(
        self, features: Features, w: Tensor, first: int, last: int, **conditions: Any
    ) -> Features:
        """The steps of the indices from `first` to before `last`; the features are given up."""
        self.check_ws(w)
        w = w.to(self.dtype)  # float32 codes plus float64 directions are float64
        for i in range(first, last):
            features = self.step(features, i, w[:, i], **conditions)
        return features

    def begin(self, w: Tensor) -> Features:
        """The features before the first step, for len(w) samples."""
        return {}

    def step(self, features: Features, i: int, w: Tensor, **conditions: Any) -> Features:
        """What index i of w decides, given as w [N, w_dim]; `features` are given up."""
        raise NotImplementedError

    def image(self, features: Features) -> Tensor:
        """The images after the last step."""
        raise NotImplementedError

    def preview(self, w: Tensor, resolution: int, **conditions: Any) -> Tensor:
        """Images [N, num_channels, resolution, resolution] float32 that the network has on the way to
        whole ones, for a fraction of the arithmetic.

        resolution: one of `previews`. Their colours need not be those of the whole images, see
        `sefa.previews`. conditions: as of `synthesize`.
        """
        raise NotImplementedError

    def conditions(
        self, label: Tensor | None, truncation_psi: float, noise_seed: int | None = None
    ) -> dict[str, Any]:
        """What `synthesize` needs beside w to make the images that `map` had in mind.

        Keyword arguments: tensors have N rows, everything else holds for all samples. Empty for
        the families whose images depend on w alone. `noise_seed` (0 to 2**32 - 1; None: the noise
        of the checkpoint) is among them where it does anything.
        """
        return {"noise_seed": noise_seed} if self.has_noise and noise_seed is not None else {}

    def layer_weights(self, layers: Sequence[int]) -> list[Tensor]:
        """For each index the matrix [rows, w_dim] of the first linear step that meets w there."""
        raise NotImplementedError

    def sample_z(self, seeds: Sequence[int]) -> Tensor:
        """z [N, z_dim] float32 on the CPU, one seed (0 to 2**32 - 1) a row.

        Row i depends on seeds[i] alone, drawn as NVIDIA's tools do.
        """
        rows = [RandomState(seed).randn(self.z_dim) for seed in seeds]
        return torch.from_numpy(np.stack(rows)).float()

    def one_hot(self, class_index: int, n: int) -> Tensor | None:
        """Label [n, label_dim] for one class, or None for an unconditional model."""
        if self.label_dim == 0:
            return None
        self.check_class(class_index)
        label = torch.zeros(n, self.label_dim)
        label[:, class_index] = 1.0
        return label

    def classes_in_turn(self, rows: range) -> Tensor | None:
        """Label [len(rows), label_dim] on the CPU: row i has class i modulo label_dim.

        None for an unconditional model.
        """
        if self.label_dim == 0:
            return None
        classes = torch.arange(rows.start, rows.stop) % self.label_dim
        return F.one_hot(classes, self.label_dim).float()

    def class_index(self, text: str) -> int:
        """The class meant by an index ("207") or a name ("golden retriever").

        Names are taken in any case, and a beginning that only one name has is enough. Raises
        `UserError` for anything else, suggesting names that come close.
        """
        if self.label_dim == 0:
            raise UserError("This model has no classes to choose from.")
        wanted = " ".join(str(text).lower().split())
        if re.fullmatch(r"[0-9]{1,9}", wanted):
            self.check_class(int(wanted))
            return int(wanted)
        if self.class_names is None:
            raise UserError(
                f"The classes of this model have no names; choose one from 0 to "
                f"{self.label_dim - 1}, not {wanted[:40]!r}."
            )
        names = [name.lower() for name in self.class_names]
        if wanted in names:
            return names.index(wanted)
        beginning = [i for i, name in enumerate(names) if wanted and name.startswith(wanted)]
        if len(beginning) == 1:
            return beginning[0]
        inside = [i for i, name in enumerate(names) if len(wanted) > 2 and wanted in name]
        close = [names.index(name) for name in difflib.get_close_matches(wanted[:80], names)]
        nearest = list(dict.fromkeys([*beginning, *inside, *close]))[:3]  # without repetitions
        suggestion = ", ".join(f"{self.class_names[i]} ({i})" for i in nearest)
        raise UserError(
            f"This model has {'several classes' if beginning else 'no class'} named "
            f"{wanted[:40]!r}; "
            + (f"the nearest: {suggestion}." if nearest else "choose a name or an index.")
        )

    def check_class(self, index: int) -> None:
        """Raises `UserError` for a class index that the model does not have."""
        if not 0 <= index < self.label_dim:
            raise UserError(
                f"This model has no class {index}; classes are 0 to {self.label_dim - 1}."
            )

    @property
    def dtype(self) -> torch.dtype:
        return next(self.buffers()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.buffers()).device

    def check_codes(self, z: Tensor, label: Tensor | None) -> None:
        """Raises `UserError` unless z and label have the shapes `map` expects."""
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise UserError(f"Latent codes must have shape [N, {self.z_dim}], not {list(z.shape)}.")
        if self.label_dim and (label is None or label.shape != (z.shape[0], self.label_dim)):
            found = "none" if label is None else list(label.shape)
            raise UserError(
                f"This conditional model needs labels of shape [{z.shape[0]}, {self.label_dim}], "
                f"found {found}."
            )

    def check_ws(self, w: Tensor) -> None:
        """Raises `UserError` unless w is [N, num_ws, w_dim]."""
        if w.ndim != 3 or w.shape[1:] != (self.num_ws, self.w_dim):
            raise UserError(
                f"w must have shape [N, {self.num_ws}, {self.w_dim}], not {list(w.shape)}."
            )


class Disposable(dict):
    """A state dict that is given away: its generator empties it, and may change its tensors.

    No two of them share memory, nor does anything else. So a file of weights is never in memory
    twice.
    """


class Weights:
    """A state dict read key by key, so that every key is used once and every shape is checked."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        self._given_away = isinstance(tensors, Disposable)
        self._rest = tensors if self._given_away else dict(tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._rest

    def ndim(self, name: str) -> int:
        return self._get(name).ndim

    def count(self, pattern: str) -> int:
        """How many there are of a numbered weight, "conv{}.weight", from 0 on; at least one."""
        count = 0
        while pattern.format(count) in self:
            count += 1
        if count == 0:
            raise CheckpointError(f"The weight {pattern.format(0)} is missing.")
        return count

    def shape(self, name: str, ndim: int) -> tuple[int, ...]:
        """The shape of a tensor that stays to be taken; it must have `ndim` dimensions."""
        tensor = self._get(name)
        if tensor.ndim != ndim or tensor.numel() == 0:
            raise CheckpointError(
                f"{name} has shape {list(tensor.shape)} where a non-empty {ndim}-dimensional "
                "array was expected."
            )
        return tuple(tensor.shape)

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor `name` as float32, contiguous, finite, of exactly this shape.

        The caller may change it in place: it is a copy, unless the state dict was given away.
        """
        tensor = self._get(name)
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"{name} has shape {list(tensor.shape)} where {list(shape)} was expected."
            )
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"{name} holds {kind} values, not floating-point numbers.")
        del self._rest[name]
        tensor = tensor.detach().to(
            torch.float32,
            copy=not self._given_away,
            memory_format=torch.contiguous_format,
        ).contiguous()  # fmt: skip
        if tensor.numel():
            low, high = torch.aminmax(tensor)  # in one pass; both are NaN if any number is
            if not (low > -TOO_LARGE and high < TOO_LARGE):
                raise CheckpointError(
                    f"{name} holds a NaN, an infinity or an absurdly large number."
                )
        return tensor

    def finish(self) -> None:
        """Raises `CheckpointError` when a key was left unused: it is not the network we know."""
        if self._rest:
            names = sorted(self._rest)
            listed = ", ".join(name[:100] for name in names[:3])
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(
                f"Weights that fit nowhere in this kind of network: {listed}{more}."
            )

    def _get(self, name: str) -> Tensor:
        if name not in self._rest:
            raise CheckpointError(f"The weight {name} is missing.")
        return self._rest[name]


def take_rows(
    conditions: Mapping[str, Any], rows: Sequence[int], device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """The conditions of some of the samples: these rows of tensors, everything else as it is."""
    return {
        name: value[list(rows)].to(device) if isinstance(value, Tensor) else value
        for name, value in conditions.items()
    }


def positive(config: Mapping, name: str, default: float | None) -> float | None:
    """The number `name` of a configuration, or its default when absent."""
    value = config.get(name, default)
    if value is None and default is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise CheckpointError(f"The {name} is {show(value, 20)}, not a positive number.")
    return float(value)
