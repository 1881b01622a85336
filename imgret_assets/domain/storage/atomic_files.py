"""Files that appear whole or not at all.

Belongs here: writing under a temporary name, syncing and renaming, failures of the disk as named errors. Not here: the
content of the files (`domain.storage.tables`, `domain.storage.home_record`), locks (`domain.storage.locks`), what else
makes the run after a killed one right (listed in `domain.storage`).
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imgret_assets.errors import DiskFullError, HomeError

# The files of databases grow by pages and write-ahead logs of this size.
_SMALLEST_ROOM_BYTES = 64 * 1024


@contextmanager
def replacing(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Provide a temporary file beside `path` that replaces it when the block ends without an error.

    Its name starts with a dot, so that readers of the folder never see it. A killed process leaves the old file and
    the temporary one, which the next writer of the same file removes: the caller holds a lock.

    Args:
        path: the file.
        mode: permissions of the new file, less those that the process's umask takes away.

    Raises:
        DiskFullError: no room for the new file; the old one is intact.
        HomeError: the folder can't be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode))
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        named = as_imgret_error(error, path)
        if named is error:
            raise
        raise named from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def as_imgret_error(error: OSError, path: Path) -> Exception:
    """Return the named error for a file that could not be written; `error` itself where it has no name here."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        kept = "; its previous content is intact" if path.is_file() else ""
        return DiskFullError(
            f"No room on the disk for {path}{kept}",
            remedy="free some space or move IMGRET_HOME to a larger disk, then run again: it goes on where it was",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return HomeError(
            f"{path} can't be written ({error.strerror})", remedy="make IMGRET_HOME writable for this user"
        )
    return error


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Raise errors of the file system inside the block as named errors, where they have one.

    Raises:
        DiskFullError: no room for `path`.
        HomeError: it can't be written.
    """
    try:
        yield
    except OSError as error:
        named = as_imgret_error(error, path)
        if named is error:
            raise
        raise named from error


def has_room(folder: Path) -> bool:
    """Return False where the disk of a folder has no room for anything, for errors that do not say so themselves."""
    try:
        return shutil.disk_usage(folder).free >= _SMALLEST_ROOM_BYTES
    except OSError:
        return True


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any, *, mode: int = 0o666) -> None:
    """Write a small JSON record, whole or not at all."""
    with replacing(path, mode=mode) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
