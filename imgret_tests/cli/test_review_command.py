"""`imgret review` over a small library: what is left, deciding, looking back; stdout holds results alone."""

import csv
import io
import json
from typing import Any

import click
import pytest

from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.errors import DecisionError, TableError
from imgret_tests.cli.conftest import Library
from imgret_tests.support.photos import EXACT_COPY, NEAR_COPY, ORIGINAL


def sets(library: Library, *options: object) -> list[dict[str, Any]]:
    return json.loads(library.run("review", *options, "--json").stdout)["sets"]


def decide(library: Library, a: object, b: object, *options: object) -> str:
    return library.run("review", "decide", a, b, *options).stdout.strip()


def removed(library: Library) -> dict[str, str]:
    said = json.loads(library.run("review", "--dry-run", "--json").stdout)
    return {row["path"]: row["keep"] for row in said["removals"]}


def test_what_is_left_is_listed_set_by_set_with_the_one_to_keep_first(library: Library) -> None:
    done = library.run("review", "--json")
    said = json.loads(done.stdout)
    assert (said["schema"], said["metric"], said["higher_is_closer"]) == (1, "cosine", True)
    # Two of the small pictures are near copies as well, less near.
    found, _ = said["sets"]
    assert (found["kind"], found["reason"]) == ("near", "640 x 480, shortest path")
    rows = [(row["path"], row["kind"], row["proposal"]) for row in found["members"]]
    assert rows == [(ORIGINAL, "near", "keep"), (EXACT_COPY, "exact", "remove"), (NEAR_COPY, "near", "remove")]
    assert said["counts"] == {"exact": 0, "near": 2, "similar": said["counts"]["similar"]}
    assert "left to decide: 0 exact and 2 near sets" in done.stderr
    similar = sets(library, "--kind", "similar")
    assert len(similar) == said["counts"]["similar"] > 1
    assert sets(library, "--kind", "similar", "--limit", 1) == similar[:1]
    assert {row["proposal"] for one in similar for row in one["members"]} == {"keep"}


def test_forms(library: Library) -> None:
    first = ("review", "--limit", 1)
    lines = library.run(*first, "--format", "tsv").stdout.splitlines()
    assert lines[0].split("\t")[:4] == ["set", "kind", "proposal", "path"]
    assert len(lines) == 4
    assert "a tab\\tand a\\nbreak.jpg" in lines[3]
    rows = list(csv.DictReader(io.StringIO(library.run(*first, "--format", "csv").stdout, newline="")))
    assert [row["path"] for row in rows] == [ORIGINAL, EXACT_COPY, NEAR_COPY]
    [line] = library.run(*first, "--format", "jsonl").stdout.splitlines()
    assert json.loads(line)["members"][0]["path"] == ORIGINAL
    files = library.run(*first, "-0").stdout.split("\0")[:-1]
    assert files == [str(library.root / path) for path in (ORIGINAL, EXACT_COPY, NEAR_COPY)]
    shown = library.run(*first, "--format", "table").stdout
    assert "proposal" in shown.splitlines()[0]


def test_one_of_two_is_kept_and_the_other_would_be_removed(library: Library) -> None:
    assert removed(library) == {}
    batch = decide(library, ORIGINAL, library.root / NEAR_COPY, "--verdict", "duplicate", "--keep", ORIGINAL)
    assert removed(library) == {NEAR_COPY: ORIGINAL}
    assert library.run("review", "--dry-run", "-0").stdout == f"{library.root / NEAR_COPY}\0"
    assert "none was removed" in library.run("review", "--dry-run").stderr
    assert (library.root / NEAR_COPY).is_file()
    [row] = csv.DictReader(io.StringIO(library.run("review", "--dry-run", "--format", "csv").stdout, newline=""))
    assert (row["path"], row["batch"]) == (NEAR_COPY, batch)
    found, _ = sets(library)
    state = {row["path"]: row["proposal"] for row in found["members"]}
    assert state == {ORIGINAL: "keep", EXACT_COPY: "remove", NEAR_COPY: "removal decided"}


