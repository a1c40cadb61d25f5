"""Filmstrips: their frames are what the gallery would show, and a key says what they are of."""

from dataclasses import replace

import numpy as np
import pytest

from sefa.editing import Edit, Recipe
from sefa.errors import UserError
from tests.helpers import is_one_sentence
from tests.pages import decode
from tests.test_app import request_values
from ui import controls, engine, events, strips
from ui.kept import Kept
from ui.strips import FEW_FRAMES, FRAMES, Wanted, positions, strip_key

STEPS = [Edit.along("all", 0, 0.5), Edit("0-1", ((1, 0.6), (3, -0.8)), 0.25)]
RECIPE = Recipe(seed=7, num_samples=3, edits=(Edit.along("all", 0, 1.5), Edit.along("0-1", 4, 2.0)))


@pytest.fixture
def avatars(monkeypatch):
    model = engine.open_model("avatars")
    monkeypatch.setitem(engine._seconds_per_image, str(model.path), 0.001)
    monkeypatch.setattr(strips, "_unmoved", Kept(2**24))
    return model


@pytest.fixture
def one_by_one(monkeypatch):
    monkeypatch.setattr(strips, "MOMENT", -1.0)


def test_frames_are_what_the_gallery_shows_there(avatars, monkeypatch):
    monkeypatch.setattr(engine, "encode", lambda images: list(images))  # not through JPEG
    found = strips.strips(avatars, RECIPE, STEPS, Wanted(1, ((0, 4.0), (1, 10.0))))
    assert [strip["row"] for strip in found] == [0, 1]
    for strip, step in zip(found, STEPS, strict=True):
        assert strip["positions"] == positions(strip["limit"], FRAMES)
        assert strip["sample"] == 1 and len(strip["frames"]) == FRAMES
        for units, frame in zip(strip["positions"], strip["frames"], strict=True):
            others = [e for e in RECIPE.edits if e.direction != step.direction]
            edits = (*others, replace(step, alpha=units * step.alpha))
            there = replace(RECIPE, seed=8, num_samples=1, edits=edits)
            (expected,) = avatars.loaded.images(there)
            assert np.abs(frame.astype(int) - expected).max() <= 1


def test_a_key_is_of_all_that_frames_depend_on_and_nothing_else():
    key = strip_key(RECIPE, STEPS[0])
    same = [
        replace(RECIPE, edits=RECIPE.edits[1:]),  # its own slider
        replace(RECIPE, edits=RECIPE.edits[::-1]),
        replace(RECIPE, num_samples=1, num_semantics=9, layers="0-1", order="effect"),
    ]
    assert {strip_key(recipe, STEPS[0]) for recipe in same} == {key}
    others = [
        replace(RECIPE, seed=8),
        replace(RECIPE, truncation_psi=0.5),
        replace(RECIPE, class_index=1),
        replace(RECIPE, model="other"),
        replace(RECIPE, edits=RECIPE.edits[:1]),
    ]
    keys = {strip_key(recipe, STEPS[0]) for recipe in others} | {strip_key(RECIPE, STEPS[1])}
    assert key not in keys and len(keys) == 6


def test_a_map_covers_what_moves():
    frames = np.full((5, 32, 32, 3), 90, np.uint8)
    frames[1, 4:8, 4:8], frames[3, 4:8, 4:8] = 80, 100
    covered = decode(strips.map_image(frames))
    assert covered.shape == (32, 32, 4) and (covered[..., :3] == strips.ACCENT).all()
    assert (covered[4:8, 4:8, 3] == 200).all() and covered[..., 3].sum() == 16 * 200
    assert decode(strips.map_image(frames[..., :1])).shape == (32, 32, 4)  # grey


def test_frames_lie_on_a_sliders_own_steps():
    assert positions(10.0, 5) == [-10.0, -5.0, 0.0, 5.0, 10.0]
    assert positions(7.6, 9) == [-7.6, -5.7, -3.8, -1.9, 0.0, 1.9, 3.8, 5.7, 7.6]
    assert positions(1 / 3, 5)[-1] == 1 / 3


def test_an_answer_has_one_strip_at_least_and_others_as_there_is_time(avatars, one_by_one):
    wanted = Wanted(0, ((1, 5.0), (0, 5.0)))
    assert [s["row"] for s in strips.strips(avatars, RECIPE, STEPS, wanted)] == [1]


