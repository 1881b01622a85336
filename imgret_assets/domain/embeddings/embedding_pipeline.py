"""Pipeline from image files to vectors: threads read and decode while the engine computes.

Belongs here: the reading threads, how many images may wait in memory, the time of each stage, the result of a file
that can't be decoded. Not here: which contents need a vector and where it is stored
(`domain.embeddings.embeddings_table`), image formats (`domain.images.decode`), engines (`domain.inference.embedder`).
"""

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult
from imgret_assets.domain.images.image_reader import PIXEL_BUDGET, ContentFiles, PixelBudget, open_content
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.errors import ModelError
from imgret_assets.image_roots import AnyRoot
from imgret_assets.settings import DEFAULT_MAX_BYTES

_MIN_THREADS = 4
_NO_DIRECTION = "the model gives it a zero or non-finite vector"

# A content (sha256) with its prepared image, or with the result where there is none.
_Prepared = tuple[str, "np.ndarray | EmbeddingResult"]


@dataclass
class StageTimes:
    """Seconds of work in each stage, summed over threads that run in parallel: their sum exceeds the elapsed time.

    Attributes:
        load: loading the model, with its conversion at first use.
        read: reading and hashing files.
        decode: decoding, rotating and resizing.
        forward: forward passes of the model.
        write: writing vectors and tables.
    """

    load: float = 0.0
    read: float = 0.0
    decode: float = 0.0
    forward: float = 0.0
    write: float = 0.0

    def add(self, other: "StageTimes") -> None:
        """Add the times of other work, stage by stage."""
        for stage in fields(self):
            setattr(self, stage.name, getattr(self, stage.name) + getattr(other, stage.name))


def embed_files(
    embedder: Embedder,
    contents: Iterable[ContentFiles],
    root: AnyRoot,
    *,
    max_pixels: int,
    max_bytes: int = DEFAULT_MAX_BYTES,
    times: StageTimes | None = None,
    pixel_budget: int = PIXEL_BUDGET,
) -> Generator[tuple[str, EmbeddingResult]]:
    """Embed the contents, in the order in which they are done.

    Memory does not depend on the number of files: at most two batches of prepared images wait, and at most
    `pixel_budget` pixels are being decoded.

    Args:
        embedder: model and engine.
        contents: sha256 of each content, with the relative paths of its files.
        root: the image roots.
        max_pixels: an image with more pixels is not decoded.
        max_bytes: a file with more bytes is not read.
        times: the time of each stage is added to it.
        pixel_budget: number of pixels that all threads together may have decoded.

    Yields:
        The sha256 of each content and its result: a vector, or why there is none.
    """
    times = StageTimes() if times is None else times
    earlier_forward_s = embedder.forward_s
    readers = _ReaderThreads(embedder, contents, root, (max_pixels, max_bytes), PixelBudget(pixel_budget))
    unusable: deque[tuple[str, EmbeddingResult]] = deque()

    def prepared_images() -> Iterator[tuple[str, np.ndarray]]:
        for content, prepared in readers.results():
            if isinstance(prepared, EmbeddingResult):
                unusable.append((content, prepared))
            else:
                yield content, prepared

    try:
        for content, vector in embedder.stream(prepared_images()):
            while unusable:
                yield unusable.popleft()
            if unusable_vectors(vector[np.newaxis])[0]:
                yield content, EmbeddingResult(Status.UNSUPPORTED, _NO_DIRECTION, embedder.engine, None)
            else:
                yield content, EmbeddingResult(Status.OK, None, embedder.engine, vector)
        yield from unusable
    finally:
        readers.stop()
        times.read += readers.times.read
        times.decode += readers.times.decode
        times.forward += embedder.forward_s - earlier_forward_s


def refuse_broken_model(
    results: Iterable[tuple[str, EmbeddingResult]], embedder: Embedder
) -> Iterator[tuple[str, EmbeddingResult]]:
    """Yield results as they come; those of images without a direction wait for one that has one.

    One image without a direction is that image's fault, a whole batch of them in succession the model's.

    Raises:
        ModelError: the model gives no usable vector for a whole batch of images in succession.
    """
    undirected: list[tuple[str, EmbeddingResult]] = []
    any_usable = False
    for content, result in results:
        if result.error == _NO_DIRECTION:
            undirected.append((content, result))
            if len(undirected) >= max(2, embedder.batch_size):
                raise _broken_model(embedder, len(undirected))
            continue
        if result.vector is not None:
            any_usable = True
            yield from undirected
            undirected = []
        yield content, result
    if len(undirected) > 1 and not any_usable:
        raise _broken_model(embedder, len(undirected))
    yield from undirected


def _broken_model(embedder: Embedder, images: int) -> ModelError:
    return ModelError(
        f"{embedder.space.model} gave only zero or non-finite vectors for {images} images in succession",
        remedy="check the weights file, or use precision float32",
    )


class _ReaderThreads:
    """Threads that turn contents into prepared images, or into the result that says why there is none."""

    def __init__(
        self,
        embedder: Embedder,
        contents: Iterable[ContentFiles],
        root: AnyRoot,
        limits: tuple[int, int],
        budget: PixelBudget,
    ) -> None:
        self.times = StageTimes()
        self._embedder = embedder
        self._contents = iter(contents)
        self._root = root
        self._max_pixels, self._max_bytes = limits
        self._budget = budget
        self._contents_lock = threading.Lock()
        self._times_lock = threading.Lock()
        self._stopped = threading.Event()
        # A thread puts its results, an error that ended it, and None as the last thing.
        self._queue: queue.Queue[_Prepared | BaseException | None] = queue.Queue(2 * embedder.batch_size)
        count = max(_MIN_THREADS, usable_threads())
        self._threads = [
            threading.Thread(target=self._run, name=f"imgret-read-{number}", daemon=True) for number in range(count)
        ]

    def results(self) -> Iterator[_Prepared]:
        """Start the threads; yield each content with its prepared image or result, in the order in which they end."""
        for thread in self._threads:
            thread.start()
        ended = 0
        while ended < len(self._threads):
            result = self._queue.get()
            if result is None:
                ended += 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result

    def stop(self) -> None:
        """End all threads, wherever they are."""
        self._stopped.set()
        while any(thread.is_alive() for thread in self._threads):
            # A thread may wait for room in the queue.
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                with self._contents_lock:
                    content_files = next(self._contents, None)
                if content_files is None:
                    break
                content, paths = content_files
                self._queue.put((content, self._prepare(content, paths)))
        except BaseException as error:  # noqa: BLE001, RUF100 - `results` raises it again
            self._queue.put(error)
        finally:
            self._queue.put(None)

    def _prepare(self, content: str, paths: Sequence[str]) -> "np.ndarray | EmbeddingResult":
        try:
            with open_content(
                content,
                paths,
                self._root,
                self._budget,
                max_pixels=self._max_pixels,
                max_bytes=self._max_bytes,
                min_size=self._embedder.space.preprocessing.min_decoded_size,
                add_seconds=self._add_seconds,
            ) as image:
                return self._embedder.prepare(image)
        except UnusableImageError as error:
            return EmbeddingResult(error.status, error.reason, None, None)

    def _add_seconds(self, stage: str, seconds: float) -> None:
        with self._times_lock:
            setattr(self.times, stage, getattr(self.times, stage) + seconds)
