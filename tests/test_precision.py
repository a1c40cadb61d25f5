"""Float16 convolutions: images stay within two grey levels, and what does not bear them stays as it is."""

import pytest
import torch

import checkpoints
from sefa import generators, precision, rendering, reuse
from sefa.generators.convolution import Conv3x3, UpConv3x3
from sefa.generators.ops import inverse_rms
from sefa.generators.stylegan import Moments
from sefa.precision import LEVELS, convolutions, halve, is_quick, set_precision, some_images
from tests.helpers import build as build_found
from tests.helpers import (
    max_error,
    read_golden,
    seeded,
    tiny_pggan,
    tiny_state_dict,
    tiny_stylegan2,
)
from tests.mutations import GOLDEN, good_weights
from tests.test_reuse import build as build_for_reuse

CUDA = torch.device("cuda")


def build(kind: str):
    if kind == "pggan":
        return generators.build(tiny_pggan(32), {"family": kind})
    if kind == "rotation":
        return build_found(read_golden(GOLDEN / "nvidia_stylegan3/r_settings.npz")[0])
    return build_for_reuse(kind)


@pytest.fixture(
    params=["stylegan2", "resnet", "stylegan", "lod", "stylegan3", "rotation", "pggan", "biggan"]
)
def generator(request):
    return build(request.param)


def images(generator):
    return torch.cat(list(some_images(generator)))


def levels(images, other) -> float:
    return (images.clamp(-1, 1) - other.clamp(-1, 1)).abs().max().item() * 127.5


def test_a_trained_model_changes_by_at_most_two_levels():
    generator = checkpoints.load("avatars")
    exact = images(generator)
    assert halve(generator)
    found = images(generator)
    assert found.dtype == torch.float32 and 0 < levels(found, exact) <= LEVELS


def test_bfloat16_would_not_do():
    generator = checkpoints.load("avatars")
    exact = images(generator)
    set_precision(generator, torch.bfloat16)
    assert levels(images(generator), exact) > 2 * LEVELS


def test_every_family_draws_so_and_all_else_stays_float32(generator):
    exact = images(generator)
    others = {n: b.dtype for n, b in generator.named_buffers() if not n.endswith("weight")}
    set_precision(generator, torch.float16)
    found = images(generator)
    assert found.dtype == generator.dtype == torch.float32
    # Random weights of unit scale are no mild case: images reach far beyond [-1, 1].
    assert 0 < max_error(found, exact) < 0.02 * exact.abs().max()
    halves = [module.weight.dtype for module in convolutions(generator)]
    assert len(halves) > 4 and set(halves) == {torch.float16}
    assert all(m.dtype == torch.float32 for m in generator.layer_weights(range(generator.num_ws)))
    assert {n: b.dtype for n, b in generator.named_buffers() if n in others} == others


def test_rendering_reuse_and_previews_go_on(generator):
    set_precision(generator, torch.float16)
    w = generator.map(generator.sample_z([1]), generator.classes_in_turn(range(1)), 0.7)
    w = w.repeat(3, 1, 1)
    w[:, -1] += torch.arange(3)[:, None] * 0.1  # the features before are kept, in halves
    label = generator.classes_in_turn(range(1))
    conditions = generator.conditions(None if label is None else label.repeat(3, 1), 0.7)
    with torch.inference_mode():
        expected = generator.synthesize(w, **conditions)
        assert expected.dtype == torch.float32
        if generator.num_ws > 1:
            found = reuse.Reuse().synthesize(generator, w, conditions)
            assert found.dtype == torch.float32
            assert max_error(found, expected) < 0.02 * expected.abs().max()
        for size in generator.previews:
            small = generator.preview(w, size)
            assert small.dtype == torch.float32 and small.shape[2] == size


def test_what_overflows_or_changes_stays_as_it_is():
    for scale in (1e4, 40.0):  # the sum over channels is no float16 number any more; or is coarse
        state = tiny_state_dict(32, architecture="orig")
        state["synthesis.conv3.weight"] *= scale
        if scale == 1e4:
            state["synthesis.conv3.affine.weight"] *= scale
            state["synthesis.conv3.affine.bias"] *= scale
        generator = generators.build(state, {"family": "stylegan2"})
        exact = images(generator)
        if scale == 40.0:  # what a toRGB makes of it is many times the range of an image
            generator.to_rgbs["3"].weight *= 3000.0
            generator.to_rgbs["3"].bias *= 0.0
            exact = images(generator)
        assert not halve(generator)
        assert all(module.weight.dtype == torch.float32 for module in convolutions(generator))
        assert torch.equal(images(generator), exact)


def test_a_network_without_such_convolutions():
    (dcgan,) = [found for found in good_weights() if "main.0.weight" in found.tensors]
    assert not halve(build_found(dcgan))


def test_without_memory_for_the_look_it_stays_as_it_is(monkeypatch):
    generator = build("stylegan2")
    monkeypatch.setattr(type(generator), "synthesize", lambda *_, **__: no_memory())
    assert not halve(generator)
    assert all(module.weight.dtype == torch.float32 for module in convolutions(generator))


def no_memory():
    raise torch.OutOfMemoryError("none")


def test_where_it_is_asked_for(monkeypatch):
    monkeypatch.delenv("SEFA_PRECISION", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert is_quick(CUDA) and not is_quick(torch.device("cpu"))
    monkeypatch.setenv("SEFA_PRECISION", "float32")
    assert not is_quick(CUDA)
    monkeypatch.setenv("SEFA_PRECISION", "half")
    with pytest.warns(UserWarning, match="'half' is neither float16 nor float32"):
        assert is_quick(CUDA)
    monkeypatch.delenv("SEFA_PRECISION")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert not is_quick(CUDA)


def test_a_loaded_model_is_asked(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(precision, "is_quick", lambda device: asked.append(device) or True)
    model = rendering.ModelCache().get(tiny_stylegan2(tmp_path / "m.safetensors"), "cpu")
    assert asked == [torch.device("cpu")]
    # Unit weights make images far beyond [-1, 1], which may or may not bear it: both ways are drawn.
    assert len({module.weight.dtype for module in convolutions(model.generator)}) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu_images_are_those_of_the_cpu():
    on_cpu = checkpoints.load("avatars")
    on_gpu = rendering.prepare(checkpoints.load("avatars"), "cuda")
    assert levels(images(on_gpu).cpu(), images(on_cpu)) <= LEVELS + 1


def test_sums_that_float16_has_no_room_for_are_float32():
    x = torch.full((1, 3, 2, 2), 300.0, dtype=torch.float16)  # 300 squared is beyond it
    assert inverse_rms(x).dtype == torch.float32
    assert inverse_rms(x).flatten()[0] == pytest.approx(1 / 300)
    moments = Moments(1, 3)
    moments.add(
        x.repeat(1, 1, 150, 150) * torch.tensor([1.0, -1.0]).half().repeat(150), slice(None)
    )
    mean, variance = moments.total()
    assert mean[0].tolist() == [0.0] * 3
    assert variance[0].tolist() == pytest.approx([90000.0] * 3, rel=1e-3)
    for module in (Conv3x3, UpConv3x3):
        weight = torch.randn(4, 5, 3, 3, generator=seeded(0)).half() * 100
        squares = module(weight).squares()
        assert squares.dtype == torch.float32 and squares.shape == (4, 5)
        assert max_error(squares, weight.float().square().sum(dim=(2, 3))) < 1e-1
