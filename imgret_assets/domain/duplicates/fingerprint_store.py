"""What is known of contents and of pairs of them, kept between runs: one SQLite file in the home's work folder.

Belongs here: keeping it, all or none. Not here: what is kept (`domain.duplicates.fingerprints`), and what follows
from it (`domain.duplicates.duplicates_table`). Nothing here depends on an embedding space.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from imgret_assets.domain.duplicates.fingerprints import GREY_SIDE, Look
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage import sqlite

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS method (name TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS looks (sha256 TEXT PRIMARY KEY, status TEXT NOT NULL, hash BLOB, grey BLOB)",
    """CREATE TABLE IF NOT EXISTS fits (
        a TEXT NOT NULL, b TEXT NOT NULL, distance INTEGER NOT NULL, correlation REAL NOT NULL, PRIMARY KEY (a, b)
    ) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS compared (sha256 TEXT PRIMARY KEY) WITHOUT ROWID",
)
Fit = tuple[int, float]


class CopyStore:
    """The store; what was kept by another method is forgotten.

    `looks`: of each content. `fits`: bits and correlation of pairs of contents, smaller sha256 first. `compared`:
    contents of which every two have been compared, so that those within the radius are in `fits`.
    """

    def __init__(self, work: Path, method: str) -> None:
        self.path = work / "duplicates" / "copies.sqlite"
        self.method = method
        with self._open() as connection:
            if connection.execute("SELECT name FROM method").fetchall() != [(method,)]:
                for table in ("method", "looks", "fits", "compared"):
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608
                connection.execute("INSERT INTO method VALUES (?)", (method,))

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return sqlite.transaction(self.path, _SCHEMA)

    def put_looks(self, looks: Iterable[tuple[str, Look]]) -> None:
        """Keep what was seen of some contents."""
        rows = [
            (sha, look.status, look.hash, None if look.grey is None else look.grey.tobytes()) for sha, look in looks
        ]
        with self._open() as connection:
            connection.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?)", rows)

    def hashes(self) -> dict[str, bytes | None]:
        """Hash of every content that was looked at; None where it has none."""
        with self._open() as connection:
            return dict(connection.execute("SELECT sha256, hash FROM looks"))

    def greys(self, contents: Sequence[str]) -> np.ndarray:
        """Small grey pictures uint8 (n, 64, 64) of contents that have one."""
        found: dict[str, bytes] = {}
        with self._open() as connection:
            for part in batches(contents, sqlite.AT_ONCE):
                marks = sqlite.marks(part)
                found.update(connection.execute(f"SELECT sha256, grey FROM looks WHERE sha256 IN ({marks})", part))  # noqa: S608
        whole = b"".join(found[sha] for sha in contents)
        return np.frombuffer(whole, np.uint8).reshape(len(contents), GREY_SIDE, GREY_SIDE)

    def fits(self) -> dict[tuple[str, str], Fit]:
        """All pairs that were compared by their pixels."""
        with self._open() as connection:
            rows = connection.execute("SELECT a, b, distance, correlation FROM fits")
            return {(a, b): (distance, correlation) for a, b, distance, correlation in rows}

    def put_fits(self, fits: Iterable[tuple[tuple[str, str], Fit]]) -> None:
        """Keep some pairs' fits."""
        with self._open() as connection:
            connection.executemany("INSERT OR REPLACE INTO fits VALUES (?, ?, ?, ?)", [(*p, *fit) for p, fit in fits])

    def compared(self) -> set[str]:
        """Contents of which every two have been compared."""
        with self._open() as connection:
            return {sha for (sha,) in connection.execute("SELECT sha256 FROM compared")}

    def settle(self, compared: Iterable[str], contents: Iterable[str]) -> None:
        """Note that every two of `compared` have been, and forget all that is not of `contents`."""
        with self._open() as connection:
            connection.execute("DELETE FROM compared")
            connection.executemany("INSERT INTO compared VALUES (?)", ((sha,) for sha in compared))
            connection.execute("CREATE TEMP TABLE present (sha256 TEXT PRIMARY KEY) WITHOUT ROWID")
            connection.executemany("INSERT INTO present VALUES (?)", ((sha,) for sha in contents))
            connection.execute("DELETE FROM looks WHERE sha256 NOT IN present")
            connection.execute("DELETE FROM fits WHERE a NOT IN present OR b NOT IN present")
