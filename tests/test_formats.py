"""Files of every kind: read exactly, or refused with one sentence and never run."""

import argparse
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import sefa
from sefa import CheckpointError, formats
from sefa.formats import native
from sefa.formats.checkpoint import Checkpoint
from tests.helpers import genforce_state_dict, is_one_sentence, tiny_state_dict, tiny_stylegan2
from tests.mutations import change_weights, good_files, good_weights, mutate

SMALL = {"resolution": 8, "channels": (5, 4)}


@pytest.fixture(scope="module")
def state():
    """A tiny StyleGAN2 of 8 px in our names."""
    return tiny_state_dict(**SMALL)


@pytest.fixture(scope="module")
def genforce(state):
    """The same weights in genforce's names."""
    return genforce_state_dict(state)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def files(folder, state, genforce):
    """One good file of each container."""
    paths = {name: folder / f"{name}.bin" for name in ("zip", "legacy", "safetensors")}
    torch.save({"generator_smooth": genforce}, paths["zip"])
    torch.save(
        {"generator_smooth": genforce}, paths["legacy"], _use_new_zipfile_serialization=False
    )
    native.write(Checkpoint(state, {"family": "stylegan2"}), paths["safetensors"])
    return paths


def assert_refused(path, *parts):
    """`load_generator` says why in one sentence that starts with the file's name."""
    with pytest.raises(CheckpointError) as error:
        sefa.load_generator(path)
    message = str(error.value)
    assert type(error.value) is CheckpointError
    assert error.value.__cause__ is None, "an unforeseen failure"
    name = "".join(c if c.isprintable() else "?" for c in path.name)
    assert message.startswith(f"{name}: "), message
    reason = message.removeprefix(f"{name}: ")
    assert is_one_sentence(reason) and reason.isprintable(), message
    for part in parts:
        assert part in message, message
    return message


def write(path, data):
    path.write_bytes(data)
    return path


def images_of(path):
    generator = sefa.load_generator(path)
    with torch.inference_mode():
        return generator.synthesize(generator.map(generator.sample_z([0, 1])))


# -------------------------------------------------------------------------------- what is read


def test_the_containers_hold_the_same_generator(files):
    images = {name: images_of(path) for name, path in files.items()}
    assert torch.equal(images["zip"], images["legacy"])
    assert (images["zip"] - images["safetensors"]).abs().max() < 1e-5  # 1 was taken off and added


def test_the_extension_says_nothing(files, tmp_path):
    for name in ("model", "model.pkl", "model.png", "model.safetensors"):
        assert images_of(write(tmp_path / name, files["zip"].read_bytes())).shape == (2, 3, 8, 8)


def test_paths_may_be_texts(files):
    assert sefa.load_generator(str(files["zip"])).resolution == 8


def test_our_own_layout_round_trip_is_exact(tmp_path):
    # Configuration and non-contiguous tensors included.
    state = tiny_state_dict(**SMALL, label_dim=3, architecture="orig")
    config = {
        "family": "stylegan2", "architecture": "orig", "lr_multiplier": 0.02, "conv_clamp": 2.0,
    }  # fmt: skip
    given = {
        name: tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in state.items()
    }
    path = tmp_path / "model.safetensors"
    native.write(Checkpoint(given, config), path, facts={"licence": "CC0-1.0"})
    found = formats.read(path)
    assert found.config == {"version": 1, **config}
    assert found.state_dict.keys() == state.keys()
    assert all(torch.equal(found.state_dict[name], tensor) for name, tensor in state.items())

    twin = sefa.generators.build(state, config)
    generator = sefa.load_generator(path)
    z, label = generator.sample_z([0, 1]), generator.one_hot(1, 2)
    assert torch.equal(generator.synthesize(generator.map(z, label)),
                       twin.synthesize(twin.map(z, label)))  # fmt: skip


