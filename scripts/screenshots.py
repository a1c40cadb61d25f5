"""Takes the pictures of the README and of docs/: `python scripts/screenshots.py [NAME ...]`.

Serves the page as a visitor gets it, and as somebody has it who duplicated the Space (from a
stand-in of the Hub, where the model that ships is their own), and looks at both in an installed
chromium. Then draws docs/edit.webp, the animation. Without a NAME all of them; nothing is
downloaded.
"""

import argparse
import html
import io
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Browser, Frame, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sefa import draw
from tests.hub import FakeHub
from tests.serving import CHROMIUM_OPTIONS, Server

DOCS = ROOT / "docs"
WIDE = (1280, 800)
MOST_BYTES = 280_000
FRAMES = "document.querySelector('#gallery .frames')"
REFUSED = "document.querySelector('#notice')?.innerText.includes('Showing avatars instead')"
# Those in sight all have their frames.
STRIPS_ARE_THERE = """() => [...document.querySelectorAll('.strip')].every(strip => {
    const box = strip.getBoundingClientRect();
    const inSight = box.height > 0 && box.bottom > 0 && box.top < window.innerHeight;
    return !inSight || strip.dataset.strip;
}) && document.querySelector('.strip[data-strip]') !== null"""

# python -m sefa.draw RECIPE --along ... docs/edit.webp: hair grows, heads tilt, hair changes colour.
ANIMATION = [
    "v=1&model=avatars&seed=49&n=4",
    *("--along", "0-1:6:4.5", "--along", "0-1:4:5", "--along", "all:2:5"),
    *("--frames", "26", "--fps", "13", "--size", "144"),
]

