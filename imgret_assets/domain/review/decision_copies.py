"""The daily copies of the file of decisions, in `decisions.copies` beside it, of the last days with decisions.

Belongs here: writing the copies, comparing the file with the newest one, the remedy that names the right one. Not here:
the file itself (`domain.review.decision_log`), its lines (`domain.review.decision_lines`).

The copy of today receives each batch after the file has it. So the newest copy is never longer than the file, and the
file begins with all that is in it, unless one of the two was damaged. A reader that looks at both reads the copy first.
"""

import logging
import os
import shlex
from datetime import UTC, datetime
from pathlib import Path

from imgret_assets.domain.review.decision_lines import DamagedLineError, LineParser
from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import HomeError, ImgretError

# Days with decisions whose copies are kept.
DAYS = 7

_log = logging.getLogger(__name__)


def copies_folder(path: Path) -> Path:
    """Return the folder of the copies of a file of decisions."""
    return path.with_name("decisions.copies")


def list_copies(path: Path) -> list[Path]:
    """Return the copies of a file of decisions, the newest first."""
    return sorted(copies_folder(path).glob("[0-9]*.jsonl"), reverse=True)


def read_newest_copy(path: Path) -> tuple[Path, bytes] | None:
    """Return the newest copy with its content; None if there is none.

    Raises:
        OSError: it can't be read.
    """
    copies = list_copies(path)
    return (copies[0], copies[0].read_bytes()) if copies else None


def check_against_copy(path: Path, data: bytes, copy: Path, copied: bytes) -> None:
    """Check that the content of a file of decisions begins with that of a copy, as far as the copy is whole.

    A damaged copy of a file whose lines are right is logged: the next decision writes it again.

    Raises:
        HomeError: lines that the copy has are missing or different in the file.
    """
    if data.startswith(copied):
        return
    parser = LineParser()
    try:
        parser.parse(copied)
    except DamagedLineError as error:
        _log.warning("%s is damaged (%s); %s is not, and the next decision copies it again", copy, error, path)
        return
    # A killed process leaves a part of a line at the end of the copy, too.
    whole = copied[: parser.end.position]
    if data.startswith(whole):
        return
    if whole.startswith(data):
        kept, copied_lines = data.count(b"\n"), whole.count(b"\n")
        found = f"{path} ends after line {kept}, but its copy {copy} has {copied_lines} lines"
    else:
        number = next(
            n
            for n, pair in enumerate(zip(data.split(b"\n"), whole.split(b"\n"), strict=False), 1)
            if pair[0] != pair[1]
        )
        found = f"Line {number} of {path} differs from that of its copy {copy}"
    raise HomeError(
        found,
        remedy=f"compare them; to take the copy, `{_command(copy, path)}`; to take the file as it is, remove the copy",
    )


def missing_file(path: Path, copy: Path) -> HomeError:
    """Return the error for a file of decisions that is missing although it has a copy."""
    return HomeError(
        f"{path} is missing, but its copy {copy} has decisions",
        remedy=f"restore it with `{_command(copy, path)}`; to begin without decisions, remove {copy.parent}",
    )


def remedy(path: Path) -> str:
    """Return what to do about a damaged file: it names the newest copy that is right, if there is one."""
    for copy in list_copies(path):
        parser = LineParser()
        try:
            events = parser.parse(copy.read_bytes())
        except (DamagedLineError, OSError):
            continue
        if events:
            return (
                f"restore its copy of {copy.stem}, which has {parser.end.lines} lines, the last of {events[-1].at}: "
                f"`{_command(copy, path)}`; until then nothing can be decided or listed"
            )
    return "restore the file from a backup, or repair that line; until then nothing can be decided or listed"


def _command(copy: Path, path: Path) -> str:
    return f"cp {shlex.quote(str(copy))} {shlex.quote(str(path))}"


def today(path: Path) -> Path:
    """Return the path of the copy of today, UTC."""
    return copies_folder(path) / f"{datetime.now(UTC):%Y-%m-%d}.jsonl"


def extend_copy(path: Path, start: int) -> None:
    """Bring the copy of today up to the file, which was just extended; the caller holds the lock `decisions`.

    A failure is logged, and no error: the decision is stored. The next one tries again.

    Args:
        path: the file of decisions.
        start: its length in bytes before its newest batch.
    """
    copy = today(path)
    try:
        data = path.read_bytes()
        copied = copy.read_bytes() if copy.exists() else None
        if copied == data[:start]:
            _append(copy, start, data[start:])
            return
        # Never replace a right copy by a file that was damaged while this process had it in memory.
        LineParser().parse(data)
        if copied is not None:
            check_against_copy(path, data, copy, copied)
        with atomic_files.replacing(copy) as temporary:
            temporary.write_bytes(data)
        for old in list_copies(path)[DAYS:]:
            old.unlink(missing_ok=True)
    except (OSError, ImgretError, DamagedLineError) as error:
        _log.warning("%s can't be written (%s): the decision is stored, but has no copy yet", copy, error)


def _append(copy: Path, size: int, data: bytes) -> None:
    with copy.open("r+b", buffering=0) as file:
        file.seek(size)
        try:
            write_all(file.fileno(), data)
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def write_all(handle: int, data: bytes) -> None:
    """Write all bytes to an open file, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
