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
from sefa.animation import FORMATS
from sefa.editing import Named
from sefa.export import resize_images
from sefa.pictures import grid, one_of, png_bytes, recipe_of_png
from sefa.rendering import LoadedModel
from tests.helpers import tiny_stylegan2
from tests.pages import Page
from tests.test_animation import blurred, played
from tests.test_teaser import data_of, images_of

ROOT = Path(__file__).resolve().parent.parent
A = Edit.along("0-1", 4, 2.5)
RECIPE = Recipe(seed=3, num_samples=3, edits=(A,))


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


def test_a_picture_or_link_that_somebody_sent_chooses_no_model(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SEFA_MODELS", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    theirs = replace(RECIPE, model="some/body/model.pth", edits=())
    png, out = tmp_path / "theirs.png", tmp_path / "out.png"
    png.write_bytes(png_bytes(np.zeros((2, 2, 3), np.uint8), theirs))
    for recipe in (png, f"https://example.org/?{theirs.to_query()}"):
        said = refused(capsys, recipe, out)
        assert "neither in the catalogue nor in SEFA_MODELS" in said
        assert said.rstrip().endswith("--model some/body/model.pth.") and not out.exists()
    assert run(png, out, "--model", tiny) == 0  # whoever types a name owns the machine
    monkeypatch.setenv("SEFA_MODELS", theirs.model)
    assert "neither in" not in refused(capsys, png, out)  # it is looked for


def test_what_the_model_lacks_is_told(tmp_path, capsys):
    out = tmp_path / "out.png"
    assert run("v=1&n=1&noise=3&edits=63:0:1", out) == 0
    said = capsys.readouterr().err
    assert "The noise seed 3 was left out: this model has no noise." in said
    assert "The edit 63:0:1 was left out" in said


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
    # Any file has a name that a recipe can carry.
    spaced = tiny.rename(tmp_path / "a b.safetensors")
    assert run("seed=1&n=1", out, "--model", spaced) == 0
    assert recipe_of_png(out.read_bytes())[0].model == "a_b.safetensors"
    tiny = spaced.rename(tiny)
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


# --- animations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_the_recipes_own_edits_swing_to_their_alphas_and_back(model, tmp_path, format):
    recipe = Recipe(seed=44, num_samples=1, edits=(A, Edit.along("all", 2, -3.0)))
    out = tmp_path / f"swing.{format}"
    assert run(recipe.to_query(), out, "--frames", 8, "--fps", 8) == 0
    frames, seconds, _ = played(out.read_bytes(), format)
    assert len(frames) == 16 and seconds == pytest.approx(2, abs=0.01)
    assert frames.shape[1:] == (256, 256, 3)
    for i, alphas in {0: (2.5, -3), 4: (-2.5, -3), 8: (2.5, -3), 12: (2.5, 3)}.items():
        edits = [replace(e, alpha=a) for e, a in zip(recipe.edits, alphas, strict=True)]
        expected = resize_images(model.images(replace(recipe, edits=tuple(edits))), 256)
        assert np.abs(blurred(frames[i : i + 1]) - blurred(expected)).mean() < 4


def test_an_animation_goes_along_what_is_asked_for(model, tmp_path):
    out = tmp_path / "once.gif"
    words = ["--along", "0-1:4*0.6+5*0.8:4", "--once", "--frames", 5, "--easing", "linear"]
    assert run(RECIPE.to_query(), out, *words, "--size", 64, "--fps", 10) == 0
    frames, seconds, loop = played(out.read_bytes(), "gif")
    assert frames.shape == (5, 136, 136, 3) and seconds == 0.5 and loop is None  # three samples
    combined = Edit("0-1", ((4, 0.6), (5, 0.8)), -4.0)
    expected = grid(model.images(replace(RECIPE, edits=(*RECIPE.edits, combined))))
    assert np.abs(blurred(frames[:1]) - blurred(expected[None])).mean() < 4
    assert run(RECIPE.to_query(), out, *words, "--size", 64, "--sample", 1) == 0
    assert played(out.read_bytes(), "gif")[0].shape == (5, 64, 64, 3)


# --- teasers --------------------------------------------------------------------------------------


def test_a_teaser_has_a_slider_for_every_edit_and_starts_without_them(model, tmp_path, capsys):
    # "Darker skin" is at the negative end of direction 4 of layers 2-8.
    recipe = Recipe(
        seed=44,
        num_samples=2,
        edits=(Edit.along("2-8", 4, 3.0), Edit.along("all", 2, -2.0), Edit.along("5", 1, 1.0)),
        names=(Named("all", ((2, 1.0),), "Mine"),),
    )
    out = tmp_path / "teaser.html"
    link = "https://example.org/?" + recipe.to_query()
    assert run(link, out, "--frames", 5, "--title", "My faces") == 0
    assert "the first: --sample" in capsys.readouterr().err
    page = Page(out.read_text())
    assert page.title == "My faces"
    assert page.texts["label"] == ["Darker skin", "Mine", "Direction 1, layer 5"]
    assert [a["href"] for tag, a in page.elements if tag == "a"][1] == link
    strips, images = data_of(page.text)["strips"], images_of(page.text)
    assert strips[0]["texts"] == ["−3", "−1.5", "0", "+1.5", "+3"]
    assert len({strip["frames"][2] for strip in strips}) == 1

    def expected(*edits):
        one = replace(recipe, num_samples=1, edits=edits)
        return resize_images(model.images(one), images[0].width)

    for strip, step, edits in (
        (0, 2, ()),
        (0, 4, (Edit.along("2-8", 4, -3.0),)),
        (1, 4, (Edit.along("all", 2, 2.0),)),
        (2, 0, (Edit.along("5", 1, -1.0),)),
    ):
        found = np.asarray(images[strips[strip]["frames"][step]])[None]
        assert np.abs(found.astype(int) - expected(*edits)).mean() < 2


def test_a_teaser_of_no_edits_shows_the_first_directions(tmp_path, capsys):
    out = tmp_path / "teaser.html"
    assert run("seed=44&n=1&layers=0-1&k=2", out, "--frames", 3) == 0
    page = Page(out.read_text())
    assert page.texts["label"] == ["Direction 0, layers 0-1", "Direction 1, layers 0-1"]
    assert page.title == "avatars" and page.texts["a"] == ["Shen & Zhou, CVPR 2021"]
    seven = "~".join(f"0:{i}:1" for i in range(7))
    assert run(f"seed=44&n=1&edits={seven}", out, "--frames", 3) == 0
    assert len(Page(out.read_text()).texts["label"]) == 6
    assert "first 6 of these 7" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("ending", "words", "part"),
    [
        ("png", ["--fps", "10"], "--fps is for .mp4, .webp, .gif, not for .png"),
        ("html", ["--once"], "--once is for"),
        ("mp4", ["--title", "x"], "--title is for .html"),
        ("gif", ["--fps", "60", "--along", "0:1:2"], "1 to 50"),
        ("mp4", ["--fps", "nan"], "from 1 to 60"),
        ("mp4", ["--frames", "601"], "from 3 to 600"),
        ("mp4", ["--frames", "300", *["--along", "0:1:2"] * 3], "600"),
        ("mp4", ["--along", "0-1:4"], "is not an edit"),
        ("mp4", ["--along", "0-1:4:0"], "goes nowhere"),
        ("mp4", ["--along", "0-1:4:999"], "alpha must be"),
        ("mp4", ["--along", "0-99:4:1"], "0-99"),
        ("mp4", ["--along", "0-1:9999:1"], "no semantic 9999"),
        ("mp4", ["--along", "0:1:2", "--easing", "bouncy"], "bouncy"),
        ("mp4", [], "--along 0-1:4:3"),
        ("html", ["--frames", "4"], "odd number"),
        ("html", ["--frames", "67"], "odd number"),
        ("html", ["--link", "javascript:alert(1)"], "https://"),
    ],
)
def test_an_option_that_does_not_fit_is_one_line(ending, words, part, tmp_path, capsys):
    assert part in refused(capsys, "seed=1&n=1", tmp_path / f"a.{ending}", *words)
    assert os.listdir(tmp_path) == []


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
    moving = fresh(RECIPE.to_query(), tmp_path / "a.mp4", "--frames", 4, "--fps", 4)
    assert (moving.returncode, moving.stderr) == (0, ""), moving.stderr
    assert "4 frames, 1.0 s" in moving.stdout
    assert len(played((tmp_path / "a.mp4").read_bytes(), "mp4")[0]) == 4
    wrong = fresh("nonsense", tmp_path / "b.png")
    assert wrong.returncode == 2 and wrong.stderr.startswith("sefa: error: RECIPE is no file")