PLAIN = {"SEFA_MODELS": ""}
YOURS = "you/your-model/model.safetensors"
OWN = {  # docs/duplicate.md shows these
    "SEFA_MODELS": YOURS,
    "SEFA_TITLE": "Look inside my GAN",
    "SEFA_DESCRIPTION": "Trained on drawn faces: see [the paper](https://arxiv.org/abs/2007.06600).",
    "SEFA_RECIPE": f"v=1&model={YOURS}&seed=17&layers=0-1&order=effect",
    "SEFA_NAMES": "demo_model/labels.json",
}
WRONG = {  # something of each kind that the page says
    "SEFA_MODELS": f"{YOURS}, you/optimizer/state.pt, you/hidden/model.pkl, model.safetensors",
    "SEFA_TITLE": "Look inside my GAN",
}
PROJECT = """<!doctype html><meta charset="utf-8"><title>A project page</title><style>
body {{ margin: 0 auto; padding: 28px 36px; max-width: 1000px; font: 17px/1.5 Georgia, serif; }}
body {{ background: #111827; color: #e5e7eb; }} h1 {{ font-size: 30px; margin: 0 0 4px; }}
p {{ margin: 0 0 16px; }} iframe {{ border-radius: 10px; }}
</style><h1>Our paper about a generator</h1><p>Its directions, to drag:</p>{iframe}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}, edit")
    wanted = parser.parse_args().names or [*PICTURES, "edit"]
    if unknown := set(wanted) - {*PICTURES, "edit"}:
        parser.error(f"there is no picture {', '.join(sorted(unknown))}")
    DOCS.mkdir(exist_ok=True)
    for environment in (PLAIN, OWN, WRONG):
        if names := [n for n in wanted if n in PICTURES and PICTURES[n][0] is environment]:
            take(names, environment)
    if "edit" in wanted:
        draw.main([*ANIMATION, str(DOCS / "edit.webp")])


def take(names: list[str], environment: dict[str, str]) -> None:
    """The pictures of one server."""
    weights = (ROOT / "demo_model/avatars.safetensors").read_bytes()
    repos = {
        "you/your-model": {"files": {"model.safetensors": weights}},
        "you/optimizer": {"files": {"state.pt": optimizer()}},
        "you/hidden": {"files": {"model.pkl": weights}, "private": True},
    }
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        hub = stack.enter_context(FakeHub(repos))
        server = Server(
            **environment,
            HF_ENDPOINT=hub.url,
            HF_HUB_CACHE=f"{folder}/cache",
            HF_TOKEN_PATH=f"{folder}/no-token",
            HF_TOKEN="",
            HF_HUB_OFFLINE="",
            NO_PROXY="127.0.0.1",
            SEFA_DEVICE="cpu",
            SEFA_CACHE=f"{folder}/measurements",
            SEFA_MEASURE_SECONDS="",
        )
        stack.callback(server.stop)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS
        )
        for name in names:
            save(name, PICTURES[name][1](browser, server.url))
        browser.close()


def optimizer() -> bytes:
    """A checkpoint of something, but of no generator."""
    file = io.BytesIO()
    torch.save({"optimizer": {"exp_avg": torch.zeros(8, 8), "step": torch.zeros(1)}}, file)
    return file.getvalue()


def save(name: str, content: bytes) -> None:
    """A screenshot in 256 colours, which takes a third of the room; dithered where that is small."""
    image, path = Image.open(io.BytesIO(content)).convert("RGB"), DOCS / f"{name}.png"
    for dither in (Image.Dither.FLOYDSTEINBERG, Image.Dither.NONE):
        in_256_colours(image, dither).save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            break
    print(f"docs/{path.name}: {image.width} x {image.height}, {path.stat().st_size / 1e3:.0f} kB")


def in_256_colours(image: Image.Image, dither: Image.Dither, exact: int = 48) -> Image.Image:
    """The colours of the page itself as they are, and the best ones for the images on it."""
    pixels = np.asarray(image).astype(np.int32) @ (1 << 16, 1 << 8, 1)  # [H, W]
    found, counts = np.unique(pixels, return_counts=True)
    most = found[np.argsort(-counts)[:exact]]
    of_page = np.stack([most >> 16, most >> 8 & 255, most & 255], axis=1).flatten().tolist()
    palette = Image.new("P", (1, 1))
    palette.putpalette(of_page + image.quantize(256 - exact).getpalette())
    indices = np.array(image.quantize(palette=palette, dither=dither))
    for index, colour in enumerate(most):  # Pillow takes near ones for the same
        indices[pixels == colour] = index
    result = Image.fromarray(indices, "L")
    result.putpalette(palette.getpalette())
    return result


# --- the pictures -----------------------------------------------------------------------------------


def desktop(browser: Browser, url: str, size: tuple[int, int] = WIDE) -> bytes:
    """An edit, before and after."""
    page = visit(browser, url, size)
    drag(page, "Longer hair", 0.85)
    page.locator("#gallery button[data-view=both]").click()
    return shoot(page)


def thumbnail(browser: Browser, url: str) -> bytes:
    return desktop(browser, url, (1200, 630))


def phone(browser: Browser, url: str) -> bytes:
    page = visit(browser, url, (360, 740))
    drag(page, "Hair colour", 0.9)
    return shoot(page)


def explore(browser: Browser, url: str) -> bytes:
    """Which layers, which order, and what is known of each direction."""
    page = visit(browser, f"{url}/?v=1&seed=72&layers=0-1&order=effect", (1280, 1040))
    page.get_by_role("tab", name="Explore").click()
    return shoot(page)


def brush(browser: Browser, url: str) -> bytes:
    """A mouth is brushed, and what moves it has sliders."""
    page = visit(browser, f"{url}/?v=1&seed=17&n=1&k=1", (1280, 1040))
    page.get_by_role("tab", name="Explore").click()
    page.locator(".brushbar .brush").click()
    box = page.locator("#gallery canvas").bounding_box()
    points = [(0.40, 0.69), (0.60, 0.69), (0.40, 0.73), (0.60, 0.73)]
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=10)
    page.mouse.up()
    page.locator(".brushbar .find").click()
    page.wait_for_function("document.querySelector('#semantic-0')?.innerText.includes('Brushed')")
    page.wait_for_timeout(1000)
    return shoot(page)


def compare(browser: Browser, url: str) -> bytes:
    """The split view, and three methods on one image."""
    page = visit(browser, f"{url}/?v=1&seed=49&n=4&layers=0-1&edits=0-1:6:3", (1100, 900))
    page.get_by_role("tab", name="Compare").click()
    page.locator("#panel-compare .split").click()
    page.locator("#panel-compare .go").click()
    page.wait_for_selector("#panel-compare .film img")
    return shoot(page, strips=False)


def export(browser: Browser, url: str) -> bytes:
    """Everything that can be taken away."""
    page = visit(
        browser, f"{url}/?v=1&seed=49&n=4&layers=named&order=effect&k=8&edits=0-1:6:3", (1280, 1180)
    )
    page.get_by_role("tab", name="Export").click()
    page.evaluate(
        """() => document.querySelectorAll('.share :is(input, textarea)').forEach(field => {
            field.value = field.value.replaceAll(location.origin, 'https://owner-space.hf.space');
        })"""
    )
    return shoot(page, strips=False)


def embed(browser: Browser, url: str) -> bytes:
    """Gallery and sliders inside somebody else's page, by the HTML that the Export tab gives."""
    page = visit(browser, f"{url}/?v=1&seed=72&layers=named&order=effect&k=8", WIDE)
    page.get_by_role("tab", name="Export").click()
    page.locator(".share select").select_option("dark")
    iframe = page.locator("#share-embed").input_value()
    assert "__theme=dark" in iframe and re.match(r'<iframe src="http', html.unescape(iframe))
    page.set_viewport_size({"width": 1072, "height": 730})
    project = PROJECT.format(iframe=iframe.replace('height="720"', 'height="560"'))
    with somewhere_else(project) as address:
        page.goto(address)
        frame = page.query_selector("iframe").content_frame()
        ready(frame)
        frame.wait_for_function(STRIPS_ARE_THERE)
        return shoot(page, strips=False)


