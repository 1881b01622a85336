"""Find groups of images in the graph of their scores.

Belongs here: the clustering and its agreement with labels. Not here: the table (`domain.analysis.groups_table`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.analysis.sampling import SEED, background, dots
from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.similarity.neighbours_table import Neighbours
from imgret_assets.domain.similarity.query_expansion import averaged
from imgret_assets.errors import SettingError

LINKED_FROM = 0.65
SPLIT_FROM = 0.2
# Not higher: a collection that is a single family would fall into single images.
RESOLUTION = 1.0
# A background above this is no background: there are only copies, or a single family.
HIGHEST_BACKGROUND = 0.9
_LEIDEN_ROUNDS = 3
# Links weigh in whole millionths, and scores are compared in them, so that the last digits of a product don't decide.
_STEP = 1e6


class Grouping(NamedTuple):
    """What was found.

    Attributes:
        communities: int64 (n,), before the split: a number for each row, in order of appearance.
        groups: int64 (n,), after it: the row of each row's representative.
        scores: float64 (n,): cosine of each row with its representative; 1 for the representative itself.
        least: no score is less than this.
    """

    communities: np.ndarray
    groups: np.ndarray
    scores: np.ndarray
    least: float


@dataclass(frozen=True)
class Agreement:
    """How far groups agree with labels, image by image (Bagga and Baldwin, 1998; Amigo and others, 2009).

    `precision`: the share of an image's group that has its label; `recall`: the share of its label that is in its
    group; both averaged over the labelled images, themselves counted. `f1`: their harmonic mean.
    """

    precision: float
    recall: float
    f1: float


def links(neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows a < b of which one is among the other's neighbours, each once, sorted."""
    count = len(neighbours)
    row = np.repeat(np.arange(count, dtype=np.int64), neighbours.shape[1])
    other = neighbours.ravel().astype(np.int64)
    there = other >= 0
    keys = np.unique(np.minimum(row, other)[there] * count + np.maximum(row, other)[there])
    return keys // max(1, count), keys % max(1, count)


def communities(count: int, a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Leiden communities of a weighted graph over `count` rows: int64 (count,), numbered in order of appearance.

    Rows without a link are alone. The same graph gives the same communities.
    """
    if not len(a):
        return np.arange(count)
    from graspologic_native import leiden_csr  # type: ignore[attr-defined]

    row, column, both = np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([weights, weights])
    order = np.lexsort((column, row))
    starts = np.searchsorted(row[order], np.arange(count + 1)).astype(np.int64)
    _, found = leiden_csr(
        starts,
        column[order].astype(np.int32),
        both[order].astype(np.float64),
        count,
        resolution=RESOLUTION,
        iterations=_LEIDEN_ROUNDS,
        seed=SEED,
    )
    linked = np.zeros(count, bool)
    linked[row] = True
    numbers = np.array([found.get(node, -1) if linked[node] else -1 for node in range(count)], np.int64)
    numbers[numbers < 0] = np.arange(count)[numbers < 0] + count
    return _by_appearance(numbers)


def _by_appearance(numbers: np.ndarray) -> np.ndarray:
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def split(unit: np.ndarray, numbers: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Split groups until every member's cosine with its group's representative is at least `least`.

    The representative is the member nearest to the mean of what is left of the group, the first of equals; what is
    further away becomes the next group to split.

    Returns:
        the representative's row of every row, int64 (n,), and the cosine with it, float64 (n,).
    """
    representatives, scores = np.empty(len(unit), np.int64), np.empty(len(unit))
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    for members in np.split(order, starts[1:]) if len(order) else []:
        left = members
        while len(left):
            mean = unit[left].sum(axis=0, dtype=np.float64)
            nearest = left[int(np.argmax(np.round(unit[left] @ mean * _STEP)))]
            found = dots(unit, unit, left, np.full(len(left), nearest))
            found[left == nearest] = 1.0
            inside = found >= least
            representatives[left[inside]], scores[left[inside]] = nearest, np.minimum(found[inside], 1.0)
            left = left[~inside]
    return representatives, scores


def find_groups(vectors: np.ndarray, neighbours: Neighbours, *, least: float | None = None) -> Grouping:
    """Group images by their vectors.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; rows as in `neighbours`, by sorted path.
        neighbours: the nearest of each row.
        least: cosine of every member with its representative; by the background's distance from 1 where None.

    Raises:
        SettingError: `least` is no cosine.
    """
    if least is not None and not -1 <= least <= 1:
        raise SettingError(f"least_score is {least}", expected="a cosine, -1 to 1")
    unit = unit_rows(vectors)
    if least is None:
        least = round(_above(min(background(unit), HIGHEST_BACKGROUND), SPLIT_FROM), 3)
    smooth = averaged(unit, neighbours.rows, neighbours.scores)
    ground = min(background(smooth), HIGHEST_BACKGROUND)
    a, b = links(neighbours.rows)
    weights = (dots(smooth, smooth, a, b) - ground) / (1 - ground)
    kept = weights > LINKED_FROM
    numbers = communities(len(unit), a[kept], b[kept], np.round(weights[kept] * _STEP) / _STEP)
    return Grouping(numbers, *split(unit, numbers, least), least)


def _above(ground: float, share: float) -> float:
    return ground + share * (1 - ground)


def agreement(numbers: np.ndarray, labels: Sequence[str | None]) -> Agreement | None:
    """B-cubed precision, recall and F1 of groups against labels; None where fewer than two labels are known."""
    known = np.flatnonzero([bool(label) for label in labels])
    names = np.unique([label for label in labels if label], return_inverse=True)[1] if len(known) else np.empty(0, int)
    if not len(known) or names.max() == 0:
        return None
    group = np.unique(np.asarray(numbers)[known], return_inverse=True)[1]
    _, cell, both = np.unique(group * (names.max() + 1) + names, return_inverse=True, return_counts=True)
    precision = float(np.mean(both[cell] / np.bincount(group)[group]))
    recall = float(np.mean(both[cell] / np.bincount(names)[names]))
    return Agreement(precision, recall, 2 * precision * recall / (precision + recall))
