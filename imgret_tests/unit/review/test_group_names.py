"""Names of groups: stored with the decisions, found again in groups that have changed, undone."""

import json
from collections.abc import Mapping

import pytest

from imgret_assets.domain.review.decision_log import (
    MAX_NAME,
    NAMED_MEMBERS,
    DecisionReader,
    decisions_path,
    export_csv,
    export_json,
    read_decisions,
    read_history,
    record,
    record_group_name,
    undo,
)
from imgret_assets.domain.review.decisions import File, keep_all
from imgret_assets.domain.review.group_names import assign_names, name_group, read_contents, read_group_names
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError, HomeError


def images(names: str) -> list[File]:
    """Return one file for each letter; its content is the letter, so that its path does not matter."""
    return [File(f"folder/{name}.png", f"sha-{name}") for name in names]


def names_of(home: Home, groups: Mapping[str, str]) -> dict[str, str]:
    """Return the names of groups, given as the letters of their images by group."""
    group_of = {f"moved/{letter}.png": group for group, letters in groups.items() for letter in letters}
    content_of = {f"moved/{letter}.png": f"sha-{letter}" for letters in groups.values() for letter in letters}
    return assign_names(read_decisions(home), group_of, content_of)


def test_a_name_stays_when_its_group_gains_and_loses_images_and_its_representative(home: Home) -> None:
    record_group_name(home, "Beach", images("abcd"), by="anna")
    assert names_of(home, {"g": "abcd", "h": "xyz"}) == {"g": "Beach"}
    # Other paths, another representative, new images, and one that went to another group.
    assert names_of(home, {"other": "bcefgh", "h": "axyz"}) == {"other": "Beach"}
    # Only one of the named images is left.
    assert names_of(home, {"g": "dxyz"}) == {"g": "Beach"}
    assert names_of(home, {"g": "xyz"}) == {}


def test_of_a_divided_group_the_larger_part_has_the_name_and_of_equal_parts_that_of_the_representative(
    home: Home,
) -> None:
    record_group_name(home, "Beach", images("abcd"))
    assert names_of(home, {"left": "a", "right": "bcd"}) == {"right": "Beach"}
    assert names_of(home, {"right": "cd", "left": "ab"}) == {"left": "Beach"}
    assert names_of(home, {"left": "a", "right": "b", "x": "c", "y": "d"}) == {}


def test_of_joined_groups_the_latest_name_counts_until_it_is_undone(home: Home) -> None:
    record_group_name(home, "Beach", images("ab"))
    forest = record_group_name(home, "Forest", images("cd"))
    assert names_of(home, {"both": "abcd"}) == {"both": "Forest"}
    undo(home, forest)
    assert names_of(home, {"both": "abcd"}) == {"both": "Beach"}
    assert names_of(home, {"left": "ab", "right": "cd"}) == {"left": "Beach"}


def test_a_blank_name_takes_the_name_away_and_a_new_name_replaces_it(home: Home) -> None:
    record_group_name(home, "Beach", images("abc"))
    record_group_name(home, "  Dunes\u00a0", images("abcd"))
    assert names_of(home, {"g": "abcd"}) == {"g": "Dunes"}
    assert [entry.state for entry in read_history(home)] == ["in_force", "superseded"]
    record_group_name(home, " ", images("abcd"))
    assert names_of(home, {"g": "abcd"}) == {}


def test_images_with_one_content_in_two_groups_vote_for_both(home: Home) -> None:
    record_group_name(home, "Beach", images("ab"))
    group_of = {"1.png": "g", "2.png": "g", "3.png": "h"}
    contents = {"1.png": "sha-a", "2.png": "sha-b", "3.png": "sha-a"}
    assert assign_names(read_decisions(home), group_of, contents) == {"g": "Beach"}


def test_names_are_no_decisions_about_pairs(home: Home) -> None:
    record(home, [keep_all(images("ab"))], by="anna")
    record_group_name(home, "Beach", images("ab"), by="berta")
    decisions = read_decisions(home)
    assert len(list(decisions.in_force())) == 1
    assert decisions.contents == {"sha-a", "sha-b"}
    found = decisions.decision_for(*images("ab"))
    assert found is not None
    assert found.by == "anna"


def test_names_are_read_again_by_another_process_and_checked(home: Home) -> None:
    record_group_name(home, "Strand, \u201eNorden\u201c", images("abc"), by="anna")
    path = decisions_path(home)
    [event] = DecisionReader(path).read()[0].events
    assert (event.verdict, event.name, event.members, event.path_a) == (
        "group_name",
        "Strand, \u201eNorden\u201c",
        ("sha-a", "sha-b", "sha-c"),
        "folder/a.png",
    )
    path.write_bytes(path.read_bytes().replace(b"Strand", b"Wald__"))
    with pytest.raises(HomeError, match=r"Line 1 .*its check does not match"):
        DecisionReader(path).read()


def test_lines_of_pairs_are_written_as_before(home: Home) -> None:
    record(home, [keep_all(images("ab"))])
    assert {"name", "members"}.isdisjoint(json.loads(decisions_path(home).read_text()))


def test_a_large_group_is_stored_by_its_first_contents(home: Home) -> None:
    files = [File(f"{number}.png", f"sha-{number // 2}") for number in range(1000)]
    record_group_name(home, "Large", files)
    [event] = read_decisions(home).events
    assert event.members == tuple(f"sha-{number}" for number in range(NAMED_MEMBERS))


@pytest.mark.parametrize("name", ["two\nlines", "x" * (MAX_NAME + 1), "bell\x07"])
def test_a_name_is_one_line(home: Home, name: str) -> None:
    with pytest.raises(DecisionError, match="one line"):
        record_group_name(home, name, images("ab"))
    assert read_decisions(home).events == []


def test_exports_have_the_names(home: Home) -> None:
    record_group_name(home, "Beach", images("ab"), by="anna")
    record(home, [keep_all(images("cd"))], by="anna")
    pair, name = json.loads(export_json(home))["decisions"]
    assert (name["verdict"], name["name"], name["members"]) == ("group_name", "Beach", ["sha-a", "sha-b"])
    assert "members" not in pair
    header, *lines = export_csv(home).splitlines()
    assert "name" in header.split(",")
    assert "members" not in header.split(",")
    assert "Beach" in lines[1]


def test_a_group_of_the_library_is_named_by_its_paths(duplicated: Home) -> None:
    paths = sorted(read_contents(duplicated))[:3]
    name_group(duplicated, "Beach", paths, by="anna")
    assert read_group_names(duplicated, dict.fromkeys(paths, "g")) == {"g": "Beach"}
    with pytest.raises(DecisionError, match=r"gone\.png is listed"):
        name_group(duplicated, "Beach", ["gone.png"])
