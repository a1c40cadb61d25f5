"""What was computed is not computed again, and the images are the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sefa import generators, reuse
from sefa.editing import edit
from sefa.rendering import render, take_rows
from sefa.reuse import Reuse
from tests.helpers import build as build_found
from tests.helpers import max_error, read_golden, tiny_state_dict, tiny_stylegan

GOLDEN = Path(__file__).parent / "golden"


def build(family: str):
    if family == "stylegan2":
        return generators.build(tiny_state_dict(32), {"family": family})
    if family == "resnet":
        state = tiny_state_dict(32, architecture="resnet")
        return generators.build(state, {"family": "stylegan2"})
    if family == "stylegan":
        return generators.build(tiny_stylegan(32), {"family": family})
    if family == "lod":
        return generators.build(tiny_stylegan(32, lod=1.5), {"family": "stylegan"})
    paths = {"stylegan3": "nvidia_stylegan3/t_settings.npz", "biggan": "hf_biggan/attention16.npz"}
    return build_found(read_golden(GOLDEN / paths[family])[0])


@pytest.fixture(params=["stylegan2", "resnet", "stylegan", "lod", "stylegan3", "biggan"])
def generator(request):
    return build(request.param).to(memory_format=torch.channels_last)


@pytest.fixture
def steps(monkeypatch):
    """(index, samples) of every step of a network."""
    found = []

    def watch(generator):
        plain = type(generator).step

        def step(self, features, i, w, **conditions):
            found.append((i, len(w)))
            return plain(self, features, i, w, **conditions)

        monkeypatch.setattr(type(generator), "step", step)
        return found

    return watch


def codes(generator, seeds) -> tuple[torch.Tensor, dict]:
    z = generator.sample_z(list(seeds))
    label = generator.classes_in_turn(range(len(z)))
    w = generator.map(z, label, 0.7)
    return w, generator.conditions(label, 0.7, noise_seed=None)


def moved(generator, w, first: int, alpha: float) -> torch.Tensor:
    direction = torch.ones(generator.w_dim) / generator.w_dim**0.5
    return edit(w, direction, alpha, list(range(first, generator.num_ws)))


def counted(found) -> dict[int, int]:
    """Samples that went through each step; forgets them."""
    counts: dict[int, int] = {}
    for i, n in found:
        counts[i] = counts.get(i, 0) + n
    found.clear()
    return counts


def test_a_drag_of_later_layers_begins_there(generator, steps):
    found, kept, last = steps(generator), Reuse(), generator.num_ws
    (w, conditions), first = codes(generator, [1, 2, 3]), last // 2
    with torch.inference_mode():
        for at, alpha in enumerate((0.0, 0.5, 1.0, 1.5, -2.0)):
            w_edited = moved(generator, w, first, alpha)
            images = kept.synthesize(generator, w_edited, conditions)
            counts = counted(found)
            # Two frames tell what is being moved; from then on the rest of the network is spared.
            assert sorted(counts) == list(range(0 if at < 2 else first, last))
            assert set(counts.values()) == {3}
            assert max_error(images, generator.synthesize(w_edited, **conditions)) < 1e-5
            found.clear()
        # Another slider, of later layers still, while this one is set; and back to the first.
        other, later = moved(generator, w, first, 1.0), last - 1
        for alpha in (0.0, 1.0, 2.0):
            both = moved(generator, other, later, alpha)
            images = kept.synthesize(generator, both, conditions)
            assert max_error(images, generator.synthesize(both, **conditions)) < 1e-5


def test_a_strip_is_one_sample_and_its_ends(generator, steps):
    found, last = steps(generator), generator.num_ws
    (w, conditions), first = codes(generator, [5]), last // 2
    nine = torch.cat([moved(generator, w, first, x) for x in (-2, -1, 0, 0, 0, 1, 2)])
    nine_conditions = {
        k: v.repeat(len(nine), 1) if isinstance(v, torch.Tensor) else v
        for k, v in conditions.items()
    }
    with torch.inference_mode():
        images = Reuse().synthesize(generator, nine, nine_conditions)
        counts = counted(found)
        assert all(counts[i] == (1 if i < first else len(nine)) for i in range(last))
        assert max_error(images, generator.synthesize(nine, **nine_conditions)) < 1e-5


def test_what_is_the_same_is_drawn_once(generator, steps):
    found = steps(generator)
    w, conditions = codes(generator, [4])
    with torch.inference_mode():
        expected = generator.synthesize(w, **conditions)
        found.clear()
        same = {
            k: v.repeat(3, 1) if isinstance(v, torch.Tensor) else v for k, v in conditions.items()
        }
        images = Reuse().synthesize(generator, w.repeat(3, 1, 1), same)
        assert set(counted(found).values()) == {1}
        assert images.shape == (3, *expected.shape[1:])
        assert all(torch.equal(image, expected[0]) for image in images)


def test_a_grid_of_samples_side_by_side(generator):
    # Samples by steps, as the two pages have them: each sample leads its own row, in one batch.
    w, conditions = codes(generator, [1, 2, 3])
    first = generator.num_ws - 1
    parts = [moved(generator, w, first, alpha) for alpha in (-1.0, 0.0, 1.0)]
    grid = torch.stack(parts, dim=1).flatten(0, 1)
    rows = [i for i in range(3) for _ in parts]
    beside = take_rows(conditions, rows)
    with torch.inference_mode():
        images = Reuse().synthesize(generator, grid, beside)
        assert max_error(images, generator.synthesize(grid, **beside)) < 1e-5


def test_what_differs_beside_w_is_never_shared(steps):
    generator = build("stylegan2")
    found, kept = steps(generator), Reuse()
    w, _ = codes(generator, [1])
    with torch.inference_mode():
        for seed in (None, 1, 2):
            for _ in range(2):
                conditions = generator.conditions(None, 0.7, seed)
                images = kept.synthesize(generator, w, conditions)
                assert max_error(images, generator.synthesize(w, **conditions)) < 1e-5
        conditional = build("biggan")
        w = codes(conditional, [1])[0].repeat(2, 1, 1)
        label = torch.eye(conditional.label_dim)[:2]
        conditions = conditional.conditions(label, 0.7)
        images = Reuse().synthesize(conditional, w, conditions)
        assert max_error(images, conditional.synthesize(w, **conditions)) < 1e-5
        assert max_error(images[0], images[1]) > 1e-3
    assert found


def test_what_is_kept_is_bounded():
    generator = build("stylegan2")
    w, conditions = codes(generator, range(100))
    small = Reuse(max_bytes=3000)
    with torch.inference_mode():
        for alpha in (0.0, 1.0, 2.0):
            w_edited = moved(generator, w, 3, alpha)
            images = small.synthesize(generator, w_edited, conditions)
            assert max_error(images, generator.synthesize(w_edited, **conditions)) < 1e-5
    assert len(small._recent) == reuse.MAX_RECENT
    assert 0 < sum(row.size for row in small._recent) <= 3000


def test_rendering_goes_by_it_where_images_are_large(monkeypatch, steps):
    generator = build("stylegan2")
    found = steps(generator)
    w, _ = codes(generator, [1, 2])
    strip = torch.cat([moved(generator, w[:1], 4, alpha) for alpha in (0.0, 1.0, 2.0)])
    plain = render(generator, strip)  # 32 px: too small to be worth it
    assert set(counted(found).values()) == {3}
    monkeypatch.setattr(reuse, "SMALLEST", 32)
    quick = render(generator, strip)
    assert counted(found)[0] == 1
    assert np.abs(plain.astype(int) - quick).max() <= 1
