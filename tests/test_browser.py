"""The page in a real browser: desktop 1280 x 800 and phone 360 x 740."""

from dataclasses import replace

import numpy as np
import pytest
from gradio_client import Client

from sefa.editing import Edit, Recipe
from tests.pages import decode
from tests.serving import Server
from tests.visitor import FRAMES, JPEG, PLAIN, SET, WATCH, Visitor, along, moved
from ui import engine, strips
from ui.rows import rows_of


@pytest.fixture(scope="module")
def endpoint(server):
    return Client(server.url, verbose=False)


def rendered(endpoint, seed: int, units: list[float], num_samples: int = 4) -> np.ndarray:
    """What the public endpoint draws for the first sliders of PLAIN: [N, H, W, C]."""
    alphas = [along(i, value).alpha for i, value in enumerate(units)]
    uris = endpoint.predict(
        alphas=alphas, seed=seed, num_samples=num_samples, api_name="/edit", model="avatars"
    )
    return np.stack([decode(uri) for uri in uris]).astype(float)


# --- the first look -------------------------------------------------------------------------------


def test_the_first_gallery_needs_no_request(visit, server, start):
    visitor = visit(server.url, hold="**/gradio_api/*/join*")
    assert visitor.query == start.to_query() and len(visitor.sources()) == 4
    visitor.page.wait_for_function(
        f"() => [...document.querySelectorAll('{FRAMES} img.after')]"
        ".every(image => image.complete && image.naturalWidth > 0)"
    )
    frames = visitor.page.locator(FRAMES).bounding_box()
    assert frames["y"] >= 0 and frames["y"] + frames["height"] <= 800  # all of it in sight
    assert visitor.overflow() <= 0
    served = server.ready - server.started  # shown with pytest -s; no machine is promised
    print(f"\nserved after {served:.1f} s, first gallery after another {visitor.seconds:.1f} s")
    visitor.let_go()
    visitor.settled()
    assert "Running on local URL" in "".join(server.output)


def test_on_a_phone(visit, server, start):
    visitor = visit(server.url, phone=True).settled()
    assert visitor.overflow() <= 0
    frames = visitor.page.locator(FRAMES).bounding_box()
    assert frames["y"] + frames["height"] <= 740
    # The images stay in sight beside the slider that moves them.
    visitor.page.get_by_role("button", name="Show all").click()
    visitor.reveal(4)
    frames, slider = (
        box.bounding_box() for box in (visitor.page.locator(FRAMES), visitor.slider(4))
    )
    assert 0 <= frames["y"] and frames["y"] + frames["height"] <= slider["y"] < 740
    visitor.page.locator("#model").evaluate("model => model.scrollIntoView({block: 'end'})")
    labels = visitor.on_top("[id^=semantic-] label span")
    assert labels and not any(labels)  # what scrolls under the images does not shine through
    units = visitor.drag(4, 0.8)
    assert units > 0
    edited = replace(start, edits=(moved(start, 4, units),))
    visitor.wait(edited)
    for view in ("Split", "Both", "Original", "Edited"):
        visitor.page.get_by_role("button", name=view, exact=True).click()
        assert visitor.overflow() <= 0, view
    visitor.page.locator("#num-samples input[type=range]").evaluate(SET, 16)
    visitor.wait(replace(edited, num_samples=16))
    assert visitor.overflow() <= 0


