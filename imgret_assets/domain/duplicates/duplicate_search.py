"""The search for exact duplicates and near-duplicates.

Belongs here: which candidates are compared by their pixels, what a duplicate is and why the other image is kept. Not
here: fingerprints (`domain.duplicates.fingerprints`), the comparison of pixels (`domain.duplicates.confirmation`),
enlargements (`domain.duplicates.enlargement`), candidates and the order of keeping (`domain.duplicates.keepers`), the
table (`domain.duplicates.duplicates_table`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imgret_assets.domain.duplicates.confirmation import GREY, LOOK_VERDICTS, NEAR_VERDICTS
from imgret_assets.domain.duplicates.enlargement import may_be_enlargement
from imgret_assets.domain.duplicates.fingerprint_store import FingerprintStore, MatchScore
from imgret_assets.domain.duplicates.fingerprints import correlate
from imgret_assets.domain.duplicates.keepers import assign_keepers
from imgret_assets.domain.duplicates.orientations import MIRRORED, ROTATED
from imgret_assets.domain.duplicates.pixel_comparison import PixelComparer
from imgret_assets.domain.duplicates.usable_images import UsableImage
from imgret_assets.image_roots import AnyRoot
from imgret_assets.settings import DEFAULT_MAX_BYTES

EXACT, NEAR = "exact", "near"
# The kinds of duplicates: images that can be removed without losing a picture.
DUPLICATE_KINDS = (EXACT, NEAR)
# Images that show the same scene, but not the same picture: nobody removes one without looking at both.
LOOK_FIRST = "look_first"
# The kinds of pairs that are no duplicates, and of which nothing is proposed for removal.
LOOK_KINDS = (LOOK_FIRST, MIRRORED, ROTATED)
KINDS = (*DUPLICATE_KINDS, *LOOK_KINDS)
# Candidates whose small grey images correlate less are not compared by their pixels: other photographs within the
# radius mostly correlate by less, near-duplicates by at least 0.93.
MIN_CORRELATION = 0.9
# Candidates whose proportions differ by more are not compared: a squeeze of 4:3 to 1:1, cropped by 4 percent an edge.
MAX_SQUEEZE = 4 / 3 / 0.92
# The closest candidates of an image are compared until so many in a row are none of its near-duplicates. Forms by the
# thousand are each other's candidates; without a limit each would be compared with all others.
MAX_MISSES = 32
# Names which duplicate is kept, and the words of that: another name makes the table anew from stored comparisons.
RANKING_METHOD = "detail-1"
# Changes to what decides in this module or in `confirmation` increment the number: all pairs are then compared again.
CONFIRMATION_METHOD = f"pixels768-3 {MIN_CORRELATION:g} {MAX_SQUEEZE:.3f} {MAX_MISSES}"
# Fingerprints or match scores that are computed before they are stored.
CHECKPOINT = 256
# Pairs that are compared at a time, by their grey images or embeddings: this bounds the memory.
PAIR_BATCH = 1024
# An image is measured as an enlargement of so many of its near-duplicates at most, the largest first.
_MAX_ORIGINALS = 8
# Start of the stored reason of an image that is no duplicate.
_LOOK_PREFIXES = {LOOK_FIRST: "look first: ", MIRRORED: "mirrored: ", ROTATED: "rotated: "}


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One row of the duplicates table.

    Attributes:
        image: the duplicate.
        keep: the image to keep instead; if the kind is one of `LOOK_KINDS`, the image to compare it with.
        kind: `exact` (same bytes), `near`, `look_first`, `mirrored` or `rotated`.
        bits: bits in which the two hashes differ; 0 if exact.
        correlation: of the two small grey images; None if exact.
        cosine: of the two embeddings; None if exact or not computed yet.
        difference: what the two images differ by, if the kind is one of `LOOK_KINDS`.
        is_enlargement: the duplicate is an enlargement of the image to keep, or of another of its near-duplicates.
    """

    image: UsableImage
    keep: UsableImage
    kind: str
    bits: int = 0
    correlation: float | None = None
    cosine: float | None = None
    difference: str = ""
    is_enlargement: bool = False

    @property
    def reason(self) -> str:
        """Why the image is a duplicate, and why the other image is kept.

        The text is stored in the table, so its words stay: a table that is not recomputed would mix old and new ones.
        """
        why_kept = _why_kept(self.keep, self.image, is_enlargement=self.is_enlargement)
        if self.kind == EXACT:
            return f"same bytes; {why_kept}"
        measures = f"correlation {self.correlation:.3f}, {self.bits} of 256 bits, cosine {self.cosine or 0.0:.3f}"
        if self.kind in LOOK_KINDS:
            return f"{_LOOK_PREFIXES[self.kind]}{self.difference} ({measures}); neither is proposed for removal"
        return f"same picture ({measures}); {why_kept}"


