"""The command line: `python -m sefa MODEL -L 0-1 -N 5 -K 5` makes two HTML pages of edited images.

Options, defaults and file names are those of the official SeFa tool; `--method` finds directions in
another way, and `--compare` adds a page that holds all ways against each other. What the user got
wrong is one line on stderr and exit code 2; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from tqdm import tqdm

import checkpoints
from sefa import Directions, Generator, edit, format_layers, load_generator
from sefa.baselines import METHODS, PCA_SEEDS, RANDOM_SEED, directions_by, stands_out
from sefa.calibration import SHARE
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
from sefa.comparison import NOTICED, EqualChange, equal_change
from sefa.editing import MAX_SEED, Recipe
from sefa.errors import UserError
from sefa.export import (
    IMAGE_FORMATS,
    MethodComparison,
    TraversalGrid,
    encode_images,
    format_distance,
    resize_images,
    write_methods_page,
    write_pages,
)
from sefa.labels import Labels
from sefa.rendering import LoadedModel, default_device, prepare, render, take_rows

MAX_VIZ_SIZE = 2048
MAX_DISTANCE = 10_000.0
# A page holds all its images: beyond about 8000 of 256 px (some 250 MB) browsers give up.
MAX_IMAGES = 8192
MAX_PIXELS = MAX_IMAGES * 256**2
MAX_CHANGE = 10.0  # units of change: as much as another sample
MAX_FULL_SIZE = 32  # images held before they are resized: 100 MB at 1024 px

VALUE_NAMES = {"sefa": "eigenvalue", "pca": "variance", "random": ""}

# What a page's command repeats where it is no default, beside MODEL, -L, -N and -K.
REPEATED_OPTIONS = (
    "method",
    "seed",
    "start_distance",
    "end_distance",
    "step",
    "viz_size",
    "image_format",
    "trunc_psi",
    "trunc_layers",
    "class_idx",
    "codes",
    "codes_space",
)

DESCRIPTION = """\
Finds the directions in a GAN's latent space that change its images most (SeFa: closed form, no
training, no sampling) and writes two HTML pages that show them on a few samples:

  {model}_N{samples}_K{semantics}_L{layers}_seed{seed}_sample_first.html
  {model}_N{samples}_K{semantics}_L{layers}_seed{seed}_semantic_first.html

--compare writes a third, ..._methods.html, which shows SeFa, PCA and random directions side by side
on the same samples, each going as far as it takes for the same change of the images.
"""

EPILOG = f"""\
Catalogue: {", ".join(checkpoints.CATALOGUE)}.

Seeds: sample i is drawn from its own seed, --seed + i, so an image does not depend on how many are
asked for. The official SeFa tool draws all samples from one torch seed: its seed 0 shows other
samples.

