"""A prefix of a bucket: small objects read and written on conditions, files uploaded and downloaded.

Belongs here: the calls of obstore, which no other module of `domain.storage` imports, time limits and repetitions,
failures as named errors. Not here: what the objects mean (`generations`, `lease`).

No message contains what a server has answered beyond its status and error code: answers repeat parts of credentials.
"""

import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imgret_assets.domain.objects.answers import EXPIRED_CODES, allows_http, error_code
from imgret_assets.errors import ChangedObjectError, StoreError, UnreachableStoreError, VanishedObjectError
from imgret_assets.locations import install_command

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# A part is sent and answered within the time limit of one request, at 150 kB a second and more.
PART_BYTES = 8 * 2**20
# Answers with status 409 mean that two requests met; each may be repeated.
_CONFLICT_TRIES = 5
# obstore repeats requests, but not one whose answer ends too early.
_BODY_TRIES = 3
# The second request begins before the limit of all repetitions and ends at most one limit after it: 25 s.
_SMALL = {"request_s": 10, "all_s": 15, "retries": 3}
_LARGE = {"request_s": 60, "all_s": 120, "retries": 5}
# For readers, who have tables to go on with.
_BRIEF = {"request_s": 4, "all_s": 4, "retries": 1}

_STATUS = re.compile(r"status code: (\d{3})")
_CREDENTIALS = (
    "set the credentials of the store, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; they need to read, write, "
    "list and delete objects under the prefix"
)


Answer = TypeVar("Answer")


class CutOffError(UnreachableStoreError):
    """An answer ended before it was whole."""


@dataclass(frozen=True)
class Stored:
    """A small object: its content, its version, which only the store understands, and its time by the store's clock."""

    data: bytes
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Listed:
    """An object of a listing: its key, its size, and when it was written by the store's clock."""

    key: str
    bytes: int
    modified: datetime


