"""Homes whose tables hold vectors made up by a test, without images or a model.

Belongs here: writing such tables, reading the pairs, and the pairs that they should hold. Not here: sets of vectors
(`support.vector_sets`), homes built from image files (`support.chain`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.vector_sets import all_scores

SPACE = EmbeddingSpace("fake", "0" * 64, Preprocessing((4, 4), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 3)

Vector = tuple[float, ...]


def write_tables(home: Home, vectors: Mapping[str, Vector]) -> None:
    """Write manifest and embeddings of images that have these vectors of three numbers, by path."""
    for shard in home.shards:
        paths = sorted(path for path in vectors if shard_of(path, len(home.shards)) == shard)
        hashes = [hashlib.sha256(repr(vectors[path]).encode()).hexdigest() for path in paths]
        listed = [{"path": path, "sha256": sha, "status": "ok"} for path, sha in zip(paths, hashes, strict=True)]
        embedded = [{**row, "engine": "fake", "embedding": vectors[row["path"]]} for row in listed]
        manifest = pa.Table.from_pylist(listed, schema=tables.MANIFEST_SCHEMA)
        tables.write(tables.manifest_path(home.warehouse, shard), manifest, {"root": str(home.images)})
        tables.write(
            tables.embeddings_path(home.warehouse, SPACE.id, shard),
            pa.Table.from_pylist(embedded, schema=tables.embeddings_schema(3)),
            {**SPACE.as_metadata(), "shards": str(len(home.shards))},
        )


def random_vectors(rng: np.random.Generator, count: int, start: int = 0) -> dict[str, Vector]:
    """Return random vectors of three numbers for `count` paths."""
    return {f"{start + number:03d}.png": tuple(rng.normal(size=3).tolist()) for number in range(count)}


# Vectors of equal directions have equal scores with everything: the first three, and two others.
_REPEATED: list[Vector] = [
    (1.0, 0.0, 0.0), (2.0, 0.0, 0.0), (4.0, 0.0, 0.0), (1.0, 1.0, 0.0),
    (0.0, 3.0, 1.0), (0.0, 6.0, 2.0), (-1.0, 2.0, 5.0), (0.3, -1.0, 0.2),
]  # fmt: skip


def repeated_vector(choice: int) -> Vector:
    """Return one of eight vectors for a choice of 0 to 15; two choices are two contents with the same vector."""
    number, is_other_content = divmod(choice, 2)
    x, y, z = _REPEATED[number]
    # Too little to change a float32, enough for another hash.
    return (x * (1 + 1e-12), y, z) if is_other_content and x else (x, y * (1 + is_other_content * 1e-12), z)


def with_settings(home: Home, **changes: Any) -> Home:
    """Return the home with other settings."""
    return replace(home, settings=replace(home.settings, **changes))


def read_pairs(home: Home, space: str = SPACE.id) -> dict[tuple[str, str], float]:
    """Read the pairs table: scores by paths."""
    columns = tables.read(tables.pairs_path(home.warehouse, space)).to_pydict()
    keys = list(zip(columns["path_a"], columns["path_b"], strict=True))
    assert all(a < b for a, b in keys)
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, columns["score"], strict=True))


def expected_pairs(vectors: Mapping[str, Vector], threshold: float) -> dict[tuple[str, str], float]:
    """Return the pairs that the table should hold: scores by paths."""
    paths = sorted(vectors)
    scores = all_scores(np.array([vectors[path] for path in paths], dtype=np.float32).reshape(-1, 3))
    above = np.argwhere(np.triu(scores > threshold, 1)).tolist()
    return {(paths[i], paths[j]): float(scores[i, j]) for i, j in above}


def best_pairs(vectors: Mapping[str, Vector], threshold: float, max_neighbours: int) -> set[tuple[str, str]]:
    """Return the pairs among the best of either of their images, ties to the smaller path."""
    pairs = expected_pairs(vectors, threshold)
    kept: set[tuple[str, str]] = set()
    for path in vectors:
        of_path = [(-score, a if b == path else b, (a, b)) for (a, b), score in pairs.items() if path in (a, b)]
        kept |= {pair for _, _, pair in sorted(of_path)[:max_neighbours]}
    return kept
