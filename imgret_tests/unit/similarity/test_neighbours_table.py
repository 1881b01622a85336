"""The table of nearest neighbours equals a full sort, from nothing and after changes, by either search."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgret_assets.domain.embeddings.table_reader import load_embeddings
from imgret_assets.domain.similarity import neighbours_table
from imgret_assets.domain.similarity.neighbours_table import KEPT, load_neighbours, refresh_neighbours
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.tables import NEAREST_SCHEMA, nearest_path, read
from imgret_assets.errors import TableError
from imgret_assets.settings import load_settings
from imgret_tests.support.tree import stamps
from imgret_tests.support.vector_sets import expected_neighbours
from imgret_tests.support.vector_tables import SPACE, random_vectors, repeated_vector, with_settings, write_tables


@pytest.fixture(params=["brute_force", "cascade"])
def search(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "cascade":
        monkeypatch.setattr(neighbours_table, "BRUTE_FORCE_ROWS", 0)
    return request.param


def assert_right(home: Home, kept: int = KEPT) -> None:
    """Compare with a full sort, to the last bit of the scores."""
    embeddings, neighbours = load_embeddings(home, SPACE.id), load_neighbours(home, SPACE.id)
    assert neighbours.paths == embeddings.paths
    expected = expected_neighbours(embeddings.vectors, kept)
    np.testing.assert_array_equal(neighbours.rows, expected.rows)
    np.testing.assert_array_equal(neighbours.scores, expected.scores)


@pytest.mark.usefixtures("search")
def test_the_table_is_a_full_sort(home: Home, rng: np.random.Generator) -> None:
    write_tables(home, random_vectors(rng, 60))
    report = refresh_neighbours(home, SPACE.id)
    assert (report.images, report.rows, report.written) == (60, 60 * 20, True)
    assert read(nearest_path(home.warehouse, SPACE.id)).schema.equals(NEAREST_SCHEMA)
    assert_right(home)


@pytest.mark.parametrize("rows", [1, 45, 1000])
def test_bands_of_the_table_are_the_whole(
    home: Home, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(neighbours_table, "_BAND_ROWS", rows)
    write_tables(home, random_vectors(rng, 60))
    assert refresh_neighbours(home, SPACE.id).rows == 60 * 20
    assert_right(home)


@pytest.mark.usefixtures("search")
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_images_of_a_small_collection_have_fewer_neighbours(home: Home, rng: np.random.Generator, count: int) -> None:
    write_tables(home, random_vectors(rng, count))
    assert refresh_neighbours(home, SPACE.id).rows == count * max(0, count - 1)
    if count > 1:
        assert_right(home)


def test_nothing_changed_writes_nothing(home: Home, rng: np.random.Generator) -> None:
    write_tables(home, random_vectors(rng, 30))
    refresh_neighbours(home, SPACE.id)
    unchanged = stamps(home.warehouse)
    report = refresh_neighbours(home, SPACE.id)
    assert (report.written, report.how) == (False, "nothing changed")
    assert "nothing was computed" in report.summary
    assert stamps(home.warehouse) == unchanged


@pytest.mark.usefixtures("search")
def test_after_additions_changes_and_removals_the_table_is_as_from_nothing(
    home: Home, rng: np.random.Generator
) -> None:
    vectors = random_vectors(rng, 80)
    write_tables(home, vectors)
    refresh_neighbours(home, SPACE.id)
    for _ in range(4):
        for path in rng.choice(sorted(vectors), 5, replace=False):
            del vectors[path]
        for path in rng.choice(sorted(vectors), 3, replace=False):
            vectors[path] = tuple(rng.normal(size=3).tolist())
        vectors |= random_vectors(rng, 6, start=int(rng.integers(100, 900)))
        write_tables(home, vectors)
        report = refresh_neighbours(home, SPACE.id)
        assert "new or changed images and those that lost a neighbour" in report.how
        assert_right(home)


@pytest.mark.parametrize("incremental", [False, True])
def test_brute_force_and_the_cascade_write_the_same_table(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, incremental: bool
) -> None:
    """With a collection for which IMGRET_PAIR_SEARCH decides: equal to the last bit of the scores."""
    monkeypatch.setattr(neighbours_table, "BRUTE_FORCE_ROWS", 0)
    vectors = random_vectors(rng, 120)
    written = []
    for setting in ("cascade", "brute_force"):
        env = {"IMGRET_ENV_FILE": "/dev/null", "IMGRET_PAIR_SEARCH": setting}
        one = open_home(load_settings({"home": tmp_path / setting}, env=env))
        if incremental:
            write_tables(one, {path: vectors[path] for path in sorted(vectors)[:110]})
            refresh_neighbours(one, SPACE.id)
        write_tables(one, vectors)
        refresh_neighbours(one, SPACE.id)
        written.append(pq.read_table(nearest_path(one.warehouse, SPACE.id)))
    assert len(written[0]) == 120 * 20
    assert written[0].equals(written[1], check_metadata=True)


def test_brute_force_loads_no_cascade(home: Home, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_table, "BRUTE_FORCE_ROWS", 0)
    monkeypatch.setattr(neighbours_table, "NearestSearch", lambda *_, **__: pytest.fail("the cascade was used"))
    write_tables(home, random_vectors(rng, 30))
    assert refresh_neighbours(with_settings(home, pair_search="brute_force"), SPACE.id).written
    assert_right(home)


def test_the_images_of_the_table_must_be_known(home: Home, rng: np.random.Generator) -> None:
    write_tables(home, random_vectors(rng, 10))
    with pytest.raises(TableError, match="materialise `nearest_neighbours`"):
        load_neighbours(home, SPACE.id)
    refresh_neighbours(home, SPACE.id)
    (home.work / "nearest" / f"{SPACE.id}.parquet").unlink()
    with pytest.raises(TableError, match=r"is not known.*nearest_neighbours"):
        load_neighbours(home, SPACE.id)
    assert refresh_neighbours(home, SPACE.id).how == "all against all: what the earlier table covers is not known"
    assert_right(home)


@pytest.mark.parametrize(
    "examples", [pytest.param(12, id="sample"), pytest.param(60, id="all", marks=pytest.mark.exhaustive)]
)
def test_images_with_equal_vectors_in_any_order_of_changes(examples: int) -> None:
    """Names come and go, contents change, contents share a vector, vectors share a direction: always a full sort."""

    @settings(max_examples=examples, deadline=None)
    @given(
        states=st.lists(st.dictionaries(st.integers(0, 25), st.integers(0, 15), max_size=26), min_size=1, max_size=3),
        kept=st.sampled_from([1, 3, KEPT]),
        cascade=st.booleans(),
    )
    def holds(states: list[dict[int, int]], kept: int, cascade: bool) -> None:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
            patched.setattr(neighbours_table, "KEPT", kept)
            patched.setattr(neighbours_table, "RESERVE", 1)
            if cascade:
                patched.setattr(neighbours_table, "BRUTE_FORCE_ROWS", 0)
            home = open_home(load_settings({"home": Path(folder)}, env={"IMGRET_ENV_FILE": "/dev/null"}))
            contents: dict[int, int] = {name: name % 16 for name in range(20)}
            # Each state changes the one before it, so that few enough images are new for an update.
            for changes in ({}, *({name: changes[name] for name in list(changes)[:6]} for changes in states)):
                for name, content in changes.items():
                    if contents.get(name) == content:
                        del contents[name]
                    else:
                        contents[name] = content
                write_tables(home, {f"{name:02d}.png": repeated_vector(content) for name, content in contents.items()})
                refresh_neighbours(home, SPACE.id)
                assert_right(home, kept)

    holds()


@pytest.mark.usefixtures("search")
def test_names_of_one_content_are_not_searched(home: Home, rng: np.random.Generator) -> None:
    vectors = random_vectors(rng, 40) | {f"copy{number}.png": (1.0, 2.0, 3.0) for number in range(60)}
    write_tables(home, vectors)
    report = refresh_neighbours(home, SPACE.id)
    assert "59 images have the vector of an earlier path and are not searched" in report.how
    assert (report.rows, report.compared) == (100 * KEPT, 41 * 40 // 2)
    assert_right(home)
    write_tables(home, vectors | {"copy60.png": (1.0, 2.0, 3.0)})
    report = refresh_neighbours(home, SPACE.id)
    assert report.how.startswith("1 new or changed image and those that lost a neighbour against all 101; 0 removed")
    assert report.compared == 0
    assert_right(home)


@pytest.mark.usefixtures("search")
def test_lists_that_an_earlier_version_kept_of_every_image_are_updated(home: Home, rng: np.random.Generator) -> None:
    vectors = random_vectors(rng, 40) | {f"copy{number}.png": (1.0, 2.0, 3.0) for number in range(3)}
    write_tables(home, vectors)
    refresh_neighbours(home, SPACE.id)
    file = home.work / "nearest" / f"{SPACE.id}.lists.npz"
    coverage = np.load(file)["coverage"]
    lists = expected_neighbours(load_embeddings(home, SPACE.id).vectors, KEPT + 4)
    np.savez(file, rows=lists.rows.astype(np.int32), scores=lists.scores, coverage=coverage)
    assert not refresh_neighbours(home, SPACE.id).written
    write_tables(home, vectors | {"new.png": (0.5, 0.5, 0.1)})
    report = refresh_neighbours(home, SPACE.id)
    assert report.how.startswith("1 new or changed image and those that lost a neighbour")
    assert report.compared < 42 * 41 // 2
    assert_right(home)
