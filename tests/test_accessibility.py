"""The page and the pages it writes, for those who do not see them well or use no mouse.

axe-core finds what a program can: it runs in the real page, in every state a visitor meets. What it
cannot tell is tested by hand below: the way of the Tab key, and what is said when.
"""

import itertools
import shutil
import subprocess

import numpy as np
import pytest

from sefa.export import TraversalGrid, encode_images, visualisation_page
from sefa.teaser import Strip, teaser_page
from tests.conftest import missing

AXE = "4.14.1"
FRAMES = "#gallery .frames"
SIZES = {"desktop": (1280, 800), "phone": (360, 740)}
TABS = ("Edit", "Explore", "Compare", "Export", "About")


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """The script axe.min.js, as the npm registry has it."""
    npm = shutil.which("npm")
    if npm is None:
        missing("no npm is installed (on Debian: apt-get install npm)")
    folder = tmp_path_factory.mktemp("axe")
    options = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
    command = [npm, "install", *options, "--prefix", str(folder), f"axe-core@{AXE}"]
    done = subprocess.run(
        command, check=False, cwd=folder, capture_output=True, text=True, timeout=300
    )
    script = folder / "node_modules/axe-core/axe.min.js"
    if done.returncode or not script.is_file():
        missing(f"npm does not find axe-core {AXE}: {done.stderr or done.stdout}")
    return script.read_text(encoding="utf-8")


# Nothing is faint because it waits: Gradio's progress is over, and what fades in has done so.
SETTLED = """() => !document.querySelector('.pending, [data-testid=status-tracker]:not(.hide)')
    && document.getAnimations().every(a => a.playState !== 'running')"""


class Reader:
    """One page that axe looks at, and what it found wrong so far."""

    def __init__(self, page, axe: str):
        self.page, self.axe = page, axe
        self.found: list[str] = []

    def check(self, state: str) -> None:
        """Notes what is wrong with the page as it is; what is moderate is only printed."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(self.axe)
        self.page.wait_for_function(SETTLED)
        violations = self.page.evaluate(
            "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
        )
        for violation in violations:
            for node in violation["nodes"]:
                impact = node["impact"] or violation["impact"]
                line = (
                    f"{state}: {impact} {violation['id']} at {node['target']}: {node['html'][:200]}"
                    f" {node['failureSummary']}"
                )
                if impact in ("serious", "critical"):
                    self.found.append(line)
                else:
                    print(line)

    def show(self, tab: str) -> None:
        self.page.get_by_role("tab", name=tab).click()
        self.page.wait_for_function(
            "name => document.documentElement.dataset.tab === name", arg=tab.lower()
        )


@pytest.fixture
def open_page(browser):
    """open_page(address, size, ...) -> a page of its own; offline unless it is the server's."""
    contexts = []

    def open_it(address: str, size: str = "desktop", **options):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(address)
        if address.startswith("http"):
            page.wait_for_function(
                f"() => Number(document.querySelector('{FRAMES}')?.dataset.sequence) > 0"
            )
        return page

    yield open_it
    for context in contexts:
        context.close()


# --- what axe finds -------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious_on_the_page(open_page, server, axe, size, theme):
    # A link of an unknown model, so that a notice is shown.
    page = open_page(f"{server.url}/?__theme={theme}&v=1&model=nobody%2Fnothing&k=6", size)
    reader = Reader(page, axe)
    page.wait_for_selector("#notice")
    page.wait_for_selector("#semantic-0 .film img")
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    for tab in TABS:
        reader.show(tab)
        reader.check(tab)
    reader.show("Compare")
    page.click("#compare .go")
    page.wait_for_selector("#compare .row", timeout=60_000)
    reader.check("compared")
    reader.show("Export")
    page.locator("#animate-moves input").click()
    page.wait_for_selector("#animate-moves [role=option]")
    reader.check("a list that is open")
    page.keyboard.press("Escape")
    reader.show("Explore")
    page.click("#semantic-0 .where")
    page.click("#semantic-1 .pencil")
    reader.check("a direction being named, and where another acts")
    page.keyboard.press("Escape")
    page.click("#brush .brush")
    reader.check("brushing")
    page.click("#brush .brush")
    reader.show("Edit")
    for view in ("Split", "Both", "Original"):
        page.get_by_role("button", name=view, exact=True).click()
        reader.check(view)
    page.click("#gallery .one")
    page.click("#gallery .copy")
    reader.check("one sample large, its link copied")
    page.fill("#seed input", "-5")
    page.locator("#gallery .problem").wait_for()
    page.evaluate("document.querySelector('#gallery .note').textContent = 'Drawn on the CPU.'")
    reader.check("a problem and a note")
    assert reader.found == []