def test_named_directions_and_curated_seeds(visit, server, start):
    model = engine.open_model("avatars")
    labels, rows = engine.labels_of(model), rows_of(model, start)
    assert len(rows) == min(len(labels.names), 10)
    for phone in (False, True):
        visitor = visit(server.url, phone=phone).settled()
        assert [visitor.slider(i).is_visible() for i in range(len(rows))] == [True] * 4 + [
            False
        ] * (len(rows) - 4)
        visitor.show("Explore")
        for i, row in enumerate(rows):
            label = visitor.page.locator(f"#semantic-{i} label")
            assert " ".join(label.inner_text().split()).startswith(row.label)
            assert " ".join(visitor.text(f"#semantic-{i}").split()).count(row.facts) == 1
            slider = visitor.page.get_by_role("slider", name=row.label)  # as it is read out
            assert slider.count() == 1
        visitor.set(1, -2.0)  # whichever way the name's arrow points
        visitor.wait(replace(start, edits=(moved(start, 1, -2.0),)))
    visitor.page.click("#gallery .reset")
    visitor.wait(start)
    last = start
    for seed in labels.seeds[1:]:
        last = replace(start, seed=seed)
        visitor.page.click("#gallery .random")
        visitor.wait(last)
    visitor.page.click("#gallery .random")  # then any
    visitor.page.wait_for_function(
        f"q => document.querySelector('{FRAMES}').dataset.query !== q", arg=last.to_query()
    )
    assert Recipe.from_query(visitor.query)[0].seed not in labels.seeds


# --- editing --------------------------------------------------------------------------------------


def test_drag_compare_reset_and_random(visit, server):
    visitor = visit(server.url, PLAIN).settled()
    page, originals = visitor.page, visitor.sources()
    alpha = visitor.drag(0, 0.9)
    assert alpha > 1
    visitor.wait(Recipe(edits=(along(0, alpha),)))
    assert visitor.sources() != originals and visitor.sources("before") == originals
    page.wait_for_function("q => location.search === '?' + q", arg=visitor.query)
    assert visitor.link == f"{server.url}/?{visitor.query}"

    def visible() -> list[bool]:
        return [page.locator(f"{FRAMES} img.{kind}").first.is_visible() for kind in KINDS]

    KINDS = ("before", "after")
    assert visible() == [False, True]
    page.get_by_role("button", name="Both").click()
    assert visible() == [True, True]
    page.get_by_role("button", name="Original").click()
    assert visible() == [True, False]
    page.get_by_role("button", name="Edited").click()
    assert visible() == [False, True]

    page.click("#gallery .reset")
    visitor.wait(Recipe())
    assert visitor.sources() == originals
    assert visitor.slider(0).input_value() == "0"

    page.click("#gallery .random")
    page.wait_for_function(
        f"q => document.querySelector('{FRAMES}').dataset.query !== q", arg=Recipe().to_query()
    )
    recipe, notices = Recipe.from_query(visitor.query)
    assert recipe.seed > 0 and not notices
    assert page.locator("#seed input").input_value() == str(recipe.seed)
    assert visitor.sources() != originals

    page.fill("#seed input", "")  # on the way to another seed
    visitor.wait(Recipe())
    page.fill("#seed input", "-5")
    problem = page.locator("#gallery .problem")
    problem.wait_for()
    assert problem.inner_text() == "The seed must be a whole number from 0 to 4294967292, not '-5'."
    assert problem.get_attribute("role") == "alert" and visitor.query == Recipe().to_query()
    assert visitor.query == Recipe().to_query()


