"""The search for exact duplicates and near-duplicates.

Belongs here: candidates by hash, which of them are compared by their pixels, which image each duplicate points to. Not
here: fingerprints (`domain.duplicates.fingerprints`), the comparison of pixels (`domain.duplicates.confirmation`), the
compiled comparison of hashes (`domain.duplicates.hash_kernels`), the table (`domain.duplicates.duplicates_table`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgret_assets.domain.duplicates.confirmation import LOOK_VERDICTS, NEAR_VERDICTS
from imgret_assets.domain.duplicates.fingerprint_store import FingerprintStore, MatchScore
from imgret_assets.domain.duplicates.fingerprints import correlate
from imgret_assets.domain.duplicates.pixel_comparison import PixelComparer
from imgret_assets.domain.duplicates.usable_images import UsableImage
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.settings import DEFAULT_MAX_BYTES

EXACT, NEAR = "exact", "near"
# The kinds of duplicates: images that can be removed without losing a picture.
DUPLICATE_KINDS = (EXACT, NEAR)
# Images that show the same scene, but not the same picture: nobody removes one without looking at both.
LOOK_FIRST = "look_first"
KINDS = (*DUPLICATE_KINDS, LOOK_FIRST)
# Two images are candidates if their 256-bit hashes differ in at most this many bits.
RADIUS_BITS = 64
# Candidates whose small grey images correlate less are not compared by their pixels: other photographs within the
# radius mostly correlate by less, near-duplicates by at least 0.93.
MIN_CORRELATION = 0.9
# Candidates whose proportions differ by more are not compared: a squeeze of 4:3 to 1:1, cropped by 4 percent an edge.
MAX_SQUEEZE = 4 / 3 / 0.92
# The closest candidates of an image are compared until so many in a row are none of its near-duplicates. Forms by the
# thousand are each other's candidates; without a limit each would be compared with all others.
MAX_MISSES = 32
# Names which duplicate is kept, and the words of that: another name makes the table anew from stored comparisons.
RANKING_METHOD = "depth-1"
# Changes to what decides in this module or in `confirmation` increment the number: all pairs are then compared again.
CONFIRMATION_METHOD = f"pixels768-3 {MIN_CORRELATION:g} {MAX_SQUEEZE:.3f} {MAX_MISSES}"
# Fingerprints or match scores that are computed before they are stored.
CHECKPOINT = 256
# Pairs that are compared at a time, by their grey images or embeddings: this bounds the memory.
PAIR_BATCH = 1024
_BLOCK_ROWS = 512
# Start of the stored reason of an image to look at first.
_LOOK_PREFIX = "look first: "


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One row of the duplicates table.

    Attributes:
        image: the duplicate.
        keep: the image to keep instead; if the kind is `look_first`, the image to compare it with.
        kind: `exact` (same bytes), `near` or `look_first`.
        bits: bits in which the two hashes differ; 0 if exact.
        correlation: of the two small grey images; None if exact.
        cosine: of the two embeddings; None if exact or not computed yet.
        difference: what the two images differ by, if the kind is `look_first`.
    """

    image: UsableImage
    keep: UsableImage
    kind: str
    bits: int = 0
    correlation: float | None = None
    cosine: float | None = None
    difference: str = ""

    @property
    def reason(self) -> str:
        """Why the image is a duplicate, and why the other image is kept.

        The text is stored in the table, so its words stay: a table that is not recomputed would mix old and new ones.
        """
        if self.kind == EXACT:
            return f"same bytes; {_why_kept(self.keep, self.image)}"
        measures = f"correlation {self.correlation:.3f}, {self.bits} of 256 bits, cosine {self.cosine or 0.0:.3f}"
        if self.kind == LOOK_FIRST:
            return f"{_LOOK_PREFIX}{self.difference} ({measures}); neither is proposed for removal"
        return f"same picture ({measures}); {_why_kept(self.keep, self.image)}"


def read_difference(reason: str) -> str:
    """Return what two images differ by, from the stored reason of a row of the kind `look_first`."""
    return reason.removeprefix(_LOOK_PREFIX).rpartition(" (correlation ")[0] or reason


def _why_kept(keep: UsableImage, image: UsableImage) -> str:
    if keep.depth != image.depth:
        if keep.depth[0] != image.depth[0]:
            return "kept: stored in colour, not in grey"
        return f"kept: {_in_bits(keep)}, not {_in_bits(image)}"
    if keep.width * keep.height != image.width * image.height:
        return f"kept: {keep.width} x {keep.height} pixels, not {image.width} x {image.height}"
    if keep.bytes != image.bytes:
        return f"kept: {keep.bytes:,} bytes, not {image.bytes:,}"
    return "kept: the shorter path" if len(keep.path) != len(image.path) else "kept: the first path"


def _in_bits(image: UsableImage) -> str:
    return "unknown bits" if image.bits is None else f"{image.bits:,} bit{'s' * (image.bits != 1)} per pixel"


