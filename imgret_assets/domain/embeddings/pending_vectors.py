"""Vectors that are not in a table yet: embedded by a run that was killed, or moving from one shard to another.

Belongs here: a small store keyed by content, one SQLite file for each embedding space, in the home's work folder. Not
here: the embeddings tables (`domain.embeddings.embeddings_table`), which contents need a vector
(`domain.embeddings.shard_plan`).
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imgret_assets.domain.images.decode import DECODER_VERSION
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage import sqlite

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS vectors (
        sha256 TEXT PRIMARY KEY, status TEXT NOT NULL, error TEXT, engine TEXT, embedding BLOB, digest INTEGER
    ) WITHOUT ROWID""",
)
_COLUMNS = ("sha256", "status", "error", "engine", "embedding")


@dataclass(frozen=True)
class EmbeddingResult:
    """Result of embedding one content.

    Attributes:
        status: `ok`, or why there is no vector (`domain.images.image_status.Status`).
        error: the reason in words; None where the status is ok.
        engine: engine that made the vector; of an image that is not decoded as ever, followed by `+` and how
            (`domain.images.decode.Header.decoding`), so that another decoding is another vector.
        vector: float32 (dim,) where the status is ok, else None.
    """

    status: str
    error: str | None
    engine: str | None
    vector: np.ndarray | None


def split_engine(engine: str) -> tuple[str, str]:
    """Return an engine and the decoding that follows it, which is empty for ordinary images."""
    name, _, decoding = engine.partition("+")
    return name, decoding


def with_decoding(result: EmbeddingResult, decoding: str) -> EmbeddingResult:
    """Return a result whose engine is followed by the decoding, if there is one and a vector."""
    if not decoding or result.vector is None:
        return result
    return replace(result, engine=f"{result.engine}+{decoding}")


def is_current_result(result: EmbeddingResult, decoding: str) -> bool:
    """Return whether a result has no vector, or one of an image that was decoded in this way."""
    return result.status != Status.OK or split_engine(result.engine or "")[1] == decoding


class PendingVectors:
    """Store of one embedding space's pending vectors; contents are named by their sha256.

    What `put_many` has stored survives a killed process.
    """

    def __init__(self, work: Path, space: str) -> None:
        self.path = work / "vectors" / f"{space}.sqlite"

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return sqlite.transaction(self.path, _SCHEMA)

    def discard_damaged(self) -> None:
        """Delete damaged vectors, or the whole store if it is damaged, with a warning; and prepare an older store."""
        sqlite.discard_damaged(self.path, {"vectors": (_COLUMNS, 1)})

    def drop_failures_of_older_decoder(self) -> None:
        """Delete, once for each version of the decoder, the contents that an older version could not decode."""
        if not self.path.is_file():
            return
        with self._open() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != DECODER_VERSION:
                connection.execute("DELETE FROM vectors WHERE status != ?", (str(Status.OK),))
                connection.execute(f"PRAGMA user_version = {DECODER_VERSION}")

    def drop_outdated(self, decodings: Mapping[str, str]) -> None:
        """Delete those of some contents whose vector was made by another decoding; given with their decoding."""
        outdated: list[str] = []
        for part in batches(list(decodings), sqlite.MAX_VALUES):
            results = self.get_many(part)
            outdated += [name for name, result in results.items() if not is_current_result(result, decodings[name])]
        self.delete_many(outdated)

    def put_many(self, results: Iterable[tuple[str, EmbeddingResult]]) -> None:
        """Store the results of some contents, all or none."""
        rows = [
            (
                content,
                result.status,
                result.error,
                result.engine,
                None if result.vector is None else result.vector.astype("<f4").tobytes(),
            )
            for content, result in results
        ]
        is_new = not self.path.is_file()
        if rows:
            with self._open() as connection:
                if is_new:
                    connection.execute(f"PRAGMA user_version = {DECODER_VERSION}")
                sqlite.add_digests(connection, "vectors")
                connection.executemany(
                    "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?, ?)",
                    [(*row, sqlite.row_digest(row)) for row in rows],
                )

    def get_many(self, contents: Sequence[str]) -> dict[str, EmbeddingResult]:
        """Return the stored results of these contents; a content that is not stored is left out."""
        results: dict[str, EmbeddingResult] = {}
        if not self.path.is_file():
            return results
        with self._open() as connection:
            for part in batches(contents, sqlite.MAX_VALUES):
                marks = sqlite.placeholders(part)
                rows = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM vectors WHERE sha256 IN ({marks})", part)  # noqa: S608
                for content, status, error, engine, blob in rows:
                    vector = None if blob is None else np.frombuffer(blob, dtype="<f4")
                    results[content] = EmbeddingResult(status, error, engine, vector)
        return results

    def known(self, contents: Sequence[str]) -> set[str]:
        """Return those of the contents that are stored."""
        if not self.path.is_file():
            return set()
        with self._open() as connection:
            return {
                content
                for part in batches(contents, sqlite.MAX_VALUES)
                for (content,) in connection.execute(
                    f"SELECT sha256 FROM vectors WHERE sha256 IN ({sqlite.placeholders(part)})",  # noqa: S608
                    part,
                )
            }

    def delete_many(self, contents: Sequence[str]) -> None:
        """Delete contents, which are in a table by now."""
        if contents and self.path.is_file():
            with self._open() as connection:
                connection.executemany("DELETE FROM vectors WHERE sha256 = ?", [(content,) for content in contents])

    def count(self) -> int:
        """Return the number of stored contents."""
        if not self.path.is_file():
            return 0
        with self._open() as connection:
            (count,) = connection.execute("SELECT count(*) FROM vectors").fetchone()
        return int(count)
