"""Arithmetic on rows against the same in float64."""

import numpy as np
import pytest

from imgret_assets.domain.numerics.vectors import float32_margin, row_norms, unit_rows, unusable_norms, unusable_vectors


@pytest.mark.parametrize("dim", [1, 3, 1280])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rows_of_any_length_become_unit_rows(rng: np.random.Generator, dim: int, kind: type) -> None:
    vectors = (rng.normal(size=(300, dim)) * 10.0 ** rng.uniform(-30, 18, (300, 1))).astype(kind)
    before = vectors.copy()
    exact = vectors.astype(np.float64)
    norms = np.sqrt((exact**2).sum(axis=1))
    np.testing.assert_allclose(row_norms(vectors), norms, rtol=1e-12)
    assert unit_rows(vectors).dtype == kind
    np.testing.assert_allclose(unit_rows(vectors, dtype=np.float64), exact / norms[:, None], rtol=1e-12)
    np.testing.assert_array_equal(
        unit_rows(vectors, dtype=np.float32), unit_rows(vectors, dtype=np.float64).astype("f4")
    )
    np.testing.assert_array_equal(vectors, before)


def test_no_float32_row_overflows() -> None:
    rows = np.array([[3e38, 3e38], [0, 0], [np.nan, 1], [np.inf, 1]], np.float32)
    norms = row_norms(rows)
    assert norms[0] == pytest.approx(4.2426e38, rel=1e-4)
    assert norms[1] == 0
    assert not np.isfinite(norms[2:]).any()
    assert np.isnan(unit_rows(rows)[1]).all()
    assert row_norms(np.empty((0, 3), np.float32)).shape == (0,)
    assert unit_rows(np.empty((0, 3), np.float32)).shape == (0, 3)


def test_a_row_of_zeros_or_with_a_number_that_is_not_finite_is_unusable() -> None:
    rows = [[0, 0, 0], [0, 1, 0], [np.nan, 1, 0], [0, -np.inf, 0], [3e38, 3e38, 3e38], [1e-45, 0, 0], [-1, 1, 0]]
    vectors = np.array(rows, dtype=np.float32)
    expected = [True, False, True, True, False, False, False]
    assert unusable_vectors(vectors).tolist() == expected
    assert unusable_norms(row_norms(vectors)).tolist() == expected
    assert unusable_vectors(np.empty((0, 3), np.float32)).shape == (0,)


def test_a_vector_among_many_is_found_in_whatever_part_it_is(rng: np.random.Generator) -> None:
    """Rows are converted a megabyte at a time: one in the last part counts as one in the first."""
    vectors = rng.normal(size=(900, 300)).astype(np.float32)
    vectors[[0, 450, 899]] = 0.0
    assert np.flatnonzero(unusable_vectors(vectors)).tolist() == [0, 450, 899]


@pytest.mark.parametrize("dim", [1, 3, 48, 1280, 2048, 4096])
def test_the_margin_bounds_the_error_of_a_float32_product(rng: np.random.Generator, dim: int) -> None:
    vectors = np.abs(rng.normal(size=(40, dim))).astype(np.float32)
    exact = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit = exact.astype(np.float32)
    error = np.abs((unit @ unit.T).astype(np.float64) - exact @ exact.T).max()
    assert error <= float32_margin(dim) < 1e-3
