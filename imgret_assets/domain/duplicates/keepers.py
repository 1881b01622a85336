"""Which image each duplicate points to: candidates by hash, and the order in which images keep others.

Belongs here: the search for candidates, assigning images to the ones that are kept. Not here: what makes two images
duplicates or an enlargement (`domain.duplicates.duplicate_search`), the rank of images
(`domain.duplicates.usable_images`), the compiled comparison of hashes (`domain.duplicates.hash_kernels`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from imgret_assets.domain.duplicates.fingerprint_store import MatchScore
from imgret_assets.domain.runtime.cpu import usable_threads

# Two images are candidates if their 256-bit hashes differ in at most this many bits.
RADIUS_BITS = 64
_BLOCK_ROWS = 512


def assign_keepers(
    hashes: np.ndarray,
    compared: np.ndarray,
    known_scores: Mapping[tuple[int, int], MatchScore],
    confirm: Callable[[int, Sequence[int], Sequence[int]], np.ndarray],
    *,
    find_original: Callable[[int, Sequence[int]], int | None] = lambda _row, _columns: None,
    radius_bits: int = RADIUS_BITS,
    block_rows: int = _BLOCK_ROWS,
) -> np.ndarray:
    """Return for each image the image to keep: the first that is no duplicate itself and is a confirmed match.

    Images are numbered by rank, and take turns in this order. An image whose turn it is keeps the images without a turn
    that are confirmed as its near-duplicates; these lose their turns. If it is an enlargement of one of them, its turn
    comes after that one's instead. The result equals that of comparing all pairs one by one in this order.

    Args:
        hashes: uint8 (n, 32), by rank.
        compared: bool (n,); all pairs of compared images within the radius are in `known_scores`.
        known_scores: match scores of pairs of numbers, the smaller first.
        confirm: takes a number, the numbers of others and their bits; returns bool: which are its near-duplicates.
        find_original: takes a number and its near-duplicates, ascending; returns the one of which it is an enlargement
            (which is no enlargement of it in turn), or None.
        radius_bits: candidates differ in at most this many bits.
        block_rows: images whose candidates are searched at a time.

    Returns:
        int64 (n,): the number of the image to keep; an image that is no duplicate has its own number.
    """
    turns = _Turns(len(hashes), confirm, find_original)
    known_candidates: dict[int, list[tuple[int, int]]] = {}
    for (first, second), score in known_scores.items():
        if score.bits <= radius_bits:
            known_candidates.setdefault(first, []).append((second, score.bits))
    for block, candidates in _candidate_blocks(hashes, compared, turns.is_duplicate, radius_bits, block_rows):
        for row in block:
            lines = [candidates[row]] if row in candidates else []
            if row in known_candidates:
                lines.append(np.array(known_candidates[row], np.int64))
            if lines or turns.is_concerned(row):
                turns.take(row, lines)
    return turns.keepers


class _Turns:
    """The turns of images: who keeps whom, and who waits for the turn of another image.

    Attributes:
        keepers: int64 (n,), as `assign_keepers` returns them.
        is_duplicate: bool (n,), whether each image is kept by another one.
    """

    def __init__(
        self,
        count: int,
        confirm: Callable[[int, Sequence[int], Sequence[int]], np.ndarray],
        find_original: Callable[[int, Sequence[int]], int | None],
    ) -> None:
        self.keepers = np.arange(count, dtype=np.int64)
        self.is_duplicate = np.zeros(count, dtype=bool)
        self._confirm, self._find_original = confirm, find_original
        # By number, the images that wait for its turn, each with its candidates as in `take`.
        self._waiting_for: dict[int, list[tuple[int, list[np.ndarray]]]] = {}
        # By number, its candidates among the images before it that have waited, and their bits.
        self._candidates_before: dict[int, list[tuple[int, int]]] = {}
        # The images that wait now, and the last one whose turn has come by its number.
        self._waiting: set[int] = set()
        self._position = -1

    def is_concerned(self, row: int) -> bool:
        """Return whether an image without candidates after it has any before it, or lets others wait."""
        return row in self._candidates_before or row in self._waiting_for

    def take(self, row: int, lines: list[np.ndarray]) -> None:
        """Give the next image its turn, and then those that have waited for it.

        Args:
            row: its number, greater than that of the call before.
            lines: int64 (candidates, 2) each: a later number and the bits that differ.
        """
        self._position = row
        self._take(row, lines)

    def _take(self, row: int, lines: list[np.ndarray]) -> None:
        self._waiting.discard(row)
        original = None if self.is_duplicate[row] else self._keep(row, lines)
        if original is not None:
            self._waiting.add(row)
            self._waiting_for.setdefault(original, []).append((row, lines))
            for line in lines:
                for column, bits in line.tolist():
                    self._candidates_before.setdefault(column, []).append((row, bits))
            return
        for waiting, its_lines in self._waiting_for.pop(row, []):
            self._take(waiting, its_lines)

    def _keep(self, row: int, lines: list[np.ndarray]) -> int | None:
        """Let an image keep its near-duplicates; or return the one of which it is an enlargement."""
        if row in self._candidates_before:
            lines = [*lines, np.array(self._candidates_before[row], np.int64)]
        if not lines:
            return None
        columns, bits = np.unique(np.concatenate(lines), axis=0).T
        # An image up to the present position has had its turn, unless it waits.
        is_open = columns > self._position
        if self._waiting:
            is_open |= np.isin(columns, list(self._waiting))
        is_open &= ~self.is_duplicate[columns]
        columns, bits = columns[is_open], bits[is_open]
        if not len(columns):
            return None
        confirmed = columns[self._confirm(row, columns.tolist(), bits.tolist())]
        if (original := self._find_original(row, confirmed.tolist())) is not None:
            return original
        # They have been compared with it in their own turns, and would be left out here among many candidates.
        waiting = [column for column, _ in self._waiting_for.get(row, []) if not self.is_duplicate[column]]
        confirmed = np.union1d(confirmed, np.array(waiting, np.int64))
        self.keepers[confirmed], self.is_duplicate[confirmed] = row, True
        return None


def _candidate_blocks(
    hashes: np.ndarray, compared: np.ndarray, is_duplicate: np.ndarray, radius_bits: int, block_rows: int
) -> Iterator[tuple[range, dict[int, np.ndarray]]]:
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
            yield range(start, start + len(block)), candidates
            start += size
            # If nearly all images look the same, the first few keep most of the others: so the blocks shrink.
            size = max(1, size // 8) if hits > capacity else min(block_rows, size * 2)
