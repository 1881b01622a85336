"""What is removed from a store, and what stays whatever its age."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imgret_assets.domain.storage.object_store import generations, removal
from imgret_assets.domain.storage.object_store.generations import Generation, Pointer
from imgret_assets.domain.storage.object_store.lease import take_lease
from imgret_assets.domain.storage.object_store.removal import KEPT_GENERATIONS, RemovedObjects, remove_unused
from imgret_assets.errors import ChangedObjectError
from imgret_tests.support.memory_bucket import MemoryBucket


@pytest.fixture
def bucket() -> MemoryBucket:
    """A store with a lease."""
    bucket = MemoryBucket()
    take_lease(bucket, copy="copy", holder="a test", timeout_s=1)
    return bucket


@pytest.fixture
def all_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "SAFE_AGE", timedelta(days=-1))


def commit(bucket: MemoryBucket, folder: Path, count: int) -> Pointer:
    """Commit generations with one object of their own each, and one that all have."""
    pointer = generations.claim(bucket, None, home="home", fence=1)
    for number in range(1, count + 1):
        files = {}
        for name, text in {"own": f"content {number}", "all": "content of all"}.items():
            (folder / name).write_text(text)
            digest = hashlib.sha256(text.encode()).hexdigest()
            files[name] = generations.upload(bucket, folder / name, digest, fence=1, now=datetime.now(UTC))
        generation = Generation(generations.new_name(number), number, "home", "", "", "", "", files)
        pointer = generations.commit(bucket, pointer, generation)
    return pointer


@pytest.mark.usefixtures("all_are_old")
def test_the_last_generations_and_their_objects_stay(bucket: MemoryBucket, tmp_path: Path) -> None:
    pointer = commit(bucket, tmp_path, 6)
    bucket.create("objects/leftover", b"of a run that could not commit")
    removed = remove_unused(bucket, pointer, lambda: True)
    assert (removed.generations, removed.objects) == (6 - KEPT_GENERATIONS, 6 - KEPT_GENERATIONS + 1)
    left = bucket.all_keys()
    assert {"CURRENT", "LEASE", f"generations/{pointer.generation}.json"} <= left
    assert len(left) == 2 + KEPT_GENERATIONS + KEPT_GENERATIONS + 1
    assert remove_unused(bucket, pointer, lambda: True) == RemovedObjects()


def test_what_is_young_stays(bucket: MemoryBucket, tmp_path: Path) -> None:
    pointer = commit(bucket, tmp_path, 6)
    bucket.create("objects/leftover", b"of a run that is uploading")
    before = bucket.all_keys()
    assert remove_unused(bucket, pointer, lambda: True) == RemovedObjects()
    assert bucket.all_keys() == before


@pytest.mark.usefixtures("all_are_old")
def test_who_has_lost_the_lease_removes_nothing(bucket: MemoryBucket, tmp_path: Path) -> None:
    pointer = commit(bucket, tmp_path, 6)
    before = bucket.all_keys()
    with pytest.raises(ChangedObjectError, match="taken over"):
        remove_unused(bucket, pointer, lambda: False)
    assert bucket.all_keys() == before


def test_an_old_object_that_may_be_removed_now_is_not_used_again(bucket: MemoryBucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    digest = hashlib.sha256(b"content").hexdigest()
    now = datetime.now(UTC)
    young = generations.upload(bucket, tmp_path / "file", digest, fence=1, now=now)
    again = generations.upload(bucket, tmp_path / "file", digest, fence=2, now=now)
    later = generations.upload(bucket, tmp_path / "file", digest, fence=3, now=now + generations.SAFE_AGE)
    assert young == again
    assert (later.object, later.sha256) == (f"{young.object}.3", young.sha256)
