"""Moving of one file, and the checks of its content before that.

Belongs here: whether a path holds a content now, whether two names are one entry of a folder, moving without replacing
anything, the system's trash. Not here: which files are moved (`domain.review.apply_removals`), the undo file
(`domain.review.undo_file`).
"""

import errno
import hashlib
import os
import shutil
import unicodedata
from pathlib import Path

from imgret_assets.domain.images.file_reading import chunks_within, open_image_file
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.storage import atomic_files

# Device, inode, size, mtime and ctime in ns: differs if the path holds another file, or its content may have changed.
Identity = tuple[int, int, int, int, int]


class NotMovedError(Exception):
    """A file is not moved; the message says why, to follow its name."""


def check_content(file: Path, sha256: str, *, max_bytes: int) -> Identity:
    """Return the identity of a regular file that has a content now, after reading all of it.

    Args:
        file: no symbolic link.
        sha256: of the content.
        max_bytes: a larger file is refused.

    Raises:
        NotMovedError: it is a link, can't be read, or has another content.
    """
    identity = identity_of(file)
    if file.is_symlink():
        raise NotMovedError("is a symbolic link by now")
    if _identity(_check_bytes(file, sha256, max_bytes)) != identity or identity_of(file) != identity:
        raise NotMovedError("is being changed")
    return identity


def check_link(link: Path, sha256: str, *, max_bytes: int) -> Identity:
    """Return the identity of a symbolic link that leads to a file with a content.

    Raises:
        NotMovedError: it is no link, or what it leads to can't be read or has another content.
    """
    identity = identity_of(link)
    if not link.is_symlink():
        raise NotMovedError("is no symbolic link any more")
    _check_bytes(link, sha256, max_bytes)
    return identity


def identity_of(file: Path) -> Identity:
    """Return the identity of a file; of a symbolic link, its own.

    Raises:
        NotMovedError: there is no such file, or its folder can't be read.
    """
    try:
        return _identity(file.lstat())
    except OSError as error:
        raise NotMovedError(_reason(error)) from error


def _identity(status: os.stat_result) -> Identity:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "does not exist any more"
    return f"can't be read or moved ({error.strerror or error})"


def _check_bytes(file: Path, sha256: str, max_bytes: int) -> os.stat_result:
    """Return the status of the file that was read, and that has the content."""
    digest = hashlib.sha256()
    try:
        with open_image_file(file, max_bytes=max_bytes) as opened:
            status = os.fstat(opened.fileno())
            for chunk in chunks_within(opened, max_bytes=max_bytes):
                digest.update(chunk)
    except UnusableImageError as error:
        raise NotMovedError(f"can't be checked: {error.reason}") from error
    except OSError as error:
        raise NotMovedError(_reason(error)) from error
    if digest.hexdigest() != sha256:
        raise NotMovedError("has another content than at the last run")
    return status


def is_one_entry(a: Path, b: Path) -> bool:
    """Return whether two paths are one entry of one folder, so that moving the one takes the other away.

    So it is if a folder is mounted twice or was replaced by a link, or if names differ in case or Unicode form alone
    and the file system does not tell them apart. Hard links are different entries.

    Raises:
        NotMovedError: a folder can't be read.
    """
    try:
        same_entry = a.parent.samefile(b.parent) and a.lstat().st_ino == b.lstat().st_ino
    except OSError as error:
        raise NotMovedError(_reason(error)) from error
    return same_entry and _folded(a.name) == _folded(b.name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def free_name(path: Path) -> Path:
    """Return a path of the same folder that does not exist: this one, or with ` 2`, ` 3`, … before its suffix."""
    number, free = 1, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem} {number}{path.suffix}")
    return free


def move_file(source: Path, destination: Path, identity: Identity) -> None:
    """Move a file or a symbolic link; nothing is replaced, and folders are made.

    Onto another file system, the content is copied, synced and compared before the source is removed.

    Args:
        source: the file.
        destination: its new path, which does not exist.
        identity: of the source when it was checked.

    Raises:
        NotMovedError: the destination exists, the source has changed, there is no room for a copy, or the file system
            refuses; the source is intact.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        # Renaming replaces a file: so the name is taken first, which fails if it exists.
        os.close(os.open(destination, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise NotMovedError(f"can't be moved to {destination} ({error.strerror})") from error
    try:
        if identity_of(source) != identity:
            raise NotMovedError("has changed since it was checked")
        try:
            source.rename(destination)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_and_remove(source, destination, identity)
    except (OSError, NotMovedError) as error:
        # The source is removed last: while it is there, the destination is not needed.
        if os.path.lexists(source):
            destination.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise NotMovedError(f"can't be moved to {destination} ({error.strerror or error})") from error
        raise


def _copy_and_remove(source: Path, destination: Path, identity: Identity) -> None:
    """Replace the empty file `destination` by a copy, and remove the source."""
    part = destination.with_name(f".{destination.name}.part")
    part.unlink(missing_ok=True)
    try:
        shutil.copy2(source, part, follow_symlinks=False)
        if not source.is_symlink():
            with part.open("rb") as copied:
                os.fsync(copied.fileno())
                digest = hashlib.file_digest(copied, "sha256").digest()
            with source.open("rb") as original:
                if hashlib.file_digest(original, "sha256").digest() != digest:
                    raise NotMovedError("was copied with another content")
        part.replace(destination)
    finally:
        part.unlink(missing_ok=True)
    atomic_files.sync_folder(destination.parent)
    if identity_of(source) != identity:
        raise NotMovedError("has changed since it was checked")
    source.unlink()


def move_to_trash(source: Path, identity: Identity) -> None:
    """Move a file or a symbolic link to the trash of the operating system's user.

    Raises:
        NotMovedError: the source has changed, or its file system has no trash that this user may write to.
    """
    from send2trash import send2trash

    if identity_of(source) != identity:
        raise NotMovedError("has changed since it was checked")
    try:
        send2trash(source)
    except OSError as error:
        raise NotMovedError(f"can't be moved to the trash ({error.strerror or error}); --to DIR needs none") from error
