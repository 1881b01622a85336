"""From files to vectors without waiting: threads read and decode while the engine computes.

Belongs here: the threads, what may be in memory at once, what each stage's time was. Not here: what needs a vector
and where it is kept (`domain.embed`), formats (`domain.decode`), engines (`domain.embedder`).
"""

import hashlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imgret_assets.domain.cores import usable_threads
from imgret_assets.domain.decode import Status, UnusableImageError, decode
from imgret_assets.domain.embedder import Embedder, unusable_vectors
from imgret_assets.domain.files import status_of_os_error
from imgret_assets.domain.vector_store import Embedded
from imgret_assets.errors import ModelError

# Pixels that all threads together may have decoded at a time: 4 bytes each, and as much again while one is turned.
PIXEL_BUDGET = 64_000_000
# A content and the files that have it, relative to the image root.
Content = tuple[str, Sequence[str]]
_Prepared = tuple[str, "np.ndarray | Embedded"]
_LEAST_THREADS = 4
_CHANGED = "its content changed after it was listed; the next run takes the new one"
_NO_DIRECTION = "the model gives it a zero or non-finite vector"


@dataclass
class StageTimes:
    """Seconds of work in each stage, summed over threads that ran side by side: they add up to more than passed.

    `load` is the model's way into memory, with its conversion at the first use; `read` covers reading and hashing,
    `decode` decoding, rotating and resizing, `forward` the model, `write` vectors and tables on their way to the disk.
    """

    load: float = 0.0
    read: float = 0.0
    decode: float = 0.0
    forward: float = 0.0
    write: float = 0.0


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


def embed_files(
    embedder: Embedder,
    contents: Iterable[Content],
    root: Path,
    *,
    max_pixels: int,
    times: StageTimes | None = None,
    pixel_budget: int = PIXEL_BUDGET,
) -> Iterator[tuple[str, Embedded]]:
    """Embed files, in whatever order they come to be done.

    Memory does not depend on the number of files: at most two batches of prepared pictures wait, and no more than
    `pixel_budget` pixels are being decoded.

    Args:
        embedder: gives the vectors.
        contents: for each content its sha256 and the relative paths that have it.
        root: the image root.
        max_pixels: a picture with more pixels is not decoded.
        times: grows by the time each stage took.
        pixel_budget: pixels that all threads may have decoded at a time.

    Yields:
        Each content's sha256 and what came of it.

    Raises:
        ModelError: a whole batch of pictures one after another without a usable vector.
    """
    times = StageTimes() if times is None else times
    before = embedder.forward_s
    readers = _Readers(embedder, contents, root, max_pixels, PixelBudget(pixel_budget))
    unusable: deque[tuple[str, Embedded]] = deque()

    def pictures() -> Iterator[tuple[str, np.ndarray]]:
        for sha, prepared in readers.results():
            if isinstance(prepared, Embedded):
                unusable.append((sha, prepared))
            else:
                yield sha, prepared

    doubtful: list[tuple[str, Embedded]] = []
    any_good = False
    try:
        for sha, vector in embedder.stream(pictures()):
            while unusable:
                yield unusable.popleft()
            if unusable_vectors(vector[np.newaxis])[0]:
                doubtful.append((sha, Embedded(Status.UNSUPPORTED, _NO_DIRECTION, embedder.engine, None)))
                if len(doubtful) >= max(2, embedder.batch_size):
                    raise _broken_model(embedder, len(doubtful))
                continue
            any_good = True
            yield from doubtful
            doubtful = []
            yield sha, Embedded(Status.OK, None, embedder.engine, vector)
        if len(doubtful) > 1 and not any_good:
            raise _broken_model(embedder, len(doubtful))
        yield from doubtful
        yield from unusable
    finally:
        readers.stop()
        times.read += readers.times.read
        times.decode += readers.times.decode
        times.forward += embedder.forward_s - before


def _broken_model(embedder: Embedder, pictures: int) -> ModelError:
    return ModelError(
        f"{embedder.space.model} gave only zero or non-finite vectors for {pictures} pictures one after another",
        remedy="check the weights file, or use precision float32",
    )


class _Readers:
    """Threads that turn contents into prepared pictures, or into the reason why not."""

    def __init__(
        self, embedder: Embedder, contents: Iterable[Content], root: Path, max_pixels: int, budget: PixelBudget
    ) -> None:
        self.times = StageTimes()
        self._embedder = embedder
        self._source = iter(contents)
        self._root = root
        self._max_pixels = max_pixels
        self._budget = budget
        self._next = threading.Lock()
        self._add = threading.Lock()
        self._stopped = threading.Event()
        self._done: queue.Queue[_Prepared | BaseException | None] = queue.Queue(2 * embedder.batch_size)
        count = max(_LEAST_THREADS, usable_threads())
        self._threads = [
            threading.Thread(target=self._work, name=f"imgret-read-{number}", daemon=True) for number in range(count)
        ]

    def results(self) -> Iterator[_Prepared]:
        """What came of each content, as it comes."""
        for thread in self._threads:
            thread.start()
        ended = 0
        while ended < len(self._threads):
            result = self._done.get()
            if result is None:
                ended += 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result

    def stop(self) -> None:
        """End the threads, whatever they are at."""
        self._stopped.set()
        while any(thread.is_alive() for thread in self._threads):
            # A thread may wait for room in the queue.
            try:
                self._done.get(timeout=0.05)
            except queue.Empty:
                continue

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                with self._next:
                    content = next(self._source, None)
                if content is None:
                    break
                self._done.put((content[0], self._prepare(*content)))
        except BaseException as error:  # noqa: BLE001, RUF100 - it is raised again where the results are taken
            self._done.put(error)
        finally:
            self._done.put(None)

    def _prepare(self, sha: str, paths: Sequence[str]) -> "np.ndarray | Embedded":
        enough = self._embedder.space.preprocessing.decoded_at_least
        lent = decoded(
            sha,
            paths,
            self._root,
            self._budget,
            max_pixels=self._max_pixels,
            at_least=enough,
            spent=self._spent,
        )
        try:
            with lent as picture:
                return self._embedder.prepare(picture)
        except UnusableImageError as error:
            return Embedded(error.status, error.reason, None, None)

    def _spent(self, stage: str, seconds: float) -> None:
        with self._add:
            setattr(self.times, stage, getattr(self.times, stage) + seconds)
