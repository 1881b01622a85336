"""The lease: one holder at a time, by the clock of who waits, and a number that only grows."""

import json

import pytest

from imgret_assets.domain.storage.object_store.lease import Lease, take_lease
from imgret_assets.errors import LockTimeoutError, UnreachableStoreError
from imgret_tests.support.memory_bucket import MemoryBucket

VALID_S = 60.0


class Clock:
    """Seconds that pass while somebody waits; `meanwhile` is called at every wait."""

    def __init__(self) -> None:
        self.now_s = 5.0
        self.waits = 0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.waits += 1


def take(bucket: MemoryBucket, copy: str, clock: Clock, *, timeout_s: float = 900.0) -> Lease:
    return take_lease(
        bucket,
        copy=copy,
        holder=f"the user of {copy}",
        timeout_s=timeout_s,
        valid_s=VALID_S,
        clock=clock,
        sleep=clock.sleep,
    )


def test_a_released_lease_is_taken_at_once_with_a_greater_number() -> None:
    bucket, clock = MemoryBucket(), Clock()
    fences = []
    for copy in ("a", "b", "a"):
        lease = take(bucket, copy, clock)
        fences.append(lease.fence)
        lease.release()
    assert fences == [1, 2, 3]
    assert clock.waits == 0


def test_a_holder_that_renews_is_waited_for_and_named() -> None:
    bucket, clock = MemoryBucket(), Clock()
    holder = take(bucket, "a", clock)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        holder.renew()

    with pytest.raises(LockTimeoutError, match="in use by the user of a, and was not freed within 300 s"):
        take_lease(bucket, copy="b", holder="b", timeout_s=300.0, valid_s=VALID_S, clock=clock, sleep=sleep)
    assert clock.now_s > 300
    assert not holder.is_lost


def test_a_holder_that_does_not_renew_is_followed_after_its_time_by_the_clock_of_who_waits() -> None:
    bucket, clock = MemoryBucket(), Clock()
    holder = take(bucket, "a", clock)
    started_s = clock.now_s
    follower = take(bucket, "b", clock)
    assert VALID_S <= clock.now_s - started_s < VALID_S + 10
    assert follower.fence == holder.fence + 1
    holder.renew()
    assert holder.is_lost, "it has slept, and knows it now"
    holder.release()
    assert json.loads(bucket.content("LEASE"))["released"] is False, "the follower's lease is as it was"


def test_a_dead_process_of_the_same_copy_is_followed_at_once() -> None:
    bucket, clock = MemoryBucket(), Clock()
    take(bucket, "a", clock)
    assert take(bucket, "a", clock).fence == 2
    assert clock.waits == 0


def test_a_damaged_lease_is_replaced() -> None:
    bucket, clock = MemoryBucket(), Clock()
    bucket.create("LEASE", b"half of somethi")
    assert take(bucket, "a", clock).fence == 1


def test_a_lease_is_released_after_the_block_even_if_a_renewal_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, clock = MemoryBucket(), Clock()
    lease = take(bucket, "a", clock)

    def fail(key: str, data: bytes, etag: str) -> str:
        raise UnreachableStoreError("away")

    with monkeypatch.context() as patch:
        patch.setattr(bucket, "replace", fail)
        with pytest.raises(UnreachableStoreError):
            lease.renew()
    with lease.renewed():
        assert json.loads(bucket.content("LEASE"))["released"] is False
    assert json.loads(bucket.content("LEASE"))["released"] is True