Device: CUDA when there is one, else the CPU; the environment variable SEFA_DEVICE (cpu, cuda,
cuda:1) overrides, in place of the official tool's --gpu_id.
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the command line on `argv` (default: sys.argv[1:]) and returns its exit code."""
    return exit_code(lambda: run(parse_options(argv)))


def run(options: argparse.Namespace) -> None:
    """Checkpoint -> directions -> samples -> edited images -> the pages. Raises UserError."""
    codes = None if options.codes is None else load_codes(options.codes, options.num_samples)
    check_folder(options.save_dir)
    check_amount(options, options.num_samples if codes is None else len(codes))

    generator, labels = load_model(options.model)
    class_index = find_class(generator, options)
    found = find_directions(generator, options)
    if codes is None:
        samples = seeded_samples(generator, class_index, options)
    else:
        samples = given_samples(generator, codes, class_index, options)
    print(f"Samples: {samples.origin}; rendered on {generator.device}")

    make_folder(options.save_dir)
    chosen_class = class_text(generator, class_index)
    names = names_of(found, labels, options)
    grid = render_grid(generator, samples, options.method, found, names, options)
    for path in write_grid(grid, options.save_dir, file_prefix(options, grid, chosen_class)):
        print(f"Wrote {path}")
    if options.compare:
        equal = find_equal_change(generator, found, class_index, options)
        comparison = render_comparison(generator, samples, found, names, equal, options)
        prefix = file_prefix(options, grid, chosen_class, compare=True)
        print(f"Wrote {write_comparison(comparison, options.save_dir, prefix)}")


# ----------------------------------------------------------------------------- options


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    """The options in `argv`, each within its own range. Raises UserError."""
    return option_parser().parse_args(argv)


def option_parser() -> argparse.ArgumentParser:
    """The parser; its help says what every option does, its default and its range."""
    parser = OneLineParser(
        prog="python -m sefa",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="a name in the catalogue (below), a repository on the Hub (user/repo or "
        "user/repo/file.pkl@revision), or a checkpoint file",
    )
    add(
        "--save_dir",
        metavar="FOLDER",
        default="results",
        help="where the pages go; made if missing (default: %(default)s)",
    )
    add(
        "-L",
        "--layer_idx",
        metavar="LAYERS",
        default="all",
        help="layers to decompose and edit: all, or indices and ranges such as 0-1,4 "
        "(default: %(default)s)",
    )
    add(
        "--method",
        choices=tuple(METHODS),
        default="sefa",
        help="how directions are found: sefa, in closed form from the weights; pca, the main axes "
        f"of {PCA_SEEDS} mapped codes, as GANSpace does for StyleGAN; random, orthogonal ones as "
        "the baseline. Files of the last two have the method in their name (default: %(default)s)",
    )
    add(
        "--compare",
        action="store_true",
        help="a third page, on which all three methods move the same samples at equal change of "
        "the images, whatever --method is; there --start_distance and --end_distance are in units "
        f"of change, {-MAX_CHANGE:g} to {MAX_CHANGE:g}, of which {1 / SHARE:g} are the mean "
        "difference of two samples",
    )
    add(
        "-N",
        "--num_samples",
        metavar="N",
        type=whole_number(1, MAX_IMAGES),
        default=5,
        help="how many samples to show (default: %(default)s)",
    )
    add(
        "-K",
        "--num_semantics",
        metavar="K",
        type=whole_number(1, MAX_IMAGES),
        default=5,
        help="how many semantics to show, largest eigenvalues first (default: %(default)s)",
    )
    add(
        "--start_distance",
        metavar="ALPHA",
        type=number(-MAX_DISTANCE, MAX_DISTANCE),
        default=-3.0,
        help="first distance along a semantic, in units of its unit vector (default: %(default)s)",
    )
    add(
        "--end_distance",
        metavar="ALPHA",
        type=number(-MAX_DISTANCE, MAX_DISTANCE),
        default=3.0,
        help="last distance along a semantic (default: %(default)s)",
    )
    add(
        "--step",
        metavar="STEPS",
        type=whole_number(1, MAX_IMAGES),
        default=11,
        help="how many images from the first distance to the last (default: %(default)s)",
    )
    add(
        "--viz_size",
        metavar="PIXELS",
        type=whole_number(1, MAX_VIZ_SIZE),
        default=256,
        help="longer side of the images on the pages, at most "
        f"{MAX_VIZ_SIZE} (default: %(default)s)",
    )
    add(
        "--image_format",
        choices=IMAGE_FORMATS,
        default="jpeg",
        help="jpeg: small pages; png: exact pixels, for figures (default: %(default)s)",
    )
    add(
        "--trunc_psi",
        metavar="PSI",
        type=number(-MAX_DISTANCE, MAX_DISTANCE),
        default=0.7,
        help="truncation: how far samples stay from the average, 1 for none (default: %(default)s)",
    )
    add(
        "--trunc_layers",
        metavar="LAYERS",
        type=whole_number(0, MAX_IMAGES),
        default=8,
        help="how many layers are truncated, from the first (default: %(default)s)",
    )
    add(
        "--seed",
        type=whole_number(0, MAX_SEED),
        default=0,
        help="seed of the first sample; sample i has seed SEED + i (default: %(default)s)",
    )
    add(
        "--class_idx",
        metavar="CLASS",
        help="class of all samples, for class-conditional models only: its index, its name, or "
        "the beginning of one name",
    )
    add(
        "--codes",
        metavar="FILE.npy",
        help="prepared latent codes instead of seeds, of which the first N are used: [n, z_dim] "
        "are mapped and truncated, [n, w_dim] go to every layer as they are, [n, num_ws, w_dim] "
        "are used as they are; where z_dim equals w_dim, two-dimensional codes are z",
    )
    add(
        "--codes_space",
        choices=("z", "w", "wp"),
        help="what the codes are, where their shape does not say it: z (mapped and truncated), "
        "w (one for all layers) or wp (one a layer)",
    )
    return parser


def check_amount(options: argparse.Namespace, num_samples: int) -> None:
    """Refuses, before anything is loaded, what no page could hold and seeds that run out."""
    images = num_samples * options.num_semantics * options.step
    methods = ""
    if options.compare:
        images, methods = images * len(METHODS), f" x {len(METHODS)} methods"
    limit = min(MAX_IMAGES, MAX_PIXELS // options.viz_size**2)
    if images > limit:
        raise UserError(
            f"{num_samples} samples x {options.num_semantics} semantics x {options.step} steps"
            f"{methods} are {images} images; a page holds at most {limit} of {options.viz_size} px."
        )
    if options.compare and largest_distance(options) > MAX_CHANGE:
        raise UserError(
            "With --compare, --start_distance and --end_distance are in units of change and go from "
            f"{-MAX_CHANGE:g} to {MAX_CHANGE:g}, which is as much as another sample."
        )
    if options.codes is None and options.seed + num_samples - 1 > MAX_SEED:
        raise UserError(f"--seed plus the number of samples must stay below {MAX_SEED + 1}.")


def file_prefix(
    options: argparse.Namespace, grid: TraversalGrid, chosen_class: str, compare: bool = False
) -> str:
    """The part that file names share, such as "avatars_N5_K5_L0-1_seed0".

    With the method, where that is not SeFa; `compare`: without, for the page of all methods.
    """
    if options.codes is None:
        origin = f"seed{options.seed}"
    else:
        origin = f"codes-{safe_name(Path(options.codes).stem)}"
    if chosen_class:
        origin += f"_class{safe_name(chosen_class)}"
    if options.method != "sefa" and not compare:
        origin += f"_{options.method}"
    numbers = f"N{len(grid.samples)}_K{grid.num_semantics}_L{grid.layers}"
    return f"{safe_name(grid.model)}_{numbers}_{origin}"


def reproducing_command(options: argparse.Namespace, layers: str, compare: bool = False) -> str:
    """The command line that makes the same pages: what names the files, and what is no default.

    `compare`: the same page of all methods, for which --method is nothing.
    """
    words = ["python", "-m", "sefa", options.model, "-L", layers]
    words += ["-N", str(options.num_samples), "-K", str(options.num_semantics)]
    words += ["--compare"] if compare else []
    defaults = option_parser()
    for name in REPEATED_OPTIONS:
        value = getattr(options, name)
        if value != defaults.get_default(name) and not (compare and name == "method"):
            words.append(f"--{name}={value}")  # "=": a value may start with a minus sign
    return shlex.join(words)


def largest_distance(options: argparse.Namespace) -> float:
    """Of the distances asked for, how far the farthest is from the unedited image."""
    return max(abs(options.start_distance), abs(options.end_distance))


def model_name(source: str) -> str:
    """A catalogue name as it is, a file's stem, or "user_repo[_stem]" for a Hub address."""
    if os.path.isfile(source):
        return Path(source).stem
    address = source.split("@")[0]
    known = re.compile(r"\.(pkl|pth|pt|bin|safetensors|ckpt)$", re.IGNORECASE)
    return known.sub("", address).strip("/").replace("/", "_")


