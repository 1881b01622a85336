"""Tests of the refresh of the manifest: rows, unchanged files, guards, another root, failures."""

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from imgret_assets.domain.images import file_inspection, files, optional_decoders
from imgret_assets.domain.images import manifest as manifest_module
from imgret_assets.domain.images.file_reading import open_image_file
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.images.manifest import ScanReport, refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.errors import (
    DiskFullError,
    HomeError,
    LockTimeoutError,
    RootError,
    TableError,
    VanishedFilesError,
)
from imgret_assets.image_roots import ImageRoots
from imgret_tests.support.heif_files import heif
from imgret_tests.support.odd_files import MAX_PIXELS, odd_files
from imgret_tests.support.older_decoder import as_of_older_decoder
from imgret_tests.support.picture_forms import colours, tiff
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.processes import Process
from imgret_tests.support.tree import lock_folder, manifest, path_in, put, put_pictures, stamps, statuses

pytestmark = pytest.mark.usefixtures("settled")


def total(report: ScanReport, what: str) -> int:
    return sum(getattr(shard, what) for shard in report.shards)


def counts(report: ScanReport) -> dict[str, int]:
    return {what: total(report, what) for what in ("added", "changed", "removed", "opened", "written")}


def expected_counts(**counts: int) -> dict[str, int]:
    return {"added": 0, "changed": 0, "removed": 0, "opened": 0, "written": 0} | counts


def remember_as(home: Home, path: str, **columns: int) -> None:
    """Change columns of a file's manifest row: the manifest remembers another file."""
    table = tables.manifest_path(home.warehouse, files.shard_of(path, len(home.shards)))
    rows = [row | columns if row["path"] == path else row for row in tables.read(table).to_pylist()]
    tables.write(table, pa.Table.from_pylist(rows, schema=tables.MANIFEST_SCHEMA), tables.read_metadata(table))


def intercept_open(monkeypatch: pytest.MonkeyPatch, name: str | None, before_open: Callable[[str], None]) -> None:
    """Call a function before one file is opened, or any. File permissions are no help: tests may run as root."""

    def opened(path: str, *, max_bytes: int) -> AbstractContextManager[BinaryIO]:
        if name in (None, Path(path).name):
            before_open(path)
        return open_image_file(path, max_bytes=max_bytes)

    monkeypatch.setattr(file_inspection, "open_image_file", opened)


# Rows and metadata


def test_a_row_has_the_facts_of_its_file(home: Home, images: Path) -> None:
    data = picture_bytes(1)
    put(images, "cars/red one.png", data)
    refresh_manifest(home)
    found = (images / "cars/red one.png").stat()
    assert manifest(home) == {
        "cars/red one.png": {
            "path": "cars/red one.png",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "mtime_ns": found.st_mtime_ns,
            "ctime_ns": found.st_ctime_ns,
            "inode": found.st_ino,
            "hard_links": 1,
            "link": None,
            "width": 40,
            "height": 30,
            "format": "PNG",
            "label": "cars",
            "status": "ok",
            "error": None,
            "decoding": None,
            "note": None,
            "channels": 3,
            "bits": 24,
            "frames": 1,
            "raw_of": None,
            "shot": None,
            "taken": None,
            "camera": None,
        }
    }


def test_an_empty_table_has_the_documented_schema(home: Home) -> None:
    report = refresh_manifest(home)
    for shard in home.shards:
        schema = pq.read_schema(tables.manifest_path(home.warehouse, shard))
        assert schema.names == [
            *("path", "sha256", "bytes", "mtime_ns", "ctime_ns", "inode", "hard_links", "link"),
            *("width", "height", "format", "label", "status", "error", "decoding", "note"),
            *("channels", "bits", "frames", "raw_of", "shot", "taken", "camera"),
        ]
        assert schema.types == [
            *(pa.string(), pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.uint64(), pa.int64(), pa.string()),
            *(pa.int32(), pa.int32()),
            *[pa.string()] * 6,
            *[pa.int32()] * 3,
            *(pa.string(), pa.string(), pa.timestamp("ms"), pa.string()),
        ]
    assert counts(report) == expected_counts(written=4)
    assert total(report, "rows") == 0


