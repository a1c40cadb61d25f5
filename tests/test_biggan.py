"""BigGAN-deep against the numbers of a reference implementation, and against closed forms."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import sefa
from sefa import CheckpointError, UserError, factorize, formats, generators
from sefa.formats import hf_biggan, native
from sefa.formats.checkpoint import Checkpoint, Found
from sefa.generators import biggan
from sefa.generators.biggan import BigGAN, statistics
from sefa.generators.imagenet import CLASS_NAMES
from tests.helpers import genforce_state_dict, is_one_sentence, max_error, tiny_state_dict

GOLDEN = Path(__file__).parent / "golden" / "hf_biggan"
CASES = {
    # resolution, z_dim, label_dim, num_ws, block after the attention
    "attention16": (16, 5, 4, 6, "2"),
    "config32": (32, 5, 7, 5, "3"),
}
SIZES = {"attention16": [4, 4, 8, 8, 16, 16], "config32": [4, 8, 8, 16, 32]}


class Case:
    """A reference case: weights under HuggingFace's names, codes, labels, images for each psi."""

    def __init__(self, name):
        with np.load(GOLDEN / f"{name}.npz") as file:
            arrays = {key: torch.from_numpy(file[key]) for key in file.files}
        self.z, self.label = arrays["z"], arrays["label"]
        self.weights, self.images = {}, {}
        for key, array in arrays.items():
            if key.startswith("weights/"):
                self.weights[key.removeprefix("weights/")] = array
            elif key.startswith("image_psi"):
                self.images[float(key.removeprefix("image_psi"))] = array
        config = GOLDEN / f"{name}.json"
        self.config = config.read_text() if config.exists() else None

    def save(self, folder, save=torch.save):
        """The model as it is published: pytorch_model.bin, and config.json where there is one."""
        save(self.weights, folder / "pytorch_model.bin")
        if self.config is not None:
            (folder / "config.json").write_text(self.config)
        return folder / "pytorch_model.bin"


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    case = Case(request.param)
    case.facts, case.sizes = CASES[request.param], SIZES[request.param]
    case.path = case.save(tmp_path_factory.mktemp(request.param))
    case.generator = sefa.load_generator(case.path)
    return case


@pytest.fixture(scope="module")
def attention16():
    return Case("attention16")


def translate(weights):
    return formats.translate(Found(weights))


def build(weights, **config):
    checkpoint = translate(weights)
    return generators.build(checkpoint.state_dict, {**checkpoint.config, **config})


@torch.inference_mode()
def images_of(generator, z, label, psi=1.0):
    w = generator.map(z, label, psi)
    return generator.synthesize(w, **generator.conditions(label, psi))


# --------------------------------------------------------------------------- the reference cases


def test_the_facts_of_the_reference_cases(case):
    generator = case.generator
    assert (generator.family, generator.num_channels) == ("biggan", 3)
    assert case.facts == (
        generator.resolution, generator.z_dim, generator.label_dim, generator.num_ws,
        *generator.attention,
    )  # fmt: skip
    assert generator.w_dim == generator.z_dim
    assert generator.layer_names[:2] == ["gen_z", "block 0"]
    assert len(generator.layer_names) == generator.num_ws
    assert generator.layer_resolutions == case.sizes
    assert generator.has_truncation and not generator.has_cutoff
    assert generator.class_names is None  # they are known for 1000 classes only
    assert not generator.training and not list(generator.parameters())


def test_images_of_the_reference_cases(case):
    assert {1.0, 0.58} < set(case.images)
    for psi, expected in case.images.items():
        images = images_of(case.generator, case.z, case.label, psi)
        assert images.dtype == torch.float32
        assert max_error(images, expected) <= 1e-4, psi


def test_safetensors_and_half_precision(case, tmp_path):
    path = case.save(tmp_path, save_file)
    expected = case.images[1.0]
    assert max_error(images_of(sefa.load_generator(path), case.z, case.label), expected) <= 1e-4
    half = {name: tensor.half() for name, tensor in case.weights.items()}
    save_file(half, path)
    assert max_error(images_of(sefa.load_generator(path), case.z, case.label), expected) <= 2e-2


