"""Which directions have sliders, in which order, and in which units."""

from collections import OrderedDict
from dataclasses import replace

import gradio as gr
import pytest
import torch

import checkpoints
from sefa.calibration import LARGEST, Calibration
from sefa.editing import Edit, Recipe
from sefa.factorization import format_layers
from sefa.generators import FAMILIES
from sefa.layer_groups import LayerGroup
from tests.helpers import TinyConditional, tiny_conditional, tiny_stylegan2
from ui import controls, engine, events, layout, measuring, rows


@pytest.mark.parametrize(
    ("num_ws", "expected"),
    [
        (1, []),
        (2, ["0-1"]),
        (3, ["0-1", "2"]),
        (6, ["0-1", "2-5"]),
        (7, ["0-1", "2-5", "6"]),
        (18, ["0-1", "2-5", "6-17"]),
    ],
)
def test_layer_groups_are_the_official_ones_that_the_model_has(num_ws, expected):
    assert [layers for _, layers in rows.official_groups(num_ws)] == expected


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A tiny model of which nothing was measured yet, with a cache of its own."""
    path = tiny_stylegan2(tmp_path / "tiny.safetensors", seed=2)
    monkeypatch.setitem(checkpoints.CATALOGUE, "t", checkpoints.Model("t", filename=str(path)))
    monkeypatch.setattr(engine, "_opened", {})
    monkeypatch.setattr(measuring, "_kept", OrderedDict())
    monkeypatch.setenv("SEFA_CACHE", str(tmp_path / "cache"))
    return engine.open_model("t")


def measured(model, layers, units, consistency, changes=None, reach=10.0):
    """Makes up what was measured of a selection."""
    k = len(units)
    if changes is None:
        changes = torch.eye(k).reshape(k, 1, 1, 1, k)
    numbers = [torch.tensor(x, dtype=torch.float64) for x in (units, [reach] * k, consistency)]
    indices = format_layers(model.loaded.directions(layers).layers)
    measuring.keep((measuring.weights_of(model), indices), Calibration(*numbers, 0.05, changes))


def shown(model, **recipe):
    return [(r.step.layers, r.step.direction[0][0]) for r in rows.rows_of(model, Recipe(**recipe))]


def test_without_measurements_the_order_is_the_official_one_and_the_unit_the_vector(model):
    for order in ("eigenvalue", "effect", "layers"):
        assert shown(model, order=order, num_semantics=3) == [("all", 0), ("all", 1), ("all", 2)]
    first = rows.rows_of(model, Recipe(num_semantics=1))[0]
    assert first.step == Edit.along("all", 0, 1.0)
    assert first.limit == model.loaded.generator.edit_range
    assert first.label == "Semantic 000" and first.facts.startswith("eigenvalue ")


def test_useful_directions_come_first_and_those_not_measured_last(model):
    measured(model, "all", [1.0, 0.2, 0.5], [0.5, 0.25, 0.9])
    assert shown(model, order="effect", num_semantics=5) == [
        ("all", 2), ("all", 1), ("all", 0), ("all", 3), ("all", 4)
    ]  # fmt: skip
    assert shown(model, order="eigenvalue", num_semantics=2) == [("all", 0), ("all", 1)]


def test_a_unit_is_the_same_change_and_the_slider_ends_where_it_is_worth_looking(model):
    measured(model, "all", [0.12345, 2.0, LARGEST, 30.0], [0.5, 0.5, 0, 0.5], reach=1.0)
    found = rows.rows_of(model, Recipe(num_semantics=4))
    assert [row.step.alpha for row in found] == [0.123, 2.0, 1.0, 30.0]
    assert found[0].limit == 8.1 and found[1].limit == 1.0
    assert found[2].limit == model.loaded.generator.edit_range
    assert "nothing to be seen" in found[2].facts
    assert "effect 81 %" in found[0].facts and "consistency 50 %" in found[0].facts
    assert found[3].limit * found[3].step.alpha <= 100


def test_the_best_of_each_group_are_different_things(model):
    a, b, c, d = torch.eye(4)
    one = torch.stack([a, b]).reshape(2, 1, 1, 1, 4)
    two = torch.stack([-0.95 * a + 0.1 * c, d]).reshape(2, 1, 1, 1, 4)
    measured(model, "0-1", [0.1, 0.4], [1.0, 1.0], one)
    measured(model, "2-5", [0.2, 0.3], [1.0, 1.0], two)
    best = [("0-1", 0), ("2-5", 1), ("0-1", 1)]  # ("2-5", 0) is the first one, turned around
    groups = rows.groups_of(model)
    assert groups == ["0-1", "2-5"]
    assert shown(model, layers="groups", order="effect", num_semantics=3) == best
    by_layers = shown(model, layers="groups", order="layers", num_semantics=20)
    assert [layers for layers, _ in by_layers] == sorted(layers for layers, _ in by_layers)
    assert by_layers[:2] == [("0-1", 0), ("0-1", 1)]
    first = rows.rows_of(model, Recipe(layers="groups", order="effect", num_semantics=3))[0]
    assert "layers 0–1" in first.facts and first.facts.endswith("same as layers 2–5 · 000")


def test_the_groups_that_suit_a_model_come_before_the_official_ones(model):
    assert rows.layer_groups(model) == [("Coarse 0–1", "0-1"), ("Middle 2–5", "2-5")]
    groups = [LayerGroup("Coarse", (0, 1), (4, 8), 0.8), LayerGroup("Fine", (2, 3, 4), None, 0.2)]
    measuring.keep((measuring.weights_of(model), "groups"), groups)
    assert rows.layer_groups(model) == [
        ("Coarse 0–1 (4–8 px)", "0-1"), ("Fine 2–4", "2-4"), ("Official 2–5", "2-5")
    ]  # fmt: skip
    assert rows.groups_of(model) == ["0-1", "2-4"]
    assert rows.selections(model) == ["all", "0-1", "2-4", "2-5"]
    measuring.keep((measuring.weights_of(model), "groups"), groups[:1])  # one is none
    assert rows.groups_of(model) == ["0-1", "2-5"]


def test_groups_are_measured_once(model):
    found = measuring.measure_groups(model)
    assert found == model.loaded.layer_groups()
    measuring._kept.clear()  # as in another process
    assert measuring.known_groups(model) == found


def test_measuring_goes_on_where_it_stopped_and_is_kept(model, monkeypatch):
    monkeypatch.setattr(measuring, "COUNT", 3)
    monkeypatch.setattr(measuring, "SECONDS", -1.0)
    seen = []
    part = measuring.measure(model, "all", lambda *at: seen.append(at))
    assert len(part) == 1 and seen == [(1, 3)] and not measuring.is_measured(model, "all")
    monkeypatch.setattr(measuring, "SECONDS", 60.0)
    whole = measuring.measure(model, "all", lambda *at: seen.append(at))
    assert len(whole) == 3 and seen == [(1, 3), (2, 3), (3, 3)]
    assert measuring.is_measured(model, "all")
    expected = model.loaded.calibration("all", 3)
    assert torch.equal(whole.unit, expected.unit)
    measuring._kept.clear()  # as in another process
    assert torch.equal(measuring.known(model, "all").unit, expected.unit)
    assert measuring.measure(model, "all") is measuring.known(model, "all")


def test_the_page_measures_what_it_shows_and_then_lays_out_anew(model, monkeypatch):
    monkeypatch.setattr(measuring, "COUNT", 2)
    monkeypatch.setenv("SEFA_MEASURE_SECONDS", "0")
    assert events.measure("t", "groups", 0) == gr.skip()
    monkeypatch.delenv("SEFA_MEASURE_SECONDS")
    assert events.measure("t", "groups", 0) == 1
    assert all(measuring.is_measured(model, layers) for layers in rows.groups_of(model))
    assert events.measure("t", "groups", 1) == gr.skip()  # nothing left
    recipe = Recipe(model="t", layers="groups", order="effect", edits=(Edit.along("0-1", 1, 0.5),))
    count = len(controls.CONTROLS) + 20

    def values(updates, old):
        new = [u.get("value", o) if isinstance(u, dict) else u for u, o in zip(updates, old)]
        return [o if u == gr.skip() else u for u, o in zip(new, old)][:count]

    with monkeypatch.context() as nothing_known:
        nothing_known.setattr(measuring, "known", lambda model, layers: None)
        before = values(layout.lay_out(model, recipe, []), [None] * count)
    after = values(events.relay(*before), before)
    assert controls.read(before) == controls.read(after) == recipe
    steps = controls.CONTROLS.index("shown_rows")
    assert before[steps] != after[steps]  # in units now


def test_a_cache_that_cannot_be_written_is_a_line_in_the_log(model, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(measuring, "COUNT", 1)
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEFA_CACHE", str(tmp_path / "file" / "cache"))
    assert len(measuring.measure(model, "0")) == 1 == len(measuring.known(model, "0"))
    assert "Measurements are not kept" in caplog.text


def test_the_embedded_model_need_not_be_measured():
    avatars = engine.open_model("avatars")
    for layers in rows.selections(avatars):
        assert measuring.is_measured(avatars, layers), layers
    recipe = Recipe(layers="named", order="effect", num_semantics=20)
    named = rows.rows_of(avatars, recipe)
    assert len(named) == len(engine.labels_of(avatars).names)
    assert all(row.label.split(" · ")[0].strip("→← ") for row in named)
    assert len(rows.rows_of(avatars, replace(recipe, layers="groups"))) == 20


def test_a_view_that_a_model_does_not_have_is_all_of_its_layers(model, monkeypatch, tmp_path):
    avatars = layout.lay_out(engine.open_model("avatars"), Recipe(layers="named"), [])
    values = [u.get("value") if isinstance(u, dict) else u for u in avatars]
    sent = values[: len(controls.CONTROLS) + 20]
    sent[controls.CONTROLS.index("model")] = "t"  # no direction of it has a name
    updates = events.choose(*sent)
    assert updates[controls.CONTROLS.index("shown_layers")] == "all"
    assert updates[controls.CONTROLS.index("layers")]["value"] == "all"
    assert updates[len(controls.CONTROLS)]["visible"]
    monkeypatch.setitem(FAMILIES, "tiny", TinyConditional)
    path = str(tiny_conditional(tmp_path / "one.safetensors"))
    monkeypatch.setitem(checkpoints.CATALOGUE, "one", checkpoints.Model("one", filename=path))
    for view in ("groups", "named"):
        updates = layout.lay_out(engine.open_model("one"), Recipe(model="one", layers=view), [])
        assert updates[controls.CONTROLS.index("shown_layers")] == "all"
