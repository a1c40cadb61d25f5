"""Takes the README's screenshots: `python scripts/screenshots.py` (needs an installed chromium).

Serves the page, opens it at desktop and phone width, drags a slider, and writes docs/desktop.png,
docs/phone.png and docs/thumbnail.png; brushes a mouth, and writes docs/brush.png.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.serving import CHROMIUM_OPTIONS, Server

DOCS = ROOT / "docs"
SIZES = {"desktop": (1280, 800), "phone": (360, 740), "thumbnail": (1200, 630)}


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    server = Server(HF_HUB_OFFLINE="1", SEFA_MODELS="", SEFA_DEVICE="cpu")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS
            )
            for name, (width, height) in SIZES.items():
                take(browser, server.url, name, width, height)
            brush(browser, server.url)
            browser.close()
    finally:
        server.stop()


def take(browser: Browser, url: str, name: str, width: int, height: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=1)
    page.goto(url)
    page.wait_for_selector("#gallery img.after")
    page.wait_for_timeout(2000)  # fonts and layout
    drag(page, 3, 0.8)  # one with a name
    page.locator("#gallery button[data-view=both]").click()
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)
    page.screenshot(path=DOCS / f"{name}.png")
    page.close()


def brush(browser: Browser, url: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 640}, device_scale_factor=1)
    page.goto(f"{url}/?v=1&seed=17&n=1&k=1")
    page.wait_for_selector("#gallery img.after")
    page.wait_for_timeout(2000)
    page.locator("#gallery .brush").click()
    box = page.locator("#gallery canvas").bounding_box()
    points = [(0.40, 0.69), (0.60, 0.69), (0.40, 0.73), (0.60, 0.73)]
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=10)
    page.mouse.up()
    page.locator("#gallery .find").click()
    page.wait_for_function("document.querySelector('#semantic-0')?.innerText.includes('Brushed')")
    page.wait_for_timeout(4000)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(500)
    page.screenshot(path=DOCS / "brush.png")
    page.close()


def drag(page: Page, semantic: int, to: float) -> None:
    """Moves a slider with the mouse from its middle to a fraction of its length."""
    slider = page.locator(f"#semantic-{semantic} input[type=range]")
    slider.evaluate("slider => slider.scrollIntoView({block: 'end'})")
    page.wait_for_timeout(2000)  # the strips that come into sight
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * to, y, steps=10)
    page.mouse.up()
    page.wait_for_timeout(2000)


if __name__ == "__main__":
    main()
