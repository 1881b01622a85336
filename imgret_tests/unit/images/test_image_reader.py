"""Tests of the reader of image contents: which file is read, the budget of pixels, the reported times."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from imgret_assets.domain.images.image_reader import PixelBudget, content_bytes, open_content
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_tests.support.odd_files import saved
from imgret_tests.support.pictures import picture, picture_bytes
from imgret_tests.support.tree import put

MAX_PIXELS = 1_000_000
# An event that must not happen is waited for this long.
NOTHING_WITHIN_S = 0.1
DEADLINE_S = 10


@pytest.fixture
def budget() -> PixelBudget:
    return PixelBudget(10_000)


def sha256_of(seed: int) -> str:
    return hashlib.sha256(picture_bytes(seed)).hexdigest()


def ends_in_time(work: Callable[[], object]) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    return not thread.is_alive()


def status_of(images: Path, content: str, paths: list[str], budget: PixelBudget, max_pixels: int = MAX_PIXELS) -> str:
    try:
        with open_content(content, paths, images, budget, max_pixels=max_pixels, min_size=None) as image:
            assert image.mode == "RGB"
            return "ok"
    except UnusableImageError as error:
        return error.status


def test_the_first_file_that_still_has_the_content_is_read(images: Path, budget: PixelBudget) -> None:
    put(images, "changed.png", picture_bytes(2))
    put(images, "copy.png", picture_bytes(1))
    paths = ["gone.png", "changed.png", "copy.png"]
    with open_content(sha256_of(1), paths, images, budget, max_pixels=MAX_PIXELS, min_size=None) as image:
        assert image.tobytes() == picture(1).tobytes()


def test_a_content_that_no_file_has_any_more_has_vanished(images: Path, budget: PixelBudget) -> None:
    put(images, "changed.png", picture_bytes(2))
    assert status_of(images, sha256_of(1), ["gone.png"], budget) == "vanished"
    with (
        pytest.raises(UnusableImageError, match="changed after it was listed"),
        open_content(sha256_of(1), ["changed.png"], images, budget, max_pixels=MAX_PIXELS, min_size=None),
    ):
        pass


def test_a_file_that_can_not_be_read_or_decoded_has_its_status(images: Path, budget: PixelBudget) -> None:
    (images / "folder.png").mkdir(parents=True)
    torn = picture_bytes(1)[:60]
    put(images, "torn.png", torn)
    put(images, "whole.png", picture_bytes(1))
    assert status_of(images, sha256_of(1), ["folder.png"], budget) == "unreadable"
    assert status_of(images, hashlib.sha256(torn).hexdigest(), ["torn.png"], budget) == "truncated"
    assert status_of(images, sha256_of(1), ["whole.png"], budget, max_pixels=1_199) == "too_large"


def test_the_budget_is_released_when_the_block_ends(images: Path, budget: PixelBudget) -> None:
    data = saved(picture(1, size=(100, 100)), "PNG")
    put(images, "a.png", data)
    half = data[: len(data) // 2]
    put(images, "half.png", half)
    statuses: list[str] = []

    def open_all() -> None:
        # Each needs the whole budget: the second would wait for ever if the first had kept it.
        for _ in range(2):
            statuses.append(status_of(images, hashlib.sha256(data).hexdigest(), ["a.png"], budget))
            statuses.append(status_of(images, hashlib.sha256(half).hexdigest(), ["half.png"], budget))

    assert ends_in_time(open_all)
    assert statuses == ["ok", "truncated"] * 2


def test_the_seconds_of_reading_and_decoding_are_reported(images: Path, budget: PixelBudget) -> None:
    put(images, "a.png", picture_bytes(1))
    stages: list[str] = []
    with open_content(
        sha256_of(1),
        ["gone.png", "a.png"],
        images,
        budget,
        max_pixels=MAX_PIXELS,
        min_size=None,
        add_seconds=lambda stage, seconds: stages.append(stage) if seconds >= 0 else None,
    ):
        assert stages == ["read"]
    assert stages == ["read", "decode"]


def test_waiting_for_the_budget_is_no_decoding_time(
    images: Path, budget: PixelBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(images, "a.png", picture_bytes(1))
    now = 0.0

    def acquire(_budget: PixelBudget, _pixels: int) -> None:
        nonlocal now
        now += 100.0

    monkeypatch.setattr("imgret_assets.domain.images.image_reader.time.monotonic", lambda: now)
    monkeypatch.setattr(PixelBudget, "acquire", acquire)
    seconds: dict[str, float] = {}
    with open_content(
        sha256_of(1),
        ["a.png"],
        images,
        budget,
        max_pixels=MAX_PIXELS,
        min_size=None,
        add_seconds=seconds.__setitem__,
    ):
        now += 1.0
    assert seconds == {"read": 0.0, "decode": 1.0}


def test_an_image_larger_than_the_budget_is_admitted_alone() -> None:
    budget = PixelBudget(10)
    assert ends_in_time(lambda: budget.acquire(25))
    admitted = threading.Event()

    def acquire_one() -> None:
        budget.acquire(1)
        admitted.set()

    threading.Thread(target=acquire_one, daemon=True).start()
    assert not admitted.wait(NOTHING_WITHIN_S)
    budget.release(25)
    assert admitted.wait(DEADLINE_S)


def test_the_bytes_of_files_are_held_within_a_budget(images: Path) -> None:
    put(images, "a.png", picture_bytes(1))
    budget = PixelBudget(10_000, file_bytes=len(picture_bytes(1)))
    entered = threading.Event()
    paths = ["a.png"]

    def read_second() -> None:
        with content_bytes(sha256_of(1), paths, images, budget):
            entered.set()

    with content_bytes(sha256_of(1), paths, images, budget):
        thread = threading.Thread(target=read_second, daemon=True)
        thread.start()
        assert not entered.wait(NOTHING_WITHIN_S)
    assert entered.wait(DEADLINE_S)
    # More than the whole budget is admitted alone, and what was changed has given its bytes back.
    small = PixelBudget(10_000, file_bytes=1)
    for _ in range(2):
        with pytest.raises(UnusableImageError), content_bytes(sha256_of(2), paths, images, small):
            pass
    with content_bytes(sha256_of(1), paths, images, small) as data:
        assert data == picture_bytes(1)


def test_a_file_above_the_byte_limit_is_not_read(images: Path, budget: PixelBudget) -> None:
    put(images, "a.png", picture_bytes(1))
    with (
        pytest.raises(UnusableImageError, match="IMGRET_MAX_BYTES"),
        open_content(sha256_of(1), ["a.png"], images, budget, max_pixels=MAX_PIXELS, min_size=None, max_bytes=10),
    ):
        pass


def test_too_little_memory_for_the_work_on_an_image_is_its_failure(images: Path, budget: PixelBudget) -> None:
    put(images, "a.png", picture_bytes(1))
    with (
        pytest.raises(UnusableImageError, match="not enough memory"),
        open_content(sha256_of(1), ["a.png"], images, budget, max_pixels=MAX_PIXELS, min_size=None),
    ):
        raise MemoryError
    assert status_of(images, sha256_of(1), ["a.png"], budget) == "ok"
