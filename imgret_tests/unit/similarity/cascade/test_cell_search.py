"""Comparing only rows that share a cell: which pairs are found, once each, with exact scores."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret_assets.domain.similarity.cascade import CascadeOptions, NearestInCells, PairsInCells
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, merge_pairs
from imgret_tests.support.vector_sets import (
    all_scores,
    assert_same_lists,
    assert_same_pairs,
    expected_neighbours,
    expected_pairs,
    pairs_among,
    thresholds,
    vector_sets,
)
from imgret_tests.unit.similarity.cascade.searches import PROPERTY, SMALL_CHUNKS, plans_for


def draw_nearest(draw: st.DrawFn, count: int) -> np.ndarray:
    """Draw the cells that each row visits: any, in any order, different ones for each row."""
    cells = draw(st.integers(1, 7))
    probes = draw(st.integers(1, cells))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    order = np.argsort(rng.random((count, cells)), axis=1)
    return order[:, :probes].astype(np.uint16)


def meeting(nearest: np.ndarray) -> np.ndarray:
    """Return which rows meet, bool (n, n): one lives in a cell that the other visits."""
    visits = (nearest[:, None, :] == nearest[None, :, :1]).any(axis=2)
    return visits | visits.T


def found_pairs(search: PairsInCells) -> ScoredPairs:
    return merge_pairs(pairs for pairs, _ in search.parts())


def options_of(draw: st.DrawFn, dim: int) -> dict[str, Any]:
    plan: Plan = draw(st.sampled_from(plans_for(dim)))
    return {
        "plan": Plan((dim,), plain=True) if plan.plain else plan,
        "engine": draw(st.sampled_from(["int16", "float32"])),
        "threads": draw(st.sampled_from([1, 3])),
        "memory_bytes": draw(st.sampled_from([SMALL_CHUNKS, 1 << 30])),
    }


@PROPERTY
@given(st.data())
def test_pairs_are_those_of_rows_that_meet(data: st.DataObject) -> None:
    vectors = data.draw(vector_sets().filter(len))
    threshold = data.draw(thresholds(vectors))
    nearest = data.draw(st.composite(draw_nearest)(len(vectors)))
    options = data.draw(st.composite(options_of)(vectors.shape[1]))
    search = PairsInCells(vectors, threshold, nearest, options=CascadeOptions(**options))
    scores = np.where(meeting(nearest), all_scores(vectors), -np.inf)
    assert_same_pairs(found_pairs(search), pairs_among(scores, threshold))
    assert sum(compared for _, compared in search.parts()) == search.pair_count


@PROPERTY
@given(st.data())
def test_with_all_cells_visited_pairs_and_neighbours_are_those_of_all_rows(data: st.DataObject) -> None:
    vectors = data.draw(vector_sets().filter(len))
    threshold = data.draw(thresholds(vectors))
    cells = data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    nearest = np.argsort(rng.random((len(vectors), cells)), axis=1).astype(np.uint16)
    options = CascadeOptions(**data.draw(st.composite(options_of)(vectors.shape[1])))
    assert_same_pairs(
        found_pairs(PairsInCells(vectors, threshold, nearest, options=options)), expected_pairs(vectors, threshold)
    )
    search = NearestInCells(vectors, 5, nearest, options=options)
    assert sum(search.parts()) == (search.pair_count if len(vectors) > 1 else 0)
    assert_same_lists(search.lists(), expected_neighbours(vectors, 5))


@PROPERTY
@given(st.data())
def test_neighbours_have_exact_scores_and_are_no_worse_than_those_of_the_cells(data: st.DataObject) -> None:
    vectors = data.draw(vector_sets().filter(lambda vectors: len(vectors) > 1))
    nearest = data.draw(st.composite(draw_nearest)(len(vectors)))
    options = CascadeOptions(**data.draw(st.composite(options_of)(vectors.shape[1])))
    search = NearestInCells(vectors, 4, nearest, options=options)
    for _ in search.parts():
        pass
    rows, scores = search.lists()
    true_scores = all_scores(vectors)
    np.fill_diagonal(true_scores, -np.inf)
    own, rank = np.nonzero(rows >= 0)
    np.testing.assert_array_equal(scores[own, rank], true_scores[own, rows[own, rank]])
    assert (scores[rows < 0] == -np.inf).all()
    in_cells = -np.sort(-np.where(meeting(nearest), true_scores, -np.inf), axis=1)[:, : rows.shape[1]]
    assert (scores >= in_cells).all()


def test_a_pair_that_meets_in_two_cells_is_handed_on_once(rng: np.random.Generator) -> None:
    vectors = rng.standard_normal((200, 20)).astype(np.float32)
    nearest = np.array([[0, 1], [1, 0]], np.uint16)[np.arange(200) % 2]
    parts = [pairs for pairs, _ in PairsInCells(vectors, -1.0, nearest).parts()]
    assert sum(map(len, parts)) == 200 * 199 // 2


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_do_not_depend_on_the_threads(rng: np.random.Generator, threads: int) -> None:
    vectors = rng.standard_normal((300, 40)).astype(np.float32)
    nearest = np.argsort(rng.random((300, 9)), axis=1)[:, :3].astype(np.uint16)
    expected = NearestInCells(vectors, 10, nearest, options=CascadeOptions(threads=3))
    search = NearestInCells(vectors, 10, nearest, options=CascadeOptions(threads=threads))
    assert sum(search.parts()) == sum(expected.parts())
    assert_same_lists(search.lists(), expected.lists())
