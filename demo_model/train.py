"""Train the demo model from nothing: `python -m demo_model.train`.

Draws a pool of images once, trains a small StyleGAN2 on it at 16 pixels, twice adds layers of twice
the resolution to both networks, and writes the moving average of the generator's weights to
`demo_model/avatars.safetensors`. What it needs to go on after an interruption (the same command
again), its log and its sample grids are kept in `--state`, outside the repository.
"""

import argparse
import copy
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from .networks import Discriminator, Generator
from .renderer import render, sample_factors

WEIGHTS = Path(__file__).parent / "avatars.safetensors"
EDIT_RANGE = 5.0  # sliders' reach: three to four standard deviations of w along its directions


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
    noise_images: int = 300_000  # images over which it falls to zero
    r1_interval: int = 16  # discriminator steps between two R1 penalties
    mixing: float = 0.5  # share of images made from two codes
    ema_images: int = 10_000  # half-life of the moving average of the generator
    ema_warmup: float = 0.05  # ... but at most this share of the images seen
    rest: int = 16_000  # images for which warm-started weights wait for a new discriminator

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
        self.rest_until = 0  # images before which only the discriminator learns

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

        The discriminator is new, and learns alone for `Config.rest` images: it would tell a
        trained generator nonsense before.
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
        self.rest_until = self.seen + self.config.rest

    def _fade(self):
        """Set how much the discriminator's added blocks count: 0 when new, later 1."""
        for resolution, since in self.grown.items():
            block = getattr(self.d, f"block{resolution}")
            block.gain = min(1.0, (self.seen - since) / self.config.fade)

    def _set_lr(self):
        """Follow `Config.lr_at`."""
        lr = self.config.lr_at(self.seen)
        self.g_opt.param_groups[0]["lr"] = lr
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
        if self.seen >= self.rest_until:
            self._update(self.g_opt, loss_g)
        self.d.requires_grad_(True)

        self.seen += self.batch
        self.steps += 1
        self._average()
        numbers = {"loss_d": loss_d, "loss_g": loss_g}
        # Shares of images told right: both near 1 means that the discriminator has run ahead.
        numbers["real_ok"] = (real_logits > 0).float().mean()
        numbers["fake_ok"] = (fake_logits < 0).float().mean()
        if regularise:
            numbers["r1"] = r1
        return {name: value.item() for name, value in numbers.items()}

    def _update(self, optimizer, loss):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.workers > 1:
            average_gradients(optimizer.param_groups[0]["params"], self.workers)
        optimizer.step()

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
        numbers |= {"grown": self.grown, "history": self.history, "rest_until": self.rest_until}
        return modules | numbers | {"random": self.random.get_state()}

    def load_state_dict(self, state):
        while self.resolution < state["resolution"]:
            self.grow()
        for name in ("g", "d", "ema", "g_opt", "d_opt"):
            getattr(self, name).load_state_dict(state[name])
        self.seen, self.steps, self.grown = state["seen"], state["steps"], state["grown"]
        self.history, self.rest_until = state["history"], state.get("rest_until", 0)
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


def to_uint8(images):
    """Float [N, 3, r, r] in [-1, 1] -> uint8, clipped."""
    return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)


# --- files ----------------------------------------------------------------------------------------


