"""Communities, their split and the agreement with labels, against their definitions."""

from collections.abc import Sequence

import numpy as np
import pytest

from imgret_assets.domain.analysis.clustering import (
    find_communities,
    find_groups,
    measure_agreement,
    neighbour_pairs,
    split_communities,
)
from imgret_assets.domain.similarity.neighbours_table import Neighbours
from imgret_assets.errors import SettingError
from imgret_tests.unit.analysis.sample_collections import cosines, families, neighbours_of


def b_cubed(groups: Sequence[int], labels: Sequence[str | None]) -> tuple[float, float]:
    """Return precision and recall, computed image by image."""
    known = [row for row, label in enumerate(labels) if label]
    precisions, recalls = [], []
    for row in known:
        same_group = [other for other in known if groups[other] == groups[row]]
        same_label = [other for other in known if labels[other] == labels[row]]
        both = set(same_group) & set(same_label)
        precisions.append(len(both) / len(same_group))
        recalls.append(len(both) / len(same_label))
    return float(np.mean(precisions)), float(np.mean(recalls))


def test_agreement_equals_its_definition(rng: np.random.Generator) -> None:
    groups = rng.integers(0, 6, 90)
    labels = [None if row % 7 == 0 else f"label{rng.integers(4)}" for row in range(90)]
    agreement = measure_agreement(groups, labels)
    assert agreement is not None
    precision, recall = b_cubed(groups.tolist(), labels)
    assert (agreement.precision, agreement.recall) == pytest.approx((precision, recall))
    assert agreement.f1 == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("labels", [[], [None, None], ["a", "a"], ["", None]])
def test_fewer_than_two_labels_give_no_agreement(labels: list[str | None]) -> None:
    assert measure_agreement(np.arange(len(labels)), labels) is None


def test_pairs_are_those_of_which_one_is_a_neighbour_of_the_other() -> None:
    a, b = neighbour_pairs(np.array([[1, 3], [0, -1], [1, -1], [-1, -1]], np.int32))
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == [(0, 1), (0, 3), (1, 2)]


def test_cliques_connected_by_a_bridge_are_two_communities() -> None:
    pairs = [(a, b) for start in (0, 5) for a in range(start, start + 5) for b in range(a + 1, start + 5)] + [(4, 5)]
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    assert find_communities(12, a, b, np.ones(len(a))).tolist() == [0] * 5 + [1] * 5 + [2, 3]


def test_without_edges_every_row_is_a_community() -> None:
    empty = np.empty(0, np.int64)
    assert find_communities(3, empty, empty, np.empty(0)).tolist() == [0, 1, 2]


def test_a_chain_is_split_until_all_members_are_close_to_a_representative() -> None:
    angles = np.linspace(0, np.pi / 2, 19)
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    min_score = float(np.cos(np.radians(16)))
    representatives, scores = split_communities(unit, np.zeros(19, np.int64), min_score)
    truth = cosines(unit)
    assert len(set(representatives.tolist())) > 1
    assert set(representatives[representatives].tolist()) == set(representatives.tolist())
    for row, representative in enumerate(representatives.tolist()):
        assert scores[row] == pytest.approx(truth[row, representative], abs=1e-6)
        assert scores[row] >= min_score
    # The first representative is the closest to the mean of all.
    assert representatives[9] == 9


@pytest.mark.parametrize("min_score", [None, -1.0, 0.3, 0.8, 1.0])
def test_every_member_has_the_minimum_score(rng: np.random.Generator, min_score: float | None) -> None:
    vectors, _ = families(rng, [3, 8, 20, 1, 1, 30])
    grouping = find_groups(vectors, neighbours_of(vectors), min_score=min_score)
    truth = cosines(vectors)
    assert min_score is None or grouping.min_score == min_score
    rows = np.arange(len(vectors))
    np.testing.assert_allclose(grouping.scores, truth[rows, grouping.groups], atol=1e-6)
    assert (grouping.scores >= grouping.min_score).all()
    assert (grouping.groups[grouping.groups] == grouping.groups).all()
    # A group lies in one community.
    assert all(grouping.communities[row] == grouping.communities[grouping.groups[row]] for row in rows)


def test_families_are_found(rng: np.random.Generator) -> None:
    vectors, labels = families(rng, [6, 12, 20, 9, 15, 25])
    grouping = find_groups(vectors, neighbours_of(vectors))
    agreement = measure_agreement(grouping.groups, labels)
    assert agreement is not None
    assert agreement.f1 > 0.95


