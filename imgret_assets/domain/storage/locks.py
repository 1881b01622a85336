"""Operating-system file locks that keep two runs apart; the kernel frees them when a process dies.

Belongs here: taking locks in one order, saying for whom one waits. Not here: what a lock guards: the tables of a
shard (`shard-00`), pairs and graph (`graph`), the home's record (`home`); their users say so.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import LockTimeoutError

GRAPH = "graph"
# Shorter waits are not worth a line.
TELL_AFTER_S = 1.0

_log = logging.getLogger(__name__)


def shard_lock(shard: str) -> str:
    """Name of the lock on one shard's tables and nodes."""
    return f"shard-{shard}"


@contextmanager
def held(folder: Path, names: Iterable[str], *, timeout_s: float, purpose: str) -> Iterator[None]:
    """Hold all the named locks for the length of the block.

    They are taken in sorted order, so that two callers with overlapping sets can't wait for each other. Who waits for
    longer than a moment says for whom, as a warning: it goes to stderr, or wherever logging is configured to go.

    Args:
        folder: where the lock files are (`Home.locks`).
        names: the locks; a name must not be held by this process already.
        timeout_s: how long to wait for all of them together, in seconds.
        purpose: what the holder is doing, for the one who waits.

    Raises:
        LockTimeoutError: another run held one of them for longer; names the holder.
        HomeError: the folder can't be written.
    """
    with atomic_files.named_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with ExitStack() as stack:
        for name in sorted(set(names)):
            path = folder / f"{name}.lock"
            try:
                stack.enter_context(_acquired(path, deadline))
            except Timeout:
                raise LockTimeoutError(
                    f"{path.stem} is held by {_holder(path)} and was not freed within {timeout_s:g} s",
                    remedy="wait for that run or stop it, or raise IMGRET_LOCK_TIMEOUT_S",
                ) from None
            _note_holder(path, purpose)
        yield


def _acquired(path: Path, deadline: float) -> AbstractContextManager[object]:
    lock = FileLock(path, poll_interval=0.1)
    left = max(0.0, deadline - time.monotonic())
    try:
        return lock.acquire(timeout=min(left, TELL_AFTER_S))
    except Timeout:
        left = deadline - time.monotonic()
        if left <= 0:
            raise
    _log.warning("Waiting for %s, held by %s, for at most %.0f s", path.stem, _holder(path), left)
    return lock.acquire(timeout=left)


def _note_holder(path: Path, purpose: str) -> None:
    # Only a note for people: a reader may meet it half-written, and the lock itself doesn't depend on it.
    note = {"pid": os.getpid(), "purpose": purpose, "command": Path(sys.argv[0]).name, "since": time.time()}
    with suppress(OSError):
        path.with_suffix(".holder").write_text(json.dumps(note), encoding="utf-8")


def _holder(path: Path) -> str:
    try:
        note = json.loads(path.with_suffix(".holder").read_text(encoding="utf-8"))
        held_s = time.time() - note["since"]
        return f"process {note['pid']} ({note['command']}, {note['purpose']}, for {held_s:.0f} s)"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
