"""The search for mirrored and rotated copies of images.

Belongs here: which pairs are compared in which orientation, what becomes a row. Not here: orientations and their hashes
(`domain.duplicates.orientations`), near-duplicates (`domain.duplicates.duplicate_search`), the comparison of pixels
(`domain.duplicates.confirmation`).

Images that duplicate others take no part: the image to keep stands for them. A pair is compared if the hash of the one,
in an orientation, is within the radius of the other's hash, and the small grey images correlate in this orientation;
then the pixels decide as for near-duplicates. Images take turns in the order of keeping, and each claims the later ones
that are copies of it; so each copy is listed once, with one orientation. A pair that is to be looked at as it is, such
as a version with a changed place, is left out. So is a file of several frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.duplicates.confirmation import LOOK_VERDICTS, NEAR_VERDICTS
from imgret_assets.domain.duplicates.duplicate_search import (
    CHECKPOINT,
    CONFIRMATION_METHOD,
    MIN_CORRELATION,
    PAIR_BATCH,
    Duplicate,
    have_like_proportions,
)
from imgret_assets.domain.duplicates.fingerprint_store import FingerprintStore, OrientedPair, OrientedScore
from imgret_assets.domain.duplicates.fingerprints import Fingerprint, correlate
from imgret_assets.domain.duplicates.keepers import RADIUS_BITS
from imgret_assets.domain.duplicates.orientations import ORIENTATIONS, Orientation, hash_greys, inverse_of
from imgret_assets.domain.duplicates.pixel_comparison import PixelComparer, compare_bytes
from imgret_assets.domain.duplicates.usable_images import UsableImage
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.image_roots import AnyRoot
from imgret_assets.settings import DEFAULT_MAX_BYTES

# Pairs of an image are compared from the closest on, until so many in a row are no copies.
MAX_MISSES = 8
# Of the candidates of an image in one orientation, so many of the closest are kept: forms by the thousand look alike.
MAX_CANDIDATES = 64
# Changes to what decides in this module increment the number: pairs are then compared again in all orientations.
ORIENTATION_METHOD = f"eight-2 {RADIUS_BITS} {MAX_MISSES} {MAX_CANDIDATES} {CONFIRMATION_METHOD}"
_BUFFER_LINES = 1 << 16


@dataclass(frozen=True)
class OrientedCopies:
    """The result of the search.

    Attributes:
        copies: rows of the kinds `mirrored` and `rotated`, without cosines.
        compared_pairs: pairs of contents that were compared by their pixels, in one orientation each.
        unreadable: contents that could not be read; the next run tries again.
    """

    copies: list[Duplicate]
    compared_pairs: int
    unreadable: int


def find_oriented_copies(
    groups: Sequence[Sequence[UsableImage]],
    store: FingerprintStore,
    hashes: Mapping[str, bytes | None],
    root: AnyRoot,
    *,
    max_pixels: int,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> OrientedCopies:
    """Find the images that are mirrored or rotated copies of other images.

    Args:
        groups: images by content, ranked (`rank_contents`), without near-duplicates. Those without a hash are left out.
        store: provides the scores of earlier runs, and receives those of this run.
        hashes: the hash of each content that has one.
        root: the image roots.
        max_pixels: an image with more pixels is not decoded.
        max_bytes: a file with more bytes is not read.
    """
    single = [group for group in groups if (group[0].frames or 1) == 1 and hashes.get(group[0].sha256)]
    contents = [group[0].sha256 for group in single]
    scores = _Scores(contents, store)
    scores.add_candidates(hashes)
    paths_of = {group[0].sha256: [image.path for image in group] for group in single}
    with PixelComparer(paths_of, root, max_pixels=max_pixels, max_bytes=max_bytes) as comparer:
        search = _Search([group[0] for group in single], scores, comparer)
        try:
            copies = search.run()
        finally:
            # A run that is stopped keeps its comparisons, too.
            scores.save()
    store.finish_oriented_search(contents, ORIENTATION_METHOD)
    return OrientedCopies(copies, search.compared_pairs, len(search.unreadable))


class _Scores:
    """The scores of pairs of contents in orientations, those of earlier runs and new ones.

    Args:
        contents: sha256 of all contents, ranked.
        store: of earlier scores.
    """

    def __init__(self, contents: Sequence[str], store: FingerprintStore) -> None:
        self.contents, self.store = contents, store
        self._number_of = {sha256: number for number, sha256 in enumerate(contents)}
        self._looked_at = {pair for pair, score in store.match_scores().items() if score.verdict in LOOK_VERDICTS}
        self._unsaved: dict[OrientedPair, OrientedScore] = {}
        # By the number of the better image of a pair, its plausible candidates and their scores.
        self.candidates: dict[int, dict[OrientedPair, OrientedScore]] = {}
        for pair, score in store.oriented_scores(ORIENTATION_METHOD).items():
            if pair.a in self._number_of and pair.b in self._number_of:
                self._list(pair, score)

    def put(self, pair: OrientedPair, score: OrientedScore) -> None:
        """Add or replace a score."""
        self._list(pair, score)
        self._unsaved[pair] = score
        if len(self._unsaved) >= CHECKPOINT:
            self.save()

    def save(self) -> None:
        """Store what is not stored yet."""
        self.store.put_oriented_scores(self._unsaved, ORIENTATION_METHOD)
        self._unsaved.clear()

    def numbers(self, pair: OrientedPair) -> tuple[int, int]:
        """Return the numbers of the two contents of a pair, the better image first."""
        first, second = sorted((self._number_of[pair.a], self._number_of[pair.b]))
        return first, second

    def _list(self, pair: OrientedPair, score: OrientedScore) -> None:
        if (pair.a, pair.b) not in self._looked_at:
            self.candidates.setdefault(self.numbers(pair)[0], {})[pair] = score

    def add_candidates(self, hashes: Mapping[str, bytes | None]) -> None:
        """Find the candidates of contents of which not every pair is known, and measure their correlations.

        Args:
            hashes: of all contents.
        """
        known = self.store.oriented_contents(ORIENTATION_METHOD)
        # New ones first: each is compared with all after it, which leaves out the pairs of two known ones.
        order = sorted(range(len(self.contents)), key=lambda number: self.contents[number] in known)
        new = sum(sha256 not in known for sha256 in self.contents)
        if not new or len(self.contents) < 2:
            return
        ordered = [self.contents[number] for number in order]
        plain = np.frombuffer(b"".join(hashes[sha256] or b"" for sha256 in ordered), np.uint64).reshape(-1, 4)
        turned = np.empty((len(ORIENTATIONS), new, 4), np.uint64)
        for start in range(0, new, PAIR_BATCH):
            part = ordered[start : min(start + PAIR_BATCH, new)]
            turned[:, start : start + len(part)] = hash_greys(self.store.greys(part))[1:]
        for orientation in range(len(ORIENTATIONS)):
            for row, columns, bits in _find_close(turned[orientation], plain):
                self._correlate(ordered, orientation, row, columns, bits)

    def _correlate(
        self, ordered: Sequence[str], orientation: int, row: int, columns: np.ndarray, bits: np.ndarray
    ) -> None:
        """Measure the correlations of an image in an orientation with its candidates; keep the plausible ones."""
        numbers: list[int] = columns.tolist()
        greys = self.store.greys([ordered[row], *(ordered[column] for column in numbers)])
        correlations = correlate(ORIENTATIONS[orientation].turn_grey(greys[0]), greys[1:]).tolist()
        for column, bit, correlation in zip(numbers, bits.tolist(), correlations, strict=True):
            if correlation >= MIN_CORRELATION:
                a, b, number = ordered[row], ordered[column], orientation
                if b < a:
                    a, b, number = b, a, inverse_of(orientation)
                self.put(OrientedPair(a, b, number), OrientedScore(bit, round(correlation, 4)))


def _find_close(turned: np.ndarray, plain: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield for each turned image that has any, the closest later images and the bits that differ.

    Args:
        turned: uint64 (new, 4), hashes of the first images in an orientation.
        plain: uint64 (n, 4), hashes of all images as they are.
    """
    # Heavy: loads numba, and is needed only if there are hashes to compare.
    from imgret_assets.domain.duplicates.hash_kernels import find_later_within_radius

    words, columns = np.ascontiguousarray(turned.T), np.ascontiguousarray(plain.T)
    numbers, none = np.arange(len(plain), dtype=np.int64), np.zeros(len(plain), dtype=bool)
    threads = usable_threads()

    def search(rows: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
        found, done = [], 0
        buffer = np.empty((max(len(plain), _BUFFER_LINES), 3), np.int64)
        while done < len(rows):
            filled, finished = find_later_within_radius(words, rows[done:], numbers, columns, none, RADIUS_BITS, buffer)
            lines = buffer[:filled]
            rows_found, firsts = np.unique(lines[:, 0], return_index=True)
            # Without lines, splitting gives one empty part, and no row.
            for row, part in zip(rows_found.tolist(), np.split(lines, firsts[1:]), strict=False):
                closest = part[np.argsort(part[:, 2], kind="stable")[:MAX_CANDIDATES]]
                found.append((row, closest[:, 1].copy(), closest[:, 2].copy()))
            done += finished
        return found

    with ThreadPoolExecutor(threads, thread_name_prefix="imgret-hash") as pool:
        rows = np.arange(len(turned), dtype=np.int64)
        for found in pool.map(search, (rows[part::threads] for part in range(threads))):
            yield from found


class _Search:
    """The turns of images, in the order of keeping."""

    def __init__(self, images: Sequence[UsableImage], scores: _Scores, comparer: PixelComparer) -> None:
        self._images, self._scores, self._comparer = images, scores, comparer
        self._claimed: set[int] = set()
        self.unreadable: set[str] = set()
        self.compared_pairs = 0

    def run(self) -> list[Duplicate]:
        """Return the copies, each of the first image that claims it."""
        copies = []
        for number in sorted(self._scores.candidates):
            if number not in self._claimed:
                copies += self._claim(number)
        return copies

    def _claim(self, number: int) -> list[Duplicate]:
        by_other: dict[int, list[tuple[OrientedPair, OrientedScore]]] = {}
        for pair, score in self._scores.candidates[number].items():
            other = self._scores.numbers(pair)[1]
            if other not in self._claimed and self._is_plausible(pair):
                by_other.setdefault(other, []).append((pair, score))
        closeness = {
            other: min((score.bits, -score.correlation, pair) for pair, score in entries)
            for other, entries in by_other.items()
        }
        copies, misses = [], 0
        for other in sorted(by_other, key=lambda other: closeness[other]):
            copy = self._compare(number, other, by_other[other])
            if copy is not None:
                copies.append(copy)
                self._claimed.add(other)
            misses = 0 if copy is not None else misses + 1
            if misses >= MAX_MISSES:
                break
        return copies

    def _is_plausible(self, pair: OrientedPair) -> bool:
        first, second = (self._images[number] for number in self._scores.numbers(pair))
        orientation = ORIENTATIONS[pair.orientation]
        return have_like_proportions(first, second, transposed=orientation.transposes)

    def _compare(self, number: int, other: int, entries: list[tuple[OrientedPair, OrientedScore]]) -> Duplicate | None:
        """Return the copy in the first orientation that the pixels confirm; None if they confirm none."""
        for pair, known in sorted(entries, key=lambda entry: entry[0].orientation):
            score = known
            if not score.verdict:
                comparison = self._comparer.compare_oriented(pair.a, pair.b, ORIENTATIONS[pair.orientation].transpose)
                if comparison is None:
                    self.unreadable.update((pair.a, pair.b))
                    continue
                self.compared_pairs += 1
                score = score._replace(verdict=comparison.verdict)
                self._scores.put(pair, score)
            if score.verdict in NEAR_VERDICTS:
                return self._copy(number, other, pair, score)
        return None

    def _copy(self, number: int, other: int, pair: OrientedPair, score: OrientedScore) -> Duplicate:
        # The pair says how its first content was turned; the row how the image that stays was.
        keep, image = self._images[number], self._images[other]
        turn = pair.orientation if pair.a == keep.sha256 else inverse_of(pair.orientation)
        orientation = ORIENTATIONS[turn]
        difference = f"the other image, {orientation.name}"
        return Duplicate(image, keep, orientation.kind, score.bits, score.correlation, difference=difference)


def find_orientation(
    one: bytes, two: bytes, fingerprints: tuple[Fingerprint, Fingerprint], *, max_pixels: int
) -> Orientation | None:
    """Return what was done to one image to make another of it; None if it is no mirrored or rotated copy.

    Args:
        one: the bytes of the one file.
        two: the bytes of the other.
        fingerprints: of the two.
        max_pixels: an image with more pixels is not decoded.
    """
    first, second = fingerprints
    if first.grey is None or second.grey is None:
        return None
    hashes, plain = hash_greys(first.grey[np.newaxis])[1:, 0], hash_greys(second.grey[np.newaxis])[0, 0]
    for orientation, turned in zip(ORIENTATIONS, hashes, strict=True):
        if int(np.bitwise_count(turned ^ plain).sum()) > RADIUS_BITS:
            continue
        if float(correlate(orientation.turn_grey(first.grey), second.grey[np.newaxis])[0]) < MIN_CORRELATION:
            continue
        comparison = compare_bytes(one, two, max_pixels=max_pixels, transpose=orientation.transpose)
        if comparison is not None and comparison.verdict in NEAR_VERDICTS:
            return orientation
    return None
