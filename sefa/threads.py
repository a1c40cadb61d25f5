"""How many threads torch may use for work that gains nothing from several."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch meanwhile.

    Threads wait for each other in short spins. On a busy machine of two cores an eigenvalue solver
    was seen to take 7 s on two threads and 0.05 s on one, and the loading of a model, whose many
    small steps only wait for memory, twice as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
