"""Groups against their definitions, and the table that holds them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from imgret_assets.domain.analysis import groups_table, sampling
from imgret_assets.domain.analysis.clustering import agreement, communities, find_groups, links, split
from imgret_assets.domain.analysis.groups_table import read_groups, refresh_groups
from imgret_assets.domain.analysis.sampling import background
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.table_reader import load_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.similarity.neighbours_table import Neighbours, refresh_neighbours
from imgret_assets.domain.similarity.query_expansion import averaged
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA, groups_path
from imgret_assets.errors import SettingError, StaleTableError, TableError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.tree import put, stamps


def cosines(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit @ unit.T


def neighbours_of(vectors: np.ndarray, k: int = 20) -> Neighbours:
    """By a full sort, ties by row; fewer than k are filled up."""
    scores = cosines(vectors)
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(scores, order, axis=1)
    order = np.where(np.isfinite(found), order, -1)
    return Neighbours([f"{row:04d}" for row in range(len(vectors))], order.astype(np.int32), found)


def families(rng: np.random.Generator, sizes: Sequence[int], *, noise: float = 0.6) -> tuple[np.ndarray, list[str]]:
    """Vectors scattered round a direction of each family, of all lengths, over a common background."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    vectors = rng.normal(size=(len(sizes), 64))[labels] + noise * rng.normal(size=(len(labels), 64)) + 0.5
    vectors *= rng.uniform(0.1, 30, (len(labels), 1))
    order = rng.permutation(len(labels))
    return vectors[order].astype(np.float32), [f"label{label}" for label in labels[order]]


def b_cubed(numbers: Sequence[int], labels: Sequence[str | None]) -> tuple[float, float]:
    """Image by image."""
    known = [row for row, label in enumerate(labels) if label]
    precisions, recalls = [], []
    for row in known:
        together = [other for other in known if numbers[other] == numbers[row]]
        alike = [other for other in known if labels[other] == labels[row]]
        both = set(together) & set(alike)
        precisions.append(len(both) / len(together))
        recalls.append(len(both) / len(alike))
    return float(np.mean(precisions)), float(np.mean(recalls))


def test_agreement_is_its_definition(rng: np.random.Generator) -> None:
    numbers = rng.integers(0, 6, 90)
    labels = [None if row % 7 == 0 else f"label{rng.integers(4)}" for row in range(90)]
    found = agreement(numbers, labels)
    assert found is not None
    precision, recall = b_cubed(numbers.tolist(), labels)
    assert (found.precision, found.recall) == pytest.approx((precision, recall))
    assert found.f1 == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("labels", [[], [None, None], ["a", "a"], ["", None]])
def test_labels_that_tell_nothing_give_no_agreement(labels: list[str | None]) -> None:
    assert agreement(np.arange(len(labels)), labels) is None


@pytest.mark.parametrize("count", [6, 40])
def test_averaged_vectors_are_weighted_means(rng: np.random.Generator, count: int) -> None:
    """Of six, some of the five nearest point the other way: they count nothing."""
    vectors = rng.normal(size=(count, 9)).astype(np.float32)
    near, scores = neighbours_of(vectors), cosines(vectors)
    unit = unit_rows(vectors)
    found = averaged(unit, near.rows, near.scores, 5)
    for row in range(count):
        best = sorted(set(range(count)) - {row}, key=lambda other: (-scores[row, other], other))[:5]
        mean = unit[row] + sum(max(0.0, scores[row, other]) * unit[other] for other in best)
        np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), atol=1e-5)


def test_links_are_the_pairs_of_which_one_is_near_the_other() -> None:
    a, b = links(np.array([[1, 3], [0, -1], [1, -1], [-1, -1]], np.int32))
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == [(0, 1), (0, 3), (1, 2)]


def test_background_is_the_median_of_all_pairs(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(30, 5)).astype(np.float32)
    assert background(unit_rows(vectors)) == pytest.approx(
        float(np.median(cosines(vectors)[np.triu_indices(30, 1)])), abs=1e-6
    )


