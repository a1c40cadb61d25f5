"""What a visitor does on the page beside dragging: in a real browser, at 1280 and 360 px."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from sefa.editing import Edit, Mix, Recipe
from sefa.pictures import one_of, png_bytes, recipe_of_png
from sefa.snippets import as_command, as_python
from tests.pages import decode
from tests.visitor import FRAMES, PLAIN, along, moved
from ui import engine

BOTH = pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
TABS = ["Edit", "Explore", "Compare", "Export", "About"]


def history(visitor) -> tuple[bool, bool]:
    """Whether there is anything to undo, and to redo."""
    return tuple(
        visitor.page.locator(f"#gallery .{name}").is_enabled() for name in ("undo", "redo")
    )


def remembered(visitor, count: int) -> None:
    """Waits until so many steps back are there: what is shown is remembered once it is at rest."""
    visitor.page.wait_for_function(
        "n => document.querySelector('#gallery .undo').dataset.place === String(n)", arg=count
    )


def settled_history(visitor, undo: bool, redo: bool) -> None:
    visitor.page.wait_for_function(
        f"""() => !document.querySelector('#gallery .undo').disabled === {json.dumps(undo)}
              && !document.querySelector('#gallery .redo').disabled === {json.dumps(redo)}"""
    )


# --- the first five seconds -----------------------------------------------------------------------


@BOTH
def test_the_first_look_explains_itself(visit, server, phone):
    visitor = visit(server.url, phone=phone).settled()
    page = visitor.page
    assert page.locator("h1").all_inner_texts() == ["Look what is inside a GAN"]
    assert page.locator("#intro a").get_attribute("href") == "https://arxiv.org/abs/2007.06600"
    sliders = [i for i in range(20) if visitor.slider(i).count() and visitor.slider(i).is_visible()]
    assert sliders == [0, 1, 2, 3]
    names = [page.locator(f"#semantic-{i} label").first.inner_text() for i in sliders]
    assert all(re.search("[→←]", name) for name in names)  # somebody named them
    if not phone:  # all in sight at once
        box = visitor.slider(3).bounding_box()
        assert box["y"] + box["height"] < 800
    assert [tab.inner_text() for tab in page.get_by_role("tab").all()] == TABS


@BOTH
def test_everything_else_is_one_step_away(visit, server, phone):
    visitor = visit(server.url, phone=phone).settled()
    page = visitor.page
    marks = {  # what is there, and nowhere else
        "Edit": "#model",
        "Explore": "#layers",
        "Compare": "#compare",
        "Export": "#share",
        "About": "#about-page",
    }
    for tab in TABS:
        visitor.show(tab)
        selected = page.locator("[role=tab][aria-selected=true]").all_inner_texts()
        assert selected == [tab]
        assert [name for name, mark in marks.items() if page.locator(mark).is_visible()] == [tab]
        assert visitor.slider(0).is_visible() == (tab in ("Edit", "Explore"))
        assert visitor.overflow() <= 0, tab
    page.get_by_role("tab", name="About").press("ArrowRight")  # round to the first
    assert page.evaluate("document.activeElement.id") == "tab-edit"
    assert page.locator("#model").is_visible()
    assert visit(server.url, "#about", phone=phone).page.locator("#about-page").is_visible()


def test_all_directions_are_in_explore_and_one_click_away(visit, server, start):
    visitor = visit(server.url).settled()
    many = start.num_semantics
    assert many > 4
    more = visitor.page.get_by_role("button", name=f"Show all {many} directions")
    more.click()
    assert visitor.slider(many - 1).is_visible()
    visitor.page.get_by_role("button", name="Show fewer").click()
    assert not visitor.slider(many - 1).is_visible()
    visitor.show("Explore")
    assert visitor.slider(many - 1).is_visible()
    visitor.set(many - 1, 1.0)
    visitor.wait(replace(start, edits=(moved(start, many - 1, 1.0),)))
    visitor.show("Edit")
    assert visitor.slider(many - 1).is_visible()  # it is in use
    assert not visitor.slider(many - 2).is_visible()


# --- keys, undo ------------------------------------------------------------------------------------


def test_keys(visit, server):
    visitor = visit(server.url, PLAIN).settled()
    page = visitor.page
    visitor.slider(0).focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    visitor.wait(Recipe(edits=(along(0, 0.3),)))
    originals = visitor.sources("before")
    page.keyboard.down("b")
    assert not page.locator(f"{FRAMES} img.after").first.is_visible()
    assert page.locator(f"{FRAMES} img.before").first.is_visible()
    page.keyboard.up("b")
    assert page.locator(f"{FRAMES} img.after").first.is_visible()
    page.keyboard.press("0")
    visitor.wait(Recipe())
    assert visitor.sources() == originals
    page.keyboard.press("l")
    assert page.locator(f"{FRAMES} figure:visible").count() == 1
    page.keyboard.press("L")
    assert page.locator(f"{FRAMES} figure:visible").count() == 4
    page.keyboard.press("r")
    page.wait_for_function(
        f"q => document.querySelector('{FRAMES}').dataset.query !== q", arg=Recipe().to_query()
    )
    shown = visitor.query
    # Not while somebody types.
    page.locator("#seed input").focus()
    for key in ("r", "b", "l"):
        page.keyboard.press(key)
    visitor.show("Explore")
    page.get_by_text("Custom", exact=True).click()
    field = page.locator("#custom-layers input, #custom-layers textarea")
    field.press_sequentially("r0b")
    assert field.input_value() == "r0b" and visitor.query == shown


@BOTH
def test_undo_and_redo(visit, server, phone):
    visitor = visit(server.url, PLAIN, phone=phone).settled()
    page = visitor.page
    settled_history(visitor, False, False)
    remembered(visitor, 0)
    states = [Recipe()]
    for i, units in ((0, 2.0), (1, -3.0), (0, 1.0)):
        visitor.set(i, units)
        edits = {e.direction: e for e in states[-1].edits} | {
            along(i, units).direction: along(i, units)
        }
        states.append(Recipe(edits=tuple(edits[k] for k in sorted(edits))))
        visitor.wait(states[-1])
        remembered(visitor, len(states) - 1)
    for state in reversed(states[:-1]):
        page.click("#gallery .undo")
        visitor.wait(state)
    settled_history(visitor, False, True)
    page.keyboard.press("ControlOrMeta+Shift+z")
    visitor.wait(states[1])
    assert visitor.slider(0).input_value() == "2" and visitor.slider(1).input_value() == "0"
    page.click("#gallery .redo")
    visitor.wait(states[2])
    page.keyboard.press("ControlOrMeta+z")
    visitor.wait(states[1])
    settled_history(visitor, True, True)
    visitor.set(2, 1.0)  # another way from here
    visitor.wait(replace(states[1], edits=(*states[1].edits, along(2, 1.0))))
    settled_history(visitor, True, False)
    page.click("#gallery .undo")
    visitor.wait(states[1])


def test_what_was_picked_is_undone_too(visit, server):
    visitor = visit(server.url, PLAIN).settled()
    page = visitor.page
    remembered(visitor, 0)
    visitor.show("Explore")
    page.get_by_text("Coarse 0–1").first.click()
    visitor.wait(Recipe(layers="0-1"))
    remembered(visitor, 1)
    page.click("#semantic-0 .pencil")
    page.keyboard.type("Something")
    page.keyboard.press("Enter")
    page.wait_for_function(
        f"() => document.querySelector('{FRAMES}').dataset.query.includes('names=')"
    )
    remembered(visitor, 2)
    page.click("#gallery .undo")
    visitor.wait(Recipe(layers="0-1"))
    page.click("#gallery .undo")
    visitor.wait(Recipe())
    assert page.locator("#layers input:checked").get_attribute("value") == "all"


# --- before and after, one large -------------------------------------------------------------------


@BOTH
def test_the_split_view(visit, server, phone):
    visitor = visit(server.url, f"{PLAIN}&edits=all:0:6", phone=phone).settled()
    page = visitor.page
    page.get_by_role("button", name="Split").click()
    both = [
        page.locator(f"{FRAMES} img.{kind}").first.bounding_box() for kind in ("before", "after")
    ]
    assert both[0] == both[1]  # one over the other

    def shown(x: float) -> str:
        """Which image is seen at a fraction of the first figure's width."""
        return page.evaluate(
            f"""x => {{
                const image = document.querySelector('{FRAMES} img.after');
                const left = getComputedStyle(image).clipPath.match(/inset\\(0px 0px 0px ([\\d.]+)%/);
                return x * 100 < Number(left[1]) ? 'before' : 'after';
            }}""",
            x,
        )

    assert (shown(0.4), shown(0.6)) == ("before", "after")
    splitter = page.get_by_role("slider", name="Where the image is split")
    splitter.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert (shown(0.2), shown(0.4)) == ("before", "after")
    box = page.locator(f"{FRAMES} figure").nth(1).bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 20, steps=4)
    page.mouse.up()
    assert (shown(0.75), shown(0.85)) == ("before", "after")
    query = visitor.query
    page.get_by_role("button", name="Edited").click()
    assert not splitter.is_visible() and visitor.query == query