def safe_name(text: str) -> str:
    """`text` as part of a file name anywhere: letters, digits, "._-", at most 100 bytes."""
    name = re.sub(r"[^\w.-]+", "_", text).lstrip(".-")
    return name.encode("utf-8", "ignore")[:100].decode("utf-8", "ignore") or "unnamed"


# ----------------------------------------------------------------------------- model and samples


@dataclass(frozen=True)
class Samples:
    """The unedited samples.

    w: float32 [N, num_ws, w_dim]; conditions: what their images depend on beside it, see
    `Generator.conditions`; labels: N texts; origin: one for all.
    """

    w: torch.Tensor
    conditions: dict[str, Any]
    labels: list[str]
    origin: str


def load_model(source: str) -> tuple[Generator, Labels]:
    """`checkpoints.load` with a bar for the download, and the names of its directions.

    Raises UserError.
    """
    with download_bar() as progress:
        path = checkpoints.fetch(source, progress=progress).path
    generator = prepare(load_generator(path), default_device())
    labels = checkpoints.load_labels(source, path, generator)
    layers = "1 layer" if generator.num_ws == 1 else f"{generator.num_ws} layers"
    classes = f", {generator.label_dim} classes" if generator.label_dim else ""
    print(
        f"{source}: {generator.family}, {generator.resolution} px, {layers}, "
        f"z {generator.z_dim}, w {generator.w_dim}{classes}"
    )
    return generator, labels


