"""ZeroGPU, without one: its own decorator with a forked worker, a quota that is spent, what is asked for.

Only the service that hands out GPUs is replaced (`spaces.zero.client`), and the worker's CUDA.
"""

import multiprocessing
import os
import pickle
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch

from sefa.editing import Edit, Recipe
from sefa.rendering import LoadedModel, ModelCache
from tests.helpers import is_one_sentence, problem_of, tiny_stylegan2
from tests.test_app import open_local, request_values
from ui import api, brush, engine, events, strips
from ui.kept import Kept

with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):
    # The worker's CUDA, whose import wants a torch that was built for it.
    patch.setitem(sys.modules, "spaces.zero.torch", ModuleType("spaces.zero.torch"))
    from spaces.zero import wrappers
    from spaces.zero.gradio import error as zero_gpu_error

RECIPE = Recipe(model="mine", num_samples=2, edits=(Edit.along("all", 0, 2.0),))
STEPS = [Edit.along("all", i, 1.0) for i in range(3)]
WANTED = strips.Wanted(0, ((0, 3.0), (1, 3.0), (2, 3.0)))


@pytest.fixture
def model(tmp_path, monkeypatch) -> engine.OpenModel:
    """A small model that is not the embedded one, on a Space with ZeroGPU."""
    opened = open_local(monkeypatch, "mine", tiny_stylegan2(tmp_path / "mine.safetensors"))
    monkeypatch.setattr(engine, "ON_ZERO_GPU", True)
    monkeypatch.setattr(engine, "_drawn_on_gpu", {})
    return opened


@contextmanager
def zero_gpu(monkeypatch, schedule, task=engine.synthesize):
    """The entry as `spaces` decorates it there; yields [(seconds asked for, worker let go well)]."""
    asked = []

    def scheduled(task_id, request, duration, gpu_size):
        asked.append(duration.total_seconds())
        return schedule()

    client = SimpleNamespace(
        schedule=scheduled,
        release=lambda token, fail=False, allow_404=False: None,
        get_duration_seconds=lambda duration, size: duration.total_seconds(),
        duration_warning=lambda: None,
    )
    monkeypatch.setattr(wrappers, "client", client)
    monkeypatch.setattr(wrappers, "worker_init", lambda **about: None)
    decorated = wrappers.regular_function_wrapper(task, engine.gpu_seconds, None)
    monkeypatch.setattr(engine, "synthesize_on_gpu", decorated)
    try:
        yield asked
    finally:  # one that lived on would hold what it was forked with open, the browser's pipe too
        for worker in multiprocessing.active_children():
            worker.kill()
            worker.join()


def granted():
    return SimpleNamespace(allowToken="token", nvidiaIndex=0, nvidiaUUID="uuid", idle=True)


def refused(title: str, message: str = "You have exceeded your free ZeroGPU quota (6s requested)."):
    def schedule():
        raise zero_gpu_error(title, message)

    return schedule


# --- the worker -----------------------------------------------------------------------------------


def test_a_forked_worker_draws_what_this_process_draws(model, monkeypatch):
    expected = LoadedModel(model.loaded.generator).images(RECIPE)
    with zero_gpu(monkeypatch, granted) as asked:
        for _ in range(2):  # the second call finds the worker of the first
            images = engine.draw(model, RECIPE)
            assert type(images) is np.ndarray and images.dtype == np.uint8
            assert np.abs(images.astype(int) - expected).max() <= 1
    cold, warm = asked
    assert 2 <= warm <= cold <= 60


def die(path, w, conditions):
    os._exit(1)


def fail(path, w, conditions):
    raise KeyError("/a/path/that/nobody/should/read")


@pytest.mark.parametrize("task", [die, fail])
def test_a_worker_that_breaks_off_is_one_sentence(model, monkeypatch, task):
    notes = []
    with zero_gpu(monkeypatch, granted, task):
        images = engine.draw(model, RECIPE, notes=notes)
    assert np.abs(images.astype(int) - model.loaded.images(RECIPE)).max() <= 1
    assert notes == ["The GPU has broken off; drawing on the CPU, which is slower."]


