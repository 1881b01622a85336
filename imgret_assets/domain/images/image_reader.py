"""Reader of image contents for many threads: reads, verifies and decodes files within a common budget of pixels.

Belongs here: opening a content whichever of its files still has it, the budget of decoded pixels. Not here: decoding
(`domain.images.decode`), the threads (`domain.embeddings.embedding_pipeline`, `domain.duplicates.fingerprints`).
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.images.files import status_of_os_error
from imgret_assets.domain.images.image_status import Status, UnusableImageError

# Pixels that all threads together may have decoded: 4 bytes each, and as much again while an image is rotated.
PIXEL_BUDGET = 64_000_000
# A content (sha256) and the paths of its files, relative to the image root.
ContentFiles = tuple[str, Sequence[str]]
_CHANGED = "its content changed after it was listed; the next run takes the new one"


class PixelBudget:
    """Number of decoded pixels that may be in memory; an image larger than the whole budget is admitted alone."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._acquired = 0
        self._changed = threading.Condition()

    def acquire(self, pixels: int) -> None:
        """Wait until so many pixels are free, and take them."""
        with self._changed:
            self._changed.wait_for(lambda: self._acquired == 0 or self._acquired + pixels <= self.pixels)
            self._acquired += pixels

    def release(self, pixels: int) -> None:
        """Give pixels back."""
        with self._changed:
            self._acquired -= pixels
            self._changed.notify_all()


@contextmanager
def open_content(
    content: str,
    paths: Sequence[str],
    root: Path,
    budget: PixelBudget,
    *,
    max_pixels: int,
    min_size: tuple[int, int] | None,
    add_seconds: Callable[[str, float], None] = lambda _stage, _seconds: None,
) -> Iterator[Image.Image]:
    """Provide the RGB image of a content, from the first of its files that still has it.

    Args:
        content: the content's sha256.
        paths: relative paths of the files that had the content when they were listed.
        root: the image root.
        budget: provides the image's pixels until the block ends.
        max_pixels: an image with more pixels is not decoded.
        min_size: width and height below which the image must not be reduced while decoding; None decodes every pixel.
        add_seconds: called with a stage, `read` or `decode`, and the seconds it took. `decode` ends with the block and
            does not include waiting for the budget.

    Raises:
        UnusableImageError: no file has the content any more, or it can't be decoded; with the status and the reason.
    """
    data = read_content(content, paths, root, add_seconds)
    with decode_within(budget, data, max_pixels=max_pixels, min_size=min_size, add_seconds=add_seconds) as image:
        yield image


@contextmanager
def decode_within(
    budget: PixelBudget,
    data: bytes,
    *,
    max_pixels: int,
    min_size: tuple[int, int] | None,
    add_seconds: Callable[[str, float], None] = lambda _stage, _seconds: None,
) -> Iterator[Image.Image]:
    """Provide the RGB image of a file's bytes.

    Args:
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
        yield decode(data, max_pixels=max_pixels, min_size=min_size, acquire_pixels=acquire_pixels)
    finally:
        budget.release(acquired)
        add_seconds("decode", time.monotonic() - started)


def read_content(
    content: str,
    paths: Sequence[str],
    root: Path,
    add_seconds: Callable[[str, float], None] = lambda _stage, _seconds: None,
) -> bytes:
    """Return the bytes of a content, from the first of its files that still has it.

    Args:
        content: the content's sha256.
        paths: relative paths of the files that had the content when they were listed.
        root: the image root.
        add_seconds: called with the stage `read` and the seconds it took.

    Raises:
        UnusableImageError: no file has the content any more; with the status and the reason.
    """
    problem: tuple[Status, str] = (Status.VANISHED, "")
    for path in paths:
        started = time.monotonic()
        try:
            data = (root / path).read_bytes()
        except OSError as error:
            problem = status_of_os_error(error)
            continue
        is_same = hashlib.sha256(data).hexdigest() == content
        add_seconds("read", time.monotonic() - started)
        if is_same:
            return data
        problem = (Status.VANISHED, _CHANGED)
    raise UnusableImageError(*problem)