def write_atomically(path, write):
    """`write(temporary path)`, then rename: readers see the old file or the new one, whole."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    write(temporary)
    os.replace(temporary, path)


def export(ema, path, training=None):
    """Write the averaged generator as the project stores StyleGAN2 weights (safetensors, float32).

    training: facts about the run for the file's metadata. Noise inputs are written as zeros.
    """
    weights = {name: value.detach().cpu() for name, value in ema.state_dict().items()}
    for i in range(ema.num_ws - 1):
        r = 4 * 2 ** ((i + 1) // 2)
        weights[f"synthesis.conv{i}.noise_strength"] = torch.zeros([])
        weights[f"synthesis.conv{i}.noise_const"] = torch.zeros(r, r)
    layout = {
        "version": 1,
        "family": "stylegan2",
        "architecture": "skip",
        "lr_multiplier": ema.mapping.dense0.lr_multiplier,
        "conv_clamp": None,
        "edit_range": EDIT_RANGE,
    }
    metadata = {"sefa": json.dumps(layout), "training": json.dumps(training or {})}
    weights = {name: value.contiguous().clone() for name, value in weights.items()}
    write_atomically(path, lambda p: p.write_bytes(to_safetensors(weights, metadata)))


def image_grid(images, columns, path, scale=1):
    """Float [N, 3, r, r], N a multiple of `columns` -> one picture, pixels enlarged `scale` times.

    Its format is that of the path's ending: .png, or .webp, which is lossy and small.
    """
    n, _, r, _ = images.shape
    grid = to_uint8(images).cpu().reshape(n // columns, columns, 3, r, r)
    grid = grid.permute(0, 3, 1, 4, 2).reshape(n // columns * r, columns * r, 3).numpy()
    picture = Image.fromarray(grid.repeat(scale, 0).repeat(scale, 1))
    kind = Path(path).suffix[1:].upper()
    write_atomically(path, lambda p: picture.save(p, kind, quality=92))


def loss_curve(directory):
    """Draw the log as `loss.png`: both losses, and the shares of reals and fakes told right."""
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    width, height, top = 960, 320, max(3.0, *(line["loss_g"] for line in lines))
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    last = lines[-1]["seen"]
    curves = {"loss_d": "#c03028", "loss_g": "#2860b0", "real_ok": "#e0a090", "fake_ok": "#90b0e0"}
    for i, (name, color) in enumerate(curves.items()):
        scale = top if name.startswith("loss") else 1.0
        points = [
            (line["seen"] / last * (width - 1), (1 - line[name] / scale) * (height - 1))
            for line in lines
        ]
        draw.line(points, color, 2)
        draw.text((width - 130, height - 70 + 15 * i), f"{name} 0 to {scale:.1f}", color)
    draw.text((8, height - 16), f"0 to {last:,} images", "black")
    write_atomically(directory / "loss.png", lambda p: picture.save(p, "PNG"))


def render_part(count, resolution, seed):
    """Training images, uint8 [count, 3, resolution, resolution], by one thread."""
    torch.set_num_threads(1)
    images = render(sample_factors(count, torch.Generator().manual_seed(seed)), resolution)
    return (images * 127.5 + 127.5).round().byte()


def render_pool(count, resolution, seed, workers):
    """As render_part, by several processes; the images do not depend on how many."""
    parts = [(min(500, count - i), resolution, seed * count + i) for i in range(0, count, 500)]
    with torch.multiprocessing.get_context("spawn").Pool(workers) as processes:
        return torch.cat(processes.starmap(render_part, parts, chunksize=1))


def load_pool(directory, config, workers=1):
    """The training images, drawn once and kept in `directory`."""
    path = directory / f"pool-{config.resolution}-{config.pool}-{config.seed}.pt"
    if not path.exists():
        print(f"drawing {config.pool} training images", flush=True)
        pool = render_pool(config.pool, config.resolution, config.seed, workers)
        write_atomically(path, lambda p: torch.save(pool, p))
    return torch.load(path, weights_only=True, mmap=True)


@torch.no_grad()
def samples(ema, n, seed=0, truncation_psi=1.0):
    """Images of seeds seed ... seed + n - 1, drawn as the rest of the project draws z."""
    size, device = ema.mapping.dense0.weight.shape[1], ema.w_avg.device
    z = np.stack([np.random.RandomState(seed + i).randn(size) for i in range(n)])
    w = ema.map(torch.from_numpy(z).float().to(device))
    w = ema.w_avg.lerp(w, truncation_psi)
    return ema.synthesize(w[:, None].expand(-1, ema.num_ws, -1))


# --- command line ---------------------------------------------------------------------------------


def save(run, directory):
    write_atomically(directory / "state.pt", lambda p: torch.save(run.state_dict(), p))


def publish(run, path):
    """Export the average with the facts of its training, changes on the way included."""
    facts = {"images_seen": run.seen, "resolution": run.resolution}
    facts |= {"grown": run.grown, "history": run.history}
    export(run.ema, path, facts)


def illustrate(ema, directory):
    """The model card's pictures: 64 samples, not chosen, and 24 training images twice as large."""
    image_grid(samples(ema, 64), 16, directory / "samples.webp")
    training = render(sample_factors(24, torch.Generator().manual_seed(1)), 128)
    image_grid(training, 8, directory / "renderer.webp")


