"""A recipe -> an image, an animation, or a teaser: `python -m sefa.draw RECIPE OUT.png`.

RECIPE is what the page's links hold, a whole link, or a PNG that was saved from there. An image
carries its recipe, so it can be opened again on the page or given to this command. What the user
got wrong is one line on stderr and exit code 2.

    RECIPE -> read_recipe -> Recipe -> fit -> images -> picture, animation or teaser -> write
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from tqdm import tqdm

import checkpoints
from sefa.animation import (
    EASINGS,
    MAX_FPS,
    MAX_FRAMES,
    MAX_GIF_FPS,
    check_animation,
    draw_frames,
    encode_animation,
    frame_size,
    plan,
    same_direction,
)
from sefa.commands import (
    OneLineParser,
    check_folder,
    count_on,
    download_bar,
    exit_code,
    make_folder,
    number,
    whole_number,
)
from sefa.editing import (
    LISTS,
    MAX_MODEL,
    MAX_QUERY,
    MAX_SAMPLES,
    QUERY_FIELDS,
    VIEWS,
    Edit,
    Recipe,
    fit,
    model_name,
)
from sefa.errors import UserError
from sefa.export import resize_images
from sefa.factorization import parse_layers
from sefa.files import write_atomically
from sefa.labels import Labels, is_index
from sefa.pictures import MAX_PNG, grid, one_of, png_bytes, recipe_of_png
from sefa.rendering import LoadedModel, ModelCache, default_device, render
from sefa.teaser import MAX_FRAMES as MAX_STEPS
from sefa.teaser import MAX_STRIPS, STEPS, check_link, check_strips, draw_strips, teaser_page

FRAMES, FPS = 48, 24.0  # two seconds for each direction of an animation
AT_LEAST = 256  # pixels: chroma of a video is halved, which small images would not bear
LEAST = 1e-6  # alpha of a direction that moves anything

DESCRIPTION = """\
Draws what a recipe says. RECIPE is one of:

  a query, as links hold it      'v=1&model=avatars&seed=3&edits=0-1:4:2.5'
  a link to the page             'https://...?v=1&model=avatars&seed=3'
  a PNG saved from the page      portrait.png

Quote queries and links: a shell takes "&" for itself.
"""

EPILOG = f"""\
The ending of OUT says what is made:

  .png   all samples side by side as on the page, pixels exactly as rendered; carries the recipe
  .mp4   an animation for every browser (H.264)
  .webp  an animation that an <img> shows, in all colours
  .gif   an animation that anything shows, in 256 colours
  .html  a teaser for a project page: one file with a slider for each of up to {MAX_STRIPS} directions,
         whose images are drawn before; needs no server and no network

