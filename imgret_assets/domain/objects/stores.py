"""The object stores S3, Google Cloud Storage and Azure: pages of a listing, facts of an object, its bytes.

Belongs here: every call of the library obstore, how long and how often a call is repeated, what its failures mean. Not
here: addresses (`object_url`), keeping what was read (`domain.objects.object_cache`), which objects are images
(`domain.images.files`).

Credentials, region and endpoint come from the environment, as the library reads them (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME, …), or from the machine's role. They are in no
message: of an answer only the status and its code are told.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from imgret_assets import locations
from imgret_assets.domain.objects.answers import EXPIRED_CODES, allows_http, error_code
from imgret_assets.errors import ImgretError
from imgret_assets.object_url import ObjectUrl

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

# A call fails within about a minute, whatever the store does: a run shall end with an error, not wait for ever.
RETRIES: dict[str, Any] = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 2},
}
# `timeout` holds for a whole object, `read_timeout` for each piece of it.
TIMEOUTS: dict[str, Any] = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=20),
    "timeout": timedelta(minutes=10),
}
_ENVIRONMENT = ("AWS_", "GOOGLE_", "AZURE_")
_STATUS = re.compile(r"\b([45]\d\d) ([A-Z][A-Za-z ]+)")
_MISSING, _REFUSED = "there is no such object or bucket", "the store refuses access"
_MEANINGS = {"401": (errno.EACCES, _REFUSED), "403": (errno.EACCES, _REFUSED), "404": (errno.ENOENT, _MISSING)}
_LIST_CHUNK = 1000
_FETCH_CHUNK_BYTES = 1 << 20


class ObjectError(OSError):
    """An object or prefix that can't be read; `errno` is ENOENT, EACCES, EINVAL (its key) or EIO (anything else).

    Args:
        number: the `errno`.
        reason: what the store answered.
        url: the object or prefix.
    """

    def __init__(self, number: int, reason: str, url: ObjectUrl) -> None:
        super().__init__(number, reason, str(url))
        self.url = url

    @property
    def may_concern_all(self) -> bool:
        """Whether other objects of the store probably fail as well."""
        return self.errno in (errno.EACCES, errno.EIO)


@dataclass(frozen=True)
class ObjectFacts:
    """What a store says of an object.

    Attributes:
        url: the object.
        bytes: its size.
        modified_ns: when it was stored, in ns since the epoch, in whole seconds: an answer has no more.
        etag: differs if the content does; the version where the store has no ETag.
    """

    url: ObjectUrl
    bytes: int
    modified_ns: int
    etag: str


@dataclass(frozen=True)
class Fetched:
    """An object that is being read.

    Attributes:
        facts: of the object as it is read.
        chunks: its bytes in pieces; raises an ObjectError where they end too early.
    """

    facts: ObjectFacts
    chunks: Iterator[memoryview]


def list_objects(prefix: ObjectUrl, *, after: str = "", limit: int) -> tuple[list[ObjectFacts], bool]:
    """List objects below a prefix, sorted by their keys.

    Args:
        prefix: the bucket, or a prefix as a folder is one: `a` is none of `ab/c`.
        after: the key of the last object that is known already; empty to begin.
        limit: so many objects at most.

    Returns:
        The objects, and whether there are more.

    Raises:
        ObjectError: the prefix can't be listed, or has an object whose key can't be a path (EINVAL).
    """
    obstore = _obstore()
    found: list[ObjectFacts] = []
    with _named_errors(prefix):
        pages = obstore.list(_store(prefix), prefix.key or None, offset=after or None, chunk_size=_LIST_CHUNK)
        for page in pages:
            for meta in page:
                if len(found) == limit:
                    return found, True
                found.append(_facts(replace(prefix, key=meta["path"]), meta))
    return found, False


def list_level(prefix: ObjectUrl) -> tuple[list[ObjectFacts], list[ObjectUrl]]:
    """List the objects and the prefixes directly below a prefix, as those of a folder, all at once and sorted.

    Raises:
        ObjectError: the prefix can't be listed, or has an object whose key can't be a path (EINVAL).
    """
    obstore = _obstore()
    with _named_errors(prefix):
        level = obstore.list_with_delimiter(_store(prefix), prefix.key or None)
        objects = [_facts(replace(prefix, key=meta["path"]), meta) for meta in level["objects"]]
        prefixes = sorted(replace(prefix, key=key) for key in level["common_prefixes"])
    return sorted(objects, key=lambda facts: facts.url.key), prefixes


def facts_of(url: ObjectUrl) -> ObjectFacts:
    """Ask for the facts of an object.

    Raises:
        ObjectError: there is no such object, or it can't be read.
    """
    obstore = _obstore()
    with _named_errors(url):
        return _facts(url, obstore.head(_store(url), url.key))


def fetch(url: ObjectUrl, *, unless: str | None = None) -> Fetched | None:
    """Begin to read an object.

    Args:
        url: the object.
        unless: the ETag of a copy that is here already.

    Returns:
        None if the object still has this ETag.

    Raises:
        ObjectError: there is no such object, or it can't be read.
    """
    obstore = _obstore()
    with _named_errors(url):
        try:
            answer = obstore.get(_store(url), url.key, options={"if_none_match": unless} if unless else {})
        except obstore.exceptions.NotModifiedError:
            return None
        facts = _facts(url, answer.meta)
        return Fetched(facts, _chunks(facts, answer.stream(min_chunk_size=_FETCH_CHUNK_BYTES)))


def check_store_of(error: OSError) -> None:
    """Raise an error if a store fails as a whole, and not for the one object whose error this is.

    A run that went on would call every object unreadable, and forget it.

    Args:
        error: of reading a file or an object; nothing is done for a file.

    Raises:
        ObjectStoreError: not even the list of the object's neighbours can be read.
    """
    if not isinstance(error, ObjectError) or not error.may_concern_all:
        return
    try:
        list_objects(replace(error.url, key=error.url.key.rpartition("/")[0]), limit=1)
    except ObjectError as failure:
        if failure.may_concern_all:
            raise ObjectStoreError(failure) from error


class ObjectStoreError(ImgretError):
    """A store can't be read any more in the middle of a run."""

    def __init__(self, error: ObjectError) -> None:
        super().__init__(
            f"The bucket {error.url.store} can't be read any more: {error.strerror}",
            expected="a store that answers until the run ends",
            remedy="renew the credentials if they have expired, and run again, which goes on; nothing was deleted",
        )


