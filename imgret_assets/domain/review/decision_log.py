"""The append-only file of decisions.

Belongs here: reading, writing, undoing, exporting decisions. Not here: what decisions mean (`domain.review.decisions`).
"""

import csv
import getpass
import io
import json
import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imgret_assets.domain.review.decisions import (
    _FIELDS,
    DUPLICATE,
    NOT_DUPLICATES,
    UNDO,
    VERSION,
    Decision,
    Decisions,
    Entry,
    File,
    Judgement,
    _index,
    is_protected,
)
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError, HomeError

# How much before what is new is read again, to see that it is still the same file.
_TAIL = 256


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
        with self._lock, atomic_files.named_errors(self.path):
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
    with home.hold(["decisions"], "writing down a decision"):
        decisions, end = _reader(home).load()
        events = make(decisions)
        with atomic_files.named_errors(path):
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
                atomic_files.sync_folder(path.parent)
    return events[0].batch


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


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
