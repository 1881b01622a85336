"""Searches over the vectors of the tables: equal to brute force, whatever the vectors, filters and memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.numerics.exact_scores import cosines, metric_ranks
from imgret_assets.domain.search import table_search
from imgret_assets.domain.search.query import Query
from imgret_assets.domain.search.table_search import nearest_images, with_stored_vectors
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import TableError
from imgret_assets.settings import load_settings
from imgret_tests.support.neo4j_server import clean_environment
from imgret_tests.support.vector_tables import SPACE, with_settings

DIM, COUNT, GROUP_ROWS = 40, 700, 64


def vector_set(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Vectors of all lengths, many of them equal or nearly so, which only exact scores tell apart."""
    base = rng.normal(size=DIM)
    vectors: dict[str, np.ndarray] = {}
    for number in range(COUNT):
        if number % 7 == 0:
            vector = base
        elif number % 7 == 1:
            vector = base * (1 + 1e-6 * rng.normal(size=DIM))
        else:
            vector = rng.normal(size=DIM)
        scale = 10.0 ** rng.integers(-18, 18) if number % 5 == 0 else 1.0
        vectors[f"folder{number % 3}/{number:04d}.png"] = (scale * vector).astype(np.float32)
    return vectors


@pytest.fixture
def vectors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return vector_set(rng)


@pytest.fixture
def home(tmp_path: Path, vectors: dict[str, np.ndarray]) -> Home:
    """A home of four shards, each in several row groups, with rows that have no vector."""
    home = open_home(load_settings({"home": tmp_path / "home", "shards": 4}, env=clean_environment()))
    schema = tables.embeddings_schema(DIM)
    for shard in home.shards:
        paths = sorted(path for path in [*vectors, "folder0/broken.png"] if shard_of(path, 4) == shard)
        rows = [
            {"path": path, "sha256": f"content of {path}", "status": "ok", "engine": "fake", "embedding": vectors[path]}
            if path in vectors
            else {"path": path, "sha256": "", "status": "broken"}
            for path in paths
        ]
        listed = [{"path": path, "label": path.partition("/")[0], "status": "ok"} for path in paths]
        manifest = pa.Table.from_pylist(listed, schema=tables.MANIFEST_SCHEMA)
        tables.write(tables.manifest_path(home.warehouse, shard), manifest, {})
        file = tables.embeddings_path(home.warehouse, SPACE.id, shard)
        with tables.writer(file, schema, SPACE.as_metadata()) as writer:
            for start in range(0, len(rows), GROUP_ROWS):
                writer.write_table(pa.Table.from_pylist(rows[start : start + GROUP_ROWS], schema=schema))
    return home


def brute_force(vectors: dict[str, np.ndarray], vector: np.ndarray, query: Query) -> list[str]:
    paths = [path for path in vectors if query.label in (None, path.partition("/")[0])]
    paths = [path for path in paths if path.startswith(query.filters["folder"] or "")]
    rows = np.array([vectors[path] for path in paths])
    scores = cosines(rows, np.broadcast_to(vector, rows.shape))
    order = -scores
    if query.metric != "cosine":
        order = metric_ranks(rows, vector, query.metric) * (1 if query.metric == "euclidean" else -1)
    ranked = sorted(zip(order.tolist(), paths, scores.tolist(), strict=True))
    return [path for _, path, score in ranked if query.min_score is None or score >= query.min_score]


QUERIES = [
    Query(),
    Query(label="folder1"),
    Query(folder="folder1/"),
    Query(min_score=0.999_999),
    Query(min_score=0.2, label="folder2"),
    Query(mode="exact", metric="euclidean"),
    Query(mode="exact", metric="dot", min_score=-0.1),
]


