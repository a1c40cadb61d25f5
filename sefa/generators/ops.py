"""Resampling and normalisation in plain torch, shared by the families."""

import torch
import torch.nn.functional as F
from torch import Tensor

# The low-pass filter of StyleGAN and StyleGAN2: binomial, outer product of these taps, sum 1.
FIR_TAPS = (0.125, 0.375, 0.375, 0.125)
BLUR_TAPS = (0.25, 0.5, 0.25)  # of StyleGAN's blur, likewise


# On a CPU a pass over new memory takes ten times as long as one over memory in use, which the system
# need not hand out and clear: so features that nobody needs again are changed where they are.


def scale_(x: Tensor, factor: Tensor) -> Tensor:
    """x * factor in the memory of x, which the caller gives up; elsewhere where a gradient is wanted."""
    return x * factor if wants_gradient(x, factor) else x.mul_(factor)


def affine_(x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """x * factor + shift, in the memory of x as in `scale_`."""
    if wants_gradient(x, factor, shift):
        return torch.addcmul(shift, x, factor)
    return torch.addcmul(shift, x, factor, out=x)


def add_product_(x: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """x + one * other, in the memory of x as in `scale_`."""
    if wants_gradient(x, one, other):
        return torch.addcmul(x, one, other)
    return x.addcmul_(one, other)


def activate_(
    x: Tensor,
    factor: Tensor | None,
    shift: Tensor,
    noise: Tensor | None = None,
    clamp: float | None = None,
) -> Tensor:
    """leaky_relu(x * factor + shift + noise, 0.2) within +-clamp, in the memory of x as `scale_`.

    x [N, C, H, W]; factor [N, C] (None: 1), shift [C], noise [H, W].
    """
    factor, shift = None if factor is None else factor[:, :, None, None], shift[:, None, None]
    if wants_gradient(x, factor):
        x = x + shift if factor is None else torch.addcmul(shift, x, factor)
        x = F.leaky_relu(x if noise is None else x + noise, 0.2)
        return x if clamp is None else x.clamp(-clamp, clamp)
    x = x.add_(shift) if factor is None else torch.addcmul(shift, x, factor, out=x)
    x = F.leaky_relu_(x if noise is None else x.add_(noise), 0.2)
    return x if clamp is None else x.clamp_(-clamp, clamp)


def pixel_norm_(x: Tensor) -> Tensor:
    """`pixel_norm`, in the memory of x as in `scale_`."""
    return scale_(x, inverse_rms(x))


def at_least_float32(x: Tensor) -> Tensor:
    """x, as float32 where it has less precision: for sums that would lose too much, or overflow."""
    return x.float() if x.dtype.itemsize < 4 else x


def wants_gradient(*tensors: Tensor | None) -> bool:
    return any(tensor is not None and tensor.requires_grad for tensor in tensors)


def pixel_norm(x: Tensor) -> Tensor:
    """x [N, C, ...] divided by its root mean square over C (Karras et al. 2018, section 4.2)."""
    return x * inverse_rms(x)


def inverse_rms(x: Tensor) -> Tensor:
    """One over the root mean square of x [N, C, ...] over C: [N, 1, ...]."""
    mean_square = at_least_float32(x).square().mean(dim=1, keepdim=True)
    return (mean_square + 1e-8).rsqrt()


def fir_kernel(like: Tensor, gain: float) -> Tensor:
    """The filter as a depthwise kernel [C, 1, 4, 4] for `like` [N, C, H, W], with sum `gain`."""
    taps = torch.tensor(FIR_TAPS, dtype=like.dtype, device=like.device)
    return (torch.outer(taps, taps) * gain).expand(like.shape[1], 1, 4, 4)


def fir_filter(x: Tensor, gain: float = 1.0) -> Tensor:
    """[N, C, H, W] -> [N, C, H-2, W-2]: the low-pass filter with one row of padding before the first.

    The last row and column of x must be zero: they are the padding after the last. Run as two
    one-dimensional passes, since the kernel is an outer product.
    """
    taps = torch.tensor((*FIR_TAPS, 0.0), dtype=x.dtype, device=x.device) * gain**0.5
    channels = x.shape[1]
    x = F.conv2d(x, depthwise(taps, 0, channels), padding=(1, 0), groups=channels)
    return F.conv2d(x, depthwise(taps, 1, channels), padding=(0, 1), groups=channels)


def upsample2x(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W]: zeros inserted, padded (2, 1), low-pass filtered, gain 4.

    The filter is symmetric, so this is one transposed convolution with padding 1.
    """
    return F.conv_transpose2d(x, fir_kernel(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def upsampling_kernel(weight: Tensor) -> Tensor:
    """[out, in, 3, 3] -> [in, out, 4, 4]: nearest upsampling and this convolution in one step.

    conv2d(nearest2x(x), weight, padding=1) equals, borders included, a transposed convolution of
    stride 2 and padding 1 with the flipped kernel spread over 2x2 pixels; it costs half the time.
    """
    padded = F.pad(weight.flip(2, 3), (1, 1, 1, 1))
    spread = F.avg_pool2d(padded, 2, stride=1) * 4.0
    return spread.transpose(0, 1).contiguous()


def blur(x: Tensor) -> Tensor:
    """[N, C, H, W], low-pass filtered by outer([1, 2, 1]) / 16, zeros beyond the border."""
    taps = torch.tensor(BLUR_TAPS, dtype=x.dtype, device=x.device)
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


def upsample(x: Tensor, taps: Tensor | None, factor: int, pad: int, size: int) -> Tensor:
    """[N, C, H, W] -> [N, C, size, size]: zeros inserted, padded, filtered along both axes.

    Every pixel is followed by `factor` - 1 zeros, `pad` zeros come before the first (negative:
    pixels are cut), as many after the last as give `size` pixels, and the filter `taps` [K] (None:
    the identity) has gain `factor` a axis.
    """
    if taps is None and factor == 1:
        after = [size - pad - length for length in x.shape[2:]]
        return F.pad(x, (pad, after[1], pad, after[0]))
    taps = torch.ones(1).to(x) if taps is None else taps.to(x.dtype)
    # A transposed convolution, which skips the zeros. Of its full output `crop` pixels are cut in
    # front; only the `needed` pixels of x that reach the rest take part.
    count = len(taps)
    first = -pad // factor
    crop = count - 1 + -pad % factor
    extra = (size - count + 2 * crop) % factor
    needed = (size - count + 2 * crop - extra) // factor + 1
    after = [first + needed - length for length in x.shape[2:]]
    x = channels_last_on_cpu(F.pad(x, (-first, after[1], -first, after[0])))
    for axis in (0, 1):
        x = F.conv_transpose2d(
            x,
            depthwise(taps * factor, axis, x.shape[1]),
            stride=pair(axis, factor, 1),
            padding=pair(axis, crop, 0),
            output_padding=pair(axis, extra, 0),
            groups=x.shape[1],
        )
    return x


def downsample(x: Tensor, taps: Tensor | None, factor: int) -> Tensor:
    """[N, C, H, W] -> [N, C, H', W']: filtered where it fits, then every `factor`-th pixel.

    taps: [K], applied along both axes, or [K, K]; None is the identity.
    """
    if taps is None:
        return x[:, :, ::factor, ::factor]
    x, taps = channels_last_on_cpu(x), taps.to(x.dtype)
    channels = x.shape[1]
    if taps.ndim == 2:
        kernel = taps.flip(0, 1).expand(channels, 1, -1, -1)
        return F.conv2d(x, kernel, stride=factor, groups=channels)
    for axis in (0, 1):
        kernel = depthwise(taps.flip(0), axis, channels)
        x = F.conv2d(x, kernel, stride=pair(axis, factor, 1), groups=channels)
    return x


def depthwise(taps: Tensor, axis: int, channels: int) -> Tensor:
    """Taps [K] along axis 0 (height) or 1 (width) as a kernel [channels, 1, K, 1] or alike."""
    return taps.view(pair(axis, -1, 1)).expand(channels, 1, -1, -1)


def pair(axis: int, along: int, across: int) -> tuple[int, int]:
    """(height, width) of something that differs between the two axes."""
    return (along, across) if axis == 0 else (across, along)


def channels_last_on_cpu(x: Tensor) -> Tensor:
    """The layout in which depthwise convolutions are quick on a CPU (twice to five times)."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x
