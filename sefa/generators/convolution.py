"""3x3 convolution with the fewest multiplications: Winograd's minimal filtering on a CPU.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, sections 4.1 and 4.3:
F(4x4, 3x3) computes 4x4 pixels from 6x6 with 36 multiplications where the definition needs 144. Tiles
of the image and the kernels are transformed, multiplied as 36 matrix products over the channels, and
transformed back. cuDNN does alike by itself; torch on a CPU does not.
"""

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sefa.generators.ops import (
    at_least_float32,
    fir_filter,
    scale_,
    upsampling_kernel,
    wants_gradient,
)
from sefa.generators.parallel import for_each

OUT, TILE = 4, 6  # pixels a side that a tile gives and takes
# Of the interpolation points 0, 1, -1, 2, -2 and infinity, as in the paper's appendix.
DATA = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
KERNEL = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
INVERSE = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)
# Where it wins: with fewer channels the transforms weigh more than what they spare, and on fewer tiles
# the 36 matrices are only read from memory.
LEAST_CHANNELS = 128
LEAST_TILES = 64
# Of features that are finished at a time on a CPU, so that they stay in its cache.
PART_BYTES = 2**20

# finish(x [n, C, rows, W], samples, rows) -> the same in the same memory, unless a gradient is wanted:
# what follows a convolution pixel by pixel, for some rows of some samples.
Finish = Callable[[Tensor, slice, slice], Tensor]
EVERYTHING = slice(None)


