"""From files to vectors without waiting: threads read and decode while the engine computes.

Belongs here: the threads, what may be in memory at once, what each stage's time was. Not here: what needs a vector
and where it is kept (`domain.embeddings.embeddings_table`), formats (`domain.images.decode`), engines
(`domain.inference.embedder`).
"""

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult
from imgret_assets.domain.images.decode import Status, UnusableImageError
from imgret_assets.domain.images.image_reader import PIXEL_BUDGET, Content, PixelBudget, decoded
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.errors import ModelError

_Prepared = tuple[str, "np.ndarray | EmbeddingResult"]
_LEAST_THREADS = 4
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


def embed_files(
    embedder: Embedder,
    contents: Iterable[Content],
    root: Path,
    *,
    max_pixels: int,
    times: StageTimes | None = None,
    pixel_budget: int = PIXEL_BUDGET,
) -> Iterator[tuple[str, EmbeddingResult]]:
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
    unusable: deque[tuple[str, EmbeddingResult]] = deque()

    def pictures() -> Iterator[tuple[str, np.ndarray]]:
        for sha, prepared in readers.results():
            if isinstance(prepared, EmbeddingResult):
                unusable.append((sha, prepared))
            else:
                yield sha, prepared

    doubtful: list[tuple[str, EmbeddingResult]] = []
    any_good = False
    try:
        for sha, vector in embedder.stream(pictures()):
            while unusable:
                yield unusable.popleft()
            if unusable_vectors(vector[np.newaxis])[0]:
                doubtful.append((sha, EmbeddingResult(Status.UNSUPPORTED, _NO_DIRECTION, embedder.engine, None)))
                if len(doubtful) >= max(2, embedder.batch_size):
                    raise _broken_model(embedder, len(doubtful))
                continue
            any_good = True
            yield from doubtful
            doubtful = []
            yield sha, EmbeddingResult(Status.OK, None, embedder.engine, vector)
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

    def _prepare(self, sha: str, paths: Sequence[str]) -> "np.ndarray | EmbeddingResult":
        enough = self._embedder.space.preprocessing.min_decoded_size
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
            return EmbeddingResult(error.status, error.reason, None, None)

    def _spent(self, stage: str, seconds: float) -> None:
        with self._add:
            setattr(self.times, stage, getattr(self.times, stage) + seconds)
