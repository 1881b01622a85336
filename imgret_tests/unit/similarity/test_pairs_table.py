"""The pairs table equals a comparison of everything, from nothing and after changes, by either search."""

import itertools
import tempfile
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.table_reader import coverage_of, load_embeddings
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.similarity import pair_search, pairs_table
from imgret_assets.domain.similarity.pair_search import SearchResult, search_pairs
from imgret_assets.domain.similarity.pairs_table import load_valid_pairs, refresh_pairs
from imgret_assets.domain.storage import locks, tables, vector_files
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.errors import DiskFullError, LockTimeoutError, StaleTableError, TableError, TooManyPairsError
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import path_in, put, put_pictures, stamps
from imgret_tests.support.vector_tables import (
    SPACE,
    best_pairs,
    expected_pairs,
    random_vectors,
    read_pairs,
    repeated_vector,
    with_settings,
    write_tables,
)

COLLECTION = {f"{letter}.png": (float(number), 5.0, 1.0) for number, letter in enumerate("abcdefghijklmnop")}


def test_the_table_holds_the_pairs(home: Home) -> None:
    write_tables(home, COLLECTION)
    report = refresh_pairs(home, SPACE.id, 0.9)
    expected = expected_pairs(COLLECTION, 0.9)
    assert read_pairs(home) == expected
    assert (report.images, report.pairs, report.compared, report.written) == (16, len(expected), 120, True)
    assert report.how == "all against all: there is no earlier table"


@pytest.mark.parametrize("search", ["cascade", "brute_force"])
def test_vectors_that_do_not_fit_into_memory_give_the_same_table(
    home: Home, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    monkeypatch.setattr(vector_files, "usable_memory_bytes", lambda: 0)
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 0)
    write_tables(home, COLLECTION)
    refresh_pairs(with_settings(home, pair_search=search), SPACE.id, 0.9)
    assert read_pairs(home) == expected_pairs(COLLECTION, 0.9)
    assert [path.name for path in home.work.iterdir() if path.is_file()] == []


def test_the_metadata_names_space_threshold_and_coverage(home: Home) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    metadata = tables.read_metadata(tables.pairs_path(home.warehouse, SPACE.id))
    assert (metadata["space"], metadata["threshold"], metadata["images"]) == (SPACE.id, "0.9", "16")
    embeddings = load_embeddings(home, SPACE.id)
    assert metadata["coverage"] == embeddings.coverage == coverage_of(embeddings.paths, embeddings.vector_keys)


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
    # The second refresh verifies the table once.
    refresh_pairs(home, SPACE.id, 0.9)
    unchanged = stamps(home.path)
    report = refresh_pairs(home, SPACE.id, 0.9)
    assert (report.written, report.compared, report.how) == (False, 0, "nothing changed")
    assert report.pairs == len(read_pairs(home))
    assert {name: stamp for name, stamp in stamps(home.path).items() if name[:5] != "locks"} == {
        name: stamp for name, stamp in unchanged.items() if name[:5] != "locks"
    }


def test_only_new_and_changed_images_are_compared(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    changed = {**COLLECTION, "new.png": (3.0, 5.0, 1.0), "b.png": (-1.0, 5.0, 1.0)}
    del changed["c.png"]
    write_tables(home, changed)
    searched: list[list[int]] = []

    def watched(vectors: np.ndarray, threshold: float, *, rows: np.ndarray, **others: Any) -> SearchResult:
        searched.append(rows.tolist())
        return search_pairs(vectors, threshold, rows=rows, **others)

    monkeypatch.setattr(pairs_table, "search_pairs", watched)
    report = refresh_pairs(home, SPACE.id, 0.9)
    assert searched == [[sorted(changed).index("b.png"), sorted(changed).index("new.png")]]
    assert report.how.startswith("2 new or changed images against all 16; 1 removed;")
    assert report.compared == 2 * 16 - 3
    assert read_pairs(home) == expected_pairs(changed, 0.9)


def test_removed_images_lose_their_pairs(home: Home) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    remaining = {path: vector for path, vector in COLLECTION.items() if path > "d.png"}
    write_tables(home, remaining)
    report = refresh_pairs(home, SPACE.id, 0.9)
    assert report.compared == 0
    assert read_pairs(home) == expected_pairs(remaining, 0.9)


@pytest.mark.parametrize(("before", "after", "compared"), [(0.9, 0.95, 0), (0.9, 0.5, 120), (0.9, -1.0, 120)])
def test_another_threshold(home: Home, before: float, after: float, compared: int) -> None:
    """A higher one only drops pairs; a lower one needs all again."""
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, before)
    report = refresh_pairs(home, SPACE.id, after)
    assert (report.compared, report.written) == (compared, True)
    assert read_pairs(home) == expected_pairs(COLLECTION, after)
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
    changed = {**COLLECTION, "new.png": (3.0, 5.0, 1.0)}
    write_tables(home, changed)
    real = tables.writer

    def stop(path: Path, schema: pa.Schema, metadata: Mapping[str, str]) -> AbstractContextManager[pq.ParquetWriter]:
        if path.name == "pairs.parquet":
            raise KeyboardInterrupt
        return real(path, schema, metadata)

    with monkeypatch.context() as patched:
        patched.setattr(pairs_table.tables, "writer", stop)
        with pytest.raises(KeyboardInterrupt):
            refresh_pairs(home, SPACE.id, 0.9)
    report = refresh_pairs(home, SPACE.id, 0.9)
    assert report.how == "all against all: what the earlier table covers is not known"
    assert read_pairs(home) == expected_pairs(changed, 0.9)


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
    impatient = with_settings(home, lock_timeout_s=0.1)
    is_held, may_release = threading.Event(), threading.Event()

    def hold() -> None:
        with locks.hold(home.locks, [locks.GRAPH], timeout_s=5, purpose="writing relationships"):
            is_held.set()
            may_release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert is_held.wait(10)
        with pytest.raises(LockTimeoutError, match=r"graph is held by .*writing relationships"):
            refresh_pairs(impatient, SPACE.id, 0.9)
    finally:
        may_release.set()
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
        assert kept == expected_pairs(rows, threshold)


