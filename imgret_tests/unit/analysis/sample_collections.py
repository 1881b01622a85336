"""Random labelled collections, and their cosines by a plain product."""

from collections.abc import Sequence

import numpy as np

from imgret_assets.domain.similarity.neighbours_table import Neighbours


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Return the cosines of all pairs of rows, float64 (n, n)."""
    wide = vectors.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return np.clip(unit @ unit.T, -1, 1)


def labelled_collection(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[str | None]]:
    """Return vectors of five loose groups, and their labels; every seventh label is unknown."""
    groups = rng.integers(0, 5, count)
    vectors = (rng.normal(size=(5, 12))[groups] + rng.normal(0, 0.7, (count, 12))).astype(np.float32)
    return vectors, [None if row % 7 == 3 else f"label{group}" for row, group in enumerate(groups)]


def collection_with_duplicates(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[str], list[str | None]]:
    """Return vectors, contents and labels of five loose groups with exact duplicates and equal vectors."""
    groups = rng.integers(0, 5, count)
    vectors = (rng.normal(size=(5, 12))[groups] + rng.normal(0, 1.2, (count, 12))).astype(np.float32)
    vectors *= rng.uniform(0.1, 30, (count, 1)).astype(np.float32)
    contents = [f"content{row}" for row in range(count)]
    for row in range(0, count - 1, 9):
        vectors[row + 1] = vectors[row]
        if row % 2:
            contents[row + 1] = contents[row]
    labels = [None if row % 7 == 3 else f"label{group}" for row, group in enumerate(groups)]
    return vectors, contents, labels


def families(rng: np.random.Generator, sizes: Sequence[int], *, noise: float = 0.6) -> tuple[np.ndarray, list[str]]:
    """Return vectors of any norm around a direction of each family, over a common background, and their labels."""
    family = np.repeat(np.arange(len(sizes)), sizes)
    vectors = rng.normal(size=(len(sizes), 64))[family] + noise * rng.normal(size=(len(family), 64)) + 0.5
    vectors *= rng.uniform(0.1, 30, (len(family), 1))
    order = rng.permutation(len(family))
    return vectors[order].astype(np.float32), [f"label{number}" for number in family[order]]


def neighbours_of(vectors: np.ndarray, k: int = 20) -> Neighbours:
    """Return the nearest neighbours by a full sort, ties by row; fewer than k are filled up."""
    scores = cosines(vectors)
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    nearest = np.take_along_axis(scores, order, axis=1)
    order = np.where(np.isfinite(nearest), order, -1)
    return Neighbours([f"{row:04d}" for row in range(len(vectors))], order.astype(np.int32), nearest)
