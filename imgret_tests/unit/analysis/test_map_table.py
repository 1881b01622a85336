"""The map table: its rows, what a refresh keeps, and collections too small for a map."""

from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.analysis import map_table
from imgret_assets.domain.analysis.map_table import read_map, refresh_map
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import MAP
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import snapshot_path
from imgret_assets.domain.storage.tables import MAP_SCHEMA, map_path
from imgret_assets.errors import StaleTableError, TableError
from imgret_tests.support.tree import stamps
from imgret_tests.support.vector_tables import SPACE as SMALL_SPACE
from imgret_tests.support.vector_tables import write_tables

SPACE = SMALL_SPACE.id
Vectors = dict[str, np.ndarray]


def families(count: int, size: int = 15) -> Vectors:
    """Vectors around `count` centres, `size` each; the name begins with the number of the centre."""
    rng = np.random.default_rng(5)
    vectors = {}
    for family in range(count):
        centre = rng.normal(size=SMALL_SPACE.dim)
        for member in range(size):
            vectors[f"{family}/{member:02d}.png"] = (centre + 0.1 * rng.normal(size=SMALL_SPACE.dim)).astype(np.float32)
    return vectors


def write_vectors(home: Home, vectors: Vectors) -> None:
    write_tables(home, {path: tuple(vector.tolist()) for path, vector in vectors.items()})


def refresh(home: Home, vectors: Vectors) -> map_table.MapReport:
    write_vectors(home, vectors)
    refresh_neighbours(home, SPACE)
    return refresh_map(home, SPACE)


def positions_of(home: Home) -> dict[str, tuple[float, float]]:
    rows = read_map(home, SPACE).to_pylist()
    return {row["path"]: (row["x"], row["y"]) for row in rows}


def share_of_own_family(positions: dict[str, tuple[float, float]]) -> float:
    """The share of images whose nearest image on the map is of their family."""
    names = list(positions)
    points = np.array([positions[name] for name in names])
    distances = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    return float(np.mean([names[row][0] == names[near][0] for row, near in enumerate(distances.argmin(axis=1))]))


def test_look_alikes_lie_together(home: Home) -> None:
    vectors = families(6)
    report = refresh(home, vectors)
    assert (report.images, report.written, report.laid_out, report.placed) == (90, True, True, 0)
    table = read_map(home, SPACE)
    assert table.schema.remove_metadata().equals(MAP_SCHEMA)
    positions = positions_of(home)
    assert list(positions) == sorted(vectors)
    assert np.isfinite(list(positions.values())).all()
    assert share_of_own_family(positions) == 1
    path = map_path(home.warehouse, SPACE)
    path.unlink()
    refresh_map(home, SPACE)
    assert positions_of(home) == positions, "the same images have the same map"


def test_an_unchanged_collection_is_neither_read_nor_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(home, families(2))
    before = stamps(home.warehouse)
    for name in ("read_vectors", "load_neighbours_of_groups"):
        monkeypatch.setattr(map_table, name, lambda *_: pytest.fail("it was read"))
    again = refresh_map(home, SPACE)
    assert stamps(home.warehouse) == before
    assert not again.written
    assert again.summary == "Map of 30 images: nothing changed."


def test_new_images_lie_beside_their_family_and_the_others_stay(home: Home) -> None:
    vectors = families(6)
    new = ["0/03.png", "2/00.png", "2/14.png", "5/07.png"]
    refresh(home, {path: vector for path, vector in vectors.items() if path not in new})
    before = positions_of(home)
    del vectors["4/04.png"]
    report = refresh(home, vectors)
    after = positions_of(home)
    assert (report.placed, report.laid_out) == (4, False)
    assert report.summary.startswith("Map of 89 images: 4 placed, the others kept: ")
    assert {path: after[path] for path in before if path in vectors} == {
        path: position for path, position in before.items() if path in vectors
    }
    assert share_of_own_family(after) == 1


def test_an_image_with_another_content_moves(home: Home) -> None:
    vectors = families(4)
    refresh(home, vectors)
    before = positions_of(home)
    changed = vectors | {"0/00.png": vectors["3/00.png"] + np.float32(0.01)}
    assert refresh(home, changed).placed == 1
    after = positions_of(home)
    family = np.median([before[f"3/{member:02d}.png"] for member in range(15)], axis=0)
    old, new = (np.linalg.norm(np.subtract(of["0/00.png"], family)) for of in (before, after))
    assert new < old / 3


