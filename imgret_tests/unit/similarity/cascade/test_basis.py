"""The basis is orthonormal and spans about the leading eigenvectors."""

import numpy as np
import pytest

from imgret_assets.domain.similarity.cascade.basis import leading_directions, orthonormal_columns
from imgret_tests.support.vector_sets import clusters, duplicates


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_directions_keep_the_energy_of_the_eigenvectors(rng: np.random.Generator, threads: int) -> None:
    unit = unit_rows(clusters(rng, 900, 96))
    basis = leading_directions(unit, 32, threads)
    assert basis.dtype == np.float32
    np.testing.assert_allclose(basis.T.astype(np.float64) @ basis, np.eye(32), atol=1e-6)
    eigenvalues = np.linalg.eigvalsh(unit.T.astype(np.float64) @ unit)[::-1]
    for width in (4, 16, 32):
        assert np.square(unit @ basis[:, :width]).sum() > 0.99 * eigenvalues[:width].sum()
    np.testing.assert_array_equal(basis, leading_directions(unit, 32, threads))


def test_a_sample_with_fewer_directions_still_gives_an_orthonormal_basis(rng: np.random.Generator) -> None:
    unit = unit_rows(duplicates(rng, 40, 64))
    basis = leading_directions(unit, 32, 1)
    np.testing.assert_allclose(basis.T.astype(np.float64) @ basis, np.eye(32), atol=1e-5)


def test_orthonormal_columns_have_the_same_spans(rng: np.random.Generator) -> None:
    columns = rng.standard_normal((50, 8)).astype(np.float32)
    basis = orthonormal_columns(columns, 1).astype(np.float64)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=1e-6)
    for width in range(1, 9):
        part = basis[:, :width]
        np.testing.assert_allclose(part @ (part.T @ columns[:, :width]), columns[:, :width], atol=1e-5)
