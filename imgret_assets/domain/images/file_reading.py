"""Reading of image files and objects: what is no regular file, or has too many bytes, is refused before a byte is read.

Belongs here: opening a file or an object and reading its bytes, for the manifest, the embeddings, queries and the page
alike: from here on, both are open files. Not here: which files there are (`domain.images.files`), which of a content's
files is read (`domain.images.image_reader`), stores and the cache of their objects (`domain.objects`).
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.objects.object_cache import open_object, recent_facts
from imgret_assets.object_url import ImageFile, ObjectUrl, image_file_at

_CHUNK_BYTES = 1 << 20
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def failure_of_kind(mode: int) -> UnusableImageError | None:
    """Return why a file can't be an image by its kind; None for a regular file.

    Args:
        mode: the file's `st_mode`.
    """
    if stat.S_ISREG(mode):
        return None
    kind = _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")
    return UnusableImageError(Status.NOT_AN_IMAGE, f"not a regular file but {kind}")


@contextmanager
def open_image_file(file: ImageFile | str, *, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file or an object of at most `max_bytes` bytes.

    Args:
        file: the file, of which a link is followed, or the object, which becomes a file of this machine.
        max_bytes: a larger file is refused.

    Raises:
        UnusableImageError: it is no regular file (`not_an_image`), or larger (`too_large`).
        OSError: it can't be opened; an ObjectError of an object.
    """
    file = image_file_at(file)
    if isinstance(file, ObjectUrl):
        with open_object(file, may_read=lambda size: _check_size(size, max_bytes)) as opened:
            yield opened
        return
    with open(file, "rb", opener=_open_without_waiting) as opened:
        found = os.fstat(opened.fileno())
        failure = failure_of_kind(found.st_mode) or _failure_of_size(found.st_size, max_bytes)
        if failure is not None:
            raise failure
        yield opened


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a pipe would wait until another program writes to it; a regular file ignores the flag.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def stamp_of_file(file: ImageFile) -> tuple[int, int]:
    """Return the time of the last change, in ns, and the number of bytes of a file; of an object, at most a minute old.

    Raises:
        OSError: it does not exist or can't be read.
    """
    if isinstance(file, ObjectUrl):
        facts = recent_facts(file)
        return facts.modified_ns, facts.bytes
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def read_image_file(file: ImageFile | str, *, max_bytes: int) -> bytes:
    """Return the bytes of a regular file or an object of at most `max_bytes` bytes.

    Args:
        file: the file; a link is followed.
        max_bytes: a larger file is refused.

    Raises:
        UnusableImageError: as `open_image_file`, and `too_large` where the memory does not hold the file.
        OSError: it can't be opened or read.
    """
    with open_image_file(file, max_bytes=max_bytes) as opened:
        return read_within(opened)


def read_within(opened: BinaryIO) -> bytes:
    """Return the bytes of an opened file, at most as many as it has now: a file that grows is not followed.

    Raises:
        UnusableImageError: `too_large` where the memory does not hold the file.
    """
    size = os.fstat(opened.fileno()).st_size
    opened.seek(0)
    try:
        return opened.read(size)
    except MemoryError as error:
        raise UnusableImageError(Status.TOO_LARGE, f"not enough memory for its {size:,} bytes") from error


def chunks_within(opened: BinaryIO, *, max_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of an opened file in pieces of 1 MiB.

    Raises:
        UnusableImageError: the file grows above `max_bytes` bytes meanwhile (`too_large`).
    """
    total = 0
    while chunk := opened.read(_CHUNK_BYTES):
        total += len(chunk)
        if (failure := _failure_of_size(total, max_bytes)) is not None:
            raise failure
        yield chunk


def _check_size(size: int, max_bytes: int) -> None:
    if (failure := _failure_of_size(size, max_bytes)) is not None:
        raise failure


def _failure_of_size(size: int, max_bytes: int) -> UnusableImageError | None:
    if size <= max_bytes:
        return None
    reason = f"{size:,} bytes, more than the {max_bytes:,} that IMGRET_MAX_BYTES allows"
    return UnusableImageError(Status.TOO_LARGE, reason)
