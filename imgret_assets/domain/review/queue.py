"""The review queue: sets of duplicates and similar pairs that are left to decide.

Belongs here: which sets are decided, pages, which file of a set is proposed to be kept. Not here: reading the tables
(`domain.review.review_tables`), recording decisions (`domain.review.decision_log`), files that decisions make removable
(`domain.review.removals`). Nothing here removes a file.

There are three kinds of sets: `exact` sets (all files have the same bytes), `near` sets (some are near-duplicates) and
`similar` pairs (cosine above the threshold, no duplicates). A duplicate is in no similar pair: the image to keep
represents it. Beside them are the pairs to look at (`look_first`, `mirrored`, `rotated`): no duplicates, and never
proposed for removal.

A set is decided if every two of its files are decided about, or are both protected; files that a decision in force
makes removable don't count. So a decided set comes back only when another image joins it. A moved file with the same
bytes is no other image.

Nothing in a protected folder (`Settings.protected`) is proposed for removal, and a file there is the one to keep. The
same holds for a file that a link in such a folder leads to. Links are in no set and no pair.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from imgret_assets.domain.duplicates.duplicate_search import EXACT, LOOK_KINDS, NEAR
from imgret_assets.domain.duplicates.orientations import describe_reversed
from imgret_assets.domain.duplicates.usable_images import freed_bytes
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import NOT_DUPLICATES, Decision, Decisions, is_protected
from imgret_assets.domain.review.removals import find_removals
from imgret_assets.domain.review.review_sets import KINDS, SIMILAR, Member, Page, ReviewSet
from imgret_assets.domain.review.review_tables import (
    DuplicateRow,
    DuplicateSet,
    LookFirstPair,
    ReviewTables,
    read_review_tables,
)
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError

PAGE_SIZE = 20


class ReviewQueue:
    """The sets and pairs of `review_tables` that `decisions` leave to decide.

    Args:
        review_tables: all sets and pairs.
        decisions: the decisions in force.
        previous: a queue over the same tables with earlier decisions; then only sets and pairs whose decisions have
            changed are checked. The result is the same without it.
    """

    def __init__(
        self, review_tables: ReviewTables, decisions: Decisions, previous: "ReviewQueue | None" = None
    ) -> None:
        self.review_tables = review_tables
        self.decisions = decisions
        self._files = review_tables.files
        self._removals = find_removals(review_tables.by_content, decisions, review_tables.protected_folders)
        contents = None if previous is None else decisions.contents_changed_since(previous.decisions)
        if previous is None or contents is None:
            # Without any decision, a set or pair is done only if all its files are protected.
            protected = review_tables.protected
            self._set_done = np.array(
                [bool(protected[item.numbers].all()) for item in review_tables.duplicate_sets], dtype=bool
            )
            self._pair_done: np.ndarray = np.all(protected[review_tables.similar_pairs], axis=1)
            contents, paths = decisions.contents, self._removals.keys()
        else:
            self._set_done, self._pair_done = previous._set_done.copy(), previous._pair_done.copy()
            paths = self._removals.keys() ^ previous._removals.keys()
        self._update_done(review_tables.numbers_of(contents, paths))
        is_near = np.array([item.kind == NEAR for item in review_tables.duplicate_sets], dtype=bool)
        self._open = {
            EXACT: np.flatnonzero(~self._set_done & ~is_near),
            NEAR: np.flatnonzero(~self._set_done & is_near),
            SIMILAR: np.flatnonzero(~self._pair_done),
        }

    @property
    def notes(self) -> list[str]:
        """Messages for the reader."""
        return self.review_tables.notes

    @property
    def counts(self) -> dict[str, int]:
        """How many sets are left to decide, by kind."""
        return {kind: len(self._open[kind]) for kind in KINDS}

    def page(self, kind: str, number: int = 1, size: int = PAGE_SIZE) -> Page:
        """Return a page of sets of a kind, closest first; the last page if there are fewer pages.

        Raises:
            DecisionError: there is no such kind.
        """
        total = self._total(kind)
        number, pages = _clamp_page(number, total, size)
        return Page(list(self.sets(kind, (number - 1) * size, size)), number, pages, total)

    def sets(self, kind: str, start: int = 0, count: int | None = None) -> Iterator[ReviewSet]:
        """Yield sets of a kind, closest first, after the first `start`, at most `count`.

        Raises:
            DecisionError: there is no such kind.
        """
        stop = self._total(kind) if count is None else start + count
        for number in self._open[kind][start:stop].tolist():
            if kind == SIMILAR:
                yield self._pair_to_review(number)
            else:
                yield self._set_to_review(self.review_tables.duplicate_sets[number])

    @property
    def look_counts(self) -> dict[str, int]:
        """How many pairs to look at are left to decide, of each kind."""
        return {kind: len(pairs) for kind, pairs in self._open_look_pairs.items()}

    @property
    def all_counts(self) -> dict[str, int]:
        """How many sets and pairs to look at are left to decide, by kind."""
        return {**self.counts, **self.look_counts}

    def look_page(self, kind: str, number: int = 1, size: int = PAGE_SIZE) -> Page:
        """Return a page of the pairs to look at of a kind, closest first; the last page if there are fewer pages.

        None of their files is proposed for removal. They are decided like similar pairs.
        """
        pairs = self._open_look_pairs[kind]
        number, pages = _clamp_page(number, len(pairs), size)
        shown = [self._look_pair_to_review(pair) for pair in pairs[(number - 1) * size : number * size]]
        return Page(shown, number, pages, len(pairs))

    def any_page(self, kind: str, number: int = 1, size: int = PAGE_SIZE) -> Page:
        """Return a page of a kind of sets, as `page` does, or of pairs to look at, as `look_page` does."""
        return (self.look_page if kind in LOOK_KINDS else self.page)(kind, number, size)

    def freed_by(self, batches: Collection[str]) -> tuple[int, int]:
        """Return the number and the bytes of the files that only decisions of these batches make removable.

        The bytes are what their removal frees together with all other removable files.
        """
        freed = [removal.bytes for removal in self._removals.values() if removal.decision.batch in batches]
        return len(freed), sum(freed)

    def find(self, path: str) -> ReviewSet | None:
        """Return the undecided set of duplicates that has a file; None if there is none."""
        image = self.review_tables.number_of(path)
        number = -1 if image is None else int(self.review_tables.set_of[image])
        if number < 0 or self._set_done[number]:
            return None
        return self._set_to_review(self.review_tables.duplicate_sets[number])

    def _total(self, kind: str) -> int:
        if kind not in KINDS:
            raise DecisionError(f"There is no kind {kind!r}", expected=f"one of {', '.join(KINDS)}")
        return self.counts[kind]

    # Which sets and pairs are decided

    def _decision_for(self, a: int, b: int) -> Decision | bool:
        """Return the decision in force for two images, or whether files of their one content are to be kept."""
        file_a, file_b = self._files[a], self._files[b]
        if decision := self.decisions.decision_for(file_a, file_b):
            return decision
        kept = self.decisions.kept_file_count(file_a.sha256) if file_a.sha256 == file_b.sha256 else 0
        return bool(kept) and self.review_tables.file_count(file_a.sha256) <= kept

    def _update_done(self, images: np.ndarray) -> None:
        """Check again all sets and pairs that have one of these images."""
        review_tables = self.review_tables
        numbers = np.unique(review_tables.set_of[images])
        for number in numbers[numbers >= 0].tolist():
            self._set_done[number] = self._is_decided(review_tables.duplicate_sets[number].numbers)
        changed, concerned, removable = (np.zeros(len(self._files), dtype=bool) for _ in range(3))
        changed[images] = True
        concerned[review_tables.numbers_of(self.decisions.contents)] = True
        removable[review_tables.numbers_of((), self._removals)] = True
        protected = review_tables.protected
        a, b = review_tables.similar_pairs.T
        checked = changed[a] | changed[b]
        self._pair_done[checked] = ((protected[a] & protected[b]) | removable[a] | removable[b])[checked]
        # Only for the few pairs whose contents both have decisions, the decisions themselves are searched.
        for pair in np.flatnonzero(checked & concerned[a] & concerned[b] & ~self._pair_done).tolist():
            self._pair_done[pair] = bool(self._decision_for(int(a[pair]), int(b[pair])))

    def _is_decided(self, images: Sequence[int]) -> bool:
        protected = self.review_tables.protected
        if protected[images].all():
            # Nothing could be proposed for removal.
            return True
        if not all(self.decisions.concerns(self._files[image].sha256) for image in images):
            return False
        staying = self._staying(images)
        if self.decisions.kept_together([self._files[image] for image in staying]):
            return True
        return all((protected[a] and protected[b]) or self._decision_for(a, b) for a, b in combinations(staying, 2))

    def _staying(self, images: Sequence[int]) -> list[int]:
        """Return the images that no decision makes removable."""
        return [image for image in images if self._files[image].path not in self._removals]

    @cached_property
    def _open_look_pairs(self) -> dict[str, list[LookFirstPair]]:
        """By kind, the pairs of which both files stay, not both are protected, and nothing is decided."""
        protected = self.review_tables.protected
        pairs: dict[str, list[LookFirstPair]] = {kind: [] for kind in LOOK_KINDS}
        for pair in self.review_tables.look_first:
            both = [pair.keep, pair.other]
            if (
                len(self._staying(both)) == len(both)
                and not protected[both].all()
                and not self._decision_for(pair.keep, pair.other)
            ):
                pairs[pair.kind].append(pair)
        return pairs

    # How a set is presented

    def _member(self, number: int, **measures: Any) -> Member:
        image = self.review_tables.images[number]
        removal = self._removals.get(image.path)
        return Member(
            self._files[number],
            image.width,
            image.height,
            image.bytes,
            protected=self._is_protected(number),
            removal=removal.decision if removal else None,
            **measures,
        )

    def _kept_by_decision(self, images: Sequence[int]) -> set[int]:
        """Return the images that a decision in force keeps although they are similar to another of these images."""
        if sum(self.decisions.concerns(self._files[image].sha256) for image in images) < 2:
            return set()
        return {a for a in images if any(a != b and self._both_kept(a, b) for b in images)}

    def _both_kept(self, a: int, b: int) -> bool:
        decision = self._decision_for(a, b)
        return decision.verdict == NOT_DUPLICATES if isinstance(decision, Decision) else decision

    def _set_to_review(self, duplicate_set: DuplicateSet) -> ReviewSet:
        images = self.review_tables.images
        numbers = duplicate_set.numbers
        staying = self._staying(numbers)
        protected = [number for number in staying if self._is_protected(number)]
        # The table knows more than the headers that the rank is of: the detail and the colours of the pixels.
        keep = min(
            protected or staying or numbers,
            key=lambda number: (number != duplicate_set.keep, images[number].rank),
        )
        kept = self._kept_by_decision(staying)
        rows = {row.image: row for row in duplicate_set.rows}
        members = []
        for number in numbers:
            member = self._member(number, kept=number in kept)
            if number != keep:
                member = replace(member, **self._measures(rows, duplicate_set.keep, keep, number))
                is_same_file = images[number].storage == images[keep].storage
                open_to_proposal = not (member.protected or member.kept or member.removal or is_same_file)
                member = replace(member, proposed=open_to_proposal and not self._decision_for(keep, number))
            members.append((number != keep, _closeness(member), member.path, member))
        freed = freed_bytes(images[number] for number, entry in zip(numbers, members, strict=True) if entry[3].proposed)
        members = [(*entry, replace(member, freed_bytes=freed.get(member.path, 0))) for *entry, member in members]
        ordered = tuple(member for *_, member in sorted(members, key=lambda entry: entry[:3]))
        others = [number for number in staying if number != keep]
        by_pixels = [row.why_kept for row in duplicate_set.rows if row.image in others and row.why_kept]
        reason = self._reason(keep, others, by_pixels if keep == duplicate_set.keep else ())
        return ReviewSet(duplicate_set.kind, ordered, reason)

    def _pair_to_review(self, pair: int) -> ReviewSet:
        images = self.review_tables.images
        keep, similar = sorted(
            self.review_tables.similar_pairs[pair].tolist(),
            key=lambda number: (not self._is_protected(number), images[number].rank),
        )
        member = self._member(similar, kind=SIMILAR, cosine=float(self.review_tables.scores[pair]))
        return ReviewSet(SIMILAR, (self._member(keep), member), self._reason(keep, [similar]))

    def _look_pair_to_review(self, pair: LookFirstPair) -> ReviewSet:
        first, second = sorted((pair.keep, pair.other), key=lambda number: not self._is_protected(number))
        measures = {"distance": pair.distance, "correlation": pair.correlation, "cosine": pair.cosine}
        members = self._member(first), self._member(second, kind=pair.kind, **measures)
        difference = pair.difference if first == pair.keep else describe_reversed(pair.difference)
        return ReviewSet(pair.kind, members, difference)

    def _measures(self, rows: dict[int, DuplicateRow], table_keep: int, keep: int, number: int) -> dict[str, Any]:
        """Return the measures between an image and the image to keep.

        Args:
            rows: the table's rows of the set, by the number of the duplicate.
            table_keep: the image that the table keeps, which need not be `keep`.
            keep: the image to keep.
            number: the other image.
        """
        images = self.review_tables.images
        if images[keep].sha256 == images[number].sha256:
            return {"kind": EXACT, "distance": 0, "cosine": 1.0}
        # The table measures each duplicate against its own image to keep, or any image with the same bytes.
        content = images[table_keep].sha256
        row = rows.get(number) if images[keep].sha256 == content else None
        if row is None and images[number].sha256 == content:
            row = rows.get(keep)
        if row is None:
            return {"kind": NEAR}
        return {"kind": NEAR, "distance": row.distance, "correlation": row.correlation, "cosine": row.cosine}

    def _is_protected(self, number: int) -> bool:
        return bool(self.review_tables.protected[number])

    def _reason(self, keep: int, others: Sequence[int], by_pixels: Sequence[str] = ()) -> str:
        """Return why an image is the one to keep among these.

        Args:
            keep: the image.
            others: the others.
            by_pixels: why the table keeps it before some of them, whatever their headers say.
        """
        kept, rest = self.review_tables.images[keep], [self.review_tables.images[number] for number in others]
        size = f"{kept.width} x {kept.height}" if kept.width else "not decoded"
        if self._is_protected(keep):
            folders = self.review_tables.protected_folders
            folder = next((folder for folder in folders if is_protected(kept.path, [folder])), None)
            return f"{size}, " + (
                f"in the protected folder {folder}" if folder else "a link in a protected folder leads to it"
            )
        if by_pixels:
            return f"{size}, {by_pixels[0]}"
        if rest and all(image.depth != kept.depth for image in rest):
            return f"{size}, {'most bits per pixel' if any(image.depth[0] for image in rest) else 'in colour'}"
        rest = [image for image in rest if image.depth == kept.depth]
        rest = [image for image in rest if image.width * image.height == kept.width * kept.height]
        if not rest:
            return f"{size}, most pixels"
        rest = [image for image in rest if image.bytes == kept.bytes]
        if not rest:
            return f"{size}, largest file of that size"
        shortest = all(len(image.path) > len(kept.path) for image in rest)
        return f"{size}, {'shortest path' if shortest else 'first path'}"


def _clamp_page(number: int, total: int, size: int) -> tuple[int, int]:
    """Return the number of an existing page, and how many pages there are."""
    pages = max(1, -(-total // size))
    return min(max(1, number), pages), pages


def _closeness(member: Member) -> tuple[float, float]:
    return (-(member.correlation or 0.0) if member.kind != EXACT else -2.0, -(member.cosine or 0.0))


_QUEUES: dict[Path, ReviewQueue] = {}


def read_review_queue(home: Home) -> ReviewQueue:
    """Return what is left to decide.

    The tables are read again only when they have changed, and only new decisions are parsed. The same object is
    returned until a table or a decision changes.

    Raises:
        TableError: the duplicates table is missing.
        StaleTableError: it is older than the embeddings.
        HomeError: the decisions can't be parsed.
    """
    review_tables, decisions = read_review_tables(home), read_decisions(home)
    queue = _QUEUES.get(home.path)
    if queue is not None and queue.review_tables is not review_tables:
        queue = None
    if queue is None or queue.decisions.stamp != decisions.stamp:
        queue = _QUEUES[home.path] = ReviewQueue(review_tables, decisions, queue)
    return queue