def train(run, pool, directory, weights, save_every=300, grid_every=120, leader=True):
    """Train until `run.config.images`; log, save and export along the way (intervals in seconds).

    Only the leader of the workers writes files; its numbers in the log are of its own part.
    """
    c = run.config
    if run.history[-1]["settings"] != asdict(c):
        run.history.append({"images_seen": run.seen, "settings": asdict(c)})
    start, first = time.time(), run.seen
    last_save = last_grid = start
    sums, counts = {}, {}
    while run.seen < c.images:
        while run.resolution < c.resolution_at(run.seen):
            run.grow()
        numbers = run.step(pool)
        if not leader:
            continue
        for name, value in numbers.items():
            sums[name], counts[name] = sums.get(name, 0) + value, counts.get(name, 0) + 1
        if run.steps % 100 == 0:
            line = {name: round(sums[name] / counts[name], 4) for name in sums}
            line |= {"seen": run.seen, "resolution": run.resolution}
            line["per_second"] = round((run.seen - first) / (time.time() - start), 1)
            with open(directory / "log.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
            sums, counts = {}, {}
        if time.time() - last_grid > grid_every:
            last_grid = time.time()
            image_grid(samples(run.ema, 48), 8, directory / f"grid-{run.seen:07d}.png", 2)
            loss_curve(directory)
        if time.time() - last_save > save_every:
            last_save = time.time()
            save(run, directory)
            publish(run, weights)
    if leader:
        save(run, directory)
        publish(run, weights)


def resume(config, directory, warm_start=None, **where):
    """The run whose state is in `directory`, or a new one, from the weights `warm_start` if given."""
    run = Training(config, "cuda" if torch.cuda.is_available() else "cpu", **where)
    state = directory / "state.pt"
    if state.exists():
        run.load_state_dict(torch.load(state, map_location=run.device, weights_only=True))
    elif warm_start:
        run.warm_start(warm_start)
    return run


def work(rank, workers, config, directory, weights, warm_start, meeting):
    """One worker. One thread each: two workers beat two threads, more so on a busy machine."""
    if workers > 1:
        torch.set_num_threads(1)
        store = dist.FileStore(meeting, workers)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=workers)
    run = resume(config, directory, warm_start, rank=rank, workers=workers)
    print(f"worker {rank}: at {run.seen} images, {run.resolution} pixels", flush=True)
    train(run, load_pool(directory, config), directory, weights, leader=rank == 0)


def main(arguments=None):
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser = argparse.ArgumentParser(prog="python -m demo_model.train", description=__doc__)
    add, default = parser.add_argument, Config()
    home = cache / "sefa-space" / "avatars"
    add("--state", type=Path, default=home, help="folder of the run: state, images, log, samples")
    add("--weights", type=Path, default=WEIGHTS, help="file to write")
    add(
        "--export",
        action="store_true",
        help="only write weights and pictures of the run in --state",
    )
    add("--warm-start", type=Path, help="weights to go on from where --state is empty")
    workers = default_workers()
    add("--workers", type=int, default=workers, help="processes sharing a batch (CPU)")
    grow_help = "numbers of images after which the resolution doubles"
    add("--grow-at", type=int, nargs="*", default=default.grow_at, help=grow_help)
    for name in ("images", "pool", "seed", "lr"):
        value = getattr(default, name)
        add("--" + name.replace("_", "-"), type=type(value), default=value)
    options = parser.parse_args(arguments)

    names = set(asdict(default)) & set(vars(options))
    config = Config(**{name: getattr(options, name) for name in names})
    config = replace(config, grow_at=tuple(config.grow_at))
    options.state.mkdir(parents=True, exist_ok=True)
    if options.export:
        run = resume(config, options.state)
        publish(run, options.weights)
        return illustrate(run.ema, options.weights.parent)
    load_pool(options.state, config, options.workers)  # once, before there are workers
    with tempfile.TemporaryDirectory() as meeting:  # where the workers find each other
        where = (options.state, options.weights, options.warm_start, f"{meeting}/store")
        if options.workers == 1:
            work(0, 1, config, *where)
        else:
            arguments = (options.workers, config, *where)
            torch.multiprocessing.spawn(work, arguments, nprocs=options.workers)


def default_workers():
    """Two where there are two processors; a GPU needs one."""
    return 1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1)


if __name__ == "__main__":
    main()