def test_everything_that_crosses_is_plain_and_pickles(model, monkeypatch):
    crossed = []

    def entry(*arguments):
        crossed.append(pickle.loads(pickle.dumps(arguments)))
        result = engine.synthesize(*crossed[-1])
        assert np.array_equal(pickle.loads(pickle.dumps(result)), result)
        return result

    monkeypatch.setattr(engine, "synthesize_on_gpu", entry)
    engine.draw(model, RECIPE)
    strips.strips(model, RECIPE, STEPS, WANTED)
    for path, w, conditions in crossed:
        assert type(path) is str and type(w) is np.ndarray and w.dtype == np.float32
        assert type(conditions) is dict
        for name, value in conditions.items():
            assert type(name) is str and isinstance(value, np.ndarray | int | float | str)
    duration = pickle.loads(pickle.dumps(engine.gpu_seconds))
    assert duration(*crossed[0]) == engine.gpu_seconds(*crossed[0])


def test_the_entry_keeps_nothing_of_a_call(model, monkeypatch):
    monkeypatch.setattr(engine, "MODELS", ModelCache())
    arguments = (str(model.path), *engine.portable(model, RECIPE, True))
    engine.synthesize(*arguments)
    kept = [vars(engine)[name] for name in ("_originals", "_opened", "_news", "_seconds_per_image")]
    before = [list(k) for k in kept]
    engine.synthesize(*arguments)
    assert [list(k) for k in kept] == before
    assert next(iter(engine.MODELS._models))[0] == arguments[0]


# --- what is asked for ----------------------------------------------------------------------------


def test_the_seconds_that_are_asked_for_follow_the_work(model, monkeypatch):
    def seconds(count: int) -> int:
        return engine.gpu_seconds(str(model.path), np.zeros((count, 1, 1), np.float32), {})

    assert seconds(4) == engine.gpu_seconds(str(model.path), np.zeros((4, 1, 1)), {"label": 0})
    small = seconds(4)
    assert type(small) is int and small <= 5
    monkeypatch.setattr(os.path, "getsize", lambda path: 400_000_000)
    assert seconds(4) == small + 4  # it has to be read first
    monkeypatch.setitem(engine._drawn_on_gpu, str(model.path), engine.time.monotonic())
    assert seconds(4) == small
    monkeypatch.setattr(model.loaded.generator, "resolution", 1024)
    assert seconds(4) <= seconds(60) <= seconds(600) < seconds(10_000) == 60
    monkeypatch.setattr(engine, "GPU_PIXELS_PER_SECOND", 1024.0**2)  # an image a second
    assert seconds(4) == 2 + 4
    monkeypatch.setattr(engine, "_drawn_on_gpu", {})
    assert seconds(4) == 2 + 4 + 4 + 8  # the file of 400 MB, and what tells whether float16 will do


def test_strips_of_all_rows_are_one_call(model, monkeypatch):
    calls = []

    def entry(*arguments):
        calls.append(arguments)
        return engine.synthesize(*arguments)

    monkeypatch.setattr(engine, "synthesize_on_gpu", entry)
    monkeypatch.setattr(strips, "_unmoved", Kept(2**24))
    found = strips.strips(model, RECIPE, STEPS, WANTED)
    assert [strip["row"] for strip in found] == [0, 1, 2] and len(calls) == 1


# --- no GPU to be had -----------------------------------------------------------------------------

REASONS = {
    "ZeroGPU quota exceeded": "Your GPU minutes are used up for now",
    "ZeroGPU pending credits exceeded": "Your GPU minutes are used up for now",
    "ZeroGPU queue timeout": "No GPU is free at the moment",
    "ZeroGPU client error": "No GPU is free at the moment",
    "ZeroGPU illegal duration": "The GPU is not lent for as long as this takes",
    "something new": "The GPU has broken off",
}


@pytest.mark.parametrize("title", REASONS)
def test_a_small_model_is_drawn_on_the_cpu_and_the_frame_says_so(model, monkeypatch, title):
    with zero_gpu(monkeypatch, refused(title)):
        frame = events.settle(*request_values(RECIPE), 1, False)
        (uri,) = api.edit("mine", alphas=[1.0])
    assert frame["note"] == f"{REASONS[title]}; drawing on the CPU, which is slower."
    assert is_one_sentence(frame["note"])
    assert len(frame["after"]) == 2 and uri.startswith("data:image/png")
    with zero_gpu(monkeypatch, granted):
        assert events.settle(*request_values(RECIPE), 2, False)["note"] == ""


