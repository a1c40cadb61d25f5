"""Recipe -> pixels: known values, independence of the batch, loaded models shared by threads."""

import gc
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

import sefa
from sefa import (
    CheckpointError,
    Edit,
    Recipe,
    UserError,
    calibration,
    factorize,
    generators,
    memory,
    rendering,
)
from sefa.editing import Mix
from sefa.memory import weight_bytes
from sefa.rendering import LoadedModel, ModelCache, default_device, render, take_rows, to_uint8
from tests.helpers import (
    TinyConditional,
    is_one_sentence,
    tiny_conditional,
    tiny_state_dict,
    tiny_stylegan2,
)


@pytest.fixture(scope="module")
def model():
    return LoadedModel(generators.build(tiny_state_dict(), {"family": "stylegan2"}))


@pytest.fixture(scope="module")
def conditional():
    state = tiny_state_dict(label_dim=3)
    return LoadedModel(generators.build(state, {"family": "stylegan2"}))


def levels_apart(a, b):
    """The largest difference of two uint8 images in grey levels."""
    return np.abs(a.astype(int) - b.astype(int)).max()


# ---------------------------------------------------------------------------------------- pixels


def test_to_uint8_is_floor_of_127_5_x_plus_128():
    x = torch.tensor([-2.0, -1.01, -1.0, -0.999, 0.0, 1 / 255, 0.5, 0.99, 0.996, 1.0, 2.0, 1e30])
    expected = [0, 0, 0, 0, 128, 128, 191, 254, 254, 255, 255, 255]
    assert to_uint8(x.view(1, 1, 1, -1)).flatten().tolist() == expected
    # the middle of every grey level, v = floor(127.5 x + 128) at 127.5 x + 128 = v + 1/2
    levels = torch.arange(256)
    x = (levels.double() + 0.5 - 128) / 127.5
    assert torch.equal(to_uint8(x.view(1, 1, 16, 16)).flatten(), levels.to(torch.uint8))


def test_to_uint8_puts_channels_last():
    images = torch.zeros(2, 3, 4, 5)
    images[1, 2, 3, 4] = 1.0
    pixels = to_uint8(images)
    assert pixels.shape == (2, 4, 5, 3) and pixels.dtype == torch.uint8
    assert pixels[1, 3, 4, 2] == 255 and pixels.sum() == 128 * 119 + 255


def test_images_are_uint8_numpy(model):
    images = model.images(Recipe(num_samples=3))
    assert images.shape == (3, 16, 16, 3) and images.dtype == np.uint8
    assert isinstance(images, np.ndarray) and images.std() > 1


def test_grey_images_keep_their_one_channel():
    state = tiny_state_dict(num_channels=1)
    generator = generators.build(state, {"family": "stylegan2"})
    assert LoadedModel(generator).images(Recipe(num_samples=2)).shape == (2, 16, 16, 1)


# ------------------------------------------------------------------------------- seeds and batches


def test_a_seed_is_numpys_randomstate(model):
    z = model.generator.sample_z([0, 7, 2**32 - 1])
    for row, seed in zip(z, [0, 7, 2**32 - 1]):
        expected = np.random.RandomState(seed).randn(8).astype(np.float32)
        assert np.array_equal(row.numpy(), expected)
    # pinned, since links name seeds: the first normal number of seed 0
    assert abs(z[0, 0].item() - 1.764052345967664) < 1e-6


def test_sample_i_is_seed_plus_i(model):
    images = model.images(Recipe(seed=5, num_samples=4))
    for i in range(4):
        alone = model.images(Recipe(seed=5 + i, num_samples=1))
        assert levels_apart(images[i], alone[0]) <= 1


def test_an_image_does_not_depend_on_its_batch(model):
    w = model.ws(Recipe(num_samples=7))
    whole = render(model.generator, w)
    for batch_size in (1, 2, 3, 7, 100):
        assert levels_apart(whole, render(model.generator, w, batch_size)) <= 1