def test_background_of_many_is_sampled_well(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = (rng.normal(size=(400, 5)) + 0.5).astype(np.float32)
    whole = background(unit_rows(vectors))
    monkeypatch.setattr(sampling, "random_pairs", lambda count: _random_pairs(count, 20_000))
    assert background(unit_rows(vectors)) == pytest.approx(whole, abs=0.02)
    a, b = _random_pairs(400, 20_000)
    assert len(a) == 20_000
    assert (a != b).all()


_random_pairs = sampling.random_pairs


def test_communities_of_cliques_joined_by_a_bridge_are_the_cliques() -> None:
    pairs = [(a, b) for start in (0, 5) for a in range(start, start + 5) for b in range(a + 1, start + 5)] + [(4, 5)]
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    found = communities(12, a, b, np.ones(len(a)))
    assert found.tolist() == [0] * 5 + [1] * 5 + [2, 3]


def test_communities_without_links_are_single() -> None:
    nothing = np.empty(0, np.int64)
    assert communities(3, nothing, nothing, np.empty(0)).tolist() == [0, 1, 2]


def test_a_chain_is_split_until_all_are_near_a_representative() -> None:
    angles = np.linspace(0, np.pi / 2, 19)
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    least = float(np.cos(np.radians(16)))
    representatives, scores = split(unit, np.zeros(19, np.int64), least)
    truth = cosines(unit)
    assert len(set(representatives.tolist())) > 1
    assert set(representatives[representatives].tolist()) == set(representatives.tolist())
    for row, representative in enumerate(representatives.tolist()):
        assert scores[row] == pytest.approx(truth[row, representative], abs=1e-6)
        assert scores[row] >= least
    # The first one is nearest to the mean of all.
    assert representatives[9] == 9


@pytest.mark.parametrize("least", [None, -1.0, 0.3, 0.8, 1.0])
def test_every_member_is_within_the_stated_cosine(rng: np.random.Generator, least: float | None) -> None:
    vectors, _ = families(rng, [3, 8, 20, 1, 1, 30])
    found = find_groups(vectors, neighbours_of(vectors), least=least)
    truth = cosines(vectors)
    assert least is None or found.least == least
    rows = np.arange(len(vectors))
    np.testing.assert_allclose(found.scores, truth[rows, found.groups], atol=1e-6)
    assert (found.scores >= found.least).all()
    assert (found.groups[found.groups] == found.groups).all()
    # The split only splits.
    assert all(found.communities[row] == found.communities[found.groups[row]] for row in rows)


def test_families_are_found(rng: np.random.Generator) -> None:
    vectors, labels = families(rng, [6, 12, 20, 9, 15, 25])
    found = find_groups(vectors, neighbours_of(vectors))
    after = agreement(found.groups, labels)
    assert after is not None
    assert after.f1 > 0.95


def test_the_same_input_gives_the_same_groups(rng: np.random.Generator) -> None:
    vectors, _ = families(rng, [10] * 12, noise=1.3)
    near = neighbours_of(vectors)
    first = find_groups(vectors, near)
    for _ in range(3):
        again = find_groups(vectors.copy(), near)
        assert again.groups.tolist() == first.groups.tolist()
        assert again.communities.tolist() == first.communities.tolist()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tiny_collections(count: int) -> None:
    vectors = np.ones((count, 3), np.float32)
    found = find_groups(
        vectors, neighbours_of(vectors) if count else Neighbours([], np.empty((0, 0)), np.empty((0, 0)))
    )
    assert found.groups.tolist() == [0] * count


def test_equal_vectors_are_one_group() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32), 6, axis=0)
    assert find_groups(vectors, neighbours_of(vectors)).groups.tolist() == [0] * 6 + [6] * 6 + [12] * 6


@pytest.mark.parametrize("least", [1.5, -2.0, float("nan")])
def test_a_least_score_that_is_no_cosine_is_refused(least: float) -> None:
    with pytest.raises(SettingError, match="least_score is"):
        find_groups(np.eye(3, dtype=np.float32), neighbours_of(np.eye(3, dtype=np.float32)), least=least)


