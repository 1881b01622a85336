"""Reader of image contents for many threads: reads, verifies and decodes files within a common budget of pixels.

Belongs here: opening a content whichever of its files still has it, the budget of decoded pixels and of files' bytes.
Not here: reading one file (`domain.images.file_reading`), decoding (`domain.images.decode`), the threads
(`domain.embeddings.embedding_pipeline`, `domain.duplicates.fingerprints`).
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from PIL import Image

from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.images.decoder_crashes import decoding
from imgret_assets.domain.images.failures import failure_of
from imgret_assets.domain.images.file_reading import open_image_file, read_within
from imgret_assets.domain.images.files import status_of_os_error
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.objects.stores import check_store_of
from imgret_assets.image_roots import AnyRoot
from imgret_assets.settings import DEFAULT_MAX_BYTES

# Pixels that all threads together may have decoded: 4 bytes each, and as much again while an image is rotated.
PIXEL_BUDGET = 64_000_000
# Bytes of files that all threads together may have read and not yet decoded.
FILE_BYTES_BUDGET = 256_000_000
# A content (sha256) and the paths of its files, relative to the image root.
ContentFiles = tuple[str, Sequence[str]]
_CHANGED = "its content changed after it was listed; the next run takes the new one"


class PixelBudget:
    """Numbers of decoded pixels and of files' bytes that may be in memory; what is larger alone is admitted alone.

    Whoever holds both acquired the bytes first, so that no two threads wait for each other.
    """

    def __init__(self, pixels: int, file_bytes: int = FILE_BYTES_BUDGET) -> None:
        self._pixels, self._file_bytes = _Budget(pixels), _Budget(file_bytes)

    def acquire(self, pixels: int) -> None:
        """Wait until so many pixels are free, and take them."""
        self._pixels.acquire(pixels)

    def release(self, pixels: int) -> None:
        """Give pixels back."""
        self._pixels.release(pixels)

    @contextmanager
    def holding_bytes(self, count: int) -> Iterator[None]:
        """Wait until so many bytes are free, and hold them until the block ends."""
        self._file_bytes.acquire(count)
        try:
            yield
        finally:
            self._file_bytes.release(count)


class _Budget:
    """A quantity that threads take from and give back to; more than the whole of it is given to one alone."""

    def __init__(self, quantity: int) -> None:
        self._quantity = quantity
        self._acquired = 0
        self._changed = threading.Condition()

    def acquire(self, quantity: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._acquired == 0 or self._acquired + quantity <= self._quantity)
            self._acquired += quantity

    def release(self, quantity: int) -> None:
        with self._changed:
            self._acquired -= quantity
            self._changed.notify_all()


@contextmanager
def open_content(
    content: str,
    paths: Sequence[str],
    root: AnyRoot,
    budget: PixelBudget,
    *,
    max_pixels: int,
    min_size: tuple[int, int] | None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    add_seconds: Callable[[str, float], None] = lambda _stage, _seconds: None,
) -> Iterator[Image.Image]:
    """Provide the RGB image of a content, from the first of its files that still has it.

    Args:
        content: the content's sha256.
        paths: relative paths of the files that had the content when they were listed.
        root: the image roots.
        budget: provides the file's bytes and the image's pixels until the block ends.
        max_pixels: an image with more pixels is not decoded.
        min_size: width and height below which the image must not be reduced while decoding; None decodes every pixel.
        max_bytes: a file with more bytes is not read.
        add_seconds: called with a stage, `read` or `decode`, and the seconds it took. `decode` ends with the block and
            does not include waiting for the budget.

    Raises:
        UnusableImageError: no file has the content any more, it can't be decoded, or the memory does not suffice for
            what is done with it in the block; with the status and the reason.
    """
    with content_bytes(content, paths, root, budget, max_bytes=max_bytes, add_seconds=add_seconds) as data:
        try:
            with decode_within(
                content, budget, data, max_pixels=max_pixels, min_size=min_size, add_seconds=add_seconds
            ) as image:
                yield image
        except MemoryError as error:
            raise failure_of(b"", error) from error


@contextmanager
def decode_within(
    content: str,
    budget: PixelBudget,
    data: bytes,
    *,
    max_pixels: int,
    min_size: tuple[int, int] | None,
    add_seconds: Callable[[str, float], None] = lambda _stage, _seconds: None,
) -> Iterator[Image.Image]:
    """Provide the RGB image of a file's bytes.

    Args:
        content: the sha256 of the bytes.
        budget: provides the image's pixels until the block ends.
        data: the bytes.
        max_pixels: as in `open_content`.
        min_size: as in `open_content`.
        add_seconds: called with the stage `decode`, as in `open_content`.

    Raises:
        UnusableImageError: the bytes can't be decoded; with the status and the reason.
    """
    acquired = 0
    started = time.monotonic()

    def acquire_pixels(pixels: int) -> None:
        nonlocal acquired, started
        waiting_since = time.monotonic()
        budget.acquire(pixels)
        acquired = pixels
        started += time.monotonic() - waiting_since

    try:
        with decoding(content, data, max_pixels=max_pixels):
            yield decode(data, max_pixels=max_pixels, min_size=min_size, acquire_pixels=acquire_pixels)
    finally:
        budget.release(acquired)
        add_seconds("decode", time.monotonic() - started)


def read_content(content: str, paths: Sequence[str], root: AnyRoot, *, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
    """Return the bytes of a content as `content_bytes` provides them, whatever other threads have read."""
    with content_bytes(content, paths, root, PixelBudget(0), max_bytes=max_bytes) as data:
        return data


@contextmanager
def content_bytes(
    content: str,
    paths: Sequence[str],
    root: AnyRoot,
    budget: PixelBudget,
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    add_seconds: Callable[[str, float], None] = lambda _stage, _seconds: None,
) -> Iterator[bytes]:
    """Provide the bytes of a content, from the first of its files that still has it.

    Args:
        content: the content's sha256.
        paths: relative paths of the files that had the content when they were listed.
        root: the image roots.
        budget: provides the bytes until the block ends.
        max_bytes: a file with more bytes is not read.
        add_seconds: called with the stage `read` and the seconds it took, without waiting for the budget.

    Raises:
        UnusableImageError: no file has the content any more; with the status and the reason.
        ObjectStoreError: the store of an object fails as a whole.
    """
    problem: tuple[Status, str] = (Status.VANISHED, "")
    for path in paths:
        with ExitStack() as held:
            try:
                with open_image_file(root / path, max_bytes=max_bytes) as file:
                    held.enter_context(budget.holding_bytes(os.fstat(file.fileno()).st_size))
                    started = time.monotonic()
                    data = read_within(file)
            except OSError as error:
                check_store_of(error)
                problem = status_of_os_error(error)
                continue
            except UnusableImageError as error:
                problem = error.status, error.reason
                continue
            is_same = hashlib.sha256(data).hexdigest() == content
            add_seconds("read", time.monotonic() - started)
            if is_same:
                yield data
                return
        problem = (Status.VANISHED, _CHANGED)
    raise UnusableImageError(*problem)
