"""Runs of rows, and keys that follow from their content alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret_assets.domain.similarity.pieces.chunks import chunks_of, cut_rows


def digests_of(count: int) -> np.ndarray:
    return np.arange(2 * count, dtype=np.uint64).reshape(count, 2)


@given(st.integers(0, 200), st.integers(1, 40), st.data())
def test_every_row_is_in_one_run(count: int, chunk_rows: int, data: st.DataObject) -> None:
    shards = data.draw(st.none() | st.lists(st.integers(0, 9), min_size=count, max_size=count).map(np.array))
    shards = None if shards is None else shards.astype(np.int32)
    chosen = data.draw(st.none() | st.sets(st.integers(0, max(0, count - 1)), max_size=count))
    rows = None if chosen is None else np.array(sorted(chosen), np.int64)
    cut = cut_rows(count, chunk_rows, shards=shards, chosen=rows)
    assert sorted(cut.order.tolist()) == list(range(count))
    assert sorted(cut.order[: cut.chosen_rows].tolist()) == (list(range(count)) if chosen is None else sorted(chosen))
    for number, run in enumerate(cut.runs):
        longest = chunk_rows if number < cut.chosen else 4 * chunk_rows
        assert 1 <= len(run) <= longest
        # No piece has more combinations than two full runs.
        assert all(len(run) * len(left) <= chunk_rows**2 for left in cut.runs[: cut.chosen])
        if shards is not None and (rows is None or number >= cut.chosen):
            of_run = shards[run]
            assert np.all(np.diff(of_run) >= 0)
            # Either a part of one shard, or whole shards.
            if len(np.unique(of_run)) > 1:
                elsewhere = np.setdiff1d(cut.order[0 if rows is None else cut.chosen_rows :], run)
                assert not set(of_run.tolist()) & set(shards[elsewhere].tolist())


def test_a_change_in_one_shard_leaves_the_chunks_of_the_others() -> None:
    shards = np.repeat(np.arange(6), [30, 45, 30, 30, 10, 10])
    digests = digests_of(len(shards))
    before = chunks_of(cut_rows(len(shards), 50, shards=shards), digests)
    assert [len(chunk) for chunk in before] == [30, 45, 30, 30, 10, 10]
    more = np.insert(shards, 40, 1)
    after = chunks_of(cut_rows(len(more), 50, shards=more), np.insert(digests, 40, 999, axis=0))
    assert [len(chunk) for chunk in after] == [30, 46, 30, 30, 10, 10]
    assert [one.key == other.key for one, other in zip(before, after, strict=True)] == [True, False] + [True] * 4


def test_small_shards_share_a_chunk() -> None:
    shards = np.repeat(np.arange(5), [10, 20, 9, 9, 30])
    assert [len(run) for run in cut_rows(78, 60, shards=shards).runs] == [48, 30]
    assert [len(run) for run in cut_rows(78, 40, shards=shards).runs] == [30, 18, 30]
    assert [len(run) for run in cut_rows(78, 20, shards=shards).runs] == [10, 20, 9, 9, 15, 15]


def test_few_chosen_rows_are_one_chunk_for_longer_chunks_of_the_others() -> None:
    shards = np.repeat(np.arange(2), 500)
    cut = cut_rows(1000, 100, shards=shards, chosen=np.array([700, 3]))
    assert [run.tolist() for run in cut.runs[: cut.chosen]] == [[3, 700]]
    assert [len(run) for run in cut.runs[1:]] == [250, 249, 250, 249]


def test_keys_follow_from_content_and_order() -> None:
    digests = digests_of(9)
    cut = cut_rows(9, 3)
    keys = [chunk.key for chunk in chunks_of(cut, digests)]
    assert len(set(keys)) == 3
    assert all(len(key) == 32 for key in keys)
    shifted = chunks_of(cut_rows(6, 3), digests[3:])
    assert [chunk.key for chunk in shifted] == keys[1:]
    assert [(chunk.start, chunk.stop, chunk.number) for chunk in shifted] == [(0, 3, 0), (3, 6, 1)]
    reversed_key = chunks_of(cut_rows(3, 3), digests[2::-1])[0].key
    assert reversed_key not in keys
    other = digests.copy()
    other[4, 1] += 1
    changed = [chunk.key for chunk in chunks_of(cut, other)]
    assert [one == two for one, two in zip(keys, changed, strict=True)] == [True, False, True]


@pytest.mark.parametrize("chosen", [[3, 9], [-1, 3]])
def test_a_row_out_of_range_is_an_error(chosen: list[int]) -> None:
    with pytest.raises(IndexError, match="of 9 vectors"):
        cut_rows(9, 3, chosen=np.array(chosen))
