"""What people have decided about pairs of images: an append-only file in the home, `decisions.jsonl`.

Belongs here: the file, appending to it, which decision is in force for a pair, its export. Not here: what is left to
decide and what would be removed (`domain.review.queue`), relationships (`domain.graph.decided`).

A line is an event about two images, keyed by their two sha256, the smaller first: so a decision survives renames,
rebuilds, another model and another server. Two files with the same bytes are one content, and a decision about them is
one about files: there the key is the sha256 twice and the two paths (`pair_key`).

What a person decides at once is a batch: its lines are written and synced together, count only together, and are taken
back together. A line of a killed process, or a batch that is not complete, is not there for readers, and the next
writer cuts it off. A batch is about one or more sets. That all images of a set are to be kept is written as pairs of
the first with each other one, and holds for every two of them.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from imgret_assets.errors import DecisionError

VERSION = 1
NOT_DUPLICATES, DUPLICATE, UNDO = "not_duplicates", "duplicate", "undo"
VERDICTS = (NOT_DUPLICATES, DUPLICATE)
IN_FORCE, UNDONE, SUPERSEDED = "in_force", "undone", "superseded"
PairKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """An image file as it is decided about: POSIX path under the image root, and content."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be decided about a set of two or more files; made by `keep_all` and `keep_one`.

    Attributes:
        verdict: `not_duplicates` (every two of them are to be kept) or `duplicate` (all but the first are copies of
            it, and not needed).
        files: each once; the one that is kept first.
    """

    verdict: str
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """An event: a line of the file.

    Attributes:
        id: of the event; begins with its batch's.
        batch: id of what was decided at once.
        batch_events: how many lines the batch has.
        set: which set of the batch this pair is of, from 0.
        at: when, UTC, ISO 8601.
        by: who: a name that was typed, or the operating system's user.
        verdict: `not_duplicates`, `duplicate`, or `undo`, which takes a batch back.
        reason: as it was typed; may be empty.
        sha_a, sha_b: of the two images, the smaller first; None for `undo`.
        keep: sha256 of the one that is kept; None unless the verdict is `duplicate`.
        keep_path: its path when it was decided; tells the two apart where both have the same bytes.
        undoes: the batch that is taken back; None unless the verdict is `undo`.
        path_a, path_b: paths when it was decided, for people; part of the key where both have the same bytes.
    """

    id: str
    batch: str
    batch_events: int
    set: int
    at: str
    by: str
    verdict: str
    reason: str = ""
    sha_a: str | None = None
    sha_b: str | None = None
    keep: str | None = None
    keep_path: str | None = None
    undoes: str | None = None
    path_a: str | None = None
    path_b: str | None = None

    @property
    def pair(self) -> tuple[File, File]:
        """The two files as they were; not of an `undo`."""
        return File(self.path_a or "", self.sha_a or ""), File(self.path_b or "", self.sha_b or "")

    @property
    def kept_and_copy(self) -> tuple[File, File]:
        """Of a `duplicate`: the file that is kept and the one that is not needed, as they were."""
        a, b = self.pair
        return (a, b) if self.keep == a.sha256 and self.keep_path == a.path else (b, a)

    @property
    def as_line(self) -> bytes:
        """As it stands in the file."""
        return json.dumps({"version": VERSION, **self.as_row}, ensure_ascii=False).encode() + b"\n"

    @property
    def as_row(self) -> dict[str, Any]:
        """Its fields by name."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(one.name for one in fields(Decision))


@dataclass(frozen=True, slots=True)
class Entry:
    """An event of the past, and whether it is `in_force`, `undone`, or `superseded` by a later one about the pair."""

    decision: Decision
    state: str


def pair_key(a: File, b: File) -> PairKey:
    """What a decision about two files is found by: their contents, in order; where they are one, also their paths."""
    if a.sha256 != b.sha256:
        return (a.sha256, b.sha256) if a.sha256 < b.sha256 else (b.sha256, a.sha256)
    return (a.sha256, b.sha256, *sorted((a.path, b.path)))