def test_batches_are_bounded_by_the_resolution_and_reported(model, monkeypatch):
    sizes, calls = [], []
    synthesize = model.generator.synthesize
    monkeypatch.setattr(rendering, "PIXELS_PER_BATCH", 3 * 16 * 16 + 1)
    monkeypatch.setattr(
        model.generator, "synthesize", lambda w: (sizes.append(len(w)), synthesize(w))[1]
    )
    render(model.generator, model.ws(Recipe(num_samples=7)), progress=lambda *a: calls.append(a))
    assert sizes == [3, 3, 1]
    assert calls == [(3, 7), (6, 7), (7, 7)]
    monkeypatch.setattr(rendering, "PIXELS_PER_BATCH", 1)  # a huge resolution: one at a time
    sizes.clear()
    render(model.generator, model.ws(Recipe(num_samples=2)))
    assert sizes == [1, 1]


def test_one_recipe_gives_the_same_images_every_time(model):
    recipe = Recipe(seed=3, edits=(Edit.along("all", 0, 5.0),))
    assert np.array_equal(model.images(recipe), model.images(recipe))


# ----------------------------------------------------------------------------- truncation and class


def test_psi_0_gives_the_mean_for_every_seed(model):
    images = model.images(Recipe(num_samples=5, truncation_psi=0.0))
    assert levels_apart(images, images[:1]) <= 1
    mean = model.generator.w_avg.expand(1, 6, -1)
    assert levels_apart(images[:1], render(model.generator, mean)) <= 1


def test_psi_and_cutoff_come_from_the_recipe(model):
    recipe = Recipe(num_samples=2, truncation_psi=0.3, truncation_cutoff=2)
    w = model.generator.map(model.generator.sample_z([0, 1]), None, 0.3, 2)
    assert torch.equal(model.ws(recipe), w)
    assert not torch.equal(model.ws(recipe)[:, 0], model.ws(recipe)[:, 2])


def test_the_class_comes_from_the_recipe(conditional):
    generator = conditional.generator
    w = generator.map(generator.sample_z([4]), torch.tensor([[0.0, 0.0, 1.0]]))
    recipe = Recipe(seed=4, num_samples=1, truncation_psi=1.0, class_index=2)
    assert torch.equal(conditional.ws(recipe), w)
    others = [conditional.ws(Recipe(seed=4, num_samples=1, class_index=c)) for c in (0, 1, 2)]
    assert not torch.equal(others[0], others[1]) and not torch.equal(others[1], others[2])


def test_a_class_means_nothing_to_a_model_without_classes(model):
    assert torch.equal(model.ws(Recipe(class_index=5)), model.ws(Recipe()))


def test_a_conditional_model_needs_its_label(conditional):
    generator = conditional.generator
    for label in (None, torch.zeros(1, 3), torch.zeros(2, 4)):
        with pytest.raises(UserError, match=r"needs labels of shape \[2, 3\]"):
            generator.map(generator.sample_z([0, 1]), label)


# ----------------------------------------------------------------- images that take more than w


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setitem(generators.FAMILIES, "tiny", TinyConditional)
    return LoadedModel(sefa.load_generator(tiny_conditional(tmp_path / "tiny.safetensors")))


def test_what_the_images_depend_on_beside_w_comes_with_it(tiny):
    generator = tiny.generator
    recipe = Recipe(num_samples=2, truncation_psi=0.4, class_index=3)
    w, conditions = tiny.inputs(recipe)
    label = torch.tensor([[0.0, 0.0, 0.0, 1.0]] * 2)
    assert torch.equal(conditions["label"], label) and conditions["truncation_psi"] == 0.4
    assert torch.equal(w, tiny.ws(recipe))
    assert torch.equal(w, generator.map(generator.sample_z([0, 1]), label, 0.4))
    expected = to_uint8(generator.synthesize(w, label=label, truncation_psi=0.4)).numpy()
    assert np.array_equal(tiny.images(recipe), expected)
    assert expected.shape == (2, 28, 28, 1)
    assert levels_apart(expected, tiny.images(Recipe(num_samples=2, truncation_psi=0.4))) > 50