def test_our_own_layout_gives_the_same_images(case, tmp_path):
    checkpoint = formats.read(case.path)
    native.write(checkpoint, tmp_path / "model.safetensors")
    twin = sefa.load_generator(tmp_path / "model.safetensors")
    for psi in case.images:
        assert torch.equal(
            images_of(twin, case.z, case.label, psi),
            images_of(case.generator, case.z, case.label, psi),
        )
    assert formats.read(tmp_path / "model.safetensors").config == {
        "version": 1, **checkpoint.config
    }  # fmt: skip


def test_deliberate_bugs_miss_the_reference(attention16, monkeypatch):
    case = attention16

    def error(psi):
        return max_error(images_of(build(case.weights), case.z, case.label, psi), case.images[psi])

    assert error(0.7) < 1e-4 and error(0.58) < 1e-4
    with monkeypatch.context() as patch:  # the weights of two rows the right way round

        def interpolated(table, psi):
            row = min(int(psi * 50), 49)
            return table[row] + (psi * 50 - row) * (table[row + 1] - table[row])

        patch.setattr(biggan, "statistics", interpolated)
        assert error(1.0) < 1e-4  # exactly the last row
        assert error(0.435) > 1e-2  # three quarters of the way between two
        assert error(0.58) > 1e-2  # one step off, by the last bit
    with monkeypatch.context() as patch:  # the largest singular value instead of u W v

        def largest(name, weight, u, v):
            return weight / torch.linalg.matrix_norm(weight.flatten(1), 2)

        patch.setattr(hf_biggan, "spectral_norm", largest)
        assert error(1.0) > 1e-2


def test_the_statistics_are_those_of_the_given_psi(case):
    w = case.generator.map(case.z, case.label, 0.58)
    right = case.generator.synthesize(w, case.label, 0.58)
    assert max_error(right, case.images[0.58]) <= 1e-4
    assert max_error(case.generator.synthesize(w, case.label), right) > 1e-2


def test_config_json_tells_which_blocks_upsample(tmp_path):
    case = Case("config32")
    path = case.save(tmp_path)
    assert sefa.load_generator(path).resolution == 32
    (tmp_path / "config.json").unlink()
    assert sefa.load_generator(path).resolution == 16  # every second block, without it
    (tmp_path / "config.json").write_text('{"model_type": "something else"}')
    assert sefa.load_generator(path).resolution == 16


# --------------------------------------------------------------------------------- closed forms


def test_statistics_by_hand():
    table = torch.arange(51.0)[:, None]
    assert statistics(table, 1.0) == 50 and statistics(table, 0.0) == 0
    assert statistics(table, 0.5) == 25 and statistics(table, 0.7) == 35
    # Reversed weights: 0.495 is 24.75 steps, so row 24 counts 3/4 and row 25 only 1/4.
    torch.testing.assert_close(statistics(table, 0.495), torch.tensor([24.25]))
    # 0.58 / (1 / 50) is 28.999999999999996, so nearly all of row 28.
    torch.testing.assert_close(statistics(table, 0.58), torch.tensor([28.0]))
    torch.testing.assert_close(statistics(table, 0.14), torch.tensor([8.0]))  # a bit above 7
    assert statistics(table[:1], 0.3) == 0
    for rows in range(2, 60):  # whatever the division gives, it stays inside the table
        for psi in (1.0, 1.0 - 2**-53, 0.3):
            assert 0 <= statistics(table[:rows], psi) <= rows - 1


def test_psi_outside_0_to_1_uses_the_nearest_statistics(attention16):
    generator = build(attention16.weights)
    z, label = attention16.z, attention16.label
    assert torch.equal(generator.map(z, label, 1.5)[:, 3], 1.5 * z)
    w = generator.map(z, label, 1.5)
    assert torch.equal(generator.synthesize(w, label, 1.5), generator.synthesize(w, label, 1.0))
    assert torch.equal(generator.synthesize(w, label, -1.0), generator.synthesize(w, label, 0.0))
    cut = generator.map(z, label, 0.5, 2)
    assert torch.equal(cut, generator.map(z, label, 0.5))  # there is no cutoff


def test_the_spectral_norm_by_hand():
    weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    e0, e1 = torch.eye(2)
    assert torch.equal(hf_biggan.spectral_norm("w", weight, e0, e0), weight / 3)
    # Without v: W^T u = (1.8, 3.2), so u W v is its length.
    u = torch.tensor([0.6, 0.8])
    expected = weight / (1.8**2 + 3.2**2) ** 0.5
    torch.testing.assert_close(hf_biggan.spectral_norm("w", weight, u, None), expected)
    kernel = weight[:, :, None, None].expand(2, 2, 1, 1)
    assert torch.equal(hf_biggan.spectral_norm("w", kernel, e1, e1), kernel / 4)
    # torch before 1.1 stored the weight itself beside weight_orig, and it wins.
    stored = {"m.weight_orig": weight, "m.weight_u": u, "m.weight": 5 * weight, "m.bias": u}
    folded = hf_biggan.fold_spectral_norms(stored)
    assert folded.keys() == {"m.weight", "m.bias"} and torch.equal(folded["m.weight"], 5 * weight)


