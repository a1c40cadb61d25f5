"""Train the demo model from nothing: `python -m demo_model.train`.

Draws a pool of images once, trains a small StyleGAN2 on it at 16 pixels, twice adds layers of twice
the resolution to both networks, and writes the moving average of the generator's weights to
`demo_model/avatars.safetensors`. What it needs to go on after an interruption (the same command
again), its log and its sample grids are kept in `--state`, outside the repository.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image, ImageDraw
from safetensors.torch import save as to_safetensors

from sefa.rendering import to_uint8

from .renderer import render, sample_factors
from .training import Config, Training

WEIGHTS = Path(__file__).parent / "avatars.safetensors"
EDIT_RANGE = 5.0  # sliders' reach: three to four standard deviations of w along the main directions


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


def image_grid(images, columns, scale=1):
    """Float [N, 3, r, r], N a multiple of `columns` -> one picture, pixels enlarged `scale` times."""
    n, _, r, _ = images.shape
    grid = to_uint8(images).cpu().reshape(n // columns, columns, r, r, 3)
    grid = grid.transpose(1, 2).reshape(n // columns * r, columns * r, 3).numpy()
    return Image.fromarray(grid.repeat(scale, 0).repeat(scale, 1))


def save_picture(picture, path, kind="PNG", **settings):
    write_atomically(path, lambda p: picture.save(p, kind, **settings))


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
    save_picture(picture, directory / "loss.png")


def render_part(count, resolution, seed):
    """Training images, uint8 [count, 3, resolution, resolution], by one thread."""
    torch.set_num_threads(1)
    images = render(sample_factors(count, torch.Generator().manual_seed(seed)), resolution)
    return to_uint8(images).permute(0, 3, 1, 2)


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
            grid = image_grid(samples(run.ema, 48), 8, scale=2)
            save_picture(grid, directory / f"grid-{run.seen:07d}.png")
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
    add("--export", action="store_true", help="only write the weights of the run in --state")
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
        return publish(resume(config, options.state), options.weights)
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
