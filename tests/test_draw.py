"""`python -m sefa.draw`: a recipe becomes the file that it is of, in a process of its own too."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import checkpoints
from sefa import Edit, Recipe, draw
from sefa.pictures import grid, one_of, png_bytes, recipe_of_png
from sefa.rendering import LoadedModel
from tests.helpers import tiny_stylegan2

ROOT = Path(__file__).resolve().parent.parent
RECIPE = Recipe(seed=3, num_samples=3, edits=(Edit("0-1", ((4, 1.0),), 2.5),))


@pytest.fixture(scope="module")
def model():
    return LoadedModel(checkpoints.load("avatars"))


@pytest.fixture
def tiny(tmp_path):
    """A random StyleGAN2 of 16 px: 6 layers, w 12."""
    return tiny_stylegan2(tmp_path / "tiny.safetensors")


def run(*words):
    return draw.main([str(word) for word in words])


def pixels(path):
    return np.asarray(Image.open(path))


def close(found, expected):
    """Within one grey level: batches and threads move the last bits."""
    return np.abs(found.astype(int) - expected).max() <= 1


def refused(capsys, *words):
    """The one line that is said of words that are no command."""
    assert run(*words) == 2
    said = capsys.readouterr()
    assert said.err.startswith("sefa: error: ") and said.err.count("\n") == 1, said.err
    return said.err


# --- images ---------------------------------------------------------------------------------------


def test_a_query_becomes_the_grid_of_its_samples(model, tmp_path, capsys):
    out = tmp_path / "new folder/edit.png"
    assert run(RECIPE.to_query(), out) == 0
    assert close(pixels(out), grid(model.images(RECIPE)))
    assert recipe_of_png(out.read_bytes()) == (RECIPE, [])
    said = capsys.readouterr()
    assert f"Wrote {out}: 3 samples" in said.out and said.err == ""


def test_a_link_and_a_png_are_recipes_too(model, tmp_path):
    first, second, third = (tmp_path / f"{i}.PNG" for i in range(3))
    one = replace(RECIPE, num_samples=1)
    link = f"https://user-space.hf.space/?__theme=dark&{one.to_query()}#top"
    assert run(link, first) == 0
    assert close(pixels(first), model.images(one)[0])
    assert run(first, second) == 0 and run(first, first) == 0
    assert first.read_bytes() == second.read_bytes()
    third.write_bytes(png_bytes(np.zeros((2, 2, 3), np.uint8), one))
    assert run(third, second) == 0 and first.read_bytes() == second.read_bytes()


def test_one_sample_is_drawn_alone(model, tmp_path, capsys):
    out = tmp_path / "one.png"
    assert run(RECIPE.to_query(), out, "--sample", 2) == 0
    assert close(pixels(out), model.images(RECIPE)[2])
    assert recipe_of_png(out.read_bytes())[0] == one_of(RECIPE, 2)
    capsys.readouterr()
    assert "samples are 0 to 2" in refused(capsys, RECIPE.to_query(), out, "--sample", 3)


def test_the_model_can_be_a_file_and_its_folder_stays_private(tiny, tmp_path):
    out = tmp_path / "tiny.png"
    assert run("seed=1&n=1", out, "--model", tiny) == 0
    assert pixels(out).shape == (16, 16, 3)
    assert recipe_of_png(out.read_bytes())[0].model == "tiny.safetensors"
    # The file stands in for a model that a page calls by a name.
    assert run("seed=1&n=1&model=mine", out, "--model", tiny) == 0
    assert recipe_of_png(out.read_bytes())[0].model == "mine"
    assert run("seed=1&n=1&model=nonsense", out, "--model", "avatars") == 0
    assert recipe_of_png(out.read_bytes())[0].model == "avatars"


def test_what_a_recipe_cannot_have_is_said_and_left_out(tiny, tmp_path, capsys):
    out = tmp_path / "tiny.png"
    query = "seed=1&n=1&psi=9&edits=0-1:4:2.5~0-1:12:1~0-9:1:1"
    assert run(query, out, "--model", tiny) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all(line.startswith("sefa: note: ") for line in said)
    assert recipe_of_png(out.read_bytes())[0].edits == (Edit("0-1", ((4, 1.0),), 2.5),)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "out", "part"),
    [
        ("nonsense", "a.png", "holds no recipe"),
        ("missing.png", "a.png", "holds no recipe"),
        ("https://example.org/", "a.png", "holds no recipe"),
        ("https://[", "a.png", "no link"),
        ("x=3", "a.png", "holds no recipe"),
        ("seed=" + "9" * 200_000, "a.png", "more than any recipe"),
        ("seed=1", "a.jpeg", "OUT must end in .png"),
        ("seed=1", "a", "OUT must end in .png"),
        ("seed=1&model=avatar", "a.png", "avatars"),
        ("seed=1", "README.md/a.png", "not a folder"),
    ],
)
def test_what_is_wrong_is_one_line(recipe, out, part, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert part in refused(capsys, recipe, out)


def test_a_file_that_carries_no_recipe_is_refused(tmp_path, capsys):
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    assert "no recipe" in refused(capsys, tmp_path / "plain.png", tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("seed=3")
    assert "no PNG" in refused(capsys, tmp_path / "notes.txt", tmp_path / "a.png")


def test_options_that_are_none_are_refused(tmp_path, capsys):
    for words in (["--sample", "x"], ["--nonsense"], ["more"]):
        refused(capsys, "seed=1", tmp_path / "a.png", *words)
    assert os.listdir(tmp_path) == []


def test_help_documents_every_option(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    for action in draw.option_parser()._actions:
        assert action.help and action.help != "==SUPPRESS=="
        for option in action.option_strings or [action.metavar]:
            assert option in text
    assert all(f"  {kind} " in text for kind in draw.KINDS)


# --- in a process of its own ----------------------------------------------------------------------


def fresh(*words, **options):
    """What `python -m sefa.draw` did."""
    return subprocess.run(
        [sys.executable, "-m", "sefa.draw", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


def test_it_runs_as_a_module(model, tmp_path):
    made = fresh(RECIPE.to_query(), tmp_path / "a.png")
    assert (made.returncode, made.stderr) == (0, ""), made.stderr
    assert close(pixels(io.BytesIO((tmp_path / "a.png").read_bytes())), grid(model.images(RECIPE)))
    wrong = fresh("nonsense", tmp_path / "b.png")
    assert wrong.returncode == 2 and wrong.stderr.startswith("sefa: error: RECIPE is no file")
