"""The search for exact duplicates and near-duplicates.

Belongs here: candidates by hash, confirmation by correlation, which image each duplicate points to. Not here:
fingerprints (`domain.duplicates.fingerprints`), the compiled comparison of hashes (`domain.duplicates.hash_kernels`),
the table (`domain.duplicates.duplicates_table`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.duplicates.fingerprint_store import FingerprintStore, MatchScore
from imgret_assets.domain.duplicates.fingerprints import correlate
from imgret_assets.domain.duplicates.usable_images import UsableImage
from imgret_assets.domain.runtime.cpu import usable_threads

EXACT, NEAR = "exact", "near"
KINDS = (EXACT, NEAR)
# Two images are candidates if their 256-bit hashes differ in at most this many bits.
RADIUS_BITS = 64
MIN_CORRELATION = 0.96
# Fingerprints or match scores that are computed before they are stored.
CHECKPOINT = 256
# Pairs that are compared at a time, by their grey images or embeddings: this bounds the memory.
PAIR_BATCH = 1024
_BLOCK_ROWS = 512


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One row of the duplicates table.

    Attributes:
        image: the duplicate.
        keep: the image to keep instead.
        kind: `exact` (same bytes) or `near`.
        bits: bits in which the two hashes differ; 0 if exact.
        correlation: of the two small grey images; None if exact.
        cosine: of the two embeddings; None if exact or not computed yet.
    """

    image: UsableImage
    keep: UsableImage
    kind: str
    bits: int = 0
    correlation: float | None = None
    cosine: float | None = None

    @property
    def reason(self) -> str:
        """Why the image is a duplicate, and why the other image is kept.

        The text is stored in the table, so its words stay: a table that is not recomputed would mix old and new ones.
        """
        if self.kind == EXACT:
            return f"same bytes; {_why_kept(self.keep, self.image)}"
        return (
            f"same picture (correlation {self.correlation:.3f}, {self.bits} of 256 bits, cosine {self.cosine:.3f}); "
            f"{_why_kept(self.keep, self.image)}"
        )


def _why_kept(keep: UsableImage, image: UsableImage) -> str:
    if keep.width * keep.height != image.width * image.height:
        return f"kept: {keep.width} x {keep.height} pixels, not {image.width} x {image.height}"
    if keep.bytes != image.bytes:
        return f"kept: {keep.bytes:,} bytes, not {image.bytes:,}"
    return "kept: the shorter path" if len(keep.path) != len(image.path) else "kept: the first path"


def find_exact_duplicates(groups: Iterable[Sequence[UsableImage]]) -> list[Duplicate]:
    """Return the exact duplicates of ranked groups of equal content (`rank_contents`)."""
    return [Duplicate(image, group[0], EXACT) for group in groups for image in group[1:]]


