"""Approximate tables: what they hold, what their metadata say, and the way to exact tables and back."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from imgret_assets.domain.analysis.groups_table import refresh_groups
from imgret_assets.domain.analysis.map_table import refresh_map
from imgret_assets.domain.embeddings.table_reader import list_embeddings, read_vectors
from imgret_assets.domain.similarity import neighbours_table, pairs_table
from imgret_assets.domain.similarity.approximate import method
from imgret_assets.domain.similarity.equal_vectors import group_equal_rows, keep_first_rows
from imgret_assets.domain.similarity.neighbours_table import (
    load_neighbours,
    load_neighbours_of_groups,
    refresh_neighbours,
)
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.similarity.table_accuracy import caveats, check_recall
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import NEAREST, PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import ComparedMetadata, NearestMetadata, PairsMetadata
from imgret_assets.errors import SettingError, TableError, TooManyPairsError
from imgret_tests.support.vector_tables import (
    SPACE,
    Vector,
    expected_pairs,
    random_vectors,
    read_pairs,
    with_settings,
    write_tables,
)

THRESHOLD = 0.6


@pytest.fixture(autouse=True)
def _few_images_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "LEAST_ROWS", 100)


@pytest.fixture
def vectors(rng: np.random.Generator) -> dict[str, Vector]:
    return random_vectors(rng, 400)


@pytest.fixture
def approximate(home: Home, vectors: dict[str, Vector]) -> Home:
    """Return a home with 400 images, which visit 3 of 40 cells."""
    write_tables(home, vectors)
    return with_settings(home, pair_search="approximate", probes=3)


def pairs_metadata(home: Home) -> PairsMetadata:
    metadata = PAIRS.metadata(home.warehouse, SPACE.id)
    assert metadata is not None
    return metadata


def nearest_metadata(home: Home) -> NearestMetadata:
    metadata = NEAREST.metadata(home.warehouse, SPACE.id)
    assert metadata is not None
    return metadata


def test_approximate_pairs_are_true_and_their_recall_is_known(approximate: Home, vectors: dict[str, Vector]) -> None:
    report = refresh_pairs(approximate, SPACE.id, THRESHOLD)
    found, expected = read_pairs(approximate), expected_pairs(vectors, THRESHOLD)
    # To the last bit of the scores.
    assert found.items() < expected.items()
    metadata = pairs_metadata(approximate)
    assert (metadata.exact, metadata.method, metadata.probes, metadata.cells) == (False, method.METHOD, 3, 40)
    assert 0 < metadata.recall_at_least < metadata.recall < 1  # type: ignore[operator]
    partners = {path: {pair for pair in expected if path in pair} for path in vectors}
    shares = [len(pairs & found.keys()) / len(pairs) for pairs in partners.values() if pairs]
    # The sample is all images.
    assert metadata.recall == pytest.approx(np.mean(shares), abs=1e-12)
    assert metadata.recall_images == len(shares)
    assert report.algorithm == "approximate: 3 of 40 cells"
    assert 0 < report.compared < 400 * 399 // 2
    assert metadata.caveat in report.summary
    assert f"{metadata.recall:.2%}" in metadata.caveat
    assert not refresh_pairs(approximate, SPACE.id, THRESHOLD).written


def test_approximate_neighbours_have_exact_scores_and_a_recall(home: Home, vectors: dict[str, Vector]) -> None:
    write_tables(home, vectors)
    refresh_neighbours(home, SPACE.id)
    exact = load_neighbours(home, SPACE.id)
    assert nearest_metadata(home).exact
    tables.nearest_path(home.warehouse, SPACE.id).unlink()
    one = with_settings(home, pair_search="approximate", probes=1)
    report = refresh_neighbours(one, SPACE.id)
    found, metadata = load_neighbours(one, SPACE.id), nearest_metadata(one)
    assert (metadata.exact, metadata.probes, metadata.cells, metadata.recall_images) == (False, 1, 40, 400)
    assert (found.rows >= 0).all()
    assert (found.scores <= exact.scores).all()
    assert metadata.recall == pytest.approx((found.scores >= exact.scores[:, -1:]).mean(), abs=1e-12)
    assert 0 < metadata.recall_at_least < metadata.recall <= 1  # type: ignore[operator]
    assert report.how.startswith("approximate, 1 of 40 cells; all against all")
    assert metadata.caveat in report.summary
    assert not refresh_neighbours(one, SPACE.id).written


@pytest.mark.parametrize("max_neighbours", [None, 3])
def test_with_as_many_probes_as_cells_the_tables_are_the_exact_ones(
    home: Home, vectors: dict[str, Vector], max_neighbours: int | None
) -> None:
    # Equal vectors are found by their group.
    vectors |= {f"copy-{path}": vectors[path] for path in sorted(vectors)[:20]}
    write_tables(home, vectors)
    files = tables.pairs_path(home.warehouse, SPACE.id), tables.nearest_path(home.warehouse, SPACE.id)
    written = []
    for values in ({"pair_search": "cascade"}, {"pair_search": "approximate", "probes": 1000}):
        one = with_settings(home, max_neighbours=max_neighbours, **values)  # type: ignore[arg-type]
        refresh_pairs(one, SPACE.id, THRESHOLD)
        refresh_neighbours(one, SPACE.id)
        written.append([pq.read_table(file) for file in files])
        for file in files:
            file.unlink()
    for exact, approximate in zip(*written, strict=True):
        assert exact.equals(approximate)
        assert ComparedMetadata.from_metadata(_texts(exact)).exact  # type: ignore[union-attr]
        metadata = ComparedMetadata.from_metadata(_texts(approximate))
        assert metadata is not None
        assert (metadata.exact, metadata.recall) == (False, 1.0)


def _texts(table: Any) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in table.schema.metadata.items()}


def test_an_exact_setting_makes_an_approximate_table_again(approximate: Home, vectors: dict[str, Vector]) -> None:
    refresh_pairs(approximate, SPACE.id, THRESHOLD)
    refresh_neighbours(approximate, SPACE.id)
    exact = with_settings(approximate, pair_search="cascade")
    report = refresh_pairs(exact, SPACE.id, THRESHOLD)
    assert report.how == "all against all: the earlier table is approximate"
    assert read_pairs(exact) == expected_pairs(vectors, THRESHOLD)
    assert pairs_metadata(exact).exact
    assert "all against all: the earlier table is approximate" in refresh_neighbours(exact, SPACE.id).how
    assert nearest_metadata(exact).exact
    # And nothing gets worse for a setting that allows it.
    assert not refresh_pairs(approximate, SPACE.id, THRESHOLD).written
    assert not refresh_neighbours(approximate, SPACE.id).written


def test_other_probes_make_the_tables_again(approximate: Home) -> None:
    refresh_pairs(approximate, SPACE.id, THRESHOLD)
    refresh_neighbours(approximate, SPACE.id)
    more = with_settings(approximate, probes=5)
    assert "with 3 probes" in refresh_pairs(more, SPACE.id, THRESHOLD).how
    assert "with 3 probes" in refresh_neighbours(more, SPACE.id).how
    assert (pairs_metadata(more).probes, nearest_metadata(more).probes) == (5, 5)


def test_new_images_are_compared_exactly_with_all_and_the_table_stays_approximate(
    approximate: Home, vectors: dict[str, Vector], rng: np.random.Generator
) -> None:
    refresh_pairs(approximate, SPACE.id, THRESHOLD)
    refresh_neighbours(approximate, SPACE.id)
    before, new = pairs_metadata(approximate), random_vectors(rng, 5, start=900)
    write_tables(approximate, vectors | new)
    report = refresh_pairs(approximate, SPACE.id, THRESHOLD)
    assert "5 new or changed images against all 405" in report.how
    found, expected = read_pairs(approximate), expected_pairs(vectors | new, THRESHOLD)
    assert found.items() < expected.items()
    of_new = {pair for pair in expected if pair[0] in new or pair[1] in new}
    assert of_new
    assert of_new <= found.keys()
    metadata = pairs_metadata(approximate)
    assert (metadata.exact, metadata.probes, metadata.cells) == (False, 3, 40)
    assert metadata.recall != before.recall
    assert "5 new or changed images" in refresh_neighbours(approximate, SPACE.id).how
    assert not nearest_metadata(approximate).exact


def test_an_exact_table_is_completed_exactly(home: Home, vectors: dict[str, Vector], rng: np.random.Generator) -> None:
    write_tables(home, vectors)
    refresh_pairs(home, SPACE.id, THRESHOLD)
    refresh_neighbours(home, SPACE.id)
    approximate = with_settings(home, pair_search="approximate", probes=3)
    vectors |= random_vectors(rng, 5, start=900)
    write_tables(approximate, vectors)
    refresh_pairs(approximate, SPACE.id, THRESHOLD)
    refresh_neighbours(approximate, SPACE.id)
    assert pairs_metadata(approximate).exact
    assert nearest_metadata(approximate).exact
    assert read_pairs(approximate) == expected_pairs(vectors, THRESHOLD)


def test_few_images_are_compared_exactly(home: Home, rng: np.random.Generator) -> None:
    vectors = random_vectors(rng, 99)
    write_tables(home, vectors)
    one = with_settings(home, pair_search="approximate")
    assert refresh_pairs(one, SPACE.id, THRESHOLD).algorithm == "brute force"
    refresh_neighbours(one, SPACE.id)
    assert pairs_metadata(one).exact
    assert nearest_metadata(one).exact
    assert read_pairs(one) == expected_pairs(vectors, THRESHOLD)


def test_lists_that_are_lost_are_searched_as_the_table_was(approximate: Home, vectors: dict[str, Vector]) -> None:
    # A group of equal vectors: only then are lists of groups read.
    vectors["copy.png"] = vectors["000.png"]
    write_tables(approximate, vectors)
    refresh_neighbours(approximate, SPACE.id)
    listing = list_embeddings(approximate, SPACE.id)
    stored = read_vectors(approximate, SPACE.id, listing)
    groups = group_equal_rows(stored)
    stored = keep_first_rows(stored, groups)
    before = load_neighbours_of_groups(approximate, SPACE.id, listing, stored, groups)
    (approximate.work / "nearest" / f"{SPACE.id}.lists.npz").unlink()
    exact = with_settings(approximate, pair_search="cascade", probes=9)
    after = load_neighbours_of_groups(exact, SPACE.id, listing, stored, groups)
    np.testing.assert_array_equal(after.rows, before.rows)
    np.testing.assert_array_equal(after.scores, before.scores)


def test_a_table_of_an_earlier_version_is_exact(home: Home, vectors: dict[str, Vector], tmp_path: Path) -> None:
    write_tables(home, vectors)
    refresh_pairs(home, SPACE.id, THRESHOLD)
    path = tables.pairs_path(home.warehouse, SPACE.id)
    kept = {
        key: value
        for key, value in tables.read_metadata(path).items()
        if key in ("space", "coverage", "threshold", "images", "max_neighbours", "cut")
    }
    tables.write(path, pq.read_table(path), kept)
    metadata = pairs_metadata(home)
    assert (metadata.exact, metadata.caveat, metadata.search) == (True, "", "")
    assert not refresh_pairs(home, SPACE.id, THRESHOLD).written


def test_a_metadata_value_that_is_no_boolean_is_another_version() -> None:
    assert ComparedMetadata.from_metadata({"space": "s", "coverage": "c", "exact": "perhaps"}) is None


def test_too_many_pairs_end_an_approximate_search(approximate: Home) -> None:
    with pytest.raises(TooManyPairsError):
        refresh_pairs(with_settings(approximate, max_pairs=100), SPACE.id, THRESHOLD)


def _refresh_pairs(home: Home) -> object:
    return refresh_pairs(home, SPACE.id, THRESHOLD)


def _refresh_neighbours(home: Home) -> object:
    return refresh_neighbours(home, SPACE.id)


@pytest.mark.parametrize("refresh", [_refresh_pairs, _refresh_neighbours])
def test_a_missing_extra_is_named_before_vectors_are_read(
    approximate: Home, monkeypatch: pytest.MonkeyPatch, refresh: Callable[[Home], object]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "faiss" else find_spec(name, *rest)
    )
    for module in (pairs_table, neighbours_table):
        monkeypatch.setattr(module, "read_vectors", lambda *_: pytest.fail("vectors were read"))
    with pytest.raises(SettingError, match=r"imgret\[approximate\]"):
        refresh(approximate)
    assert not list(approximate.warehouse.glob("*/*/pairs.parquet"))


def test_the_check_passes_by_the_lower_limit_of_the_recall(approximate: Home) -> None:
    poor = with_settings(approximate, probes=1)
    refresh_pairs(poor, SPACE.id, THRESHOLD)
    finding = check_recall(poor, SPACE.id, table=PAIRS)  # type: ignore[arg-type]
    metadata = pairs_metadata(poor)
    assert not finding.passed
    assert metadata.caveat in finding.summary
    assert "raise IMGRET_PROBES" in finding.summary
    assert (finding.facts["recall"], finding.facts["recall_at_least"]) == (metadata.recall, metadata.recall_at_least)
    assert caveats(poor, SPACE.id) == [f"Pairs table. {metadata.caveat}"]
    good = with_settings(approximate, probes=40)
    refresh_pairs(good, SPACE.id, THRESHOLD)
    finding = check_recall(good, SPACE.id, table=PAIRS)  # type: ignore[arg-type]
    assert (finding.passed, finding.facts["exact"], finding.facts["recall"]) == (True, False, 1.0)
    exact = with_settings(approximate, pair_search="cascade")
    refresh_pairs(exact, SPACE.id, THRESHOLD)
    finding = check_recall(exact, SPACE.id, table=PAIRS)  # type: ignore[arg-type]
    assert (finding.passed, finding.summary, finding.facts) == (True, "exact: no row is missing", {"exact": True})
    assert caveats(exact, SPACE.id) == []
    with pytest.raises(TableError):
        check_recall(exact, SPACE.id, table=NEAREST)  # type: ignore[arg-type]


def test_groups_and_map_are_made_again_from_other_neighbours(approximate: Home) -> None:
    """Their coverage stays the same."""
    refresh_neighbours(approximate, SPACE.id)
    assert refresh_groups(approximate, SPACE.id).written
    assert refresh_map(approximate, SPACE.id).written
    assert not refresh_groups(approximate, SPACE.id).written
    assert not refresh_map(approximate, SPACE.id).written
    exact = with_settings(approximate, pair_search="cascade")
    refresh_neighbours(exact, SPACE.id)
    assert refresh_groups(exact, SPACE.id).written
    assert refresh_map(exact, SPACE.id).written
    assert not refresh_map(exact, SPACE.id).written