@BOTH
def test_an_image_that_is_held_shows_the_original(visit, server, phone):
    visitor = visit(server.url, f"{PLAIN}&edits=all:0:6", phone=phone).settled()
    page = visitor.page
    box = page.locator(f"{FRAMES} figure").nth(2).bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.mouse.down()
    page.wait_for_selector(f"{FRAMES} img.before >> nth=0")
    assert not page.locator(f"{FRAMES} img.after").first.is_visible()
    page.mouse.up()
    page.wait_for_selector(f"{FRAMES} img.after >> nth=0")
    assert page.locator(f"{FRAMES} figure.chosen").count() == 1
    assert "chosen" in page.locator(f"{FRAMES} figure").first.get_attribute("class")  # as before


@BOTH
def test_one_sample_large(visit, server, phone):
    visitor = visit(server.url, PLAIN, phone=phone).settled()
    page = visitor.page
    small = page.locator(f"{FRAMES} figure").first.bounding_box()["width"]
    page.get_by_role("button", name="One sample large").click()
    figures = page.locator(f"{FRAMES} figure:visible")
    assert figures.count() == 1 and figures.first.bounding_box()["width"] > 1.9 * small
    assert visitor.overflow() <= 0
    seeds = []
    for _ in range(4):
        seeds.append(figures.first.locator("img.after").get_attribute("alt"))
        page.get_by_role("button", name="Next sample").click()
    assert seeds == [f"Sample of seed {i}, edited" for i in range(4)]
    page.get_by_role("button", name="Previous sample").click()
    assert "seed 3" in figures.first.locator("img.after").get_attribute("alt")
    page.get_by_role("button", name="One sample large").click()
    assert figures.count() == 4
    assert "chosen" in page.locator(f"{FRAMES} figure").nth(3).get_attribute("class")


