"""Tests of the pipeline from files to vectors: results, the number of images in memory, errors, the end of threads."""

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.embeddings.embedding_pipeline import StageTimes, embed_files, refuse_broken_model
from imgret_assets.domain.images import image_reader
from imgret_assets.domain.images.image_reader import ContentFiles
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.errors import ModelError
from imgret_tests.support.fake_model import FailingEmbedder, FakeEmbedder
from imgret_tests.support.odd_files import odd_files, saved
from imgret_tests.support.pictures import picture, picture_bytes
from imgret_tests.support.tree import put, put_pictures

MAX_PIXELS = 1_000_000
THREADS = max(4, usable_threads())
BATCH = FakeEmbedder.batch_size
# Two batches wait in the queue, the model gathers one, and each thread has an image in hand.
MAX_AHEAD = 3 * BATCH + THREADS
# An overrun sets an event; without one, the test waits this long in vain.
OVERRUN_WAIT_S = 0.2


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


def contents_of(images: Path, count: int) -> list[ContentFiles]:
    put_pictures(images, range(count))
    return [(hashlib.sha256(picture_bytes(seed)).hexdigest(), [f"{seed:03d}.png"]) for seed in range(count)]


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("imgret-read-")]


class WaitingEmbedder(FakeEmbedder):
    """Lets the reading threads get ahead of the model: its first batch waits for an overrun."""

    def __init__(self) -> None:
        super().__init__()
        self.overrun = threading.Event()

    def embed(self, batch: np.ndarray) -> np.ndarray:
        if not self.batches:
            self.overrun.wait(OVERRUN_WAIT_S)
        return super().embed(batch)


def test_every_content_is_embedded_once_with_its_own_vector(images: Path, embedder: FakeEmbedder) -> None:
    contents = contents_of(images, 60)
    results = list(embed_files(embedder, contents, images, max_pixels=MAX_PIXELS))
    assert sorted(content for content, _ in results) == sorted(content for content, _ in contents)
    result_of = dict(results)
    reference = FakeEmbedder()
    for seed, (content, _) in enumerate(contents):
        vector = reference.embed(reference.prepare(picture(seed))[np.newaxis])[0]
        np.testing.assert_array_equal(result_of[content].vector, vector)


def test_batches_are_full(images: Path, embedder: FakeEmbedder) -> None:
    list(embed_files(embedder, contents_of(images, 90), images, max_pixels=MAX_PIXELS))
    assert embedder.batches == [8] * 11 + [2]


def test_the_number_of_images_in_memory_is_bounded(images: Path) -> None:
    embedder = WaitingEmbedder()
    contents = contents_of(images, 2 * MAX_AHEAD)
    most_ahead = 0

    def count_ahead() -> Iterator[ContentFiles]:
        nonlocal most_ahead
        for number, content in enumerate(contents, 1):
            ahead = number - embedder.embedded
            most_ahead = max(most_ahead, ahead)
            if ahead > MAX_AHEAD:
                embedder.overrun.set()
            yield content

    list(embed_files(embedder, count_ahead(), images, max_pixels=MAX_PIXELS))
    assert not embedder.overrun.is_set()
    assert 2 * BATCH < most_ahead <= MAX_AHEAD


def test_a_consumer_that_stops_early_ends_the_threads(images: Path, embedder: FakeEmbedder) -> None:
    results = embed_files(embedder, contents_of(images, 90), images, max_pixels=MAX_PIXELS)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert reading_threads() == []


def test_an_error_of_the_model_ends_the_threads(images: Path) -> None:
    class BrokenEmbedder(FakeEmbedder):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="the model broke"):
        list(embed_files(BrokenEmbedder(), contents_of(images, 90), images, max_pixels=MAX_PIXELS))
    assert reading_threads() == []


