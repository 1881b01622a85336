"""Which files are copies of which: the same bytes, or the same picture resized, recompressed, brightened or cropped.

Belongs here: which copy is kept, finding copies, the duplicates table. Not here: how two pictures are compared
(`domain.copies`), relationships (`domain.duplicate_graph`), look-alikes (`domain.pairs`).

Contents are taken in the order in which they are kept: most pixels, largest file, shortest path, path. The first keeps
every later one that is directly confirmed as its copy; the first of the rest goes on. So nothing points at what points
elsewhere, and every copy was compared with the very file it points at; copies of copies that have drifted too far from
the first stay with one of their own.

Near copies are candidates whose 256-bit hashes differ in at most RADIUS bits, confirmed by the correlation of small
grey pictures; a cosine below LEAST_COSINE, which no copy has, is the last objection. All hashes are compared, but
those that kept nothing apart last time (`copy_store`: compared) not again with each other.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain import locks, tables
from imgret_assets.domain.copies import RETRY, correlations, look_at_files
from imgret_assets.domain.copy_store import CopyStore, Fit
from imgret_assets.domain.cores import usable_threads
from imgret_assets.domain.decode import Status
from imgret_assets.domain.embed import vectors_of
from imgret_assets.domain.home import Home
from imgret_assets.domain.pair_search import cosines
from imgret_assets.domain.pairs import check_shard, coverage_of, vector_keys
from imgret_assets.domain.progress import Listener, Progress

EXACT, NEAR = "exact", "near"
KINDS = (EXACT, NEAR)
RADIUS = 64
LEAST_CORRELATION = 0.96
LEAST_COSINE = 0.5
# Whatever changes here, or in `copies`, makes what is kept of contents useless: count it up.
LOOKING = f"phash256-grey64-1 {RADIUS}"
METHOD = f"{LOOKING} {LEAST_CORRELATION:g} {LEAST_COSINE:g}"
CHECKPOINT = 256
_BLOCK_ROWS = 512
_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Picture:
    """A usable file: `vector` says which vector it has (`pairs.vector_keys`)."""

    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    vector: str = ""

    @property
    def order(self) -> tuple[int, int, int, str]:
        """What is to be kept comes first."""
        return (-self.width * self.height, -self.bytes, len(self.path), self.path)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A row of the table: `copy` is one of `keep`; `bits` of the hash differ; `correlation` is None if exact."""

    copy: Picture
    keep: Picture
    kind: str
    bits: int = 0
    correlation: float | None = None
    cosine: float | None = None

    @property
    def reason(self) -> str:
        """Why it is a copy, and why the other one is kept."""
        if self.kind == EXACT:
            return f"same bytes; {_why_kept(self.keep, self.copy)}"
        return (
            f"same picture (correlation {self.correlation:.3f}, {self.bits} of 256 bits, cosine {self.cosine:.3f}); "
            f"{_why_kept(self.keep, self.copy)}"
        )


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


def _why_kept(keep: Picture, copy: Picture) -> str:
    if keep.width * keep.height != copy.width * copy.height:
        return f"kept: {keep.width} x {keep.height} pixels, not {copy.width} x {copy.height}"
    if keep.bytes != copy.bytes:
        return f"kept: {keep.bytes:,} bytes, not {copy.bytes:,}"
    return "kept: the shorter path" if len(keep.path) != len(copy.path) else "kept: the first path"


def by_content(pictures: Iterable[Picture]) -> list[list[Picture]]:
    """Files of each content, what is to be kept first in each and among them."""
    found: dict[str, list[Picture]] = {}
    for picture in pictures:
        found.setdefault(picture.sha256, []).append(picture)
    return sorted((sorted(group, key=lambda one: one.order) for group in found.values()), key=lambda g: g[0].order)


def exact_copies(groups: Iterable[Sequence[Picture]]) -> list[Duplicate]:
    """Files with the same bytes as another, pointing at the one to keep."""
    return [Duplicate(copy, group[0], EXACT) for group in groups for copy in group[1:]]


