"""Tests of the spool of a listing: rows by shard, fingerprints of all shards, folders that can't be listed."""

from pathlib import Path

import pytest

from imgret_assets.domain.images import listing_spool
from imgret_assets.domain.images.files import Candidate, ListingFingerprint
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.images.listing_spool import spool_candidates
from imgret_tests.support.tree import path_in

SHARDS = ["00", "01", "02", "03"]


def candidate(path: str, status: Status | None = None) -> Candidate:
    return Candidate(path, f"/images/{path}", 1, 2, 3, 4, status, None if status is None else "a reason")


@pytest.mark.parametrize("batch_rows", [1, 2, 8192])
def test_each_selected_shard_has_its_candidates_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    monkeypatch.setattr(listing_spool, "BATCH_ROWS", batch_rows)
    paths = {shard: [path_in(shard, stem=f"cars/{number}-") for number in range(5)] for shard in SHARDS}
    candidates = [candidate(paths[shard][number]) for number in range(5) for shard in SHARDS]
    listing = spool_candidates(candidates, tmp_path, ["01", "03"], 4)
    for shard in ("01", "03"):
        rows = list(listing.rows(shard))
        assert [row["path"] for row in rows] == paths[shard]
        assert listing.paths(shard) == set(paths[shard])
        assert rows[0] == {
            "path": paths[shard][0],
            "location": f"/images/{paths[shard][0]}".encode(),
            "bytes": 1,
            "mtime_ns": 2,
            "ctime_ns": 3,
            "inode": 4,
            "hard_links": 1,
            "link": None,
            **dict.fromkeys(("sha256", "width", "height", "format", "status", "error", "shot")),
            "label": "cars",
        }
    assert sorted(file.name for file in tmp_path.iterdir()) == ["01.arrow", "03.arrow"]


def test_shards_that_are_not_selected_have_a_fingerprint_too(tmp_path: Path) -> None:
    listed = candidate(path_in("02"))
    listing = spool_candidates([listed], tmp_path, ["00"], 4)
    expected = ListingFingerprint()
    expected.add(listed)
    assert listing.fingerprints["02"] == expected
    assert [listing.fingerprints[shard].files for shard in SHARDS] == [0, 0, 1, 0]
    assert listing.paths("00") == set()


def test_statuses_and_unlistable_folders_are_kept(tmp_path: Path) -> None:
    folder = Candidate(path_in("00"), "/x", status=Status.UNREADABLE, error="denied", is_unlistable_folder=True)
    listing = spool_candidates([folder], tmp_path, ["00"], 4)
    assert listing.unlistable_folders == [f"{folder.path}/"]
    ((status, error),) = [(row["status"], row["error"]) for row in listing.rows("00")]
    assert (status, error) == ("unreadable", "denied")


def test_a_name_that_is_not_utf8_keeps_its_location(tmp_path: Path) -> None:
    odd = Candidate(path_in("00"), "/images/caf\udce9.png", status=Status.BAD_NAME)
    listing = spool_candidates([odd], tmp_path, ["00"], 4)
    assert [row["location"] for row in listing.rows("00")] == [b"/images/caf\xe9.png"]