def own(browser: Browser, url: str) -> bytes:
    """The page of somebody who set the variables."""
    page = visit(browser, url, (1280, 980))
    page.wait_for_function(f"{FRAMES}.dataset.query.includes('you/your-model')")
    return shoot(page)


def refused(browser: Browser, url: str) -> bytes:
    """A model that cannot be had: the page goes on, and says why."""
    page = visit(browser, f"{url}/?v=1&model=you/hidden/model.pkl&seed=49", (1280, 480))
    page.wait_for_function(REFUSED)
    return shoot(page)


def about(browser: Browser, url: str) -> bytes:
    """What was found, loaded and refused, after somebody tried every model."""
    for file in ("your-model/model.safetensors", "optimizer/state.pt", "hidden/model.pkl"):
        page = visit(browser, f"{url}/?v=1&model=you/{file}&seed=49", (1280, 1000))
        page.wait_for_function(f"{REFUSED} || {FRAMES}.dataset.query.includes('model=you')")
        page.wait_for_timeout(1000)
    page.get_by_role("tab", name="About").click()
    page.wait_for_timeout(1500)
    page.mouse.move(2, 2)
    table = page.locator("#about table", has_text="What was looked at")
    return table.screenshot()


PICTURES: dict[str, tuple[dict[str, str], Callable[[Browser, str], bytes]]] = {
    "desktop": (PLAIN, desktop),
    "phone": (PLAIN, phone),
    "thumbnail": (PLAIN, thumbnail),
    "explore": (PLAIN, explore),
    "brush": (PLAIN, brush),
    "compare": (PLAIN, compare),
    "export": (PLAIN, export),
    "embed": (PLAIN, embed),
    "own": (OWN, own),
    "refused": (WRONG, refused),
    "about": (WRONG, about),
}


@contextmanager
def somewhere_else(content: str) -> Iterator[str]:
    """The address of a page of another origin, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *args) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


# --- a visitor --------------------------------------------------------------------------------------


def visit(browser: Browser, url: str, size: tuple[int, int]) -> Page:
    """The page in a window of this size, when its own frame is there."""
    width, height = size
    page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=1)
    page.set_default_timeout(60_000)
    page.goto(url)
    ready(page)
    return page


def ready(page: Page | Frame) -> None:
    """Until the page shows the frame that it has asked for, not only the one it came with."""
    page.wait_for_selector("#gallery img.after")
    page.wait_for_function(f"Number({FRAMES}.dataset.sequence) > 0")


def drag(page: Page, name: str, to: float) -> None:
    """Moves the slider of this name with the mouse, from its middle to a fraction of its length."""
    row = page.locator("[id^=semantic-]:not([id*=range])", has_text=name).first
    slider = row.locator("input[type=range]")
    slider.evaluate("slider => slider.scrollIntoView({block: 'nearest'})")
    page.wait_for_function(STRIPS_ARE_THERE)
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * to, y, steps=10)
    page.mouse.up()
    page.wait_for_function(f"{FRAMES}.dataset.query.includes('edits=')")
    page.wait_for_timeout(1000)  # the strips of the others are of the edit


def shoot(page: Page, strips: bool = True) -> bytes:
    """The window, when all in it has come to rest and the mouse is out of the way."""
    page.mouse.move(2, 2)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(800)
    if strips:
        page.wait_for_function(STRIPS_ARE_THERE)
    page.wait_for_timeout(300)
    content = page.screenshot()
    page.close()
    return content


if __name__ == "__main__":
    main()
