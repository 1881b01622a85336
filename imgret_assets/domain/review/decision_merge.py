"""Decisions that were recorded on two machines become one file.

Belongs here: merging another machine's file of decisions into the home's. Not here: the file
(`domain.review.decision_log`), its lines (`domain.review.decision_lines`), how the other file got here
(`domain.operations.table_pull`).

The batches of the other file come first, in their order, then those that only the home has. So a file that another
machine commits afterwards begins with what it was made from, and all machines end with the same file. No batch is lost,
and none is there twice: a batch has a random id.
"""

import logging
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from imgret_assets.domain.review import decision_copies
from imgret_assets.domain.review.decision_lines import DamagedLineError, LineParser, encode_batch
from imgret_assets.domain.review.decision_log import decisions_path, incomplete_path
from imgret_assets.domain.review.decisions import Decision
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import HomeError

_log = logging.getLogger(__name__)


def merge_decisions(home: Home, other: Path) -> int:
    """Add the decisions of another file to those of the home; return how many events the home's file has got.

    A file that was merged before adds nothing.

    Raises:
        HomeError: one of the two files has a damaged line.
        DiskFullError: no room; the home's file is intact.
    """
    path = decisions_path(home)
    with home.hold(["decisions"], "merging decisions"):
        own, own_events, rest = _read(path)
        others, other_events, _ = _read(other)
        if own.startswith(others):
            return 0
        merged = _append_missing(others, other_events, own_events)
        _set_aside_copies(path, merged)
        if rest.strip(b"\n"):
            with incomplete_path(path).open("ab") as kept:
                kept.write(rest.rstrip(b"\n") + b"\n")
        with atomic_files.replacing(path, mode=0o644) as temporary:
            temporary.write_bytes(merged)
        decision_copies.extend_copy(path, len(merged))
    known = {event.batch for event in own_events}
    return sum(event.batch not in known for event in other_events)


def _read(path: Path) -> tuple[bytes, list[Decision], bytes]:
    """Return the whole batches of a file as bytes and as events, and what follows them."""
    parser = LineParser()
    try:
        data = path.read_bytes()
        events = parser.parse(data)
    except FileNotFoundError:
        return b"", [], b""
    except DamagedLineError as error:
        raise HomeError(
            f"Line {error.number} of {path} is damaged ({error.why})", remedy=decision_copies.remedy(path)
        ) from error
    return data[: parser.end.position], events, data[parser.end.position :]


def _append_missing(data: bytes, events: Sequence[Decision], candidates: Sequence[Decision]) -> bytes:
    """Return the bytes of a file with those batches of the candidates that it has not."""
    parser = LineParser()
    parser.parse(data)
    known = {event.batch for event in events}
    for batch, members in groupby(candidates, key=lambda event: event.batch):
        if batch not in known:
            added = encode_batch(list(members), parser.end)
            parser.parse(added)
            data += added
    return data


def _set_aside_copies(path: Path, merged: bytes) -> None:
    """Rename the daily copies that the merged file does not begin with: they are of the file before."""
    for copy in decision_copies.list_copies(path):
        if not merged.startswith(copy.read_bytes()):
            aside = copy.with_name(f"before-merge-{copy.name}")
            copy.replace(aside)
            _log.info("Decisions of another machine were added; the copy before that is %s", aside)