def test_conditions_are_split_with_the_batches(tiny):
    generator = tiny.generator
    w = generator.sample_z(range(5))[:, None]
    label = torch.eye(4)[[0, 1, 2, 3, 0]]
    conditions = generator.conditions(label, 0.7)
    alone = [
        to_uint8(generator.synthesize(w[i : i + 1], label[i : i + 1], 0.7)).numpy()
        for i in range(5)
    ]
    for batch_size in (1, 2, 5, None):
        images = render(generator, w, batch_size, conditions=conditions)
        assert levels_apart(images, np.concatenate(alone)) <= 1


def test_rows_of_conditions_and_nothing_else_are_taken():
    conditions = {"label": torch.eye(3), "truncation_psi": 0.5, "names": ["a", "b"]}
    taken = take_rows(conditions, [2, 2])
    assert taken["label"].tolist() == [[0, 0, 1]] * 2
    assert (taken["truncation_psi"], taken["names"]) == (0.5, ["a", "b"])
    assert take_rows({}, [0]) == {}


# ----------------------------------------------------------------------------------------- edits


def test_edits_are_sefa_edit_by_hand(model):
    recipe = Recipe(
        num_samples=3,
        truncation_psi=0.5,
        edits=(Edit.along("0-1", 0, 2.5), Edit.along("all", 3, -1.0), Edit.along("5", 2, 0.5)),
    )
    unedited = model.ws(recipe, edited=False)
    assert torch.equal(
        unedited, model.generator.map(model.generator.sample_z([0, 1, 2]), None, 0.5)
    )
    w = unedited
    for layers, index, alpha in [("0-1", 0, 2.5), ("all", 3, -1.0), ("5", 2, 0.5)]:
        directions = factorize(model.generator, layers)
        w = sefa.edit(w, directions.vectors[index], alpha, directions.layers)
    assert torch.equal(model.ws(recipe), w)
    assert levels_apart(model.images(recipe), model.images(recipe, edited=False)) > 5
    assert np.array_equal(model.images(recipe, edited=False), render(model.generator, unedited))


def test_a_combination_is_the_sum_of_its_terms(model):
    # alpha (0.6 n3 - 0.8 n7) = (0.6 alpha) n3 + (-0.8 alpha) n7
    combined = Recipe(edits=(Edit("1-3", ((3, 0.6), (7, -0.8)), 2.0),))
    separate = Recipe(edits=(Edit.along("1-3", 3, 1.2), Edit.along("1-3", 7, -1.6)))
    torch.testing.assert_close(model.ws(combined), model.ws(separate), rtol=0, atol=1e-5)
    assert (model.ws(combined) - model.ws(combined, edited=False)).abs().max() > 0.1


# ------------------------------------------------------------------------- another sample, and noise


def test_a_mix_has_the_w_of_another_sample_at_its_layers(model):
    recipe = Recipe(seed=1, num_samples=3, truncation_psi=0.5, truncation_cutoff=4)
    other = model.ws(replace(recipe, seed=9, num_samples=1))
    w, mixed = model.ws(recipe), model.ws(replace(recipe, mix=Mix(9, "0,3-4")))
    assert mixed.shape == w.shape == (3, 6, 12)
    torch.testing.assert_close(mixed[:, [0, 3, 4]], other[:, [0, 3, 4]].expand(3, -1, -1))
    torch.testing.assert_close(mixed[:, [1, 2, 5]], w[:, [1, 2, 5]])
    assert (mixed - w).abs().max() > 0.1


def test_a_sample_mixed_with_itself_is_itself(model):
    recipe = Recipe(seed=4, num_samples=1, edits=(Edit.along("0-2", 0, 2.0),))
    for layers in ("all", "0-1", "5"):
        images = model.images(replace(recipe, mix=Mix(4, layers)))
        assert levels_apart(images, model.images(recipe)) <= 1


