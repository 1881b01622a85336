"""Input snapshots: writing, reading, and the check against the embeddings."""

import pytest

from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import (
    read_snapshot,
    snapshot_matches,
    snapshot_path,
    write_snapshot,
)
from imgret_assets.errors import TableError

PATHS, CONTENTS = ["a.png", "Zürich/b.png"], ["1" * 64, "2" * 64]


def test_a_snapshot_is_read_back(home: Home) -> None:
    write_snapshot(home, "pairs", "x-1", PATHS, CONTENTS, "c1")
    assert read_snapshot(home, "pairs", "x-1") == (PATHS, CONTENTS)
    assert snapshot_path(home, "pairs", "x-1") == home.work / "pairs" / "x-1.parquet"


def test_it_matches_the_coverage_it_was_written_with(home: Home) -> None:
    assert not snapshot_matches(home, "pairs", "x-1", "c1")
    write_snapshot(home, "pairs", "x-1", PATHS, CONTENTS, "c1")
    assert snapshot_matches(home, "pairs", "x-1", "c1")
    assert not snapshot_matches(home, "pairs", "x-1", "c2")


def test_each_kind_and_space_has_its_own(home: Home) -> None:
    write_snapshot(home, "pairs", "x-1", PATHS, CONTENTS, "c1")
    write_snapshot(home, "nearest", "x-1", PATHS[:1], CONTENTS[:1], "c2")
    write_snapshot(home, "pairs", "y-1", [], [], "c3")
    assert read_snapshot(home, "pairs", "x-1") == (PATHS, CONTENTS)
    assert read_snapshot(home, "nearest", "x-1") == (PATHS[:1], CONTENTS[:1])
    assert read_snapshot(home, "pairs", "y-1") == ([], [])


def test_a_missing_or_damaged_snapshot_is_an_error(home: Home) -> None:
    with pytest.raises(TableError, match=r"x-1\.parquet can't be read"):
        read_snapshot(home, "pairs", "x-1")
    write_snapshot(home, "pairs", "x-1", PATHS, CONTENTS, "c1")
    snapshot_path(home, "pairs", "x-1").write_bytes(b"not parquet")
    with pytest.raises(TableError, match=r"x-1\.parquet can't be read"):
        snapshot_matches(home, "pairs", "x-1", "c1")
