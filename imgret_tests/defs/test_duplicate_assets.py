"""The asset of duplicates and the command that lists them, without Neo4j."""

import json

import pytest

from imgret_assets.cli.main import run_command
from imgret_assets.domain.review.decision_log import record
from imgret_assets.domain.review.decisions import NOT_DUPLICATES, keep_all
from imgret_assets.domain.review.removals import find_library_file
from imgret_tests.support.chain import Chain
from imgret_tests.support.scenes import encode, near_duplicates_of, scene
from imgret_tests.support.tree import put

ASSETS = ["raw_images", "embeddings", "duplicates"]


@pytest.fixture
def copied(chain: Chain) -> Chain:
    put(chain.root, "scene.png", encode(scene(0)))
    put(chain.root, "other.png", encode(scene(1)))
    put(chain.root, "other-again.png", encode(scene(1)))
    for name, data in near_duplicates_of(scene(0)).items():
        put(chain.root, name, data)
    put(chain.root, "half-again.png", near_duplicates_of(scene(0))["half.png"])
    return chain


def test_metadata_counts_copies_and_shows_them(copied: Chain) -> None:
    [said] = copied.run(assets=ASSETS).metadata("duplicates")
    assert (said["exact"], said["near"], said["dagster/row_count"]) == (1, 5, 6)
    kept = {"scene.png", "other.png"}
    assert said["bytes_freed_by_removal"] == sum(
        file.stat().st_size for file in copied.root.iterdir() if file.name not in kept
    )
    assert said["thumbnails"].count("data:image/") == 2 * 6, "each copy beside the one to keep"
    assert "half-again.png" in said["thumbnails"]


def test_a_second_run_computes_nothing(copied: Chain) -> None:
    copied.run(assets=ASSETS)
    [said] = copied.run(assets=ASSETS).metadata("duplicates")
    assert (said["written"], said["fingerprinted"], said["compared_pairs"], said["near"]) == (False, 0, 0, 5)
    assert "thumbnails" not in said


def test_the_command_lists_them(copied: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    copied.run(assets=ASSETS)
    home = ["--home", str(copied.settings.home)]
    found = {}
    for kind in ("exact", "near"):
        assert run_command(["duplicates", *home, "--format", "json", "--kind", kind]) == 0
        said = json.loads(capsys.readouterr().out)["duplicates"]
        found[kind] = {row["path_from"]: row["path_keep"] for row in said}
    assert found["exact"] == {"other-again.png": "other.png", "half-again.png": "half.png"}
    assert set(found["near"]) == {*near_duplicates_of(scene(0)), "half-again.png"}
    assert set(found["near"].values()) == {"scene.png"}
    assert run_command(["duplicates", *home, "--format", "tsv", "--fail-on-found"]) == 11
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t")[:3] == ["path_from", "path_keep", "kind"]
    assert len(lines) == 7
    assert run_command(["duplicates", *home, "-0", "--kind", "exact"]) == 0
    listed = capsys.readouterr().out.split("\0")
    assert listed == [*(str(copied.root / name) for name in ("half-again.png", "other-again.png")), ""]


def test_what_was_decided_is_said_and_can_be_left_out(copied: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    copied.run(assets=ASSETS)
    kept = [find_library_file(copied.home, path) for path in ("scene.png", "half.png", "half-again.png")]
    record(copied.home, [keep_all(kept)])
    home = ["--home", str(copied.settings.home)]
    decided: dict[str, dict[str, str | None]] = {}
    for kind in ("exact", "near"):
        assert run_command(["duplicates", *home, "--json", "--kind", kind]) == 0
        said = json.loads(capsys.readouterr().out)["duplicates"]
        decided[kind] = {row["path_from"]: row["decision"] for row in said}
    assert decided["exact"] == {"other-again.png": None, "half-again.png": NOT_DUPLICATES}
    assert {path for path, verdict in decided["near"].items() if verdict} == {"half.png", "half-again.png"}
    assert run_command(["duplicates", *home, "--json", "--undecided"]) == 0
    left = {row["path_from"] for row in json.loads(capsys.readouterr().out)["duplicates"]}
    assert left == {"other-again.png", *near_duplicates_of(scene(0))} - {"half.png"}


def test_nothing_found_does_not_fail(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    put(chain.root, "scene.png", encode(scene(0)))
    home = ["--home", str(chain.settings.home)]
    assert run_command(["duplicates", *home]) == 1
    assert "duplicates table is missing" in capsys.readouterr().err
    chain.run(assets=ASSETS)
    assert run_command(["duplicates", *home, "--format", "json", "--fail-on-found"]) == 0
    assert json.loads(capsys.readouterr().out)["duplicates"] == []
