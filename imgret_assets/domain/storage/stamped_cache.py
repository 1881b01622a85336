"""What was read from tables, kept in memory until one of them changes.

Belongs here: the cache. Not here: the stamp of files (`domain.storage.tables.stamp_of`), what is kept.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class StampedCache(Generic[Value]):
    """The latest values by their stamp, shared by all threads; a value is made by one thread at a time.

    Args:
        max_entries: how many are kept: the state that is served while a run is on, and the one after it.
    """

    def __init__(self, max_entries: int = 2) -> None:
        self._max_entries = max_entries
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, stamp: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a stamp; `make` makes it if it is not kept, and its errors are passed on."""
        with self._lock:
            if stamp not in self._values:
                self._values[stamp] = make()
                while len(self._values) > self._max_entries:
                    self._values.popitem(last=False)
            self._values.move_to_end(stamp)
            return self._values[stamp]