@BOTH
def test_only_the_sample_in_sight_is_drawn(visit, server, phone):
    visitor = visit(server.url, PLAIN, phone=phone).settled()
    page, before = visitor.page, visitor.sources()
    large = page.get_by_role("button", name="One sample large")
    drawn = "window.sefa.frame.after.map(Boolean)"
    large.click()
    page.get_by_role("button", name="Next sample").click()
    visitor.set(0, 3.0)
    recipe = Recipe.from_query(PLAIN)[0]
    visitor.wait(replace(recipe, edits=(moved(recipe, 0, 3.0),)))
    assert page.evaluate(drawn) == [False, True, False, False]
    found = visitor.sources()
    assert [a == b for a, b in zip(found, before, strict=True)] == [True, False, True, True]
    # The next one is drawn as it comes into sight, and the others when all do.
    page.get_by_role("button", name="Next sample").click()
    page.wait_for_function(f"{drawn}[2] && !document.querySelector('#gallery figure.stale')")
    assert page.evaluate(drawn) == [False, False, True, False]
    large.click()
    page.wait_for_function(f"{drawn}.every(Boolean)")
    assert not page.locator("#gallery figure.stale").count()
    other = visit(server.url, f"?{visitor.query}").settled()
    change = np.abs(visitor.pixels() - other.pixels())
    assert change.mean() < 0.5  # drawn in batches of other sizes
    assert np.abs(visitor.pixels("before") - other.pixels("before")).mean() < 0.5


# --- mixing, noise ---------------------------------------------------------------------------------


def test_styles_are_mixed_and_noise_has_a_seed(visit, owned):
    server, _ = owned
    name = "user/plain/model.safetensors"
    visitor = visit(server.url, f"?v=1&model={name}&n=2").settled()
    page = visitor.page
    recipe = Recipe(model=name, num_samples=2)
    visitor.wait(recipe)
    before = visitor.pixels()
    page.locator("#mix-layers input").click()
    option = page.get_by_role("option").nth(1)
    layers = re.search(r"\d+(?:–\d+)?", option.inner_text())[0].replace("–", "-")
    option.click()
    page.fill("#mix-seed input", "9")
    mixed = replace(recipe, mix=Mix(9, layers))
    visitor.wait(mixed)
    assert np.abs(visitor.pixels() - before).mean() > 1
    other = visit(server.url, f"?{mixed.to_query()}").settled()
    other.wait(mixed)
    assert other.sources() == visitor.sources()
    assert other.page.locator("#mix-seed input").input_value() == "9"
    noise = page.locator("#noise input, #noise textarea")
    noise.fill("5")
    noise.press("Enter")
    noisy = replace(mixed, noise_seed=5)
    visitor.wait(noisy)
    assert visitor.sources() != other.sources()
    noise.fill("nonsense")
    noise.press("Enter")
    page.wait_for_selector("#gallery .problem:not([hidden])")
    assert "The noise seed must be a whole number" in visitor.text("#gallery .problem")
    assert visitor.query == noisy.to_query()
    noise.fill("")
    noise.press("Enter")
    visitor.wait(mixed)
    assert not page.locator("#gallery .problem").is_visible()


