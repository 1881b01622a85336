"""The undo file: which files are about to be moved, were moved and were put back, one JSON object per line.

Belongs here: its format, writing, reading. Not here: moving files (`domain.review.file_moving`), which are moved and
put back (`domain.review.apply_removals`).

The first line says from where and to where. A file has a line with `state` `moving`, written and synced before it is
moved, and one with the same `number` and what became of it afterwards: `moved`, `not_moved` or `restored`. The last
line is in force. A file that was being moved when the process was killed remains `moving`: it is at one of the two
places. A line without its end is what a killed process left; nothing was done for it.
"""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import DecisionError, SettingError
from imgret_assets.image_roots import ImageRoots

VERSION = 1
MOVING, MOVED, NOT_MOVED, RESTORED = "moving", "moved", "not_moved", "restored"


@dataclass(frozen=True, slots=True)
class MovedFile:
    """A file of an undo file.

    Attributes:
        number: from 0, in the order in which files were moved.
        path: POSIX path under the image root.
        sha256: of its content; of a symbolic link, of the content that it led to.
        bytes: size of the content.
        link: where the symbolic link leads, as it is stored; None for a file.
        keep: path of the file that is kept instead.
        batch: id of the decision.
        moved_to: POSIX path relative to the folder of the undo file; None for the system's trash.
        state: `moving`, `moved`, `not_moved` or `restored`.
    """

    number: int
    path: str
    sha256: str
    bytes: int
    link: str | None
    keep: str
    batch: str
    moved_to: str | None
    state: str = MOVING


@dataclass(frozen=True)
class UndoContent:
    """The content of an undo file: its first line, and its files by number."""

    root: ImageRoots
    to_trash: bool
    files: Sequence[MovedFile]


class UndoFile:
    """An undo file that is open to be extended by this process alone, as a context manager.

    Args:
        path: the file; a new one if it does not exist.

    Raises:
        DecisionError: another process extends it.
        HomeError: it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with atomic_files.named_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            raise DecisionError(f"{path} is in use by another imgret", remedy="wait until it has ended") from error
        # What a killed process left without its end would become part of the next line.
        data = path.read_bytes()
        os.truncate(self._handle, data.rfind(b"\n") + 1)

    def __enter__(self) -> "UndoFile":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        os.close(self._handle)

    def start(self, root: ImageRoots, *, at: str, to_trash: bool) -> None:
        """Write the first line.

        Args:
            root: the image roots.
            at: UTC time, ISO 8601.
            to_trash: whether files are moved to the system's trash.
        """
        self._append({"version": VERSION, "at": at, "root": str(root), "to": "trash" if to_trash else "folder"})
        atomic_files.sync_folder(self.path.parent)

    def announce(self, file: MovedFile) -> None:
        """Write that a file is about to be moved; on return, the line is on the disk."""
        self._append(asdict(file))

    def finish(self, number: int, state: str, reason: str = "") -> None:
        """Write what became of an announced file: `moved`, `not_moved` with the reason, or `restored`."""
        self._append({"number": number, "state": state, **({"reason": reason} if reason else {})})

    def _append(self, line: Mapping[str, Any]) -> None:
        # Not as UTF-8: a name of the file system may hold bytes that are none.
        data = (json.dumps(line) + "\n").encode("ascii")
        with atomic_files.named_errors(self.path):
            written = os.write(self._handle, data)
            if written != len(data):
                # A full disk: the rest fails with its reason.
                os.write(self._handle, data[written:])
            os.fsync(self._handle)


def read_undo_file(path: Path) -> UndoContent:
    """Return the content of an undo file.

    Raises:
        DecisionError: there is no such file, or a line is not what imgret writes.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise DecisionError(
            f"{path} can't be read ({error.strerror})", expected="the undo file that `imgret review --apply` names"
        ) from error
    if not lines:
        raise DecisionError(f"{path} is empty", expected="the undo file that `imgret review --apply` names")
    files: dict[int, MovedFile] = {}
    try:
        first = json.loads(lines[0])
        if first["version"] != VERSION:
            raise DecisionError(f"{path} is of version {first['version']}", remedy="use the imgret that wrote it")
        content = UndoContent(ImageRoots.parse(first["root"]), first["to"] == "trash", ())
    except (SettingError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, 1) from error
    for number, text in enumerate(lines[1:], 2):
        try:
            line = json.loads(text)
            if line["state"] == MOVING:
                file = MovedFile(**line)
                _check_relative(file.path, file.moved_to)
            else:
                file = replace(files[line["number"]], state=line["state"])
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, number) from error
        files[file.number] = file
    return replace(content, files=[files[number] for number in sorted(files)])


def _check_relative(*paths: str | None) -> None:
    """Raise a ValueError for a path that leads out of its folder."""
    for path in paths:
        if path is not None and (PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts):
            raise ValueError(path)


def _damaged(path: Path, number: int) -> DecisionError:
    return DecisionError(
        f"Line {number} of {path} is damaged", expected="a line that imgret wrote", remedy="remove the line"
    )
