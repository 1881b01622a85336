"""All pairs of images whose cosine is above a threshold: exact, in bounded blocks, new against all.

Belongs here: the arithmetic, and keeping the pairs table equal to the embeddings. Not here: relationships
(`domain.graph`), where tables are (`domain.tables`).

A pair is in when its cosine, computed in float64 from the stored vectors, is greater than the threshold. A
float32 matrix product of the unit vectors finds candidates. Its error is bounded (Higham, Accuracy and
Stability of Numerical Algorithms, 2nd ed., section 3.1): rounding the two unit vectors to float32 moves their
dot product by at most 2u + u^2, and any order of summing D products by at most gamma(D) = D u / (1 - D u), since
the absolute values sum to at most (1 + u)^2 by Cauchy and Schwarz; u = 2^-24. Candidates within that margin below
the threshold are kept, so none is lost, and float64 decides.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from imgret_assets.domain import locks, tables
from imgret_assets.domain.decode import Status
from imgret_assets.domain.embed import vectors_of
from imgret_assets.domain.embedder import unusable_vectors
from imgret_assets.domain.home import Home
from imgret_assets.errors import StaleTableError, TableError

BLOCK_ROWS = 1024
_UNIT_ROUNDOFF = 2.0**-24
_COVERED_SCHEMA = pa.schema([("path", pa.string()), ("sha256", pa.string())])


@dataclass(frozen=True)
class Embeddings:
    """All usable vectors of a space, sorted by path.

    Attributes:
        paths, contents: path and sha256 of each row.
        vectors: float32 (n, dim) as stored, finite and not zero.
        coverage: hash over all paths and contents.
    """

    paths: list[str]
    contents: list[str]
    vectors: np.ndarray
    coverage: str


@dataclass(frozen=True)
class Pairs:
    """Pairs of row numbers `a` < `b` (int64) with their cosines (float64), sorted by `a`, then `b`."""

    a: np.ndarray
    b: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.a)


@dataclass(frozen=True)
class PairsReport:
    """What a refresh of the pairs did; `how` says in a line what was computed and why."""

    space: str
    threshold: float
    images: int
    pairs: int
    compared: int
    how: str
    written: bool
    seconds: float

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        there = f"{self.pairs:,} pairs of {self.images:,} images above {self.threshold:g}"
        if not self.written:
            return f"{there}: {self.how}, nothing was computed."
        return f"{there}: {self.compared:,} pairs compared in {self.seconds:.1f} s."


def float32_margin(dim: int) -> float:
    """Bound on the error of a float32 dot product of two float32-rounded unit vectors of `dim` numbers."""
    gamma = dim * _UNIT_ROUNDOFF / (1 - dim * _UNIT_ROUNDOFF)
    rounding = 2 * _UNIT_ROUNDOFF + _UNIT_ROUNDOFF**2
    # 1e-12 covers the float64 norms; the threshold itself is rounded to float32 downwards by the caller.
    return gamma * (1 + _UNIT_ROUNDOFF) ** 2 + rounding + 1e-12


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Raw cosine, float64 (n,), of corresponding rows of two float32 (n, dim) arrays without zero rows."""
    x, y = left.astype(np.float64), right.astype(np.float64)
    dots = np.einsum("ij,ij->i", x, y)
    norms = np.sqrt(np.einsum("ij,ij->i", x, x)) * np.sqrt(np.einsum("ij,ij->i", y, y))
    return np.clip(dots / norms, -1.0, 1.0)


def pairs_above(
    vectors: np.ndarray, threshold: float, *, rows: np.ndarray | None = None, block_rows: int = BLOCK_ROWS
) -> Pairs:
    """All pairs whose float64 cosine is greater than the threshold.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm.
        threshold: a cosine in [-1, 1].
        rows: only pairs with at least one of these row numbers, sorted; all pairs where None.
        block_rows: rows of one block; a block's product has block_rows^2 numbers.

    Raises:
        TableError: a row has no direction.
    """
    if (bad := unusable_vectors(vectors)).any():
        raise TableError(f"Row {int(np.argmax(bad))} of the vectors is zero or not finite")
    count = len(vectors)
    chosen = np.arange(count) if rows is None else np.asarray(rows, dtype=np.int64)
    isolated = np.zeros(count, dtype=bool)
    isolated[chosen] = True
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True) if count else np.ones((0, 1))
    unit = (vectors / norms).astype(np.float32)
    cutoff = np.nextafter(np.float32(threshold - float32_margin(vectors.shape[1])), np.float32(-np.inf))
    found = [
        part
        for start in range(0, len(chosen), block_rows)
        for part in _against_all(
            vectors, unit, chosen[start : start + block_rows], isolated, cutoff, threshold, block_rows
        )
    ]
    a, b, scores = (np.concatenate(columns) for columns in zip(*found, strict=True)) if found else _nothing()
    order = np.lexsort((b, a))
    return Pairs(a[order], b[order], scores[order])


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)


