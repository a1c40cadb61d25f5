"""How the C library hands out memory: what images are drawn in is kept, not returned and asked anew."""

import ctypes
import functools

# Of mallopt in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT = 2**30  # bytes: no block of features is larger


@functools.cache
def keep_freed_memory() -> bool:
    """Tells glibc to keep what is freed for what comes next; whether it does.

    By default large blocks go back to the system, which clears them page by page when they are wanted
    again: of drawing on a CPU that was a third of the time. The process then stays as large as it was
    at its largest. For a process that draws, as early as possible: threads that have asked for memory
    already go on as before. Without glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    # One arena for all threads: the others' blocks go back to the system beyond 64 MiB.
    options = ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, KEPT), (M_TRIM_THRESHOLD, 2**31 - 1))
    return [mallopt(*option) for option in options] == [1] * len(options)


def give_back_memory() -> None:
    """Returns to the system what `keep_freed_memory` kept and nobody uses."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        pass
