"""The HTML pages: what they show and in which order, that they are self-contained, and sort."""

import base64
import hashlib
import os
import re
import stat
from dataclasses import replace

import numpy as np
import pytest

from sefa.export import (
    MethodComparison,
    TraversalGrid,
    encode_images,
    fitted_size,
    format_distance,
    methods_chunks,
    page_chunks,
    resize_images,
    visualisation_page,
    write_methods_page,
    write_pages,
)
from sefa.files import write_atomically
from tests.pages import Page, decode

HOSTILE = """</title><script>alert("1")</script> & 'quoted' <img src=x onerror=alert(2)>"""


def random_images(*shape, seed=0):
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def make_grid(images, **changes):
    """A grid of images uint8 [N, K, S, H, W, C], PNG, with plain texts."""
    n, k, s, height, width, _ = images.shape
    grid = TraversalGrid(
        model="avatars",
        layers="0-1",
        samples=[f"seed {i}" for i in range(n)],
        eigenvalues=[10.0 / 2**i for i in range(k)],
        distances=np.linspace(-3, 3, s).tolist(),
        images=[[encode_images(strip, "png") for strip in sample] for sample in images],
        image_size=(width, height),
        command="python -m sefa avatars -L 0-1",
    )
    return replace(grid, **changes)


@pytest.fixture(scope="module")
def images():
    return random_images(2, 3, 5, 6, 8, 3)


@pytest.fixture(scope="module")
def grid(images):
    return make_grid(images)


def test_a_page_has_a_row_a_pair_and_an_image_a_step(grid):
    for order in ("sample_first", "semantic_first"):
        page = Page(visualisation_page(grid, order))
        assert len(page.rows) == 2 * 3
        assert all([tag for tag, _ in row] == ["th"] * 2 + ["td"] * 5 for row in page.rows)
        assert [len(row) for row in page.images] == [5] * 6


def test_rows_come_in_the_order_of_the_page(grid):
    by_sample = Page(visualisation_page(grid, "sample_first"))
    assert by_sample.pairs == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert by_sample.columns == ["Sample", "Semantic", "-3", "-1.5", "0", "1.5", "3"]

    by_semantic = Page(visualisation_page(grid, "semantic_first"))
    assert by_semantic.pairs == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    assert by_semantic.columns == ["Semantic", "Sample", "-3", "-1.5", "0", "1.5", "3"]


def test_groups_are_marked_where_the_first_column_changes(grid):
    def starts(order):
        page = Page(visualisation_page(grid, order))
        rows = [attrs for tag, attrs in page.elements if tag == "tr"][1:]
        return [i for i, attrs in enumerate(rows) if attrs.get("class") == "group"]

    assert starts("sample_first") == [0, 3]
    assert starts("semantic_first") == [0, 2, 4]


def test_every_image_is_where_it_belongs_to_the_pixel(grid, images):
    for order in ("sample_first", "semantic_first"):
        page = Page(visualisation_page(grid, order))
        for sample, semantic in page.pairs:
            np.testing.assert_array_equal(page.strip(sample, semantic), images[sample, semantic])


def test_images_say_what_they_are_and_how_large(grid):
    image = Page(visualisation_page(grid, "semantic_first")).images[1][3]
    assert image["alt"] == "sample 1, semantic 0, distance 1.5"
    assert (image["width"], image["height"]) == ("8", "6")


def test_the_heading_says_how_the_page_came_to_be(grid):
    page = Page(visualisation_page(replace(grid, facts=[("Origin", "x")]), "sample_first"))
    assert page.texts["h1"] == ["avatars"]
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert facts["Layers"] == "0-1"
    assert facts["Eigenvalues"] == "0: 10, 1: 5, 2: 2.5"
    assert facts["Origin"] == "x"
    assert page.texts["code"] == ["python -m sefa avatars -L 0-1"]


def test_names_stand_under_the_numbers(grid):
    page = Page(visualisation_page(replace(grid, names=["Smile →", "", HOSTILE]), "sample_first"))
    notes = ["seed 0", "Smile →", "eigenvalue 10", "seed 0", "eigenvalue 5"]
    assert page.texts["small"][:7] == [*notes, "seed 0", HOSTILE]
    assert page.pairs == Page(visualisation_page(grid, "sample_first")).pairs
    with pytest.raises(ValueError, match="3 semantics have 1 names"):
        replace(grid, names=["Smile →"])


