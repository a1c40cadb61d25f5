"""The demo model's training images, its training script and the weights it exports."""

import copy
import dataclasses
import json
import math
import re
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

import sefa
from demo_model import train, training
from demo_model.networks import Discriminator, FineBlock, Generator, smooth, upsample2
from demo_model.renderer import FACTORS
from tests.helpers import seeded

# --- networks and losses --------------------------------------------------------------------------


def test_upsample2_is_zero_insertion_and_the_binomial_filter():
    # The definition: zeros in between, pad (2, 1), outer([1, 3, 3, 1]) / 64 * 4.
    x = torch.randn(2, 3, 5, 5, generator=seeded(0))
    spread = torch.zeros(2, 3, 10, 10)
    spread[:, :, ::2, ::2] = x
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = (torch.outer(taps, taps) / 64 * 4).expand(3, 1, 4, 4)
    expected = F.conv2d(F.pad(spread, (2, 1, 2, 1)), kernel, groups=3)
    assert torch.allclose(upsample2(x), expected, atol=1e-6)


def test_smooth_keeps_the_mean_of_a_spread_image():
    # Gain 4: a constant image with three of four pixels zero comes back as that constant inside.
    x = torch.zeros(1, 1, 12, 12)
    x[:, :, ::2, ::2] = 0.7
    assert torch.allclose(smooth(x, (1, 1))[:, :, 2:-2, 2:-2], torch.tensor(0.7), atol=1e-6)


def test_losses_at_an_undecided_discriminator():
    # Logit 0 means probability 1/2: each term is log 2.
    zero = torch.zeros(4)
    assert training.d_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert training.g_loss(zero).item() == pytest.approx(math.log(2))


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
    # D(x) = <a, x> + b has the gradient a everywhere: the penalty is |a|^2.
    a = torch.randn(3, 8, 8, generator=seeded(0))
    penalty = training.r1_penalty(lambda x: (x * a).sum([1, 2, 3]) + 5, torch.zeros(6, 3, 8, 8))
    assert penalty.item() == pytest.approx(a.square().sum().item(), rel=1e-5)


def test_minibatch_statistics_do_not_mix_groups():
    d = Discriminator(8, 8, {4: 4, 8: 4})
    x = torch.randn(8, 4, 4, 4, generator=seeded(0))
    y = torch.cat([x[:4], torch.zeros(4, 4, 4, 4)])
    assert torch.equal(d.spread(x)[:4], d.spread(y)[:4])
    assert d.spread(y)[4:].abs().max() <= 1.01e-4  # equal images: only the epsilon is left


# --- training -------------------------------------------------------------------------------------

TINY = training.Config(
    images=32,
    grow_at=(16,),
    start_resolution=8,
    resolution=16,
    pool=16,
    batch={8: 8, 16: 8},
    r1_gamma={8: 1.0, 16: 1.0},
    z_dim=8,
    w_dim=8,
    mapping_layers=2,
    g_channels={4: 8, 8: 8, 16: 4},
    d_channels={4: 8, 8: 8, 16: 4},
    r1_interval=2,
    told=(0.0, 0.1),  # both networks learn from the first step on
)


@pytest.fixture(scope="module")
def pool():
    return train.render_part(16, 16, seed=0)


def steps(run, pool, n):
    return [run.step(pool) for _ in range(n)]


def assert_same(run, other):
    for name in ("g", "d", "ema"):
        theirs = getattr(other, name).state_dict()
        for key, value in getattr(run, name).state_dict().items():
            assert torch.allclose(value, theirs[key], atol=1e-5), f"{name}.{key}"


def assert_same_weights(network, other):
    for (name, value), theirs in zip(network.named_parameters(), other.parameters()):
        assert torch.allclose(value, theirs, atol=1e-6), name


def test_a_step_moves_both_networks_and_reports_finite_numbers(pool):
    run = training.Training(TINY)
    before = {n: [p.clone() for p in getattr(run, n).parameters()] for n in ("g", "d", "ema")}
    (numbers,) = steps(run, pool, 1)
    assert {"loss_d", "loss_g", "real_ok", "fake_ok", "r1"} == set(numbers)
    assert all(math.isfinite(value) for value in numbers.values())
    for name, old in before.items():
        now = getattr(run, name).parameters()
        assert any(not torch.equal(a, b) for a, b in zip(old, now)), name
    assert run.seen == TINY.batch[8]


def test_resuming_equals_not_stopping(pool, tmp_path):
    whole = training.Training(TINY)
    steps(whole, pool, 2)
    stopped = training.Training(TINY)
    steps(stopped, pool, 1)
    train.save(stopped, tmp_path)  # before growing
    resumed = train.resume(TINY, tmp_path)
    steps(resumed, pool, 1)
    for run in (whole, resumed):
        run.grow()
        steps(run, pool, 1)
    train.save(resumed, tmp_path)  # after growing
    resumed = train.resume(TINY, tmp_path)
    for run in (whole, resumed):
        steps(run, pool, 2)
    assert resumed.seen == whole.seen and resumed.resolution == 16
    assert_same(whole, resumed)


