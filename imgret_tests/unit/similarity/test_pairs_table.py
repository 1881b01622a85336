import hashlib
import itertools
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.table_reader import coverage_of, load_embeddings
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.numerics.vectors import cosines
from imgret_assets.domain.similarity import pairs_table
from imgret_assets.domain.similarity.brute_force import pairs_above
from imgret_assets.domain.similarity.pair_search import SearchResult, search_pairs
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.similarity.scored_pairs import ScoredPairs
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.errors import DiskFullError, LockTimeoutError, StaleTableError, TableError, TooManyPairsError
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import path_in, put, put_pictures, stamps

# Arithmetic


def brute_force(vectors: np.ndarray) -> np.ndarray:
    """Cosine of every pair, float64, worked out one pair at a time."""
    exact = vectors.astype(np.float64)
    norms = [np.sqrt(np.dot(row, row)) for row in exact]
    found = np.full((len(exact), len(exact)), -2.0)
    for i, j in itertools.combinations(range(len(exact)), 2):
        found[i, j] = np.dot(exact[i], exact[j]) / (norms[i] * norms[j])
    return found


def as_dict(found: ScoredPairs) -> dict[tuple[int, int], float]:
    pairs_found = list(zip(found.a.tolist(), found.b.tolist(), strict=True))
    assert len(set(pairs_found)) == len(pairs_found)
    return dict(zip(pairs_found, found.scores.tolist(), strict=True))


def assert_exact(found: ScoredPairs, vectors: np.ndarray, threshold: float) -> None:
    """The very pairs and scores of brute force; only within a rounding of the threshold may the two differ."""
    truth = brute_force(vectors)
    said = as_dict(found)
    for i, j in itertools.combinations(range(len(vectors)), 2):
        if abs(truth[i, j] - threshold) > 1e-14:
            assert ((i, j) in said) == (truth[i, j] > threshold), (i, j, truth[i, j])
    assert all(abs(truth[pair] - score) < 1e-12 for pair, score in said.items())
    assert list(said) == sorted(said)


def with_duplicates(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Random vectors of all lengths; every fifth is another one's copy, every seventh its multiple or opposite."""
    vectors = rng.normal(size=(count, dim)) * rng.uniform(1e-3, 1e3, size=(count, 1))
    for row in range(5, count, 5):
        vectors[row] = vectors[rng.integers(row)]
    for row in range(7, count, 7):
        vectors[row] = vectors[rng.integers(row)] * rng.choice([-2.0, 1e-6, 1e6])
    return vectors.astype(np.float32)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.8, 0.999999, 1.0])
@pytest.mark.parametrize("dim", [1, 3, 48])
@pytest.mark.parametrize("count", [0, 1, 2, 101])
def test_pairs_are_those_of_brute_force(rng: np.random.Generator, count: int, dim: int, threshold: float) -> None:
    vectors = with_duplicates(rng, count, dim)
    assert_exact(pairs_above(vectors, threshold, block_rows=32), vectors, threshold)


@pytest.mark.parametrize("block_rows", [1, 2, 7, 64, 256, 257, 1024])
def test_blocks_of_any_size_give_the_same(rng: np.random.Generator, block_rows: int) -> None:
    vectors = with_duplicates(rng, 257, 8)
    whole = pairs_above(vectors, 0.3)
    found = pairs_above(vectors, 0.3, block_rows=block_rows)
    np.testing.assert_array_equal(found.a, whole.a)
    np.testing.assert_array_equal(found.b, whole.b)
    np.testing.assert_array_equal(found.scores, whole.scores)


@pytest.mark.parametrize("block_rows", [3, 1000])
@pytest.mark.parametrize("chosen", [[], [0], [256], [3, 4, 5, 200], list(range(0, 257, 2)), list(range(257))])
def test_chosen_rows_give_every_pair_that_has_one_of_them(
    rng: np.random.Generator, chosen: list[int], block_rows: int
) -> None:
    vectors = with_duplicates(rng, 257, 8)
    whole = as_dict(pairs_above(vectors, 0.3))
    found = as_dict(pairs_above(vectors, 0.3, rows=np.array(chosen, dtype=np.int64), block_rows=block_rows))
    assert found == {pair: score for pair, score in whole.items() if set(pair) & set(chosen)}


