"""Strips in a real browser: `python benchmarks/strips.py [--large]` (needs chromium).

Serves the page and opens it with ten sliders in sight: seconds until every one has its strip, after
the first gallery; then scrubs one, and takes the time from a pointer's move to the frame after the
next paint, and counts requests. `--large` is a StyleGAN2 of 1024 px with random weights and the
official numbers of channels instead: seconds until the first strip, and until a gallery that is
asked for meanwhile.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.helpers import tiny_stylegan2
from tests.hub import FakeHub
from tests.serving import CHROMIUM_OPTIONS, Server

STRIPS = "[...document.querySelectorAll('.strip')].filter(s => s.dataset.strip).length"
# Moves a pointer over a strip, and resolves to the milliseconds until the frame is painted.
SCRUB = """async x => {
    const film = document.querySelector('#semantic-0 .film');
    const image = document.querySelector('#gallery img.after');
    const box = film.getBoundingClientRect();
    const at = {clientX: box.left + x * box.width, clientY: box.top + 5, pointerId: 1, button: 0};
    film.setPointerCapture = () => {};
    if (x === 0) film.dispatchEvent(new PointerEvent('pointerdown', {...at, bubbles: true}));
    const start = performance.now();
    film.dispatchEvent(new PointerEvent('pointermove', {...at, bubbles: true}));
    await image.decode();
    await new Promise(requestAnimationFrame);
    await new Promise(resolve => setTimeout(resolve));
    return performance.now() - start;
}"""
LARGE = {"resolution": 1024, "channels": (512, 512, 512, 512, 512, 256, 128, 64, 32), "w_dim": 512}


def open_page(browser, url: str) -> tuple[Page, float]:
    """The page, and when its first gallery was there."""
    page = browser.new_page(viewport={"width": 1280, "height": 3000})
    page.goto(url, wait_until="commit")
    page.wait_for_selector("#gallery img.after")
    return page, time.monotonic()


def embedded(browser) -> None:
    server = Server(HF_HUB_OFFLINE="1", SEFA_MODELS="", SEFA_DEVICE="cpu")
    try:
        seconds = []
        for seed in (3, 30, 300):  # another seed, other strips
            page, start = open_page(browser, f"{server.url}/?v=1&seed={seed}&k=10&order=effect")
            page.wait_for_function(
                "Number(document.querySelector('#gallery .frames').dataset.sequence) > 0"
            )
            drawn = time.monotonic()
            page.wait_for_function(f"{STRIPS} === 10", timeout=60_000)
            seconds.append((time.monotonic() - start, time.monotonic() - drawn))
            if seed != 300:
                page.close()
        requests: list[str] = []
        page.on("request", lambda r: requests.append(r.url) if "gradio_api" in r.url else None)
        times = [page.evaluate(SCRUB, i % 19 / 19) for i in range(57)]
        first, after = (statistics.median(column) for column in zip(*seconds, strict=True))
        times.sort()
        print(
            f"ten strips {first:.2f} s after the first gallery, {after:.2f} s after the link's own"
        )
        print(
            f"strips_s={first:.2f} frame_ms={statistics.median(times):.1f} "
            f"frame_ms_95={times[int(0.95 * len(times))]:.1f} requests={len(requests)}"
        )
    finally:
        server.stop()


def large(browser) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_stylegan2(Path(folder) / "model.safetensors", **LARGE)
        repos = {"user/large": {"files": {"model.safetensors": path.read_bytes()}}}
        with FakeHub(repos) as hub:
            server = Server(
                HF_ENDPOINT=hub.url,
                HF_HUB_CACHE=f"{folder}/cache",
                HF_HUB_OFFLINE="",
                HF_TOKEN="",
                NO_PROXY="127.0.0.1",
                SEFA_DEVICE="cpu",
                SEFA_CACHE=f"{folder}/measurements",
                SEFA_MODELS="user/large/model.safetensors",
            )
            try:
                measure_large(browser, server)
            finally:
                server.stop()


def measure_large(browser, server: Server) -> None:
    start = time.monotonic()
    page, _ = open_page(browser, f"{server.url}/?v=1&model=user/large/model.safetensors&n=1")
    query = "document.querySelector('#gallery .frames').dataset.query"
    page.wait_for_function(f"{query}.includes('user/large')", timeout=300_000)
    drawn = time.monotonic()
    page.wait_for_function(f"{STRIPS} > 0", timeout=300_000)
    strip = time.monotonic()
    waits = []
    for seed in (5, 6, 7):  # while strips and measurements are under way
        page.wait_for_timeout(3000)
        asked = time.monotonic()
        page.fill("#seed input", str(seed))
        page.wait_for_function(f"{query}.includes('seed={seed}&')", timeout=300_000)
        waits.append(time.monotonic() - asked)
    print(f"gallery {drawn - start:.1f} s after the page was opened (download and load too)")
    print(
        f"first_strip_s={strip - drawn:.1f} gallery_meanwhile_s={statistics.median(waits):.1f} "
        f"of {', '.join(f'{w:.1f}' for w in waits)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--large", action="store_true", help="a model of 1024 px")
    options = parser.parse_args()
    os.environ.setdefault("SEFA_CACHE", tempfile.mkdtemp())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS
        )
        (large if options.large else embedded)(browser)
        browser.close()


if __name__ == "__main__":
    main()