def test_the_page_is_valid_where_readers_and_phones_look(grid):
    page = Page(visualisation_page(grid, "sample_first"))  # the parser checks the nesting
    assert page.text.startswith("<!DOCTYPE html>\n")
    assert ("html", {"lang": "en"}) in page.elements
    assert ("meta", {"charset": "utf-8"}) in page.elements
    names = [attrs.get("name") for tag, attrs in page.elements if tag == "meta"]
    assert "viewport" in names
    assert page.title == "avatars: semantics by sample"
    headers = [attrs for tag, attrs in page.elements if tag == "th"][: 2 + 5]
    assert all(attrs["scope"] == "col" for attrs in headers)
    assert [attrs.get("aria-sort") for attrs in headers] == ["ascending"] + [None] * 6


def test_nothing_is_asked_of_the_network(grid):
    page = Page(visualisation_page(grid, "sample_first"))
    for tag, attrs in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert attrs.get(name, "data:").startswith("data:"), (tag, name)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[^\"]*", "", page.text))


def test_the_policy_allows_this_script_and_no_other(grid):
    page = Page(visualisation_page(grid, "sample_first"))
    [script] = page.texts["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [a["content"] for _, a in page.elements if "http-equiv" in a]
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_hostile_texts_stay_text(images):
    hostile = make_grid(
        images,
        model=HOSTILE,
        layers=HOSTILE,
        samples=[HOSTILE, "seed 1"],
        facts=[(HOSTILE, HOSTILE)],
        command=HOSTILE,
    )
    harmless = Page(visualisation_page(make_grid(images, facts=[("a", "b")]), "sample_first"))
    page = Page(visualisation_page(hostile, "sample_first"))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]
    assert page.texts["h1"] == [HOSTILE]
    assert page.texts["code"] == [HOSTILE]
    assert page.title == f"{HOSTILE}: semantics by sample"
    assert page.texts["small"][0] == HOSTILE


def test_jpeg_is_close_and_small():
    ramp = np.linspace(0, 255, 64)
    smooth = np.stack([np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64))], axis=-1)
    image = np.concatenate([smooth, smooth[..., :1]], axis=-1).astype(np.uint8)[None]
    [jpeg], [png] = encode_images(image, "jpeg"), encode_images(image, "png")
    assert jpeg.startswith("data:image/jpeg;base64,")
    assert png.startswith("data:image/png;base64,")
    assert np.abs(decode(jpeg).astype(int) - image[0]).max() <= 6


def test_grey_images_stay_grey():
    images = random_images(1, 1, 2, 5, 5, 1)
    page = Page(visualisation_page(make_grid(images), "sample_first"))
    np.testing.assert_array_equal(page.strip(0, 0), images[0, 0])


@pytest.mark.parametrize(
    "images", [np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 4, 4, 2), np.uint8)]
)
def test_only_uint8_images_of_one_or_three_channels_are_taken(images):
    with pytest.raises(ValueError, match="expected uint8"):
        encode_images(images)


def test_resizing_keeps_the_shape_of_the_image():
    assert fitted_size(1024, 512, 256) == (256, 128)
    assert fitted_size(3, 3000, 100) == (1, 100)
    assert resize_images(random_images(2, 10, 20, 3), 40).shape == (2, 20, 40, 3)
    assert resize_images(random_images(2, 20, 10, 1), 10).shape == (2, 10, 5, 1)


def test_resizing_to_the_same_size_changes_nothing():
    images = random_images(2, 8, 8, 3)
    assert resize_images(images, 8) is images


def test_resizing_keeps_flat_colours_and_averages():
    # A flat image stays flat under any kernel that sums to one.
    flat = np.full((1, 8, 8, 3), 77, np.uint8)
    assert (resize_images(flat, 4) == 77).all()
    assert (resize_images(flat, 32) == 77).all()
    # Stripes finer than the new pixels must become their mean, not one of the two colours.
    stripes = np.zeros((1, 64, 64, 1), np.uint8)
    stripes[:, :, ::2] = 200
    assert np.abs(resize_images(stripes, 8).astype(int) - 100)[:, 1:-1, 1:-1].max() <= 3


def test_distances_are_short_numbers():
    assert [format_distance(d) for d in (-3.0, -1.7999999999, 0.0, 1 / 3, 15)] == [
        "-3",
        "-1.8",
        "0",
        "0.3333",
        "15",
    ]


def test_a_grid_whose_parts_disagree_is_refused(grid):
    for change in ({"samples": ["a"]}, {"eigenvalues": [1.0]}, {"distances": [0.0]}):
        with pytest.raises(ValueError, match="images must be nested as"):
            replace(grid, **change)
    with pytest.raises(ValueError, match="order must be one of"):
        list(page_chunks(grid, "random"))


