"""The file of decisions, `decisions.jsonl` in the home, which is only ever appended to.

Belongs here: reading, recording, undoing and exporting decisions. Not here: what decisions mean
(`domain.review.decisions`).

The lines of a batch are written and synced together. A batch that is not complete, or a line without its end, is what a
killed process left: readers ignore it, and the next writer cuts it off.
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
    DECISION_FIELDS,
    DUPLICATE,
    NOT_DUPLICATES,
    UNDO,
    VERSION,
    Decision,
    Decisions,
    File,
    HistoryEntry,
    SetDecision,
    index_decisions,
    is_protected,
)
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError, HomeError

EXPORTED = (*DECISION_FIELDS, "state")
# Bytes before the new part of the file that are read again, to see that the file is still the same.
_TAIL_BYTES = 256


def decisions_path(home: Home) -> Path:
    """Return the path of the file of decisions; the file exists from the first decision on."""
    return home.path / "decisions.jsonl"


class DecisionReader:
    """A reader of one file of decisions, which parses only what is new since its last call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._log: list[Decision] = []
        self._file_state: tuple[int, ...] | None = None
        self._end, self._tail, self._lines = 0, b"", 0
        self._file_id = uuid.uuid4().hex
        self._decisions = Decisions((self._file_id, 0), self._log)

    def read(self) -> tuple[Decisions, int]:
        """Return the decisions in force, and where the last complete batch ends, in bytes.

        Raises:
            HomeError: a line can't be parsed, or the file can't be read.
        """
        with self._lock, atomic_files.named_errors(self.path):
            try:
                with self.path.open("rb") as file:
                    self._read_new(file)
            except FileNotFoundError:
                if self._file_state is not None:
                    self._reset()
            return self._decisions, self._end

    def _read_new(self, file: Any) -> None:
        stat = os.fstat(file.fileno())
        file_state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if file_state == self._file_state:
            return
        data = self._bytes_after_tail(file)
        if data is None or (self._file_state is not None and file_state[:2] != self._file_state[:2]):
            # The file was restored from a backup, or edited: read all of it.
            self._reset()
            data = self._bytes_after_tail(file) or b""
        events, length = self._parse_batches(data)
        if events:
            start = len(self._log)
            self._log.extend(events)
            self._end += length
            self._lines += data[:length].count(b"\n")
            self._tail = (self._tail + data[:length])[-_TAIL_BYTES:]
            self._decisions = index_decisions(self._log, start, self._decisions, (self._file_id, self._end))
        self._file_state = file_state

    def _bytes_after_tail(self, file: Any) -> bytes | None:
        """Return what follows the last complete batch; None if the end of that batch has changed."""
        file.seek(self._end - len(self._tail))
        data = file.read()
        return data[len(self._tail) :] if data.startswith(self._tail) else None

    def _parse_batches(self, data: bytes) -> tuple[list[Decision], int]:
        """Return the events of all complete batches, and the length of these batches in bytes."""
        events: list[Decision] = []
        batch: list[Decision] = []
        position = length = 0
        for number, line in enumerate(data.splitlines(keepends=True), self._lines + 1):
            if not line.endswith(b"\n"):
                break
            position += len(line)
            batch.append(self._parse_line(line, number))
            if (batch[-1].batch, batch[-1].batch_events) != (batch[0].batch, batch[0].batch_events):
                raise self._damaged(number, f"lines of batch {batch[0].batch} before it are missing")
            if len(batch) == batch[0].batch_events:
                events += batch
                batch, length = [], position
        return events, length

    def _parse_line(self, line: bytes, number: int) -> Decision:
        try:
            values = json.loads(line)
            version = values.pop("version")
            # A later release may add fields; they are ignored. The fields of this release are required.
            if version == VERSION:
                return _validated(Decision(**{key: value for key, value in values.items() if key in DECISION_FIELDS}))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._damaged(number, f"{type(error).__name__}: {error}") from error
        raise self._damaged(
            number, f"it has version {version!r}, not {VERSION}: another release of imgret has written it"
        )

    def _damaged(self, number: int, why: str) -> HomeError:
        return HomeError(
            f"Line {number} of {self.path} can't be parsed ({why})",
            remedy="restore the file from a backup, or repair that line; until then nothing can be decided or listed",
        )


def _validated(event: Decision) -> Decision:
    """Return the event if it has all values that its verdict needs; otherwise raise ValueError."""
    required = {
        UNDO: (event.undoes,),
        NOT_DUPLICATES: (event.sha_a, event.sha_b, event.path_a, event.path_b),
        DUPLICATE: (event.sha_a, event.sha_b, event.path_a, event.path_b, event.keep, event.keep_path),
    }
    if event.verdict not in required:
        raise ValueError(f"unknown verdict {event.verdict!r}")
    if not (isinstance(event.batch_events, int) and isinstance(event.set, int) and event.batch_events > 0):
        raise ValueError("batch_events or set is not a number")
    values = (event.id, event.batch, event.at, event.by, *required[event.verdict])
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"a value that {event.verdict} needs is missing")
    return event


_READERS: dict[Path, DecisionReader] = {}
_READERS_LOCK = threading.Lock()


def _reader(home: Home) -> DecisionReader:
    path = decisions_path(home)
    with _READERS_LOCK:
        return _READERS.setdefault(path, DecisionReader(path))


def read_decisions(home: Home) -> Decisions:
    """Return the decisions in force. Only lines appended since the last call in this process are parsed.

    Raises:
        HomeError: a line can't be parsed, or the file can't be read.
    """
    return _reader(home).read()[0]