def planted(rng: np.random.Generator, wanted: np.ndarray, dim: int) -> np.ndarray:
    """Rows 2i and 2i + 1 have the i-th wanted cosine, as nearly as float32 holds it."""
    count, cosine = len(wanted), wanted[:, np.newaxis]
    first = rng.normal(size=(count, dim))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    other = rng.normal(size=(count, dim))
    other -= (other * first).sum(axis=1, keepdims=True) * first
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    second = cosine * first + np.sqrt(1 - cosine**2) * other
    return np.stack([first, second], axis=1).reshape(2 * count, dim).astype(np.float32)


@pytest.mark.parametrize("dim", [2, 3, 48, 2048])
@pytest.mark.parametrize("threshold", [0.8, 0.0, -0.5, 0.99999])
def test_pairs_right_at_the_threshold_are_decided_in_float64(
    rng: np.random.Generator, dim: int, threshold: float
) -> None:
    """A float32 product alone gets about half of them wrong."""
    vectors = planted(rng, threshold + rng.uniform(-1e-8, 1e-8, 150), dim)
    truth = cosines(vectors[0::2], vectors[1::2])
    found = as_dict(pairs_above(vectors, threshold))
    for pair, score in enumerate(truth):
        assert ((2 * pair, 2 * pair + 1) in found) == (score > threshold)
    assert np.abs(truth - threshold).max() < 1e-6
    assert 0 < (truth > threshold).sum() < 150


@pytest.mark.parametrize(
    ("step", "inside"), [(-1e-7, True), (-1e-12, True), (0.0, False), (1e-12, False), (1e-7, False)]
)
def test_a_score_must_be_greater_than_the_threshold(rng: np.random.Generator, step: float, inside: bool) -> None:
    for dim in (2, 48, 1280):
        vectors = planted(rng, np.array([0.8]), dim)
        (score,) = cosines(vectors[:1], vectors[1:])
        assert (len(pairs_above(vectors, score + step)) == 1) == inside


def test_a_threshold_of_minus_one_takes_all_but_opposites() -> None:
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    assert as_dict(pairs_above(vectors, -1.0)) == {(0, 1): 0.0, (1, 2): 0.0}


def test_scores_never_leave_the_range_of_a_cosine(rng: np.random.Generator) -> None:
    vectors = np.repeat(rng.normal(size=(1, 2048)).astype(np.float32), 20, axis=0)
    found = pairs_above(vectors, 0.5)
    assert len(found) == 190
    assert found.scores.max() <= 1.0
    assert found.scores.min() > 1 - 1e-12


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e18, 3e37])
def test_very_short_and_very_long_vectors_have_directions_too(rng: np.random.Generator, scale: float) -> None:
    vectors = (rng.uniform(0.1, 1, size=(20, 4)) * scale).astype(np.float32)
    assert_exact(pairs_above(vectors, 0.9), vectors, 0.9)


def test_types_are_the_same_for_every_size(rng: np.random.Generator) -> None:
    for count in (0, 1, 2, 50):
        found = pairs_above(with_duplicates(rng, count, 4), 0.0)
        assert [array.dtype for array in (found.a, found.b, found.scores)] == [np.int64, np.int64, np.float64]
        assert found.a.shape == found.b.shape == found.scores.shape == (len(found),)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_row_without_direction_is_refused(value: float) -> None:
    vectors = np.ones((5, 3), dtype=np.float32)
    vectors[3] = 0
    vectors[3, 1] = value
    with pytest.raises(TableError, match="Row 3 of the vectors is zero or not finite"):
        pairs_above(vectors, 0.8)


# The table


