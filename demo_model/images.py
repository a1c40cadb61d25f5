"""Sets of images that are compared: generated from seeds, rendered from factors.

Images are uint8 [N, 3, r, r] on the CPU, as PNG files would hold them.
"""

import hashlib
from pathlib import Path

import torch
from tqdm import tqdm

from sefa.rendering import render, to_uint8

from . import renderer
from .train import write_atomically

BATCH = 32  # images at a time: larger batches fall out of a CPU's cache


def codes(generator, seeds):
    """w [N, num_ws, w_dim] of seeds, without truncation."""
    with torch.inference_mode():
        return generator.map(generator.sample_z(seeds).to(generator.device))


def synthesize(generator, w):
    """w -> images."""
    return torch.from_numpy(render(generator, w, BATCH)).permute(0, 3, 1, 2)


def generate_images(generator, count):
    """Images of the seeds 0 ... count - 1, without truncation."""
    w, parts = codes(generator, range(count)), []
    with bar("generating", count) as progress:
        for some in w.split(BATCH):
            parts.append(synthesize(generator, some))
            progress.update(len(some))
    return torch.cat(parts)


def render_images(factors, resolution, device="cpu"):
    """Images of factors as `sample_factors` gives them."""
    count = len(next(iter(factors.values())))
    images = torch.empty(count, 3, resolution, resolution, dtype=torch.uint8)
    with bar("rendering", count) as progress:
        for start in range(0, count, 256):
            rows = slice(start, min(start + 256, count))
            some = {name: value[rows].to(device) for name, value in factors.items()}
            images[rows] = to_uint8(renderer.render(some, resolution)).permute(0, 3, 1, 2).cpu()
            progress.update(rows.stop - rows.start)
    return images


def rendered_images(directory, resolution, count, seed, device="cpu"):
    """`count` rendered images and their factors; the images are kept in `directory`."""
    factors = renderer.sample_factors(count, torch.Generator().manual_seed(seed))
    key = fingerprint([renderer.__file__], resolution, count, seed)
    path = directory / f"rendered-{key}.pt"
    if not path.exists():
        images = render_images(factors, resolution, device)
        write_atomically(path, lambda p: torch.save(images, p))
    return torch.load(path, weights_only=True), factors


def fingerprint(sources, *settings):
    """A short name for what these files and settings decide: another one when they change."""
    digest = hashlib.sha256(repr(settings).encode())
    for path in sources:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:12]


def bar(name, total):
    """A progress bar on stderr, where that is a terminal."""
    return tqdm(desc=name, total=total, leave=False, disable=None)
