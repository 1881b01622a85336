"""The store of fingerprints and match scores that runs share: one SQLite file in the home's work folder.

Belongs here: reading and writing the store, each call as one transaction. Not here: fingerprints themselves
(`domain.duplicates.fingerprints`), what follows from match scores (`domain.duplicates.duplicate_search`). Nothing here
depends on an embedding space.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.duplicates.enlargement import ENLARGEMENT_METHOD
from imgret_assets.domain.duplicates.fingerprints import COLOUR_METHOD, GREY_SIDE, Fingerprint
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage import sqlite

# The names of the file, the tables and the columns stay: an existing home must not fingerprint its images again.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS method (name TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS looks (
        sha256 TEXT PRIMARY KEY, status TEXT NOT NULL, hash BLOB, grey BLOB, digest INTEGER
    )""",
    "CREATE TABLE IF NOT EXISTS confirmation (name TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS comparisons (
        a TEXT NOT NULL, b TEXT NOT NULL, distance INTEGER NOT NULL, correlation REAL NOT NULL,
        verdict TEXT NOT NULL, reason TEXT NOT NULL, digest INTEGER, PRIMARY KEY (a, b)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS enlargements (
        larger TEXT NOT NULL, smaller TEXT NOT NULL, is_enlargement INTEGER NOT NULL, method TEXT NOT NULL,
        digest INTEGER, PRIMARY KEY (larger, smaller)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS colours (
        sha256 TEXT PRIMARY KEY, levels INTEGER NOT NULL, method TEXT NOT NULL, digest INTEGER
    ) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS compared (sha256 TEXT PRIMARY KEY) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS orientations (
        a TEXT NOT NULL, b TEXT NOT NULL, orientation INTEGER NOT NULL, distance INTEGER NOT NULL,
        correlation REAL NOT NULL, verdict TEXT NOT NULL, method TEXT NOT NULL, digest INTEGER,
        PRIMARY KEY (a, b, orientation)
    ) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS oriented (sha256 TEXT PRIMARY KEY, method TEXT NOT NULL) WITHOUT ROWID",
    # Scores of the method before comparisons by pixels.
    "DROP TABLE IF EXISTS fits",
)
_CHECKED = {
    "looks": (("sha256", "status", "hash", "grey"), 1),
    "comparisons": (("a", "b", "distance", "correlation", "verdict", "reason"), 2),
    "enlargements": (("larger", "smaller", "is_enlargement", "method"), 2),
    "colours": (("sha256", "levels", "method"), 1),
    "orientations": (("a", "b", "orientation", "distance", "correlation", "verdict", "method"), 3),
}


class MatchScore(NamedTuple):
    """What is known of two contents.

    Attributes:
        bits: bits in which their hashes differ.
        correlation: of their small grey images.
        verdict: of the comparison of their pixels (`confirmation`); empty if these were not compared.
        reason: of the verdict.
    """

    bits: int
    correlation: float
    verdict: str = ""
    reason: str = ""


class OrientedPair(NamedTuple):
    """Two contents, of which the first is turned.

    Attributes:
        a, b: their sha256, the smaller first.
        orientation: number in `orientations.ORIENTATIONS` of what is done to `a`.
    """

    a: str
    b: str
    orientation: int


class OrientedScore(NamedTuple):
    """What is known of two contents in an orientation; the fields are those of `MatchScore`."""

    bits: int
    correlation: float
    verdict: str = ""


