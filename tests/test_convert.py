"""`python -m sefa.convert`: any checkpoint becomes one file that gives the same images."""

import stat

import numpy as np
import pytest
import torch
from safetensors import safe_open

import sefa
from sefa import convert, formats
from tests.helpers import genforce_state_dict, tiny_state_dict, tiny_stylegan2


@pytest.fixture
def source(tmp_path):
    """A training file of genforce's, with more in it than the generator, in half precision."""
    state = genforce_state_dict(tiny_state_dict(8, channels=(5, 4), label_dim=3))
    state = {name: tensor.half() for name, tensor in state.items()}
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    path = tmp_path / "training.pth"
    torch.save({"models": {"generator": other, "generator_smooth": state}}, path)
    return path


def run(*words):
    return convert.main([str(word) for word in words])


def test_the_images_and_directions_are_the_same(source, tmp_path, capsys):
    target = tmp_path / "model.safetensors"
    assert run(source, target) == 0
    before, after = sefa.load_generator(source), sefa.load_generator(target)
    z, label = before.sample_z([3, 4]), before.one_hot(2, 2)
    images = [g.synthesize(g.map(z, label, 0.5)) for g in (before, after)]
    assert torch.equal(*images)
    assert torch.equal(sefa.factorize(before).vectors, sefa.factorize(after).vectors)
    printed = capsys.readouterr().out
    for part in (
        "training.pth: stylegan2 (genforce's", "8 px RGB", "4 layers", "z 8, w 12", "3 classes",
        "differ by at most 0 ", f"Wrote {target}",
    ):  # fmt: skip
        assert part in printed, printed


def test_half_precision_stays_half(source, tmp_path):
    run(source, tmp_path / "model.safetensors")
    dtypes = {t.dtype for t in formats.read(tmp_path / "model.safetensors").state_dict.values()}
    assert torch.float16 in dtypes


def test_a_catalogue_name_keeps_its_facts(tmp_path):
    assert run("avatars", tmp_path / "copy.safetensors") == 0
    with safe_open(tmp_path / "copy.safetensors", "pt") as copy:
        facts = copy.metadata()
    with safe_open("demo_model/avatars.safetensors", "pt") as original:
        assert facts == original.metadata()


def test_the_file_is_as_readable_as_any_other(source, tmp_path):
    run(source, tmp_path / "model.safetensors")
    (tmp_path / "plain").write_bytes(b"")
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("model.safetensors", "plain")]
    assert modes[0] == modes[1]


def refused(capsys, *words):
    assert run(*words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("sefa: error: ") and captured.err.count("\n") == 1
    return captured.err


def test_what_is_there_is_not_written_over(source, tmp_path, capsys):
    target = tiny_stylegan2(tmp_path / "model.safetensors")
    kept = target.read_bytes()
    assert "--overwrite" in refused(capsys, source, target)
    assert target.read_bytes() == kept
    assert run(source, target, "--overwrite") == 0
    assert target.read_bytes() != kept
    assert run(target, target, "--overwrite") == 0  # onto itself


@pytest.mark.parametrize(
    "source, target, reason",
    [
        ("avatars", "model.pt", ".safetensors"),
        ("avatars", "nowhere/model.safetensors", "no folder"),
        ("avatar", "model.safetensors", "avatars"),
        ("./nothing.pkl", "model.safetensors", "no file"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    source, target, reason, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert reason in refused(capsys, source, target)
    assert not list(tmp_path.iterdir())


def test_a_damaged_source_leaves_nothing(source, tmp_path, capsys):
    source.write_bytes(source.read_bytes()[:-30])
    assert "training.pth: " in refused(capsys, source, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == [source]


def test_a_file_that_gives_other_images_is_not_kept(source, tmp_path, capsys, monkeypatch):
    images = iter([np.zeros((2, 3, 8, 8)), np.full((2, 3, 8, 8), 0.1)])
    monkeypatch.setattr(convert, "images", lambda generator: next(images))
    assert "other images" in refused(capsys, source, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == [source]


def test_every_option_is_described(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    for action in convert.parser()._actions:
        assert action.help and (action.metavar or action.option_strings[-1]) in text