def star_groups(
    hashes: np.ndarray,
    compared: np.ndarray,
    known: Mapping[tuple[int, int], Fit],
    confirm: Callable[[int, Sequence[int], Sequence[int]], np.ndarray],
    *,
    radius: int = RADIUS,
    least: float = LEAST_CORRELATION,
    block_rows: int = _BLOCK_ROWS,
) -> np.ndarray:
    """Which picture keeps each: the first that is no copy itself and is confirmed.

    Args:
        hashes: uint8 (n, 32), in the order in which pictures are kept.
        compared: bool (n,); pairs within the radius of which both are so are in `known`.
        known: fits of pairs of numbers, smaller first.
        confirm: given a number, later ones and their bits, their correlations (float32).
        radius: candidates differ in at most so many bits.
        least: correlation from which a candidate is a copy.
        block_rows: hashes searched for at a time.

    Returns:
        int64 (n,): the number of the one that is kept; its own for those that are.
    """
    count = len(hashes)
    keeper = np.arange(count, dtype=np.int64)
    taken = np.zeros(count, dtype=bool)
    later: dict[int, list[int]] = {}
    for (first, second), (bits, _) in known.items():
        if bits <= radius:
            later.setdefault(first, []).append(second)
    for block, near in _candidates(hashes, compared, taken, radius, block_rows):
        for row in sorted(block & later.keys() | near.keys()):
            if taken[row]:
                continue
            lines = [near[row]] if row in near else []
            if row in later:
                lines.append(np.array([(column, known[row, column][0]) for column in later[row]], np.int64))
            columns, bits = np.unique(np.concatenate(lines), axis=0).T
            columns, bits = columns[~taken[columns]], bits[~taken[columns]]
            fits = confirm(row, columns.tolist(), bits.tolist()) if len(columns) else np.empty(0, np.float32)
            copies = columns[fits >= least]
            keeper[copies], taken[copies] = row, True
    return keeper


