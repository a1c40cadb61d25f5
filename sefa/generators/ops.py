"""Resampling and normalisation in plain torch, shared by the families."""

import torch
import torch.nn.functional as F
from torch import Tensor

# The low-pass filter of StyleGAN and StyleGAN2: binomial, outer product of these taps, sum 1.
FIR_TAPS = (0.125, 0.375, 0.375, 0.125)
BLUR_TAPS = (0.25, 0.5, 0.25)  # of StyleGAN's blur, likewise


def pixel_norm(x: Tensor) -> Tensor:
    """x [N, C, ...] divided by its root mean square over C (Karras et al. 2018, section 4.2)."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def fir_kernel(like: Tensor, gain: float) -> Tensor:
    """The filter as a depthwise kernel [C, 1, 4, 4] for `like` [N, C, H, W], with sum `gain`."""
    taps = torch.tensor(FIR_TAPS, dtype=like.dtype, device=like.device)
    return (torch.outer(taps, taps) * gain).expand(like.shape[1], 1, 4, 4)


def fir_filter(x: Tensor, gain: float = 1.0) -> Tensor:
    """[N, C, H, W] -> [N, C, H-1, W-1]: the low-pass filter with one row of padding a side.

    Run as two one-dimensional passes, since the kernel is an outer product.
    """
    taps = torch.tensor(FIR_TAPS, dtype=x.dtype, device=x.device) * gain**0.5
    channels = x.shape[1]
    x = F.conv2d(
        x, taps.view(1, 1, 4, 1).expand(channels, 1, 4, 1), padding=(1, 0), groups=channels
    )
    return F.conv2d(
        x, taps.view(1, 1, 1, 4).expand(channels, 1, 1, 4), padding=(0, 1), groups=channels
    )


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