def test_a_cap_keeps_each_image_s_best_and_says_what_it_left_out(home: Home) -> None:
    write_tables(home, COLLECTION)
    everything = refresh_pairs(home, SPACE.id, 0.5).pairs
    capped = with_settings(home, max_neighbours=2)
    report = refresh_pairs(capped, SPACE.id, 0.5)
    assert set(read_pairs(home)) == best_pairs(COLLECTION, 0.5, 2)
    assert report.left_out == everything - report.pairs > 0
    assert "beyond IMGRET_MAX_NEIGHBOURS were left out" in report.summary
    again = refresh_pairs(capped, SPACE.id, 0.5)
    assert (again.written, again.left_out) == (False, report.left_out)


def test_an_image_that_loses_a_neighbour_gets_one_back_that_was_left_out(home: Home) -> None:
    capped = with_settings(home, max_neighbours=2)
    write_tables(home, COLLECTION)
    refresh_pairs(capped, SPACE.id, 0.5)
    changed = {path: vector for path, vector in COLLECTION.items() if path != "h.png"}
    changed["p.png"] = (15.0, 5.0, 1.5)
    write_tables(home, changed)
    report = refresh_pairs(capped, SPACE.id, 0.5)
    assert "that lost a neighbour against all" in report.how
    assert set(read_pairs(home)) == best_pairs(changed, 0.5, 2)


@pytest.mark.parametrize("caps", [(2, 3), (2, None), (3, 2), (None, 2), (3, 3)])
def test_another_cap(home: Home, caps: tuple[int | None, int | None]) -> None:
    write_tables(home, COLLECTION)
    for cap in caps:
        refresh_pairs(with_settings(home, max_neighbours=cap), SPACE.id, 0.5)
    assert set(read_pairs(home)) == best_pairs(COLLECTION, 0.5, caps[1] or 99)


def test_too_many_pairs_leave_the_earlier_table(home: Home) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.99)
    before = read_pairs(home)
    with pytest.raises(TooManyPairsError, match=r"About 120 pairs are above the threshold.*IMGRET_MAX_NEIGHBOURS=20"):
        refresh_pairs(with_settings(home, max_pairs=50), SPACE.id, -1.0)
    assert read_pairs(home) == before


# Both searches


@pytest.mark.parametrize("max_neighbours", [None, 2])
@pytest.mark.parametrize("change", ["none", "incremental"])
def test_brute_force_and_the_cascade_write_the_same_table(
    home: Home,
    tmp_path: Path,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    max_neighbours: int | None,
    change: str,
) -> None:
    """IMGRET_PAIR_SEARCH is a choice of time alone: rows, order and scores are equal to the last bit."""
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 0)
    vectors = random_vectors(rng, 120)
    written: dict[str, pa.Table] = {}
    for setting, algorithm in (("cascade", "cascade of"), ("brute_force", "brute force")):
        folder = tmp_path / setting
        env = {"IMGRET_ENV_FILE": "/dev/null", "IMGRET_PAIR_SEARCH": setting}
        one = with_settings(open_home(load_settings({"home": folder}, env=env)), max_neighbours=max_neighbours)
        assert one.settings.pair_search == setting
        if change == "incremental":
            write_tables(one, {path: vectors[path] for path in sorted(vectors)[:100]})
            refresh_pairs(one, SPACE.id, 0.5)
        write_tables(one, vectors)
        assert refresh_pairs(one, SPACE.id, 0.5).algorithm.startswith(algorithm)
        written[setting] = pq.read_table(tables.pairs_path(one.warehouse, SPACE.id))
    assert len(written["cascade"]) > 100
    assert written["cascade"].equals(written["brute_force"], check_metadata=True)


def test_a_table_of_one_search_is_current_for_the_other(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 0)
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    assert not refresh_pairs(with_settings(home, pair_search="brute_force"), SPACE.id, 0.9).written


# Before the table reaches the graph


