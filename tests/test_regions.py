"""Regions: directions of known effect, recovered from a brush; and maps of what moves."""

import pytest
import torch

from sefa.errors import UserError
from sefa.regions import change_map, inside_outside, region_directions
from tests.helpers import seeded

R = 8
LEFT = torch.zeros(R, R, dtype=torch.bool)
LEFT[:, :3] = True


def painted(*areas):
    """One change image for each area: 1 there in all channels, 0 elsewhere."""
    return torch.stack([area.float().expand(3, R, R) for area in areas])[:, None]


def test_a_direction_hidden_in_a_mixture_is_found():
    # Direction 0 moves everything, 1 all but the left: their difference moves the left alone.
    everything = torch.ones(R, R)
    changes = painted(everything, ~LEFT)
    rows, ratios = region_directions(changes, LEFT, 2, 2)
    change = (rows[0, :, None, None, None, None] * changes).sum(0)
    # Damped, so not quite none outside.
    assert inside_outside(change, LEFT) > 5 and ratios[0] > 25
    assert rows[0, 0] == -rows[0, 1] or rows[0, 0].sign() != rows[0, 1].sign()
    assert rows.norm(dim=1).tolist() == pytest.approx([1, 1]) and ratios[0] > ratios[1]


def test_the_ratio_is_that_of_the_energies_by_area():
    changes = painted(LEFT.float() * 3 + 1)  # 4 inside, 1 outside
    rows, ratios = region_directions(changes, LEFT, 5, 5)
    assert rows.tolist() == [[1.0]] and ratios.item() == pytest.approx(16)
    assert inside_outside(changes[0], LEFT) == pytest.approx(4)


def test_it_is_the_generalised_eigenproblem():
    changes = torch.randn(6, 2, 3, R, R, generator=seeded(0))
    rows, ratios = region_directions(changes, LEFT, 6, 6)

    def rayleigh(a):
        change = (a[:, None, None, None, None] * changes.double()).sum(0).square()
        outside = change[..., ~LEFT].mean() + 0.1 * changes.double()[..., ~LEFT].square().mean()
        return (change[..., LEFT].mean() / outside).item()

    found = [rayleigh(row) for row in rows]
    assert sorted(found, reverse=True) == found and len(ratios) == 6
    for i in range(200):  # no other combination does better
        other = rows[0] + 0.3 * torch.randn(6, generator=seeded(i)).double()
        assert rayleigh(other / other.norm()) <= found[0] + 1e-9


def test_few_terms_do_most_of_what_all_do():
    # Twenty directions, of which 4 and 11 alone have to do with the region.
    changes = torch.randn(20, 1, 3, R, R, generator=seeded(1)) * ~LEFT
    changes[4] += painted(LEFT)[0]
    changes[11] = changes[4] - 2 * painted(LEFT)[0]
    rows, ratios = region_directions(changes, LEFT, 1, 2)
    assert rows[0].nonzero().flatten().tolist() == [4, 11]
    assert rows[0].abs().max() == rows[0].max() and ratios[0] > 50


@pytest.mark.parametrize("mask", [torch.zeros(R, R).bool(), torch.ones(R, R).bool()])
def test_a_region_has_an_inside_and_an_outside(mask):
    with pytest.raises(UserError, match="inside and an outside"):
        region_directions(torch.randn(2, 1, 3, R, R), mask, 1, 2)


def test_directions_that_move_nothing_give_none():
    with pytest.raises(UserError, match="moves anything"):
        region_directions(torch.zeros(2, 1, 3, R, R), LEFT, 1, 2)


def test_a_map_says_where_most_moves():
    change = torch.zeros(2, 3, R, R)
    change[0, :, 1, 2] = 2.0
    change[1, 0, 4, 4] = -(12**0.5)
    change[1, 0, 5, 5] = 3**0.5
    found = change_map(change)
    assert found.shape == (R, R) and found[1, 2].item() == pytest.approx(1)
    assert found[4, 4].item() == pytest.approx(1) and found[5, 5].item() == pytest.approx(0.5)
    assert found.sum().item() == pytest.approx(2.5)
    assert change_map(torch.zeros(3, R, R)).max() == 0