def test_layers_kept_edits_and_the_link(visit, server, endpoint):
    num_ws = endpoint.predict(api_name="/factorize")["num_ws"]
    visitor = visit(server.url, PLAIN).settled()
    page = visitor.page
    visitor.set(1, 4.0)
    visitor.wait(Recipe(edits=(along(1, 4.0),)))

    def labels() -> list[str]:
        return [label for label in page.locator("[id^=semantic-] label").all_inner_texts() if label]

    visitor.show("Explore")
    everywhere = labels()
    page.get_by_text("Coarse 0–1").click()
    visitor.wait(Recipe(layers="0-1", edits=(along(1, 4.0),)))
    assert len(everywhere) == len(labels()) == 5
    assert everywhere != labels()  # other eigenvalues, or other names
    alpha = along(1, 4.0).alpha
    assert visitor.text("#kept").endswith(f"001 of layers all at {alpha:+.3g}")
    visitor.set(0, -3.0)
    both = (along(1, 4.0), along(0, -3.0, "0-1"))
    visitor.wait(Recipe(layers="0-1", edits=both))

    page.get_by_text("Custom", exact=True).click()
    field = page.locator("#custom-layers input, #custom-layers textarea")
    field.fill("99")
    field.press("Enter")
    page.wait_for_selector("#notice")
    assert f"no layer 99; layers are 0 to {num_ws - 1}" in visitor.text("#notice")
    assert visitor.query == Recipe(layers="0-1", edits=both).to_query()
    field.fill("0-1,3")
    field.press("Enter")
    visitor.wait(Recipe(layers="0-1,3", edits=both))
    assert visitor.text("#notice") == "" and visitor.text("#kept").count(" of layers ") == 2

    page.locator("#num-semantics input[type=range]").evaluate(SET, 8)
    page.wait_for_selector("#semantic-7")
    page.locator("#num-semantics input[type=range]").evaluate(SET, 2)
    page.wait_for_selector("#semantic-2", state="hidden")
    visitor.set(1, 5.0)
    recipe = Recipe(layers="0-1,3", num_semantics=2, edits=(*both, along(1, 5.0, "0-1,3")))
    visitor.wait(recipe)

    page.click("#gallery .copy")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{server.url}/?{recipe.to_query()}"
    other = visit(server.url, link.removeprefix(f"{server.url}/")).settled()
    other.wait(recipe)
    assert np.abs(visitor.pixels() - other.pixels()).mean() < 0.5
    assert np.abs(visitor.pixels("before") - other.pixels("before")).mean() < 0.5
    assert other.slider(1).input_value() == "5"
    assert other.text("#notice") == "" and other.text("#kept") == visitor.text("#kept")
    other.page.click("#gallery .reset")  # takes back the edits without a slider, too
    other.wait(Recipe(layers="0-1,3", num_semantics=2))
    assert other.sources() == other.sources("before") and other.text("#kept") == ""


@pytest.mark.parametrize(
    ("phone", "query", "expected", "says"),
    [
        (
            True,
            "?v=1&model=/etc/passwd&seed=NaN&n=1e9&edits=%00~:::&layers=<img src=x>",
            Recipe(),
            "There is no model '/etc/passwd' here",
        ),
        # As far as a recipe goes: every control on the page must be able to hold it.
        (
            False,
            "?__sign=token&v=1&psi=2&n=2&k=20&seed=4294967294&edits=all:0:100~all:0:100",
            Recipe(
                truncation_psi=2.0,
                num_samples=2,
                num_semantics=20,
                seed=2**32 - 2,
                edits=(Edit.along("all", 0, 100.0),) * 2,
            ),
            "",
        ),
    ],
    ids=["hostile", "extreme"],
)
def test_a_link_always_shows_a_gallery(visit, server, phone, query, expected, says):
    visitor = visit(server.url, query, phone=phone).settled()
    visitor.wait(expected)
    assert len(visitor.sources()) == expected.num_samples
    assert says in visitor.text("#notice") and bool(says) == bool(visitor.text("#notice"))
    assert visitor.page.locator("#notice img").count() == 0
    # However much there is to say, the sliders can be reached.
    visitor.reveal(1)
    assert visitor.on_top("#semantic-1 input[type=range]") == []
    # The Hub's token for a private page stays in the address, and out of what is passed on.
    assert visitor.link == f"{server.url}/?{expected.to_query()}"
    visitor.page.wait_for_function("q => location.search.endsWith(q)", arg=expected.to_query())
    assert ("__sign=token" in visitor.page.url) == ("__sign" in query)


# --- the last value wins --------------------------------------------------------------------------


def test_the_last_of_fifty_values_is_what_stays(visit, server, endpoint):
    visitor = visit(server.url, PLAIN).settled()
    slider, originals = visitor.slider(0), visitor.pixels()
    for last in (3.0, -4.5, 4.9):
        slider.evaluate(
            f"""async (slider, last) => {{
                const set = {SET};
                for (let i = 0; i < 49; i++) {{
                    set(slider, Math.round(49 * Math.sin(i)) / 10);
                    await new Promise(resolve => setTimeout(resolve, 20));
                }}
                set(slider, last);
            }}""",
            last,
        )
        visitor.wait(Recipe(edits=(along(0, last),)))
        visitor.page.wait_for_timeout(300)  # nothing older may come after it
        visitor.wait(Recipe(edits=(along(0, last),)))
        assert np.abs(visitor.pixels() - rendered(endpoint, 0, [last])).mean() < JPEG
        assert np.abs(visitor.pixels() - originals).mean() > 2 * JPEG


