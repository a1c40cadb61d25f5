"""The teaser of six directions: how large its file is, and how smoothly its sliders scrub.

    python benchmarks/teaser.py [--frames 25] [--seconds 3]

Two pages: of the embedded model, and of images of 1024 px that are about as hard to encode as
photographs, where quality and pixels have to give way. In chromium, from a file, each animation
frame moves a slider one frame on, direction after direction; counted are the images that are drawn,
and the longest time between two of them. Prints one line of figures.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import checkpoints
from sefa import Edit, Recipe, format_layers
from sefa.animation import moved
from sefa.rendering import ModelCache, default_device
from sefa.teaser import MAX_STRIPS, Strip, teaser_page
from tests.serving import CHROMIUM_OPTIONS

REACH = 5.0

# Scrubs for some seconds; resolves to (images drawn a second, longest gap in ms, side of an image).
SCRUB = """async seconds => {
    const canvas = document.querySelector('canvas'), sliders = [...document.querySelectorAll('input')];
    const next = () => new Promise(requestAnimationFrame);
    let drawn = 0, longest = 0, value = 0, which = 0, last = await next();
    const start = last;
    while (last - start < seconds * 1000) {
        const before = canvas.dataset.image, slider = sliders[which];
        slider.value = value++;
        slider.dispatchEvent(new Event('input', {bubbles: true}));
        if (value > Number(slider.max)) { value = 0; which = (which + 1) % sliders.length; }
        if (canvas.dataset.image !== before) drawn++;
        const now = await next();
        longest = Math.max(longest, now - last);
        last = now;
    }
    return [drawn / (last - start) * 1000, longest, canvas.width];
}"""


def embedded_strips(frames: int) -> list[Strip]:
    """Six named directions of the embedded model, on one face."""
    path = checkpoints.fetch("avatars").path
    model = ModelCache().get(path, default_device())
    labels = checkpoints.load_labels("avatars", path, model.generator)
    base, strips = Recipe(seed=labels.seeds[0], num_samples=1), []
    positions = np.linspace(-REACH, REACH, frames).tolist()
    for (layers, index), (name, sign) in list(labels.indexed().items())[:MAX_STRIPS]:
        step = Edit.along(format_layers(layers), index, 1.0)
        images = [model.images(moved(base, step, sign * position))[0] for position in positions]
        strips.append(Strip(name, positions, np.stack(images)))
    return strips


def photographic_strips(frames: int, size: int) -> list[Strip]:
    """Noise with the spectrum of photographs: brightness about as 1 / f, colours smoother."""
    random = np.random.RandomState(0)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    f[0, 0] = 1 / size

    def field(power: float) -> np.ndarray:
        plane = np.fft.irfft2(np.fft.rfft2(random.randn(size, size)) / f**power)
        return (plane / plane.std()).astype(np.float32)

    def image() -> np.ndarray:
        colours = np.stack([field(1.7) for _ in range(3)], -1)
        return 128 + 45 * field(1.2)[..., None] + 15 * colours

    positions = np.linspace(-REACH, REACH, frames).tolist()
    middle, strips = image(), []
    for i in range(MAX_STRIPS):
        other = image() - 128
        images = [(middle + 0.05 * p * other).clip(0, 255).astype(np.uint8) for p in positions]
        strips.append(Strip(f"Direction {i}", positions, np.stack(images)))
    return strips


def measure(browser, strips: list[Strip], folder: Path, seconds: float) -> str:
    """One teaser's figures."""
    started = time.perf_counter()
    page = teaser_page("Six directions", strips)
    encoding = time.perf_counter() - started
    path = folder / "teaser.html"
    path.write_text(page)
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    started = time.perf_counter()
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready]")
    ready = time.perf_counter() - started
    fps, longest, side = tab.evaluate(SCRUB, seconds)
    tab.close()
    return (
        f"size_mb={len(page) / 1e6:.2f} image_px={side} fps={fps:.1f} longest_gap_ms={longest:.0f} "
        f"ready_s={ready:.2f} encoding_s={encoding:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=25, help="of each direction")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to scrub")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS
        )
        figures = [
            f"{name}: {measure(browser, strips, Path(folder), options.seconds)}"
            for name, strips in (
                ("embedded", embedded_strips(options.frames)),
                ("1024 px", photographic_strips(options.frames, 1024)),
            )
        ]
        browser.close()
    print("; ".join(figures))


if __name__ == "__main__":
    main()
