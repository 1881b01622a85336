import json

import pytest

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.tables import groups_path
from imgret_assets.errors import TableError
from imgret_tests.cli.conftest import Library
from imgret_tests.support.photos import EXACT_COPY, NEAR_COPY, ORIGINAL


def groups_in(library: Library) -> dict[str, set[str]]:
    """Members by group, of groups of more than one, from the table itself."""
    found: dict[str, set[str]] = {}
    for row in tables.read(groups_path(library.home.warehouse, library.space.id)).to_pylist():
        if row["size"] > 1:
            found.setdefault(row["group"], set()).add(row["path"])
    return found


def test_groups_are_listed_tightest_first(library: Library) -> None:
    said = json.loads(library.run("groups", "--json").stdout)
    assert {key: said[key] for key in ("schema", "metric", "higher_is_closer", "model")} == {
        "schema": 1,
        "metric": "cosine",
        "higher_is_closer": True,
        "model": library.space.id,
    }
    assert {row["group"]: row["size"] for row in said["groups"]} == {
        name: len(members) for name, members in groups_in(library).items()
    }
    assert len(said["groups"]) >= 2
    weakest = [row["weakest_score"] for row in said["groups"]]
    assert weakest == sorted(weakest, reverse=True)
    sizes = [row["size"] for row in json.loads(library.run("groups", "--order", "largest", "--json").stdout)["groups"]]
    assert sizes == sorted(sizes, reverse=True)


def test_small_groups_are_left_out_on_demand(library: Library) -> None:
    done = library.run("groups", "--min-size", 4, "--format", "jsonl")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["group"] for row in rows} == {name for name, members in groups_in(library).items() if len(members) >= 4}
    assert f"{len(rows)} groups of" in done.stderr


def test_a_group_is_named_by_any_member_or_its_file(library: Library) -> None:
    [name] = [name for name, members in groups_in(library).items() if ORIGINAL in members]
    by_name = library.run("groups", name, "--json")
    said = json.loads(by_name.stdout)
    assert (said["group"], said["size"]) == (name, len(said["members"]))
    assert said["members"][0] == {"score": 1.0, "representative": True, "path": name}
    assert {row["path"] for row in said["members"]} == groups_in(library)[name] >= {ORIGINAL, EXACT_COPY, NEAR_COPY}
    assert said["weakest_score"] == min(row["score"] for row in said["members"])
    for other in (NEAR_COPY, library.root / EXACT_COPY):
        assert library.run("groups", other, "--json").stdout == by_name.stdout


def test_members_as_paths_are_files(library: Library) -> None:
    done = library.run("groups", ORIGINAL, "-0")
    files = done.stdout.split("\0")[:-1]
    assert set(files) >= {str(library.root / NEAR_COPY), str(library.root / ORIGINAL)}


def test_an_unknown_image_is_in_no_group(library: Library) -> None:
    with pytest.raises(TableError, match=r"nowhere.png is in no group.*23 usable images"):
        library.run("groups", "nowhere.png")
