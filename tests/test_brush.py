"""Brushed regions: what is found moves the region, and is a direction like any other."""

import math
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch

import checkpoints
from sefa.directions_file import read_directions
from sefa.editing import MAX_TERMS, Edit, Recipe, edit, parse_names
from sefa.errors import UserError
from sefa.labels import parse_labels
from sefa.regions import inside_outside
from tests.helpers import is_one_sentence, problem_of, tiny_stylegan2
from tests.test_app import request_values, shown
from ui import brush, controls, downloads, engine, events, layout, measuring
from ui.brush import SIDE, Brushed

MOUTH = torch.zeros(SIDE, SIDE, dtype=torch.bool)
MOUTH[21:24, 12:20] = True


def as_hex(mask) -> str:
    return np.packbits(mask.numpy()).tobytes().hex()


@pytest.fixture(scope="module")
def avatars():
    model = engine.open_model("avatars")
    engine.draw(model, Recipe())  # tells how long an image takes
    return model


@pytest.fixture(scope="module")
def found(avatars):
    """(the recipe, what a brush over the mouth of its second sample found, the counts reported)."""
    recipe, seen = Recipe(seed=1000, num_samples=3, edits=(Edit.along("all", 2, 0.5),)), []
    return recipe, brush.find(avatars, recipe, 1, MOUTH, lambda *at: seen.append(at)), seen


def test_the_first_direction_moves_the_mouth_and_little_else(avatars, found):
    recipe, directions, seen = found
    assert 1 < len(directions) <= brush.FOUND
    ratios = [direction.ratio for direction in directions]
    assert sorted(ratios, reverse=True) == ratios and ratios[0] > 3
    with torch.inference_mode():
        w = avatars.loaded.ws(recipe)[1:2]
        first = directions[0]
        vector, layers = avatars.loaded.vector(first.step)
        ends = [
            avatars.loaded.generator.synthesize(edit(w, vector, a, layers)).clamp(-1, 1)
            for a in (first.step.alpha, -first.step.alpha)
        ]
    change = torch.nn.functional.avg_pool2d((ends[0] - ends[1]) / 2, 2)
    assert inside_outside(change, MOUTH) == pytest.approx(first.ratio, rel=0.05)
    # One unit can be seen, and is no more than it says.
    size = change[..., MOUTH].abs().mean().item()
    assert 0.3 * brush.UNIT < size < 2 * brush.UNIT
    assert seen[-1][0] == seen[-1][1] and all(done <= total for done, total in seen)


def test_what_is_found_is_an_ordinary_direction(avatars, found, tmp_path):
    recipe, directions, _ = found
    for direction in directions:
        step = direction.step
        assert 1 < len(step.direction) <= MAX_TERMS and step.alpha > 0
        assert math.hypot(*(c for _, c in step.direction)) == pytest.approx(1, abs=0.01)
        assert Edit.from_text(step.to_text()) == step  # in a link
    values = request_values(recipe, brushed=brush.to_text(directions))
    updates = events.relay(*values)
    steps = controls.read_steps(shown(updates)["shown_rows"])
    assert steps[: len(directions)] == [direction.step for direction in directions]
    labels = [layout.first_values(updates)[f"slider {i}"]["label"] for i in range(len(steps))]
    assert labels[0] == "Brushed 1" and labels[len(directions)].startswith("Semantic ")
    # A link that applies it brings its slider along.
    link = Recipe(edits=(directions[0].step,))
    arguments = layout.first_values(layout.lay_out(avatars, link, []))
    terms = len(directions[0].step.direction)
    assert arguments["slider 0"]["label"] == f"Combination of {terms}"
    assert arguments["kept"]["value"] == ""


def test_other_layers_leave_what_a_brush_found_and_nobody_uses(avatars, found):
    recipe, directions, _ = found
    used = replace(recipe, edits=(*recipe.edits, directions[1].step))
    values = request_values(used, brushed=brush.to_text(directions))
    same = brush.from_text(shown(events.choose(*values))["brushed"])
    assert len(same) == len(directions)
    values = request_values(used, layers="0-1", brushed=brush.to_text(directions))
    left = brush.from_text(shown(events.choose(*values))["brushed"])
    assert [b.step for b in left] == [directions[1].step]


def test_the_same_brush_finds_the_same(avatars, found):
    recipe, directions, _ = found
    again = brush.find(avatars, recipe, 1, MOUTH)
    assert [b.step.layers for b in again] == [b.step.layers for b in directions]
    assert again[0].ratio == pytest.approx(directions[0].ratio, rel=0.05)


def test_the_list_of_a_page_reads_back_and_garbage_is_none(found):
    _, directions, _ = found
    again = brush.from_text(brush.to_text(directions))
    assert [b.step for b in again] == [b.step for b in directions]
    assert again[0].ratio == pytest.approx(directions[0].ratio, abs=0.01)
    one = Brushed(Edit.along("all", 0, 1.0), 3.0, 2.0)
    for text in (None, "", "x", "1|2", "nan|3|all:0:1", "2|nan|all:0:1", "2|3|all:0:-1", "2|3|x"):
        assert brush.from_text(text) == []
    assert len(brush.from_text(brush.to_text([one] * 99))) == brush.FOUND


