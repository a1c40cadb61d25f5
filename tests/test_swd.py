"""Sliced Wasserstein distance and its Laplacian pyramid, against closed forms."""

import math

import pytest
import torch

from demo_model import swd
from tests.helpers import seeded


def noise(n, resolution, seed):
    """Random uint8 images."""
    return torch.randint(0, 256, (n, 3, resolution, resolution), generator=seeded(seed)).byte()


def test_identical_sets_have_no_distance_and_others_are_not_mixed_up():
    x, y = torch.randn(300, 20, generator=seeded(0)), torch.randn(300, 20, generator=seeded(1))
    same, other = swd.sliced_distances(x, [x, y])
    assert same == 0 and other > 0
    shuffled = x[torch.randperm(300, generator=seeded(2))]
    assert swd.sliced_distances(x, [shuffled])[0] == pytest.approx(0, abs=1e-6)


def test_a_shift_is_as_far_as_its_component_along_each_direction():
    # Every point moves by m: along the unit direction d all by <m, d>. Of m = (L, 0, ..., 0) the
    # mean of |<m, d>| over the sphere in D dimensions is L Γ(D/2) / (√π Γ((D+1)/2)).
    x, shift = torch.randn(200, 12, generator=seeded(0)), torch.zeros(12)
    shift[3] = 2.5
    (distance,) = swd.sliced_distances(x, [x + shift])
    expected = 2.5 * math.gamma(6) / (math.sqrt(math.pi) * math.gamma(6.5))
    assert distance == pytest.approx(expected, rel=0.08)  # of 512 directions


def test_a_scaled_gaussian_is_as_far_as_its_mean_absolute_value():
    # Sorted projections x and 3x differ by 2 |x|, whose mean is 2 √(2/π) for a unit gaussian.
    x = torch.randn(20_000, 5, generator=seeded(0))
    (distance,) = swd.sliced_distances(x, [3 * x])
    assert distance == pytest.approx(2 * math.sqrt(2 / math.pi), rel=0.02)


def test_levels_go_down_to_sixteen_pixels():
    assert swd.levels(128) == [128, 64, 32, 16]
    assert swd.levels(16) == [16]


def test_the_laplacian_pyramid_adds_up_to_the_image():
    images = torch.rand(2, 3, 64, 64, generator=seeded(0))
    fine, middle, coarse = (swd.laplacian_level(images, k) for k in range(3))
    assert [x.shape[-1] for x in (fine, middle, coarse)] == [64, 32, 16]
    rebuilt = swd.up(swd.up(coarse) + middle) + fine
    assert torch.allclose(rebuilt, images, atol=1e-6)


def test_a_flat_image_has_its_colour_at_the_coarsest_level_alone():
    images = torch.full([1, 3, 32, 32], 0.7)
    assert swd.laplacian_level(images, 0).abs().max() < 1e-6
    assert torch.allclose(swd.laplacian_level(images, 1), torch.full([1, 3, 16, 16], 0.7))


def test_descriptors_are_normalised_patches_of_their_level():
    patches = swd.descriptors(noise(6, 32, 0), 1, seed=0)
    assert patches.shape == (6 * 128, 3 * 7 * 7)
    channels = patches.reshape(-1, 3, 49)
    assert torch.allclose(channels.mean([0, 2]), torch.zeros(3), atol=1e-4)
    assert torch.allclose(channels.std([0, 2]), torch.ones(3), atol=1e-3)


def test_descriptors_are_places_of_the_image():
    # A ramp to the right, at the only level of a 16-pixel image: neighbours differ by one step.
    ramp = (torch.arange(16) * 10).byte().expand(2, 3, 16, 16)
    patches = swd.descriptors(ramp, 0, seed=0).reshape(-1, 3, 7, 7)
    steps = patches.diff(dim=3)
    assert torch.allclose(steps, steps[:1, :1, :1, :1].expand_as(steps), atol=1e-5)
    assert patches.diff(dim=2).abs().max() < 1e-6
    assert len(patches[:, 0, 0, 0].unique()) == 10  # all starts there are


def test_sets_that_differ_are_farther_apart_than_sets_that_do_not():
    # Three images of four flat: patches that are zero or strong, where all were alike.
    x, again, flat = noise(32, 32, 0), noise(32, 32, 1), noise(32, 32, 2)
    flat[8:] = 128
    floor, distance = swd.swd(x, [again, flat])
    assert len(floor) == len(distance) == 2  # levels
    assert all(d > 5 * f for d, f in zip(distance, floor))
    assert [floor] == swd.swd(x, [again])  # the same numbers every time
