"""Nothing in a file is ever run, and no file takes the process, its memory or its time away."""

import errno
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sefa
from sefa import CheckpointError
from sefa.errors import show
from sefa.formats import native
from sefa.formats.checkpoint import Checkpoint
from sefa.formats.kinds import KINDS, kind_of
from tests.helpers import genforce_state_dict, is_one_sentence, tiny_state_dict
from tests.hostile_files import bombs, broken_files, payloads, safetensors, stored
from tests.mutations import file_of, good_weights
from tests.nvidia_files import (
    nvidia_module,
    nvidia_pickle,
    nvidia_stylegan2,
    tf_pickle,
    tf_stylegan2,
)
from tests.serving import ROOT
from tests.test_formats import assert_refused, write

SMALL = {"resolution": 8, "channels": (5, 4)}
SECONDS = 30
GIBIBYTE = 2**30


def good_files(folder):
    """One file of every container, and one of every family."""
    folder.mkdir(exist_ok=True)
    state = tiny_state_dict(**SMALL)
    genforce = {"generator_smooth": genforce_state_dict(state)}
    torch.save(genforce, folder / "zip.pth")
    torch.save(genforce, folder / "stream.pth", _use_new_zipfile_serialization=False)
    native.write(Checkpoint(state, {"family": "stylegan2"}), folder / "own.safetensors")
    for protocol in range(2, 6):
        nvidia = {"G": None, "D": None, "G_ema": nvidia_stylegan2(state)}
        write(folder / f"nvidia{protocol}.pkl", nvidia_pickle(nvidia, protocol))
        write(folder / f"tf{protocol}.pkl", tf_pickle(tf_stylegan2(state, 8), protocol))
    for i, found in enumerate(good_weights()):
        write(folder / f"family{i}.pkl", file_of(found.tensors, found.attributes))
    return sorted(folder.iterdir())