def find_directions(generator: Generator, options: argparse.Namespace) -> dict[str, Directions]:
    """Method -> all directions of the layers asked for: --method's, or with --compare those of all.

    Raises UserError where -K asks for more.
    """
    found = {}
    for method in METHODS if options.compare else [options.method]:
        started = time.perf_counter()
        with tqdm(desc="Mapping codes", total=0, leave=False, disable=None, delay=0.5) as bar:
            directions = directions_by(method, generator, options.layer_idx, count_on(bar))
        seconds = time.perf_counter() - started
        count = len(directions.vectors)
        if options.num_semantics > count:
            raise UserError(
                f"-K/--num_semantics is {options.num_semantics}, but these layers have {count} "
                f"directions: choose 1 to {count}."
            )
        if not found:
            names = [generator.layer_names[i] for i in directions.layers]
            if len(names) > 4:
                names[2:-1] = ["..."]
            print(f"Layers {format_layers(directions.layers)}: {', '.join(names)}")
        if method == "sefa":
            print(f"Decomposed in {seconds:.3f} s: {count} directions")
        else:
            how = method_text(method, directions)
            print(f"{how}: {count} directions in {seconds:.3f} s")
        eigenvalues = directions.eigenvalues[: options.num_semantics].tolist()
        if eigenvalues:
            title = f"{VALUE_NAMES[method].capitalize()}s"
            print(f"{title}: {', '.join(f'{value:.4g}' for value in eigenvalues)}")
        found[method] = directions
    return found


def method_text(method: str, directions: Directions) -> str:
    """How the directions were found, for people."""
    if method == "sefa":
        return "SeFa, in closed form from the weights"
    if method == "random":
        return f"Random orthogonal directions, seed {RANDOM_SEED}"
    text = f"PCA of {PCA_SEEDS} mapped codes"
    if not stands_out(directions.eigenvalues):
        text += " (no axis of w stands out, so they are as good as random)"
    return text


def names_of(
    found: dict[str, Directions], labels: Labels, options: argparse.Namespace
) -> dict[str, list[str]]:
    """Method -> the names of its directions, "" for none; people have named SeFa's alone."""
    return {
        method: [
            labels.text(directions.layers, k) if method == "sefa" else ""
            for k in range(options.num_semantics)
        ]
        for method, directions in found.items()
    }


def find_class(generator: Generator, options: argparse.Namespace) -> int | None:
    """The index of the class that was asked for; None where none was. Raises UserError."""
    if options.class_idx is None:
        return None
    if generator.label_dim == 0:
        raise UserError("--class_idx is for class-conditional models; this model has no classes.")
    return generator.class_index(options.class_idx)


def class_text(generator: Generator, index: int | None) -> str:
    """ "207 golden retriever", "207" where classes have no names, "" for none."""
    if index is None:
        return ""
    names = generator.class_names
    return f"{index} {names[index]}" if names is not None else f"{index}"


def one_label(generator: Generator, index: int | None, n: int) -> torch.Tensor | None:
    """[n, label_dim] of one class, None for a model without. Raises UserError where none is chosen."""
    if generator.label_dim and index is None:
        named = " or a class's name" if generator.class_names is not None else ""
        raise UserError(
            f"This model is class-conditional: choose --class_idx 0 to {generator.label_dim - 1}"
            f"{named}."
        )
    label = generator.one_hot(index or 0, n)
    return None if label is None else label.to(generator.device)


