"""One thread that draws, and whose turn it is.

One at a time, since two would only share the same cores, and always in the same thread: every
thread that calls torch gets a team of its own to wait for.
"""

import itertools
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

# Who goes first: what somebody looks at now, what they will look at next, and what can wait.
GALLERY, STRIP, MEASURE = range(3)

Result = TypeVar("Result")


class Renderer:
    """Runs functions one at a time, the most urgent first, in the order they came."""

    def __init__(self, name: str = "render"):
        self._jobs: queue.PriorityQueue = queue.PriorityQueue()
        self._number = itertools.count()  # no two jobs compare equal
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._name = name
        self._wanted = 0.0  # when somebody last waited for an image

    def run(self, urgency: int, function: Callable[..., Result], *arguments: Any) -> Result:
        """What `function(*arguments)` returns or raises, once its turn has come."""
        return self.submit(urgency, function, *arguments).result()

    def submit(
        self, urgency: int, function: Callable[..., Result], *arguments: Any
    ) -> "Future[Result]":
        """`run`, not waited for: who needs several turns takes a place for each at once."""
        future: Future = Future()
        if urgency < MEASURE:
            self._wanted = time.monotonic()
        self._jobs.put((urgency, next(self._number), future, function, arguments))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
        return future

    def rest(self, seconds: float, most: float) -> None:
        """Returns when nobody has waited for an image for so long, or after `most` seconds."""
        end = time.monotonic() + most
        while (left := min(self._wanted + seconds, end) - time.monotonic()) > 0:
            time.sleep(left)

    def _work(self) -> None:
        while True:
            urgency, _, future, function, arguments = self._jobs.get()
            try:
                future.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                future.set_exception(error)
            if urgency < MEASURE:
                self._wanted = time.monotonic()
            del future, function, arguments  # no image is kept until the next job comes
