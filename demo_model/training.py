"""How the demo model learns: settings, losses, and the state of a run. No files but exported weights.

The recipe is StyleGAN2's (Karras et al., CVPR 2020) at the scale of two CPU cores; `train.py` is
its command line.
"""

import copy
import json
from dataclasses import asdict, dataclass, field
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file

from .networks import Discriminator, Generator


@dataclass(frozen=True)
class Config:
    """All that decides the result. Images are counted as reals shown to the discriminator."""

    images: int = 600_000  # length of the training
    grow_at: tuple = (60_000, 100_000)  # images after which the resolution doubles
    fade: int = 4_000  # images over which the discriminator's new block fades in
    start_resolution: int = 16
    resolution: int = 64
    pool: int = 40_000  # distinct training images
    seed: int = 0
    # Small batches: at this length the number of steps matters more than their noise.
    batch: dict = field(default_factory=lambda: {16: 16, 32: 8, 64: 8})  # by resolution
    z_dim: int = 128
    w_dim: int = 128
    mapping_layers: int = 4
    mapping_lr_multiplier: float = 0.01
    g_channels: dict = field(default_factory=lambda: {4: 128, 8: 128, 16: 80, 32: 48, 64: 24})
    d_channels: dict = field(default_factory=lambda: {4: 128, 8: 128, 16: 64, 32: 32, 64: 8})
    lr: float = 0.0025
    lr_decay: float = 0.2  # share of the images, the last ones, over which lr falls to zero
    r1_gamma: dict = field(default_factory=lambda: {16: 1.0, 32: 0.8, 64: 0.5})
    noise: float = 0.1  # deviation of the noise on all that the discriminator sees, at first
    noise_images: int = 360_000  # images over which it falls to zero
    r1_interval: int = 16  # discriminator steps between two R1 penalties
    mixing: float = 0.5  # share of images made from two codes
    ema_images: int = 10_000  # half-life of the moving average of the generator
    ema_warmup: float = 0.05  # ... but at most this share of the images seen
    told: tuple = (0.65, 0.85)  # share told right by a discriminator worth (no, full) following
    told_images: int = 1_000  # half-life of the moving average of that share

    def resolution_at(self, images):
        """Resolution in training after so many images."""
        doublings = sum(images >= threshold for threshold in self.grow_at)
        return min(self.start_resolution * 2**doublings, self.resolution)

    def lr_at(self, images):
        """Learning rate after so many images: constant, then falling to zero along a line."""
        left = (self.images - images) / max(1, self.lr_decay * self.images)
        return self.lr * min(1.0, max(0.0, left))

    def noise_at(self, images):
        """Deviation of the noise after so many images, where images are in [-1, 1]."""
        return self.noise * max(0.0, 1 - images / self.noise_images)


# --- losses: tensors in, tensors out --------------------------------------------------------------


def d_loss(real_logits, fake_logits):
    """Logistic loss (Goodfellow et al., 2014): -log D(real) - log(1 - D(fake)), batch mean."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def g_loss(fake_logits):
    """Non-saturating loss: -log D(fake), batch mean."""
    return F.softplus(-fake_logits).mean()


def r1_penalty(discriminator, real):
    """Mean squared norm of the logits' gradient at real images (Mescheder et al., 2018, eq. 9)."""
    real = real.detach().requires_grad_(True)
    logits = discriminator(real)
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum([1, 2, 3]).mean()


# --- training -------------------------------------------------------------------------------------


