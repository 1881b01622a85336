"""The command `imgret review` over a small library: queue, decisions, history, removals; stdout has only results."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from imgret_assets.cli.main import imgret
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.errors import DecisionError, TableError
from imgret_tests.cli.conftest import Library
from imgret_tests.support.photos import EXACT_COPY, NEAR_COPY, ORIGINAL


def sets(library: Library, *options: object) -> list[dict[str, Any]]:
    return json.loads(library.run("review", *options, "--json").stdout)["sets"]


def decide(library: Library, a: object, b: object, *options: object) -> str:
    return library.run("review", "decide", a, b, *options).stdout.strip()


def removals(library: Library) -> dict[str, str]:
    """Return the file kept instead of each file that could be removed."""
    rows = json.loads(library.run("review", "--dry-run", "--json").stdout)["removals"]
    return {row["path"]: row["keep"] for row in rows}


def test_sets_are_listed_with_the_file_to_keep_first(library: Library) -> None:
    result = library.run("review", "--json")
    document = json.loads(result.stdout)
    assert (document["schema"], document["metric"], document["higher_is_closer"]) == (1, "cosine", True)
    [first] = document["sets"]
    assert (first["kind"], first["reason"]) == ("near", "640 x 480, shortest path")
    rows = [(row["path"], row["kind"], row["proposal"]) for row in first["members"]]
    assert rows == [(ORIGINAL, "near", "keep"), (EXACT_COPY, "exact", "remove"), (NEAR_COPY, "near", "remove")]
    assert document["counts"] == {"exact": 0, "near": 1, "similar": document["counts"]["similar"]}
    assert "left to decide: 0 exact and 1 near set" in result.stderr
    similar = sets(library, "--kind", "similar")
    assert len(similar) == document["counts"]["similar"] > 1
    assert sets(library, "--kind", "similar", "--limit", 1) == similar[:1]
    assert {row["proposal"] for pair in similar for row in pair["members"]} == {"keep"}


def test_every_output_format_lists_the_set(library: Library) -> None:
    first_set = ("review", "--limit", 1)
    lines = library.run(*first_set, "--format", "tsv").stdout.splitlines()
    assert lines[0].split("\t")[:4] == ["set", "kind", "proposal", "path"]
    assert len(lines) == 4
    assert "a tab\\tand a\\nbreak.jpg" in lines[3]
    rows = list(csv.DictReader(io.StringIO(library.run(*first_set, "--format", "csv").stdout, newline="")))
    assert [row["path"] for row in rows] == [ORIGINAL, EXACT_COPY, NEAR_COPY]
    [line] = library.run(*first_set, "--format", "jsonl").stdout.splitlines()
    assert json.loads(line)["members"][0]["path"] == ORIGINAL
    files = library.run(*first_set, "-0").stdout.split("\0")[:-1]
    assert files == [str(library.root / path) for path in (ORIGINAL, EXACT_COPY, NEAR_COPY)]
    table = library.run(*first_set, "--format", "table").stdout
    assert "proposal" in table.splitlines()[0]


def test_a_duplicate_of_a_decision_could_be_removed(library: Library) -> None:
    assert removals(library) == {}
    batch = decide(library, ORIGINAL, library.root / NEAR_COPY, "--verdict", "duplicate", "--keep", ORIGINAL)
    assert removals(library) == {NEAR_COPY: ORIGINAL}
    assert library.run("review", "--dry-run", "-0").stdout == f"{library.root / NEAR_COPY}\0"
    assert "imgret: 1 file could be removed" in library.run("review", "--dry-run").stderr
    assert "none was removed" in library.run("review", "--dry-run").stderr
    assert (library.root / NEAR_COPY).is_file()
    [row] = csv.DictReader(io.StringIO(library.run("review", "--dry-run", "--format", "csv").stdout, newline=""))
    assert (row["path"], row["batch"]) == (NEAR_COPY, batch)
    [first] = sets(library)
    proposals = {row["path"]: row["proposal"] for row in first["members"]}
    assert proposals == {ORIGINAL: "keep", EXACT_COPY: "remove", NEAR_COPY: "removal decided"}


def test_a_file_that_has_changed_since_the_last_run_is_not_listed(library: Library) -> None:
    decide(library, ORIGINAL, EXACT_COPY, "--verdict", "duplicate", "--keep", EXACT_COPY)
    assert removals(library) == {ORIGINAL: EXACT_COPY}
    (library.root / EXACT_COPY).unlink()
    result = library.run("review", "--dry-run")
    assert str(library.root / ORIGINAL) not in result.stdout
    assert "1 left out" in result.stderr


def test_fail_on_found_sets_the_exit_code(library: Library) -> None:
    assert library.run("review", "--fail-on-found").return_value == 11
    assert library.run("review", "--kind", "exact", "--fail-on-found").return_value == 0
    assert library.run("review").return_value == 0
    assert library.run("review", "--dry-run", "--fail-on-found").return_value == 0
    decide(library, ORIGINAL, EXACT_COPY, "--verdict", "duplicate", "--keep", ORIGINAL)
    assert library.run("review", "--dry-run", "--fail-on-found").return_value == 11


def test_history_lists_decisions_and_undos(library: Library) -> None:
    batch = decide(library, ORIGINAL, NEAR_COPY, "--verdict", "not_duplicates", "--by", "anna", "--reason", "see both")
    [row] = json.loads(library.run("review", "history", "--json").stdout)["decisions"]
    assert (row["by"], row["reason"], row["state"], row["batch"]) == ("anna", "see both", "in_force", batch)
    undo_batch = library.run("review", "undo", batch, "--by", "ben").stdout.strip()
    rows = json.loads(library.run("review", "history", "--json").stdout)["decisions"]
    assert [(row["verdict"], row["state"], row["by"]) for row in rows] == [
        ("undo", "in_force", "ben"),
        ("not_duplicates", "undone", "anna"),
    ]
    assert rows[0]["batch"] == undo_batch
    newest = library.run("review", "history", "--limit", 1, "--format", "tsv").stdout.splitlines()
    assert len(newest) == 2
    assert "undo\t" in newest[1]
    assert list(read_decisions(library.home).in_force()) == []
    with pytest.raises(DecisionError, match="undone already"):
        library.run("review", "undo", batch)


def test_decisions_are_exported_to_stdout_or_a_file(library: Library) -> None:
    decide(library, ORIGINAL, NEAR_COPY, "--verdict", "not_duplicates", "--by", "anna")
    [row] = csv.DictReader(io.StringIO(library.run("review", "export").stdout, newline=""))
    assert {row["path_a"], row["path_b"]} == {ORIGINAL, NEAR_COPY}
    file = library.home.path / "out.json"
    result = library.run("review", "export", "--format", "json", "--output", file)
    assert result.stdout == ""
    [event] = json.loads(file.read_text())["decisions"]
    assert event["by"] == "anna"


def test_the_home_may_stand_before_or_after_the_subcommand(library: Library) -> None:
    arguments = ["review", "--home", str(library.home.path), "history", "--json"]
    result = CliRunner().invoke(imgret, arguments, standalone_mode=False, catch_exceptions=False)
    assert json.loads(result.stdout)["decisions"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--verdict", "duplicate"], "needs --keep"),
        (["--verdict", "duplicate", "--keep", "family0/picture0000.png"], "is neither"),
        (["--verdict", "not_duplicates", "--keep", ORIGINAL], "keeps both"),
        (["--verdict", "perhaps"], "perhaps"),
    ],
)
def test_contradictory_options_are_refused(library: Library, options: list[str], message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        decide(library, ORIGINAL, NEAR_COPY, *options)
    assert read_decisions(library.home).events == []


def test_only_images_of_the_library_can_be_decided_about(library: Library) -> None:
    with pytest.raises(TableError, match=r"nowhere\.png is not among the images"):
        decide(library, ORIGINAL, "nowhere.png", "--verdict", "not_duplicates")
    with pytest.raises(DecisionError, match="not under the image root"):
        decide(library, ORIGINAL, __file__, "--verdict", "not_duplicates")
    with pytest.raises(DecisionError, match="alone"):
        decide(library, ORIGINAL, library.root / ORIGINAL, "--verdict", "not_duplicates")


def test_a_link_is_neither_kept_nor_a_duplicate(library: Library) -> None:
    (library.root / "link.png").symlink_to(ORIGINAL)
    refresh_manifest(library.home)
    with pytest.raises(DecisionError, match=rf"link\.png is a symbolic link to {ORIGINAL}: a link keeps no content"):
        decide(library, "link.png", NEAR_COPY, "--verdict", "duplicate", "--keep", "link.png")
    with pytest.raises(DecisionError, match=r"link\.png is a symbolic link .* removing it frees nothing"):
        decide(library, "link.png", NEAR_COPY, "--verdict", "duplicate", "--keep", NEAR_COPY)
    assert read_decisions(library.home).events == []
    # Keeping both loses nothing.
    decide(library, "link.png", NEAR_COPY, "--verdict", "not_duplicates")
    assert removals(library) == {}


def test_removable_files_are_moved_after_a_typed_confirmation(library: Library, tmp_path: Path) -> None:
    decide(library, ORIGINAL, NEAR_COPY, "--verdict", "duplicate", "--keep", ORIGINAL)
    file, to = library.root / NEAR_COPY, tmp_path / "moved"
    arguments = ["review", "--apply", "--to", str(to), "--home", str(library.home.path)]
    for typed in ("", "y\n", "2\n"):
        with pytest.raises(DecisionError, match="Nothing was moved: it was not confirmed"):
            CliRunner().invoke(imgret, arguments, input=typed, standalone_mode=False, catch_exceptions=False)
        assert file.is_file()
    result = CliRunner().invoke(imgret, arguments, input="1\n", standalone_mode=False, catch_exceptions=False)
    assert result.return_value == 0
    assert "1 file, 0.0 MB, to be moved to" in result.stderr
    assert len(result.stdout.splitlines()) == 2
    assert not file.exists()
    [undo_file] = to.glob("imgret-undo-*.jsonl")
    assert f"imgret review restore {undo_file}" in result.stderr
    restored = library.run("review", "restore", undo_file)
    assert (restored.return_value, file.is_file()) == (0, True)
    assert "1 file put back" in restored.stderr


def test_files_go_to_the_trash_by_default(library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trashed: list[Path] = []

    def to_trash(file: Path) -> None:
        trashed.append(file)
        file.rename(tmp_path / file.name)

    monkeypatch.setattr("send2trash.send2trash", to_trash)
    assert "no file is to be moved" in library.run("review", "--apply").stderr
    decide(library, ORIGINAL, EXACT_COPY, "--verdict", "duplicate", "--keep", ORIGINAL)
    result = library.run("review", "--apply", "--yes")
    assert trashed == [library.root / EXACT_COPY]
    assert "1 file moved to the system's trash" in result.stderr
    [undo_file] = (library.home.path / "removals").iterdir()
    with pytest.raises(DecisionError, match="in the system's trash"):
        library.run("review", "restore", undo_file)


def test_a_file_that_stays_is_named_and_fails_the_command(library: Library, tmp_path: Path) -> None:
    decide(library, ORIGINAL, EXACT_COPY, "--verdict", "duplicate", "--keep", ORIGINAL)
    kept = library.root / ORIGINAL
    status = kept.stat()
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    with kept.open("r+b") as opened:
        opened.write(data)
    os.utime(kept, ns=(status.st_atime_ns, status.st_mtime_ns))
    result = library.run("review", "--apply", "--yes", "--to", tmp_path / "elsewhere")
    assert result.return_value == 1
    assert (library.root / EXACT_COPY).is_file()
    assert f"stays: {ORIGINAL}, kept instead, has another content" in result.stderr


@pytest.mark.parametrize(
    "options",
    [["--to", "x"], ["--yes"], ["--apply", "--dry-run"], ["--apply", "--kind", "near"], ["--apply", "--fail-on-found"]],
)
def test_options_of_moving_belong_together(library: Library, options: list[str]) -> None:
    with pytest.raises(click.UsageError, match="--apply"):
        library.run("review", *options)
