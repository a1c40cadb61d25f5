"""What the buttons of Export write, against the library; what they refuse, in one sentence."""

import json
import math
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from sefa.animation import FORMATS, plan
from sefa.directions_file import read_directions
from sefa.editing import MAX_SEMANTICS, Edit, Mix, Named, Recipe
from sefa.export import resize_images
from sefa.generators import FAMILIES
from sefa.labels import parse_labels
from sefa.pictures import grid, one_of, recipe_of_png
from sefa.teaser import MAX_STRIPS, STEPS, strip_recipes
from tests.helpers import TinyConditional, is_one_sentence, tiny_conditional, tiny_stylegan2
from tests.pages import Page, decode
from tests.test_animation import blurred, played
from tests.test_app import open_local
from tests.test_teaser import data_of, images_of
from ui import downloads, engine, layout, measuring
from ui.controls import CONTROLS

RECIPE = Recipe(
    seed=5,
    num_samples=3,
    num_semantics=4,
    edits=(Edit.along("all", 1, 2.0), Edit.along("0-1", 4, -1.5)),
    names=(Named("all", ((2, 1.0),), "Longer hair", -1),),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where Gradio puts what it serves."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    return tmp_path / "served"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Opens a small model by what is in its file."""

    def tiny(kind: str) -> engine.OpenModel:
        path = tmp_path / f"{kind}.safetensors"
        if kind == "classes":
            monkeypatch.setitem(FAMILIES, "tiny", TinyConditional)
            return open_local(monkeypatch, kind, tiny_conditional(path))
        return open_local(monkeypatch, kind, tiny_stylegan2(path, num_channels=1))

    return tiny


def sent(model: engine.OpenModel, recipe: Recipe) -> list:
    """The values of the controls and the sliders on a page that shows a recipe."""
    values = layout.first_values(layout.lay_out(model, recipe, []))
    sliders = [values[f"slider {i}"].get("value", 0.0) for i in range(MAX_SEMANTICS)]
    return [*(values[name].get("value") for name in CONTROLS), *sliders]


def press(name: str, recipe: Recipe = RECIPE, sample=0, heard=None, **options):
    """(what a button's event answers with: paths or None, the text beside it)."""
    model = engine.open_model(recipe.model)
    values = sent(model, recipe)
    if name == "animation":
        default = {"moves": [0], "format": "mp4", "easing": "smooth", "seconds": 0.32, "loop": True}
        chosen = {**default, "everybody": False, **options}
        values += [chosen[key] for key in [*default, "everybody"]]
    told = json.dumps({"sample": sample})

    def progress(done: float, desc: str = "") -> None:
        assert 0 <= done <= 1 and desc.startswith("Drawing, ")
        if heard is not None:
            heard.append(done)

    return downloads.SAVES[name](progress, *values, told)


def saved(name: str, *arguments, **options) -> Path:
    """The one file that a button writes."""
    (path,), said = press(name, *arguments, **options)
    assert re.fullmatch(r"<p role='status'>Saved [\d.]+ [kM]B\.</p>", said)
    return Path(path)


def shown(recipe: Recipe) -> Recipe:
    """The recipe as a page that shows it has it: its edits in the order of the sliders."""
    return downloads.read(sent(engine.open_model(recipe.model), recipe))


def drawn(recipe: Recipe) -> np.ndarray:
    return engine.open_model(recipe.model).loaded.images(recipe).astype(int)


def pixels(path: Path) -> np.ndarray:
    found = np.asarray(Image.open(path)).astype(int)
    return found[..., None] if found.ndim == 2 else found


def rows_of(recipe: Recipe) -> list:
    return layout.rows_shown(engine.open_model(recipe.model), recipe, ())


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", [0, 2])
def test_an_image_is_the_sample_that_was_chosen(folder, sample):
    path = saved("image", sample=sample)
    assert path.name == f"avatars-seed{5 + sample}.png" and folder in path.parents
    assert np.abs(pixels(path) - drawn(RECIPE)[sample]).max() <= 1
    assert recipe_of_png(path.read_bytes()) == (one_of(shown(RECIPE), sample), [])


def test_the_grid_is_of_all_samples(folder):
    path = saved("grid")
    assert path.name == "avatars-seed5-n3.png"
    assert np.abs(pixels(path) - grid(drawn(RECIPE).astype(np.uint8))).max() <= 1
    assert recipe_of_png(path.read_bytes()) == (shown(RECIPE), [])


@pytest.mark.parametrize("kind", ["grey", "classes"])
def test_other_models_have_images_too(folder, tiny, kind):
    model = tiny(kind)
    recipe = Recipe(model=kind, seed=1, num_samples=2, edits=(Edit.along("all", 2, 1.5),))
    recipe = replace(recipe, class_index=3) if kind == "classes" else replace(recipe, noise_seed=7)
    assert model.loaded.generator.num_channels == 1
    for name, i in (("image", 1), ("grid", None)):
        path = saved(name, recipe, sample=i or 0)
        assert Image.open(path).mode == "L"
        images = drawn(recipe)
        expected = grid(images.astype(np.uint8)) if i is None else images[i]
        assert np.abs(pixels(path) - expected).max() <= 1
    assert recipe_of_png(path.read_bytes()) == (recipe, [])
    frames, _, _ = played(saved("animation", recipe, format="gif").read_bytes(), "gif")
    assert frames.shape == (8, 256, 256, 3) and np.ptp(frames, axis=-1).max() == 0
    (page, _), _ = press("pages", recipe)
    assert len(Page(read_text(page)).rows) == 2 * 5
    assert len(data_of(saved("teaser", recipe).read_text())["images"]) > 1
    file = read_directions(saved("directions", recipe))
    assert file.model == kind and len(file.rows) == 5


def read_text(path: str) -> str:
    return Path(path).read_text()


# --- the two pages --------------------------------------------------------------------------------


def test_the_pages_have_every_sample_along_every_slider(folder):
    recipe = replace(RECIPE, num_samples=2, truncation_psi=0.6, mix=Mix(9, "6-9"))
    heard = []
    (first, second), said = press("pages", recipe, heard=heard)
    assert "Saved" in said and heard == sorted(heard) and len(heard) == 2 * 4
    names = [Path(path).name for path in (first, second)]
    assert names == ["avatars-sample_first.html", "avatars-semantic_first.html"]
    by_sample, by_semantic = (Page(read_text(path)) for path in (first, second))
    rows, model = rows_of(recipe), engine.open_model("avatars")
    assert len(rows) == 4 and len(by_sample.images) == len(by_semantic.images) == 8
    assert by_sample.steps == downloads.STEPS
    # Of sample 1 along slider 2: from the slider's least to its most, nothing else edited.
    middle = by_sample.images[4 + 2]
    for i, units in ((0, -1), (5, 0), (10, 1)):
        alpha = units * rows[2].limit * rows[2].step.alpha
        edits = (replace(rows[2].step, alpha=alpha),) if units else ()
        image = model.loaded.images(replace(one_of(recipe, 1), edits=edits))
        expected = resize_images(image, downloads.PAGE_SIZE)[0]
        assert np.abs(decode(middle[i]["src"]).astype(int) - expected).mean() < 3
        assert middle[i]["src"] == by_semantic.images[2 * 2 + 1][i]["src"]
    text = read_text(first)
    assert "Longer hair" in text and "seed 6" in text and text.count(rows[0].label) >= 2


# --- animations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_an_animation_begins_with_the_recipe_itself(folder, kind):
    heard = []
    path = saved("animation", sample=1, moves=[0, 2], format=kind, heard=heard)
    assert path.name == f"avatars-seed6-animation.{kind}"
    frames, seconds, _ = played(path.read_bytes(), kind)
    assert seconds == pytest.approx(0.64, abs=0.011) and frames.shape[1:] == (256, 256, 3)
    one = one_of(shown(RECIPE), 1)
    rows = rows_of(RECIPE)
    moves = [replace(rows[i].step, alpha=downloads.move_of(rows[i]).alpha) for i in (0, 2)]
    recipes = plan(one, moves, 8)
    assert recipes[0] == one and len(frames) == 16 and heard[-1] == 1
    for i in (0, 3, 8, 11):
        expected = resize_images(drawn(recipes[i]).astype(np.uint8), 256)
        difference = np.abs(blurred(frames[i : i + 1]) - blurred(expected))
        assert difference.mean() < 6, (kind, i)
    assert np.abs(frames[3].astype(int) - frames[0]).mean() > 2


def test_all_samples_move_together_and_once_is_once(folder):
    path = saved("animation", moves=[1], format="webp", everybody=True, loop=False, seconds=0.2)
    frames, _, loop = played(path.read_bytes(), "webp")
    assert frames.shape == (5, 520, 520, 3) and loop == 1
    middle = [change for change in shown(RECIPE).edits if change.layers != "all"]
    expected = resize_images(drawn(replace(RECIPE, edits=tuple(middle))).astype(np.uint8), 256)
    assert np.abs(blurred(frames[2:3]) - blurred(grid(expected)[None])).mean() < 3


# --- the teaser -----------------------------------------------------------------------------------


def test_the_teaser_has_the_sliders_in_use_first(folder, monkeypatch):
    monkeypatch.setenv("SEFA_TITLE", "Our faces")
    recipe = replace(RECIPE, num_semantics=8)
    page = saved("teaser", recipe, sample=1).read_text()
    assert page.isascii() and len(page) <= 3_000_000 and "Our faces" in page
    # On the page the edit in layers 0-1 has no slider, so the first is that of direction 1.
    rows = rows_of(recipe)
    used = [rows[1], *(row for row in rows if row is not rows[1])][:MAX_STRIPS]
    strips = data_of(page)["strips"]
    assert len(strips) == MAX_STRIPS == len(used)
    names = re.findall(r"<label[^>]*>([^<]+)", page)
    assert names[0].strip() == used[0].label and "Longer hair" in page
    signs = [-1 if row is rows[2] else 1 for row in used]
    one = one_of(recipe, 1)
    recipes, _ = strip_recipes(one, [downloads.move_of(row) for row in used], signs)
    images = images_of(page)
    for strip, step in ((0, 0), (0, STEPS // 2), (0, STEPS - 1), (2, 0), (2, STEPS - 1)):
        place = strips[strip]["frames"][step]
        expected = resize_images(drawn(recipes[strip * STEPS + step]).astype(np.uint8), 256)[0]
        found = np.asarray(images[place].convert("RGB").resize((256, 256))).astype(int)
        assert np.abs(found - expected).mean() < 4, (strip, step)


# --- directions and names -------------------------------------------------------------------------


def test_directions_and_vectors_are_those_of_the_sliders(folder):
    combined = Edit("all", ((3, 0.6), (7, 0.8)), 2.0)
    recipe = replace(RECIPE, edits=(combined, *RECIPE.edits))
    model, rows = engine.open_model("avatars"), rows_of(recipe)
    file = read_directions(saved("directions", recipe))
    assert (file.model, file.family, file.num_ws) == ("avatars", "stylegan2", 10)
    assert file.weights == measuring.weights_of(model)
    assert [(r.layers, r.direction) for r in file.rows] == [
        (row.step.layers, row.step.direction) for row in rows
    ]
    vectors = np.load(saved("vectors", recipe), allow_pickle=False)
    assert vectors.dtype == np.float32 and vectors.shape == (len(rows), 128)
    for row, found, vector in zip(rows, file.rows, vectors, strict=True):
        expected, _ = model.loaded.vector(row.step)
        np.testing.assert_allclose(found.vector.numpy(), expected.numpy(), atol=1e-6)
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-6)
        assert found.unit == pytest.approx(row.step.alpha)
    assert rows[0].step.direction == combined.direction and math.isnan(file.rows[0].eigenvalue)
    named = [(row.name, row.sign) for row in file.rows if row.direction == ((2, 1.0),)]
    assert named == [("Longer hair", -1)]


def test_names_come_back_with_the_visitors_own(folder):
    path = saved("names")
    assert path.name == "avatars-names.json"
    weights = measuring.weights_of(engine.open_model("avatars"))
    labels = parse_labels(path.read_bytes(), weights, 10, 128)
    everywhere = tuple(range(10))
    assert labels.find(everywhere, ((2, 1.0),)) == ("Longer hair", -1)
    others = engine.labels_of(engine.open_model("avatars"))
    assert labels.seeds == others.seeds and labels.names.keys() >= others.names.keys()


# --- what cannot be saved -------------------------------------------------------------------------

WRONG = {
    "nothing to animate": ("animation", {"moves": []}, "Pick at least one direction"),
    "nothing at all": ("animation", {"moves": None}, "Pick at least one direction"),
    "no such slider": ("animation", {"moves": [4]}, "A direction must be a whole number"),
    "no number": ("animation", {"moves": ["<b>"]}, "A direction must be a whole number"),
    "a sample beyond": ("image", {"sample": 3}, "There is no sample 3; samples are 0 to 2."),
    "a sample of nobody": ("teaser", {"sample": -1}, "The sample must be"),
    "a moving sample": ("animation", {"sample": 9}, "There is no sample 9"),
    "no sample": ("image", {"sample": None}, "The sample must be"),
    "nan seconds": ("animation", {"seconds": math.nan}, "The seconds must be a number"),
    "no seconds": ("animation", {"seconds": None}, "The seconds must be a number"),
    "long": ("animation", {"seconds": 1e9}, "The seconds must be a number"),
    "a format": ("animation", {"format": "../x"}, "An animation is one of mp4, webp, gif"),
    "no format": ("animation", {"format": None}, "An animation is one of mp4, webp, gif"),
    "an easing": ("animation", {"easing": "<i>"}, "The easing is one of smooth, linear, cubic"),
    "too many": ("animation", {"moves": [0, 1, 2, 3, 0], "seconds": 6}, "are more than 600 frames"),
    "not a list": ("animation", {"moves": 7}, "Pick at least one direction"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_cannot_be_saved_is_one_sentence_and_no_file(folder, monkeypatch, wrong):
    name, options, says = wrong
    # Nothing is drawn before it is said.
    monkeypatch.setattr(engine, "draw", None)
    monkeypatch.setattr(engine, "draw_ws", None)
    files, said = press(name, **options)
    assert files is None and not folder.exists()
    sentence = re.fullmatch(r"<p class='problem' role='alert'>(.*)</p>", said)[1]
    assert says in sentence and "<" not in sentence
    assert is_one_sentence(sentence.replace("&#x27;", "'"))


def test_a_recipe_out_of_range_is_one_sentence(folder):
    values = sent(engine.open_model("avatars"), RECIPE)
    values[CONTROLS.index("seed")] = -3
    for name, function in downloads.SAVES.items():
        extra = [[0], "mp4", "smooth", 1, True, False] if name == "animation" else []
        files, said = function(None, *values, *extra, '{"sample": 0}')
        assert files is None and "The seed must be a whole number" in said, name
        for told in ("", "[]", "{}", "nonsense", None, '{"sample": "x"}'):
            bad = [*values[: CONTROLS.index("seed")], 3, *values[CONTROLS.index("seed") + 1 :]]
            files, said = function(None, *bad, *extra, told)
            assert files is None and "ample" in said and "role='alert'" in said, (name, told)


# --- the GPU --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["animation", "teaser"])
def test_on_a_gpu_all_frames_are_one_call(folder, monkeypatch, name):
    options = {"moves": [0, 1], "format": "webp", "everybody": True} if name == "animation" else {}
    here = saved(name, **options).read_bytes()
    calls, call = [], engine.synthesize_on_gpu

    def counted(path, w, conditions):
        calls.append(len(w))
        return call(path, w, conditions)

    monkeypatch.setattr(engine, "on_gpu", lambda model: True)
    monkeypatch.setattr(engine, "synthesize_on_gpu", counted)
    there = saved(name, **options).read_bytes()
    assert len(calls) == 1
    if name == "animation":
        one, other = (played(content, "webp")[0].astype(int) for content in (here, there))
        assert one.shape == other.shape and np.abs(one - other).mean() < 0.5
        assert calls[0] <= 16 * RECIPE.num_samples
    else:
        one, other = (data_of(content.decode()) for content in (here, there))
        assert len(one["images"]) == len(other["images"]) == calls[0]


# --- names of files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["user/repo/file.pkl@main", "../../etc/passwd", "a\\b", "ü" * 300, "x y\n", "..", "/"]
)
def test_a_files_name_leads_nowhere(folder, name):
    model = engine.OpenModel(name, Path("nowhere"), None)
    path = Path(downloads.keep(model, "seed1.png", b"content"))
    assert path.read_bytes() == b"content" and path.resolve().is_relative_to(folder.resolve())
    assert path.parent.parent == folder / downloads.FOLDER and path.name.endswith("seed1.png")
    assert not set("/\\\n ") & set(path.name) and len(path.name.encode()) <= 255


def test_saved_files_are_bounded_and_those_of_a_killed_process_go(folder, monkeypatch):
    model = engine.open_model("avatars")

    def saved(i: int, minutes_ago: float) -> Path:
        path = Path(downloads.keep(model, "image.png", bytes([i]) * 1000))
        then = time.time() - 60 * minutes_ago
        os.utime(path, (then, then))
        return path

    elsewhere = folder / "theirs" / "old.png"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(b"old")
    os.utime(elsewhere, (0, 0))
    files = [saved(0, 121), saved(1, 119), saved(2, 30), saved(3, 10)]
    assert [file.exists() for file in files] == [False, True, True, True]
    assert not files[0].parent.exists()
    monkeypatch.setattr(downloads, "MAX_SAVED", 2500)
    files.append(saved(4, 0))
    assert [file.exists() for file in files] == [False, False, False, True, True]
    assert elsewhere.exists()


def test_a_stranger_cannot_fill_the_disk_with_one_file(server):
    for size, status in ((1000, 200), (2_000_000, 413)):
        files = {"files": ("x.bin", bytes(size))}
        assert httpx.post(f"{server.url}/gradio_api/upload", files=files).status_code == status