def test_a_warm_start_goes_on_from_exported_weights(pool, tmp_path):
    run = training.Training(TINY)
    steps(run, pool, 2)
    run.grow()
    steps(run, pool, 1)
    train.publish(run, tmp_path / "weights.safetensors")

    config = dataclasses.replace(TINY, images=400, told=training.Config.told)
    warm = train.resume(config, tmp_path, tmp_path / "weights.safetensors")
    assert (warm.seen, warm.resolution) == (24, 16)
    assert [part["images_seen"] for part in warm.history] == [0, 24]
    steps(warm, pool, 1)
    assert warm.d.block16.gain == 1
    for network in (warm.g, warm.ema):  # still the weights of the file: its critic is a novice
        assert_same_weights(network, run.ema)


def test_the_generator_learns_as_fast_as_its_discriminator_tells_right(pool):
    run = training.Training(dataclasses.replace(TINY, told=(0.5, 0.9), told_images=16, lr_decay=0))
    before = copy.deepcopy(run.g)
    rates = []
    for told in (0.4, 0.5, 0.6, 0.9, 1.0):
        run.told = told
        run._set_lr()
        rates.append(run.g_opt.param_groups[0]["lr"] / TINY.lr)
        assert run.d_opt.param_groups[0]["lr"] == pytest.approx(TINY.lr * run.lazy)
    assert rates == pytest.approx([0, 0, 0.25, 1, 1])

    run.told = 0.5
    run.step(pool)
    assert_same_weights(run.g, before)
    run.told = 0.6
    run.step(pool)
    assert not torch.equal(run.g.synthesis.const, before.synthesis.const)

    run.told = 0.5
    for _ in range(2):  # two batches of 8 are the half-life
        run._judge(torch.tensor(0.9))
    assert run.told == pytest.approx(0.7)


def test_the_learning_rate_is_constant_then_falls_to_zero():
    config = training.Config(images=100, lr=0.1, lr_decay=0.25)
    rates = [config.lr_at(images) for images in (0, 75, 80, 100, 200)]
    assert rates == pytest.approx([0.1, 0.1, 0.08, 0, 0])


def test_noise_veils_what_the_discriminator_sees_and_lifts(pool):
    run = training.Training(dataclasses.replace(TINY, noise=0.1, noise_images=16))
    gray = torch.zeros(8, 3, 64, 64)
    deviations = []
    for _ in range(3):
        deviations.append(run._veil(gray).std().item())
        steps(run, pool, 1)
    assert deviations == pytest.approx([0.1, 0.05, 0], rel=0.02)


def test_growing_keeps_the_images_and_the_logits(pool):
    run = training.Training(TINY)
    steps(run, pool, 3)
    z = torch.randn(4, TINY.z_dim, generator=seeded(0))
    large = training.to_float(pool[:4], 16)
    small = F.avg_pool2d(large, 2)
    with torch.no_grad():
        images, averages, logits = run.g(z), run.ema(z), run.d(small)
        run.grow()
        assert torch.allclose(run.g(z), upsample2(images), atol=1e-5)
        assert torch.allclose(run.ema(z), upsample2(averages), atol=1e-5)
        assert torch.allclose(run.d(large), logits, atol=1e-5)


def test_the_resolution_doubles_at_each_threshold():
    config = training.Config(start_resolution=16, resolution=64, grow_at=(10, 20, 30))
    assert [config.resolution_at(n) for n in (0, 9, 10, 20, 30)] == [16, 16, 32, 64, 64]


def test_the_pool_does_not_depend_on_the_processes_that_draw_it():
    pools = [train.render_pool(600, 8, seed=3, workers=n) for n in (1, 2)]
    assert pools[0].shape == (600, 3, 8, 8) and torch.equal(*pools)


def test_a_fine_block_halves_and_sees_every_pixel():
    block = FineBlock(3, 5)
    image = torch.randn(1, 3, 8, 8, generator=seeded(0)).requires_grad_(True)
    out = block(image)
    assert out.shape == (1, 5, 4, 4)
    out.sum().backward()
    assert (image.grad != 0).all()


def test_a_batch_that_workers_cannot_share_is_refused():
    with pytest.raises(ValueError, match="multiple of 12"):
        training.Training(TINY, workers=3)


def test_an_added_block_fades_in(pool):
    run = training.Training(dataclasses.replace(TINY, fade=32))
    steps(run, pool, 1)
    run.grow()
    gains = []
    for _ in range(6):
        steps(run, pool, 1)
        gains.append((run.d.block16.gain, run.d.block8.gain))
    assert gains == [(g, 1.0) for g in (0, 0.25, 0.5, 0.75, 1, 1)]


