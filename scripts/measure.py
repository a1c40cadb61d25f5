"""Measures a model's directions ahead of its visitors: `python scripts/measure.py [MODEL] [LAYERS ...]`.

Writes a file for each layer selection to --to, by default to what ships with the embedded model;
without LAYERS the groups that suit the model, and all selections that the page offers. A Space that ships such files need not measure.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sefa.factorization import parse_layers
from sefa.measurements import save_calibration, save_groups
from ui import engine, measuring
from ui.rows import selections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default=engine.EMBEDDED, help="a name in the catalogue")
    parser.add_argument("layers", nargs="*", help="such as all or 0-1")
    parser.add_argument("--to", type=Path, default=measuring.SHIPPED, metavar="FOLDER")
    options = parser.parse_args()
    model = engine.open_model(options.model)
    weights = measuring.weights_of(model)
    if not options.layers:
        save_groups(options.to, weights, model.drawing.layer_groups())
    for layers in options.layers or selections(model):
        if not options.layers and measuring.is_measured(model, layers):
            continue
        count = measuring.wanted(model)
        with tqdm(total=count, desc=f"layers {layers}", unit="direction") as bar:
            found = model.drawing.calibration(layers, count, lambda done, total, b=bar: b.update())
        indices = parse_layers(layers, model.loaded.generator.num_ws)
        save_calibration(options.to, weights, indices, found)


if __name__ == "__main__":
    main()
