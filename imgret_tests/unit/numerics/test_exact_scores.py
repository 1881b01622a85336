"""Exact scores against the documented sum, number by number."""

import numpy as np
import pytest

from imgret_assets.domain.numerics.exact_scores import cosines, dots, exact_norms


def summed_in_lanes(x: np.ndarray, y: np.ndarray) -> float:
    """Sum the products of two vectors in the documented order, number by number."""
    products = [float(a) * float(b) for a, b in zip(x, y, strict=True)]
    whole = len(products) // 16 * 16
    lanes = [0.0] * 16
    for column in range(whole):
        lanes[column % 16] += products[column]
    four = [(lanes[i] + lanes[i + 4]) + (lanes[i + 8] + lanes[i + 12]) for i in range(4)]
    total = (four[0] + four[1]) + (four[2] + four[3])
    for product in products[whole:]:
        total += product
    return total


@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17, 31, 32, 48, 100, 1280, 2048])
def test_dot_products_are_summed_in_one_order(rng: np.random.Generator, dim: int) -> None:
    left, right = (rng.normal(size=(300, dim)) * 10.0 ** rng.uniform(-3, 3, (300, 1)) for _ in range(2))
    left, right = left.astype(np.float32), right.astype(np.float32)
    expected = [summed_in_lanes(x, y) for x, y in zip(left, right, strict=True)]
    np.testing.assert_array_equal(dots(left, right), expected)
    np.testing.assert_array_equal(dots(right, left), expected)
    # Neither the rows around a row nor the order of the numbers in memory count.
    np.testing.assert_array_equal(dots(left[7:8], right[7:8]), expected[7:8])
    np.testing.assert_array_equal(dots(np.asfortranarray(left), np.broadcast_to(right[7], left.shape))[7], expected[7])


def test_a_score_is_a_cosine(rng: np.random.Generator) -> None:
    left, right = rng.normal(size=(2, 200, 320)).astype(np.float32)
    x, y = left.astype(np.float64), right.astype(np.float64)
    truth = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    np.testing.assert_allclose(cosines(left, right), truth, rtol=0, atol=1e-14)
    known = cosines(left, right, left_norms=exact_norms(left), right_norms=exact_norms(right))
    np.testing.assert_array_equal(known, cosines(left, right))
    assert np.abs(cosines(left, left * np.float32(3))).max() <= 1.0
    assert np.abs(cosines(left, -left)).max() <= 1.0