def _against_all(
    vectors: np.ndarray,
    unit: np.ndarray,
    block: np.ndarray,
    chosen: np.ndarray,
    cutoff: np.float32,
    threshold: float,
    block_rows: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of one block of rows with all rows, each unordered pair once."""
    left = unit[block]
    for start in range(0, len(unit), block_rows):
        product = left @ unit[start : start + block_rows].T
        near_row, near_column = np.nonzero(product >= cutoff)
        i, j = block[near_row], near_column.astype(np.int64) + start
        # Two chosen rows meet twice, and each row meets itself.
        keep = (i != j) & (~chosen[j] | (i < j))
        i, j = i[keep], j[keep]
        for part in range(0, len(i), block_rows * 8):
            some_i, some_j = i[part : part + block_rows * 8], j[part : part + block_rows * 8]
            scores = cosines(vectors[some_i], vectors[some_j])
            above = scores > threshold
            if above.any():
                some_i, some_j = some_i[above], some_j[above]
                yield np.minimum(some_i, some_j), np.maximum(some_i, some_j), scores[above]


def load_embeddings(home: Home, space: str) -> Embeddings:
    """All usable vectors of a space, after checking that every shard's tables belong together.

    Raises:
        TableError: a shard is missing, of another space, or holds a vector without direction.
        StaleTableError: a shard's embeddings are of another manifest.
    """
    paths: list[str] = []
    contents: list[str] = []
    vectors: list[np.ndarray] = []
    for shard in home.shards:
        table = check_shard(home, space, shard)
        usable = tables.where_equal(table, "status", Status.OK)
        found = vectors_of(usable["embedding"])
        if (bad := unusable_vectors(found)).any():
            raise TableError(
                f"The embedding of {usable['path'][int(np.argmax(bad))]} is zero or not finite",
                remedy=f"remove {tables.embeddings_path(home.warehouse, space, shard)} and run again",
            )
        paths += usable["path"].to_pylist()
        contents += usable["sha256"].to_pylist()
        vectors.append(found)
    order = sorted(range(len(paths)), key=paths.__getitem__)
    paths = [paths[row] for row in order]
    contents = [contents[row] for row in order]
    return Embeddings(paths, contents, np.concatenate(vectors)[order], coverage_of(paths, contents))


def check_shard(home: Home, space: str, shard: str) -> pa.Table:
    """One shard's embeddings, if they are of this space and of the shard's present manifest.

    Raises:
        TableError: a table is missing or of another space.
        StaleTableError: the manifest has changed since.
    """
    manifest = tables.require(
        tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
    )
    path = tables.require(
        tables.embeddings_path(home.warehouse, space, shard),
        f"The embeddings of shard {shard} in {space}",
        "embeddings",
    )
    metadata = tables.read_metadata(path)
    if metadata.get("space") != space or metadata.get("shards") != str(home.record.shards):
        raise TableError(
            f"{path} is of space {metadata.get('space')} in {metadata.get('shards')} shards",
            expected=f"space {space} in {home.record.shards} shards",
            remedy=f"remove it and materialise `embeddings` for shard {shard}",
        )
    listed = tables.where_equal(tables.read(manifest, ["path", "sha256", "status"]), "status", Status.OK)
    table = tables.read(path)
    if not (listed["path"].equals(table["path"]) and listed["sha256"].equals(table["sha256"])):
        raise StaleTableError(
            f"The embeddings of shard {shard} are older than its manifest",
            remedy=f"materialise `embeddings` for shard {shard}, or run `imgret run`",
        )
    return table


def coverage_of(paths: Sequence[str], contents: Sequence[str]) -> str:
    """Hash of which contents are where: SHA-256 over the sorted paths with their contents."""
    digest = hashlib.sha256()
    for path, sha in sorted(zip(paths, contents, strict=True)):
        digest.update(f"{path}\0{sha}\n".encode())
    return digest.hexdigest()


def refresh_pairs(
    home: Home, space: str, threshold: float, *, progress: Callable[[str], None] | None = None
) -> PairsReport:
    """Bring the pairs table up to date: new and changed images against all, unless all is due.

    Args:
        home: the home.
        space: id of the embedding space.
        threshold: a pair's cosine is greater than this.
        progress: told in a line what is computed.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or don't belong together.
        LockTimeoutError: another run writes pairs or the graph.
    """
    with locks.held(
        home.locks, [locks.GRAPH], timeout_s=home.settings.lock_timeout_s, purpose="computing similarity pairs"
    ):
        started = time.monotonic()
        embeddings = load_embeddings(home, space)
        path = tables.pairs_path(home.warehouse, space)
        metadata = tables.read_metadata(path) if path.is_file() else {}
        if metadata.get("coverage") == embeddings.coverage and metadata.get("threshold") == repr(threshold):
            rows = tables.read(path, ["score"]).num_rows
            report = PairsReport(space, threshold, len(embeddings.paths), rows, 0, "nothing changed", False, 0.0)
        else:
            report = _recompute(home, space, threshold, embeddings, metadata, progress or (lambda _: None), started)
        home.update(threshold=threshold)
        return report


def _recompute(
    home: Home,
    space: str,
    threshold: float,
    embeddings: Embeddings,
    metadata: dict[str, str],
    progress: Callable[[str], None],
    started: float,
) -> PairsReport:
    kept, changed, how = _what_is_left(home, space, threshold, embeddings, metadata)
    progress(how)
    fresh = pairs_above(embeddings.vectors, threshold, rows=changed)
    merged = _merged(kept, fresh)
    table = _as_table(merged, embeddings.paths)
    covered = _covered_path(home, space)
    # The list of what is covered goes first: its hash in the pairs' metadata tells whether the two belong together.
    tables.write(covered, pa.table({"path": embeddings.paths, "sha256": embeddings.contents}, _COVERED_SCHEMA), {})
    said = {
        "space": space,
        "threshold": repr(threshold),
        "coverage": embeddings.coverage,
        "images": str(len(embeddings.paths)),
    }
    tables.write(tables.pairs_path(home.warehouse, space), table, said)
    count = len(embeddings.paths)
    new = count if changed is None else len(changed)
    compared = new * count - new * (new + 1) // 2
    return PairsReport(space, threshold, count, len(merged), compared, how, True, time.monotonic() - started)


def _covered_path(home: Home, space: str) -> Path:
    return home.work / "pairs" / f"{space}.parquet"


def _what_is_left(
    home: Home, space: str, threshold: float, embeddings: Embeddings, metadata: dict[str, str]
) -> tuple[Pairs | None, np.ndarray | None, str]:
    """Old pairs that still hold, as present rows; rows to compare with all (None: all with all); and why."""
    covered_path = _covered_path(home, space)
    if not metadata or not covered_path.is_file():
        return None, None, "all against all: there is no earlier table"
    covered = tables.read(covered_path).to_pydict()
    if coverage_of(covered["path"], covered["sha256"]) != metadata.get("coverage"):
        return None, None, "all against all: what the earlier table covers is not known"
    if threshold < float(metadata["threshold"]):
        return None, None, f"all against all: the threshold was lowered from {metadata['threshold']}"
    before = dict(zip(covered["path"], covered["sha256"], strict=True))
    row_of = {path: row for row, path in enumerate(embeddings.paths)}
    changed = np.array(
        [row for path, row in row_of.items() if before.get(path) != embeddings.contents[row]], dtype=np.int64
    )
    if 2 * len(changed) > len(row_of):
        return None, None, f"all against all: {len(changed):,} of {len(row_of):,} images are new"
    old = tables.read(tables.pairs_path(home.warehouse, space)).to_pydict()
    stable = set(row_of) - {embeddings.paths[row] for row in changed}
    kept = [
        (row_of[a], row_of[b], score)
        for a, b, score in zip(old["path_a"], old["path_b"], old["score"], strict=True)
        if score > threshold and a in stable and b in stable
    ]
    columns = list(zip(*kept, strict=True)) if kept else [(), (), ()]
    pairs = Pairs(np.array(columns[0], np.int64), np.array(columns[1], np.int64), np.array(columns[2], np.float64))
    removed = len(before.keys() - row_of.keys())
    how = (
        f"{len(changed):,} new or changed images against all {len(row_of):,}; "
        f"{removed:,} removed; {len(kept):,} pairs kept"
    )
    return pairs, changed, how


def _merged(kept: Pairs | None, fresh: Pairs) -> Pairs:
    if kept is None or not len(kept):
        return fresh
    a, b, scores = (
        np.concatenate(both) for both in ((kept.a, fresh.a), (kept.b, fresh.b), (kept.scores, fresh.scores))
    )
    order = np.lexsort((b, a))
    return Pairs(a[order], b[order], scores[order])


def _as_table(pairs: Pairs, paths: Sequence[str]) -> pa.Table:
    names = pa.array(paths, pa.string())
    return pa.Table.from_arrays(
        [names.take(pa.array(pairs.a)), names.take(pa.array(pairs.b)), pa.array(pairs.scores)],
        schema=tables.PAIRS_SCHEMA,
    )
