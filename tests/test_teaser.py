"""The teaser: one file of at most 3 MB whose sliders scrub, in a real browser and without a network."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sefa import Edit, Recipe, UserError
from sefa.export import resize_images
from sefa.teaser import (
    ENLARGED,
    MAX_BYTES,
    MAX_DECODED,
    PAPER,
    Strip,
    distinct,
    draw_strips,
    fitted,
    largest,
    teaser_page,
)
from tests.helpers import is_one_sentence
from tests.pages import Page

HOSTILE = """</title></script><script>alert("1")</script> & 'quoted' <img src=x onerror=alert(2)>"""
STEPS = 9


def flat(strip, step):
    """The colour of a frame: no two are alike but those at 0."""
    return (120, 120, 120) if step == STEPS // 2 else (20 + 25 * step, 30 + 35 * strip, 200)


def flat_strips(count=3, size=32):
    positions = np.linspace(-4, 4, STEPS).tolist()
    strips = []
    for k in range(count):
        colours = np.array([flat(k, i) for i in range(STEPS)], np.uint8)
        frames = np.broadcast_to(colours[:, None, None], (STEPS, size, size, 3))
        strips.append(Strip(f"Direction {k}", positions, frames))
    return strips


def natural(frames, size, seed=0):
    """Images about as hard to encode as photographs, that change: uint8 [S, size, size, 3]."""
    random = np.random.RandomState(seed)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    f[0, 0] = 1 / size

    def one():  # brightness like 1 / f, colours smoother and weaker
        light, *colours = (
            np.fft.irfft2(np.fft.rfft2(random.randn(size, size)) / f**power)
            for power in (1.2, 1.7, 1.7, 1.7)
        )
        light, colours = light / light.std(), np.stack([c / c.std() for c in colours], -1)
        return 128 + 45 * light[..., None] + 15 * colours

    a, b = one(), one()
    steps = np.linspace(0, 0.5, frames)
    return np.stack([(a + t * (b - a)).clip(0, 255).astype(np.uint8) for t in steps])


def data_of(page):
    (text,) = re.findall(r'<script type="application/json" id="frames">(.*?)</script>', page)
    return json.loads(text)


def images_of(page):
    return [
        Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
        for text in data_of(page)["images"]
    ]


# --- strips ---------------------------------------------------------------------------------------

A, B = Edit.along("0-1", 4, -3.0), Edit("all", ((2, 0.6), (7, 0.8)), 2.0)


def test_strips_go_both_ways_and_meet_where_nothing_acts():
    asked = []

    def images(recipe):
        """The alphas of A and B, and whether the other edit is there, as a colour."""
        asked.append(recipe)
        alpha = {change.layers: change.alpha for change in recipe.edits}
        colour = [100 + 10 * alpha.get("0-1", 0), 100 + 10 * alpha.get("all", 0), alpha["2"]]
        return np.full((1, 4, 4, 3), np.round(colour), np.uint8)

    # A is in use, and its name says what negative alphas bring.
    recipe = Recipe(seed=3, num_samples=4, edits=(A, Edit.along("2", 0, 1.0)))
    heard = []
    a, b = draw_strips(
        recipe, [A, B], [("Smile", -1), ("Hair", 1)], images, 5, lambda *now: heard.append(now)
    )
    assert (a.name, b.name) == ("Smile", "Hair") and a.start == b.start == 2
    assert a.positions == [-3, -1.5, 0, 1.5, 3] and b.positions == [-2, -1, 0, 1, 2]
    assert a.frames[:, 0, 0].tolist() == [[100 + x, 100, 1] for x in (30, 15, 0, -15, -30)]
    assert b.frames[:, 0, 0].tolist() == [[100, 100 + x, 1] for x in (-20, -10, 0, 10, 20)]
    # One sample, and the frame at 0 is drawn once.
    assert {(one.seed, one.num_samples) for one in asked} == {(3, 1)}
    assert len(asked) == 9 and heard[-1] == (9, 9)


def test_large_frames_are_kept_no_larger_than_they_are_shown():
    drawn = np.zeros((1, 1024, 1024, 1), np.uint8)
    moves = [Edit.along("all", i, 1.0) for i in range(6)]
    strips = draw_strips(Recipe(), moves, [("x", 1)] * 6, lambda recipe: drawn, 25)
    size = largest(150, 1024, 1024)
    assert strips[0].frames.shape == (25, size, size, 1) and 500 < size < 520
    assert largest(100, 500, 1000) * largest(100, 500, 1000) / 2 * 100 <= MAX_DECODED


@pytest.mark.parametrize("steps", [1, 4, 67])
def test_a_slider_has_a_middle(steps):
    with pytest.raises(UserError, match="odd number"):
        draw_strips(Recipe(), [A], [("x", 1)], None, steps)


def test_a_slider_goes_somewhere():
    for alpha in (0.0, 5e-324):
        with pytest.raises(UserError, match="not 0"):
            draw_strips(Recipe(), [replace(A, alpha=alpha)], [("x", 1)], None)
    for moves in ([], [A] * 7):
        with pytest.raises(UserError, match="1 to 6"):
            draw_strips(Recipe(), moves, [("x", 1)] * len(moves), None)


# --- the file -------------------------------------------------------------------------------------


def test_the_page_has_a_named_slider_for_every_strip():
    page = Page(teaser_page("Faces", flat_strips(), "https://example.org/?v=1&seed=3"))
    assert page.title == "Faces" and page.texts["h1"] == ["Faces"]
    assert page.texts["label"] == ["Direction 0", "Direction 1", "Direction 2"]
    sliders = [attrs for tag, attrs in page.elements if tag == "input"]
    labels = [attrs["for"] for tag, attrs in page.elements if tag == "label"]
    assert [slider["id"] for slider in sliders] == labels
    for slider in sliders:
        said = {name: slider[name] for name in ("type", "min", "max", "value", "aria-valuetext")}
        assert list(said.values()) == ["range", "0", "8", "4", "0"]
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a"]
    assert links == [PAPER, "https://example.org/?v=1&seed=3"]
    assert "Shen & Zhou, CVPR 2021" in page.texts["a"]
    links = [a for tag, a in Page(teaser_page("Faces", flat_strips())).elements if tag == "a"]
    assert [a["href"] for a in links] == [PAPER]


def test_frames_come_back_exactly_where_there_is_room():
    strips = flat_strips()
    page = teaser_page("Faces", strips)
    data, images = data_of(page), images_of(page)
    assert len(images) == 3 * STEPS - 2  # the one at 0 is stored once
    for strip, said in zip(strips, data["strips"], strict=True):
        assert said["start"] == 4 and said["texts"][3:6] == ["−1", "0", "+1"]
        for frame, where in zip(strip.frames, said["frames"], strict=True):
            image = images[where]
            assert image.size == (ENLARGED, ENLARGED)
            np.testing.assert_array_equal(np.asarray(image)[0, 0], frame[0, 0])


def test_the_first_frame_is_there_without_the_script():
    page = teaser_page("Faces", flat_strips())
    (source,) = re.findall(r'<img src="data:image/webp;base64,([^"]+)"', page)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
    assert image[0, 0].tolist() == [120, 120, 120]


def test_the_frame_nearest_to_0_is_the_first():
    frames = np.zeros((4, 8, 8, 1), np.uint8)
    assert Strip("a", [-3, -0.4, 0.5, 9], frames).start == 1
    assert Strip("a", [1, 2, 3, 4], frames).start == 0


def test_equal_frames_are_stored_once():
    strips = flat_strips(2)
    frames, places = distinct(strips)
    assert len(frames) == 2 * STEPS - 1 and places[0][4] == places[1][4]
    for strip, where in zip(strips, places, strict=True):
        np.testing.assert_array_equal(frames[where], strip.frames)


@pytest.mark.parametrize(("strips", "steps", "size"), [(6, 25, 256), (2, 9, 640), (1, 3, 64)])
def test_the_file_keeps_its_budget_at_any_resolution(strips, steps, size):
    positions = range(-(steps // 2), steps // 2 + 1)
    made = [Strip("x", positions, natural(steps, size, seed)) for seed in range(strips)]
    page = teaser_page("Faces", made)
    assert len(page) == len(page.encode()) <= MAX_BYTES
    shown = images_of(page)
    assert {image.size for image in shown} == {shown[0].size} and len(shown) == strips * steps
    # Larger images lose quality first, then pixels; small ones are enlarged.
    width = shown[0].width
    assert width == (ENLARGED if size <= ENLARGED else width) and 200 < width <= max(size, ENLARGED)
    found = np.stack([np.asarray(image) for image in shown[:3]])
    expected = resize_images(made[0].frames[:3], width)
    assert np.abs(found.astype(int) - expected).mean() < 12


def test_better_images_are_taken_before_more_room_is_left():
    frames = natural(8, 128)
    sizes = []
    for room in (2_000_000, 150_000, 80_000, 30_000):
        images, size = fitted(frames, room)
        assert sum(map(len, images)) <= room
        sizes.append((size, sum(map(len, images))))
    assert [size for size, _ in sizes[:2]] == [(ENLARGED, ENLARGED)] * 2
    assert sizes == sorted(sizes, reverse=True) and sizes[-1][0] < (ENLARGED, ENLARGED)


def test_other_shapes_and_grey_are_taken():
    frames = np.random.RandomState(0).randint(0, 256, (3, 20, 40, 1)).astype(np.uint8)
    page = teaser_page("Grey", [Strip("Darker", [-1, 0, 1], frames)])
    (image, *_) = images_of(page)
    assert image.size == (ENLARGED, ENLARGED // 2)
    assert np.ptp(np.asarray(image).astype(int), axis=2).max() <= 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: teaser_page("x", []),
        lambda: teaser_page("x", flat_strips(7)),
        lambda: teaser_page("x", flat_strips(), "javascript:alert(1)"),
        lambda: teaser_page("x", flat_strips(), "https://"),
        lambda: teaser_page("x", flat_strips(), "https://[/"),
        lambda: teaser_page("x", [Strip("x", range(9), natural(9, 64))], budget=12_000),
        lambda: teaser_page("x", flat_strips(), budget=100),
    ],
)
def test_what_is_no_teaser_is_said_in_one_sentence(call):
    with pytest.raises(UserError) as error:
        call()
    assert is_one_sentence(str(error.value)), str(error.value)


@pytest.mark.parametrize(
    ("positions", "frames"),
    [
        ([0, 1], np.zeros((3, 4, 4, 3), np.uint8)),
        ([0, 0, 1], np.zeros((3, 4, 4, 3), np.uint8)),
        ([0, 1, np.inf], np.zeros((3, 4, 4, 3), np.uint8)),
        ([0], np.zeros((1, 4, 4, 3), np.uint8)),
        (range(66), np.zeros((66, 4, 4, 3), np.uint8)),
        ([0, 1], np.zeros((2, 4, 4, 3))),
        ([0, 1], np.zeros((2, 4, 4, 4), np.uint8)),
    ],
)
def test_a_strip_whose_parts_disagree_is_refused(positions, frames):
    with pytest.raises(ValueError, match=r"positions|uint8"):
        Strip("x", positions, frames)


def test_strips_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="one size"):
        teaser_page("x", [*flat_strips(1), *flat_strips(1, size=16)])


# --- safety ---------------------------------------------------------------------------------------


def test_nothing_is_asked_of_the_network_and_only_this_script_runs():
    text = teaser_page("Faces", flat_strips())
    page = Page(text)
    for tag, attrs in page.elements:
        for name in ("src", "srcset", "action", "poster", "data"):
            assert attrs.get(name, "data:").startswith("data:"), (tag, name)
    script = page.texts["script"][-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [attrs["content"] for _, attrs in page.elements if "http-equiv" in attrs]
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy
    assert "https:" not in script


def test_hostile_texts_stay_text():
    strips = [Strip(HOSTILE, s.positions, s.frames) for s in flat_strips()]
    hostile = Page(teaser_page(HOSTILE, strips, "https://x.org/" + HOSTILE.replace(" ", "")))
    harmless = Page(teaser_page("a", flat_strips(), "https://x.org"))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in harmless.elements]
    assert hostile.title == HOSTILE and hostile.texts["label"] == [HOSTILE] * 3
    assert data_of(hostile.text)["strips"][0]["name"] == HOSTILE


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture
def open_teaser(browser, tmp_path):
    """open(strips, ...) -> the page, from a file, offline; what it asked for and complained of."""
    contexts = []

    def open_it(strips, title="Faces", width=1280, height=800, **options):
        path = tmp_path / "teaser.html"
        path.write_text(teaser_page(title, strips, "https://example.org"), encoding="ascii")
        context = browser.new_context(
            viewport={"width": width, "height": height}, offline=True, **options
        )
        contexts.append(context)
        tab = context.new_page()
        tab.requests, tab.problems = [], []
        tab.on("request", lambda request: tab.requests.append(request.url))
        tab.on("pageerror", lambda error: tab.problems.append(str(error)))
        tab.on("console", lambda message: tab.problems.append(message.text))
        tab.on("dialog", lambda dialog: tab.problems.append(dialog.message))
        tab.goto(path.as_uri())
        tab.wait_for_selector("html[data-ready]")
        return tab

    yield open_it
    for context in contexts:
        context.close()


def colour(tab):
    """What is in the middle of the image."""
    # Copied first: a canvas that is read again and again is moved off the GPU, with a warning.
    return tuple(
        tab.evaluate(
            """() => {
                const canvas = document.querySelector("canvas");
                const pixel = new OffscreenCanvas(1, 1).getContext("2d");
                pixel.drawImage(canvas, canvas.width / 2, canvas.height / 2, 1, 1, 0, 0, 1, 1);
                return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
            }"""
        )
    )


def state(tab):
    """(values, texts beside the sliders, what a screen reader says of them)."""
    rows = tab.locator(".row")
    return (
        [int(slider.input_value()) for slider in tab.locator("input").all()],
        rows.locator(".value").all_inner_texts(),
        [slider.get_attribute("aria-valuetext") for slider in tab.locator("input").all()],
    )


TEXTS = ["−4", "−3", "−2", "−1", "0", "+1", "+2", "+3", "+4"]


def assert_shows(tab, strip, step):
    """The frame is the one expected, and the other sliders are at 0."""
    assert colour(tab) == flat(strip, step)
    values, texts, heard = state(tab)
    assert values == [step if k == strip else 4 for k in range(len(values))]
    assert texts == heard == [TEXTS[value] for value in values]
    label = tab.locator("canvas").get_attribute("aria-label")
    assert label == f"Faces: Direction {strip} {TEXTS[step]}"


def test_scrubbing_with_the_mouse_shows_every_frame(open_teaser):
    tab = open_teaser(flat_strips())
    assert_shows(tab, 0, 4)
    for strip in (1, 0, 2):
        box = tab.locator("input").nth(strip).bounding_box()
        thumb = 22  # pixels; its middle is what moves
        step_width = (box["width"] - thumb) / (STEPS - 1)
        left, y = box["x"] + thumb / 2, box["y"] + box["height"] / 2
        tab.mouse.move(left + 4 * step_width, y)
        tab.mouse.down()
        for step in [*range(5, STEPS), *range(STEPS - 2, -1, -1)]:
            tab.mouse.move(left + step * step_width, y)
            assert_shows(tab, strip, step)
        tab.mouse.up()
        assert_shows(tab, strip, 0)
    tab.locator("input").nth(2).dblclick()
    assert_shows(tab, 2, 4)
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in tab.requests if url.startswith("file:")]) == 1
    assert tab.problems == []


def test_scrubbing_with_keys_shows_every_frame(open_teaser):
    tab = open_teaser(flat_strips())
    for strip in range(3):
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") == f"s{strip}"
        tab.keyboard.press("Home")
        assert_shows(tab, strip, 0)
        for step in range(1, STEPS):
            tab.keyboard.press("ArrowRight")
            assert_shows(tab, strip, step)
    tab.keyboard.press("ArrowLeft")
    assert_shows(tab, 2, 7)
    assert tab.problems == []


def test_a_screen_reader_finds_named_sliders_and_the_image(open_teaser):
    tab = open_teaser(flat_strips())
    assert tab.get_by_role("slider").count() == 3
    for name in ("Direction 0", "Direction 1", "Direction 2"):
        assert tab.get_by_role("slider", name=name, exact=True).count() == 1
    assert tab.get_by_role("img", name="Faces: Direction 0 0").is_visible()
    assert tab.get_by_role("heading", name="Faces").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 700, 360])
def test_nothing_hangs_over_at_any_width(open_teaser, scheme, width):
    names = ["A name that is rather long, as some are", "x" * 64, "Smile"]
    strips = [Strip(n, s.positions, s.frames) for n, s in zip(names, flat_strips(), strict=True)]
    tab = open_teaser(strips, "Anunusuallylongtitle" * 4, width=width, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for item in tab.locator("canvas, input, label, .value, p, h1").all():
        box = item.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 23, 27)"
    assert dark == (scheme == "dark")


def test_the_image_stays_in_view_on_a_phone(open_teaser):
    tab = open_teaser(flat_strips(6), width=360, height=700)
    tab.locator("input").last.scroll_into_view_if_needed()
    tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    box = tab.locator("canvas").bounding_box()
    assert box["y"] >= 0 and box["width"] == 328
    last = tab.locator("input").last.bounding_box()
    assert last["y"] > box["y"] + box["height"]


def test_it_works_inside_a_frame(open_teaser, tmp_path, browser):
    open_teaser(flat_strips())
    outer = tmp_path / "outer.html"
    outer.write_text('<iframe src="teaser.html" width="340" height="600"></iframe>')
    tab = browser.new_page(viewport={"width": 400, "height": 700})
    tab.goto(outer.as_uri())
    inner = tab.frame_locator("iframe")
    inner.locator("html[data-ready]").wait_for(state="attached")
    inner.locator("input").first.press("End")
    assert inner.locator(".value").first.inner_text() == "+4"
    assert inner.locator("html").evaluate("html => html.scrollWidth") <= 340
    assert inner.locator("a").first.get_attribute("target") == "_blank"
    tab.close()


def test_hostile_texts_do_not_run(open_teaser):
    strips = [Strip(HOSTILE, s.positions, s.frames) for s in flat_strips()]
    tab = open_teaser(strips, HOSTILE)
    tab.keyboard.press("Tab")
    tab.keyboard.press("End")
    assert colour(tab) == flat(0, 8)
    assert HOSTILE in tab.locator("canvas").get_attribute("aria-label")
    assert tab.problems == []
