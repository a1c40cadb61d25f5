"""Reads the renderer's factors off an image: a small convolutional network.

It is trained on rendered images, whose factors are known, and then judges generated ones, whose
factors are not: the paper's re-scoring (Shen & Zhou, "Closed-Form Factorization of Latent
Semantics in GANs", CVPR 2021, section 4) with the truth in place of human labels. No generator ever
sees it or the factors.

All scores are in the units of `Scale`: standard deviations of a factor over rendered images.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from . import renderer
from .images import bar, fingerprint, render_images
from .train import write_atomically
from .training import to_float

LARGEST = 64  # pixels; larger images are averaged down to it


@dataclass(frozen=True)
class Settings:
    """All that decides the result beside the two sources."""

    images: int = 20_000  # rendered for training, used again and again
    steps: int = 3_000
    batch: int = 32
    lr: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 1_000_000  # of the training images; evaluation uses small seeds
    channels: tuple = (32, 64, 96, 128)


class Scale:
    """Factors <-> numbers: the columns and units of scores [N, D].

    A scalar takes one column; a choice one for each value but the first, its probability; a colour
    three. Every factor has mean 0 and, over its columns together, variance 1. So a difference of
    two scores is in standard deviations of the factor, and a mean squared error is 1 - R².

    factors: name -> Factor. columns: name -> slice of 0..D.
    """

    def __init__(self, factors=renderer.FACTORS, sample=renderer.sample_factors):
        self.factors, self.columns, width = factors, {}, 0
        for name, factor in factors.items():
            size = {"scalar": 1, "color": 3, "choice": len(factor.values) - 1}[factor.kind]
            self.columns[name] = slice(width, width + size)
            width += size
        # Statistics of the factors themselves: nothing is rendered for them.
        numbers = self._numbers(sample(50_000, torch.Generator().manual_seed(0)))
        self.mean = numbers.mean(0)  # [D]
        self.deviation = torch.empty(width)  # [D], one number for all columns of a factor
        for columns in self.columns.values():
            self.deviation[columns] = numbers[:, columns].var(0).sum().sqrt()

    def _numbers(self, values):
        parts = []
        for name, factor in self.factors.items():
            value = values[name]
            if factor.kind == "choice":
                value = F.one_hot(value, len(factor.values))[:, 1:]
            parts.append(value.reshape(len(value), -1).float())
        return torch.cat(parts, 1)

    def of_kind(self, kind):
        """Names of the factors of a kind."""
        return [name for name, factor in self.factors.items() if factor.kind == kind]

    def encode(self, factors):
        """Factors as `sample_factors` gives them -> scores [N, D]."""
        return (self._numbers(factors) - self.mean) / self.deviation

    def probabilities(self, scores, name):
        """Scores [N, D] -> probabilities of the values of a choice, [N, values]."""
        columns = self.columns[name]
        rest = scores[:, columns] * self.deviation[columns] + self.mean[columns]
        return torch.cat([1 - rest.sum(1, keepdim=True), rest], 1)

    def changes(self, difference):
        """Differences of scores [..., D] -> change of every factor [..., factors].

        Signed for a factor of one column; the length of the change for the others.
        """
        parts = [difference[..., columns] for columns in self.columns.values()]
        return torch.stack([p[..., 0] if p.shape[-1] == 1 else p.norm(dim=-1) for p in parts], -1)


class Regressor(nn.Module):
    """Images -> scores. Strided convolutions down to 4 pixels, then a dense head on all of them:
    where something is counts as much as what it is.
    """

    def __init__(self, scale, size, channels):
        super().__init__()
        self.scale, self.size = scale, size
        layers, previous, side = [nn.PixelUnshuffle(2)], 12, size // 2
        for i, c in enumerate(channels):
            if i and side <= 4:
                break
            stride = 2 if i else 1
            layers += [nn.Conv2d(previous, c, 3, stride, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(c), nn.ReLU()]
            previous, side = c, side // stride
        layers += [nn.Flatten(), nn.Linear(previous * side**2, 256, bias=False)]
        layers += [nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, len(scale.mean))]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        """x float [N, 3, size, size] in [-1, 1] -> [N, D]: scores, but logits for choices."""
        return self.layers(x)

    def loss(self, x, factors, scores):
        """Squared error of scalars and colours, cross-entropy of choices, summed over factors."""
        out = self(x)
        error = (out - scores).square().mean(0)  # [D]
        total = 0
        for name, columns in self.scale.columns.items():
            if self.scale.factors[name].kind == "choice":
                total = total + F.cross_entropy(with_first(out[:, columns]), factors[name])
            else:
                total = total + error[columns].sum()
        return total

    @torch.inference_mode()
    def predict(self, images, batch=64):
        """uint8 [N, 3, r, r], r a multiple of `size` -> scores float32 [N, D] on the CPU."""
        self.eval()
        device = next(self.parameters()).device
        out = [self(to_float(part.to(device), self.size)) for part in images.split(batch)]
        scores, scale = torch.cat(out).cpu(), self.scale
        for name in scale.of_kind("choice"):
            columns = scale.columns[name]
            rest = with_first(scores[:, columns]).softmax(1)[:, 1:]
            scores[:, columns] = (rest - scale.mean[columns]) / scale.deviation[columns]
        return scores


def with_first(logits):
    """Logits [N, values - 1] with that of the first value, which is always 0, put before them."""
    return F.pad(logits, (1, 0))


def augment(x, random):
    """Small changes of brightness and contrast, blur, noise: what a generator does to an image."""
    n = len(x)

    def uniform(low, high):
        u = torch.rand(n, 1, 1, 1, generator=random)
        return (low + (high - low) * u).to(x)

    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    x = torch.lerp(x, blurred, uniform(-0.3, 0.7))  # negative: sharpened
    x = x * uniform(0.95, 1.05) + uniform(-0.04, 0.04)
    return x + torch.randn(x.shape, generator=random).to(x) * uniform(0, 0.04)


def train(size, device="cpu", settings=Settings()):
    """A regressor for images of `size` pixels, trained from nothing; seeded throughout."""
    s, scale = settings, Scale()
    random = torch.Generator().manual_seed(s.seed)
    factors = renderer.sample_factors(s.images, random)
    images = render_images(factors, size, device)
    scores = scale.encode(factors)

    with torch.random.fork_rng():
        torch.manual_seed(s.seed)
        regressor = Regressor(scale, size, s.channels)
    regressor.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(regressor.parameters(), s.lr, weight_decay=s.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, s.lr, s.steps, pct_start=0.1)
    with bar("training the regressor", s.steps) as progress:
        for _ in range(s.steps):
            rows = torch.randint(s.images, [s.batch], generator=random)
            x = augment(to_float(images[rows].to(device), size), random)
            truth = {name: value[rows].to(device) for name, value in factors.items()}
            loss = regressor.loss(x, truth, scores[rows].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update()
    return regressor.eval()


def load_or_train(directory, resolution, device="cpu", settings=Settings()):
    """The regressor for images of `resolution` pixels, kept in `directory`.

    Trained when there is none of the present sources and settings.
    """
    size = min(resolution, LARGEST)
    key = fingerprint([renderer.__file__, __file__], size, settings)
    path = directory / f"regressor-{key}.pt"
    if path.exists():
        regressor = Regressor(Scale(), size, settings.channels)
        regressor.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return regressor.to(device, memory_format=torch.channels_last).eval()
    regressor = train(size, device, settings)
    write_atomically(path, lambda p: torch.save(regressor.state_dict(), p))
    return regressor


def r_squared(predicted, truth, scale):
    """Share of each factor's variance that is predicted; scores [N, D] -> name -> float.

    1 - sum of squared errors / sum of squared deviations, over all columns of the factor.
    """
    error = (predicted - truth).square().sum(0)
    spread = (truth - truth.mean(0)).square().sum(0)
    return {
        name: (1 - error[columns].sum() / spread[columns].sum()).item()
        for name, columns in scale.columns.items()
    }
