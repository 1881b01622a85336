"""Batches of a sequence."""

import pytest

from imgret_assets.domain.runtime.batching import batches


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(0, 3, []), (2, 3, [2]), (3, 3, [3]), (7, 3, [3, 3, 1]), (2, 1, [1, 1])]
)
def test_batches_hold_all_items_in_their_order(count: int, size: int, sizes: list[int]) -> None:
    items = list(range(count))
    parts = list(batches(items, size))
    assert [len(part) for part in parts] == sizes
    assert [item for part in parts for item in part] == items


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size is {size}; expected at least 1"):
        batches([1, 2], size)
