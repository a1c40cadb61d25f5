"""What an image costs: `python benchmarks/synthesis.py [--quick] [--reference DIR]`.

For families, resolutions, batches and precisions: seconds an image, the arithmetic a second that this
is, its share of what a matrix product and the network's own largest convolution reach on this machine
in the same run, and the peak memory of the process. The arithmetic is that of convolutions by their
definition, however they are computed here.

With --reference, checkouts of the official code (https://github.com/genforce/sefa, and for StyleGAN3, which
that does not know, https://github.com/NVlabs/stylegan3, which needs scipy), the same weights and codes are drawn by
both, in processes of their own and in turn, the official one as its users run it: the largest difference of the
images, and the ratio of the times. Every figure is a median over the rounds. The last line has the worst share and
ratio of the float32 cases.
"""

import argparse
import functools
import importlib
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import sefa
from sefa import generators
from sefa.generators.generator import Generator
from sefa.precision import set_precision
from sefa.rendering import default_device, prepare
from tests.helpers import tiny_pggan, tiny_state_dict, tiny_stylegan

CASES = (
    ("pggan", 1024),
    ("stylegan", 256),
    ("stylegan", 1024),
    ("stylegan2", 256),
    ("stylegan2", 1024),
    ("stylegan3", 256),
)
QUICK = (("stylegan2", 256),)
MATRIX = 2048  # rows and columns of the product that is timed


