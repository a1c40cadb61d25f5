"""The page as Spaces serve it, rendered by node first, and as `python app.py` serves it elsewhere."""

import html
import os
import re
import shutil
import subprocess
from dataclasses import replace
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright._impl._driver import compute_driver_executable

import app
from sefa.editing import Recipe
from tests.serving import Server
from tests.visitor import FRAMES, moved
from ui import engine

NODE = 20  # the oldest that this was seen to work with


def node() -> str:
    """The node that Gradio would find, where it is recent; else the one that playwright brings.

    So wherever the browser's tests run, these do.
    """
    path = os.environ.get("GRADIO_NODE_PATH") or shutil.which("node")
    if path is not None:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        version = re.match(r"v(\d+)\.", told.stdout)
        if version and int(version[1]) >= NODE:
            return path
    return compute_driver_executable()[0]


@pytest.fixture(scope="module", params=["rendered", "plain"])
def page(request):
    """The address of the page: rendered by node, and not."""
    rendered = request.param == "rendered"
    server = Server(
        GRADIO_SSR_MODE=str(rendered).lower(),
        GRADIO_NODE_PATH=node(),
        HF_HUB_OFFLINE="1",
        SEFA_MODELS="",
        SEFA_DEVICE="cpu",
        SEFA_MEASURE_SECONDS="0",
    )
    assert ("with SSR" in "".join(server.output)) == rendered
    yield server.url
    server.stop()


@pytest.mark.parametrize("phone", [False, True], ids=["1280", "360"])
def test_the_first_gallery_and_a_drag(visit, page, start, phone):
    visitor = visit(page, phone=phone)
    assert visitor.query == start.to_query() and len(visitor.sources()) == 4
    visitor.settled()
    assert visitor.overflow() <= 0
    before = visitor.sources()
    value = visitor.drag(0, 0.9)
    assert value
    visitor.wait(replace(start, edits=(moved(start, 0, value),)))
    after = visitor.sources()
    assert all(a != b for a, b in zip(after, before, strict=True))
    # What stays in sight does: the gallery is still where it can be seen.
    box = visitor.page.locator(FRAMES).bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= (740 if phone else 800)


@pytest.mark.parametrize("phone", [False, True], ids=["1280", "360"])
def test_a_link_opens_exactly(visit, page, phone):
    first = Recipe(seed=7, num_samples=2, layers="0-1", num_semantics=3)
    recipe = replace(first, edits=(moved(first, 1, 2.5),))
    visitor = visit(page, f"?{recipe.to_query()}", phone=phone)
    visitor.wait(recipe)
    visitor.settled()
    assert len(visitor.sources()) == 2
    assert float(visitor.slider(1).input_value()) == pytest.approx(2.5)
    expected = engine.draw(engine.open_model("avatars"), recipe).astype(float)
    assert abs(visitor.pixels() - expected).mean() <= 3  # through JPEG


def test_strips_come(visit, page):
    visitor = visit(page).settled()
    visitor.page.wait_for_selector("#semantic-0 .strip .film img")


def test_what_is_sent_first_has_the_title_and_asks_nobody_else(page):
    """Gradio 6.31 leaves components to the browser: a crawler finds the title and the styles."""
    text = urlopen(page).read().decode()
    assert app.build_page().title in html.unescape(text)
    for address in re.findall(r"""(?:\ssrc|<link[^>]*\shref)=["'](https?://[^"']+)""", text):
        assert urlsplit(address).hostname in ("127.0.0.1", "localhost"), address
