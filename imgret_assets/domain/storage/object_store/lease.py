"""The lease: the run that may commit tables to a store. It is held for as long as it is renewed.

Belongs here: taking, renewing, releasing and taking over the lease. Not here: the pointer, whose condition makes a late
commit impossible (`generations`).

No two clocks are compared: a process that waits watches the object by its own clock, and takes the lease over if the
object has not changed for as long as its holder says that it is valid.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from imgret_assets.domain.storage.object_store.bucket import Bucket, Stored
from imgret_assets.errors import ChangedObjectError, LockTimeoutError, StoreError, VanishedObjectError

KEY = "LEASE"
VALID_S = 60.0
# A renewal may fail twice before the lease is lost.
_RENEWALS = 4
_LOG_AFTER_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseState:
    """Content of the object.

    Attributes:
        fence: number of the lease; every holder has a greater one than those before it.
        token: random, of one holder.
        copy: id of the working copy, that is of a home's folder on one machine.
        holder: who it is, for messages.
        valid_s: for how long it is valid without a renewal, in seconds.
        renewals: how often it was renewed; it makes each version of the object another one.
        released: whether the holder has ended.
    """

    fence: int
    token: str
    copy: str
    holder: str
    valid_s: float = VALID_S
    renewals: int = 0
    released: bool = False

    def encode(self) -> bytes:
        """Return the content of the object."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


class Lease:
    """A lease that this process holds."""

    def __init__(self, bucket: Bucket, state: LeaseState, etag: str) -> None:
        self._bucket, self._state, self._etag = bucket, state, etag
        self._lock = threading.Lock()
        self.is_lost = False

    @property
    def fence(self) -> int:
        """The number of this lease."""
        return self._state.fence

    def renew(self) -> None:
        """Renew the lease; `is_lost` is set if another process has taken it over.

        Raises:
            StoreError: the store refuses or can't be reached.
        """
        self._write(replace(self._state, renewals=self._state.renewals + 1))

    def release(self) -> None:
        """End the lease, so that others need not wait for its end.

        Raises:
            StoreError: the store refuses or can't be reached.
        """
        self._write(replace(self._state, released=True))

    def _write(self, state: LeaseState) -> None:
        with self._lock:
            if self.is_lost or self._state.released:
                return
            try:
                self._etag = self._bucket.replace(KEY, state.encode(), self._etag)
                self._state = state
            except ChangedObjectError:
                self.is_lost = True
                _log.warning("The lease of %s was taken over by another process", self._bucket.name)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the lease in a thread for the length of the block, and release it at its end."""
        ended = threading.Event()

        def keep_renewing() -> None:
            while not ended.wait(self._state.valid_s / _RENEWALS):
                try:
                    self.renew()
                except StoreError as error:
                    _log.warning("The lease is not renewed: %s", error)

        thread = threading.Thread(target=keep_renewing, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            try:
                self.release()
            except StoreError as error:
                _log.warning("The lease ends by itself in %.0f s: %s", self._state.valid_s, error)


def take_lease(
    bucket: Bucket,
    *,
    copy: str,
    holder: str,
    timeout_s: float,
    valid_s: float = VALID_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Take the lease, after its holder has released it or has not renewed it for as long as it is valid.

    Args:
        bucket: the store.
        copy: id of this working copy. Its own earlier lease is taken over at once: the caller holds a lock that no two
            processes of one working copy hold, so the holder is dead.
        holder: who takes it, for messages of others.
        timeout_s: how long to wait, in seconds.
        valid_s: for how long it is valid without a renewal, in seconds.
        clock: seconds that only grow.
        sleep: waits for some seconds.

    Raises:
        LockTimeoutError: another process held it for longer.
        StoreError: the store refuses or can't be reached.
    """
    started, seen_at, seen = clock(), clock(), ""
    is_logged = False
    while True:
        stored = bucket.read(KEY)
        state = _parse(stored)
        now = clock()
        if stored is not None and stored.etag != seen:
            seen, seen_at = stored.etag, now
        if stored is None or state is None or state.released or state.copy == copy or now - seen_at >= state.valid_s:
            lease = _try_to_take(bucket, stored, LeaseState(_next(state), uuid.uuid4().hex, copy, holder, valid_s))
            if lease is not None:
                return lease
            continue
        if now - started >= timeout_s:
            raise LockTimeoutError(
                f"{bucket.name} is in use by {state.holder}, and was not freed within {timeout_s:g} s",
                remedy="wait for that run or stop it, or raise IMGRET_LOCK_TIMEOUT_S",
            )
        if now - started >= _LOG_AFTER_S and not is_logged:
            is_logged = True
            _log.warning("Waiting for %s, in use by %s, for at most %.0f s", bucket.name, state.holder, timeout_s)
        sleep(min(1.0, state.valid_s / 10))


def read_lease(bucket: Bucket) -> LeaseState | None:
    """Return the lease as it is in the store; None where there is none, or a damaged one.

    Raises:
        StoreError: the store refuses or can't be reached.
    """
    return _parse(bucket.read(KEY))


def lease_time(bucket: Bucket) -> datetime:
    """Return when the lease was last written, by the store's clock.

    Raises:
        VanishedObjectError: there is no lease.
        StoreError: the store refuses or can't be reached.
    """
    found = bucket.bytes_of(KEY)
    if found is None:
        raise VanishedObjectError(f"{KEY} of {bucket.name} is missing", remedy="run again")
    return found.modified


def _try_to_take(bucket: Bucket, stored: Stored | None, state: LeaseState) -> Lease | None:
    try:
        if stored is None:
            return Lease(bucket, state, bucket.create(KEY, state.encode()))
        return Lease(bucket, state, bucket.replace(KEY, state.encode(), stored.etag))
    except ChangedObjectError:
        return None


def _next(state: LeaseState | None) -> int:
    return 1 if state is None else state.fence + 1


def _parse(stored: Stored | None) -> LeaseState | None:
    """Return the state; None without an object, or with one that is damaged, which anybody may replace."""
    if stored is None:
        return None
    try:
        return LeaseState(**json.loads(stored.data))
    except (ValueError, TypeError):
        return None
