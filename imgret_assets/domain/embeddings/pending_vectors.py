"""Vectors on their way between tables, by content: what a killed run had embedded, what left one shard for another.

Belongs here: a small keyed store in one SQLite file per embedding space, in the home's work folder. Not here: the
embeddings tables themselves (`domain.storage.tables`), or what decides that a vector is needed
(`domain.embeddings.embeddings_table`).
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage import sqlite

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS vectors (
        sha256 TEXT PRIMARY KEY, status TEXT NOT NULL, error TEXT, engine TEXT, embedding BLOB
    ) WITHOUT ROWID""",
)


@dataclass(frozen=True)
class EmbeddingResult:
    """What came of embedding one content: a float32 (dim,) vector where `status` is ok, else the reason."""

    status: str
    error: str | None
    engine: str | None
    vector: np.ndarray | None


class PendingVectors:
    """The store of one embedding space; what `put_many` returned from is there after a kill."""

    def __init__(self, work: Path, space: str) -> None:
        self.path = work / "vectors" / f"{space}.sqlite"

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return sqlite.transaction(self.path, _SCHEMA)

    def put_many(self, rows: Iterable[tuple[str, EmbeddingResult]]) -> None:
        """Keep what came of some contents, all or none."""
        values = [
            (sha, row.status, row.error, row.engine, None if row.vector is None else row.vector.astype("<f4").tobytes())
            for sha, row in rows
        ]
        if values:
            with self._open() as connection:
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?)", values)

    def get_many(self, contents: Sequence[str]) -> dict[str, EmbeddingResult]:
        """What is kept of these contents."""
        found: dict[str, EmbeddingResult] = {}
        if not self.path.is_file():
            return found
        with self._open() as connection:
            for part in batches(contents, sqlite.MAX_VALUES):
                marks = sqlite.placeholders(part)
                rows = connection.execute(f"SELECT * FROM vectors WHERE sha256 IN ({marks})", part)  # noqa: S608
                for sha, status, error, engine, blob in rows:
                    vector = None if blob is None else np.frombuffer(blob, dtype="<f4")
                    found[sha] = EmbeddingResult(status, error, engine, vector)
        return found

    def known(self, contents: Sequence[str]) -> set[str]:
        """Those of the contents that are kept."""
        if not self.path.is_file():
            return set()
        with self._open() as connection:
            return {
                sha
                for part in batches(contents, sqlite.MAX_VALUES)
                for (sha,) in connection.execute(
                    f"SELECT sha256 FROM vectors WHERE sha256 IN ({sqlite.placeholders(part)})",  # noqa: S608
                    part,
                )
            }

    def delete_many(self, contents: Sequence[str]) -> None:
        """Forget contents that are safe in a table now."""
        if contents and self.path.is_file():
            with self._open() as connection:
                connection.executemany("DELETE FROM vectors WHERE sha256 = ?", [(sha,) for sha in contents])

    def count(self) -> int:
        """Contents kept."""
        if not self.path.is_file():
            return 0
        with self._open() as connection:
            (count,) = connection.execute("SELECT count(*) FROM vectors").fetchone()
        return int(count)
