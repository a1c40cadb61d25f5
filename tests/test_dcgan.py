"""DCGAN against torch's own modules, and the files that must not be taken for one."""

from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import sefa
from sefa import CheckpointError, UserError, factorize, formats, generators
from sefa.formats import native, pytorch_dcgan
from sefa.formats.checkpoint import Found
from tests.helpers import genforce_state_dict, is_one_sentence, tiny_state_dict

Z = 7


def tutorial(channels=(6, 5, 4, 3), kernel=4, bias=False, affine=True, seed=0):
    """The generator of the PyTorch tutorial, in eval mode, nothing at its initial value."""
    torch.manual_seed(seed)
    layers, previous = [], Z
    for i, out in enumerate(channels):
        last = i == len(channels) - 1
        size, stride, padding = (kernel, 1, 0) if i == 0 else (4, 2, 1)
        layers.append(nn.ConvTranspose2d(previous, out, size, stride, padding, bias=bias))
        layers += [nn.Tanh()] if last else [nn.BatchNorm2d(out, affine=affine), nn.ReLU()]
        previous = out
    for i, layer in enumerate(layers):  # of a scale that keeps images lively
        if isinstance(layer, nn.ConvTranspose2d):
            terms = layer.in_channels * (4 if i else 1)
            nn.init.normal_(layer.weight, 0, (2 / terms) ** 0.5)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2.0)
            if affine:
                nn.init.uniform_(layer.weight, 0.5, 2.0)
                nn.init.normal_(layer.bias, 0, 0.2)
    return nn.Sequential(*layers).eval()


MODELS = {
    "tutorial": {},
    "mnist": {"channels": (6, 5, 1), "kernel": 7},
    "biased": {"bias": True},
    "not_affine": {"affine": False, "channels": (4, 3)},
    "deep": {"channels": (5, 5, 5, 5, 5, 1), "kernel": 2},  # 16 modules: 2 before 10
}


@pytest.fixture(params=MODELS)
def model(request):
    return tutorial(**MODELS[request.param])


def named(model, prefix="main."):
    return OrderedDict((f"{prefix}{name}", tensor) for name, tensor in model.state_dict().items())


def build(tensors):
    checkpoint = formats.translate(Found(tensors))
    return generators.build(checkpoint.state_dict, checkpoint.config)


@torch.inference_mode()
def images_of(generator, z):
    return generator.synthesize(generator.map(z))


@torch.inference_mode()
def error(generator, model, seeds=(0, 1, 2)):
    """Largest difference from torch's modules; both have the same shape."""
    z = generator.sample_z(seeds)
    images, expected = images_of(generator, z), model(z[:, :, None, None])
    assert images.shape == expected.shape and images.dtype == torch.float32
    return (images - expected).abs().max().item()


# -------------------------------------------------------------------------------- what is read


def test_images_are_those_of_the_modules(model):
    generator = build(named(model))
    assert error(generator, model) < 1e-5
    first, second = images_of(generator, generator.sample_z([0, 1]))
    assert (first - second).abs().mean() > 0.1
    assert (generator.family, generator.z_dim, generator.w_dim) == ("dcgan", Z, Z)
    assert (generator.num_ws, generator.label_dim, generator.class_names) == (1, 0, None)
    assert not generator.has_truncation and not generator.has_cutoff
    assert not generator.training and not list(generator.parameters())


def test_sizes_are_read_from_the_shapes():
    generator = build(named(tutorial(**MODELS["mnist"])))
    assert (generator.resolution, generator.num_channels) == (28, 1)
    assert generator.layer_names == ["7x7 conv"]
    assert generator.layer_resolutions == [7]
    generator = build(named(tutorial()))
    assert (generator.resolution, generator.num_channels) == (32, 3)
    assert generator.one_hot(0, 2) is None


@pytest.mark.parametrize("legacy", [False, True])
def test_files_and_their_wrappers(model, legacy, tmp_path):
    path = tmp_path / "generator.pt"
    for content in (
        named(model),
        {"state_dict": named(model, "net."), "nz": Z, "ngf": 4, "epoch": 25},
        {"generator": named(model), "discriminator": discriminator().state_dict()},
        named(model, "module.main."),
        named(model, ""),
    ):
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        assert error(sefa.load_generator(path), model) < 1e-5


def test_safetensors_sort_names_and_the_numbers_in_them_tell_the_order(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in named(model).items()}, path)
    assert error(sefa.load_generator(path), model) < 1e-5


