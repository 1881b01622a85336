"""Pairs of images with a score near a threshold, for people to see what it would separate.

Belongs here: which pairs are shown for a threshold. Not here: how many pairs a threshold gives
(`domain.analysis.calibration`), the pairs of the graph (`domain.similarity.pairs_table`), drawing.

The pairs are those of the nearest neighbours, so there are some on both sides of every threshold. Duplicates are left
out: they say nothing about what a score means.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.analysis.duplicate_sets import read_duplicate_sets
from imgret_assets.domain.embeddings.table_reader import list_embeddings
from imgret_assets.domain.similarity.neighbours_table import load_neighbours
from imgret_assets.domain.storage.derived_tables import NEAREST
from imgret_assets.domain.storage.home import Home

# Pairs beside a threshold among which those with different images are chosen.
_CONSIDERED = 60


class SamplePair(NamedTuple):
    """Paths of two images, and their score."""

    a: str
    b: str
    score: float


@dataclass(frozen=True)
class ThresholdSamples:
    """Pairs of near images that are no duplicates, by rising score.

    Attributes:
        paths: of all images.
        a, b: int64 (pairs,), rows of the two images of each pair.
        scores: float64 (pairs,), cosines, ascending.
    """

    paths: Sequence[str]
    a: np.ndarray
    b: np.ndarray
    scores: np.ndarray

    def above(self, threshold: float, count: int) -> list[SamplePair]:
        """Return pairs with the lowest scores greater than the threshold, the lowest first, of different images."""
        start = int(np.searchsorted(self.scores, threshold, side="right"))
        return self._distinct(range(start, min(len(self.scores), start + _CONSIDERED)), count)

    def below(self, threshold: float, count: int) -> list[SamplePair]:
        """Return pairs with the highest scores not greater than the threshold, the highest first, likewise."""
        end = int(np.searchsorted(self.scores, threshold, side="right"))
        return self._distinct(range(end - 1, max(-1, end - 1 - _CONSIDERED), -1), count)

    def _distinct(self, places: Iterable[int], count: int) -> list[SamplePair]:
        pairs: list[SamplePair] = []
        shown: set[int] = set()
        for place in places:
            a, b = int(self.a[place]), int(self.b[place])
            if len(pairs) < count and shown.isdisjoint((a, b)):
                shown.update((a, b))
                pairs.append(SamplePair(self.paths[a], self.paths[b], float(self.scores[place])))
        return pairs


def load_threshold_samples(home: Home, space: str) -> ThresholdSamples:
    """Read the pairs of nearest neighbours that are no duplicates.

    Raises:
        TableError: a table is missing or damaged.
        StaleTableError: the nearest neighbours were made from other embeddings.
    """
    listing = list_embeddings(home, space)
    NEAREST.require_current(home.warehouse, space, listing.coverage)
    neighbours = load_neighbours(home, space)
    sets = read_duplicate_sets(home, listing.paths, listing.vector_keys)
    return samples_of(listing.paths, neighbours.rows, neighbours.scores, sets)


def samples_of(paths: Sequence[str], rows: np.ndarray, scores: np.ndarray, sets: list[str]) -> ThresholdSamples:
    """Return the pairs of images of which one is among the other's nearest neighbours, without duplicates.

    Args:
        paths: of the images.
        rows: int (n, k), rows of each image's nearest neighbours; -1 if there are fewer.
        scores: float64 (n, k), their cosines.
        sets: key of each image; duplicates of each other have equal keys.
    """
    count = len(paths)
    image = np.repeat(np.arange(count, dtype=np.int64), rows.shape[1])
    other = rows.ravel().astype(np.int64)
    present = other >= 0
    # Each pair once, with the score of whichever of the two lists has it.
    keys = np.minimum(image, other)[present] * count + np.maximum(image, other)[present]
    keys, first = np.unique(keys, return_index=True)
    a, b = keys // max(1, count), keys % max(1, count)
    score_of = scores.ravel()[present][first]
    number = np.unique(np.asarray(sets, dtype=np.str_), return_inverse=True)[1] if sets else np.empty(0, np.int64)
    distinct = number[a] != number[b]
    order = np.lexsort((b[distinct], a[distinct], score_of[distinct]))
    return ThresholdSamples(paths, a[distinct][order], b[distinct][order], score_of[distinct][order])
