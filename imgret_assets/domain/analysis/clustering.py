"""The clustering of images into groups, and its agreement with labels.

Belongs here: communities of the neighbour graph, their split, the agreement. Not here: the table
(`domain.analysis.groups_table`, which describes the method).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.analysis.sampling import SEED, background_score, pair_dots
from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.similarity.equal_vectors import RowGroups
from imgret_assets.domain.similarity.neighbours_table import Neighbours
from imgret_assets.domain.similarity.query_expansion import averaged_rows
from imgret_assets.errors import SettingError

# Shares of the way from the background score to 1: a pair is connected above the first, and every member has at least
# the second with its group's representative.
LINKED_FROM = 0.45
SPLIT_FROM = 0.1
# Of the constant Potts model: a community's links weigh more than this share of all its pairs. Unlike modularity, which
# joins small communities of a large graph, it compares a community with nothing outside it. Lower values join two
# families of five over one link; higher ones divide large families, whose images have links to few of the others.
RESOLUTION = 0.05
# A higher median is no background: the collection has only duplicates, or a single family.
_MAX_BACKGROUND = 0.9
_LEIDEN_ROUNDS = 3
# Weights and scores are compared in whole millionths, so that the last digits of a product don't decide.
_STEP = 1e6


class Grouping(NamedTuple):
    """The groups of a collection.

    Attributes:
        communities: int64 (n,), number of each row's community, in order of appearance; communities are not split.
        groups: int64 (n,), row of the representative of each row's group.
        scores: float64 (n,), cosine of each row with its representative; 1 for the representative itself.
        min_score: every score is at least this.
    """

    communities: np.ndarray
    groups: np.ndarray
    scores: np.ndarray
    min_score: float


@dataclass(frozen=True)
class Agreement:
    """B-cubed agreement of groups with labels (Bagga and Baldwin, 1998; Amigo and others, 2009).

    Attributes:
        precision: the share of an image's group that has the image's label, averaged over the labelled images.
        recall: the share of the images with an image's label that is in the image's group, averaged likewise. Both
            count the image itself.
        f1: harmonic mean of the two.
    """

    precision: float
    recall: float
    f1: float


def neighbour_pairs(neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of rows a < b of which one is among the other's neighbours, each once, sorted."""
    count = len(neighbours)
    rows = np.repeat(np.arange(count, dtype=np.int64), neighbours.shape[1])
    others = neighbours.ravel().astype(np.int64)
    present = others >= 0
    keys = np.unique(np.minimum(rows, others)[present] * count + np.maximum(rows, others)[present])
    return keys // max(1, count), keys % max(1, count)


