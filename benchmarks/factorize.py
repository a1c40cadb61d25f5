"""Time of the decomposition for a 1024-px StyleGAN2: 18 layers, w 512, widths of config F.

Prints the median over runs; `python benchmarks/factorize.py`.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sefa.factorization import factorize_weights

# Input channels of the 17 convolutions and the last toRGB (channel_base 32768, at most 512).
CHANNELS = [512] * 10 + [512, 256, 256, 128, 128, 64, 64, 32]
RUNS = 9


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(channels, 512, generator=generator) for channels in CHANNELS]
    seconds = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        factorize_weights(weights)
        seconds.append(time.perf_counter() - start)
    first, *rest = seconds
    print(f"first {first:.3f} s, then {min(rest):.3f} to {max(rest):.3f} s")
    print(f"factorize_1024_median={statistics.median(rest):.3f}")


if __name__ == "__main__":
    main()
