"""What a drag costs beyond the page itself: `python benchmarks/drag.py` (needs chromium).

Serves the page twice in this process's children: once as it is, once with a function in place of
the drawing that returns a frame made beforehand. In a browser, in turn on either page, a slider is
moved and the time is taken until every image of the answer is decoded. Prints the medians and
their difference.
"""

import argparse
import multiprocessing
import shutil
import statistics
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.serving import CHROMIUM_OPTIONS, free_port

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


def serve(port: int, trivial: bool) -> None:
    sys.path.insert(0, str(ROOT))
    import app
    from sefa.editing import Recipe
    from ui import engine

    page = app.build_page()
    if trivial:
        model = engine.open_model(engine.EMBEDDED)
        made = engine.edited_frames(model, Recipe())
        engine.edited_frames = lambda *_: made
    page.queue().launch(server_port=port, run_history=False, ssr_mode=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--moves", type=int, default=60, help="moves on each page")
    moves = parser.parse_args().moves
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


def open_page(browser, port: int) -> Page:
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


if __name__ == "__main__":
    main()