def test_a_mix_of_all_layers_is_the_other_sample(model):
    other = model.images(Recipe(seed=9, num_samples=1))
    images = model.images(Recipe(seed=1, num_samples=3, mix=Mix(9, "all")))
    assert levels_apart(images, other) <= 1
    assert levels_apart(images, model.images(Recipe(seed=1, num_samples=3))) > 5


def test_edits_are_added_to_what_was_mixed(model):
    # The other way round the mix would undo them where they meet, at layers 1 and 2.
    recipe = Recipe(num_samples=2, mix=Mix(9, "1-2"), edits=(Edit.along("0-2", 0, 2.5),))
    mixed = model.ws(replace(recipe, edits=()))
    directions = factorize(model.generator, "0-2")
    assert torch.equal(
        model.ws(recipe), sefa.edit(mixed, directions.vectors[0], 2.5, directions.layers)
    )
    # It belongs to the samples that edits are compared with.
    assert torch.equal(model.ws(recipe, edited=False), mixed)
    assert torch.equal(model.ws(recipe.originals()), model.ws(replace(recipe, edits=())))


def test_the_other_sample_has_the_class_of_the_recipe(conditional):
    for index in range(3):
        recipe = Recipe(num_samples=2, class_index=index)
        other = conditional.ws(replace(recipe, seed=9, num_samples=1))
        mixed = conditional.ws(replace(recipe, mix=Mix(9, "2")))
        torch.testing.assert_close(mixed[:, 2], other[:, 2].expand(2, -1))


def test_a_mix_the_model_lacks_is_refused(model):
    with pytest.raises(UserError, match="no layer 6; layers are 0 to 5"):
        model.ws(Recipe(mix=Mix(0, "4-6")))


def test_the_noise_comes_from_the_recipe(model):
    recipe = Recipe(num_samples=3, noise_seed=5, edits=(Edit.along("all", 0, 1.0),))
    w, conditions = model.inputs(recipe)
    assert conditions == {"noise_seed": 5}
    assert torch.equal(w, model.ws(replace(recipe, noise_seed=None)))
    assert model.inputs(replace(recipe, noise_seed=None))[1] == {}
    expected = to_uint8(model.generator.synthesize(w, noise_seed=5)).numpy()
    assert levels_apart(model.images(recipe), expected) <= 1
    seeds = [None, 0, 5]
    images = [model.images(replace(recipe, noise_seed=seed)) for seed in seeds]
    assert all(levels_apart(images[i], images[i - 1]) > 5 for i in range(3))
    # and it does not depend on the batch, nor on which sample it is
    alone = replace(recipe, seed=2, num_samples=1)
    assert levels_apart(model.images(alone)[0], images[2][2]) <= 1


def test_a_model_without_noise_has_no_use_for_its_seed(tiny):
    recipe = Recipe(num_samples=2, noise_seed=5)
    assert set(tiny.inputs(recipe)[1]) == {"label", "truncation_psi"}
    assert np.array_equal(tiny.images(recipe), tiny.images(replace(recipe, noise_seed=None)))


@pytest.mark.parametrize(
    "change",
    [
        Edit.along("6", 0, 1.0),
        Edit.along("0-9", 0, 1.0),
        Edit.along("", 0, 1.0),
        Edit.along("all", 12, 1.0),
        Edit.along("all", -1, 1.0),
        Edit("all", ((0, 1.0), (99, 0.5)), 1.0),
    ],
)
def test_an_edit_the_model_lacks_is_refused(model, change):
    with pytest.raises(UserError) as error:
        model.ws(Recipe(edits=(change,)))
    assert is_one_sentence(str(error.value))
    assert "0 to 5" in str(error.value) or "0 to 11" in str(error.value)


def test_a_class_the_model_lacks_is_refused(conditional):
    with pytest.raises(UserError, match="no class 3; classes are 0 to 2"):
        conditional.ws(Recipe(class_index=3))


