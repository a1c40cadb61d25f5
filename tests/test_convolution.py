"""The fewer multiplications give what the definition gives, in every shape, thread and process."""

import multiprocessing

import pytest
import torch
import torch.nn.functional as F

from sefa.generators import convolution
from sefa.generators.convolution import (
    Conv3x3,
    NearestUpConv3x3,
    UpConv3x3,
    finished,
    transform_kernels,
    winograd,
)
from sefa.generators.ops import activate_
from sefa.generators.parallel import for_each
from tests.helpers import max_error, seeded


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed))


def exact(x, weight, scale=None, padding=1) -> torch.Tensor:
    x = x if scale is None else x * scale[:, :, None, None]
    return F.conv2d(x.double(), weight.double(), padding=padding)


def test_a_single_pixel_is_the_kernel():
    # A one among zeros at (5, 6), so that it is seen by two tiles in each direction: the convolution
    # is the kernel, turned, around it. Small whole numbers are exact in float32 but for sixths.
    weight = torch.arange(9.0).reshape(1, 1, 3, 3)
    x = torch.zeros(1, 1, 12, 12)
    x[0, 0, 4, 7] = 1.0
    found = winograd(x, transform_kernels(weight), None, 1, None)
    expected = torch.zeros(12, 12)
    expected[3:6, 6:9] = weight[0, 0].flip(0, 1)
    torch.testing.assert_close(found[0, 0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (16, 16), (13, 22), (1, 3), (32, 20)])
@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("channels", [(1, 1), (3, 5), (40, 24)])
def test_it_is_the_convolution(threads, size, padding, channels):
    inside, out = channels
    x, weight = draw(3, inside, *size), draw(out, inside, 3, 3, seed=1) / (9 * inside) ** 0.5
    scale = draw(3, inside, seed=2)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = x.to(memory_format=layout)
        before = x.clone()
        found = winograd(x, transform_kernels(weight), scale, padding, None)
        expected = exact(x, weight, scale, padding)
        assert found.shape == expected.shape
        assert max_error(found.double(), expected) < 1e-4
        assert torch.equal(x, before)


def test_few_tiles_of_many_samples_and_many_tiles_of_one(threads):
    # Both ways of cutting the work: 3 samples of 4 tiles at once, and rows of tiles one after another.
    weight = draw(16, 16, 3, 3) / 12
    for shape in ((7, 16, 8, 8), (1, 16, 64, 40)):
        x = draw(*shape, seed=1)
        found = winograd(x, transform_kernels(weight), None, 1, None)
        assert max_error(found.double(), exact(x, weight)) < 1e-4


@pytest.mark.parametrize("size", [(13, 22), (16, 16)])
def test_what_follows_is_done_once_for_every_pixel(threads, monkeypatch, size):
    monkeypatch.setattr(convolution, "PART_BYTES", 4096)  # several parts
    x, weight = draw(3, 8, *size), draw(6, 8, 3, 3, seed=1) / 8
    factor, shift, noise = draw(3, 6, seed=2), draw(6, seed=3), draw(*size, seed=4)

    def finish(part, samples, rows):
        return activate_(part, factor[samples], shift, noise[rows], clamp=1.5)

    expected = exact(x, weight) * factor[:, :, None, None] + shift[:, None, None] + noise
    expected = F.leaky_relu(expected, 0.2).clamp(-1.5, 1.5)
    quick = winograd(x, transform_kernels(weight), None, 1, finish)
    assert max_error(quick.double(), expected) < 1e-4
    plain = finished(F.conv2d(x, weight, padding=1), finish)
    assert max_error(plain.double(), expected) < 1e-5
    x.requires_grad_()
    wanted = finished(F.conv2d(x, weight, padding=1), finish)
    assert max_error(wanted.double(), expected) < 1e-5
    wanted.sum().backward()
    assert x.grad.any()


@pytest.fixture
def taken(monkeypatch):
    """How often the fewer multiplications were taken."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return winograd(*arguments)

    monkeypatch.setattr(convolution, "winograd", counted)
    return calls


def test_which_layers_take_it(taken):
    wide, narrow = (Conv3x3(draw(c, c, 3, 3) / 40) for c in (128, 127))
    scale = torch.ones(1, 128)
    x = draw(1, 128, 32, 32, seed=1)
    with torch.inference_mode():  # what it prepares serves others
        first = wide(x)
    assert len(taken) == 1 and max_error(first.double(), exact(x, wide.weight)) < 1e-4
    assert torch.equal(wide(x), first) and len(taken) == 2
    wide(draw(4, 128, 16, 16))  # as many tiles in four samples
    assert len(taken) == 3

    wide(draw(1, 128, 16, 16))  # too few tiles
    narrow(draw(1, 127, 32, 32))  # too few channels
    wide(x, scale.requires_grad_()).sum().backward()  # gradients
    assert scale.grad.any() and wide.transformed.requires_grad is False
    twin = Conv3x3(wide.weight.clone()).double()
    assert max_error(twin(x.double()), exact(x, wide.weight)) < 1e-9
    assert len(taken) == 3
    assert "transformed" not in wide.state_dict()  # made anew wherever it is wanted


def test_upsampling_convolutions(threads):
    x, weight = draw(2, 5, 7, 7), draw(4, 5, 3, 3, seed=1)
    near = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, padding=1)
    assert max_error(NearestUpConv3x3(weight)(x), near) < 1e-5
    # StyleGAN2's: zeros between the pixels, the kernel turned, then the filter of gain 4.
    spread = torch.zeros(2, 5, 13, 13)
    spread[:, :, ::2, ::2] = x
    full = F.conv2d(spread, weight.flip(2, 3), padding=2)  # 15 pixels
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    kernel = torch.outer(taps, taps).expand(4, 1, 4, 4)
    filtered = F.conv2d(F.pad(full, (1, 1, 1, 1)), kernel, groups=4)
    up = UpConv3x3(weight)
    assert max_error(up(x), filtered) < 1e-5
    assert up.squares().shape == (4, 5)
    torch.testing.assert_close(up.squares(), weight.square().sum(dim=(2, 3)))


def test_work_is_done_once_and_problems_come_through(threads):
    done = []
    for_each(done.append, range(100))
    assert sorted(done) == list(range(100))
    with torch.inference_mode():
        inside = []
        for_each(lambda _: inside.append(torch.is_inference_mode_enabled()), range(4))
    assert inside == [True] * 4

    def fail(item):
        raise ZeroDivisionError(f"item {item}")

    with pytest.raises(ZeroDivisionError, match="item"):
        for_each(fail, range(4))
    for_each(done.append, range(2))  # and it goes on
    assert len(done) == 102


def in_child(connection) -> None:
    done = []
    for_each(done.append, range(4))
    connection.send(sorted(done))


def test_a_forked_process_has_workers_of_its_own():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    for_each(id, range(4))  # the parent's are there
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=in_child, args=(theirs,))
    child.start()
    try:
        assert ours.poll(30) and ours.recv() == [0, 1, 2, 3]
    finally:
        child.kill()
        child.join()
        torch.set_num_threads(before)
