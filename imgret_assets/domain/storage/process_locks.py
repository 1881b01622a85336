"""Lock files that show whether a process is alive: it holds its own for its life, and the kernel frees it at its end.

Belongs here: holding, checking and removing them. Not here: locks on tables (`domain.storage.locks`), what has to be
done about a dead process (`defs.instance.process_runs`).

A process id would not do: ids are reused, each container counts its own, and the name of the host changes with the
container. A lock is the same for all containers and users of one kernel.
"""

import fcntl
import os
import uuid
from contextlib import suppress
from pathlib import Path

from imgret_assets.domain.storage import atomic_files

# The key and the open file of each folder in which this process holds its lock.
_held: dict[Path, tuple[str, int]] = {}


def hold_until_exit(folder: Path) -> str:
    """Hold a lock file of this process in `folder` until the process ends, and return its key. Later calls repeat it.

    Raises:
        HomeError: the folder can't be written.
    """
    folder = folder.absolute()
    if folder in _held:
        key, handle = _held[folder]
        if _is_file(folder, key, handle):
            return key
        os.close(handle)
        del _held[folder]
    with atomic_files.named_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            key = uuid.uuid4().hex
            handle = os.open(_path(folder, key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_file(folder, key, handle):
                break
            # Another process took it for one of a dead process, between its creation and its lock.
            os.close(handle)
    _held[folder] = (key, handle)
    return key


def is_dead(folder: Path, key: str) -> bool:
    """Return True if the process that held the lock file of this key has ended; so has that of a missing file.

    A file that can't be opened or locked, for whatever reason, is no sign of a dead process.
    """
    try:
        handle = os.open(_path(folder, key), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return _try_to_lock(handle)
    finally:
        os.close(handle)


def remove_dead(folder: Path) -> None:
    """Remove the lock files of processes that have ended; what can't be removed stays."""
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _try_to_lock(handle):
                    path.unlink(missing_ok=True)
            finally:
                os.close(handle)


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.lock"


def _is_file(folder: Path, key: str, handle: int) -> bool:
    """Return True if the open file is the one that other processes find under the key."""
    try:
        return os.path.samestat(_path(folder, key).stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _try_to_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _forget_in_child() -> None:
    """Close the files in a forked process: otherwise it would keep the locks of its dead parent."""
    for _, handle in _held.values():
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
