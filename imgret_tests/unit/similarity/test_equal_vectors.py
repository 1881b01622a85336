"""Groups of rows with equal vectors, and the lists of all rows from those of the groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgret_assets.domain.similarity import equal_vectors
from imgret_assets.domain.similarity.brute_force import nearest_neighbours
from imgret_assets.domain.similarity.equal_vectors import group_equal_rows, keep_first_rows, lists_of_rows
from imgret_tests.support.vector_sets import assert_same_lists, expected_neighbours, repeated_rows


@given(repeated_rows(), st.booleans())
def test_a_group_is_all_rows_with_one_vector(vectors: np.ndarray, split: bool) -> None:
    apart = np.arange(len(vectors)) % 3 == 0 if split else None
    groups = group_equal_rows(vectors, apart)
    first: dict[tuple[bytes, bool], int] = {}
    for row, vector in enumerate(vectors):
        first.setdefault((vector.tobytes(), split and row % 3 == 0), row)
    assert groups.first_rows.tolist() == list(first.values())
    assert [int(groups.first_rows[group]) for group in groups.group_of] == [
        first[vector.tobytes(), split and row % 3 == 0] for row, vector in enumerate(vectors)
    ]
    for group in range(len(groups)):
        members = groups.members[groups.starts[group] : groups.starts[group + 1]]
        assert members.tolist() == np.flatnonzero(groups.group_of == group).tolist()
        assert len(members) == groups.sizes[group]
    assert groups.all_single == (len(first) == len(vectors))


def test_vectors_that_agree_where_they_are_compared_first_are_still_told_apart() -> None:
    vectors = np.zeros((4, 1000), np.float32)
    vectors[:, 0] = 1
    vectors[2, 1], vectors[3, 1] = 0.5, 0.5
    assert group_equal_rows(vectors).group_of.tolist() == [0, 0, 1, 1]


@given(repeated_rows())
def test_the_vectors_of_the_groups_move_to_the_front(vectors: np.ndarray) -> None:
    groups = group_equal_rows(vectors)
    expected = vectors[groups.first_rows]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(equal_vectors, "_BLOCK", 3 * 64)
        kept = keep_first_rows(vectors, groups)
    np.testing.assert_array_equal(kept, expected)
    assert not len(kept) or np.shares_memory(kept, vectors)


@settings(deadline=None)
@given(repeated_rows(), st.integers(1, 12), st.sampled_from([1, 7, 1 << 18]))
def test_lists_of_groups_give_those_of_a_full_sort(vectors: np.ndarray, k: int, block: int) -> None:
    groups = group_equal_rows(vectors)
    of_groups = vectors[groups.first_rows]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(equal_vectors, "_BLOCK", block)
        lists = lists_of_rows(nearest_neighbours(of_groups, k + 2), of_groups, groups, k)
    assert_same_lists(lists, expected_neighbours(vectors, k))
