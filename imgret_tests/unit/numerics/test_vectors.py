import numpy as np
import pytest

from imgret_assets.domain.numerics.vectors import row_norms, unit_rows


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


def test_no_float32_overflows_and_what_has_no_direction_shows() -> None:
    rows = np.array([[3e38, 3e38], [0, 0], [np.nan, 1], [np.inf, 1]], np.float32)
    norms = row_norms(rows)
    assert norms[0] == pytest.approx(4.2426e38, rel=1e-4)
    assert norms[1] == 0
    assert not np.isfinite(norms[2:]).any()
    assert np.isnan(unit_rows(rows)[1]).all()
    assert row_norms(np.empty((0, 3), np.float32)).shape == (0,)
    assert unit_rows(np.empty((0, 3), np.float32)).shape == (0, 3)
