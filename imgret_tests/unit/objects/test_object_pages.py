"""Pages of a listing, also where an object's key can't be a path."""

import pytest

from imgret_assets.domain.objects import object_pages
from imgret_assets.domain.objects.object_pages import read_page
from imgret_assets.domain.objects.stores import ObjectError
from imgret_assets.object_url import ObjectUrl
from imgret_tests.support.s3_server import ObjectStore


@pytest.fixture
def prefix(object_store: ObjectStore) -> ObjectUrl:
    return ObjectUrl("s3", object_store.make_bucket(), "p")


def put(store: ObjectStore, prefix: ObjectUrl, *paths: str) -> None:
    for path in paths:
        store.put(prefix.bucket, f"{prefix.key}/{path}", b"x")


def walk(prefix: ObjectUrl) -> tuple[list[list[str]], list[str]]:
    """The pages of all objects below a prefix, and the prefixes that can't be listed."""
    pages, lost = [], []
    pending = [(prefix, "")]
    while pending:
        below, after = pending.pop(0)
        try:
            page = read_page(below, after)
        except ObjectError:
            lost.append(below.key)
            continue
        pages.append([facts.url.key.removeprefix("p/") for facts in page.objects])
        pending.extend(page.remaining)
    return pages, lost


def test_names_with_different_endings_are_in_one_page(
    object_store: ObjectStore, prefix: ObjectUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(object_store, prefix, "a.jpg", "b.cr2", "b.heic", "b.jpg", "c.jpg", "d/e.jpg")
    object_store.put(prefix.bucket, "px/other.jpg", b"x")
    monkeypatch.setattr(object_pages, "PAGE_OBJECTS", 3)
    assert walk(prefix) == ([["a.jpg"], ["b.cr2", "b.heic", "b.jpg"], ["c.jpg", "d/e.jpg"]], [])


def test_a_key_that_is_no_path_hides_only_its_own_folder(
    object_store: ObjectStore, prefix: ObjectUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(object_store, prefix, "a.jpg", "b/c.jpg", "b/z/d.jpg", "y//e.jpg", "y/f.jpg", "z.jpg")
    for size in (10, 2):
        monkeypatch.setattr(object_pages, "PAGE_OBJECTS", size)
        pages, lost = walk(prefix)
        assert sorted(path for page in pages for path in page) == ["a.jpg", "b/c.jpg", "b/z/d.jpg", "z.jpg"]
        assert lost == ["p/y"]