def _candidates(
    hashes: np.ndarray, compared: np.ndarray, taken: np.ndarray, radius: int, block_rows: int
) -> Iterator[tuple[set[int], dict[int, np.ndarray]]]:
    """Blocks of numbers in order; for some of each, lines of a later one that may be its copy and their bits.

    `taken` is looked at when a block is searched: what is taken needs no candidates and is none.
    """
    count = len(hashes)
    if not count:
        return
    from imgret_assets.domain.hash_kernels import near_later

    words = np.ascontiguousarray(hashes.view(np.uint64).reshape(count, 4).T)
    everything = np.arange(count, dtype=np.int64)
    fresh = np.flatnonzero(~compared).astype(np.int64)
    columns = {True: (fresh, np.ascontiguousarray(words[:, fresh])), False: (everything, words)}
    threads = usable_threads()
    # Room for the candidates of one number at least; of many, where there are few.
    room = max(count, 1 << 16)

    def search(rows: np.ndarray, of_compared: bool) -> list[np.ndarray]:
        parts, done = [], 0
        found = np.empty((room, 3), np.int64)
        while done < len(rows):
            filled, finished = near_later(words, rows[done:], *columns[of_compared], taken, radius, found)
            parts.append(found[:filled].copy())
            done += finished
        return parts

    with ThreadPoolExecutor(threads, thread_name_prefix="imgret-hash") as pool:
        start, size = 0, 1
        while start < count:
            block = everything[start : start + size]
            open_rows = block[~taken[block]]
            # Compared and fresh ones by turns, so that threads have about the same to do.
            jobs = [
                pool.submit(search, rows[part::threads], of_compared)
                for of_compared in (True, False)
                for rows in [open_rows[compared[open_rows] == of_compared]]
                for part in range(threads)
                if len(rows[part::threads])
            ]
            near: dict[int, np.ndarray] = {}
            hits = 0
            for lines in (part for job in jobs for part in job.result()):
                hits += len(lines)
                rows, firsts = np.unique(lines[:, 0], return_index=True)
                near.update(zip(rows.tolist(), np.split(lines[:, 1:], firsts[1:]), strict=True) if len(rows) else ())
            yield set(block.tolist()), near
            start += size
            # Where nearly everything looks the same, a few at a time: most are taken by the first.
            size = max(1, size // 8) if hits > room else min(block_rows, size * 2)


def near_copies(
    groups: Sequence[Sequence[Picture]], store: CopyStore, hashes: Mapping[str, bytes | None], *, least: float
) -> tuple[list[Duplicate], int]:
    """Files of contents that are near copies of another content, their cosines still missing; pairs compared.

    Args:
        groups: files by content (`by_content`).
        store: knows what was compared before, and is told what is now.
        hashes: of each content that has one.
        least: correlation from which a candidate is a copy.
    """
    ranked = [group for group in groups if hashes.get(group[0].sha256)]
    shas = [group[0].sha256 for group in ranked]
    number = {sha: rank for rank, sha in enumerate(shas)}
    before = store.compared()
    known: dict[tuple[int, int], Fit] = {}
    for (a, b), fit in store.fits().items():
        if a in number and b in number:
            i, j = sorted((number[a], number[b]))
            known[i, j] = fit
    fresh: list[tuple[tuple[str, str], Fit]] = []
    compared = 0

    def confirm(row: int, columns: Sequence[int], bits: Sequence[int]) -> np.ndarray:
        nonlocal compared
        missing = [(column, bit) for column, bit in zip(columns, bits, strict=True) if (row, column) not in known]
        for start in range(0, len(missing), _AT_ONCE):
            part = missing[start : start + _AT_ONCE]
            greys = store.greys([shas[row], *(shas[column] for column, _ in part)])
            for (column, bit), found in zip(part, correlations(greys[0], greys[1:]).tolist(), strict=True):
                # The last digits depend on which of the two came first.
                value = round(found, 4)
                known[row, column] = (bit, value)
                a, b = sorted((shas[row], shas[column]))
                fresh.append(((a, b), (bit, value)))
        compared += len(missing)
        if len(fresh) >= CHECKPOINT:
            store.put_fits(fresh)
            fresh.clear()
        return np.array([known[row, column][1] for column in columns], np.float32)

    table = np.frombuffer(b"".join(hashes[sha] or b"" for sha in shas), np.uint8).reshape(len(shas), 32)
    seen = np.array([sha in before for sha in shas], dtype=bool)
    keeper = star_groups(table, seen, known, confirm, least=least)
    store.put_fits(fresh)
    store.settle((sha for rank, sha in enumerate(shas) if keeper[rank] == rank), (g[0].sha256 for g in groups))
    found = []
    for rank in np.flatnonzero(keeper != np.arange(len(keeper))).tolist():
        keep = int(keeper[rank])
        bits, correlation = known[keep, rank]
        found += [Duplicate(copy, ranked[keep][0], NEAR, bits, correlation) for copy in ranked[rank]]
    return found, compared


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
    with locks.held(
        home.locks, [locks.GRAPH], timeout_s=home.settings.lock_timeout_s, purpose="looking for duplicates"
    ):
        started = time.monotonic()
        pictures = usable_pictures(home, space)
        path = tables.duplicates_path(home.warehouse)
        said = {"method": METHOD, "space": space, "coverage": coverage(pictures), "images": str(len(pictures))}
        before = tables.read_metadata(path) if path.is_file() else {}
        if before.get("pending") == "0" and all(before.get(key) == value for key, value in said.items()):
            return _report(tables.read(path), len(pictures), 0, 0, 0, written=False, seconds=0.0)
        store = CopyStore(home.work, LOOKING)
        groups = by_content(pictures)
        looked_at, pending = _look(home, store, groups, progress or (lambda _: None), started)
        near, compared = near_copies(groups, store, store.hashes(), least=LEAST_CORRELATION)
        near = [row for row in _with_cosines(home, space, near) if (row.cosine or 0.0) >= LEAST_COSINE]
        table = as_table(joined(groups, near))
        tables.write(path, table, {**said, "pending": str(pending)})
        seconds = time.monotonic() - started
        return _report(table, len(pictures), looked_at, compared, pending, written=True, seconds=seconds)


def joined(groups: Iterable[Sequence[Picture]], near: Iterable[Duplicate]) -> list[Duplicate]:
    """Near copies, and the exact copies of everything that is no near copy itself, by path."""
    rows = {row.copy.path: row for row in near}
    rows |= {row.copy.path: row for row in exact_copies(groups) if row.copy.path not in rows}
    return [rows[path] for path in sorted(rows)]


def coverage(pictures: Iterable[Picture]) -> str:
    """Hash of which files with which vectors a table is about."""
    sorted_by_path = sorted(pictures, key=lambda one: one.path)
    return coverage_of([one.path for one in sorted_by_path], [one.vector for one in sorted_by_path])


def usable_pictures(home: Home, space: str) -> list[Picture]:
    """All usable files, sorted by path.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or don't belong together.
    """
    found: list[Picture] = []
    for shard in home.shards:
        table = check_shard(home, space, shard, columns=["path", "sha256", "engine", "status"])
        manifest = tables.read(
            tables.manifest_path(home.warehouse, shard), ["path", "bytes", "width", "height", "status"]
        )
        listed = tables.where_equal(manifest, "status", Status.OK).to_pydict()
        facts = dict(
            zip(listed["path"], zip(listed["bytes"], listed["width"], listed["height"], strict=True), strict=True)
        )
        rows = tables.where_equal(table, "status", Status.OK)
        names, shas = rows["path"].to_pylist(), rows["sha256"].to_pylist()
        for path, sha, vector in zip(names, shas, vector_keys(rows), strict=True):
            size, width, height = facts[path]
            found.append(Picture(path, sha, size or 0, width or 0, height or 0, vector))
    return sorted(found, key=lambda one: one.path)


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
