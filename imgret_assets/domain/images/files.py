"""The files of an image root: the candidates for images in a stable order, with what the file system says of them.

Belongs here: names, links, folders, and the objects of a bucket in their place; the shard and the label of a path. Not
here: opening files (`domain.images.file_inspection`, `domain.images.image_reader`), pages of objects
(`domain.objects.object_pages`).
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from imgret_assets.domain.images.decode import EXTENSIONS
from imgret_assets.domain.images.file_reading import failure_of_kind, stamp_of_file
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.images.raw_names import jpegs_of_shots
from imgret_assets.domain.objects.object_pages import read_page
from imgret_assets.domain.objects.stores import ObjectError, ObjectFacts, list_objects
from imgret_assets.domain.storage.home_record import shard_key
from imgret_assets.errors import RootError, did_you_mean
from imgret_assets.image_roots import EXAMPLE, AnyRoot, ImageRoots, as_roots
from imgret_assets.object_url import ImageFile, ObjectUrl, is_url

# A 64-bit number of nanoseconds ends in the years 1677 and 2262; file systems hold times far beyond.
_MIN_NS, _MAX_NS = -(2**63), 2**63 - 1
# Stands between the path of a prefix and the key after which its listing goes on; no name of a file has it.
_AFTER = "\0"


@dataclass(frozen=True, slots=True)
class Candidate:
    r"""A file with an image extension, or a folder that can't be listed.

    Attributes:
        path: POSIX, relative to the root. A name that is not UTF-8 has its invalid bytes as \xNN and its backslashes
            doubled.
        location: where the file is, for the operating system; the address of an object.
        bytes, inode, hard_links: as the file system reports them; of a link, those of the file that it leads to.
            `hard_links` is how many names the file has anywhere in its file system. Of an object, `inode` is a digest
            of its address and ETag.
        mtime_ns, ctime_ns: the times that the file system reports, as `storable_ns` limits them. Of an object,
            `mtime_ns` is when it was stored, and `ctime_ns` is 0.
        link: path of the file that a symbolic link leads to in the end, relative to the root, in the form of `path`;
            None for a file and for a link that leads out of the root.
        status: None for a file that is still to be inspected.
        error: the reason of the status.
        shot: of a camera raw file, the JPEG files of the same folder with the same name before the ending, sorted.
        is_unlistable_folder: whether this is a folder that exists and can't be listed; files known in it stay known.
    """

    path: str
    location: str
    bytes: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0
    status: Status | None = None
    error: str | None = None
    is_unlistable_folder: bool = False
    hard_links: int = 1
    link: str | None = None
    shot: "tuple[Candidate, ...]" = ()

    @property
    def stat_fingerprint(self) -> tuple[int, int, int, int]:
        """Size, times and inode: differs whenever the file's content may have changed.

        Of an object, no times: its ETag tells more, and stays the same if the same content is stored again.
        """
        if self.is_object:
            return (self.bytes, 0, 0, self.inode)
        return (self.bytes, self.mtime_ns, self.ctime_ns, self.inode)

    @property
    def is_object(self) -> bool:
        """Whether it lies in a bucket."""
        return is_url(self.location)


@dataclass
class WalkCounts:
    """Number of names that a walk found and that are no candidates.

    Attributes:
        ignored: names without an image extension.
        hidden: names that start with a dot.
        linked_folders: links to folders inside the root, whose files are listed at their own place.
    """

    ignored: int = 0
    hidden: int = 0
    linked_folders: int = 0


def shard_of(path: str, shards: int) -> str:
    """Return the shard key of a relative path.

    The key is the first 8 bytes of the path's SHA-256, big-endian, modulo `shards`, as
    `home_record.shard_key` writes it.
    """
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return shard_key(int.from_bytes(digest[:8], "big") % shards, shards)


def label_of(path: str) -> str | None:
    """Return the label of a relative path: its parent folder; None for a file in the root itself."""
    parent = str(PurePosixPath(path).parent)
    return None if parent == "." else parent


def storable_ns(nanoseconds: int) -> int:
    """Limit a file's time to what 64 bits hold: the years 1677 to 2262.

    A file with a wrong date can lie beyond. Each change of a file also changes its ctime, so that files whose mtimes
    became equal by the limit are still told apart.

    Args:
        nanoseconds: since the epoch, of any size.
    """
    return min(max(nanoseconds, _MIN_NS), _MAX_NS)


def check_roots(root: AnyRoot) -> ImageRoots:
    """Return the roots after checking that each is a folder that can be listed.

    Raises:
        RootError: one is missing, no folder, or can't be listed. Nothing is deleted then.
        SettingError: two are the same folder, or one lies in another.
    """
    roots = as_roots(root)
    roots.check_apart()
    for name, folder in roots.folders:
        _check_root(name, folder)
    return roots


def _check_root(name: str, folder: ImageFile) -> None:
    if isinstance(folder, ObjectUrl):
        _check_bucket(name, folder)
        return
    named = _root_text(name, folder)
    try:
        with os.scandir(folder):
            return
    except FileNotFoundError:
        siblings = [sibling.name for sibling in folder.parent.iterdir()] if folder.parent.is_dir() else []
        problem = f"The image {named} does not exist{did_you_mean(folder.name, siblings)}"
    except NotADirectoryError:
        problem = f"The image {named} is not a folder"
    except OSError as error:
        problem = f"The image {named} can't be listed ({error.strerror})"
    remedy = "mount or create it, or set IMGRET_IMAGES (or --images); nothing was deleted"
    if name:
        remedy = f"mount it, or leave {name} out of IMGRET_IMAGES (or --images) for good; nothing was deleted"
    elif "=" in str(folder):
        remedy += f"; several roots are set as {EXAMPLE}"
    raise RootError(problem, expected="a folder of image files", remedy=remedy)


def _root_text(name: str, place: ImageFile) -> str:
    return f"root {name}, {place}," if name else f"root {place}"


def _check_bucket(name: str, prefix: ObjectUrl) -> None:
    try:
        objects, _ = list_objects(prefix, limit=1)
    except ObjectError as error:
        if error.errno != errno.EINVAL:
            raise _bucket_error(name, prefix, f"can't be listed: {error.strerror}") from error
        # Some object's key can't be a path: `list_folder` finds the others.
        return
    if not objects:
        # A bucket has no empty folders: a prefix without objects is one that does not exist.
        raise _bucket_error(name, prefix, "has no objects")


def _bucket_error(name: str, prefix: ObjectUrl, problem: str) -> RootError:
    return RootError(
        f"The image {_root_text(name, prefix)} {problem}",
        expected="a bucket, or a prefix in one, that the credentials in the environment may list",
        remedy="check its name, AWS_ACCESS_KEY_ID, AWS_REGION and AWS_ENDPOINT_URL"
        + (f", or leave {name} out of IMGRET_IMAGES (or --images) for good" if name else "")
        + "; nothing was deleted",
    )


def walk(root: AnyRoot, counts: WalkCounts | None = None) -> Iterator[Candidate]:
    """Yield all candidates under a folder or several roots, folder by folder, names sorted.

    Hidden names are left out. A link to a file inside a root is a candidate like any other. A link to a folder inside
    a root is not followed, because its files are listed at their own place.

    Raises:
        RootError: a root itself can't be listed.
    """
    counts = counts if counts is not None else WalkCounts()
    roots = check_roots(root)
    pending = [""]
    while pending:
        candidates, subfolders = list_folder(roots, pending.pop(), counts)
        yield from candidates
        pending.extend(reversed(subfolders))


def list_folder(root: AnyRoot, folder: str, counts: WalkCounts | None = None) -> tuple[list[Candidate], list[str]]:
    """List the candidates directly in one folder of the roots, and its subfolders, both sorted.

    Args:
        root: the image roots, or a folder.
        folder: as paths in it begin; `""` is the plain root itself, or has the roots with a name as its subfolders. In
            a bucket, it has a part of all objects below it, and its only subfolder is the rest of them.
        counts: grows by the names that are no candidates.

    Raises:
        RootError: a root itself can't be listed.
    """
    counts = counts if counts is not None else WalkCounts()
    roots = as_roots(root)
    if roots.is_named and not folder:
        return [], roots.names
    place = roots / folder.partition(_AFTER)[0]
    if isinstance(place, ObjectUrl):
        return _list_objects(roots, folder, counts)
    try:
        with os.scandir(place) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        return [_unlistable(roots, folder, error)], []
    candidates: list[Candidate] = []
    subfolders: list[str] = []
    for entry in entries:
        relative = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith("."):
            counts.hidden += 1
        elif entry.is_dir(follow_symlinks=False):
            subfolders.append(relative)
        elif entry.is_symlink():
            candidates.extend(_list_link(entry, relative, roots, counts))
        elif is_candidate(entry.name):
            candidates.append(_list_file(entry, relative))
        else:
            counts.ignored += 1
    return _with_shots(candidates), subfolders


def _list_objects(roots: ImageRoots, folder: str, counts: WalkCounts) -> tuple[list[Candidate], list[str]]:
    """List some of the objects below a prefix; the rest is its subfolder."""
    path, _, after = folder.partition(_AFTER)
    prefix = roots / path
    assert isinstance(prefix, ObjectUrl)  # noqa: S101
    try:
        page = read_page(prefix, after)
    except ObjectError as error:
        if error.errno != errno.EINVAL or path in ("", *roots.names):
            name = roots.name_of(path)
            raise _bucket_error(name, prefix, f"can't be listed: {error.strerror}") from error
        reason = f"the folder can't be listed: an object in it has {error.strerror}"
        return [Candidate(path, str(prefix), status=Status.UNREADABLE, error=reason, is_unlistable_folder=True)], []
    in_folders: dict[str, list[Candidate]] = {}
    for facts in page.objects:
        relative = prefix.relative(facts.url)
        if not relative or _is_hidden(relative):
            counts.hidden += bool(relative)
        elif not is_candidate(facts.url.name):
            counts.ignored += 1
        else:
            candidate = _object_candidate(_below(path, relative), facts)
            in_folders.setdefault(facts.url.key.rpartition("/")[0], []).append(candidate)
    rest = [
        f"{_below(path, prefix.relative(below))}{_AFTER}{last}"
        for below, last in page.remaining
        if below == prefix or not _is_hidden(below.name)
    ]
    return [each for candidates in in_folders.values() for each in _with_shots(candidates)], rest


def _object_candidate(path: str, facts: ObjectFacts) -> Candidate:
    return Candidate(
        path,
        str(facts.url),
        bytes=facts.bytes,
        mtime_ns=facts.modified_ns,
        inode=inode_of_object(facts),
    )


def inode_of_object(facts: ObjectFacts) -> int:
    """Return what stands for the inode number of an object: it differs if the address or the ETag does."""
    digest = hashlib.blake2b(f"{facts.url}\0{facts.etag}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _with_shots(candidates: list[Candidate]) -> list[Candidate]:
    """Return the candidates of a folder, the camera raw files with the JPEG files of the same shot."""
    by_name = {PurePosixPath(each.path).name: each for each in candidates if each.status is None}
    shots = jpegs_of_shots(by_name)
    if not shots:
        return candidates
    jpegs = {by_name[raw].path: tuple(by_name[name] for name in names) for raw, names in shots.items()}
    return [
        replace(each, shot=jpegs[each.path]) if each.status is None and each.path in jpegs else each
        for each in candidates
    ]


@dataclass
class ListingFingerprint:
    """Fingerprint of a shard's listed files: a sum that changes with any of them and does not depend on their order."""

    files: int = 0
    total: int = 0

    def add(self, candidate: Candidate) -> None:
        """Add one listed file."""
        text = f"{candidate.path}\0{candidate.stat_fingerprint}\0{candidate.status or ''}"
        if candidate.link is not None:
            text += f"\0{candidate.link}"
        for jpeg in candidate.shot:
            text += f"\0{jpeg.path}\0{jpeg.stat_fingerprint}"
        digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        self.files += 1
        self.total = (self.total + int.from_bytes(digest, "big")) % 2**64

    def __str__(self) -> str:
        """Return the text that a manifest's metadata and a sensor's cursor store."""
        return f"{self.files}:{self.total:016x}"

    @classmethod
    def parse(cls, text: str) -> "ListingFingerprint":
        """Parse the text of `__str__`."""
        files, total = text.split(":")
        return cls(int(files), int(total, 16))


