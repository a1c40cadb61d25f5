"""A crowd on one server: the page says who comes first, or that too many wait, and goes on; nothing
is drawn for who is gone.
"""

import asyncio
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from gradio_client import Client

from benchmarks.clients import API, Record
from benchmarks.clients import Client as Visitor
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
    print("drawn", *(recipe.seed for _, _, recipe, _ in asked), flush=True)
    seeds = [recipe.seed for _, _, recipe, _ in asked]
    time.sleep(5.0 if 9000 in seeds else 1.5 if max(seeds) >= 5000 else 0.0)
    return together(model, asked)

engine.draw_together = slow
app.main()
"""


@pytest.fixture(scope="module")
def slow_server():
    server = Server(SLOW, HF_HUB_OFFLINE="1", SEFA_MODELS="", SEFA_MEASURE_SECONDS="0")
    yield server
    server.stop()


def others(server, count: int, pool: ThreadPoolExecutor, seed: int = 5000) -> list:
    """So many other visitors, each of whom waits for sixteen images."""
    clients = list(pool.map(lambda _: Client(server.url, verbose=False), range(count)))
    return [
        client.submit(seed=seed + 100 * i, num_samples=16, api_name="/edit", model="avatars")
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
        page.fill("#seed input", str(320 + count))  # of which nothing is drawn yet
        page.press("#seed input", "Tab")
        page.wait_for_function("window.told.length > 0")
        visitor.wait(replace(Recipe(), seed=320 + count))
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


def test_nothing_is_drawn_for_who_is_gone(slow_server):
    """Neither in the queue nor beside it, once the connection is closed."""

    async def leave(visitors):
        moving, settling = visitors
        for visitor in visitors:
            await visitor.open()
            visitor.values[visitor.seed] += 1000
        with ThreadPoolExecutor(1) as pool:
            (job,) = others(slow_server, 1, pool, 9000)
        while not any(line.startswith("drawn") and "9000" in line for line in slow_server.output):
            await asyncio.sleep(0.01)  # it takes five seconds from here
        body = {
            "data": moving.inputs(moving.follow, dragging=False),
            "fn_index": moving.follow["id"],
            "session_hash": moving.session,
        }
        frame = asyncio.create_task(moving.connection.ask("POST", f"{API}/run/predict", body))
        await settling.draw("settled", time.monotonic(), vanish=True)
        await asyncio.sleep(0.2)
        moving.connection.close()
        frame.cancel()
        settling.connection.close()
        return await asyncio.to_thread(job.result, 60)

    chance = random.Random(1)
    visitors = [Visitor(slow_server.url, [seed], Record(), chance) for seed in (2001, 2002)]
    with ThreadPoolExecutor(1) as pool:  # playwright has a loop of its own in this thread
        assert len(pool.submit(asyncio.run, leave(visitors)).result()) == 16
    drawn = {int(s) for line in slow_server.output if "drawn" in line for s in line.split()[1:]}
    assert {2001, 2002, 9000} <= drawn and not {3001, 3002} & drawn
