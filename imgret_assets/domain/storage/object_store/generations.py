"""Generations of tables in a store, and the pointer to the one in force.

Belongs here: reading and claiming the pointer, uploading the files of a generation, committing it. Not here: the lease
(`lease`), which files these are (`domain.operations.table_store`).
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from imgret_assets.domain.storage.object_store.bucket import Bucket
from imgret_assets.errors import ChangedObjectError, StoreError

KEY = "CURRENT"
FORMAT = 1
# Objects that no kept generation needs are removed when they are older. An object that is younger than half of it may
# be used by a new generation: no removal that has begun meanwhile can have listed it.
SAFE_AGE = timedelta(days=1)


@dataclass(frozen=True)
class StoredFile:
    """A file of a generation: the SHA-256 of its content, its size, and the object with the content."""

    sha256: str
    bytes: int
    object: str


@dataclass(frozen=True)
class Generation:
    """One complete state of a home's tables.

    Attributes:
        name: of the object, beginning with the number.
        number: of the generation, from 1.
        home: id of the home.
        at: when it was committed, by the clock of the machine that did it, ISO 8601 in UTC.
        by: who committed it, for people.
        run: id of the run; empty where it is not known.
        version: of the imgret that wrote the tables.
        files: by path in the home, POSIX.
    """

    name: str
    number: int
    home: str
    at: str
    by: str
    run: str
    version: str
    files: Mapping[str, StoredFile]

    def encode(self) -> bytes:
        """Return the content of the object."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> "Generation":
        """Return the generation of an object's content.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        values: dict[str, Any] = json.loads(data)
        if values.pop("format") != FORMAT:
            raise ValueError("another imgret has written it")
        files = {path: StoredFile(**file) for path, file in values.pop("files").items()}
        return cls(**values, files=files)


@dataclass(frozen=True)
class Pointer:
    """What `CURRENT` says: the generation in force, if there is one, and the last lease that was taken."""

    generation: str | None
    home: str
    fence: int
    # Random: two claims are never the same content, which the store would take for the same version.
    claim: str = ""
    etag: str = ""

    def encode(self) -> bytes:
        """Return the content of the object."""
        values = asdict(self)
        del values["etag"]
        return (json.dumps({"format": FORMAT, **values}, indent=2) + "\n").encode()


def read_pointer(bucket: Bucket, *, unless: str | None = None) -> Pointer | None:
    """Return the pointer; None where nothing has been committed, or where it is still the version `unless`.

    Raises:
        StoreError: the store refuses or can't be reached, or the pointer is damaged.
    """
    stored = bucket.read(KEY, unless=unless)
    if stored is None:
        return None
    try:
        values = json.loads(stored.data)
        if values.pop("format") != FORMAT:
            raise ValueError("another imgret has written it")
        return Pointer(**values, etag=stored.etag)
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(bucket, KEY, error) from error


def claim(bucket: Bucket, pointer: Pointer | None, *, home: str, fence: int) -> Pointer:
    """Write the number of the lease into the pointer, so that the holder of an earlier lease can't commit any more.

    Args:
        bucket: the store.
        pointer: as it was read; None where there is none.
        home: id of the home.
        fence: number of the lease.

    Raises:
        ChangedObjectError: another process has written the pointer meanwhile.
        StoreError: the store refuses or can't be reached.
    """
    token = uuid.uuid4().hex
    if pointer is None:
        claimed = Pointer(None, home, fence, token)
        return replace(claimed, etag=bucket.create(KEY, claimed.encode()))
    claimed = replace(pointer, fence=max(fence, pointer.fence + 1), claim=token)
    return replace(claimed, etag=bucket.replace(KEY, claimed.encode(), pointer.etag))


def read_generation(bucket: Bucket, name: str) -> Generation:
    """Return a generation.

    Raises:
        StoreError: it is missing or damaged, or the store refuses or can't be reached.
    """
    stored = bucket.read(generation_key(name))
    if stored is None:
        raise StoreError(
            f"{generation_key(name)} of {bucket.name} is missing",
            remedy="restore it, or run `imgret run` on a machine that has the tables",
        )
    try:
        return Generation.decode(stored.data)
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(bucket, generation_key(name), error) from error


def upload(bucket: Bucket, file: Path, sha256: str, *, fence: int, now: datetime) -> StoredFile:
    """Upload a file unless its content is there, and return its entry.

    Args:
        bucket: the store.
        file: what to upload; it must not change meanwhile.
        sha256: of its content.
        fence: number of the lease.
        now: by the store's clock.

    Raises:
        StoreError: the store refuses or can't be reached.
    """
    size = file.stat().st_size
    key = f"objects/{sha256}"
    found = bucket.bytes_of(key)
    if found is not None and found.bytes == size and now - found.modified < SAFE_AGE / 2:
        return StoredFile(sha256, size, key)
    if found is not None:
        # An old object that may be about to be removed as unused: the content gets another one.
        key = f"{key}.{fence}"
    bucket.upload(key, file)
    return StoredFile(sha256, size, key)


def commit(bucket: Bucket, pointer: Pointer, generation: Generation) -> Pointer:
    """Put a generation in force whose objects are all there, and return the new pointer.

    Raises:
        ChangedObjectError: another run has committed, or has taken the lease over, since the pointer was claimed.
        StoreError: the store refuses or can't be reached.
    """
    bucket.create(generation_key(generation.name), generation.encode())
    committed = replace(pointer, generation=generation.name, home=generation.home)
    try:
        return replace(committed, etag=bucket.replace(KEY, committed.encode(), pointer.etag))
    except ChangedObjectError:
        raise ChangedObjectError(
            f"Another machine has taken over or replaced the tables of {bucket.name} while this run was at work",
            remedy="run again: it takes the tables of the other machine and goes on from them; what this run has "
            "computed is kept in the home",
        ) from None


def generation_key(name: str) -> str:
    """Return the key of a generation."""
    return f"generations/{name}.json"


def generation_name(key: str) -> str:
    """Return the name of a generation from its key."""
    return key.removeprefix("generations/").removesuffix(".json")


def new_name(number: int) -> str:
    """Return a name that no other generation has, even one of the same number."""
    return f"{number:08d}-{uuid.uuid4().hex[:8]}"


def utc_now() -> str:
    """Return the time of this machine, ISO 8601 in UTC to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _unreadable(bucket: Bucket, key: str, error: Exception) -> StoreError:
    return StoreError(
        f"{key} of {bucket.name} can't be read ({error})",
        expected=f"an object of format {FORMAT}, as imgret writes it",
        remedy="update imgret, or restore the object from its last version",
    )