def test_the_metadata_names_root_shard_and_time_of_listing(home: Home, images: Path) -> None:
    put_pictures(images, range(5))
    before = time.time_ns()
    refresh_manifest(home)
    said = tables.read_metadata(tables.manifest_path(home.warehouse, "02"))
    assert {key: said[key] for key in ("root", "shard", "shards", "max_pixels")} == {
        "root": str(images),
        "shard": "02",
        "shards": "4",
        "max_pixels": "100000000",
    }
    assert before <= int(said["listed_from_ns"]) <= int(said["listed_to_ns"]) <= time.time_ns()


def test_rows_are_sorted_and_in_their_shards(home: Home, images: Path) -> None:
    put_pictures(images, range(30))
    put(images, "Zz/é.png", picture_bytes(1))
    refresh_manifest(home)
    for shard in home.shards:
        paths = pq.read_table(tables.manifest_path(home.warehouse, shard))["path"].to_pylist()
        assert paths == sorted(paths)
        assert {files.shard_of(path, 4) for path in paths} == {shard}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_every_odd_file_becomes_a_row_with_its_status(home: Home, images: Path) -> None:
    odd = odd_files()
    for file in odd:
        put(images, file.name, file.data)
    home = replace(home, settings=replace(home.settings, max_pixels=MAX_PIXELS))
    report = refresh_manifest(home)
    rows = manifest(home)
    assert {name: row["status"] for name, row in rows.items()} == {file.name: file.listed for file in odd}
    assert {name: row["sha256"] for name, row in rows.items()} == {
        file.name: hashlib.sha256(file.data).hexdigest() for file in odd
    }
    for file in odd:
        row = rows[file.name]
        shown = (row["width"], row["height"]) if row["width"] else None
        assert (shown, row["format"]) == (file.size, file.format)
        assert bool(row["error"]) == (file.listed is not Status.OK)
    unusable = {path for shard in report.shards for path, _, _ in shard.unusable}
    assert unusable == {file.name for file in odd if file.listed is not Status.OK}
    assert counts(refresh_manifest(home)) == expected_counts()


def test_unusual_names_have_rows(home: Home, images: Path) -> None:
    names = ["with space.png", "quote'\".png", "new\nline.png", "Zürich 東京.png", "back\\slash.png"]
    for name in names:
        put(images, name, picture_bytes(1))
    refresh_manifest(home)
    assert statuses(home) == dict.fromkeys(names, "ok")


def put_raw(images: Path, name: bytes, data: bytes) -> None:
    with open(os.fsencode(images) + b"/" + name, "wb") as file:  # noqa: PTH123
        file.write(data)


def test_a_name_that_is_not_utf8_has_one_row(home: Home, images: Path) -> None:
    put_raw(images, b"caf\xe9.png", picture_bytes(1))
    assert counts(refresh_manifest(home)) == expected_counts(added=1, written=4)
    assert statuses(home) == {r"caf\xe9.png": "bad_name"}
    assert counts(refresh_manifest(home)) == expected_counts()
    os.unlink(os.fsencode(images) + b"/caf\xe9.png")  # noqa: PTH108
    assert counts(refresh_manifest(home)) == expected_counts(removed=1, written=1)


def test_an_escaped_name_is_not_confused_with_a_file_of_that_name(home: Home, images: Path) -> None:
    put_raw(images, b"caf\xe9.png", picture_bytes(1))
    put(images, r"caf\xe9.png", picture_bytes(2))
    refresh_manifest(home)
    shard = files.shard_of(r"caf\xe9.png", 4)
    rows = pq.read_table(tables.manifest_path(home.warehouse, shard)).to_pylist()
    assert [(row["status"], row["sha256"] is None) for row in rows] == [("bad_name", True), ("ok", False)]
    assert counts(refresh_manifest(home)) == expected_counts()