@pytest.mark.parametrize("query", QUERIES, ids=str)
@pytest.mark.parametrize("limit", [1, 30, 150, 2000])
def test_the_images_are_those_of_brute_force_in_order(
    home: Home, vectors: dict[str, np.ndarray], rng: np.random.Generator, query: Query, limit: int
) -> None:
    path = "folder0/0000.png"
    for vector in (vectors[path] * np.float32(3), rng.normal(size=DIM).astype(np.float32)):
        expected = brute_force(vectors, vector, query)
        searches = [nearest_images(home, SPACE.id, vector, query, limit=limit) for _ in range(2)]
        for found in searches:
            assert [image.path for image in found] == expected[:limit]
        for image in searches[0]:
            np.testing.assert_array_equal(image.vector, vectors[image.path])
            assert image.sha256 == f"content of {image.path}"


def test_excluded_images_are_left_out(home: Home, vectors: dict[str, np.ndarray]) -> None:
    vector = vectors["folder0/0000.png"]
    best = brute_force(vectors, vector, Query())
    found = nearest_images(home, SPACE.id, vector, Query(), limit=20, excluded_paths=best[:50])
    assert [image.path for image in found] == best[50:70]


def test_vectors_stay_in_memory_from_the_second_search_on_if_they_fit(
    home: Home, vectors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    batches = table_search.usable_batches

    def reading(home: Home, space: str, shard: str, *arguments: object, **named: object) -> object:
        read.append(shard)
        return batches(home, space, shard, *arguments, **named)  # pyright: ignore[reportArgumentType] - handed on

    monkeypatch.setattr(table_search, "usable_batches", reading)

    def searched(home: Home) -> list[str]:
        read.clear()
        assert len(nearest_images(home, SPACE.id, vectors["folder0/0000.png"], Query(), limit=5)) == 5
        return sorted(read)

    assert [searched(home) for _ in range(3)] == [home.shards, home.shards, []]
    assert searched(with_settings(home, memory_gb=1e-4)) == home.shards
    # A table that was written since is read again.
    file = tables.embeddings_path(home.warehouse, SPACE.id, home.shards[0])
    tables.write(file, tables.read(file).slice(1), tables.read_metadata(file))
    assert [searched(home) for _ in range(3)] == [home.shards, home.shards, []]


def test_row_groups_without_a_matching_image_are_not_read(
    home: Home, vectors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    batches = table_search.usable_batches

    def reading(*arguments: object, **named: object) -> Iterator[tuple[pa.Table, np.ndarray]]:
        for batch in batches(*arguments, **named):  # pyright: ignore[reportArgumentType] - handed on
            rows.append(len(batch[1]))
            yield batch

    monkeypatch.setattr(table_search, "usable_batches", reading)
    # Sorted by path, a folder is a run of rows.
    nearest_images(home, SPACE.id, vectors["folder0/0000.png"], Query(label="folder1"), limit=5)
    assert COUNT / 3 < sum(rows) < COUNT * 0.8
    rows.clear()
    assert nearest_images(home, SPACE.id, vectors["folder0/0000.png"], Query(label="nobody's"), limit=5) == []


def test_stored_vectors_are_those_of_the_same_content(home: Home, vectors: dict[str, np.ndarray]) -> None:
    paths = ["folder1/0001.png", "folder2/0002.png", "folder0/broken.png", "nowhere.png"]
    rows = [{"path": path, "sha256": f"content of {path}", "label": path[0]} for path in paths]
    found = with_stored_vectors(home, SPACE.id, [*rows, {"path": "folder0/0003.png", "sha256": "other"}])
    assert [{**row, "embedding": row["embedding"].tolist()} for row in found] == [
        {**row, "embedding": vectors[row["path"]].tolist()} for row in rows[:2]
    ]


def test_a_missing_table_is_named(home: Home, vectors: dict[str, np.ndarray]) -> None:
    tables.embeddings_path(home.warehouse, SPACE.id, "02").unlink()
    with pytest.raises(TableError, match=r"embeddings of shard 02 .* missing.*imgret run"):
        nearest_images(home, SPACE.id, vectors["folder0/0000.png"], Query(), limit=5)
