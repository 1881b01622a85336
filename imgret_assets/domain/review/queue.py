"""What is left to decide about duplicates and look-alikes, and what would be removed by what was decided.

Belongs here: sets of copies and pairs of look-alikes without the decided ones, their order and pages, which file is
proposed to be kept, files that decisions make superfluous. Not here: finding copies
(`domain.duplicates.duplicates_table`), the file of decisions (`domain.review.decisions`). Nothing here removes a
file.

Three kinds are told apart: `exact` sets (all the same bytes), `near` sets (some are the same picture), and `similar`
pairs (cosine above the threshold, no copies). A copy is in no similar pair: the file it is a copy of stands for it.

A set is decided when, of those of its files that no standing decision makes superfluous, every two have been decided
about or are both protected. So it comes back only when another image joins it. Files with the same bytes that were only
moved are no other images.

In protected folders (`Settings.protected`) nothing is proposed for removal, and a file there is the one to keep.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.duplicates.copy_search import EXACT, NEAR
from imgret_assets.domain.duplicates.duplicates_table import require_current_duplicates, require_duplicates
from imgret_assets.domain.duplicates.pictures import Picture, _by_content, coverage, usable_pictures
from imgret_assets.domain.review.decision_log import standing
from imgret_assets.domain.review.decisions import (
    NOT_DUPLICATES,
    Decision,
    Decisions,
    File,
    is_protected,
)
from imgret_assets.domain.review.removals import superfluous
from imgret_assets.domain.review.review_sets import Member, Page, ReviewSet
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError

SIMILAR = "similar"
KINDS = (EXACT, NEAR, SIMILAR)
PAGE_SIZE = 20
# Pairs of look-alikes that are listed: nobody decides about more, and more would fill the memory.
MOST_SIMILAR = 1_000_000


class _Link(NamedTuple):
    """A row of the duplicates table, by numbers of pictures."""

    copy: int
    kind: str
    distance: int
    correlation: float | None
    cosine: float | None


@dataclass(frozen=True)
class _Star:
    """A file of the duplicates table that others are copies of."""

    keep: int
    links: list[_Link]
    kind: str
    order: tuple[Any, ...]

    @property
    def numbers(self) -> list[int]:
        return [self.keep, *(link.copy for link in self.links)]


@dataclass
class ReviewQueue:
    """Sets and pairs of the tables, decided or not, in the order in which they are shown: tightest first.

    Attributes:
        pictures: all usable files, by path.
        stars: sets of copies.
        similar: int32 (n, 2), numbers of the two pictures of each pair of look-alikes.
        scores: float64 (n,), their cosines, falling.
        more_similar: pairs beyond `MOST_SIMILAR` that are left out.
        protected: folders of which nothing is proposed for removal.
        notes: what the reader should know, such as a table that is missing.
        files: of the pictures, as they are decided about.
        by_content: the files of each content.
        safe: bool (n,), which pictures are protected.
        star_of: int64 (n,), number of the set that each picture is in; -1 where it is in none.
    """

    pictures: list[Picture]
    stars: list[_Star]
    similar: np.ndarray
    scores: np.ndarray
    more_similar: int
    protected: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    files: list[File] = field(init=False, repr=False)
    by_content: Mapping[str, Sequence[Picture]] = field(init=False, repr=False)
    safe: np.ndarray = field(init=False, repr=False)
    star_of: np.ndarray = field(init=False, repr=False)
    _number: Mapping[str, int] = field(init=False, repr=False)
    _last: "Undecided | None" = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.files = [File(one.path, one.sha256) for one in self.pictures]
        self.by_content = _by_content(self.pictures)
        self._number = {one.path: number for number, one in enumerate(self.pictures)}
        self.star_of = np.full(len(self.pictures), -1, np.int64)
        for place, star in enumerate(self.stars):
            self.star_of[star.numbers] = place
        self.safe = np.array([is_protected(one.path, self.protected) for one in self.pictures], dtype=bool)

    def undecided(self, decisions: Decisions) -> "Undecided":
        """What the decisions leave; the same object until they change."""
        if self._last is None or self._last.decisions.stamp != decisions.stamp:
            self._last = Undecided(self, decisions, self._last)
        return self._last

    def number_of(self, path: str) -> int | None:
        """Number of the picture at a path; None where there is none."""
        return self._number.get(path)

    def numbers_of(self, contents: Iterable[str], paths: Iterable[str] = ()) -> np.ndarray:
        """Numbers of all pictures with these contents or at these paths, int64 (n,), rising."""
        names = {one.path for sha in contents for one in self.by_content.get(sha, ())} | set(paths)
        return np.array(sorted(self._number[name] for name in names), np.int64)


class Undecided:
    """What is left to decide."""

    def __init__(self, queue: ReviewQueue, decisions: Decisions, before: "Undecided | None" = None) -> None:
        self._queue = queue
        self.decisions = decisions
        self._files = queue.files
        self._removals = superfluous(queue.by_content, decisions, queue.protected)
        changed = None if before is None else decisions.changed_since(before.decisions)
        # Of every set and pair: there is nothing left to decide. What nobody has decided about is done if protected.
        if before is None or changed is None:
            self._done: np.ndarray = np.array(
                [bool(queue.safe[star.numbers].all()) for star in queue.stars], dtype=bool
            )
            self._done_similar: np.ndarray = np.all(queue.safe[queue.similar], axis=1)
            changed, turned = decisions.contents, self._removals.keys()
        else:
            self._done, self._done_similar = before._done.copy(), before._done_similar.copy()
            turned = self._removals.keys() ^ before._removals.keys()
        self._look_again(queue.numbers_of(changed, turned))
        kinds = np.array([star.kind == NEAR for star in queue.stars], dtype=bool)
        self._open = {
            EXACT: np.flatnonzero(~self._done & ~kinds),
            NEAR: np.flatnonzero(~self._done & kinds),
            SIMILAR: np.flatnonzero(~self._done_similar),
        }

    @property
    def notes(self) -> list[str]:
        """What the reader should know."""
        return self._queue.notes

    @property
    def counts(self) -> dict[str, int]:
        """Sets left to decide, by kind."""
        return {kind: len(self._open[kind]) for kind in KINDS}

    def page(self, kind: str, number: int = 1, size: int = PAGE_SIZE) -> Page:
        """Sets of a kind, tightest first; the last page where there are not so many.

        Tightest: exact sets by what the proposal frees, near ones by their weakest correlation, similar pairs by their
        cosine.

        Raises:
            DecisionError: there is no such kind.
        """
        total = self._total(kind)
        pages = max(1, -(-total // size))
        number = min(max(1, number), pages)
        return Page(list(self.sets(kind, (number - 1) * size, size)), number, pages, total)

    def sets(self, kind: str, start: int = 0, count: int | None = None) -> Iterator[ReviewSet]:
        """Sets of a kind from one on, tightest first.

        Raises:
            DecisionError: there is no such kind.
        """
        stop = self._total(kind) if count is None else start + count
        for place in self._open[kind][start:stop].tolist():
            yield self._pair(place) if kind == SIMILAR else self._set(self._queue.stars[place])

    def find(self, path: str) -> ReviewSet | None:
        """The set of copies, undecided, that a file is in; None where it is in none."""
        number = self._queue.number_of(path)
        place = -1 if number is None else int(self._queue.star_of[number])
        return None if place < 0 or self._done[place] else self._set(self._queue.stars[place])

    def _total(self, kind: str) -> int:
        if kind not in KINDS:
            raise DecisionError(f"There is no kind {kind!r}", expected=f"one of {', '.join(KINDS)}")
        return self.counts[kind]

    # What is decided

    def _between(self, a: int, b: int) -> Decision | bool:
        """Something is decided about two pictures."""
        one, other = self._files[a], self._files[b]
        if found := self.decisions.between(one, other):
            return found
        kept = self.decisions.kept_copies(one.sha256) if one.sha256 == other.sha256 else 0
        return len(self._queue.by_content[one.sha256]) <= kept

    def _look_again(self, numbers: np.ndarray) -> None:
        """Work out anew what is done of all sets and pairs that these pictures are in."""
        queue = self._queue
        places = np.unique(queue.star_of[numbers])
        for place in places[places >= 0].tolist():
            self._done[place] = self._is_decided(queue.stars[place].numbers)
        changed, decided, gone = (np.zeros(len(self._files), dtype=bool) for _ in range(3))
        changed[numbers] = True
        decided[queue.numbers_of(self.decisions.contents)] = True
        gone[queue.numbers_of((), self._removals)] = True
        a, b = queue.similar.T
        again = changed[a] | changed[b]
        self._done_similar[again] = ((queue.safe[a] & queue.safe[b]) | gone[a] | gone[b])[again]
        # Few are left that may have been decided one by one.
        for place in np.flatnonzero(again & decided[a] & decided[b] & ~self._done_similar).tolist():
            self._done_similar[place] = bool(self._between(int(a[place]), int(b[place])))

    def _is_decided(self, numbers: Sequence[int]) -> bool:
        safe = self._queue.safe
        if safe[numbers].all():
            # There is nothing that could be proposed.
            return True
        if not all(self.decisions.touches(self._files[number].sha256) for number in numbers):
            return False
        left = [number for number in numbers if self._files[number].path not in self._removals]
        if self.decisions.kept_together([self._files[number] for number in left]):
            return True
        return all((safe[a] and safe[b]) or self._between(a, b) for a, b in combinations(left, 2))

    # How a set is shown

    def _member(self, number: int, **figures: Any) -> Member:
        one = self._queue.pictures[number]
        file = self._files[number]
        return Member(
            file,
            one.width,
            one.height,
            one.bytes,
            protected=self._is_safe(number),
            removal=self._removals[one.path].decision if one.path in self._removals else None,
            **figures,
        )

    def _kept_before(self, numbers: Sequence[int]) -> set[int]:
        """Pictures that a standing decision says are no duplicates of another one of these."""
        if sum(self.decisions.touches(self._files[number].sha256) for number in numbers) < 2:
            return set()
        return {a for a in numbers if any(a != b and self._are_kept(a, b) for b in numbers)}

    def _are_kept(self, a: int, b: int) -> bool:
        decided = self._between(a, b)
        return decided.verdict == NOT_DUPLICATES if isinstance(decided, Decision) else decided

    def _set(self, star: _Star) -> ReviewSet:
        numbers = star.numbers
        left = [number for number in numbers if self._files[number].path not in self._removals]
        pictures = self._queue.pictures
        safe = [number for number in left if self._is_safe(number)]
        keep = min(safe or left or numbers, key=lambda number: pictures[number].order)
        kept_before = self._kept_before(left)
        figures = {link.copy: link for link in star.links}
        members = []
        for number in numbers:
            member = self._member(number, kept=number in kept_before)
            if number != keep:
                member = replace(member, **_measured(star, figures, pictures, keep, number))
                untouched = not member.protected and not member.kept and member.removal is None
                member = replace(member, proposed=untouched and not self._between(keep, number))
            members.append((number != keep, _closeness(member), member.path, member))
        ordered = tuple(one for *_, one in sorted(members, key=lambda entry: entry[:3]))
        return ReviewSet(star.kind, ordered, self._reason(keep, [n for n in left if n != keep]))

    def _pair(self, row: int) -> ReviewSet:
        a, b = self._queue.similar[row].tolist()
        pictures = self._queue.pictures
        keep, other = sorted((a, b), key=lambda number: (not self._is_safe(number), pictures[number].order))
        near = self._member(other, kind=SIMILAR, cosine=float(self._queue.scores[row]))
        return ReviewSet(SIMILAR, (self._member(keep), near), self._reason(keep, [other]))

    def _is_safe(self, number: int) -> bool:
        return bool(self._queue.safe[number])

    def _reason(self, keep: int, others: Sequence[int]) -> str:
        """Why a picture comes first among these."""
        one, rest = self._queue.pictures[keep], [self._queue.pictures[number] for number in others]
        size = f"{one.width} x {one.height}"
        if self._is_safe(keep):
            folder = next(f for f in self._queue.protected if is_protected(one.path, [f]))
            return f"{size}, in the protected folder {folder}"
        rest = [other for other in rest if other.width * other.height == one.width * one.height]
        if not rest:
            return f"{size}, most pixels"
        rest = [other for other in rest if other.bytes == one.bytes]
        if not rest:
            return f"{size}, largest file of that size"
        shortest = all(len(other.path) > len(one.path) for other in rest)
        return f"{size}, {'shortest path' if shortest else 'first path'}"


def _closeness(member: Member) -> tuple[float, float]:
    return (-(member.correlation or 0.0) if member.kind != EXACT else -2.0, -(member.cosine or 0.0))


def _measured(
    star: _Star, figures: dict[int, _Link], pictures: Sequence[Picture], keep: int, number: int
) -> dict[str, Any]:
    """What is known of a picture and the kept one, which need not be the one that the table keeps."""
    if pictures[keep].sha256 == pictures[number].sha256:
        return {"kind": EXACT, "distance": 0, "cosine": 1.0}
    # The table compares each copy with its own centre: with one of the same bytes, that counts as well.
    centre = pictures[star.keep].sha256
    link = figures.get(number) if pictures[keep].sha256 == centre else None
    if link is None and pictures[number].sha256 == centre:
        link = figures.get(keep)
    if link is None:
        return {"kind": NEAR}
    return {"kind": NEAR, "distance": link.distance, "correlation": link.correlation, "cosine": link.cosine}


# Reading the tables


_QUEUES: dict[Path, tuple[tuple[Any, ...], ReviewQueue]] = {}
_QUEUES_LOCK = threading.Lock()


def undecided(home: Home) -> Undecided:
    """What is left to decide. The tables are read again only when they have changed, the decisions only what is new.

    Raises:
        TableError: the duplicates are missing.
        StaleTableError: they are older than the embeddings.
        HomeError: the decisions can't be understood.
    """
    return review_queue(home).undecided(standing(home))


def review_queue(home: Home) -> ReviewQueue:
    """All sets and pairs of the tables; kept by this process until a table changes.

    Raises:
        TableError: the duplicates are missing.
        StaleTableError: they are older than the embeddings.
    """
    with _QUEUES_LOCK:
        stamp = _stamp(home)
        known = _QUEUES.get(home.path)
        if known is None or known[0] != stamp:
            known = (stamp, load_review_queue(home))
            _QUEUES[home.path] = known
        return known[1]


def _stamp(home: Home) -> tuple[Any, ...]:
    """Changes whenever a table that the queue is made of does."""
    space = require_duplicates(home).space
    files = [tables.duplicates_path(home.warehouse), tables.pairs_path(home.warehouse, space)]
    for shard in home.shards:
        files += [
            tables.manifest_path(home.warehouse, shard),
            tables.embeddings_path(home.warehouse, space, shard),
        ]
    found = [(one.st_ino, one.st_size, one.st_mtime_ns) if one else None for one in map(_stat, files)]
    return (home.settings.protected, home.record.shards, *found)


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def load_review_queue(home: Home) -> ReviewQueue:
    """Read the tables anew.

    Raises:
        TableError: the duplicates are missing.
        StaleTableError: they are older than the embeddings.
    """
    space = require_duplicates(home).space
    pictures = usable_pictures(home, space)
    covered = coverage(pictures)
    require_current_duplicates(home, space, covered)
    stars, is_copy = _stars(tables.duplicates_path(home.warehouse), pictures)
    notes: list[str] = []
    similar, scores, more = _similar_pairs(home, space, covered, pictures, is_copy, notes)
    return ReviewQueue(pictures, stars, similar, scores, more, home.settings.protected, notes)


def _stars(path: Path, pictures: Sequence[Picture]) -> tuple[list[_Star], np.ndarray]:
    """Sets of copies, tightest first, and bool (n,): which pictures are copies of another."""
    number = {one.path: place for place, one in enumerate(pictures)}
    is_copy = np.zeros(len(pictures), dtype=bool)
    links: dict[int, list[_Link]] = {}
    columns = tables.read(path, ["path_from", "path_keep", "kind", "distance", "correlation", "cosine"]).to_pydict()
    for copy, keep, *figures in zip(*columns.values(), strict=True):
        links.setdefault(number[keep], []).append(_Link(number[copy], *figures))
        is_copy[number[copy]] = True
    found = []
    for keep, copies in links.items():
        correlations = [link.correlation or 0.0 for link in copies if link.kind != EXACT]
        kind = NEAR if correlations else EXACT
        freed = sum(pictures[link.copy].bytes for link in copies)
        tightness = (-min(correlations),) if correlations else ()
        found.append(_Star(keep, copies, kind, (*tightness, -freed, pictures[keep].path)))
    return sorted(found, key=lambda star: (star.kind, star.order)), is_copy


def _similar_pairs(
    home: Home, space: str, covered: str, pictures: Sequence[Picture], is_copy: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Pairs of look-alikes without copies: numbers int32 (n, 2), cosines float64 (n,), falling; how many are left out.

    Pairs of equal scores are in the order of their paths.
    """
    path = tables.pairs_path(home.warehouse, space)
    nothing = np.zeros((0, 2), np.int32), np.zeros(0)
    if not path.is_file():
        notes.append("There is no table of pairs: materialise `similarity_pairs`, or run `imgret run`.")
        return *nothing, 0
    if PAIRS.current_metadata(home.warehouse, space, covered) is None:
        notes.append(
            "The pairs table is older than the embeddings: materialise `similarity_pairs`, or run `imgret run`."
        )
        return *nothing, 0
    names = pa.array([one.path for one in pictures])
    found, scores = nothing
    total = 0
    with tables.open_parquet(path) as file:
        for batch in file.iter_batches(1 << 18):
            ends = [
                pc.call_function("index_in", [batch[side]], pc.SetLookupOptions(value_set=names)).to_numpy()
                for side in ("path_a", "path_b")
            ]
            here = np.stack(ends, axis=1).astype(np.int32)
            single = ~is_copy[here].any(axis=1)
            total += int(single.sum())
            found = np.concatenate([found, here[single]])
            scores = np.concatenate([scores, batch["score"].to_numpy()[single]])
            if len(found) > 2 * MOST_SIMILAR:
                found, scores = _best(found, scores)
    found, scores = _best(found, scores)
    return found, scores, total - len(found)


def _best(found: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((found[:, 1], found[:, 0], -scores))[:MOST_SIMILAR]
    return found[order], scores[order]