def test_an_unexpected_error_in_a_thread_reaches_the_caller(
    images: Path, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_decode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fault of the program")

    monkeypatch.setattr(image_reader, "decode", broken_decode)
    with pytest.raises(ZeroDivisionError, match="a fault of the program"):
        list(embed_files(embedder, contents_of(images, 30), images, max_pixels=MAX_PIXELS))
    assert reading_threads() == []


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_unusable_files_have_a_status_and_no_vector(images: Path, embedder: FakeEmbedder) -> None:
    odd = [file for file in odd_files() if file.data]
    contents = contents_of(images, 20)
    for number, file in enumerate(odd):
        name = f"odd{number:03d}"
        put(images, name, file.data)
        contents.append((hashlib.sha256(file.data).hexdigest(), [name]))
    results = dict(embed_files(embedder, contents, images, max_pixels=MAX_PIXELS))
    assert len(results) == len({content for content, _ in contents})
    assert sum(result.vector is not None for result in results.values()) >= 20
    assert {"truncated", "ok"} <= {result.status for result in results.values()}
    assert all((result.vector is None) == (result.status != "ok") for result in results.values())


def test_without_usable_files_the_model_is_not_used(images: Path, embedder: FakeEmbedder) -> None:
    results = list(embed_files(embedder, [("00" * 32, ["gone.png"])] * 40, images, max_pixels=MAX_PIXELS))
    assert [result.status for _, result in results] == ["vanished"] * 40
    assert embedder.batches == []


def test_an_image_above_the_pixel_limit_is_too_large(images: Path, embedder: FakeEmbedder) -> None:
    data = saved(picture(1, size=(100, 100)), "PNG")
    put(images, "a.png", data)
    contents = [(hashlib.sha256(data).hexdigest(), ["a.png"])]
    ((_, result),) = embed_files(embedder, contents, images, max_pixels=9_999)
    assert (result.status, result.vector) == ("too_large", None)


def test_few_images_without_a_direction_are_unsupported(images: Path) -> None:
    contents = contents_of(images, 40)
    embedder = FailingEmbedder([3, 30, 31, 32], np.nan)
    results = dict(refuse_broken_model(embed_files(embedder, contents, images, max_pixels=MAX_PIXELS), embedder))
    unsupported = [seed for seed, (content, _) in enumerate(contents) if results[content].status == "unsupported"]
    assert unsupported == [3, 30, 31, 32]


def test_a_whole_batch_without_a_direction_is_an_error_of_the_model(images: Path) -> None:
    embedder = FailingEmbedder(range(12, 40), np.nan)
    with pytest.raises(ModelError, match="fake gave only zero or non-finite vectors for 8 images in succession"):
        list(
            refuse_broken_model(embed_files(embedder, contents_of(images, 40), images, max_pixels=MAX_PIXELS), embedder)
        )


def test_all_threads_share_the_pixel_budget(images: Path) -> None:
    contents: list[ContentFiles] = []
    for seed in range(12):
        data = saved(picture(seed, size=(100, 80)), "PNG")
        put(images, f"{seed}.png", data)
        contents.append((hashlib.sha256(data).hexdigest(), [f"{seed}.png"]))

    class CountingEmbedder(FakeEmbedder):
        """Counts the images that are prepared at a time; the first waits for more than the budget admits."""

        def __init__(self, admitted: int) -> None:
            super().__init__()
            self.admitted = admitted
            self.preparing = self.most_preparing = 0
            self.overrun = threading.Event()
            self._lock = threading.Lock()

        def prepare(self, image: object) -> np.ndarray:
            with self._lock:
                self.preparing += 1
                self.most_preparing = max(self.most_preparing, self.preparing)
                if self.preparing > self.admitted:
                    self.overrun.set()
                is_first = not self.overrun.is_set() and self.most_preparing <= self.admitted
            if is_first:
                self.overrun.wait(OVERRUN_WAIT_S / len(contents))
            with self._lock:
                self.preparing -= 1
            return super().prepare(image)  # type: ignore[arg-type]

    for pixel_budget, admitted in ((16_500, 2), (100, 1)):
        embedder = CountingEmbedder(admitted)
        list(embed_files(embedder, contents, images, max_pixels=MAX_PIXELS, pixel_budget=pixel_budget))
        assert embedder.most_preparing == admitted
        assert embedder.embedded == 12


def test_the_time_of_each_stage_is_added(images: Path) -> None:
    class SlowEmbedder(FakeEmbedder):
        def prepare(self, image: object) -> np.ndarray:
            time.sleep(0.01)
            return super().prepare(image)  # type: ignore[arg-type]

        def embed(self, batch: np.ndarray) -> np.ndarray:
            self.forward_s += 2.0
            return super().embed(batch)

    times = StageTimes()
    list(embed_files(SlowEmbedder(), contents_of(images, 20), images, max_pixels=MAX_PIXELS, times=times))
    assert times.read > 0
    assert times.decode >= 0.2
    assert times.forward == 6.0
