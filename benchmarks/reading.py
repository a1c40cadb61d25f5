"""What reading a large pickle safely costs: `python benchmarks/reading.py [--megabytes 300]`.

Writes NVIDIA-like pickles of random StyleGAN2s, one with G, D and G_ema of a third of the size each, as
training writes them, and one that is all G_ema, the worst case; and beside each what torch.save makes
of the same weights. Each is read in a process of its own, in turn: by `sefa.formats.read`, which
gives the weights, by `sefa.load_generator`, which goes on to a generator that can draw, and by
`torch.load`. Prints the medians of time and of peak memory beyond the libraries', and ends with one
line of ratios to `torch.load`.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import sefa
from sefa import formats
from tests.helpers import tiny_state_dict
from tests.nvidia_files import nvidia_pickle, nvidia_stylegan2


def state_dict(megabytes: float) -> dict[str, torch.Tensor]:
    """A StyleGAN2 of 256 px and about this size: its 13 convolutions have nearly all the weights."""
    channels = round((megabytes * 1e6 / 4 / 9 / 13) ** 0.5)
    return tiny_state_dict(256, channels=(channels,) * 7, z_dim=512, w_dim=512)


def write(folder: Path, megabytes: float) -> None:
    """generator.pkl and .pth: all of it G_ema; training.pkl and .pth: a third of it."""
    for name, networks in (("generator", ("G_ema",)), ("training", ("G", "D", "G_ema"))):
        weights = {key: state_dict(megabytes / len(networks)) for key in networks}
        torch.save(weights, folder / f"{name}.pth")
        modules = {key: nvidia_stylegan2(tensors) for key, tensors in weights.items()}
        (folder / f"{name}.pkl").write_bytes(nvidia_pickle(modules))


READERS = {  # name -> (its file's ending, how it reads)
    "formats.read": (".pkl", formats.read),
    "load_generator": (".pkl", sefa.load_generator),
    "torch.load": (".pth", lambda path: torch.load(path, weights_only=True)),
}


def read(path: Path, reader: str) -> None:
    """In a process of its own: reads one file, and prints seconds and bytes."""
    before = peak_memory()
    start = time.perf_counter()
    kept = READERS[reader][1](path)
    seconds = time.perf_counter() - start
    assert kept is not None
    print(seconds, peak_memory() - before)


def peak_memory() -> int:
    """Bytes that this process held at most, so far (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=float, default=300, help="size of a file")
    parser.add_argument("--runs", type=int, default=7, help="of each, in turn")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(Path(options.read[0]), options.read[1])
        return
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.megabytes)
        for name in ("training", "generator"):
            figures: dict[str, list[tuple[float, float]]] = {reader: [] for reader in READERS}
            for _ in range(options.runs):
                for reader, (suffix, _) in READERS.items():
                    path = Path(folder, name + suffix)
                    command = [sys.executable, __file__, "--read", str(path), reader]
                    output = subprocess.run(command, capture_output=True, text=True, check=True)
                    seconds, peak = map(float, output.stdout.split())
                    figures[reader].append((seconds, peak / path.stat().st_size))
            for reader, found in figures.items():
                seconds, peak = (statistics.median(values) for values in zip(*found, strict=True))
                print(f"{name}: {reader} {seconds:.2f} s, peak {peak:.2f} x its size")
                pairs = zip(found, figures["torch.load"], strict=True)
                ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
                if reader != "torch.load":
                    ratios.append(f"{name}_{reader}={ratio:.2f}")
            ratios.append(f"{name}_peak={max(peak for _, peak in figures['load_generator']):.2f}")
    print(*ratios)


if __name__ == "__main__":
    main()
