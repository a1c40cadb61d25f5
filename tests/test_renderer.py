"""The renderer of the demo model's training images: its factors, and what each does to an image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from demo_model.renderer import FACTORS, factor_table, render, sample_factors
from tests.helpers import seeded

KINDS = {
    "scalar": {"yaw", "pitch", "roll", "smile", "mouth_open", "eye_size", "brow_height"}
    | {"brow_angle", "face_width", "skin_tone", "hair_length", "fringe", "light"},
    "choice": {"glasses", "hat", "beard", "earrings", "freckles"},
    "color": {"hair_color", "eye_color", "background", "shirt_color"},
}
COLORS = {
    "hair_color": (0.3, 0.2, 0.1),
    "eye_color": (0.3, 0.5, 0.8),
    "background": (0.7, 0.8, 0.9),
    "shirt_color": (0.3, 0.6, 0.4),
}


def plain(**changes):
    """Factors [1] of one plain face, some of them changed."""
    factors = {name: (f.low + f.high) / 2 for name, f in FACTORS.items() if f.kind == "scalar"}
    factors |= {name: 0 for name in KINDS["choice"]} | COLORS | {"skin_tone": 0.3} | changes
    return {name: torch.tensor([value]) for name, value in factors.items()}


def changed(**changes):
    """Where the plain face changes: bool [64, 64], by more than a 50th of the range."""
    return ((render(plain()) - render(plain(**changes))).abs().amax(1) > 0.04)[0]


def mean_color(image, rows, columns):
    """Mean [3] in [0, 1] of a window of one image [1, 3, H, W]."""
    return image[0, :, rows[0] : rows[1], columns[0] : columns[1]].mean([1, 2]) / 2 + 0.5


# --- factors --------------------------------------------------------------------------------------


def test_the_factors_are_the_agreed_ones():
    kinds = {kind: {n for n, f in FACTORS.items() if f.kind == kind} for kind in KINDS}
    assert kinds == KINDS
    assert all(f.low < f.high for f in FACTORS.values())
    for name in KINDS["choice"]:
        factor = FACTORS[name]
        assert len(factor.values) == len(factor.shares) == 2 and factor.values[0] == "none"
        assert sum(factor.shares) == pytest.approx(1)


def test_samples_have_the_promised_types_and_ranges():
    factors = sample_factors(2000, seeded(2))
    assert list(factors) == list(FACTORS)
    for name, factor in FACTORS.items():
        value = factors[name]
        assert value.shape == ((2000, 3) if factor.kind == "color" else (2000,))
        assert value.dtype == (torch.int64 if factor.kind == "choice" else torch.float32)
        assert value.min() >= factor.low and value.max() <= factor.high


def test_choices_follow_their_shares():
    # A share near 0.3 of 4000 has a standard deviation of 0.007.
    factors = sample_factors(4000, seeded(4))
    for name in KINDS["choice"]:
        counts = torch.bincount(factors[name], minlength=len(FACTORS[name].values))
        assert (counts / 4000).tolist() == pytest.approx(FACTORS[name].shares, abs=0.03)


def test_factors_are_independent():
    # Of independent columns the correlation has a standard deviation of 1 / sqrt(4000) = 0.016;
    # a colour's own channels belong to one factor.
    factors = sample_factors(4000, seeded(3))
    columns = {n: v[:, None] if v.dim() == 1 else v for n, v in factors.items()}
    owner = [name for name, value in columns.items() for _ in range(value.shape[1])]
    correlation = np.corrcoef(torch.cat(list(columns.values()), 1).float().T.numpy())
    others = np.array(owner)[:, None] != np.array(owner)[None, :]
    assert np.abs(correlation[others]).max() < 0.08


def test_the_table_lists_every_factor():
    rows = factor_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(FACTORS)
    assert "| `hat` | none 75%, beanie 25% |" in factor_table()


# --- images ---------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_images():
    first, second = sample_factors(3, seeded(5)), sample_factors(3, seeded(5))
    assert torch.equal(render(first), render(second))
    assert not torch.equal(render(first), render(sample_factors(3, seeded(6))))


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_images_have_the_promised_shape_and_range(resolution):
    images = render(sample_factors(4, seeded(0)), resolution)
    assert images.shape == (4, 3, resolution, resolution) and images.dtype == torch.float32
    assert images.min() >= -1 and images.max() <= 1
    assert images.std() > 0.2  # not flat


def test_no_factors_give_no_images():
    assert render(sample_factors(0)).shape == (0, 3, 64, 64)


def test_an_image_does_not_depend_on_its_batch():
    factors = sample_factors(5, seeded(1))
    images = render(factors, chunk=2)
    for i in range(5):
        alone = render({name: value[i : i + 1] for name, value in factors.items()})
        assert torch.allclose(images[i], alone[0], atol=1e-5)


def test_a_large_image_averages_to_the_small_one():
    # Not exactly: edges are as many pixels wide, so twice as sharp.
    factors = sample_factors(6, seeded(7))
    difference = (F.avg_pool2d(render(factors, 128), 2) - render(factors, 64)).abs()
    assert difference.mean() < 0.02


def test_negated_turns_parting_and_light_give_the_mirror_image():
    # The drawing is symmetric in everything else, freckles included.
    factors = sample_factors(40, seeded(8))
    mirrored = {n: -v if n in ("yaw", "roll", "fringe", "light") else v for n, v in factors.items()}
    assert torch.allclose(render(mirrored), render(factors).flip(3), atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_draws_the_same():
    factors = sample_factors(4, seeded(9))
    on_gpu = render({name: value.cuda() for name, value in factors.items()})
    assert torch.allclose(on_gpu.cpu(), render(factors), atol=1e-3)


# --- what each factor does ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "rows", "columns"),
    [
        ({"smile": 1.0}, (36, 54), (20, 44)),
        ({"mouth_open": 1.0}, (36, 54), (20, 44)),
        ({"eye_size": 1.16}, (24, 42), (14, 50)),
        ({"eye_color": (0.5, 0.3, 0.1)}, (26, 40), (16, 48)),
        ({"brow_height": 1.0}, (18, 32), (14, 50)),
        ({"brow_angle": 1.0}, (18, 32), (14, 50)),
        ({"fringe": 1.0}, (5, 45), (12, 52)),
        ({"glasses": 1}, (24, 42), (10, 54)),
        ({"hat": 1}, (0, 34), (8, 56)),
        ({"beard": 1}, (32, 56), (12, 52)),
        ({"earrings": 1}, (36, 46), (8, 56)),
        ({"freckles": 1}, (32, 46), (14, 50)),
        ({"shirt_color": (0.8, 0.3, 0.3)}, (50, 64), (0, 64)),
    ],
)
def test_a_local_factor_changes_its_place_and_nothing_else(change, rows, columns):
    where = changed(**change)
    assert where.sum() >= 12
    inside = torch.zeros_like(where)
    inside[rows[0] : rows[1], columns[0] : columns[1]] = True
    assert not (where & ~inside).any(), where.nonzero().aminmax(dim=0)


@pytest.mark.parametrize(
    "name",
    ["yaw", "pitch", "roll", "light", "face_width", "skin_tone", "hair_length", "hair_color"],
)
def test_a_global_factor_changes_much_but_not_the_background(name):
    where = changed(**{name: (0.8, 0.5, 0.3) if name in COLORS else float(FACTORS[name].high)})
    assert where.float().mean() > 0.04
    assert not where[:3].any() and not where[:40, :4].any()


def test_background_changes_the_corners_and_leaves_the_face():
    where = changed(background=(0.9, 0.7, 0.7))
    assert where[0, 0] and where[0, -1]
    assert not where[12:46, 22:42].any()


def test_skin_tone_darkens_the_cheek():
    cheek = [
        mean_color(render(plain(skin_tone=tone)), (40, 43), (20, 24)).mean().item()
        for tone in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert cheek == sorted(cheek, reverse=True) and cheek[0] - cheek[-1] > 0.3


@pytest.mark.parametrize("tone", [0.0, 0.5, 1.0])
def test_freckles_show_on_every_skin(tone):
    with_them, without = (render(plain(skin_tone=tone, freckles=i)) for i in (1, 0))
    difference = (without - with_them)[0].mean(0)
    assert (difference > 0.15).sum() >= 12  # darker


@pytest.mark.parametrize("tone", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("hair", [(0.17, 0.13, 0.16), (0.92, 0.85, 0.68), (0.3, 0.5, 0.77)])
def test_a_beard_is_darker_than_any_skin(tone, hair):
    bare, bearded = (
        mean_color(render(plain(skin_tone=tone, hair_color=hair, beard=i)), (47, 51), (27, 37))
        for i in (0, 1)
    )
    assert bearded.mean() < 0.85 * bare.mean()


def test_light_brightens_the_side_it_comes_from():
    left = render(plain(light=-1.0))
    cheeks = [mean_color(left, (40, 43), c).mean() for c in ((20, 24), (40, 44))]
    assert cheeks[0] > cheeks[1] + 0.05


def test_yaw_and_pitch_move_the_features_the_way_they_say():
    # Before a dark background the eyes' whites are the brightest of the image.
    def centre(**changes):
        face = plain(skin_tone=0.8, mouth_open=0.0, background=(0.2, 0.2, 0.2), **changes)
        white = (render(face)[0, :, 22:42].amin(0) > 0.4).float()
        rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(64.0), indexing="ij")
        return (white * rows).sum() / white.sum(), (white * columns).sum() / white.sum()

    assert centre(yaw=20.0)[1] > centre()[1] + 2 > centre(yaw=-20.0)[1] + 4
    assert centre(pitch=10.0)[0] < centre()[0] - 1.5 < centre(pitch=-10.0)[0] - 3


@pytest.mark.parametrize("side", [-22.0, 22.0])
def test_every_choice_shows_on_a_turned_face(side):
    for name in KINDS["choice"]:
        turned = plain(yaw=side)
        other = turned | {name: torch.tensor([1])}
        where = (render(turned) - render(other)).abs().amax(1) > 0.1
        assert where.sum() >= 10, name
