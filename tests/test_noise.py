"""Fresh noise of StyleGAN and StyleGAN2: known numbers, stored noise replaced by hand, closed forms."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sefa import generators
from sefa.generators.noise import draw_noise
from sefa.rendering import render
from tests.helpers import max_error, tiny_pggan, tiny_state_dict, tiny_stylegan

FAMILIES = {"stylegan": tiny_stylegan, "stylegan2": tiny_state_dict}
SEED = 7


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def build(family, state=None):
    state = FAMILIES[family]() if state is None else state
    return generators.build(state, {"family": family})


def codes(generator, n=3):
    return generator.map(generator.sample_z(range(n)))


def with_noise(state, seed):
    """The weights with the noise of a seed stored in them."""
    return {
        name: torch.from_numpy(
            np.random.RandomState([seed, int(name.split(".")[1].removeprefix("conv"))])
            .randn(*tensor.shape)
            .astype(np.float32)
        )
        if name.endswith("noise_const")
        else tensor
        for name, tensor in state.items()
    }


def changed(state, ending, change):
    return {
        name: change(tensor) if name.endswith(ending) else tensor for name, tensor in state.items()
    }


# --------------------------------------------------------------------------------- what is drawn


def test_the_noise_of_a_seed_stays_the_same_for_ever():
    # pinned, since links name seeds
    first, none, third = draw_noise(0, (4, 0, 8))
    assert none is None and first.shape == (4, 4) and third.shape == (8, 8)
    assert first.dtype == torch.float32
    found = torch.stack([first[0, 0], first[3, 3], third[0, 0], third[7, 7]])
    expected = torch.tensor([-0.3625903, 0.5916195, -0.1938252, -1.1115121])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert torch.equal(first, torch.from_numpy(np.random.RandomState([0, 0]).randn(4, 4)).float())


def test_layers_are_independent_of_each_other_and_of_z():
    layers = draw_noise(SEED, (64, 64, 64))
    z = torch.from_numpy(np.random.RandomState(SEED).randn(64, 64)).float()
    other = draw_noise(SEED + 1, (64, 64, 64))
    images = torch.stack([*layers, *other, z]).flatten(1)
    # Correlations of 4096 independent numbers are 1/64 at a time.
    correlations = torch.corrcoef(images) - torch.eye(len(images))
    assert correlations.abs().max() < 5 / 64
    assert (images.mean(1).abs() < 5 / 64).all() and ((images.std(1) - 1).abs() < 0.06).all()
    # and whether there are others does not matter
    assert torch.equal(draw_noise(SEED, (0, 64))[1], layers[1])


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_first_and_the_last_seed(seed, family):
    generator = build(family)
    assert generator.synthesize(codes(generator, 1), seed).isfinite().all()


# ------------------------------------------------------------------------------------- the images


def test_a_seed_replaces_the_stored_noise_and_nothing_else(family):
    state = FAMILIES[family]()
    generator, replaced = build(family, state), build(family, with_noise(state, SEED))
    w = codes(generator)
    stored, fresh = generator.synthesize(w), generator.synthesize(w, SEED)
    assert torch.equal(fresh, replaced.synthesize(w))
    assert max_error(fresh, stored) > 0.05
    assert max_error(fresh, generator.synthesize(w, SEED + 1)) > 0.05
    # None is the stored noise, before and after
    assert torch.equal(generator.synthesize(w, None), stored)


def test_what_is_added_is_the_strength_times_the_noise():
    # 4 px StyleGAN2 whose convolution gives nothing: the features are sqrt2 lrelu(s n), and the
    # toRGB of ones over sqrt C adds up C of them.
    state = tiny_state_dict(4, channels=(9,), num_channels=1)
    for name in ("conv0.weight", "conv0.bias", "to_rgb0.bias", "to_rgb0.affine.weight"):
        state[f"synthesis.{name}"].zero_()
    for name in ("to_rgb0.weight", "to_rgb0.affine.bias"):
        state[f"synthesis.{name}"].fill_(1.0)
    state["synthesis.conv0.noise_strength"].fill_(-0.3)
    generator = build("stylegan2", state)
    noise = torch.from_numpy(np.random.RandomState([SEED, 0]).randn(4, 4)).float()
    expected = math.sqrt(9) * math.sqrt(2) * F.leaky_relu(-0.3 * noise, 0.2)
    images = generator.synthesize(codes(generator, 2), SEED)
    torch.testing.assert_close(images, expected.expand(2, 1, 4, 4), rtol=0, atol=1e-5)


def test_the_noise_is_the_same_for_every_sample_in_any_batch(family):
    generator = build(family)
    w = codes(generator, 5)
    whole = generator.synthesize(w, SEED)
    alone = torch.cat([generator.synthesize(row[None], SEED) for row in w])
    assert max_error(whole, alone) < 1e-5
    same = generator.synthesize(w[:1].repeat(3, 1, 1), SEED)
    assert max_error(same, same[:1].repeat(3, 1, 1, 1)) < 1e-5
    conditions = generator.conditions(None, 0.7, SEED)
    batches = [render(generator, w, size, conditions=conditions) for size in (1, 2, 5)]
    assert all(np.abs(found.astype(int) - batches[0]).max() <= 1 for found in batches)


def test_precision_memory_format_and_gradients(family):
    generator, twin = build(family), build(family)
    w = codes(generator)
    with torch.inference_mode():  # draws what the others use
        draw_noise.cache_clear()
        images = generator.synthesize(w, SEED)
    assert torch.equal(generator.synthesize(w.double(), SEED), images)
    twin.to(memory_format=torch.channels_last)
    assert max_error(twin.synthesize(w, SEED), images) < 1e-5
    leaf = w.clone().requires_grad_()
    generator.synthesize(leaf, SEED).sum().backward()
    assert leaf.grad.isfinite().all() and leaf.grad.any()
    assert twin.double().synthesize(w, SEED).dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_has_the_noise_of_the_cpu(family):
    generator = build(family)
    w = codes(generator)
    images = generator.synthesize(w, SEED)
    moved = generator.cuda().synthesize(w.cuda(), SEED).cpu()
    assert max_error(moved, images) < 1e-2  # TF32 convolutions


def test_drawing_changes_neither_the_network_nor_what_is_kept(family):
    generator = build(family)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    w = codes(generator)
    images = generator.synthesize(w, SEED)
    kept = [None if n is None else n.clone() for n in draw_noise(SEED, generator.noise_sizes)]
    assert torch.equal(generator.synthesize(w, SEED), images)
    for name, tensor in generator.state_dict().items():
        if name in before:  # StyleGAN2 prepares something more for its first image
            assert torch.equal(tensor, before[name])
    again = draw_noise(SEED, generator.noise_sizes)
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(kept, again, strict=True))


# ------------------------------------------------------------------------------- who has any noise


def test_noise_counts_where_its_strength_is_not_zero(family):
    state = FAMILIES[family]()
    silent = build(family, changed(state, "noise_strength", torch.zeros_like))
    without = build(family, {name: t for name, t in state.items() if "noise" not in name})
    w = codes(without)
    for generator in (silent, without):
        assert not generator.has_noise and generator.conditions(None, 0.7, SEED) == {}
        assert torch.equal(generator.synthesize(w, SEED), without.synthesize(w))
    # one layer of them is enough
    name = "synthesis.conv3.noise_strength"
    one = build(family, {**changed(state, "noise_strength", torch.zeros_like), name: state[name]})
    assert one.has_noise and [i for i, size in enumerate(one.noise_sizes) if size] == [3]
    assert max_error(one.synthesize(w, SEED), without.synthesize(w)) > 1e-3


def test_stored_noise_of_zeros_may_have_a_strength(family):
    state = FAMILIES[family]()
    generator = build(family, changed(state, "noise_const", torch.zeros_like))
    without = build(family, changed(state, "noise_strength", torch.zeros_like))
    w = codes(generator)
    assert generator.has_noise
    assert torch.equal(generator.synthesize(w), without.synthesize(w))
    # and the fresh noise is that of the same network with any other noise stored
    assert torch.equal(generator.synthesize(w, SEED), build(family, state).synthesize(w, SEED))


def test_layers_that_are_not_in_use_have_no_noise():
    # A level of detail of 1 leaves out the finest block, here the only one with a strength.
    state = tiny_stylegan(lod=1.0)
    for i in range(4):
        state[f"synthesis.conv{i}.noise_strength"].zero_()
    generator = build("stylegan", state)
    assert not generator.has_noise
    w = codes(generator)
    assert torch.equal(generator.synthesize(w, SEED), generator.synthesize(w))
    state["synthesis.conv2.noise_strength"].fill_(0.5)
    generator = build("stylegan", state)
    assert generator.has_noise
    assert max_error(generator.synthesize(w, SEED), generator.synthesize(w)) > 1e-2


def test_conditions_say_the_seed_where_there_is_one(family):
    generator = build(family)
    assert generator.has_noise
    assert generator.conditions(None, 0.7) == {} == generator.conditions(None, 0.7, None)
    assert generator.conditions(None, 0.7, 0) == {"noise_seed": 0}
    w = codes(generator)
    found = generator.synthesize(w, **generator.conditions(None, 0.7, SEED))
    assert torch.equal(found, generator.synthesize(w, SEED))


def test_families_without_noise_have_no_use_for_a_seed():
    generator = generators.build(tiny_pggan(), {"family": "pggan"})
    assert not generator.has_noise and generator.conditions(None, 0.7, SEED) == {}
    for name in ("pggan", "stylegan3", "biggan", "dcgan"):
        assert not generators.FAMILIES[name].has_noise
