"""The file of decisions, `decisions.jsonl` in the home, which is only ever appended to.

Belongs here: reading, recording, undoing and exporting decisions. Not here: the format and the checks of a line
(`domain.review.decision_lines`), the daily copies (`domain.review.decision_copies`), what decisions mean
(`domain.review.decisions`).

The lines of a batch are written and synced together. A batch that is not whole, or a line without its end, is what a
killed process left: readers ignore it, and the next writer moves it to `decisions.incomplete.jsonl`.
"""

import csv
import getpass
import io
import json
import logging
import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from imgret_assets.domain.review import decision_copies
from imgret_assets.domain.review.decision_lines import DamagedLineError, FileEnd, LineParser, encode_batch
from imgret_assets.domain.review.decisions import (
    DECISION_FIELDS,
    DUPLICATE,
    GROUP_NAME,
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

# The contents of a named group are left out: they are many, and JSON has them.
EXPORTED = (*(name for name in DECISION_FIELDS if name != "members"), "state")
# Characters of a group's name.
MAX_NAME = 200
# Contents that a name is stored with. More would make a line of a large group long, and decide no vote.
NAMED_MEMBERS = 64
# Bytes before the new part of the file that are read again, to see that the file is still the same.
_TAIL_BYTES = 256

_log = logging.getLogger(__name__)


def decisions_path(home: Home) -> Path:
    """Return the path of the file of decisions; the file exists from the first decision on."""
    return home.path / "decisions.jsonl"


class DecisionReader:
    """A reader of one file of decisions, which parses only what is new since its last call.

    When it reads the file from its start, it compares it with the newest copy.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._log: list[Decision] = []
        self._file_state: tuple[int, ...] | None = None
        self._parser, self._tail = LineParser(), b""
        self._file_id = uuid.uuid4().hex
        self._decisions = Decisions((self._file_id, 0), self._log)

    def read(self) -> tuple[Decisions, FileEnd]:
        """Return the decisions in force, and where the last whole batch ends.

        Raises:
            HomeError: a line is damaged, lines are missing, or the file can't be read.
        """
        with self._lock, atomic_files.named_errors(self.path):
            # Before the file: a writer extends the file first.
            copy = decision_copies.read_newest_copy(self.path) if self._file_state is None else None
            try:
                with self.path.open("rb") as file:
                    if not self._read_new(file, copy):
                        self._reset()
                        copy = decision_copies.read_newest_copy(self.path)
                        self._read_new(file, copy)
            except FileNotFoundError:
                if self._file_state is not None:
                    self._reset()
                copy = copy or decision_copies.read_newest_copy(self.path)
                if copy:
                    raise decision_copies.missing_file(self.path, copy[0]) from None
            return self._decisions, self._parser.end

    def _read_new(self, file: BinaryIO, copy: tuple[Path, bytes] | None) -> bool:
        """Read what was appended; return False if the file is not the one that was read before, only longer.

        Args:
            file: the file, opened.
            copy: the newest copy and its content, to compare the file with; None for no comparison.
        """
        stat = os.fstat(file.fileno())
        file_state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if file_state == self._file_state:
            return True
        position = self._parser.end.position
        file.seek(position - len(self._tail))
        data = file.read()
        # Another file, or another end of the last batch: the file was restored from a backup, or edited.
        if not data.startswith(self._tail) or (self._file_state and file_state[:2] != self._file_state[:2]):
            return False
        # It was written to, and nothing was appended.
        if self._file_state and len(data) == len(self._tail):
            return False
        data = data[len(self._tail) :]
        start = len(self._log)
        try:
            events = self._parser.parse(data)
        except DamagedLineError as error:
            raise HomeError(
                f"Line {error.number} of {self.path} is damaged ({error.why})",
                remedy=decision_copies.remedy(self.path),
            ) from error
        if copy:
            try:
                decision_copies.check_against_copy(self.path, data, *copy)
            except HomeError:
                self._reset()
                raise
        self._log.extend(events)
        self._tail = (self._tail + data[: self._parser.end.position - position])[-_TAIL_BYTES:]
        if events:
            stamp = (self._file_id, self._parser.end.position)
            self._decisions = index_decisions(self._log, start, self._decisions, stamp)
        self._file_state = file_state
        return True


_READERS: dict[Path, DecisionReader] = {}
_READERS_LOCK = threading.Lock()


def _reader(home: Home) -> DecisionReader:
    path = decisions_path(home)
    with _READERS_LOCK:
        return _READERS.setdefault(path, DecisionReader(path))


def read_decisions(home: Home) -> Decisions:
    """Return the decisions in force. Only lines appended since the last call in this process are parsed.

    Raises:
        HomeError: a line is damaged, lines are missing, or the file can't be read.
    """
    return _reader(home).read()[0]


def incomplete_path(path: Path) -> Path:
    """Return the file to which writers move what killed processes have left at the end of a file of decisions."""
    return path.with_name("decisions.incomplete.jsonl")


def _append(home: Home, make_batch: Callable[[Decisions], list[Decision]]) -> str:
    """Append a batch, whole or not at all, and return its id.

    `make_batch` is called under the lock with the decisions in force.
    """
    path = decisions_path(home)
    with home.hold(["decisions"], "recording a decision"):
        if not decision_copies.today(path).exists():
            # The whole file is about to be copied: verify all of it.
            DecisionReader(path).read()
        decisions, end = _reader(home).read()
        events = make_batch(decisions)
        with atomic_files.named_errors(path):
            is_new = not path.exists()
            path.touch(0o644)
            with path.open("r+b", buffering=0) as file:
                _move_incomplete(file, path, end.position)
                file.seek(end.position)
                try:
                    decision_copies.write_all(file.fileno(), encode_batch(events, end))
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end.position)
                    raise
            if is_new:
                atomic_files.sync_folder(path.parent)
        decision_copies.extend_copy(path, end.position)
    return events[0].batch


def _move_incomplete(file: Any, path: Path, end: int) -> None:
    """Move what a killed writer has left behind `end` to its own file; nothing is lost if it was something else."""
    file.seek(end)
    incomplete = file.read()
    # A lacking line feed that was added since, and no batch after it.
    if incomplete.strip(b"\n"):
        aside = incomplete_path(path)
        _log.warning(
            "The last %d bytes of %s are no whole decision, which a killed process leaves: moved to %s",
            len(incomplete),
            path,
            aside,
        )
        with aside.open("ab", buffering=0) as kept:
            decision_copies.write_all(kept.fileno(), incomplete.rstrip(b"\n") + b"\n")
            os.fsync(kept.fileno())
    file.truncate(end)


def verify_decisions(home: Home) -> str:
    """Read the whole file, verify every check, and compare it with its copies; return a description.

    Raises:
        HomeError: a line is damaged, lines are missing or no whole decision, or a copy differs.
        LockTimeoutError: another process has been writing for longer than the setting allows.
    """
    path = decisions_path(home)
    with home.hold(["decisions"], "verifying the decisions"):
        decisions, end = DecisionReader(path).read()
        if not path.exists():
            return "none yet"
        data = path.read_bytes()
        copies = decision_copies.list_copies(path)
        for copy in copies[1:]:
            decision_copies.check_against_copy(path, data, copy, copy.read_bytes())
    incomplete = data[end.position :].strip(b"\n")
    if incomplete:
        raise HomeError(
            f"What follows line {end.lines} of {path} is no whole decision ({len(incomplete)} bytes): a killed process "
            "left it, or it is damaged",
            remedy=f"look at it; the next decision moves it to {incomplete_path(path)}",
        )
    unchecked = f", {end.unchecked_lines} of them without a check (an older imgret)" if end.unchecked_lines else ""
    days = f"; copies of {', '.join(copy.stem for copy in reversed(copies))}" if copies else "; no copy yet"
    return f"{len(decisions.events)} verified{unchecked}{days}"


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


def record_group_name(home: Home, name: str, files: Sequence[File], *, by: str | None = None) -> str:
    """Record the name of a group; it supersedes earlier names of the group.

    Args:
        home: the home.
        name: the name; blank takes the group's name away.
        files: images of the group, the representative first.
        by: who gives the name; None or blank means the user of the operating system.

    Returns:
        Id of the batch, for `undo`.

    Raises:
        DecisionError: the name has several lines or is too long, or there is no file.
        HomeError, DiskFullError, LockTimeoutError: as for `record`.
    """
    text, person, at = _as_text(name), decider_name(by), _now()
    if len(text) > MAX_NAME or any(not char.isprintable() for char in text):
        raise DecisionError(
            f"The name {text[:40]!r} has {len(text)} characters",
            expected=f"one line of at most {MAX_NAME}, without control characters",
        )
    if not files:
        raise DecisionError("There is no image to name", expected="the images of a group")
    members = tuple(dict.fromkeys(file.sha256 for file in files))[:NAMED_MEMBERS]

    def make_batch(decisions: Decisions) -> list[Decision]:
        new = _new_id(decisions)
        return [
            Decision(f"{new}-0", new, 1, 0, at, person, GROUP_NAME, path_a=files[0].path, name=text, members=members)
        ]

    return _append(home, make_batch)


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
        HomeError: a line is damaged, lines are missing, or the file can't be read.
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
    writer = csv.DictWriter(text, EXPORTED, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history_rows(read_history(home)))
    return text.getvalue()
