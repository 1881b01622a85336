"""Objects as files of this machine: what is read again, what is kept, and for how long."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imgret_assets.domain.objects.object_cache import keep_objects, open_object, recent_facts
from imgret_assets.domain.objects.stores import ObjectError
from imgret_assets.object_url import ObjectUrl
from imgret_tests.support.s3_server import Fault, ObjectStore


@pytest.fixture
def bucket(object_store: ObjectStore, tmp_path: Path) -> Iterator[ObjectUrl]:
    keep_objects(tmp_path / "objects", 1000)
    yield ObjectUrl("s3", object_store.make_bucket())
    keep_objects(tmp_path / "objects", 0)


def read(url: ObjectUrl) -> bytes:
    with open_object(url, may_read=lambda _: None) as opened:
        return opened.read()


def kept_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_an_unchanged_object_is_read_from_the_disk(
    bucket: ObjectUrl, object_store: ObjectStore, tmp_path: Path
) -> None:
    url = bucket / "a.jpg"
    object_store.put(bucket.bucket, "a.jpg", b"first")
    assert read(url) == b"first"
    [kept] = [file for file in (tmp_path / "objects").rglob("*") if file.is_file()]
    kept.write_bytes(b"other")
    assert read(url) == b"other", "asked with its ETag, the store sends nothing"
    object_store.put(bucket.bucket, "a.jpg", b"second")
    assert read(url) == b"second"
    assert kept_bytes(tmp_path / "objects") == len(b"second")
    object_store.delete(bucket.bucket, "a.jpg")
    with pytest.raises(ObjectError, match="there is no such object"):
        read(url)


def test_the_objects_used_longest_ago_leave_first(bucket: ObjectUrl, object_store: ObjectStore, tmp_path: Path) -> None:
    for number in range(9):
        object_store.put(bucket.bucket, f"{number}.jpg", bytes(200))
        assert len(read(bucket / f"{number}.jpg")) == 200
        assert kept_bytes(tmp_path / "objects") <= 1000
    assert kept_bytes(tmp_path / "objects") >= 600
    object_store.put(bucket.bucket, "large.jpg", bytes(300))
    assert len(read(bucket / "large.jpg")) == 300
    assert not any(file.stat().st_size == 300 for file in (tmp_path / "objects").rglob("*"))


def test_an_object_is_refused_by_its_size_before_it_is_read(bucket: ObjectUrl, object_store: ObjectStore) -> None:
    object_store.put(bucket.bucket, "a.jpg", b"first")

    def refuse(size: int) -> None:
        raise ValueError(size)

    with pytest.raises(ValueError, match="5"), open_object(bucket / "a.jpg", may_read=refuse):
        pass


def test_half_an_object_is_not_kept(bucket: ObjectUrl, object_store: ObjectStore, tmp_path: Path) -> None:
    object_store.put(bucket.bucket, "a.jpg", bytes(100))
    object_store.faults.append(Fault(200))
    with pytest.raises(ObjectError):
        read(bucket / "a.jpg")
    assert kept_bytes(tmp_path / "objects") == 0


def test_a_folder_that_cannot_be_written_keeps_nothing(
    bucket: ObjectUrl, object_store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "objects").write_bytes(b"a file in its place")
    object_store.put(bucket.bucket, "a.jpg", b"first")
    assert read(bucket / "a.jpg") == b"first"


def test_facts_are_asked_for_once_and_a_silent_store_is_left_alone(
    bucket: ObjectUrl, object_store: ObjectStore
) -> None:
    object_store.put(bucket.bucket, "a.jpg", b"first")
    assert recent_facts(bucket / "a.jpg") == recent_facts(bucket / "a.jpg")
    assert len(object_store.asked) == 1
    object_store.faults.append(Fault(500, method="HEAD"))
    with pytest.raises(ObjectError):
        recent_facts(bucket / "b.jpg")
    asked = len(object_store.asked)
    with pytest.raises(ObjectError):
        recent_facts(bucket / "c.jpg")
    assert len(object_store.asked) == asked
