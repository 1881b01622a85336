"""Files to vectors through threads: what is in memory at once, what a stop leaves, what becomes of odd files."""

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.embeddings.embedding_pipeline import StageTimes, embed_files
from imgret_assets.domain.images import image_reader
from imgret_assets.domain.images.image_reader import Content, PixelBudget
from imgret_assets.errors import ModelError
from imgret_tests.support.fake_model import FailingEmbedder, FakeEmbedder
from imgret_tests.support.odd_files import odd_files, saved
from imgret_tests.support.pictures import picture, picture_bytes
from imgret_tests.support.tree import put, put_pictures

LIMIT = 1_000_000


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


def contents_of(images: Path, count: int) -> list[Content]:
    put_pictures(images, range(count))
    return [(hashlib.sha256(picture_bytes(seed)).hexdigest(), [f"{seed:03d}.png"]) for seed in range(count)]


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("imgret-read")]


class Counting(FakeEmbedder):
    """Counts the prepared pictures that wait for the model."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared = self.most_waiting = 0
        self._lock = threading.Lock()

    def prepare(self, image: object) -> np.ndarray:
        with self._lock:
            self.prepared += 1
        return super().prepare(image)  # type: ignore[arg-type]

    def embed(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        self.most_waiting = max(self.most_waiting, self.prepared - self.embedded)
        return super().embed(batch)


def test_every_content_comes_once_with_its_own_vector(images: Path) -> None:
    embedder = FakeEmbedder()
    contents = contents_of(images, 60)
    found = list(embed_files(embedder, contents, images, max_pixels=LIMIT))
    assert sorted(sha for sha, _ in found) == sorted(sha for sha, _ in contents)
    expected = FakeEmbedder()
    by_sha = dict(found)
    for seed, (sha, _) in enumerate(contents):
        vector = expected.embed(expected.prepare(picture(seed))[np.newaxis])[0]
        np.testing.assert_array_equal(by_sha[sha].vector, vector)


def test_batches_are_full_and_what_waits_is_bounded(images: Path) -> None:
    """However many files there are, two batches wait, one is gathered, and each thread holds one picture."""
    embedder = Counting()
    list(embed_files(embedder, contents_of(images, 90), images, max_pixels=LIMIT))
    assert embedder.batches == [8] * 11 + [2]
    assert embedder.most_waiting <= 3 * embedder.batch_size + len_of_threads()


def len_of_threads() -> int:
    import os

    return max(4, os.cpu_count() or 1)


def test_the_source_is_asked_only_as_far_as_there_is_room(images: Path) -> None:
    asked = 0
    everything = contents_of(images, 90)

    def source() -> Iterator[Content]:
        nonlocal asked
        for content in everything:
            asked += 1
            yield content

    results = embed_files(FakeEmbedder(), source(), images, max_pixels=LIMIT)
    next(results)
    time.sleep(0.3)
    assert asked <= 3 * 8 + 2 * len_of_threads()
    results.close()  # type: ignore[attr-defined]
    assert reading_threads() == []


def test_an_error_of_the_model_ends_the_threads(images: Path) -> None:
    class Broken(FakeEmbedder):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="the model broke"):
        list(embed_files(Broken(), contents_of(images, 90), images, max_pixels=LIMIT))
    assert reading_threads() == []


def test_an_error_in_a_thread_reaches_the_caller(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("not a matter of the file")

    monkeypatch.setattr(image_reader, "decode", broken)
    with pytest.raises(ZeroDivisionError, match="not a matter of the file"):
        list(embed_files(FakeEmbedder(), contents_of(images, 30), images, max_pixels=LIMIT))
    assert reading_threads() == []


def test_odd_files_come_with_their_reason_among_good_ones(images: Path, embedder: FakeEmbedder) -> None:
    odd = [one for one in odd_files() if one.data]
    contents = contents_of(images, 20)
    for number, one in enumerate(odd):
        name = f"odd{number:03d}"
        put(images, name, one.data)
        contents.append((hashlib.sha256(one.data).hexdigest(), [name]))
    found = dict(embed_files(embedder, contents, images, max_pixels=LIMIT))
    assert len(found) == len({sha for sha, _ in contents})
    assert sum(outcome.vector is not None for outcome in found.values()) >= 20
    assert {"truncated", "ok"} <= {outcome.status for outcome in found.values()}
    assert all((outcome.vector is None) == (outcome.status != "ok") for outcome in found.values())


def test_only_unusable_files(images: Path, embedder: FakeEmbedder) -> None:
    found = list(embed_files(embedder, [("00" * 32, ["gone.png"])] * 40, images, max_pixels=LIMIT))
    assert [outcome.status for _, outcome in found] == ["vanished"] * 40
    assert embedder.batches == []


def test_a_picture_that_has_become_too_large_is_a_row(images: Path, embedder: FakeEmbedder) -> None:
    data = saved(picture(1, size=(100, 100)), "PNG")
    put(images, "a.png", data)
    ((_, outcome),) = embed_files(embedder, [(hashlib.sha256(data).hexdigest(), ["a.png"])], images, max_pixels=9_999)
    assert (outcome.status, outcome.vector) == ("too_large", None)


def test_a_few_pictures_without_a_direction_are_rows_a_batch_of_them_is_the_model_s_fault(images: Path) -> None:
    contents = contents_of(images, 40)
    found = dict(embed_files(FailingEmbedder([3, 30, 31, 32], np.nan), contents, images, max_pixels=LIMIT))
    bad = [seed for seed, (sha, _) in enumerate(contents) if found[sha].status == "unsupported"]
    assert bad == [3, 30, 31, 32]
    broken = FailingEmbedder(range(12, 40), np.nan)
    with pytest.raises(ModelError, match="fake gave only zero or non-finite vectors for 8 pictures one after another"):
        list(embed_files(broken, contents, images, max_pixels=LIMIT))


def test_the_pixel_budget_holds_whatever_the_threads_want(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents: list[Content] = []
    for seed in range(12):
        data = saved(picture(seed, size=(100, 80)), "PNG")
        put(images, f"{seed}.png", data)
        contents.append((hashlib.sha256(data).hexdigest(), [f"{seed}.png"]))
    held = most = 0
    lock = threading.Lock()
    take, give_back = PixelBudget.take, PixelBudget.give_back

    def taking(self: PixelBudget, pixels: int) -> None:
        nonlocal held, most
        take(self, pixels)
        with lock:
            held += pixels
            most = max(most, held)

    def giving(self: PixelBudget, pixels: int) -> None:
        nonlocal held
        with lock:
            held -= pixels
        give_back(self, pixels)

    class Slow(FakeEmbedder):
        def prepare(self, image: object) -> np.ndarray:
            time.sleep(0.02)
            return super().prepare(image)  # type: ignore[arg-type]

    monkeypatch.setattr(PixelBudget, "take", taking)
    monkeypatch.setattr(PixelBudget, "give_back", giving)
    list(embed_files(Slow(), contents, images, max_pixels=LIMIT, pixel_budget=16_500))
    assert most == 16_000
    assert held == 0
    most = 0
    list(embed_files(Slow(), contents, images, max_pixels=LIMIT, pixel_budget=100))
    assert most == 8_000


def test_a_budget_lets_one_large_picture_in_alone() -> None:
    budget = PixelBudget(10)
    budget.take(25)
    entered = threading.Event()

    def other() -> None:
        budget.take(1)
        entered.set()

    thread = threading.Thread(target=other)
    thread.start()
    assert not entered.wait(0.1)
    budget.give_back(25)
    assert entered.wait(5)
    thread.join()


def test_the_time_of_each_stage_is_told(images: Path) -> None:
    class Slow(FakeEmbedder):
        def prepare(self, image: object) -> np.ndarray:
            time.sleep(0.01)
            return super().prepare(image)  # type: ignore[arg-type]

        def embed(self, batch: np.ndarray) -> np.ndarray:
            self.forward_s += 2.0
            return super().embed(batch)

    times = StageTimes()
    list(embed_files(Slow(), contents_of(images, 20), images, max_pixels=LIMIT, times=times))
    assert times.read > 0
    assert times.decode >= 0.2
    assert times.forward == 6.0
