"""Nearest neighbours by the cascade equal those of a full sort, to the last bit, from nothing and after changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret_assets.domain.similarity.cascade import CascadeOptions, NearestSearch
from imgret_assets.domain.similarity.neighbour_lists import EarlierLists, NeighbourLists
from imgret_assets.errors import SettingError, TableError
from imgret_tests.support.vector_sets import assert_same_lists, clusters, expected_neighbours, spread, vector_sets
from imgret_tests.unit.similarity.cascade.searches import (
    ENGINES,
    PROPERTY,
    SMALL_CHUNKS,
    all_lists,
    find_nearest,
    plans_for,
)


@PROPERTY
@given(st.data())
def test_neighbours_are_those_of_a_full_sort(data: st.DataObject) -> None:
    vectors = data.draw(vector_sets())
    k = data.draw(st.sampled_from([1, 2, 5, 20, 200]))
    lists = find_nearest(
        vectors, k,
        plan=data.draw(st.sampled_from(plans_for(vectors.shape[1]))), engine=data.draw(st.sampled_from(ENGINES)),
        memory_bytes=data.draw(st.sampled_from([SMALL_CHUNKS, 1 << 30])),
    )  # fmt: skip
    assert_same_lists(lists, expected_neighbours(vectors, k))


@PROPERTY
@given(st.data())
def test_updated_neighbours_equal_those_from_nothing(data: st.DataObject) -> None:
    """Rows are removed, added and changed at once; the others get new numbers."""
    vectors = data.draw(vector_sets().filter(len))
    k = data.draw(st.sampled_from([1, 3, 8]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    options = CascadeOptions(plan=data.draw(st.sampled_from(plans_for(vectors.shape[1]))), memory_bytes=SMALL_CHUNKS)
    earlier = all_lists(NearestSearch(vectors, k, options=options))

    kept = np.sort(rng.permutation(len(vectors))[: data.draw(st.integers(0, len(vectors)))])
    added_count = data.draw(st.integers(0, 6))
    added = vectors[rng.integers(0, len(vectors), added_count)] * np.float32(2)
    added[~np.isfinite(added)] = 1.0
    # New rows stand anywhere between the old ones, which keep their order.
    order = np.sort(np.concatenate([np.arange(len(kept)), rng.integers(-1, len(kept), added_count) + 0.5]))
    kept_places, added_places = np.flatnonzero(order % 1 == 0), np.flatnonzero(order % 1)
    now = np.empty((len(order), vectors.shape[1]), np.float32)
    now[kept_places], now[added_places] = vectors[kept], added
    changed = rng.permutation(kept_places)[: data.draw(st.integers(0, 3))]
    now[changed] = now[changed][:, ::-1]
    number = np.full(len(vectors) + 1, -1)
    number[kept] = kept_places
    rows = np.full((len(now), earlier.rows.shape[1]), -1)
    scores = np.zeros(rows.shape)
    rows[kept_places], scores[kept_places] = number[earlier.rows[kept]], earlier.scores[kept]
    new_rows = np.concatenate([changed, added_places])
    # The lists of new rows must not matter.
    rows[new_rows] = rng.integers(-1, max(1, len(now)), rows[new_rows].shape)

    search = NearestSearch(now, k, earlier=EarlierLists(rows, scores, new_rows), options=options)
    assert_same_lists(all_lists(search), expected_neighbours(now, k))


def test_only_what_a_change_requires_is_compared(rng: np.random.Generator) -> None:
    vectors = clusters(rng, 400, 40).astype(np.float32)
    earlier = find_nearest(vectors[:396], 5)
    rows = np.concatenate([earlier.rows, np.zeros((4, 5), np.int64)])
    scores = np.concatenate([earlier.scores, np.zeros((4, 5))])
    added = NearestSearch(vectors, 5, earlier=EarlierLists(rows, scores, np.arange(396, 400)))
    assert added.pair_count == 4 * 400 - 4 * 5 // 2
    removed = np.where(earlier.rows == 7, -1, earlier.rows)
    lost = NearestSearch(vectors[:396], 5, earlier=EarlierLists(removed, earlier.scores, np.empty(0, np.int64)))
    short = np.count_nonzero((removed < 0).any(axis=1))
    assert lost.pair_count == short * 396 - short * (short + 1) // 2


def test_of_equal_scores_the_lower_row_comes_first() -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0], [2, 0], [0, 3], [4, 0]], np.float32)
    lists = find_nearest(vectors, 3)
    assert lists.rows.tolist() == [[2, 3, 5], [4, 0, 2], [0, 3, 5], [0, 2, 5], [1, 0, 2], [0, 2, 3]]
    assert lists.scores[0].tolist() == [1.0, 1.0, 1.0]


@PROPERTY
@given(st.data())
def test_answers_of_a_killed_search_take_the_place_of_their_pieces(data: st.DataObject) -> None:
    """Any of them, in any order, some of them twice."""
    vectors = data.draw(vector_sets())
    k = data.draw(st.sampled_from([1, 4, 200]))
    shards = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, len(vectors))
    options = CascadeOptions(memory_bytes=SMALL_CHUNKS)
    random = data.draw(st.randoms(use_true_random=False))
    kept = {}
    killed = NearestSearch(vectors, k, shards=shards, options=options)
    for wave in killed.waves():
        answers = [(piece, killed.answer(piece)) for piece in random.sample(wave, len(wave))]
        for piece, answer in answers:
            killed.add(piece, answer)
        kept |= {piece.key: answer for piece, answer in answers if random.random() < 0.7}
    second = NearestSearch(vectors, k, shards=shards, options=options)
    found = 0
    for wave in second.waves():
        for piece in random.sample(wave, len(wave)):
            found += piece.key in kept
            answer = kept[piece.key] if piece.key in kept else second.answer(piece)
            for _ in range(random.randint(1, 2)):
                second.add(piece, answer)
    assert found == len(kept), "equal searches have equal pieces"
    for search in (killed, second):
        assert_same_lists(search.result(), expected_neighbours(vectors, k))


def test_the_key_of_a_piece_depends_on_the_thresholds_of_its_rows(rng: np.random.Generator) -> None:
    vectors = clusters(rng, 200, 40).astype(np.float32)
    options = CascadeOptions(memory_bytes=SMALL_CHUNKS)
    keys = [
        {piece.key for wave in NearestSearch(vectors, k, options=options).waves() for piece in wave} for k in (3, 4)
    ]
    assert len(keys[0]) == len(keys[1]) == 15
    assert not keys[0] & keys[1]


@pytest.mark.parametrize("count", [0, 1])
def test_no_row_and_a_single_row_have_no_neighbours(count: int) -> None:
    assert find_nearest(np.ones((count, 3), np.float32), 5).rows.shape == (count, 0)


def test_wrong_arguments_are_errors(rng: np.random.Generator) -> None:
    vectors = spread(rng, 30, 8).astype(np.float32)
    with pytest.raises(SettingError, match=r"0 nearest neighbours\. Expected: at least 1"):
        NearestSearch(vectors, 0)
    earlier = EarlierLists(np.full((30, 2), 30), np.ones((30, 2)), np.empty(0, np.int64))
    with pytest.raises(IndexError, match="of 30 rows"):
        NearestSearch(vectors, 2, earlier=earlier)
    vectors[4] = 0
    with pytest.raises(TableError, match=r"Row 4 of the vectors: .*Expected: finite.*What to do: embed"):
        NearestSearch(vectors, 3)


# Lists with a reserve


def updated(vectors: np.ndarray, lists: NeighbourLists, removed: np.ndarray, changed: np.ndarray) -> NearestSearch:
    """Return the search of 8 neighbours, 5 of them required, after rows were removed and others changed."""
    kept = np.setdiff1d(np.arange(len(vectors)), removed)
    number = np.full(len(vectors) + 1, -1)
    number[kept] = np.arange(len(kept))
    earlier = EarlierLists(number[lists.rows[kept]], lists.scores[kept], number[changed])
    search = NearestSearch(np.ascontiguousarray(vectors[kept]), 8, required=5, earlier=earlier)
    all_lists(search)
    return search


def test_a_list_that_loses_a_part_of_its_reserve_is_not_searched_again(rng: np.random.Generator) -> None:
    now = clusters(rng, 300, 48).astype(np.float32)
    lists = find_nearest(now, 8)
    for _ in range(4):
        removed, changed = np.split(rng.choice(len(now), 7, replace=False), [4])
        removed, changed = np.sort(removed), np.sort(changed)
        now[changed] = now[changed][:, ::-1]
        search = updated(now, lists, removed, changed)
        now = np.ascontiguousarray(np.delete(now, removed, axis=0))
        count = len(now)
        assert search.pair_count < count * (count - 1) // 4
        lists = search.result()
        expected = expected_neighbours(now, 8)
        is_known = lists.rows >= 0
        assert is_known[:, :5].all()
        # After the last known entry there is none, and the known ones are right.
        assert np.all(is_known[:, :-1] >= is_known[:, 1:])
        np.testing.assert_array_equal(lists.rows[is_known], expected.rows[is_known])
        np.testing.assert_array_equal(lists.scores[is_known], expected.scores[is_known])
        assert np.all(lists.scores[~is_known] == -np.inf)


def test_nothing_is_inserted_behind_the_last_known_entry() -> None:
    """Row 0 has lost its fourth neighbour; a new row is its fifth and must not take the place where 5 belongs."""
    angles = np.deg2rad([0, 1, 2, 3, 4, 5, 90, 91, 92, 93])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    lists = find_nearest(vectors, 4)
    rows = lists.rows.copy()
    rows[0, 2:] = -1
    now = np.concatenate([vectors, [[np.cos(np.deg2rad(6)), np.sin(np.deg2rad(6))]]]).astype(np.float32)
    earlier = EarlierLists(
        np.concatenate([rows, np.full((1, 4), -1)]), np.concatenate([lists.scores, np.zeros((1, 4))]), np.array([10])
    )
    result = all_lists(NearestSearch(now, 4, required=2, earlier=earlier))
    assert result.rows[0].tolist() == [1, 2, -1, -1]
    assert result.rows[10].tolist() == [5, 4, 3, 2]
