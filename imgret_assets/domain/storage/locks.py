"""File locks of the operating system, which keep two runs apart; the kernel frees them when a process dies.

Belongs here: taking locks in one order, naming the process that holds one. Not here: what a lock guards. The callers
define that: the tables of a shard (`shard-00`); the tables over all shards and the graph (`graph`); the home's
record (`home`); the number of its shards (`layout`, which runs share); the file of decisions (`decisions`); the record
of speeds (`speeds`); the exchange of tables with a store (`store`, which is taken before all others).
"""

import errno
import fcntl
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from imgret_assets.domain.runtime import open_files
from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import LockTimeoutError

GRAPH = "graph"
HOME = "home"
LAYOUT = "layout"
STORE = "store"
SHARD_PREFIX = "shard-"
# Shorter waits are not logged.
LOG_AFTER_S = 1.0

_log = logging.getLogger(__name__)


def shard_lock(shard: str) -> str:
    """Return the name of the lock on one shard's tables and nodes."""
    return f"{SHARD_PREFIX}{shard}"


@contextmanager
def hold(folder: Path, names: Iterable[str], *, timeout_s: float, purpose: str) -> Iterator[None]:
    """Hold all the named locks for the length of the block.

    They are taken in sorted order, so that two callers with overlapping sets can't wait for each other. A wait longer
    than `LOG_AFTER_S` is logged with the holder, as a warning: it goes to stderr where nothing configures logging.

    Args:
        folder: folder of the lock files (`Home.locks`).
        names: the locks; this process must not hold one of them already.
        timeout_s: how long to wait for all of them together, in seconds.
        purpose: what the holder does, for the messages of waiting processes.

    Raises:
        LockTimeoutError: another run held one of them for longer; names the holder.
        HomeError: the folder can't be written.
    """
    with atomic_files.named_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    names = sorted(set(names))
    open_files.allow(len(names))
    with ExitStack() as stack:
        for name in names:
            path = folder / f"{name}.lock"
            try:
                with atomic_files.named_errors(path):
                    stack.enter_context(_acquire(path, deadline))
            except Timeout:
                raise _timeout_error(path, timeout_s) from None
            _write_holder(path, purpose)
        yield


@contextmanager
def share(folder: Path, name: str, *, timeout_s: float, purpose: str) -> Iterator[None]:
    """Hold a lock together with others that share it, for the length of the block; `hold` of it waits for all of them.

    To be taken before any other lock, since a holder of those may wait for this one.

    Args:
        folder: folder of the lock files (`Home.locks`).
        name: the lock.
        timeout_s: how long to wait for a process that holds it alone, in seconds.
        purpose: what the holder does, for the messages of waiting processes.

    Raises:
        LockTimeoutError: another process held it alone for longer; names the holder.
        HomeError: the folder can't be written.
    """
    path = folder / f"{name}.lock"
    with atomic_files.named_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        started, waiting = time.monotonic(), False
        while not _try_to_share(handle):
            waited_s = time.monotonic() - started
            if waited_s >= timeout_s:
                raise _timeout_error(path, timeout_s)
            if waited_s >= LOG_AFTER_S and not waiting:
                waiting = True
                _log_wait(path, timeout_s - waited_s)
            time.sleep(min(0.1, timeout_s - waited_s))
        _write_holder(path, purpose)
        yield
    finally:
        os.close(handle)


def _try_to_share(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _timeout_error(path: Path, timeout_s: float) -> LockTimeoutError:
    return LockTimeoutError(
        f"{path.stem} is held by {_describe_holder(path)} and was not freed within {timeout_s:g} s",
        remedy="wait for that run or stop it, or raise IMGRET_LOCK_TIMEOUT_S",
    )


def _log_wait(path: Path, remaining_s: float) -> None:
    _log.warning("Waiting for %s, held by %s, for at most %.0f s", path.stem, _describe_holder(path), remaining_s)


def _acquire(path: Path, deadline: float) -> AbstractContextManager[object]:
    lock = FileLock(path, poll_interval=0.1)
    remaining_s = max(0.0, deadline - time.monotonic())
    try:
        return lock.acquire(timeout=min(remaining_s, LOG_AFTER_S))
    except Timeout:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise
    _log_wait(path, remaining_s)
    return lock.acquire(timeout=remaining_s)


def _write_holder(path: Path, purpose: str) -> None:
    # For messages alone: a reader may meet the file half-written, and the lock does not depend on it.
    holder = {"pid": os.getpid(), "purpose": purpose, "command": Path(sys.argv[0]).name, "since": time.time()}
    with suppress(OSError):
        path.with_suffix(".holder").write_text(json.dumps(holder), encoding="utf-8")


def _describe_holder(path: Path) -> str:
    try:
        holder = json.loads(path.with_suffix(".holder").read_text(encoding="utf-8"))
        seconds = time.time() - holder["since"]
        return f"process {holder['pid']} ({holder['command']}, {holder['purpose']}, for {seconds:.0f} s)"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
