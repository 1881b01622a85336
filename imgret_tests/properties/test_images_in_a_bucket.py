"""Images in a bucket give the tables that the same files in a folder give, whatever the store does meanwhile."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.change_detection import Changes, Cursor, detect_changes
from imgret_assets.domain.images.example_image import find_example
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.images.thumbnail_cache import cached_thumbnail, thumbnails_folder
from imgret_assets.domain.objects import object_pages
from imgret_assets.domain.objects.stores import ObjectStoreError
from imgret_assets.domain.operations.group_export import link_files
from imgret_assets.domain.review import decision_log
from imgret_assets.domain.review.apply_removals import apply_removals
from imgret_assets.domain.review.removals import decide_duplicates, list_removals
from imgret_assets.domain.search.query import read_query
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import DecisionError, ImgretError, RootError
from imgret_assets.image_roots import ImageRoots
from imgret_assets.settings import Settings
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.odd_files import odd_files
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.s3_server import SECRET, Fault, ObjectStore
from imgret_tests.support.tree import embedding_rows

# What a file system knows of a file and a store does not.
_OF_FILES = ("mtime_ns", "ctime_ns", "inode")


@pytest.fixture
def files(images: Path) -> Path:
    """A folder with pictures, copies, files that can't be used and names of all kinds."""
    write_pictures(images, 12)
    (images / "copies").mkdir()
    (images / "copies" / "a copy+ü%25#.png").write_bytes(picture_bytes(3, family=3))
    for odd in odd_files()[:6]:
        (images / f"odd-{odd.name}").write_bytes(odd.data)
    return images


@pytest.fixture
def bucket(files: Path, object_store: ObjectStore) -> str:
    """A bucket with these files below the prefix `pics`, and others beside it."""
    bucket = object_store.make_bucket()
    object_store.upload(files, bucket, "pics")
    object_store.put(bucket, "pics2/other.png", picture_bytes(1))
    object_store.put(bucket, "pics/.hidden/other.png", picture_bytes(1))
    object_store.asked.clear()
    return bucket


@pytest.fixture
def cloud(settings: Settings, bucket: str, tmp_path: Path) -> Home:
    """A home whose images are in the bucket."""
    return open_home(replace(settings, home=tmp_path / "cloud", images=ImageRoots.parse(f"s3://{bucket}/pics")))


def refresh(home: Home) -> None:
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_pairs(home, FakeEmbedder().space.id, 0.8)
    refresh_duplicates(home, FakeEmbedder().space.id)


def manifest_rows(home: Home) -> list[dict[str, Any]]:
    return [
        row for shard in home.shards for row in tables.read(tables.manifest_path(home.warehouse, shard)).to_pylist()
    ]


def tables_of(home: Home) -> list[object]:
    """Paths, digests and statuses, vectors, pairs and duplicates of a home."""
    manifest = [{name: row[name] for name in row if name not in _OF_FILES} for row in manifest_rows(home)]
    space = FakeEmbedder().space.id
    pairs = tables.read(tables.pairs_path(home.warehouse, space)).to_pylist()
    duplicates = tables.read(tables.duplicates_path(home.warehouse)).to_pylist()
    assert pairs
    assert duplicates
    return [manifest, embedding_rows(home, space), pairs, duplicates]


def detect(home: Home) -> Changes:
    cursor, found = Cursor.load(None, home.images, home.record.shards), None
    while found is None:
        # Between two evaluations of the sensor, only the text of the cursor is kept.
        found, cursor = detect_changes(home, cursor, max_files=1, max_seconds=60)
        cursor = Cursor.load(cursor.dump(), home.images, home.record.shards)
    return found


def test_a_bucket_gives_the_tables_of_a_folder_through_all_changes(
    cloud: Home, home: Home, files: Path, bucket: str, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_pages, "PAGE_OBJECTS", 5)
    for each in (cloud, home):
        refresh(each)
    assert tables_of(cloud) == tables_of(home)
    assert detect(cloud).shards == []

    object_store.asked.clear()
    assert refresh_manifest(cloud).summary.endswith("none changed: no file was opened.")
    assert not [asked for asked in object_store.asked if ".png" in asked.partition("start-after")[0]]

    # At once: the rule for files that changed a moment ago is not needed.
    gone, replaced = "family1/picture0001.png", "family2/picture0002.png"
    (files / gone).unlink()
    object_store.delete(bucket, f"pics/{gone}")
    for path, data in ((replaced, picture_bytes(77)), ("new/new.png", picture_bytes(78))):
        (files / path).parent.mkdir(exist_ok=True)
        (files / path).write_bytes(data)
        object_store.put(bucket, f"pics/{path}", data)
    object_store.put(bucket, "pics/family0/picture0000.png", (files / "family0/picture0000.png").read_bytes())
    found = detect(cloud)
    assert 0 < len(found.shards) <= 3
    refresh(home)
    refresh(cloud)
    assert tables_of(cloud) == tables_of(home)
    assert detect(cloud).shards == []
    assert sum(shard.changed for shard in refresh_manifest(cloud, verify=True).shards) == 0