def read_elsewhere(paths):
    """Reports of tests.reading, one a file."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.reading", *map(str, paths)],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == len(paths), f"it died at {paths[len(reports)]}: {done.stderr[-2000:]}"
    return reports


# ------------------------------------------------------------------------------ nothing is run


RUN_BY_PICKLE = (
    "REDUCE", "protocol 0", "STACK_GLOBAL", "INST", "OBJ", "a dotted name", "execWrapper",
    "runstring",
)  # fmt: skip


@pytest.mark.parametrize("kind", RUN_BY_PICKLE)
def test_the_payloads_work(kind, tmp_path):
    # so that the test below is about the reader; every one runs in Python's own unpickler
    target = tmp_path / "it-ran"
    pickle.loads(payloads(str(target))[kind][0])
    assert target.exists()


@pytest.mark.parametrize("kind", payloads(""))
def test_no_payload_runs(kind, tmp_path):
    target = tmp_path / "it-ran"
    data, word = payloads(str(target))[kind]
    assert_refused(write(tmp_path / "model.pkl", data), word)
    assert not target.exists()


def test_source_text_in_a_good_file_is_not_run(tmp_path):
    target = tmp_path / "it-ran"
    module = nvidia_module({"fc.weight": torch.zeros(1)})
    module.source = f"open({str(target)!r}, 'w').close()"
    assert_refused(write(tmp_path / "model.pkl", nvidia_pickle({"G_ema": module})), "fc.weight")
    assert not target.exists()


def test_the_interpreter_is_asked_for_nothing_but_the_file(tmp_path):
    # No import, exec, compile, subprocess, socket, nor any other file: from a fresh process, where
    # whatever is imported late would be seen.
    files = good_files(tmp_path / "good")
    for i, (data, _) in enumerate(payloads(str(tmp_path / "it-ran")).values()):
        files.append(write(tmp_path / f"payload{i}.pkl", data))
    for i, (data, _) in enumerate(broken_files().values()):
        files.append(write(tmp_path / f"broken{i}.pkl", data))
    reports = read_elsewhere(files)
    assert {report["path"]: report["events"] for report in reports if report["events"]} == {}
    assert not any(report["unforeseen"] for report in reports)
    assert {r["message"] for r in reports if "good" in r["path"]} == {None}
    assert [r["path"] for r in reports if r["message"] is None and "good" not in r["path"]] == []
    assert not (tmp_path / "it-ran").exists()


def test_the_watch_sees_what_is_forbidden(tmp_path):
    code = (
        "import tests.reading as r, sys; w = r.Watch(); w.path = 'x';"
        "open(sys.executable, 'rb').close(); import colorsys; exec('1');"
        "w.path = None; print(w.events)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert all(word in done.stdout for word in ("open", "import", "exec")), done.stdout


# --------------------------------------------------------------------------- what lies is refused


def test_the_corpus_is_large():
    assert len(payloads("")) + len(broken_files()) >= 72


@pytest.mark.parametrize("kind", broken_files())
def test_a_broken_file_is_refused_in_one_sentence(kind, tmp_path):
    data, word = broken_files()[kind]
    assert_refused(write(tmp_path / "model.pkl", data), word)


def test_bombs_take_neither_memory_nor_time(tmp_path):
    files = bombs()
    paths = [write(tmp_path / f"{i}.pkl", data) for i, (data, _) in enumerate(files.values())]
    sparse = tmp_path / "sparse.safetensors"  # 2 TiB of zeros that take no space on the disk
    sparse.write_bytes(safetensors({"a": stored([2**39], 0, 2**41)}, b""))
    os.truncate(sparse, sparse.stat().st_size + 2**41)
    reports = read_elsewhere([*paths, sparse])
    words = [word for _, word in files.values()] + ["2048.0 GiB"]
    for kind, word, report in zip([*files, "sparse"], words, reports, strict=True):
        message = report["message"]
        assert message is not None and word in message, (kind, message)
        assert is_one_sentence(message.partition(": ")[2]), (kind, message)
        assert not report["unforeseen"], (kind, message)
        assert report["seconds"] < SECONDS, (kind, report["seconds"])
        assert report["peak"] < GIBIBYTE, (kind, report["peak"])


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda path: os.mkfifo(path), "not a file"),  # opening it would wait for ever
        (lambda path: path.symlink_to(path), "leads nowhere"),
        (lambda path: path.symlink_to("/nowhere/at/all"), "leads nowhere"),
        (lambda path: path.symlink_to("/dev/zero"), "not a file"),
        (lambda path: path.mkdir(), "not a file"),
    ],
    ids=["pipe", "loop", "dangling link", "device", "folder"],
)
def test_what_is_no_file(make, word, tmp_path):
    make(tmp_path / "model.pkl")
    assert_refused(tmp_path / "model.pkl", word)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):  # what the system says to everybody but root
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    write(tmp_path / "model.pkl", b"x")
    monkeypatch.setattr(Path, "open", refuse)
    assert_refused(tmp_path / "model.pkl", "Permission denied")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_too_little_memory_is_told(error, tmp_path, monkeypatch):
    def fail(found):
        raise error

    torch.save({"w": torch.zeros(1)}, tmp_path / "model.pth")
    monkeypatch.setattr(sefa.formats, "translate", fail)
    assert_refused(tmp_path / "model.pth", "not enough memory")


def test_a_name_with_a_newline_stays_on_one_line(tmp_path):
    with pytest.raises(CheckpointError, match=r"^a\?b\.pkl: .*empty\.$"):
        sefa.load_generator(write(tmp_path / "a\nb.pkl", b""))


# ------------------------------------------------------------------------- numbers that are none


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "U16", "U32", "U64", "C64"])
def test_weights_of_odd_types_are_named(dtype, tmp_path):
    state = tiny_state_dict(**SMALL)
    native.write(Checkpoint(state, {"family": "stylegan2"}), tmp_path / "model.safetensors")
    content = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    one = header["w_avg"]
    size = {"8": 1, "6": 2, "2": 4, "4": 8}[dtype.partition("_")[0][-1]]
    one.update(dtype=dtype, shape=[(one["data_offsets"][1] - one["data_offsets"][0]) // size])
    assert_refused(write(tmp_path / "model.safetensors", safetensors(header, body)), "w_avg")


def test_half_precision_is_read(tmp_path):
    state = tiny_state_dict(**SMALL)
    for dtype in (torch.float16, torch.bfloat16):
        half = {name: tensor.to(dtype) for name, tensor in genforce_state_dict(state).items()}
        torch.save({"generator_smooth": half}, tmp_path / "model.pth")
        found = sefa.load_generator(tmp_path / "model.pth").w_avg
        assert torch.equal(found, state["w_avg"].to(dtype).float())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_in_every_container(value, tmp_path):
    state = tiny_state_dict(**SMALL)
    state["synthesis.conv1.weight"][0, 0, 0, 0] = value
    for path in good_files_of(state, tmp_path):
        assert_refused(path, "synthesis.conv1.weight holds a NaN")


def good_files_of(state, folder):
    torch.save(genforce_state_dict(state), folder / "zip.pth")
    torch.save(
        genforce_state_dict(state), folder / "stream.pth", _use_new_zipfile_serialization=False
    )
    native.write(Checkpoint(state, {"family": "stylegan2"}), folder / "own.safetensors")
    write(folder / "nvidia.pkl", nvidia_pickle({"G_ema": nvidia_stylegan2(state)}))
    write(folder / "tf.pkl", tf_pickle(tf_stylegan2(state, 8)))
    return sorted(folder.iterdir())


# ---------------------------------------------------------------------------- files of other kinds


OTHER_KINDS = {
    "StyleGAN-XL": ["mapping.embed_proj.weight", "synthesis.L0_36_1024.weight"],
    "EG3D": ["backbone.synthesis.b4.const", "decoder.net.0.weight"],
    "lucidrains/stylegan2-pytorch": ["GAN.GE.blocks.0.to_style1.weight", "GAN.S.net.0.weight"],
    "SWAGAN": ["g_ema.to_rgbs.0.iwt.ll", "g_ema.style.1.weight"],
    "rosinality/style-based-gan-pytorch": ["generator.progression.0.conv1.0.weight_orig"],
    "rosinality/progressive-gan-pytorch": ["progression_4.conv.0.conv.weight_orig"],
    "facebookresearch/pytorch_GAN_zoo": ["netG.scaleLayers.0.0.module.weight"],
    "FastGAN": ["g.feat_8.1.weight_orig", "g.se_64.main.1.weight"],
    "GFPGAN": ["params_ema.stylegan_decoderdotto_rgb1.weight", "stylegan_decoder.style_mlp.1.weight"],
    "pSp or e4e": ["encoder.input_layer.0.weight", "decoder.style.1.weight"],
    "ajbrock/BigGAN-PyTorch": ["blocks.0.0.conv1.weight", "output_layer.0.gain", "linear.weight"],
    "CycleGAN": ["model.1.weight", "model.10.conv_block.1.weight"],
    "discriminator, of an NVIDIA": ["b256.fromrgb.weight", "b4.out.weight"],
    "discriminator, of a TensorFlow": ["D.256x256/FromRGB/weight"],
    "discriminator, of rosinality": ["d.final_conv.0.weight", "d.final_linear.0.weight"],
    "discriminator, of genforce": ["input0.weight", "layer0.weight", "layer1.weight"],
    "discriminator, of a BigGAN": ["blocks.0.0.conv1.weight", "linear.weight", "embed.weight"],
    "LoRA": ["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"],
    "Stable Diffusion": ["state_dict.model.diffusion_model.input_blocks.0.0.weight"],
    "UNet of a diffusion": ["down_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.weight"],
    "diffusion transformer": ["double_blocks.0.img_attn.qkv.weight"],
    "VAE of a diffusion": ["encoder.down_blocks.0.a.weight", "decoder.up_blocks.0.a.weight"],
    "language model": ["transformer.h.0.attn.c_attn.weight", "transformer.wte.weight"],
    "CLIP": ["text_model.encoder.layers.0.self_attn.q_proj.weight"],
    "vision transformer": ["patch_embed.proj.weight", "blocks.0.attn.qkv.weight"],
    "ResNet": ["conv1.weight", "layer1.0.conv1.weight", "layer4.2.bn3.weight", "fc.weight"],
    "image classifier": ["features.0.weight", "classifier.6.weight"],
}  # fmt: skip


def nest(names):
    """Tensors of these names, in dicts where a name starts with one's."""
    content = {}
    for name in names:
        outer = content
        first, _, rest = name.partition(".")
        while first in ("GAN", "g", "g_ema", "d", "D", "netG", "state_dict", "params_ema"):
            outer, name = outer.setdefault(first, {}), rest
            first, _, rest = rest.partition(".")
        outer[name] = torch.zeros(1)
    return content