def test_both_pages_are_written_and_readable_by_others(grid, tmp_path):
    paths = write_pages(tmp_path, "a_N2", grid)
    assert sorted(os.listdir(tmp_path)) == ["a_N2_sample_first.html", "a_N2_semantic_first.html"]
    for path, order in zip(paths, ("sample_first", "semantic_first"), strict=True):
        assert path.read_text(encoding="utf-8") == visualisation_page(grid, order)
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(paths[0].stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_a_page_that_fails_halfway_leaves_the_old_one(tmp_path, stop):
    def chunks():
        yield "half"
        raise stop

    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(stop):
        write_atomically(path, chunks())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_name_that_is_no_unicode_does_not_stop_the_page(grid, tmp_path):
    [path, _] = write_pages(tmp_path, "a", replace(grid, model="caf\udce9"))
    assert Page(path.read_text(encoding="utf-8")).texts["h1"] == ["caf?"]


# --- directions that have no eigenvalues, and methods side by side ---------------------------------


def test_what_stands_under_a_number_is_named_or_left_out(grid):
    page = Page(visualisation_page(replace(grid, value_name="variance"), "sample_first"))
    assert page.texts["small"][:2] == ["seed 0", "variance 10"]
    assert page.texts["dt"][:2] == ["Layers", "Variances"]
    page = Page(visualisation_page(replace(grid, eigenvalues=[]), "sample_first"))
    assert page.texts["small"] == ["seed 0"] * 3 + ["seed 1"] * 3
    assert page.texts["dt"] == ["Layers", "Command"]
    assert page.pairs == Page(visualisation_page(grid, "sample_first")).pairs


METHODS = ["SeFa", "PCA", "Random"]


def make_comparison(steps=5, **changes):
    """(comparison of 2 samples x 3 directions x 3 methods, their images [3, 2, 3, S, 6, 8, 3])."""
    images = random_images(3, 2, 3, steps, 6, 8, 3)
    comparison = MethodComparison(
        methods=METHODS,
        grids=[make_grid(part, eigenvalues=[]) for part in images],
        notes=[[[f"note {m}{k}"] for k in range(3)] for m in range(3)],
        main_facts=[("Equal change", "of the images")],
        facts=[("Samples", "two")],
        command="python -m sefa avatars --compare",
    )
    return replace(comparison, **changes), images


def methods_page(comparison):
    return Page("".join(methods_chunks(comparison)))


def test_methods_stand_together_for_each_sample_and_direction():
    comparison, images = make_comparison()
    page = methods_page(comparison)
    order = [(n, k, m) for n in range(2) for k in range(3) for m in range(3)]
    values = [tuple(int(a["data-value"]) for tag, a in row if tag == "th") for row in page.rows]
    assert values == order
    for (n, k, m), row in zip(order, page.images, strict=True):
        np.testing.assert_array_equal([decode(i["src"]) for i in row], images[m, n, k])
    assert page.images[4][3]["alt"] == "sample 0, PCA 1, distance 1.5"
    assert page.texts["button"] == ["Sample", "Direction", "Method"]
    assert page.title == "avatars: SeFa, PCA and Random"
    groups = [a for tag, a in page.elements if tag == "tr" and "group" in a.get("class", "")]
    assert len(groups) == 2


def test_notes_stand_under_the_method():
    notes = [[["Smile →", "alpha ±1"], [], ["a"]], [["b"], [HOSTILE], ["c"]], [["d"], ["e"], ["f"]]]
    page = methods_page(make_comparison(notes=notes)[0])
    found = [text for text in page.texts["small"] if not text.startswith("seed")]
    assert found == 2 * ["Smile →", "alpha ±1", "b", "d", HOSTILE, "e", "a", "c", "f"]


def test_the_heading_of_methods_says_what_is_equal_and_how_to_make_it_again():
    comparison, _ = make_comparison()
    page = methods_page(comparison)
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    expected = {"Layers": "0-1", "Equal change": "of the images", "Samples": "two", "Command": ""}
    assert facts == expected
    assert page.texts["code"] == ["python -m sefa avatars --compare"]
    assert page.texts["summary"] == ["How this was made"]


@pytest.mark.parametrize(
    ("steps", "kept"), [(1, [0]), (5, [0, 1, 2, 3, 4]), (11, [0, 2, 5, 8, 10])]
)
def test_a_narrow_screen_keeps_the_ends_and_the_middle(steps, kept):
    page = methods_page(make_comparison(steps)[0])
    for row in page.rows:
        cells = [attrs for tag, attrs in row if tag == "td"]
        assert [i for i, attrs in enumerate(cells) if "class" not in attrs] == kept
    assert ("This narrow screen shows 5 of the 11 steps." in page.text) == (steps == 11)


def test_the_page_of_methods_is_self_contained_and_texts_stay_text():
    hostile, _ = make_comparison(
        methods=[HOSTILE] * 3,
        main_facts=[(HOSTILE, HOSTILE)],
        facts=[(HOSTILE, HOSTILE)],
        command=HOSTILE,
    )
    page, harmless = methods_page(hostile), methods_page(make_comparison()[0])
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]
    assert not re.search(
        r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[^\"]*", "", harmless.text)
    )
    digest = base64.b64encode(hashlib.sha256(page.texts["script"][0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.text and len(page.texts["script"]) == 1


def test_methods_that_show_different_things_are_refused():
    comparison, _ = make_comparison()
    other = replace(comparison.grids[0], layers="2")
    for change in ({"methods": ["SeFa"]}, {"grids": [*comparison.grids[:2], other]}):
        with pytest.raises(ValueError, match="the same samples, directions and distances"):
            replace(comparison, **change)
    for notes in ([[[]] * 3] * 2, [[[]] * 2] * 3):
        with pytest.raises(ValueError, match="must have its notes"):
            replace(comparison, notes=notes)


# --- in a browser ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "steps"), [(1280, 11), (360, 5)])
def test_all_methods_fit_the_window_and_sort(browser, tmp_path, width, steps):
    comparison, _ = make_comparison(steps=11)
    path = write_methods_page(tmp_path, "page", comparison)
    assert path.name == "page_methods.html"
    tab = browser.new_page(viewport={"width": width, "height": 700})
    requests, problems = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text))
    tab.goto(path.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    row = tab.locator("tbody tr").first.locator("img:visible")
    assert row.count() == steps
    # Every image stands under its own distance.
    heads = tab.locator("thead th:visible").all()[3:]
    for head, image in zip(heads, row.all(), strict=True):
        box, under = head.bounding_box(), image.bounding_box()
        assert box["x"] - 1 <= under["x"] < box["x"] + box["width"]

    def methods():
        return tab.locator("tbody tr").evaluate_all("rows => rows.map(r => r.cells[2].innerText)")

    assert [text.split("\n")[0] for text in methods()[:4]] == ["SeFa", "PCA", "Random", "SeFa"]
    tab.get_by_role("button", name="Method").click()
    assert [text.split("\n")[0] for text in methods()] == ["SeFa"] * 6 + ["PCA"] * 6 + [
        "Random"
    ] * 6
    assert tab.locator("tr.group").count() == 3
    tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert tab.locator("thead").bounding_box()["y"] <= 1 or tab.locator(
        "thead th"
    ).first.bounding_box()["y"] == pytest.approx(0, abs=1)
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert problems == []
    tab.close()


def test_columns_sort_in_a_browser(browser, tmp_path):
    # Twelve semantics, so that sorting as text (0, 1, 10, 11, 2) would show.
    grid = make_grid(random_images(2, 12, 1, 4, 4, 3), model=HOSTILE)
    [path, _] = write_pages(tmp_path, "page", grid)
    tab = browser.new_page()
    requests, problems = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("dialog", lambda dialog: problems.append(dialog.message))
    tab.goto(path.as_uri())

    def rows():
        texts = tab.locator("tbody tr").all_inner_texts()
        return [tuple(map(int, re.findall(r"(?:Sample|Semantic) (\d+)", text))) for text in texts]

    def sorted_as():
        return [th.get_attribute("aria-sort") for th in tab.locator("thead th").all()[:2]]

    pairs = [(sample, semantic) for sample in range(2) for semantic in range(12)]
    assert rows() == pairs
    assert sorted_as() == ["ascending", None]

    tab.get_by_role("button", name="Semantic").click()
    assert rows() == sorted(pairs, key=lambda pair: pair[1])
    assert sorted_as() == [None, "ascending"]
    assert tab.locator("tr.group").count() == 12

    # From the keyboard; ties keep their order (semantics ascend within a sample).
    tab.keyboard.press("Shift+Tab")
    tab.keyboard.press("Enter")
    assert rows() == pairs
    tab.keyboard.press("Enter")
    assert rows() == [(1, k) for k in range(12)] + [(0, k) for k in range(12)]
    assert sorted_as() == ["descending", None]
    assert tab.locator("tr.group").count() == 2

    # Every image is decoded, the header stays in view, and nothing but the file was asked for.
    assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth === 4)")
    tab.set_viewport_size({"width": 400, "height": 300})
    tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert tab.locator("thead th").first.bounding_box()["y"] == pytest.approx(0, abs=1)
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert problems == []
    tab.close()


def test_a_large_image_full_of_noise_is_encoded():
    noise = np.random.RandomState(0).randint(0, 256, (1, 512, 512, 3), np.uint8)
    (uri,) = encode_images(noise, "jpeg")
    assert decode(uri).shape == (512, 512, 3)