@dataclass(frozen=True)
class Published:
    """The sizes of a family as published: channels are base / pixels, 512 at most."""

    weights: Callable[..., dict[str, torch.Tensor]]
    base: int
    sizes: dict[str, int]

    def random_weights(self, resolution: int) -> dict[str, torch.Tensor]:
        blocks = range(resolution.bit_length() - 2)
        channels = tuple(min(512, self.base // (4 << k)) for k in blocks)
        return self.weights(resolution, channels=channels, **self.sizes)


PUBLISHED = {
    "pggan": Published(tiny_pggan, 16384, {"z_dim": 512}),
    "stylegan": Published(tiny_stylegan, 16384, {"z_dim": 512, "w_dim": 512}),
    "stylegan2": Published(tiny_state_dict, 32768, {"z_dim": 512, "w_dim": 512}),
}


# --- in a process of its own: one network that draws when it is told ------------------------------


def serve(draw: Callable[[], torch.Tensor], told: dict[str, Any], connection: Connection) -> None:
    """Answers "draw" with seconds, and "images" with an array; `told` has the answers to the rest."""
    while (asked := connection.recv()) != "stop":
        if asked == "draw":
            synchronize()
            start = time.perf_counter()
            images = draw()
            synchronize()
            connection.send(time.perf_counter() - start)
        elif asked == "images":
            connection.send(images.float().cpu().numpy())
        else:
            answer = told[asked]
            connection.send(answer() if callable(answer) else answer)


def ours(connection: Connection, case: dict[str, Any]) -> None:
    device, dtype = torch.device(case["device"]), getattr(torch, case["precision"])
    os.environ["SEFA_PRECISION"] = "float32"  # until `set_precision`
    if case["weights"]:
        generator = sefa.load_generator(case["weights"])
    else:
        state = PUBLISHED[case["family"]].random_weights(case["resolution"])
        generator = generators.build(state, {"family": case["family"]})
    generator = prepare(generator, device)
    set_precision(generator, dtype)
    w = torch.from_numpy(np.load(case["codes"])).to(device)
    w = w[:, None].repeat(1, generator.num_ws, 1)
    with torch.inference_mode():
        told = {"macs": lambda: count_macs(generator, w[:1]), "peak": peak_memory}
        told["matrix"] = lambda: matrix_rate(device, dtype)
        told["shape"] = functools.cache(lambda: largest_convolution(generator, w[:1]))
        told["convolution"] = lambda: convolution_rate(*told["shape"](), len(w), device, dtype)
        serve(lambda: generator.synthesize(w), told, connection)


def official(connection: Connection, case: dict[str, Any]) -> None:
    sys.path.insert(0, case["reference"])
    sys.modules.pop("models", None)
    build = importlib.import_module("models").build_generator
    torch.manual_seed(0)
    network = build(case["family"], case["resolution"]).eval()
    with torch.no_grad():
        for name, tensor in network.named_parameters():  # constant as initialised
            if name.endswith(("noise_strength", "bias", "const")):
                tensor.normal_(std=1.0 if name.endswith("const") else 0.1)
    torch.save({"generator_smooth": network.state_dict()}, case["weights"])
    network = network.to(case["device"])
    codes = torch.from_numpy(np.load(case["codes"])).to(case["device"])
    draw = getattr(network, "synthesis", network)
    if draw is not network:  # w for every layer
        codes = codes[:, None].repeat(1, network.num_layers, 1)
    with torch.no_grad():
        serve(lambda: draw(codes)["image"], {"peak": peak_memory, "ready": True}, connection)


def official_stylegan3(connection: Connection, case: dict[str, Any]) -> None:
    """Configuration T, as initialised but for the bias."""
    sys.path.insert(0, case["reference"])
    build = importlib.import_module("training.networks_stylegan3").Generator
    torch.manual_seed(0)
    network = build(512, 0, 512, case["resolution"], 3).eval().requires_grad_(False)
    for name, tensor in network.synthesis.named_parameters():
        if name.endswith("bias") and "affine" not in name:
            tensor.normal_(std=0.1)
    torch.save(network.state_dict(), case["weights"])
    network = network.to(case["device"])
    codes = torch.from_numpy(np.load(case["codes"])).to(case["device"])
    codes = codes[:, None].repeat(1, network.num_ws, 1)
    serve(lambda: network.synthesis(codes), {"peak": peak_memory, "ready": True}, connection)


@dataclass(frozen=True)
class Official:
    """A checkout of official code is known by a file; `draw` runs one of its families."""

    file: str
    draw: Callable[[Connection, dict[str, Any]], None]


GENFORCE = Official("models/stylegan2_generator.py", official)
OFFICIAL = {
    "pggan": GENFORCE,
    "stylegan": GENFORCE,
    "stylegan2": GENFORCE,
    "stylegan3": Official("training/networks_stylegan3.py", official_stylegan3),
}


def checkout_for(code: Official, folders: Sequence[Path]) -> Path | None:
    """The one of these folders that holds this code."""
    return next((folder.resolve() for folder in folders if (folder / code.file).exists()), None)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory() -> int:
    """Bytes: of the GPU where there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def as_defined(generator: Generator, w: torch.Tensor) -> None:
    """One image by convolutions as they are defined, which gradients ask for."""
    with torch.inference_mode(False), torch.enable_grad():
        generator.synthesize(w.clone().requires_grad_())


def count_macs(generator: Generator, w: torch.Tensor) -> int:
    """Multiplications of one image, by the definition."""
    with FlopCounterMode(display=False) as counter:
        as_defined(generator, w)
    return counter.get_total_flops() // 2


class Convolutions(TorchDispatchMode):
    """Notes (multiplications, input shape, weight shape) of each plain convolution."""

    def __init__(self):
        super().__init__()
        self.found: list[tuple[int, list[int], list[int]]] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        if function is torch.ops.aten.convolution.default:
            x, weight, transposed, groups = (arguments[i] for i in (0, 1, 6, 8))
            if not transposed and groups == 1:
                macs = result[0, 0].numel() * weight.numel()
                self.found.append((macs, list(x.shape), list(weight.shape)))
        return result


def largest_convolution(generator: Generator, w: torch.Tensor) -> tuple[list[int], list[int]]:
    """Shapes of its input and its weights; of several alike the one of most channels."""
    with Convolutions() as noted:
        as_defined(generator, w)
    most = max(macs for macs, _, _ in noted.found)
    alike = [shapes for macs, *shapes in noted.found if macs > 0.99 * most]
    return max(alike, key=lambda shapes: shapes[1][1])


def convolution_rate(
    shape: list[int], weight: list[int], batch: int, device: torch.device, dtype: torch.dtype
) -> float:
    """Multiply-adds a second, two operations each."""
    options = {"device": device, "dtype": dtype}
    x = torch.randn(batch, *shape[1:], **options).to(memory_format=torch.channels_last)
    kernel = torch.randn(weight, **options).to(memory_format=torch.channels_last)
    seconds = quickest(lambda: F.conv2d(x, kernel, padding=weight[2] // 2))
    return 2 * batch * shape[2] * shape[3] * kernel.numel() / seconds


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    a = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
    return 2 * MATRIX**3 / quickest(lambda: a @ a)


def quickest(function: Callable[[], Any]) -> float:
    """Seconds, of three."""
    times = []
    for _ in range(4):  # the first warms up
        synchronize()
        start = time.perf_counter()
        function()
        synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


# --- the run --------------------------------------------------------------------------------------


class Worker:
    """A process that runs `ours` or `official`."""

    def __init__(self, target: Callable, case: dict[str, Any]):
        self.connection, theirs = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        self.process = spawn.Process(target=target, args=(theirs, case), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, what: str) -> Any:
        self.connection.send(what)
        return self.connection.recv()

    def stop(self) -> None:
        self.connection.send("stop")
        self.process.join()


def measure(case: dict[str, Any], rounds: int, draw_official: Callable | None) -> dict[str, float]:
    """Medians over the rounds: of seconds an image, rates and, with a reference, ratios."""
    rival = Worker(draw_official, case) if draw_official else None
    if rival:
        rival.ask("ready")
    worker = Worker(ours, case)
    everyone = [worker, *([rival] if rival else [])]
    for each in everyone:
        each.ask("draw")  # prepares
    peaks = [each.ask("peak") / 1e6 for each in everyone]  # before gradients take their share
    macs, batch = worker.ask("macs"), case["batch"]
    names = ("seconds", "theirs", "convolution", "matrix")
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        if rival:
            found["theirs"].append(rival.ask("draw") / batch)
        found["seconds"].append(worker.ask("draw") / batch)
        found["convolution"].append(worker.ask("convolution"))
        found["matrix"].append(worker.ask("matrix"))
    rates = [2 * macs / seconds for seconds in found["seconds"]]
    result = {
        "seconds": statistics.median(found["seconds"]),
        "gflops": statistics.median(rates) / 1e9,
        "peak": peaks[0],
    }
    for name in ("convolution", "matrix"):
        shares = [a / b for a, b in zip(rates, found[name], strict=True)]
        result[f"{name}_share"] = statistics.median(shares)
        result[name] = statistics.median(found[name]) / 1e9
    if rival:
        ratios = [a / b for a, b in zip(found["theirs"], found["seconds"], strict=True)]
        result["ratio"], result["spread"] = statistics.median(ratios), max(ratios) - min(ratios)
        result["difference"] = np.abs(worker.ask("images") - rival.ask("images")).max()
        result["their_peak"] = peaks[1]
    result["shape"] = worker.ask("shape")
    for each in everyone:
        each.stop()
    return result


def say(case: dict[str, Any], result: dict[str, Any]) -> str:
    (_, channels, size, _), (out, *_) = result["shape"]
    text = (
        f"{case['family']} {case['resolution']} px, batch {case['batch']}, {case['precision']}: "
        f"{result['seconds']:.3f} s an image, {result['gflops']:.0f} GFLOP/s, "
        f"{result['convolution_share']:.0%} of its largest convolution ({channels} to {out} at "
        f"{size} px: {result['convolution']:.0f}), {result['matrix_share']:.0%} of a matrix product "
        f"({result['matrix']:.0f}); peak {result['peak']:.0f} MB"
    )
    if "ratio" in result:
        text += (
            f"; the official code takes {result['ratio']:.2f} times as long (rounds differ by "
            f"{result['spread']:.2f}) and {result['their_peak']:.0f} MB, images differ by "
            f"{result['difference']:.1e}"
        )
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one case, within a minute")
    parser.add_argument(
        "--reference", type=Path, nargs="*", default=[], metavar="DIR",
        help="checkouts of genforce/sefa and NVlabs/stylegan3",
    )  # fmt: skip
    parser.add_argument("--only", nargs="*", metavar="FAMILY-RESOLUTION", help="e.g. stylegan2-256")
    parser.add_argument("--batch", type=int, nargs="*", default=[4])
    parser.add_argument("--precision", nargs="*", default=["float32"], help="float16, bfloat16")
    parser.add_argument("--rounds", type=int, help="5, 3 with --quick")
    parser.add_argument("--json", action="store_true", help="every case as JSON too")
    options = parser.parse_args()
    cases = QUICK if options.quick else CASES
    if options.only:
        cases = [(name.split("-")[0], int(name.split("-")[1])) for name in options.only]
    rounds = options.rounds or (3 if options.quick else 5)
    shares, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        for family, resolution in cases:
            code = OFFICIAL[family]
            checkout = checkout_for(code, options.reference)
            if checkout is None and PUBLISHED.get(family) is None:
                print(f"{family} {resolution} px: not without its official code")
                continue
            for batch in options.batch:
                for precision in options.precision:
                    codes = Path(folder, "codes.npy")
                    np.save(codes, np.random.RandomState(0).randn(batch, 512).astype(np.float32))
                    case = {
                        "family": family,
                        "resolution": resolution,
                        "batch": batch,
                        "precision": precision,
                        "device": str(default_device()),
                        "codes": str(codes),
                        "reference": str(checkout) if checkout else "",
                        "weights": os.path.join(folder, "weights") if checkout else "",
                    }
                    result = measure(case, rounds, code.draw if checkout else None)
                    print(say(case, result), flush=True)
                    if options.json:
                        print(json.dumps({**case, **result}, default=float), flush=True)
                    if precision == "float32":
                        shares.append(result["convolution_share"])
                        ratios += [result["ratio"]] if "ratio" in result else []
    line = f"conv_share={min(shares):.2f}" if shares else ""
    print(line + (f" reference_ratio={min(ratios):.2f}" if ratios else ""))


if __name__ == "__main__":
    main()
