"""What reading a large pickle safely costs: `python benchmarks/reading.py [--megabytes 300]`.

Writes NVIDIA-like pickles of random StyleGAN2s, one with G, D and G_ema of a third of the size each, as
training writes them, and one that is all G_ema, the worst case; and beside each what torch.save makes
of the same weights. Each is read in a process of its own, in turn with `torch.load`; what is timed is
`sefa.load_generator`, the whole way to a generator that can draw. Prints the medians of time and of
peak memory beyond the libraries', and ends with one line of ratios.
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


def read(path: Path) -> None:
    """In a process of its own: reads one file, and prints seconds and bytes."""
    import sefa

    before = peak_memory()
    start = time.perf_counter()
    if path.suffix == ".pkl":
        kept = sefa.load_generator(path)
    else:
        kept = torch.load(path, weights_only=True)
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
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read)
        return
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.megabytes)
        for name in ("training", "generator"):
            figures: dict[str, list[tuple[float, float]]] = {".pkl": [], ".pth": []}
            for _ in range(options.runs):
                for suffix, found in figures.items():
                    path = Path(folder, name + suffix)
                    command = [sys.executable, __file__, "--read", str(path)]
                    output = subprocess.run(command, capture_output=True, text=True, check=True)
                    seconds, peak = map(float, output.stdout.split())
                    found.append((seconds, peak / path.stat().st_size))
            for suffix, found in figures.items():
                seconds, peak = (statistics.median(values) for values in zip(*found, strict=True))
                reader = "sefa.load_generator" if suffix == ".pkl" else "torch.load"
                print(f"{name}{suffix}: {reader} {seconds:.2f} s, peak {peak:.2f} x its size")
            pairs = zip(figures[".pkl"], figures[".pth"], strict=True)
            ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
            peak = max(peak for _, peak in figures[".pkl"])
            ratios.append(f"{name}_time_ratio={ratio:.2f} {name}_peak={peak:.2f}")
    print(*ratios)


if __name__ == "__main__":
    main()
