"""Samples of the tables: the pairs just above the threshold, and some images' neighbours."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from imgret_assets.domain.similarity import table_samples
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.similarity.table_samples import sample_neighbours, weakest_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import nearest_path, pairs_path
from imgret_tests.support.vector_tables import SPACE, random_vectors, write_tables


@pytest.fixture
def built(home: Home, rng: np.random.Generator) -> Home:
    write_tables(home, random_vectors(rng, 30))
    refresh_pairs(home, SPACE.id, 0.5)
    refresh_neighbours(home, SPACE.id)
    return home


def test_the_weakest_pairs_are_those_of_the_whole_table(built: Home) -> None:
    rows = tables.read(pairs_path(built.warehouse, SPACE.id)).to_pylist()
    every = sorted((row["score"], row["path_a"], row["path_b"]) for row in rows)
    assert weakest_pairs(built, SPACE.id, 5) == [(a, b, score) for score, a, b in every[:5]]
    assert len(weakest_pairs(built, SPACE.id, 10**6)) == len(rows)


def test_no_pair_is_shown_of_a_missing_or_a_huge_table(built: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_samples, "MAX_ROWS", 10)
    assert weakest_pairs(built, SPACE.id, 5) == []
    pairs_path(built.warehouse, SPACE.id).unlink()
    assert weakest_pairs(built, SPACE.id, 5) == []


def _neighbours_of(home: Home, image: str, count: int) -> list[tuple[str, float]]:
    rows = tables.read(nearest_path(home.warehouse, SPACE.id)).to_pylist()
    neighbours = sorted((row["rank"], row["neighbour"], row["score"]) for row in rows if row["path"] == image)
    return [(neighbour, score) for _, neighbour, score in neighbours[:count]]


def _in_small_row_groups(path: Path) -> None:
    """So small that rows of an image lie on both sides of an edge."""
    table = pq.ParquetFile(path).read()
    pq.write_table(table, path, row_group_size=17)


@pytest.mark.parametrize("small_groups", [False, True])
def test_some_images_are_spread_over_the_table(built: Home, small_groups: bool) -> None:
    if small_groups:
        _in_small_row_groups(nearest_path(built.warehouse, SPACE.id))
    sample = sample_neighbours(built, SPACE.id, 3, 4)
    assert [image for image, _ in sample] == ["000.png", "010.png", "020.png"]
    assert all(nearest == _neighbours_of(built, image, 4) for image, nearest in sample)


def test_of_fewer_images_each_is_shown_once(home: Home, rng: np.random.Generator) -> None:
    write_tables(home, random_vectors(rng, 3))
    assert sample_neighbours(home, SPACE.id, 6, 4) == []
    refresh_neighbours(home, SPACE.id)
    sample = sample_neighbours(home, SPACE.id, 6, 4)
    assert [(image, len(nearest)) for image, nearest in sample] == [("000.png", 2), ("001.png", 2), ("002.png", 2)]


@pytest.mark.parametrize("count", [0, 1])
def test_without_neighbours_nothing_is_shown(home: Home, rng: np.random.Generator, count: int) -> None:
    write_tables(home, random_vectors(rng, count))
    refresh_neighbours(home, SPACE.id)
    assert sample_neighbours(home, SPACE.id, 6, 4) == []
