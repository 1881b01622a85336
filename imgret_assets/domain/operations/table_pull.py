"""Taking the tables of a store's generation into a home.

Belongs here: comparing a generation with the home's files, downloading what is missing, keeping what the home would
lose. Not here: when it happens (`domain.operations.table_store` for runs, `domain.operations.store_reading` for
readers), the swap (`domain.storage.pull_swap`), merging decisions (`domain.review.decision_merge`).

A process that is killed at any point leaves the tables as they were, or a swap that the next process finishes. Contents
that were downloaded are not downloaded again.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from imgret_assets.domain.embeddings.pending_vectors import PendingVectors
from imgret_assets.domain.embeddings.table_reader import StoredContents
from imgret_assets.domain.operations.complete_state import keep_complete_state
from imgret_assets.domain.review.decision_merge import merge_decisions
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage import locks, pull_swap, tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.domain.storage.object_store.bucket import Bucket
from imgret_assets.domain.storage.object_store.generations import Generation, StoredFile, read_generation
from imgret_assets.domain.storage.object_store.transfers import in_threads
from imgret_assets.domain.storage.pull_swap import Base, FileHashes
from imgret_assets.errors import ImgretError, StoreError
from imgret_assets.settings import Settings

# Path in the home of the file of decisions, which is no table.
DECISIONS = "decisions.jsonl"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pulled:
    """What was taken: the generation, and the files and bytes that were downloaded for it."""

    generation: Generation
    files: int
    bytes: int

    @property
    def summary(self) -> str:
        """What was taken, in one sentence."""
        size = f"{self.files} files, {self.bytes / 1e6:.1f} MB"
        return f"Took the tables of generation {self.generation.name}, committed {self.generation.at} ({size})"


def check_home(settings: Settings, home_id: str, store: str) -> None:
    """Check that a home may take the tables of a store: it is the same home, or has no tables yet.

    Raises:
        StoreError: the store has the tables of another home.
    """
    record = read_record(settings.home)
    if record is not None and record.id != home_id and any((settings.home / "warehouse").rglob("*.parquet")):
        raise StoreError(
            f"{store} has the tables of another home than {settings.home}",
            expected=f"those of the home {record.id}; found those of {home_id}",
            remedy="set IMGRET_HOME to an empty folder, which takes the tables of the store, or IMGRET_STORE to a "
            "prefix of its own",
        )


def pull(settings: Settings, bucket: Bucket, name: str) -> Pulled:
    """Take the tables of a generation; the caller holds the lock `store`.

    Raises:
        StoreError: the store refuses, can't be reached, or has the tables of another home.
        LockTimeoutError: another process is changing the tables.
        DiskFullError, HomeError: the home can't be written.
    """
    generation = read_generation(bucket, name)
    check_home(settings, generation.home, bucket.name)
    hashes = FileHashes(settings.home)
    shared = {path: file for path, file in generation.files.items() if path != DECISIONS}
    missing = {
        file.sha256: file
        for path, file in shared.items()
        if path == pull_swap.RECORD
        or not pull_swap.is_up_to_date(path, hashes.of(path, settings.home / path), file.sha256)
    }
    if DECISIONS in generation.files:
        missing[generation.files[DECISIONS].sha256] = generation.files[DECISIONS]
    hashes.save()
    downloaded = sum(in_threads(lambda file: _download(settings, bucket, file), missing.values()))
    base = Base(
        settings.store or bucket.name, name, generation.at, {path: file.sha256 for path, file in shared.items()}
    )
    if DECISIONS in generation.files:
        content = pull_swap.incoming_path(settings.home, generation.files[DECISIONS].sha256)
        shutil.copyfile(content, pull_swap.store_folder(settings.home) / DECISIONS)
    with _no_writers(settings):
        pull_swap.mark_ready(settings.home, base)
        pull_swap.finish_swap(settings.home)
    merge_stored_decisions(open_home(settings))
    return Pulled(generation, len(missing), downloaded)


def merge_stored_decisions(home: Home) -> None:
    """Add the decisions that were taken from the store to those of the home; a killed process does it later.

    Raises:
        HomeError: one of the two files is damaged.
    """
    stored = pull_swap.store_folder(home.path) / DECISIONS
    if stored.is_file():
        merge_decisions(home, stored)
        stored.unlink()


def _download(settings: Settings, bucket: Bucket, file: StoredFile) -> int:
    """Download a content unless a killed process has; return the bytes."""
    target = pull_swap.incoming_path(settings.home, file.sha256)
    # Under this name are only contents that were verified.
    if target.is_file() and target.stat().st_size == file.bytes:
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".part")
    bucket.download(file.object, temporary, sha256=file.sha256, size=file.bytes)
    temporary.replace(target)
    return file.bytes


@contextmanager
def _no_writers(settings: Settings) -> Iterator[None]:
    """Keep all others from writing tables, and keep what the home alone has, before the tables are replaced."""

    def hold(names: list[str]) -> AbstractContextManager[None]:
        return locks.hold(
            settings.home / "locks", names, timeout_s=settings.lock_timeout_s, purpose="taking tables from a store"
        )

    if read_record(settings.home) is None:
        with hold([locks.LAYOUT]), hold([locks.HOME]):
            yield
        return
    with hold([locks.LAYOUT]):
        home = open_home(settings)
        with hold([locks.GRAPH, *(locks.shard_lock(shard) for shard in home.shards)]):
            # For readers, until all files are in place.
            with suppress(ImgretError):
                keep_complete_state(home)
            _keep_vectors(home)
            with hold([locks.HOME]):
                yield


def _keep_vectors(home: Home) -> None:
    """Keep the vectors of tables that are not of a generation, such as those of a run that could not commit."""
    base = pull_swap.read_base(home.path)
    hashes = FileHashes(home.path)
    folder = tables.embeddings_folder(home.warehouse)
    for file in sorted(folder.glob("model=*/shard=*.parquet")):
        name = file.relative_to(home.path).as_posix()
        if base is not None and hashes.of(name, file) == base.files.get(name):
            continue
        space, shard = file.parent.name.removeprefix("model="), file.stem.removeprefix("shard=")
        try:
            stored = StoredContents(home, space, shard)
            pending = PendingVectors(home.work, space)
            for part in batches(sorted(stored.row_of, key=stored.row_of.__getitem__), tables.EMBEDDING_GROUP_ROWS):
                pending.put_many((content, stored.get(content)) for content in part)
        except ImgretError as error:
            _log.warning("The vectors of %s are not kept: %s", file, error)
