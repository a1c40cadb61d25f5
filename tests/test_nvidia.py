"""StyleGAN2 in NVIDIA's names, from both of its PyTorch repositories, against their numbers."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

import sefa
from sefa import formats, generators
from sefa.formats import nvidia_stylegan2
from sefa.formats.checkpoint import Found
from sefa.generators.stylegan2 import StyleGAN2
from tests.helpers import (
    assert_behaves,
    assert_refused_to_build,
    build,
    read_golden,
)
from tests.nvidia_files import nvidia_module, nvidia_pickle

GOLDEN = Path(__file__).parent / "golden" / "nvidia_stylegan2"

TRUNCATIONS = {"psi10": (1.0, None), "psi07": (0.7, None), "psi07_cut3": (0.7, 3)}
TRUNCATIONS["psi14"] = (1.4, None)

# resolution, z_dim, w_dim, label_dim, num_channels, toRGB layers, skip layers
FACTS = {
    "resnet32": (32, 12, 20, 0, 3, 1, 3),
    "resnet16_mixed": (16, 10, 13, 3, 3, 1, 2),
    "orig16_conditional": (16, 9, 14, 5, 1, 1, 0),
    "skip16_without_mean": (16, 10, 13, 3, 3, 3, 0),
    "skip32_stylegan3_repository": (32, 11, 16, 0, 3, 4, 0),
    "skip16_default_clamp_stylegan3_repository": (16, 11, 16, 0, 3, 3, 0),
}


def golden(case):
    return read_golden(GOLDEN / f"{case}.npz")


def change(found, path, **attributes):
    """The same file with other attributes of one module."""
    changed = {**found.attributes, path: {**found.attributes[path], **attributes}}
    return dataclasses.replace(found, attributes=changed)


def error_of(generator, expected, name="psi10"):
    """Largest difference to the reference's image."""
    with torch.inference_mode():
        w = generator.map(expected["z"], expected.get("label"), *TRUNCATIONS[name])
        return (generator.synthesize(w) - expected[f"image_{name}"]).abs().max().item()


# ------------------------------------------------------------------------ the reference's numbers


@pytest.mark.parametrize("case", FACTS)
def test_reference_cases(case, tmp_path):
    found, expected = golden(case)
    generator = build(found)
    facts = (
        generator.resolution, generator.z_dim, generator.w_dim, generator.label_dim,
        generator.num_channels, len(generator.to_rgbs), len(generator.skips),
    )  # fmt: skip
    assert facts == FACTS[case]
    for name, truncation in TRUNCATIONS.items():
        if f"ws_{name}" in expected:
            w = generator.map(expected["z"], expected.get("label"), *truncation)
            torch.testing.assert_close(w, expected[f"ws_{name}"], rtol=1e-5, atol=1e-5)
        if f"image_{name}" in expected:
            assert error_of(generator, expected, name) < 1e-5
    assert_behaves(generator, found, tmp_path / "native.safetensors")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("case", FACTS)
def test_a_whole_pickle(case, protocol, tmp_path):
    # The raw generator holds other weights, and training left some in channels-last order.
    found, expected = golden(case)
    tensors = {
        name: tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in found.tensors.items()
    }
    other = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    content = {
        "training_set_kwargs": {"path": "dataset.zip", "use_labels": True},
        "G": nvidia_module(other, found.attributes),
        "D": nvidia_module({"b4.out.weight": torch.zeros(1, 4)}, class_name="Discriminator"),
        "G_ema": nvidia_module(tensors, found.attributes),
        "augment_pipe": None,
    }
    path = tmp_path / "network-snapshot.pkl"
    path.write_bytes(nvidia_pickle(content, protocol))
    assert error_of(sefa.load_generator(path), expected) < 1e-5


def test_a_bare_state_dict_has_the_defaults_of_the_older_repository():
    # lr 0.02 and a clamp that clips are in the attributes alone: without them images differ.
    found, expected = golden("skip32_stylegan3_repository")
    checkpoint = formats.translate(Found(found.tensors))
    assert checkpoint.config == {"family": "stylegan2", "lr_multiplier": 0.01}
    generator = generators.build(checkpoint.state_dict, checkpoint.config)
    assert error_of(generator, expected) > 0.1
    config = {**checkpoint.config, "conv_clamp": 1.5}
    generator = generators.build(checkpoint.state_dict, config)
    assert error_of(generator, expected) < 1e-5