def test_a_model_without_noise_has_no_field_for_it(visit, server):
    visitor = visit(server.url, f"{PLAIN}&noise=3").settled()
    visitor.wait(Recipe())
    assert "this model has no noise" in visitor.text("#notice")
    assert not visitor.page.locator("#noise").is_visible()


# --- sharing ---------------------------------------------------------------------------------------


@BOTH
def test_what_is_copied(visit, server, phone):
    visitor = visit(server.url, f"{PLAIN}&edits=0-1:1:-1~all:0:2.5&n=2", phone=phone).settled()
    recipe, _ = Recipe.from_query(f"{PLAIN[1:]}&edits=0-1:1:-1~all:0:2.5&n=2")
    visitor.wait(recipe)
    page = visitor.page
    visitor.show("Export")

    def copied(button: str) -> str:
        page.get_by_role("button", name=button, exact=True).click()
        page.wait_for_function("document.querySelector('#share button.done')")
        text = page.evaluate("navigator.clipboard.readText()")
        page.wait_for_function("!document.querySelector('#share button.done')")
        return text

    link = f"{server.url}/?{recipe.to_query()}"
    assert copied("Copy link") == link
    assert copied("Copy command") == as_command(recipe)
    assert copied("Copy Python") == as_python(recipe)
    page.locator("#share select").select_option("dark")
    snippet = copied("Copy HTML")
    src = re.search(r'src="([^"]*)"', snippet)[1].replace("&amp;", "&")
    assert src == link.replace("?", "?embed=1&__theme=dark&") and snippet.startswith("<iframe")
    assert visitor.overflow() <= 0
    page.click("#gallery .copy")
    assert page.evaluate("navigator.clipboard.readText()") == link


@BOTH
def test_a_saved_image_brings_its_edit_back(visit, server, phone, tmp_path):
    visitor = visit(server.url, f"{PLAIN}&edits=all:0:2.5&seed=7", phone=phone).settled()
    page = visitor.page
    recipe = Recipe(seed=7, edits=(Edit.along("all", 0, 2.5),))
    visitor.wait(recipe)
    page.locator(f"{FRAMES} figure").nth(2).click()
    visitor.show("Export")
    with page.expect_download() as download:
        page.click("#save-image")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    one = one_of(recipe, 2)
    assert path.name == "avatars-seed9.png" and recipe_of_png(path.read_bytes()) == (one, [])
    drawn = engine.draw(engine.open_model("avatars"), one)
    assert path.read_bytes() == png_bytes(drawn[0], one) or np.allclose(
        decode_png(path.read_bytes()), drawn[0], atol=1
    )
    assert "Saved" in visitor.text("#export-status")

    other = visit(server.url, phone=phone).settled()
    other.show("Export")
    other.page.set_input_files("#share-open", path)
    other.wait(one)
    bare = tmp_path / "bare.png"
    bare.write_bytes(bytes.fromhex("89504e470d0a1a0a0000000049454e44ae426082"))
    for wrong in (bare, tmp_path / "text.png"):
        if wrong != bare:
            wrong.write_text("no picture")
        other.page.set_input_files("#share-open", wrong)
        other.page.wait_for_function(
            "name => document.querySelector('#share .problem').textContent.startsWith(name)",
            arg=f"{wrong.name} carries no recipe",
        )
    assert other.query == one.to_query()
    # Dropped anywhere, whatever is shown.
    other.page.reload()
    other.page.wait_for_selector(f"{FRAMES} img.after")
    other.settled()
    content = path.read_bytes().hex()
    other.page.evaluate(
        """hex => {
            const bytes = Uint8Array.from(hex.match(/../g), h => parseInt(h, 16));
            const data = new DataTransfer();
            data.items.add(new File([bytes], 'mine.png', {type: 'image/png'}));
            for (const type of ['dragover', 'drop']) {
                document.body.dispatchEvent(new DragEvent(
                    type, {bubbles: true, cancelable: true, dataTransfer: data}));
            }
        }""",
        content,
    )
    other.wait(one)
    assert not other.page.evaluate("'drop' in document.documentElement.dataset")


def decode_png(content: bytes) -> np.ndarray:
    return decode("data:image/png;base64," + base64.b64encode(content).decode()).astype(int)