class Bucket:
    """A prefix of a bucket.

    Args:
        small: for the small objects, whose requests end soon.
        large: for uploads and downloads.
        name: of the prefix in messages.
    """

    def __init__(self, small: "ObjectStore", large: "ObjectStore", name: str) -> None:
        self._small, self._large, self.name = small, large, name

    def read(self, key: str, *, unless: str | None = None) -> Stored | None:
        """Return an object; None where it does not exist, or is still the version `unless`.

        Raises:
            StoreError: the store refuses or can't be reached.
        """
        import obstore
        from obstore.exceptions import NotModifiedError

        def get() -> Stored:
            with self._named_errors(f"reading {key}"):
                options: Any = {"if_none_match": _condition(unless)["e_tag"]} if unless else None
                result = obstore.get(self._small, key, options=options)
                return Stored(bytes(result.bytes()), _etag(result.meta), result.meta["last_modified"])

        try:
            return _try_again(get)
        except (NotModifiedError, VanishedObjectError):
            return None

    def create(self, key: str, data: bytes) -> str:
        """Write an object that does not exist yet and return its version.

        Raises:
            ChangedObjectError: it exists.
            StoreError: the store refuses or can't be reached.
        """
        return self._put_if(key, data, "create")

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Replace an object that is still the version `etag`, and return its new version.

        Raises:
            ChangedObjectError: it is another version by now.
            StoreError: the store refuses or can't be reached.
        """
        return self._put_if(key, data, _condition(etag))

    def _put_if(self, key: str, data: bytes, mode: Any) -> str:
        import obstore
        from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError

        for attempt in range(_CONFLICT_TRIES):
            try:
                with self._named_errors(f"writing {key}"):
                    try:
                        return _etag(obstore.put(self._small, key, data, mode=mode))
                    except (GenericError, AlreadyExistsError) as error:
                        if _status(error) != 409:
                            raise
            except (AlreadyExistsError, PreconditionError):
                written = self.read(key)
                # The answer to a first request was lost, and its repetition met what the first one wrote.
                if written is not None and written.data == data:
                    return written.etag
                raise ChangedObjectError(f"{key} of {self.name} was written by another process") from None
            time.sleep(0.1 * 2**attempt)
        raise ChangedObjectError(f"{key} of {self.name} is being written by other processes", remedy="run again")

    def check_conditions(self) -> None:
        """Check by an object of its own that the store obeys the conditions of `create` and `replace`.

        Raises:
            StoreError: it ignores them, refuses or can't be reached.
        """
        key = f"check-{uuid.uuid4().hex}"
        tries = (lambda: self.create(key, b"second"), lambda: self.replace(key, b"third", '"0"'))
        self.create(key, b"first")
        try:
            for write in tries:
                with suppress(ChangedObjectError):
                    write()
                    raise _without_conditions(self.name)
        finally:
            self.delete([key])

    def bytes_of(self, key: str) -> Listed | None:
        """Return size and time of an object; None where it does not exist.

        Raises:
            StoreError: the store refuses or can't be reached.
        """
        import obstore

        try:
            with self._named_errors(f"looking up {key}"):
                found = obstore.head(self._small, key)
        except VanishedObjectError:
            return None
        return Listed(key, found["size"], found["last_modified"])

    def upload(self, key: str, file: Path) -> None:
        """Write a whole file as an object, which appears when all of it is there.

        Raises:
            StoreError: the store refuses or can't be reached; there is no such object, or the earlier one.
        """
        import obstore

        with self._named_errors(f"uploading {key}"):
            obstore.put(self._large, key, file, chunk_size=PART_BYTES, max_concurrency=4)

    def download(self, key: str, file: Path, *, sha256: str, size: int) -> None:
        """Write an object to a file whose content is verified; the caller renames it.

        Raises:
            VanishedObjectError: it does not exist.
            StoreError: the store refuses or can't be reached, or has another content.
        """
        import obstore

        def part(start: int) -> bytes:
            with self._named_errors(f"downloading {key}"):
                return bytes(obstore.get_range(self._large, key, start=start, end=min(size, start + PART_BYTES)))

        for _ in range(_BODY_TRIES):
            digest = hashlib.sha256()
            with file.open("wb") as target:
                for start in range(0, size, PART_BYTES):
                    content = _try_again(partial(part, start))
                    digest.update(content)
                    target.write(content)
                target.flush()
                os.fsync(target.fileno())
            if digest.hexdigest() == sha256:
                return
        raise StoreError(
            f"{key} of {self.name} is damaged: its content is another than it was uploaded with",
            expected=f"{size} bytes with the SHA-256 {sha256}",
            remedy="remove the object, and run `imgret run` on a machine that has the tables: it uploads them again",
        )

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield all objects below a prefix.

        Raises:
            StoreError: the store refuses or can't be reached.
        """
        import obstore

        with self._named_errors(f"listing {prefix}"):
            for page in obstore.list(self._large, f"{prefix}/"):
                yield from (Listed(entry["path"], entry["size"], entry["last_modified"]) for entry in page)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that do not exist are left out.

        Raises:
            StoreError: the store refuses or can't be reached.
        """
        import obstore

        with self._named_errors("removing objects"):
            for key in keys:
                try:
                    obstore.delete(self._small, key)
                except FileNotFoundError:
                    continue

    @contextmanager
    def _named_errors(self, action: str) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, BaseError, NotModifiedError, PreconditionError

        try:
            yield
        except (AlreadyExistsError, NotModifiedError, PreconditionError):
            raise
        # Without the cause: what a server has answered can contain parts of the credentials.
        except FileNotFoundError as error:
            raise _missing(error, action, self.name) from None
        except (BaseError, ValueError) as error:
            raise _named(error, action, self.name) from None


def open_bucket(url: str, *, brief: bool = False) -> Bucket:
    """Open a prefix such as `s3://bucket/prefix`; nothing is sent yet.

    Credentials, region and endpoint come from the environment, in the variables of the store's own tools.

    Args:
        url: bucket and prefix.
        brief: give up after a few seconds.

    Raises:
        StoreError: obstore is not installed, or does not accept the address or what the environment says about it.
    """
    try:
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise StoreError(
            f"{url} can't be used: the package obstore is not installed",
            remedy=f"install imgret with its extra: `{install_command('cloud')}`",
        ) from error
    try:
        small = _open(url, **(_BRIEF if brief else _SMALL))
        return Bucket(small, _open(url, **_LARGE), url)
    except (BaseError, ValueError) as error:
        raise _named(error, "opening it", url) from None


def _open(url: str, *, request_s: int, all_s: int, retries: int) -> "ObjectStore":
    from obstore.store import from_url

    return from_url(
        url,
        client_options={
            "timeout": timedelta(seconds=request_s),
            "connect_timeout": timedelta(seconds=min(5, request_s)),
            "allow_http": allows_http(),
        },
        retry_config={
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=all_s),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=4), "base": 2},
        },
    )


def _try_again(work: Callable[[], Answer]) -> Answer:
    """Return what a request returns, or a second one if the answer to the first ended too early."""
    for _ in range(_BODY_TRIES - 1):
        try:
            return work()
        except CutOffError:
            continue
    return work()


def _etag(described: Any) -> str:
    """Return the version of an object: its ETag, and after a line feed the number by which some stores count them."""
    if not described["e_tag"]:
        raise ValueError("it names no version (ETag) of an object")
    return "\n".join(part for part in (described["e_tag"], described["version"]) if part)


def _condition(etag: str) -> dict[str, str]:
    """Return the condition that an object is still a version; gs:// compares its number, the others its ETag."""
    return dict(zip(("e_tag", "version"), etag.split("\n"), strict=False))


