"""The table of nearest neighbours is a full sort's, from nothing and after changes, by either means."""

import numpy as np
import pytest

from imgret_assets.domain.embeddings.table_reader import load_embeddings
from imgret_assets.domain.numerics.vectors import cosines
from imgret_assets.domain.similarity import neighbours_table
from imgret_assets.domain.similarity.brute_force import nearest_neighbours
from imgret_assets.domain.similarity.neighbours_table import load_neighbours, refresh_neighbours
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import NEAREST_SCHEMA, nearest_path, read
from imgret_assets.errors import TableError
from imgret_tests.support.tree import stamps
from imgret_tests.unit.similarity.test_pairs_table import SPACE, write_tables

MEANS = ["plain", "cascade"]


@pytest.fixture(params=MEANS)
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "cascade":
        monkeypatch.setattr(neighbours_table, "BRUTE_FORCE_ROWS", 0)
    return request.param


def full_sort(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    count = len(vectors)
    rows, scores = [], []
    for row in range(count):
        others = np.delete(np.arange(count), row)
        own = cosines(np.repeat(vectors[row : row + 1], count - 1, axis=0), vectors[others])
        best = np.lexsort((others, -own))[:k]
        rows.append(others[best])
        scores.append(own[best])
    return np.array(rows).reshape(count, -1), np.array(scores).reshape(count, -1)


def assert_right(home: Home, k: int = neighbours_table.KEPT) -> None:
    embeddings = load_embeddings(home, SPACE.id)
    found = load_neighbours(home, SPACE.id)
    assert found.paths == embeddings.paths
    rows, scores = full_sort(embeddings.vectors, k)
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.rows, rows)


def collection(rng: np.random.Generator, count: int, start: int = 0) -> dict[str, tuple[float, ...]]:
    return {f"{start + n:03d}.png": tuple(rng.normal(size=3).tolist()) for n in range(count)}


def test_the_table_is_a_full_sort(home: Home, rng: np.random.Generator, means: str) -> None:
    write_tables(home, collection(rng, 60))
    report = refresh_neighbours(home, SPACE.id)
    assert (report.images, report.rows, report.written) == (60, 60 * 20, True)
    assert read(nearest_path(home.warehouse, SPACE.id)).schema.equals(NEAREST_SCHEMA)
    assert_right(home)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_small_collections_have_fewer(home: Home, rng: np.random.Generator, count: int, means: str) -> None:
    write_tables(home, collection(rng, count))
    assert refresh_neighbours(home, SPACE.id).rows == count * max(0, count - 1)
    if count > 1:
        assert_right(home)


def test_nothing_changed_writes_nothing(home: Home, rng: np.random.Generator) -> None:
    write_tables(home, collection(rng, 30))
    refresh_neighbours(home, SPACE.id)
    before = stamps(home.warehouse)
    report = refresh_neighbours(home, SPACE.id)
    assert (report.written, report.how) == (False, "nothing changed")
    assert "nothing was computed" in report.summary
    assert stamps(home.warehouse) == before


def test_after_additions_changes_and_removals_it_is_as_from_nothing(
    home: Home, rng: np.random.Generator, means: str
) -> None:
    there = collection(rng, 80)
    write_tables(home, there)
    refresh_neighbours(home, SPACE.id)
    for _ in range(4):
        for path in rng.choice(sorted(there), 5, replace=False):
            del there[path]
        for path in rng.choice(sorted(there), 3, replace=False):
            there[path] = tuple(rng.normal(size=3).tolist())
        there |= collection(rng, 6, start=int(rng.integers(100, 900)))
        write_tables(home, there)
        report = refresh_neighbours(home, SPACE.id)
        assert "new or changed images and those that lost a neighbour" in report.how
        assert_right(home)


def test_what_it_covers_must_be_known(home: Home, rng: np.random.Generator) -> None:
    write_tables(home, collection(rng, 10))
    with pytest.raises(TableError, match="materialise `nearest_neighbours`"):
        load_neighbours(home, SPACE.id)
    refresh_neighbours(home, SPACE.id)
    (home.work / "nearest" / f"{SPACE.id}.parquet").unlink()
    with pytest.raises(TableError, match=r"is not known.*nearest_neighbours"):
        load_neighbours(home, SPACE.id)
    assert refresh_neighbours(home, SPACE.id).how == "all against all: what the earlier table covers is not known"
    assert_right(home)


def test_many_exact_copies_go_by_lower_row(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    vectors[5:45] = vectors[5]
    rows, scores = nearest_neighbours(vectors, 6)
    expected_rows, expected_scores = full_sort(vectors, 6)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-12)
