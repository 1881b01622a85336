"""The table of all pairs of images whose cosine is above a threshold, kept equal to the embeddings: new against all.

Belongs here: loading vectors, deciding what has to be compared again, the table. Not here: finding pairs
(`domain.pair_search`), relationships (`domain.graph`), where tables are (`domain.tables`).
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain import locks, tables
from imgret_assets.domain.decode import Status
from imgret_assets.domain.embed import vectors_of
from imgret_assets.domain.embedder import unusable_vectors
from imgret_assets.domain.home import Home
from imgret_assets.domain.pair_search import Limits, Pairs, best_neighbours, joined, search_pairs
from imgret_assets.domain.progress import Listener
from imgret_assets.errors import StaleTableError, TableError

_COVERED_SCHEMA = pa.schema([("path", pa.string()), ("vector", pa.string())])


@dataclass(frozen=True)
class Embeddings:
    """All usable vectors of a space, sorted by path.

    Attributes:
        paths: of each row.
        contents: which vector each row has: sha256 and engine (`vector_keys`).
        vectors: float32 (n, dim) as stored, finite and not zero.
        coverage: hash over all paths and contents.
    """

    paths: list[str]
    contents: list[str]
    vectors: np.ndarray
    coverage: str


@dataclass(frozen=True)
class PairsReport:
    """What a refresh of the pairs did.

    `how` says in a line what was computed and why, `means` by which of the exact means. `cut` counts the pairs that
    the cap on neighbours left out: exact after all were compared with all, a little more after small changes, since
    what was left out before is not looked at again.
    """

    space: str
    threshold: float
    images: int
    pairs: int
    compared: int
    how: str
    written: bool
    seconds: float
    cut: int = 0
    means: str = ""

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        there = f"{self.pairs:,} pairs of {self.images:,} images above {self.threshold:g}"
        if not self.written:
            return f"{there}: {self.how}, nothing was computed."
        cut = f" About {self.cut:,} pairs beyond IMGRET_MAX_NEIGHBOURS were left out." if self.cut else ""
        return f"{there}: {self.compared:,} pairs compared in {self.seconds:.1f} s ({self.means}).{cut}"


def load_embeddings(home: Home, space: str) -> Embeddings:
    """All usable vectors of a space, after checking that every shard's tables belong together.

    Raises:
        TableError: a shard is missing, of another space, or holds a vector without direction.
        StaleTableError: a shard's embeddings are of another manifest.
    """
    usable: dict[str, pa.Table] = {}
    for shard in home.shards:
        table = check_shard(home, space, shard, columns=["path", "sha256", "engine", "status"])
        usable[shard] = tables.where_equal(table, "status", Status.OK)
    paths = [path for table in usable.values() for path in table["path"].to_pylist()]
    contents = [key for table in usable.values() for key in vector_keys(table)]
    order = sorted(range(len(paths)), key=paths.__getitem__)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    # Filled shard by shard: all vectors are in memory once, not as many times as there are steps.
    vectors: np.ndarray | None = None
    start = 0
    for shard, table in usable.items():
        file = tables.embeddings_path(home.warehouse, space, shard)
        rows = tables.where_equal(tables.read(file, ["status", "embedding"]), "status", Status.OK)
        found = vectors_of(rows["embedding"])
        if (bad := unusable_vectors(found)).any():
            raise TableError(
                f"The embedding of {table['path'][int(np.argmax(bad))]} is zero or not finite",
                remedy=f"remove {file} and run again",
            )
        if vectors is None:
            vectors = np.empty((len(paths), found.shape[1]), np.float32)
        vectors[place[start : start + len(found)]] = found
        start += len(found)
    assert vectors is not None  # noqa: S101 - there is at least one shard
    paths = [paths[row] for row in order]
    contents = [contents[row] for row in order]
    return Embeddings(paths, contents, vectors, coverage_of(paths, contents))


def vector_keys(rows: pa.Table) -> list[str]:
    """What tells the vectors of embeddings rows apart: content and engine.

    Two engines give one content vectors that differ a little, and a score belongs to the vectors it was made from.
    """
    return [
        f"{sha} {engine}" for sha, engine in zip(*rows.select(["sha256", "engine"]).to_pydict().values(), strict=True)
    ]


def check_shard(home: Home, space: str, shard: str, *, columns: Sequence[str] | None = None) -> pa.Table:
    """One shard's embeddings, all columns or some, if they are of this space and of the shard's present manifest.

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
    table = tables.read(path, None if columns is None else list(columns))
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
    home: Home,
    space: str,
    threshold: float,
    *,
    say: Callable[[str], None] | None = None,
    progress: Listener | None = None,
) -> PairsReport:
    """Bring the pairs table up to date: new and changed images against all, unless all is due.

    Args:
        home: the home.
        space: id of the embedding space.
        threshold: a pair's cosine is greater than this.
        say: told in a line what is computed, and why.
        progress: told how many pairs have been decided.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or don't belong together.
        TooManyPairsError: more pairs than IMGRET_MAX_PAIRS; the earlier table stays.
        LockTimeoutError: another run writes pairs or the graph.
    """
    most = home.settings.max_neighbours
    with locks.held(
        home.locks, [locks.GRAPH], timeout_s=home.settings.lock_timeout_s, purpose="computing similarity pairs"
    ):
        started = time.monotonic()
        embeddings = load_embeddings(home, space)
        path = tables.pairs_path(home.warehouse, space)
        metadata = tables.read_metadata(path) if path.is_file() else {}
        same = (embeddings.coverage, repr(threshold), repr(most))
        if same == tuple(metadata.get(key) for key in ("coverage", "threshold", "max_neighbours")):
            rows, cut = tables.count_rows(path), int(metadata.get("cut", "0"))
            report = PairsReport(space, threshold, len(embeddings.paths), rows, 0, "nothing changed", False, 0.0, cut)
        else:
            tell = say or (lambda _: None)
            report = _recompute(home, space, threshold, embeddings, metadata, tell, progress, started)
        home.update(threshold=threshold)
        return report