def test_a_slow_model_has_fewer_frames(avatars, one_by_one, monkeypatch):
    monkeypatch.setitem(engine._seconds_per_image, str(avatars.path), 2.0)
    (strip,) = strips.strips(avatars, RECIPE, STEPS, Wanted(0, ((0, 5.0),)))
    assert len(strip["frames"]) == FEW_FRAMES


def test_on_a_gpu_all_strips_are_one_call(avatars, one_by_one, monkeypatch):
    calls = []

    def spy(path, w, conditions):
        calls.append(len(w))
        return engine.synthesize(path, w, conditions)

    wanted = Wanted(0, ((0, 5.0), (1, 5.0)))
    monkeypatch.setattr(engine, "synthesize_on_gpu", spy)
    monkeypatch.setattr(engine, "on_gpu", lambda model: True)
    assert strips.strips(avatars, RECIPE, STEPS, Wanted(0, ())) == [] == calls
    assert [s["row"] for s in strips.strips(avatars, RECIPE, STEPS, wanted)] == [0, 1]
    assert calls == [2 * FRAMES]
    monkeypatch.setattr(engine, "on_zero_gpu", lambda model: True)  # in the request's own thread
    assert len(strips.strips(avatars, RECIPE, STEPS, wanted)) == 2
    assert calls == [2 * FRAMES, 2 * FRAMES - 2]  # 0 is known by now


def test_the_frame_at_0_is_drawn_once_for_all_sliders_that_are_there(avatars, monkeypatch):
    calls = []
    monkeypatch.setattr(engine, "draw_ws", lambda model, w, *_: calls.append(w) or images_of(w))
    steps = [Edit.along("all", i, 0.5) for i in range(3)]
    recipe = replace(RECIPE, edits=(Edit.along("all", 0, 1.5),))
    rows = tuple((i, 4.0) for i in range(3))
    found = strips.strips(avatars, recipe, steps, Wanted(0, rows))
    # Two of the rows are the recipe itself at 0; of the first it is without its own edit.
    assert sum(map(len, calls)) == 3 * FRAMES - 1
    assert found[1]["frames"][4] == found[2]["frames"][4] != found[0]["frames"][4]


def images_of(w) -> np.ndarray:
    """Images that show which w they are of."""
    grey = (w.sum((1, 2)).abs() * 997 % 256).byte().numpy()
    return np.broadcast_to(grey[:, None, None, None], (len(w), 64, 64, 3)).copy()


HOSTILE = [
    None, "", "x", "{}", "[]", "[" * 9999, '{"sample": 0}', '{"sample": 0, "rows": 3}',
    '{"sample": -1, "rows": []}', '{"sample": 0, "rows": [[0]]}', '{"sample": 0, "rows": [[99, 1]]}',
    '{"sample": 0, "rows": [[0, NaN]]}', '{"sample": 0, "rows": [[0, -1]]}',
    '{"sample": 0, "rows": [[0, 1e9]]}', '{"sample": 15, "rows": [[0, 1]], "number": 1}',
    '{"sample": 0, "rows": [[0, 1]]}', '{"sample": 0, "rows": [[0, 1]], "number": "x"}',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: str(text)[:30])
def test_a_request_that_makes_no_sense_is_one_sentence(text, avatars):
    with pytest.raises(UserError) as raised:
        strips.strips(avatars, RECIPE, STEPS, Wanted.parse(text))
    assert is_one_sentence(str(raised.value))


def test_the_page_is_told_the_keys_and_gets_the_strips(avatars):
    values = request_values(slider0=2.0)
    frame = events.settle(*values, 1, False)
    steps = controls.read_steps(values[controls.CONTROLS.index("shown_rows")])
    recipe = controls.read(values)
    assert frame["strips"] == [strip_key(recipe, step) for step in steps]
    answer = events.draw_strips(*values, '{"sample": 3, "rows": [[0, 5], [2, 5]], "number": 7}')
    assert answer["number"] == 7
    assert [s["key"] for s in answer["strips"]] == [frame["strips"][0], frame["strips"][2]]
    nothing = events.draw_strips(*values, '{"sample": 0, "rows": [], "number": 8}')
    assert nothing == {"number": 8, "strips": []}