@pytest.mark.parametrize(
    "fault", [Fault(400, "ExpiredToken"), Fault(403, "AccessDenied"), Fault(500)], ids=lambda fault: fault.code
)
def test_a_run_that_loses_the_store_ends_with_one_error_and_the_next_goes_on(
    fault: Fault, cloud: Home, home: Home, bucket: str, object_store: ObjectStore
) -> None:
    # The check of the root, the listing and some objects are answered.
    object_store.faults[:] = [replace(fault, after=6)]
    with pytest.raises(ObjectStoreError, match=r"can't be read any more: .*run again.*nothing was deleted") as raised:
        refresh_manifest(cloud)
    assert SECRET not in str(raised.value)
    object_store.faults.clear()
    refresh_manifest(cloud)
    object_store.faults[:] = [replace(fault, after=3)]
    with pytest.raises(ObjectStoreError):
        refresh_embeddings(cloud, FakeEmbedder())
    object_store.faults.clear()
    for each in (cloud, home):
        refresh(each)
    assert tables_of(cloud) == tables_of(home)


@pytest.mark.parametrize("happens", ["refused", "missing", "emptied", "silent"])
@pytest.mark.parametrize("name", ["", "photos"])
def test_a_bucket_that_cannot_be_listed_deletes_nothing(
    happens: str, name: str, cloud: Home, bucket: str, object_store: ObjectStore
) -> None:
    if name:
        roots = ImageRoots.parse(f"{name}=s3://{bucket}/pics")
        cloud = open_home(replace(cloud.settings, images=roots))
    refresh_manifest(cloud)
    before = {shard: tables.manifest_path(cloud.warehouse, shard).read_bytes() for shard in cloud.shards}
    if happens == "emptied":
        for path in [row["path"] for row in manifest_rows(cloud)]:
            object_store.delete(bucket, "pics/" + path.removeprefix(f"{name}/"))
        object_store.delete(bucket, "pics/.hidden/other.png")
    else:
        statuses = {"refused": (403, "AccessDenied"), "missing": (404, "NoSuchBucket"), "silent": (503, "SlowDown")}
        object_store.faults.append(Fault(*statuses[happens]))
    with pytest.raises(RootError, match=r"s3://.* (can't be listed|has no objects).*nothing was deleted"):
        refresh_manifest(cloud, allow_deletes=True)
    assert before == {shard: tables.manifest_path(cloud.warehouse, shard).read_bytes() for shard in cloud.shards}


def test_one_object_that_cannot_be_read_is_a_row_until_it_can(
    cloud: Home, home: Home, object_store: ObjectStore
) -> None:
    object_store.faults.append(Fault(403, "AccessDenied", part="picture0004"))
    refresh(cloud)
    [row] = [row for row in manifest_rows(cloud) if row["path"].endswith("picture0004.png")]
    assert (row["status"], row["error"]) == ("unreadable", "the store refuses access (403 Forbidden, AccessDenied)")
    object_store.faults.clear()
    for each in (cloud, home):
        refresh(each)
    assert tables_of(cloud) == tables_of(home)


def test_an_object_that_changes_between_listing_and_reading_waits_for_the_next_run(
    cloud: Home, home: Home, files: Path, bucket: str, object_store: ObjectStore
) -> None:
    refresh_manifest(cloud)
    path = "family2/picture0002.png"
    object_store.put(bucket, f"pics/{path}", picture_bytes(77))
    refresh_embeddings(cloud, FakeEmbedder())
    row = embedding_rows(cloud, FakeEmbedder().space.id)[path]
    assert row["status"] == "vanished"
    assert "changed after it was listed" in row["error"]
    (files / path).write_bytes(picture_bytes(77))
    for each in (cloud, home):
        refresh(each)
    assert tables_of(cloud) == tables_of(home)


def test_a_path_of_the_library_is_shown_and_searched_and_never_moved(
    cloud: Home, files: Path, bucket: str, object_store: ObjectStore
) -> None:
    refresh(cloud)
    path = "family3/picture0003.png"
    file = image_file(cloud.images, path)
    assert str(file) == f"s3://{bucket}/pics/{path}"
    assert image_file(cloud.images, "family3/none.png") is None
    assert file is not None
    example = find_example(cloud.warehouse)
    assert example is not None
    assert cloud.images.path_of(example) in {row["path"] for row in manifest_rows(cloud) if row["status"] == "ok"}
    query = read_query(file, cloud.images)
    assert (query.path, query.data) == (path, (files / path).read_bytes())
    shown = cached_thumbnail(thumbnails_folder(cloud), file, 32)
    assert shown == cached_thumbnail(thumbnails_folder(cloud), files / path, 32)
    with pytest.raises(ImgretError, match=r"lies in a bucket.*--as list"):
        link_files([file], files / "links")

    decision_log.record(cloud, [decide_duplicates(cloud, path, ["copies/a copy+ü%25#.png"])], by="a person")
    found = list_removals(cloud)
    assert [removal.path for removal in found.files] == ["copies/a copy+ü%25#.png"]
    with pytest.raises(DecisionError, match=r"lie in a bucket.*nothing was moved.*imgret review"):
        apply_removals(cloud, found.files, None)
    object_store.put(bucket, "pics/copies/a copy+ü%25#.png", picture_bytes(5))
    assert [removal.path for removal in list_removals(cloud).changed] == ["copies/a copy+ü%25#.png"]