def test_a_frame_that_comes_late_is_dropped(visit, server):
    visitor = visit(server.url, PLAIN).settled()
    page = visitor.page
    page.evaluate(WATCH)
    visitor.hold("**/gradio_api/run/**")
    visitor.set(0, 2.0)  # asks for a frame, whose answer is held back
    page.wait_for_function("window.sefa.sequence === 2")
    page.wait_for_timeout(100)
    visitor.set(1, 3.0)
    page.evaluate("document.querySelector('#settle').click()")  # what letting go does
    last = Recipe(edits=(along(0, 2.0), along(1, 3.0)))
    visitor.wait(last)
    visitor.let_go()
    page.wait_for_timeout(500)
    visitor.wait(last)
    assert set(page.evaluate("window.seen")) == {last.to_query()}


def test_two_visitors_never_meet(visit, server, endpoint):
    visitors = [visit(server.url, PLAIN, phone=phone).settled() for phone in (False, True)]
    seeds, values = (11, 222), ([1.0, -2.0, 4.0], [-1.0, 3.0, -5.0])
    for visitor, seed in zip(visitors, seeds, strict=True):
        visitor.page.fill("#seed input", str(seed))
    for visitor, seed in zip(visitors, seeds, strict=True):
        visitor.wait(Recipe(seed=seed))
        visitor.page.evaluate(WATCH)
    for step in range(3):
        for slider in range(2):
            for visitor, mine in zip(visitors, values, strict=True):
                visitor.set(slider, mine[step] + slider)
    for visitor, seed, mine in zip(visitors, seeds, values, strict=True):
        alphas = [mine[-1], mine[-1] + 1]
        visitor.wait(Recipe(seed=seed, edits=(along(0, alphas[0]), along(1, alphas[1]))))
        assert np.abs(visitor.pixels() - rendered(endpoint, seed, alphas)).mean() < JPEG
        shown = [Recipe.from_query(query)[0] for query in visitor.page.evaluate("window.seen")]
        assert {recipe.seed for recipe in shown} == {seed}
        for recipe in shown:
            for change in recipe.edits:
                index = change.direction[0][0]
                assert change in [along(index, value + index) for value in mine]


# --- strips ---------------------------------------------------------------------------------------

ALL_STRIPS = """n => {
    const {frame, sample} = window.sefa;
    return frame.strips.length === n && frame.strips.every((key, i) =>
        document.querySelector(`#semantic-${i} .strip`)?.dataset.strip === `${key}@${sample}`);
}"""


def with_strips(visitor: Visitor, rows: int) -> Visitor:
    """Waits until every slider has its strip, of the page as it is."""
    visitor.settled().page.wait_for_function(ALL_STRIPS, arg=rows)
    return visitor


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_scrubbing_a_strip_asks_for_nothing_until_it_is_let_go(visit, server, phone):
    # A tall window has all of them in sight.
    visitor = visit(server.url, "?v=1&k=3&n=2", phone=phone).settled()
    page = visitor.page
    recipe = Recipe(num_semantics=3, num_samples=2)
    for i in range(3):
        visitor.reveal(i)
        page.wait_for_selector(f"#semantic-{i} .film img")
    with_strips(visitor, 3)
    assert visitor.overflow() <= 0
    film = page.locator("#semantic-1 .film")
    film.evaluate("film => film.scrollIntoView({block: 'end'})")
    before, asked = visitor.sources(), []
    page.on("request", lambda request: asked.append(request.url))
    frames = page.eval_on_selector_all("#semantic-1 .film img", "all => all.map(i => i.src)")
    assert len(set(frames)) == 9
    box = film.bounding_box()
    y, width = box["y"] + box["height"] / 2, box["width"]
    page.mouse.move(box["x"] + width / 2, y)
    page.mouse.down()
    seen = []
    for at in (0.6, 0.9, 0.7, 0.2):
        page.mouse.move(box["x"] + at * width, y)
        seen.append(visitor.sources()[0])
    assert seen == [frames[int(at * 9)] for at in (0.6, 0.9, 0.7, 0.2)]
    assert visitor.sources()[1] == before[1]
    assert [url for url in asked if not url.startswith("data:")] == []
    page.mouse.up()
    limit = float(visitor.slider(1).get_attribute("max"))
    units = strips.positions(limit, 9)[1]
    assert float(visitor.slider(1).input_value()) == units
    visitor.wait(replace(recipe, edits=(along(1, units),)))
    assert len(set(visitor.sources()) | set(before)) == 4  # both samples are drawn anew
    assert page.locator("#semantic-1 .film img.here").count() == 1
    with_strips(visitor, 3)


