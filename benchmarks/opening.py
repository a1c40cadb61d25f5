"""How the page opens: `python benchmarks/opening.py [--times 7]` (needs chromium).

On a server that is warm, with what the browser has cached and without: milliseconds from asking for
the page to its first paint, to all images of the first gallery painted, and to the strips of the
four sliders; the largest of the differences between the first two, and requests to any other host.
"""

import argparse
import shutil
import statistics
import sys
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.serving import CHROMIUM_OPTIONS, Server

# Notes when all images of the gallery are decoded, as soon as there are any.
NOTE = """
const look = () => {
    const images = [...document.querySelectorAll('#gallery img.after')];
    if (images.length && images.every(image => image.complete && image.naturalWidth)) {
        requestAnimationFrame(() => setTimeout(() => { window.galleryAt = performance.now(); }));
    } else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=7, help="openings of each kind")
    times = parser.parse_args().times
    server = Server(HF_HUB_OFFLINE="1", SEFA_MODELS="", SEFA_DEVICE="cpu")
    host, elsewhere = urlsplit(server.url).netloc, []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS
            )
            for width, height in ((1280, 800), (360, 740)):
                for kind in ("cold", "cached"):
                    rows = [
                        opened(browser, server.url, (width, height), kind, host, elsewhere)
                        for _ in range(times)
                    ]
                    paint, gallery, apart, strips = (
                        statistics.median(c) for c in zip(*rows, strict=True)
                    )
                    most = max(row[2] for row in rows)
                    print(
                        f"{width} px {kind}: first_paint={paint:.0f} gallery={gallery:.0f} "
                        f"apart={apart:.0f} most_apart={most:.0f} strips={strips:.0f} ms"
                    )
            browser.close()
    finally:
        server.stop()
    print(f"requests_elsewhere={len(elsewhere)}")


def opened(browser, url, size, kind, host, elsewhere) -> tuple[float, float, float, float]:
    """(first paint, gallery, the one after the other, strips) in ms."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    if kind == "cached":
        warm = context.new_page()
        warm.goto(url)
        warm.wait_for_selector("#gallery img.after")
        warm.close()
    page = context.new_page()
    page.on(
        "request",
        lambda request: (
            elsewhere.append(request.url)
            if urlsplit(request.url).scheme.startswith("http")
            and urlsplit(request.url).netloc != host
            else None
        ),
    )
    page.add_init_script(NOTE)
    page.goto(url)
    page.wait_for_function("window.galleryAt")
    paint, gallery = page.evaluate(
        "[performance.getEntriesByName('first-paint')[0].startTime, window.galleryAt]"
    )
    page.wait_for_function(
        "document.querySelectorAll('#sliders .strip[data-strip]:not([data-strip=\"\"])').length >= 4"
    )
    strips = page.evaluate("performance.now()")
    context.close()
    return paint, gallery, gallery - paint, strips


if __name__ == "__main__":
    main()