@pytest.mark.parametrize("order", ["as called", "convolutions first", "safetensors"])
def test_modules_with_names_of_their_own(order, tmp_path):
    model = tutorial(channels=(5, 5, 5, 3))  # shapes alone do not tell which is which
    names = ["tconv1", "bn1", "relu1", "tconv2", "bn2", "relu2", "tconv3", "bn3", "relu3", "tconv4"]
    tensors = OrderedDict()
    for i, name in enumerate(names):
        for part, tensor in model[i].state_dict().items():
            tensors[f"{name}.{part}"] = tensor
    if order == "convolutions first":
        tensors = dict(sorted(tensors.items(), key=lambda item: not item[0].startswith("tconv")))
    path = tmp_path / "model.bin"
    (save_file if order == "safetensors" else torch.save)(tensors, path)
    assert error(sefa.load_generator(path), model) < 1e-5


def test_our_own_layout_gives_the_same_images(model, tmp_path):
    checkpoint = formats.translate(Found(named(model)))
    native.write(checkpoint, tmp_path / "model.safetensors")
    twin = sefa.load_generator(tmp_path / "model.safetensors")
    z = twin.sample_z([0, 1])
    assert torch.equal(images_of(twin, z), images_of(build(named(model)), z))
    save_file(dict(checkpoint.state_dict), tmp_path / "bare.safetensors")  # no configuration
    assert error(sefa.load_generator(tmp_path / "bare.safetensors"), model) < 1e-5


def test_half_precision_is_cast(model):
    half = {name: t.half() if t.is_floating_point() else t for name, t in named(model).items()}
    assert error(build(half), model) < 2e-2


# ----------------------------------------------------------------- codes, directions and edits


def test_w_is_z_and_truncation_does_nothing(model):
    generator = build(named(model))
    z = generator.sample_z([0, 1])
    w = generator.map(z)
    assert w.shape == (2, 1, Z) and torch.equal(w[:, 0], z)
    assert torch.equal(generator.map(z, None, 0.5, 0), w)
    assert generator.conditions(None, 0.5) == {}
    for call in [
        lambda: generator.map(z[:, 1:]),
        lambda: generator.map(z[0]),
        lambda: generator.synthesize(z),
        lambda: generator.synthesize(w.repeat(1, 2, 1)),
    ]:
        with pytest.raises(UserError) as error:
            call()
        assert is_one_sentence(str(error.value))