SPACE = EmbeddingSpace("fake", "0" * 64, Preprocessing((4, 4), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 3)


def write_tables(home: Home, rows: Mapping[str, tuple[float, ...]]) -> None:
    """Manifest and embeddings of a collection whose pictures have these vectors of three numbers."""
    for shard in home.shards:
        mine = sorted(path for path in rows if shard_of(path, len(home.shards)) == shard)
        contents = [hashlib.sha256(repr(rows[path]).encode()).hexdigest() for path in mine]
        listed = [{"path": path, "sha256": sha, "status": "ok"} for path, sha in zip(mine, contents, strict=True)]
        embedded = [{**row, "engine": "fake", "embedding": rows[row["path"]]} for row in listed]
        manifest = pa.Table.from_pylist(listed, schema=tables.MANIFEST_SCHEMA)
        tables.write(tables.manifest_path(home.warehouse, shard), manifest, {"root": str(home.images)})
        tables.write(
            tables.embeddings_path(home.warehouse, SPACE.id, shard),
            pa.Table.from_pylist(embedded, schema=tables.embeddings_schema(3)),
            {**SPACE.as_metadata(), "shards": str(len(home.shards))},
        )


def read_pairs(home: Home, space: str = SPACE.id) -> dict[tuple[str, str], float]:
    columns = tables.read(tables.pairs_path(home.warehouse, space)).to_pydict()
    keys = list(zip(columns["path_a"], columns["path_b"], strict=True))
    assert all(a < b for a, b in keys)
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, columns["score"], strict=True))


def expected_pairs(rows: Mapping[str, tuple[float, ...]], threshold: float) -> dict[tuple[str, str], float]:
    paths = sorted(rows)
    truth = brute_force(np.array([rows[path] for path in paths], dtype=np.float32).reshape(-1, 3))
    # From a row to itself and from a later row to an earlier one there is -2.
    return {(paths[i], paths[j]): truth[i, j] for i, j in np.argwhere(truth > threshold).tolist()}


COLLECTION = {f"{letter}.png": (float(number), 5.0, 1.0) for number, letter in enumerate("abcdefghijklmnop")}


def test_the_table_holds_the_pairs(home: Home) -> None:
    write_tables(home, COLLECTION)
    report = refresh_pairs(home, SPACE.id, 0.9)
    expected = expected_pairs(COLLECTION, 0.9)
    assert read_pairs(home) == pytest.approx(expected, abs=1e-12)
    assert (report.images, report.pairs, report.compared, report.written) == (16, len(expected), 120, True)
    assert report.how == "all against all: there is no earlier table"


def test_the_table_says_what_it_covers(home: Home) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    said = tables.read_metadata(tables.pairs_path(home.warehouse, SPACE.id))
    assert (said["space"], said["threshold"], said["images"]) == (SPACE.id, "0.9", "16")
    embeddings = load_embeddings(home, SPACE.id)
    assert said["coverage"] == embeddings.coverage == coverage_of(embeddings.paths, embeddings.vector_keys)


def test_coverage_depends_on_paths_and_contents_but_not_on_their_order() -> None:
    assert coverage_of(["a", "b"], ["1", "2"]) == coverage_of(["b", "a"], ["2", "1"])
    different = [coverage_of(*args) for args in (([], []), (["a"], ["1"]), (["a"], ["2"]), (["b"], ["1"]))]
    assert len(set(different)) == 4


@pytest.mark.parametrize("rows", [{}, {"a.png": (1.0, 0.0, 0.0)}, {"a.png": (1.0, 0.0, 0.0), "b.png": (0.0, 1.0, 0.0)}])
def test_an_empty_table_keeps_its_schema(home: Home, rows: dict[str, tuple[float, ...]]) -> None:
    write_tables(home, rows)
    assert refresh_pairs(home, SPACE.id, 0.8).pairs == 0
    assert tables.read(tables.pairs_path(home.warehouse, SPACE.id)).schema.equals(tables.PAIRS_SCHEMA)
    assert read_pairs(home) == {}
    assert not refresh_pairs(home, SPACE.id, 0.8).written


def test_nothing_changed_writes_nothing(home: Home) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    before = stamps(home.path)
    report = refresh_pairs(home, SPACE.id, 0.9)
    assert (report.written, report.compared, report.how) == (False, 0, "nothing changed")
    assert report.pairs == len(read_pairs(home))
    assert {name: stamp for name, stamp in stamps(home.path).items() if name[:5] != "locks"} == {
        name: stamp for name, stamp in before.items() if name[:5] != "locks"
    }


