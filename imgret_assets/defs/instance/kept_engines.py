"""SQLAlchemy engines and their connections, kept while Dagster's SQLite storage is open.

Belongs here: one engine with one open connection for each database file of the storage. Not here: opening the storage
(`defs.instance.dagster_home`), what is stored in it.

For each event Dagster makes several engines, opens a connection with each, compiles its statements, and forgets all. A
run without changes stores two hundred events.
"""

import importlib
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

# The modules of Dagster that make an engine for each connection, by the name `create_engine`.
_MODULES = (
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
)
# Files whose connections stay open: a run needs three. Reading all runs opens a file for each of them.
MAX_OPEN = 8


@contextmanager
def kept_engines() -> Iterator[None]:
    """Within the block, give Dagster's SQLite storage the same engine and connection for the same file again.

    The storage is in WAL mode, in which an open connection that does nothing hinders no other process. A version of
    Dagster that makes its engines elsewhere is not changed.
    """
    with ExitStack() as stack:
        for name in _MODULES:
            module = importlib.import_module(name)
            if callable(original := getattr(module, "create_engine", None)):
                engines = _Engines(original)
                stack.callback(engines.close)
                stack.callback(setattr, module, "create_engine", original)
                module.create_engine = engines.create  # type: ignore[attr-defined]
        yield


class _Engines:
    """A `create_engine` that returns the same engine for equal arguments."""

    def __init__(self, create: Callable[..., Any]) -> None:
        self._create = create
        self._engines: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._lock = threading.Lock()

    def create(self, address: str, **options: Any) -> Any:
        """Return the engine of an address; make it if there is none."""
        from sqlalchemy import event
        from sqlalchemy.pool import QueuePool

        key = (address, repr(sorted(options.items(), key=lambda option: option[0])))
        with self._lock:
            if key not in self._engines:
                # One connection stays open; a second one at the same time is closed after its use.
                engine = self._create(address, **options | {"poolclass": QueuePool, "pool_size": 1})
                # Dagster disposes of an engine after each use, which would close the connection.
                engine.dispose = lambda: None
                event.listen(engine, "connect", _wait_for_disk_at_checkpoints)
                self._engines[key] = engine
            self._engines.move_to_end(key)
            while len(self._engines) > MAX_OPEN:
                _dispose(self._engines.popitem(last=False)[1])
            return self._engines[key]

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            while self._engines:
                _dispose(self._engines.popitem()[1])


def _wait_for_disk_at_checkpoints(connection: sqlite3.Connection, _: object) -> None:
    """Let a commit not wait for the disk.

    In WAL mode nothing is damaged by this: if the machine loses its power, the last events of the run may be missing,
    which is then one that never ended, as one is whose process is killed.
    """
    connection.execute("PRAGMA synchronous=NORMAL")


def _dispose(engine: Any) -> None:
    del engine.dispose
    engine.dispose()
