"""The exchange of a home's tables with a store, for runs: take the lease, take newer tables, commit new ones.

Belongs here: the session of a run, committing. Not here: the objects of the store (`domain.storage.object_store`),
taking tables (`domain.operations.table_pull`), readers (`domain.operations.store_reading`).
"""

import getpass
import logging
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imgret_assets import __version__
from imgret_assets.domain.operations.complete_state import keep_complete_state
from imgret_assets.domain.operations.table_pull import DECISIONS, Pulled, check_home, merge_stored_decisions, pull
from imgret_assets.domain.review.decision_log import decisions_path
from imgret_assets.domain.storage import atomic_files, locks, pull_swap
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.object_store import generations
from imgret_assets.domain.storage.object_store.bucket import Bucket, open_bucket
from imgret_assets.domain.storage.object_store.generations import Generation, Pointer, StoredFile
from imgret_assets.domain.storage.object_store.lease import Lease, lease_time, read_lease, take_lease
from imgret_assets.domain.storage.object_store.removal import RemovedObjects, remove_unused
from imgret_assets.domain.storage.object_store.transfers import in_threads
from imgret_assets.domain.storage.pull_swap import Base, FileHashes
from imgret_assets.errors import ChangedObjectError
from imgret_assets.settings import Settings

_log = logging.getLogger(__name__)
_SESSIONS: dict[Path, "StoreSession"] = {}
_SESSIONS_LOCK = threading.Lock()


@dataclass(frozen=True)
class Published:
    """A commit.

    Attributes:
        generation: name of the generation in force; empty where the tables are not complete yet.
        files: files of the generation.
        uploaded: files that were uploaded.
        uploaded_bytes: their size.
    """

    generation: str
    files: int = 0
    uploaded: int = 0
    uploaded_bytes: int = 0

    @property
    def summary(self) -> str:
        """The commit in one sentence."""
        if not self.generation:
            return "The tables are not complete: nothing was committed to the store"
        if not self.uploaded:
            return f"The store has these tables: generation {self.generation}, {self.files} files"
        size = f"{self.uploaded_bytes / 1e6:.1f} MB"
        return f"Committed generation {self.generation}: {self.files} files, {self.uploaded} uploaded ({size})"


class StoreSession:
    """A run's exchange with a store, between taking the lease and releasing it.

    Attributes:
        taken: the tables that were taken at its start; None where the home had them.
    """

    def __init__(self, settings: Settings, bucket: Bucket, lease: Lease, pointer: Pointer | None) -> None:
        self._settings, self._bucket, self._lease = settings, bucket, lease
        self._pointer = pointer
        self.taken: Pulled | None = None

    def publish(self, run: str = "") -> Published:
        """Commit the home's tables as a generation, if they belong together and differ from the one in force.

        Args:
            run: id of the run.

        Raises:
            ChangedObjectError: another machine has committed or taken over meanwhile; the home keeps its tables.
            StoreError: the store refuses or can't be reached; the home keeps its tables, and the next run commits them.
        """
        home = open_home(self._settings)
        if not keep_complete_state(home):
            return Published("")
        if self._lease.is_lost:
            raise ChangedObjectError(
                f"Another machine has taken over {self._bucket.name} while this run was at work",
                remedy="run again: it takes the tables of the other machine and goes on from them",
            )
        pointer = self._pointer
        if pointer is None:
            pointer = generations.claim(self._bucket, None, home=home.record.id, fence=self._lease.fence)
        earlier = generations.read_generation(self._bucket, pointer.generation) if pointer.generation else None
        names = [locks.GRAPH, *(locks.shard_lock(shard) for shard in home.shards)]
        with home.hold(names, "committing tables to the store"):
            files, uploads = self._upload(home, {} if earlier is None else dict(earlier.files))
            self._pointer = self._commit(home, pointer, earlier, files, run)
        committed = self._pointer.generation or ""
        return Published(committed, len(files), len(uploads), sum(file.bytes for file in uploads))

    def remove_unused(self) -> RemovedObjects:
        """Remove generations and objects that nobody needs any more.

        Raises:
            ChangedObjectError: another machine has taken the lease over.
            StoreError: the store refuses or can't be reached.
        """
        if self._pointer is None:
            return RemovedObjects()

        def renew() -> bool:
            self._lease.renew()
            return not self._lease.is_lost

        return remove_unused(self._bucket, self._pointer, renew)

    def _upload(self, home: Home, known: dict[str, StoredFile]) -> tuple[dict[str, StoredFile], list[StoredFile]]:
        """Upload what no file of the generation in force has; return all files, and those that were uploaded."""
        hashes = FileHashes(home.path)
        digests: dict[str, str] = {}
        sources: dict[str, Path] = {}
        stored = {file.sha256: file for file in known.values()}
        for name, file in [*pull_swap.shared_files(home.path), *_decisions(home)]:
            own = hashes.of(name, file) or ""
            is_kept = name in known and pull_swap.is_up_to_date(name, own, known[name].sha256)
            digests[name] = known[name].sha256 if is_kept else own
            if digests[name] not in stored:
                sources[own] = file
        hashes.save()
        now = lease_time(self._bucket)

        def upload(item: tuple[str, Path]) -> StoredFile:
            return generations.upload(self._bucket, item[1], item[0], fence=self._lease.fence, now=now)

        uploads = in_threads(upload, sources.items())
        stored |= {file.sha256: file for file in uploads}
        return {name: stored[sha256] for name, sha256 in digests.items()}, uploads

    def _commit(
        self, home: Home, pointer: Pointer, earlier: Generation | None, files: dict[str, StoredFile], run: str
    ) -> Pointer:
        """Put the files in force as a new generation, unless they are those of the one in force."""
        if earlier is not None and files == dict(earlier.files):
            generation = earlier
        else:
            number = 1 if earlier is None else earlier.number + 1
            generation = Generation(
                name=generations.new_name(number),
                number=number,
                home=home.record.id,
                at=generations.utc_now(),
                by=_who(),
                run=run,
                version=__version__,
                files=files,
            )
            pointer = generations.commit(self._bucket, pointer, generation)
        _write_base(home, self._bucket.name, generation)
        return pointer


