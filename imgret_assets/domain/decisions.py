"""What people have decided about pairs of images: an append-only file in the home, `decisions.jsonl`.

Belongs here: the file, appending to it, which decision is in force for a pair, its export. Not here: what is left to
decide and what would be removed (`domain.review_queue`), relationships (`domain.decision_graph`).

A line is an event about two images, keyed by their two sha256, the smaller first: so a decision survives renames,
rebuilds, another model and another server. Two files with the same bytes are one content, and a decision about them is
one about files: there the key is the sha256 twice and the two paths (`pair_key`).

What a person decides at once is a batch: its lines are written and synced together, count only together, and are taken
back together. A line of a killed process, or a batch that is not complete, is not there for readers, and the next
writer cuts it off. A batch is about one or more sets. That all images of a set are to be kept is written as pairs of
the first with each other one, and holds for every two of them.
"""

import csv
import getpass
import io
import json
import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imgret_assets.domain import atomic, locks
from imgret_assets.domain.home import Home
from imgret_assets.errors import DecisionError, HomeError

VERSION = 1
NOT_DUPLICATES, DUPLICATE, UNDO = "not_duplicates", "duplicate", "undo"
VERDICTS = (NOT_DUPLICATES, DUPLICATE)
IN_FORCE, UNDONE, SUPERSEDED = "in_force", "undone", "superseded"
# How much before what is new is read again, to see that it is still the same file.
_TAIL = 256
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


# The file


def decisions_path(home: Home) -> Path:
    """The file with all decisions of a home; there from the first one on."""
    return home.path / "decisions.jsonl"


