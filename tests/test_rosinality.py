"""StyleGAN2 in rosinality's names against the numbers of its code."""

import argparse
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import sefa
from sefa import formats
from sefa.formats import rosinality
from sefa.formats.checkpoint import Found
from tests.helpers import (
    assert_behaves,
    assert_refused_to_build,
    build,
    read_golden,
)

CASE = Path(__file__).parent / "golden" / "rosinality" / "training32.npz"


@pytest.fixture(scope="module")
def case():
    return read_golden(CASE)


def with_mean(found, mean):
    return dataclasses.replace(found, beside={"g_ema": found.tensors, "latent_avg": mean})


def test_a_training_file(case, tmp_path):
    found, expected = case
    generator = build(found)
    assert (generator.resolution, generator.z_dim, generator.w_dim) == (32, 24, 24)
    assert (generator.label_dim, generator.num_ws, len(generator.to_rgbs)) == (0, 8, 4)
    w = generator.map(expected["z"])
    torch.testing.assert_close(w[:, 3], expected["w"], rtol=1e-5, atol=1e-5)
    assert (generator.synthesize(w) - expected["image_psi10"]).abs().max() < 1e-5
    assert_behaves(generator, found, tmp_path / "native.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_training_file_as_train_py_writes_it(case, zipped, tmp_path):
    found, expected = case
    other = {name: torch.zeros_like(tensor) for name, tensor in found.tensors.items()}
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}},
                 "param_groups": [{"lr": 0.002, "betas": (0.0, 0.99), "params": [0]}]}  # fmt: skip
    content = {
        "g": other, "d": {"final_linear.0.weight": torch.zeros(1)}, "g_ema": found.tensors,
        "g_optim": optimizer, "d_optim": optimizer,
        "args": argparse.Namespace(size=32, path="lmdb", mixing=0.9, ckpt=None),
        "ada_aug_p": torch.tensor(0.0),
    }  # fmt: skip
    path = tmp_path / "150000.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    generator = sefa.load_generator(path)
    image = generator.synthesize(generator.map(expected["z"]))
    assert (image - expected["image_psi10"]).abs().max() < 1e-5


def test_a_training_file_whose_names_were_joined(case, tmp_path):
    # safetensors cannot nest, so converters join names by dots
    found, expected = case
    joined = {f"g_ema.{name}": tensor.contiguous() for name, tensor in found.tensors.items()}
    joined |= {f"g.{name}": torch.zeros_like(tensor) for name, tensor in found.tensors.items()}
    save_file(joined | {"latent_avg": expected["w_mean_400000"]}, tmp_path / "model.safetensors")
    generator = sefa.load_generator(tmp_path / "model.safetensors")
    for psi, name in ((1.0, "image_psi10"), (0.7, "image_psi07_mean_400000")):
        image = generator.synthesize(generator.map(expected["z"], truncation_psi=psi))
        assert (image - expected[name]).abs().max() < 1e-5


def test_the_mean_of_a_training_file_is_computed(case):
    # That of 4096 codes is within a few standard errors of that of 400,000, and so are images.
    found, expected = case
    assert formats.translate(found).config == {"family": "stylegan2", "w_avg_samples": 4096}
    generator = build(found)
    w = generator.map(torch.randn(2000, 24, generator=torch.Generator().manual_seed(1)))[:, 0]
    distance = (generator.w_avg - expected["w_mean_400000"]).abs()
    assert (distance < 5 * w.std(dim=0) / math.sqrt(4096)).all() and distance.max() > 0
    image = generator.synthesize(generator.map(expected["z"], None, 0.7))
    assert (image - expected["image_psi07_mean_400000"]).abs().max() < 0.05
    assert (image - expected["image_psi10"]).abs().max() > 0.5


@pytest.mark.parametrize("shape", [(24,), (1, 24)])
def test_a_mean_that_lies_beside_the_generator_is_used(case, shape):
    found, expected = case
    generator = build(with_mean(found, expected["w_mean_400000"].reshape(shape)))
    image = generator.synthesize(generator.map(expected["z"], None, 0.7))
    assert (image - expected["image_psi07_mean_400000"]).abs().max() < 1e-5


def test_files_from_before_noise_images_were_stored(case):
    found, expected = case
    bare = {name: t for name, t in found.tensors.items() if not name.startswith("noises")}
    generator = build(Found(bare))
    w = generator.map(expected["z"])
    with np.errstate(all="raise"):
        drawn = np.random.RandomState(0).randn(4, 4).astype(np.float32)
    strength = found.tensors["conv1.noise.weight"]
    first = generator.convs[0]  # whose noise is kept times the gain of what follows
    torch.testing.assert_close(first.noise, torch.from_numpy(drawn) * strength * first.gain)
    assert torch.equal(generator.synthesize(w), build(Found(bare)).synthesize(w))
    assert (generator.synthesize(w) - expected["image_psi10"]).abs().max() > 1e-2


def test_any_missing_weight_is_noticed(case):
    found, _ = case
    for name in found.tensors:
        rest = {key: tensor for key, tensor in found.tensors.items() if key != name}
        if not name.endswith(".kernel"):
            assert_refused_to_build(Found(rest))


def test_any_weight_of_the_wrong_shape_is_refused(case):
    found, _ = case
    for name, tensor in found.tensors.items():
        for wrong in (tensor[None], tensor[..., None], torch.zeros(0), torch.zeros(3, 1)):
            if not (name.endswith(".kernel") and wrong.numel() == 16):
                assert_refused_to_build(Found({**found.tensors, name: wrong}))


@pytest.mark.parametrize(
    "name",
    [
        "style.0.weight",
        "style.99.weight",
        "conv1.0.conv.weight",
        "convs.conv.weight",
        "convs.7.conv.weight",
        "to_rgbs.9.bias",
        "noises.noise_9",
        "noises.noise_99999999999999",
        "decoder.weight",
    ],
)
def test_an_extra_weight_is_refused(case, name):
    assert_refused_to_build(Found({**case[0].tensors, name: torch.zeros(1, 3, 3, 1, 1)}))


def test_a_mean_that_is_none(case):
    found, _ = case
    for mean in (torch.zeros(23), torch.zeros(8, 24), torch.zeros(()), torch.zeros(1, 1, 24)):
        assert_refused_to_build(with_mean(found, mean), "w_avg")
    assert_refused_to_build(with_mean(found, torch.full((24,), math.nan)), "NaN")
    assert_refused_to_build(with_mean(found, "mean"), "latent_avg", "str")


def test_other_networks_are_named(case):
    found, _ = case
    assert_refused_to_build(
        Found({**found.tensors, "to_rgbs.0.iwt.ll": torch.zeros(2, 2)}), "SWAGAN"
    )
    kernel = torch.full((4, 4), 1 / 4)
    assert_refused_to_build(Found({**found.tensors, "to_rgbs.0.upsample.kernel": kernel}), "filter")
    assert not rosinality.recognises(Found({"input.input": torch.zeros(1)}))
