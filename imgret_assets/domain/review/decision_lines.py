"""The lines of the file of decisions: their format, their checks, and the parser that verifies them.

Belongs here: events as bytes and bytes as events. Not here: the file (`domain.review.decision_log`), its copies
(`domain.review.decision_copies`), what decisions mean (`domain.review.decisions`).

The last two fields of a line are its checks. `previous` is the check of the line before; in the first line that has
checks, it is the digest of all bytes before that line, so that it also covers the lines of an older imgret, which have
none. `check` is the digest of the line's own bytes up to the comma before it. So a line that was changed, repeated,
moved or removed is found, at the latest by the line after it.

A batch counts only as a whole. What follows the last whole batch is what a killed process left, and no decision. A
whole last line counts even if its line feed is missing.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imgret_assets.domain.review.decisions import (
    DECISION_FIELDS,
    DUPLICATE,
    GROUP_NAME,
    NOT_DUPLICATES,
    UNDO,
    VERSION,
    Decision,
)

_DIGITS = 32
_CHECKED_LINE = re.compile(rb'(\{.*?), "check": "([0-9a-f]{%d})"\}' % _DIGITS, re.DOTALL)
_CHECK_FIELDS = ("previous", "check")


class DamagedLineError(ValueError):
    """A line that is not as imgret has written it.

    Args:
        number: of the line, from 1.
        why: what is wrong with it.
    """

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"line {number}: {why}")
        self.number = number
        self.why = why


@dataclass(frozen=True)
class FileEnd:
    """Where the last whole batch of a file ends, and how the next one goes on.

    Attributes:
        position: length of all whole batches in bytes.
        lines: their number of lines.
        unchecked_lines: how many of these have no check, because an older imgret has written them.
        previous: `previous` of the next line.
        lacks_line_feed: whether the last line counts although its line feed is missing.
    """

    position: int
    lines: int
    unchecked_lines: int
    previous: str
    lacks_line_feed: bool


def digest(data: bytes) -> str:
    """Return the check of some bytes: the first 32 hex digits of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def encode_batch(events: Sequence[Decision], end: FileEnd) -> bytes:
    """Return the lines of a batch, to be written at `end.position`."""
    lines: list[bytes] = [b"\n"] if end.lacks_line_feed else []
    previous = end.previous
    for event in events:
        values = {"version": VERSION, **event.as_row, "previous": previous}
        body = json.dumps(values, ensure_ascii=False).encode()[:-1]
        previous = digest(body)
        lines.append(b'%s, "check": "%s"}\n' % (body, previous.encode()))
    return b"".join(lines)


