"""Compiled loops that prepare vectors, against NumPy."""

import numpy as np
import pytest

from imgret_assets.domain.similarity.cascade import preparation_kernels
from imgret_assets.domain.similarity.cascade.bounds import PANEL_ROWS, SCALE


def test_hashes_are_multilinear(rng: np.random.Generator) -> None:
    bits = rng.integers(0, 2**32, (20, 7), dtype=np.uint32)
    factors = rng.integers(0, 2**64, (2, 8), dtype=np.uint64)
    hashes = np.empty((20, 2), np.uint64)
    preparation_kernels.hash_rows(bits, factors, hashes)
    for row in range(20):
        for number in range(2):
            terms = [int(a) * int(b) for a, b in zip(bits[row], factors[number, :7], strict=True)]
            assert int(hashes[row, number]) == (sum(terms) + int(factors[number, 7])) % 2**64


def test_rows_become_unit_rows_and_integers(rng: np.random.Generator) -> None:
    vectors = (rng.standard_normal((9, 21)) * 10.0 ** rng.uniform(-30, 30, (9, 1))).astype(np.float32)
    vectors.flags.writeable = False
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    rows = np.array([8, 0, 3])
    exact = vectors[rows].astype(np.float64) / norms[rows, None]
    unit = np.empty((3, 21), np.float32)
    preparation_kernels.unit_rows(vectors, rows, norms, unit)
    np.testing.assert_array_equal(unit, exact.astype(np.float32))
    integers = np.full((3, 32), 7, np.int16)
    preparation_kernels.quantise_rows(vectors, rows, norms, float(SCALE), integers)
    assert np.abs(integers[:, :21] - SCALE * exact).max() <= 0.5 + 1e-9
    assert not integers[:, 21:].any()


def test_residual_norms_are_rounded_up(rng: np.random.Generator) -> None:
    projected = rng.standard_normal((50, 32))
    projected = (0.9 * projected / np.linalg.norm(projected, axis=1, keepdims=True)).astype(np.float32)
    widths, errors = np.array([15, 32]), np.array([1e-4, 2e-4])
    coordinates, residual_norms = np.zeros((50, 32), np.int16), np.empty((50, 2), np.int16)
    preparation_kernels.quantise_projections(projected, float(SCALE), widths, errors, coordinates, residual_norms)
    np.testing.assert_array_equal(coordinates, np.rint(projected.astype(np.float64) * SCALE))
    for level, width in enumerate(widths):
        length = np.linalg.norm(coordinates[:, :width].astype(np.float64), axis=1) / SCALE
        exact = SCALE * np.sqrt(1 - length**2 + 2 * errors[level] * length)
        assert np.all(residual_norms[:, level] >= exact)
        assert np.all(residual_norms[:, level] < exact + 1.01)


def test_a_projection_longer_than_one_leaves_no_residual() -> None:
    coordinates, residual_norms = np.zeros((1, 16), np.int16), np.empty((1, 1), np.int16)
    projected = np.zeros((1, 16), np.float32)
    projected[0, 0] = 1.01
    preparation_kernels.quantise_projections(
        projected, float(SCALE), np.array([16]), np.array([1e-5]), coordinates, residual_norms
    )
    assert residual_norms[0, 0] <= 1


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("with_residuals", [False, True])
def test_rows_are_packed_in_panels(rng: np.random.Generator, count: int, with_residuals: bool) -> None:
    rows = rng.integers(-SCALE, SCALE, (count, 16)).astype(np.int16)
    residuals = rng.integers(0, SCALE, count if with_residuals else 0).astype(np.int16)
    steps, panels = 6, -(-count // PANEL_ROWS)
    packed = np.full((panels, steps, PANEL_ROWS), 99, np.int32)
    preparation_kernels.pack_rows(rows.view(np.int32), residuals, steps, packed)
    # (panel, step, row, column of the step) to (row, column).
    unpacked = packed.view(np.int16).reshape(panels, steps, PANEL_ROWS, 2)
    unpacked = unpacked.transpose(0, 2, 1, 3).reshape(panels * PANEL_ROWS, 2 * steps)
    expected = rows[:, : 2 * steps].copy()
    if with_residuals:
        expected[:, -1] = residuals
    np.testing.assert_array_equal(unpacked[:count], expected)
    assert not unpacked[count:].any()


def test_columns_beyond_those_of_the_rows_are_zero(rng: np.random.Generator) -> None:
    rows = rng.integers(-9, 9, (16, 4)).astype(np.int16)
    packed = np.full((1, 4, PANEL_ROWS), 99, np.int32)
    preparation_kernels.pack_rows(rows.view(np.int32), np.empty(0, np.int16), 4, packed)
    assert not packed[0, 2:].any()


def test_the_inverse_of_the_cholesky_factor(rng: np.random.Generator) -> None:
    columns = rng.standard_normal((40, 12))
    gram = columns.T @ columns
    inverse = np.empty((12, 12))
    assert preparation_kernels.inverse_cholesky(gram.copy(), inverse)
    np.testing.assert_allclose(inverse, np.linalg.inv(np.linalg.cholesky(gram)), atol=1e-10)
    singular = np.ones((3, 3))
    assert not preparation_kernels.inverse_cholesky(singular, np.empty((3, 3)))
