"""What the progressively grown families, PGGAN and StyleGAN, must both do."""

import warnings

import pytest
import torch

import sefa
from sefa import CheckpointError, UserError, formats, generators
from sefa.formats import native
from sefa.formats.checkpoint import Checkpoint, Found
from sefa.generators.progressive import nearest
from tests.helpers import is_one_sentence, max_error, tiny_pggan, tiny_stylegan

FAMILIES = {"pggan": tiny_pggan, "stylegan": tiny_stylegan}

# our part of a name -> genforce's
PARTS = {"affine.": "style.", "noise_strength": "apply_noise.weight",
         "noise_const": "apply_noise.noise", "conv": "layer", "to_rgb": "output"}  # fmt: skip


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def build(family, state=None, **config):
    state = FAMILIES[family]() if state is None else state
    return generators.build(state, {"family": family, **config})


def genforce_names(family, state):
    """Canonical weights, below 128 pixels, under genforce's names."""
    renamed = {}
    for name, tensor in state.items():
        if name.endswith("affine.bias"):  # the scale's half without its +1
            tensor = tensor - (torch.arange(len(tensor)) < len(tensor) // 2).float()
        if name.endswith("noise_const"):
            tensor = tensor[None, None]
        if family == "pggan":
            name = name.removeprefix("synthesis.")
        for ours, theirs in PARTS.items():
            name = name.replace(ours, theirs)
        name = {"w_avg": "truncation.w_avg", "synthesis.const": "synthesis.layer0.const"}.get(
            name, name
        )
        renamed[name] = tensor.clone()
    return renamed


def test_native_round_trip(family, tmp_path):
    state = FAMILIES[family](lod=0.5)
    generator = build(family, state)
    native.write(Checkpoint(state, {"family": family}), tmp_path / "model.safetensors")
    again = sefa.load_generator(tmp_path / "model.safetensors")
    assert again.family == family
    w = generator.map(generator.sample_z([0, 1]))
    assert torch.equal(again.synthesize(w), generator.synthesize(w))


def test_genforce_names_lead_to_the_same_images(family):
    state = FAMILIES[family](32)
    found = formats.translate(Found(genforce_names(family, state)))
    assert found.config == {"family": family}
    w = torch.randn(2, build(family, state).num_ws, build(family, state).w_dim)
    images = generators.build(found.state_dict, found.config).synthesize(w)
    assert max_error(images, build(family, state).synthesize(w)) < 1e-5


@pytest.mark.parametrize("resolution", [4, 8, 64])
def test_sizes_are_read_from_the_shapes(family, resolution):
    generator = build(family, FAMILIES[family](resolution, num_channels=1))
    images = generator.synthesize(generator.map(generator.sample_z([0, 1])))
    assert images.shape == (2, 1, resolution, resolution) and images.dtype == torch.float32
    assert generator.resolution == resolution and generator.num_channels == 1
    assert len(generator.layer_names) == len(generator.layer_resolutions) == generator.num_ws
    assert generator.layer_resolutions[0] == 4


def test_an_image_does_not_depend_on_its_batch(family):
    generator = build(family)
    z = generator.sample_z([0, 1, 2])
    batch = generator.synthesize(generator.map(z))
    for i in range(3):
        alone = generator.synthesize(generator.map(z[i : i + 1]))
        assert max_error(alone, batch[i : i + 1]) < 1e-5


def test_codes_of_another_precision_and_channels_last(family):
    generator, other = build(family), build(family)
    z = generator.sample_z([0, 1])
    w = generator.map(z)
    images = generator.synthesize(w)
    assert torch.equal(generator.map(z.double()), w)
    assert torch.equal(generator.synthesize(w.double()), images)
    other.to(memory_format=torch.channels_last)
    assert max_error(other.synthesize(w), images) < 1e-5


def test_a_generator_does_not_share_memory_with_what_it_was_built_from(family):
    state = FAMILIES[family]()
    generator = build(family, state)
    w = generator.map(generator.sample_z([0]))
    before = generator.synthesize(w)
    for tensor in state.values():
        tensor.zero_()
    assert torch.equal(generator.synthesize(w), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda(family):
    generator = build(family, FAMILIES[family](lod=0.5))
    w = generator.map(generator.sample_z([0, 1]))
    images = generator.synthesize(w)
    generator.to("cuda", memory_format=torch.channels_last)
    assert max_error(generator.synthesize(w.cuda()).cpu(), images) < 1e-2  # TF32 convolutions


# ------------------------------------------------------------------------------ level of detail


def test_a_whole_level_of_detail_repeats_the_pixels_of_a_smaller_network(family):
    large = build(family, FAMILIES[family](32, lod=2.0))
    # The smaller network is made of the coarse blocks of the larger one.
    names = FAMILIES[family](8)
    small = build(family, {name: FAMILIES[family](32)[name] for name in names})
    w = torch.randn(2, large.num_ws, large.w_dim)
    expected = small.synthesize(w[:, : small.num_ws]).repeat_interleave(4, 2)
    expected = expected.repeat_interleave(4, 3)
    assert max_error(large.synthesize(w), expected) < 1e-5


def test_a_fraction_blends_two_levels(family):
    w = None
    images = {}
    for lod in (0.0, 0.25, 1.0):
        generator = build(family, FAMILIES[family](lod=lod))
        w = torch.randn(2, generator.num_ws, generator.w_dim) if w is None else w
        images[lod] = generator.synthesize(w)
    blend = 0.75 * images[0.0] + 0.25 * images[1.0]
    assert max_error(images[0.25], blend) < 1e-5
    assert max_error(images[0.25], images[0.0]) > 0.05
    state = FAMILIES[family](lod=0.0)
    del state["synthesis.lod"]
    assert torch.equal(build(family, state).synthesize(w), images[0.0])


@pytest.mark.parametrize("lod", [-0.5, 2.5, 1e9, float("nan")])
def test_levels_of_detail_that_do_not_exist(family, lod):
    with pytest.raises(CheckpointError) as error:
        build(family, FAMILIES[family](lod=lod))
    assert is_one_sentence(str(error.value))


# ------------------------------------------------------------------------------ what is refused


def broken(tensor):
    """Tensors that cannot stand in the place of this one."""
    bad = [torch.zeros(1, 1, 1, 1, 1), tensor.long(), tensor.to(torch.complex64), tensor.bool()]
    bad.append(torch.full_like(tensor, float("nan")))
    if tensor.ndim:
        bad += [torch.zeros(()), tensor[:0], torch.cat([tensor, tensor[:1]]), tensor[None]]
    return bad


def refuses(make):
    with warnings.catch_warnings(), pytest.raises(CheckpointError) as error:
        warnings.simplefilter("error")
        make()
    assert is_one_sentence(str(error.value)), str(error.value)


@pytest.mark.parametrize("layout", ["native", "genforce"])
def test_weights_that_are_missing_strange_or_too_many(family, layout):
    state = FAMILIES[family]()
    if layout == "genforce":
        state = genforce_names(family, state)

    def load(tensors):
        if layout == "native":
            return build(family, tensors)
        found = formats.translate(Found(tensors))
        return generators.build(found.state_dict, found.config)

    load(state)
    for name, tensor in state.items():
        rest = {other: value for other, value in state.items() if other != name}
        if not name.endswith("lod"):
            refuses(lambda rest=rest: load(rest))
        for bad in broken(tensor):
            refuses(lambda rest=rest, bad=bad, name=name: load({**rest, name: bad}))
    for name in ("extra", "synthesis.conv6.weight", "synthesis.layer06.bias", "layer6.weight"):
        refuses(lambda name=name: load({**state, name: torch.zeros(3, 3, 3, 3)}))


def test_more_blocks_than_an_image_can_have(family):
    state = FAMILIES[family]()
    state |= {f"synthesis.to_rgb{k}.weight": torch.zeros(3, 1, 1, 1) for k in range(3, 20)}
    with pytest.raises(CheckpointError, match="20 toRGB layers") as error:
        build(family, state)
    assert is_one_sentence(str(error.value))


def test_five_channels_are_no_image(family):
    with pytest.raises(CheckpointError, match="5 channels cannot be shown"):
        build(family, FAMILIES[family](num_channels=5))


@pytest.mark.parametrize("config", [{"edit_range": "far"}, {"edit_range": -1}, {"edit_range": []}])
def test_configurations_that_make_no_sense(family, config):
    refuses(lambda: build(family, **config))


def test_codes_of_the_wrong_shape(family):
    generator = build(family)
    shape = (2, generator.num_ws, generator.w_dim)
    for call in [
        lambda: generator.map(torch.zeros(2, generator.z_dim + 1)),
        lambda: generator.map(torch.zeros(generator.z_dim)),
        lambda: generator.synthesize(torch.zeros(2, shape[2])),
        lambda: generator.synthesize(torch.zeros(2, shape[1] + 1, shape[2])),
        lambda: generator.synthesize(torch.zeros(2, shape[1], shape[2] + 1)),
    ]:
        with pytest.raises(UserError) as error:
            call()
        assert is_one_sentence(str(error.value))


def test_other_layouts_are_not_mistaken(family):
    tensors = genforce_names(family, FAMILIES[family]())
    claims = [layout for layout in formats.LAYOUTS if layout.recognises(Found(tensors))]
    assert [layout.__name__ for layout in claims] == [f"sefa.formats.genforce_{family}"]


def test_nearest_upsampling_repeats_pixels():
    x = torch.randn(1, 2, 3, 3)
    assert torch.equal(nearest(x, 4), x.repeat_interleave(4, 2).repeat_interleave(4, 3))
