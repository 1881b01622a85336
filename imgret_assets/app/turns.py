"""Turns: how many views the page makes at the same time, and who is next.

Belongs here: waiting for a turn. Not here: what is done in it (`app.main`).

Streamlit starts a thread for every view. Python runs one thread at a time, so that many at once are no faster, but each
takes as long as all of them; and those that hold one of Streamlit's locks when the interpreter turns to another thread
make all others wait: with fifty at once, most of the processors' time was spent idle. So a few views are made at a time
and the others wait in their order.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from imgret_assets.domain.runtime.cpu import usable_threads

# Who has waited so long for others, which perhaps wait for a server that does not answer, waits no longer.
PATIENCE_S = 30.0


class Turns:
    """A few turns at a time; who waits gets the next one in the order of asking."""

    def __init__(self, at_once: int, patience_s: float = PATIENCE_S) -> None:
        self._free = at_once
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, at most `patience_s`, and hold it within the block; without one the block runs beside it."""
        mine = self._ask()
        has_turn = mine is None or mine.wait(self._patience_s) or not self._give_up(mine)
        try:
            yield
        finally:
            if has_turn:
                self._pass_on()

    def _ask(self) -> threading.Event | None:
        """Take a free turn and return None, or return an event that is set when the turn has come."""
        with self._lock:
            if self._free:
                self._free -= 1
                return None
            mine = threading.Event()
            self._waiting.append(mine)
            return mine

    def _give_up(self, mine: threading.Event) -> bool:
        """Leave the queue; return False if the turn came in the last moment."""
        with self._lock:
            if mine.is_set():
                return False
            self._waiting.remove(mine)
            return True

    def _pass_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1


# More than there are processors: some views always wait for Neo4j. With two processors, four gave the most views.
views = Turns(2 * usable_threads())
