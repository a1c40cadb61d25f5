"""StyleGAN against the numbers of a reference implementation, and against closed forms."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import sefa
from sefa import CheckpointError, factorize, formats, generators
from sefa.formats import genforce_stylegan
from sefa.formats.checkpoint import Found
from sefa.generators.ops import blur, upsampling_kernel
from tests.helpers import is_one_sentence, max_error, read_case, tiny_stylegan

CASES = Path(__file__).parent / "golden" / "genforce_stylegan"
STRIDE = 3  # of the stored pixels of fused128


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(state, **config):
    return generators.build(state, {"family": "stylegan", **config})


# -------------------------------------------------------------------------- the reference's numbers


@pytest.mark.parametrize(
    "case, facts, stride",
    [
        # resolution, z_dim, w_dim, label_dim, num_ws, channels
        ("fused128", (128, 9, 7, 0, 12, 3), STRIDE),
        ("conditional", (32, 8, 12, 4, 8, 1), 1),
        ("w_per_layer", (32, 10, 6, 0, 8, 3), 1),
    ],
)
def test_reference_cases(case, facts, stride, tmp_path):
    tensors, arrays = read_case(CASES / f"{case}.npz")
    save_file(tensors, tmp_path / "bare.safetensors")
    torch.save({"models": {"generator_smooth": tensors}}, tmp_path / "model.pth")
    for file in ("bare.safetensors", "model.pth"):
        generator = sefa.load_generator(tmp_path / file)
        assert generator.family == "stylegan"
        assert facts == (
            generator.resolution, generator.z_dim, generator.w_dim, generator.label_dim,
            generator.num_ws, generator.num_channels,
        )  # fmt: skip
        z, label = arrays["z"], arrays.get("label")
        w = generator.map(z, label)
        per_layer = arrays["w"].view(len(z), -1, generator.w_dim).expand(-1, generator.num_ws, -1)
        assert max_error(w, per_layer) <= 1e-5
        cut = generator.map(z, label, 0.7, 3)
        assert max_error(cut, arrays["ws_psi07_cut3"]) <= 1e-5
        assert max_error(generator.map(z, label, 0.5), arrays["ws_psi05"]) <= 1e-5
        for code, name in [(w, "image_psi10"), (cut, "image_psi07_cut3")]:
            image = generator.synthesize(code)
            assert image.shape == (len(z), facts[5], facts[0], facts[0])
            assert max_error(image[:, :, ::stride, ::stride], arrays[name]) <= 3e-5
        assert max_error(arrays["image_psi10"], arrays["image_psi07_cut3"]) > 0.1


def test_the_label_counts():
    tensors, arrays = read_case(CASES / "conditional.npz")
    found = formats.translate(Found(tensors))
    generator = generators.build(found.state_dict, found.config)
    w = generator.map(arrays["z"], arrays["label"].roll(1, dims=1))
    assert max_error(generator.synthesize(w), arrays["image_psi10"]) > 0.1


def without_the_kernel_flip(name, tensor):
    return tensor if name.endswith("conv10.weight") else genforce_convert(name, tensor)


def without_plus_one(name, tensor):
    return tensor if name.endswith("affine.bias") else genforce_convert(name, tensor)


def without_noise(name, tensor):
    converted = genforce_convert(name, tensor)
    return torch.zeros_like(converted) if name.endswith("noise_strength") else converted


genforce_convert = genforce_stylegan.convert


@pytest.mark.parametrize("bug", [without_the_kernel_flip, without_plus_one, without_noise])
def test_a_deliberate_bug_misses_the_reference(bug, monkeypatch):
    tensors, arrays = read_case(CASES / "fused128.npz")
    monkeypatch.setattr(genforce_stylegan, "convert", bug)
    generator = build(formats.translate(Found(tensors)).state_dict)
    images = generator.synthesize(generator.map(arrays["z"]))[:, :, ::STRIDE, ::STRIDE]
    assert max_error(images, arrays["image_psi10"]) > 0.1


# --------------------------------------------------------------------------------- closed forms


def test_the_upsampling_kernel_is_nearest_upsampling_and_a_convolution():
    x, weight = torch.randn(2, 5, 6, 6), torch.randn(4, 5, 3, 3)
    expected = F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), weight, padding=1)
    kernel = upsampling_kernel(weight)
    assert kernel.shape == (5, 4, 4, 4)
    found = F.conv_transpose2d(x, kernel, stride=2, padding=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_blur_of_a_single_pixel():
    x = torch.zeros(1, 2, 4, 4)
    x[0, 1, 0, 1] = 16.0
    expected = torch.zeros(2, 4, 4)
    expected[1, :2, :3] = torch.tensor([[2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    assert torch.equal(blur(x)[0], expected)


def test_the_mapping_has_its_gain_on_the_weights_alone():
    # lrelu(x W^T sqrt2 lr / sqrt(in) + lr b), unlike StyleGAN2's gain on the activations.
    state = tiny_stylegan()
    generator = build(state, lr_multiplier=0.02)
    z = torch.randn(1, 8)
    x = z / z.square().mean().sqrt()
    for i in range(2):
        weight, bias = state[f"mapping.dense{i}.weight"], state[f"mapping.dense{i}.bias"]
        x = F.linear(x, weight * (2**0.5 * 0.02 / weight.shape[1] ** 0.5), 0.02 * bias)
        x = F.leaky_relu(x, 0.2)
    torch.testing.assert_close(generator.map(z), x[:, None].expand(-1, 6, -1), rtol=1e-4, atol=1e-4)


def test_psi_0_is_the_mean_and_psi_1_the_code():
    generator = build(tiny_stylegan())
    z = torch.randn(3, 8)
    w, mean = generator.map(z), generator.w_avg.expand(3, 6, -1)
    assert torch.equal(generator.map(z, truncation_psi=0.0), mean)
    halved = generator.map(z, truncation_psi=0.5, truncation_cutoff=2)
    torch.testing.assert_close(halved[:, :2], (w + mean)[:, :2] / 2)
    assert torch.equal(halved[:, 2:], w[:, 2:])


def test_the_style_sets_mean_and_deviation():
    # The features after layer 1 have mean shift and deviation |scale|: toRGB shows the mean.
    state = tiny_stylegan(4)
    generator = build(state)
    w = torch.randn(2, 2, 12)
    style = w[:, 1] @ state["synthesis.conv1.affine.weight"].T / 12**0.5
    shift = (style + state["synthesis.conv1.affine.bias"])[:, 10:]
    weight, bias = state["synthesis.to_rgb0.weight"][:, :, 0, 0], state["synthesis.to_rgb0.bias"]
    means = generator.synthesize(w).mean(dim=(2, 3))
    torch.testing.assert_close(means, shift @ weight.T / 10**0.5 + bias, rtol=1e-4, atol=1e-5)


def test_a_network_without_noise():
    state = tiny_stylegan()
    without = {name: tensor for name, tensor in state.items() if "noise" not in name}
    silent = {
        name: torch.zeros_like(tensor) if name.endswith("strength") else tensor
        for name, tensor in state.items()
    }
    w = torch.randn(2, 6, 12)
    images = build(without).synthesize(w)
    assert torch.equal(images, build(silent).synthesize(w))
    assert max_error(images, build(state).synthesize(w)) > 0.05


def test_directions_are_those_of_the_styles():
    state = tiny_stylegan()
    rows = torch.cat([state[f"synthesis.conv{i}.affine.weight"] for i in (0, 3)]).double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    found = factorize(build(state), "0,3")
    assert found.eigenvalues.sum().item() == pytest.approx(20 + 18)  # scale and shift both
    singular = torch.linalg.svdvals(rows)
    torch.testing.assert_close(found.eigenvalues, singular.square(), rtol=1e-5, atol=1e-6)


def test_layer_names_resolutions_and_the_range_of_edits():
    generator = build(tiny_stylegan())
    assert generator.layer_names == [
        "4x4 const", "4x4 conv", "8x8 up conv", "8x8 conv", "16x16 up conv", "16x16 conv",
    ]  # fmt: skip
    assert generator.layer_resolutions == [4, 4, 8, 8, 16, 16]
    assert generator.edit_range == 2.0
    assert build(tiny_stylegan(), edit_range=7).edit_range == 7.0


def test_a_blur_of_another_shape_is_refused():
    tensors, _ = read_case(CASES / "conditional.npz")
    name = "synthesis.layer2.blur.kernel"
    for kernel in [
        tensors[name] * 2, tensors[name] * float("nan"), torch.zeros(3), torch.zeros(()),
        tensors[name].long(), tensors[name].transpose(0, 1),
    ]:  # fmt: skip
        with pytest.raises(CheckpointError, match="is not the blur") as error:
            formats.translate(Found(tensors | {name: kernel}))
        assert is_one_sentence(str(error.value))