def assign_keepers(
    hashes: np.ndarray,
    compared: np.ndarray,
    known_scores: Mapping[tuple[int, int], MatchScore],
    confirm: Callable[[int, Sequence[int], Sequence[int]], np.ndarray],
    *,
    radius_bits: int = RADIUS_BITS,
    min_correlation: float = MIN_CORRELATION,
    block_rows: int = _BLOCK_ROWS,
) -> np.ndarray:
    """Return for each image the image to keep: the first that is no duplicate itself and is a confirmed match.

    Images are numbered by rank. Number 0 keeps every later image that is confirmed as its near-duplicate; the first
    of the rest keeps the confirmed ones among the later rest, and so on. The result equals that of comparing all pairs
    one by one in this order.

    Args:
        hashes: uint8 (n, 32), by rank.
        compared: bool (n,); all pairs of compared images within the radius are in `known_scores`.
        known_scores: match scores of pairs of numbers, the smaller first.
        confirm: takes a number, later numbers and their bits; returns their correlations, float32.
        radius_bits: candidates differ in at most this many bits.
        min_correlation: a candidate with at least this correlation is a near-duplicate.
        block_rows: images whose candidates are searched at a time.

    Returns:
        int64 (n,): the number of the image to keep; an image that is no duplicate has its own number.
    """
    count = len(hashes)
    keepers = np.arange(count, dtype=np.int64)
    is_duplicate = np.zeros(count, dtype=bool)
    known_candidates: dict[int, list[int]] = {}
    for (first, second), (bits, _) in known_scores.items():
        if bits <= radius_bits:
            known_candidates.setdefault(first, []).append(second)
    for block, candidates in _candidate_blocks(hashes, compared, is_duplicate, radius_bits, block_rows):
        for row in sorted(block & known_candidates.keys() | candidates.keys()):
            if is_duplicate[row]:
                continue
            lines = [candidates[row]] if row in candidates else []
            if row in known_candidates:
                known = [(column, known_scores[row, column][0]) for column in known_candidates[row]]
                lines.append(np.array(known, np.int64))
            columns, bits = np.unique(np.concatenate(lines), axis=0).T
            columns, bits = columns[~is_duplicate[columns]], bits[~is_duplicate[columns]]
            if not len(columns):
                continue
            confirmed = columns[confirm(row, columns.tolist(), bits.tolist()) >= min_correlation]
            keepers[confirmed], is_duplicate[confirmed] = row, True
    return keepers