def contents_of(home: Home) -> dict[str, str]:
    embeddings = load_embeddings(home, SPACE.id)
    return dict(zip(embeddings.paths, embeddings.vector_keys, strict=True))


def test_a_valid_table_gives_its_threshold(home: Home) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    assert load_valid_pairs(home, SPACE.id, contents_of(home))[1] == 0.9


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a.png", "b.png", 0.9), r"scores outside \(0\.9, 1\]"),
        (("a.png", "b.png", np.nan), "scores outside"),
        (("a.png", "b.png", 1.1), "scores outside"),
        (("b.png", "a.png", 0.95), "self, doubled or reversed"),
        (("b.png", "b.png", 0.95), "self, doubled or reversed"),
        (("a.png", "z.png", 0.95), "names images that have no embedding"),
    ],
)
def test_a_wrong_row_never_reaches_the_graph(home: Home, row: tuple[str, str, float], message: str) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    path = tables.pairs_path(home.warehouse, SPACE.id)
    wrong = pa.table(dict(zip(("path_a", "path_b", "score"), ([value] for value in row), strict=True)))
    tables.write(path, wrong.cast(tables.PAIRS_SCHEMA), tables.read_metadata(path))
    with pytest.raises(TableError, match=message):
        load_valid_pairs(home, SPACE.id, contents_of(home))


def test_a_doubled_row_never_reaches_the_graph_and_order_is_not_required(home: Home) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    path = tables.pairs_path(home.warehouse, SPACE.id)
    table, metadata = tables.read(path), tables.read_metadata(path)
    assert len(table) > 2
    backwards = table.take(list(range(len(table)))[::-1])
    tables.write(path, backwards, metadata)
    assert load_valid_pairs(home, SPACE.id, contents_of(home))[1] == 0.9
    tables.write(path, pa.concat_tables([backwards, table.slice(1, 1)]), metadata)
    with pytest.raises(TableError, match="self, doubled or reversed"):
        load_valid_pairs(home, SPACE.id, contents_of(home))


def test_pairs_of_other_embeddings_never_reach_the_graph(home: Home) -> None:
    write_tables(home, COLLECTION)
    refresh_pairs(home, SPACE.id, 0.9)
    write_tables(home, {**COLLECTION, "new.png": (3.0, 5.0, 1.0)})
    with pytest.raises(StaleTableError):
        load_valid_pairs(home, SPACE.id, contents_of(home))


# Names of one content, and contents with equal vectors


@pytest.mark.parametrize(
    "examples", [pytest.param(12, id="sample"), pytest.param(60, id="all", marks=pytest.mark.exhaustive)]
)
def test_images_with_equal_vectors_in_any_order_of_changes(examples: int) -> None:
    """Names come and go, contents change, contents share a vector, vectors share a direction: always all pairs."""

    @settings(max_examples=examples, deadline=None)
    @given(
        states=st.lists(st.dictionaries(st.integers(0, 25), st.integers(0, 15), max_size=6), max_size=3),
        caps=st.lists(st.sampled_from([None, 1, 2, 5]), min_size=4, max_size=4),
        cascade=st.booleans(),
    )
    def holds(states: list[dict[int, int]], caps: list[int | None], cascade: bool) -> None:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
            patched.setattr(pairs_table, "_BATCH_ROWS", 7)
            if cascade:
                patched.setattr(pair_search, "BRUTE_FORCE_PAIRS", 0)
            home = open_home(load_settings({"home": Path(folder)}, env={"IMGRET_ENV_FILE": "/dev/null"}))
            contents: dict[int, int] = {name: name % 16 for name in range(20)}
            for changes, cap in zip([{}, *states], caps, strict=False):
                for name, content in changes.items():
                    if contents.get(name) == content:
                        del contents[name]
                    else:
                        contents[name] = content
                vectors = {f"{name:02d}.png": repeated_vector(content) for name, content in contents.items()}
                write_tables(home, vectors)
                refresh_pairs(with_settings(home, max_neighbours=cap), SPACE.id, 0.6)
                pairs, expected = read_pairs(home), expected_pairs(vectors, 0.6)
                if cap is not None:
                    expected = {pair: expected[pair] for pair in sorted(best_pairs(vectors, 0.6, cap))}
                assert list(pairs.items()) == list(expected.items())

    holds()


def test_names_of_one_content_are_compared_once(home: Home, rng: np.random.Generator) -> None:
    vectors = random_vectors(rng, 20) | {f"name{number}.png": (1.0, 2.0, 3.0) for number in range(50)}
    write_tables(home, vectors)
    assert refresh_pairs(home, SPACE.id, 0.9).compared == 21 * 20 // 2
    assert read_pairs(home) == expected_pairs(vectors, 0.9)
    vectors["name50.png"] = (1.0, 2.0, 3.0)
    write_tables(home, vectors)
    # The new name with the twenty others and with the equal ones.
    assert refresh_pairs(home, SPACE.id, 0.9).compared == 21
    assert read_pairs(home) == expected_pairs(vectors, 0.9)
