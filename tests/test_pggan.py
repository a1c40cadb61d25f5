"""PGGAN against the numbers of a reference implementation, and against closed forms."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import sefa
from sefa import factorize, formats, generators
from sefa.formats.checkpoint import Found
from tests.helpers import max_error, read_case, tiny_pggan

CASES = Path(__file__).parent / "golden" / "genforce_pggan"


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(state, **config):
    return generators.build(state, {"family": "pggan", **config})


def genforce_names(state):
    """Canonical weights under genforce's names, plain scale."""
    return {
        name.removeprefix("synthesis.").replace("conv", "layer").replace("to_rgb", "output"): tensor
        for name, tensor in state.items()
    }


# -------------------------------------------------------------------------- the reference's numbers


@pytest.mark.parametrize(
    "case, facts",
    [
        # resolution, z_dim, channels, lod
        ("fused", (32, 18, 3, 0.0)),
        ("lod", (32, 10, 1, 1.3)),
        ("fused_lod", (16, 12, 3, 0.25)),
    ],
)
def test_reference_cases(case, facts, tmp_path):
    tensors, arrays = read_case(CASES / f"{case}.npz")
    save_file(tensors, tmp_path / "bare.safetensors")
    torch.save({"generator_smooth": tensors, "discriminator": {}}, tmp_path / "model.pth")
    for file in ("bare.safetensors", "model.pth"):
        generator = sefa.load_generator(tmp_path / file)
        assert generator.family == "pggan"
        assert (generator.resolution, generator.z_dim, generator.num_channels) == facts[:3]
        assert tensors["lod"].item() == pytest.approx(facts[3])
        w = generator.map(arrays["z"])
        assert max_error(generator.synthesize(w), arrays["image_psi10"]) <= 3e-5
        # The edit is of the normalised code, which the network norms again.
        moved = sefa.edit(w, arrays["n"], 3.0, [0])
        assert max_error(generator.synthesize(moved), arrays["image_edit"]) <= 3e-5
        assert max_error(arrays["image_edit"], arrays["image_psi10"]) > 0.1


def test_deliberate_bugs_miss_the_reference(monkeypatch):
    # A square kernel read untransposed or unflipped, or a blend left out, would not go unnoticed.
    tensors, arrays = read_case(CASES / "fused.npz")
    state = dict(formats.translate(Found(tensors)).state_dict)
    assert tensors["layer2.weight"].shape[:2] == (20, 20)
    for wrong in (tensors["layer2.weight"], tensors["layer2.weight"].flip(2, 3)):
        generator = build(state | {"synthesis.conv2.weight": wrong})
        images = generator.synthesize(generator.map(arrays["z"]))
        assert max_error(images, arrays["image_psi10"]) > 0.05
    tensors, arrays = read_case(CASES / "lod.npz")
    for lod in (0.0, 1.0, 2.0):
        generator = build(
            formats.translate(Found(tensors)).state_dict | {"synthesis.lod": torch.tensor(lod)}
        )
        images = generator.synthesize(generator.map(arrays["z"]))
        assert max_error(images, arrays["image_psi10"]) > 0.05


# --------------------------------------------------------------------------------- closed forms


def test_w_is_the_normalised_code_and_truncation_does_nothing():
    generator = build(tiny_pggan())
    assert not generator.has_truncation and not generator.has_cutoff
    assert generator.num_ws == 1 and generator.label_dim == 0 and generator.edit_range == 5.0
    z = torch.randn(3, 7) * 10
    w = generator.map(z)
    assert w.shape == (3, 1, 7)
    torch.testing.assert_close(w.square().mean(dim=2), torch.ones(3, 1))
    assert torch.equal(generator.map(z, None, 0.5, 0), w)
    # Only the direction of w counts: the network norms it once more.
    torch.testing.assert_close(generator.synthesize(3 * w), generator.synthesize(w))


def test_the_smallest_network_by_hand():
    # lrelu(conv(pad 3)) of the code as one pixel, norm, lrelu(conv(pad 1)), norm, 1x1.
    state = tiny_pggan(4)
    generator = build(state)

    def norm(x):
        return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()

    def layer(x, name, gain, padding):
        weight = state[f"synthesis.{name}.weight"]
        scale = gain / weight[0].numel() ** 0.5
        return F.conv2d(norm(x), weight * scale, state[f"synthesis.{name}.bias"], padding=padding)

    z = torch.randn(2, 7)
    x = F.leaky_relu(layer(norm(z)[:, :, None, None], "conv0", 2**0.5, 3), 0.2)
    x = F.leaky_relu(layer(x, "conv1", 2**0.5, 1), 0.2)
    image = generator.synthesize(generator.map(z))
    torch.testing.assert_close(image, layer(x, "to_rgb0", 1.0, 0), rtol=1e-4, atol=1e-5)


def test_directions_are_those_of_the_first_layer():
    state = tiny_pggan()
    rows = state["synthesis.conv0.weight"].permute(0, 2, 3, 1).reshape(160, 7).double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    found = factorize(build(state))
    assert found.layers == [0]
    assert found.eigenvalues.sum().item() == pytest.approx(160)
    singular = torch.linalg.svdvals(rows)
    torch.testing.assert_close(found.eigenvalues, singular.square(), rtol=1e-5, atol=0)
    strongest = (rows @ found.vectors[0]).square().sum()
    assert strongest.item() == pytest.approx(found.eigenvalues[0].item(), rel=1e-5)


def test_the_fused_layout_is_seen_where_channels_change():
    state = tiny_pggan()
    plain = genforce_names(state)
    fused = {
        name: tensor.transpose(0, 1).flip(2, 3) if name in ("layer2.weight", "layer4.weight")
        else tensor
        for name, tensor in plain.items()
    }  # fmt: skip
    for tensors in (plain, fused):
        found = formats.translate(Found(tensors))
        assert found.config == {"family": "pggan"}
        assert found.state_dict.keys() == state.keys()
        for name, tensor in state.items():
            assert torch.equal(found.state_dict[name], tensor), name
    # A file half of each is neither, and says which weight does not fit.
    mixed = plain | {"layer2.weight": fused["layer2.weight"]}
    with pytest.raises(sefa.CheckpointError, match=r"conv2\.\w+ has shape"):
        build(formats.translate(Found(mixed)).state_dict)