def find_exact_duplicates(groups: Iterable[Sequence[UsableImage]]) -> list[Duplicate]:
    """Return the exact duplicates of ranked groups of equal content (`rank_contents`).

    A hard link of the file to keep is the same stored file, and no duplicate.
    """
    return [
        Duplicate(image, group[0], EXACT)
        for group in groups
        for image in group[1:]
        if image.storage != group[0].storage
    ]


def assign_keepers(
    hashes: np.ndarray,
    compared: np.ndarray,
    known_scores: Mapping[tuple[int, int], MatchScore],
    confirm: Callable[[int, Sequence[int], Sequence[int]], np.ndarray],
    *,
    radius_bits: int = RADIUS_BITS,
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
        confirm: takes a number, later numbers and their bits; returns bool: which are its near-duplicates.
        radius_bits: candidates differ in at most this many bits.
        block_rows: images whose candidates are searched at a time.

    Returns:
        int64 (n,): the number of the image to keep; an image that is no duplicate has its own number.
    """
    count = len(hashes)
    keepers = np.arange(count, dtype=np.int64)
    is_duplicate = np.zeros(count, dtype=bool)
    known_candidates: dict[int, list[int]] = {}
    for (first, second), score in known_scores.items():
        if score.bits <= radius_bits:
            known_candidates.setdefault(first, []).append(second)
    for block, candidates in _candidate_blocks(hashes, compared, is_duplicate, radius_bits, block_rows):
        for row in sorted(block & known_candidates.keys() | candidates.keys()):
            if is_duplicate[row]:
                continue
            lines = [candidates[row]] if row in candidates else []
            if row in known_candidates:
                known = [(column, known_scores[row, column].bits) for column in known_candidates[row]]
                lines.append(np.array(known, np.int64))
            columns, bits = np.unique(np.concatenate(lines), axis=0).T
            columns, bits = columns[~is_duplicate[columns]], bits[~is_duplicate[columns]]
            if not len(columns):
                continue
            confirmed = columns[confirm(row, columns.tolist(), bits.tolist())]
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


@dataclass(frozen=True)
class NearDuplicates:
    """The result of the search for near-duplicates.

    Attributes:
        duplicates: the near-duplicates, without cosines.
        look_first: images that show the same scene as another image, without cosines; none of them is a near-duplicate.
        compared_pairs: pairs of contents that were compared by their pixels.
        left_out_pairs: candidates that were not compared, because closer ones were none (`MAX_MISSES`).
        unreadable: contents that could not be read; the next run tries again.
    """

    duplicates: list[Duplicate]
    look_first: list[Duplicate]
    compared_pairs: int
    left_out_pairs: int
    unreadable: int


class _Confirmation:
    """Decides about the candidates of one image after another, by match scores of earlier runs and by pixels."""

    def __init__(
        self,
        ranked: Sequence[Sequence[UsableImage]],
        store: FingerprintStore,
        comparer: PixelComparer,
        scores: dict[tuple[int, int], MatchScore],
    ) -> None:
        self.ranked, self.store, self.comparer, self.scores = ranked, store, comparer, scores
        self.contents = [group[0].sha256 for group in ranked]
        # By number, the first image that it has to be looked at with.
        self.look_first: dict[int, int] = {}
        self.unreadable: set[int] = set()
        self.compared_pairs = self.left_out_pairs = 0
        self._unsaved: list[tuple[tuple[str, str], MatchScore]] = []

    def confirm(self, row: int, columns: Sequence[int], bits: Sequence[int]) -> np.ndarray:
        """Return which of the later images are near-duplicates of an image: bool, in their order.

        The candidates are compared from the closest on. So the result is the same whatever was compared before.
        """
        self._correlate(row, columns, bits)
        plausible = [column for column in columns if self._is_plausible(row, column)]
        order = sorted(plausible, key=lambda column: self._closeness(row, column))
        near: set[int] = set()
        misses = position = 0
        while position < len(order) and misses < MAX_MISSES:
            part = order[position : position + min(self.comparer.threads, MAX_MISSES - misses)]
            self._compare(row, [column for column in part if not self.scores[row, column].verdict])
            for column in part:
                verdict = self.scores[row, column].verdict
                if verdict in NEAR_VERDICTS:
                    near.add(column)
                elif verdict in LOOK_VERDICTS:
                    self.look_first.setdefault(column, row)
                misses = 0 if column in near else misses + 1
            position += len(part)
        self.left_out_pairs += len(order) - position
        if len(self._unsaved) >= CHECKPOINT:
            self.save()
        return np.array([column in near for column in columns], dtype=bool)

    def save(self) -> None:
        """Store the match scores that are not stored yet."""
        self.store.put_match_scores(self._unsaved)
        self._unsaved.clear()

    def _put(self, row: int, column: int, score: MatchScore) -> None:
        self.scores[row, column] = score
        a, b = sorted((self.contents[row], self.contents[column]))
        self._unsaved.append(((a, b), score))

    def _correlate(self, row: int, columns: Sequence[int], bits: Sequence[int]) -> None:
        """Measure the correlations of pairs that have no score yet."""
        missing = [(column, bit) for column, bit in zip(columns, bits, strict=True) if (row, column) not in self.scores]
        for start in range(0, len(missing), PAIR_BATCH):
            part = missing[start : start + PAIR_BATCH]
            greys = self.store.greys([self.contents[row], *(self.contents[column] for column, _ in part)])
            for (column, bit), correlation in zip(part, correlate(greys[0], greys[1:]).tolist(), strict=True):
                # Rounded, because the last digits depend on which of the two images comes first.
                self._put(row, column, MatchScore(bit, round(correlation, 4)))

    def _is_plausible(self, row: int, column: int) -> bool:
        a, b = self.ranked[row][0], self.ranked[column][0]
        return self.scores[row, column].correlation >= MIN_CORRELATION and have_like_proportions(a, b)

    def _closeness(self, row: int, column: int) -> tuple[int, float, str]:
        score = self.scores[row, column]
        return score.bits, -score.correlation, self.contents[column]

    def _compare(self, row: int, columns: Sequence[int]) -> None:
        """Compare pairs by their pixels; a pair that can't be read has no verdict."""
        if not columns:
            return
        results = self.comparer.compare(self.contents[row], [self.contents[column] for column in columns])
        for column, comparison in zip(columns, results, strict=True):
            if comparison is None:
                self.unreadable.add(column)
                continue
            self.compared_pairs += 1
            score = self.scores[row, column]
            self._put(row, column, score._replace(verdict=comparison.verdict, reason=comparison.reason))


def have_like_proportions(a: UsableImage, b: UsableImage) -> bool:
    """Return whether one image may be the other, cropped and squeezed by at most MAX_SQUEEZE.

    Sizes are whole pixels: half a pixel more or less on each side of the smaller image counts for neither.
    """
    larger, smaller = sorted((a, b), key=lambda image: -image.width * image.height)
    if not smaller.width or not smaller.height or not larger.width or not larger.height:
        return True
    shape = larger.width / larger.height
    widest = (smaller.width + 0.5) / max(smaller.height - 0.5, 0.5)
    narrowest = max(smaller.width - 0.5, 0.5) / (smaller.height + 0.5)
    return narrowest / MAX_SQUEEZE <= shape <= widest * MAX_SQUEEZE


def find_near_duplicates(
    groups: Sequence[Sequence[UsableImage]],
    store: FingerprintStore,
    hashes: Mapping[str, bytes | None],
    root: Path,
    *,
    max_pixels: int,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> NearDuplicates:
    """Find the images whose content is a near-duplicate of another content, or shows the same scene.

    Args:
        groups: images by content, ranked (`rank_contents`).
        store: provides the match scores of earlier runs, and receives those of this run.
        hashes: the hash of each content that has one.
        root: the image root.
        max_pixels: an image with more pixels is not decoded.
        max_bytes: a file with more bytes is not read.
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
    table = np.frombuffer(b"".join(hashes[sha256] or b"" for sha256 in contents), np.uint8).reshape(len(contents), 32)
    compared = np.array([sha256 in compared_before for sha256 in contents], dtype=bool)
    paths_of = {group[0].sha256: [image.path for image in group] for group in ranked}
    frames_of = {group[0].sha256: group[0].frames for group in ranked if group[0].frames is not None}
    with PixelComparer(paths_of, root, max_pixels=max_pixels, max_bytes=max_bytes, frames_of=frames_of) as comparer:
        confirmation = _Confirmation(ranked, store, comparer, scores)
        try:
            keepers = assign_keepers(table, compared, scores, confirmation.confirm)
        finally:
            # A run that is stopped keeps its comparisons, too.
            confirmation.save()
    is_duplicate = keepers != np.arange(len(keepers))
    kept = (sha256 for sha256, duplicate in zip(contents, is_duplicate, strict=True) if not duplicate)
    store.finish_search(kept, (group[0].sha256 for group in groups))
    duplicates, look_first = [], []
    for number in np.flatnonzero(is_duplicate).tolist():
        keeper = int(keepers[number])
        bits, correlation, *_ = scores[keeper, number]
        duplicates += [Duplicate(image, ranked[keeper][0], NEAR, bits, correlation) for image in ranked[number]]
    for number, other in sorted(confirmation.look_first.items()):
        if not is_duplicate[number]:
            bits, correlation, _, reason = scores[other, number]
            pair = ranked[number][0], ranked[other][0]
            look_first.append(Duplicate(*pair, LOOK_FIRST, bits, correlation, difference=reason))
    return NearDuplicates(
        duplicates,
        look_first,
        confirmation.compared_pairs,
        confirmation.left_out_pairs,
        len(confirmation.unreadable),
    )


def merge_duplicates(groups: Iterable[Sequence[UsableImage]], near: Iterable[Duplicate]) -> list[Duplicate]:
    """Return the rows of `near` and the exact duplicates of all other images, sorted by path.

    An image that is both appears as a near-duplicate, so that each image points to an image that is kept.
    """
    rows = {row.image.path: row for row in near}
    rows |= {row.image.path: row for row in find_exact_duplicates(groups) if row.image.path not in rows}
    return [rows[path] for path in sorted(rows)]