def test_strips_follow_the_image_that_is_chosen_and_show_where_they_act(visit, server):
    visitor = with_strips(visit(server.url, "?v=1&k=2"), 2)
    page = visitor.page

    def frames(row: int) -> list[str]:
        return page.eval_on_selector_all(f"#semantic-{row} .film img", "all => all.map(i => i.src)")

    def chosen() -> list[bool]:
        return page.eval_on_selector_all(
            f"{FRAMES} figure", "all => all.map(f => f.classList.contains('chosen'))"
        )

    first = frames(0)
    assert first[4] == visitor.sources()[0] and chosen() == [True, False, False, False]
    page.locator(f"{FRAMES} figure").nth(2).click()
    with_strips(visitor, 2)
    assert chosen() == [False, False, True, False]
    assert frames(0)[4] == visitor.sources()[2] and frames(0) != first

    where = page.get_by_role("button", name="Show where Semantic 001 acts")
    where.click()
    assert where.get_attribute("aria-pressed") == "true"
    shown = page.locator(f"{FRAMES} img.map")
    assert shown.count() == 1 and "Semantic 001" in shown.get_attribute("alt")
    assert page.locator(f"{FRAMES} figure").nth(2).locator("img.map").count() == 1
    alpha = decode(shown.get_attribute("src"))[..., 3]
    assert alpha.max() == 200 and alpha.min() < 100
    page.locator("#semantic-0 .where").click()
    assert where.get_attribute("aria-pressed") == "false" and shown.count() == 1
    page.locator("#semantic-0 .where").click()
    assert shown.count() == 0


@pytest.fixture(scope="module")
def measuring_server(tmp_path_factory):
    """A page that measures what it does not know."""
    cache = tmp_path_factory.mktemp("measurements")
    server = Server(
        HF_HUB_OFFLINE="1",
        SEFA_MODELS="",
        SEFA_DEVICE="cpu",
        SEFA_CACHE=str(cache),
        SEFA_MEASURE_SECONDS="1",
    )
    yield server, cache
    server.stop()


def test_rows_that_are_measured_meanwhile_get_units_and_strips(visit, measuring_server):
    server, cache = measuring_server
    visitor = visit(server.url, "?v=1&layers=0,3&k=2&n=1&edits=0,3:0:3")
    page = visitor.settled().page
    visitor.show("Explore")
    page.wait_for_function(
        "document.querySelector('#semantic-0').innerText.includes('consistency')", timeout=120_000
    )
    with_strips(visitor, 2)
    recipe = Recipe(layers="0,3", num_semantics=2, num_samples=1)
    visitor.wait(replace(recipe, edits=(along(0, 3.0, layers="0,3"),)))  # the edit is the same
    assert visitor.slider(0).input_value() == "2.8"  # in units now, of 1.06
    (kept,) = cache.iterdir()
    assert kept.name.endswith("-0,3.safetensors")


