"""Small generators with random weights, in our own layout and in genforce's."""

import html
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import sefa
from sefa import formats, generators
from sefa.errors import CheckpointError, UserError
from sefa.formats import native
from sefa.formats.checkpoint import Checkpoint, Found
from sefa.generators.generator import Generator, Weights


def seeded(seed):
    """A random generator of its own."""
    return torch.Generator().manual_seed(seed)


def tiny_state_dict(
    resolution: int = 16,
    seed: int = 0,
    z_dim: int = 8,
    w_dim: int = 12,
    label_dim: int = 0,
    depth: int = 2,
    architecture: str = "skip",
    channels: tuple[int, ...] = (10, 8, 6, 5, 4, 4, 4, 4, 4),
    num_channels: int = 3,
) -> dict[str, Tensor]:
    """Canonical StyleGAN2 weights of unit scale; no two sizes are alike, to catch mixed-up axes."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=g) * scale

    state: dict[str, Tensor] = {}
    width = z_dim * 2 if label_dim else z_dim
    if label_dim:
        state["mapping.label_weight"] = randn(label_dim, z_dim)
    for i in range(depth):
        out = w_dim if i == depth - 1 else w_dim + 3
        state[f"mapping.dense{i}.weight"] = randn(out, width, scale=100.0)
        state[f"mapping.dense{i}.bias"] = randn(out, scale=10.0)
        width = out
    state["w_avg"] = randn(w_dim, scale=0.3)
    state["synthesis.const"] = randn(1, channels[0], 4, 4)
    blocks = resolution.bit_length() - 2
    previous = channels[0]

    def modulated(name: str, out: int, k: int) -> None:
        state[f"{name}.weight"] = randn(out, previous, k, k)
        state[f"{name}.bias"] = randn(out, scale=0.1)
        state[f"{name}.affine.weight"] = randn(previous, w_dim)
        state[f"{name}.affine.bias"] = 1.0 + randn(previous, scale=0.2)

    for i in range(2 * blocks - 1):
        block = (i + 1) // 2
        name = f"synthesis.conv{i}"
        modulated(name, channels[block], 3)
        state[f"{name}.noise_strength"] = randn(scale=0.2)
        state[f"{name}.noise_const"] = randn(4 * 2**block, 4 * 2**block)
        previous = channels[block]
        if architecture == "resnet" and i % 2 == 0 and i > 0:
            out, previous_out = channels[block], channels[block - 1]
            state[f"synthesis.skip{block}.weight"] = randn(out, previous_out, 1, 1)
        if i % 2 == 0 and (architecture == "skip" or block == blocks - 1):
            modulated(f"synthesis.to_rgb{block}", num_channels, 1)
            state[f"synthesis.to_rgb{block}.weight"] *= 0.3
    return state


def tiny_stylegan2(path: str | Path, resolution: int = 16, seed: int = 0, **sizes) -> Path:
    """Writes a random StyleGAN2 to `path` in our layout (see `tiny_state_dict` for `sizes`)."""
    state = tiny_state_dict(resolution, seed, **sizes)
    native.write(Checkpoint(state, {"family": "stylegan2"}), path)
    return Path(path)


def genforce_state_dict(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Canonical StyleGAN2 weights under genforce's names: the inverse of the reader."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = (torch.outer(taps, taps) / 16)[None, None]
    result = {"synthesis.upsample.kernel": kernel} if "synthesis.to_rgb0.bias" in state else {}
    for name, tensor in state.items():
        if name == "w_avg":
            name = "truncation.w_avg"
        elif name == "synthesis.const":
            name = "synthesis.early_layer.const"
        elif name.startswith("synthesis."):
            module, part = name.removeprefix("synthesis.").split(".", 1)
            module = module.replace("conv", "layer").replace("to_rgb", "output")
            upsamples = module.startswith("layer") and int(module[5:]) % 2 == 1
            if part == "affine.bias":
                tensor = tensor - 1.0
            if part == "weight" and upsamples:
                tensor = tensor.flip(2, 3)
                result[f"synthesis.{module}.filter.kernel"] = kernel
            if part == "noise_const":
                part, tensor = "noise", tensor[None, None]
            name = f"synthesis.{module}.{part.replace('affine', 'style')}"
        result[name] = tensor.clone()
    return result


def is_one_sentence(message: str) -> bool:
    """One line, one full stop, at its end: what a `UserError` may say."""
    inside = re.search(r"[.!?]['\")]* +[A-Z]", message)  # a second sentence begins
    ends = re.search(r"[^.\s:;,]\.$", message)
    return "\n" not in message and inside is None and ends is not None and len(message) < 500


def problem_of(answer) -> str:
    """The sentence that an event answers with where it could do nothing: below the gallery for
    a frame, in the notice for an event that lays out the page, of which all else must stay."""
    if isinstance(answer, dict):
        assert set(answer) == {"sequence", "problem"}
        return answer["problem"]
    *others, notice = answer
    assert all(set(update) == {"__type__"} for update in others)
    return html.unescape(re.sub("<[^>]*>", "", notice["value"]))


def tiny_pggan(
    resolution: int = 16,
    z_dim: int = 7,
    channels: tuple[int, ...] = (10, 8, 6, 5, 4, 4),
    num_channels: int = 3,
    lod: float = 0.0,
) -> dict[str, Tensor]:
    """Canonical PGGAN weights of unit scale; no two sizes of neighbours are alike."""
    g = torch.Generator().manual_seed(0)
    blocks = resolution.bit_length() - 2
    state = {"synthesis.lod": torch.tensor(lod)}
    previous = z_dim
    for i in range(2 * blocks):
        out, k = channels[i // 2], 3 if i else 4
        state[f"synthesis.conv{i}.weight"] = torch.randn(out, previous, k, k, generator=g)
        state[f"synthesis.conv{i}.bias"] = torch.randn(out, generator=g) * 0.3
        previous = out
    state.update(tiny_to_rgbs(channels[:blocks], num_channels, g))
    return state


def tiny_stylegan(
    resolution: int = 16,
    z_dim: int = 8,
    w_dim: int = 12,
    label_dim: int = 0,
    channels: tuple[int, ...] = (10, 9, 6, 5, 4, 3),
    num_channels: int = 3,
    lod: float = 0.0,
) -> dict[str, Tensor]:
    """Canonical StyleGAN weights of unit scale; no two sizes of neighbours are alike."""
    g = torch.Generator().manual_seed(0)

    def randn(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=g) * scale

    blocks = resolution.bit_length() - 2
    state = {"synthesis.lod": torch.tensor(lod), "w_avg": randn(w_dim, scale=0.3)}
    if label_dim:
        state["mapping.label_weight"] = randn(label_dim, z_dim)
    for i, (out, width) in enumerate([(11, z_dim * (2 if label_dim else 1)), (w_dim, 11)]):
        state[f"mapping.dense{i}.weight"] = randn(out, width, scale=100.0)
        state[f"mapping.dense{i}.bias"] = randn(out, scale=20.0)
    state["synthesis.const"] = randn(1, channels[0], 4, 4)
    previous = channels[0]
    for i in range(2 * blocks):
        name, out, size = f"synthesis.conv{i}", channels[i // 2], 4 * 2 ** (i // 2)
        if i:
            state[f"{name}.weight"] = randn(out, previous, 3, 3)
        state[f"{name}.bias"] = randn(out, scale=0.3)
        state[f"{name}.noise_strength"] = randn(out, scale=0.3)
        state[f"{name}.noise_const"] = randn(size, size)
        state[f"{name}.affine.weight"] = randn(2 * out, w_dim)
        state[f"{name}.affine.bias"] = randn(2 * out, scale=0.3)
        previous = out
    state.update(tiny_to_rgbs(channels[:blocks], num_channels, g))
    return state


def tiny_to_rgbs(channels: tuple[int, ...], num_channels: int, g: torch.Generator) -> dict:
    state = {}
    for k, width in enumerate(channels):
        name = f"synthesis.to_rgb{k}"
        state[f"{name}.weight"] = torch.randn(num_channels, width, 1, 1, generator=g) * 0.5
        state[f"{name}.bias"] = torch.randn(num_channels, generator=g) * 0.3
    return state


def read_case(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A reference case (golden/README.md): its state dict, and its inputs and outputs."""
    found, arrays = read_golden(Path(path))
    return dict(found.tensors), arrays


