"""Nothing that a request needs lives in one process alone: any replica draws any recipe."""

import os
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client
from playwright.sync_api import Error

from sefa.editing import Edit, Mix, Named, Recipe
from tests.conftest import OWNED
from tests.helpers import tiny_stylegan2
from tests.hub import FakeHub
from tests.pages import decode
from tests.serving import Server, free_port
from tests.visitor import FRAMES, JPEG, PLAIN, SET

CLASSES = "user/classes/model.safetensors"
# Of every kind of thing that a visitor can set: what a brush found, and a name, too.
FULL = Recipe(
    seed=7,
    num_samples=2,
    layers="0-1",
    num_semantics=3,
    edits=(
        Edit.along("0-1", 2, 2.0),
        Edit.along("all", 5, -1.5),
        Edit("all", ((3, 0.6), (7, 0.8)), 1.0),
    ),
    mix=Mix(9, "4-5"),
    names=(Named("0-1", ((2, 1.0),), "Longer hair", 1),),
)
RECIPES = [
    FULL,
    replace(FULL, model=CLASSES, edits=FULL.edits[:2], class_index=2, mix=None, noise_seed=11),
]
SETTLED = f"() => Number(document.querySelector('{FRAMES}')?.dataset.sequence) > 0"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Starts servers on such ports, at once: with the same variables, but no disk in common."""
    folder = tmp_path_factory.mktemp("replicas")
    sizes = OWNED["user/classes"]
    content = tiny_stylegan2(folder / "model.safetensors", **sizes).read_bytes()
    servers = []
    with FakeHub({"user/classes": {"files": {"model.safetensors": content}}}) as hub:

        def start(port: int) -> Server:
            own = Path(tempfile.mkdtemp(dir=folder))
            return Server(
                GRADIO_SERVER_PORT=str(port),
                GRADIO_TEMP_DIR=str(own / "served"),
                **hub.environment(own),
                SEFA_DEVICE="cpu",
                SEFA_CACHE=str(own / "measurements"),
                SEFA_MEASURE_SECONDS="0",
                SEFA_MODELS=CLASSES,
            )

        def start_all(*ports: int) -> list[Server]:
            with ThreadPoolExecutor() as threads:
                started = list(threads.map(start, ports))
            servers.extend(started)
            return started

        yield start_all
        for server in servers:
            server.stop()


def kill(server: Server) -> None:
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()


def images_of(url: str, link: str) -> np.ndarray:
    """What the public API draws for a link, exactly."""
    uris = Client(url, verbose=False).predict(recipe=link, api_name="/edit")
    return np.stack([decode(uri) for uri in uris]).astype(float)


def test_an_edit_survives_the_process_that_it_was_made_on(two, visit):
    first, second = two(free_port(), free_port())
    visitor = visit(first.url, PLAIN)
    visitor.settled()
    visitor.set(0, 2.0)
    visitor.set(2, -1.5)
    visitor.page.wait_for_function(  # both edits
        f"document.querySelector('{FRAMES}').dataset.query.includes('~')"
    )
    link, shown = visitor.link, visitor.pixels()
    assert first.url in link and len(Recipe.from_query(link.partition("?")[2])[0].edits) == 2
    links = [link, *(f"{first.url}/?{recipe.to_query()}" for recipe in RECIPES)]
    exact = [images_of(first.url, link) for link in links]
    visitor.page.close()
    kill(first)

    for link, images in zip(links, exact, strict=True):
        there = link.replace(first.url, second.url)
        again = images_of(second.url, there)
        assert np.abs(again - images).max() <= 1  # threads may move the last bits
        reopened = visit(second.url, there.removeprefix(f"{second.url}/")).settled()
        assert np.abs(reopened.pixels() - images).mean() < JPEG
        if images is exact[0]:
            assert np.abs(reopened.pixels() - shown).max() <= 8
        reopened.page.close()


def came_back(page, query: str) -> str:
    """How a page whose server was replaced came back: "anew", or "on", with other than `query`; "" as
    long as it has not. Moves a slider meanwhile, as a visitor would.
    """
    try:
        return page.evaluate(
            f"""query => {{
                if (!window.before) return 'anew';
                if (document.querySelector('{FRAMES}').dataset.query !== query) return 'on';
                const slider = document.querySelector('#semantic-0 input[type=range]');
                ({SET})(slider, Number(slider.value) === 1 ? 1.5 : 1);
                return '';
            }}""",
            query,
        )
    except Error:  # it is being loaded
        return ""


def test_a_page_that_is_open_goes_on_when_its_server_was_replaced(two, contexts):
    """What it holds is all that is needed: it goes on, or Gradio's script loads it anew, as it was.

    Which of the two depends on what was under way when the server went.
    """
    port, recipe = free_port(), RECIPES[1]
    (first,) = two(port)
    # Not a `visit`: that a server is away is an error in the browser's console.
    page = contexts[0].new_page()
    page.goto(f"{first.url}/?{recipe.to_query()}")
    page.wait_for_function(SETTLED)
    query = page.locator(FRAMES).get_attribute("data-query")
    assert set(Recipe.from_query(query)[0].edits) == set(recipe.edits)
    page.evaluate("window.before = true")
    kill(first)
    two(port)
    end = time.monotonic() + 60
    while not (how := came_back(page, query)) and time.monotonic() < end:
        time.sleep(0.5)
    if how == "on":  # what was set stays, and the slider has moved
        found = Recipe.from_query(page.locator(FRAMES).get_attribute("data-query"))[0]
        (moved,) = set(found.edits) - set(recipe.edits)
        assert len(found.edits) == len(recipe.edits) + 1 and moved.direction == ((0, 1.0),)
        assert replace(found, edits=()) == replace(Recipe.from_query(query)[0], edits=())
    else:
        page.wait_for_function(f"() => !window.before && ({SETTLED})()")
        assert page.locator(FRAMES).get_attribute("data-query") == query
    page.close()