@BOTH
def test_every_file_is_saved(visit, server, phone):
    visitor = visit(server.url, f"{PLAIN}&n=2&k=2", phone=phone).settled()
    page = visitor.page
    visitor.wait(Recipe(num_samples=2, num_semantics=2))
    visitor.show("Export")
    files = {
        "image": ["avatars-seed0.png"],
        "grid": ["avatars-seed0-n2.png"],
        "pages": ["avatars-sample_first.html", "avatars-semantic_first.html"],
        "teaser": ["avatars-teaser.html"],
        "animation": ["avatars-seed0-animation.mp4"],
    }
    for button, names in files.items():
        saved = []

        def note(download, saved=saved):
            saved.append(download)

        page.on("download", note)
        page.click(f"#save-{button}")
        page.wait_for_function(
            "document.querySelector('#export-status').innerText.includes('Saved')"
        )
        for _ in range(100):
            if len(saved) >= len(names):
                break
            page.wait_for_timeout(100)
        page.remove_listener("download", note)
        assert sorted(download.suggested_filename for download in saved) == names
        page.evaluate("document.querySelector('#export-status p')?.remove()")
    # What cannot be done is said beside the buttons, and nothing is lost.
    page.locator("#animate-moves input").focus()
    page.keyboard.press("Backspace")
    page.keyboard.press("Escape")
    page.click("#save-animation")
    page.wait_for_selector("#export-status .problem")
    assert visitor.text("#export-status") == "Pick at least one direction to animate."
    assert visitor.overflow() <= 0


# --- embedded --------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_compact_view(visit, server, phone, theme):
    recipe = Recipe(edits=(Edit.along("all", 0, 2.5),))
    query = f"?embed=1&__theme={theme}&{recipe.to_query()}"
    visitor = visit(server.url, query, phone=phone).settled()
    page = visitor.page
    visitor.wait(recipe)
    heading = page.locator("#intro").bounding_box()  # it is read out, and takes no room
    assert heading["width"] <= 1 and heading["height"] <= 1
    for hidden in ("#intro p", "#tabs", "#model", "#share", "footer", "#layers"):
        assert not page.locator(hidden).is_visible(), hidden
    assert visitor.slider(0).is_visible() and page.locator(f"{FRAMES} img.after").first.is_visible()
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    assert visitor.overflow() <= 0
    whole = page.get_by_role("link", name="Open the whole page")
    assert whole.get_attribute("href") == f"{server.url}/?{recipe.to_query()}"
    visitor.set(1, 2.0)
    edited = replace(recipe, edits=(*recipe.edits, along(1, 2.0)))
    visitor.wait(edited)
    page.wait_for_function("() => location.search.includes('embed=1')")
    assert whole.get_attribute("href") == f"{server.url}/?{edited.to_query()}"
    page.click("#gallery .copy")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{server.url}/?embed=1&{edited.to_query()}"


def test_nothing_but_embed_opens_the_first_look(visit, server, start):
    visitor = visit(server.url, "?embed=1").settled()
    visitor.wait(start)


# --- comparing, about ------------------------------------------------------------------------------


@BOTH
def test_the_methods_are_compared(visit, server, phone):
    visitor = visit(server.url, PLAIN, phone=phone).settled()
    page = visitor.page
    visitor.show("Compare")
    page.get_by_role("button", name="Compare the methods").click()
    page.wait_for_selector("#compare .row", timeout=120_000)
    rows = [" ".join(text.split()) for text in page.locator("#compare .row").all_inner_texts()]
    assert [row.split(" alpha")[0] for row in rows] == [
        f"{method} 00{i}" for i in range(3) for method in ("SeFa", "PCA", "Random")
    ]
    assert page.locator("#compare .row img").count() == 9 * 5
    middles = page.eval_on_selector_all(
        "#compare .row", "rows => rows.map(row => row.querySelectorAll('img')[2].src)"
    )
    assert len(set(middles)) == 1  # all start at the same image
    assert visitor.overflow() <= 0


def test_about_says_what_was_refused_and_why(visit, owned):
    server, _ = owned
    visitor = visit(server.url, "?v=1&model=user/plain/model.safetensors").settled()
    visitor.show("About")
    table = visitor.page.locator("#about-page")
    visitor.page.wait_for_function(
        "() => /user.plain.model.safetensors\\s+✓ loaded/.test("
        "document.querySelector('#about-page').innerText)"
    )
    text = " ".join(table.inner_text().split())
    assert "SEFA_MODELS ✗ refused" in text and "'nonsense' is left out because" in text