@pytest.mark.timeout(30)
def test_pipes_and_links_have_rows_and_are_never_opened(home: Home, images: Path, tmp_path: Path) -> None:
    put(images, "a.png", picture_bytes(1))
    put(tmp_path, "secret.png", picture_bytes(2))
    os.mkfifo(images / "pipe.png")
    (images / "same.png").symlink_to("a.png")
    (images / "itself.png").symlink_to("itself.png")
    (images / "out.png").symlink_to(tmp_path / "secret.png")
    (images / "up").symlink_to("..")
    expected = {
        "a.png": "ok",
        "same.png": "ok",
        "pipe.png": "not_an_image",
        "itself.png": "loop",
        "out.png": "outside_root",
        "up": "outside_root",
    }
    report = refresh_manifest(home)
    assert statuses(home) == expected
    assert counts(report)["opened"] == 2
    rows = manifest(home)
    assert rows["out.png"]["sha256"] is None
    assert rows["same.png"]["sha256"] == rows["a.png"]["sha256"]
    assert {path: row["link"] for path, row in rows.items() if row["status"] == "ok"} == {
        "a.png": None,
        "same.png": "a.png",
    }
    assert counts(refresh_manifest(home)) == expected_counts()


def test_names_that_are_no_candidates_are_counted(home: Home, images: Path) -> None:
    put(images, "notes.txt", b"")
    put(images, ".hidden.png", b"")
    put_pictures(images, [1])
    (images / "folder").mkdir()
    (images / "again").symlink_to("folder")
    report = refresh_manifest(home)
    assert (report.ignored, report.hidden, report.linked_folders) == (1, 1, 1)


# Unchanged files are not opened


