"""A crowd, in a real browser: the page says who comes first, or that too many wait, and goes on."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from gradio_client import Client

from sefa.editing import Recipe
from tests.serving import Server
from tests.visitor import PLAIN

# What others ask for takes its time here, and few may wait.
SLOW = """
import time
import app
from ui import engine, renderer

together, renderer.MOST_JOBS = engine.draw_together, 5

def slow(model, asked):
    time.sleep(1.5 * any(recipe.seed >= 5000 for _, _, recipe, _ in asked))
    return together(model, asked)

engine.draw_together = slow
app.main()
"""


@pytest.fixture(scope="module")
def slow_server():
    server = Server(SLOW, HF_HUB_OFFLINE="1", SEFA_MODELS="", SEFA_MEASURE_SECONDS="0")
    yield server
    server.stop()


def others(server, count: int, pool: ThreadPoolExecutor) -> list:
    """So many other visitors, each of whom waits for sixteen images."""
    clients = list(pool.map(lambda _: Client(server.url, verbose=False), range(count)))
    return [
        client.submit(seed=5000 + 100 * i, num_samples=16, api_name="/edit", model="avatars")
        for i, client in enumerate(clients)
    ]


def texts(page) -> None:
    """From now on notes what is said below the images."""
    page.evaluate("""() => {
        window.told = [];
        const note = () => document.querySelectorAll('#gallery :is(.waiting, .problem)').forEach(
            line => { if (line.textContent) window.told.push(line.textContent); });
        new MutationObserver(note).observe(document.querySelector('#gallery'),
            {subtree: true, childList: true, characterData: true});
    }""")


@pytest.mark.parametrize("count", [4, 9])
def test_a_visitor_in_a_crowd_reads_why_they_wait_and_gets_their_images(visit, slow_server, count):
    visitor = visit(slow_server.url, PLAIN).settled()
    page = visitor.page
    texts(page)
    with ThreadPoolExecutor(count) as pool:
        jobs = others(slow_server, count, pool)
        page.wait_for_timeout(500)
        page.fill("#seed input", "321")
        page.press("#seed input", "Tab")
        page.wait_for_function("window.told.length > 0")
        visitor.wait(replace(Recipe(), seed=321))
        told = page.evaluate("window.told")
        if count == 4:  # there is room in the line
            pattern = r"\d visitors? (is|are) before you: your images come in about \d+ s\."
        else:
            pattern = r"\d visitors are before you, which is too many at the moment: your settings "
        assert re.match(pattern, told[0]), told
        assert visitor.text("#gallery .waiting") == visitor.text("#gallery .problem") == ""
        for job in jobs:
            try:
                assert len(job.result(60)) == 16
            except Exception as error:  # noqa: BLE001 - of nine, some are refused
                assert count == 9 and "too many at the moment" in str(error)