def _status(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def _without_conditions(where: str) -> StoreError:
    return StoreError(
        f"The store ignores conditions when an object is written: {where}",
        expected="a store that accepts If-Match and If-None-Match, without which two runs could overwrite each other",
        remedy="use such a store, or a newer version of this one",
    )


def _missing(error: Exception, action: str, name: str) -> StoreError:
    if error_code(error) == "NoSuchBucket":
        return StoreError(f"There is no bucket for {name}", remedy="create it, or correct IMGRET_STORE")
    return VanishedObjectError(
        f"{name}: an object is missing ({action})", remedy="run `imgret run` on a machine that has the tables"
    )


def _named(error: Exception, action: str, name: str) -> StoreError:
    """Return the named error for one of obstore's; without what the server has answered."""
    status, code = _status(error), error_code(error)
    detail = " ".join(part for part in (f"status {status}" if status else "", code) if part)
    where = f"{name} ({action})" if not detail else f"{name} ({action}: {detail})"
    if code in EXPIRED_CODES:
        return StoreError(f"The credentials for {where} have expired", remedy="renew them and run again")
    if status in (401, 403):
        return StoreError(f"The store refuses access to {where}", remedy=_CREDENTIALS)
    if status == 501:
        return _without_conditions(where)
    if (status is not None and status < 500) or "redirect" in str(error):
        return StoreError(
            f"The store refuses a request for {where}",
            remedy="correct IMGRET_STORE, the region or the endpoint (AWS_REGION, AWS_ENDPOINT_URL)",
        )
    if status is None and "credential" in str(error).lower():
        return StoreError(f"There are no credentials for {where}", remedy=_CREDENTIALS)
    if "response body" in str(error):
        return CutOffError(f"The store's answer ends too early: {where}", remedy="check the network, and run again")
    return UnreachableStoreError(
        f"The store can't be reached or does not answer: {where}",
        remedy="check IMGRET_STORE, the network and the endpoint (AWS_ENDPOINT_URL), and run again",
    )
