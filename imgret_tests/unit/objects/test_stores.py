"""Calls of a store that answers as Amazon's: what its faults mean, and what is repeated."""

import errno

import pytest

from imgret_assets.domain.objects.stores import ObjectError, ObjectStoreError, check_store_of, facts_of, fetch
from imgret_assets.object_url import ObjectUrl
from imgret_tests.support.s3_server import SECRET, Fault, ObjectStore


@pytest.fixture
def url(object_store: ObjectStore) -> ObjectUrl:
    url = ObjectUrl("s3", object_store.make_bucket(), "p/a b+ü%25.jpg")
    object_store.put(url.bucket, url.key, b"twenty bytes of data")
    object_store.asked.clear()
    return url


def read(url: ObjectUrl) -> bytes:
    fetched = fetch(url)
    assert fetched is not None
    return b"".join(fetched.chunks)


def test_an_object_has_facts_and_bytes(url: ObjectUrl) -> None:
    facts = facts_of(url)
    assert (facts.url, facts.bytes, facts.modified_ns % 10**9) == (url, 20, 0)
    assert read(url) == b"twenty bytes of data"
    assert fetch(url, unless=facts.etag) is None


@pytest.mark.parametrize("fault", [Fault(503, "SlowDown", times=2), Fault(200, times=1)])
def test_a_call_is_repeated(fault: Fault, url: ObjectUrl, object_store: ObjectStore) -> None:
    object_store.faults.append(fault)
    assert read(url) == b"twenty bytes of data"
    assert len(object_store.asked) > 1


@pytest.mark.parametrize(
    ("fault", "number", "reason"),
    [
        (Fault(500), errno.EIO, "the store fails .500 Internal Server Error, InternalError"),
        (Fault(200), errno.EIO, "does not answer, or ends an answer too early"),
        (Fault(403, "AccessDenied"), errno.EACCES, "the store refuses access .403 Forbidden, AccessDenied"),
        (Fault(400, "ExpiredToken"), errno.EACCES, "the credentials have expired .ExpiredToken"),
        (Fault(404, "NoSuchKey"), errno.ENOENT, "there is no such object or bucket .404"),
    ],
)
def test_a_fault_is_named_without_what_the_store_says_of_the_login(
    fault: Fault, number: int, reason: str, url: ObjectUrl, object_store: ObjectStore
) -> None:
    object_store.faults.append(fault)
    with pytest.raises(ObjectError, match=reason) as raised:
        read(url)
    assert raised.value.errno == number
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    assert len(object_store.asked) < 10


@pytest.mark.parametrize(("part", "fails"), [("a b", False), ("", True)])
def test_a_store_that_fails_as_a_whole_is_told_from_one_object(
    part: str, fails: bool, url: ObjectUrl, object_store: ObjectStore
) -> None:
    object_store.faults.append(Fault(403, "AccessDenied", part=part))
    with pytest.raises(ObjectError) as raised:
        read(url)
    if not fails:
        check_store_of(raised.value)
        return
    with pytest.raises(ObjectStoreError, match=r"can't be read any more: .*403.*run again.*nothing was deleted"):
        check_store_of(raised.value)
    check_store_of(FileNotFoundError())
