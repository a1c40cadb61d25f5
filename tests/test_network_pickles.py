"""Pickles of whole networks, NVIDIA's and TensorFlow's: what is found in them."""

import numpy as np
import pytest
import torch

from sefa.formats.containers import open_container
from sefa.formats.unwrap import unwrap
from tests.nvidia_files import (
    EasyDict,
    nvidia_module,
    nvidia_pickle,
    nvidia_stylegan2,
    tf_network,
    tf_pickle,
    tf_stylegan2,
)
from tests.test_formats import images_of, state, write  # noqa: F401

PROTOCOLS = range(2, 6)


def found_in(path, data):
    with open_container(write(path, data)) as content:
        return unwrap(content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_weights_of_modules(protocol, tmp_path):
    weights = {
        "mapping.fc0.weight": torch.randn(3, 4),
        "mapping.w_avg": torch.randn(4),
        "synthesis.b4.conv1.weight": torch.randn(2, 3, 3, 3).to(memory_format=torch.channels_last),
        "synthesis.b4.conv1.noise_strength": torch.tensor(0.5),
        "synthesis.b4.half": torch.randn(2, 3).half(),
        "synthesis.b4.bfloat": torch.randn(2, 3).bfloat16(),
        "synthesis.b4.whole": torch.arange(5),
        "synthesis.b4.large": torch.randn(500),  # its bytes stay in the file until they are wanted
        "synthesis.b4.empty": torch.zeros(0, 3),
    }
    other = {name: tensor + 1 for name, tensor in weights.items()}
    content = {"G": nvidia_module(other), "D": None, "G_ema": nvidia_module(weights)}
    found = found_in(tmp_path / "model.pkl", nvidia_pickle(content, protocol))
    assert found.tensors.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(found.tensors[name].to(tensor), tensor), name
    assert found.tensors["synthesis.b4.conv1.weight"].dtype == torch.float32


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_attributes_of_modules(protocol, tmp_path):
    attributes = {
        "": {"z_dim": 8, "img_resolution": 16, "mapping_kwargs": EasyDict(num_layers=2)},
        "mapping.fc0": {
            "__class__": "FullyConnectedLayer",
            "activation": "lrelu",
            "weight_gain": np.float64(0.25),
            "size": np.array([36, 36]),  # as StyleGAN3 has it
            "padding": [1, 2, 3, 4],
            "flag": True,
            "nothing": None,
            "many": list(range(1000)),
            "_hidden": 1,
        },
    }
    module = nvidia_module({"mapping.fc0.weight": torch.zeros(1)}, attributes)
    found = found_in(tmp_path / "model.pkl", nvidia_pickle({"G_ema": module}, protocol))
    assert found.attributes[""] == {
        "training": True, "z_dim": 8, "img_resolution": 16, "mapping_kwargs": {"num_layers": 2},
        "__class__": "Generator",
    }  # fmt: skip
    layer = found.attributes["mapping.fc0"]
    assert layer["__class__"] == "FullyConnectedLayer" and layer["activation"] == "lrelu"
    assert (layer["weight_gain"], layer["flag"], layer["nothing"]) == (0.25, True, None)
    assert list(layer["size"]) == [36, 36] and list(layer["padding"]) == [1, 2, 3, 4]
    assert "many" not in layer and "_hidden" not in layer


def test_buffers_that_are_not_saved_are_left_out(tmp_path):
    module = nvidia_module({"w_avg": torch.zeros(1), "transform": torch.zeros(1)})
    module.state["_non_persistent_buffers_set"] = {"transform"}
    for protocol in PROTOCOLS:
        found = found_in(tmp_path / "model.pkl", nvidia_pickle({"G_ema": module}, protocol))
        assert list(found.tensors) == ["w_avg"]


def test_tensors_that_share_their_numbers(tmp_path):
    numbers = torch.randn(6)
    module = nvidia_module({"a": numbers[:3], "b": numbers[3:], "c": numbers.view(2, 3).T})
    found = found_in(tmp_path / "model.pkl", nvidia_pickle({"G_ema": module}))
    assert torch.equal(found.tensors["a"], numbers[:3])
    assert torch.equal(found.tensors["b"], numbers[3:])
    assert torch.equal(found.tensors["c"], numbers.view(2, 3).T)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_variables_of_networks(protocol, tmp_path):
    weights = {
        "4x4/Const/const": np.random.randn(1, 3, 4, 4).astype(np.float32),
        "transposed": np.random.randn(3, 4).astype(np.float32).T,
        "axes": np.random.randn(2, 3, 4).astype(np.float32).transpose(1, 2, 0),
        "big": np.random.randn(3).astype(">f4"),
        "noise_strength": np.float32(1.5),
        "large": np.random.randn(30, 30),
    }
    parts = {"synthesis": tf_network("G_synthesis", weights)}
    average = np.random.randn(4).astype(np.float32)
    network = tf_network("Gs", {"dlatent_avg": average}, parts, resolution=16, lrmul=0.01)
    found = found_in(tmp_path / "model.pkl", tf_pickle(network, protocol))
    assert np.array_equal(found.tensors["dlatent_avg"], average)
    assert len(found.tensors) == 1 + len(weights)
    for name, array in weights.items():
        assert np.array_equal(found.tensors[f"synthesis/{name}"], array), name
    assert found.attributes[""] == {"resolution": 16, "lrmul": 0.01}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_images_are_those_of_our_own_file(protocol, state, tmp_path):  # noqa: F811
    torch.save(state, tmp_path / "own.pth")
    expected = images_of(tmp_path / "own.pth")
    nvidia = nvidia_pickle({"G_ema": nvidia_stylegan2(state)}, protocol)
    assert torch.equal(images_of(write(tmp_path / "nvidia.pkl", nvidia)), expected)
    tf = tf_pickle(tf_stylegan2(state, 8), protocol)
    assert (images_of(write(tmp_path / "tf.pkl", tf)) - expected).abs().max() < 1e-5
