"""What is offered to be copied makes the same images, run as a person would."""

import ast
import os
import random
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from PIL import Image

import checkpoints
from sefa import Edit, Recipe
from sefa.editing import MAX_SEED, Named
from sefa.pictures import grid, recipe_of_png
from sefa.rendering import LoadedModel
from sefa.snippets import as_command, as_python
from tests.helpers import TinyConditional, tiny_conditional
from tests.test_recipe import recipes

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def model():
    return LoadedModel(checkpoints.load("avatars"))


def random_recipe(seed, model):
    """A recipe of one to three samples, extreme in everything that an image depends on."""
    pick = random.Random(seed)
    num_ws, w_dim = model.generator.num_ws, model.generator.w_dim
    edits = []
    for _ in range(pick.randint(0, 4)):
        low, high = sorted(pick.choices(range(num_ws), k=2))
        terms = pick.sample(range(w_dim), pick.choice([1, 1, 2, 64]))
        coefficients = [1.0] if len(terms) == 1 else [pick.uniform(-1, 1) for _ in terms]
        alpha = pick.choice([-100.0, 100.0, pick.uniform(-5, 5), 0.0])
        layers = pick.choice(["all", f"{low}-{high}" if low < high else f"{low}"])
        edits.append(Edit(layers, tuple(zip(terms, coefficients, strict=True)), alpha))
    return Recipe(
        seed=pick.choice([0, MAX_SEED - 2, pick.randrange(10**6)]),
        num_samples=pick.randint(1, 3),
        truncation_psi=pick.choice([0.0, 0.7, 2.0, pick.random()]),
        truncation_cutoff=pick.choice([None, 0, 3, 64]),
        edits=tuple(edits),
    )


EXTREME = {
    "nothing set": Recipe(),
    "sixteen samples": Recipe(num_samples=16, seed=MAX_SEED - 15),
    "the mean": Recipe(truncation_psi=0.0),
    "twice as far": Recipe(truncation_psi=2.0, truncation_cutoff=0),
    "far away": Recipe(edits=(Edit.along("all", 0, 100.0), Edit.along("0-1", 3, -100.0))),
    "opposite of one": Recipe(edits=(Edit("2", ((5, -1.0),), 3.0),)),
    "64 terms": Recipe(edits=(Edit("0-3", tuple((i, 0.1 * (-1) ** i) for i in range(64)), 4.0),)),
    "layers in turn": Recipe(edits=tuple(Edit.along(f"{i % 2}", i, 1.5) for i in range(6))),
    "named": Recipe(
        edits=(Edit.along("0-1", 4, 2.5),), names=(Named("0-1", ((4, 1.0),), "Tilt, d'accord"),)
    ),
}
RECIPES = [*EXTREME.values(), *range(8)]


def in_a_fresh_process(words, folder):
    """Runs words in `folder` with this project at hand, as in a clone of it."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SEFA_DEVICE": "cpu"}
    done = subprocess.run(
        words, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr


def images_in(folder):
    """uint8 [N, H, W, C] that a script of `as_python` left behind."""
    paths = sorted(folder.glob("sample_*.png"), key=lambda path: int(path.stem.split("_")[1]))
    return np.stack([np.atleast_3d(np.asarray(Image.open(path))) for path in paths])


def assert_same(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("recipe", RECIPES, ids=[*EXTREME, *map(str, range(8))])
def test_the_script_makes_the_same_images(model, recipe, tmp_path, monkeypatch):
    recipe = recipe if isinstance(recipe, Recipe) else random_recipe(recipe, model)
    monkeypatch.chdir(tmp_path)
    exec(as_python(recipe), {})  # noqa: S102 - what is tested
    assert_same(images_in(tmp_path), model.images(recipe))


def test_the_script_and_the_command_run_in_a_fresh_process(model, tmp_path):
    # One recipe with everything in it: starting Python takes longer than drawing.
    recipe = replace(random_recipe(3, model), num_samples=16, seed=5, truncation_psi=2.0)
    recipe = replace(recipe, edits=(*recipe.edits, *EXTREME["64 terms"].edits))
    (tmp_path / "edit.py").write_text(as_python(recipe))
    in_a_fresh_process([sys.executable, "edit.py"], tmp_path)
    expected = model.images(recipe)
    assert_same(images_in(tmp_path), expected)

    # The shell takes the command apart as a person's does.
    command = as_command(recipe, "my edit.png").replace("python", shlex.quote(sys.executable), 1)
    in_a_fresh_process(["sh", "-c", command], tmp_path)
    assert_same(np.asarray(Image.open(tmp_path / "my edit.png")), grid(expected))
    assert recipe_of_png((tmp_path / "my edit.png").read_bytes()) == (recipe, [])


def test_classes_and_conditions_are_in_the_script(tmp_path, monkeypatch):
    monkeypatch.setitem(sefa_families(), "tiny", TinyConditional)
    path = tiny_conditional(tmp_path / "model.safetensors")
    recipe = Recipe(model=path.name, class_index=2, edits=(Edit.along("0", 1, 3.0),))
    monkeypatch.chdir(tmp_path)
    exec(as_python(recipe), {})  # noqa: S102 - what is tested
    with torch.inference_mode():
        assert_same(images_in(tmp_path), LoadedModel(checkpoints.load(path)).images(recipe))


def sefa_families():
    from sefa.generators import FAMILIES

    return FAMILIES


@settings(max_examples=50)
@given(recipe=recipes)
def test_any_recipe_gives_a_script_and_a_command(recipe):
    ast.parse(as_python(recipe))
    words = shlex.split(as_command(recipe))
    assert words[:3] == ["python", "-m", "sefa.draw"] and words[4] == "edit.png"
    assert Recipe.from_query(words[3]) == (recipe, [])


def test_the_script_is_short_and_says_what_it_does():
    script = as_python(EXTREME["named"])
    assert script == (
        """\
from PIL import Image

import checkpoints
import sefa
from sefa.rendering import render

generator = checkpoints.load('avatars')
z = generator.sample_z(range(0, 4))  # a seed for each sample
label = generator.one_hot(0, len(z))  # None without classes
w = generator.map(z, label, truncation_psi=0.7)

# Tilt, d'accord
directions = sefa.factorize(generator, '0-1')
w = sefa.edit(w, directions.vectors[4], 2.5, directions.layers)

conditions = generator.conditions(label, 0.7)
images = render(generator, w, conditions=conditions)  # uint8 [N, H, W, C]
for i, image in enumerate(images):
    Image.fromarray(image.squeeze()).save(f"sample_{i}.png")
"""
    )
    assert len(as_python(Recipe()).splitlines()) < 16
    longest = max(map(len, as_python(EXTREME["64 terms"]).splitlines()))
    assert longest <= 88


def test_layers_that_follow_each_other_are_factorised_once():
    edits = (Edit.along("0-1", 0, 1.0), Edit.along("0-1", 1, 2.0), Edit.along("2", 0, 1.0))
    script = as_python(Recipe(edits=edits))
    assert script.count("sefa.factorize") == 2 and script.count("sefa.edit(") == 3
