"""The command `imgret groups` over a small library."""

import json

import pytest

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.tables import groups_path
from imgret_assets.errors import TableError
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