class Training:
    """The state of a run: networks, optimisers, random numbers, images seen.

    A batch may be shared by several workers (processes in one gloo group): all of them hold the
    same state and draw the same random numbers, each computes the gradients of its part of the
    batch, and the mean gradient is applied by all.
    """

    def __init__(self, config, device="cpu", rank=0, workers=1):
        self.config, self.device, self.seen, self.steps = config, torch.device(device), 0, 0
        group = workers * Discriminator.GROUP
        if any(batch % group for batch in config.batch.values()):
            raise ValueError(f"{workers} workers need batches of a multiple of {group}")
        self.rank, self.workers = rank, workers
        self._build(config.start_resolution)
        self.ema = copy.deepcopy(self.g).requires_grad_(False)
        self.random = torch.Generator().manual_seed(config.seed)  # z, mixing, choice of reals
        self.history = [{"images_seen": 0, "settings": asdict(config)}]  # options may change
        self.grown = {}  # resolution -> images seen when it was added
        self.told = 0.5  # moving average of the share of images that the discriminator tells right

    def _build(self, resolution):
        """Fresh networks and optimisers for `resolution`."""
        c = self.config
        shape = (c.z_dim, c.w_dim, c.mapping_layers, c.mapping_lr_multiplier)
        with torch.random.fork_rng():
            torch.manual_seed(c.seed + resolution)
            g = Generator(resolution, c.g_channels, *shape)
            d = Discriminator(resolution, c.start_resolution, c.d_channels)
        # Channels last: convolutions on the CPU are faster in it.
        self.g = g.to(self.device, memory_format=torch.channels_last)
        self.d = d.to(self.device, memory_format=torch.channels_last)
        adam = partial(torch.optim.Adam, lr=c.lr, fused=True)
        self.g_opt = adam(self.g.parameters(), betas=(0.0, 0.99))
        # Lazy regularisation (appendix B): what the interval skips, the optimiser must not see.
        self.d_opt = adam(self.d.parameters(), betas=(0.0, 0.99**self.lazy))
        self.resolution = resolution
        self.batch, self.r1_gamma = c.batch[resolution], c.r1_gamma[resolution]
        n = self.batch // self.workers
        self.part = slice(self.rank * n, (self.rank + 1) * n)  # of every batch

    @property
    def lazy(self):
        """Factor on the discriminator's optimiser: R1 comes every r1_interval steps only."""
        return self.config.r1_interval / (self.config.r1_interval + 1)

    def grow(self):
        """Go on at twice the resolution without a jump.

        The new layers of the generator add nothing yet (their colours start at zero), those of the
        discriminator neither (see Discriminator): images and logits stay what they were.
        """
        old_g, old_d, old_ema = self.g, self.d, self.ema
        self._build(self.resolution * 2)
        with torch.no_grad():
            getattr(self.g.synthesis, f"to_rgb{old_g.num_ws // 2}").weight.zero_()
        self.ema = copy.deepcopy(self.g).requires_grad_(False)
        self.g.load_state_dict(old_g.state_dict(), strict=False)
        self.ema.load_state_dict(old_ema.state_dict(), strict=False)
        self.d.load_state_dict(old_d.state_dict(), strict=False)
        self.grown[self.resolution] = self.seen
        self._fade()

    def warm_start(self, path):
        """Go on from exported weights, of which only the generator's average is known.

        The discriminator is new; until it tells images right, the generator waits (`_set_lr`).
        """
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["training"])
        while self.resolution < facts["resolution"]:
            self.grow()
        self.grown = dict.fromkeys(self.grown, -self.config.fade)  # all there from the start
        weights = {k: v for k, v in load_file(path).items() if ".noise_" not in k}
        self.g.load_state_dict(weights)
        self.ema.load_state_dict(weights)
        self.seen, self.history = facts["images_seen"], facts["history"]
        settings = {"settings": asdict(self.config), "warm_start": True}
        self.history.append({"images_seen": self.seen} | settings)

    def _fade(self):
        """Set how much the discriminator's added blocks count: 0 when new, later 1."""
        for resolution, since in self.grown.items():
            block = getattr(self.d, f"block{resolution}")
            block.gain = min(1.0, (self.seen - since) / self.config.fade)

    def _set_lr(self):
        """Follow `Config.lr_at`; the generator no faster than its discriminator deserves.

        Adam makes steps of one size of whatever gradient it gets: led by a discriminator that knows
        nothing, as after a warm start, the generator would lose what it has, and outrun its teacher.
        """
        lr, (low, high) = self.config.lr_at(self.seen), self.config.told
        worth = min(1.0, max(0.0, (self.told - low) / (high - low)))
        self.g_opt.param_groups[0]["lr"] = lr * worth
        self.d_opt.param_groups[0]["lr"] = lr * self.lazy

    def _veil(self, images):
        """Add noise, so that the discriminator is not content with telling edges of drawings from
        those of networks, which it can before there are two eyes (Sønderby et al., 2017, section 3).
        """
        size = (self.batch, *images.shape[1:])
        noise = torch.randn(size, generator=self.random)[self.part].to(self.device)
        return images + noise * self.config.noise_at(self.seen)

    def fakes(self):
        """This worker's part of a batch; some images from two codes that swap at a random index."""
        n = self.batch
        z = torch.randn(2, n, self.config.z_dim, generator=self.random).to(self.device)
        mixed = torch.rand(n, generator=self.random) < self.config.mixing
        crossover = torch.randint(1, self.g.num_ws, [n], generator=self.random)
        crossover[~mixed] = self.g.num_ws
        w = self.g.map(z.flatten(0, 1)).unflatten(0, (2, n))  # [2, N, w_dim]
        self.g.w_avg.lerp_(w[0].detach().mean(0), 0.002)
        first = torch.arange(self.g.num_ws) < crossover[:, None]  # [N, L]
        ws = torch.where(first.to(self.device)[:, :, None], w[0][:, None], w[1][:, None])
        return self.g.synthesize(ws[self.part])

    def step(self, pool):
        """One update of both networks. pool: uint8 [M, 3, R, R]. Returns a dict of numbers.

        The same fakes serve both updates: one pass through the generator instead of two.
        """
        c = self.config
        self._fade()
        self._set_lr()
        choice = torch.randint(len(pool), [self.batch], generator=self.random)[self.part]
        real = self._veil(to_float(pool[choice].to(self.device), self.resolution))
        fake = self._veil(self.fakes())

        real_logits, fake_logits = self.d(torch.cat([real, fake.detach()])).chunk(2)
        loss = loss_d = d_loss(real_logits, fake_logits)
        if regularise := self.steps % c.r1_interval == 0:
            r1 = r1_penalty(self.d, real)
            loss = loss + r1 * (self.r1_gamma / 2 * c.r1_interval)
        self._update(self.d_opt, loss)

        self.d.requires_grad_(False)
        loss_g = g_loss(self.d(fake))
        if self.g_opt.param_groups[0]["lr"] > 0:
            self._update(self.g_opt, loss_g)
        self.d.requires_grad_(True)

        self.seen += self.batch
        self.steps += 1
        self._average()
        numbers = {"loss_d": loss_d, "loss_g": loss_g}
        # Shares of images told right: both near 1 means that the discriminator has run ahead.
        numbers["real_ok"] = (real_logits > 0).float().mean()
        numbers["fake_ok"] = (fake_logits < 0).float().mean()
        self._judge((numbers["real_ok"] + numbers["fake_ok"]) / 2)
        if regularise:
            numbers["r1"] = r1
        return {name: value.item() for name, value in numbers.items()}

    def _update(self, optimizer, loss):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.workers > 1:
            average_gradients(optimizer.param_groups[0]["params"], self.workers)
        optimizer.step()

    def _judge(self, told):
        """Take a batch's share of images told right, this worker's part of it, into the average."""
        if self.workers > 1:
            dist.all_reduce(told)  # a tensor of no one else's
            told = told / self.workers
        weight = 0.5 ** (self.batch / self.config.told_images)
        self.told = weight * self.told + (1 - weight) * told.item()

    @torch.no_grad()
    def _average(self):
        """Move the EMA: its half-life grows with the images seen, up to `ema_images`."""
        c = self.config
        half_life = min(c.ema_images, self.seen * c.ema_warmup)
        weight = 1 - 0.5 ** (self.batch / half_life)
        for average, value in zip(self.ema.parameters(), self.g.parameters()):
            average.lerp_(value, weight)
        self.ema.w_avg.copy_(self.g.w_avg)

    def state_dict(self):
        """Everything `load_state_dict` needs to go on as if nothing had happened."""
        modules = {n: getattr(self, n).state_dict() for n in ("g", "d", "ema", "g_opt", "d_opt")}
        numbers = {"seen": self.seen, "steps": self.steps, "resolution": self.resolution}
        numbers |= {"grown": self.grown, "history": self.history, "told": self.told}
        return modules | numbers | {"random": self.random.get_state()}

    def load_state_dict(self, state):
        while self.resolution < state["resolution"]:
            self.grow()
        for name in ("g", "d", "ema", "g_opt", "d_opt"):
            getattr(self, name).load_state_dict(state[name])
        self.seen, self.steps, self.grown = state["seen"], state["steps"], state["grown"]
        self.history, self.told = state["history"], state["told"]
        self.random.set_state(state["random"])


def average_gradients(parameters, workers):
    """Replace every worker's gradients by their mean: one message for all of them."""
    gradients = [p.grad for p in parameters]
    flat = torch.cat([g.reshape(-1) for g in gradients]) / workers
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients])):
        gradient.copy_(mean.view(gradient.shape))


def to_float(images, resolution):
    """uint8 [N, 3, R, R] -> float [N, 3, resolution, resolution] in [-1, 1], box-averaged."""
    images = images.float() / 127.5 - 1
    if images.shape[-1] != resolution:
        images = F.avg_pool2d(images, images.shape[-1] // resolution)
    return images.contiguous(memory_format=torch.channels_last)
