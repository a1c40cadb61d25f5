"""The page under use: `python benchmarks/app.py --sliders` or `--clients 50 --seconds 300`.

`--sliders` (needs chromium): what a drag costs beyond the page itself. Serves the page twice in this
process's children: once as it is, once with a function in place of the drawing that returns a frame
made beforehand. In a browser, in turn on either page, a slider is moved and the time is taken until
every image of the answer is decoded. Ends with the medians and their difference.

`--clients N`: N visitors without a browser (`benchmarks/clients.py`) on a server of its own, with the
embedded model on the CPU. First everybody moves as soon as their last frame is there: that is the
capacity, in frames a second. Then moves come at fixed times, however slow the answers are, so
that half (or double, or R times) the capacity is asked for. Every image is compared with that of the
library for the recipe that its visitor asked for. `--vanish 0.05`: so many of the moves end with
a closed connection. `--switch`: one visitor goes to and fro between two models. Ends with a line of
ratios.
"""

import argparse
import asyncio
import hashlib
import multiprocessing
import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clients import Answer, Client, Record, now
from sefa.editing import Recipe
from tests.helpers import tiny_stylegan2
from tests.hub import FakeHub
from tests.pages import decode
from tests.serving import CHROMIUM_OPTIONS, Server, free_port
from ui import engine

OTHER = "user/other/model.safetensors"  # what is switched to
RATES = {"half": 0.5, "double": 2.0}
SEEDS = 3  # of each visitor
JPEG = 4.0  # mean grey levels between a frame and the library's image
FRAMES_A_MOVE = 2  # one while dragging, one on release; Random asks for one of twice the images
PICK_UP = 15.0  # seconds after the moves until everything must be answered

# Moves semantic 0 and resolves to the milliseconds until the new frame is decoded.
MOVE = """async value => {
    const frames = document.querySelector('#gallery .frames');
    const input = document.querySelector('#semantic-0 input[type=range]');
    const before = frames.dataset.sequence;
    const start = performance.now();
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(input, value);
    input.dispatchEvent(new Event('input', {bubbles: true}));
    while (frames.dataset.sequence === before) await new Promise(r => setTimeout(r));
    await Promise.all([...frames.querySelectorAll('img.after')].map(image => image.decode()));
    return performance.now() - start;
}"""


# --- sliders in a browser -------------------------------------------------------------------------


def serve(port: int, trivial: bool) -> None:
    sys.path.insert(0, str(ROOT))
    import app

    page = app.build_page()
    if trivial:
        model = engine.open_model(engine.EMBEDDED)
        made = engine.edited_frames(model, Recipe())
        engine.edited_frames = lambda *_: made
    page.queue().launch(server_port=port, run_history=False, ssr_mode=False)


def sliders(moves: int) -> None:
    from playwright.sync_api import sync_playwright

    servers, ports = [], {}
    for name in ("real", "trivial"):
        ports[name] = free_port()
        servers.append(
            multiprocessing.get_context("spawn").Process(
                target=serve, args=(ports[name], name == "trivial"), daemon=True
            )
        )
        servers[-1].start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS
            )
            pages = {name: open_page(browser, port) for name, port in ports.items()}
            times: dict[str, list[float]] = {name: [] for name in pages}
            for i in range(moves + 5):
                for name, page in pages.items():
                    page.bring_to_front()
                    took = page.evaluate(MOVE, str(0.5 + (i % 40) * 0.1))
                    if i >= 5:  # the first few warm up
                        times[name].append(took)
            browser.close()
    finally:
        for server in servers:
            server.terminate()
    for name, taken in times.items():
        quartiles = statistics.quantiles(taken, n=4)
        print(f"{name:8} quartiles {' '.join(f'{q:.1f}' for q in quartiles)} ms")
    real, trivial = (statistics.median(times[name]) for name in ("real", "trivial"))
    print(f"drag_ms={real:.1f} trivial_ms={trivial:.1f} above={real - trivial:.1f}")


def open_page(browser, port: int):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    for attempt in range(120):
        try:
            page.goto(f"http://127.0.0.1:{port}", timeout=5000)
            page.wait_for_selector("#gallery img.after", timeout=5000)
            page.wait_for_timeout(2000)
            return page
        except Exception:
            if attempt == 119:
                raise
            page.wait_for_timeout(1000)


# --- a crowd --------------------------------------------------------------------------------------