def seeded_samples(
    generator: Generator, class_index: int | None, options: argparse.Namespace
) -> Samples:
    """Samples of the seeds --seed, --seed + 1, ..., mapped and truncated. Raises UserError."""
    seeds = list(range(options.seed, options.seed + options.num_samples))
    label = one_label(generator, class_index, len(seeds))
    w = map_truncated(generator, generator.sample_z(seeds), label, options)
    span = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    facts = [span, truncation_text(generator, options)]
    if class_index is not None:
        facts.append(f"class {class_text(generator, class_index)}")
    conditions = generator.conditions(label, options.trunc_psi)
    labels = [f"seed {seed}" for seed in seeds]
    return Samples(w, conditions, labels, ", ".join(filter(None, facts)))


def given_samples(
    generator: Generator,
    codes: np.ndarray,
    class_index: int | None,
    options: argparse.Namespace,
) -> Samples:
    """Samples of the prepared codes, read in the space they are in. Raises UserError."""
    space = codes_space(codes.shape, generator, options.codes_space)
    codes = torch.from_numpy(codes)
    facts = [f"{len(codes)} codes of {Path(options.codes).name}, used as {space}"]
    label = None
    if space == "z" or label_beside_w(generator):
        label = one_label(generator, class_index, len(codes))
        if label is not None:
            facts.append(f"class {class_text(generator, class_index)}")
    if space == "z":
        w = map_truncated(generator, codes, label, options)
        facts.insert(1, truncation_text(generator, options))
    elif space == "w":
        w = codes[:, None].repeat(1, generator.num_ws, 1)
    else:
        w = codes
    conditions = generator.conditions(label, options.trunc_psi)
    labels = [f"code {i}" for i in range(len(codes))]
    return Samples(w, conditions, labels, ", ".join(filter(None, facts)))


def label_beside_w(generator: Generator) -> bool:
    """Whether images depend on the class beside w, so that codes in w need one too."""
    if generator.label_dim == 0:
        return False
    conditions = generator.conditions(one_label(generator, 0, 1), 1.0)
    return any(isinstance(value, torch.Tensor) for value in conditions.values())


def map_truncated(
    generator: Generator, z: torch.Tensor, label: torch.Tensor | None, options: argparse.Namespace
) -> torch.Tensor:
    """w [N, num_ws, w_dim] of z [N, z_dim]."""
    with torch.no_grad():
        z = z.to(generator.device)
        return generator.map(z, label, options.trunc_psi, options.trunc_layers)


def truncation_text(generator: Generator, options: argparse.Namespace) -> str:
    """What truncation did to the samples; nothing for a model that has none."""
    if not generator.has_truncation:
        return ""
    if options.trunc_psi == 1 or (generator.has_cutoff and options.trunc_layers == 0):
        return "no truncation"
    some = f" on the first {options.trunc_layers} layers" if generator.has_cutoff else ""
    return f"truncation psi {options.trunc_psi:g}{some}"


# ----------------------------------------------------------------------------- prepared codes


def load_codes(path: str, limit: int) -> np.ndarray:
    """float32 [n, ...], n <= limit, two or three dimensions, finite. Raises UserError.

    Nothing in the file is run, and no more of it is read than is used.
    """
    if not os.path.isfile(path):
        raise UserError(f"There is no file of codes at {path}.")
    try:
        # Mapped, so that a huge file, or one that claims to be, takes no memory.
        codes = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, TypeError, OverflowError, BadZipFile) as error:
        raise UserError(f"{path} is no .npy file of numbers: {error}") from None
    if not isinstance(codes, np.ndarray):
        raise UserError(f"{path} is an archive; expected one array in a .npy file.")
    if codes.dtype.kind not in "fiu":
        raise UserError(f"{path} holds {codes.dtype}; expected real numbers.")
    if codes.ndim not in (2, 3) or 0 in codes.shape:
        raise UserError(
            f"{path} has shape {list(codes.shape)}; expected [n, z_dim], [n, w_dim] or "
            "[n, num_ws, w_dim]."
        )
    with np.errstate(over="ignore"):
        codes = np.array(codes[:limit], dtype=np.float32)
    if not np.isfinite(codes).all():
        raise UserError(f"{path} holds a NaN or an infinity.")
    return codes


