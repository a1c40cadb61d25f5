"""Takes the README's screenshots: `python scripts/screenshots.py` (needs an installed chromium).

Serves the page, opens it at desktop and phone width, drags a slider of the coarse layers, and
writes docs/desktop.png, docs/phone.png and docs/thumbnail.png.
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
            browser.close()
    finally:
        server.stop()


def take(browser: Browser, url: str, name: str, width: int, height: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=1)
    page.goto(url)
    page.wait_for_selector("#gallery img.after")
    page.wait_for_timeout(2000)  # fonts and layout
    drag(page, 5, 0.8)  # one with a name
    page.locator("#gallery button[data-view=both]").click()
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)
    page.screenshot(path=DOCS / f"{name}.png")
    page.close()


def drag(page: Page, semantic: int, to: float) -> None:
    """Moves a slider with the mouse from its middle to a fraction of its length."""
    slider = page.locator(f"#semantic-{semantic} input[type=range]")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * to, y, steps=10)
    page.mouse.up()
    page.wait_for_timeout(2000)


if __name__ == "__main__":
    main()
