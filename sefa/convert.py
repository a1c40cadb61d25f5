"""Any checkpoint -> one .safetensors: `python -m sefa.convert SOURCE TARGET.safetensors`.

The target holds the generator alone, under this project's names, with its configuration in the
metadata: smaller than a training file, quick to load, and with nothing in it that could run. It is
read back, and its images are compared, before it takes its place.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch

import checkpoints
from sefa import formats, generators
from sefa.commands import OneLineParser, exit_code
from sefa.errors import UserError
from sefa.files import whole_or_not
from sefa.formats import native
from sefa.formats.checkpoint import Checkpoint
from sefa.generators.generator import Generator

SAMPLES = 2  # images compared
SHOWN = ("version", "family")  # of a configuration, what is told in other words or not at all


def main(argv: list[str] | None = None) -> int:
    """Runs the command on `argv` (default: sys.argv[1:]) and returns its exit code."""
    return exit_code(lambda: run(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    result = OneLineParser(
        prog="python -m sefa.convert",
        description="Writes the generator in a checkpoint as one .safetensors file: its weights, "
        "and its configuration in the metadata. Nothing in the checkpoint is executed.",
        allow_abbrev=False,
    )
    result.add_argument(
        "source",
        metavar="SOURCE",
        help="a checkpoint file, a repository on the Hub (user/repo/file.pkl@revision), or a name "
        "of the catalogue",
    )
    result.add_argument(
        "target", metavar="TARGET.safetensors", help="the file to write; must not be there yet"
    )
    result.add_argument(
        "--overwrite", action="store_true", help="replace TARGET where it is there already"
    )
    return result


def run(options: argparse.Namespace) -> None:
    """Source -> checkpoint -> file -> checkpoint -> the same images. Raises UserError."""
    target = Path(options.target)
    check_target(target, options.overwrite)
    source = checkpoints.fetch(options.source).path
    checkpoint = formats.read(source)
    with formats.naming(source):
        generator = generators.build(checkpoint.state_dict, checkpoint.config)
    print(f"{source.name}: {describe(checkpoint, generator)}")
    difference = write_checked(checkpoint, generator, target)
    print(f"Read back: images differ by at most {difference:g} (in a range of 2)")
    print(f"Wrote {target}, {size_of(target)} (from {size_of(source)})")


def check_target(target: Path, overwrite: bool) -> None:
    """Refuses, before any work, a target that is not to be written."""
    if target.suffix != ".safetensors":
        raise UserError(f"{target} does not end in .safetensors, which is what is written.")
    if target.exists() and (not overwrite or not target.is_file()):
        raise UserError(f"{target} is there already: choose another name, or add --overwrite.")
    if not target.parent.is_dir():
        raise UserError(f"There is no folder {target.parent} to write to.")


def describe(checkpoint: Checkpoint, generator: Generator) -> str:
    """What was recognised: whose file, the network's sizes, and what shapes cannot tell."""
    classes = f"{generator.label_dim} classes" if generator.label_dim else "no classes"
    colour = "grey" if generator.num_channels == 1 else "RGB"
    said = {name: value for name, value in checkpoint.config.items() if name not in SHOWN and value}
    settings = [
        f"{name} by layer" if isinstance(value, (list, dict)) else f"{name} {value}"
        for name, value in said.items()
    ]
    facts = [
        f"{generator.family} ({checkpoint.layout})",
        f"{generator.resolution} px {colour}",
        f"{generator.num_ws} {'layer' if generator.num_ws == 1 else 'layers'}",
        f"z {generator.z_dim}, w {generator.w_dim}",
        classes,
        *settings,
    ]
    return ", ".join(facts)


def write_checked(checkpoint: Checkpoint, generator: Generator, target: Path) -> float:
    """Writes `target` whole or not at all; the largest difference of its images.

    Raises UserError where the disk refuses, or the file does not give the images it should.
    """
    try:
        with whole_or_not(target) as part:
            native.write(checkpoint, part)
            again = formats.read(part)
            twin = generators.build(again.state_dict, again.config)
            difference = float(np.abs(images(generator) - images(twin)).max())
            if not difference < 1e-4:
                raise UserError(
                    f"The file written gives other images (by {difference:g}), so it was not kept."
                )
            del again, twin  # the file is mapped
            part.chmod(0o666 & ~umask())
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error.strerror or error}.") from None
    return difference


def umask() -> int:
    """The permissions that a new file of this user's does not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def images(generator: Generator) -> np.ndarray:
    """float32 [SAMPLES, C, H, W] of the first seeds, truncated a little, of the first class."""
    z = generator.sample_z(range(SAMPLES))
    label = generator.one_hot(0, SAMPLES)
    with torch.inference_mode():
        w = generator.map(z, label, truncation_psi=0.7)
        return generator.synthesize(w, **generator.conditions(label, 0.7)).numpy()


def size_of(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