def test_z_is_a_truncated_normal_as_scipy_draws_it():
    generator = BigGAN.__new__(BigGAN)
    torch.nn.Module.__init__(generator)
    generator.z_dim = 3
    z = generator.sample_z([0, 2**32 - 1])
    # scipy.stats.truncnorm.rvs(-2, 2, size=(1, 128), random_state=RandomState(seed))
    expected = torch.tensor(
        [
            [0.11705679514761695, 0.5399904576877466, 0.2484002123241462],
            [-1.1955306828019254, 1.2460082511902115, 0.7583662420426373],
        ]
    )
    assert torch.equal(z, expected)
    generator.z_dim = 4000
    z = generator.sample_z([1])[0]
    assert z.abs().max() <= 2 and abs(z.std() - 0.8796) < 0.03  # the closed form of its deviation
    assert torch.equal(generator.sample_z([0, 1])[1], z)


# ------------------------------------------------------------------------- directions and edits


def test_the_matrices_are_what_meets_z(case):
    generator, z, label = case.generator, case.z, case.label
    d = generator.z_dim
    matrices = generator.layer_weights(range(generator.num_ws))
    assert matrices[0].shape == (generator.gen_z.weight.shape[0], d)
    n = torch.linspace(-1, 1, d)
    embedded = torch.nn.functional.linear(label, generator.embedding)

    def condition(code):
        return torch.cat([code, embedded], dim=1)

    moved = generator.gen_z(condition(z + n)) - generator.gen_z(condition(z))
    torch.testing.assert_close(moved[0], matrices[0] @ n, rtol=1e-4, atol=1e-4)
    for block, matrix in zip(generator.blocks, matrices[1:], strict=True):
        projections = [part for norm in block.norms for part in (norm.scale, norm.offset)]
        moved = [(part(condition(z + n)) - part(condition(z)))[0] for part in projections]
        torch.testing.assert_close(torch.cat(moved), matrix @ n, rtol=1e-4, atol=1e-4)
    directions = factorize(generator)
    assert directions.vectors.shape == (d, d)
    total = sum(len(matrix) for matrix in matrices)
    torch.testing.assert_close(directions.eigenvalues.sum().item(), float(total))


def test_every_index_can_be_edited_alone(case):
    generator, label = case.generator, case.label
    w = generator.map(case.z, label, 0.7)
    before = generator.synthesize(w, label, 0.7)
    changes = []
    for index in range(generator.num_ws):
        directions = factorize(generator, [index])
        edited = sefa.edit(w, directions.vectors[0], 3.0, [index])
        changes.append(max_error(generator.synthesize(edited, label, 0.7), before))
    assert min(changes) > 1e-3
    everywhere = sefa.edit(w, directions.vectors[0], 3.0, range(generator.num_ws))
    moved = generator.map(case.z + 3.0 / 0.7 * directions.vectors[0].float(), label, 0.7)
    torch.testing.assert_close(
        generator.synthesize(everywhere, label, 0.7), generator.synthesize(moved, label, 0.7),
        rtol=0, atol=1e-4,
    )  # fmt: skip


def test_classes_and_their_mixtures(case):
    generator, z = case.generator, case.z
    first, second = generator.one_hot(0, 2), generator.one_hot(1, 2)
    w = generator.map(z, first)
    images = [
        generator.synthesize(w, label=label)
        for label in (first, second, (first + second) / 2, generator.one_hot(0, 2).double())
    ]
    assert max_error(images[0], images[1]) > 1e-2
    assert max_error(images[0], images[2]) > 1e-2 and max_error(images[1], images[2]) > 1e-2
    assert torch.equal(images[0], images[3])
    assert torch.equal(generator.map(z), w)  # w does not depend on the class
    for call in [
        lambda: generator.synthesize(w),
        lambda: generator.synthesize(w, label=first[:1]),
        lambda: generator.synthesize(w, label=first[:, 1:]),
        lambda: generator.synthesize(w[:, :1], label=first),
        lambda: generator.map(z[:, 1:], first),
        lambda: generator.map(z[0]),
        lambda: generator.map(z[0, 0]),
        lambda: generator.map(z, first[:1]),
    ]:
        with pytest.raises(UserError) as error:
            call()
        assert is_one_sentence(str(error.value))