# The table


@pytest.fixture
def built(home: Home, settled: None) -> Home:
    """A collection of four families with all tables that groups are made from."""
    write_pictures(home.images, 24)
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_neighbours(home, SPACE)
    return home


SPACE = FakeEmbedder().space.id


def test_the_table_holds_the_groups(built: Home) -> None:
    report = refresh_groups(built, SPACE)
    embeddings = load_embeddings(built, SPACE)
    found = find_groups(embeddings.vectors, neighbours_of(embeddings.vectors))
    table = tables.read(groups_path(built.warehouse, SPACE))
    assert table.schema.remove_metadata().equals(GROUPS_SCHEMA)
    rows = table.to_pylist()
    assert [row["path"] for row in rows] == embeddings.paths
    for row, mine in enumerate(rows):
        members = np.flatnonzero(found.groups == found.groups[row])
        assert mine["group"] == embeddings.paths[found.groups[row]]
        assert mine["representative"] == (found.groups[row] == row)
        assert mine["score"] == pytest.approx(found.scores[row])
        assert mine["size"] == len(members)
        assert mine["weakest_score"] == pytest.approx(found.scores[members].min())
        assert mine["community"] == found.communities[row]
    said = tables.read_metadata(groups_path(built.warehouse, SPACE))
    assert (said["space"], said["coverage"]) == (SPACE, embeddings.coverage)
    sizes = np.unique(found.groups, return_counts=True)[1]
    assert (report.images, report.groups, report.alone) == (24, (sizes > 1).sum(), (sizes == 1).sum())
    assert report.after is not None


def test_nothing_changed_reads_no_vectors_writes_nothing_and_says_the_same(
    built: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = refresh_groups(built, SPACE)
    before = stamps(built.warehouse)
    for name in ("read_vectors", "load_neighbours"):
        monkeypatch.setattr(groups_table, name, lambda *_: pytest.fail("it was read"))
    again = refresh_groups(built, SPACE)
    assert stamps(built.warehouse) == before
    assert again == replace(first, written=False, seconds=0.0)


def test_another_way_of_grouping_groups_anew(built: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh_groups(built, SPACE)
    monkeypatch.setattr(groups_table, "_METHOD", "another")
    assert refresh_groups(built, SPACE).written


def test_another_limit_groups_anew(built: Home) -> None:
    loose = refresh_groups(built, SPACE, least=-1.0)
    strict = refresh_groups(built, SPACE, least=1.0)
    assert strict.written
    assert strict.groups + strict.alone > loose.groups + loose.alone == loose.communities


def test_an_image_alone_has_no_group(built: Home) -> None:
    refresh_groups(built, SPACE, least=1.0)
    coverage = load_embeddings(built, SPACE).coverage
    assert None in set(read_groups(built, SPACE, coverage).values())


def test_groups_of_other_embeddings_are_refused(built: Home) -> None:
    refresh_groups(built, SPACE)
    with pytest.raises(StaleTableError, match=r"groups table is older .*materialise `image_groups`"):
        read_groups(built, SPACE, "other")
    put(built.images, "new.png", picture_bytes(77))
    refresh_manifest(built)
    refresh_embeddings(built, FakeEmbedder())
    with pytest.raises(StaleTableError, match=r"neighbours table is older .*materialise `nearest_neighbours`"):
        refresh_groups(built, SPACE)
    refresh_neighbours(built, SPACE)
    assert refresh_groups(built, SPACE).images == 25


def test_missing_tables_are_named(built: Home) -> None:
    with pytest.raises(TableError, match=r"The groups table is missing.*materialise `image_groups`"):
        read_groups(built, SPACE, "")
    tables.nearest_path(built.warehouse, SPACE).unlink()
    with pytest.raises(TableError, match=r"nearest neighbours table is missing.*materialise `nearest_neighbours`"):
        refresh_groups(built, SPACE)
