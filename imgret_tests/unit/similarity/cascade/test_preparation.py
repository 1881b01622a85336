"""What is computed once of a set of vectors: checks, order, plan."""

from collections.abc import Callable

import numpy as np
import pytest

from imgret_assets.domain.similarity.cascade import CascadeOptions, PairSearch, plans
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.errors import SettingError, TableError
from imgret_tests.support.vector_sets import (
    SHAPES,
    assert_same_pairs,
    clusters,
    expected_pairs,
    spread,
    tiny_residuals,
)
from imgret_tests.unit.similarity.cascade.searches import all_pairs


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_rows_without_a_direction_are_refused_by_number(rng: np.random.Generator, value: float) -> None:
    vectors = spread(rng, 30, 8).astype(np.float32)
    vectors[[3, 17]] = value
    with pytest.raises(TableError, match=r"Rows 3, 17 of the vectors: zero or not finite"):
        PairSearch(vectors, 0.5)


def test_a_single_number_that_is_not_finite_is_refused(rng: np.random.Generator) -> None:
    vectors = spread(rng, 30, 21).astype(np.float32)
    vectors[:, 20] = np.nan
    with pytest.raises(TableError, match="Rows 0, 1, 2, 3, 4 and 25 more"):
        PairSearch(vectors, 0.5)


def test_wrong_arguments_are_errors(rng: np.random.Generator) -> None:
    vectors = spread(rng, 20, 32).astype(np.float32)
    with pytest.raises(IndexError, match="20 of 20 vectors"):
        PairSearch(vectors, 0.5, rows=[3, 20])
    with pytest.raises(IndexError, match="rows -1 to"):
        PairSearch(vectors, 0.5, rows=[3, -1])
    with pytest.raises(TypeError, match="float64"):
        PairSearch(vectors.astype(np.float64), 0.5)
    with pytest.raises(SettingError, match="at most 32"):
        PairSearch(vectors, 0.5, options=CascadeOptions(plan=Plan((31, 64), plain=False)))


@pytest.mark.parametrize("make", SHAPES)
def test_the_chosen_plan_is_exact(
    rng: np.random.Generator, make: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With costs that make a basis worth its price for a few hundred rows."""
    monkeypatch.setattr(plans, "FIRST_BOUND_NS", {"int16": (10.0, 1.0)})
    vectors = make(rng, 300, 130).astype(np.float32)
    search = PairSearch(vectors, 0.7, options=CascadeOptions(engine="int16"))
    assert_same_pairs(all_pairs(search), expected_pairs(vectors, 0.7))
    if make in (clusters, tiny_residuals):
        assert not search.plan.plain


def test_where_no_bound_prunes_the_first_takes_all_coordinates(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "FIRST_BOUND_NS", {"int16": (0.3, 1.0)})
    vectors = spread(rng, 400, 130).astype(np.float32)
    search = PairSearch(vectors, 0.1, options=CascadeOptions(engine="int16"))
    assert search.plan.plain
    assert_same_pairs(all_pairs(search), expected_pairs(vectors, 0.1))


def test_where_the_product_is_cheap_no_sample_is_taken(rng: np.random.Generator) -> None:
    search = PairSearch(clusters(rng, 300, 130).astype(np.float32), 0.7)
    assert search.plan == Plan((130,), plain=True)