def _recompute(
    home: Home,
    space: str,
    threshold: float,
    embeddings: Embeddings,
    metadata: dict[str, str],
    say: Callable[[str], None],
    progress: Listener | None,
    started: float,
) -> PairsReport:
    kept, changed, how = _what_is_left(home, space, threshold, embeddings, metadata)
    say(how)
    count, settings = len(embeddings.paths), home.settings
    limits = Limits(settings.max_pairs, settings.max_neighbours, int(settings.memory_gb * 2**30))
    found = search_pairs(
        embeddings.vectors,
        threshold,
        rows=changed,
        limits=limits,
        work=home.work / "pairs" / space,
        progress=progress,
    )
    merged, cut = found.pairs, found.cut
    if kept is not None and len(kept):
        both = joined([kept, found.pairs])
        most = settings.max_neighbours
        merged = both if most is None else both.where(best_neighbours(both, count, most))
        cut += len(both) - len(merged) + int(metadata.get("cut", "0"))
    covered = _covered_path(home, space)
    # The list of what is covered goes first: its hash in the pairs' metadata tells whether the two belong together.
    tables.write(covered, pa.table({"path": embeddings.paths, "vector": embeddings.contents}, _COVERED_SCHEMA), {})
    said = {
        "space": space,
        "threshold": repr(threshold),
        "coverage": embeddings.coverage,
        "images": str(count),
        "max_neighbours": repr(settings.max_neighbours),
        "cut": str(cut),
    }
    tables.write(tables.pairs_path(home.warehouse, space), _as_table(merged, embeddings.paths), said)
    new = count if changed is None else len(changed)
    compared = new * count - new * (new + 1) // 2
    seconds = time.monotonic() - started
    return PairsReport(space, threshold, count, len(merged), compared, how, True, seconds, cut, found.means)


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
    if coverage_of(covered["path"], covered.get("vector", covered["path"])) != metadata.get("coverage"):
        return None, None, "all against all: what the earlier table covers is not known"
    if threshold < float(metadata["threshold"]):
        return None, None, f"all against all: the threshold was lowered from {metadata['threshold']}"
    were_cut = int(metadata.get("cut", "0"))
    if were_cut and _more(home.settings.max_neighbours, metadata["max_neighbours"]):
        return None, None, f"all against all: more neighbours are wanted than the {metadata['max_neighbours']} kept"
    before = dict(zip(covered["path"], covered["vector"], strict=True))
    row_of = {path: row for row, path in enumerate(embeddings.paths)}
    changed = {row for path, row in row_of.items() if before.get(path) != embeddings.contents[row]}
    old = tables.read(tables.pairs_path(home.warehouse, space))
    # As row numbers; -1 for images that are gone or changed.
    stable = pa.array([path for path, row in row_of.items() if row not in changed], pa.string())
    rows = np.array([row_of[path] for path in stable.to_pylist()], np.int64)
    a, b = (_rows_in(old[column], stable, rows) for column in ("path_a", "path_b"))
    fresh = len(changed)
    if were_cut:
        # An image that has lost a neighbour may get one back that was left out for it.
        lost = np.concatenate([a[(b < 0) & (a >= 0)], b[(a < 0) & (b >= 0)]])
        changed |= set(lost.tolist())
    if 2 * len(changed) > len(row_of):
        return None, None, f"all against all: {len(changed):,} of {len(row_of):,} images are new"
    scores = old["score"].to_numpy()
    again = np.zeros(len(row_of) + 1, bool)
    again[sorted(changed)] = True
    keep = (a >= 0) & (b >= 0) & (scores > threshold) & ~again[a] & ~again[b]
    pairs = Pairs(a[keep], b[keep], scores[keep])
    removed = len(before.keys() - row_of.keys())
    also = f" and {len(changed) - fresh:,} that lost a neighbour" if len(changed) > fresh else ""
    how = (
        f"{fresh:,} new or changed images{also} against all {len(row_of):,}; "
        f"{removed:,} removed; {len(pairs):,} pairs kept"
    )
    return pairs, np.array(sorted(changed), np.int64), how


def _more(wanted: int | None, had: str) -> bool:
    return had != "None" and (wanted is None or wanted > int(had))


def _rows_in(names: pa.ChunkedArray, known: pa.Array, rows: np.ndarray) -> np.ndarray:
    """The row of each name, -1 for one that is not known."""
    found = pc.index_in(names, value_set=known)  # type: ignore[attr-defined]
    places = found.fill_null(-1).to_numpy().astype(np.int64)
    return np.where(places < 0, -1, rows[np.maximum(places, 0)] if len(rows) else -1)


def _as_table(pairs: Pairs, paths: Sequence[str]) -> pa.Table:
    names = pa.array(paths, pa.string())
    return pa.Table.from_arrays(
        [names.take(pa.array(pairs.a)), names.take(pa.array(pairs.b)), pa.array(pairs.scores)],
        schema=tables.PAIRS_SCHEMA,
    )
