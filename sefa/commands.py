"""What the command lines share: options, one-line errors, exit codes, bars, folders."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from sefa.errors import UserError


class OneLineParser(argparse.ArgumentParser):
    """argparse, but a bad option raises UserError instead of printing the usage and exiting."""

    def error(self, message: str):
        if "--gpu_id" in message:
            message += " (the environment variable SEFA_DEVICE chooses the device)"
        raise UserError(f"{message} ({self.prog} --help lists the options)")


def whole_number(low: int, high: int):
    """An argparse type: an integer from low to high."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"expected an integer from {low} to {high}, found {text!r}"
            )
        return value

    return parse


def number(low: float, high: float):
    """An argparse type: a float from low to high; NaN is none."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"expected a number from {low:g} to {high:g}, found {text!r}"
            )
        return value

    return parse


def exit_code(run: Callable[[], None]) -> int:
    """Runs a command: 0, or 2 after one line on stderr, 130 after Ctrl-C, 141 after a closed pipe."""
    try:
        run()
        sys.stdout.flush()
    except UserError as error:
        print(f"sefa: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # stdout went to `head`, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as finished:  # --help
        return finished.code or 0
    return 0


@contextmanager
def download_bar() -> Iterator[Callable[[int, int | None], None]]:
    """A `progress(done_bytes, total_bytes)` for a download, which moves a bar on stderr."""
    # delay: a file that is here already shows no bar.
    options = {"desc": "Downloading", "unit": "B", "unit_scale": True, "delay": 0.5}
    with tqdm(**options, leave=False, disable=None) as bar:
        yield count_on(bar)


def count_on(bar: tqdm) -> Callable[[int, int | None], None]:
    """A `progress(done, total)` that moves a bar."""

    def progress(done: int, total: int | None) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress


def check_folder(folder: str) -> None:
    """Refuses a folder that could not be made or written, before any work; makes nothing."""
    nearest = os.path.abspath(folder)
    while not os.path.lexists(nearest):
        nearest = os.path.dirname(nearest)
    if not os.path.isdir(nearest):
        raise UserError(f"Cannot write to {folder}: {nearest} is not a folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"Cannot write to {folder}: no permission to write in {nearest}.")


def make_folder(folder: str) -> None:
    try:
        os.makedirs(folder or ".", exist_ok=True)
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot make the folder {folder}: {error}.") from None