def test_what_a_file_says_becomes_the_configuration():
    config = {case: formats.translate(golden(case)[0]).config for case in FACTS}
    assert config["resnet32"] == {
        "family": "stylegan2", "architecture": "resnet", "conv_clamp": 1.5, "lr_multiplier": 0.01,
    }  # fmt: skip
    assert config["orig16_conditional"]["lr_multiplier"] == 0.02
    assert "conv_clamp" not in config["orig16_conditional"]
    assert config["skip16_default_clamp_stylegan3_repository"]["conv_clamp"] == 256
    assert config["skip16_without_mean"]["w_avg_samples"] == 4096
    # conv2 (b8.conv1) and to_rgb2 differ from the rest
    assert config["resnet16_mixed"]["conv_clamp"] == {
        "conv0": 1.3, "conv1": 0.9, "conv3": 1.3, "conv4": 1.7, "to_rgb2": 0.4,
    }  # fmt: skip


def test_the_mean_is_computed_where_the_training_kept_none():
    # The mean of 4096 codes is within a few standard errors of that of 400,000.
    found, expected = golden("skip16_without_mean")
    generator = build(found)
    z = torch.randn(2000, generator.z_dim, generator=torch.Generator().manual_seed(1))
    labels = torch.eye(3)[torch.arange(2000) % 3]
    standard_error = generator.map(z, labels)[:, 0].std(dim=0) / math.sqrt(4096)
    distance = (generator.w_avg - expected["w_mean_400000"]).abs()
    assert (distance < 5 * standard_error).all() and distance.max() > 0
    assert torch.equal(build(found).w_avg, generator.w_avg)  # the same at every load


# ----------------------------------------------------- these tests would see it: deliberate bugs


@pytest.mark.parametrize(
    "case, path, attributes",
    [
        ("resnet32", "synthesis.b8.conv0", {"conv_clamp": None}),
        ("resnet32", "synthesis.b8.conv1", {"conv_clamp": 1.5 * 2**0.5}),  # its gain forgotten
        ("resnet32", "synthesis.b16.torgb", {}),
        ("resnet32", "synthesis.b32.conv1", {"use_noise": False}),
        ("resnet16_mixed", "synthesis.b8.skip", {"act_gain": 1.0}),
        ("resnet16_mixed", "synthesis.b16.conv0.affine", {"weight_gain": 13**-0.5}),
        ("resnet16_mixed", "synthesis.b16.torgb.affine", {"bias_gain": 1.0}),
        ("resnet16_mixed", "mapping.embed", {"weight_gain": 3**-0.5}),
        ("resnet16_mixed", "mapping.fc2", {"bias_gain": 0.01}),
        ("resnet16_mixed", "synthesis.b8.conv1", {"use_noise": True}),
        ("orig16_conditional", "mapping.fc0", {"bias_gain": 0.01}),
    ],
)
def test_every_attribute_counts(case, path, attributes):
    found, expected = golden(case)
    if not attributes:  # nothing changed, nothing wrong
        assert error_of(build(found), expected) < 1e-5
    elif case == "resnet16_mixed" and attributes.get("use_noise"):
        # noise weights that a file without noise has kept are left out
        quiet = {n: t for n, t in found.tensors.items() if not n.startswith(f"{path}.noise")}
        generator = build(dataclasses.replace(found, tensors=quiet))
        assert error_of(generator, expected) < 1e-5
        assert error_of(build(change(found, path, **attributes)), expected) > 1e-3
    else:
        assert error_of(build(change(found, path, **attributes)), expected) > 1e-3