def test_the_same_input_gives_the_same_groups(rng: np.random.Generator) -> None:
    vectors, _ = families(rng, [10] * 12, noise=1.3)
    neighbours = neighbours_of(vectors)
    first = find_groups(vectors, neighbours)
    for _ in range(3):
        again = find_groups(vectors.copy(), neighbours)
        assert again.groups.tolist() == first.groups.tolist()
        assert again.communities.tolist() == first.communities.tolist()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tiny_collections(count: int) -> None:
    vectors = np.ones((count, 3), np.float32)
    neighbours = neighbours_of(vectors) if count else Neighbours([], np.empty((0, 0)), np.empty((0, 0)))
    assert find_groups(vectors, neighbours).groups.tolist() == [0] * count


def test_equal_vectors_are_one_group() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32), 6, axis=0)
    assert find_groups(vectors, neighbours_of(vectors)).groups.tolist() == [0] * 6 + [6] * 6 + [12] * 6


@pytest.mark.parametrize("min_score", [1.5, -2.0, float("nan")])
def test_a_minimum_score_that_is_no_cosine_is_refused(min_score: float) -> None:
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(SettingError, match="min_score is"):
        find_groups(vectors, neighbours_of(vectors), min_score=min_score)


def related(rng: np.random.Generator, sizes: Sequence[int], unrelated: int) -> np.ndarray:
    """Return 512 numbers for each image of some families, then for images in directions of their own."""
    family = np.repeat(np.arange(len(sizes)), sizes)
    inside = rng.normal(size=(len(sizes), 512))[family] + 0.4 * rng.normal(size=(len(family), 512))
    return (np.concatenate([inside, rng.normal(size=(unrelated, 512))]) + 0.5).astype(np.float32)


def groups_of_families(vectors: np.ndarray, place: np.ndarray, family_rows: int) -> set[frozenset[int]]:
    """Return the groups that hold a row of a family, as sets of positions in `place`; a row elsewhere is -1."""
    groups = find_groups(vectors, neighbours_of(vectors)).groups
    position = {int(row): number for number, row in enumerate(place)}
    return {
        frozenset(position.get(int(row), -1) for row in np.flatnonzero(groups == group))
        for group in np.unique(groups[place[:family_rows]])
    }


@pytest.mark.parametrize("count", [100, 1000])
@pytest.mark.parametrize("sizes", [[6] * 40, [3, 4, 5, 60, 8, 2, 30, 12], [10]])
def test_unrelated_images_do_not_change_a_group(rng: np.random.Generator, sizes: list[int], count: int) -> None:
    many = related(rng, sizes, 60 + count)
    few = many[: sum(sizes) + 60]
    order = rng.permutation(len(many))
    # The families' rows are anywhere among the others, in their own order.
    place = np.sort(order[: len(few)])
    spread = np.empty_like(many)
    spread[place] = few
    spread[np.setdiff1d(np.arange(len(many)), place)] = many[len(few) :]
    before = groups_of_families(few, np.arange(len(few)), sum(sizes))
    assert groups_of_families(spread, place, sum(sizes)) == before
    ends = np.cumsum(sizes).tolist()
    assert before == {frozenset(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)}


def test_the_communities_of_a_part_do_not_depend_on_the_rest(rng: np.random.Generator) -> None:
    """A part without clear communities is decided by small differences; other parts must not reach them."""
    pairs = np.array([(a, b) for a in range(60) for b in range(a + 1, 60) if rng.random() < 0.12])
    weights = rng.uniform(0.05, 0.3, len(pairs))
    alone = find_communities(60, pairs[:, 0], pairs[:, 1], weights)
    assert 1 < len(set(alone.tolist())) < 60
    others = np.array([(a, b) for a in range(500) for b in range(a + 1, min(500, a + 6))])
    a, b = (np.concatenate([pairs[:, side] * 3 + 500, others[:, side]]) for side in (0, 1))
    joined = find_communities(700, a, b, np.concatenate([weights, rng.uniform(0.6, 1, len(others))]))
    inside = joined[np.arange(60) * 3 + 500]
    assert ((inside[:, None] == inside) == (alone[:, None] == alone)).all()


def test_a_ring_of_many_small_cliques_stays_as_many_communities() -> None:
    """Modularity joins neighbouring cliques of such a ring as soon as there are enough of them."""
    cliques, size = 200, 5
    pairs = [(c * size + x, c * size + y) for c in range(cliques) for x in range(size) for y in range(x + 1, size)]
    ring = [(c * size + 4, (c + 1) % cliques * size) for c in range(cliques)]
    a, b = (np.array(side) for side in zip(*[tuple(sorted(pair)) for pair in [*pairs, *ring]], strict=True))
    weights = np.array([1.0] * len(pairs) + [0.3] * len(ring))
    assert find_communities(cliques * size, a, b, weights).tolist() == np.repeat(np.arange(cliques), size).tolist()