class _Reader:
    """One file, of which only what is new is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._log: list[Decision] = []
        self._seen: tuple[int, ...] | None = None
        self._end, self._tail, self._lines = 0, b"", 0
        self._loads = uuid.uuid4().hex
        self.decisions = Decisions((self._loads, 0), self._log)

    def load(self) -> tuple[Decisions, int]:
        """What is in force, and where the last complete batch ends, in bytes."""
        with self._lock, atomic.named_errors(self.path):
            try:
                with self.path.open("rb") as file:
                    self._read_on(file)
            except FileNotFoundError:
                if self._seen is not None:
                    self._forget()
            return self.decisions, self._end

    def _read_on(self, file: Any) -> None:
        found = os.fstat(file.fileno())
        seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if seen == self._seen:
            return
        data = self._after_tail(file)
        if data is None or (self._seen is not None and seen[:2] != self._seen[:2]):
            # Put back from a backup, or edited: another file.
            self._forget()
            data = self._after_tail(file) or b""
        fresh, length = self._complete(data)
        if fresh:
            start = len(self._log)
            self._log.extend(fresh)
            self._end += length
            self._lines += data[:length].count(b"\n")
            self._tail = (self._tail + data[:length])[-_TAIL:]
            self.decisions = _index(self._log, start, self.decisions, (self._loads, self._end))
        self._seen = seen

    def _after_tail(self, file: Any) -> bytes | None:
        """What follows the last complete batch; None if that is not there as it was."""
        file.seek(self._end - len(self._tail))
        data = file.read()
        return data[len(self._tail) :] if data.startswith(self._tail) else None

    def _complete(self, data: bytes) -> tuple[list[Decision], int]:
        """Events of complete batches, and their length in bytes."""
        found: list[Decision] = []
        batch: list[Decision] = []
        place = length = 0
        for number, line in enumerate(data.splitlines(keepends=True), self._lines + 1):
            if not line.endswith(b"\n"):
                break
            place += len(line)
            batch.append(self._parse(line, number))
            if (batch[-1].batch, batch[-1].batch_events) != (batch[0].batch, batch[0].batch_events):
                raise self._damaged(number, f"batch {batch[0].batch} before it has lost lines")
            if len(batch) == batch[0].batch_events:
                found += batch
                batch, length = [], place
        return found, length

    def _parse(self, line: bytes, number: int) -> Decision:
        try:
            said = json.loads(line)
            version = said.pop("version")
            # A later version may say more of an event, but what this one needs has to be there.
            if version == VERSION:
                return _checked(Decision(**{key: value for key, value in said.items() if key in _FIELDS}))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._damaged(number, f"{type(error).__name__}: {error}") from error
        raise self._damaged(
            number, f"it is of version {version!r}, not {VERSION}: an imgret of another version wrote it"
        )

    def _damaged(self, number: int, why: str) -> HomeError:
        return HomeError(
            f"Line {number} of {self.path} can't be understood ({why})",
            remedy="restore the file from a backup, or mend that line; nothing is decided or listed meanwhile",
        )


def _checked(one: Decision) -> Decision:
    """The event, if it says all that its verdict needs."""
    needed = {
        UNDO: (one.undoes,),
        NOT_DUPLICATES: (one.sha_a, one.sha_b, one.path_a, one.path_b),
        DUPLICATE: (one.sha_a, one.sha_b, one.path_a, one.path_b, one.keep, one.keep_path),
    }
    if one.verdict not in needed:
        raise ValueError(f"verdict {one.verdict!r}")
    if not (isinstance(one.batch_events, int) and isinstance(one.set, int) and one.batch_events > 0):
        raise ValueError("a batch without a number of lines")
    if not all(isinstance(value, str) for value in (one.id, one.batch, one.at, one.by, *needed[one.verdict])):
        raise ValueError(f"a {one.verdict} without all it needs")
    return one


_READERS: dict[Path, _Reader] = {}
_READERS_LOCK = threading.Lock()


def _reader(home: Home) -> _Reader:
    path = decisions_path(home)
    with _READERS_LOCK:
        return _READERS.setdefault(path, _Reader(path))


def standing(home: Home) -> Decisions:
    """The decisions in force; only what was appended since the last call of this process is read.

    Raises:
        HomeError: a line can't be understood, or the file not be read.
    """
    return _reader(home).load()[0]


def _append(home: Home, make: Callable[[Decisions], list[Decision]]) -> str:
    """Write a batch, whole or not at all; `make` is given what is in force under the lock. Returns the batch's id."""
    path = decisions_path(home)
    with locks.held(
        home.locks, ["decisions"], timeout_s=home.settings.lock_timeout_s, purpose="writing down a decision"
    ):
        decisions, end = _reader(home).load()
        events = make(decisions)
        with atomic.named_errors(path):
            is_new = not path.exists()
            path.touch(0o644)
            with path.open("r+b", buffering=0) as file:
                # What a killed writer has left of a batch.
                file.truncate(end)
                file.seek(end)
                try:
                    _write_all(file.fileno(), b"".join(one.as_line for one in events))
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
            if is_new:
                atomic.sync_folder(path.parent)
    return events[0].batch


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


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


def record(home: Home, judgements: Sequence[Judgement], *, by: str | None = None, reason: str = "") -> str:
    """Write down what a person has decided at once, as one batch; it replaces what was decided about the same pairs.

    Args:
        home: the home.
        judgements: each about one set.
        by: who decides; the operating system's user where None or blank.
        reason: why; may be empty.

    Returns:
        Id of the batch, which `undo` takes.

    Raises:
        DecisionError: there is nothing to decide, or a file in a protected folder would not be kept.
        HomeError: the file is damaged or can't be written.
        DiskFullError: no room; nothing was written.
        LockTimeoutError: another process has been writing for longer than the setting allows.
    """
    if not judgements:
        raise DecisionError("There is nothing to decide", expected="at least one set of files")
    for one in judgements:
        if one.verdict == DUPLICATE:
            for copy in one.files[1:]:
                if is_protected(copy.path, home.settings.protected):
                    raise DecisionError(
                        f"{copy.path} is in a protected folder and would not be kept",
                        remedy="keep it, or change IMGRET_PROTECTED",
                    )
    person, why, at = decider(by), _text(reason), _now()

    def make(decisions: Decisions) -> list[Decision]:
        pairs = [
            (number, one.verdict, one.files[0], other)
            for number, one in enumerate(judgements)
            for other in one.files[1:]
        ]
        common = {"batch": _new_id(decisions), "batch_events": len(pairs), "at": at, "by": person, "reason": why}
        return [_event(common, place, *pair) for place, pair in enumerate(pairs)]

    return _append(home, make)


