"""As somebody new would: a training file becomes a Space of one's own, and an iframe in one's page.

training pickle -> sefa.convert -> a private repository -> variables -> the page -> files, names
-> the page with names -> a page of another origin
"""

import http.server
import json
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import sefa
from sefa.directions_file import read_directions
from sefa.editing import Edit, Recipe
from sefa.pictures import columns, recipe_of_png
from sefa.rendering import LoadedModel
from tests.helpers import tiny_state_dict
from tests.hub import FakeHub
from tests.nvidia_files import nvidia_pickle, nvidia_stylegan2
from tests.pages import Page, decode
from tests.serving import ROOT, Server
from tests.test_animation import played
from tests.test_teaser import data_of
from tests.visitor import FRAMES, Visitor

MODEL, BROKEN = "you/your-model/model.safetensors", "you/broken/model.safetensors"
TOKEN = "hf_ours"
RECIPE = Recipe(
    model=MODEL,
    seed=7,
    num_samples=2,
    layers="0-1",
    num_semantics=3,
    edits=(Edit.along("0-1", 1, 1.5),),
)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """(starts a Space with these variables, the converted file): its Hub is private."""
    folder = tmp_path_factory.mktemp("space")
    # What training left behind, and what the README says to do with it.
    state = tiny_state_dict(64, seed=3)
    snapshot, converted = folder / "network-snapshot.pkl", folder / "model.safetensors"
    snapshot.write_bytes(nvidia_pickle({"G": None, "D": None, "G_ema": nvidia_stylegan2(state)}))
    told = subprocess.run(
        [sys.executable, "-m", "sefa.convert", str(snapshot), str(converted)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "stylegan2 (NVIDIA" in told.stdout and "differ by at most 0 " in told.stdout
    repos = {
        "you/your-model": {"files": {"model.safetensors": converted.read_bytes()}, "private": True},
        "you/broken": {"files": {"model.safetensors": b"not a checkpoint"}},
    }
    servers = []
    with FakeHub(repos, tokens=(TOKEN,)) as hub:

        def start(name: str = "owner", **variables: str) -> Server:
            environment = {
                **hub.environment(folder / name),
                "SEFA_DEVICE": "cpu",
                "SEFA_CACHE": str(folder / "measurements"),
                "SEFA_MEASURE_SECONDS": "0",
                **variables,
            }
            servers.append(Server(**environment))
            return servers[-1]

        yield start, converted
        for server in servers:
            server.stop()


OWNER = {
    "HF_TOKEN": TOKEN,
    "SEFA_MODELS": f"{MODEL}, {BROKEN}, nonsense",
    "SEFA_TITLE": "Postcards <3",
    "SEFA_DESCRIPTION": "Trained on [ten thousand](https://example.org/postcards) postcards.",
    "SEFA_RECIPE": f"https://you-your-space.hf.space/?{RECIPE.to_query()}",
}


@pytest.fixture(scope="module")
def owner(space):
    server = space[0](**OWNER)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def model(space) -> LoadedModel:
    return LoadedModel(sefa.load_generator(space[1]))


def save(visitor: Visitor, name: str, folder: Path, count: int = 1) -> list[Path]:
    """What a button of Export saves, under the names that the browser gives it, in their order.

    Of several files any may reach the browser first.
    """
    downloads: list = []

    def note(download):
        downloads.append(download)

    visitor.page.on("download", note)
    with visitor.page.expect_download(timeout=60_000):
        visitor.page.click(f"#save-{name}")
    while len(downloads) < count:
        visitor.page.wait_for_timeout(50)
    visitor.page.remove_listener("download", note)
    downloads.sort(key=lambda download: download.suggested_filename)
    paths = [folder / download.suggested_filename for download in downloads]
    for download, path in zip(downloads, paths, strict=True):
        download.save_as(path)
    visitor.page.wait_for_function(
        "document.querySelector('#export-status').innerText.startsWith('Saved ')"
    )
    return paths


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def table(visitor: Visitor) -> dict[str, str]:
    """What About says of everything that it looked at."""
    rows = visitor.page.locator("#about table tbody tr")
    found = {}
    for i in range(rows.count()):
        what, *rest = rows.nth(i).locator("th, td").all_inner_texts()
        found.setdefault(what, " ".join(rest))
    return found


def test_the_page_is_the_owners(visit, owner):
    visitor = visit(owner.url).settled()
    page = visitor.page
    visitor.wait(RECIPE)
    assert visitor.text("#intro h1") == "Postcards <3" and page.title() == "SeFa: Postcards <3"
    assert "Trained on ten thousand postcards." in visitor.text("#intro")
    link = page.locator("#intro a", has_text="ten thousand")
    assert link.get_attribute("href") == "https://example.org/postcards"
    notice = visitor.text("#notice")
    assert "nonsense" in notice and "user/repo/file.pth@revision" in notice
    assert "64 px" in visitor.text("#model-facts") and page.locator(
        "#model input"
    ).input_value() in (MODEL,)
    # Another visitor's choice that does not open stays with what there is, and says why.
    page.click("#model input")
    page.get_by_role("option", name=BROKEN).click()
    page.wait_for_function("document.querySelector('#notice')?.innerText.includes('Staying with')")
    assert "model.safetensors" in visitor.text("#notice")
    visitor.wait(RECIPE)
    visitor.show("About")
    page.wait_for_function(
        "name => [...document.querySelectorAll('#about tr')].some("
        "row => row.innerText.includes(name) && row.innerText.includes('refused'))",
        arg=f"Model {BROKEN}",
    )
    found = table(visitor)
    assert "loaded" in found[f"Model {MODEL}"] and "stylegan2, 64 px" in found[f"Model {MODEL}"]
    assert "refused" in found[f"Model {BROKEN}"] and "model.safetensors" in found[f"Model {BROKEN}"]
    assert "refused" in found["SEFA_MODELS"] and "nonsense" in found["SEFA_MODELS"]
    assert "set" in found["HF_TOKEN"] and TOKEN not in page.content()
    assert all("set" in found[name] for name in ("SEFA_TITLE", "SEFA_DESCRIPTION", "SEFA_RECIPE"))


def test_everything_can_be_taken_away(visit, owner, model, tmp_path):
    visitor = visit(owner.url).settled()
    page = visitor.page
    visitor.wait(RECIPE)
    visitor.show("Export")
    stem = MODEL.replace("/", "_")
    images = model.images(RECIPE).astype(int)

    (path,) = save(visitor, "image", tmp_path)
    assert path.name == f"{stem}-seed7.png" and np.abs(pixels(path) - images[0]).max() <= 1
    (path,) = save(visitor, "grid", tmp_path)
    assert pixels(path).shape == (64, 2 * 64 + 8, 3) and columns(2) == 2
    assert np.abs(pixels(path)[:, 72:] - images[1]).max() <= 1
    assert recipe_of_png(path.read_bytes()) == (RECIPE, [])

    pages = save(visitor, "pages", tmp_path, count=2)
    assert [path.name for path in pages] == [
        f"{stem}-sample_first.html",
        f"{stem}-semantic_first.html",
    ]
    for path in pages:
        found = Page(path.read_text())
        assert [len(row) for row in found.images] == [11] * (2 * 3)
        assert {decode(image["src"]).shape for row in found.images for image in row} == {
            (256, 256, 3)
        }
    (path,) = save(visitor, "teaser", tmp_path)
    teaser = Page(path.read_text())
    assert "Postcards" in teaser.title and len(data_of(path.read_text())["strips"]) == 3

    for kind in ("mp4", "gif", "webp"):
        page.locator("#animate-format").get_by_text(kind, exact=False).first.click()
        (path,) = save(visitor, "animation", tmp_path)
        assert path.name == f"{stem}-seed7-animation.{kind}"
        frames, seconds, _ = played(path.read_bytes(), kind)
        assert seconds == pytest.approx(2, abs=0.011) and frames.shape[1:] == (256, 256, 3)
        assert 44 <= len(frames) <= 50  # equal frames of a GIF and a WebP are one, shown longer
        assert np.ptp(frames.astype(int).mean((1, 2)), axis=0).max() > 1  # it moves

    (path,) = save(visitor, "directions", tmp_path)
    file = read_directions(path)
    assert file.model == MODEL and len(file.rows) == 3
    (path,) = save(visitor, "vectors", tmp_path)
    expected = model.directions("0-1").vectors[:3].numpy()
    np.testing.assert_allclose(np.load(path), expected, atol=1e-6)
    for row, vector in zip(file.rows, expected, strict=True):
        np.testing.assert_allclose(row.vector.numpy(), vector, atol=1e-6)


def test_a_name_stays_with_the_space(visit, owner, space, tmp_path):
    visitor = visit(owner.url).settled()
    page = visitor.page
    visitor.wait(RECIPE)
    visitor.show("Explore")
    page.click("#semantic-1 .pencil")
    page.keyboard.type("More sky")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('#semantic-1')?.innerText.includes('More sky →')"
    )
    visitor.show("Export")
    (path,) = save(visitor, "names", tmp_path)
    (label,) = json.loads(path.read_text())["labels"]
    assert (label["layers"], label["index"], label["name"]) == ("0-1", 1, "More sky")

    again = space[0](**OWNER, SEFA_NAMES=str(path))
    other = visit(again.url).settled()
    other.wait(RECIPE)
    assert "More sky → · 001" in " ".join(other.text("#semantic-1").split())
    assert np.abs(other.pixels() - visitor.pixels()).max() <= 3
    other.show("About")
    other.page.wait_for_function(
        "name => document.querySelector('#about')?.innerText.includes(name)",
        arg=f"For the weights of {MODEL}.",
    )
    other.page.close()  # before its server goes
    again.stop()


# --- in somebody's page ---------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path):
    """(a folder, the address where it is served): another origin."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    site = tmp_path / "site"
    site.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield site, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("phone", [False, True], ids=["1280", "360"])
def test_embedded_in_a_page_of_another_origin(visit, contexts, owner, elsewhere, phone):
    site, address = elsewhere
    visitor = visit(owner.url).settled()
    visitor.wait(RECIPE)
    visitor.show("Export")
    theme = "light" if phone else "dark"
    visitor.page.locator(".share .theme select").select_option(theme)
    visitor.page.locator("[data-kind=embed] button").click()
    snippet = visitor.page.evaluate("navigator.clipboard.readText()")
    assert snippet.startswith("<iframe ") and f"__theme={theme}" in snippet
    assert unescape(snippet).count(f"{owner.url}/?embed=1") == 1
    (site / "index.html").write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Ours</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"></head>'
        f"<body><h1>Our paper</h1>{snippet}</body></html>"
    )
    page = contexts[phone].new_page()
    page.set_default_timeout(30_000)
    problems: list[str] = []
    hosts = {urlsplit(url).netloc for url in (address, owner.url)}
    page.on(
        "request",
        lambda request: (
            problems.append(request.url[:200])
            if urlsplit(request.url).scheme not in ("data", "blob")
            and urlsplit(request.url).netloc not in hosts
            else None
        ),
    )
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.goto(f"{address}/index.html")
    frame = page.frame_locator("iframe")
    frames = frame.locator(FRAMES)
    inside = page.wait_for_selector("iframe").content_frame()
    frame.locator(f"{FRAMES} img.after").first.wait_for()
    inside.wait_for_function(
        f"q => document.querySelector('{FRAMES}')?.dataset.query === q", arg=RECIPE.to_query()
    )
    inside.wait_for_function(
        f"() => Number(document.querySelector('{FRAMES}').dataset.sequence) > 0"
    )
    assert frame.locator("#semantic-0 input[type=range]").is_visible() and frames.is_visible()
    for hidden in ("#intro p", "#tabs", "#panel-explore", "#panel-edit", "#panel-export", "footer"):
        assert not frame.locator(hidden).first.is_visible(), hidden
    assert inside.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    wide = "document.documentElement.scrollWidth - window.innerWidth"
    assert page.evaluate(wide) <= 0 and inside.evaluate(wide) <= 0

    before = frames.locator("img.after").first.get_attribute("src")
    slider = frame.locator("#semantic-0 input[type=range]")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], y, steps=6)
    page.mouse.up()
    units = float(slider.input_value())
    assert units > 0
    edited = replace(RECIPE, edits=(Edit.along("0-1", 0, units), *RECIPE.edits))
    inside.wait_for_function(
        f"q => document.querySelector('{FRAMES}').dataset.query === q", arg=edited.to_query()
    )
    assert frames.locator("img.after").first.get_attribute("src") != before
    with page.expect_popup() as popup:
        frame.locator("a.full").click()
    whole = popup.value
    whole.wait_for_selector(f"{FRAMES} img.after")
    whole.wait_for_function(
        f"q => document.querySelector('{FRAMES}').dataset.query === q", arg=edited.to_query()
    )
    assert whole.locator("#tabs").is_visible() and "embed" not in whole.url
    whole.close()
    page.close()
    assert problems == []


# --- what the owner got wrong ---------------------------------------------------------------------

NOT_OPENED = {
    "a recipe of a stranger's model": (
        {"SEFA_MODELS": "nonsense", "SEFA_RECIPE": "v=1&model=someone/else&seed=3"},
        ["'nonsense' is left out", "SEFA_RECIPE is left out: there is no model 'someone/else'"],
        ["SEFA_MODELS", "SEFA_RECIPE"],
    ),
    "no token": (
        {"SEFA_MODELS": f"{MODEL} nonsense"},
        ["'nonsense' is left out", "set HF_TOKEN", "Showing avatars instead"],
        ["SEFA_MODELS", f"Model {MODEL}"],
    ),
}


@pytest.mark.parametrize("case", NOT_OPENED.values(), ids=NOT_OPENED)
def test_the_page_starts_whatever_the_variables_say(visit, space, case):
    variables, said, refused = case
    server = space[0]("stranger", **variables)
    visitor = visit(server.url).settled()
    assert Recipe.from_query(visitor.query)[0].model == "avatars"
    visitor.page.wait_for_selector("#notice")
    visitor.page.wait_for_function(
        "text => document.querySelector('#notice')?.innerText.includes(text)", arg=said[-1]
    )
    assert all(text in visitor.text("#notice") for text in said), visitor.text("#notice")
    visitor.show("About")
    visitor.page.wait_for_function(
        "names => names.every(name => [...document.querySelectorAll('#about tr')].some("
        "row => row.innerText.includes(name) && row.innerText.includes('refused')))",
        arg=refused,
    )
    visitor.page.close()  # before its server goes
    server.stop()