async def closed_loop(clients: list[Client], seconds: float) -> None:
    """Everybody moves again as soon as the last frame is there."""
    end = now() + seconds

    async def go_on(client: Client) -> None:
        while now() < end:
            await client.move(now(), vanish=False)

    await asyncio.gather(*map(go_on, clients))


async def open_loop(
    clients: list[Client], rate: float, seconds: float, vanish: float, chance: random.Random
) -> None:
    """`rate` moves a second by whoever does nothing at the moment, else by anybody; in Poisson times."""
    start = due = now()
    moves = []
    while (due := due + chance.expovariate(rate)) < start + seconds:
        await now.sleep_until(due)
        free = [client for client in clients if not client.busy]
        client = chance.choice(free or clients)
        leaves = chance.random() < vanish
        moves.append(asyncio.create_task(client.move(due, leaves)))
    await asyncio.wait(moves, timeout=PICK_UP)
    left = sum(not move.done() for move in moves)
    if left:
        clients[0].record.errors.append(f"{left} moves unanswered {PICK_UP:.0f} s after the last")
        for move in moves:
            move.cancel()


async def to_and_fro(client: Client, seconds: float) -> None:
    """Chooses the other model, and the first one again, every ten seconds."""
    end, turn = now() + seconds - 10, 0
    while now() < end:
        turn += 1
        await client.switch((engine.EMBEDDED, OTHER)[turn % 2])
        for _ in range(5):
            await client.move(now(), vanish=False)
            await asyncio.sleep(2)


async def watch_memory(pid: int, found: list[tuple[float, float]]) -> None:
    """Notes (seconds, MB of resident memory), once a second."""
    start = now()
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        found.append((now() - start, int(line.split()[1]) / 1024))
        await asyncio.sleep(1)


async def crowd(options: argparse.Namespace, server: Server) -> None:
    chance, clock = random.Random(7), asyncio.create_task(now.tick())
    warm, record = Record(), Record()
    clients = [
        Client(server.url, [1000 * i + 10 * j for j in range(SEEDS)], warm, random.Random(i))
        for i in range(options.clients)
    ]
    start = now()
    for client in clients:
        await client.open()
    print(f"{len(clients)} pages open after {now() - start:.1f} s")
    await closed_loop(clients, options.warm_up)
    warm.answers.clear()
    await closed_loop(clients, options.measure)
    capacity = len(warm.answers) / options.measure
    say("at capacity", warm)

    rate = RATES.get(options.rate) or float(options.rate)
    moves = rate * capacity / FRAMES_A_MOVE
    print(f"capacity {capacity:.1f} frames/s; now {rate:g} times that: {moves:.1f} moves/s")
    for client in clients:
        client.record = record
    memory: list[tuple[float, float]] = []
    watcher = asyncio.create_task(watch_memory(server.process.pid, memory))
    switching = []
    if options.switch:
        switching.append(asyncio.create_task(to_and_fro(clients[-1], options.seconds)))
        busy = clients[:-1]
    else:
        busy = clients
    await open_loop(busy, moves, options.seconds, options.vanish, chance)
    await asyncio.gather(*switching)
    say("under load", record)
    after = Record()
    for client in clients:
        client.record = after
    await open_loop(clients, min(0.25 * capacity, 4.0) / FRAMES_A_MOVE, 10.0, 0.0, chance)
    say("afterwards, at little load", after)
    watcher.cancel()
    clock.cancel()
    print(f"this process stood still {now.times} times, for {now.stood_still:.0f} s in all")
    wrong = count_wrong([*warm.answers, *record.answers, *after.answers])
    settled = sorted(a.seconds for a in record.answers if a.kind == "settled")
    p50, p95 = percentile(settled, 0.5), percentile(settled, 0.95)
    then = percentile(sorted(a.seconds for a in after.answers if a.kind == "settled"), 0.95)
    errors = len(warm.errors) + len(record.errors) + len(after.errors)
    for error in sorted({*warm.errors, *record.errors, *after.errors})[:10]:
        print(f"error: {error}")
    for sentence in record.refused[:2] + record.waiting[:3] + record.waiting[-1:]:
        print(f"said: {sentence}")
    print(
        f"p95={p95:.2f}s p95/p50={p95 / p50:.1f} errors={errors} rejected={len(record.refused)} "
        f"wrong={wrong} memory={growth(memory)} frames={len(record.answers)} "
        f"capacity={capacity:.1f}/s told={len(record.waiting)} recovered_p95={then:.2f}s"
    )


