"""How strong directions are: the distance between images, units, reach, consistency, order."""

import pytest
import torch

import checkpoints
import sefa
from sefa import calibration
from sefa.calibration import (
    agreement,
    calibrate,
    compared,
    image_distance,
    likeness,
    matching_alpha,
    natural_spread,
    reach,
)
from sefa.rendering import LoadedModel
from tests.helpers import seeded, tiny_stylegan2
from ui import engine, measuring

# --- images ---------------------------------------------------------------------------------------


def flat(*levels, side=8):
    """Images of one grey each."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, side, side)


def test_the_distance_of_flat_images_is_their_difference():
    # Every level but the last, the mean colour, is zero.
    distances = image_distance(flat(0.5, -1.0), flat(0.25, 1.0))
    assert distances.tolist() == pytest.approx([0.25, 2.0])


@pytest.mark.parametrize("square", [1, 2, 4])
def test_a_chessboard_counts_at_the_scale_of_its_squares_alone(square):
    i = torch.arange(8) // square
    board = ((i[:, None] + i) % 2 * 2.0 - 1).expand(1, 3, 8, 8)
    assert image_distance(board, flat(0.0)).tolist() == pytest.approx([1.0])


def test_the_distance_sums_the_levels():
    # One white pixel of a 2 x 2 image: mean 1/4; the differences from it are 3/4 and three 1/4.
    image = torch.zeros(1, 1, 2, 2)
    image[0, 0, 0, 0] = 1
    assert image_distance(image, torch.zeros(1, 1, 2, 2)).item() == pytest.approx(0.25 + 1.5 / 4)


@pytest.mark.parametrize("side, expected", [(16, 16), (24, 16), (128, 128), (512, 128)])
def test_images_are_compared_as_they_are_shown(side, expected):
    images = compared(torch.full((1, 3, side, side), 7.0))
    assert images.shape == (1, 3, expected, expected)
    assert images.max() == images.min() == 1


def test_agreement_is_the_mean_cosine_of_pairs():
    a, b = torch.zeros(2, 3, 16, 16)
    a[0, 0, 0], b[0, 0, 1] = 1, 1
    assert agreement(torch.stack([a, 3 * a])) == pytest.approx(1)
    assert agreement(torch.stack([a, b])) == pytest.approx(0)
    assert agreement(torch.stack([a, -a])) == 0  # not below
    assert agreement(torch.stack([a, b, a])) == pytest.approx(1 / 3)
    assert agreement(torch.zeros(3, 3, 16, 16)) == 0


# --- how far to go --------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [lambda a: 0.2 * a, lambda a: a**0.6, lambda a: 1 - 0.5**a])
def test_alpha_is_found_where_the_change_is_the_target(amount):
    alpha = matching_alpha(amount, 0.7)
    assert amount(alpha) == pytest.approx(0.7, rel=0.02)


def test_a_direction_that_does_nothing_gets_the_largest_alpha():
    assert matching_alpha(lambda a: 0.0, 0.7, largest=50.0) == 50.0


def test_the_reach_is_natural_unless_the_change_is_saturated():
    assert reach(lambda alpha: 3 * alpha, 4.0) == 4.0
    assert reach(lambda alpha: min(alpha, 1.0), 4.0) == 1.0  # from 1 on nothing changes any more
    assert reach(lambda alpha: 0.0, 4.0) == 0.5  # three halves at most


# --- directions of known effect -------------------------------------------------------------------

GAINS = torch.tensor([0.02, 0.1, 0.0, 0.05])


def shade(w):
    """w [N, 2, 4] -> flat images whose grey is linear in the first index."""
    return flat(*(w[:, 0] @ GAINS.to(w)).tolist())


@pytest.fixture(scope="module")
def known():
    w = torch.randn(16, 2, 4, generator=seeded(0))
    spread = torch.tensor([1.0, 2.0, 3.0, 0.5])
    seen = []
    found = calibrate(shade, w, torch.eye(4), [0], spread, lambda *at: seen.append(at))
    return w, found, seen


def test_one_unit_is_the_same_change_along_every_direction(known):
    w, found, _ = known
    target = 0.1 * (shade(w) - shade(w).roll(1, 0)).abs().mean().item()
    assert found.change == pytest.approx(target)
    units = found.unit.tolist()
    assert units[2] == calibration.LARGEST  # does nothing
    for i in (0, 1, 3):
        assert units[i] == pytest.approx(target / GAINS[i].item(), rel=0.03)


def test_reach_consistency_and_effect_of_known_directions(known):
    _, found, seen = known
    assert found.reach[[0, 1, 3]].tolist() == pytest.approx([4, 8, 2])
    assert found.consistency.tolist() == pytest.approx([1, 1, 0, 1], abs=1e-3)
    assert found.effect[[0, 1, 3]].tolist() == pytest.approx(GAINS[[0, 1, 3]].tolist(), rel=0.03)
    assert found.order() == [1, 3, 0, 2]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_direction_moves_the_layers_it_is_for():
    w = torch.randn(4, 2, 4, generator=seeded(0))
    found = calibrate(shade, w, torch.eye(4)[:2], [1], torch.ones(2))  # shade looks at 0 alone
    assert found.unit.tolist() == [calibration.LARGEST] * 2


def test_directions_that_do_the_same_are_alike_in_whichever_layers():
    def paint(w):  # index 0 brightens, 1 darkens, 2 reddens, 3 nothing
        images = flat(*(w[:, 0, 0] - 2 * w[:, 1, 1]).tolist()).clone()
        images[:, 0] += w[:, 0, 2, None, None] / 2
        return images / 20

    w = torch.randn(8, 2, 4, generator=seeded(0))
    found = [calibrate(paint, w, torch.eye(4), [i], torch.ones(4)).changes for i in (0, 1)]
    alike = likeness(*found)
    assert alike.shape == (4, 4) and alike[0, 1].item() == pytest.approx(-1, abs=1e-3)
    assert likeness(found[0], found[0])[0, 2].item() == pytest.approx(3**-0.5, abs=1e-3)
    assert alike[3].abs().max() == 0


def test_a_calibration_that_is_stopped_goes_on_where_it_was():
    w = torch.randn(8, 2, 4, generator=seeded(0))
    given = shade, w, torch.eye(4), [0], torch.tensor([1.0, 2.0, 3.0, 0.5])
    whole = calibrate(*given)
    part = calibrate(*given, lambda done, total: done < 2)
    assert len(part) == 2 and torch.equal(part.unit, whole.unit[:2])
    rest = calibrate(*given, known=part)
    for name in ("unit", "reach", "consistency", "changes"):
        assert torch.equal(getattr(rest, name), getattr(whole, name))


def test_natural_spread_is_the_deviation_along_each_direction():
    w = torch.randn(20_000, 3, generator=seeded(0)) * torch.tensor([1.0, 3.0, 0.0]) + 5
    spread = natural_spread(w[:, None].expand(-1, 4, -1), torch.eye(3), [0, 2])
    assert spread.tolist() == pytest.approx([1, 3, 0], rel=0.02)


def test_a_direction_is_calibrated_the_same_twice_and_on_one_thread_or_two(tmp_path):
    generator = sefa.load_generator(tiny_stylegan2(tmp_path / "tiny.safetensors", seed=1))
    directions = sefa.factorize(generator)
    before, found = torch.get_num_threads(), []
    with torch.inference_mode():
        w = generator.map(generator.sample_z(range(8)))
        spread = natural_spread(w, directions.vectors[:3], directions.layers)
        try:
            for threads in (1, 1, 2):
                torch.set_num_threads(threads)
                found.append(
                    calibrate(
                        generator.synthesize, w, directions.vectors[:3], directions.layers, spread
                    )
                )
        finally:
            torch.set_num_threads(before)
    for name in ("unit", "reach", "consistency"):
        first, again, two = (getattr(c, name) for c in found)
        assert torch.equal(first, again)
        assert torch.allclose(first, two, rtol=1e-4)
    assert (found[0].unit < calibration.LARGEST).all() and (found[0].consistency > 0).any()


def test_the_embedded_model_is_measured_the_same_on_one_thread_or_two():
    model, before = LoadedModel(checkpoints.load("avatars")), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(model.calibration("all", 2))
    finally:
        torch.set_num_threads(before)
    for name in ("unit", "reach", "consistency"):
        one, two = (getattr(c, name) for c in found)
        assert torch.allclose(one, two, rtol=1e-4)
    # What ships with it is what is measured: a change of either needs the other.
    shipped = measuring.known(engine.open_model("avatars"), "all")
    for name in ("unit", "reach", "consistency"):
        assert torch.allclose(getattr(shipped, name)[:2], getattr(found[0], name), rtol=1e-3)