@contextmanager
def store_session(settings: Settings, purpose: str) -> Iterator[StoreSession | None]:
    """Take the lease of the home's store and its tables, if they are newer; release the lease at the end.

    Within a session of the same process, it is that session. Without IMGRET_STORE it is None.

    Args:
        settings: of the home.
        purpose: what the holder does, for the messages of waiting processes.

    Raises:
        UnreachableStoreError: the store can't be reached; nothing was written.
        StoreError: the store refuses, or has the tables of another home; nothing was written.
        LockTimeoutError: another run has been using the home or the store for longer than IMGRET_LOCK_TIMEOUT_S.
    """
    if settings.store is None:
        yield None
        return
    with _SESSIONS_LOCK:
        current = _SESSIONS.get(settings.home)
    if current is not None:
        yield current
        return
    with ExitStack() as stack:
        session = _open_session(settings, purpose, stack)
        with _SESSIONS_LOCK:
            _SESSIONS[settings.home] = session
        try:
            yield session
        finally:
            with _SESSIONS_LOCK:
                del _SESSIONS[settings.home]


def describe_store(settings: Settings) -> str:
    """Return what the store of a home has, for `imgret doctor`; nothing is written.

    Raises:
        StoreError: the store refuses, can't be reached, or has the tables of another home.
    """
    bucket = open_bucket(settings.store or "")
    pointer = generations.read_pointer(bucket)
    if pointer is None or pointer.generation is None:
        return f"{bucket.name}: no tables yet"
    check_home(settings, pointer.home, bucket.name)
    generation = generations.read_generation(bucket, pointer.generation)
    is_here = pull_swap.has_generation(settings.home, bucket.name, generation.name)
    lease = read_lease(bucket)
    at_work = "" if lease is None or lease.released else f"; at work, or ended without releasing it: {lease.holder}"
    where = "which the home has" if is_here else "newer than the home's: the next query or run takes it"
    return f"{bucket.name}: generation {generation.name} of {generation.at} by {generation.by}, {where}{at_work}"


def _open_session(settings: Settings, purpose: str, stack: ExitStack) -> StoreSession:
    bucket = open_bucket(settings.store or "")
    # Before anything is written: the store answers, and has the tables of this home.
    if (pointer := generations.read_pointer(bucket)) is not None:
        check_home(settings, pointer.home, bucket.name)
    stack.enter_context(
        locks.hold(settings.home / "locks", [locks.STORE], timeout_s=settings.lock_timeout_s, purpose=purpose)
    )
    lease = take_lease(
        bucket,
        copy=_copy_id(settings.home),
        holder=f"{_who()} in {settings.home} ({purpose})",
        timeout_s=settings.lock_timeout_s,
    )
    stack.enter_context(lease.renewed())
    pointer = generations.read_pointer(bucket)
    if pointer is None:
        bucket.check_conditions()
        return StoreSession(settings, bucket, lease, None)
    check_home(settings, pointer.home, bucket.name)
    pointer = generations.claim(bucket, pointer, home=pointer.home, fence=lease.fence)
    session = StoreSession(settings, bucket, lease, pointer)
    if pointer.generation:
        session.taken = _take(settings, bucket, pointer.generation)
    return session


def _take(settings: Settings, bucket: Bucket, generation: str) -> Pulled | None:
    """Take the tables of the generation in force, unless the home's are made from it already."""
    if pull_swap.is_ready(settings.home):
        open_home(settings)
    if not pull_swap.has_generation(settings.home, bucket.name, generation):
        return pull(settings, bucket, generation)
    merge_stored_decisions(open_home(settings))
    return None


def _decisions(home: Home) -> Iterator[tuple[str, Path]]:
    """Yield a copy of the file of decisions, which others may extend meanwhile."""
    if decisions_path(home).is_file():
        copy = pull_swap.store_folder(home.path) / "decisions.upload"
        with home.hold(["decisions"], "copying decisions for the store"):
            shutil.copyfile(decisions_path(home), copy)
        yield DECISIONS, copy


def _write_base(home: Home, store: str, generation: Generation) -> None:
    files = {name: file.sha256 for name, file in generation.files.items() if name != DECISIONS}
    pull_swap.write_base(home.path, Base(store, generation.name, generation.at, files))


def _copy_id(home: Path) -> str:
    """Return the id of this working copy; a copy of the folder elsewhere has another."""
    path = pull_swap.store_folder(home) / "copy.id"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_files.replacing(path) as temporary:
            temporary.write_text(uuid.uuid4().hex, encoding="utf-8")
    return f"{path.read_text(encoding='utf-8')} {socket.gethostname()} {home}"


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"