class LineParser:
    """A parser of one file from its start, which goes on where its last call ended."""

    def __init__(self) -> None:
        self._content = hashlib.sha256()
        self._position = self._lines = self._unchecked_lines = 0
        # Of the last line of the last whole batch; empty before the first line that has one.
        self._check = ""
        self._lacks_line_feed = False
        self._batches: set[str] = set()

    @property
    def end(self) -> FileEnd:
        """Where the last whole batch ends."""
        content = self._content.copy()
        if self._lacks_line_feed:
            content.update(b"\n")
        previous = self._check or content.hexdigest()[:_DIGITS]
        return FileEnd(self._position, self._lines, self._unchecked_lines, previous, self._lacks_line_feed)

    def parse(self, data: bytes) -> list[Decision]:
        """Return the events of all whole batches in the bytes from `end.position` to the end of the file.

        Raises:
            DamagedLineError: a line is damaged; the parser is then as before the call.
        """
        events: list[Decision] = []
        batch: list[Decision] = []
        start = position = 1 if self._lacks_line_feed and data.startswith(b"\n") else 0
        number, check = self._lines, self._check
        unchecked = self._unchecked_lines
        # State after the last whole batch.
        whole = (0, number, unchecked, check, self._lacks_line_feed)
        batches: set[str] = set()
        if start:
            whole = (start, number, unchecked, check, False)
        while position < len(data):
            line, length, has_line_feed = _next_line(data, position, checked_only=bool(check))
            number += 1
            if line is None:
                break
            has_check = _CHECKED_LINE.fullmatch(line) is not None
            # Only the first line with a check needs the digest of everything before it.
            expected = check or self._digest_of_content(data[:position]) if has_check else ""
            event = self._parse_line(line, number, check, expected)
            check = line[-_DIGITS - 2 : -2].decode() if has_check else check
            unchecked += not has_check
            batch.append(event)
            self._check_batch(batch, number, batches)
            position += length
            if len(batch) == event.batch_events:
                events += batch
                batches.add(event.batch)
                batch, whole = [], (position, number, unchecked, check, not has_line_feed)
            if not has_line_feed:
                break
        length, self._lines, self._unchecked_lines, self._check, self._lacks_line_feed = whole
        self._content.update(data[:length])
        self._position += length
        self._batches |= batches
        return events

    def _digest_of_content(self, new: bytes) -> str:
        content = self._content.copy()
        content.update(new)
        return content.hexdigest()[:_DIGITS]

    def _check_batch(self, batch: Sequence[Decision], number: int, batches: set[str]) -> None:
        first, event = batch[0], batch[-1]
        if (event.batch, event.batch_events) != (first.batch, first.batch_events):
            raise DamagedLineError(number, f"lines of batch {first.batch} before it are missing")
        if event.batch in self._batches or event.batch in batches:
            raise DamagedLineError(number, f"batch {event.batch} is whole before it: the line is there twice")
        if event.id != f"{event.batch}-{len(batch) - 1}":
            raise DamagedLineError(
                number, f"it is event {event.id}, not {event.batch}-{len(batch) - 1}: a line is missing or there twice"
            )

    def _parse_line(self, line: bytes, number: int, check: str, expected: str) -> Decision:
        """Return the event of a line; `expected` is the right `previous`, empty for a line without a check."""
        try:
            values = json.loads(line)
            version = values.pop("version")
            if version != VERSION:
                raise DamagedLineError(
                    number, f"it has version {version!r}, not {VERSION}: another release of imgret has written it"
                )
            if not expected and (check or any(name in values for name in _CHECK_FIELDS)):
                raise DamagedLineError(number, "its check is missing")
            if expected and digest(line[: line.rindex(b', "check"')]) != values["check"]:
                raise DamagedLineError(number, "its check does not match: it was changed")
            if expected and values["previous"] != expected:
                raise DamagedLineError(
                    number, "it does not follow what is before it: a line was changed, removed, repeated or moved"
                )
            # A later release may add fields; they are ignored. The fields of this release are required.
            fields = {key: value for key, value in values.items() if key in DECISION_FIELDS}
            if "members" in fields:
                fields["members"] = tuple(fields["members"])
            return _validated(Decision(**fields))
        except DamagedLineError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedLineError(number, f"{type(error).__name__}: {error}") from error


def _next_line(data: bytes, start: int, *, checked_only: bool) -> tuple[bytes | None, int, bool]:
    """Return the line at `start` without its line feed, its length with it, and whether it has one.

    The line is None if the rest of the data has no line feed and does not begin with a whole line; with `checked_only`,
    with a whole line that has a check.
    """
    end = data.find(b"\n", start)
    if end >= 0:
        return data[start:end], end + 1 - start, True
    rest = data[start:]
    checked = _CHECKED_LINE.match(rest)
    if checked and digest(checked[1]) == checked[2].decode():
        return checked[0], len(checked[0]), False
    if checked_only:
        return None, 0, False
    # A line of an older imgret: all of a JSON object.
    text = rest.decode("utf-8", "surrogateescape")
    try:
        values, length = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return None, 0, False
    if not isinstance(values, dict) or "batch" not in values or any(name in values for name in _CHECK_FIELDS):
        return None, 0, False
    line = text[:length].encode("utf-8", "surrogateescape")
    return line, len(line), False


def _validated(event: Decision) -> Decision:
    """Return the event if it has all values that its verdict needs; otherwise raise ValueError."""
    required: dict[str, tuple[Any, ...]] = {
        UNDO: (event.undoes,),
        NOT_DUPLICATES: (event.sha_a, event.sha_b, event.path_a, event.path_b),
        GROUP_NAME: (event.path_a, event.name, *(event.members or (None,))),
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
