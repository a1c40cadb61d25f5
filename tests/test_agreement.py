"""Link, PNG and command line: each gives the same images of the same recipe, to a grey level.

A recipe's link is opened in a browser and its PNG saved (A); that PNG is opened on another page and
saved again (B); a process of its own draws the link (C) and the PNG A (D).
"""

import io
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sefa.editing import MAX_EDITS, MAX_TERMS, Edit, Mix, Named, Recipe, in_order
from sefa.pictures import columns, one_of, recipe_of_png
from tests.serving import ROOT
from tests.visitor import PLAIN, Visitor

NAMES = ["B", "C", "D", "sample", "image"]
LEVEL = 1  # batches and threads move the last bits
PLAIN_MODEL, CLASSES, GREY = (
    f"user/{name}/model.safetensors" for name in ("plain", "classes", "grey")
)
DRAW = """import json, sys
from sefa import draw
sys.exit(max(draw.main(words) for words in json.load(sys.stdin)))
"""


def combination(random, terms: int, w_dim: int) -> tuple[tuple[int, float], ...]:
    """A unit vector in `terms` eigenvectors."""
    indices = random.permutation(w_dim)[:terms]
    weights = random.randn(terms)
    weights /= np.linalg.norm(weights)
    return tuple(
        (int(i), round(float(c), 6) or 1e-6) for i, c in zip(indices, weights, strict=True)
    )


def any_recipe(random, num_ws: int = 10, w_dim: int = 128) -> Recipe:
    """A recipe as somebody might have left it after a while, of the embedded model."""
    places = ["all", "0-1", "2-5", "6-9", "3", "0,4,8-9"]
    edits = [
        Edit.along(
            str(random.choice(places)), int(random.randint(w_dim)), round(random.randn() * 4, 3)
        )
        for _ in range(random.randint(6))
    ]
    if random.rand() < 0.5:
        edits.append(Edit("0-1", combination(random, 3, w_dim), round(random.randn() * 3, 3)))
    return Recipe(
        seed=int(random.randint(2**32, dtype=np.uint64)) // 2,
        num_samples=int(random.randint(1, 10)),
        truncation_psi=round(random.uniform(0, 1.5), 2),
        truncation_cutoff=[None, 4, 7][random.randint(3)],
        mix=Mix(int(random.randint(10**6)), "6-9") if random.rand() < 0.5 else None,
        layers=str(random.choice([*places, "named", "groups"])),
        order=str(random.choice(["effect", "eigenvalue", "layers"])),
        num_semantics=int(random.randint(1, 21)),
        edits=tuple(edits),
    )


def extremes(random) -> list[Recipe]:
    """As far as recipes of the embedded model go."""
    spread = tuple(
        Edit.along(layers, i, 100.0 * (-1) ** i)
        for i, layers in enumerate(["0-1", "2-5", "6-9", "all"])
    )
    many = tuple(Edit.along(f"{i % 10}", 2 * i, round(random.randn(), 3)) for i in range(MAX_EDITS))
    names = (
        Named("0-1", ((3, 1.0),), "Smile, and more"),
        Named("all", ((3, 0.6), (7, 0.8)), "Grüße (ähnlich)", -1),
        Named("all", ((0, 1.0),), "Größer"),
    )
    return [
        Recipe(edits=(Edit.along("all", 0, 100.0),)),
        Recipe(edits=(Edit.along("all", 0, -100.0),), num_samples=9, layers="groups"),
        Recipe(edits=spread, truncation_psi=2.0, seed=7),
        Recipe(truncation_psi=0.0, edits=(Edit.along("0-1", 4, 5.0),)),
        Recipe(truncation_psi=2.0, truncation_cutoff=3, num_samples=2),
        Recipe(truncation_psi=0.5, truncation_cutoff=64, num_samples=3, layers="9"),
        Recipe(seed=2**32 - 16, num_samples=16, num_semantics=20, edits=many[:3]),
        Recipe(edits=many, num_samples=2, layers="named", order="effect"),
        Recipe(edits=(Edit("all", combination(random, MAX_TERMS, 128), 6.5),), num_samples=1),
        Recipe(
            edits=(Edit("all", ((3, 0.6), (7, 0.8)), -4.0), Edit.along("all", 0, 2.345678901)),
            names=names,
            mix=Mix(2**32 - 1, "0-3"),
            num_semantics=1,
        ),
        Recipe(mix=Mix(12, "all"), num_samples=5, order="layers", layers="groups"),
    ]


def owned_recipes() -> list[Recipe]:
    """Of models with noise, with classes, and grey."""
    one = Edit.along("0-1", 3, 2.5)
    return [
        Recipe(model=PLAIN_MODEL, noise_seed=2**32 - 1, edits=(one,), mix=Mix(5, "2-3")),
        Recipe(model=CLASSES, class_index=2, num_samples=7, edits=(one,), noise_seed=0),
        Recipe(model=GREY, truncation_psi=1.3, edits=(replace(one, alpha=-100.0),)),
    ]


def twenty() -> list[Recipe]:
    random = np.random.RandomState(20)
    sharp = extremes(random)
    return sharp + [any_recipe(random) for _ in range(20 - len(sharp))]