def _candidate_blocks(
    hashes: np.ndarray, compared: np.ndarray, is_duplicate: np.ndarray, radius_bits: int, block_rows: int
) -> Iterator[tuple[set[int], dict[int, np.ndarray]]]:
    """Yield blocks of image numbers in order, each with the candidates that the hashes give.

    Two compared images are no candidates of each other here: their match score is known.

    Args:
        hashes: as in `assign_keepers`.
        compared: as in `assign_keepers`.
        is_duplicate: bool (n,), which the caller updates between two blocks: a duplicate needs no candidates and is
            no candidate.
        radius_bits: as in `assign_keepers`.
        block_rows: size of the largest block.

    Yields:
        The numbers of the block; and by number int64 (candidates, 2): a later number and the bits that differ.
    """
    count = len(hashes)
    if not count:
        return
    # Heavy: loads numba, and is needed only if there are hashes to compare.
    from imgret_assets.domain.duplicates.hash_kernels import find_later_within_radius

    words = np.ascontiguousarray(hashes.view(np.uint64).reshape(count, 4).T)
    numbers = np.arange(count, dtype=np.int64)
    fresh = np.flatnonzero(~compared).astype(np.int64)
    # A compared image is searched among fresh images only, a fresh image among all.
    columns = {True: (fresh, np.ascontiguousarray(words[:, fresh])), False: (numbers, words)}
    threads = usable_threads()
    # Room for all candidates of one image, and of many images that have few.
    capacity = max(count, 1 << 16)

    def search(rows: np.ndarray, rows_compared: bool) -> list[np.ndarray]:
        parts, done = [], 0
        buffer = np.empty((capacity, 3), np.int64)
        while done < len(rows):
            filled, finished = find_later_within_radius(
                words, rows[done:], *columns[rows_compared], is_duplicate, radius_bits, buffer
            )
            parts.append(buffer[:filled].copy())
            done += finished
        return parts

    with ThreadPoolExecutor(threads, thread_name_prefix="imgret-hash") as pool:
        start, size = 0, 1
        while start < count:
            block = numbers[start : start + size]
            open_rows = block[~is_duplicate[block]]
            # Each thread takes every n-th row, so that the threads have about the same amount of work.
            tasks = [
                pool.submit(search, rows[part::threads], rows_compared)
                for rows_compared in (True, False)
                for rows in [open_rows[compared[open_rows] == rows_compared]]
                for part in range(threads)
                if len(rows[part::threads])
            ]
            candidates: dict[int, np.ndarray] = {}
            hits = 0
            for lines in (part for task in tasks for part in task.result()):
                hits += len(lines)
                if len(lines):
                    rows, firsts = np.unique(lines[:, 0], return_index=True)
                    candidates.update(zip(rows.tolist(), np.split(lines[:, 1:], firsts[1:]), strict=True))
            yield set(block.tolist()), candidates
            start += size
            # If nearly all images look the same, the first few keep most of the others: so the blocks shrink.
            size = max(1, size // 8) if hits > capacity else min(block_rows, size * 2)


def find_near_duplicates(
    groups: Sequence[Sequence[UsableImage]],
    store: FingerprintStore,
    hashes: Mapping[str, bytes | None],
    *,
    min_correlation: float,
) -> tuple[list[Duplicate], int]:
    """Return the images whose content is a near-duplicate of another content, without cosines.

    Args:
        groups: images by content, ranked (`rank_contents`).
        store: provides the match scores of earlier runs, and receives those of this run.
        hashes: the hash of each content that has one.
        min_correlation: a candidate with at least this correlation is a near-duplicate.

    Returns:
        The near-duplicates, and how many pairs of contents were compared.
    """
    ranked = [group for group in groups if hashes.get(group[0].sha256)]
    contents = [group[0].sha256 for group in ranked]
    number_of = {sha256: number for number, sha256 in enumerate(contents)}
    compared_before = store.compared_contents()
    scores: dict[tuple[int, int], MatchScore] = {}
    for (a, b), score in store.match_scores().items():
        if a in number_of and b in number_of:
            first, second = sorted((number_of[a], number_of[b]))
            scores[first, second] = score
    unsaved: list[tuple[tuple[str, str], MatchScore]] = []
    compared_pairs = 0

    def confirm(row: int, columns: Sequence[int], bits: Sequence[int]) -> np.ndarray:
        nonlocal compared_pairs
        missing = [(column, bit) for column, bit in zip(columns, bits, strict=True) if (row, column) not in scores]
        for start in range(0, len(missing), PAIR_BATCH):
            part = missing[start : start + PAIR_BATCH]
            greys = store.greys([contents[row], *(contents[column] for column, _ in part)])
            for (column, bit), correlation in zip(part, correlate(greys[0], greys[1:]).tolist(), strict=True):
                # Rounded, because the last digits depend on which of the two images comes first.
                scores[row, column] = score = (bit, round(correlation, 4))
                a, b = sorted((contents[row], contents[column]))
                unsaved.append(((a, b), score))
        compared_pairs += len(missing)
        if len(unsaved) >= CHECKPOINT:
            store.put_match_scores(unsaved)
            unsaved.clear()
        return np.array([scores[row, column][1] for column in columns], np.float32)

    table = np.frombuffer(b"".join(hashes[sha256] or b"" for sha256 in contents), np.uint8).reshape(len(contents), 32)
    compared = np.array([sha256 in compared_before for sha256 in contents], dtype=bool)
    keepers = assign_keepers(table, compared, scores, confirm, min_correlation=min_correlation)
    is_duplicate = keepers != np.arange(len(keepers))
    store.put_match_scores(unsaved)
    kept = (sha256 for sha256, duplicate in zip(contents, is_duplicate, strict=True) if not duplicate)
    store.finish_search(kept, (group[0].sha256 for group in groups))
    duplicates = []
    for number in np.flatnonzero(is_duplicate).tolist():
        keeper = int(keepers[number])
        bits, correlation = scores[keeper, number]
        duplicates += [Duplicate(image, ranked[keeper][0], NEAR, bits, correlation) for image in ranked[number]]
    return duplicates, compared_pairs


def merge_duplicates(groups: Iterable[Sequence[UsableImage]], near: Iterable[Duplicate]) -> list[Duplicate]:
    """Return the near-duplicates and the exact duplicates of all other images, sorted by path.

    An image that is both appears as a near-duplicate, so that each image points to an image that is kept.
    """
    rows = {row.image.path: row for row in near}
    rows |= {row.image.path: row for row in find_exact_duplicates(groups) if row.image.path not in rows}
    return [rows[path] for path in sorted(rows)]
