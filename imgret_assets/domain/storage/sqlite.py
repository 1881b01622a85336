"""SQLite files of a home's work folder: transactions, failures of the disk as named errors, checks of rows.

SQLite notices damage of its structure and none of its values. So the rows of a table may have a column `digest`, which
`discard_damaged` compares; it is null in a row that an earlier version has written. The files hold nothing that can't
be computed again.

Belongs here: opening a file, removing damaged rows and files. Not here: its tables and rows
(`domain.embeddings.pending_vectors`, `domain.duplicates.fingerprint_store`).
"""

import logging
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import DiskFullError, TableError

_log = logging.getLogger(__name__)

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
        TableError: the file is damaged.
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
    except sqlite3.DatabaseError as error:
        # Its subclasses are errors of a statement or of the system.
        if type(error) is sqlite3.DatabaseError:
            raise TableError(
                f"{path} can't be read ({error})", remedy="remove it and run `imgret run`, which makes it again"
            ) from error
        raise


def row_digest(values: Iterable[object]) -> int:
    """Return the CRC-32 of the values of a row: text, bytes, numbers and None."""
    check = 0
    for value in values:
        data = value if isinstance(value, bytes) else repr(_plain(value)).encode("utf-8", "surrogatepass")
        check = zlib.crc32(b"%d " % len(data) + data, check)
    return check


def _plain(value: object) -> object:
    """Return a value as SQLite gives it back."""
    for kind in (str, float):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else int(value)  # type: ignore[call-overload]


def add_digests(connection: sqlite3.Connection, table: str) -> None:
    """Add the column `digest` to a table of an earlier version."""
    if "digest" not in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN digest INTEGER")


def discard_damaged(path: Path, tables: Mapping[str, tuple[Sequence[str], int]]) -> set[str]:
    """Remove a damaged file, or the damaged rows of some tables, with a warning in the log.

    Args:
        path: the file; may be missing.
        tables: by the name of each table with a column `digest`, the columns that the digest is of, and how many of the
            first ones are the table's key.

    Returns:
        Names of the tables that have lost rows; all of them where the file is removed.
    """
    damaged: set[str] = set()
    if not path.is_file():
        return damaged
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection, connection:
            result = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if result != ("ok",):
                raise sqlite3.DatabaseError(str(result[0]).splitlines()[-1])
            for table, (columns, key_columns) in tables.items():
                if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
                    continue
                add_digests(connection, table)
                rows = connection.execute(f"SELECT {', '.join(columns)}, digest FROM {table} WHERE digest IS NOT NULL")  # noqa: S608
                keys = [row[:key_columns] for row in rows if row_digest(row[:-1]) != row[-1]]
                if keys:
                    _log.warning("%d rows of %s in %s are damaged. They are computed again.", len(keys), table, path)
                    condition = " AND ".join(f"{column} = ?" for column in columns[:key_columns])
                    connection.executemany(f"DELETE FROM {table} WHERE {condition}", keys)  # noqa: S608
                    damaged.add(table)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if _is_of_the_system(error):
            raise
        _log.warning("%s is damaged (%s). It is removed and made again.", path, error)
        for file in (path, *(path.with_name(path.name + end) for end in ("-journal", "-wal", "-shm"))):
            file.unlink(missing_ok=True)
        return set(tables)
    return damaged


def _is_of_the_system(error: Exception) -> bool:
    """Return whether an error says nothing about the content of the file: no room, no right, another process."""
    return any(word in str(error) for word in ("locked", "full", "readonly", "unable to open", "disk I/O"))


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