def _facts(url: ObjectUrl, meta: Any) -> ObjectFacts:
    modified: datetime = meta["last_modified"]
    etag = meta["e_tag"] or meta["version"] or modified.isoformat()
    return ObjectFacts(url, meta["size"], int(modified.timestamp()) * 1_000_000_000, etag)


def _chunks(facts: ObjectFacts, stream: Any) -> Iterator[memoryview]:
    missing = facts.bytes
    with _named_errors(facts.url):
        for chunk in stream:
            missing -= len(chunk)
            yield memoryview(chunk)
    if missing:
        reason = f"the store ended it {missing:,} bytes before its end"
        raise ObjectError(errno.EIO, reason, facts.url)


@contextmanager
def _named_errors(url: ObjectUrl) -> Iterator[None]:
    """Raise the library's errors in the block as `ObjectError`."""
    exceptions = _obstore().exceptions
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectError(errno.ENOENT, _reason(_MISSING, error), url) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise ObjectError(errno.EACCES, _reason(_REFUSED, error), url) from None
    except (exceptions.InvalidPathError, ValueError):
        raise ObjectError(errno.EINVAL, "a key with an empty part, `.`, `..` or a control character", url) from None
    except exceptions.BaseError as error:
        raise _named(error, url) from None


def _named(error: Exception, url: ObjectUrl) -> ObjectError:
    """Return the error of an answer that the library has no class for, such as any answer to a listing."""
    text = str(error)
    status, code = _STATUS.search(text), error_code(error)
    if code in EXPIRED_CODES:
        return ObjectError(errno.EACCES, f"the credentials have expired ({code})", url)
    if status is None:
        return ObjectError(errno.EIO, "the store does not answer, or ends an answer too early", url)
    number, what = _MEANINGS.get(status[1], (errno.EIO, "the store fails"))
    return ObjectError(number, _reason(what, error), url)


def _reason(what: str, error: Exception) -> str:
    # The whole text may contain the login, or what the store says about it.
    status, code = _STATUS.search(str(error)), error_code(error)
    told = [part for part in (" ".join(status.groups()).strip() if status else None, code) if part]
    return f"{what} ({', '.join(told)})" if told else what


def _store(url: ObjectUrl) -> "S3Store | GCSStore | AzureStore":
    environment = tuple((name, value) for name, value in os.environ.items() if name.startswith(_ENVIRONMENT))
    return _opened_store(url.store, environment)


@lru_cache(maxsize=16)
def _opened_store(url: ObjectUrl, environment: tuple[tuple[str, str], ...]) -> "S3Store | GCSStore | AzureStore":
    # The environment is part of the key alone: the library reads it itself.
    kind = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}[url.scheme]
    options = TIMEOUTS | {"allow_http": allows_http()}
    with _named_errors(url):
        return getattr(_obstore().store, kind)(url.bucket, client_options=options, retry_config=RETRIES)


def _obstore() -> Any:
    """Return the library; it is imported when the first object is asked for."""
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ModuleNotFoundError as error:
        raise ImgretError(
            "Images in a bucket are read with the package obstore, which is not installed",
            remedy=locations.install_command("cloud"),
        ) from error
    return obstore