def test_what_changed_since_the_last_run_is_not_listed(library: Library) -> None:
    decide(library, ORIGINAL, EXACT_COPY, "--verdict", "duplicate", "--keep", EXACT_COPY)
    assert removed(library) == {ORIGINAL: EXACT_COPY}
    (library.root / EXACT_COPY).unlink()
    done = library.run("review", "--dry-run")
    assert str(library.root / ORIGINAL) not in done.stdout
    assert "1 left out" in done.stderr


def test_exit_codes_of_what_was_found(library: Library) -> None:
    assert library.run("review", "--fail-on-found").return_value == 11
    assert library.run("review", "--kind", "exact", "--fail-on-found").return_value == 0
    assert library.run("review").return_value == 0
    assert library.run("review", "--dry-run", "--fail-on-found").return_value == 0
    decide(library, ORIGINAL, EXACT_COPY, "--verdict", "duplicate", "--keep", ORIGINAL)
    assert library.run("review", "--dry-run", "--fail-on-found").return_value == 11


def test_looking_back_and_undoing(library: Library) -> None:
    batch = decide(library, ORIGINAL, NEAR_COPY, "--verdict", "not_duplicates", "--by", "anna", "--reason", "see both")
    [row] = json.loads(library.run("review", "history", "--json").stdout)["decisions"]
    assert (row["by"], row["reason"], row["state"], row["batch"]) == ("anna", "see both", "in_force", batch)
    undone = library.run("review", "undo", batch, "--by", "ben").stdout.strip()
    rows = json.loads(library.run("review", "history", "--json").stdout)["decisions"]
    assert [(row["verdict"], row["state"], row["by"]) for row in rows] == [
        ("undo", "in_force", "ben"),
        ("not_duplicates", "undone", "anna"),
    ]
    assert rows[0]["batch"] == undone
    shown = library.run("review", "history", "--limit", 1, "--format", "tsv").stdout.splitlines()
    assert len(shown) == 2
    assert list(read_decisions(library.home).in_force()) == []
    with pytest.raises(DecisionError, match="undone already"):
        library.run("review", "undo", batch)


def test_export(library: Library) -> None:
    decide(library, ORIGINAL, NEAR_COPY, "--verdict", "not_duplicates", "--by", "anna")
    [row] = csv.DictReader(io.StringIO(library.run("review", "export").stdout, newline=""))
    assert {row["path_a"], row["path_b"]} == {ORIGINAL, NEAR_COPY}
    file = library.home.path / "out.json"
    done = library.run("review", "export", "--format", "json", "--output", file)
    assert done.stdout == ""
    [event] = json.loads(file.read_text())["decisions"]
    assert event["by"] == "anna"


def test_a_home_may_be_named_before_or_after_the_command(library: Library) -> None:
    from click.testing import CliRunner

    from imgret_assets.cli.main import imgret

    words = ["review", "--home", str(library.home.path), "history", "--json"]
    done = CliRunner().invoke(imgret, words, standalone_mode=False, catch_exceptions=False)
    assert json.loads(done.stdout)["decisions"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--verdict", "duplicate"], "needs --keep"),
        (["--verdict", "duplicate", "--keep", "family0/picture0000.png"], "is neither"),
        (["--verdict", "not_duplicates", "--keep", ORIGINAL], "keeps both"),
        (["--verdict", "perhaps"], "perhaps"),
    ],
)
def test_wrong_use(library: Library, options: list[str], said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        decide(library, ORIGINAL, NEAR_COPY, *options)
    assert read_decisions(library.home).events == []


def test_what_is_not_in_the_library_can_not_be_decided_about(library: Library) -> None:
    with pytest.raises(TableError, match=r"nowhere\.png is not among the usable images"):
        decide(library, ORIGINAL, "nowhere.png", "--verdict", "not_duplicates")
    with pytest.raises(DecisionError, match="not under the image root"):
        decide(library, ORIGINAL, __file__, "--verdict", "not_duplicates")
    with pytest.raises(DecisionError, match="alone"):
        decide(library, ORIGINAL, library.root / ORIGINAL, "--verdict", "not_duplicates")
