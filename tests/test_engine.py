"""Process rules: one decorated GPU entry, whose arguments and result are plain and pickle."""

import asyncio
import multiprocessing
import os
import pickle
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch

import checkpoints
import sefa
from sefa.editing import Edit, Mix, Recipe
from sefa.errors import UserError
from sefa.generators import FAMILIES
from sefa.rendering import LoadedModel, render
from tests.helpers import TinyConditional, is_one_sentence, tiny_conditional, tiny_stylegan2
from tests.pages import decode
from tests.test_app import request_values
from ui import api, engine, events, renderer
from ui.renderer import GALLERY

ROOT = Path(__file__).resolve().parent.parent
RECIPE = Recipe(num_samples=2, edits=(Edit.along("all", 0, 2.0),))


def test_one_function_is_decorated_for_the_gpu():
    sources = [ROOT / "app.py", *(ROOT / "ui").glob("*.py")]
    uses = [use for path in sources for use in re.findall(r"spaces\.GPU\(", path.read_text())]
    assert len(uses) == 1


def test_the_decorator_does_nothing_elsewhere():
    assert not engine.ON_ZERO_GPU
    assert engine.synthesize_on_gpu is engine.synthesize


def entry_arguments(monkeypatch) -> tuple:
    """What `draw` hands to the decorated entry."""
    seen = []

    def spy(*arguments):
        seen.append(arguments)
        return engine.synthesize(*arguments)

    monkeypatch.setattr(engine, "synthesize_on_gpu", spy)
    engine.draw(engine.open_model("avatars"), RECIPE)
    return seen[0]


def test_what_crosses_the_entry_is_a_path_and_numpy(monkeypatch):
    path, w, conditions = entry_arguments(monkeypatch)
    assert type(path) is str and type(w) is np.ndarray and w.dtype == np.float32
    assert conditions == {}
    images = engine.synthesize(path, w, conditions)
    assert type(images) is np.ndarray and images.dtype == np.uint8
    for value in (path, w, images):
        pickle.loads(pickle.dumps(value))


def test_conditions_cross_the_entry_as_numpy_and_numbers(monkeypatch, tmp_path):
    monkeypatch.setitem(FAMILIES, "tiny", TinyConditional)
    path = str(tiny_conditional(tmp_path / "tiny.safetensors"))
    model = engine.OpenModel("user/tiny/file.bin", Path(path), None)
    recipe = Recipe(num_samples=3, truncation_psi=0.4, class_index=2)
    seen = []

    def worker(*arguments):
        seen.append(pickle.loads(pickle.dumps(arguments)))
        return engine.synthesize(*seen[-1])

    monkeypatch.setattr(engine, "synthesize_on_gpu", worker)
    here = engine.draw(model, recipe)
    monkeypatch.setattr(engine, "ON_ZERO_GPU", True)
    assert np.array_equal(engine.draw(model, recipe), here)
    for _, _, conditions in seen:
        assert type(conditions["label"]) is np.ndarray and type(conditions) is dict
        assert conditions["label"].tolist() == [[0.0, 0.0, 1.0, 0.0]] * 3
        assert conditions["truncation_psi"] == 0.4
    expected = LoadedModel(sefa.load_generator(path)).images(recipe)
    assert here.shape == (3, 28, 28, 1) and np.abs(here.astype(int) - expected).max() <= 1
    # The embedded model is drawn without the entry there, and needs the same.
    monkeypatch.setattr(engine, "EMBEDDED", model.name)
    monkeypatch.setattr(engine, "synthesize_on_gpu", None)
    assert np.array_equal(engine.draw(model, recipe), here)


def test_a_noise_seed_crosses_the_entry_as_a_number(monkeypatch, tmp_path):
    path = tiny_stylegan2(tmp_path / "noisy.safetensors")
    model = engine.OpenModel("user/noisy/file.bin", path, None)
    recipe = Recipe(num_samples=3, noise_seed=2**32 - 1, mix=Mix(7, "1-2"))
    seen = []

    def worker(*arguments):
        seen.append(pickle.loads(pickle.dumps(arguments)))
        return engine.synthesize(*seen[-1])

    monkeypatch.setattr(engine, "synthesize_on_gpu", worker)
    here = engine.draw(model, recipe)
    there = engine.draw_ws(model, *model.loaded.inputs(recipe), GALLERY)  # in turns
    assert np.abs(there.astype(int) - here).max() <= 1
    monkeypatch.setattr(engine, "ON_ZERO_GPU", True)
    assert np.array_equal(engine.draw(model, recipe), here)
    for _, _, conditions in seen:
        assert conditions == {"noise_seed": 2**32 - 1} and type(conditions["noise_seed"]) is int
    stored = engine.draw(model, Recipe(num_samples=3, mix=Mix(7, "1-2")))
    assert np.abs(stored.astype(int) - here).max() > 5
    # The originals are drawn with it, and kept apart from those of other noise.
    expected = engine.encode(here)
    assert engine.frames(model, recipe) == (expected, expected)
    assert engine.frames(model, replace(recipe, noise_seed=None))[1] == engine.encode(stored)