class Convolution(nn.Module):
    """What has the weights of a convolution; they alone may be of less precision: see `sefa.precision`."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.register_buffer("weight", weight)

    def ready(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """x * scale [N, in], whose memory the caller gives up then, in the precision of the weights.

        The result has it too, until something that follows has more.
        """
        x = x if scale is None else scale_(x, scale[:, :, None, None])
        return x.to(self.weight.dtype)


class Conv(Convolution):
    """x [N, in, H, W] -> [N, out, H + 2p - k + 1, W + 2p - k + 1], zeros beyond the border, no bias."""

    def __init__(self, weight: Tensor, padding: int = 0):
        """weight [out, in, k, k]; padding: p pixels a side."""
        super().__init__(weight)
        self.padding = padding

    def forward(
        self, x: Tensor, scale: Tensor | None = None, finish: Finish | None = None
    ) -> Tensor:
        """`scale` [N, in] multiplies x, whose memory the caller gives up then."""
        x = self.ready(x, scale)
        return finished(F.conv2d(x, self.weight, padding=self.padding), finish)

    def squares(self) -> Tensor:
        """[out, in]: the sum of squares of each kernel."""
        return at_least_float32(self.weight).square().sum(dim=(2, 3))


class Conv3x3(Conv):
    """x [N, in, H, W] -> [N, out, H + 2p - 2, W + 2p - 2], zeros beyond the border, no bias.

    Float32 on a CPU and without gradients, layers that are large enough take the fewer
    multiplications; the two ways differ by rounding, about 1e-5 of the standard deviation.
    """

    def __init__(self, weight: Tensor, padding: int = 1):
        """weight [out, in, 3, 3]; padding: p pixels a side."""
        super().__init__(weight, padding)
        self.register_buffer("transformed", None, persistent=False)  # [36, in, out], see `prepared`

    def forward(
        self, x: Tensor, scale: Tensor | None = None, finish: Finish | None = None
    ) -> Tensor:
        """As `Conv`."""
        if self.suits(x, scale):
            return winograd(x, self.prepared(), scale, self.padding, finish)
        return super().forward(x, scale, finish)

    def suits(self, x: Tensor, scale: Tensor | None) -> bool:
        """Whether the fewer multiplications win, as measured by benchmarks/synthesis.py."""
        tiles = len(x) * (x.shape[2] // OUT) * (x.shape[3] // OUT)
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and min(self.weight.shape[:2]) >= LEAST_CHANNELS
            and tiles >= LEAST_TILES
            and not wants_gradient(x, scale)
        )

    def prepared(self) -> Tensor:
        """The transformed kernels, four times the weights: made when the first image asks."""
        if self.transformed is None:
            with torch.inference_mode(False), torch.no_grad():  # it outlives the first image
                self.transformed = transform_kernels(self.weight)
        return self.transformed


class UpConv3x3(Convolution):
    """x [N, in, H, W] -> [N, out, 2H, 2W]: zeros inserted, a 3x3 convolution, and the low-pass filter.

    StyleGAN2's upsampling convolution (Karras et al., CVPR 2020, appendix B), no bias.
    """

    def __init__(self, weight: Tensor):
        """weight [out, in, 3, 3], as of a transposed convolution: not flipped."""
        super().__init__(weight.transpose(0, 1).contiguous())

    def forward(
        self, x: Tensor, scale: Tensor | None = None, finish: Finish | None = None
    ) -> Tensor:
        """As `Conv`."""
        x = self.ready(x, scale)
        # A row and a column of zeros after the last: the filter wants them, and an even size makes
        # the convolution twice as quick on a CPU.
        x = F.conv_transpose2d(x, self.weight, stride=2, output_padding=1)
        return finished(fir_filter(x, gain=4.0), finish)

    def squares(self) -> Tensor:
        """[out, in]: the sum of squares of each kernel."""
        return at_least_float32(self.weight).square().sum(dim=(2, 3)).T.contiguous()


class NearestUpConv3x3(Convolution):
    """x [N, in, H, W] -> [N, out, 2H, 2W]: every pixel repeated, then a 3x3 convolution, no bias."""

    def __init__(self, weight: Tensor):
        """weight [out, in, 3, 3]."""
        super().__init__(upsampling_kernel(weight))

    def forward(self, x: Tensor, finish: Finish | None = None) -> Tensor:
        """`finish`: as of `Conv`."""
        x = F.conv_transpose2d(self.ready(x), self.weight, stride=2, padding=1)
        return finished(x, finish)


def convolution(weight: Tensor, padding: int) -> Conv:
    """Of kernels [out, in, k, k] of any size, the quickest way that is known here."""
    return Conv3x3(weight, padding) if weight.shape[2:] == (3, 3) else Conv(weight, padding)


def finished(x: Tensor, finish: Finish | None) -> Tensor:
    """`finish` for all of x [N, C, H, W]; on a CPU a few rows at a time."""
    if finish is None or x.numel() == 0:
        return x
    if x.device.type != "cpu" or wants_gradient(x):
        return finish(x, EVERYTHING, EVERYTHING)
    rows = max(1, PART_BYTES * x.shape[2] // (x[0].numel() * x.element_size()))

    def work(start: tuple[int, int]) -> None:
        sample, row = start
        some = slice(row, row + rows)
        finish(x[sample : sample + 1, :, some], slice(sample, sample + 1), some)

    for_each(work, itertools.product(range(len(x)), range(0, x.shape[2], rows)))
    return x


def on_both_axes(matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """[a, b] along rows and columns: [a * a, b * b] float64, for squares flattened."""
    along = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(along, along)


def transform_kernels(weight: Tensor) -> Tensor:
    """[out, in, 3, 3] -> [36, in, out], computed in float64."""
    transformed = torch.empty(TILE**2, weight.shape[1], weight.shape[0], dtype=weight.dtype)
    both = on_both_axes(KERNEL)  # [36, 9]
    for o, rows in enumerate(weight.split(64)):  # what is float64 stays small
        flat = both @ rows.double().permute(2, 3, 1, 0).reshape(9, -1)
        transformed[:, :, 64 * o : 64 * o + len(rows)] = flat.view(TILE**2, -1, len(rows))
    return transformed


def winograd(
    x: Tensor, transformed: Tensor, scale: Tensor | None, padding: int, finish: Finish | None
) -> Tensor:
    """The convolution of x * scale, then `finish`, see `Conv3x3`; channels last.

    Some tiles at a time, about as much data as there are weights, so that both stay in the processor's
    caches.
    """
    n, channels, height, width = x.shape
    out_channels = transformed.shape[2]
    out_height, out_width = height + 2 * padding - 2, width + 2 * padding - 2
    down, across = -(-out_height // OUT), -(-out_width // OUT)  # tiles
    bottom = OUT * down + 2 - height - padding
    right = OUT * across + 2 - width - padding
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, right, padding, bottom))
    y = x.new_empty(n, OUT * down, OUT * across, out_channels)
    most = max(1, channels * out_channels // (channels + out_channels))  # tiles at a time
    rows = min(down, max(1, most // across))
    samples = max(1, min(n, most // (across * down)))
    data, inverse = on_both_axes(DATA).to(x.dtype), on_both_axes(INVERSE).to(x.dtype)
    per_sample, per_row, per_pixel, _ = x.stride()

    def work(start: tuple[int, int]) -> None:
        i, row = start
        s, r = min(samples, n - i), min(rows, down - row)
        tiles = x.as_strided(  # [6, 6, s, r, across, in], overlapping
            (TILE, TILE, s, r, across, channels),
            (per_row, per_pixel, per_sample, OUT * per_row, OUT * per_pixel, 1),
            i * per_sample + OUT * row * per_row,
        )
        gathered = x.new_empty(tiles.shape)
        if scale is None:
            gathered.copy_(tiles)
        else:
            torch.mul(tiles, scale[i : i + s, None, None], out=gathered)
        spectra = torch.mm(data, gathered.view(TILE**2, -1)).view(TILE**2, -1, channels)
        products = torch.bmm(spectra, transformed).view(TILE**2, -1)
        found = torch.mm(inverse, products).view(OUT, OUT, s, r, across, out_channels)
        some = slice(OUT * row, min(OUT * (row + r), out_height))
        part = y[i : i + s, OUT * row : OUT * (row + r)]
        part = part.view(s, r, OUT, across, OUT, out_channels)
        part.copy_(found.permute(2, 3, 0, 4, 1, 5))
        if finish is not None:
            finish(y[i : i + s, some, :out_width].permute(0, 3, 1, 2), slice(i, i + s), some)

    for_each(work, itertools.product(range(0, n, samples), range(0, down, rows)))
    return y[:, :out_height, :out_width].permute(0, 3, 1, 2)