An animation swings one direction after the other from where the recipe has it to alpha, to -alpha
and back, so that it can be played for ever; with --once, from -alpha to alpha. All else stays as in
the recipe. The sliders of a teaser go from -alpha to alpha, and it starts with all of them at 0.

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
        type=whole_number(0, MAX_SAMPLES - 1),
        help="sample I alone, the first is 0 (default: all of the recipe; of a teaser, the first)",
    )
    add(
        "--along",
        metavar="LAYERS:DIRECTION:ALPHA",
        action="append",
        help="a direction to move along and how far, written as a link's edits are: 0-1:4:2.5, or "
        "all:3*0.6+7*0.8:2 for a combination; may be given several times (default: the recipe's "
        "own edits; of a teaser of a recipe without edits, the first directions of its layers)",
    )
    add(
        "--frames",
        metavar="N",
        type=whole_number(3, MAX_FRAMES),
        help=f"how many frames each direction takes (default: {FRAMES}; of a teaser {STEPS}, an odd "
        f"number up to {MAX_STEPS})",
    )
    add(
        "--fps",
        metavar="N",
        type=number(1, MAX_FPS),
        help=f"frames of an animation a second, at most {MAX_FPS:g}, of a GIF {MAX_GIF_FPS:g} "
        f"(default: {FPS:g})",
    )
    add(
        "--easing",
        choices=tuple(EASINGS),
        help="how an animation moves: smooth, slower at the ends; linear, at one speed; cubic, "
        "resting at the ends (default: smooth)",
    )
    add(
        "--once",
        action="store_const",
        const=True,
        help="an animation from -alpha to alpha that is played once",
    )
    add(
        "--size",
        metavar="PIXELS",
        type=whole_number(16, 2048),
        help="longer side of each image of an animation (default: as rendered, but at least "
        f"{AT_LEAST})",
    )
    add("--title", metavar="TEXT", help="heading of a teaser (default: the model's name)")
    add(
        "--link",
        metavar="URL",
        help="where a teaser says that the model can be tried (default: RECIPE where it is an "
        "https link)",
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Recipe -> model -> images -> file. Raises UserError."""
    out = Path(options.out)
    make = maker(out, options)
    asked = read_recipe(options.recipe)
    tell(asked.notices)
    moves = [parse_move(text) for text in options.along or ()]
    recipe = asked.recipe
    if options.sample is not None:
        recipe = one_of(recipe, options.sample)
    if options.link is None:
        options.link = asked.link
    check_folder(str(out.parent))

    if not options.model and asked.somebodys:
        check_offered(recipe.model)
    if options.model:
        recipe = replace(recipe, model=name_for(options.model, asked))
    model, labels = load_model(options.model or recipe.model)
    recipe, misfits = fit_to(model, recipe)
    tell(misfits)
    for move in moves:
        model.vector(move)  # before anything is drawn: whether there is such a direction
    content, what = make(model, recipe, moves, labels, options)
    write(out, content)
    print(f"Wrote {out}: {what}, {len(content) / 1e6:.2f} MB")


# ----------------------------------------------------------------------------- the recipe


@dataclass(frozen=True)
class Asked:
    """What RECIPE held.

    notices: a sentence for every part that was not taken over; names_model: whether it said which
    model it is for; somebodys: whether it came in a file or a link, which anybody may have made;
    link: its address, "" where it is none.
    """

    recipe: Recipe
    notices: list[str]
    names_model: bool
    somebodys: bool = False
    link: str = ""


def read_recipe(text: str) -> Asked:
    """The recipe in a query, a link, or a PNG file. Raises UserError for anything else."""
    if os.path.isfile(text):
        recipe, notices = recipe_of_png(read_file(text))
        return Asked(recipe, notices, True, somebodys=True)
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
    link = text if text.startswith("https://") else ""  # others are of no use elsewhere
    return Asked(recipe, notices, "model" in keys, "://" in text, link)


def check_offered(name: str) -> None:
    """Refuses a model that neither the catalogue nor SEFA_MODELS has: a picture that somebody sent
    must not choose what is downloaded here, with the token of whoever looks at it. Raises UserError.
    """
    try:
        checkpoints.resolve_name(name)
    except UserError:
        raise UserError(
            f"RECIPE is of the model {name}, which is neither in the catalogue nor in SEFA_MODELS: "
            f"if you trust it, say so by --model {name}."
        ) from None


def read_file(path: str) -> bytes:
    """What is in a file, at most a byte more than a PNG may have. Raises UserError."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_PNG + 1)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None


def parse_move(text: str) -> Edit:
    """What --along says. Raises UserError."""
    move = Edit.from_text(text)
    if abs(move.alpha) < LEAST:
        raise UserError(f"--along {text[:80]} goes nowhere: its alpha must not be 0.")
    return move


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
    return model_name(re.sub(r"[^\w./@+-]", "_", name)[:MAX_MODEL])


# ----------------------------------------------------------------------------- the model


def load_model(source: str) -> tuple[LoadedModel, Labels]:
    """The model on its device, and the names of its directions. Raises UserError."""
    with download_bar() as progress:
        path = checkpoints.fetch(source, progress=progress).path
    model = ModelCache().get(path, default_device())
    generator = model.generator
    print(f"{source}: {generator.family}, {generator.resolution} px, on {generator.device}")
    return model, checkpoints.load_labels(source, path, generator)


def fit_to(model: LoadedModel, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """`fit` for this model."""
    generator = model.generator
    sizes = generator.num_ws, generator.w_dim, generator.label_dim
    return fit(recipe, *sizes, has_noise=generator.has_noise)


def draw(model: LoadedModel, recipe: Recipe) -> np.ndarray:
    """uint8 [num_samples, H, W, C], with a bar where it takes a while. Raises UserError."""
    w, conditions = model.inputs(recipe)
    with drawing(len(w)) as bar:
        return render(model.generator, w, progress=count_on(bar), conditions=conditions)


def drawing(total: int) -> tqdm:
    """A bar of images, for what takes a while."""
    options = {"desc": "Drawing", "unit": "image", "delay": 0.5, "leave": False, "disable": None}
    return tqdm(total=total, **options)


# ----------------------------------------------------------------------------- what is made


def picture(
    model: LoadedModel,
    recipe: Recipe,
    moves: Sequence[Edit],
    labels: Labels,
    options: argparse.Namespace,
) -> tuple[bytes, str]:
    """The PNG of a recipe's samples, and what it is. Nothing moves."""
    image = grid(draw(model, recipe))
    samples = "1 sample" if recipe.num_samples == 1 else f"{recipe.num_samples} samples"
    return png_bytes(image, recipe), f"{samples}, {image.shape[1]} x {image.shape[0]} px"


def animation(
    model: LoadedModel,
    recipe: Recipe,
    moves: Sequence[Edit],
    labels: Labels,
    options: argparse.Namespace,
) -> tuple[bytes, str]:
    """The animation of a recipe along `moves` or its own edits, and what it is."""
    moves = moves or own_moves(recipe)
    if not moves:
        raise UserError("This recipe has no edits to swing: say along what, as in --along 0-1:4:3.")
    kind, fps = Path(options.out).suffix.lower()[1:], options.fps or FPS
    recipes = plan(
        recipe, moves, options.frames or FRAMES, options.easing or "smooth", not options.once
    )
    size = options.size or max(model.generator.resolution, AT_LEAST)
    check_animation(kind, fps, len(recipes), *frame_size(size, recipe.num_samples))

    def images(recipe: Recipe) -> np.ndarray:
        return resize_images(model.images(recipe), size)

    with drawing(len(recipes)) as bar:
        frames = draw_frames(recipes, images, progress=count_on(bar))
    length, height, width = frames.shape[:3]
    what = f"{length} frames, {length / fps:.1f} s, {width} x {height} px"
    return encode_animation(frames, kind, fps, loop=not options.once), what


def teaser(
    model: LoadedModel,
    recipe: Recipe,
    moves: Sequence[Edit],
    labels: Labels,
    options: argparse.Namespace,
) -> tuple[bytes, str]:
    """The teaser of a recipe's first sample along `moves`, its own edits or its layers' first
    directions, and what it is."""
    moves = moves or own_moves(recipe) or first_moves(model, recipe)
    if len(moves) > MAX_STRIPS:
        tell([f"A teaser shows the first {MAX_STRIPS} of these {len(moves)} directions."])
    moves = moves[:MAX_STRIPS]
    if recipe.num_samples > 1:
        tell(["A teaser shows one sample, here the first: --sample chooses another."])
    count = options.frames or STEPS
    check_strips(len(moves), count)
    check_link(options.link)
    named = labels.with_names(recipe.names, model.generator.num_ws)
    names = [called(model, named, move) for move in moves]
    with drawing(count * len(moves)) as bar:
        strips = draw_strips(recipe, moves, names, model.images, count, count_on(bar))
    page = teaser_page(options.title or recipe.model, strips, options.link)
    directions = "1 direction" if len(strips) == 1 else f"{len(strips)} directions"
    return page.encode("ascii"), f"{directions} of {count} frames"


def own_moves(recipe: Recipe) -> list[Edit]:
    """The edits of a recipe as moves: each direction once."""
    moves: list[Edit] = []
    for change in recipe.edits:
        if abs(change.alpha) >= LEAST and not any(same_direction(change, move) for move in moves):
            moves.append(change)
    return moves


def first_moves(model: LoadedModel, recipe: Recipe) -> list[Edit]:
    """The first directions of the layers that a recipe shows, as far as is usually worth seeing."""
    layers = "all" if recipe.layers in VIEWS else recipe.layers
    count = min(recipe.num_semantics, MAX_STRIPS)
    return [Edit.along(layers, i, model.generator.edit_range) for i in range(count)]


def called(model: LoadedModel, labels: Labels, move: Edit) -> tuple[str, int]:
    """What a teaser calls a direction, and the sign of the alphas that bring what it says."""
    layers = parse_layers(move.layers, model.generator.num_ws)
    if found := labels.find(layers, move.direction):
        return found
    which = f" {move.direction[0][0]}" if is_index(move.direction) else ""
    one = "layer" if len(layers) == 1 else "layers"
    where = "all layers" if move.layers == "all" else f"{one} {move.layers}"
    return f"Direction{which}, {where}", 1


PLAYED = ("along", "frames", "fps", "easing", "once", "size")
# ending -> what makes such a file, and the options that are for it
KINDS = {
    ".png": (picture, ()),
    ".mp4": (animation, PLAYED),
    ".webp": (animation, PLAYED),
    ".gif": (animation, PLAYED),
    ".html": (teaser, ("along", "frames", "title", "link")),
}


def maker(out: Path, options: argparse.Namespace):
    """What makes a file with this ending.

    Raises UserError for one that is not made, or an option that is not for it.
    """
    ending = out.suffix.lower()
    if ending not in KINDS:
        raise UserError(f"OUT must end in {', '.join(KINDS)}, not as {out.name!r} does.")
    make, taken = KINDS[ending]
    for name in (*PLAYED, "title", "link"):
        if getattr(options, name) is not None and name not in taken:
            fitting = [kind for kind, (_, names) in KINDS.items() if name in names]
            raise UserError(f"--{name} is for {', '.join(fitting)}, not for {ending}.")
    return make


def write(out: Path, content: bytes) -> None:
    """The whole file, or what was there before. Raises UserError where the disk refuses."""
    make_folder(str(out.parent))
    try:
        write_atomically(out, [content])
    except OSError as error:
        raise UserError(f"Cannot write {out}: {error.strerror or error}.") from None


if __name__ == "__main__":
    sys.exit(main())
