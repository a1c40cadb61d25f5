"""StyleGAN3 against the numbers of the reference implementation, and against closed forms."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import sefa
from sefa import CheckpointError, UserError, factorize, formats, generators
from sefa.formats import native, nvidia_stylegan3
from sefa.formats.checkpoint import Found
from sefa.generators.ops import downsample, upsample
from sefa.generators.stylegan3 import default_schedule
from tests.helpers import build, is_one_sentence, max_error, read_golden
from tests.nvidia_files import nvidia_module, nvidia_pickle

GOLDEN = Path(__file__).parent / "golden" / "nvidia_stylegan3"
CASES = ["t_conditional", "r_conditional", "r_settings", "t_settings"]
BARE = CASES[:2]  # readable without attributes

# psi and cutoff of each reference image
TRUNCATIONS = {
    "psi10": (1.0, None),
    "psi07": (0.7, None),
    "psi07_cut5": (0.7, 5),
    "psi07_cut8": (0.7, 8),
}


def load_case(name):
    """Found, as a reader of pickles gives it, and the expected arrays."""
    return read_golden(GOLDEN / f"{name}.npz")


@pytest.fixture(scope="module", params=CASES)
def case(request):
    found, expected = load_case(request.param)
    return build(found), expected


@pytest.fixture
def conditional():
    return load_case("t_conditional")


# -------------------------------------------------------------------------- reference numbers


def check_images(generator, expected):
    z, label = expected["z"], expected.get("label")
    for name in [key[6:] for key in expected if key.startswith("image_psi")]:
        w = generator.map(z, label, *TRUNCATIONS[name])
        if f"ws_{name}" in expected:
            assert max_error(w, expected[f"ws_{name}"]) <= 1e-4
        assert max_error(generator.synthesize(w), expected[f"image_{name}"]) <= 1e-4, name


def check_directions(generator, expected):
    for layers in [key[:-7] for key in expected if key.endswith("_layers")]:
        found = factorize(generator, expected[f"{layers}_layers"].tolist())
        eigenvalues = expected[f"{layers}_eigvals"]
        torch.testing.assert_close(found.eigenvalues, eigenvalues, rtol=1e-4, atol=1e-7)
        gaps = (eigenvalues[:-1] - eigenvalues[1:]) / eigenvalues[0]
        apart = torch.ones(len(eigenvalues), dtype=torch.bool)
        apart[1:] &= gaps > 1e-3
        apart[:-1] &= gaps > 1e-3
        dots = (found.vectors * expected[f"{layers}_dirs"].double()).sum(dim=1)
        assert apart[0] and (dots[apart] > 0.9999).all()


def check_edits(generator, expected, base):
    for layers in ("all", "sub"):
        directions = factorize(generator, expected[f"{layers}_layers"].tolist())
        w = generator.map(expected["z"], expected.get("label"), *TRUNCATIONS[base])
        w = sefa.edit(w, directions.vectors[0], 3.0, directions.layers)
        images = generator.synthesize(w)
        assert max_error(images, expected[f"image_edit_{layers}"]) <= 1e-3
        assert max_error(images, expected[f"image_{base}"]) > 0.1


def test_golden_images(case):
    generator, expected = case
    assert (
        max_error(generator.map(expected["z"], expected.get("label"))[:, 0], expected["w"]) < 1e-4
    )
    check_images(generator, expected)


def test_golden_directions_and_edits(case):
    check_directions(*case)
    check_edits(*case, base="psi07_cut5")


def test_the_facts_of_the_cases():
    facts = {
        # family, resolution, z, w, labels, num_ws, channels
        "t_conditional": ("stylegan3", 16, 12, 16, 4, 10, 3),
        "r_conditional": ("stylegan3", 32, 8, 13, 3, 13, 3),
        "r_settings": ("stylegan3", 32, 10, 14, 0, 12, 1),
        "t_settings": ("stylegan3", 16, 9, 11, 0, 7, 3),
    }
    for name, expected in facts.items():
        g = build(load_case(name)[0])
        assert expected == (
            g.family, g.resolution, g.z_dim, g.w_dim, g.label_dim, g.num_ws, g.num_channels,
        )  # fmt: skip
        assert len(g.layer_names) == g.num_ws
    assert build(load_case("t_conditional")[0]).layer_names == [
        "input", "L0_36_14", "L1_36_14", "L2_36_14", "L3_36_14", "L4_36_13", "L5_36_10",
        "L6_36_8", "L7_16_8", "L8_16_3 (toRGB)",
    ]  # fmt: skip


def test_the_resolution_of_a_layer_is_its_sampling_rate():
    # 36 and 52 pixels are 16 and 32 with a margin of 10 on each side; 20, 28 and 44 have one of 6.
    expected = {
        "r_conditional": [16] * 5 + [32] * 8,
        "r_settings": [8] * 2 + [16] * 3 + [32] * 7,
    }
    for name, rates in expected.items():
        assert build(load_case(name)[0]).layer_resolutions == rates


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", CASES)
def test_a_whole_pickle(name, protocol, tmp_path):
    found, expected = load_case(name)
    # In a pickle, sizes are arrays.
    attributes = {
        path: {key: np.array(v) if key.endswith("size") else v for key, v in own.items()}
        for path, own in found.attributes.items()
    }
    other = {name: torch.zeros_like(tensor) for name, tensor in found.tensors.items()}
    content = {
        "G": nvidia_module(other, attributes),
        "D": None,
        "G_ema": nvidia_module(found.tensors, attributes),
        "training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset"},
    }
    path = tmp_path / "network-snapshot.pkl"
    path.write_bytes(nvidia_pickle(content, protocol))
    generator = sefa.load_generator(path)
    check_images(generator, expected)
    check_directions(generator, expected)


@pytest.mark.parametrize("name", BARE)
def test_names_alone_give_the_same_configuration(name, tmp_path):
    found, expected = load_case(name)
    by_name = formats.translate(Found(found.tensors))
    assert by_name.config == formats.translate(found).config
    save_file(dict(found.tensors), tmp_path / "model.safetensors")
    check_images(sefa.load_generator(tmp_path / "model.safetensors"), expected)


# ------------------------------------------------------- what holds of any generator


def test_an_image_does_not_depend_on_its_batch(case):
    generator, expected = case
    w = generator.map(expected["z"], expected.get("label"))
    w[1] *= 3.0  # styles of another size: a norm over the batch would show
    together = generator.synthesize(w)
    for i in range(len(w)):
        alone = generator.synthesize(w[i : i + 1])
        assert max_error(alone, together[i : i + 1]) < 1e-5 * max(1.0, together.abs().max())


def test_other_precisions_and_memory_formats(case):
    generator, expected = case
    label = expected.get("label")
    w = generator.map(expected["z"].double(), None if label is None else label.double())
    images = generator.synthesize(w.double())
    assert images.dtype == torch.float32
    assert max_error(images, expected["image_psi10"]) <= 1e-4
    try:
        generator.to(memory_format=torch.channels_last)
        assert max_error(generator.synthesize(w), images) < 1e-4
    finally:
        generator.to(memory_format=torch.contiguous_format)


def test_filtering_in_pieces_changes_nothing(monkeypatch):
    generator = build(load_case("r_conditional")[0])
    layer = generator.layers[2]
    g = torch.Generator().manual_seed(0)
    few, many = (torch.randn(n, c, 36, 36, generator=g) for n, c in [(70, 16), (2, 1000)])
    expected = [layer.filtered_chunk(few), layer.filtered_chunk(many)]
    pieces, original = [], layer.filtered_chunk
    monkeypatch.setattr(
        layer, "filtered_chunk", lambda part: pieces.append(part.shape[:2]) or original(part)
    )
    assert max_error(layer.filtered(few), expected[0]) < 1e-5
    assert len(pieces) > 1 and sum(n for n, _ in pieces) == 70  # some samples at a time
    pieces.clear()
    assert max_error(layer.filtered(many), expected[1]) < 1e-5
    assert len(pieces) > 2 and sum(c for _, c in pieces) == 2000  # some channels of one


@pytest.mark.parametrize("name", CASES)
def test_round_trip_through_our_own_layout(name, tmp_path):
    found, expected = load_case(name)
    checkpoint = formats.translate(found)
    assert json.loads(json.dumps(checkpoint.config)) == checkpoint.config
    native.write(checkpoint, tmp_path / "model.safetensors")
    again = sefa.load_generator(tmp_path / "model.safetensors")
    w = again.map(expected["z"], expected.get("label"))
    assert torch.equal(again.synthesize(w), build(found).synthesize(w))


def test_codes_of_the_wrong_shape(conditional):
    generator = build(conditional[0])
    z = conditional[1]["z"]
    for call in [lambda: generator.map(z), lambda: generator.synthesize(torch.zeros(1, 9, 16))]:
        with pytest.raises(UserError) as error:
            call()
        assert is_one_sentence(str(error.value))


# ------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize(
    "count, factor, pad, cut",
    [
        (count, factor, pad, cut)
        for count, factor in [(12, 2), (24, 4), (5, 1), (7, 3), (1, 2), (1, 1), (6, 1)]
        for pad, cut in [(9, 8), (0, 0), (-5, -4), (-3, 6), (20, -7)]
        if 11 * factor + pad + cut >= count  # else nothing is left
    ],
)
def test_upsampling_is_zero_insertion_padding_and_a_filter(count, factor, pad, cut):
    g = torch.Generator().manual_seed(count)
    x, taps = torch.randn(2, 3, 11, 11, generator=g), torch.randn(count, generator=g)
    inserted = torch.zeros(2, 3, 11 * factor, 11 * factor)
    inserted[:, :, ::factor, ::factor] = x
    padded = F.pad(inserted, (pad, cut, pad, cut))
    size = padded.shape[2] - count + 1
    kernel = torch.outer(taps, taps).flip(0, 1) * factor**2  # a convolution, so flipped
    expected = F.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)
    torch.testing.assert_close(
        upsample(x, taps, factor, pad, size), expected, rtol=1e-5, atol=1e-4 * factor**2
    )
    if count == 1:
        identity = upsample(x, None, factor, pad, size)
        torch.testing.assert_close(identity * taps**2, expected, rtol=1e-5, atol=1e-5)


def test_downsampling_filters_and_keeps_every_other_pixel():
    g = torch.Generator().manual_seed(1)
    x, taps = torch.randn(2, 3, 21, 21, generator=g), torch.randn(6, generator=g)
    expected = F.conv2d(x, torch.outer(taps, taps).flip(0, 1).expand(3, 1, 6, 6), groups=3)
    torch.testing.assert_close(downsample(x, taps, 2), expected[:, :, ::2, ::2])
    plane = torch.randn(6, 6, generator=g)
    expected = F.conv2d(x, plane.flip(0, 1).expand(3, 1, 6, 6), groups=3)
    torch.testing.assert_close(downsample(x, plane, 3), expected[:, :, ::3, ::3])
    assert torch.equal(downsample(x, None, 4), x[:, :, ::4, ::4])


def test_the_input_is_a_sum_of_plane_waves(conditional):
    # Unturned and unmoved, pixel (row, column) of wave c is sin(2 pi (f . position + phase)).
    found, _ = conditional
    tensors = dict(found.tensors)
    tensors["synthesis.input.affine.weight"] = torch.zeros(4, 16)
    tensors["synthesis.input.affine.bias"] = torch.tensor([2.0, 0.0, 0.0, 0.0])  # any length
    tensors["synthesis.input.transform"] = torch.eye(3)
    features = build(Found(tensors, found.attributes)).input
    x = features(torch.randn(1, 16))[0]  # [C, 36, 36]
    freqs, phases = tensors["synthesis.input.freqs"], tensors["synthesis.input.phases"]
    row, column = 3, 20
    position = torch.tensor([column + 0.5 - 18, row + 0.5 - 18]) / 16
    waves = torch.sin(2 * math.pi * (freqs @ position + phases))
    expected = tensors["synthesis.input.weight"] @ waves / math.sqrt(len(waves))
    torch.testing.assert_close(x[:, row, column], expected, rtol=1e-4, atol=1e-4)


def test_a_quarter_turn_and_a_shift_of_the_input(conditional):
    # t = (0, 1, 0.25, 0): the coordinates move by -0.25 in x, then turn by 90 degrees.
    found, _ = conditional
    tensors = dict(found.tensors)
    tensors["synthesis.input.affine.weight"] = torch.zeros(4, 16)
    tensors["synthesis.input.affine.bias"] = torch.tensor([0.0, 1.0, 0.25, 0.0])
    tensors["synthesis.input.transform"] = torch.eye(3)
    features = build(Found(tensors, found.attributes)).input
    moved, phases = features.move(torch.zeros(1, 16))
    x, y = tensors["synthesis.input.freqs"].unbind(dim=1)
    torch.testing.assert_close(moved[0], torch.stack([y, -x], dim=1))
    torch.testing.assert_close(phases[0], features.phases - 0.25 * y)


def test_waves_above_the_band_fade(conditional):
    # Scaled by 3, a wave of 2 cycles has 6: a third of the way from bandwidth 2 to 8 is left.
    found, _ = conditional
    tensors = dict(found.tensors)
    tensors["synthesis.input.affine.weight"] = torch.zeros(4, 16)
    tensors["synthesis.input.affine.bias"] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    tensors["synthesis.input.freqs"] = torch.tensor([[2.0, 0.0]]).repeat(14, 1)
    tensors["synthesis.input.phases"] = torch.zeros(14)
    tensors["synthesis.input.weight"] = torch.eye(14) * math.sqrt(14)
    for scale, amplitude in [(1.0, 1.0), (3.0, 1 / 3), (4.0, 0.0), (9.0, 0.0)]:
        tensors["synthesis.input.transform"] = torch.diag(torch.tensor([scale, scale, 1.0]))
        x = build(Found(tensors, found.attributes)).input(torch.zeros(1, 16))[0, 0, 0]
        grid = (torch.arange(36) + 0.5 - 18) / 16
        expected = amplitude * torch.sin(2 * math.pi * 2 * scale * grid)
        torch.testing.assert_close(x, expected, rtol=1e-3, atol=1e-4)


def test_the_schedule_of_the_authors_configurations():
    # The layer sizes of the published 1024 and 256 pixel networks (names such as L14_1024_3).
    sizes = [layer["size"] for layer in default_schedule(1024, 14)["layers"]]
    assert sizes == [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    sizes = [layer["size"] for layer in default_schedule(256, 14)["layers"]]
    assert sizes == [36, 36, 36, 52, 52, 84, 84, 148, 148, 148, 276, 276, 276, 256, 256]
    layers = default_schedule(256, 14)["layers"]
    assert [layer["up"] for layer in layers] == [2, 2, 2, 4, 2, 4, 2, 4, 2, 2, 4, 2, 2, 2, 1]
    assert {layer["down"] for layer in layers[:-1]} == {2} and layers[-1]["down"] == 1


def test_an_untrained_input_gives_index_0_no_say(conditional):
    found, _ = conditional
    tensors = dict(found.tensors)
    tensors["synthesis.input.affine.weight"] = torch.zeros(4, 16)
    generator = build(Found(tensors, found.attributes))
    everything, without = factorize(generator), factorize(generator, range(1, 10))
    torch.testing.assert_close(everything.eigenvalues, without.eigenvalues)
    assert factorize(generator, [0]).eigenvalues.sum() == 0
    alone = factorize(build(found), [0])
    torch.testing.assert_close(alone.eigenvalues.sum(), torch.tensor(4.0).double())
    assert (alone.eigenvalues[4:] < 1e-9).all()


def test_layer_weights_are_the_affines(conditional):
    found, _ = conditional
    first, middle, last = build(found).layer_weights([0, 3, 9])
    names = ["synthesis.input", "synthesis.L2_36_14", "synthesis.L8_16_3"]
    for weight, name in zip([first, middle, last], names, strict=True):
        stored = found.tensors[f"{name}.affine.weight"]
        torch.testing.assert_close(weight, stored / math.sqrt(16))


def test_gains_unlike_ours_are_folded(conditional):
    found, expected = conditional
    attributes = {path: dict(values) for path, values in found.attributes.items()}
    tensors = dict(found.tensors)
    for module in ["mapping.fc0", "mapping.embed", "synthesis.L2_36_14.affine"]:
        attributes[module]["weight_gain"] *= 4
        tensors[f"{module}.weight"] = tensors[f"{module}.weight"] / 4
        attributes[module]["bias_gain"] *= 0.5
        tensors[f"{module}.bias"] = tensors[f"{module}.bias"] * 2
    check_images(build(Found(tensors, attributes)), expected)


# -------------------------------------------------------------------------- what is refused


def refusal(found):
    with pytest.raises(CheckpointError) as error:
        build(found)
    assert is_one_sentence(f"model.pkl: {error.value}"), str(error.value)
    return str(error.value)


def test_other_files_are_not_recognised(conditional):
    found, _ = conditional
    assert nvidia_stylegan3.recognises(found)
    odd = {"synthesis.input.freqs": torch.zeros(()), "w_avg": torch.zeros(0)}
    for tensors in [{}, odd, {"synthesis.b4.const": torch.zeros(4, 4, 4)}]:
        assert not nvidia_stylegan3.recognises(Found(tensors))


def test_each_missing_weight_is_named(conditional):
    found, _ = conditional
    for name in found.tensors:
        if name.endswith("_filter"):
            continue  # its absence means the identity, which changes the padding only
        rest = {key: value for key, value in found.tensors.items() if key != name}
        for attributes in (found.attributes, {}):
            if nvidia_stylegan3.recognises(Found(rest)):
                refusal(Found(rest, attributes))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 3, 1, 1), (0, 5), (1, 2, 3, 4, 5)])
def test_each_mis_shaped_weight_is_refused(conditional, shape):
    found, _ = conditional
    for name, tensor in found.tensors.items():
        if tuple(tensor.shape) == shape or name.endswith("_filter"):
            continue
        tensors = {**found.tensors, name: torch.zeros(shape)}
        refusal(Found(tensors, found.attributes))
        refusal(Found(tensors))


@pytest.mark.parametrize("value", [torch.zeros(3, 4), torch.zeros(0), torch.zeros(1, 1, 1)])
def test_filters_of_odd_shapes_are_refused(conditional, value):
    found, _ = conditional
    for part in ("up", "down"):
        tensors = {**found.tensors, f"synthesis.L2_36_14.{part}_filter": value}
        refusal(Found(tensors, found.attributes))
        refusal(Found(tensors))


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("extra.weight", torch.zeros(2), "extra.weight"),
        ("synthesis.L2_36_14.noise", torch.zeros(2), "noise"),
        ("synthesis.L30_36_14.weight", torch.zeros(2), "numbered"),
        ("synthesis.L2_36_15.weight", torch.zeros(2), "numbered"),
        ("synthesis.L2_36_14.bias", torch.full((14,), float("nan")), "NaN"),
        ("synthesis.L2_36_14.bias", torch.zeros(14, dtype=torch.int64), "int64"),
        ("synthesis.L2_36_14.affine.weight", torch.zeros(14, 16, dtype=torch.complex64), "complex"),
        ("synthesis.L2_36_14.magnitude_ema", torch.tensor(0.0), "magnitude_ema"),
        ("synthesis.L2_36_14.magnitude_ema", torch.tensor(-1.0), "magnitude_ema"),
        ("mapping.embed_proj.weight", torch.zeros(2, 2), "StyleGAN-XL"),
        ("synthesis.L2_36_14.up_filter4", torch.zeros(12), "StyleGAN-XL"),
    ],
)
def test_weights_that_do_not_belong(conditional, name, value, said):
    found, _ = conditional
    assert said in refusal(Found({**found.tensors, name: value}, found.attributes))


def test_a_pretrained_class_embedding_is_stylegan_xl(conditional):
    found, _ = conditional
    tensors = {k: v for k, v in found.tensors.items() if k != "mapping.embed.bias"}
    assert "StyleGAN-XL" in refusal(Found(tensors))
    attributes = {**found.attributes, "": {"__class__": "SuperresGenerator"}}
    assert "StyleGAN-XL" in refusal(Found(found.tensors, attributes))


@pytest.mark.parametrize("name, said", [("r_settings", "sizes"), ("t_settings", "taps")])
def test_settings_that_names_do_not_tell(name, said):
    found, _ = load_case(name)
    assert said in refusal(Found(found.tensors))


def test_other_filters_or_frequencies_than_the_usual_are_noticed(conditional):
    found, _ = conditional
    tensors = dict(found.tensors)
    tensors["synthesis.input.freqs"] = tensors["synthesis.input.freqs"] * 3
    assert "frequencies" in refusal(Found(tensors))
    tensors = dict(found.tensors)
    del tensors["synthesis.L2_36_14.up_filter"]
    assert "up_filter of L2_36_14 has 1 taps" in refusal(Found(tensors))


LAYER2 = "synthesis.L2_36_14"


@pytest.mark.parametrize(
    "module, name, value",
    [
        *((LAYER2, name, value) for name in ("up_factor", "down_factor") for value in
          (0, -1, 1.5, 17, 10**30, True, None, "2", [2], float("nan"), float("inf"))),
        *((LAYER2, "out_size", value) for value in
          (0, [36, 40], [36, 36, 36], [], [[36]], "36", None, {}, -36, 10**9, 37, np.zeros((2, 2)))),
        (LAYER2, "in_size", 40),
        *((LAYER2, "conv_clamp", value) for value in (0, -1, "256", [], float("nan"), 1e300)),
        *(("synthesis.input", "size", value) for value in (0, 35, None, 10**6, [36, 1])),
        *(("synthesis.input", name, value) for name in ("sampling_rate", "bandwidth") for value in
          (0, -2, "2", None, float("nan"), float("inf"))),
        ("synthesis.input", "bandwidth", 8.0),
        *(("synthesis", "output_scale", value) for value in (0, None, "x", float("nan"))),
        *(("mapping.fc0", name, value) for name in ("weight_gain", "bias_gain") for value in
          ("x", float("nan"), float("inf"), [1])),
        ("mapping.fc0", "activation", "relu"),
        ("mapping.fc0", "activation", "linear"),
        ("mapping.fc0", "activation", ["lrelu"]),
        ("mapping.fc0", "activation", np.zeros(3)),
        ("mapping.embed", "activation", "lrelu"),
        (f"{LAYER2}.affine", "activation", "lrelu"),
    ],
)  # fmt: skip
def test_attributes_that_make_no_sense(conditional, module, name, value):
    found, _ = conditional
    attributes = {path: dict(values) for path, values in found.attributes.items()}
    attributes[module][name] = value
    refusal(Found(found.tensors, attributes))


def test_attributes_that_are_missing(conditional):
    found, _ = conditional
    for module, name in [
        (LAYER2, "up_factor"), (LAYER2, "out_size"), (LAYER2, "conv_clamp"),
        ("synthesis.input", "bandwidth"), ("synthesis", "output_scale"),
    ]:  # fmt: skip
        attributes = {path: dict(values) for path, values in found.attributes.items()}
        del attributes[module][name]
        assert f"{name} of {module}" in refusal(Found(found.tensors, attributes))


def test_numbers_of_any_kind_are_understood(conditional):
    # As a pickle may hold them: numpy scalars, arrays, one number for a square.
    found, expected = conditional
    attributes = {path: dict(values) for path, values in found.attributes.items()}
    attributes["synthesis.input"].update(size=np.array([36, 36]), bandwidth=np.float64(2.0))
    attributes[LAYER2].update(out_size=36, in_size=(36, 36), up_factor=np.int64(2))
    check_images(build(Found(found.tensors, attributes)), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"layers": None}, {"layers": 3}, {"layers": []}, {"layers": [1] * 9}, {"layers": [{}] * 9},
        {"layers": [{"size": 10**12, "up": 2, "down": 2}] * 9},
        {"layers": [{"size": 2304, "up": 16, "down": 16}] * 9},
        {"layers": [{"size": True, "up": 2, "down": 2}] * 9},
        {"layers": [{"size": 36, "up": 2.0, "down": 2}] * 9},
        {"layers": [{"size": 36, "up": 2, "down": 2, "clamp": "x"}] * 9},
        {"input": None}, {"input": []}, {"input": {}}, {"input": {"size": 36}},
        {"input": {"size": 36, "sampling_rate": 16, "bandwidth": None}},
        {"input": {"size": 36, "sampling_rate": 4, "bandwidth": 2}},
        {"output_scale": "x"}, {"output_scale": 0}, {"lr_multiplier": []}, {"edit_range": -1},
    ],
)  # fmt: skip
def test_configurations_that_make_no_sense(conditional, change):
    checkpoint = formats.translate(conditional[0])
    with pytest.raises(CheckpointError) as error:
        generators.build(checkpoint.state_dict, {**checkpoint.config, **change})
    assert is_one_sentence(str(error.value))
    for name in change:
        config = {key: value for key, value in checkpoint.config.items() if key != name}
        if name in ("layers", "input"):
            with pytest.raises(CheckpointError):
                generators.build(checkpoint.state_dict, config)


def test_images_of_two_channels_and_too_many_layers_are_refused(conditional):
    checkpoint = formats.translate(conditional[0])
    state = dict(checkpoint.state_dict)
    state["synthesis.to_rgb.weight"] = state["synthesis.to_rgb.weight"][:2]
    state["synthesis.to_rgb.bias"] = state["synthesis.to_rgb.bias"][:2]
    with pytest.raises(CheckpointError, match="2 channels"):
        generators.build(state, checkpoint.config)
    many = {f"synthesis.conv{i}.weight": torch.zeros(1) for i in range(100)}
    many["synthesis.input.affine.weight"] = torch.zeros(4, 16)
    with pytest.raises(CheckpointError, match="101 layers"):
        generators.build(many, checkpoint.config)
