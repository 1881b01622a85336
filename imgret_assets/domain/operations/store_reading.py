"""Newer tables of a store for those who only read: queries, the page, the HTTP API.

Belongs here: asking the store now and then, going on with the home's tables if it does not answer, the note about it.
Not here: taking the tables (`domain.operations.table_pull`), runs (`domain.operations.table_store`).

A reader needs no lease. It takes tables only while no run of this machine is at work: that run has taken them itself.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from imgret_assets.domain.operations.table_pull import check_home, pull
from imgret_assets.domain.storage import locks, pull_swap
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.domain.storage.object_store.bucket import Bucket, open_bucket
from imgret_assets.domain.storage.object_store.generations import read_pointer
from imgret_assets.errors import ImgretError, LockTimeoutError, StoreError
from imgret_assets.settings import Settings

CHECK_EVERY_S = 30.0
# A reader waits no longer for others that write tables; the next check tries again.
LOCK_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)
_READERS: dict[tuple[Path, str], "_Reader"] = {}
_WATCHED: dict[Path, threading.Event] = {}
_READERS_LOCK = threading.Lock()


class _Reader:
    """What this process knows of one home's store."""

    def __init__(self, settings: Settings, store: str) -> None:
        self._settings = replace(settings, lock_timeout_s=min(settings.lock_timeout_s, LOCK_TIMEOUT_S))
        self._store = store
        self._lock = threading.Lock()
        self._bucket: Bucket | None = None
        self._etag: str | None = None
        self._next_check = 0.0
        self.failure: StoreError | None = None

    def check(self, clock: Callable[[], float]) -> None:
        """Take newer tables, unless the store was asked a moment ago; failures are kept for the note."""
        with self._lock:
            if clock() < self._next_check:
                return
            try:
                self._take_newer()
                self.failure = None
            except StoreError as error:
                if self.failure is None:
                    _log.warning("The tables of the home are read as they are: %s", error)
                self.failure = error
            except LockTimeoutError as error:
                _log.info("The tables of the store are not taken now: %s", error)
            self._next_check = clock() + CHECK_EVERY_S

    def _take_newer(self) -> None:
        self._bucket = self._bucket or open_bucket(self._store, brief=True)
        pointer = read_pointer(self._bucket, unless=self._etag)
        if pointer is None:
            return
        check_home(self._settings, pointer.home, self._store)
        home = self._settings.home
        if pointer.generation and not pull_swap.has_generation(home, self._store, pointer.generation):
            folder, timeout_s = home / "locks", self._settings.lock_timeout_s
            with locks.hold(folder, [locks.STORE], timeout_s=timeout_s, purpose="taking tables from a store"):
                pull(self._settings, self._bucket, pointer.generation)
        # Only now: what was not taken is seen again by the next check.
        self._etag = pointer.etag


def take_newer_tables(settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Take the tables of the home's store, if they are newer; ask it at most every `CHECK_EVERY_S` seconds.

    If the store does not answer within seconds, the home's tables are read as they are (`store_note`).

    Raises:
        StoreError: there is no home yet, and the store can't be reached or refuses.
        HomeError, DiskFullError: the home can't be written.
    """
    if settings.store is None:
        return
    reader = _reader(settings, settings.store)
    reader.check(clock)
    if reader.failure is not None and read_record(settings.home) is None:
        raise reader.failure


def store_note(settings: Settings) -> str:
    """Return the line that says that the store does not answer, and of when the tables are; empty if it answers."""
    if settings.store is None or (failure := _reader(settings, settings.store).failure) is None:
        return ""
    base = pull_swap.read_base(settings.home)
    state = "the home's own"
    if base is not None and base.store == settings.store:
        with suppress(ValueError):
            state = f"of {datetime.fromisoformat(base.at).astimezone():%Y-%m-%d %H:%M}, or newer ones of this machine"
    return f"the tables are {state}: {failure.found[0].lower()}{failure.found[1:]}"


def watch_store(settings: Settings) -> threading.Event:
    """Take newer tables in a thread until the returned event is set; a home that is watched has one thread."""
    with _READERS_LOCK:
        ended = _WATCHED.get(settings.home)
        if ended is None or ended.is_set():
            ended = _WATCHED[settings.home] = threading.Event()
            if settings.store is not None:
                threading.Thread(target=_keep_taking, args=(settings, ended), name="imgret-store", daemon=True).start()
        return ended


def _keep_taking(settings: Settings, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            take_newer_tables(settings)
        except ImgretError as error:
            _log.warning("The tables of the store are not taken: %s", error)
        ended.wait(CHECK_EVERY_S)


def _reader(settings: Settings, store: str) -> _Reader:
    with _READERS_LOCK:
        return _READERS.setdefault((settings.home, store), _Reader(settings, store))
