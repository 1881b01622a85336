"""Which files are copies of which: the same bytes, or the same picture resized, recompressed, brightened or cropped.

Belongs here: which copy is kept, finding copies, the duplicates table. Not here: how two pictures are compared
(`domain.duplicates.fingerprints`), relationships (`domain.graph.duplicate_of`), look-alikes
(`domain.similarity.pairs_table`).

Contents are taken in the order in which they are kept: most pixels, largest file, shortest path, path. The first keeps
every later one that is directly confirmed as its copy; the first of the rest goes on. So nothing points at what points
elsewhere, and every copy was compared with the very file it points at; copies of copies that have drifted too far from
the first stay with one of their own.

Near copies are candidates whose 256-bit hashes differ in at most RADIUS bits, confirmed by the correlation of small
grey pictures; a cosine below LEAST_COSINE, which no copy has, is the last objection. All hashes are compared, but
those that kept nothing apart last time (`copy_store`: compared) not again with each other.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.duplicates.copy_search import (
    _AT_ONCE,
    CHECKPOINT,
    EXACT,
    LEAST_CORRELATION,
    NEAR,
    RADIUS,
    Duplicate,
    joined,
    near_copies,
)
from imgret_assets.domain.duplicates.fingerprint_store import CopyStore
from imgret_assets.domain.duplicates.fingerprints import RETRY, look_at_files
from imgret_assets.domain.duplicates.pictures import Picture, by_content, coverage, usable_pictures
from imgret_assets.domain.embeddings.table_reader import vectors_of
from imgret_assets.domain.numerics.vectors import cosines
from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import DUPLICATES
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import DuplicatesMetadata

LEAST_COSINE = 0.5
# Whatever changes here, or in `copies`, makes what is kept of contents useless: count it up.
LOOKING = f"phash256-grey64-1 {RADIUS}"
METHOD = f"{LOOKING} {LEAST_CORRELATION:g} {LEAST_COSINE:g}"


@dataclass(frozen=True)
class DuplicatesReport:
    """What a refresh of duplicates did; `bytes` are what removing every copy would free."""

    files: int
    exact: int
    near: int
    bytes: int
    looked_at: int
    compared: int
    pending: int
    written: bool
    seconds: float

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        found = f"{self.exact:,} exact and {self.near:,} near copies"
        there = f"{found} among {self.files:,} images, {self.bytes / 1e6:,.1f} MB"
        if not self.written:
            return f"{there}: nothing changed, nothing was computed."
        late = f" {self.pending:,} could not be read: the next run tries again." if self.pending else ""
        return (
            f"{there}: {self.looked_at:,} pictures looked at, {self.compared:,} pairs of pictures compared in "
            f"{self.seconds:.1f} s.{late}"
        )


def refresh_duplicates(home: Home, space: str, *, progress: Listener | None = None) -> DuplicatesReport:
    """Bring the duplicates table up to date: only contents that are new are decoded and compared.

    Args:
        home: the home.
        space: id of the embedding space whose cosines may object.
        progress: told how many contents have been looked at.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or don't belong together.
        LockTimeoutError: another run writes pairs or the graph.
    """
    with home.hold([locks.GRAPH], "looking for duplicates"):
        started = time.monotonic()
        pictures = usable_pictures(home, space)
        path = tables.duplicates_path(home.warehouse)
        covered = coverage(pictures)
        current = DUPLICATES.current_metadata(home.warehouse, space, covered)
        if current is not None and (current.method, current.pending) == (METHOD, 0):
            return _report(tables.read(path), len(pictures), 0, 0, 0, written=False, seconds=0.0)
        store = CopyStore(home.work, LOOKING)
        groups = by_content(pictures)
        looked_at, pending = _look(home, store, groups, progress or (lambda _: None), started)
        near, compared = near_copies(groups, store, store.hashes(), least=LEAST_CORRELATION)
        near = [row for row in _with_cosines(home, space, near) if (row.cosine or 0.0) >= LEAST_COSINE]
        table = as_table(joined(groups, near))
        metadata = DuplicatesMetadata(
            space=space, coverage=covered, method=METHOD, images=len(pictures), pending=pending
        )
        tables.write(path, table, metadata.as_metadata())
        seconds = time.monotonic() - started
        return _report(table, len(pictures), looked_at, compared, pending, written=True, seconds=seconds)


def require_duplicates(home: Home) -> DuplicatesMetadata:
    """Return the metadata of the duplicates table, whether or not the table is current.

    Raises:
        TableError: the table is missing or damaged.
        StaleTableError: another version of the program wrote it.
    """
    DUPLICATES.require(home.warehouse, "")
    metadata = DUPLICATES.metadata(home.warehouse, "")
    if metadata is None:
        raise DUPLICATES.stale()
    return metadata


def require_current_duplicates(home: Home, space: str, coverage: str) -> None:
    """Check that the duplicates table was made from the embeddings with this coverage, by the present method.

    Raises:
        TableError: the table is missing or damaged.
        StaleTableError: the table was made from other embeddings or by another method.
    """
    if DUPLICATES.require_current(home.warehouse, space, coverage).method != METHOD:
        raise DUPLICATES.stale()


def _look(
    home: Home, store: CopyStore, groups: Sequence[Sequence[Picture]], progress: Listener, started: float
) -> tuple[int, int]:
    """Look at contents that were never looked at; how many, and how many of them are to be tried again."""
    known = store.hashes()
    missing = [(g[0].sha256, [one.path for one in g]) for g in groups if g[0].sha256 not in known]
    keep, done, pending = [], 0, 0
    try:
        for sha, look in look_at_files(missing, home.images, max_pixels=home.settings.max_pixels):
            done += 1
            if look.status in RETRY:
                pending += 1
            else:
                keep.append((sha, look))
            progress(Progress("pictures", done, len(missing), time.monotonic() - started))
            if len(keep) >= CHECKPOINT:
                store.put_looks(keep)
                keep = []
    finally:
        # Also when it is being stopped: what was seen is kept.
        store.put_looks(keep)
    return done, pending


def _with_cosines(home: Home, space: str, rows: Sequence[Duplicate]) -> list[Duplicate]:
    """The rows with the cosines of their vectors; shards that none is in are not read."""
    wanted = {picture.path for row in rows for picture in (row.copy, row.keep)}
    vectors: dict[str, np.ndarray] = {}
    for shard in home.shards if wanted else []:
        path = tables.embeddings_path(home.warehouse, space, shard)
        with tables.open_parquet(path) as file:
            for group in range(file.num_row_groups):
                names = file.read_row_group(group, columns=["path"])["path"].to_pylist()
                here = [number for number, name in enumerate(names) if name in wanted]
                if here:
                    column = file.read_row_group(group, columns=["embedding"])["embedding"]
                    found = vectors_of(column)[here]
                    vectors.update(zip((names[number] for number in here), found, strict=True))
    result = []
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        left, right = (np.stack([vectors[getattr(row, side).path] for row in part]) for side in ("copy", "keep"))
        result += [
            Duplicate(row.copy, row.keep, row.kind, row.bits, row.correlation, value)
            for row, value in zip(part, cosines(left, right).tolist(), strict=True)
        ]
    return result


def as_table(rows: Sequence[Duplicate]) -> pa.Table:
    """Rows as they are stored."""
    records = [
        {
            "path_from": row.copy.path,
            "path_keep": row.keep.path,
            "kind": row.kind,
            "distance": row.bits,
            "correlation": row.correlation,
            "cosine": row.cosine,
            "reason": row.reason,
            "bytes": row.copy.bytes,
        }
        for row in rows
    ]
    return pa.Table.from_pylist(records, schema=tables.DUPLICATES_SCHEMA)


def tightest(home: Home, limit: int) -> list[dict[str, Any]]:
    """The surest rows of the table: near copies by correlation, then exact ones."""
    rows = tables.read(tables.duplicates_path(home.warehouse)).to_pylist()
    return sorted(rows, key=lambda row: (row["kind"] == EXACT, -(row["correlation"] or 0.0), row["path_from"]))[:limit]


def _report(
    table: pa.Table, files: int, looked_at: int, compared: int, pending: int, *, written: bool, seconds: float
) -> DuplicatesReport:
    kinds = table["kind"].to_pylist()
    freed = sum(table["bytes"].to_pylist())
    return DuplicatesReport(
        files, kinds.count(EXACT), kinds.count(NEAR), freed, looked_at, compared, pending, written, seconds
    )