def test_our_own_layout_without_a_configuration(state, files, tmp_path):
    save_file(state, tmp_path / "bare.safetensors")
    assert torch.equal(images_of(tmp_path / "bare.safetensors"), images_of(files["safetensors"]))


def test_a_file_may_be_overwritten_once_it_is_loaded(tmp_path):
    for number, name in enumerate(["model.safetensors", "model.pth"]):
        path = tmp_path / name
        if number == 0:
            tiny_stylegan2(path, **SMALL)
        else:
            torch.save(tiny_state_dict(**SMALL), path)
        generator = sefa.load_generator(path)
        before = {key: tensor.clone() for key, tensor in generator.state_dict().items()}
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
        for key, tensor in generator.state_dict().items():
            assert torch.equal(tensor, before[key]), key


def test_optimizers_and_counters_beside_the_weights_do_no_harm(genforce, files, tmp_path):
    extra = {
        "optimizer": {"state": {0: {"step": np.float64(3)}}, "lr": [1e-3], "betas": (0, 0.99)},
        "args": argparse.Namespace(lr=1, name="x"),
        "schedule": {"milestones": Counter([1000, 2000])},
        "epoch": 3,
        "name": "x",
    }
    torch.save({**extra, "generator_smooth": genforce}, tmp_path / "model.pth")
    assert torch.equal(images_of(tmp_path / "model.pth"), images_of(files["zip"]))


# ------------------------------------------------------------------------ files of another kind