HALF = "f" * 128 + "0" * 128
REGIONS = [
    None, "", "{}", "[]", '{"sample": 0, "mask": "zz"}', '{"sample": 0, "mask": "ff"}',
    f'{{"sample": 16, "mask": "{HALF}"}}', f'{{"sample": "x", "mask": "{HALF}"}}',
    f'{{"sample": 3, "mask": "{HALF}"}}', f'{{"sample": 0, "mask": "{"0" * 256}"}}',
    f'{{"sample": 0, "mask": "{"f" * 256}"}}', "[" * 999,
]  # fmt: skip


@pytest.mark.parametrize("region", REGIONS, ids=lambda text: str(text)[:30])
def test_a_region_that_is_none_is_one_sentence(region):
    assert is_one_sentence(
        problem_of(events.find_region(*request_values(Recipe(num_samples=2)), region))
    )


def test_the_mask_is_read_row_by_row():
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[0, 1], mask[3, 31] = True, True
    sample, again = brush.parse_region(f'{{"sample": 2, "mask": "{as_hex(mask)}"}}')
    assert sample == 2 and torch.equal(again, mask)


def test_a_small_model_that_was_never_measured_is_brushed_too(tmp_path, monkeypatch):
    path = tiny_stylegan2(tmp_path / "tiny.safetensors", seed=3)
    monkeypatch.setitem(checkpoints.CATALOGUE, "t", checkpoints.Model("t", filename=str(path)))
    monkeypatch.setattr(engine, "_opened", {})
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[:16, :16] = True
    region = f'{{"sample": 0, "mask": "{as_hex(mask)}"}}'
    values = shown(events.find_region(*request_values(Recipe(model="t")), region))
    assert brush.from_text(values["brushed"])[0].ratio > 1
    assert controls.read_steps(values["shown_rows"])[0].layers in ("0-1", "2-5")


# --- names and files ------------------------------------------------------------------------------


def test_a_visitor_names_a_direction_and_takes_the_name_back(avatars):
    values = request_values(Recipe(num_semantics=3))
    updates = events.rename(*values, '{"row": 1, "name": " Smile "}')
    assert layout.first_values(updates)["slider 1"]["label"] == "Smile → · 001"
    named = shown(updates)["names"]
    assert named == "all:1:Smile"
    recipe = Recipe(num_semantics=3, names=parse_names(named, []))
    query = events.settle(*request_values(recipe), 1, False)["query"]
    assert query.endswith("names=all:1:Smile")
    everything = replace(recipe, layers="named", num_semantics=20)
    arguments = layout.first_values(layout.lay_out(avatars, everything, []))
    assert "Smile → · 001" in [arguments[f"slider {i}"].get("label") for i in range(20)]
    updates = events.rename(*request_values(recipe), '{"row": 1, "name": ""}')
    assert shown(updates)["names"] == ""


@pytest.mark.parametrize(
    "naming",
    [None, "", "{}", '{"row": 99, "name": "A"}', '{"row": 0, "name": "<b>"}', '{"row": 0}',
     '{"row": 0, "name": "' + "x" * 65 + '"}', "[" * 900],
    ids=str,
)  # fmt: skip
def test_a_name_that_is_none_is_one_sentence(naming):
    assert is_one_sentence(problem_of(events.rename(*request_values(), naming)))


def saved(kind, values) -> Path:
    """The one file that a button of the export panel writes."""
    (path,), said = downloads.SAVES[kind](gr.Progress(), *values, '{"sample": 0}')
    assert "Saved" in said
    return Path(path)


def test_directions_and_names_are_taken_away_as_files(avatars, found):
    _, directions, _ = found
    names = f"{directions[0].step.layers}:{directions[0].step.to_text().split(':')[1]}:-Frown"
    values = request_values(
        shown_rows="~".join([directions[0].step.to_text(), "all:3:0.211", "0,3:1:1"]), names=names
    )
    path = saved("directions", values)
    assert path.name == "avatars-directions.safetensors"
    file = read_directions(path)
    assert (file.model, file.weights) == ("avatars", measuring.weights_of(avatars))
    first, second, third = file.rows
    assert (first.name, first.sign, first.unit) == ("Frown", -1, directions[0].step.alpha)
    assert first.direction == directions[0].step.direction and math.isnan(first.eigenvalue)
    assert second.unit == 0.211 and second.eigenvalue > 0 and math.isnan(third.unit)
    vector, _ = avatars.loaded.vector(directions[0].step)
    assert torch.equal(first.vector, vector.float())

    array = np.load(saved("vectors", values), allow_pickle=False)
    assert np.array_equal(array, file.vectors.numpy()) and array.dtype == np.float32

    content = saved("names", values).read_bytes()
    generator = avatars.loaded.generator
    labels = parse_labels(content, file.weights, generator.num_ws, generator.w_dim)
    assert len(labels.names) == len(engine.labels_of(avatars).names) + 1
    layers = avatars.loaded.directions(directions[0].step.layers).layers
    assert labels.text(layers, directions[0].step.direction) == "← Frown"


def test_what_a_page_sends_of_a_brush_belongs_to_its_model(avatars):
    with pytest.raises(UserError):
        Brushed(Edit.along("60", 0, 1.0), 3.0, 2.0).row(avatars, Recipe(), 0)
    values = request_values(brushed="2|3|60:0:1")
    assert "no layer 60" in problem_of(events.relay(*values))