def read_difference(reason: str) -> str:
    """Return what two images differ by, from the stored reason of a row of one of `LOOK_KINDS`."""
    prefix = next((prefix for prefix in _LOOK_PREFIXES.values() if reason.startswith(prefix)), "")
    return reason.removeprefix(prefix).rpartition(" (correlation ")[0] or reason


def read_why_kept(reason: str) -> str:
    """Return why the other image is kept, from the stored reason of a duplicate."""
    return reason.rpartition("; kept: ")[2]


def _why_kept(keep: UsableImage, image: UsableImage, *, is_enlargement: bool) -> str:
    if is_enlargement:
        if keep.width * keep.height >= image.width * image.height:
            return "kept: the other is an enlargement of a smaller copy, with no more detail"
        size = f"{image.width} x {image.height}"
        return f"kept: the original, not an enlargement to {size} pixels, which has no more detail"
    if keep.depth != image.depth:
        if keep.depth[0] != image.depth[0]:
            return "kept: in colour, not a grey version" if image.is_grey else "kept: stored in colour, not in grey"
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
        # The images that are enlargements of others.
        self.enlargements: set[int] = set()
        self._is_enlargement = store.enlargements()
        self.unreadable: set[int] = set()
        self.compared_pairs = self.left_out_pairs = 0
        self._unsaved: list[tuple[tuple[str, str], MatchScore]] = []

    def confirm(self, row: int, columns: Sequence[int], bits: Sequence[int]) -> np.ndarray:
        """Return which of some images are near-duplicates of an image: bool, in their order.

        The candidates are compared from the closest on. So the result is the same whatever was compared before.
        """
        self._correlate(row, columns, bits)
        plausible = [column for column in columns if self._is_plausible(row, column)]
        order = sorted(plausible, key=lambda column: self._closeness(row, column))
        near: set[int] = set()
        misses = position = 0
        while position < len(order) and misses < MAX_MISSES:
            part = order[position : position + min(self.comparer.threads, MAX_MISSES - misses)]
            self._compare(row, [column for column in part if not self._score(row, column).verdict])
            for column in part:
                verdict = self._score(row, column).verdict
                if verdict in NEAR_VERDICTS:
                    near.add(column)
                elif verdict in LOOK_VERDICTS:
                    self.look_first.setdefault(max(row, column), min(row, column))
                misses = 0 if column in near else misses + 1
            position += len(part)
        self.left_out_pairs += len(order) - position
        if len(self._unsaved) >= CHECKPOINT:
            self.save()
        return np.array([column in near for column in columns], dtype=bool)

    def find_original(self, row: int, columns: Sequence[int]) -> int | None:
        """Return the image of which an image is an enlargement, the largest of those; None if it can't be told.

        Args:
            row: its number.
            columns: its near-duplicates.
        """
        image, content = self.ranked[row][0], self.contents[row]
        smaller = [column for column in sorted(columns) if _may_be_original(self.ranked[column][0], image)]
        smaller = smaller[:_MAX_ORIGINALS]
        missing = [column for column in smaller if (content, self.contents[column]) not in self._is_enlargement]
        if missing:
            others = [self.contents[column] for column in missing]
            results = dict(zip(others, self.comparer.measure_enlargement(content, others), strict=True))
            known = {(content, other): result for other, result in results.items() if result is not None}
            self.unreadable.update(column for column in missing if results[self.contents[column]] is None)
            self._is_enlargement |= known
            self.store.put_enlargements(known)
        for column in smaller:
            if self._is_enlargement.get((content, self.contents[column])):
                self.enlargements.add(row)
                return column
        return None

    def save(self) -> None:
        """Store the match scores that are not stored yet."""
        self.store.put_match_scores(self._unsaved)
        self._unsaved.clear()

    def _score(self, row: int, column: int) -> MatchScore:
        return self.scores[min(row, column), max(row, column)]

    def _put(self, row: int, column: int, score: MatchScore) -> None:
        self.scores[min(row, column), max(row, column)] = score
        a, b = sorted((self.contents[row], self.contents[column]))
        self._unsaved.append(((a, b), score))

    def _correlate(self, row: int, columns: Sequence[int], bits: Sequence[int]) -> None:
        """Measure the correlations of pairs that have no score yet."""
        missing = [
            (column, bit)
            for column, bit in zip(columns, bits, strict=True)
            if (min(row, column), max(row, column)) not in self.scores
        ]
        for start in range(0, len(missing), PAIR_BATCH):
            part = missing[start : start + PAIR_BATCH]
            greys = self.store.greys([self.contents[row], *(self.contents[column] for column, _ in part)])
            for (column, bit), correlation in zip(part, correlate(greys[0], greys[1:]).tolist(), strict=True):
                # Rounded, because the last digits depend on which of the two images comes first.
                self._put(row, column, MatchScore(bit, round(correlation, 4)))

    def _is_plausible(self, row: int, column: int) -> bool:
        a, b = self.ranked[row][0], self.ranked[column][0]
        return self._score(row, column).correlation >= MIN_CORRELATION and have_like_proportions(a, b)

    def _closeness(self, row: int, column: int) -> tuple[int, float, str]:
        score = self._score(row, column)
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
            score = self._score(row, column)
            self._put(row, column, score._replace(verdict=comparison.verdict, reason=comparison.reason))