def test_while_a_slow_gallery_is_dragged_the_strip_stands_in(visit, owned):
    server, _ = owned
    name = "user/slow/model.safetensors"
    visitor = with_strips(visit(server.url, f"?v=1&model={name}&k=1&n=9"), 1)
    page = visitor.page
    page.evaluate("window.sefa.frame.live = false")  # whatever this machine is
    visitor.hold("**/gradio_api/run/**")  # and no frame of a quick one comes meanwhile
    frames = page.eval_on_selector_all("#semantic-0 .film img", "all => all.map(i => i.src)")
    before = visitor.sources()
    visitor.reveal(0)
    box = visitor.slider(0).bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, y, steps=4)
    shown = visitor.sources()
    assert shown[0] == frames[-1] and shown[1:] == before[1:]
    page.mouse.up()
    visitor.let_go()
    units = float(visitor.slider(0).input_value())
    recipe = Recipe(model=name, num_semantics=1, num_samples=9)
    visitor.wait(replace(recipe, edits=(along(0, units, model=name),)))
    assert set(visitor.sources()).isdisjoint(before)


def test_other_sliders_make_a_strip_anew_and_its_own_does_not(visit, server):
    visitor = with_strips(visit(server.url, "?v=1&k=2&n=1"), 2)
    read = "all => all.map(image => image.src)"
    rows = [f"#semantic-{i} .film img" for i in range(2)]
    before = [visitor.page.eval_on_selector_all(row, read) for row in rows]
    visitor.set(0, 2.0)
    visitor.wait(Recipe(num_semantics=2, num_samples=1, edits=(along(0, 2.0),)))
    with_strips(visitor, 2)
    after = [visitor.page.eval_on_selector_all(row, read) for row in rows]
    assert after[0] == before[0] and set(after[1]).isdisjoint(before[1])
    # Back again: the browser has them still.
    asked = []
    visitor.page.on("request", lambda request: asked.append(request.post_data or ""))
    visitor.set(0, 0)
    visitor.wait(Recipe(num_semantics=2, num_samples=1))
    with_strips(visitor, 2)
    assert [visitor.page.eval_on_selector_all(row, read) for row in rows] == before
    assert not any('"rows"' in text.replace("\\", "") for text in asked)


# --- the brush, names, files ----------------------------------------------------------------------


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_a_brushed_region_gets_sliders_that_move_it(visit, server, phone):
    visitor = visit(server.url, "?v=1&k=2&n=1&seed=1000", phone=phone).settled()
    page = visitor.page
    visitor.show("Explore")
    page.click("#brush .brush")
    find = page.locator("#brush .find")
    assert find.is_disabled() and visitor.overflow() <= 0
    box = page.locator("#gallery canvas").bounding_box()
    across = [(0.42, 0.70), (0.62, 0.70), (0.42, 0.74), (0.62, 0.74)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in across]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()
    find.click()
    page.wait_for_function(
        "document.querySelector('#semantic-0')?.innerText.includes('Brushed 1')", timeout=60_000
    )
    assert visitor.overflow() <= 0
    assert "moves the region" in visitor.text("#semantic-0")
    before = visitor.pixels()
    visitor.set(0, 2.0)
    page.wait_for_function(
        f"() => document.querySelector('{FRAMES}').dataset.query.includes('edits=')"
    )
    recipe, notices = Recipe.from_query(visitor.query)
    (change,) = recipe.edits
    assert not notices and len(change.direction) > 1
    moved_by = np.abs(visitor.pixels() - before)[0].mean(-1)
    inside = moved_by[43:49, 27:40].mean()
    assert inside > 2 * moved_by.mean()
    # It can be named; the name is in the link, and so is the direction.
    page.click("#semantic-0 .pencil")
    page.keyboard.type("Open mouth")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('#semantic-0')?.innerText.includes('Open mouth →')"
    )
    page.wait_for_function(
        f"() => document.querySelector('{FRAMES}').dataset.query.includes('names=')"
    )
    other = visit(server.url, f"?{visitor.query}", phone=phone).settled()
    other.wait(Recipe.from_query(visitor.query)[0])
    assert "Open mouth →" in other.text("#semantic-0")
    assert np.abs(other.pixels() - visitor.pixels()).mean() < 0.5


