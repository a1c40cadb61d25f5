"""What a brush finds: `python benchmarks/regions.py` brushes mouth, hair and background of ten samples.

Where these are is told by the renderer's own layout and the colours of each image. For each region
prints, over the samples, how much more the first direction moves inside than outside, by area, and
the seconds it took to find. Ends with one line: the least of all ratios. `--picture FILE` draws the
samples with each region marked, and below two rows with the first direction, 2 units either way.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sefa.editing import Recipe, edit
from sefa.regions import inside_outside
from sefa.rendering import to_uint8
from ui import brush, engine

REGIONS = ("mouth", "hair", "background")


def mask_of(region: str, image: torch.Tensor) -> torch.Tensor:
    """Where a region is in an image [3, 64, 64] of the embedded model: bool [32, 32]."""
    mask = torch.zeros(64, 64)
    if region == "mouth":
        mask[42:48, 25:41] = 1
    elif region == "hair":
        mask[6:20, 20:45] = 1
    else:  # what has the colour of the upper corners
        corner = image[:, [0, 0, 2, 2], [0, 63, 0, 63]].mean(1)
        mask = ((image - corner[:, None, None]).abs().amax(0) < 0.35).float()
    return F.avg_pool2d(mask[None], 2)[0] > 0.5


def marked(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The image [3, 64, 64] with a region [32, 32] in pink."""
    area = F.interpolate(mask[None, None].float(), scale_factor=2)[0]
    return image + 0.5 * area * (torch.tensor([1.0, -0.5, 0.0])[:, None, None] - image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--picture", type=Path, metavar="FILE")
    options = parser.parse_args()
    model = engine.open_model(engine.EMBEDDED)
    for _ in range(3):  # as a page has done before: it tells how long an image takes
        engine.draw(model, Recipe())
    synthesize = model.loaded.generator.synthesize
    least, rows = [], []
    for region in REGIONS:
        ratios, seconds, columns = [], [], []
        for seed in range(options.first_seed, options.first_seed + options.samples):
            recipe = Recipe(seed=seed, num_samples=1)
            with torch.inference_mode():
                w = model.loaded.ws(recipe)
                image = synthesize(w).clamp(-1, 1)[0]
                mask = mask_of(region, image)
                start = time.perf_counter()
                first = brush.find(model, recipe, 0, mask)[0]
                seconds.append(time.perf_counter() - start)
                vector, layers = model.loaded.vector(first.step)
                ends = [
                    synthesize(edit(w, vector, a, layers)).clamp(-1, 1)
                    for a in (first.step.alpha, -first.step.alpha)
                ]
                if options.picture:
                    alphas = (2 * first.step.alpha, -2 * first.step.alpha)
                    far = [synthesize(edit(w, vector, a, layers))[0] for a in alphas]
                    columns.append(torch.cat([marked(image, mask), *far], 1))
            # On the images as they are, not at the brush's own resolution.
            inside = F.interpolate(mask[None, None].float(), scale_factor=2)[0, 0].bool()
            ratios.append(inside_outside((ends[0] - ends[1]) / 2, inside))
        least.append(min(ratios))
        rows += [torch.cat(columns, 2)] if columns else []
        print(
            f"{region:10s}  least {min(ratios):.2f}  median {statistics.median(ratios):.2f}  "
            f"{' '.join(f'{r:.1f}' for r in ratios)}  {statistics.median(seconds):.2f} s"
        )
    if options.picture:
        pixels = to_uint8(torch.cat(rows, 1)[None])[0].numpy()
        Image.fromarray(pixels).save(options.picture)
    print(f"least_ratio={min(least):.2f}")


if __name__ == "__main__":
    main()
