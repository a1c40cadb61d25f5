"""Which layers belong together: effects of known layers, the best cut, and groups of every family."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sefa
from sefa import generators, parse_layers
from sefa.calibration import changes_by_scale, image_distance
from sefa.layer_groups import (
    APART,
    NAMES,
    LayerEffects,
    LayerGroup,
    layer_effects,
    segment,
    suggest_groups,
)
from sefa.rendering import LoadedModel
from tests.helpers import (
    build,
    read_golden,
    seeded,
    tiny_pggan,
    tiny_state_dict,
    tiny_stylegan,
    tiny_stylegan2,
)

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SIDE = 16
LEVELS = [1, 2, 4, 8, 16]  # pixels a side of a pyramid of 16 px


def chessboard(cells):
    """[SIDE, SIDE] of -1 and 1, of so many cells a side; all 1 for one cell."""
    i = torch.arange(SIDE) * cells // SIDE
    return (i[:, None] + i) % 2 * -2.0 + 1


class Painter:
    """Layer i adds gains[i] * w[:, i, 0] times a chessboard of cells[i] cells a side."""

    def __init__(self, cells, gains=None):
        self.boards = torch.stack([chessboard(n) for n in cells])
        self.gains = torch.tensor([0.01] * len(cells) if gains is None else gains)
        self.w = torch.randn(8, len(cells), 3, generator=seeded(0))

    def __call__(self, w):
        image = torch.einsum("nl,lyx->nyx", w[:, :, 0] * self.gains, self.boards)
        return image[:, None].expand(-1, 3, -1, -1)

    def groups(self):
        sizes = [4 * 2**i for i in range(len(self.gains))]
        return suggest_groups(layer_effects(self, self.w), sizes)


def selections(groups):
    return [(group.name, group.selection) for group in groups]


# --- what each layer does -------------------------------------------------------------------------


@pytest.mark.parametrize("cells", LEVELS)
def test_a_chessboard_changes_its_own_scale_alone(cells):
    changes = changes_by_scale(chessboard(cells).expand(2, 3, -1, -1)).flip(0)
    assert changes.tolist() == [[float(n == cells)] * 2 for n in LEVELS]


def test_a_distance_is_the_sum_of_its_scales():
    a, b = torch.randn(2, 4, 3, 32, 32, generator=seeded(0))
    assert changes_by_scale(a - b).shape == (6, 4)
    assert torch.equal(sum(changes_by_scale(a - b)), image_distance(a, b))


def test_the_effects_of_known_layers():
    painter = Painter([4, 1, 16], gains=[0.05, 0.02, 0.0])
    seen = []
    found = layer_effects(painter, painter.w, lambda *at: seen.append(at))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    moved = (painter.w - painter.w.roll(1, 0))[:, :, 0].abs().mean(0)
    expected = torch.zeros(3, 5)
    expected[0, 2], expected[1, 0] = 0.05 * moved[0], 0.02 * moved[1]
    torch.testing.assert_close(found.changes, expected.double(), rtol=1e-4, atol=1e-7)
    assert found.effects.tolist() == pytest.approx(expected.sum(1).tolist(), rel=1e-4)
    assert found.profiles[:2].argmax(1).tolist() == [2, 0]
    assert found.profiles.sum(1).tolist() == pytest.approx([1, 1, 0])


def test_images_of_any_size_are_measured_as_they_are_shown():
    # 24 px are averaged down to 16, and what is beyond white is white.
    def flat(w):
        return (100 * w[:, 0, :1, None]).expand(-1, 1, 24)[:, None].expand(-1, 1, 24, -1)

    found = layer_effects(flat, torch.tensor([-1.0, 1.0])[:, None, None])
    assert found.changes.tolist() == [[2.0, 0.0, 0.0, 0.0, 0.0]]


def test_effects_are_the_same_twice_and_on_one_thread_or_two(tmp_path):
    generator = sefa.load_generator(tiny_stylegan2(tmp_path / "tiny.safetensors", seed=1))
    before, found = torch.get_num_threads(), []
    with torch.inference_mode():
        w = generator.map(generator.sample_z(range(8)))
        try:
            for threads in (1, 1, 2):
                torch.set_num_threads(threads)
                found.append(layer_effects(generator.synthesize, w).changes)
        finally:
            torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.allclose(found[0], found[2], rtol=1e-4, atol=0)
    assert found[0].shape == (6, 5) and (found[0] > 0).all()


# --- which belong together ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells, expected",
    [
        ([4, 4, 4, 4, 4], ["0-4"]),
        ([2, 2, 2, 16], ["0-2", "3"]),
        ([2, 2, 4, 4, 16, 16], ["0-1", "2-3", "4-5"]),
        ([1, 2, 2, 2, 8, 8, 16], ["0", "1-3", "4-5", "6"]),
        ([8, 8, 2, 2], ["0-1", "2-3"]),  # by place in the network, whatever their scales
        ([16], ["0"]),
    ],
)
def test_layers_are_grouped_by_the_scale_they_paint_at(cells, expected):
    groups = Painter(cells).groups()
    assert selections(groups) == list(zip(NAMES[len(expected) - 1], expected, strict=True))
    assert sum(group.share for group in groups) == pytest.approx(1)


def test_there_are_four_groups_at_most():
    assert len(Painter(LEVELS).groups()) == 4


def test_a_layer_that_does_nothing_is_in_no_group():
    groups = Painter([2, 2, 2, 16, 16, 4], gains=[0.01, 0.0, 0.01, 0.01, 0.01, 0.0]).groups()
    assert selections(groups) == [("Coarse", "0,2"), ("Fine", "3-4")]
    assert [group.pixels for group in groups] == [(4, 16), (32, 64)]


def test_where_nothing_does_anything_there_is_one_group():
    groups = Painter([2, 4], gains=[0.0, 0.0]).groups()
    assert groups == [LayerGroup("All", (0, 1), (4, 8), 0.0)]


def test_shares_are_of_the_effect_of_all_layers():
    effects = LayerEffects(torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.5, 0.5]]).double())
    groups = suggest_groups(effects, [4, 8])
    assert groups == [
        LayerGroup("Coarse", (0,), (4, 4), 0.75),
        LayerGroup("Fine", (1,), (8, 8), 0.25),
    ]


@pytest.mark.parametrize("moved, count", [(0.9 * APART, 1), (1.1 * APART, 2)])
def test_halves_are_told_apart_by_how_much_of_the_change_is_an_octave_away(moved, count):
    rows = [[0.5, 0.5, 0.0]] * 2 + [[0.5, 0.5 - moved, moved]] * 2
    assert len(suggest_groups(LayerEffects(torch.tensor(rows).double()), [4, 4, 8, 8])) == count


def test_how_much_is_shown_of_the_resolutions():
    group = LayerGroup("Coarse", (0, 1), (4, 8), 0.5)
    assert (group.selection, group.pixels_text) == ("0-1", "4–8 px")
    assert replace(group, pixels=(64, 64)).pixels_text == "64 px"
    assert replace(group, pixels=None).pixels_text == ""


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("price", [0.0, 0.02, 0.3])
def test_no_other_cut_is_better(seed, price):
    points = torch.rand(7, 2, generator=seeded(seed)).double()
    weights = torch.rand(7, generator=seeded(seed + 100)).double()

    def cost(runs):
        total = price * (len(runs) - 1)
        for run in runs:
            mean = sum(weights[i] * points[i] for i in run) / sum(weights[i] for i in run)
            total += sum(weights[i] * (points[i] - mean).square().sum() for i in run)
        return float(total)

    every = [
        [range(a, b) for a, b in itertools.pairwise((0, *cuts, 7))]
        for runs in range(1, 5)
        for cuts in itertools.combinations(range(1, 7), runs - 1)
    ]
    assert len(every) == 1 + 6 + 15 + 20
    assert cost(segment(points, weights, price, most=4)) == pytest.approx(min(map(cost, every)))


# --- every family ---------------------------------------------------------------------------------


def tiny_dcgan():
    g = seeded(0)
    return {
        "synthesis.conv0.weight": torch.randn(5, 4, 4, 4, generator=g),
        "synthesis.norm0.running_mean": torch.zeros(4),
        "synthesis.norm0.running_var": torch.ones(4),
        "synthesis.conv1.weight": torch.randn(4, 3, 4, 4, generator=g),
    }


MODELS = {
    "stylegan": lambda: generators.build(tiny_stylegan(), {"family": "stylegan"}),
    "stylegan2": lambda: generators.build(tiny_state_dict(), {"family": "stylegan2"}),
    "classes": lambda: generators.build(tiny_state_dict(label_dim=3), {"family": "stylegan2"}),
    "stylegan3": lambda: build(read_golden(GOLDEN / "nvidia_stylegan3" / "t_conditional.npz")[0]),
    "biggan": lambda: build(read_golden(GOLDEN / "hf_biggan" / "attention16.npz")[0]),
    "pggan": lambda: generators.build(tiny_pggan(), {"family": "pggan"}),
    "dcgan": lambda: generators.build(tiny_dcgan(), {"family": "dcgan"}),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_family_has_groups(name):
    generator = MODELS[name]()
    seen = []
    groups = LoadedModel(generator).layer_groups(lambda *at: seen.append(at))
    layers = [i for group in groups for i in parse_layers(group.selection, generator.num_ws)]
    assert layers == list(range(generator.num_ws))  # in each of these every layer does something
    assert [group.name for group in groups] == list(NAMES[len(groups) - 1])
    if generator.num_ws == 1:
        assert groups == [LayerGroup("All", (0,), None, 1.0)] and not seen
        return
    assert seen[-1] == (generator.num_ws, generator.num_ws) and len(seen) == generator.num_ws
    assert sum(group.share for group in groups) == pytest.approx(1)
    for group in groups:
        first, last = group.layers[0], group.layers[-1]
        sizes = generator.layer_resolutions
        assert group.pixels == (sizes[first], sizes[last]) and sizes == sorted(sizes)


def test_layers_that_a_level_of_detail_leaves_out_are_in_no_group():
    state = tiny_stylegan(resolution=32, lod=1.0)
    groups = LoadedModel(generators.build(state, {"family": "stylegan"})).layer_groups()
    assert [i for group in groups for i in group.layers] == list(range(6))
    assert groups[-1].pixels[1] == 16


def test_the_shipped_model_has_coarse_to_fine_groups():
    loaded = LoadedModel(sefa.load_generator(ROOT / "demo_model" / "avatars.safetensors"))
    groups = loaded.layer_groups()
    assert 2 <= len(groups) <= 4 and groups[0].name == "Coarse"
    assert [i for group in groups for i in group.layers] == list(range(10))
    assert groups[0].pixels[0] == 4 and groups[-1].pixels[1] == 64


@pytest.mark.parametrize("resolution, samples", [(64, 16), (256, 16), (512, 4), (1024, 4)])
def test_large_models_are_measured_on_fewer_samples(resolution, samples, monkeypatch):
    generator = MODELS["classes"]()
    generator.resolution = resolution
    rows = []

    def count(model, w, conditions, turn):
        rows.append(len(w))
        return torch.zeros(len(w), 3, 4, 4)

    monkeypatch.setattr(LoadedModel, "in_turns", count)
    LoadedModel(generator).layer_groups()
    assert rows == [samples] * (generator.num_ws + 1)
