"""A layout of images in two dimensions from their nearest neighbours, and places for new images in one.

Belongs here: positions from vectors and lists of neighbours. Not here: the table (`domain.analysis.map_table`), nearest
neighbours (`domain.similarity.neighbours_table`), the layout of a small graph on the page (`app.graph_chart.layout`).

The layout is t-SNE by openTSNE (Policar, Strazar and Zupan, 2024; BSD), which takes the exact neighbours that the home
has. Of 10,000 images, 78 % of the ten nearest neighbours are among the ten nearest on the map, after 54 s of processor
time; with UMAP 60 % after 34 s, with PaCMAP 62 % after 14 s. Both need 20 s to import where numba's cache is empty;
with neighbours that are given UMAP does not place new images into an old layout.
"""

import numpy as np

from imgret_assets.domain.analysis.sampling import SEED
from imgret_assets.domain.similarity.neighbours_table import KEPT, Neighbours

# A third of the neighbours that the table has, as t-SNE expects.
PERPLEXITY = KEPT // 3
ROUNDS_FAR, ROUNDS_NEAR = 250, 500
EXAGGERATION = 12
# Fewer images than this have no neighbourhoods to show: their first two principal components are drawn.
LEAST_IMAGES = 10
# Up to so many images the exact tree takes less time than the grid, whose cost depends little on the number.
TREE_ROWS = 3000
# A new image lies at the median of so many placed neighbours: a mean would lie between families, where nothing is.
_PLACED_BY = 5
# Standard deviation of the positions that t-SNE starts from, as its authors advise.
_START_SPREAD = 1e-4


def lay_out(vectors: np.ndarray, neighbours: Neighbours, start: np.ndarray | None = None) -> np.ndarray:
    """Return positions in which near neighbours lie together.

    The same arguments give the same positions on one machine.

    Args:
        vectors: float32 (n, dim), no two equal.
        neighbours: of these vectors.
        start: float64 (n, 2), positions whose arrangement is kept where possible; None for the principal components.

    Returns:
        float64 (n, 2), of no unit, with mean 0.
    """
    count = len(vectors)
    positions = _principal_components(vectors) if start is None else start
    if count < LEAST_IMAGES:
        return positions
    # A start of one point or one line has no direction in which images could part.
    jitter = np.random.default_rng(SEED).normal(size=(count, 2))
    spread = positions.std(axis=0).max()
    positions = (positions - positions.mean(axis=0)) / (spread or 1.0) * _START_SPREAD + jitter * _START_SPREAD / 100

    # Takes a second to import.
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    width = min(KEPT, count - 1)
    # Distances of unit vectors.
    distances = np.sqrt(np.maximum(0.0, 2 - 2 * neighbours.scores[:, :width]))
    lists = PrecomputedNeighbors(neighbours.rows[:, :width].astype(np.int64), distances)
    # One thread each: with several the sums, and so the positions, differ from run to run.
    affinities = PerplexityBasedNN(perplexity=min(PERPLEXITY, width // 3), knn_index=lists, n_jobs=1)
    method = "bh" if count <= TREE_ROWS else "fft"
    layout = TSNEEmbedding(positions, affinities, negative_gradient_method=method, n_jobs=1, random_state=SEED)
    layout = layout.optimize(ROUNDS_FAR, exaggeration=EXAGGERATION, momentum=0.5)
    layout = layout.optimize(ROUNDS_NEAR, momentum=0.8)
    result = np.asarray(layout, np.float64)
    return result - result.mean(axis=0)


def place(positions: np.ndarray, neighbours: Neighbours) -> np.ndarray:
    """Return the positions with those of new images filled in; the others keep theirs.

    New images that are near only to other new ones follow these; a family of which nothing is known lies at the edge.

    Args:
        positions: float64 (n, 2), NaN for new images.
        neighbours: of all n images.
    """
    placed = positions.copy()
    is_known = np.isfinite(placed[:, 0])
    radius = float(np.abs(placed[is_known]).max()) if is_known.any() else 1.0
    step = max(radius, 1.0) / 200
    waiting = np.flatnonzero(~is_known).tolist()
    while waiting:
        found = {row: near for row in waiting if len(near := _placed_neighbours(neighbours.rows[row], is_known))}
        if not found:
            # Nothing is near to any of them: the first one starts a family of its own, at an angle by its number.
            row = waiting[0]
            placed[row] = (radius + 10 * step) * _direction(row)
            is_known[row] = True
        for row, near in found.items():
            # Two images never lie on one another: that would look like one.
            placed[row] = np.median(placed[near], axis=0) + step * _direction(row)
        is_known[list(found)] = True
        waiting = [row for row in waiting if not is_known[row]]
    return placed


def _placed_neighbours(rows: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    rows = rows[rows >= 0]
    return rows[is_known[rows]][:_PLACED_BY]


def _direction(number: int) -> np.ndarray:
    """Return a unit vector; numbers that follow one another lie a golden angle apart."""
    angle = number * np.pi * (3 - np.sqrt(5))
    return np.array([np.cos(angle), np.sin(angle)])


def _principal_components(vectors: np.ndarray) -> np.ndarray:
    """Return the first two principal components of the vectors, float64 (n, 2); zeros where there are fewer."""
    count = len(vectors)
    result = np.zeros((count, 2))
    if count < 2:
        return result
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    mean = (vectors / lengths[:, np.newaxis]).mean(axis=0, dtype=np.float64)
    width = min(8, count, vectors.shape[1])
    basis = np.linalg.qr(np.random.default_rng(SEED).normal(size=(vectors.shape[1], width)))[0]

    def project(directions: np.ndarray) -> np.ndarray:
        # Without a second copy of all vectors.
        return (vectors @ directions.astype(np.float32)) / lengths[:, np.newaxis] - mean @ directions

    for _ in range(6):
        scores = project(basis)
        back = vectors.T @ (scores / lengths[:, np.newaxis]).astype(np.float32) - np.outer(mean, scores.sum(axis=0))
        basis = np.linalg.qr(back.astype(np.float64))[0]
    left, values, _ = np.linalg.svd(project(basis), full_matrices=False)
    found = min(2, len(values))
    result[:, :found] = left[:, :found] * values[:found]
    # A component and its opposite are equally good: the largest number is positive.
    largest = result[np.abs(result).argmax(axis=0), [0, 1]]
    return result * np.where(largest < 0, -1.0, 1.0)
