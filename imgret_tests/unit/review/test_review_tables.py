"""The sets and pairs of the tables: read once until a table changes, and only if they belong together."""

from itertools import combinations

import numpy as np
import pytest

from imgret_assets.domain.duplicates.duplicate_search import EXACT, NEAR
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.review import review_tables
from imgret_assets.domain.review.decision_log import record
from imgret_assets.domain.review.queue import read_review_queue
from imgret_assets.domain.review.review_tables import ReviewTables, load_review_tables, read_review_tables
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError, TableError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.scenes import encode, scene
from imgret_tests.support.tree import put
from imgret_tests.unit.review.library import SPACE, only_set, put_near_duplicates, refresh, with_protected

pytestmark = pytest.mark.usefixtures("settled")


def test_sets_and_pairs_are_those_of_the_tables(duplicated: Home) -> None:
    loaded = load_review_tables(duplicated)
    path_of = [image.path for image in loaded.images]
    assert path_of == sorted(path_of)
    sets = {path_of[one.keep]: (one.kind, {path_of[row.image] for row in one.rows}) for one in loaded.duplicate_sets}
    assert sets == {
        "scene0.png": (NEAR, {"copies/0-half.png", "copies/0-recompressed.jpg"}),
        "scene1.png": (NEAR, {"copies/1-half.png", "again/1-half.png"}),
        "scene2.png": (EXACT, {"again/scene2.png"}),
    }
    assert loaded.set_of[loaded.number_of("scene3.png") or 0] == -1
    assert loaded.number_of("nowhere.png") is None
    stored = tables.read(tables.pairs_path(duplicated.warehouse, SPACE)).to_pylist()
    kept = [f"scene{seed}.png" for seed in range(4)]
    score_of = {
        frozenset((row["path_a"], row["path_b"])): row["score"]
        for row in stored
        if {row["path_a"], row["path_b"]} <= set(kept)
    }
    pairs = [frozenset(path_of[number] for number in pair) for pair in loaded.similar_pairs.tolist()]
    assert set(pairs) == set(score_of) <= {frozenset(pair) for pair in combinations(kept, 2)}
    assert loaded.scores.tolist() == [score_of[pair] for pair in pairs] == sorted(score_of.values(), reverse=True)
    # A duplicate is in no pair: the image to keep represents it.
    assert len(stored) > len(pairs) >= 3
    assert (loaded.scores.dtype, loaded.similar_pairs.dtype, loaded.omitted_pairs) == (np.float64, np.int32, 0)


def test_near_sets_come_by_weakest_correlation_and_exact_sets_by_freed_bytes(home: Home) -> None:
    for seed in range(3):
        put(home.images, f"scene{seed}.png", encode(scene(seed)))
    put_near_duplicates(home, 0, "half.png")
    put_near_duplicates(home, 1, "cropped.png", "half.png")
    put_near_duplicates(home, 2, "recompressed.jpg")
    for size in (60, 120):
        for name in ("a", "b"):
            put(home.images, f"{name}/{size}.png", encode(scene(7 + size, (size, size))))
    refresh(home)
    loaded = load_review_tables(home)
    near = [one for one in loaded.duplicate_sets if one.kind == NEAR]
    weakest = [min(row.correlation or 0.0 for row in one.rows) for one in near]
    assert (len(weakest), weakest) == (3, sorted(weakest, reverse=True))
    freed = [
        sum(loaded.images[row.image].bytes for row in one.rows) for one in loaded.duplicate_sets if one not in near
    ]
    assert (len(freed), freed) == (2, sorted(freed, reverse=True))


def test_numbers_are_found_by_content_and_by_path(duplicated: Home) -> None:
    loaded = load_review_tables(duplicated)
    first, second = (loaded.number_of(path) for path in ("again/scene2.png", "scene2.png"))
    other = loaded.number_of("scene3.png")
    content = loaded.files[first or 0].sha256
    assert loaded.numbers_of([content]).tolist() == sorted([first or 0, second or 0])
    assert loaded.numbers_of([content, "unknown"], ["scene3.png"]).tolist() == sorted(
        [first or 0, second or 0, other or 0]
    )
    assert loaded.numbers_of([]).dtype == np.int64


def test_missing_and_stale_tables_are_named(duplicated: Home) -> None:
    table = tables.duplicates_path(duplicated.warehouse)
    tables.pairs_path(duplicated.warehouse, SPACE).unlink()
    assert len(read_review_tables(duplicated).similar_pairs) == 0
    assert "no table of pairs" in read_review_tables(duplicated).notes[0]
    put(duplicated.images, "new.png", encode(scene(9)))
    refresh_manifest(duplicated)
    refresh_embeddings(duplicated, FakeEmbedder())
    with pytest.raises(StaleTableError, match="duplicates table is older than the embeddings"):
        read_review_tables(duplicated)
    refresh_duplicates(duplicated, SPACE)
    refresh_pairs(duplicated, SPACE, 0.5)
    assert read_review_tables(duplicated).notes == []
    put(duplicated.images, "new.png", encode(scene(10)))
    refresh_manifest(duplicated)
    refresh_embeddings(duplicated, FakeEmbedder())
    refresh_duplicates(duplicated, SPACE)
    assert "pairs table is older" in read_review_tables(duplicated).notes[0]
    table.unlink()
    with pytest.raises(TableError, match="duplicates table is missing"):
        read_review_tables(duplicated)


def test_tables_are_read_again_only_if_they_have_changed(duplicated: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = 0

    def load(home: Home) -> ReviewTables:
        nonlocal loads
        loads += 1
        return load_review_tables(home)

    monkeypatch.setattr(review_tables, "load_review_tables", load)
    first = read_review_queue(duplicated)
    assert read_review_queue(duplicated) is first
    record(duplicated, only_set(duplicated, EXACT).decide_keep_all())
    assert read_review_queue(duplicated) is not first
    assert loads == 1
    read_review_queue(with_protected(duplicated, "again"))
    put(duplicated.images, "new.png", encode(scene(9)))
    refresh(duplicated)
    read_review_queue(duplicated)
    assert loads == 3


def test_the_limit_of_similar_pairs_keeps_the_closest(duplicated: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = load_review_tables(duplicated)
    monkeypatch.setattr(review_tables, "MAX_SIMILAR_PAIRS", 2)
    limited = load_review_tables(duplicated)
    assert limited.omitted_pairs == len(everything.similar_pairs) - 2 > 0
    assert limited.similar_pairs.tolist() == everything.similar_pairs[:2].tolist()
    assert limited.scores.tolist() == everything.scores[:2].tolist()