def test_directions_are_found_once_for_each_selection(model, monkeypatch):
    fresh = LoadedModel(model.generator)
    calls = []

    def counted(generator, layers):
        calls.append(layers)
        return factorize(generator, layers)

    monkeypatch.setattr(rendering, "factorize", counted)
    assert fresh.directions("0-2") is fresh.directions(" 2,0-1 ")
    assert fresh.directions("all") is fresh.directions("0-5")
    assert len(calls) == 2
    # Beyond MAX_DIRECTIONS the one not used for longest is dropped.
    monkeypatch.setattr(rendering, "MAX_DIRECTIONS", 2)
    kept = fresh.directions("0-2")
    fresh.directions("4")
    assert fresh.directions("0-2") is kept and len(calls) == 3
    fresh.directions("all")
    assert len(calls) == 4


def test_directions_found_while_rendering_are_ordinary_tensors(model):
    # Found under inference mode, they could take no part in anything that has a gradient.
    fresh = LoadedModel(model.generator)
    fresh.images(Recipe(edits=(Edit.along("2", 1, 1.0),)))
    directions = fresh.directions("2")
    assert not directions.vectors.is_inference()
    assert not directions.eigenvalues.is_inference()


# ----------------------------------------------------------------------------------- the cache


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [tiny_stylegan2(folder / f"{seed}.safetensors", 8, seed) for seed in range(3)]


def test_a_cached_model_is_the_same_object(paths):
    cache = ModelCache()
    assert cache.get(paths[0], "cpu") is cache.get(str(paths[0]), torch.device("cpu"))
    assert cache.get(paths[0], "cpu") is not cache.get(paths[1], "cpu")


def test_the_least_recently_used_model_goes(paths):
    one = ModelCache().get(paths[0], "cpu").bytes
    cache = ModelCache(max_bytes=2 * one)  # the three are of one size
    first, second = cache.get(paths[0], "cpu"), cache.get(paths[1], "cpu")
    assert cache.get(paths[0], "cpu") is first  # used again, so the second goes
    third = cache.get(paths[2], "cpu")
    assert cache.get(paths[0], "cpu") is first
    assert cache.get(paths[2], "cpu") is third
    assert cache.get(paths[1], "cpu") is not second
    assert second.images(Recipe(num_samples=1)).shape == (1, 8, 8, 3)  # who holds it keeps it


def test_weights_are_counted_in_bytes_and_shared_ones_once():
    shared = torch.nn.Linear(3, 5)  # 15 + 5 floats
    network = torch.nn.Sequential(shared, torch.nn.BatchNorm1d(5), shared)
    # The norm has 4 x 5 floats and one int64; the shared layer counts once.
    assert weight_bytes(network) == 4 * (20 + 20) + 8
    assert weight_bytes(network.half()) == 2 * (20 + 20) + 8


def test_a_model_larger_than_the_limit_is_kept_alone(paths):
    cache = ModelCache(max_bytes=1)
    first = cache.get(paths[0], "cpu")
    assert cache.get(paths[0], "cpu") is first
    second = cache.get(paths[1], "cpu")
    assert cache.get(paths[1], "cpu") is second and len(cache._models) == 1


def test_a_model_that_goes_while_it_draws_finishes_and_is_then_gone(paths):
    cache = ModelCache(max_bytes=1)
    loaded = cache.get(paths[0], "cpu")
    recipe = Recipe(num_samples=2)
    expected = loaded.images(recipe)

    def interrupt(module, arguments):
        cache.get(paths[1], "cpu")

    for module in loaded.generator.modules():
        module.register_forward_pre_hook(interrupt)
    images = loaded.images(recipe)
    assert [key[0] for key in cache._models] == [str(paths[1])]
    assert levels_apart(images, expected) <= 1
    gone = weakref.ref(loaded.generator)
    del loaded, module
    gc.collect()
    assert gone() is None  # nothing else keeps it


def test_loading_one_model_keeps_nobody_from_another(paths, monkeypatch):
    cache = ModelCache()
    other, loading, go_on = cache.get(paths[1], "cpu"), threading.Event(), threading.Event()

    def slow_load(path):
        loading.set()
        assert go_on.wait(10)
        return sefa.load_generator(path)

    monkeypatch.setattr(rendering, "load_generator", slow_load)
    thread = threading.Thread(target=cache.get, args=[paths[0], "cpu"])
    thread.start()
    assert loading.wait(10)
    assert cache.get(paths[1], "cpu") is other
    go_on.set()
    thread.join(10)
    assert len(cache._models) == 2


