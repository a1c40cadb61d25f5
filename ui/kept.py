"""What is kept because it is the same for everybody, up to so many bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Kept:
    """Values by key, of `most` bytes together; what was used least recently goes.

    Values must not hold a loaded model, which would stay in memory with them. Safe between threads.
    """

    def __init__(self, most: int):
        self.most = most
        self.bytes = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self):
        return iter(list(self._values))

    def get(self, key: Hashable) -> Any:
        """The value, used now; None where there is none."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Keeps a value of `size` bytes; one larger than all may be together is not kept."""
        with self._lock:
            if key in self._values:
                self.bytes -= self._values.pop(key)[1]
            if size > self.most:
                return
            self._values[key] = value, size
            self.bytes += size
            while self.bytes > self.most:
                self.bytes -= self._values.popitem(last=False)[1][1]
