"""Independent pieces of work, each on one thread, as many at once as torch has threads.

Many small steps in a row, each shared out among all threads, wait for each other after every step: on
a busy machine most of the time. Here a thread does all the steps of its piece, in its own cache.
"""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")


def for_each(function: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Calls `function` with each item, in no order; what it raises first is raised."""
    items, threads = list(items), torch.get_num_threads()
    if len(items) == 1 or threads == 1:
        for item in items:
            function(item)
        return
    inference = torch.is_inference_mode_enabled()  # of which every thread has its own

    def run(item: Item) -> None:
        with torch.inference_mode(inference), torch.set_grad_enabled(False):
            function(item)

    for _ in workers(threads).map(run, items):
        pass


@functools.lru_cache(maxsize=1)
def workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "sefa", initializer=torch.set_num_threads, initargs=(1,))


os.register_at_fork(after_in_child=workers.cache_clear)  # a forked process has none of the threads
