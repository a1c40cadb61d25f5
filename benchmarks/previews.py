"""What the small images under a moving slider cost: `python benchmarks/previews.py [--resolution 256]`.

Of each family that has them, at published size with random weights: in turn a whole gallery and the small
images of each size, medians, and which size a slider gets within `ui.previewing.SECONDS`. Whether a
checkpoint's small images are of use is another matter (`sefa/previews.py`), and random ones' are not. Ends with
the ratio of a preview's time to that of the whole gallery, by family.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.synthesis import PUBLISHED
from sefa import generators
from sefa.previews import LEAST_PIXELS
from sefa.rendering import default_device, prepare, render
from ui.previewing import SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ratios = []
    for family, published in PUBLISHED.items():
        state = published.random_weights(options.resolution)
        generator = prepare(generators.build(state, {"family": family}), default_device())
        sizes = [size for size in generator.previews if size >= LEAST_PIXELS]
        times: dict[int, list[float]] = {}
        for _ in range(options.rounds + 1):
            w = torch.randn(options.samples, generator.num_ws, generator.w_dim)
            for size in (*sizes, generator.resolution):
                start = time.perf_counter()
                with torch.inference_mode():
                    if size == generator.resolution:
                        render(generator, w)
                    else:
                        generator.preview(w.to(generator.device), size).cpu()
                times.setdefault(size, []).append(time.perf_counter() - start)
        medians = {size: statistics.median(found[1:]) for size, found in times.items()}
        print(
            f"{family}, {options.resolution} px, {options.samples} samples: "
            + ", ".join(f"{size} px {seconds:.3f} s" for size, seconds in medians.items())
        )
        whole = medians.pop(generator.resolution)
        chosen = max((size for size in medians if medians[size] <= SECONDS), default=None)
        if chosen is not None:
            ratios.append(f"{family}_{chosen}px={medians[chosen] / whole:.2f}")
    print(*ratios)


if __name__ == "__main__":
    main()