def test_what_is_new_is_compared_with_all_and_the_rest_is_not(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    later = {**COLLECTION, "new.png": (3.0, 5.0, 1.0), "b.png": (-1.0, 5.0, 1.0)}
    del later["c.png"]
    write_tables(home, later)
    asked: list[list[int]] = []

    def watched(vectors: np.ndarray, threshold: float, *, rows: np.ndarray, **others: Any) -> SearchResult:
        asked.append(rows.tolist())
        return search_pairs(vectors, threshold, rows=rows, **others)

    monkeypatch.setattr(pairs_table, "search_pairs", watched)
    report = refresh_pairs(home, SPACE.id, 0.9)
    assert asked == [[sorted(later).index("b.png"), sorted(later).index("new.png")]]
    assert report.how.startswith("2 new or changed images against all 16; 1 removed;")
    assert report.compared == 2 * 16 - 3
    assert read_pairs(home) == pytest.approx(expected_pairs(later, 0.9), abs=1e-12)


def test_removed_images_lose_their_pairs(home: Home) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    left = {path: vector for path, vector in COLLECTION.items() if path > "d.png"}
    write_tables(home, left)
    report = refresh_pairs(home, SPACE.id, 0.9)
    assert report.compared == 0
    assert read_pairs(home) == pytest.approx(expected_pairs(left, 0.9), abs=1e-12)


@pytest.mark.parametrize(("before", "after", "compared"), [(0.9, 0.95, 0), (0.9, 0.5, 120), (0.9, -1.0, 120)])
def test_another_threshold(home: Home, before: float, after: float, compared: int) -> None:
    """A higher one only drops pairs; a lower one needs all again."""
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, before)
    report = refresh_pairs(home, SPACE.id, after)
    assert (report.compared, report.written) == (compared, True)
    assert read_pairs(home) == pytest.approx(expected_pairs(COLLECTION, after), abs=1e-12)
    assert read_record(home.path).threshold == after  # type: ignore[union-attr]


def test_when_most_is_new_all_is_compared(home: Home) -> None:
    write_tables(home, {path: COLLECTION[path] for path in list(COLLECTION)[:7]})
    refresh_pairs(home, SPACE.id, 0.9)
    write_tables(home, COLLECTION)
    assert refresh_pairs(home, SPACE.id, 0.9).how == "all against all: 9 of 16 images are new"


@pytest.mark.parametrize("lost", ["work/pairs", "warehouse/pairs"])
def test_a_lost_half_of_what_is_known_costs_only_time(home: Home, lost: str) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    for file in (home.path / lost).rglob("*.parquet"):
        file.unlink()
    write_tables(home, {**COLLECTION, "new.png": (3.0, 5.0, 1.0)})
    assert refresh_pairs(home, SPACE.id, 0.9).how.startswith("all against all: there is no earlier table")