def test_a_forked_child_loads_what_its_parent_was_loading(paths):
    cache = ModelCache()
    cache._loading[str(paths[0]), "cpu"] = rendering.Future()  # by a thread that is not there
    cache.renew_lock()
    assert cache.get(paths[0], "cpu").generator.resolution == 8


def test_the_memory_of_a_container_counts_where_it_is_less(tmp_path, monkeypatch):
    monkeypatch.delenv("SEFA_MODEL_MEMORY", raising=False)
    machine = memory.machine_memory(())
    container, unlimited = tmp_path / "memory.max", tmp_path / "other"
    container.write_text("1000000\n")
    unlimited.write_text("max\n")
    assert memory.machine_memory((str(container), str(unlimited))) == 1_000_000 < machine
    assert memory.machine_memory((str(unlimited), str(tmp_path / "none"))) == machine
    cpu = torch.device("cpu")
    assert 0 < memory.weights_limit(cpu) <= machine / 2
    monkeypatch.setenv("SEFA_MODEL_MEMORY", " 1500 ")
    assert memory.weights_limit(cpu) == 1_500_000_000
    monkeypatch.setenv("SEFA_MODEL_MEMORY", "much")
    with pytest.warns(UserWarning, match="SEFA_MODEL_MEMORY='much' is no number of megabytes"):
        assert memory.weights_limit(cpu) <= machine / 2


def test_a_file_that_is_no_model_is_not_cached(tmp_path, paths):
    cache = ModelCache()
    path = tmp_path / "late.safetensors"
    with pytest.raises(CheckpointError, match="^late.safetensors: there is no such file"):
        cache.get(path, "cpu")
    path.write_bytes(paths[0].read_bytes())
    assert cache.get(path, "cpu").generator.resolution == 8


def test_eight_threads_load_a_model_once(paths, monkeypatch):
    loads = []

    def slow_load(path):
        loads.append(path)
        time.sleep(0.05)
        return sefa.load_generator(path)

    monkeypatch.setattr(rendering, "load_generator", slow_load)
    cache = ModelCache()
    recipe = Recipe(edits=(Edit.along("0-1", 0, 3.0),))
    found, barrier = [], threading.Barrier(8)

    def visit():
        barrier.wait()
        loaded = cache.get(paths[0], "cpu")
        found.append((loaded, loaded.images(recipe)))

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1 and len(found) == 8
    assert all(loaded is found[0][0] for loaded, _ in found)
    assert all(levels_apart(images, found[0][1]) <= 1 for _, images in found)


# ---------------------------------------------------------------------------------------- device


def device_for(monkeypatch, wanted):
    monkeypatch.setenv("SEFA_DEVICE", wanted)
    return default_device.__wrapped__()  # not the cached answer


@pytest.mark.parametrize("wanted", ["nonsense", "cuda:99", "cpu:x", "meta"])
def test_a_device_that_cannot_be_used_is_warned_about(monkeypatch, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match=f"SEFA_DEVICE='{wanted}' cannot be used") as warnings:
        assert device_for(monkeypatch, wanted) == torch.device("cpu")
    assert "\n" not in str(warnings[0].message)


