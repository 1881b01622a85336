"""Cells by FAISS: the same whatever the threads, the nearest ones of every row, and clear errors."""

import importlib.util
from collections.abc import Callable

import faiss
import numpy as np
import pytest

from imgret_assets.domain.runtime.progress import Progress
from imgret_assets.domain.similarity.approximate import cells
from imgret_assets.domain.similarity.approximate.cells import find_cells
from imgret_assets.errors import SettingError, TableError


@pytest.fixture
def vectors(rng: np.random.Generator) -> np.ndarray:
    """Return float32 (3000, 160) of any length around 12 centres."""
    centres = rng.standard_normal((12, 160))
    rows = centres[rng.integers(0, 12, 3000)] + 0.1 * rng.standard_normal((3000, 160))
    return (rows * rng.uniform(0.1, 30, (3000, 1))).astype(np.float32)


def test_rows_of_one_centre_share_a_cell(rng: np.random.Generator) -> None:
    centres = np.eye(8, 30)
    number = rng.integers(0, 8, 2000)
    vectors = (centres[number] + 0.01 * rng.standard_normal((2000, 30))).astype(np.float32)
    found = find_cells(vectors, 40, 5)
    assert (found.nearest.shape, found.nearest.dtype, found.count) == ((2000, 5), np.uint16, 40)
    assert found.probes == 5
    for cell in np.unique(found.nearest[:, 0]):
        assert len(np.unique(number[found.nearest[:, 0] == cell])) == 1


def test_the_cells_of_a_row_are_different_ones(vectors: np.ndarray) -> None:
    found = find_cells(vectors, 30, 30)
    np.testing.assert_array_equal(np.sort(found.nearest, axis=1), np.broadcast_to(np.arange(30), (3000, 30)))


def test_more_probes_are_the_same_cells_and_further_ones(vectors: np.ndarray) -> None:
    np.testing.assert_array_equal(find_cells(vectors, 50, 9).nearest[:, :4], find_cells(vectors, 50, 4).nearest)


def test_more_probes_than_cells_are_all_cells(vectors: np.ndarray) -> None:
    assert find_cells(vectors, 3, 10).probes == 3


@pytest.mark.parametrize("threads", [2, 3])
def test_the_cells_do_not_depend_on_the_threads(
    vectors: np.ndarray, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "_BLOCK_ROWS", 256)
    expected = find_cells(vectors, 60, 6, threads=1).nearest
    kept = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        np.testing.assert_array_equal(find_cells(vectors, 60, 6, threads=threads).nearest, expected)
        assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(kept)


def test_progress_counts_rows(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_BLOCK_ROWS", 1000)
    seen: list[Progress] = []
    find_cells(vectors[:2500], 10, 2, progress=seen.append)
    assert [(each.unit, each.done, each.total) for each in seen] == [
        ("images", done, 2500) for done in (1000, 2000, 2500)
    ]


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_row_without_a_direction_is_refused(vectors: np.ndarray, bad: float) -> None:
    vectors[7] = bad
    with pytest.raises(TableError, match="zero or not finite"):
        find_cells(vectors, 10, 2)


def test_an_interrupt_ends_the_search(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_BLOCK_ROWS", 100)

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_cells(vectors, 10, 2, progress=interrupt)


def test_without_faiss_the_extra_is_named(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec: Callable[..., object] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "faiss" else find_spec(name, *rest)
    )
    with pytest.raises(SettingError, match=r"imgret\[approximate\].*IMGRET_PAIR_SEARCH=cascade"):
        find_cells(vectors, 10, 2)
