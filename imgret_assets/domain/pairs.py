"""The table of all pairs of images whose cosine is above a threshold, kept equal to the embeddings: new against all.

Belongs here: loading vectors, deciding what has to be compared again, the table. Not here: finding pairs
(`domain.pair_search`), relationships (`domain.graph`), where tables are (`domain.tables`).
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain import locks, tables
from imgret_assets.domain.covered import covered_hash, covered_path, read_covered, write_covered
from imgret_assets.domain.decode import Status
from imgret_assets.domain.embed import vectors_of
from imgret_assets.domain.home import Home
from imgret_assets.domain.pair_search import (
    Limits,
    Pairs,
    Searched,
    best_neighbours,
    joined,
    no_pairs,
    search_pairs,
)
from imgret_assets.domain.progress import Listener
from imgret_assets.domain.unit_rows import row_norms
from imgret_assets.errors import StaleTableError, TableError

_KIND = "pairs"


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


@dataclass(frozen=True)
class Listing:
    """Which images of a space have which vectors, sorted by path, without the vectors.

    Attributes:
        paths, contents, coverage: as in `Embeddings`.
        shards: of each shard, paths of its usable rows in their order, and whether all of its rows are usable.
    """

    paths: list[str]
    contents: list[str]
    coverage: str
    shards: dict[str, tuple[pa.ChunkedArray, bool]]


def list_embeddings(home: Home, space: str) -> Listing:
    """The keys of all usable vectors of a space, after checking that every shard's tables belong together.

    Raises:
        TableError: a shard is missing or of another space.
        StaleTableError: a shard's embeddings are of another manifest.
    """
    keys: list[tuple[str, str]] = []
    shards: dict[str, tuple[pa.ChunkedArray, bool]] = {}
    for shard in home.shards:
        table = check_shard(home, space, shard, columns=["path", "sha256", "engine", "status"])
        usable = tables.where_equal(table, "status", Status.OK)
        keys += zip(usable["path"].to_pylist(), vector_keys(usable), strict=True)
        shards[shard] = usable["path"], len(usable) == len(table)
    keys.sort()
    paths, contents = [path for path, _ in keys], [content for _, content in keys]
    return Listing(paths, contents, coverage_of(paths, contents), shards)


def read_vectors(home: Home, space: str, listing: Listing) -> np.ndarray:
    """The vectors of a listing, float32 (n, dim), in its order. Whoever calls holds the lock it was listed under.

    Raises:
        TableError: a vector has no direction.
    """
    names = pa.array(listing.paths, pa.string())
    vectors: np.ndarray | None = None
    for shard, (paths, whole) in listing.shards.items():
        file = tables.embeddings_path(home.warehouse, space, shard)
        place = pc.index_in(paths, value_set=names).to_numpy()  # type: ignore[attr-defined]
        start = 0
        # Piece by piece: all vectors are in memory once, and a piece is in the cache while it is looked at.
        for found in _pieces(file, whole):
            norms = row_norms(found)
            if (bad := ~(np.isfinite(norms) & (norms > 0))).any():
                raise TableError(
                    f"The embedding of {paths[start + int(np.argmax(bad))]} is zero or not finite",
                    remedy=f"remove {file} and run again",
                )
            if vectors is None:
                vectors = np.empty((len(listing.paths), found.shape[1]), np.float32)
            vectors[place[start : start + len(found)]] = found
            start += len(found)
    return np.empty((0, 1), np.float32) if vectors is None else vectors


def _pieces(file: Path, whole: bool) -> Iterator[np.ndarray]:
    """The usable vectors of a shard, by row group: float32 (rows, dim); one piece at least."""
    columns = ["embedding"] if whole else ["status", "embedding"]
    with tables.open_parquet(file) as opened:
        if not opened.num_row_groups:
            yield vectors_of(opened.read(columns=["embedding"])["embedding"])
        for group in range(opened.num_row_groups):
            rows = opened.read_row_group(group, columns=columns)
            yield vectors_of((rows if whole else tables.where_equal(rows, "status", Status.OK))["embedding"])


def load_embeddings(home: Home, space: str) -> Embeddings:
    """All usable vectors of a space, after checking that every shard's tables belong together.

    Raises:
        TableError: a shard is missing, of another space, or holds a vector without direction.
        StaleTableError: a shard's embeddings are of another manifest.
    """
    listing = list_embeddings(home, space)
    return Embeddings(listing.paths, listing.contents, read_vectors(home, space, listing), listing.coverage)


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
        listing = list_embeddings(home, space)
        path = tables.pairs_path(home.warehouse, space)
        metadata = tables.read_metadata(path) if path.is_file() else {}
        same = (listing.coverage, repr(threshold), repr(most))
        if same == tuple(metadata.get(key) for key in ("coverage", "threshold", "max_neighbours")):
            rows, cut = tables.count_rows(path), int(metadata.get("cut", "0"))
            report = PairsReport(space, threshold, len(listing.paths), rows, 0, "nothing changed", False, 0.0, cut)
        else:
            tell = say or (lambda _: None)
            report = _recompute(home, space, threshold, listing, metadata, tell, progress, started)
        home.update(threshold=threshold)
        return report


def _recompute(
    home: Home,
    space: str,
    threshold: float,
    listing: Listing,
    metadata: dict[str, str],
    say: Callable[[str], None],
    progress: Listener | None,
    started: float,
) -> PairsReport:
    kept, changed, how = _what_is_left(home, space, threshold, listing, metadata)
    say(how)
    count, settings = len(listing.paths), home.settings
    limits = Limits(settings.max_pairs, settings.max_neighbours, int(settings.memory_gb * 2**30), settings.device)
    found = Searched(no_pairs(), 0, "nothing to compare")
    if changed is None or len(changed):
        found = search_pairs(
            read_vectors(home, space, listing),
            threshold,
            rows=changed,
            limits=limits,
            work=home.work / _KIND / space,
            heads=home.work / _KIND / f"{space}.heads.npz",
            progress=progress,
        )
    merged, cut = found.pairs, found.cut
    if kept is not None and len(kept):
        both = joined([kept, found.pairs])
        most = settings.max_neighbours
        merged = both if most is None else both.where(best_neighbours(both, count, most))
        cut += len(both) - len(merged) + int(metadata.get("cut", "0"))
    write_covered(home, _KIND, space, listing.paths, listing.contents, listing.coverage)
    said = {
        "space": space,
        "threshold": repr(threshold),
        "coverage": listing.coverage,
        "images": str(count),
        "max_neighbours": repr(settings.max_neighbours),
        "cut": str(cut),
    }
    tables.write(tables.pairs_path(home.warehouse, space), _as_table(merged, listing.paths), said)
    new = count if changed is None else len(changed)
    compared = new * count - new * (new + 1) // 2
    seconds = time.monotonic() - started
    return PairsReport(space, threshold, count, len(merged), compared, how, True, seconds, cut, found.means)


def _what_is_left(
    home: Home, space: str, threshold: float, listing: Listing, metadata: dict[str, str]
) -> tuple[Pairs | None, np.ndarray | None, str]:
    """Old pairs that still hold, as present rows; rows to compare with all (None: all with all); and why."""
    known = covered_hash(home, _KIND, space)
    if not metadata or not covered_path(home, _KIND, space).is_file():
        return None, None, "all against all: there is no earlier table"
    if known is None or known != metadata.get("coverage"):
        return None, None, "all against all: what the earlier table covers is not known"
    if threshold < float(metadata["threshold"]):
        return None, None, f"all against all: the threshold was lowered from {metadata['threshold']}"
    were_cut = int(metadata.get("cut", "0"))
    if were_cut and _more(home.settings.max_neighbours, metadata["max_neighbours"]):
        return None, None, f"all against all: more neighbours are wanted than the {metadata['max_neighbours']} kept"
    before = dict(zip(*read_covered(home, _KIND, space), strict=True))
    row_of = {path: row for row, path in enumerate(listing.paths)}
    changed = {row for path, row in row_of.items() if before.get(path) != listing.contents[row]}
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