def test_directions_and_names_are_taken_away(visit, server):
    visitor = visit(server.url).settled()
    page = visitor.page
    visitor.show("Export")
    for button, name in (
        ("directions", "directions.safetensors"),
        ("vectors", "directions.npy"),
        ("names", "names.json"),
    ):
        with page.expect_download() as download:
            page.click(f"#save-{button}")
        assert download.value.suggested_filename == f"avatars-{name}"


# --- the owner's models ---------------------------------------------------------------------------


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_the_class_picker(visit, owned, phone):
    server, _ = owned
    name = "user/classes/model.safetensors"
    visitor = visit(server.url, f"?v=1&model={name}&class=1", phone=phone).settled()
    page, field = visitor.page, visitor.page.locator("#class-index input")
    visitor.wait(Recipe(model=name, class_index=1))
    assert field.input_value() == "class 1" and "3 classes" in visitor.text("#model-facts")
    assert visitor.overflow() <= 0
    # What is typed narrows the list; what is chosen is drawn and is in the link.
    visitor.pick_class("2")
    visitor.wait(Recipe(model=name, class_index=2))
    assert field.input_value() == "class 2"
    page.wait_for_function("() => location.search.includes('class=2')")
    visitor.set(0, 1.0)
    visitor.wait(Recipe(model=name, class_index=2, edits=(along(0, 1.0, model=name),)))
    # What is typed and left is nothing.
    field.click()
    field.press_sequentially("nonsense")
    # Gradio answers a key a tick later: a blur before that, which no hand can do, leaves the list open.
    page.evaluate("() => new Promise(requestAnimationFrame)")
    field.blur()
    page.wait_for_function("document.querySelector('#class-index input').value === 'class 2'")
    page.wait_for_function("!document.querySelector('[role=listbox]')")
    page.click("#model input")
    page.get_by_role("option", name="avatars").click()
    visitor.wait(Recipe())
    assert not page.locator("#class-index").is_visible()
    assert visitor.text("#notice") == ""


def test_the_owners_models(visit, owned):
    server, _ = owned
    assert "SEFA_MODELS: 'nonsense' is left out" in visit(server.url).text("#notice")
    visitor = visit(server.url, PLAIN).settled()
    page = visitor.page

    def choose(name: str) -> None:
        page.click("#model input")
        page.get_by_role("option", name=name).click()

    def pick(repo: str) -> Recipe:
        choose(f"{repo}/model.safetensors")
        recipe = Recipe(model=f"{repo}/model.safetensors")
        visitor.wait(recipe)
        assert visitor.text("#notice") == ""
        return recipe

    assert not page.locator("#class-index").is_visible()
    pick("user/classes")
    first = visitor.sources()
    visitor.pick_class("class 2")
    visitor.wait(Recipe(model="user/classes/model.safetensors", class_index=2))
    assert visitor.sources() != first

    pick("user/grey")
    assert visitor.pixels().shape == (4, 16, 16, 1)
    look = "element => getComputedStyle(element).imageRendering"
    assert page.locator(f"{FRAMES} img.after").first.evaluate(look) == "pixelated"  # 16 px, large
    assert not page.locator("#class-index").is_visible()

    # Too slow to follow the mouse, or not: what is drawn at the end is the last value, also when
    # the slider is let go elsewhere.
    slow = pick("user/slow")
    for to in (0.8, 0.3):
        alpha = visitor.drag(0, to, leave=True)
        visitor.wait(Recipe(model=slow.model, edits=(along(0, alpha, model=slow.model),)))
    shown = visitor.query

    choose("user/secret/model.safetensors")
    page.wait_for_selector("#notice")
    assert "set HF_TOKEN" in visitor.text("#notice") and "Staying with" in visitor.text("#notice")
    assert visitor.query == shown
    visitor.set(1, 2.0)  # the page goes on with the model it had
    visitor.wait(
        Recipe(
            model=slow.model,
            edits=tuple(along(i, a, model=slow.model) for i, a in enumerate((alpha, 2.0))),
        )
    )
    visitor.page.click("#gallery .reset")
    visitor.wait(slow)
