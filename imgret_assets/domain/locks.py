"""Operating-system file locks that keep two runs apart; the kernel frees them when a process dies.

Belongs here: taking locks in one order and naming a holder. Not here: what a lock guards: the tables of a
shard (`shard-00`), pairs and graph (`graph`), the home's record (`home`); their users say so.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from imgret_assets.domain import atomic
from imgret_assets.errors import LockTimeoutError

GRAPH = "graph"


def shard_lock(shard: str) -> str:
    """Name of the lock on one shard's tables and nodes."""
    return f"shard-{shard}"


@contextmanager
def held(folder: Path, names: Iterable[str], *, timeout_s: float, purpose: str) -> Iterator[None]:
    """Hold all the named locks for the length of the block.

    They are taken in sorted order, so that two callers with overlapping sets can't wait for each other.

    Args:
        folder: where the lock files are (`Home.locks`).
        names: the locks; a name must not be held by this process already.
        timeout_s: how long to wait for all of them together, in seconds.
        purpose: what the holder is doing, for the one who waits.

    Raises:
        LockTimeoutError: another run held one of them for longer; names the holder.
        HomeError: the folder can't be written.
    """
    with atomic.named_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with ExitStack() as stack:
        for name in sorted(set(names)):
            path = folder / f"{name}.lock"
            lock = FileLock(path)
            try:
                stack.enter_context(lock.acquire(timeout=max(0.0, deadline - time.monotonic()), poll_interval=0.1))
            except Timeout:
                raise LockTimeoutError(
                    f"{path.stem} is held by {_holder(path)} and was not freed within {timeout_s:g} s",
                    remedy="wait for that run or stop it, or raise IMGRET_LOCK_TIMEOUT_S",
                ) from None
            _note_holder(path, purpose)
        yield


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
