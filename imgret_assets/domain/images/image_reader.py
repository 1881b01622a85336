"""Read and decode images within a budget of pixels.

Belongs here: the reading threads' work. Not here: decoding itself (`domain.images.decode`).
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from imgret_assets.domain.images.decode import Status, UnusableImageError, decode
from imgret_assets.domain.images.files import status_of_os_error

# Pixels that all threads together may have decoded at a time: 4 bytes each, and as much again while one is turned.
PIXEL_BUDGET = 64_000_000
# A content and the files that have it, relative to the image root.
Content = tuple[str, Sequence[str]]
_CHANGED = "its content changed after it was listed; the next run takes the new one"


class PixelBudget:
    """Pixels that may be in memory at once; a picture larger than the whole budget is let in alone."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._taken = 0
        self._changed = threading.Condition()

    def take(self, pixels: int) -> None:
        """Wait until there is room for so many, then take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + pixels <= self.pixels)
            self._taken += pixels

    def give_back(self, pixels: int) -> None:
        """Make room again."""
        with self._changed:
            self._taken -= pixels
            self._changed.notify_all()


@contextmanager
def decoded(
    sha: str,
    paths: Sequence[str],
    root: Path,
    budget: PixelBudget,
    *,
    max_pixels: int,
    at_least: tuple[int, int] | None,
    spent: Callable[[str, float], None] = lambda _stage, _seconds: None,
) -> Iterator[Image.Image]:
    """Lend the RGB picture of a content, from the first of its files that still has it.

    Args:
        sha: the content's sha256.
        paths: relative paths of the files that had it.
        root: the image root.
        budget: holds the picture's pixels until the block ends.
        max_pixels: a picture with more pixels is not decoded.
        at_least: width and height that a scaled decode must not fall below; None decodes at full size.
        spent: told the seconds of the stages `read` and `decode`; the latter ends with the block and does not count
            waiting for the budget.

    Raises:
        UnusableImageError: no file has the content any more, or it can't be decoded; with the status and the reason.
    """
    data = _read(sha, paths, root, spent)
    taken = 0
    started = time.monotonic()

    def admit(pixels: int) -> None:
        nonlocal taken, started
        waiting = time.monotonic()
        budget.take(pixels)
        taken = pixels
        started += time.monotonic() - waiting

    try:
        yield decode(data, max_pixels=max_pixels, at_least=at_least, admit=admit)
    finally:
        budget.give_back(taken)
        spent("decode", time.monotonic() - started)


def _read(sha: str, paths: Sequence[str], root: Path, spent: Callable[[str, float], None]) -> bytes:
    problem: tuple[Status, str] = (Status.VANISHED, "")
    for path in paths:
        started = time.monotonic()
        try:
            data = (root / path).read_bytes()
        except OSError as error:
            problem = status_of_os_error(error)
            continue
        same = hashlib.sha256(data).hexdigest() == sha
        spent("read", time.monotonic() - started)
        if same:
            return data
        problem = (Status.VANISHED, _CHANGED)
    raise UnusableImageError(*problem)