def test_an_unknown_error_of_the_service_is_no_gpu_either(model, monkeypatch, caplog):
    def schedule():
        raise RuntimeError("ZeroGPU API /schedule error: 500 (Internal Server Error)")

    notes = []
    with zero_gpu(monkeypatch, schedule):
        engine.draw(model, RECIPE, notes=notes)
    assert notes[0].startswith("The GPU has broken off; ")
    assert "schedule error: 500" in caplog.text  # for the owner


def test_a_slow_model_is_one_kind_sentence(model, monkeypatch):
    monkeypatch.setitem(engine._seconds_per_image, str(model.path), 2.5)
    with zero_gpu(monkeypatch, refused("ZeroGPU quota exceeded")):
        with pytest.raises(gr.Error) as raised:
            api.edit("mine", alphas=[1.0])
        on_page = problem_of(events.settle(*request_values(RECIPE), 1, False))
        for message in (raised.value.message, on_page):
            assert is_one_sentence(message)
            assert message == (
                "Your GPU minutes are used up for now, and this model is too slow for the CPU: "
                "try again later, or choose avatars, which needs no GPU."
            )
        assert strips.strips(model, RECIPE, STEPS, WANTED) == []  # the gallery has said why


def test_what_is_too_slow_is_told_by_size_until_it_is_measured(model, monkeypatch):
    path, generator = str(model.path), model.loaded.generator
    monkeypatch.delitem(engine._seconds_per_image, path, raising=False)
    assert engine.cpu_will_do(model)
    monkeypatch.setattr(generator, "resolution", 512)
    assert not engine.cpu_will_do(model)
    monkeypatch.setitem(engine._seconds_per_image, path, 1.9)
    assert engine.cpu_will_do(model)


def test_strips_come_one_by_one_from_the_cpu(model, monkeypatch):
    monkeypatch.setattr(strips, "MOMENT", -1.0)
    monkeypatch.setattr(strips, "_unmoved", Kept(2**24))
    with zero_gpu(monkeypatch, refused("ZeroGPU quota exceeded")) as asked:
        found = strips.strips(model, RECIPE, STEPS, WANTED)
    assert [strip["row"] for strip in found] == [0] and len(asked) == 1


def test_a_brushed_region_is_found_on_the_cpu(model, monkeypatch):
    monkeypatch.setattr(brush, "TRIED_GPU", 8)
    mask = torch.zeros(brush.SIDE, brush.SIDE, dtype=torch.bool)
    mask[8:16, 8:16] = True
    with zero_gpu(monkeypatch, refused("ZeroGPU quota exceeded")) as asked:
        found = brush.find(model, RECIPE, 0, mask)
    assert found and len(asked) == 1
    monkeypatch.setitem(engine._seconds_per_image, str(model.path), 2.5)
    with zero_gpu(monkeypatch, refused("ZeroGPU quota exceeded")), pytest.raises(engine.NoGpu):
        brush.find(model, RECIPE, 0, mask)


def test_a_refusal_is_not_remembered(model, monkeypatch):
    monkeypatch.setitem(engine._seconds_per_image, str(model.path), 2.5)
    with zero_gpu(monkeypatch, refused("ZeroGPU quota exceeded")), pytest.raises(engine.NoGpu):
        engine.frames(model, RECIPE)
    with zero_gpu(monkeypatch, granted):
        after, before = engine.frames(model, RECIPE)
    assert len(after) == len(before) == 2


def test_the_embedded_model_asks_for_nothing(monkeypatch):
    monkeypatch.setattr(engine, "ON_ZERO_GPU", True)
    embedded, notes = engine.open_model("avatars"), []
    with zero_gpu(monkeypatch, refused("ZeroGPU quota exceeded")) as asked:
        engine.draw(embedded, Recipe(num_samples=1), notes=notes)
    assert asked == notes == []
    assert Path(embedded.path).name == "avatars.safetensors"
