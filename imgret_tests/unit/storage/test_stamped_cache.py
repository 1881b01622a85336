"""What was read is kept by its stamp, and the oldest is dropped."""

import pytest

from imgret_assets.domain.storage.stamped_cache import StampedCache


def test_a_value_is_made_once_for_a_stamp_and_the_least_used_is_dropped() -> None:
    made = []

    def make(value: str) -> str:
        made.append(value)
        return value

    cache: StampedCache[str] = StampedCache(max_entries=2)
    for stamp in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(stamp, lambda stamp=stamp: make(stamp)) == stamp
    assert made == ["a", "b", "c", "b"]


def test_an_error_is_passed_on_and_nothing_is_kept() -> None:
    cache: StampedCache[int] = StampedCache()
    with pytest.raises(ZeroDivisionError):
        cache.get(1, lambda: 1 // 0)
    assert cache.get(1, lambda: 5) == 5