def test_images_do_not_depend_on_batch_precision_or_memory_format(case):
    generator, label = case.generator, case.label
    z = generator.sample_z([3, 4])
    images = images_of(generator, z, label, 0.7)
    one = images_of(generator, z[1:], label[1:], 0.7)
    assert max_error(one, images[1:]) < 1e-5
    doubles = images_of(generator, z.double(), label.double(), 0.7)
    assert doubles.dtype == torch.float32 and max_error(doubles, images) < 1e-5
    w = generator.map(z, label, 0.7).double()
    assert max_error(generator.synthesize(w, label, 0.7), images) < 1e-5
    twin = sefa.load_generator(case.path).to(memory_format=torch.channels_last)
    assert max_error(images_of(twin, z, label, 0.7), images) < 1e-5
    none = generator.synthesize(w[:0], label[:0])
    assert none.shape == (0, *images.shape[1:])


# --------------------------------------------------------------------------------- class names


def tiny_of_1000_classes(weights):
    embedding = torch.randn(weights["embeddings.weight"].shape[0], 1000)
    return build({**weights, "embeddings.weight": embedding})


def test_imagenet_names():
    assert len(CLASS_NAMES) == 1000
    assert len({name.lower() for name in CLASS_NAMES}) == 1000
    assert all(name.isprintable() and name == name.strip() for name in CLASS_NAMES)
    assert CLASS_NAMES[0] == "tench" and CLASS_NAMES[207] == "golden retriever"
    assert CLASS_NAMES[134] != CLASS_NAMES[517]  # both cranes
    assert CLASS_NAMES[281] == "tabby" and CLASS_NAMES[999] == "toilet tissue"


def test_a_class_by_index_or_name(attention16):
    generator = tiny_of_1000_classes(attention16.weights)
    assert generator.class_names is CLASS_NAMES
    for text, index in {
        "207": 207, " 0 ": 0, "golden retriever": 207, "Golden  Retriever": 207, "golden r": 207,
        "TENCH": 0, "toilet t": 999, "maillot": 638, "cardigan": 474, "crane (m": 517, 3: 3,
    }.items():  # fmt: skip
        assert generator.class_index(text) == index
    for text, parts in {
        "1000": ["no class 1000", "0 to 999"],
        "crane": ["several classes", "crane (bird) (134)", "crane (machine) (517)"],
        "golden retreiver": ["no class", "golden retriever (207)"],
        "retriever": ["no class", "retriever ("],
        "zzzzz": ["no class named 'zzzzz'", "choose"],
        "": ["no class"],
        "-1": ["no class named '-1'"],
        "a\nb. C" * 200: ["no class"],
        "9" * 5000: ["no class"],
    }.items():
        with pytest.raises(UserError) as error:
            generator.class_index(text)
        assert is_one_sentence(str(error.value)), error.value
        assert all(part in str(error.value) for part in parts), error.value


def test_classes_without_names_and_models_without_classes(attention16):
    generator = build(attention16.weights)
    assert generator.class_index("3") == 3
    plain = generators.build(tiny_state_dict(), {"family": "stylegan2"})
    for model, text in [(generator, "tench"), (generator, "4"), (plain, "0")]:
        with pytest.raises(UserError) as error:
            model.class_index(text)
        assert is_one_sentence(str(error.value))


# ------------------------------------------------------------------------------ what is refused


def assert_refused(weights, *parts, **config):
    with pytest.raises(CheckpointError) as error:
        build(weights, **config)
    assert is_one_sentence(str(error.value)), error.value
    for part in parts:
        assert part in str(error.value), error.value


