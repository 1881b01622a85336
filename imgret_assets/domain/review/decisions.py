"""The decisions of people about pairs of images and about names of groups, and which of them are in force.

Belongs here: the record of a decision, the index that finds the decision in force for a pair. Not here: the file of
decisions (`domain.review.decision_log`), what is left to decide (`domain.review.queue`), what would be removed
(`domain.review.removals`), relationships (`domain.graph.decided`).

A decision is an event about two images, keyed by their two sha256, the smaller first. So it survives renames, rebuilds,
another model and another server. Two files with the same bytes have one content, and a decision about them is about
files: its key is the sha256 twice and the two paths (`pair_key`).

The events that a person records at once form a batch. A batch is valid only as a whole, and is undone as a whole. It is
about one or more sets of files. The decision to keep all images of a set is stored as pairs of the first image with
each other one, and holds for every pair of the set.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from imgret_assets.errors import DecisionError

VERSION = 1
NOT_DUPLICATES, DUPLICATE, UNDO = "not_duplicates", "duplicate", "undo"
GROUP_NAME = "group_name"
VERDICTS = (NOT_DUPLICATES, DUPLICATE)
IN_FORCE, UNDONE, SUPERSEDED = "in_force", "undone", "superseded"
PairKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """An image file that a decision is about: its POSIX path under the image root, and its content."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SetDecision:
    """A decision about a set of two or more files, to be recorded; created by `keep_all` and `keep_one`.

    Attributes:
        verdict: `not_duplicates` (keep every file) or `duplicate` (all files but the first duplicate it, and are not
            needed).
        files: the files without repetition; the one to keep is first.
    """

    verdict: str
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """One event: a line of the file of decisions, without its checks.

    Attributes:
        id: of the event; begins with the id of its batch.
        batch: id of the events that were recorded at once.
        batch_events: how many lines the batch has.
        set: which set of the batch the pair belongs to, from 0.
        at: when, UTC, ISO 8601.
        by: who: a name as it was entered, or the user of the operating system.
        verdict: `not_duplicates`, `duplicate`, `group_name`, or `undo`, which undoes a batch.
        reason: as it was entered; may be empty.
        sha_a, sha_b: contents of the two images, the smaller first; None unless the event is about a pair.
        keep: sha256 of the image to keep; None unless the verdict is `duplicate`.
        keep_path: its path at the time of the decision; tells the two files apart if both have the same bytes.
        undoes: id of the batch that is undone; None unless the verdict is `undo`.
        path_a, path_b: the paths at the time of the decision, for people; part of the key if both files have the same
            bytes. Of a `group_name`, `path_a` is the path of the group's representative.
        name: of a `group_name`: the group's name; empty if it has none any more.
        members: of a `group_name`: contents of images of the group, its representative first; a large group's first.
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
    name: str | None = None
    members: tuple[str, ...] | None = None

    @property
    def pair(self) -> tuple[File, File]:
        """The two files at the time of the decision; undefined unless the event is about a pair."""
        return File(self.path_a or "", self.sha_a or ""), File(self.path_b or "", self.sha_b or "")

    @property
    def kept_and_duplicate(self) -> tuple[File, File]:
        """For a `duplicate`: the file to keep and the file that is not needed, at the time of the decision."""
        a, b = self.pair
        return (a, b) if self.keep == a.sha256 and self.keep_path == a.path else (b, a)

    @property
    def as_row(self) -> dict[str, Any]:
        """The fields by name; those of a group's name only where it is one."""
        names = DECISION_FIELDS if self.verdict == GROUP_NAME else _PAIR_FIELDS
        return {name: getattr(self, name) for name in names}