def codes_space(shape: tuple[int, ...], generator: Generator, asked: str | None) -> str:
    """ "z", "w" or "wp" for codes of this shape; two-dimensional codes that could be both are z.

    Raises UserError where the shape does not fit the model, or not what was asked for.
    """
    fitting = {
        "z": (generator.z_dim,),
        "w": (generator.w_dim,),
        "wp": (generator.num_ws, generator.w_dim),
    }
    spaces = [asked] if asked else list(fitting)
    for space in spaces:
        if shape[1:] == fitting[space]:
            return space
    expected = " or ".join(f"[n, {', '.join(map(str, fitting[s]))}] ({s})" for s in spaces)
    raise UserError(f"The codes have shape {list(shape)}; this model takes {expected}.")


# ----------------------------------------------------------------------------- images and pages


def step_distances(start: float, end: float, steps: int) -> list[float]:
    """`steps` evenly spaced distances, both ends included; one step is the start alone."""
    distances = np.linspace(start, end, steps)
    # Rounding may leave 4e-16 in the middle of -0.3..0.3, which is the unedited image.
    distances[np.abs(distances) < 1e-12 * max(abs(start), abs(end))] = 0.0
    return distances.tolist()


def render_grid(
    generator: Generator,
    samples: Samples,
    method: str,
    found: dict[str, Directions],
    names: dict[str, list[str]],
    options: argparse.Namespace,
    units: list[float] | None = None,
) -> TraversalGrid:
    """Renders a strip for every (sample, semantic) of a method; keeps only the encoded images.

    `names`: one a semantic, "" for none. `units`: alpha of one unit of distance for each
    semantic, 1 where none are given.
    """
    directions = found[method]
    distances = step_distances(options.start_distance, options.end_distance, options.step)
    eigenvalues = directions.eigenvalues[: options.num_semantics].tolist()
    vectors = directions.vectors[: options.num_semantics]
    units = units or [1.0] * len(vectors)
    images = []
    total = len(samples.labels) * len(vectors)
    desc = "Rendering" if len(found) == 1 else f"Rendering {METHODS[method]}"
    with tqdm(total=total, desc=desc, unit="strip", leave=False, disable=None) as bar:
        for i, w in enumerate(samples.w.split(1)):
            sample = w, take_rows(samples.conditions, [i])
            images.append([])
            unmoved: list[np.ndarray] = []
            for vector, unit in zip(vectors, units, strict=True):
                alphas = [unit * distance for distance in distances]
                strip = render_strip(
                    generator, sample, vector, directions.layers, alphas, options, unmoved
                )
                images[-1].append(encode_images(strip, options.image_format))
                bar.update()
    layers = layers_text(options.layer_idx, directions)
    return TraversalGrid(
        model=model_name(options.model),
        layers=layers,
        samples=samples.labels,
        eigenvalues=eigenvalues,
        distances=distances,
        images=images,
        image_size=(strip.shape[2], strip.shape[1]),
        names=names[method],
        facts=[
            ("Method", method_text(method, directions)),
            ("Model", f"{generator.family}, {generator.resolution} px"),
            ("Samples", samples.origin),
        ],
        command=reproducing_command(options, layers),
        value_name=VALUE_NAMES[method],
    )


def render_strip(
    generator: Generator,
    sample: tuple[torch.Tensor, dict[str, Any]],
    vector: torch.Tensor,
    layers: list[int],
    alphas: list[float],
    options: argparse.Namespace,
    unmoved: list[np.ndarray],
) -> np.ndarray:
    """uint8 [S, h, w, C] at --viz_size: one sample, (w [1, num_ws, w_dim], its conditions), at
    each alpha.

    unmoved: the image at 0, which is the same for every direction; empty until one was drawn.
    """
    w, conditions = sample
    drawn = []
    wanted = [alpha for alpha in alphas if alpha or not unmoved]
    for start in range(0, len(wanted), MAX_FULL_SIZE):
        some = wanted[start : start + MAX_FULL_SIZE]
        edited = torch.cat([edit(w, vector, alpha, layers) for alpha in some])
        beside = take_rows(conditions, [0] * len(some))
        images = render(generator, edited, conditions=beside)
        drawn += list(resize_images(images, options.viz_size))
    if not unmoved and 0 in alphas:
        unmoved.append(drawn[wanted.index(0)])
    found = dict(zip(wanted, drawn, strict=True))
    return np.stack([found[alpha] if alpha in found else unmoved[0] for alpha in alphas])


