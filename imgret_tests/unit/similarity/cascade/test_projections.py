"""Projections in a file: with them, a search of some rows gives the same pairs and projects only new vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgret_assets.domain.similarity.cascade import CascadeOptions, PairSearch, projections, projections_path
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.cascade.projections import (
    Projections,
    coordinate_columns,
    hash_factors,
    read_projections,
    write_projections,
)
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs
from imgret_tests.support.vector_sets import assert_same_pairs, clusters, expected_pairs
from imgret_tests.unit.similarity.cascade.searches import all_pairs

PLAN = Plan((15, 32), plain=False, shares=(0.1, 0.01))


@pytest.fixture
def vectors(rng: np.random.Generator) -> np.ndarray:
    return clusters(rng, 300, 48).astype(np.float32)


@pytest.fixture
def file(vectors: np.ndarray, tmp_path: Path) -> Path:
    """Projections of all but the last ten vectors."""
    path = projections_path(tmp_path, "model-1234")
    all_pairs(PairSearch(vectors[:290], 0.9, options=CascadeOptions(plan=PLAN, projections=path)))
    assert path.is_file()
    return path


@pytest.fixture
def projected(file: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many vectors each call has projected since the file was written."""
    counts: list[int] = []
    project = projections.project

    def counting(vectors: np.ndarray, rows: np.ndarray, *others: Any) -> tuple[np.ndarray, np.ndarray]:
        counts.append(len(rows))
        return project(vectors, rows, *others)

    monkeypatch.setattr(projections, "project", counting)
    return counts


def pairs_of(vectors: np.ndarray, rows: np.ndarray, file: Path) -> ScoredPairs:
    search = PairSearch(vectors, 0.9, rows=rows, options=CascadeOptions(projections=file))
    assert search.plan == PLAN
    return all_pairs(search)


def test_only_new_vectors_are_projected(vectors: np.ndarray, file: Path, projected: list[int]) -> None:
    rows = np.arange(290, 300)
    assert_same_pairs(pairs_of(vectors, rows, file), expected_pairs(vectors, 0.9, rows))
    assert projected == [10]
    projected.clear()
    assert_same_pairs(pairs_of(vectors, rows, file), expected_pairs(vectors, 0.9, rows))
    assert projected == [], "the new ones are in the file, too"


def test_a_changed_vector_is_recognised_by_its_numbers(
    vectors: np.ndarray, file: Path, rng: np.random.Generator, projected: list[int]
) -> None:
    """No caller has to say that it has changed; rows may have other numbers than before."""
    now = vectors[rng.permutation(290)]
    now[17], now[40, 3] = -now[17], now[40, 3] + np.float32(0.25)
    rows = np.array([3, 17, 40, 250])
    assert_same_pairs(pairs_of(now, rows, file), expected_pairs(now, 0.9, rows))
    assert projected == [2]


def test_projections_of_mostly_other_vectors_are_not_used(
    vectors: np.ndarray, file: Path, rng: np.random.Generator, projected: list[int]
) -> None:
    now = vectors.copy()
    now[:160] = clusters(rng, 160, 48)
    search = PairSearch(now, 0.9, rows=[1, 2], options=CascadeOptions(projections=file))
    assert sum(projected) in (0, 300)
    assert_same_pairs(all_pairs(search), expected_pairs(now, 0.9, np.array([1, 2])))


def test_projections_that_exceed_the_memory_are_not_used(vectors: np.ndarray, file: Path) -> None:
    search = PairSearch(
        vectors, 0.9, rows=[1], options=CascadeOptions(projections=file, memory_bytes=4 * 31 * len(vectors))
    )
    assert search.plan.plain


def test_a_damaged_file_costs_only_time(vectors: np.ndarray, file: Path) -> None:
    whole = file.read_bytes()
    expected = expected_pairs(vectors, 0.9, np.array([5]))
    for damaged in (b"", whole[: len(whole) // 2], b"x" * 100):
        file.write_bytes(damaged)
        assert read_projections(file, 48) is None
        search = PairSearch(vectors, 0.9, rows=[5], options=CascadeOptions(projections=file))
        assert_same_pairs(all_pairs(search), expected)
    file.write_bytes(whole)
    assert read_projections(file, 48) is not None
    assert read_projections(file, 47) is None


def test_the_file_of_an_earlier_version_is_ignored_and_removed(vectors: np.ndarray, tmp_path: Path) -> None:
    earlier = tmp_path / "model-1234.heads.npz"
    other_space = tmp_path / "model-5678.heads.npz"
    for file in (earlier, other_space):
        np.savez(file, layout=np.array([1, 32000]), rests=np.zeros(3))
    search = PairSearch(
        vectors, 0.9, rows=[5], options=CascadeOptions(projections=projections_path(tmp_path, "model-1234"))
    )
    assert_same_pairs(all_pairs(search), expected_pairs(vectors, 0.9, np.array([5])))
    assert not earlier.exists()
    assert other_space.exists()


def test_a_file_holds_what_was_written(rng: np.random.Generator, tmp_path: Path) -> None:
    written = Projections(
        PLAN,
        rng.normal(size=(48, 32)).astype(np.float32),
        rng.integers(0, 2**64, (9, 2), dtype=np.uint64),
        rng.integers(-9, 9, (9, 32)).astype(np.int16),
        rng.integers(0, 9, (9, 2)).astype(np.int16),
    )
    write_projections(tmp_path / "file.npz", written)
    read = read_projections(tmp_path / "file.npz", 48)
    assert read is not None
    assert read.plan == PLAN
    for name in ("basis", "digests", "coordinates", "residual_norms"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))


def test_rows_are_found_by_both_hashes(rng: np.random.Generator) -> None:
    digests = rng.integers(0, 2**64, (9, 2), dtype=np.uint64)
    empty = np.empty((0, 0), np.int16)
    kept = Projections(PLAN, np.empty((0, 0), np.float32), digests, empty, empty)
    unknown = digests[:1] + np.uint64(1)
    first_hash_only = digests[2:3] * np.array([[1, 0]], np.uint64)
    assert kept.rows_of(np.concatenate([digests[[4, 0]], unknown, first_hash_only])).tolist() == [4, 0, -1, -1]
    none = Projections(PLAN, np.empty((0, 0), np.float32), digests[:0], empty, empty)
    assert none.rows_of(digests[:2]).tolist() == [-1, -1]


def test_hash_factors_are_the_same_in_every_process() -> None:
    factors = hash_factors(48)
    assert factors.shape == (2, 49)
    assert factors[0, :2].tolist() == [10551094089201645697, 7098293005490889816]
    np.testing.assert_array_equal(factors, hash_factors(48))


@pytest.mark.parametrize(("width", "columns"), [(1, 16), (16, 16), (17, 32), (256, 256)])
def test_coordinates_take_whole_registers(width: int, columns: int) -> None:
    assert coordinate_columns(width) == columns