def _may_be_original(image: UsableImage, larger: UsableImage) -> bool:
    """Return whether an image could be the one that a larger one of the same depth was enlarged from, by its header."""
    return (
        image.depth == larger.depth
        and max(image.frames or 1, larger.frames or 1) == 1
        and may_be_enlargement((larger.width, larger.height), (image.width, image.height))
    )


def have_like_proportions(a: UsableImage, b: UsableImage, *, transposed: bool = False) -> bool:
    """Return whether one image may be the other, cropped and squeezed by at most MAX_SQUEEZE.

    Sizes are whole pixels: half a pixel more or less on each side of the smaller image counts for neither.

    Args:
        a: an image.
        b: the other.
        transposed: compare the width of the one with the height of the other.
    """
    if transposed:
        b = replace(b, width=b.height, height=b.width)
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
    root: AnyRoot,
    *,
    max_pixels: int,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> NearDuplicates:
    """Find the images whose content is a near-duplicate of another content, or shows the same scene.

    Args:
        groups: images by content, ranked (`rank_contents`).
        store: provides the match scores of earlier runs, and receives those of this run.
        hashes: the hash of each content that has one.
        root: the image roots.
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
            keepers = assign_keepers(
                table, compared, scores, confirmation.confirm, find_original=confirmation.find_original
            )
        finally:
            # A run that is stopped keeps its comparisons, too.
            confirmation.save()
    is_duplicate = keepers != np.arange(len(keepers))
    kept = (sha256 for sha256, duplicate in zip(contents, is_duplicate, strict=True) if not duplicate)
    store.finish_search(kept, (group[0].sha256 for group in groups))
    duplicates, look_first = [], []
    for number in np.flatnonzero(is_duplicate).tolist():
        keeper = int(keepers[number])
        bits, correlation, *_ = scores[min(keeper, number), max(keeper, number)]
        is_enlargement = number in confirmation.enlargements
        duplicates += [
            Duplicate(image, ranked[keeper][0], NEAR, bits, correlation, is_enlargement=is_enlargement)
            for image in ranked[number]
        ]
    for number, other in sorted(confirmation.look_first.items()):
        if not is_duplicate[number]:
            bits, correlation, verdict, reason = scores[other, number]
            if verdict == GREY and ranked[other][0].depth[0] and not ranked[number][0].depth[0]:
                reason = "a grey version of the other"
            pair = ranked[number][0], ranked[other][0]
            look_first.append(Duplicate(*pair, LOOK_FIRST, bits, correlation, difference=reason))
    return NearDuplicates(
        duplicates,
        look_first,
        confirmation.compared_pairs,
        confirmation.left_out_pairs,
        len(confirmation.unreadable),
    )


def merge_duplicates(
    groups: Iterable[Sequence[UsableImage]], near: Iterable[Duplicate], oriented: Iterable[Duplicate] = ()
) -> list[Duplicate]:
    """Return the rows of `near`, the exact duplicates of all other images, and the rows of `oriented`, sorted by path.

    An image that is both appears as a near-duplicate, so that each image points to an image that is kept. Only an image
    to look at first may appear once more, as a mirrored or rotated copy of another one.
    """
    rows = {row.image.path: row for row in near}
    rows |= {row.image.path: row for row in find_exact_duplicates(groups) if row.image.path not in rows}
    return sorted([*rows.values(), *oriented], key=lambda row: (row.image.path, row.kind))
