"""Errors, margins and cutoffs against float64: real data rarely comes near a worst case, so it cannot test them."""

import numpy as np
import pytest

from imgret_assets.domain.similarity.cascade import CascadeOptions, basis, bounds, gpu_bounds
from imgret_assets.domain.similarity.cascade.bounds import SCALE
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.cascade.preparation import PreparedVectors, Selection
from imgret_tests.support.vector_sets import clusters, spread, tiny_residuals
from imgret_tests.unit.similarity.cascade.searches import ENGINES, PLAIN, find_pairs, plans_for


def test_projections_residuals_and_margins_are_within_the_proof(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.concatenate([make(rng, 100, 320) for make in (clusters, tiny_residuals, spread)]).astype(np.float32)
    plan = Plan((31, 64, 128), plain=False)
    computed = []
    compute = basis.leading_directions
    monkeypatch.setattr(basis, "leading_directions", lambda *of: computed.append(compute(*of)) or computed[0])
    prepared = PreparedVectors(vectors, Selection(4096), lambda *_: 0.8, 256, "int16", CascadeOptions(plan=plan))
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    errors = bounds.projection_errors(computed[0], np.array(plan.widths))
    levels, widths, scale_squared, margins = prepared.bounds.later_bounds
    coordinates, residual_norms = prepared.coordinates, prepared.residual_norms
    assert (levels, scale_squared) == (3, SCALE**2)
    assert np.all(margins >= 2 * errors + errors**2 + 320 * 2.0**-52)
    for level, width in enumerate(widths):
        # The nearest orthonormal columns: the polar factor.
        u, _, vt = np.linalg.svd(computed[0].astype(np.float64)[:, :width], full_matrices=False)
        exact = unit @ (u @ vt)
        integers = coordinates[:, :width].astype(np.int64)
        assert np.linalg.norm(integers / SCALE - exact, axis=1).max() < errors[level]
        assert np.abs(integers / SCALE - exact).max() < 0.55 / SCALE
        residuals = np.sqrt(np.maximum(0, 1 - (exact**2).sum(axis=1)))
        assert np.all(residual_norms[:, level] / SCALE >= residuals)
        square = (integers**2).sum(axis=1)
        required = np.maximum(0, 1 - square / SCALE**2 + 2 * errors[level] * np.sqrt(square) / SCALE)
        assert np.all(residual_norms[:, level].astype(np.float64) ** 2 >= required * SCALE**2)


@pytest.mark.parametrize("dim", [320, 1280, 2048])
def test_errors_of_projections_are_the_documented_ones(dim: int) -> None:
    identity = np.eye(dim, 256, dtype=np.float32)
    sums = min(256, dim) + -(-dim // 256)
    for width, error in zip((127, 256), bounds.projection_errors(identity, np.array([127, 256])), strict=True):
        gamma = sums * 2.0**-24 / (1 - sums * 2.0**-24)
        assert error >= np.sqrt(width) * gamma + np.sqrt(width) / (2 * SCALE) + 2.0**-24
        assert error < 6e-4
    assert bounds.identity_errors(dim)[0] >= np.sqrt(dim) / (2 * SCALE)


def test_a_skewed_basis_widens_the_errors() -> None:
    skewed = np.eye(64, 32, dtype=np.float32)
    skewed[0, 1] = 1e-3
    gram = skewed.T.astype(np.float64) @ skewed
    assert bounds.projection_errors(skewed, np.array([32]))[0] >= np.linalg.norm(gram - np.eye(32), 2)


def integers_of_unit_length(rng: np.random.Generator, columns: int) -> np.ndarray:
    rows = rng.standard_normal((200, columns)) * np.exp(-rng.uniform(0, 3) * np.arange(columns) / columns)
    return np.rint(SCALE * rows / np.linalg.norm(rows, axis=1, keepdims=True))


def test_float16_products_of_a_gpu_stay_within_their_margin(rng: np.random.Generator) -> None:
    largest_error = 0.0
    for columns in (32, 128, 512):
        rows = integers_of_unit_length(rng, columns)
        half = gpu_bounds.operand(rows.astype(np.float32))
        products = (half @ half.T).float().cpu().numpy().astype(np.float64) * 2.0**30
        error = np.abs(products - rows @ rows.T).max() / SCALE**2
        assert error <= bounds.product_error("cuda", columns, 1e-3)
        largest_error = max(largest_error, error)
    # The margin is not so wide that it proves nothing, and the rounding really was to eleven bits.
    assert bounds.product_error("cuda", 128, 1e-3) < 0.0016 < 5 * largest_error


def test_the_margin_of_a_gpu_allows_for_the_worst_rounding() -> None:
    """Halfway between two floats both factors lose most, and so does the product: three times the unit roundoff."""
    import torch

    unit_roundoff = torch.finfo(torch.float16).eps / 2
    # The lowest number of a binade plus half a unit in the last place rounds down to it.
    half = gpu_bounds.operand(np.array([[2049.0]], np.float32))
    assert 1 - float(half[0, 0]) * 2.0**15 / 2049 == pytest.approx(unit_roundoff, rel=1e-3)
    assert bounds.product_error("cuda", 4, 0.0) > (1 + unit_roundoff) ** 3 - 1


@pytest.mark.parametrize("columns", [61, 242, 969, 970])
def test_equal_coordinates_which_all_round_down_lose_no_pair(rng: np.random.Generator, columns: int) -> None:
    """32,000 / sqrt(969) is 1,028, halfway between two numbers of eight bits; 3,876 / 16 = 242 for more of them."""
    vectors = (1 + 1e-4 * rng.standard_normal((40, columns))).astype(np.float32)
    found = {engine: len(find_pairs(vectors, 0.9999, engine=engine, plan=PLAIN)) for engine in ENGINES}
    assert found == dict.fromkeys(ENGINES, 40 * 39 // 2)


def test_float32_products_stay_within_their_margin(rng: np.random.Generator) -> None:
    for columns in (32, 128, 512):
        rows = integers_of_unit_length(rng, columns)
        products = (rows.astype(np.float32) @ rows.astype(np.float32).T).astype(np.float64)
        assert (
            np.abs(products - rows @ rows.T).max() / SCALE**2 <= bounds.product_error("float32", columns, 1e-3) < 1e-4
        )


def test_int16_products_have_no_error() -> None:
    assert bounds.product_error("int16", 128, 1e-3) == 0.0


def test_what_reaches_a_cutoff_passes_its_integer(rng: np.random.Generator) -> None:
    """And only just: rounding costs no more than the last place."""
    cutoffs = np.concatenate([rng.uniform(1, 1e9, 500), rng.uniform(1, 1e4, 500), np.arange(1, 50)])
    integers = bounds.integer_cutoffs(cutoffs, 1100)
    assert np.all(integers[: len(cutoffs)] < np.ceil(cutoffs))
    assert np.all(integers[: len(cutoffs)] > cutoffs - 3)
    assert np.all(integers[len(cutoffs) :] == 2**31 - 1)
    assert bounds.integer_cutoffs(np.array([-np.inf, -3.5]), 2).tolist() == [-(2**31), -5]

    lowest = cutoffs.astype(np.float32)
    lowest = np.where(lowest < cutoffs, np.nextafter(lowest, np.float32(np.inf)), lowest)
    bits = bounds.float32_bit_cutoffs(cutoffs)
    assert np.all(bits < lowest.view(np.int32))
    assert np.all(bits > lowest.view(np.int32) - 4)
    assert bounds.float32_bit_cutoffs(np.array([-np.inf, -1.0, 0.0])).tolist() == [-(2**31)] * 3


def test_the_first_cutoff_is_the_threshold_less_all_margins(rng: np.random.Generator) -> None:
    vectors, thresholds = clusters(rng, 60, 70).astype(np.float32), np.array([0.5, -1.0])
    for engine in ENGINES:
        for plan in plans_for(70):
            prepared = PreparedVectors(vectors, Selection(4096), lambda *_: 0.5, 64, engine, CascadeOptions(plan=plan))
            of_search = prepared.bounds
            margin = of_search.margins[0] + bounds.product_error(engine, of_search.first_columns, 0.0)
            assert np.all(of_search.first_cutoffs(thresholds) <= SCALE**2 * (thresholds - margin))
