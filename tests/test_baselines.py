"""PCA and random directions against known answers, and what a step of equal change is."""

import numpy as np
import pytest
import torch

import sefa
from sefa import baselines
from sefa.baselines import (
    directions_by,
    mapped_covariance,
    pca_directions,
    random_directions,
    stands_out,
)
from sefa.calibration import LARGEST, SHARE
from sefa.comparison import equal_change
from sefa.errors import UserError
from sefa.factorization import Directions
from sefa.generators.generator import Generator
from sefa.generators.pggan import PGGAN
from sefa.rendering import LoadedModel
from tests import test_biggan, test_dcgan
from tests.helpers import seeded, tiny_pggan, tiny_stylegan2


def orthonormal(rows):
    return torch.allclose(rows @ rows.T, torch.eye(len(rows), dtype=rows.dtype), atol=1e-10)


@pytest.fixture
def fewer(monkeypatch):
    monkeypatch.setattr(baselines, "PCA_SEEDS", 3000)


# --- directions -----------------------------------------------------------------------------------


def test_pca_finds_the_axes_in_the_order_of_their_variance():
    axes = torch.linalg.qr(torch.randn(5, 5, generator=seeded(0)))[0]
    w = torch.randn(4000, 5, generator=seeded(1)) * torch.tensor([1.0, 5, 2, 0.1, 9]) @ axes.T + 7
    found = pca_directions(w, 3)
    cosines = (found.float() @ axes).abs()
    assert torch.allclose(cosines[range(3), [4, 1, 2]], torch.ones(3), atol=0.01)
    assert found.dtype == torch.float64 and orthonormal(found)
    assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()
    assert torch.equal(pca_directions(-w, 3), found)  # the sign is not the solver's


def test_random_directions_are_orthonormal_and_always_the_same():
    found = random_directions(4, 9)
    assert orthonormal(found) and found.shape == (4, 9)
    assert torch.equal(found, random_directions(4, 9))
    assert not torch.allclose(found, random_directions(4, 9, seed=1))


class Gaussian(Generator):
    """w is z stretched along known axes, another place for each of the three layers where asked;
    classes move it. Its images are the first four numbers of the layers' mean w, as flat greys.
    """

    family, resolution, num_channels = "gaussian", 8, 1
    z_dim = w_dim = 4
    num_ws, layer_names = 3, ["a", "b", "c"]

    def __init__(self, label_dim=0, apart=False, gain=0.05):
        super().__init__()
        self.label_dim, self.apart = label_dim, apart
        axes, _ = torch.linalg.qr(torch.randn(4, 4, generator=seeded(3)))
        self.register_buffer("axes", axes.T.contiguous())
        self.register_buffer("gains", gain * torch.tensor([1.0, 2.0, 0.0, 0.5]))
        self.deviations = torch.tensor([2.0, 1.0, 0.5, 0.25])

    def map(self, z, label=None, truncation_psi=1.0, truncation_cutoff=None):
        self.check_codes(z, label)
        w = truncation_psi * (z * self.deviations @ self.axes)[:, None].repeat(1, 3, 1)
        if self.apart:
            # The last layer is weaker, and all are far from each other.
            w = w * torch.tensor([1.0, 1.0, 0.1])[:, None] + torch.arange(3.0)[:, None] * 50
        if label is not None:
            w = w + (label @ torch.tensor([[-9.0], [9.0]]))[:, None] * self.axes[3]
        return w

    def synthesize(self, w):
        self.check_ws(w)
        grey = w.mean(1) @ self.gains.to(w)
        return grey[:, None, None, None].expand(-1, 1, 8, 8).float()

    def layer_weights(self, layers):
        return [torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])) for _ in layers]


def test_pca_of_a_generator_has_the_axes_and_variances_of_its_w(fewer):
    generator, seen = Gaussian(), []
    found = directions_by("pca", generator, "0-1", lambda *at: seen.append(at))
    assert found.layers == [0, 1] and orthonormal(found.vectors)
    cosines = (found.vectors.float() @ generator.axes.T).abs()
    assert torch.allclose(cosines, torch.eye(4), atol=0.1)
    assert found.eigenvalues.tolist() == pytest.approx([4, 1, 0.25, 0.0625], rel=0.1)
    assert seen == [(1000, 3000), (2000, 3000), (3000, 3000)]
    assert torch.equal(found.vectors, directions_by("pca", generator, [2]).vectors)


def test_layers_of_their_own_w_are_more_samples_around_their_own_means(fewer):
    generator = Gaussian(apart=True)
    z = generator.sample_z(range(3000))
    w = generator.map(z)[:, [1, 2]].double()
    centred = (w - w.mean(0)).flatten(0, 1).numpy()
    expected = np.cov(centred, rowvar=False, bias=True)
    found = mapped_covariance(generator, [1, 2])
    assert np.allclose(found.numpy(), expected, atol=1e-6)
    # Not the 50 between the layers, which no sample differs in.
    assert directions_by("pca", generator, "all").eigenvalues[0] < 4.4


