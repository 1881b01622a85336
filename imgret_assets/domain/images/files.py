"""Walking an image root: which candidate files there are, in a stable order, with what the file system says.

Belongs here: names, links, folders, shards of paths. Not here: opening files (`domain.images.decode`,
`domain.images.manifest`).
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from imgret_assets.domain.images.decode import EXTENSIONS, Status
from imgret_assets.errors import RootError

# Opening a pipe or a device would wait for ever.
_NOT_REGULAR = (Status.NOT_AN_IMAGE, "not a regular file")


@dataclass(frozen=True, slots=True)
class Candidate:
    r"""One file with an image extension, or a place in the tree that can't be listed.

    `path` is POSIX and relative to the root; a name that is not UTF-8 has its invalid bytes as \xNN and its
    backslashes doubled. `status` is None for a file that is still to be looked at.
    """

    path: str
    location: str
    bytes: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0
    status: Status | None = None
    error: str | None = None
    hides_folder: bool = False

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """What changes whenever the file's content may have changed."""
        return (self.bytes, self.mtime_ns, self.ctime_ns, self.inode)


@dataclass
class WalkCounts:
    """What a walk passed over."""

    ignored: int = 0
    hidden: int = 0
    linked_folders: int = 0


def shard_of(path: str, shards: int) -> str:
    """Shard key of a relative path: its SHA-256's first 8 bytes, big-endian, modulo `shards`, as two hex digits."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return f"{int.from_bytes(digest[:8], 'big') % shards:02x}"


def label_of(path: str) -> str | None:
    """The parent folder's path, or None for a file in the root itself."""
    parent = str(PurePosixPath(path).parent)
    return None if parent == "." else parent


def check_root(root: Path) -> Path:
    """The root, if it is a folder that can be listed.

    Raises:
        RootError: it is missing, no folder, or can't be listed. Nothing is deleted then.
    """
    try:
        with os.scandir(root):
            return root
    except FileNotFoundError:
        found = f"The image root {root} does not exist"
    except NotADirectoryError:
        found = f"The image root {root} is not a folder"
    except OSError as error:
        found = f"The image root {root} can't be listed ({error.strerror})"
    raise RootError(
        found,
        expected="a folder of image files",
        remedy="mount or create it, or set IMGRET_IMAGES (or --images); nothing was deleted",
    )


def walk(root: Path, counts: WalkCounts | None = None) -> Iterator[Candidate]:
    """All candidates under `root`, folder by folder, names sorted.

    Hidden names are left out. A link to a file inside the root is a candidate like any other; a link to a
    folder inside the root is not followed, since its files are listed under their own place.

    Raises:
        RootError: the root itself can't be listed.
    """
    counts = counts if counts is not None else WalkCounts()
    check_root(root)
    pending = [""]
    while pending:
        found, subfolders = list_folder(root, pending.pop(), counts)
        yield from found
        pending.extend(reversed(subfolders))


def list_folder(root: Path, folder: str, counts: WalkCounts | None = None) -> tuple[list[Candidate], list[str]]:
    """Candidates directly in one folder of the root (`""` is the root itself), and its subfolders, both sorted.

    Raises:
        RootError: the root itself can't be listed.
    """
    counts = counts if counts is not None else WalkCounts()
    try:
        with os.scandir(root / folder if folder else root) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        return [_unlistable(root, folder, error)], []
    real_root = os.path.realpath(root)
    candidates: list[Candidate] = []
    subfolders: list[str] = []
    for entry in entries:
        relative = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith("."):
            counts.hidden += 1
        elif entry.is_dir(follow_symlinks=False):
            subfolders.append(relative)
        elif entry.is_symlink():
            candidates.extend(_link(entry, relative, real_root, counts))
        elif is_candidate(entry.name):
            candidates.append(_file(entry, relative))
        else:
            counts.ignored += 1
    return candidates, subfolders


@dataclass
class Fingerprint:
    """A sum over the listed files of a shard that changes with any of them, whatever their order."""

    files: int = 0
    total: int = 0

    def add(self, candidate: Candidate) -> None:
        """Count one listed file."""
        text = f"{candidate.path}\0{candidate.identity}\0{candidate.status or ''}"
        digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        self.files += 1
        self.total = (self.total + int.from_bytes(digest, "big")) % 2**64

    def __str__(self) -> str:
        """As kept in a manifest's metadata and a sensor's cursor."""
        return f"{self.files}:{self.total:016x}"

    @classmethod
    def parse(cls, text: str) -> "Fingerprint":
        """The fingerprint that printed so."""
        files, total = text.split(":")
        return cls(int(files), int(total, 16))


def is_candidate(name: str) -> bool:
    """True for a visible name with a known image extension, in any case."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122


def _link(entry: "os.DirEntry[str]", relative: str, real_root: str, counts: WalkCounts) -> Iterator[Candidate]:
    target = os.path.realpath(entry.path)
    inside = target == real_root or target.startswith(real_root.rstrip("/") + "/")
    try:
        to_folder = entry.is_dir()
    except OSError:
        to_folder = False
    if not to_folder and not is_candidate(entry.name):
        counts.ignored += 1
    elif not inside and os.path.lexists(target):
        yield _named(relative, entry.path, Status.OUTSIDE_ROOT, f"a link to {target}, outside the image root")
    elif to_folder:
        above = os.path.realpath(os.path.dirname(entry.path))  # noqa: PTH120
        if above == target or above.startswith(target.rstrip("/") + "/"):
            yield _named(relative, entry.path, Status.LOOP, "a link to a folder that contains it")
        else:
            counts.linked_folders += 1
    else:
        yield _file(entry, relative)


def _file(entry: "os.DirEntry[str]", relative: str) -> Candidate:
    try:
        found = entry.stat()
    except OSError as error:
        return _named(relative, entry.path, *status_of_os_error(error))
    regular = stat.S_ISREG(found.st_mode)
    named = _named(relative, entry.path) if regular else _named(relative, entry.path, *_NOT_REGULAR)
    return replace(
        named,
        bytes=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        inode=found.st_ino,
    )


def _named(relative: str, location: str, status: Status | None = None, error: str | None = None) -> Candidate:
    try:
        relative.encode("utf-8")
    except UnicodeEncodeError:
        raw = os.fsencode(relative).replace(b"\\", b"\\\\")
        shown = raw.decode("utf-8", "backslashreplace")
        return Candidate(shown, location, status=Status.BAD_NAME, error="the name is not valid UTF-8; rename it")
    return Candidate(relative, location, status=status, error=error)


def _unlistable(root: Path, folder: str, error: OSError) -> Candidate:
    if not folder:
        check_root(root)
    status, reason = status_of_os_error(error)
    found = _named(folder, str(root / folder), status, f"the folder can't be listed: {reason}")
    # A folder that is gone has no files; one that only can't be read keeps those already known.
    return replace(found, hides_folder=status is not Status.VANISHED)


def status_of_os_error(error: OSError) -> tuple[Status, str]:
    """Status and reason for a file the operating system would not give."""
    reason = error.strerror or type(error).__name__
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return Status.VANISHED, "gone since it was listed, or a link to nothing"
    if error.errno == errno.ELOOP:
        return Status.LOOP, "a link that leads to itself"
    return Status.UNREADABLE, reason