def find_equal_change(
    generator: Generator,
    found: dict[str, Directions],
    class_index: int | None,
    options: argparse.Namespace,
) -> EqualChange:
    """How far to go along every direction for the change at the largest distance asked for.

    Raises UserError for a model whose images cannot be told apart.
    """
    model, distance = LoadedModel(generator), largest_distance(options) or 1.0
    with tqdm(desc="Measuring", total=0, unit="direction", leave=False, disable=None) as bar:
        equal = equal_change(
            model, list(found.values()), options.num_semantics, distance, class_index, count_on(bar)
        )
    print(f"Alpha for {distance:g} units of change: {mean_alphas(equal)}, on average")
    return equal


def mean_alphas(equal: EqualChange) -> str:
    """ "SeFa 1.39, PCA 1.8, Random none": how far each method goes for the same change.

    Of the directions that get there.
    """
    texts = []
    for title, alphas, shares in zip(METHODS.values(), equal.alphas, equal.shares, strict=True):
        reached = [a for a, share in zip(alphas, shares, strict=True) if share > 1 - NOTICED]
        mean = f"{sum(reached) / len(reached):.3g}" if reached else "none"
        texts.append(f"{title} {mean}")
    return ", ".join(texts)


def strip_notes(name: str, alpha: float, share: float) -> list[str]:
    """What stands under the method of a strip: the direction's name, and what equal change took."""
    notes = [name] if name else []
    notes.append(f"alpha ±{alpha:.3g}")
    if abs(share - 1) > NOTICED:
        notes.append(f"{share:.0%} of the change")
    return notes


def render_comparison(
    generator: Generator,
    samples: Samples,
    found: dict[str, Directions],
    names: dict[str, list[str]],
    equal: EqualChange,
    options: argparse.Namespace,
) -> MethodComparison:
    """The methods' strips of the same samples, distances in units of change."""
    grids = []
    for method, alphas in zip(found, equal.alphas, strict=True):
        units = [alpha / equal.distance for alpha in alphas]
        grids.append(render_grid(generator, samples, method, found, names, options, units))
    far = format_distance(equal.distance)
    psi = f" at truncation psi {Recipe.truncation_psi:g}" if generator.has_truncation else ""
    meaning = (
        f"At ±{far}, images differ from the unedited ones by {far} units on average, and the steps "
        f"between are even in alpha; {1 / SHARE:g} units are the mean difference of two samples. "
        f"Measured on {equal.samples} other samples{psi}, at all scales of the image: it is how "
        "much changes, not what, and one image may change more than another."
    )
    return MethodComparison(
        methods=[METHODS[method] for method in found],
        grids=grids,
        notes=[
            [
                strip_notes(name, alpha, share)
                for name, alpha, share in zip(names[method], alphas, shares, strict=True)
            ]
            for method, alphas, shares in zip(found, equal.alphas, equal.shares, strict=True)
        ],
        main_facts=[
            ("Equal change", meaning),
            ("Alpha", f"±{far} took {mean_alphas(equal)} on average, in unit vectors."),
        ],
        facts=[
            ("Methods", "; ".join(method_text(method, found[method]) for method in found)),
            *grids[0].facts[1:],  # without its method
        ],
        command=reproducing_command(options, grids[0].layers, compare=True),
    )


def layers_text(asked: str, directions: Directions) -> str:
    """ "all" where that was asked for, else the shortest text for the layers: "0-1,4"."""
    everything = asked.strip().lower() == "all"
    return "all" if everything else format_layers(directions.layers)


def write_grid(grid: TraversalGrid, folder: str, prefix: str) -> list[Path]:
    """Writes the two pages and returns their paths. Raises UserError where the disk refuses."""
    try:
        return write_pages(folder, prefix, grid)
    except OSError as error:
        raise UserError(f"Cannot write the pages: {error}.") from None


def write_comparison(comparison: MethodComparison, folder: str, prefix: str) -> Path:
    """Writes the page of all methods and returns its path. Raises UserError as `write_grid`."""
    try:
        return write_methods_page(folder, prefix, comparison)
    except OSError as error:
        raise UserError(f"Cannot write the page: {error}.") from None


if __name__ == "__main__":
    sys.exit(main())