@pytest.mark.parametrize("word", OTHER_KINDS)
def test_a_kind_that_is_not_read_is_named(word, tmp_path):
    torch.save(nest(OTHER_KINDS[word]), tmp_path / "model.pth")
    assert_refused(tmp_path / "model.pth", word)


def test_a_class_name_tells_the_kind(tmp_path):
    for class_name, word in (("SuperresGenerator", "StyleGAN-XL"), ("TriPlaneGenerator", "EG3D")):
        module = nvidia_module({"x.weight": torch.zeros(1)}, class_name=class_name)
        assert_refused(write(tmp_path / "model.pkl", nvidia_pickle({"G_ema": module})), word)
    module = nvidia_module({"x.weight": torch.zeros(1)}, class_name="SomeGenerator")
    path = write(tmp_path / "model.pkl", nvidia_pickle({"G_ema": module}))
    assert_refused(path, "x.weight of a SomeGenerator")


def test_long_names_make_no_long_sentence(tmp_path):
    tensors = {letter * 180: torch.zeros(1) for letter in "abcd"}
    module = nvidia_module(tensors, class_name="X" * 200)
    path = write(tmp_path / "model.pkl", nvidia_pickle({"G_ema": module}))
    assert_refused(path, "aaaa...", "XXXX...", "stylegan2")