def max_error(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return (found - expected).abs().max().item()


class TinyConditional(Generator):
    """A family for tests whose images depend on more than w, and that has one layer: 28 px, grey.

    Keyword arguments of `synthesize`, no truncation cutoff, classes with names; w is z itself.
    """

    family = "tiny"
    num_ws = 1
    has_cutoff = False
    edit_range = 2.0

    def __init__(self, state_dict, config):
        super().__init__()
        self.layer_names = ["first linear"]
        weights = Weights(state_dict)
        pixels, self.z_dim = weights.shape("linear.weight", 2)
        self.label_dim = weights.shape("classes.weight", 2)[0]
        self.num_channels = config.get("num_channels", 1)
        self.resolution = math.isqrt(pixels // self.num_channels)
        self.layer_resolutions = [self.resolution]
        self.w_dim = self.z_dim
        self.class_names = config.get("class_names")
        self.has_truncation = config.get("has_truncation", True)
        self.register_buffer("linear", weights.take("linear.weight", pixels, self.z_dim))
        self.register_buffer("classes", weights.take("classes.weight", self.label_dim, pixels))
        weights.finish()

    def map(self, z, label=None, truncation_psi=1.0, truncation_cutoff=None):
        self.check_codes(z, label)
        return truncation_psi * z[:, None]

    def synthesize(self, w, label=None, truncation_psi=1.0):
        self.check_ws(w)
        if label is None:
            raise UserError("This model needs a label.")
        x = w[:, 0].to(self.linear.dtype) @ self.linear.T + label @ self.classes
        shape = len(w), self.num_channels, self.resolution, self.resolution
        return (truncation_psi * x).tanh().view(shape)

    def conditions(self, label, truncation_psi, noise_seed=None):
        return {"label": label, "truncation_psi": truncation_psi}

    def layer_weights(self, layers):
        return [self.linear for _ in layers]


def tiny_conditional(path: str | Path, label_dim: int = 4, resolution: int = 28, **config) -> Path:
    """Writes a TinyConditional of z 6 to `path`: each class a bar of another place, on waves.

    It is read where `FAMILIES` has the family: `monkeypatch.setitem(FAMILIES, "tiny", ...)`.
    """
    n = resolution
    y, x = torch.meshgrid(torch.arange(n) / n, torch.arange(n) / n, indexing="ij")
    waves = [torch.sin(6.28 * (x * (i + 1) + y * (5 - i))) for i in range(6)]
    bars = [2.0 * ((x * label_dim).floor() == i) - 1 for i in range(label_dim)]
    channels = config.get("num_channels", 1)
    state = {
        "linear.weight": torch.stack(waves, -1)
        .view(1, n * n, 6)
        .repeat(channels, 1, 1)
        .flatten(0, 1),
        "classes.weight": torch.stack(bars).view(label_dim, n * n).repeat(1, channels),
    }
    native.write(Checkpoint(state, {"family": "tiny", **config}), path)
    return Path(path)


def read_golden(path: Path) -> tuple[Found, dict[str, Tensor]]:
    """A reference case in one .npz: what was found in its file, and the expected numbers."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    attributes = json.loads(str(arrays.pop("attributes", "{}")))
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    weights = {
        name.removeprefix("weights/"): tensors.pop(name)
        for name in list(tensors)
        if name.startswith("weights/")
    }
    return Found(weights, attributes), tensors


def build(found: Found) -> Generator:
    """The generator for weights in their training code's names."""
    checkpoint = formats.translate(found)
    return generators.build(checkpoint.state_dict, checkpoint.config)


def assert_behaves(generator: Generator, found: Found, path: Path) -> None:
    """What every generator must do: any batch, precision and memory format, and the round trip."""
    z = generator.sample_z([3, 4])
    label = generator.one_hot(generator.label_dim - 1, 2) if generator.label_dim else None
    with torch.inference_mode():
        w = generator.map(z, label, 0.8, 3)
        images = generator.synthesize(w)
        alone = torch.cat([generator.synthesize(w[:1]), generator.synthesize(w[1:])])
        assert (alone - images).abs().max() < 1e-5
        doubled = generator.synthesize(w.double())
        assert doubled.dtype == torch.float32 and torch.equal(doubled, images)

        checkpoint = formats.translate(found)
        native.write(checkpoint, path)
        twin = sefa.load_generator(path)
        assert torch.equal(twin.synthesize(twin.map(z, label, 0.8, 3)), images)
        twin.to(memory_format=torch.channels_last)
        assert (twin.synthesize(w) - images).abs().max() < 1e-5


def assert_refused_to_build(found: Found, *parts: str) -> None:
    """Translating and building says why not in one sentence, which has these parts."""
    with pytest.raises(CheckpointError) as error:
        build(found)
    assert type(error.value) is CheckpointError and is_one_sentence(str(error.value))
    for part in parts:
        assert part in str(error.value)
