"""The official command's whole job: `python benchmarks/grid.py --reference DIR`.

Both commands, `python sefa.py MODEL` of a checkout of the official code (https://github.com/genforce/sefa,
which needs opencv-python-headless) and `python -m sefa MODEL`, start anew and in turn with the same random
weights, and write the same two pages: 5 samples by 5 semantics by 11 steps. The official one asks for
CUDA and for an older numpy; where these are missing it is run as it is with both replaced. Ends with the
ratio of the medians, and without --reference with the seconds of ours.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What the official code needs on a machine without CUDA and with a current numpy.
RUN_OFFICIAL = """
import runpy, sys
import cv2, numpy, torch
if not torch.cuda.is_available():
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self
class Encoded(numpy.ndarray):
    def tostring(self):
        return self.tobytes()
encode = cv2.imencode
cv2.imencode = lambda *arguments: (True, encode(*arguments)[1].view(Encoded))
directory, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, directory)
sys.argv[0] = directory + "/sefa.py"
torch.set_grad_enabled(False)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# Random weights of a model in its list, where it looks for them.
MAKE_WEIGHTS = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from models import MODEL_ZOO, build_generator
torch.manual_seed(0)
options = {name: value for name, value in MODEL_ZOO[sys.argv[2]].items() if name != "url"}
network = build_generator(**options)
for name, tensor in network.named_parameters():
    if name.endswith(("noise_strength", "bias", "const")):
        tensor.data.normal_(std=1.0 if name.endswith("const") else 0.1)
torch.save({"generator_smooth": network.state_dict()}, sys.argv[3])
"""


def seconds(command: list[str], folder: Path) -> float:
    """Of a command that must succeed."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def count_images(folder: Path) -> int:
    """Images in all the pages of a folder."""
    return sum(len(re.findall("data:image", page.read_text())) for page in folder.glob("*.html"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reference", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", default="stylegan2_church256", help="of the official list")
    parser.add_argument("--layers", default="all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=5)
    options = parser.parse_args()
    times: dict[str, list[float]] = {"official": [], "ours": []}
    with tempfile.TemporaryDirectory() as name:
        folder, python = Path(name), sys.executable
        weights = folder / "checkpoints" / f"{options.model}.pth"
        weights.parent.mkdir()
        reference = str(options.reference.resolve())
        seconds([python, "-c", MAKE_WEIGHTS, reference, options.model, str(weights)], folder)
        job = ["-L", options.layers, "-N", str(options.samples), "-K", "5"]
        for _ in range(options.rounds):
            for who, start, model in (
                ("official", ["-c", RUN_OFFICIAL, reference], options.model),
                ("ours", ["-m", "sefa"], str(weights)),
            ):
                to = ["--save_dir", str(folder / who)]
                times[who].append(seconds([python, *start, model, *job, *to], folder))
                print(f"{who}: {times[who][-1]:.1f} s", flush=True)
        for who in times:
            print(f"{who}: {count_images(folder / who)} images in the pages")
    medians = {who: statistics.median(found) for who, found in times.items()}
    print(f"grid_ratio={medians['official'] / medians['ours']:.2f}")


if __name__ == "__main__":
    main()