WRONG_FILES = {
    "empty": (b"", "empty"),
    "text": (b"hello, world\n", "no checkpoint", "68 65 6c 6c"),
    "one byte": (b"\x80", "cut short"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG image"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(100), "JPEG image"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "gzip"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 9\n",
        "Git LFS pointer",
    ),
    "pickle 2": (pickle.dumps({"G_ema": 1}, 2), "no generator weights", "found: G_ema"),
    "pickle 4": (pickle.dumps({"G_ema": 1}, 4), "no generator weights", "found: G_ema"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(100), "TFLite"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x05" + bytes(100), "ONNX"),
    "saved model": (b"\x08\x01\x12\xd4\x0d" + bytes(100), "SavedModel"),
    "gguf": (b"GGUF\3\0\0\0" + bytes(100), "language model"),
    "npy": (b"\x93NUMPY\1\0v\0{'descr'" + bytes(100), "numpy array"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(100), "compressed"),
    "tar": (b"a.pth".ljust(257, b"\0") + b"ustar  \0" + bytes(100), "tar archive"),
    "pdf": (b"%PDF-1.4" + bytes(100), "PDF"),
    "program": (b"\x7fELF" + bytes(100), "a program"),
    "json": (b'{"model": "stylegan"}', "JSON"),
    "yaml": (b"class: stylegan\nsize: 3\n", "no checkpoint"),
    "zeros": (bytes(1000), "no checkpoint"),
    "zip head": (b"PK\x03\x04", "zip archive"),
    "empty zip": (b"PK\x05\x06" + bytes(18), "zip archive is not a torch checkpoint"),
    "legacy head": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "damaged"),
    "safetensors head": (struct.pack("<Q", 50) + b'{"', "safetensors"),
    "safetensors claim": (struct.pack("<Q", 2**60) + b'{"a":1}', "safetensors"),
    "safetensors text": (struct.pack("<Q", 9) + b'{"a": "b"', "safetensors"),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_file_of_another_kind(kind, tmp_path):
    data, *parts = WRONG_FILES[kind]
    assert_refused(write(tmp_path / "model.pth", data), *parts)


def test_what_is_no_file_at_all(tmp_path):
    assert_refused(tmp_path / "nowhere.pth", "no such file")
    assert_refused(tmp_path, "not a file")
    assert_refused(tmp_path / ("x" * 300), "cannot be read")
    assert_refused(tmp_path / "a\0b")
    with pytest.raises(CheckpointError, match=r"^\.: this is not a file"):
        sefa.load_generator(".")


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_a_file_cut_short_anywhere(container, files, tmp_path):
    data = files[container].read_bytes()
    cuts = {1, 2, 4, 8, 9, 14, 16, 17, 30, 64, len(data) - 1, len(data) - 2, len(data) - 22}
    cuts |= {len(data) * i // 24 for i in range(1, 24)}
    for cut in sorted(cuts):
        assert_refused(write(tmp_path / "cut.pth", data[:cut]))


# ------------------------------------------------------------------------------- zip archives


def rezip(path, source, method=zipfile.ZIP_STORED, change=lambda name, data: data):
    """A copy of a torch zip file with its members changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


def test_a_rewritten_zip_is_still_read(files, tmp_path):
    # so that the refusals below are for what they changed
    assert torch.equal(
        images_of(rezip(tmp_path / "model.pth", files["zip"])), images_of(files["zip"])
    )


def test_compressed_members_are_refused(files, tmp_path):
    path = rezip(tmp_path / "model.pth", files["zip"], zipfile.ZIP_DEFLATED)
    assert_refused(path, "compressed")


def test_a_zip_of_other_things(tmp_path):
    for names in (["readme.txt", "photo.jpg"], [], ["a\nb\x1b[31m.txt"]):
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "x" * 100)
        assert_refused(tmp_path / "photos.zip")


def test_archives_of_other_programs_are_told_though_they_are_compressed(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "model.pth")
    assert_refused(tmp_path / "model.pth", "TorchScript", "state_dict()")
    with (tmp_path / "codes.npz").open("wb") as file:
        np.savez_compressed(file, z=np.zeros((3, 8)))
    assert_refused(tmp_path / "codes.npz", "numpy archive")


def test_a_storage_shorter_than_it_claims(tmp_path):
    # The pickle says 65 535 numbers, the member holds 10: memory beyond it must not be read.
    torch.save({"a": torch.zeros(10)}, tmp_path / "good.pth")

    def change(name, data):
        return data.replace(b"K\n", b"M\xff\xff") if name.endswith("data.pkl") else data

    path = rezip(tmp_path / "model.pth", tmp_path / "good.pth", change=change)
    assert_refused(path, "65535 numbers takes 262140 bytes, and the file has 40")


def test_a_storage_that_is_missing(files, tmp_path):
    with zipfile.ZipFile(files["zip"]) as old:
        names = [name for name in old.namelist() if not name.endswith("/data/3")]
        with zipfile.ZipFile(tmp_path / "model.pth", "w") as new:
            for name in names:
                new.writestr(name, old.read(name))
    assert_refused(tmp_path / "model.pth", "lacks the storage '3'")


# ------------------------------------------------------------------- tensors that are no weights


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "tensor, reason",
    [
        (torch.zeros(1).expand(1000, 1000, 1000, 1000), "claims more numbers than are stored"),
        (torch.zeros(5).as_strided((3, 3), (1, 1)), "claims more numbers than are stored"),
        (torch.eye(3).to_sparse(), "not a plain dense tensor"),
        (torch.empty(3, 3, device="meta"), "not a plain dense tensor"),
    ],
    ids=["expanded", "overlapping", "sparse", "meta"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_that_are_no_plain_array(tensor, reason, zipped, genforce, tmp_path):
    for content in (
        {**genforce, "synthesis.layer0.weight": tensor},
        {"generator_smooth": genforce, "extras": {"deep": {"x": tensor}}},
    ):
        torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
        assert_refused(tmp_path / "model.pth", reason)


def test_dicts_that_hold_each_other(genforce, tmp_path):
    # 30 ** 12 paths lead through it, and one leads round for ever.
    laughs = {"x": 1}
    for _ in range(12):
        laughs = {str(i): laughs for i in range(30)}
    torch.save({"generator_smooth": genforce, "laughs": laughs}, tmp_path / "model.pth")
    assert sefa.load_generator(tmp_path / "model.pth").resolution == 8
    loop = {}
    loop["loop"] = loop
    torch.save(loop, tmp_path / "loop.pth")
    assert_refused(tmp_path / "loop.pth", "no generator weights")


def test_dicts_nested_for_ever(tmp_path):
    nested = {}
    for _ in range(200):
        nested = {"deeper": nested}
    torch.save(nested, tmp_path / "model.pth")
    assert_refused(tmp_path / "model.pth", "no generator weights", "found: deeper")


# ------------------------------------------------------------------------------ code in pickles


class Payload:
    """Runs a command when unpickled, if whoever unpickles lets it."""

    def __init__(self, path):
        self.command = f"echo > {path}"

    def __reduce__(self):
        return os.system, (self.command,)


def test_code_in_a_pickle_is_never_run(genforce, tmp_path):
    target = tmp_path / "it-ran"
    path = tmp_path / "model.pth"
    for protocol in range(6):
        path.write_bytes(pickle.dumps({"G_ema": Payload(target)}, protocol))
        assert_refused(path)
    content = {"generator_smooth": genforce, "args": Payload(target)}
    for zipped in (True, False):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        message = assert_refused(path, f"{os.system.__module__}.system")
        assert "weights_only" not in message and "trust" not in message
    assert not target.exists()
    pickle.loads(pickle.dumps(Payload(target)))  # the payload does work
    assert target.exists()


@pytest.mark.parametrize(
    "value, name",
    [
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (np.random.RandomState(0), "numpy.random"),
        (Payload, "Payload"),
    ],
)
def test_other_objects_are_named(value, name, genforce, tmp_path):
    torch.save({"g_ema": genforce, "args": value}, tmp_path / "model.pt")
    assert_refused(tmp_path / "model.pt", name)


# -------------------------------------------------------------------- content that is no generator


@pytest.mark.parametrize(
    "content, reason",
    [
        ({"discriminator": {"a": torch.zeros(1)}}, "only a discriminator"),
        ({"models": {"discriminator": {"a": torch.zeros(1)}}}, "only a discriminator"),
        ({}, "no generator weights"),
        ({"epoch": 3, "lr": 0.1}, "found: epoch, lr"),
        ({"G_ema": None, "D": None}, "no generator weights"),
        ({"generator_smooth": {}}, "no generator weights"),
        ({1: torch.zeros(1)}, "no generator weights"),
        ({"conv.weight": torch.zeros(1)}, "no generator that is read here"),
        ({"x\n" * 200: torch.zeros(1)}, "name"),
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(1), "holds a tensor"),
        (None, "holds None"),
    ],
)
def test_no_generator_in_the_file(content, reason, tmp_path):
    torch.save(content, tmp_path / "model.pth")
    assert_refused(tmp_path / "model.pth", reason)


def test_names_that_nobody_knows(tmp_path):
    names = ["input.input", "style.weight", "style.bias", "conv1.conv.weight"]
    tensors = {name: torch.zeros(1) for name in names}
    torch.save({"g_ema": tensors, "g": tensors, "d": tensors}, tmp_path / "model.pt")
    assert_refused(tmp_path / "model.pt", "input.input", "no generator that is read here")


def test_a_weight_named_twice(genforce, tmp_path):
    tensors = {**genforce, "module.mapping.dense0.bias": torch.zeros(15)}
    torch.save(tensors, tmp_path / "model.pth")
    assert_refused(tmp_path / "model.pth", "mapping.dense0.bias", "twice")


# ------------------------------------------------------------------- weights that do not fit


def refuse_changed(tensors, tmp_path, *parts):
    torch.save(tensors, tmp_path / "model.pth")
    return assert_refused(tmp_path / "model.pth", *parts)


def test_any_missing_weight_is_noticed(genforce, tmp_path):
    for name in genforce:
        rest = {key: tensor for key, tensor in genforce.items() if key != name}
        if name.endswith(".kernel"):  # a buffer that is the same in every file
            continue
        refuse_changed(rest, tmp_path)
    bias = {key: tensor for key, tensor in genforce.items() if key != "synthesis.layer1.bias"}
    refuse_changed(bias, tmp_path, "synthesis.conv1.bias is missing")


def test_an_extra_weight_is_named(genforce, tmp_path):
    refuse_changed(
        {**genforce, "skip_layer0.weight": torch.zeros(1)}, tmp_path, "skip_layer0.weight"
    )
    refuse_changed({**genforce, "mapping.dense9.bias": torch.zeros(1)}, tmp_path, "mapping.dense9")


@pytest.mark.parametrize(
    "name, shape",
    [
        ("synthesis.early_layer.const", (1, 5, 8, 8)),
        ("synthesis.early_layer.const", (5, 4, 4)),
        ("synthesis.layer1.weight", (4, 5, 1, 1)),
        ("synthesis.layer1.weight", (4, 6, 3, 3)),
        ("synthesis.layer1.noise", (1, 1, 4, 4)),
        ("synthesis.layer1.noise", (2, 1, 8, 8)),
        ("synthesis.layer1.noise", (0,)),
        ("synthesis.layer1.noise", (0, 0, 0, 0)),
        ("synthesis.layer1.noise_strength", (1,)),
        ("synthesis.output1.weight", (4, 4, 1, 1)),
        ("synthesis.output1.bias", (2,)),
        ("synthesis.output0.style.weight", (5, 13)),
        ("mapping.dense0.weight", (15, 0)),
        ("mapping.dense1.weight", (12, 14)),
        ("mapping.dense1.weight", (15,)),
        ("truncation.w_avg", (13,)),
        ("truncation.w_avg", ()),
    ],
)
def test_a_weight_of_the_wrong_shape(name, shape, genforce, tmp_path):
    refuse_changed({**genforce, name: torch.zeros(shape)}, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_is_named(value, genforce, tmp_path):
    tensor = genforce["synthesis.layer2.weight"].clone()
    tensor[0, 1, 2, 0] = value
    refuse_changed(
        {**genforce, "synthesis.layer2.weight": tensor}, tmp_path, "synthesis.conv2.weight", "NaN"
    )


def test_weights_of_whole_numbers(genforce, tmp_path):
    tensor = genforce["synthesis.layer2.weight"].to(torch.int8)
    refuse_changed({**genforce, "synthesis.layer2.weight": tensor}, tmp_path, "int8")


def test_an_even_number_of_convolutions(genforce, tmp_path):
    rest = {name: tensor for name, tensor in genforce.items() if "layer2" not in name}
    refuse_changed(rest, tmp_path, "odd number", "found 2")


def test_codes_too_long_to_factorise(tmp_path):
    # 5000 numbers a code: 100 KB of weights, and directions that would take gigabytes.
    tiny_stylegan2(tmp_path / "model.safetensors", resolution=8, channels=(1, 1), w_dim=5000)
    assert_refused(tmp_path / "model.safetensors", "5000", "4096")


def test_another_filter(genforce, tmp_path):
    taps = torch.tensor([1.0, 2.0, 2.0, 1.0])
    for kernel in (torch.outer(taps, taps)[None, None] / 9, torch.ones(3), torch.full((4, 4), 0.0)):
        for name in ("synthesis.layer1.filter.kernel", "synthesis.upsample.kernel"):
            refuse_changed({**genforce, name: kernel}, tmp_path, name, "filter")


# --------------------------------------------------------------------- our own configuration


@pytest.mark.parametrize(
    "config, reason",
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not JSON with a family"),
        ("{}", "not JSON with a family"),
        ('"stylegan2"', "not JSON with a family"),
        ({"version": 2, "family": "stylegan2"}, "newer"),
        ({"version": "1", "family": "stylegan2"}, "version"),
        ({"family": "stylegan2"}, "version"),
        ({"version": 1, "family": "stylegan9"}, "stylegan9"),
        ({"version": 1, "family": []}, "unknown"),
        ({"version": 1, "family": "stylegan2", "architecture": "resnet"}, "resnet"),
        ({"version": 1, "family": "stylegan2", "lr_multiplier": "x"}, "lr_multiplier"),
        ({"version": 1, "family": "stylegan2", "conv_clamp": -1}, "conv_clamp"),
    ],
)
def test_a_configuration_that_cannot_be_used(config, reason, state, tmp_path):
    text = config if isinstance(config, str) else json.dumps(config)
    save_file(state, tmp_path / "model.safetensors", {"sefa": text})
    assert_refused(tmp_path / "model.safetensors", reason)


def test_a_configuration_is_read(state, tmp_path):
    config = {"version": 1, "family": "stylegan2", "conv_clamp": 0.01}
    save_file(state, tmp_path / "model.safetensors", {"sefa": json.dumps(config), "more": "text"})
    assert images_of(tmp_path / "model.safetensors").abs().max() <= 0.02 + 1e-6  # two toRGBs


def test_weights_of_other_people_in_safetensors(tmp_path):
    save_file({"unet.conv.weight": torch.zeros(1)}, tmp_path / "sd.safetensors")
    assert_refused(tmp_path / "sd.safetensors", "unet.conv.weight")


def test_what_we_write_is_plain_safetensors(state, tmp_path):
    native.write(Checkpoint(state, {"family": "stylegan2"}), tmp_path / "model.safetensors")
    assert load_file(tmp_path / "model.safetensors").keys() == state.keys()


# ---------------------------------------------------------------------------------------- fuzz


def assert_read_or_refused(path):
    try:
        generator = sefa.load_generator(path)
    except CheckpointError as error:
        assert is_one_sentence(str(error)) and str(error).isprintable(), str(error)
        assert error.__cause__ is None, "an unforeseen failure"
    else:
        assert all(torch.isfinite(tensor).all() for tensor in generator.state_dict().values())


fuzz = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
places = st.tuples(st.floats(0, 1, exclude_max=True), st.booleans(), st.integers(0, 255))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
@fuzz
@given(changes=st.lists(places, min_size=1, max_size=3))
def test_damaged_bytes(container, files, tmp_path, changes):
    data = bytearray(files[container].read_bytes())
    for where, near_the_head, value in changes:
        # The head holds the structure, the rest mostly numbers; a zip also has it at the end.
        reach = 1500 if near_the_head else len(data)
        at = int(where * reach)
        data[-1 - at if near_the_head and container == "zip" and value % 2 else at] ^= value
    assert_read_or_refused(write(tmp_path / "model.pth", bytes(data)))


@pytest.mark.filterwarnings("ignore::UserWarning")
@fuzz
@given(changes=st.lists(places, min_size=1, max_size=3))
def test_damaged_pickles_in_a_sound_zip(files, tmp_path, changes):
    # A zip has checksums, which hide the pickle from the test above: write them anew.
    def change(name, data):
        data = bytearray(data)
        for where, _, value in changes if name.endswith("data.pkl") else ():
            data[int(where * len(data))] ^= value
        return bytes(data)

    assert_read_or_refused(rezip(tmp_path / "model.pth", files["zip"], change=change))


@pytest.fixture(scope="module")
def mutable():
    return good_files()


@pytest.mark.parametrize("kind", good_files())
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=False))
def test_changed_files(kind, mutable, tmp_path, random):
    # bytes, opcodes and numbers; scripts/fuzz_readers.py does the same with many more
    assert_read_or_refused(write(tmp_path / "model.pkl", mutate(random, mutable, kind)))


@pytest.fixture(scope="module")
def weights():
    return good_weights()


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=False))
def test_changed_weights(weights, tmp_path, random):
    assert_read_or_refused(write(tmp_path / "model.pkl", change_weights(random, weights)))


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_any_bytes(folder, data):
    heads = (b"", b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x40" + bytes(7))
    for head in heads:
        assert_read_or_refused(write(folder / "any.pth", head + data))
