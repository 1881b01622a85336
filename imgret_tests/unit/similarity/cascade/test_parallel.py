"""Work cut into pieces and done on several threads."""

import threading

import pytest

from imgret_assets.domain.similarity.cascade.parallel import in_parallel, slices, slices_for_threads


@pytest.mark.parametrize("threads", [1, 3])
def test_results_are_in_the_order_of_the_items(threads: int) -> None:
    assert in_parallel(lambda item: item * 2, range(50), threads) == list(range(0, 100, 2))
    assert in_parallel(lambda item: item, [], threads) == []


def test_items_are_done_at_the_same_time() -> None:
    """Each item waits for the other."""
    barrier = threading.Barrier(2, timeout=30)
    assert sorted(in_parallel(lambda _: barrier.wait(), range(2), 2)) == [0, 1]


def test_an_error_of_an_item_is_raised() -> None:
    def fail(item: int) -> int:
        if item == 3:
            raise ValueError("item 3")
        return item

    for threads in (1, 2):
        with pytest.raises(ValueError, match="item 3"):
            in_parallel(fail, range(5), threads)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 5000])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_slices_cover_a_range_once(count: int, threads: int) -> None:
    for parts in (slices(0, count, 100), slices_for_threads(count, threads)):
        covered = [number for part in parts for number in range(part.start, part.stop)]
        assert covered == list(range(count))
    assert len(slices_for_threads(count, threads)) <= threads