def test_the_device_is_cuda_when_there_is_one(monkeypatch):
    for available, expected in [(True, "cuda"), (False, "cpu")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=available: found)
        assert device_for(monkeypatch, " ") == torch.device(expected)
        assert device_for(monkeypatch, "cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_every_device_of_this_machine_gives_the_images_of_the_cpu(device, tmp_path):
    path = tiny_stylegan2(tmp_path / "model.safetensors")
    recipe = Recipe(num_samples=3, edits=(Edit.along("0-2", 0, 3.0),))
    expected, images = (ModelCache().get(path, d).images(recipe) for d in ("cpu", device))
    assert levels_apart(expected, images) <= 2  # another order of sums, TF32 in the convolutions


# ----------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize("batch_pixels", [rendering.PIXELS_PER_BATCH, 3 * 16**2])
def test_directions_are_calibrated_on_seeds_of_their_own(conditional, batch_pixels, monkeypatch):
    monkeypatch.setattr(rendering, "MEASURED_PIXELS", 8 * 16**2)
    monkeypatch.setattr(rendering, "NATURAL_SEEDS", 50)
    monkeypatch.setattr(rendering, "PIXELS_PER_BATCH", batch_pixels)
    seen = []
    found = conditional.calibration("0-1", 2, lambda *at: seen.append(at))
    assert seen == [(1, 2), (2, 2)]

    generator, directions = conditional.generator, conditional.directions("0-1")
    seeds = range(rendering.MEASURED_FROM, rendering.MEASURED_FROM + 50)
    label = torch.eye(3).repeat(17, 1)[:50]  # the classes in turn
    vectors = directions.vectors[:2]
    with torch.inference_mode():
        natural = generator.map(generator.sample_z(seeds), label)
        w = generator.map(generator.sample_z(seeds[:8]), label[:8], 0.7)
        spread = calibration.natural_spread(natural, vectors, [0, 1])
        expected = calibration.calibrate(generator.synthesize, w, vectors, [0, 1], spread)
    for name in ("unit", "reach", "consistency"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), rtol=1e-4), name
    assert (found.unit < calibration.LARGEST).all()


def test_a_calibration_gives_the_conditions_of_the_samples_it_draws(monkeypatch, tmp_path):
    # Of the reach only the first samples are drawn, and their conditions with them.
    monkeypatch.setattr(rendering, "NATURAL_SEEDS", 20)
    monkeypatch.setattr(rendering, "MEASURED_PIXELS", 12 * 28**2)
    monkeypatch.setitem(generators.FAMILIES, "tiny", TinyConditional)
    generator = sefa.load_generator(tiny_conditional(tmp_path / "tiny.safetensors"))
    inner, rows = generator.synthesize, []

    def synthesize(w, label, truncation_psi):
        rows.append((len(w), len(label)))
        return inner(w, label, truncation_psi)

    monkeypatch.setattr(generator, "synthesize", synthesize)
    LoadedModel(generator).calibration("all", 1)
    assert {row[0] for row in rows} == {12, calibration.FEW}
    assert all(len(set(row)) == 1 for row in rows)


class ShortOfMemory:
    """Of a generator's `synthesize`: no memory for more than `most` samples at a time."""

    def __init__(self, monkeypatch, generator, most: int):
        self.sizes = []
        plain = generator.synthesize

        def synthesize(w, **conditions):
            self.sizes.append(len(w))
            if len(w) > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return plain(w, **conditions)

        monkeypatch.setattr(generator, "synthesize", synthesize)


def test_without_memory_for_a_batch_it_is_halved(monkeypatch, tmp_path):
    generator = sefa.load_generator(tiny_stylegan2(tmp_path / "a.safetensors", 16))
    w = generator.map(generator.sample_z(range(7)))
    expected = render(generator, w, batch_size=7)
    short = ShortOfMemory(monkeypatch, generator, most=2)
    assert np.abs(render(generator, w, batch_size=7).astype(int) - expected).max() <= 1
    assert short.sizes == [7, 3, 1, 2, 4, 2, 2]
    in_turns = LoadedModel(generator).in_turns(w, {})
    assert np.abs(rendering.to_uint8(in_turns).numpy().astype(int) - expected).max() <= 1


def test_without_memory_for_one_image_a_sentence_says_so(monkeypatch, tmp_path):
    generator = sefa.load_generator(tiny_stylegan2(tmp_path / "a.safetensors", 16))
    w = generator.map(generator.sample_z(range(3)))
    ShortOfMemory(monkeypatch, generator, most=0)
    with pytest.raises(UserError, match="memory") as error:
        render(generator, w)
    assert is_one_sentence(str(error.value))