def test_directions_are_those_of_the_first_weight(model):
    generator = build(named(model))
    directions = factorize(generator)
    # Rows of unit length of the raw weight [z, out, k, k], its batch norm not considered.
    a = model[0].weight.detach().double().flatten(1).T
    a = a / a.norm(dim=1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh(a.T @ a).flip(0)
    torch.testing.assert_close(directions.eigenvalues, eigenvalues, rtol=1e-4, atol=1e-6)
    n = directions.vectors[0]
    torch.testing.assert_close(a.T @ (a @ n), eigenvalues[0] * n, rtol=1e-4, atol=1e-4)
    w = generator.map(generator.sample_z([0]))
    edited = generator.synthesize(sefa.edit(w, n, 3.0, directions.layers))
    assert (edited - generator.synthesize(w)).abs().max() > 1e-2


def test_images_do_not_depend_on_batch_precision_or_memory_format(model):
    generator = build(named(model))
    w = generator.map(generator.sample_z([0, 1, 2]))
    images = generator.synthesize(w)
    for other in (
        generator.synthesize(w.double()),
        torch.cat([generator.synthesize(row[None]) for row in w]),
        build(named(model)).to(memory_format=torch.channels_last).synthesize(w),
    ):
        assert other.dtype == torch.float32
        torch.testing.assert_close(other, images, rtol=0, atol=1e-5)
    assert generator.synthesize(w[:0]).shape == (0, *images.shape[1:])


# ------------------------------------------------------------------------------ what is refused


def assert_refused(tensors, *parts):
    with pytest.raises(CheckpointError) as error:
        build(tensors)
    assert is_one_sentence(str(error.value)), error.value
    for part in parts:
        assert part in str(error.value), error.value


def discriminator(image_channels=3):
    """The discriminator of the PyTorch tutorial."""
    return nn.Sequential(
        nn.Conv2d(image_channels, 4, 4, 2, 1, bias=False), nn.LeakyReLU(0.2),
        nn.Conv2d(4, 5, 4, 2, 1, bias=False), nn.BatchNorm2d(5), nn.LeakyReLU(0.2),
        nn.Conv2d(5, 1, 4, 1, 0, bias=False), nn.Sigmoid(),
    )  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_a_discriminator_is_named(channels):
    assert_refused(named(discriminator(channels)), "only a discriminator")


@pytest.mark.parametrize(
    "layers, parts",
    [
        # another kernel, a convolution between, a batch norm at the end, none in the middle
        ([nn.ConvTranspose2d(5, 3, 3, 2, 1)], ["kernels of 4x4, 3x3"]),
        ([nn.ConvTranspose2d(5, 3, (4, 2), 2, 1)], ["kernels of 4x4, 4x2"]),
        ([nn.Conv2d(5, 6, 3, padding=1), nn.ConvTranspose2d(6, 3, 4, 2, 1)], ["its chain"]),
        ([nn.ConvTranspose2d(5, 3, 4, 2, 1), nn.BatchNorm2d(3)], ["2 batch norms where 1"]),
        (
            [nn.ConvTranspose2d(5, 4, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 3, 4, 2, 1)],
            ["1 batch norms where 2"],
        ),
    ],
)
def test_chains_that_are_no_dcgan(layers, parts):
    first = [nn.ConvTranspose2d(Z, 5, 4), nn.BatchNorm2d(5), nn.ReLU()]
    assert_refused(named(nn.Sequential(*first, *layers)), *parts)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.ConvTranspose2d(Z, 5, 4), nn.BatchNorm2d(5), nn.ConvTranspose2d(5, 4, 4, 2, 1)],
        [nn.Linear(Z, 5), nn.BatchNorm1d(5), nn.ConvTranspose2d(5, 3, 4, 2, 1)],
        [nn.ConvTranspose2d(Z, 3, 4), nn.BatchNorm2d(3)],
        [nn.ConvTranspose2d(Z, 5, 4), nn.ConvTranspose2d(5, 3, 4, 2, 1)],
        [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6)],
        [nn.ConvTranspose2d(Z, 5, 4), nn.InstanceNorm2d(5, affine=True),
         nn.ConvTranspose2d(5, 3, 4, 2, 1)],
    ],
)  # fmt: skip
def test_other_networks_are_not_taken_for_one(layers):
    tensors = named(nn.Sequential(*layers))
    assert not pytorch_dcgan.recognises(Found(tensors))
    assert_refused(tensors)


def test_other_layouts_and_odd_tensors_are_not_taken_for_one():
    state = tiny_state_dict()
    good = named(tutorial())
    odd = [torch.ones(()), torch.ones(0), torch.ones(2, 2), torch.ones(1, 1, 1, 1, 1)]
    for tensors in (
        state, genforce_state_dict(state), {}, {"weight": torch.ones(2, 2, 4, 4)},
        *({**good, "main.0.weight": tensor} for tensor in odd),
        *({**good, "main.1.running_var": tensor} for tensor in odd if tensor.ndim != 1),
        {**good, "main.0.weight_u": torch.ones(3)}, {**good, "weight": torch.ones(7, 3, 4, 4)},
    ):  # fmt: skip
        assert not pytorch_dcgan.recognises(Found(tensors))


def test_every_weight_must_be_there_and_fit():
    good = named(tutorial(bias=True))
    for name, tensor in good.items():
        rest = OrderedDict((key, value) for key, value in good.items() if key != name)
        if "num_batches" in name:
            assert build(rest).resolution == 32
            continue
        if not (name.startswith(("main.0", "main.3", "main.6", "main.9")) and "bias" in name):
            assert_refused(rest)
        for wrong in [
            tensor[None], tensor[:0], torch.cat([tensor[:1], tensor]), tensor.to(torch.int64),
            torch.full_like(tensor, torch.nan),
        ]:  # fmt: skip
            if name == "main.0.weight" and wrong.shape[0] == Z + 1:
                continue  # a longer code
            assert_refused(OrderedDict((key, wrong if key == name else good[key]) for key in good))
    negative = {**good, "main.1.running_var": -good["main.1.running_var"]}
    assert_refused(negative, "negative variance")


def test_absurd_sizes_are_refused():
    tensors = {}
    for i in range(14):
        tensors[f"{i}.weight"] = torch.ones(1, 1, 4, 4)
        if i < 13:
            tensors[f"n{i}.running_mean"] = tensors[f"n{i}.running_var"] = torch.ones(1)
    assert_refused(tensors, "more than 2048")
    with pytest.raises(CheckpointError, match="edit_range"):
        checkpoint = formats.translate(Found(named(tutorial())))
        generators.build(checkpoint.state_dict, {**checkpoint.config, "edit_range": -1})
