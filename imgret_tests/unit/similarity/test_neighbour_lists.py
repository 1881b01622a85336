"""What stays valid of earlier lists, and which rows are searched again."""

import numpy as np
import pytest

from imgret_assets.domain.similarity.neighbour_lists import EarlierLists, invalid_entries, no_lists, rows_to_search

NONE = np.empty(0, np.int64)


def earlier(rows: list[list[int]], new_rows: list[int]) -> EarlierLists:
    numbers = np.array(rows)
    return EarlierLists(numbers, np.where(numbers < 0, -np.inf, 0.5), np.array(new_rows, np.int64))


def test_removed_and_new_rows_are_invalid_entries() -> None:
    lists = earlier([[1, 2], [0, -1], [3, 0], [0, 2]], [3])
    assert invalid_entries(lists, 4).tolist() == [[False, False], [False, True], [True, False], [False, False]]


def test_rows_with_too_few_entries_and_new_rows_are_searched() -> None:
    lists = earlier([[1, 2], [0, -1], [3, 0], [0, 2]], [3])
    invalid = invalid_entries(lists, 4)
    assert rows_to_search(lists, invalid, 2, 2).tolist() == [1, 2, 3]
    assert rows_to_search(lists, invalid, 2, 1).tolist() == [3]


def test_lists_shorter_than_the_new_ones_are_all_searched() -> None:
    lists = earlier([[1, 2], [0, 2], [1, 0]], [])
    assert rows_to_search(lists, invalid_entries(lists, 3), 2, 2).tolist() == []
    assert rows_to_search(lists, invalid_entries(lists, 3), 3, 2).tolist() == [0, 1, 2]


def test_lists_of_other_rows_are_errors() -> None:
    with pytest.raises(ValueError, match=r"earlier lists \(3, 2\), scores \(3, 2\), of 4 rows"):
        invalid_entries(earlier([[1, 2], [0, 2], [1, 0]], []), 4)
    with pytest.raises(ValueError, match="scores"):
        invalid_entries(EarlierLists(np.zeros((3, 2), np.int64), np.zeros((3, 1)), NONE), 3)
    with pytest.raises(IndexError, match=r"rows 0 to 3 in earlier lists of 3 rows"):
        invalid_entries(earlier([[1, 2], [0, 3], [1, 0]], []), 3)
    with pytest.raises(IndexError, match="3 to 3"):
        invalid_entries(earlier([[1, 2], [0, 2], [1, 0]], [3]), 3)


def test_unknown_lists_hold_no_row() -> None:
    lists = no_lists(2, 3)
    assert lists.rows.tolist() == [[-1] * 3] * 2
    assert np.all(lists.scores == -np.inf)