def test_a_second_run_opens_no_file_and_writes_no_table(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(images, range(12))
    put(images, "broken.jpg", b"no picture")
    assert counts(refresh_manifest(home)) == expected_counts(added=13, opened=13, written=4)
    before = stamps(home.warehouse)
    monkeypatch.setattr(file_inspection, "open", lambda *_: pytest.fail("a file was opened"), raising=False)
    report = refresh_manifest(home)
    assert counts(report) == expected_counts()
    assert report.summary.endswith("none changed: no file was opened.")
    assert total(report, "rows") == 13
    assert stamps(home.warehouse) == before


def test_files_changed_within_two_seconds_are_inspected_again(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one clock tick a file can change while all its times stay the same."""
    monkeypatch.setattr(manifest_module, "RACY_NS", 2_000_000_000)
    put_pictures(images, range(3))
    refresh_manifest(home)
    assert counts(refresh_manifest(home))["opened"] == 3
    monkeypatch.setattr(manifest_module, "RACY_NS", 0)
    assert counts(refresh_manifest(home)) == expected_counts()


def test_a_file_with_an_old_mtime_and_a_new_ctime_is_inspected_again(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copying programs set the mtime; the ctime is the time of the copy."""
    monkeypatch.setattr(manifest_module, "RACY_NS", 2_000_000_000)
    (path,) = put_pictures(images, [1])
    os.utime(images / path, (1e9, 1e9))
    refresh_manifest(home)
    assert counts(refresh_manifest(home))["opened"] == 1


def test_only_an_added_file_is_opened(home: Home, images: Path) -> None:
    put_pictures(images, range(10))
    refresh_manifest(home)
    put(images, path_in("01"), picture_bytes(50))
    report = refresh_manifest(home)
    assert counts(report) == expected_counts(added=1, opened=1, written=1)
    assert [shard.shard for shard in report.shards if shard.written] == ["01"]
    assert [shard.examples for shard in report.shards if shard.examples] == [[path_in("01")]]
    assert len(manifest(home)) == 11


def test_only_a_changed_file_is_opened(home: Home, images: Path) -> None:
    paths = put_pictures(images, range(10))
    refresh_manifest(home)
    put(images, paths[3], picture_bytes(50))
    assert counts(refresh_manifest(home)) == expected_counts(changed=1, opened=1, written=1)
    assert manifest(home)[paths[3]]["sha256"] == hashlib.sha256(picture_bytes(50)).hexdigest()


def test_a_deleted_file_opens_nothing(home: Home, images: Path) -> None:
    paths = put_pictures(images, range(10))
    refresh_manifest(home)
    (images / paths[3]).unlink()
    assert counts(refresh_manifest(home)) == expected_counts(removed=1, written=1)
    assert sorted(manifest(home)) == sorted(set(paths) - {paths[3]})


def test_a_renamed_file_is_opened_once(home: Home, images: Path) -> None:
    paths = put_pictures(images, range(10))
    refresh_manifest(home)
    (images / paths[3]).rename(images / path_in("02", stem="new"))
    report = refresh_manifest(home)
    assert (total(report, "added"), total(report, "removed"), total(report, "opened")) == (1, 1, 1)
    assert len(manifest(home)) == 10


def test_the_same_content_with_new_times_is_opened_but_not_changed(home: Home, images: Path) -> None:
    paths = put_pictures(images, range(4))
    refresh_manifest(home)
    os.utime(images / paths[0], ns=(1, 1))
    assert counts(refresh_manifest(home)) == expected_counts(opened=1, written=1)
    assert manifest(home)[paths[0]]["mtime_ns"] == 1
    assert counts(refresh_manifest(home)) == expected_counts()


@pytest.mark.parametrize("year", [-200, 1601, 1900, 2302, 9999])
def test_a_time_of_any_year_is_listed_and_the_file_not_opened_again(home: Home, images: Path, year: int) -> None:
    path = put_pictures(images, range(1))[0]
    nanoseconds = int((year - 1970) * 365.2425 * 86_400) * 10**9
    os.utime(images / path, ns=(0, nanoseconds))
    # A file system without such times stores the nearest one that it has.
    nanoseconds = (images / path).stat().st_mtime_ns
    refresh_manifest(home)
    assert (manifest(home)[path]["status"], manifest(home)[path]["mtime_ns"]) == ("ok", files.storable_ns(nanoseconds))
    assert counts(refresh_manifest(home)) == expected_counts()


def test_the_manifest_of_an_older_decoder_is_refreshed_once_without_hashing(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(images, range(3))
    put(images, "planar.tif", tiff(colours(), 16, 2, planar=True))
    put(images, "text.png", b"no image")
    refresh_manifest(home)
    current = manifest(home)
    as_of_older_decoder(home, {"text.png": {"status": "truncated", "error": "its header is incomplete"}})
    monkeypatch.setattr(file_inspection, "hashlib", None)
    report = refresh_manifest(home)
    assert manifest(home) == current
    assert current["planar.tif"]["decoding"] == "tiff1"
    assert (total(report, "reinspected"), total(report, "opened"), total(report, "changed")) == (5, 0, 1)
    assert "The headers of 5 unchanged files were read again, once" in report.summary
    again = refresh_manifest(home)
    assert (total(again, "reinspected"), counts(again)) == (0, expected_counts())


def test_a_file_is_tried_again_when_its_decoder_is_installed_and_others_are_not(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(images, range(3))
    put(images, "phone.heic", heif("halves"))
    put(images, "photoshop.jpg", b"8BPS\0\1" + bytes(64))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(optional_decoders, "is_installed", lambda _form: False)
        refresh_manifest(home)
        assert manifest(home)["phone.heic"]["status"] == "unsupported"
        assert counts(refresh_manifest(home)) == expected_counts()
    read: list[str] = []
    intercept_open(monkeypatch, None, read.append)
    report = refresh_manifest(home)
    assert sorted(Path(path).name for path in read) == ["phone.heic", "photoshop.jpg"]
    assert (total(report, "reinspected"), total(report, "opened"), total(report, "changed")) == (2, 0, 1)
    row = manifest(home)["phone.heic"]
    assert (row["status"], row["format"], row["width"], row["frames"], row["error"]) == ("ok", "HEIF", 64, 1, None)
    assert counts(refresh_manifest(home)) == expected_counts()


def test_a_file_whose_decoder_was_removed_is_unsupported(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(images, "phone.heic", heif("halves"))
    put(images, "plain.png", picture_bytes(1))
    refresh_manifest(home)
    assert statuses(home) == {"phone.heic": "ok", "plain.png": "ok"}
    monkeypatch.setattr(optional_decoders, "is_installed", lambda _form: False)
    report = refresh_manifest(home)
    assert statuses(home) == {"phone.heic": "unsupported", "plain.png": "ok"}
    assert total(report, "reinspected") == 1


def test_a_manifest_of_a_version_without_these_decoders_tries_only_what_had_none(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(images, range(3))
    put(images, "phone.heic", heif("halves"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(optional_decoders, "is_installed", lambda _form: False)
        refresh_manifest(home)
    for shard in home.shards:
        file = tables.manifest_path(home.warehouse, shard)
        metadata = {key: value for key, value in tables.read_metadata(file).items() if key != "decoders"}
        tables.write(file, tables.read(file).replace_schema_metadata(None), metadata)
    report = refresh_manifest(home)
    assert (total(report, "reinspected"), total(report, "changed")) == (1, 1)
    assert set(statuses(home).values()) == {"ok"}


def test_a_change_in_place_with_the_same_size_and_mtime_is_found_by_the_ctime(home: Home, images: Path) -> None:
    data = picture_bytes(1)
    put(images, "a.png", data)
    before = (images / "a.png").stat()
    refresh_manifest(home)
    deadline = time.monotonic() + 10
    while True:
        (images / "a.png").write_bytes(data[:-1] + b"X")
        os.utime(images / "a.png", ns=(before.st_atime_ns, before.st_mtime_ns))
        after = (images / "a.png").stat()
        if after.st_ctime_ns != before.st_ctime_ns:
            break
        assert time.monotonic() < deadline
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert counts(refresh_manifest(home)) == expected_counts(changed=1, opened=1, written=1)


@pytest.mark.parametrize("column", ["bytes", "mtime_ns", "ctime_ns", "inode"])
def test_a_file_is_unchanged_only_if_all_stat_values_are(home: Home, images: Path, column: str) -> None:
    """The ctime and the inode of a file can't be chosen, so the manifest is changed instead."""
    (path,) = put_pictures(images, [1])
    refresh_manifest(home)
    row = manifest(home)[path]
    remember_as(home, path, **{column: row[column] - 1})
    assert total(refresh_manifest(home), "opened") == 1
    assert manifest(home)[path] == row


def test_verify_opens_every_file(home: Home, images: Path) -> None:
    """It finds even a change that neither times nor size show, such as a disk that lost bits."""
    paths = put_pictures(images, range(6))
    refresh_manifest(home)
    (images / paths[0]).write_bytes(picture_bytes(99))
    status = (images / paths[0]).stat()
    # The ctime of a file can't be chosen, so the manifest gets the size and times that the changed file has.
    remember_as(home, paths[0], bytes=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns)
    assert total(refresh_manifest(home), "opened") == 0
    report = refresh_manifest(home, verify=True)
    assert (total(report, "opened"), total(report, "changed")) == (6, 1)
    assert manifest(home)[paths[0]]["sha256"] == hashlib.sha256(picture_bytes(99)).hexdigest()


def test_one_shard_alone_is_refreshed(home: Home, images: Path) -> None:
    put_pictures(images, range(20))
    report = refresh_manifest(home, ["02"])
    assert [shard.shard for shard in report.shards] == ["02"]
    assert [file.name for file in (home.warehouse / "manifest").iterdir()] == ["shard=02.parquet"]


def test_another_pixel_limit_applies_to_images_that_were_too_large(home: Home, images: Path) -> None:
    put_pictures(images, range(4))
    small = replace(home, settings=replace(home.settings, max_pixels=100))
    refresh_manifest(small)
    assert set(statuses(home).values()) == {"too_large"}
    assert counts(refresh_manifest(home)) == expected_counts(changed=4, opened=4, written=4)
    assert set(statuses(home).values()) == {"ok"}


# Files that cannot be read


def test_a_file_above_the_byte_limit_has_a_row_and_is_not_read(home: Home, images: Path) -> None:
    put(images, "a.png", picture_bytes(1))
    put(images, "sparse.jpg", b"")
    os.truncate(images / "sparse.jpg", 2**42)
    refresh_manifest(home)
    assert statuses(home) == {"a.png": Status.OK, "sparse.jpg": Status.TOO_LARGE}
    row = manifest(home)["sparse.jpg"]
    assert row["sha256"] is None
    assert "IMGRET_MAX_BYTES" in row["error"]
    # It is not looked at again until the limit allows it; then others that it no longer allows are refused.
    assert counts(refresh_manifest(home)) == expected_counts()
    low = replace(home, settings=replace(home.settings, max_bytes=5))
    assert counts(refresh_manifest(low)) == expected_counts(changed=1, opened=1, written=1)
    assert statuses(low) == {"a.png": Status.TOO_LARGE, "sparse.jpg": Status.TOO_LARGE}
    assert counts(refresh_manifest(home)) == expected_counts(changed=1, opened=1, written=1)
    assert statuses(home)["a.png"] == Status.OK


def test_an_unreadable_file_has_a_row_and_is_tried_again(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = put_pictures(images, range(3))

    def refuse(_: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        intercept_open(patched, paths[1], refuse)
        report = refresh_manifest(home)
    assert statuses(home) == {paths[0]: "ok", paths[1]: "unreadable", paths[2]: "ok"}
    assert [entry for shard in report.shards for entry in shard.unusable] == [
        (paths[1], "unreadable", "Permission denied")
    ]
    assert counts(refresh_manifest(home))["changed"] == 1
    assert set(statuses(home).values()) == {"ok"}


def test_a_file_that_vanishes_after_the_listing_has_a_row(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = put_pictures(images, range(3))
    intercept_open(monkeypatch, paths[1], lambda path: Path(path).unlink())
    refresh_manifest(home)
    assert statuses(home)[paths[1]] == "vanished"
    assert counts(refresh_manifest(home))["removed"] == 1
    assert paths[1] not in manifest(home)


def test_a_disk_error_has_a_row(home: Home, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = put_pictures(images, range(3))

    def fail(_: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    intercept_open(monkeypatch, paths[0], fail)
    refresh_manifest(home)
    assert manifest(home)[paths[0]]["error"] == "Input/output error"


def test_files_known_in_a_folder_that_can_not_be_listed_stay_known(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(40):
        put(images, f"locked/deep/{seed}.png", picture_bytes(seed))
    put(images, "locked2/a.png", picture_bytes(50))
    refresh_manifest(home)
    (images / "locked2/a.png").unlink()
    with monkeypatch.context() as patched:
        lock_folder(patched, images / "locked")
        report = refresh_manifest(home)
    assert (total(report, "removed"), total(report, "added"), total(report, "opened")) == (1, 1, 0)
    assert statuses(home) == {f"locked/deep/{seed}.png": "ok" for seed in range(40)} | {"locked": "unreadable"}
    assert counts(refresh_manifest(home))["removed"] == 1
    assert len(manifest(home)) == 40


# Guards


def test_a_missing_root_is_an_error_and_deletes_nothing(home: Home, images: Path) -> None:
    put_pictures(images, range(3))
    refresh_manifest(home)
    before = stamps(home.warehouse)
    images.rename(images.with_name("unmounted"))
    with pytest.raises(RootError, match=r"does not exist.*nothing was deleted"):
        refresh_manifest(home, allow_deletes=True)
    assert stamps(home.warehouse) == before


def delete_files(home: Home, images: Path, count: int, left: int) -> dict[str, tuple[int, int, bytes]]:
    paths = put_pictures(images, range(count))
    refresh_manifest(home)
    for path in paths[left:]:
        (images / path).unlink()
    return stamps(home.warehouse)


def test_a_run_stops_if_most_files_have_vanished(home: Home, images: Path) -> None:
    before = delete_files(home, images, 50, 20)
    with pytest.raises(VanishedFilesError, match=r"30 of 50 known files have vanished.*--allow-deletes"):
        refresh_manifest(home)
    assert stamps(home.warehouse) == before
    report = refresh_manifest(home, allow_deletes=True)
    assert total(report, "removed") == 30
    assert len(manifest(home)) == 20


@pytest.mark.parametrize(("count", "left"), [(20, 0), (42, 21), (60, 30)])
def test_up_to_20_or_half_of_the_files_may_vanish(home: Home, images: Path, count: int, left: int) -> None:
    """The larger of the two limits applies."""
    delete_files(home, images, count, left)
    assert total(refresh_manifest(home), "removed") == count - left


@pytest.mark.parametrize(("count", "left"), [(21, 0), (43, 21)])
def test_one_more_vanished_file_is_refused(home: Home, images: Path, count: int, left: int) -> None:
    delete_files(home, images, count, left)
    with pytest.raises(VanishedFilesError, match=f"{count - left} of {count} known"):
        refresh_manifest(home)


def test_an_emptied_root_is_noticed_in_a_single_shard(home: Home, images: Path) -> None:
    """Each shard alone may know too few files for the guard."""
    before = delete_files(home, images, 40, 0)
    with pytest.raises(VanishedFilesError, match="40 of 40 known files have vanished"):
        refresh_manifest(home, ["00"])
    assert stamps(home.warehouse) == before
    refresh_manifest(home, ["00"], allow_deletes=True)
    assert pq.read_table(tables.manifest_path(home.warehouse, "00")).num_rows == 0


def test_many_renamed_files_need_allow_deletes(home: Home, images: Path) -> None:
    """Renamed and vanished files can't be distinguished before all files are read."""
    put_pictures(images, range(30))
    refresh_manifest(home)
    for file in images.iterdir():
        file.rename(file.with_name(f"new {file.name}"))
    with pytest.raises(VanishedFilesError, match="30 of 30"):
        refresh_manifest(home)
    assert counts(refresh_manifest(home, allow_deletes=True)) == expected_counts(
        added=30, removed=30, opened=30, written=4
    )


# Another root


def other_root(home: Home, tmp_path: Path) -> tuple[Home, Path]:
    root = tmp_path / "others"
    root.mkdir(exist_ok=True)
    return open_home(replace(home.settings, images=ImageRoots.plain(root))), root


def test_another_root_replaces_the_contents_and_is_reported(home: Home, images: Path, tmp_path: Path) -> None:
    put_pictures(images, range(30))
    refresh_manifest(home)
    later, root = other_root(home, tmp_path)
    put_pictures(root, [100, 101])
    report = refresh_manifest(later)
    assert report.replaced_root == str(images)
    assert report.summary.startswith(f"The contents of {images} are replaced by those of {root}.")
    assert sorted(manifest(later)) == ["100.png", "101.png"]
    assert read_record(home.path).root == str(root)  # type: ignore[union-attr]
    again = refresh_manifest(open_home(replace(home.settings, images=None)))
    assert again.replaced_root is None
    assert counts(again) == expected_counts()


def test_a_file_of_the_same_name_under_another_root_is_another_file(home: Home, images: Path, tmp_path: Path) -> None:
    """This holds even for hard links, which have the same stat values."""
    put(images, "a.png", picture_bytes(1))
    refresh_manifest(home)
    later, root = other_root(home, tmp_path)
    os.link(images / "a.png", root / "a.png")
    assert total(refresh_manifest(later), "opened") == 1


def test_an_empty_other_root_empties_the_tables(home: Home, images: Path, tmp_path: Path) -> None:
    put_pictures(images, range(30))
    refresh_manifest(home)
    later, _ = other_root(home, tmp_path)
    refresh_manifest(later)
    assert manifest(later) == {}


def test_some_shards_of_another_root_are_refused(home: Home, images: Path, tmp_path: Path) -> None:
    put_pictures(images, range(5))
    refresh_manifest(home)
    before = stamps(home.warehouse)
    later, root = other_root(home, tmp_path)
    with pytest.raises(RootError, match=f"The image root is {root}, but this home was built from {images}.*all shards"):
        refresh_manifest(later, ["00", "01"])
    assert stamps(home.warehouse) == before
    assert read_record(home.path).root == str(images)  # type: ignore[union-attr]


def test_the_presently_recorded_root_counts(home: Home, images: Path, tmp_path: Path) -> None:
    """A page or a code location may have opened the home before the root changed."""
    put_pictures(images, range(5))
    refresh_manifest(home)
    long_open = open_home(home.settings)
    later, _ = other_root(home, tmp_path)
    refresh_manifest(later)
    with pytest.raises(RootError, match=r"this home was built from .*others"):
        refresh_manifest(long_open, ["00"])
    assert refresh_manifest(long_open).replaced_root == str(tmp_path / "others")
    assert read_record(home.path).root == str(images)  # type: ignore[union-attr]


# A home that cannot be written


@pytest.mark.parametrize("edge", [(pq.ParquetWriter, "write_table"), (pa.ipc, "new_stream")], ids=["table", "spool"])
def test_a_full_disk_leaves_the_old_tables(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch, edge: tuple[Any, str]
) -> None:
    put_pictures(images, range(8))
    refresh_manifest(home)
    before = stamps(home.warehouse)
    put(images, path_in("03", stem="new"), picture_bytes(50))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(*edge, full)
        with pytest.raises(DiskFullError, match=r"No room on the disk.*free some space"):
            refresh_manifest(home)
    assert stamps(home.warehouse) == before
    assert sorted(file.name for file in home.work.iterdir()) == ["decoding", "verified.json"]
    assert list((home.work / "decoding").iterdir()) == []
    assert total(refresh_manifest(home), "added") == 1


def test_a_home_that_can_not_be_written_is_named(home: Home, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(manifest_module.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(HomeError, match="make IMGRET_HOME writable"):
        refresh_manifest(home)


def test_a_damaged_manifest_is_named_and_made_again(home: Home, images: Path, caplog: pytest.LogCaptureFixture) -> None:
    put_pictures(images, range(8))
    refresh_manifest(home)
    table = tables.manifest_path(home.warehouse, "01")
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(TableError, match=r"shard=01.parquet can't be read.*run `imgret run`"):
        tables.read(table)
    refresh_manifest(home)
    [warning] = caplog.messages
    assert re.search(r"shard=01.parquet can't be read.*made again", warning)
    assert len(manifest(home)) == 8


def test_a_shard_that_another_run_holds_is_waited_for_and_named(home: Home) -> None:
    impatient = replace(home, settings=replace(home.settings, lock_timeout_s=0.2))
    hold = """
from pathlib import Path
from imgret_assets.domain.storage import locks
with locks.hold(Path(sys.argv[1]), ["shard-02"], timeout_s=30, purpose="embedding images"):
    say("held")
    wait()
"""
    with Process(hold, [home.locks]) as holder:
        assert holder.hear() == "held"
        with pytest.raises(LockTimeoutError, match=f"shard-02 is held by process {holder.popen.pid}"):
            refresh_manifest(impatient)
        refresh_manifest(impatient, ["00"])
    refresh_manifest(impatient)


@pytest.mark.usefixtures("settled")
def test_links_of_a_table_of_an_older_version_are_added_without_opening_a_file(home: Home, images: Path) -> None:
    put(images, "a.png", picture_bytes(1))
    (images / "link.png").symlink_to("a.png")
    os.link(images / "a.png", images / "hard.png")
    refresh_manifest(home)
    complete = manifest(home)
    for shard in home.shards:
        path = tables.manifest_path(home.warehouse, shard)
        older = tables.read(path).drop_columns(["hard_links", "link"])
        tables.write(path, older, tables.read_metadata(path))
    report = refresh_manifest(home)
    assert counts(report)["opened"] == 0
    assert manifest(home) == complete
    assert {path: (row["hard_links"], row["link"]) for path, row in complete.items()} == {
        "a.png": (2, None),
        "hard.png": (2, None),
        "link.png": (2, "a.png"),
    }


@pytest.mark.usefixtures("settled")
def test_the_depth_and_frames_of_a_table_of_an_older_version_are_read_once(home: Home, images: Path) -> None:
    put(images, "colour.png", picture_bytes(1))
    Image.effect_noise((60, 40), 50).convert("1").save(images / "fax.tif", compression="group4")
    refresh_manifest(home)
    complete = manifest(home)
    for shard in home.shards:
        path = tables.manifest_path(home.warehouse, shard)
        older = tables.read(path).drop_columns(["channels", "bits", "frames"])
        metadata = {key: value for key, value in tables.read_metadata(path).items() if key != "inspection"}
        tables.write(path, older, metadata)
    report = refresh_manifest(home)
    assert (counts(report)["opened"], total(report, "reinspected"), total(report, "changed")) == (0, 2, 0)
    assert "The headers of 2 unchanged files were read again, once" in report.summary
    assert manifest(home) == complete
    assert {path: (row["channels"], row["bits"], row["frames"]) for path, row in complete.items()} == {
        "colour.png": (3, 24, 1),
        "fax.tif": (1, 1, 1),
    }
    assert total(refresh_manifest(home), "reinspected") == 0
