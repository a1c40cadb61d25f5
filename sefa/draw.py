"""A recipe -> the image it is of: `python -m sefa.draw RECIPE OUT.png`.

RECIPE is what the page's links hold, a whole link, or a PNG that was saved from there. The image
carries the recipe, so it can be opened again on the page or given to this command. What the user
got wrong is one line on stderr and exit code 2.

    RECIPE -> read_recipe -> Recipe -> fit -> images -> write
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from tqdm import tqdm

import checkpoints
from sefa.commands import (
    OneLineParser,
    check_folder,
    count_on,
    download_bar,
    exit_code,
    make_folder,
)
from sefa.editing import (
    LISTS,
    MAX_QUERY,
    QUERY_FIELDS,
    Recipe,
    fit,
    model_name,
)
from sefa.errors import UserError
from sefa.export import write_atomically
from sefa.labels import Labels
from sefa.pictures import MAX_PNG, grid, one_of, png_bytes, recipe_of_png
from sefa.rendering import LoadedModel, ModelCache, default_device, render

DESCRIPTION = """\
Draws what a recipe says. RECIPE is one of:

  a query, as links hold it      'v=1&model=avatars&seed=3&edits=0-1:4:2.5'
  a link to the page             'https://...?v=1&model=avatars&seed=3'
  a PNG saved from the page      portrait.png

Quote queries and links: a shell takes "&" for itself.
"""

EPILOG = """\
Only a file of these kinds can be OUT:

  .png   all samples side by side as on the page, pixels exactly as rendered; carries the recipe

Device: CUDA when there is one, else the CPU; the environment variable SEFA_DEVICE (cpu, cuda,
cuda:1) overrides.
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the command on `argv` (default: sys.argv[1:]) and returns its exit code."""
    return exit_code(lambda: run(option_parser().parse_args(argv)))


def option_parser() -> argparse.ArgumentParser:
    """The parser; its help says what every option does, its default and its range."""
    parser = OneLineParser(
        prog="python -m sefa.draw",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("recipe", metavar="RECIPE", help="a query, a link, or a PNG that carries its recipe")
    add("out", metavar="OUT", help="the file to write; its ending says what is made")
    add(
        "--model",
        metavar="MODEL",
        help="the checkpoint in place of the one that the recipe names: a name in the catalogue, a "
        "repository on the Hub (user/repo or user/repo/file.pkl@revision), or a file",
    )
    add(
        "--sample",
        metavar="I",
        type=int,
        help="sample I alone, the first is 0 (default: all of the recipe)",
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Recipe -> model -> images -> file. Raises UserError."""
    out = Path(options.out)
    make = kind_of(out)
    asked = read_recipe(options.recipe)
    tell(asked.notices)
    recipe = asked.recipe
    if options.sample is not None:
        recipe = one_of(recipe, options.sample)
    check_folder(str(out.parent))

    if options.model:
        recipe = replace(recipe, model=name_for(options.model, asked))
    model, labels = load_model(options.model or recipe.model)
    recipe, misfits = fit_to(model, recipe)
    tell(misfits)
    content, what = make(model, recipe, labels, options)
    write(out, content)
    print(f"Wrote {out}: {what}, {len(content) / 1e6:.2f} MB")


# ----------------------------------------------------------------------------- the recipe


@dataclass(frozen=True)
class Asked:
    """What RECIPE held: the recipe, a sentence for every part that was not taken over, and whether
    it said which model it is for."""

    recipe: Recipe
    notices: list[str]
    names_model: bool


def read_recipe(text: str) -> Asked:
    """The recipe in a query, a link, or a PNG file. Raises UserError for anything else."""
    if os.path.isfile(text):
        recipe, notices = recipe_of_png(read_file(text))
        return Asked(recipe, notices, True)
    if len(text) > MAX_QUERY + 1000:
        raise UserError(f"RECIPE is {len(text)} characters long, more than any recipe.")
    query = text
    if "://" in text:
        try:
            query = urlsplit(text).query
        except ValueError:
            raise UserError("RECIPE is no link that can be read.") from None
    keys = {key for key, _ in parse_qsl(query.removeprefix("?"), keep_blank_values=True)}
    if not keys & {"v", *QUERY_FIELDS, *LISTS}:
        raise UserError(
            "RECIPE is no file and holds no recipe: it should be a PNG saved from the page, a link "
            "to it, or a query such as 'v=1&seed=3&edits=0-1:4:2.5', in quotes."
        )
    recipe, notices = Recipe.from_query(query)
    return Asked(recipe, notices, "model" in keys)


def read_file(path: str) -> bytes:
    """What is in a file, at most a byte more than a PNG may have. Raises UserError."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_PNG + 1)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None


def tell(notices: list[str]) -> None:
    """What was not taken over, on stderr, a line each."""
    for notice in notices:
        print(f"sefa: note: {' '.join(notice.split())}", file=sys.stderr)


def name_for(source: str, asked: Asked) -> str:
    """What the recipe calls the model that --model chose.

    A file stands in for the model that the recipe names; where it names none, the file's name will
    do. Its folder is nobody's business.
    """
    name = source
    if os.path.isfile(source):
        name = asked.recipe.model if asked.names_model else Path(source).name
    try:
        return model_name(name)
    except UserError:
        return asked.recipe.model


# ----------------------------------------------------------------------------- the model


def load_model(source: str) -> tuple[LoadedModel, Labels]:
    """The model on its device, and the names of its directions. Raises UserError."""
    with download_bar() as progress:
        path = checkpoints.fetch(source, progress=progress).path
    model = ModelCache(1).get(path, default_device())
    generator = model.generator
    print(f"{source}: {generator.family}, {generator.resolution} px, on {generator.device}")
    return model, checkpoints.load_labels(source, path, generator)


def fit_to(model: LoadedModel, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """`fit` for this model."""
    generator = model.generator
    return fit(recipe, generator.num_ws, generator.w_dim, generator.label_dim)


def draw(model: LoadedModel, recipe: Recipe) -> np.ndarray:
    """uint8 [num_samples, H, W, C], with a bar where it takes a while. Raises UserError."""
    w, conditions = model.inputs(recipe)
    options = {"desc": "Drawing", "unit": "image", "delay": 0.5}
    with tqdm(total=len(w), **options, leave=False, disable=None) as bar:
        return render(model.generator, w, progress=count_on(bar), conditions=conditions)


# ----------------------------------------------------------------------------- what is made


def picture(
    model: LoadedModel, recipe: Recipe, labels: Labels, options: argparse.Namespace
) -> tuple[bytes, str]:
    """The PNG of a recipe's samples, and what it is."""
    image = grid(draw(model, recipe))
    samples = "1 sample" if recipe.num_samples == 1 else f"{recipe.num_samples} samples"
    return png_bytes(image, recipe), f"{samples}, {image.shape[1]} x {image.shape[0]} px"


KINDS = {".png": picture}


def kind_of(out: Path):
    """What makes a file with this ending. Raises UserError for one that is not made."""
    if out.suffix.lower() not in KINDS:
        raise UserError(f"OUT must end in {', '.join(KINDS)}, not as {out.name!r} does.")
    return KINDS[out.suffix.lower()]


def write(out: Path, content: bytes) -> None:
    """The whole file, or what was there before. Raises UserError where the disk refuses."""
    make_folder(str(out.parent))
    try:
        write_atomically(out, [content])
    except OSError as error:
        raise UserError(f"Cannot write {out}: {error.strerror or error}.") from None


if __name__ == "__main__":
    sys.exit(main())
