"""What moving a slider of later layers costs: `python benchmarks/edits.py [--resolution 1024] [--first 13]`.

A StyleGAN2 of published size with random weights. In turn one image that has nothing in common with the
last, and one whose w differs from the last in the layers from `first` on only, as under a slider that
moves. Prints the medians and how much of the arithmetic those layers are, and ends with the ratio.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.synthesis import PUBLISHED, as_defined
from sefa import generators
from sefa.generators.generator import Generator
from sefa.rendering import default_device, prepare, render


def share(generator: Generator, w: torch.Tensor, first: int) -> float:
    """Of an image's multiplications, those of the layers from `first` on."""
    with FlopCounterMode(display=False) as whole:
        as_defined(generator, w)
    with FlopCounterMode(display=False) as before, torch.enable_grad():
        generator.features(w.clone().requires_grad_(), first)
    return 1 - before.get_total_flops() / whole.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--first", type=int, default=13, help="index of the first layer edited")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    state = PUBLISHED["stylegan2"].random_weights(options.resolution)
    generator = prepare(generators.build(state, {"family": "stylegan2"}), default_device())
    part = share(generator, torch.randn(1, generator.num_ws, generator.w_dim), options.first)
    times: dict[str, list[float]] = {"whole": [], "edit": []}
    for _ in range(options.rounds + 1):
        w = torch.randn(options.samples, 1, generator.w_dim).repeat(1, generator.num_ws, 1)
        for name, first in (("whole", 0), ("starts", options.first), ("edit", options.first)):
            w = w.clone()
            w[:, first:] += torch.randn(generator.w_dim)
            start = time.perf_counter()
            render(generator, w)
            times.setdefault(name, []).append(time.perf_counter() - start)
    whole, edit = (statistics.median(times[name][1:]) for name in ("whole", "edit"))
    print(
        f"{options.resolution} px, {options.samples} sample(s): whole {whole:.3f} s, layers "
        f"{options.first}-, {part:.0%} of the arithmetic: {edit:.3f} s"
    )
    print(f"later_layers={edit / whole:.2f}")


if __name__ == "__main__":
    main()