class FingerprintStore:
    """The store of one home.

    Opening it with another fingerprint method than the stored one empties it; with another confirmation method, it
    loses the match scores and keeps the fingerprints.

    Tables: `looks` holds the fingerprint of each content. `comparisons` holds the match score of pairs of contents, the
    smaller sha256 first. `compared` holds contents of which every pair has been compared: if the hashes of two of them
    lie within the radius, their match score is in `comparisons`. `enlargements` says of pairs of near-duplicates
    whether the larger is an enlargement of the smaller, `colours` how much colour contents have; rows of another method
    count as missing. `orientations` holds the plausible pairs of mirrored or rotated copies, `oriented` the contents of
    which every pair has been compared in all orientations.

    Attributes:
        recomputed: what the methods that changed make the next search compute again, for the log; empty otherwise.
    """

    def __init__(self, work: Path, fingerprint_method: str, confirmation_method: str) -> None:
        self.path = work / "duplicates" / "copies.sqlite"
        self.recomputed = ""
        lost = sqlite.discard_damaged(self.path, _CHECKED)
        is_new = not self.path.exists()
        with self._open() as connection:
            for table in _CHECKED:
                sqlite.add_digests(connection, table)
            if "comparisons" in lost:
                # A pair without a score counts as compared and too far apart: all pairs are compared again.
                connection.execute("DELETE FROM comparisons")
                connection.execute("DELETE FROM compared")
            if "orientations" in lost:
                connection.execute("DELETE FROM oriented")
            fingerprints, confirmation = (
                connection.execute(f"SELECT name FROM {table}").fetchall()  # noqa: S608
                for table in ("method", "confirmation")
            )
            if fingerprints == [(fingerprint_method,)] and confirmation == [(confirmation_method,)]:
                return
            emptied = ["method", "confirmation", "comparisons", "compared", "orientations", "oriented"]
            if fingerprints != [(fingerprint_method,)]:
                emptied.append("looks")
            if "looks" in emptied:
                emptied.append("colours")
            if not is_new:
                subject = "fingerprints and comparisons" if "looks" in emptied else "comparisons"
                self.recomputed = f"The {subject} of images are computed again: their method has changed."
            for table in emptied:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608
            connection.execute("INSERT INTO method VALUES (?)", (fingerprint_method,))
            connection.execute("INSERT INTO confirmation VALUES (?)", (confirmation_method,))

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return sqlite.transaction(self.path, _SCHEMA)

    def put_fingerprints(self, fingerprints: Iterable[tuple[str, Fingerprint]]) -> None:
        """Store fingerprints by the sha256 of their contents."""
        items = list(fingerprints)
        rows = [
            (sha256, item.status, item.hash, None if item.grey is None else item.grey.tobytes())
            for sha256, item in items
        ]
        colours = [(sha256, item.colour, COLOUR_METHOD) for sha256, item in items if item.colour is not None]
        with self._open() as connection:
            values = [(*row, sqlite.row_digest(row)) for row in rows]
            connection.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?)", values)
            values = [(*row, sqlite.row_digest(row)) for row in colours]
            connection.executemany("INSERT OR REPLACE INTO colours VALUES (?, ?, ?, ?)", values)

    def hashes(self) -> dict[str, bytes | None]:
        """Return the hash of every stored content; None if the content has none."""
        with self._open() as connection:
            return dict(connection.execute("SELECT sha256, hash FROM looks"))

    def colours(self) -> dict[str, int]:
        """Return how much colour contents have, in levels (`Fingerprint.colour`)."""
        with self._open() as connection:
            return dict(connection.execute("SELECT sha256, levels FROM colours WHERE method = ?", (COLOUR_METHOD,)))

    def greys(self, contents: Sequence[str]) -> np.ndarray:
        """Return the small grey images of contents that have one: uint8 (n, 64, 64), in the order of `contents`."""
        greys: dict[str, bytes] = {}
        with self._open() as connection:
            for part in batches(contents, sqlite.MAX_VALUES):
                query = f"SELECT sha256, grey FROM looks WHERE sha256 IN ({sqlite.placeholders(part)})"  # noqa: S608
                greys.update(connection.execute(query, part))
        data = b"".join(greys[sha256] for sha256 in contents)
        return np.frombuffer(data, np.uint8).reshape(len(contents), GREY_SIDE, GREY_SIDE)

    def match_scores(self) -> dict[tuple[str, str], MatchScore]:
        """Return the match scores of all compared pairs of contents, the smaller sha256 first."""
        with self._open() as connection:
            rows = connection.execute("SELECT a, b, distance, correlation, verdict, reason FROM comparisons")
            return {(a, b): MatchScore(*score) for a, b, *score in rows}

    def put_match_scores(self, scores: Iterable[tuple[tuple[str, str], MatchScore]]) -> None:
        """Store the match scores of pairs of contents."""
        rows = [(*pair, *score) for pair, score in scores]
        with self._open() as connection:
            values = [(*row, sqlite.row_digest(row)) for row in rows]
            connection.executemany("INSERT OR REPLACE INTO comparisons VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def enlargements(self) -> dict[tuple[str, str], bool]:
        """Return for pairs of contents, the larger image first, whether that is an enlargement of the other."""
        with self._open() as connection:
            query = "SELECT larger, smaller, is_enlargement FROM enlargements WHERE method = ?"
            rows = connection.execute(query, (ENLARGEMENT_METHOD,))
            return {(larger, smaller): bool(result) for larger, smaller, result in rows}

    def put_enlargements(self, results: Mapping[tuple[str, str], bool]) -> None:
        """Store for pairs of contents, the larger image first, whether that is an enlargement of the other."""
        rows = [(*pair, int(result), ENLARGEMENT_METHOD) for pair, result in results.items()]
        with self._open() as connection:
            values = [(*row, sqlite.row_digest(row)) for row in rows]
            connection.executemany("INSERT OR REPLACE INTO enlargements VALUES (?, ?, ?, ?, ?)", values)

    def oriented_scores(self, method: str) -> dict[OrientedPair, OrientedScore]:
        """Return the scores of plausible pairs in orientations, by this method."""
        with self._open() as connection:
            query = "SELECT a, b, orientation, distance, correlation, verdict FROM orientations WHERE method = ?"
            return {OrientedPair(*row[:3]): OrientedScore(*row[3:]) for row in connection.execute(query, (method,))}

    def put_oriented_scores(self, scores: Mapping[OrientedPair, OrientedScore], method: str) -> None:
        """Store scores of pairs in orientations."""
        rows = [(*pair, *score, method) for pair, score in scores.items()]
        with self._open() as connection:
            values = [(*row, sqlite.row_digest(row)) for row in rows]
            connection.executemany("INSERT OR REPLACE INTO orientations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def oriented_contents(self, method: str) -> set[str]:
        """Return the contents of which every pair has been compared in all orientations, by this method."""
        with self._open() as connection:
            rows = connection.execute("SELECT sha256 FROM oriented WHERE method = ?", (method,))
            return {sha256 for (sha256,) in rows}

    def finish_oriented_search(self, compared: Iterable[str], method: str) -> None:
        """Record that every pair of `compared` has been compared in all orientations; drop rows of other methods."""
        with self._open() as connection:
            connection.execute("DELETE FROM oriented")
            connection.executemany("INSERT INTO oriented VALUES (?, ?)", ((sha256, method) for sha256 in compared))
            connection.execute("DELETE FROM orientations WHERE method != ?", (method,))

    def compared_contents(self) -> set[str]:
        """Return the contents of which every pair has been compared."""
        with self._open() as connection:
            return {sha256 for (sha256,) in connection.execute("SELECT sha256 FROM compared")}

    def finish_search(self, compared: Iterable[str], contents: Iterable[str]) -> None:
        """Record that every pair of `compared` has been compared, and delete all rows about other contents."""
        with self._open() as connection:
            connection.execute("DELETE FROM compared")
            connection.executemany("INSERT INTO compared VALUES (?)", ((sha256,) for sha256 in compared))
            connection.execute("CREATE TEMP TABLE present (sha256 TEXT PRIMARY KEY) WITHOUT ROWID")
            connection.executemany("INSERT INTO present VALUES (?)", ((sha256,) for sha256 in contents))
            connection.execute("DELETE FROM looks WHERE sha256 NOT IN present")
            connection.execute("DELETE FROM comparisons WHERE a NOT IN present OR b NOT IN present")
            connection.execute("DELETE FROM colours WHERE sha256 NOT IN present")
            connection.execute("DELETE FROM orientations WHERE a NOT IN present OR b NOT IN present")
            connection.execute("DELETE FROM oriented WHERE sha256 NOT IN present")
            connection.execute("DELETE FROM enlargements WHERE larger NOT IN present OR smaller NOT IN present")