def test_after_many_new_images_all_are_laid_out_from_where_they_were(home: Home) -> None:
    vectors = families(6)
    refresh(home, {path: vector for path, vector in vectors.items() if path < "4"})
    refresh(home, {path: vector for path, vector in vectors.items() if path < "4/10"})
    metadata = MAP.metadata(home.warehouse, SPACE)
    assert metadata is not None
    assert metadata.placed == 10
    report = refresh(home, vectors)
    assert report.laid_out, "20 of 90 have been placed since the last layout, counted over both refreshes"
    assert share_of_own_family(positions_of(home)) == 1


def test_a_family_of_new_images_alone_lies_apart(home: Home) -> None:
    vectors = families(8)
    refresh(home, {path: vector for path, vector in vectors.items() if path < "7"})
    report = refresh(home, vectors)
    assert (report.placed, report.laid_out) == (15, False)
    assert len(set(positions_of(home).values())) == len(vectors)


def test_equal_vectors_have_one_position(home: Home) -> None:
    vectors = families(2)
    refresh(home, vectors | {"copies/one.png": vectors["1/04.png"], "copies/two.png": vectors["1/04.png"]})
    positions = positions_of(home)
    assert positions["copies/one.png"] == positions["copies/two.png"] == positions["1/04.png"]
    assert refresh(home, vectors | {"other/three.png": vectors["1/04.png"]}).placed == 0
    assert positions_of(home)["other/three.png"] == positions["1/04.png"], "a name of a known vector lies where that is"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 10, 11, 22])
def test_small_collections_have_a_map(home: Home, count: int) -> None:
    vectors = dict(list(families(2).items())[:count])
    assert refresh(home, vectors).images == count
    positions = positions_of(home)
    assert list(positions) == list(vectors)
    assert np.isfinite(list(positions.values())).all()
    assert len(set(positions.values())) == count


def test_images_that_are_all_equal_have_a_map(home: Home) -> None:
    vector = families(1)["0/00.png"]
    refresh(home, {f"{number}.png": vector for number in range(25)})
    assert set(positions_of(home).values()) == {(0.0, 0.0)}


def test_another_method_lays_out_all_images_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = families(2)
    refresh(home, vectors)
    monkeypatch.setattr(map_table, "METHOD", "another method")
    again = refresh_map(home, SPACE)
    assert (again.written, again.laid_out) == (True, True)
    assert "because the method of the map has changed" in again.summary
    assert not refresh_map(home, SPACE).written


@pytest.mark.parametrize("damage", ["missing", "damaged", "of another table"])
def test_without_what_the_earlier_map_covers_all_images_are_laid_out(home: Home, damage: str) -> None:
    """As after a process was killed between the snapshot and the table, or the work folder was emptied."""
    vectors = families(3)
    refresh(home, vectors)
    path = snapshot_path(home, "map", SPACE)
    if damage == "missing":
        path.unlink()
    elif damage == "damaged":
        path.write_bytes(b"no parquet")
    else:
        tables.write(path, tables.read(path), {"coverage": "another"})
    assert refresh(home, vectors | {"0/new.png": vectors["0/00.png"] * np.float32(1.01)}).laid_out
    assert share_of_own_family(positions_of(home)) == 1


def test_missing_and_older_tables_are_named(home: Home) -> None:
    vectors = families(1)
    write_vectors(home, vectors)
    with pytest.raises(TableError, match=r"nearest neighbours table is missing.*materialise `nearest_neighbours`"):
        refresh_map(home, SPACE)
    with pytest.raises(TableError, match=r"The map table is missing.*materialise `image_map`"):
        read_map(home, SPACE)
    refresh(home, vectors)
    write_vectors(home, families(2))
    with pytest.raises(StaleTableError, match=r"neighbours table is older .*materialise `nearest_neighbours`"):
        refresh_map(home, SPACE)
    assert Path(map_path(home.warehouse, SPACE)).is_file()