def test_the_entry_works_in_a_fresh_process(monkeypatch):
    arguments = entry_arguments(monkeypatch)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        images = pool.apply(engine.synthesize, arguments)
    here = engine.synthesize(*arguments)
    # Another process may split the work among threads differently: within one grey level.
    assert np.abs(images.astype(int) - here).max() <= 1


def test_a_forked_worker_does_not_wait_for_a_lock_of_its_parent():
    with engine.MODELS._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if engine.MODELS._lock.acquire(timeout=5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_on_zero_gpu_the_embedded_model_stays_on_the_cpu(monkeypatch):
    model = engine.open_model("avatars")
    expected = engine.draw(model, RECIPE)
    monkeypatch.setattr(engine, "ON_ZERO_GPU", True)
    monkeypatch.setattr(engine, "synthesize_on_gpu", None)  # calling it would fail
    assert np.array_equal(engine.draw(model, RECIPE), expected)


def test_on_zero_gpu_other_models_are_drawn_on_release(monkeypatch):
    monkeypatch.setattr(engine, "ON_ZERO_GPU", True)
    embedded = engine.open_model("avatars")
    other = engine.OpenModel("user/repo/file.pth", embedded.path, None)
    assert not engine.is_live(other, 1)


def test_live_means_quick_enough_for_all_samples(monkeypatch):
    model = engine.open_model("avatars")
    monkeypatch.setattr(engine, "default_device", lambda: torch.device("cpu"))
    monkeypatch.setitem(engine._seconds_per_image, str(model.path), engine.LIVE_SECONDS / 4)
    assert engine.is_live(model, 4)
    assert not engine.is_live(model, 5)
    monkeypatch.setattr(engine, "default_device", lambda: torch.device("cuda"))
    assert engine.is_live(model, 5)


def test_frames_without_edits_are_the_originals():
    model = engine.open_model("avatars")
    after, before = engine.frames(model, Recipe(num_samples=2))
    assert after == before
    after, again = engine.frames(model, RECIPE)
    assert again == before and after != before


def test_tiny_images_are_sent_as_they_are():
    images = np.random.RandomState(0).randint(0, 256, (2, 28, 28, 1), np.uint8)
    assert np.array_equal([decode(uri) for uri in engine.encode(images)], images)
    (large,) = engine.encode(np.zeros((1, 64, 64, 3), np.uint8))
    assert large.startswith("data:image/jpeg;")


def test_draw_is_the_library_rendering():
    generator = checkpoints.load("avatars")
    w = generator.map(generator.sample_z([0, 1]), truncation_psi=0.7)
    expected = render(generator, w)
    images = engine.draw(engine.open_model("avatars"), Recipe(num_samples=2))
    assert np.abs(images.astype(int) - expected).max() <= 1


# --- many visitors --------------------------------------------------------------------------------


def drawn_together(model, *recipes):
    """(images of each recipe, drawn at once; how many images each call of the entry had)."""
    sizes, entry = [], engine.synthesize_on_gpu

    def count(path, w, conditions):
        sizes.append(len(w))
        return entry(path, w, conditions)

    engine.synthesize_on_gpu = count
    try:
        asked = [(engine.portable, model, recipe, True) for recipe in recipes]
        return engine.draw_together(model, asked), sizes
    finally:
        engine.synthesize_on_gpu = entry


def test_a_batch_gives_each_visitor_their_own_images():
    model = engine.open_model("avatars")
    recipes = [
        Recipe(seed=100 * i, num_samples=1 + i, edits=(Edit.along("all", i, 2.0),))
        for i in range(4)
    ]
    found, sizes = drawn_together(model, *recipes)
    assert sizes == [1 + 2 + 3 + 4]
    for images, recipe in zip(found, recipes, strict=True):
        alone = model.loaded.images(recipe)
        assert images.shape == alone.shape and np.abs(images.astype(int) - alone).max() <= 1


def test_conditions_of_a_batch_are_each_visitors_own(monkeypatch, tmp_path):
    monkeypatch.setitem(FAMILIES, "tiny", TinyConditional)
    path = tiny_conditional(tmp_path / "tiny.safetensors")
    model = engine.OpenModel("user/tiny/batch.bin", path, None)
    recipes = [
        Recipe(num_samples=2, class_index=1),
        Recipe(num_samples=1, class_index=3),  # another label is another row
        Recipe(num_samples=1, class_index=1, truncation_psi=0.4),  # a number is of a whole batch
    ]
    found, sizes = drawn_together(model, *recipes)
    assert sizes == [3, 1]
    for images, recipe in zip(found, recipes, strict=True):
        assert np.abs(images.astype(int) - model.loaded.images(recipe)).max() <= 1


def test_noise_of_one_seed_is_the_same_in_a_batch_and_of_another_seed_not_in_it(tmp_path):
    path = tiny_stylegan2(tmp_path / "noisy.safetensors")
    model = engine.OpenModel("user/noisy/batch.bin", path, None)
    recipes = [Recipe(seed=i, num_samples=2, noise_seed=5 if i < 2 else 6) for i in range(3)]
    found, sizes = drawn_together(model, *recipes)
    assert sizes == [4, 2]
    for images, recipe in zip(found, recipes, strict=True):
        assert np.abs(images.astype(int) - model.loaded.images(recipe)).max() <= 1


def test_a_recipe_that_cannot_be_drawn_spoils_no_batch():
    model = engine.open_model("avatars")
    good, bad = Recipe(num_samples=1), Recipe(num_samples=1, edits=(Edit.along("all", 9999, 1.0),))
    (image, error), sizes = drawn_together(model, good, bad)
    assert sizes == [1] and image.shape[0] == 1 and isinstance(error, UserError)
    with pytest.raises(UserError):
        engine.draw(model, bad)


def test_what_waits_for_the_rendering_thread_is_drawn_in_one_call(monkeypatch):
    model, go, sizes = engine.open_model("avatars"), threading.Event(), []
    monkeypatch.setitem(engine._seconds_per_image, str(model.path), 0.02)
    together = engine.draw_together
    monkeypatch.setattr(
        engine, "draw_together", lambda *args: sizes.append(len(args[1])) or together(*args)
    )
    engine.RENDERER.submit(GALLERY, go.wait, 10)
    recipes = [Recipe(seed=10 * i, num_samples=2) for i in range(4)]
    jobs = [
        engine.submit_drawing(model, GALLERY, 2, engine.portable, model, recipe, True)
        for recipe in recipes
    ]
    go.set()
    found = engine.RENDERER.wait(jobs)
    assert sizes == [4]
    for images, recipe in zip(found, recipes, strict=True):
        assert np.abs(images.astype(int) - model.loaded.images(recipe)).max() <= 1


@pytest.fixture
def no_room(monkeypatch):
    monkeypatch.setattr(renderer, "MOST_SECONDS", -1.0)


def test_without_room_a_frame_is_refused_beside_the_images_and_asked_for_again(no_room):
    answer = events.settle(*request_values(RECIPE), 7, False)
    assert answer["sequence"] == 7 and answer["again"] >= 2
    assert is_one_sentence(answer["problem"]) and "your settings are kept" in answer["problem"]
    with pytest.raises(gr.Error, match="too many at the moment"):
        api.edit("avatars")


def test_a_drag_is_left_for_the_release_while_others_wait(monkeypatch):
    monkeypatch.setattr(engine, "is_live", lambda *_: True)
    monkeypatch.setattr(engine.RENDERER, "ahead", lambda *_: (9, engine.LIVE_BACKLOG + 0.1))
    values = request_values(RECIPE)
    assert events.follow(*values, 1, True) == gr.skip()
    assert "after" in events.follow(*values, 2, False)  # nothing comes after what is typed


def test_what_was_overtaken_leaves_the_page_as_it_is(monkeypatch):
    def overtaken(*_):
        raise renderer.Dropped("Nobody waits for this image any more.")

    monkeypatch.setattr(engine, "frames", overtaken)
    assert events.settle(*request_values(RECIPE), 1, False) == gr.skip()


def test_who_waits_is_told_how_many_come_first(monkeypatch):
    monkeypatch.setattr(events, "SAY_SECONDS", 0.01)
    go, ahead = threading.Event(), iter([(12, 4.2), (12, 4.2), (1, 0.8), (0, 0.4)])

    def tell(who):
        found = next(ahead, (0, 0.4))
        if found[0] == 0:
            go.set()
        return found

    monkeypatch.setattr(engine.RENDERER, "ahead", tell)
    monkeypatch.setattr(
        events, "settle", lambda *inputs: go.wait(10) and {"sequence": inputs[-2], "after": []}
    )

    async def answers():
        return [answer async for answer in events.settle_event("values", 5, False)]

    with ThreadPoolExecutor(1) as pool:  # a browser's tests have a loop of their own in this thread
        told = pool.submit(asyncio.run, answers()).result()
    assert told == [
        {
            "sequence": 5,
            "waiting": "12 visitors are before you: your images come in about 4 s.",
        },
        {"sequence": 5, "waiting": "1 visitor is before you: your images come in about 1 s."},
        {"sequence": 5, "waiting": ""},
        {"sequence": 5, "after": []},
    ]
