"""The asset `duplicates` and the command that lists its rows, without Neo4j."""

import json

import pytest

from imgret_assets.cli.main import run_command
from imgret_assets.domain.duplicates.duplicates_table import require_duplicates
from imgret_assets.domain.embeddings.table_reader import list_embeddings
from imgret_assets.domain.graph import duplicate_of
from imgret_assets.domain.review.decision_log import record
from imgret_assets.domain.review.decisions import NOT_DUPLICATES, keep_all
from imgret_assets.domain.review.removals import find_library_file
from imgret_tests.support.chain import Chain
from imgret_tests.support.scenes import encode, near_duplicates_of, scene
from imgret_tests.support.tree import put

ASSETS = ["raw_images", "embeddings", "duplicates"]


@pytest.fixture
def duplicated(chain: Chain) -> Chain:
    """A scene with near-duplicates, one of them in two files; another scene in two files."""
    put(chain.root, "scene.png", encode(scene(0)))
    put(chain.root, "other.png", encode(scene(1)))
    put(chain.root, "other-again.png", encode(scene(1)))
    for name, data in near_duplicates_of(scene(0)).items():
        put(chain.root, name, data)
    put(chain.root, "half-again.png", near_duplicates_of(scene(0))["half.png"])
    return chain


def test_metadata_counts_duplicates_and_shows_them(duplicated: Chain) -> None:
    [metadata] = duplicated.run(assets=ASSETS).metadata("duplicates")
    assert (metadata["exact"], metadata["near"], metadata["dagster/row_count"]) == (1, 5, 6)
    kept = {"scene.png", "other.png"}
    assert metadata["bytes_freed_by_removal"] == sum(
        file.stat().st_size for file in duplicated.root.iterdir() if file.name not in kept
    )
    assert metadata["thumbnails"].count("data:image/") == 2 * 6, "each duplicate beside the image to keep"
    assert "half-again.png" in metadata["thumbnails"]


def test_a_second_run_computes_nothing(duplicated: Chain) -> None:
    duplicated.run(assets=ASSETS)
    [metadata] = duplicated.run(assets=ASSETS).metadata("duplicates")
    computed = (metadata["written"], metadata["fingerprinted"], metadata["compared_pairs"])
    assert (computed, metadata["near"]) == ((False, 0, 0), 5)
    assert "thumbnails" not in metadata


def test_the_command_lists_duplicates(duplicated: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    duplicated.run(assets=ASSETS)
    home = ["--home", str(duplicated.settings.home)]
    keep_of: dict[str, dict[str, str]] = {}
    for kind in ("exact", "near"):
        assert run_command(["duplicates", *home, "--format", "json", "--kind", kind]) == 0
        rows = json.loads(capsys.readouterr().out)["duplicates"]
        keep_of[kind] = {row["path_from"]: row["path_keep"] for row in rows}
    assert keep_of["exact"] == {"other-again.png": "other.png", "half-again.png": "half.png"}
    assert set(keep_of["near"]) == {*near_duplicates_of(scene(0)), "half-again.png"}
    assert set(keep_of["near"].values()) == {"scene.png"}
    assert run_command(["duplicates", *home, "--format", "tsv", "--fail-on-found"]) == 11
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split("\t")[:3] == ["path_from", "path_keep", "kind"]
    assert len(lines) == 7
    assert "imgret: 6 duplicates; removing them would free" in printed.err
    assert run_command(["duplicates", *home, "-0", "--kind", "exact"]) == 0
    paths = capsys.readouterr().out.split("\0")
    assert paths == [*(str(duplicated.root / name) for name in ("half-again.png", "other-again.png")), ""]


def test_decided_pairs_have_their_verdict_and_can_be_left_out(
    duplicated: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    duplicated.run(assets=ASSETS)
    kept = [find_library_file(duplicated.home, path) for path in ("scene.png", "half.png", "half-again.png")]
    record(duplicated.home, [keep_all(kept)])
    home = ["--home", str(duplicated.settings.home)]
    verdict_of: dict[str, dict[str, str | None]] = {}
    for kind in ("exact", "near"):
        assert run_command(["duplicates", *home, "--json", "--kind", kind]) == 0
        rows = json.loads(capsys.readouterr().out)["duplicates"]
        verdict_of[kind] = {row["path_from"]: row["decision"] for row in rows}
    assert verdict_of["exact"] == {"other-again.png": None, "half-again.png": NOT_DUPLICATES}
    assert {path for path, verdict in verdict_of["near"].items() if verdict} == {"half.png", "half-again.png"}
    assert run_command(["duplicates", *home, "--json", "--undecided"]) == 0
    undecided = {row["path_from"] for row in json.loads(capsys.readouterr().out)["duplicates"]}
    assert undecided == {"other-again.png", *near_duplicates_of(scene(0))} - {"half.png"}


def test_without_duplicates_the_command_succeeds(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    put(chain.root, "scene.png", encode(scene(0)))
    home = ["--home", str(chain.settings.home)]
    assert run_command(["duplicates", *home]) == 1
    assert "duplicates table is missing" in capsys.readouterr().err
    chain.run(assets=ASSETS)
    assert run_command(["duplicates", *home, "--format", "json", "--fail-on-found"]) == 0
    assert json.loads(capsys.readouterr().out)["duplicates"] == []


def test_images_to_look_at_first_are_in_no_list_of_duplicates(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    whole = scene(0)
    put(chain.root, "whole.png", encode(whole))
    put(chain.root, "half.png", near_duplicates_of(whole)["half.png"])
    put(chain.root, "grey.png", encode(whole.resize((120, 90)).convert("L")))
    [metadata] = chain.run(assets=ASSETS).metadata("duplicates")
    assert (metadata["near"], metadata["look_first"], metadata["dagster/row_count"]) == (1, 1, 2)
    home = ["--home", str(chain.settings.home)]
    listed: dict[str, list[str]] = {}
    for kinds in ("", "exact,near", "look_first", "near,look_first"):
        options = ["--kind", kinds] if kinds else []
        assert run_command(["duplicates", *home, "--json", *options]) == 0
        printed = capsys.readouterr()
        listed[kinds] = [row["path_from"] for row in json.loads(printed.out)["duplicates"]]
        assert ("1 to look at first: these are no duplicates" in printed.err) == ("look_first" in kinds)
    assert listed == {
        "": ["half.png"],
        "exact,near": ["half.png"],
        "look_first": ["grey.png"],
        "near,look_first": ["grey.png", "half.png"],
    }
    assert run_command(["duplicates", *home, "-0"]) == 0
    assert capsys.readouterr().out == f"{chain.root / 'half.png'}\0"
    assert run_command(["duplicates", *home, "--kind", "near,similar"]) == 2
    assert "'similar' is none of exact, near, look_first" in capsys.readouterr().err
    assert run_command(["duplicates", *home, "--kind", "mirrored", "--fail-on-found"]) == 0
    assert "searched by runs with IMGRET_ORIENTATIONS=on" in capsys.readouterr().err
    space = require_duplicates(chain.home).space
    expected = duplicate_of.expected_relationships(chain.home, space)
    assert set(expected.properties) == {("half.png", "whole.png")}
    assert expected.counts == {"exact": 0, "near": 1}
    parts = duplicate_of.exported_rows(chain.home, space, list_embeddings(chain.home, space))
    assert parts is not None
    assert [path for part in parts for path in part["source"].to_pylist()] == ["half.png"]