def test_a_resnet_without_its_gains_misses_the_reference(monkeypatch):
    found, expected = golden("resnet32")
    generator = build(found)
    for conv in generator.convs:
        conv.gain = 2**0.5
    assert error_of(generator, expected) > 1e-2


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "path, attributes",
    [
        ("synthesis.b8.conv0", {"activation": "relu"}),
        ("synthesis.b8.conv0", {"act_gain": 1.0}),
        ("synthesis.b8.conv0", {"up": 1}),
        ("synthesis.b8.conv1", {"up": 2}),
        ("synthesis.b8.conv1", {"padding": 0}),
        ("synthesis.b8.conv1", {"conv_clamp": "tight"}),
        ("synthesis.b8.conv1", {"conv_clamp": -1}),
        ("synthesis.b8.conv1", {"conv_clamp": float("nan")}),
        ("synthesis.b8.conv1", {"__class__": "NoiseLayer"}),
        ("synthesis.b8.skip", {"conv_clamp": 1.0}),
        ("synthesis.b8.skip", {"activation": "lrelu"}),
        ("synthesis.b8.skip", {"act_gain": 0}),
        ("synthesis.b16", {"architecture": "skip"}),
        ("synthesis.b16", {"architecture": None}),
        ("synthesis.b8.conv1", {"conv_clamp": 10**5000}),
        ("synthesis.b8.conv1", {"act_gain": 10**5000}),
        ("synthesis.b8.conv1", {"act_gain": [10**5000]}),
        ("synthesis.b16", {"architecture": [10**5000]}),
        ("", {"img_resolution": 10**5000}),
        ("mapping.fc1", {"activation": "linear"}),
        ("mapping.fc1", {"weight_gain": True}),
        ("mapping.fc1", {"weight_gain": float("inf")}),
        ("mapping.fc0", {"bias_gain": "0.01"}),
        ("mapping.fc0", {"bias_gain": [0.01]}),
        ("mapping", {"num_layers": 4}),
        ("synthesis.b4.conv1.affine", {"activation": None}),
        ("", {"img_resolution": 64}),
    ],
)
def test_attributes_of_another_network(path, attributes):
    (name,) = attributes
    assert_refused_to_build(change(golden("resnet32")[0], path, **attributes), name.strip("_"))


def test_another_architecture_than_the_shapes_tell():
    found, _ = golden("resnet32")
    for path in found.attributes:
        if nvidia_stylegan2.kind_of(path) == "b":
            found = change(found, path, architecture="orig")
    assert_refused_to_build(found, "'orig'")


def test_any_missing_weight_is_noticed():
    found, _ = golden("orig16_conditional")
    for name in found.tensors:
        rest = {key: tensor for key, tensor in found.tensors.items() if key != name}
        if not name.endswith("resample_filter"):
            assert_refused_to_build(dataclasses.replace(found, tensors=rest))
            assert_refused_to_build(
                Found(rest)
            )  # w_avg too: only w_avg_beta None says that there is none


def test_any_weight_of_the_wrong_shape_is_refused():
    found, _ = golden("resnet16_mixed")
    for name, tensor in found.tensors.items():
        for wrong in (tensor[None], tensor[..., None], torch.zeros(0), torch.zeros(3, 1)):
            tensors = {**found.tensors, name: wrong}
            if name.endswith("resample_filter") and wrong.numel() == 16:
                continue
            if name.startswith("synthesis.b8.conv1.noise"):  # noise is off there
                continue
            if name == "synthesis.b4.const" and wrong.ndim == 4 and len(wrong) == 1:
                continue  # [1, C, 4, 4] can only mean the same
            assert_refused_to_build(dataclasses.replace(found, tensors=tensors))


@pytest.mark.parametrize(
    "name",
    [
        "synthesis.b4.conv0.weight",
        "synthesis.b12.conv0.weight",
        "synthesis.b4096.conv0.weight",
        "synthesis.b99999999999999999999.conv0.weight",
        "synthesis.b08.conv0.weight",
        "synthesis.b4.skip.weight",
        "synthesis.b64.torgb.weight",
        "mapping.fc9.weight",
        "superresolution.weight",
        "w_avg",
    ],
)
def test_an_extra_weight_is_refused(name):
    found, _ = golden("resnet32")
    assert_refused_to_build(Found({**found.tensors, name: torch.zeros(3, 3, 1, 1)}))


def test_another_filter_is_refused():
    found, _ = golden("resnet32")
    name = "synthesis.b8.skip.resample_filter"
    for kernel in (found.tensors[name] * 4, torch.eye(4), torch.zeros(4, 4, dtype=torch.complex64)):
        assert_refused_to_build(Found({**found.tensors, name: kernel}), name, "filter")


def test_whole_numbers_and_infinities_are_refused():
    found, _ = golden("resnet16_mixed")
    for name in ("synthesis.b16.torgb.weight", "mapping.fc1.weight", "synthesis.b4.const"):
        for tensor in (found.tensors[name].int(), found.tensors[name] * math.inf):
            assert_refused_to_build(
                dataclasses.replace(found, tensors={**found.tensors, name: tensor})
            )


def test_other_files_are_not_recognised():
    assert not nvidia_stylegan2.recognises(Found({}))
    assert not nvidia_stylegan2.recognises(Found({"synthesis.input.weight": torch.zeros(1)}))
    assert issubclass(generators.FAMILIES["stylegan2"], StyleGAN2)
