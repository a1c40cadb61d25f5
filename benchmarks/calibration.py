"""How equal "one unit" is: the embedded model's first twenty directions on seeds never measured.

`python benchmarks/calibration.py` calibrates them, takes the mean image change at +-1 on unseen
seeds, and calibrates once more there to compare the order. Prints a table, and last the largest over the
smallest change, calibrated and at raw alpha 1, with the rank correlation of the orders.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import checkpoints
from sefa.calibration import Probe, compared
from sefa.editing import Recipe
from sefa.rendering import LoadedModel

SAMPLES = 64


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """Correlation of the ranks of [K] and [K]; no two numbers are equal here."""
    ranks = torch.stack([x.argsort().argsort().double() for x in (a, b)])
    return torch.corrcoef(ranks)[0, 1].item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="avatars", help="a catalogue name or a file")
    parser.add_argument("--layers", default="all")
    parser.add_argument("--directions", type=int, default=20)
    options = parser.parse_args()
    model = LoadedModel(checkpoints.load(options.model))
    generator, directions = model.generator, model.directions(options.layers)
    count = min(options.directions, generator.w_dim)
    start = time.perf_counter()
    found = model.calibration(options.layers, count)
    seconds = time.perf_counter() - start

    unseen = Recipe(seed=0, num_samples=SAMPLES)
    with torch.inference_mode():
        w = model.ws(unseen)
        before = compared(generator.synthesize(w))
        probes = [
            Probe(generator.synthesize, w, before, vector, directions.layers)
            for vector in directions.vectors[:count]
        ]
        units = found.unit.tolist()
        at_one = [probe.amount(unit) for probe, unit in zip(probes, units, strict=True)]
        raw = [probe.amount(1.0) for probe in probes]
    again = model.calibration(options.layers, count, first_seed=SAMPLES)

    print("direction  eigenvalue    unit   reach  consistency  change at +-1  at raw 1")
    for i in range(count):
        numbers = (units[i], found.reach[i], found.consistency[i], at_one[i], raw[i])
        print(
            f"{i:9d}  {directions.eigenvalues[i]:10.2f}  {numbers[0]:6.2f}  {numbers[1]:6.2f}"
            f"  {numbers[2]:11.2f}  {numbers[3]:13.4f}  {numbers[4]:8.4f}"
        )
    print(f"calibrated in {seconds:.1f} s; order: {found.order()}")
    print(
        f"spread={max(at_one) / min(at_one):.2f} uncalibrated={max(raw) / min(raw):.2f} "
        f"spearman={spearman(found.usefulness, again.usefulness):.3f}"
    )


if __name__ == "__main__":
    main()