@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious_in_somebody_elses_page(open_page, server, axe, size):
    page = open_page(f"{server.url}/?embed=1", size)
    reader = Reader(page, axe)
    page.wait_for_selector("#semantic-0 .film img")
    reader.check("embedded")
    page.get_by_role("button", name="Split", exact=True).click()
    reader.check("embedded, split")
    assert reader.found == []
    assert page.get_by_role("heading", level=1).count() == 1  # for those who hear it
    assert page.locator("#intro").bounding_box()["height"] <= 1


def noise(*shape: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def written_pages() -> dict[str, str]:
    """Name -> a page as we write it: the teaser and the two visualisation pages."""
    images = noise(2, 3, 5, 24, 24, 3)  # N, K, S, H, W, C
    grid = TraversalGrid(
        model="avatars",
        layers="0-1",
        samples=["seed 0", "seed 1"],
        eigenvalues=[10.0, 5.0, 2.5],
        distances=np.linspace(-3, 3, 5).tolist(),
        images=[[encode_images(strip, "png") for strip in sample] for sample in images],
        image_size=(24, 24),
        names=["Hair", "", "Smile"],
        facts=[("Truncation", "0.7")],
        command="python -m sefa avatars -L 0-1",
    )
    strips = [Strip(name, [-1, 0, 1], noise(3, 64, 64, 3)) for name in ("Hair", "Smile")]
    return {
        "teaser": teaser_page("Faces", strips, "https://example.org"),
        "sample_first": visualisation_page(grid, "sample_first"),
        "semantic_first": visualisation_page(grid, "semantic_first"),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious_in_the_pages_we_write(open_page, axe, tmp_path, size, scheme):
    found = []
    for name, text in written_pages().items():
        path = tmp_path / f"{name}.html"
        path.write_text(text, encoding="utf-8")
        # Their own policy would not let axe run.
        page = open_page(path.as_uri(), size, color_scheme=scheme, offline=True, bypass_csp=True)
        reader = Reader(page, axe)
        reader.check(name)
        if name == "teaser":
            page.wait_for_selector("html[data-ready]")
            page.locator("input[type=range]").first.press("ArrowRight")
            reader.check("teaser, moved")
        else:
            page.get_by_role("button", name="Sample").click()
            reader.check(f"{name}, sorted")
        assert page.get_by_role("heading", level=1).count() == 1
        found += reader.found
    assert found == []


# --- the way of the Tab key -----------------------------------------------------------------------

LOOK = """element => {                      // how it and what is around it are painted
    const around = [];
    for (let e = element; e && around.length < 5; e = e.parentElement) around.push(e);
    return around.map(e => {
        const style = getComputedStyle(e);
        const outline = style.outlineStyle === 'none' ? '' : style.outline;
        return [outline, style.boxShadow, style.border, style.backgroundColor].join();
    }).join('|');
}"""
STEP = f"""() => {{                        // where the focus is; null at the end of the page
    const element = document.activeElement;
    if (!element || element === document.body || element.id === 'top') return null;
    window.stops ??= [];
    window.stops.push([element, ({LOOK})(element)]);
    const box = element.getBoundingClientRect();
    const stage = document.querySelector('#stage');
    const over = stage.getBoundingClientRect();
    const row = element.closest('[id^=semantic-]');
    return {{
        name: element.getAttribute('aria-label') || element.labels?.[0]?.innerText
            || element.innerText || element.title,
        region: element.closest('#intro, #stage, #tabs, [id^=panel-], footer')?.id || 'footer',
        row: row ? Number(row.id.slice('semantic-'.length)) : null,
        hidden: !stage.contains(element) && box.top < over.bottom - 1 && over.top <= 0
            && box.left < over.right && box.bottom <= over.bottom,
    }};
}}"""
UNSEEN = f"""() => {{                      // names of what looked the same with the focus
    document.activeElement?.blur();
    return stops.filter(([element, look]) => ({LOOK})(element) === look)
        .map(([element]) => element.outerHTML.slice(0, 200));
}}"""
MISSED = """() => {                        // what a mouse can use and Tab has not met
    const met = new Set(stops.map(([element]) => element));
    const all = document.querySelectorAll(
        'a[href], button, input, select, textarea, summary, [role=button], [tabindex="0"]');
    return [...all].filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled
            && !met.has(e) && e.getAttribute('role') !== 'tab'
            && !(e.type === 'radio' && [...met].some(m => m.name === e.name && m.type === 'radio')))
        .map(e => e.outerHTML.slice(0, 200));
}"""


def walk(page, key: str = "Tab") -> list[dict]:
    """Where the focus is after every press of Tab, from the top of the page to its end."""
    page.evaluate(
        """() => {
            window.stops = [];
            window.scrollTo(0, 0);
            const top = document.body.insertBefore(
                document.createElement('button'), document.body.firstChild);
            top.id = 'top';
            top.focus();
        }"""
    )
    stops = []
    for _ in range(200):
        page.keyboard.press(key)
        stop = page.evaluate(STEP)
        if stop is None:
            break
        stops.append(stop)
    page.evaluate("document.querySelector('#top').remove()")
    assert len(stops) < 200, "Tab never leaves the page"
    return stops


def runs(values: list) -> list:
    """Values without those that equal the one before."""
    return [value for i, value in enumerate(values) if i == 0 or value != values[i - 1]]


PANELS = {
    "Edit": ["panel-sliders", "panel-edit"],
    "Explore": ["panel-explore", "panel-sliders"],
    "Compare": ["panel-compare"],
    "Export": ["panel-export"],
    "About": ["panel-about"],
}


@pytest.mark.parametrize("size", SIZES)
def test_tab_reaches_every_control_in_order_and_shows_where_it_is(open_page, server, size):
    page = open_page(server.url, size)
    page.wait_for_selector("#semantic-0 .film img")
    for tab, panels in PANELS.items():
        page.get_by_role("tab", name=tab).click()
        stops = walk(page)
        assert runs([stop["region"] for stop in stops]) == [
            "intro", "stage", "tabs", *panels, "footer"
        ]  # fmt: skip
        rows = [stop["row"] for stop in stops if stop["row"] is not None]
        assert rows == sorted(rows)
        nameless = [stop for stop in stops if not (stop["name"] or "").strip()]
        covered = [stop["name"] for stop in stops if stop["hidden"]]
        assert (nameless, covered) == ([], [])
        assert page.evaluate(MISSED) == []
        assert page.evaluate(UNSEEN) == []


def test_keys_walk_the_tabs_and_the_images(open_page, server):
    page = open_page(server.url)
    tabs = page.get_by_role("tab")
    assert page.get_by_role("tablist").get_attribute("aria-label")
    tabs.first.focus()
    for key, name in [
        ("ArrowRight", "Explore"), ("ArrowLeft", "Edit"), ("ArrowLeft", "About"),
        ("ArrowRight", "Edit"), ("End", "About"), ("Home", "Edit"),
    ]:  # fmt: skip
        page.keyboard.press(key)
        chosen = page.locator("[role=tab][aria-selected=true]")
        assert chosen.all_inner_texts() == [name]
        assert page.evaluate("document.activeElement.innerText") == name
        assert page.evaluate(
            "[...document.querySelectorAll('[role=tab]')].map(t => t.tabIndex)"
        ) == [0 if tab == name else -1 for tab in TABS]
        for panel in chosen.get_attribute("aria-controls").split():
            shown = page.locator(f"#{panel}")
            assert shown.is_visible() and shown.get_attribute("role") == "tabpanel"
            assert shown.get_attribute("aria-labelledby") == f"tab-{name.lower()}"

    images = page.locator(f"{FRAMES} figure")
    images.first.focus()
    for key, place in [("ArrowRight", 1), ("ArrowDown", 2), ("ArrowLeft", 1)]:
        page.keyboard.press(key)
        chosen = [image.get_attribute("aria-current") for image in images.all()]
        assert chosen == ["true" if i == place else "false" for i in range(4)]
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == (
            f"Sample {place + 1} of 4"
        )
    assert page.evaluate("window.sefa.sample") == 1


# --- what is heard --------------------------------------------------------------------------------

HEARD = """() => {                         // every text that a live region of `role` has had
    window.heard = {status: [], alert: []};
    for (const role of ['status', 'alert']) {
        for (const region of document.querySelectorAll(`[role=${role}]`)) {
            new MutationObserver(() => heard[role].push(region.textContent.trim()))
                .observe(region, {childList: true, characterData: true, subtree: true});
        }
    }
}"""


def test_what_changes_is_said(open_page, server):
    page = open_page(f"{server.url}/?v=1&k=2")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(HEARD)  # the regions are there before they speak

    def hears(role: str, text: str) -> None:
        page.wait_for_function(
            "([role, text]) => heard[role].some(said => said.includes(text))", arg=[role, text]
        )

    page.click("#gallery .copy")
    hears("status", "The link is copied.")
    page.evaluate("window.sefa.restore('v=1&model=nobody%2Fnothing')")
    hears("status", "nobody/nothing")
    page.fill("#seed input", "-5")
    hears("alert", "The seed must be a whole number")


def test_images_sliders_and_headings_have_names(open_page, server):
    page = open_page(server.url)
    page.wait_for_selector("#semantic-0 .film img")
    seeds = page.evaluate("window.sefa.frame.seeds")
    for kind, what in (("before", "before the edit"), ("after", "edited")):
        texts = page.eval_on_selector_all(f"{FRAMES} img.{kind}", "all => all.map(i => i.alt)")
        assert texts == [f"Sample of seed {seed}, {what}" for seed in seeds]
    for i in range(4):
        row = page.locator(f"#semantic-{i}")
        name = row.locator("label span").first.inner_text().strip()
        slider = row.get_by_role("slider", name=name)
        assert slider.count() == 1 and slider.input_value() == "0"
        assert row.get_by_role("spinbutton", name=name).input_value() == "0"
        assert row.get_by_role("button", name=f"Reset {name}", exact=True).count() == 1
    page.locator("#semantic-0").get_by_role("slider").press("ArrowRight")
    assert page.locator("#semantic-0").get_by_role("slider").input_value() == "0.1"
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        levels = page.evaluate(
            "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')]"
            ".filter(h => h.checkVisibility()).map(h => Number(h.tagName[1]))"
        )
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), (tab, levels)


def test_nothing_of_ours_moves_for_those_who_want_no_motion(open_page, server):
    page = open_page(server.url, reduced_motion="reduce")
    page.wait_for_selector("#semantic-0 .film img")
    moving = page.evaluate(
        """[...document.querySelectorAll(
            '.strip *, .frames *, .bar *, [role=tab], .brushbar *, .more, .share *')]
            .filter(e => parseFloat(getComputedStyle(e).transitionDuration) > 0
                || getComputedStyle(e).animationName !== 'none')
            .map(e => e.outerHTML.slice(0, 100))"""
    )
    assert moving == []
