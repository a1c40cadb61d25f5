"""What is kept for everybody: bounded by bytes, and nothing in it keeps a model in memory."""

import gc
import weakref

from sefa.editing import Edit, Recipe
from sefa.rendering import ModelCache
from tests.helpers import tiny_stylegan2
from ui import engine, strips
from ui.kept import Kept


def test_what_was_used_least_recently_goes():
    kept = Kept(10)
    for key in "abc":
        kept.keep(key, key.upper(), 3)
    assert kept.get("a") == "A" and kept.bytes == 9
    kept.keep("d", "D", 4)
    assert list(kept) == ["c", "a", "d"] and kept.get("b") is None and kept.bytes == 10
    kept.keep("a", "again", 1)  # in place of what was there
    assert kept.get("a") == "again" and kept.bytes == 8
    kept.keep("large", "none", 11)
    assert kept.get("large") is None and len(kept) == 3


def test_nothing_that_is_kept_keeps_a_model_that_had_to_go(tmp_path, monkeypatch):
    monkeypatch.setenv("SEFA_MODELS", "user/tiny/model.safetensors")
    monkeypatch.setattr(engine, "MODELS", ModelCache(max_bytes=1))
    path = tiny_stylegan2(tmp_path / "model.safetensors")
    model = engine.load_file("user/tiny/model.safetensors", path, None)
    step = Edit.along("0-1", 0, 2.0)
    recipe = Recipe(model=model.name, num_samples=2, edits=(step,))
    engine.frames(model, recipe)
    engine.find_directions(model, "0-1")
    engine.labels_of(model)
    strips.strips(model, recipe, [step], strips.Wanted(0, ((0, 3.0),)))
    gone = weakref.ref(model.loaded.generator)
    engine.open_model(engine.EMBEDDED)
    engine.RENDERER.run(0, int)  # the rendering thread has let go of its last job
    gc.collect()
    assert gone() is None
