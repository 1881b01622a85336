"""SQLite files of a home's work folder: one transaction at a time, failures of the disk as named errors.

Belongs here: opening a file. Not here: its tables and rows (`domain.embeddings.pending_vectors`,
`domain.duplicates.fingerprint_store`).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import DiskFullError

# Values of one statement: the limit of older versions of SQLite was 999.
MAX_VALUES = 500
# Another process may be writing; a write takes far less time.
_BUSY_TIMEOUT_S = 60.0


@contextmanager
def transaction(path: Path, schema: Sequence[str]) -> Iterator[sqlite3.Connection]:
    """Open a connection for one transaction: its changes are kept, all or none, when the block ends without an error.

    Args:
        path: the file; it and its folder are made where they are missing.
        schema: statements that make the tables where they are missing.

    Raises:
        DiskFullError: no room; the earlier content is intact.
        HomeError: the file or its folder can't be written.
    """
    try:
        with atomic_files.named_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection, connection:
                for statement in schema:
                    connection.execute(statement)
                yield connection
    except sqlite3.OperationalError as error:
        if is_disk_full(error, path.parent):
            raise DiskFullError(
                f"No room on the disk for {path}", remedy="free some space, then run again: it goes on where it was"
            ) from error
        raise


def placeholders(values: Sequence[object]) -> str:
    """Return as many question marks as there are values, for `IN (...)`."""
    return ",".join("?" * len(values))


def is_disk_full(error: sqlite3.Error, folder: Path) -> bool:
    """Return True where an error of a database in the folder means that the disk has no room.

    SQLite reports it as that, or as an error of input and output where it could not make one of its files larger.
    """
    message = str(error)
    if "database or disk is full" in message:
        return True
    return ("disk I/O error" in message or "unable to open" in message) and not atomic_files.has_room(folder)
