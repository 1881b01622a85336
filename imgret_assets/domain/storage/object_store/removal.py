"""Removal of what no generation needs any more.

Belongs here: which generations and objects these are, removing them. Not here: the lease, under which the caller does
it, so that nobody commits meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass

from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage.object_store.bucket import Bucket
from imgret_assets.domain.storage.object_store.generations import (
    SAFE_AGE,
    Pointer,
    generation_key,
    generation_name,
    read_generation,
)
from imgret_assets.domain.storage.object_store.lease import lease_time
from imgret_assets.errors import ChangedObjectError, VanishedObjectError

# With the one in force: readers and runs that are slow may still take the files of the one before.
KEPT_GENERATIONS = 3
# So few that the lease is known to be valid when they are sent.
_BATCH = 20


@dataclass(frozen=True)
class RemovedObjects:
    """What was removed from a store: numbers of generations and of objects, and the bytes of both."""

    generations: int = 0
    objects: int = 0
    bytes: int = 0


def remove_unused(bucket: Bucket, pointer: Pointer, renew: Callable[[], bool]) -> RemovedObjects:
    """Remove old generations, and old objects that no generation names which is left.

    The generation in force and the last ones before it stay, whatever their age, and everything that is younger than
    `SAFE_AGE` by the store's clock: a run may be uploading it.

    Args:
        bucket: the store.
        pointer: as it was read after the lease was taken.
        renew: renews the lease and returns whether it is still held; called before each few removals.

    Raises:
        ChangedObjectError: the lease was lost; what was removed was unused.
        StoreError: the store refuses or can't be reached.
    """
    # Written now: its time is that of the store's clock.
    _require_lease(bucket, renew)
    now = lease_time(bucket)
    listed = sorted(bucket.list("generations"), key=lambda entry: entry.key)
    names = {entry.key: generation_name(entry.key) for entry in listed}
    kept = {entry.key for entry in listed[-KEPT_GENERATIONS:]}
    kept |= {entry.key for entry in listed if names[entry.key] == pointer.generation}
    # Those of runs that were overtaken have the numbers of others, and count as young like all others.
    kept |= {entry.key for entry in listed if now - entry.modified < SAFE_AGE}
    if pointer.generation is not None and generation_key(pointer.generation) not in kept:
        raise VanishedObjectError(
            f"The generation {pointer.generation} of {bucket.name} is missing", remedy="run `imgret run` first"
        )
    needed = {file.object for key in kept for file in read_generation(bucket, names[key]).files.values()}
    old_generations = [entry for entry in listed if entry.key not in kept]
    old_objects = [
        entry for entry in bucket.list("objects") if entry.key not in needed and now - entry.modified >= SAFE_AGE
    ]
    # Generations first: one that names an object which is removed must not be there any more.
    for part in (*batches(old_generations, _BATCH), *batches(old_objects, _BATCH)):
        _require_lease(bucket, renew)
        bucket.delete([entry.key for entry in part])
    size = sum(entry.bytes for entry in (*old_generations, *old_objects))
    return RemovedObjects(len(old_generations), len(old_objects), size)


def _require_lease(bucket: Bucket, renew: Callable[[], bool]) -> None:
    if not renew():
        raise ChangedObjectError(
            f"Another process has taken over {bucket.name} while unused objects were removed",
            remedy="call it again when that run has ended",
        )