def _below(folder: str, relative: str | None) -> str:
    return "/".join(part for part in (folder, relative) if part)


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def is_candidate(name: str) -> bool:
    """Return whether a name is visible and has a known image extension, in upper or lower case."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122


def _list_link(entry: "os.DirEntry[str]", relative: str, roots: ImageRoots, counts: WalkCounts) -> Iterator[Candidate]:
    target = os.path.realpath(entry.path)
    inside = roots.path_of(target, real=True)
    try:
        to_folder = entry.is_dir()
    except OSError:
        to_folder = False
    if not to_folder and not is_candidate(entry.name):
        counts.ignored += 1
    elif inside is None and os.path.lexists(target):
        yield _candidate(relative, entry.path, Status.OUTSIDE_ROOT, f"a link to {target}, outside the image root")
    elif to_folder:
        above = os.path.realpath(os.path.dirname(entry.path))  # noqa: PTH120
        if above == target or above.startswith(target.rstrip("/") + "/"):
            yield _candidate(relative, entry.path, Status.LOOP, "a link to a folder that contains it")
        else:
            counts.linked_folders += 1
    else:
        candidate = _list_file(entry, relative)
        yield candidate if inside is None else replace(candidate, link=_displayed(inside))


def _list_file(entry: "os.DirEntry[str]", relative: str) -> Candidate:
    try:
        status = entry.stat()
    except OSError as error:
        return _candidate(relative, entry.path, *status_of_os_error(error))
    failure = failure_of_kind(status.st_mode)
    candidate = _candidate(relative, entry.path)
    if failure is not None and candidate.status is None:
        candidate = replace(candidate, status=failure.status, error=failure.reason)
    return replace(
        candidate,
        bytes=status.st_size,
        mtime_ns=storable_ns(status.st_mtime_ns),
        ctime_ns=storable_ns(status.st_ctime_ns),
        inode=status.st_ino,
        hard_links=status.st_nlink,
    )


def _candidate(relative: str, location: str, status: Status | None = None, error: str | None = None) -> Candidate:
    if _is_utf8(relative):
        return Candidate(relative, location, status=status, error=error)
    error = "the name is not valid UTF-8; rename it"
    return Candidate(_displayed(relative), location, status=Status.BAD_NAME, error=error)


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _displayed(name: str) -> str:
    r"""Return a name as `Candidate.path` holds it: unchanged if it is UTF-8, else with its invalid bytes as \xNN."""
    if _is_utf8(name):
        return name
    return os.fsencode(name).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def _unlistable(roots: ImageRoots, folder: str, error: OSError) -> Candidate:
    if folder in roots.names:
        check_roots(roots)
    status, reason = status_of_os_error(error)
    candidate = _candidate(folder, str(roots / folder), status, f"the folder can't be listed: {reason}")
    # A folder that has vanished has no files; of one that only can't be read, the known files stay known.
    return replace(candidate, is_unlistable_folder=status is not Status.VANISHED)


def status_of_os_error(error: OSError) -> tuple[Status, str]:
    """Return the status and the reason for a file that the operating system could not list or read."""
    reason = error.strerror or type(error).__name__
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return Status.VANISHED, "gone since it was listed, or a link to nothing"
    if error.errno == errno.ELOOP:
        return Status.LOOP, "a link that leads to itself"
    return Status.UNREADABLE, reason


def image_file(root: AnyRoot, path: str) -> ImageFile | None:
    """Return the image file or object at a path of the roots; None if it is none, hidden, or outside by a link.

    A path with `..` must stay in the root that it names; a link may lead into another root.
    """
    roots = as_roots(root)
    parts = PurePosixPath(path).parts
    if not parts or any(part.startswith(".") for part in parts) or not is_candidate(parts[-1]):
        return None
    try:
        file = roots / path
        if isinstance(file, ObjectUrl):
            stamp_of_file(file)
            return file
        return file if roots.path_of(file, real=True) is not None and file.is_file() else None
    except (OSError, ValueError):
        return None
