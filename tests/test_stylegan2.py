"""StyleGAN2 against the numbers of a reference implementation, and against closed forms."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import sefa
from sefa import CheckpointError, UserError, factorize, formats, generators
from sefa.formats import genforce_stylegan2
from sefa.formats.checkpoint import Found
from sefa.generators import mapping
from sefa.generators.generator import Weights
from sefa.generators.ops import fir_filter, pixel_norm, upsample2x
from tests.helpers import genforce_state_dict, is_one_sentence, max_error, tiny_state_dict

GOLDEN = Path(__file__).parent / "golden"
CASE = GOLDEN / "genforce_stylegan2"
CONDITIONAL = GOLDEN / "genforce_stylegan2_conditional"

# psi and cutoff of each reference image
TRUNCATIONS = {"psi10": (1.0, None), "psi07": (0.7, None), "psi07_cut8": (0.7, 8)}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def expected():
    with np.load(CASE / "expected.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="module")
def content():
    """The reference checkpoint as torch reads it: generator, discriminator, generator_smooth."""
    return torch.load(CASE / "ckpt.pth", weights_only=True)


@pytest.fixture(scope="module")
def generator():
    return sefa.load_generator(CASE / "ckpt.pth")


def images_of(generator, z, name="psi07_cut8", label=None):
    with torch.inference_mode():
        return generator.synthesize(generator.map(z, label, *TRUNCATIONS[name]))


# ----------------------------------------------------------- the reference case, in every container


def save_bare(tensors, decoy, path):
    save_file(tensors, path)


def save_zip(tensors, decoy, path):
    torch.save({"generator": decoy, "generator_smooth": tensors}, path)


def save_nested(tensors, decoy, path):
    models = {"discriminator": decoy, "generator_smooth": tensors, "generator": decoy}
    torch.save({"models": models, "iteration": 7}, path)


def save_prefixed(tensors, decoy, path):
    torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, path)


def save_rosinality_wrapper(tensors, decoy, path):
    torch.save({"g": decoy, "d": decoy, "g_ema": tensors}, path)


def save_parameters(tensors, decoy, path):
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    torch.save({"state_dict": parameters}, path, _use_new_zipfile_serialization=False)


CONTAINERS = [
    save_bare, save_zip, save_nested, save_prefixed, save_rosinality_wrapper, save_parameters,
]  # fmt: skip


def test_the_facts_of_the_reference_case(generator):
    assert (generator.family, generator.resolution, generator.num_channels) == ("stylegan2", 64, 3)
    assert (generator.z_dim, generator.w_dim, generator.label_dim) == (32, 64, 0)
    assert generator.num_ws == len(generator.layer_names) == 10
    assert generator.layer_names[:3] == ["4x4 conv", "8x8 up conv", "8x8 conv"]
    assert generator.layer_names[-2:] == ["64x64 conv", "toRGB"]
    assert generator.layer_resolutions == [4, 8, 8, 16, 16, 32, 32, 64, 64, 64]
    assert not generator.training and generator.device.type == "cpu"


@pytest.mark.parametrize("name", TRUNCATIONS)
def test_w_and_images_of_the_reference_case(generator, expected, name):
    psi, cutoff = TRUNCATIONS[name]
    w = generator.map(expected["z"], None, psi, cutoff)
    reference = expected.get(f"ws_{name}", expected["w"][:, None].repeat(1, 10, 1))
    assert max_error(w, reference) <= 1e-4
    assert max_error(images_of(generator, expected["z"], name), expected[f"image_{name}"]) <= 1e-3


@pytest.mark.parametrize("save", CONTAINERS, ids=lambda save: save.__name__)
def test_every_container_gives_the_same_weights(save, content, generator, tmp_path):
    # The EMA weights win wherever a decoy "generator" lies beside them.
    path = tmp_path / "model.bin"
    save(content["generator_smooth"], content["generator"], path)
    found = sefa.load_generator(path).state_dict()
    for name, tensor in generator.state_dict().items():
        assert torch.equal(found[name], tensor), name


def test_the_raw_generator_is_read_when_there_is_no_ema(content, expected, tmp_path):
    save_path = tmp_path / "raw.pth"
    torch.save({name: content[name] for name in ("generator", "discriminator")}, save_path)
    images = images_of(sefa.load_generator(save_path), expected["z"])
    assert max_error(images, expected["image_psi07_cut8"]) > 1e-2


@pytest.mark.parametrize("dtype, limit", [("float16", 5e-3), ("bfloat16", 5e-2), ("float64", 1e-3)])
def test_other_float_types_become_float32(content, expected, tmp_path, dtype, limit):
    dtype = getattr(torch, dtype)
    tensors = {name: tensor.to(dtype) for name, tensor in content["generator_smooth"].items()}
    torch.save(tensors, tmp_path / "model.pth")
    found = sefa.load_generator(tmp_path / "model.pth")
    assert {tensor.dtype for tensor in found.state_dict().values()} == {torch.float32}
    assert max_error(images_of(found, expected["z"]), expected["image_psi07_cut8"]) <= limit


def test_channels_last_strides_are_honoured(content, generator, tmp_path):
    tensors = {
        name: tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in content["generator_smooth"].items()
    }
    assert not tensors["synthesis.layer3.weight"].is_contiguous()
    torch.save(tensors, tmp_path / "model.pth")
    found = sefa.load_generator(tmp_path / "model.pth").state_dict()
    for name, tensor in generator.state_dict().items():
        assert torch.equal(found[name], tensor), name


# ------------------------------------------------------------------------- directions and edits


@pytest.mark.parametrize("layers", ["all", "sub"])
def test_directions_of_the_reference_case(generator, expected, layers):
    indices = expected[f"{layers}_layers"].tolist()
    found = factorize(generator, indices)
    assert found.layers == indices
    eigenvalues = expected[f"{layers}_eigvals"]
    torch.testing.assert_close(found.eigenvalues, eigenvalues, rtol=1e-4, atol=1e-9)
    # A direction is only determined as far as its eigenvalue stands apart from its neighbours.
    apart = expected[f"{layers}_relgap"] > 1e-3
    assert apart.sum() > 32
    dots = (found.vectors * expected[f"{layers}_dirs"].double()).sum(dim=1)
    assert (dots[apart] > 0.9999).all()  # not its absolute value: the sign is the same convention


@pytest.mark.parametrize("layers", ["all", "sub"])
@pytest.mark.parametrize("nocut", [False, True])
def test_edits_of_the_reference_case(generator, expected, layers, nocut):
    directions = factorize(generator, expected[f"{layers}_layers"].tolist())
    w = generator.map(expected["z"], None, 0.7, None if nocut else 8)
    w = sefa.edit(w, directions.vectors[0], 3.0, directions.layers)
    if not nocut:
        assert max_error(w, expected[f"ws_edit_{layers}"]) <= 1e-3
    images = generator.synthesize(w)
    suffix = "_nocut" if nocut else ""
    assert max_error(images, expected[f"image_edit_{layers}{suffix}"]) <= 1e-3
    assert (
        max_error(images, expected[f"image_psi07{'' if nocut else '_cut8'}"]) > 0.1
    )  # it does edit


# ----------------------------------------------------- these tests would see it: deliberate bugs


def without_the_kernel_flip(name, tensor):
    if name.endswith(".weight") and tensor.ndim == 4:
        return tensor
    return genforce_convert(name, tensor)


def without_plus_one(name, tensor):
    return tensor if name.endswith("affine.bias") else genforce_convert(name, tensor)


def without_noise(name, tensor):
    converted = genforce_convert(name, tensor)
    return torch.zeros_like(converted) if name.endswith("noise_strength") else converted


genforce_convert = genforce_stylegan2.convert


@pytest.mark.parametrize("bug", [without_the_kernel_flip, without_plus_one, without_noise])
def test_a_deliberate_bug_misses_the_reference(bug, expected, monkeypatch):
    monkeypatch.setattr(genforce_stylegan2, "convert", bug)
    images = images_of(sefa.load_generator(CASE / "ckpt.pth"), expected["z"])
    assert max_error(images, expected["image_psi07_cut8"]) > 1e-2


def test_the_wrong_truncation_misses_the_reference(generator, expected):
    assert (
        max_error(images_of(generator, expected["z"], "psi07"), expected["image_psi07_cut8"]) > 1e-2
    )


# ------------------------------------------- conditional, orig architecture, a w for every layer


@pytest.mark.parametrize(
    "case, facts",
    [
        # resolution, z_dim, w_dim, label_dim, num_ws, channels, toRGB layers
        ("orig32", (32, 12, 20, 5, 8, 3, 1)),
        ("orig64", (64, 16, 10, 3, 10, 3, 1)),
        ("skip32_w_per_layer", (32, 9, 14, 4, 8, 1, 4)),
        ("ada16_embed", (16, 9, 13, 4, 6, 3, 3)),
    ],
)
def test_conditional_reference_cases(case, facts, tmp_path):
    with np.load(CONDITIONAL / f"{case}.npz") as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    tensors = {
        name.removeprefix("weights/"): arrays.pop(name) for name in list(arrays) if "/" in name
    }
    decoy = {name: torch.ones_like(tensor) for name, tensor in tensors.items()}
    save_nested(tensors, decoy, tmp_path / "model.pth")
    generator = sefa.load_generator(tmp_path / "model.pth")
    assert facts == (
        generator.resolution, generator.z_dim, generator.w_dim, generator.label_dim,
        generator.num_ws, generator.num_channels, len(generator.to_rgbs),
    )  # fmt: skip

    z, label = arrays["z"], arrays["label"]
    w = generator.map(z, label)
    per_layer = arrays["w"].view(len(z), -1, generator.w_dim).expand(-1, generator.num_ws, -1)
    assert max_error(w, per_layer) <= 1e-4
    assert max_error(generator.map(z, label, 0.7, 3), arrays["ws_psi07_cut3"]) <= 1e-4
    assert max_error(generator.map(z, label, 0.5), arrays["ws_psi05"]) <= 1e-4
    assert max_error(generator.synthesize(w), arrays["image_psi10"]) <= 1e-3
    cut = generator.synthesize(generator.map(z, label, 0.7, 3))
    assert max_error(cut, arrays["image_psi07_cut3"]) <= 1e-3

    wrong_label = label.roll(1, dims=1)
    assert (
        max_error(generator.synthesize(generator.map(z, wrong_label)), arrays["image_psi10"]) > 0.1
    )


# --------------------------------------------------------------------------------- closed forms


def build(state, **config):
    return generators.build(state, {"family": "stylegan2", **config})


def test_psi_0_is_the_mean_and_psi_1_the_code():
    generator = build(tiny_state_dict())
    z = generator.sample_z([0, 1, 2])
    w = generator.map(z)
    mean = generator.w_avg.expand(3, 6, -1)
    assert torch.equal(generator.map(z, truncation_psi=0.0), mean)
    halved = generator.map(z, truncation_psi=0.5, truncation_cutoff=2)
    torch.testing.assert_close(halved[:, :2], (w + mean)[:, :2] / 2)
    assert torch.equal(halved[:, 2:], w[:, 2:])
    beyond = generator.map(z, truncation_psi=2.0)
    torch.testing.assert_close(beyond, 2 * w - mean, rtol=1e-5, atol=1e-5)
    for cutoff in (6, 99):
        assert torch.equal(generator.map(z, None, 0.5, cutoff), generator.map(z, None, 0.5))
    assert torch.equal(generator.map(z, None, 0.0, 0), w)


def test_the_mapping_by_hand():
    # Two layers of leaky_relu(x W^T lr / sqrt(in) + lr b) * sqrt 2, of the normalised code.
    state = tiny_state_dict()
    generator = build(state, lr_multiplier=0.02)
    z = generator.sample_z([5])
    x = z / z.square().mean().sqrt()
    for i in range(2):
        weight, bias = state[f"mapping.dense{i}.weight"], state[f"mapping.dense{i}.bias"]
        x = F.linear(x, weight * 0.02 / weight.shape[1] ** 0.5, 0.02 * bias)
        x = F.leaky_relu(x, 0.2) * 2**0.5
    torch.testing.assert_close(generator.map(z), x[:, None].expand(-1, 6, -1), rtol=1e-4, atol=1e-4)


def test_an_embedded_label_is_normalised_on_its_own():
    # x = [pn(z), pn(c W^T / sqrt(c_dim) + b)], unlike the joint norm of label_weight.
    state = tiny_state_dict(label_dim=3)
    del state["mapping.label_weight"]
    state["mapping.embed.weight"] = torch.arange(24.0).reshape(8, 3)
    state["mapping.embed.bias"] = torch.linspace(-1, 1, 8)
    generator = build(state)
    assert (generator.z_dim, generator.label_dim) == (8, 3)
    z, label = generator.sample_z([0, 1]), generator.one_hot(2, 2)
    embedded = state["mapping.embed.weight"][:, 2] / 3**0.5 + state["mapping.embed.bias"]
    x = torch.cat([pixel_norm(z), pixel_norm(embedded[None]).expand(2, -1)], dim=1)
    for layer in generator.mapping.dense:
        x = F.leaky_relu(layer(x), 0.2)
    torch.testing.assert_close(generator.map(z, label)[:, 0], x)


def test_pixel_norm_gives_mean_square_one():
    x = pixel_norm(torch.randn(3, 7) * 100)
    torch.testing.assert_close(x.square().mean(dim=1), torch.ones(3))


def test_upsampling_is_zero_insertion_padding_and_the_filter():
    x = torch.randn(2, 3, 5, 5)
    inserted = torch.zeros(2, 3, 10, 10)
    inserted[:, :, ::2, ::2] = x
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = (torch.outer(taps, taps) / 64 * 4).expand(3, 1, 4, 4)
    expected = F.conv2d(F.pad(inserted, (2, 1, 2, 1)), kernel, groups=3)
    torch.testing.assert_close(upsample2x(x), expected, rtol=0, atol=1e-6)
    # Away from the border it keeps a constant: the filter has sum 1, four times a quarter of x.
    constant = upsample2x(torch.full((1, 1, 6, 6), 0.8))[0, 0, 1:-1, 1:-1]
    torch.testing.assert_close(constant, torch.full((10, 10), 0.8))
    padded = F.pad(x, (1, 1, 1, 1))
    filtered = fir_filter(padded[:, :, 1:, 1:], gain=4.0)  # which pads before the first by itself
    torch.testing.assert_close(filtered, F.conv2d(padded, kernel, groups=3), rtol=0, atol=1e-6)


def test_conv_clamp_bounds_the_activations():
    # An orig image is one clamped toRGB; a skip image sums three, each upsampled without gain.
    for architecture, bound in [("orig", 0.05), ("skip", 0.15)]:
        state = tiny_state_dict(architecture=architecture)
        z = torch.randn(4, 8)
        free, clamped = build(state), build(state, conv_clamp=0.05)
        assert images_of(free, z).abs().max() > 0.4
        assert images_of(clamped, z).abs().max() <= bound + 1e-6
        never_reached = build(state, conv_clamp=1e6)
        assert torch.equal(images_of(never_reached, z), images_of(free, z))


def test_a_resnet_block_is_the_mean_power_of_two_paths():
    # x = sqrt(1/2) * main(x) + sqrt(1/2) * upsample(conv1x1(x, W / sqrt(in))), here of 8 px, where
    # the image is linear in x but for its bias.
    state = tiny_state_dict(8, architecture="resnet")
    skip = state["synthesis.skip1.weight"]  # [8, 10, 1, 1]
    z = torch.randn(2, 8)
    both = images_of(build(state), z, "psi10")
    bias = state["synthesis.to_rgb1.bias"][:, None, None]

    main = images_of(build({**state, "synthesis.skip1.weight": skip * 0}), z, "psi10") - bias
    orig = {name: tensor for name, tensor in state.items() if name != "synthesis.skip1.weight"}
    expected = (images_of(build(orig), z, "psi10") - bias) * 0.5**0.5
    torch.testing.assert_close(main, expected, rtol=0, atol=1e-6)

    quiet = dict(state)
    for part in ("weight", "bias", "noise_strength"):
        quiet[f"synthesis.conv2.{part}"] = torch.zeros_like(state[f"synthesis.conv2.{part}"])
    shortcut = images_of(build(quiet), z, "psi10") - bias
    torch.testing.assert_close(both - bias, main + shortcut, rtol=0, atol=1e-6)
    generator = build(quiet)
    w = generator.map(z)
    x = generator.convs[0](generator.const.repeat(2, 1, 1, 1), w[:, 0])
    x = upsample2x(F.conv2d(x, skip / 10**0.5)) * 0.5**0.5
    expected = generator.to_rgbs["1"](x, w[:, 3]) - bias
    torch.testing.assert_close(shortcut, expected, rtol=0, atol=1e-6)


def test_the_clamp_of_a_resnet_is_scaled_with_its_activation():
    state = tiny_state_dict(8, architecture="resnet")
    generator = build(state, conv_clamp=0.5)
    x = torch.randn(2, 8, 8, 8) * 100
    x = generator.convs[2](x, torch.randn(2, 12))
    assert x.abs().max() == pytest.approx(0.5 * 0.5**0.5)


def test_clamps_by_layer():
    state, z = tiny_state_dict(), torch.randn(2, 8)
    names = [f"conv{i}" for i in range(5)] + ["to_rgb0", "to_rgb1", "to_rgb2"]
    everywhere = build(state, conv_clamp=0.3)
    assert torch.equal(
        images_of(build(state, conv_clamp=dict.fromkeys(names, 0.3)), z), images_of(everywhere, z)
    )
    free = images_of(build(state), z)
    assert torch.equal(images_of(build(state, conv_clamp={}), z), free)
    assert torch.equal(images_of(build(state, conv_clamp={"conv1": None}), z), free)
    only = build(state, conv_clamp={"conv3": 0.3, "to_rgb1": 7})
    assert [conv.clamp for conv in only.convs] == [None, None, None, 0.3, None]
    assert [only.to_rgbs[k].clamp for k in "012"] == [None, 7.0, None]
    assert max_error(images_of(only, z), free) > 1e-3


@pytest.mark.parametrize("label_dim", [0, 3])
def test_a_mean_that_is_missing_is_computed_when_asked_for(label_dim):
    # The mean of 40 rows of one documented stream, classes taking turns.
    state = tiny_state_dict(label_dim=label_dim)
    expected = build(state)
    del state["w_avg"]
    z = torch.from_numpy(np.random.RandomState(123).randn(40, 8))
    label = torch.eye(3)[torch.arange(40) % 3] if label_dim else None
    mean = expected.map(z, label)[:, 0].mean(dim=0)
    generator = build(state, w_avg_samples=40)
    torch.testing.assert_close(generator.w_avg, mean, rtol=1e-5, atol=1e-5)
    with pytest.raises(CheckpointError, match="w_avg is missing"):
        build(state)


def test_the_mean_does_not_depend_on_how_it_is_computed(monkeypatch):
    state = tiny_state_dict(label_dim=3)
    stored = build(state, w_avg_samples=40).w_avg
    assert torch.equal(stored, state.pop("w_avg"))  # what is in a file wins
    whole = build(state, w_avg_samples=40).w_avg
    monkeypatch.setattr(mapping, "MEAN_CHUNK", 7 * 16)  # 7 rows of the widest layer at once
    torch.testing.assert_close(build(state, w_avg_samples=40).w_avg, whole)
    state["mapping.dense1.weight"] *= 1e8
    state["mapping.dense0.weight"] = torch.full_like(state["mapping.dense0.weight"], 9e11)
    state["mapping.dense1.weight"] = torch.full_like(state["mapping.dense1.weight"], 9e11)
    with pytest.raises(CheckpointError, match="not finite"):
        build(state, w_avg_samples=40, lr_multiplier=1e8)


def test_a_network_without_noise():
    state = tiny_state_dict()
    without = {name: tensor for name, tensor in state.items() if "noise" not in name}
    silent = {
        name: torch.zeros_like(tensor) if name.endswith("strength") else tensor
        for name, tensor in state.items()
    }
    z = torch.randn(2, 8)
    assert torch.equal(images_of(build(without), z), images_of(build(silent), z))
    assert max_error(images_of(build(without), z), images_of(build(state), z)) > 1e-2


@pytest.mark.parametrize("resolution", [4, 8, 32])
@pytest.mark.parametrize("architecture", ["skip", "orig", "resnet"])
def test_sizes_are_read_from_the_shapes(resolution, architecture):
    state = tiny_state_dict(resolution, architecture=architecture, num_channels=1)
    generator = build(state)
    assert generator.num_ws == 2 * (resolution.bit_length() - 2)
    assert len(generator.layer_names) == generator.num_ws
    images = images_of(generator, torch.randn(2, 8))
    assert images.shape == (2, 1, resolution, resolution) and images.dtype == torch.float32
    if architecture == "resnet" and resolution > 4:  # genforce's cannot be built
        return
    # and genforce's names lead to the same images
    renamed = formats.translate(Found(genforce_state_dict(state)))
    twin = generators.build(renamed.state_dict, renamed.config)
    w = torch.randn(1, generator.num_ws, 12)
    assert max_error(twin.synthesize(w), generator.synthesize(w)) < 1e-5


def test_what_the_first_image_prepared_serves_others():
    # whatever mode drew it; and a generator that is moved afterwards
    generator, twin = build(tiny_state_dict(16)), build(tiny_state_dict(16))
    w = torch.randn(1, generator.num_ws, 12)
    with torch.inference_mode():
        first = generator.synthesize(w)
    leaf = w.clone().requires_grad_()
    generator.synthesize(leaf).sum().backward()
    assert leaf.grad.isfinite().all() and leaf.grad.any()
    moved = generator.to(memory_format=torch.channels_last)
    assert max_error(moved.synthesize(w), first) < 1e-5
    assert torch.equal(twin.synthesize(w), first)


def test_a_generator_does_not_share_memory_with_what_it_was_built_from():
    # Training goes on with the same tensors; a mapped file may be overwritten.
    state = tiny_state_dict()
    generator = build(state)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    for tensor in state.values():
        tensor.zero_()
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name]), name


# ------------------------------------------------------------------------------ what is refused


def test_a_file_may_say_how_far_sliders_reach():
    assert build(tiny_state_dict()).edit_range == 15.0
    config = {"family": "stylegan2", "edit_range": 5}
    assert generators.build(tiny_state_dict(), config).edit_range == 5.0


def test_codes_of_another_precision_are_taken():
    # numpy draws float64, and w + alpha * n is float64 where directions are.
    generator = generators.build(tiny_state_dict(label_dim=3), {"family": "stylegan2"})
    z = generator.sample_z([0, 1])
    label = generator.one_hot(2, 2)
    w = generator.map(z, label)
    assert torch.equal(generator.map(z.double(), label.double()), w)
    n = factorize(generator).vectors[0]
    moved = generator.synthesize(w + 3.0 * n)
    assert moved.dtype == torch.float32
    expected = generator.synthesize(sefa.edit(w, n, 3.0, range(generator.num_ws)))
    assert torch.allclose(moved, expected, atol=1e-5)


def test_codes_and_labels_of_the_wrong_shape():
    plain, conditional = build(tiny_state_dict()), build(tiny_state_dict(label_dim=3))
    z = torch.zeros(2, 8)
    for call in [
        lambda: plain.map(torch.zeros(2, 7)),
        lambda: plain.map(torch.zeros(8)),
        lambda: conditional.map(z),
        lambda: conditional.map(z, torch.zeros(2, 4)),
        lambda: conditional.map(z, torch.zeros(1, 3)),
        lambda: conditional.one_hot(3, 2),
        lambda: conditional.one_hot(-1, 2),
        lambda: plain.synthesize(torch.zeros(2, 12)),
        lambda: plain.synthesize(torch.zeros(2, 5, 12)),
        lambda: plain.synthesize(torch.zeros(2, 6, 11)),
    ]:
        with pytest.raises(UserError) as error:
            call()
        assert is_one_sentence(str(error.value))
    assert plain.one_hot(5, 2) is None
    assert conditional.one_hot(2, 2).tolist() == [[0, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    "config",
    [
        {"family": "stylegan9"},
        {"family": None},
        {"family": ["stylegan2"]},
        {"family": "stylegan2", "architecture": "resnet"},
        {"family": "stylegan2", "architecture": "orig"},
        {"family": "stylegan2", "architecture": 3},
        {"family": "stylegan2", "lr_multiplier": "fast"},
        {"family": "stylegan2", "lr_multiplier": None},
        {"family": "stylegan2", "lr_multiplier": float("nan")},
        {"family": "stylegan2", "conv_clamp": "tight"},
        {"family": "stylegan2", "conv_clamp": [256]},
        {"family": "stylegan2", "conv_clamp": -1},
        {"family": "stylegan2", "conv_clamp": float("nan")},
        {"family": "stylegan2", "conv_clamp": 10**400},
        {"family": "stylegan2", "conv_clamp": 10**5000},
        {"family": "stylegan2", "architecture": [10**5000]},
        {"family": "stylegan2", "w_avg_samples": 10**5000},
        {"family": "stylegan2", "conv_clamp": {"conv9": 1.0}},
        {"family": "stylegan2", "conv_clamp": {7: 1.0}},
        {"family": "stylegan2", "conv_clamp": {"conv1": -1.0}},
        {"family": "stylegan2", "conv_clamp": {"conv1": {}}},
        {"family": "stylegan2", "w_avg_samples": 0},
        {"family": "stylegan2", "w_avg_samples": 10**6},
        {"family": "stylegan2", "w_avg_samples": 40.0},
        {"family": "stylegan2", "w_avg_samples": True},
        {"family": "stylegan2", "w_avg_samples": "many"},
        {},
    ],
)
def test_configurations_that_make_no_sense(config):
    with pytest.raises(CheckpointError) as error:
        generators.build(tiny_state_dict(), config)
    assert is_one_sentence(str(error.value))


@pytest.mark.parametrize(
    "change, found",
    [
        ({"synthesis.skip1.weight": None}, "skip layers (in 2)"),
        ({"synthesis.skip2.weight": torch.ones(6, 7, 1, 1)}, "skip2.weight has shape"),
        ({"synthesis.skip2.weight": torch.ones(5, 8, 1, 1)}, "skip2.weight has shape"),
        ({"synthesis.skip2.weight": torch.ones(6, 8)}, "skip2.weight has shape"),
        ({"synthesis.skip2.bias": torch.ones(6)}, "fit nowhere"),
        ({"synthesis.skip0.weight": torch.ones(10, 10, 1, 1)}, "fit nowhere"),
    ],
)
def test_a_resnet_with_other_skips(change, found):
    state = {**tiny_state_dict(architecture="resnet"), **change}
    with pytest.raises(CheckpointError) as error:
        build({name: tensor for name, tensor in state.items() if tensor is not None})
    assert is_one_sentence(str(error.value)) and found in str(error.value)


def test_labels_of_genforce_that_are_embedded():
    # LabelEmbed of its stylegan2ada variant is our embed, normalised on its own.
    state = tiny_state_dict(label_dim=3)
    weight = torch.randn(8, 3)
    del state["mapping.label_weight"]
    renamed = genforce_state_dict(state)
    for part, tensor in [("weight", weight), ("bias", torch.ones(8))]:
        state[f"mapping.embed.{part}"] = tensor
        renamed[f"mapping.LabelEmbed.{part}"] = tensor
    found = formats.translate(Found(renamed)).state_dict
    assert set(found) == set(state)
    assert torch.equal(found["mapping.embed.weight"], weight)


def test_every_weight_is_used_once_and_checked():
    weights = Weights({"a": torch.zeros(2, 3), "b": torch.tensor([1.0, float("inf")])})
    assert "a" in weights and weights.shape("a", 2) == (2, 3)
    with pytest.raises(CheckpointError, match="a has shape"):
        weights.take("a", 3, 2)
    assert weights.take("a", 2, 3).dtype == torch.float32
    with pytest.raises(CheckpointError, match="a is missing"):
        weights.take("a", 2, 3)
    with pytest.raises(CheckpointError, match="network: b"):
        weights.finish()
    with pytest.raises(CheckpointError, match="a NaN, an infinity"):
        weights.take("b", 2)
    weights.finish()
    with pytest.raises(CheckpointError, match="absurdly large"):
        Weights({"c": torch.tensor([1e30])}).take("c", 1)  # its square is an infinity


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(dtype):
    with pytest.raises(CheckpointError, match=r"q holds .*, not floating-point numbers"):
        Weights({"q": torch.ones(2).to(dtype)}).take("q", 2)