def test_classes_count_in_turn(fewer):
    found = directions_by("pca", Gaussian(label_dim=2))
    # Half are at -9 and half at 9 along the last axis.
    assert found.eigenvalues[0].item() == pytest.approx(81, rel=0.05)


def test_random_directions_of_a_generator_are_as_many_as_w_has_numbers():
    found = directions_by("random", Gaussian(), "1")
    assert found.layers == [1] and found.vectors.shape == (4, 4) and orthonormal(found.vectors)
    assert found.eigenvalues.shape == (0,)


def test_sefa_is_factorize_and_bad_input_is_refused(tmp_path):
    generator = sefa.load_generator(tiny_stylegan2(tmp_path / "tiny.safetensors"))
    found = directions_by("sefa", generator, "0-1")
    assert torch.equal(found.vectors, sefa.factorize(generator, "0-1").vectors)
    for method in baselines.METHODS:
        with pytest.raises(UserError, match="layers are 0 to 5"):
            directions_by(method, generator, "9")
    with pytest.raises(ValueError, match="method must be one of sefa, pca, random"):
        directions_by("ica", generator)


@pytest.mark.parametrize("family", ["pggan", "dcgan", "biggan"])
def test_families_whose_space_is_z(family, fewer):
    if family == "pggan":
        generator = PGGAN(tiny_pggan(), {})
    elif family == "dcgan":
        generator = test_dcgan.build(test_dcgan.named(test_dcgan.tutorial()))
    else:
        generator = test_biggan.build(test_biggan.Case("attention16").weights)
    methods = [directions_by(method, generator) for method in baselines.METHODS]
    assert all(orthonormal(found.vectors) and len(found.vectors) for found in methods)
    equal = equal_change(LoadedModel(generator), methods, 2, distance=2.0)
    assert np.abs(np.array(equal.shares) - 1).max() < 0.021


def test_where_z_is_the_space_no_axis_stands_out(fewer):
    generator = PGGAN(tiny_pggan(), {})
    found = directions_by("pca", generator)
    assert found.layers == [0] and orthonormal(found.vectors)
    assert not stands_out(found.eigenvalues)
    assert stands_out(directions_by("pca", Gaussian()).eigenvalues)


# --- equal change ---------------------------------------------------------------------------------


def axes_of(generator, order):
    """The unit axes of w, applied to all layers."""
    return Directions([0, 1, 2], torch.eye(4, dtype=torch.float64)[order], torch.zeros(0))


def test_alphas_make_the_change_equal_in_units_of_unrelated_samples():
    generator = Gaussian()
    methods = [axes_of(generator, [0, 1, 2]), axes_of(generator, [3, 0, 1])]
    found = equal_change(LoadedModel(generator), methods, 3, distance=1.5)
    w = generator.map(
        generator.sample_z(range(3_000_000_000, 3_000_000_000 + found.samples)), None, 0.7
    )
    grey = generator.synthesize(w)[:, 0, 0, 0]
    change = 1.5 * SHARE * (grey - grey.roll(1, 0)).abs().mean().item()
    expected = [change / gain if gain else LARGEST for gain in (0.05, 0.1, 0, 0.025, 0.05, 0.1)]
    assert [*found.alphas[0], *found.alphas[1]] == pytest.approx(expected, rel=0.021)
    shares = [*found.shares[0], *found.shares[1]]
    assert shares == pytest.approx([1, 1, 0, 1, 1, 1], abs=0.021)


def test_one_unit_is_that_of_the_calibration(tmp_path):
    generator = sefa.load_generator(tiny_stylegan2(tmp_path / "tiny.safetensors", seed=1))
    found = equal_change(
        LoadedModel(generator), [sefa.factorize(generator, "0-1")], 3, distance=1.0
    )
    unit = LoadedModel(generator).calibration("0-1", 3).unit
    assert found.alphas[0] == pytest.approx(unit.tolist(), rel=0.25)  # half of its samples
    assert equal_change(LoadedModel(generator), [sefa.factorize(generator, "0-1")], 3, 1.0) == found


def test_a_class_is_measured_on_its_own_images():
    # Gains so small that no grey is clipped: the two classes are 9 on either side of the mean.
    generator, seen = Gaussian(label_dim=2, gain=0.01), []
    methods = [axes_of(generator, [0])]
    one, other = (
        equal_change(LoadedModel(generator), methods, 1, 1.0, c, lambda *at: seen.append(at))
        for c in (0, 1)
    )
    assert one.alphas[0] == pytest.approx(other.alphas[0], rel=0.03)
    mixed = equal_change(LoadedModel(generator), methods, 1, 1.0)
    assert mixed.alphas[0][0] > 2 * one.alphas[0][0]  # samples of two classes are farther apart
    assert seen == [(1, 1), (1, 1)]


def test_images_that_are_all_alike_are_refused():
    with pytest.raises(UserError, match="All images of this model are alike"):
        equal_change(LoadedModel(Gaussian(gain=0.0)), [axes_of(None, [0])], 1, 1.0)