@dataclass(frozen=True)
class Decisions:
    """What is in force; a snapshot that doesn't change, so that threads may share it.

    Attributes:
        stamp: equal for two snapshots of one file only if they are the same.
        contents: sha256 of everything that a decision in force, or superseded, is about.
    """

    stamp: tuple[Any, ...] = ()
    _log: list[Decision] = field(default_factory=list, repr=False)
    _count: int = 0
    # Numbers in the log: the last event of each pair; of each file or content, the sets that are to be kept whole.
    _last: Mapping[PairKey, int] = field(default_factory=dict, repr=False)
    _kept_with: Mapping[str | File, frozenset[int]] = field(default_factory=dict, repr=False)
    _kept_copies: Mapping[str, int] = field(default_factory=dict, repr=False)
    _undone: frozenset[str] = frozenset()
    contents: frozenset[str] = field(default_factory=frozenset, repr=False)

    @property
    def events(self) -> list[Decision]:
        """All events, oldest first, whether in force or not."""
        return self._log[: self._count]

    def between(self, a: File, b: File) -> Decision | None:
        """The event in force for two files: about the pair, or about a set that both are to be kept in.

        None where nobody has decided, or it was undone.
        """
        number = self._last.get(pair_key(a, b), -1)
        same = a.sha256 == b.sha256
        mine, other = (self._kept_with.get(one if same else one.sha256) for one in (a, b))
        if mine and other:
            number = max(number, max(mine & other, default=-1))
        return self._log[number] if number >= 0 else None

    def kept_together(self, files: Sequence[File]) -> bool:
        """All of them are in one set that is to be kept whole; at once, where `between` is asked for every two."""
        twice = Counter(one.sha256 for one in files)
        sets = [self._kept_with.get(one if twice[one.sha256] > 1 else one.sha256, frozenset[int]()) for one in files]
        return bool(sets) and bool(frozenset.intersection(*sets))

    def touches(self, sha256: str) -> bool:
        """Somebody has decided something about this content."""
        return sha256 in self.contents

    def changed_since(self, before: "Decisions") -> frozenset[str] | None:
        """Contents that something new is decided about, or undone, since an earlier snapshot; None if it is none."""
        if self._log is not before._log or self._count < before._count:
            return None
        new = self._log[before._count : self._count]
        turned = self._undone ^ before._undone
        if turned:
            new += [one for one in self.events if one.batch in turned]
        return frozenset(sha for one in new for sha in (one.sha_a, one.sha_b) if sha is not None)

    def kept_copies(self, sha256: str) -> int:
        """As how many files this content is to be kept: the most that were decided to be no duplicates at once.

        So files that were only moved since are told from another copy, of which there are more then.
        """
        return self._kept_copies.get(sha256, 0)

    def in_force(self) -> Iterator[Decision]:
        """Of each pair that was decided by itself, the event in force, in the order of the file."""
        for number in sorted(self._last.values()):
            decision = self._log[number]
            # Where no set is kept, nothing can have come after the last event of the pair.
            if decision.sha_a not in self._kept_with or self._holds(decision):
                yield decision

    def state(self, decision: Decision) -> str:
        """Whether an event is `in_force`, `undone` or `superseded`."""
        if decision.batch in self._undone:
            return UNDONE
        return IN_FORCE if decision.verdict == UNDO or self._holds(decision) else SUPERSEDED

    def _holds(self, decision: Decision) -> bool:
        """Nothing later is in force for its pair; of a set that is kept whole, every event says the same."""
        last = self.between(*decision.pair)
        return last is not None and (last.batch, last.set) == (decision.batch, decision.set)

    def batch(self, given: str) -> list[Decision]:
        """Events of a batch, named by its own id or by that of one of them; empty where there is none."""
        events = self.events
        name = next((one.batch for one in events if given in (one.batch, one.id)), None)
        return [one for one in events if one.batch == name]

    def is_undone(self, batch: str) -> bool:
        """The batch was taken back."""
        return batch in self._undone


def _index(log: list[Decision], start: int, before: Decisions, stamp: tuple[Any, ...]) -> Decisions:
    """A snapshot of the whole log; `before` is one of its first `start` events."""
    if any(one.verdict == UNDO for one in log[start:]):
        start, before = 0, Decisions(_undone=_undone(log))
    undone = before._undone
    last, kept_with, copies = dict(before._last), dict(before._kept_with), dict(before._kept_copies)
    contents = set(before.contents)
    kept_sets: dict[tuple[str, int], tuple[int, set[File]]] = {}
    for number, decision in enumerate(log[start:], start):
        if decision.verdict == UNDO or decision.batch in undone:
            continue
        a, b = decision.pair
        last[pair_key(a, b)] = number
        contents.update((a.sha256, b.sha256))
        if decision.verdict == NOT_DUPLICATES:
            _, files = kept_sets.get((decision.batch, decision.set), (number, set[File]()))
            files.update((a, b))
            kept_sets[decision.batch, decision.set] = number, files
        elif a.sha256 == b.sha256:
            copies.pop(a.sha256, None)
    for number, files in kept_sets.values():
        for token in {*files, *(one.sha256 for one in files)}:
            kept_with[token] = kept_with.get(token, frozenset()) | {number}
        for sha in {one.sha256 for one in files}:
            there = sum(one.sha256 == sha for one in files)
            if there > 1:
                copies[sha] = max(copies.get(sha, 0), there)
    return Decisions(stamp, log, len(log), last, kept_with, copies, undone, frozenset(contents))


def _undone(log: Sequence[Decision]) -> frozenset[str]:
    """Batches that are taken back; to undo an undo brings its batch back."""
    undoes = {one.batch: one.undoes for one in log if one.verdict == UNDO}
    undone: set[str] = set()
    for one in log:
        if one.verdict != UNDO:
            continue
        batch: str | None = one.undoes
        taken_back = True
        while batch is not None:
            (undone.add if taken_back else undone.discard)(batch)
            batch, taken_back = undoes.get(batch), not taken_back
    return frozenset(undone)


# Deciding


def keep_all(files: Sequence[File]) -> Judgement:
    """No two of the files are duplicates: all are to be kept.

    Raises:
        DecisionError: they are fewer than two.
    """
    return _judged(NOT_DUPLICATES, files)


def keep_one(keep: File, copies: Sequence[File]) -> Judgement:
    """The others are copies of `keep`, and not needed.

    Raises:
        DecisionError: there is no other one.
    """
    return _judged(DUPLICATE, (keep, *copies))


def _judged(verdict: str, files: Sequence[File]) -> Judgement:
    once = tuple(dict.fromkeys(files))
    if len(once) < 2:
        raise DecisionError(
            f"A decision about {once[0].path if once else 'nothing'} alone", expected="two or more different files"
        )
    return Judgement(verdict, once)


def is_protected(path: str, folders: Sequence[str]) -> bool:
    """The file is in one of the folders (`Settings.protected`), at any depth."""
    return any(folder == "." or path.startswith(f"{folder}/") for folder in folders)