def find_communities(count: int, a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the Leiden communities of a weighted graph by the constant Potts model.

    Each connected part of the graph is clustered by itself, so that its communities depend on nothing outside it. The
    same graph gives the same communities.

    Args:
        count: number of rows.
        a: int64 (edges,), one row of each edge.
        b: int64 (edges,), its other row.
        weights: float64 (edges,), greater than 0.

    Returns:
        int64 (count,): number of each row's community, in order of appearance. A row without an edge is alone.
    """
    numbers = np.arange(count)
    if not len(a):
        return numbers
    parts = _connected_parts(count, a, b)
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    both_weights = np.concatenate([weights, weights]).astype(np.float64)
    order = np.lexsort((columns, rows, parts[rows]))
    rows, columns, both_weights = rows[order], columns[order], both_weights[order]
    starts = np.flatnonzero(np.diff(parts[rows], prepend=-1))
    for start, end in zip(starts, np.append(starts[1:], len(rows)), strict=True):
        members = np.unique(rows[start:end])
        edges = np.searchsorted(members, rows[start:end]), np.searchsorted(members, columns[start:end])
        numbers[members] = members[_communities_of_part(len(members), *edges, both_weights[start:end])]
    return _by_appearance(numbers)


def _communities_of_part(count: int, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the first row of each row's community in a connected graph, given with each edge in both directions."""
    if count == 2 and weights[0] > RESOLUTION:
        return np.zeros(2, np.int64)
    # Heavy: a compiled library that only this function needs.
    from graspologic_native import leiden_csr  # type: ignore[attr-defined]

    _, community_of = leiden_csr(
        np.searchsorted(rows, np.arange(count + 1)).astype(np.int64),
        columns.astype(np.int32),
        weights,
        count,
        resolution=RESOLUTION,
        iterations=_LEIDEN_ROUNDS,
        use_modularity=False,
        seed=SEED,
    )
    numbers = np.array([community_of.get(row, count + row) for row in range(count)], np.int64)
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return first[inverse]


def _connected_parts(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return int64 (count,): the smallest row of each row's connected part."""
    lowest = np.arange(count)
    while True:
        joined = lowest.copy()
        low = np.minimum(lowest[a], lowest[b])
        np.minimum.at(joined, lowest[a], low)
        np.minimum.at(joined, lowest[b], low)
        while (joined != joined[joined]).any():
            joined = joined[joined]
        if (joined == lowest).all():
            return lowest
        lowest = joined


def _by_appearance(numbers: np.ndarray) -> np.ndarray:
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def split_communities(unit: np.ndarray, communities: np.ndarray, min_score: float) -> tuple[np.ndarray, np.ndarray]:
    """Split communities until the cosine of every member with its representative is at least `min_score`.

    The representative is the member closest to the mean of the community's remaining members, the first of equals.
    The members that are further from it than `min_score` remain, and are split in the same way.

    Args:
        unit: float32 (n, dim), unit rows.
        communities: int64 (n,), number of each row's community.
        min_score: a cosine.

    Returns:
        int64 (n,), the row of each row's representative, and float64 (n,), the cosine with it.
    """
    representatives, scores = np.empty(len(unit), np.int64), np.empty(len(unit))
    order = np.argsort(communities, kind="stable")
    starts = np.flatnonzero(np.diff(communities[order], prepend=-1))
    for members in np.split(order, starts[1:]) if len(order) else []:
        remaining = members
        while len(remaining):
            mean = unit[remaining].sum(axis=0, dtype=np.float64)
            representative = remaining[int(np.argmax(np.round(unit[remaining] @ mean * _STEP)))]
            cosines = pair_dots(unit, unit, remaining, np.full(len(remaining), representative))
            cosines[remaining == representative] = 1.0
            inside = cosines >= min_score
            representatives[remaining[inside]] = representative
            scores[remaining[inside]] = np.minimum(cosines[inside], 1.0)
            remaining = remaining[~inside]
    return representatives, scores


def find_groups(vectors: np.ndarray, neighbours: Neighbours, *, min_score: float | None = None) -> Grouping:
    """Group images by their vectors.

    An image has links to its nearest neighbours only. So where a thousand rows have one vector, they are no clique, and
    what resembles them has no other neighbours: group one row of each vector, and use `spread_grouping`.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; the rows of `neighbours`.
        neighbours: the nearest neighbours of each row.
        min_score: minimum cosine of every member with its representative. None for SPLIT_FROM of the way from the
            background score to 1.

    Raises:
        SettingError: `min_score` is no cosine.
    """
    if min_score is not None and not -1 <= min_score <= 1:
        raise SettingError(f"min_score is {min_score}", expected="a cosine, -1 to 1")
    unit = unit_rows(vectors)
    background = min(background_score(unit), _MAX_BACKGROUND)
    if min_score is None:
        min_score = round(background + SPLIT_FROM * (1 - background), 3)
    # Not by the cosines themselves: five neighbours of one family, each near the background, would outweigh an image
    # that is unrelated to them.
    shares = np.clip((neighbours.scores - background) / (1 - background), 0.0, 1.0)
    smooth = averaged_rows(unit, neighbours.rows, shares**2)
    background = min(background_score(smooth), _MAX_BACKGROUND)
    a, b = neighbour_pairs(neighbours.rows)
    weights = (pair_dots(smooth, smooth, a, b) - background) / (1 - background)
    connected = weights > LINKED_FROM
    rounded = np.round(weights[connected] * _STEP) / _STEP
    communities = find_communities(len(unit), a[connected], b[connected], rounded)
    return Grouping(communities, *split_communities(unit, communities, min_score), min_score)


def spread_grouping(grouping: Grouping, groups: RowGroups) -> Grouping:
    """Return the grouping of all rows from that of one row of each group of rows with equal vectors.

    Args:
        grouping: of the first rows.
        groups: the groups of all rows.
    """
    if groups.all_single:
        return grouping
    own = groups.group_of
    return grouping._replace(
        communities=grouping.communities[own],
        groups=groups.first_rows[grouping.groups][own],
        scores=grouping.scores[own],
    )


def measure_agreement(groups: np.ndarray, labels: Sequence[str | None]) -> Agreement | None:
    """Return the agreement of groups with labels; None if fewer than two different labels are known.

    Args:
        groups: int (n,), rows with equal numbers are one group.
        labels: label of each row; None or empty if unknown.
    """
    known = np.flatnonzero([bool(label) for label in labels])
    names = np.unique([label for label in labels if label], return_inverse=True)[1] if len(known) else np.empty(0, int)
    if not len(known) or names.max() == 0:
        return None
    group = np.unique(np.asarray(groups)[known], return_inverse=True)[1]
    # A cell is a group and a label; the images of one cell have the same precision and recall.
    _, cell, sizes = np.unique(group * (names.max() + 1) + names, return_inverse=True, return_counts=True)
    precision = float(np.mean(sizes[cell] / np.bincount(group)[group]))
    recall = float(np.mean(sizes[cell] / np.bincount(names)[names]))
    return Agreement(precision, recall, 2 * precision * recall / (precision + recall))
