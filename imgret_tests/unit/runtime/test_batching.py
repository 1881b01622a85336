import pytest

from imgret_assets.domain.runtime.batching import batches


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(0, 3, []), (2, 3, [2]), (3, 3, [3]), (7, 3, [3, 3, 1]), (2, 1, [1, 1])]
)
def test_pieces_are_the_whole_in_its_order(count: int, size: int, sizes: list[int]) -> None:
    items = list(range(count))
    found = list(batches(items, size))
    assert [len(part) for part in found] == sizes
    assert [item for part in found for item in part] == items


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size is {size}; expected at least 1"):
        batches([1, 2], size)
