"""The command `imgret groups` over a small library."""

import json
from pathlib import Path

import click
import pytest

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.tables import groups_path
from imgret_assets.errors import ImgretError, TableError
from imgret_tests.cli.conftest import Library
from imgret_tests.support.photos import EXACT_COPY, NEAR_COPY, ORIGINAL


def groups_in(library: Library) -> dict[str, set[str]]:
    """Return the members of each group of more than one image, from the table itself."""
    members: dict[str, set[str]] = {}
    for row in tables.read(groups_path(library.home.warehouse, library.space.id)).to_pylist():
        if row["size"] > 1:
            members.setdefault(row["group"], set()).add(row["path"])
    return members


def test_groups_are_listed_tightest_first(library: Library) -> None:
    document = json.loads(library.run("groups", "--json").stdout)
    assert {key: document[key] for key in ("schema", "metric", "higher_is_closer", "model")} == {
        "schema": 1,
        "metric": "cosine",
        "higher_is_closer": True,
        "model": library.space.id,
    }
    assert {row["group"]: row["size"] for row in document["groups"]} == {
        name: len(members) for name, members in groups_in(library).items()
    }
    assert len(document["groups"]) >= 2
    weakest = [row["weakest_score"] for row in document["groups"]]
    assert weakest == sorted(weakest, reverse=True)
    sizes = [row["size"] for row in json.loads(library.run("groups", "--order", "largest", "--json").stdout)["groups"]]
    assert sizes == sorted(sizes, reverse=True)


def test_groups_below_the_minimum_size_are_left_out(library: Library) -> None:
    result = library.run("groups", "--min-size", 4, "--format", "jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {row["group"] for row in rows} == {name for name, members in groups_in(library).items() if len(members) >= 4}
    assert f"{len(rows)} groups of" in result.stderr


def test_a_group_is_named_by_any_member_or_its_file(library: Library) -> None:
    [name] = [name for name, members in groups_in(library).items() if ORIGINAL in members]
    by_name = library.run("groups", name, "--json")
    group = json.loads(by_name.stdout)
    assert (group["group"], group["size"]) == (name, len(group["members"]))
    assert group["members"][0] == {"score": 1.0, "representative": True, "path": name}
    assert {row["path"] for row in group["members"]} == groups_in(library)[name] >= {ORIGINAL, EXACT_COPY, NEAR_COPY}
    assert group["weakest_score"] == min(row["score"] for row in group["members"])
    for member in (NEAR_COPY, library.root / EXACT_COPY):
        assert library.run("groups", member, "--json").stdout == by_name.stdout


def test_members_as_paths_are_files(library: Library) -> None:
    files = library.run("groups", ORIGINAL, "-0").stdout.split("\0")[:-1]
    assert set(files) >= {str(library.root / NEAR_COPY), str(library.root / ORIGINAL)}


def test_an_unknown_image_is_in_no_group(library: Library) -> None:
    with pytest.raises(TableError, match=r"nowhere.png is in no group.*23 usable images"):
        library.run("groups", "nowhere.png")


def test_a_group_gets_a_name_by_which_it_is_found(library: Library) -> None:
    [group] = [group for group, members in groups_in(library).items() if ORIGINAL in members]
    batch = library.run("groups", ORIGINAL, "--name", "Holiday 2024", "--by", "anna").stdout.strip()
    listed = json.loads(library.run("groups", "--json").stdout)["groups"]
    assert {row["group"]: row["name"] for row in listed if row["name"]} == {group: "Holiday 2024"}
    document = json.loads(library.run("groups", "Holiday 2024", "--json").stdout)
    assert (document["group"], document["name"]) == (group, "Holiday 2024")
    assert "Holiday 2024" in library.run("review", "history").stdout
    library.run("review", "undo", batch)
    assert json.loads(library.run("groups", ORIGINAL, "--json").stdout)["name"] is None
    with pytest.raises(TableError, match="Holiday 2024 is in no group"):
        library.run("groups", "Holiday 2024")


def test_a_group_is_exported(library: Library, tmp_path: Path) -> None:
    files = library.run("groups", ORIGINAL, "-0").stdout.split("\0")[:-1]
    assert any("\n" in file for file in files)
    with pytest.raises(ImgretError, match="contains a line break"):
        library.run("groups", ORIGINAL, "--to", tmp_path / "list.txt")
    other = next(group for group, members in groups_in(library).items() if ORIGINAL not in members)
    library.run("groups", other, "--to", tmp_path / "list.txt")
    assert (tmp_path / "list.txt").read_text().splitlines() == library.run(
        "groups", other, "--format", "paths"
    ).stdout.splitlines()
    result = library.run("groups", ORIGINAL, "--to", tmp_path / "links", "--as", "links")
    assert [str(link.readlink()) for link in sorted((tmp_path / "links").iterdir())] == files
    assert f"{len(files)} images exported" in result.stderr
    library.run("groups", ORIGINAL, "--to", tmp_path / "album.html", "--as", "album")
    assert (tmp_path / "album.html").read_text().count("data:image/jpeg;base64,") == len(files)


def test_a_name_or_an_export_needs_a_group(library: Library) -> None:
    with pytest.raises(click.UsageError, match="need GROUP"):
        library.run("groups", "--name", "x")
