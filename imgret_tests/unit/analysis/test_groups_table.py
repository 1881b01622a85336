"""The groups table: its rows, when it is computed again, when reading it is refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.analysis import groups_table
from imgret_assets.domain.analysis.clustering import find_groups
from imgret_assets.domain.analysis.groups_table import read_groups, read_largest_groups, refresh_groups
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.table_reader import load_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA, groups_path
from imgret_assets.errors import StaleTableError, TableError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import put, stamps
from imgret_tests.support.vector_tables import SPACE as SMALL_SPACE
from imgret_tests.support.vector_tables import random_vectors, write_tables
from imgret_tests.unit.analysis.sample_collections import neighbours_of

SPACE = FakeEmbedder().space.id


def test_the_table_holds_the_groups(built: Home) -> None:
    report = refresh_groups(built, SPACE)
    embeddings = load_embeddings(built, SPACE)
    grouping = find_groups(embeddings.vectors, neighbours_of(embeddings.vectors))
    table = tables.read(groups_path(built.warehouse, SPACE))
    assert table.schema.remove_metadata().equals(GROUPS_SCHEMA)
    rows = table.to_pylist()
    assert [row["path"] for row in rows] == embeddings.paths
    for number, row in enumerate(rows):
        members = np.flatnonzero(grouping.groups == grouping.groups[number])
        assert row["group"] == embeddings.paths[grouping.groups[number]]
        assert row["representative"] == (grouping.groups[number] == number)
        assert row["score"] == pytest.approx(grouping.scores[number])
        assert row["size"] == len(members)
        assert row["weakest_score"] == pytest.approx(grouping.scores[members].min())
        assert row["community"] == grouping.communities[number]
    metadata = tables.read_metadata(groups_path(built.warehouse, SPACE))
    assert (metadata["space"], metadata["coverage"]) == (SPACE, embeddings.coverage)
    sizes = np.unique(grouping.groups, return_counts=True)[1]
    assert (report.images, report.groups, report.single_images) == (24, (sizes > 1).sum(), (sizes == 1).sum())
    assert report.agreement_after_split is not None


def test_the_largest_groups_come_first(built: Home) -> None:
    refresh_groups(built, SPACE)
    rows = tables.read(groups_path(built.warehouse, SPACE)).to_pylist()
    sizes = sorted((-row["size"], row["group"]) for row in rows if row["representative"] and row["size"] > 1)
    largest = read_largest_groups(built, SPACE, 2)
    assert [(-group["size"], group["group"]) for group in largest] == sizes[:2]
    weakest = {row["group"]: row["weakest_score"] for row in rows}
    assert [group["weakest_score"] for group in largest] == [weakest[group["group"]] for group in largest]


def test_an_unchanged_collection_is_neither_read_nor_written(built: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first = refresh_groups(built, SPACE)
    before = stamps(built.warehouse)
    for name in ("read_vectors", "load_neighbours_of_groups"):
        monkeypatch.setattr(groups_table, name, lambda *_: pytest.fail("it was read"))
    again = refresh_groups(built, SPACE)
    assert stamps(built.warehouse) == before
    assert again == replace(first, written=False, seconds=0.0)
    assert again.summary.endswith(": nothing changed.")


def test_another_method_groups_all_images_again(built: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh_groups(built, SPACE)
    monkeypatch.setattr(groups_table, "METHOD", "another method")
    again = refresh_groups(built, SPACE)
    assert again.written
    assert again.summary.startswith("All images are grouped again, because the method of groups has changed. ")
    assert "grouped again" not in refresh_groups(built, SPACE).summary, "it is said once"


def test_another_minimum_score_groups_all_images_again(built: Home) -> None:
    loose = refresh_groups(built, SPACE, min_score=-1.0)
    strict = refresh_groups(built, SPACE, min_score=1.0)
    assert strict.written
    assert strict.groups + strict.single_images > loose.groups + loose.single_images == loose.communities


def test_an_image_alone_is_in_no_group(built: Home) -> None:
    refresh_groups(built, SPACE, min_score=1.0)
    coverage = load_embeddings(built, SPACE).coverage
    groups = read_groups(built, SPACE, coverage)
    assert len(groups) == 24
    assert None in groups.values()


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


def groups_of_contents(home: Home, names: Sequence[int]) -> list[frozenset[int]]:
    """Group a collection in which content number i has as many names; return the sets of contents that are one group.

    A content whose names are in several groups is in several sets.
    """
    contents = list(random_vectors(np.random.default_rng(4), len(names)).values())
    write_tables(
        home, {f"{number:03d}/{name:04d}": contents[number] for number, n in enumerate(names) for name in range(n)}
    )
    refresh_neighbours(home, SMALL_SPACE.id)
    report = refresh_groups(home, SMALL_SPACE.id)
    assert report.images == sum(names)
    members: dict[str, set[int]] = {}
    for row in tables.read(groups_path(home.warehouse, SMALL_SPACE.id)).to_pylist():
        members.setdefault(row["group"], set()).add(int(row["path"].split("/")[0]))
        assert row["score"] >= report.min_score
    return sorted(map(frozenset, members.values()), key=min)


@pytest.mark.parametrize("names", [[3000, *[1] * 59], [1, 25, 2] * 20, [900, 1, 700] * 3 + [1] * 51])
def test_a_group_does_not_depend_on_how_many_names_its_contents_have(home: Home, names: list[int]) -> None:
    once = groups_of_contents(home, [1] * 60)
    assert len(once) > 2
    assert max(map(len, once)) > 2
    assert groups_of_contents(home, names) == once


def test_all_names_of_a_single_content_are_one_group(home: Home) -> None:
    assert groups_of_contents(home, [2500]) == [frozenset({0})]
    assert read_largest_groups(home, SMALL_SPACE.id, 9) == [{"group": "000/0000", "size": 2500, "weakest_score": 1.0}]


def lists_files(home: Home) -> list[Path]:
    return list((home.work / "nearest").glob("*.lists.npz"))


@pytest.mark.parametrize("damage", ["removed", "cut", "of every image"])
def test_groups_need_no_file_of_the_work_folder(home: Home, damage: str) -> None:
    before = groups_of_contents(home, [40, 1, 2] * 10)
    groups_path(home.warehouse, SMALL_SPACE.id).unlink()
    (file,) = lists_files(home)
    if damage == "removed":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        with np.load(file) as arrays:
            np.savez(file, **{name: arrays[name] for name in arrays if name != "images"})
    assert groups_of_contents(home, [40, 1, 2] * 10) == before
    assert lists_files(home) == [file]
