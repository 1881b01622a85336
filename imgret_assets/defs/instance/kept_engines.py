"""SQLAlchemy engines that are kept while Dagster's SQLite storage is open.

Belongs here: one engine for each database file of the storage. Not here: opening the storage
(`defs.instance.dagster_home`), what is stored in it.

For each event Dagster makes an engine, compiles its statements for it, and forgets both. A run without changes stores
two hundred events.
"""

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

# The modules of Dagster that make an engine for each connection, by the name `create_engine`.
_MODULES = (
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
)


@contextmanager
def kept_engines() -> Iterator[None]:
    """Within the block, give Dagster's SQLite storage the same engine for the same file again.

    An engine of a file has no open connections (its pool keeps none), so that keeping it keeps neither files nor locks.
    A version of Dagster that makes its engines elsewhere is not changed.
    """
    with ExitStack() as stack:
        for name in _MODULES:
            module = importlib.import_module(name)
            if callable(original := getattr(module, "create_engine", None)):
                stack.callback(setattr, module, "create_engine", original)
                module.create_engine = _keeping(original)  # type: ignore[attr-defined]
        yield


def _keeping(create: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `create_engine` that makes one engine for equal arguments."""
    engines: dict[tuple[str, str], Any] = {}
    lock = threading.Lock()

    def create_engine(address: str, **options: Any) -> Any:
        key = (address, repr(sorted(options.items(), key=lambda option: option[0])))
        with lock:
            if key not in engines:
                engines[key] = create(address, **options)
            return engines[key]

    return create_engine
