"""What blocks of a process share for as long as any of them runs, in all threads.

Belongs here: when sharing begins and ends. Not here: what is shared (`domain.storage.kept_tables`,
`domain.graph.connection`).
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager


class SharedWithinBlocks(ABC):
    """Something that is kept while at least one `block` runs, and dropped when the last one ends.

    Attributes:
        lock: held while what is kept is read or changed.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._blocks = 0

    @property
    def is_kept(self) -> bool:
        """True while a block runs."""
        return self._blocks > 0

    @contextmanager
    def block(self) -> Iterator[None]:
        """Keep what is shared within the block; blocks may be nested and run in several threads."""
        with self.lock:
            self._blocks += 1
        try:
            yield
        finally:
            with self.lock:
                self._blocks -= 1
                if self._blocks == 0:
                    self.drop_all()

    @abstractmethod
    def drop_all(self) -> None:
        """Drop what is kept; the lock is held."""