def same(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes say the same: edits add up, in any order, and alphas have ten digits."""

    def total(recipe: Recipe) -> dict:
        alphas: dict = {}
        for change in recipe.edits:
            place = change.layers, in_order(change.direction)
            alphas[place] = alphas.get(place, 0.0) + change.alpha
        return alphas

    rest = [replace(recipe, edits=()) for recipe in (one, other)]
    return rest[0] == rest[1] and total(one) == pytest.approx(total(other), rel=1e-9)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def save(visitor: Visitor, name: str) -> bytes:
    """What a button of Export saves."""
    with visitor.page.expect_download(timeout=60_000) as download:
        visitor.page.click(f"#save-{name}")
    return download.value.path().read_bytes()


def tile(sheet: np.ndarray, recipe: Recipe, i: int) -> np.ndarray:
    """Sample i of a grid of square images."""
    across = columns(recipe.num_samples)
    size = (sheet.shape[1] + 8) // across - 8
    y, x = i // across * (size + 8), i % across * (size + 8)
    return sheet[y : y + size, x : x + size]


def opened(visitor: Visitor, query: str) -> None:
    """Opens a link on a page that is there already."""
    visitor.page.goto(f"{visitor.page.url.partition('?')[0]}?{query}", wait_until="commit")
    visitor.page.wait_for_selector("#gallery .frames img.after")
    visitor.settled()
    visitor.show("Export")


def restored(visitor: Visitor, content: bytes) -> None:
    """Opens a PNG, as somebody who was sent it does."""
    file = {"name": "theirs.png", "mimeType": "image/png", "buffer": content}
    visitor.page.set_input_files("#share-open", files=[file])


def agree(open_page, url: str, recipes: list[Recipe], folder, **environment: str) -> int:
    """Saves, opens and draws each of `recipes` every way; the largest difference of two pixels."""
    first, second = (open_page(url, PLAIN).settled() for _ in range(2))
    second.show("Export")
    words, saved = [], []
    for i, recipe in enumerate(recipes):
        opened(first, recipe.to_query())
        assert first.text("#notice") == "", recipe
        shown = Recipe.from_query(first.query)[0]
        assert same(shown, recipe)
        a = save(first, "grid")
        assert recipe_of_png(a) == (shown, [])

        restored(second, a)
        second.wait(shown)
        assert second.link == f"{url}/?{shown.to_query()}"
        b = save(second, "grid")
        assert recipe_of_png(b) == (shown, [])

        # One sample, chosen on the page by a click; of every other recipe, for the time it takes.
        sample = 5 * i % recipe.num_samples
        alone = None
        if i % 2 == 0:
            first.page.locator("#gallery figure").nth(sample).click()
            alone = save(first, "image")
            assert recipe_of_png(alone) == (one_of(shown, sample), [])
        first.page.wait_for_function("() => document.querySelector('#share-command').value")
        command = shlex.split(first.page.locator("#share-command").input_value())
        assert command == ["python", "-m", "sefa.draw", shown.to_query(), "edit.png"]

        (folder / f"a{i}.png").write_bytes(a)
        words += [[f"{url}/?{recipe.to_query()}", str(folder / f"c{i}.png")]]
        words += [[str(folder / f"a{i}.png"), str(folder / f"d{i}.png")]]
        words += [[shown.to_query(), str(folder / f"e{i}.png"), "--sample", str(sample)]]
        saved.append((shown, sample, a, b, alone))

    drawing = subprocess.run(
        [sys.executable, "-c", DRAW],
        cwd=ROOT,
        env={**os.environ, "SEFA_DEVICE": "cpu", **environment},
        input=json.dumps(words),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert drawing.returncode == 0 and drawing.stderr == "", drawing.stderr

    largest = 0
    for i, (shown, sample, a, b, alone) in enumerate(saved):
        c, d, e = ((folder / f"{name}{i}.png").read_bytes() for name in "cde")
        assert same(recipe_of_png(c)[0], shown)
        assert recipe_of_png(d)[0] == shown and recipe_of_png(e)[0] == one_of(shown, sample)
        sheet = pixels(a)
        pairs = [(b, sheet), (c, sheet), (d, sheet)]
        pairs += [(one, tile(sheet, shown, sample)) for one in (e, alone) if one]
        for name, (found, expected) in zip(NAMES, pairs, strict=False):
            difference = int(np.abs(pixels(found) - expected).max())
            assert difference <= LEVEL, f"{name} of {shown.to_query()} differs by {difference}"
            largest = max(largest, difference)
    return largest


def test_twenty_recipes_agree(visit, server, tmp_path):
    recipes = twenty()
    assert len(recipes) == 20
    largest = agree(visit, server.url, recipes, tmp_path, HF_HUB_OFFLINE="1", SEFA_MODELS="")
    print(f"\nlargest difference over 20 recipes: {largest} grey levels")


def test_models_with_noise_classes_and_grey_ones_agree(visit, owned, tmp_path):
    server, hub = owned
    recipes = owned_recipes()
    largest = agree(
        visit,
        server.url,
        recipes,
        tmp_path,
        **hub.environment(tmp_path),
        SEFA_MODELS=",".join(recipe.model for recipe in recipes),
    )
    print(f"\nlargest difference with noise, classes, and grey: {largest} grey levels")
