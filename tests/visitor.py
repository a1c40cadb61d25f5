"""A visitor of the page in a real browser, and what the page makes of their sliders."""

import time
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np

from sefa.editing import Edit, Recipe
from tests.pages import decode
from ui import engine
from ui.controls import alpha_of
from ui.rows import rows_of

FRAMES = "#gallery .frames"
PLAIN = "?v=1"  # opens at Recipe(), whatever the page shows first
JPEG = 3.0  # mean grey levels between a frame (JPEG) and the endpoint's PNG
SET = """(slider, value) => {            // as a drag does, but from the page's own script
    const native = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
    native.call(slider, value);
    slider.dispatchEvent(new Event('input', {bubbles: true}));
}"""
WATCH = f"""() => {{                    // every frame that is ever on the page, in order
    const frames = document.querySelector('{FRAMES}');
    window.seen = [];
    new MutationObserver(() => window.seen.push(frames.dataset.query))
        .observe(frames, {{attributes: true, attributeFilter: ['data-query']}});
}}"""


class Visitor:
    """One person's browser on a page, who notes what a visitor should never meet."""

    def __init__(self, context, url: str, query: str = "", hold: str = ""):
        self.problems: list[str] = []
        self.held: list = []  # the requests that `hold` keeps from leaving
        self.page = page = context.new_page()
        page.set_default_timeout(20_000)
        host = urlsplit(url).netloc

        def asked(request):
            address = urlsplit(request.url)
            if address.scheme not in ("data", "blob") and address.netloc != host:
                self.problems.append(f"a request to {request.url[:200]}")

        page.on("request", asked)
        page.on("pageerror", lambda error: self.problems.append(error.stack or str(error)))
        page.on(
            "console",
            lambda line: self.problems.append(line.text) if line.type == "error" else None,
        )
        if hold:
            self.hold(hold)
        start = time.monotonic()
        page.goto(f"{url}/{query}", wait_until="commit")
        page.wait_for_selector(f"{FRAMES} img.after")
        self.seconds = time.monotonic() - start

    def settled(self) -> "Visitor":
        """Waits for the frame that the page asks for once it is there."""
        self.page.wait_for_function(
            f"() => Number(document.querySelector('{FRAMES}').dataset.sequence) > 0"
        )
        return self

    def hold(self, pattern: str) -> None:
        """From now on requests like `pattern` wait."""
        self.holding = True
        self.page.route(
            pattern, lambda route: self.held.append(route) if self.holding else route.continue_()
        )

    def let_go(self) -> None:
        """Lets the requests leave that wait; there is at least one."""
        assert self.held
        self.holding = False
        for route in self.held:
            route.continue_()

    def show(self, tab: str) -> None:
        """What is one step away: Edit, Explore, Compare, Export or About."""
        self.page.get_by_role("tab", name=tab).click()

    @property
    def link(self) -> str:
        """The address that the page would copy."""
        return self.page.evaluate("window.sefa.link()")

    def slider(self, i: int):
        return self.page.locator(f"#semantic-{i} input[type=range]")

    def reveal(self, i: int) -> None:
        """Scrolls as far as a visitor would: the images at the top cover what is there."""
        self.slider(i).evaluate("slider => slider.scrollIntoView({block: 'end'})")

    def set(self, i: int, value: float) -> None:
        self.slider(i).evaluate(SET, value)

    @property
    def query(self) -> str:
        return self.page.locator(FRAMES).get_attribute("data-query")

    def wait(self, recipe: Recipe) -> None:
        """Until the gallery shows `recipe`."""
        try:
            self.page.wait_for_function(
                f"q => document.querySelector('{FRAMES}').dataset.query === q",
                arg=recipe.to_query(),
            )
        except Exception:
            assert self.query == recipe.to_query()
            raise

    def sources(self, kind: str = "after") -> list[str]:
        return self.page.eval_on_selector_all(
            f"{FRAMES} img.{kind}", "images => images.map(image => image.src)"
        )

    def pixels(self, kind: str = "after") -> np.ndarray:
        return np.stack([decode(uri) for uri in self.sources(kind)]).astype(float)

    def pick_class(self, typed: str) -> None:
        """Types into the class picker, of which one choice is left, and takes that."""
        field = self.page.locator("#class-index input")
        field.click()
        field.press("ControlOrMeta+a")
        field.press_sequentially(typed)
        self.page.wait_for_function("document.querySelectorAll('[role=option]').length === 1")
        field.press("Enter")

    def text(self, selector: str) -> str:
        element = self.page.locator(selector)
        return element.inner_text() if element.count() and element.is_visible() else ""

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

    def on_top(self, selector: str) -> list[bool]:
        """Of the elements whose middle is where the images are: whether it shows through them."""
        return self.page.evaluate(
            """selector => {
                const stage = document.querySelector('#stage');
                const middle = element => {
                    const box = element.getBoundingClientRect();
                    return [box.x + box.width / 2, box.y + box.height / 2];
                };
                const {right, bottom} = stage.getBoundingClientRect();
                const covered = (x, y) => x < right && y > 0 && y < bottom;
                return [...document.querySelectorAll(selector)].map(middle)
                    .filter(([x, y]) => covered(x, y))
                    .map(([x, y]) => !stage.contains(document.elementFromPoint(x, y)));
            }""",
            selector,
        )

    def drag(self, i: int, to: float, leave: bool = False) -> float:
        """Drags slider `i` with the mouse to the fraction `to`; returns the value it has then."""
        self.reveal(i)
        box = self.slider(i).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse = self.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(box["x"] + to * box["width"], y, steps=8)
        if leave:
            mouse.move(box["x"] + to * box["width"], y - 300, steps=2)
        mouse.up()
        return float(self.slider(i).input_value())


def along(index: int, units: float, layers: str = "all", model: str = "avatars") -> Edit:
    """What so many units of a slider do."""
    recipe = Recipe(model=model, layers=layers, num_semantics=index + 1)
    step = rows_of(engine.open_model(model), recipe)[index].step if model == "avatars" else None
    return Edit.along(layers, index, alpha_of(units, step) if step else units)


def moved(recipe: Recipe, slider: int, units: float) -> Edit:
    """What so many units of a slider of the embedded model's page do."""
    step = rows_of(engine.open_model("avatars"), recipe)[slider].step
    return replace(step, alpha=alpha_of(units, step))