def _append(home: Home, make_batch: Callable[[Decisions], list[Decision]]) -> str:
    """Append a batch, whole or not at all, and return its id.

    `make_batch` is called under the lock with the decisions in force.
    """
    path = decisions_path(home)
    with home.hold(["decisions"], "recording a decision"):
        decisions, end = _reader(home).read()
        events = make_batch(decisions)
        with atomic_files.named_errors(path):
            is_new = not path.exists()
            path.touch(0o644)
            with path.open("r+b", buffering=0) as file:
                # Cut off what a killed writer has left of a batch.
                file.truncate(end)
                file.seek(end)
                try:
                    _write_all(file.fileno(), b"".join(event.as_line for event in events))
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


def record(home: Home, set_decisions: Sequence[SetDecision], *, by: str | None = None, reason: str = "") -> str:
    """Record the decisions of a person as one batch; they supersede earlier decisions about the same pairs.

    Args:
        home: the home.
        set_decisions: the decisions, each about one set.
        by: who decides; None or blank means the user of the operating system.
        reason: why; may be empty.

    Returns:
        Id of the batch, for `undo`.

    Raises:
        DecisionError: there is nothing to decide, or a file in a protected folder would not be kept.
        HomeError: the file is damaged or can't be written.
        DiskFullError: the disk is full; nothing was written.
        LockTimeoutError: another process has been writing for longer than the setting allows.
    """
    if not set_decisions:
        raise DecisionError("There is nothing to decide", expected="at least one set of files")
    for decision in set_decisions:
        if decision.verdict == DUPLICATE:
            for file in decision.files[1:]:
                if is_protected(file.path, home.settings.protected):
                    raise DecisionError(
                        f"{file.path} is in a protected folder and would not be kept",
                        remedy="keep it, or change IMGRET_PROTECTED",
                    )
    person, why, at = decider_name(by), _as_text(reason), _now()

    def make_batch(decisions: Decisions) -> list[Decision]:
        pairs = [
            (number, decision.verdict, decision.files[0], file)
            for number, decision in enumerate(set_decisions)
            for file in decision.files[1:]
        ]
        common = {"batch": _new_id(decisions), "batch_events": len(pairs), "at": at, "by": person, "reason": why}
        return [_event(common, place, *pair) for place, pair in enumerate(pairs)]

    return _append(home, make_batch)


def _event(common: Mapping[str, Any], place: int, number: int, verdict: str, first: File, second: File) -> Decision:
    a, b = sorted((first, second), key=lambda file: (file.sha256, file.path))
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
    """Undo a batch: earlier decisions about its pairs are in force again. An undo can be undone.

    Args:
        home: the home.
        batch: id of the batch, or of one of its events.
        by: who undoes it; None or blank means the user of the operating system.
        reason: why; may be empty.

    Returns:
        Id of the new batch.

    Raises:
        DecisionError: there is no such batch, or it is undone already.
        HomeError, DiskFullError, LockTimeoutError: as for `record`.
    """
    person, why, at = decider_name(by), _as_text(reason), _now()

    def make_batch(decisions: Decisions) -> list[Decision]:
        events = decisions.events_of_batch(batch)
        if not events:
            raise DecisionError(f"No decision has the id {batch}", remedy="see `imgret review history`")
        undone = events[0].batch
        if decisions.is_undone(undone):
            raise DecisionError(f"Decision {undone} is undone already", remedy="undo the undo, or decide again")
        new = _new_id(decisions)
        return [Decision(f"{new}-0", new, 1, 0, at, person, UNDO, why, undoes=undone)]

    return _append(home, make_batch)


def _new_id(decisions: Decisions) -> str:
    used = {event.batch for event in decisions.events}
    return next(name for name in iter(lambda: uuid.uuid4().hex[:12], "") if name not in used)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def decider_name(name: str | None = None) -> str:
    """Return who decides: the name, or the user of the operating system if the name is None or blank."""
    entered = _as_text(name or "")
    if entered:
        return entered
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A container may run under a user id that has no name.
        return f"user {os.getuid()}"


def _as_text(value: str) -> str:
    """Return the text stripped, with characters that UTF-8 can't encode replaced."""
    return value.strip().encode("utf-8", "replace").decode("utf-8")


def read_history(home: Home, start: int = 0, count: int | None = None) -> list[HistoryEntry]:
    """Return events, newest first, each with its state.

    Args:
        home: the home.
        start: how many of the newest events are left out.
        count: maximum number of events; None for all.

    Raises:
        HomeError: a line can't be parsed, or the file can't be read.
    """
    decisions = read_decisions(home)
    events = decisions.events[::-1][start : None if count is None else start + count]
    return [HistoryEntry(event, decisions.state_of(event)) for event in events]


def history_rows(entries: Sequence[HistoryEntry]) -> list[dict[str, Any]]:
    """Return entries in the form in which they are exported: the fields of an event, and `state`."""
    return [{**entry.decision.as_row, "state": entry.state} for entry in entries]


def export_json(home: Home) -> str:
    """Return all events, newest first, as one JSON document: {"schema": 1, "decisions": […]}."""
    document = {"schema": VERSION, "decisions": history_rows(read_history(home))}
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def export_csv(home: Home) -> str:
    """Return all events, newest first, as CSV (RFC 4180, but with line feeds); null is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, EXPORTED, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history_rows(read_history(home)))
    return text.getvalue()