DECISION_FIELDS = tuple(column.name for column in fields(Decision))
_PAIR_FIELDS = tuple(name for name in DECISION_FIELDS if name not in ("name", "members"))


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An event and its state: `in_force`, `undone`, or `superseded` by a later event about the same pair."""

    decision: Decision
    state: str


def pair_key(a: File, b: File) -> PairKey:
    """Return the key of a pair: both contents in order; the two paths in order as well if the contents are equal."""
    if a.sha256 != b.sha256:
        return (a.sha256, b.sha256) if a.sha256 < b.sha256 else (b.sha256, a.sha256)
    return (a.sha256, b.sha256, *sorted((a.path, b.path)))


@dataclass(frozen=True)
class Decisions:
    """The decisions in force: an immutable snapshot, which threads may share.

    Attributes:
        stamp: equal for two snapshots of one file only if both have the same events.
        contents: sha256 of every content that a decision in force, or superseded, is about.
    """

    stamp: tuple[Any, ...] = ()
    # Only ever extended, and shared by all snapshots of one file; this snapshot has the first `_count` events.
    _log: list[Decision] = field(default_factory=list, repr=False)
    _count: int = 0
    # Event numbers: the last event of each pair; by file and by content, the first event of each set to keep whole.
    _last: Mapping[PairKey, int] = field(default_factory=dict, repr=False)
    _kept_sets: Mapping[str | File, frozenset[int]] = field(default_factory=dict, repr=False)
    _kept_file_counts: Mapping[str, int] = field(default_factory=dict, repr=False)
    _undone: frozenset[str] = frozenset()
    # Event numbers of the names that are not undone.
    _names: tuple[int, ...] = ()
    contents: frozenset[str] = field(default_factory=frozenset, repr=False)

    @property
    def events(self) -> list[Decision]:
        """All events, oldest first, whatever their state."""
        return self._log[: self._count]

    def decision_for(self, a: File, b: File) -> Decision | None:
        """Return the event in force for two files: about the pair, or about a set to keep whole that has both.

        None if no decision is in force.
        """
        number = self._last.get(pair_key(a, b), -1)
        same_content = a.sha256 == b.sha256
        sets_of_a, sets_of_b = (self._kept_sets.get(file if same_content else file.sha256) for file in (a, b))
        if sets_of_a and sets_of_b:
            number = max(number, max(sets_of_a & sets_of_b, default=-1))
        return self._log[number] if number >= 0 else None

    def kept_together(self, files: Sequence[File]) -> bool:
        """Return whether one set to keep whole has all of the files; faster than `decision_for` for every pair."""
        counts = Counter(file.sha256 for file in files)
        sets = [
            self._kept_sets.get(file if counts[file.sha256] > 1 else file.sha256, frozenset[int]()) for file in files
        ]
        return bool(sets) and bool(frozenset.intersection(*sets))

    def concerns(self, sha256: str) -> bool:
        """Return whether a decision is about this content."""
        return sha256 in self.contents

    def contents_changed_since(self, earlier: "Decisions") -> frozenset[str] | None:
        """Return the contents with new or undone decisions since an earlier snapshot.

        None if `earlier` is no earlier snapshot of the same log.
        """
        if self._log is not earlier._log or self._count < earlier._count:
            return None
        events = self._log[earlier._count : self._count]
        toggled = self._undone ^ earlier._undone
        if toggled:
            events += [event for event in self.events if event.batch in toggled]
        return frozenset(sha256 for event in events for sha256 in (event.sha_a, event.sha_b) if sha256 is not None)

    def kept_file_count(self, sha256: str) -> int:
        """Return how many files of this content are kept: the most files that one set to keep whole has of it.

        Files that were only moved are not more than this; a further file with the same bytes is.
        """
        return self._kept_file_counts.get(sha256, 0)

    def in_force(self) -> Iterator[Decision]:
        """Yield the event in force of each pair that has an event of its own, in the order of the file."""
        for number in sorted(self._last.values()):
            decision = self._log[number]
            # If the content is in no set to keep whole, nothing can supersede the last event of the pair.
            if decision.sha_a not in self._kept_sets or self._holds(decision):
                yield decision

    def group_names(self) -> list[Decision]:
        """Return the names of groups that are not undone, oldest first."""
        return [self._log[number] for number in self._names]

    def state_of(self, decision: Decision) -> str:
        """Return whether an event is `in_force`, `undone` or `superseded`.

        A name is superseded by a later one for a group that has most of its contents.
        """
        if decision.batch in self._undone:
            return UNDONE
        if decision.verdict == GROUP_NAME:
            names = self.group_names()
            members = set(decision.members or ())
            later = names[names.index(decision) + 1 :]
            replaced = any(2 * len(members.intersection(name.members or ())) > len(members) for name in later)
            return SUPERSEDED if replaced else IN_FORCE
        return IN_FORCE if decision.verdict == UNDO or self._holds(decision) else SUPERSEDED

    def _holds(self, decision: Decision) -> bool:
        """Return whether no later event is in force for the pair; all events of a set to keep whole count as one."""
        last = self.decision_for(*decision.pair)
        return last is not None and (last.batch, last.set) == (decision.batch, decision.set)

    def events_of_batch(self, batch_or_event_id: str) -> list[Decision]:
        """Return the events of a batch by its id, or by the id of one of its events; empty if there is none."""
        events = self.events
        batch = next((event.batch for event in events if batch_or_event_id in (event.batch, event.id)), None)
        return [event for event in events if event.batch == batch]

    def is_undone(self, batch: str) -> bool:
        """Return whether the batch is undone."""
        return batch in self._undone


def index_decisions(log: list[Decision], start: int, earlier: Decisions, stamp: tuple[Any, ...]) -> Decisions:
    """Return a snapshot of the whole log.

    Args:
        log: all events, oldest first.
        start: number of the first event that `earlier` does not have.
        earlier: a snapshot of the first `start` events.
        stamp: of the new snapshot.
    """
    if any(event.verdict == UNDO for event in log[start:]):
        # An undo may change any earlier event, so everything is indexed again.
        start, earlier = 0, Decisions(_undone=_undone_batches(log))
    undone = earlier._undone
    last, kept_sets = dict(earlier._last), dict(earlier._kept_sets)
    file_counts, contents = dict(earlier._kept_file_counts), set(earlier.contents)
    names = (number for number, event in enumerate(log[start:], start) if event.verdict == GROUP_NAME)
    names_in_force = (*earlier._names, *(number for number in names if log[number].batch not in undone))
    new_sets: dict[tuple[str, int], tuple[int, set[File]]] = {}
    for number, decision in enumerate(log[start:], start):
        if decision.verdict in (UNDO, GROUP_NAME) or decision.batch in undone:
            continue
        a, b = decision.pair
        last[pair_key(a, b)] = number
        contents.update((a.sha256, b.sha256))
        if decision.verdict == NOT_DUPLICATES:
            _, files = new_sets.setdefault((decision.batch, decision.set), (number, set[File]()))
            files.update((a, b))
        elif a.sha256 == b.sha256:
            file_counts.pop(a.sha256, None)
    for number, files in new_sets.values():
        for key in {*files, *(file.sha256 for file in files)}:
            kept_sets[key] = kept_sets.get(key, frozenset()) | {number}
        for sha256, count in Counter(file.sha256 for file in files).items():
            if count > 1:
                file_counts[sha256] = max(file_counts.get(sha256, 0), count)
    return Decisions(stamp, log, len(log), last, kept_sets, file_counts, undone, names_in_force, frozenset(contents))


def _undone_batches(log: Sequence[Decision]) -> frozenset[str]:
    """Return the batches that are undone; undoing an undo restores its batch."""
    undoes = {event.batch: event.undoes for event in log if event.verdict == UNDO}
    undone: set[str] = set()
    for event in log:
        if event.verdict != UNDO:
            continue
        batch: str | None = event.undoes
        is_undone = True
        while batch is not None:
            (undone.add if is_undone else undone.discard)(batch)
            batch, is_undone = undoes.get(batch), not is_undone
    return frozenset(undone)


def keep_all(files: Sequence[File]) -> SetDecision:
    """Return the decision that no two of the files are duplicates: all are kept.

    Raises:
        DecisionError: there are fewer than two different files.
    """
    return _set_decision(NOT_DUPLICATES, files)


def keep_one(keep: File, duplicates: Sequence[File]) -> SetDecision:
    """Return the decision that some files duplicate `keep`, and are not needed.

    Raises:
        DecisionError: there is no file but `keep`.
    """
    return _set_decision(DUPLICATE, (keep, *duplicates))


def _set_decision(verdict: str, files: Sequence[File]) -> SetDecision:
    distinct = tuple(dict.fromkeys(files))
    if len(distinct) < 2:
        names = distinct[0].path if distinct else "no file"
        raise DecisionError(f"A decision about {names} alone", expected="two or more different files")
    return SetDecision(verdict, distinct)


def is_protected(path: str, folders: Sequence[str]) -> bool:
    """Return whether the file is in one of the folders (`Settings.protected`), at any depth."""
    return any(folder == "." or path.startswith(f"{folder}/") for folder in folders)