def growth(memory: list[tuple[float, float]]) -> str:
    """Of the highest memory after the first minute above that of the minute's end."""
    first = [mb for at, mb in memory if at <= 60][-1]
    rest = [mb for at, mb in memory if at > 60] or [first]
    print("memory, MB, every 30 s:", " ".join(f"{mb:.0f}" for _, mb in memory[::30]))
    return f"{max(rest) / first - 1:+.1%}"


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def say(what: str, record: Record) -> None:
    print(
        f"{what}: {len(record.answers)} frames, {record.skipped} skipped while dragging, "
        f"{record.coalesced} moves overtaken, {record.vanished} visitors gone, "
        f"{len(record.refused)} refused, {len(record.waiting)} times told who is first, "
        f"{len(record.switched)} models chosen, {len(record.errors)} errors"
    )
    for kind in ("settled", "live"):
        times = sorted(a.seconds for a in record.answers if a.kind == kind)
        if times:
            shares = ", ".join(f"p{100 * s:.0f} {percentile(times, s):.2f}" for s in (0.5, 0.95, 1))
            print(f"  {kind}: {len(times)} frames, {shares} s")


def count_wrong(answers: Iterable[Answer]) -> int:
    """Frames that are not of the recipe, the request or the visitor that they were sent for."""
    wrong, seen = 0, {}  # (query, digest of the images) -> the images
    for answer in answers:
        right = answer.asked == answer.got and answer.sequence
        wrong += not right
        originals = Recipe.from_query(answer.got)[0].originals().to_query()
        for query, uris in ((answer.got, answer.after), (originals, answer.before)):
            if uris:
                digest = hashlib.sha256("".join(uris).encode()).digest()
                seen.setdefault(query, {}).setdefault(digest, uris)
    compared = worst = 0
    for query, different in seen.items():
        recipe = Recipe.from_query(query)[0]
        expected = engine.open_model(recipe.model).loaded.images(recipe).astype(float)
        for uris in different.values():
            frames = np.stack([decode(uri) for uri in uris]).astype(float)
            apart = np.abs(frames - expected).mean((1, 2, 3)).max()
            worst, compared = max(worst, apart), compared + len(frames)
            wrong += apart > JPEG
    print(f"{compared} different images compared with the library's: at most {worst:.2f} levels")
    return wrong


def with_server(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {"HF_HUB_OFFLINE": "1", "SEFA_MODELS": "", "SEFA_DEVICE": "cpu"}
        if options.switch:
            path = tiny_stylegan2(Path(folder) / "model.safetensors", **OTHER_SIZES)
            repos = {"user/other": {"files": {"model.safetensors": path.read_bytes()}}}
            hub = stack.enter_context(FakeHub(repos))
            environment |= {
                "HF_ENDPOINT": hub.url,
                "HF_HUB_CACHE": f"{folder}/cache",
                "HF_HUB_OFFLINE": "",
                "HF_TOKEN": "",
                "NO_PROXY": "127.0.0.1",
                "SEFA_MODELS": OTHER,
                "SEFA_RECIPE": f"model={engine.EMBEDDED}",
            }
            os.environ["SEFA_MODELS"] = OTHER
            engine.load_file(OTHER, path, None)
        environment["SEFA_CACHE"] = f"{folder}/measurements"
        environment["SEFA_MEASURE_SECONDS"] = "5"
        server = Server(**environment)
        stack.callback(server.stop)
        asyncio.run(crowd(options, server))


OTHER_SIZES = {"resolution": 64, "channels": (128, 128, 64, 64, 32), "w_dim": 128}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sliders", action="store_true", help="in a real browser")
    parser.add_argument("--moves", type=int, default=60, help="of a slider, on each page")
    parser.add_argument("--clients", type=int, default=0, help="visitors without a browser")
    parser.add_argument("--seconds", type=float, default=300, help="under load")
    parser.add_argument("--rate", default="half", help="half, double, or a number of capacities")
    parser.add_argument("--vanish", type=float, default=0.0, help="share of moves that are left")
    parser.add_argument("--switch", action="store_true", help="one visitor changes the model")
    parser.add_argument("--warm-up", type=float, default=10, help="seconds")
    parser.add_argument("--measure", type=float, default=20, help="seconds, of the capacity")
    options = parser.parse_args()
    if options.sliders:
        sliders(options.moves)
    if options.clients:
        with_server(options)


if __name__ == "__main__":
    main()
