"""Generator and discriminator of the demo model, differentiable and able to grow.

The generator is StyleGAN2's with input/output skips (Karras et al., "Analyzing and Improving the
Image Quality of StyleGAN", CVPR 2020, sections 2 and 4), without noise inputs: at 64 pixels they
only speckle flat areas. Its parameters carry the names under which the project stores StyleGAN2
weights, so a state dict is the export. The discriminator is residual, and small.

Shapes: N images, C channels, r pixels a side, L = 2 log2(resolution) - 2 indices of w.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

SQRT2 = math.sqrt(2)


def lrelu(x):
    """Leaky ReLU times sqrt(2), which keeps the variance of its input (section B of the paper)."""
    return F.leaky_relu(x, 0.2) * SQRT2


class Dense(nn.Module):
    """Linear layer with equalised learning rate (Karras et al., 2018, section 4.1).

    The stored parameters have unit variance over `lr_multiplier`; the scale is applied at run time,
    so that Adam moves every layer at the same relative speed, mapping layers slower.
    """

    def __init__(self, inputs, outputs, lr_multiplier=1.0, bias=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([outputs], bias / lr_multiplier))
        self.lr_multiplier = lr_multiplier

    def forward(self, x):
        # The scale meets the activations, which are fewer than the weights.
        scale = self.lr_multiplier / math.sqrt(self.weight.shape[1])
        return F.linear(x * scale, self.weight, self.bias * self.lr_multiplier)


class Conv(nn.Module):
    """Convolution with equalised learning rate, stride 1, same size."""

    def __init__(self, inputs, outputs, kernel, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x):
        weight = self.weight / math.sqrt(self.weight[0].numel())
        return F.conv2d(x, weight, self.bias, padding=self.weight.shape[-1] // 2)


# --- generator ------------------------------------------------------------------------------------


def smooth(x, padding):
    """The filter [1, 3, 3, 1] / 4 along both axes: [N, C, h, w] -> h - 3 + sum(padding)."""
    taps = x.new_tensor([1.0, 3.0, 3.0, 1.0]) / 4
    channels = x.shape[1]
    kernel = torch.outer(taps, taps).expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(x, padding * 2), kernel, groups=channels)


def upsample2(x):
    """[N, C, r, r] -> [N, C, 2r, 2r]: zeros in between, then `smooth`.

    Written out by phases: an output pixel is 3/4 of its nearest input and 1/4 of the next one.
    """
    for axis in (2, 3):
        size = x.shape[axis]
        pad = (0, 0, 1, 1) if axis == 2 else (1, 1)
        padded = F.pad(x, pad)  # the image is surrounded by zeros, not by its border
        before, after = padded.narrow(axis, 0, size), padded.narrow(axis, 2, size)
        pair = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = pair.flatten(axis, axis + 1)
    return x


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, demodulated, with bias and activation (section 2.2).

    Modulating the input and demodulating the output equals doing both to the weights of each image
    (equations 1 and 3) and lets the whole batch share one convolution.
    """

    def __init__(self, inputs, outputs, w_dim, up=False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = Dense(w_dim, inputs, bias=1.0)
        self.up = up

    def forward(self, x, w):
        """x [N, I, r, r], w [N, w_dim] -> [N, O, r, r], or 2r if up."""
        s = self.affine(w)  # [N, I]
        weight = self.weight / math.sqrt(self.weight[0].numel())  # [O, I, 3, 3]
        demod = ((s * s) @ weight.square().sum([2, 3]).t() + 1e-8).rsqrt()  # [N, O]
        x = x * s[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = smooth(x, (1, 1))
        else:
            x = F.conv2d(x, weight, padding=1)
        # The gain sqrt(2) of the activation is folded in: one pass less over the pixels.
        gain = (demod * SQRT2)[:, :, None, None]
        bias = (self.bias * SQRT2)[None, :, None, None]
        return F.leaky_relu(torch.addcmul(bias, x, gain), 0.2)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to colours, not demodulated."""

    def __init__(self, inputs, w_dim):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.affine = Dense(w_dim, inputs, bias=1.0)

    def forward(self, x, w):
        s = self.affine(w)[:, :, None, None] / math.sqrt(self.weight.shape[1])
        return F.conv2d(x * s, self.weight, self.bias)


class Generator(nn.Module):
    """z [N, z_dim] -> images [N, 3, r, r], nominal range [-1, 1].

    channels: {4: C, 8: C, ...}; the largest resolution of the network is `resolution`.
    """

    def __init__(self, resolution, channels, z_dim, w_dim, mapping_layers, lr_multiplier):
        super().__init__()
        self.num_ws = 2 * int(math.log2(resolution)) - 2
        self.mapping, self.synthesis = nn.Module(), nn.Module()
        for i in range(mapping_layers):
            dense = Dense(z_dim if i == 0 else w_dim, w_dim, lr_multiplier)
            self.mapping.add_module(f"dense{i}", dense)
        self.register_buffer("w_avg", torch.zeros(w_dim))

        previous = channels[4]
        self.synthesis.const = nn.Parameter(torch.randn(1, previous, 4, 4))
        self.synthesis.conv0 = StyledConv(previous, previous, w_dim)
        self.synthesis.to_rgb0 = ToRGB(previous, w_dim)
        for k in range(1, self.num_ws // 2):
            c = channels[4 * 2**k]
            self.synthesis.add_module(f"conv{2 * k - 1}", StyledConv(previous, c, w_dim, up=True))
            self.synthesis.add_module(f"conv{2 * k}", StyledConv(c, c, w_dim))
            self.synthesis.add_module(f"to_rgb{k}", ToRGB(c, w_dim))
            previous = c

    def map(self, z):
        """z [N, z_dim] -> w [N, w_dim]; the length of z does not matter, only its direction."""
        x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for dense in self.mapping.children():
            x = lrelu(dense(x))
        return x

    def synthesize(self, ws):
        """ws [N, L, w_dim] -> images. Block k reads indices 2k - 1, 2k and, for colours, 2k + 1."""
        net, w = self.synthesis, ws.unbind(1)
        x = net.conv0(net.const.expand(len(ws), -1, -1, -1), w[0])
        rgb = net.to_rgb0(x, w[1])
        for k in range(1, self.num_ws // 2):
            x = getattr(net, f"conv{2 * k - 1}")(x, w[2 * k - 1])
            x = getattr(net, f"conv{2 * k}")(x, w[2 * k])
            rgb = upsample2(rgb) + getattr(net, f"to_rgb{k}")(x, w[2 * k + 1])
        return rgb

    def forward(self, z):
        return self.synthesize(self.map(z)[:, None].expand(-1, self.num_ws, -1))


# --- discriminator --------------------------------------------------------------------------------


class Block(nn.Module):
    """Residual block that halves the resolution: [N, I, r, r] -> [N, O, r/2, r/2].

    Pooling comes before the second convolution: a quarter of the arithmetic where it matters most.
    `gain` scales what it says: it fades in a block that is added to a trained network. (Learned
    from zero it stays small, and the discriminator blind to the new details.)
    """

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv0 = Conv(inputs, inputs, 3)
        self.conv1 = Conv(inputs, outputs, 3)
        self.skip = Conv(inputs, outputs, 1, bias=False)
        self.gain = 1.0

    def forward(self, x):
        main = lrelu(self.conv1(F.avg_pool2d(lrelu(self.conv0(x)), 2)))
        return (main + self.skip(F.avg_pool2d(x, 2))) * (self.gain / SQRT2)


class FineBlock(nn.Module):
    """As Block, for large images: every 2x2 square of pixels becomes one pixel of 4 I channels first.

    Few channels over many pixels are what processors are slowest at, so none is convolved.
    """

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv0 = Conv(4 * inputs, outputs, 3)
        self.conv1 = Conv(outputs, outputs, 3)
        self.skip = Conv(4 * inputs, outputs, 1, bias=False)
        self.gain = 1.0

    def forward(self, x):
        x = F.pixel_unshuffle(x, 2)  # [N, 4 I, r/2, r/2]
        main = lrelu(self.conv1(lrelu(self.conv0(x))))
        return (main + self.skip(x)) * (self.gain / SQRT2)


class Discriminator(nn.Module):
    """Images [N, 3, r, r] -> logits [N], positive for real.

    base: resolution at which the network started. Above it every resolution that was added has a
    block of its own, while the network below keeps seeing the image pooled to its size: with the
    new block's gain at 0 the larger network gives the logits of the smaller one.
    """

    GROUP = 4  # images compared with each other in the minibatch statistics
    FINE = 64  # resolution from which on blocks are FineBlocks

    def __init__(self, resolution, base, channels):
        super().__init__()
        self.resolution, self.base = resolution, base
        r = resolution
        while r >= base:
            self.add_module(f"from_rgb{r}", Conv(3, channels[r], 1))
            r //= 2
        r = resolution
        while r > 4:
            block = FineBlock if r >= self.FINE else Block
            self.add_module(f"block{r}", block(channels[r], channels[r // 2]))
            r //= 2
        self.conv = Conv(channels[4] + 1, channels[4], 3)
        self.dense = Dense(channels[4] * 16, channels[4])
        self.logit = Dense(channels[4], 1)

    def forward(self, image):
        r, x = self.resolution, 0
        while r > 4:
            if r >= self.base:
                x = x + lrelu(getattr(self, f"from_rgb{r}")(image))
                image = F.avg_pool2d(image, 2)
            x = getattr(self, f"block{r}")(x)
            r //= 2
        x = lrelu(self.conv(torch.cat([x, self.spread(x)], 1)))
        return self.logit(lrelu(self.dense(x.flatten(1))))[:, 0]

    def spread(self, x):
        """How much the images of a group differ (Karras et al., 2018, section 3): [N, 1, r, r].

        Groups are consecutive images, so a batch of reals followed by fakes mixes neither.
        """
        n, c, h, w = x.shape
        group = self.GROUP if n % self.GROUP == 0 else n
        y = x.reshape(n // group, group, c, h, w)
        y = (y.var(1, unbiased=False) + 1e-8).sqrt().mean([1, 2, 3])  # [groups]
        return y.repeat_interleave(group)[:, None, None, None].expand(-1, 1, h, w)