def test_only_a_discriminator_in_a_pickle(tmp_path):
    module = nvidia_module({"b4.out.weight": torch.zeros(1)}, class_name="Discriminator")
    path = write(tmp_path / "model.pkl", nvidia_pickle({"G_ema": None, "G": None, "D": module}))
    assert_refused(path, "only a discriminator")
    module = nvidia_module({"b8.fromrgb.weight": torch.zeros(1)}, class_name="Discriminator")
    assert_refused(write(tmp_path / "model.pkl", nvidia_pickle(module)), "only a discriminator")


def test_our_own_files_are_of_no_other_kind():
    state = tiny_state_dict(**SMALL)
    for names in (state, genforce_state_dict(state), nvidia_stylegan2(state).state):
        assert kind_of(list(names)) is None
    assert all(kind[0].islower() for kind, _ in KINDS)  # they follow "this is"


def test_what_a_file_says_is_shown_briefly():
    laughs = "ha" * 1000
    for _ in range(60):
        laughs = [laughs, laughs]
    loop = []
    loop.append(loop)
    assert show(laughs) == show(loop) == "a list"
    assert show("x" * 10**6) == "'" + "x" * 39
    assert show("a. B\n") == r"'a._B\n'"
    assert show([1, 3.5, None, True]) == "[1, 3.5, None, True]"
    assert show(10**5000) == "a int"
    assert show({"a": 1}) == "a dict"
    assert is_one_sentence(f"the setting is {show('One. Two. ')} here.")
