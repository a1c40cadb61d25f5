"""StyleGAN2 in TensorFlow's names against the numbers of NVIDIA's converter (legacy.py)."""

import dataclasses
from pathlib import Path

import pytest
import torch

from sefa import formats
from sefa.formats import tf_stylegan2
from sefa.formats.checkpoint import Found
from tests.helpers import (
    assert_behaves,
    assert_refused_to_build,
    build,
    read_golden,
    tiny_state_dict,
)

GOLDEN = Path(__file__).parent / "golden" / "tf_stylegan2"
CASES = ("resnet16_conditional", "orig16_without_noise")


def golden(case):
    return read_golden(GOLDEN / f"{case}.npz")


def with_kwargs(found, **kwargs):
    return dataclasses.replace(found, attributes={"": {**found.attributes[""], **kwargs}})


@pytest.mark.parametrize("case", CASES)
def test_reference_cases(case, tmp_path):
    found, expected = golden(case)
    generator = build(found)
    assert (generator.resolution, generator.z_dim, generator.w_dim) == (16, 10, 13)
    assert (generator.label_dim, len(generator.skips)) == (
        (3, 2) if "label" in expected else (0, 0)
    )
    for name, psi, cutoff in [("psi10", 1.0, None), ("psi07", 0.7, None), ("psi07_cut3", 0.7, 3)]:
        w = generator.map(expected["z"], expected.get("label"), psi, cutoff)
        torch.testing.assert_close(w, expected[f"ws_{name}"], rtol=1e-5, atol=1e-5)
        if f"image_{name}" in expected:
            assert (generator.synthesize(w) - expected[f"image_{name}"]).abs().max() < 1e-5
    assert_behaves(generator, found, tmp_path / "native.safetensors")


def test_labels_that_are_concatenated_raw_are_normalised_with_z():
    # StyleGAN2's own way (before ADA): one norm over z and the label's row of LabelConcat.
    found, _ = golden("orig16_without_noise")
    label_weight = tiny_state_dict(label_dim=4, z_dim=6)["mapping.label_weight"]  # [4, 6]
    tensors = {**found.tensors, "mapping/LabelConcat/weight": label_weight}
    generator = build(with_kwargs(dataclasses.replace(found, tensors=tensors), label_size=4))
    assert (generator.z_dim, generator.label_dim) == (4, 4) and generator.mapping.joint
    z, label = generator.sample_z([0]), generator.one_hot(2, 1)
    x = torch.cat([z, label_weight[2:3]], dim=1)
    x = x * (x.square().mean() + 1e-8).rsqrt()
    for i in range(2):
        weight, bias = (found.tensors[f"mapping/Dense{i}/{part}"] for part in ("weight", "bias"))
        x = x @ weight * (0.01 / len(weight) ** 0.5) + 0.01 * bias
        x = torch.nn.functional.leaky_relu(x, 0.2) * 2**0.5
    torch.testing.assert_close(generator.map(z, label)[:, 0], x, rtol=1e-4, atol=1e-5)


def test_settings_become_the_configuration():
    assert formats.translate(golden("resnet16_conditional")[0]).config == {
        "family": "stylegan2", "architecture": "resnet", "conv_clamp": 1.3, "lr_multiplier": 0.02,
    }  # fmt: skip
    found, expected = golden("orig16_without_noise")
    assert formats.translate(found).config == {"family": "stylegan2", "architecture": "orig"}
    # without settings at all (somebody's .safetensors), the shapes tell
    bare = build(Found(found.tensors))
    assert (bare.synthesize(bare.map(expected["z"])) - expected["image_psi10"]).abs().max() < 1e-5


@pytest.mark.parametrize(
    "kwargs",
    [
        {"mapping_lrmul": 0.01},
        {"conv_clamp": None},
        {"conv_clamp": 1.4},
        {"use_noise": False},
    ],
)
def test_every_setting_counts(kwargs):
    found, expected = golden("resnet16_conditional")
    generator = build(with_kwargs(found, **kwargs))
    images = generator.synthesize(generator.map(expected["z"], expected["label"]))
    assert (images - expected["image_psi10"]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "kwargs",
    [
        {"nonlinearity": "relu"},
        {"mapping_nonlinearity": None},
        {"normalize_latents": False},
        {"normalize_latents": 1},
        {"resample_kernel": [1, 2, 1]},
        {"resample_kernel": [1, 1, 1, 1]},
        {"resample_kernel": [0, 0, 0, 0]},
        {"resample_kernel": ["1", "3", "3", "1"]},
        {"resample_kernel": None},
        {"resample_kernel": [10**5000, 1, 1, 10**5000]},
        {"resample_kernel": [float("nan")] * 4},
        {"architecture": "skip"},
        {"architecture": 3},
        {"mapping_lrmul": "fast"},
        {"mapping_lrmul": True},
        {"conv_clamp": -1.0},
        {"conv_clamp": [1]},
        {"conv_clamp": 10**5000},
        {"architecture": [10**5000]},
        {"nonlinearity": 10**5000},
        {"resolution": 10**5000},
        {"resolution": 32},
        {"mapping_layers": 3},
        {"attention_layers": 2},
    ],
)
def test_settings_of_another_network(kwargs):
    assert_refused_to_build(with_kwargs(golden("resnet16_conditional")[0], **kwargs))


def test_a_missing_architecture_is_skip():
    found, _ = golden("orig16_without_noise")
    kwargs = {name: value for name, value in found.attributes[""].items() if name != "architecture"}
    assert_refused_to_build(dataclasses.replace(found, attributes={"": kwargs}), "'skip'")


@pytest.mark.parametrize("case", CASES)
def test_any_missing_or_misshapen_weight_is_refused(case):
    found, _ = golden(case)
    for name, tensor in found.tensors.items():
        if name == "lod":
            continue
        rest = {key: tensor for key, tensor in found.tensors.items() if key != name}
        assert_refused_to_build(dataclasses.replace(found, tensors=rest))
        for wrong in (tensor[None], tensor[..., None], torch.zeros(0), torch.zeros(3, 1)):
            assert_refused_to_build(dataclasses.replace(found, tensors={**rest, name: wrong}))


@pytest.mark.parametrize(
    "name, reason",
    [
        ("synthesis/4x4/Conv0_up/weight", "Conv0_up"),
        ("synthesis/4x4/Conv1/weight", "Conv1"),
        ("synthesis/8x8/Conv/weight", "8x8/Conv"),
        ("synthesis/8x16/Conv1/weight", "8x16"),
        ("synthesis/12x12/Conv1/weight", "12x12"),
        ("synthesis/4096x4096/Conv1/weight", "4096"),
        ("synthesis/ToRGB_lod0/weight", "level of detail"),
        ("synthesis/noise77", "noise"),
        ("mapping/Dense7/weight", "mapping_layers"),
        ("mapping/Dense7/kernel", "Dense7"),
    ],
)
def test_an_extra_weight_is_named(name, reason):
    found, _ = golden("resnet16_conditional")
    tensors = {**found.tensors, name: torch.zeros(1, 1, 3, 3)}
    assert_refused_to_build(dataclasses.replace(found, tensors=tensors), reason)


def test_other_files_are_not_recognised():
    assert not tf_stylegan2.recognises(Found({"dlatent_avg": torch.zeros(1)}))
