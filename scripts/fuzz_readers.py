"""Feeds changed files to the readers: each must be read, or refused in one sentence.

    python scripts/fuzz_readers.py --inputs 100000 [--seed 0] [FILES...]

Good files of every container, and the FILES given, are changed as tests/mutations.py says, and read
in worker processes that are watched from outside. An input that kills its worker, takes too long or
too much memory, asks the interpreter for anything, or gets no proper sentence is saved, and named by
its number: `--only NUMBER` with the same seed and files reads it again.
"""

import argparse
import os
import resource
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import torch

import sefa
from tests.helpers import is_one_sentence
from tests.mutations import change_weights, good_files, good_weights, mutate
from tests.reading import Watch, peak

SECONDS = 30.0
GROWTH = 2**30
BATCH = 5000  # inputs of one worker, so that what leaks is seen and does not add up
WEIGHTS = good_weights()
READ, REFUSED, UNFORESEEN = range(3)


def main() -> int:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    files = good_files()
    for path in arguments.files:
        files[f"{path.name} {len(files)}"] = path.read_bytes()
    if arguments.only is not None:
        content = make_input(files, arguments.seed, arguments.only)
        arguments.save.mkdir(parents=True, exist_ok=True)
        path = arguments.save / f"{arguments.only}.bin"
        path.write_bytes(content)
        print(path, *judge(Watch(), str(path)), sep="\n")
        return 0
    return fuzz(files, arguments)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="good files to change as well")
    parser.add_argument("--inputs", type=int, default=10_000, help="how many (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="for other inputs (default: 0)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="read this input, and say more")
    parser.add_argument("--save", type=Path, default=Path(tempfile.gettempdir()) / "sefa-fuzz",
                        help="folder for inputs that are not withstood (default: %(default)s)")  # fmt: skip
    return parser.parse_args()


def make_input(files: dict[str, bytes], seed: int, index: int) -> bytes:
    """One in eight is a sound file of changed weights, the others are changed files."""
    random = Random(f"{seed} {index}")
    if random.random() < 0.125:
        return change_weights(random, WEIGHTS)
    return mutate(random, files, random.choice(list(files)))


def fuzz(files: dict[str, bytes], arguments: argparse.Namespace) -> int:
    """Runs workers one after another until all inputs are done; returns the exit status."""
    counts, crashes, slowest, done = [0, 0, 0], 0, 0.0, 0
    while done < arguments.inputs:
        last = min(arguments.inputs, done + BATCH)
        for outcome, seconds in work(files, arguments, done, last):
            counts[outcome] += 1
            slowest = max(slowest, seconds)
            done += 1
        if done < last:  # the worker is gone, and with it the input it was at
            crashes += 1
            report(files, arguments, done, "it crashed or hung")
            done += 1
        print(f"{done} of {arguments.inputs}", file=sys.stderr)
    print(
        f"inputs={done} read={counts[READ]} refused={counts[REFUSED]} "
        f"unforeseen={counts[UNFORESEEN]} crashes={crashes} slowest={slowest:.2f}s"
    )
    return int(bool(counts[UNFORESEEN] or crashes))


def work(files: dict[str, bytes], arguments: argparse.Namespace, first: int, last: int):
    """(outcome, seconds) of the inputs from `first` on, as a worker tells them; fewer if it dies."""
    reader, writer = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(reader)
        status = 1
        try:
            run_worker(files, arguments, first, last, writer)
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    os.close(writer)
    try:
        while True:
            ready, _, _ = select.select([reader], [], [], SECONDS)
            told = os.read(reader, 9) if ready else b""
            if len(told) < 9:
                return
            yield struct.unpack("<Bd", told)
    finally:
        os.close(reader)
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def run_worker(files, arguments, first: int, last: int, writer: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + GROWTH, used + GROWTH))
    watch, before = Watch(), peak()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.pkl")
        for index in range(first, last):
            content = make_input(files, arguments.seed, index)
            with open(path, "wb") as file:
                file.write(content)
            start = time.perf_counter()
            outcome, reason = judge(watch, path)
            seconds = time.perf_counter() - start
            if peak() - before > GROWTH:
                outcome, reason = UNFORESEEN, f"memory grew by {peak() - before} bytes"
            if outcome == UNFORESEEN:
                report(files, arguments, index, reason)
            os.write(writer, struct.pack("<Bd", outcome, seconds))


def judge(watch: Watch, path: str) -> tuple[int, str]:
    """What became of a file, and why that is no proper outcome if it is none."""
    try:
        generator, message = watch.load(path), ""
    except sefa.CheckpointError as error:
        message = str(error)
        if error.__cause__ is not None:
            return UNFORESEEN, "".join(traceback.format_exception(error.__cause__))
    else:
        finite = all(torch.isfinite(t).all() for t in generator.state_dict().values())
        if not finite:
            return UNFORESEEN, "it was read with numbers that are none"
    if watch.events:
        return UNFORESEEN, f"while it was read: {watch.events}"
    if message and not (is_one_sentence(message) and message.isprintable()):
        return UNFORESEEN, f"this is not one sentence: {message}"
    return (REFUSED if message else READ), message


def report(files: dict[str, bytes], arguments: argparse.Namespace, index: int, why: str) -> None:
    arguments.save.mkdir(parents=True, exist_ok=True)
    path = arguments.save / f"{arguments.seed}-{index}.bin"
    path.write_bytes(make_input(files, arguments.seed, index))
    print(f"input {index}, saved as {path}: {why}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