def _event(common: Mapping[str, Any], place: int, number: int, verdict: str, first: File, other: File) -> Decision:
    a, b = sorted((first, other), key=lambda one: (one.sha256, one.path))
    kept = first if verdict == DUPLICATE else None
    return Decision(
        **common,
        id=f"{common['batch']}-{place}",
        set=number,
        verdict=verdict,
        sha_a=a.sha256,
        sha_b=b.sha256,
        keep=kept.sha256 if kept else None,
        keep_path=kept.path if kept else None,
        path_a=a.path,
        path_b=b.path,
    )


def undo(home: Home, batch: str, *, by: str | None = None, reason: str = "") -> str:
    """Take a batch back: what was in force for its pairs before, if anything, is so again. An undo can be undone.

    Args:
        home: the home.
        batch: id of the batch, or of one of its events.
        by: who undoes it; the operating system's user where None or blank.
        reason: why; may be empty.

    Returns:
        Id of the new batch.

    Raises:
        DecisionError: there is no such batch, or it is undone already.
        HomeError, DiskFullError, LockTimeoutError: as `record`.
    """
    person, why, at = decider(by), _text(reason), _now()

    def make(decisions: Decisions) -> list[Decision]:
        found = decisions.batch(batch)
        if not found:
            raise DecisionError(f"No decision has the id {batch}", remedy="see `imgret review history`")
        name = found[0].batch
        if decisions.is_undone(name):
            raise DecisionError(f"Decision {name} is undone already", remedy="undo the undo, or decide again")
        new = _new_id(decisions)
        return [Decision(f"{new}-0", new, 1, 0, at, person, UNDO, why, undoes=name)]

    return _append(home, make)


def _new_id(decisions: Decisions) -> str:
    taken = {one.batch for one in decisions.events}
    return next(name for name in iter(lambda: uuid.uuid4().hex[:12], "") if name not in taken)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def decider(name: str | None = None) -> str:
    """Who decides: the name given, else, where it is None or blank, the operating system's user."""
    typed = _text(name or "")
    if typed:
        return typed
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A container may run under a number that has no name.
        return f"user {os.getuid()}"


def _text(value: str) -> str:
    """As it can be written: what is no UTF-8 replaced."""
    return value.strip().encode("utf-8", "replace").decode("utf-8")


# Looking back


def history(home: Home, start: int = 0, count: int | None = None) -> list[Entry]:
    """Events, newest first, each with whether it is in force.

    Args:
        home: the home.
        start: how many of the newest are left out.
        count: how many there are at most; all where None.

    Raises:
        HomeError: a line can't be understood, or the file not be read.
    """
    decisions = standing(home)
    chosen = decisions.events[::-1][start : None if count is None else start + count]
    return [Entry(one, decisions.state(one)) for one in chosen]


def as_rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Entries as they are exported: the fields of an event, and `state`."""
    return [{**one.decision.as_row, "state": one.state} for one in entries]


EXPORTED = (*_FIELDS, "state")


def export_json(home: Home) -> str:
    """All events, newest first, as one JSON document: {"schema": 1, "decisions": […]}."""
    return json.dumps({"schema": VERSION, "decisions": as_rows(history(home))}, ensure_ascii=False, indent=2) + "\n"


def export_csv(home: Home) -> str:
    """All events, newest first, as CSV (RFC 4180, but lines end with a line feed); nothing stands for null."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, EXPORTED, lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_rows(history(home)))
    return text.getvalue()