def test_two_workers_do_what_one_does(pool, monkeypatch):
    barrier, messages = threading.Barrier(2), {}

    def all_reduce(tensor):
        messages[threading.get_ident()] = tensor.clone()
        barrier.wait()
        tensor.copy_(sum(messages.values()))
        barrier.wait()
        messages.clear()
        barrier.wait()

    monkeypatch.setattr(training.dist, "all_reduce", all_reduce)
    alone = training.Training(TINY)
    workers = [training.Training(TINY, rank=i, workers=2) for i in range(2)]
    threads = [threading.Thread(target=steps, args=(w, pool, 2)) for w in workers]
    for thread in threads:
        thread.start()
    steps(alone, pool, 2)
    for thread in threads:
        thread.join()
    for worker in workers:
        assert_same(alone, worker)


def test_training_writes_its_files_and_grows(pool, tmp_path):
    weights = tmp_path / "weights.safetensors"
    run = training.Training(TINY)
    train.train(run, pool, tmp_path, weights)
    assert run.seen == 32 and run.resolution == 16
    assert {p.name for p in tmp_path.iterdir()} == {"state.pt", "weights.safetensors"}
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
        names = set(file.keys())
    assert json.loads(metadata["sefa"])["family"] == "stylegan2"
    facts = json.loads(metadata["training"])
    assert facts["images_seen"] == 32 and facts["grown"] == {"16": 16}
    assert facts["history"][0]["settings"]["batch"] == {"8": 8, "16": 8}
    assert {"w_avg", "synthesis.const", "synthesis.conv4.noise_const"} <= names


def test_options_have_the_defaults_of_the_configuration(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(train, "publish", lambda run, path: seen.append((run.config, path)))
    train.main(["--state", str(tmp_path), "--export"])
    assert seen == [(training.Config(), train.WEIGHTS)]
    train.main(["--state", str(tmp_path), "--export", "--lr", "0.1", "--grow-at", "7", "9"])
    assert seen[1][0] == dataclasses.replace(training.Config(), lr=0.1, grow_at=(7, 9))


def test_image_grid_places_images_row_by_row():
    images = torch.stack([torch.full([3, 2, 2], v) for v in (-1.0, 0.0, 1.0, 3.0)])
    grid = np.asarray(train.image_grid(images, 2, scale=2))
    assert grid.shape == (8, 8, 3)
    assert [grid[r, c, 0] for r in (0, 4) for c in (0, 4)] == [0, 128, 255, 255]


def test_the_model_card_is_true_to_the_code():
    folder = train.WEIGHTS.parent
    card = (folder / "README.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", card, re.MULTILINE)
    assert listed == list(FACTORS)
    config = training.Config()
    numbers = (config.pool, *config.grow_at, config.z_dim, config.mapping_layers)
    for number in numbers:
        assert re.search(rf"\b{number:,}\b", card), number
    assert ", ".join(map(str, config.g_channels.values())) in card
    assert f"{train.WEIGHTS.stat().st_size / 1e6:.1f} MB" in card
    for picture in re.findall(r"!\[.*\]\((.*)\)", card):
        assert 0 < (folder / picture).stat().st_size < 400_000


# --- the exported file ----------------------------------------------------------------------------


def randomised(generator):
    """The generator with no parameter left at its trivial start."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in generator.state_dict().items():
            if name.endswith(("bias", "w_avg")):
                value.add_(torch.randn_like(value) * 0.3)
    return generator


@pytest.mark.parametrize("resolution", [8, 32])
def test_the_exported_file_gives_the_same_images_in_the_space(tmp_path, resolution):
    channels = {4: 12, 8: 10, 16: 8, 32: 6}
    ema = randomised(Generator(resolution, channels, 16, 20, 3, 0.01))
    train.export(ema, tmp_path / "model.safetensors")
    loaded = sefa.load_generator(str(tmp_path / "model.safetensors"))
    assert (loaded.family, loaded.resolution) == ("stylegan2", resolution)
    assert (loaded.z_dim, loaded.w_dim, loaded.num_ws) == (16, 20, ema.num_ws)
    z = torch.randn(3, 16, generator=seeded(0))
    with torch.no_grad():
        w = loaded.map(z)
        assert torch.allclose(w[:, 0], ema.map(z), atol=1e-5)
        assert torch.allclose(loaded.synthesize(w), ema(z), atol=1e-4)
        truncated = loaded.map(z, truncation_psi=0.5)
        assert torch.allclose(truncated[:, 0], ema.w_avg.lerp(ema.map(z), 0.5), atol=1e-5)


def test_the_shipped_weights_load_and_draw_faces_of_many_colours():
    loaded = sefa.load_generator(str(train.WEIGHTS))
    assert train.WEIGHTS.stat().st_size < 10e6
    z = torch.from_numpy(np.random.RandomState(0).randn(16, loaded.z_dim)).float()
    with torch.no_grad():
        images = loaded.synthesize(loaded.map(z))
    assert images.shape[1:] == (3, loaded.resolution, loaded.resolution)
    assert images.isfinite().all()
    # Light and dark, and hardly a number outside what can be shown (edges overshoot a little).
    assert images.min() < -0.5 and images.max() > 0.3
    assert (images.abs() > 1).float().mean() < 0.02
    assert images.std(0).mean() > 0.1  # sixteen different images
