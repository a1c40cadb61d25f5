"""Reads files in a process of its own and tells what that did: `python -m tests.reading FILE...`.

Prints one line of JSON a file: path, seconds, message (null when it was read), unforeseen (whether
a defect of the readers was caught), events (what the interpreter was asked to do meanwhile, but to
open that very file), and peak, by how many bytes the process has grown since its start.
"""

import json
import os
import resource
import sys
import time

import torch

import sefa

KIBI = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


class Watch:
    """Every audit event of the interpreter while a file is read (PEP 578)."""

    def __init__(self):
        self.path: str | None = None
        self.events: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        if self.path is None:
            return
        if event == "open" and str(arguments[0]) == self.path and arguments[1] in ("r", "rb"):
            return
        if event == "builtins.id":
            return
        self.events.append(f"{event} {arguments[:2]!r:.200}")

    def load(self, path: str) -> sefa.Generator:
        """`sefa.load_generator`, watched."""
        self.events = []
        self.path = path
        try:
            return sefa.load_generator(path)
        finally:
            self.path = None

    def read(self, path: str) -> tuple[str | None, bool]:
        """(message or None, whether it was an unforeseen failure)."""
        try:
            self.load(path)
            return None, False
        except sefa.CheckpointError as error:
            return str(error), error.__cause__ is not None


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBI


def main(paths: list[str]) -> None:
    torch.set_num_threads(1)
    watch, before = Watch(), peak()
    for path in paths:
        start = time.perf_counter()
        message, unforeseen = watch.read(os.fspath(path))
        report = {
            "path": path,
            "seconds": time.perf_counter() - start,
            "message": message,
            "unforeseen": unforeseen,
            "events": watch.events,
            "peak": peak() - before,
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
