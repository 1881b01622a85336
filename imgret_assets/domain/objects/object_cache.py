"""The cache of objects that were read: files in the home, within a bound, each compared with its store before use.

Belongs here: opening an object as a file, the bound, facts of objects that were asked for a moment ago. Not here: calls
to a store (`domain.objects.stores`), thumbnails (`domain.images.thumbnail_cache`).
"""

import errno
import hashlib
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from imgret_assets.domain.objects.stores import Fetched, ObjectError, ObjectFacts, facts_of, fetch
from imgret_assets.object_url import ObjectUrl

# A page of thumbnails asks for the facts of its images in every run of its script.
_FACTS_FOR_S = 60.0
_KEPT_FACTS = 65_536
# After a store has not answered, nobody waits for it again so soon: a page shows many images.
_FAILED_FOR_S = 10.0
# A name of a file has at most 255 bytes.
_MAX_ETAG = 150
# Objects are removed down to this share of the bound, so that not every new one removes another.
_KEPT_SHARE = 0.9


class ObjectCache:
    """Files of objects in a folder, all together of about `max_bytes` bytes; the one used longest ago leaves first.

    Several processes may use one folder: files appear whole, and a removed one can still be read by who has opened it.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        # Unknown at first: the first object counts what is there.
        self._added = max_bytes

    def find(self, url: ObjectUrl) -> tuple[BinaryIO, str] | None:
        """Return the open file of an object and the ETag it had; None if it is not here."""
        for file in self._files_of(url):
            with suppress(OSError):
                opened = file.open("rb")
                os.utime(file)
                return opened, unquote(file.name.partition(".")[2])
        return None

    def store(self, fetched: Fetched) -> BinaryIO:
        """Write an object into a file of the cache, and return it opened.

        Raises:
            ObjectError: the object could not be read to its end.
            OSError: the folder can't be written.
        """
        facts = fetched.facts
        file = self._file_name(facts.url)
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", suffix=".tmp", delete=False) as temporary:
            try:
                temporary.writelines(fetched.chunks)
                temporary.flush()
                opened = Path(temporary.name).open("rb")  # noqa: SIM115 -- the caller closes it
                former = list(self._files_of(facts.url))
                kept = file.with_name(f"{file.name}.{_as_name(facts.etag)}")
                Path(temporary.name).replace(kept)
            finally:
                Path(temporary.name).unlink(missing_ok=True)
        for other in former:
            if other != kept:
                other.unlink(missing_ok=True)
        self._make_room(facts.bytes)
        return opened

    def admits(self, facts: ObjectFacts) -> bool:
        """Return whether an object is small enough, and its ETag short enough, to be kept."""
        return facts.bytes <= self._max_bytes // 4 and len(_as_name(facts.etag)) <= _MAX_ETAG

    def _make_room(self, added: int) -> None:
        with self._lock:
            self._added += added
            if self._added < self._max_bytes * (1 - _KEPT_SHARE):
                return
            self._added = 0
            files: list[tuple[float, int, Path]] = []
            for file in self._folder.glob("*/*"):
                with suppress(OSError):
                    status = file.stat()
                    files.append((status.st_mtime, status.st_size, file))
            excess = sum(size for _, size, _ in files) - int(self._max_bytes * _KEPT_SHARE)
            for _, size, file in sorted(files):
                if excess <= 0:
                    return
                file.unlink(missing_ok=True)
                excess -= size

    def _files_of(self, url: ObjectUrl) -> Iterator[Path]:
        name = self._file_name(url)
        return name.parent.glob(f"{name.name}.*")

    def _file_name(self, url: ObjectUrl) -> Path:
        digest = hashlib.sha256(str(url).encode()).hexdigest()
        return self._folder / digest[:2] / digest[2:40]


class _RecentFacts:
    """What stores said of objects a moment ago, and which store did not answer."""

    def __init__(self) -> None:
        self._facts: OrderedDict[ObjectUrl, tuple[float, ObjectFacts]] = OrderedDict()
        self._failures: dict[ObjectUrl, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def find(self, url: ObjectUrl) -> ObjectFacts | None:
        now = time.monotonic()
        with self._lock:
            until, reason = self._failures.get(url.store, (0.0, ""))
            if now < until:
                raise ObjectError(errno.EIO, reason, url)
            until, facts = self._facts.get(url, (0.0, None))
            return facts if now < until else None

    def add(self, facts: ObjectFacts) -> None:
        with self._lock:
            self._facts[facts.url] = (time.monotonic() + _FACTS_FOR_S, facts)
            self._facts.move_to_end(facts.url)
            if len(self._facts) > _KEPT_FACTS:
                self._facts.popitem(last=False)

    def add_failure(self, error: ObjectError) -> None:
        if error.errno == errno.EIO:
            with self._lock:
                self._failures[error.url.store] = (time.monotonic() + _FAILED_FOR_S, error.strerror or "")


_cache: ObjectCache | None = None
_recent = _RecentFacts()


def keep_objects(folder: Path, max_bytes: int) -> None:
    """Keep the objects that this process reads from now on in a folder.

    Args:
        folder: of the home; it is made with the first object.
        max_bytes: of all objects together; nothing is kept where it is 0.
    """
    global _cache
    _cache = ObjectCache(folder, max_bytes) if max_bytes else None


def recent_facts(url: ObjectUrl) -> ObjectFacts:
    """Return the facts of an object, at most a minute old.

    Raises:
        ObjectError: there is no such object, it can't be read, or its store did not answer a moment ago.
    """
    facts = _recent.find(url)
    if facts is None:
        try:
            facts = facts_of(url)
        except ObjectError as error:
            _recent.add_failure(error)
            raise
        _recent.add(facts)
    return facts


@contextmanager
def open_object(url: ObjectUrl, *, may_read: Callable[[int], None]) -> Iterator[BinaryIO]:
    """Open an object as a file of this machine, from the cache if its store says that it is the same.

    Args:
        url: the object.
        may_read: called with its number of bytes before they are read; it raises an error where they are too many.

    Raises:
        ObjectError: there is no such object, or it can't be read to its end.
    """
    cache = _cache
    found = cache.find(url) if cache is not None else None
    with ExitStack() as opened:
        known = None if found is None else opened.enter_context(found[0])
        fetched = fetch(url, unless=None if found is None else found[1])
        if fetched is None and known is not None:
            may_read(os.fstat(known.fileno()).st_size)
            yield known
            return
        fetched = fetched or fetch(url)
        if fetched is None:
            raise ObjectError(errno.EIO, "the store calls it unchanged without being asked", url)
        may_read(fetched.facts.bytes)
        yield opened.enter_context(_stored(fetched, cache))


def _stored(fetched: Fetched, cache: ObjectCache | None) -> BinaryIO:
    if cache is not None and cache.admits(fetched.facts):
        try:
            return cache.store(fetched)
        except ObjectError:
            raise
        except OSError:
            # A full disk: without a cache it may still do, or the error names the place of temporary files.
            fetched = fetch(fetched.facts.url) or fetched
    file = tempfile.TemporaryFile()  # noqa: SIM115 -- the caller closes it
    try:
        file.writelines(fetched.chunks)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _as_name(etag: str) -> str:
    return quote(etag, safe="")
