"""Find exact duplicates and near-duplicates among fingerprints.

Belongs here: candidates, confirmation, star groups. Not here: the table (`domain.duplicates.duplicates_table`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.duplicates.fingerprint_store import CopyStore, Fit
from imgret_assets.domain.duplicates.fingerprints import correlations
from imgret_assets.domain.duplicates.pictures import Picture
from imgret_assets.domain.runtime.cpu import usable_threads

EXACT, NEAR = "exact", "near"
KINDS = (EXACT, NEAR)
RADIUS = 64
LEAST_CORRELATION = 0.96
CHECKPOINT = 256
_BLOCK_ROWS = 512
_AT_ONCE = 1024


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


def _why_kept(keep: Picture, copy: Picture) -> str:
    if keep.width * keep.height != copy.width * copy.height:
        return f"kept: {keep.width} x {keep.height} pixels, not {copy.width} x {copy.height}"
    if keep.bytes != copy.bytes:
        return f"kept: {keep.bytes:,} bytes, not {copy.bytes:,}"
    return "kept: the shorter path" if len(keep.path) != len(copy.path) else "kept: the first path"


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
    from imgret_assets.domain.duplicates.hash_kernels import near_later

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


def joined(groups: Iterable[Sequence[Picture]], near: Iterable[Duplicate]) -> list[Duplicate]:
    """Near copies, and the exact copies of everything that is no near copy itself, by path."""
    rows = {row.copy.path: row for row in near}
    rows |= {row.copy.path: row for row in exact_copies(groups) if row.copy.path not in rows}
    return [rows[path] for path in sorted(rows)]
