"""Tables that stay in memory while a run lasts, so that its steps read each of them once.

Belongs here: keeping what was read, for as long as the file is the same. Not here: reading and checking files
(`domain.storage.tables`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from imgret_assets.domain.runtime.shared_blocks import SharedWithinBlocks

# Together less than the vectors of a few thousand images. A table of a large home is read from the disk's cache again.
MAX_BYTES = 128 << 20
MAX_TABLE_BYTES = 16 << 20

_Value = TypeVar("_Value")
_FileStamp = tuple[int, int, int, int, int]


class _KeptTables(SharedWithinBlocks):
    """What was read within `keep_tables`, by file and part, in the order of reading."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[tuple[Path, object], tuple[_FileStamp, Any, int]] = {}
        self._bytes = 0

    def drop_all(self) -> None:
        """Drop all tables."""
        self._entries.clear()
        self._bytes = 0

    def find(self, path: Path, part: object, stamp: _FileStamp) -> Any:
        """Return what was read of a file with this stamp; None where nothing was."""
        with self.lock:
            entry = self._entries.get((path, part))
            return entry[1] if entry is not None and entry[0] == stamp else None

    def add(self, path: Path, part: object, stamp: _FileStamp, value: Any, size: int) -> None:
        """Keep what was read, and drop what was read first beyond `MAX_BYTES`."""
        if size > MAX_TABLE_BYTES:
            return
        with self.lock:
            if not self.is_kept:
                return
            self._drop((path, part))
            self._entries[path, part] = (stamp, value, size)
            self._bytes += size
            while self._bytes > MAX_BYTES:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: tuple[Path, object]) -> None:
        _, _, size = self._entries.pop(key, (None, None, 0))
        self._bytes -= size


_kept = _KeptTables()


@contextmanager
def keep_tables() -> Iterator[None]:
    """Let `kept` return within the block what it has returned before, in all threads, while the file is the same."""
    with _kept.block():
        yield


def kept(path: Path, part: object, read: Callable[[], _Value], size: Callable[[_Value], int]) -> _Value:
    """Return what `read` returns, or what it has returned for the same file before.

    A file is the same if device, inode, size and both times are: every table is replaced as a whole by another file,
    and one that is changed in its place gets another time.

    Args:
        path: the file.
        part: name of what is read of it, hashable.
        read: reads it; what it returns must not be changed by callers.
        size: bytes of what `read` has returned.
    """
    stamp = _stamp_of(path) if _kept.is_kept else None
    if stamp is None:
        return read()
    if (found := _kept.find(path, part, stamp)) is not None:
        return found
    value = read()
    # Another process may have replaced the file while it was read.
    if _stamp_of(path) == stamp:
        _kept.add(path, part, stamp, value, size(value))
    return value


def _stamp_of(path: Path) -> _FileStamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
