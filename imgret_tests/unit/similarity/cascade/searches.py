"""Searches by the cascade in one call, with plans and block sizes for small sets of vectors."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings

from imgret_assets.domain.similarity.cascade import CascadeOptions, NearestSearch, PairSearch
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.neighbour_lists import NeighbourLists
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, merge_pairs

PLAIN = Plan((0,), plain=True)
# Memory for chunks of 48 rows: tests with more rows have several chunks.
SMALL_CHUNKS = 2 * 72 * 48**2
ENGINES = ["int16", "float32", "cuda"]
PROPERTY = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def plans_for(dim: int) -> list[Plan]:
    widths = [(3,), (7, 16), (3, 16, 32), (15, 48)]
    return [PLAIN, *(Plan(each, plain=False, shares=(1.0,) * len(each)) for each in widths if each[-1] <= dim)]


def all_pairs(search: PairSearch) -> ScoredPairs:
    return merge_pairs(search.pairs(piece, search.answer(piece)) for piece in search.pieces)


def find_pairs(vectors: np.ndarray, threshold: float, *, rows: np.ndarray | None = None, **options: Any) -> ScoredPairs:
    return all_pairs(PairSearch(vectors, threshold, rows=rows, options=CascadeOptions(**options)))


def all_lists(search: NearestSearch) -> NeighbourLists:
    for wave in search.waves():
        for piece in wave:
            search.add(piece, search.answer(piece))
    return search.result()


def find_nearest(vectors: np.ndarray, k: int, **options: Any) -> NeighbourLists:
    return all_lists(NearestSearch(vectors, k, options=CascadeOptions(**options)))