def test_every_weight_must_be_there_and_fit(attention16):
    weights = attention16.weights
    # One block, the attention (position 2), and what is around them.
    names = [name for name in weights if re.search(r"layers\.[02]\.|^(?!.*layers)", name)]
    for i, name in enumerate(names):
        tensor = weights[name]
        rest = {key: value for key, value in weights.items() if key != name}
        if not name.endswith("weight_v") and hf_biggan.is_huggingface(Found(rest)):
            assert_refused(rest)
        wrong = [
            tensor[None], tensor.flatten()[0], tensor[:0], torch.cat([tensor[:1], tensor]),
            tensor.to(torch.int32), tensor.to(torch.complex64), torch.full_like(tensor, torch.nan),
        ]  # fmt: skip
        if name == "generator.conv_to_rgb.bias":
            continue  # its first three numbers are taken, however many there are
        for tensor in (wrong[i % 7], wrong[(i + 3) % 7]):
            assert_refused({**rest, name: tensor})


def test_other_weights_are_named(attention16):
    weights = attention16.weights
    assert_refused({**weights, "generator.extra.weight": torch.ones(2)}, "generator.extra.weight")
    stray = {**weights, "generator.layers.0.bn_4.scale.bias": torch.ones(2)}
    assert_refused(stray, "generator.layers.0.bn_4.scale.bias")
    twice = {**weights, "synthesis.gen_z.bias": torch.ones(2)}
    assert_refused(twice, "occurs twice")
    negative = {**weights, "generator.bn.running_vars": -weights["generator.bn.running_vars"]}
    assert_refused(negative, "synthesis.norm.running_var", "negative variance")
    scale = "synthesis.block0.norm0.scale.weight"
    state = dict(translate(weights).state_dict)
    state[scale] = state[scale][:2]
    with pytest.raises(CheckpointError, match=scale):
        generators.build(state, {"family": "biggan"})
    zero = {**weights, "generator.gen_z.weight_u": 0 * weights["generator.gen_z.weight_u"]}
    assert_refused(zero, "spectral norm of generator.gen_z.weight")


@pytest.mark.parametrize(
    "config",
    [
        {"upsample": [True, False]},
        {"upsample": [0, 1, 0, 1, 0]},
        {"upsample": 3},
        {"upsample": "odd"},
        {"eps": 0},
        {"eps": "small"},
        {"edit_range": float("nan")},
    ],
)
def test_configurations_that_make_no_sense(config, attention16):
    assert_refused(attention16.weights, **config)


def test_absurd_resolutions_are_refused():
    config = {"upsample": [True] * 10}
    with pytest.raises(CheckpointError, match="more than 2048"):
        biggan.read_upsample(config, 10)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[1]", "[" * 100_000, "\xff", json.dumps({"layers": 3}), "null",
        json.dumps({"layers": [[True, 16, 8]]}), json.dumps({"layers": [[1, 16, 8]] * 4}),
        json.dumps({"layers": [True] * 4}), json.dumps({"eps": "tiny"}), json.dumps({"eps": None}),
        '{"eps": NaN}', '{"eps": ' + "9" * 10_000 + "}", json.dumps({"x": " " * 1_000_001}),
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_a_wrong_config_json_is_refused(text, tmp_path):
    case = Case("config32")
    path = case.save(tmp_path)
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError) as error:
        sefa.load_generator(path)
    reason = str(error.value).removeprefix("pytorch_model.bin: ")
    assert is_one_sentence(reason) and ("config.json" in reason or "eps" in reason)


def test_a_folder_named_config_json_is_no_configuration(tmp_path):
    case = Case("config32")
    case.config = None
    path = case.save(tmp_path)
    (tmp_path / "config.json").mkdir()
    assert sefa.load_generator(path).resolution == 16


def test_biggan_pytorch_is_refused_by_name():
    one = torch.ones(1)
    generator = ["shared.weight", "linear.weight", "linear.u0", "blocks.0.0.conv1.weight"]
    generator += ["blocks.0.0.bn1.gain.weight", "output_layer.0.gain"]
    discriminator = ["linear.weight", "linear.u0", "blocks.0.0.conv1.weight", "embed.weight"]
    discriminator += ["blocks.0.0.conv1.u0"]
    for names in (generator, discriminator):
        assert_refused(dict.fromkeys(names, one), "ajbrock/BigGAN-PyTorch")


def test_other_layouts_are_not_taken_for_it(attention16):
    state = tiny_state_dict()
    native_state = translate(attention16.weights).state_dict
    for tensors in (state, genforce_state_dict(state), native_state, {}, {"a": torch.ones(())}):
        assert not hf_biggan.recognises(Found(tensors))
    checkpoint = Checkpoint(native_state, {"family": "biggan"})
    assert generators.build(checkpoint.state_dict, checkpoint.config).resolution == 16