def test_a_kill_between_the_two_files_costs_only_time(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of what is covered is written first; the pairs must not be taken for those of that list."""
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    later = {**COLLECTION, "new.png": (3.0, 5.0, 1.0)}
    write_tables(home, later)
    real = tables.write

    def stop(path: Path, table: pa.Table, metadata: Mapping[str, str]) -> None:
        if path.name == "pairs.parquet":
            raise KeyboardInterrupt
        real(path, table, metadata)

    with monkeypatch.context() as patched:
        patched.setattr(pairs_table.tables, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            refresh_pairs(home, SPACE.id, 0.9)
    report = refresh_pairs(home, SPACE.id, 0.9)
    assert report.how == "all against all: what the earlier table covers is not known"
    assert read_pairs(home) == pytest.approx(expected_pairs(later, 0.9), abs=1e-12)


def test_a_full_disk_leaves_the_old_pairs(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    before = stamps(home.warehouse / "pairs")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    write_tables(home, {**COLLECTION, "new.png": (3.0, 5.0, 1.0)})
    monkeypatch.setattr(pairs_table.tables.pq.ParquetWriter, "write_table", full)
    with pytest.raises(DiskFullError, match="No room on the disk"):
        refresh_pairs(home, SPACE.id, 0.9)
    assert stamps(home.warehouse / "pairs") == before


def test_the_threshold_of_a_run_that_failed_is_not_recorded(home: Home) -> None:
    with pytest.raises(TableError, match=r"The manifest of shard 00 is missing"):
        refresh_pairs(home, SPACE.id, 0.7)
    assert read_record(home.path).threshold is None  # type: ignore[union-attr]


def test_pairs_wait_for_the_lock_of_the_graph(home: Home) -> None:
    write_tables(home, COLLECTION)
    impatient = replace(home, settings=replace(home.settings, lock_timeout_s=0.1))
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locks.hold(home.locks, [locks.GRAPH], timeout_s=5, purpose="writing relationships"):
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(10)
        with pytest.raises(LockTimeoutError, match=r"graph is held by .*writing relationships"):
            refresh_pairs(impatient, SPACE.id, 0.9)
    finally:
        done.set()
        holder.join()
    assert refresh_pairs(impatient, SPACE.id, 0.9).written


# What must be there first


@pytest.fixture
def embedded(home: Home, images: Path, settled: None) -> str:
    """A collection of pictures with all tables but the pairs; its space."""
    put_pictures(images, range(12))
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    return FakeEmbedder().space.id


def test_a_missing_shard_is_named(home: Home, embedded: str) -> None:
    tables.embeddings_path(home.warehouse, embedded, "02").unlink()
    with pytest.raises(TableError, match=r"The embeddings of shard 02 in fake-.* is missing.*materialise `embeddings`"):
        refresh_pairs(home, embedded, 0.8)


def test_a_missing_manifest_is_named(home: Home, embedded: str) -> None:
    tables.manifest_path(home.warehouse, "03").unlink()
    with pytest.raises(TableError, match=r"The manifest of shard 03 is missing.*materialise `raw_images`"):
        refresh_pairs(home, embedded, 0.8)


@pytest.mark.parametrize("change", ["add", "change", "remove"])
def test_embeddings_older_than_their_manifest_are_named(home: Home, images: Path, embedded: str, change: str) -> None:
    old, new = (
        next(path for path in (f"{seed:03d}.png" for seed in range(12)) if shard_of(path, 4) == "02"),
        path_in("02"),
    )
    if change == "add":
        put(images, new, picture_bytes(50))
    elif change == "change":
        put(images, old, picture_bytes(50))
    else:
        (images / old).unlink()
    refresh_manifest(home)
    with pytest.raises(
        StaleTableError, match=r"embeddings of shard 02 are older.*materialise `embeddings` for shard 02"
    ):
        refresh_pairs(home, embedded, 0.8)
    refresh_embeddings(home, FakeEmbedder(), ["02"])
    assert refresh_pairs(home, embedded, 0.8).images == len(list(images.iterdir()))


def test_a_shard_of_another_space_is_named(home: Home, embedded: str) -> None:
    refresh_embeddings(home, FakeEmbedder("other"))
    other = tables.embeddings_path(home.warehouse, FakeEmbedder("other").space.id, "01")
    tables.embeddings_path(home.warehouse, embedded, "01").write_bytes(other.read_bytes())
    with pytest.raises(
        TableError, match=rf"shard=01\.parquet is of space other-.*Expected: space {embedded} in 4 shards"
    ):
        refresh_pairs(home, embedded, 0.8)


def test_only_usable_pictures_have_pairs(home: Home, images: Path, embedded: str) -> None:
    put(images, "broken.jpg", b"no picture")
    put(images, "half.png", picture_bytes(3)[:-200])
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    report = refresh_pairs(home, embedded, -1.0)
    assert report.images == 12
    assert report.pairs == 66
    assert not {"broken.jpg", "half.png"} & set(itertools.chain(*read_pairs(home, embedded)))


@pytest.mark.parametrize("bad", [(0.0, 0.0, 0.0), (np.nan, 1.0, 1.0), (np.inf, 1.0, 1.0)])
def test_a_stored_vector_without_direction_never_gets_through(home: Home, bad: tuple[float, ...]) -> None:
    write_tables(home, {**COLLECTION, "bad.png": bad})
    with pytest.raises(TableError, match=r"The embedding of bad\.png is zero or not finite.*remove .*and run again"):
        refresh_pairs(home, SPACE.id, 0.8)


# Incremental equals from nothing

PATHS = [f"{letter}.png" for letter in "abcdefgh"]
# Small whole numbers: many equal directions, and many cosines right at the thresholds.
VECTORS = st.tuples(*[st.integers(-2, 2)] * 3).filter(any).map(lambda numbers: tuple(map(float, numbers)))
STEPS = st.tuples(
    st.dictionaries(st.sampled_from(PATHS), st.none() | VECTORS, max_size=3),
    st.sampled_from([-1.0, 0.0, 0.5, 0.8, 1.0]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.dictionaries(st.sampled_from(PATHS), VECTORS), steps=st.lists(STEPS, min_size=1, max_size=4))
def test_pairs_kept_up_to_date_equal_those_from_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, tuple[float, ...]],
    steps: list[tuple[dict[str, tuple[float, ...] | None], float]],
) -> None:
    home = open_home(load_settings({"home": tmp_path_factory.mktemp("home"), "shards": 1}))
    rows = dict(first)
    for changes, threshold in [({}, 0.5), *steps]:
        for path, vector in changes.items():
            rows = {**rows, path: vector} if vector else {other: rows[other] for other in rows if other != path}
        write_tables(home, rows)
        refresh_pairs(home, SPACE.id, threshold)
        kept = read_pairs(home)
        tables.pairs_path(home.warehouse, SPACE.id).unlink()
        refresh_pairs(home, SPACE.id, threshold)
        assert kept == read_pairs(home)
        expected = expected_pairs(rows, threshold)
        assert all(pair in kept for pair, score in expected.items() if score > threshold + 1e-12)
        assert {pair: expected.get(pair, threshold) for pair in kept} == pytest.approx(kept, abs=1e-12)


def with_settings(home: Home, **changes: Any) -> Home:
    return replace(home, settings=replace(home.settings, **changes))


def best_of(rows: Mapping[str, tuple[float, ...]], threshold: float, most: int) -> set[tuple[str, str]]:
    """Pairs among the best of either of their images, ties to the smaller path."""
    all_pairs = expected_pairs(rows, threshold)
    kept: set[tuple[str, str]] = set()
    for path in rows:
        mine = [(-score, a if b == path else b, (a, b)) for (a, b), score in all_pairs.items() if path in (a, b)]
        kept |= {pair for _, _, pair in sorted(mine)[:most]}
    return kept


def test_a_cap_keeps_each_image_s_best_and_says_what_it_left_out(home: Home) -> None:
    write_tables(home, COLLECTION)
    everything = refresh_pairs(home, SPACE.id, 0.5).pairs
    capped = with_settings(home, max_neighbours=2)
    report = refresh_pairs(capped, SPACE.id, 0.5)
    assert set(read_pairs(home)) == best_of(COLLECTION, 0.5, 2)
    assert report.left_out == everything - report.pairs > 0
    assert "beyond IMGRET_MAX_NEIGHBOURS were left out" in report.summary
    again = refresh_pairs(capped, SPACE.id, 0.5)
    assert (again.written, again.left_out) == (False, report.left_out)


def test_an_image_that_loses_a_neighbour_gets_one_back_that_was_left_out(home: Home) -> None:
    capped = with_settings(home, max_neighbours=2)
    write_tables(home, COLLECTION)
    refresh_pairs(capped, SPACE.id, 0.5)
    later = {path: vector for path, vector in COLLECTION.items() if path != "h.png"}
    later["p.png"] = (15.0, 5.0, 1.5)
    write_tables(home, later)
    report = refresh_pairs(capped, SPACE.id, 0.5)
    assert "that lost a neighbour against all" in report.how
    assert set(read_pairs(home)) == best_of(later, 0.5, 2)


@pytest.mark.parametrize("caps", [(2, 3), (2, None), (3, 2), (None, 2), (3, 3)])
def test_another_cap(home: Home, caps: tuple[int | None, int | None]) -> None:
    write_tables(home, COLLECTION)
    for cap in caps:
        refresh_pairs(with_settings(home, max_neighbours=cap), SPACE.id, 0.5)
    assert set(read_pairs(home)) == best_of(COLLECTION, 0.5, caps[1] or 99)


def test_too_many_pairs_leave_the_earlier_table(home: Home) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.99)
    before = read_pairs(home)
    with pytest.raises(TooManyPairsError, match=r"About 120 pairs are above the threshold.*IMGRET_MAX_NEIGHBOURS=20"):
        refresh_pairs(with_settings(home, max_pairs=50), SPACE.id, -1.0)
    assert read_pairs(home) == before
