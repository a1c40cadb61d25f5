"""Measure the demo model against its training data: `python -m demo_model.evaluate`.

Every training image is drawn from known factors, so the model can be held against the truth: how
far its images are from rendered ones, how varied they are, which factors' values they show, and
what SeFa's directions change, next to those of PCA and random ones. Prints tables, and last one
line with the numbers to watch. What depends on the renderer alone, the regressor that reads factors
off images and the rendered images, is made once and kept in `--state`. SEFA_DEVICE chooses the
device.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import torch

import sefa
from sefa.commands import OneLineParser, check_folder, exit_code, make_folder
from sefa.errors import UserError
from sefa.labels import Labels, parse_labels
from sefa.rendering import default_device

from . import pictures, quality, regressor, renderer, tables
from .images import bar, codes, generate_images, rendered_images
from .rescoring import Rescoring, layer_groups
from .swd import SMALLEST, levels
from .train import WEIGHTS, image_grid, save_picture, write_atomically

HELD_OUT = 4096  # images on which the regressor is tested
FOLDER = WEIGHTS.parent
LABELS = FOLDER / "labels.json"
STRIP_SAMPLES = 2
STRIP_REACH = 0.6  # of the sliders' range


def main(arguments=None):
    return exit_code(lambda: run(parser().parse_args(arguments)))


def parser():
    result = OneLineParser(
        prog="python -m demo_model.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    home, add = cache / "sefa-space" / "evaluation", result.add_argument
    add("--weights", type=Path, default=WEIGHTS, help="the model (default: the one that ships)")
    add("--images", type=int, default=8192, help="images in each set (default: 8192)")
    add("--samples", type=int, default=512, help="samples for re-scoring (default: 512)")
    add("--state", type=Path, default=home, help="folder of the regressor and rendered images")
    add("--json", type=Path, metavar="FILE", help="write all numbers to a file")
    add("--search", action="store_true", help="only list the directions that could have names")
    add("--pictures", action="store_true", help="only draw the model card's pictures")
    return result


def run(options):
    if options.images < 2 or options.samples < 16:
        raise UserError("An evaluation needs at least 2 images and 16 samples.")
    generator = load(options.weights)
    for folder in (options.state, *([options.json.parent] if options.json else [])):
        check_folder(folder)
        make_folder(folder)
    judge = regressor.load_or_train(options.state, generator.resolution, generator.device)
    rescoring = Rescoring(generator, judge, options.samples)
    if options.search:
        report = {"nameable": rescoring.nameable()}
        show(tables.nameable(report["nameable"]))
    elif options.pictures:
        report = draw(generator, rescoring, options.weights)
    else:
        report = evaluate(generator, judge, rescoring, options)
    if options.json:
        write_atomically(options.json, lambda p: p.write_text(json.dumps(report, indent=1)))


def load(path):
    """The generator, on the device. Raises `UserError` for one that cannot be compared."""
    generator = sefa.load_generator(path)
    r = generator.resolution
    if generator.num_channels != 3 or generator.label_dim or r < SMALLEST or r & (r - 1):
        raise UserError(
            f"{path} cannot be compared with the renderer's images; that takes an unconditional "
            f"RGB model of a power of two of at least {SMALLEST} pixels."
        )
    return generator.to(default_device(), memory_format=torch.channels_last)


def evaluate(generator, judge, rescoring, options):
    """All measurements, printed as they come; returns the numbers."""
    count, resolution, report = options.images, generator.resolution, {}

    def say(name, numbers, *more):
        report[name] = numbers
        show(getattr(tables, name)(numbers, *more))

    generated = generate_images(generator, count)
    (rendered, factors), (second, _) = (
        rendered_images(options.state, resolution, count, seed, generator.device) for seed in (1, 2)
    )
    show(f"{options.weights}: {generator.family}, {resolution} px; {count:,} images of each kind")
    with bar("sliced Wasserstein", len(levels(resolution))) as progress:
        say("wasserstein", quality.wasserstein(generated, rendered, second, progress.update))
    say("diversity", quality.diversity(generated, rendered))

    ours, theirs = judge.predict(generated), judge.predict(rendered)
    say("coverage", quality.coverage(ours, theirs, judge.scale))
    some = slice(HELD_OUT)
    truth = judge.scale.encode(factors)[some]
    say("readings", quality.readings(ours, theirs[some], truth, judge.scale), len(truth))

    say("matrix", rescoring.matrix(), options.samples)
    try:
        labels = read_labels(generator, options.weights)
    except (OSError, UserError):
        labels = Labels()
    if names := labels.indexed():
        rows = rescoring.rows(places(labels, generator.num_ws), "named")
        say("named", [{"name": name} | row for (name, _), row in zip(names.values(), rows)])
    groups = layer_groups(generator.num_ws)
    say("comparison", {group: rescoring.compare(group) for group in groups})
    show(tables.last_line(report))
    return report


def draw(generator, rescoring, weights):
    """Write the model card's pictures; returns the numbers in them.

    samples.webp: seeds 0 to 63, not chosen. renderer.webp: training images, at 128 pixels.
    strips.webp: the directions that labels.json names. rescoring.png: the matrix, with those.
    """
    try:
        labels = read_labels(generator, weights)
    except (OSError, UserError) as error:
        raise UserError(f"No pictures are drawn for want of {LABELS.name}: {error}") from None
    samples = image_grid(rescoring.draw(codes(generator, range(64))), 16)
    save(samples, FOLDER / "samples.webp", "WEBP", quality=92)
    factors = renderer.sample_factors(24, torch.Generator().manual_seed(1))
    training = image_grid(renderer.render(factors, 128), 8)
    save(training, FOLDER / "renderer.webp", "WEBP", quality=92)

    report = {"matrix": rescoring.matrix(places(labels, generator.num_ws))}
    matrix = report["matrix"]
    changes = torch.tensor([list(row["changes"].values()) for row in matrix])
    directions = [(row["layers"], row["index"]) for row in matrix]
    heat_map = pictures.heat_map(changes, directions, list(matrix[0]["changes"]))
    save(heat_map.quantize(256), FOLDER / "rescoring.png", "PNG", optimize=True)

    named = [(name, list(at), i, sign) for (at, i), (name, sign) in labels.indexed().items()]
    seeds = (*labels.seeds, *range(STRIP_SAMPLES))[:STRIP_SAMPLES]
    reach = generator.edit_range * STRIP_REACH
    strips = pictures.strips(generator, named, seeds, reach)
    save(strips, FOLDER / "strips.webp", "WEBP", quality=85)
    return report


def read_labels(generator, weights):
    """The names of this model's directions. Raises `OSError` or `UserError` where it has none."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return parse_labels(LABELS.read_bytes(), digest, generator.num_ws, generator.w_dim)


def places(labels, num_ws):
    """The eigenvectors that have names, as (selection, index)."""
    return [
        ("all" if len(layers) == num_ws else sefa.format_layers(layers), index)
        for layers, index in labels.indexed()
    ]


def save(picture, path, kind, **settings):
    save_picture(picture, path, kind, **settings)
    show(f"wrote {path}")


def show(text):
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
