"""A child process that dies of SIGKILL at a chosen moment, as a Space's does when it is put to sleep.

    killed_at(3, save_groups, folder, weights, groups)  # as its third change of the disk begins

Children are forked from a server that has imported nothing of torch's threads: quick, and alone.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.killed_imports"])
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.utime"}


def changes_the_disk(event: str, arguments: tuple) -> bool:
    """Whether an audit event is of something that a next start could find on the disk."""
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in CHANGES


def killed_at(
    moment: int, function: Callable, *arguments: Any, environ: Mapping[str, str] | None = None
) -> bool:
    """Whether the child was killed: as its `moment`th change of the disk began, from 1.

    False where `function` was done before.
    """
    process = CONTEXT.Process(target=_run, args=(moment, function, arguments, dict(environ or {})))
    process.start()
    process.join(60)
    if process.exitcode not in (0, -signal.SIGKILL):
        process.kill()
        raise AssertionError(f"the child ended with {process.exitcode}")
    return process.exitcode == -signal.SIGKILL


def started(function: Callable, *arguments: Any, environ: Mapping[str, str] | None = None):
    """A child that runs `function`, for whoever kills it."""
    process = CONTEXT.Process(target=_run, args=(0, function, arguments, dict(environ or {})))
    process.start()
    return process


def _run(moment: int, function: Callable, arguments: tuple, environ: dict[str, str]) -> None:
    os.environ.update(environ)
    count = 0

    def watch(event: str, details: tuple) -> None:
        nonlocal count
        if changes_the_disk(event, details) and details[:1] != ("/dev/null",):
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the child ends
    if moment:
        sys.addaudithook(watch)
    function(*arguments)
