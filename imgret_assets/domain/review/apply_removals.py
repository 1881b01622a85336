"""Moving of the files that decisions make removable to a folder or to the trash, and putting them back.

Belongs here: the checks at the moment of each move, the order, what is put back. Not here: which files decisions make
removable (`domain.review.removals`), moving one file (`domain.review.file_moving`), the undo file
(`domain.review.undo_file`). The page does not import this: files are moved by the command line alone.

A file is moved only if, read at that moment, it still has its recorded content, and the file that is kept instead has
its own. A decision that was undone meanwhile counts at once. A killed run leaves an undo file that is right, and the
next one moves the rest. Links are moved before the files that they lead to, as long as they can be checked.
"""

import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from imgret_assets.domain.duplicates.usable_images import UsableImage, freed_bytes, load_files
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import is_protected
from imgret_assets.domain.review.file_moving import (
    Identity,
    NotMovedError,
    check_content,
    check_link,
    free_name,
    identity_of,
    is_one_entry,
    move_file,
    move_to_trash,
)
from imgret_assets.domain.review.removals import Removal, list_removals
from imgret_assets.domain.review.undo_file import (
    MOVED,
    MOVING,
    NOT_MOVED,
    RESTORED,
    MovedFile,
    UndoFile,
    read_undo_file,
)
from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.permissions import users_umask
from imgret_assets.errors import DecisionError
from imgret_assets.image_roots import AnyRoot
from imgret_assets.object_url import ImageFile, ObjectUrl

_LOCK = "removals"


@dataclass
class Applied:
    """What was moved or put back.

    Attributes:
        undo_file: the file that describes it; None if nothing was to be moved.
        done: paths that were moved or put back.
        bytes: what the moved files free, as `usable_images.freed_bytes` counts, or the sizes of those put back.
        refused: paths that were not, each with its reason.
        interrupted: the user ended it (Ctrl-C) before the last file.
    """

    undo_file: Path | None = None
    done: list[str] = field(default_factory=list)
    bytes: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    interrupted: bool = False


def undo_folder(home: Home) -> Path:
    """Return the folder of the undo files of what was moved to the trash."""
    return home.path / "removals"


def check_destination(home: Home, to: Path) -> Path:
    """Return a folder to move files into, absolute and without links.

    Raises:
        DecisionError: it is an image root, in one or around one: a run would find the moved files again.
    """
    folder = Path(os.path.realpath(to))
    for _, image_folder in home.images.folders:
        if isinstance(image_folder, ObjectUrl):
            continue
        root = Path(os.path.realpath(image_folder))
        if folder == root or root in folder.parents or folder in root.parents:
            where = "is the image root" if folder == root else "is in" if root in folder.parents else "contains"
            raise DecisionError(
                f"{to} {where}{'' if folder == root else f' the image root {root}'}",
                expected="a folder beside the image root",
            )
    return folder


def check_movable(home: Home, removals: Sequence[Removal]) -> None:
    """Raise an error if no file of removals can be moved, because all of them lie in buckets.

    Raises:
        DecisionError: with the remedy.
    """
    if removals and all(isinstance(home.images / removal.path, ObjectUrl) for removal in removals):
        raise DecisionError(
            f"The images of {home.images} lie in a bucket, where imgret changes nothing; nothing was moved",
            remedy="`imgret review --dry-run -0` prints the addresses for the tool of your store",
        )


def apply_removals(
    home: Home,
    removals: Sequence[Removal],
    to: Path | None,
    *,
    on_move: Callable[[MovedFile], None] = lambda _: None,
    progress: Listener = lambda _: None,
) -> Applied:
    """Move the files of removals that are still removable.

    Args:
        home: the home.
        removals: of `list_removals`, as a person has seen them.
        to: a folder of `check_destination`, into which files are moved under their paths; None for the system's trash.
        on_move: called with each file once the undo file has it, before it is moved.
        progress: receives how many files have been moved or refused.

    Raises:
        DecisionError: the destination is not allowed, or all files lie in buckets.
        HomeError, DiskFullError: the undo file can't be written.
        LockTimeoutError: another process has been moving files for longer than the setting allows.
    """
    applied = Applied()
    if not removals:
        return applied
    check_movable(home, removals)
    folder = undo_folder(home) if to is None else check_destination(home, to)
    # In a folder that a person names, the rights are those that this person sets.
    umask = nullcontext() if to is None else users_umask()
    with home.hold([_LOCK], "moving files that are not needed"), umask:
        at = datetime.now(UTC).replace(microsecond=0)
        applied.undo_file = folder / f"imgret-undo-{at:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}.jsonl"
        with UndoFile(applied.undo_file) as undo_file:
            undo_file.start(
                home.images,
                at=at.isoformat().replace("+00:00", "Z"),
                to_trash=to is None,
            )
            mover = _Mover(home, undo_file, None if to is None else folder, on_move)
            started = time.monotonic()
            for number, removal in enumerate(_links_first(home.images, removals), 1):
                try:
                    mover.move(removal)
                    applied.done.append(removal.path)
                except NotMovedError as error:
                    applied.refused.append((removal.path, str(error)))
                except KeyboardInterrupt:
                    # The undo file has what was begun.
                    applied.interrupted = True
                    break
                progress(Progress("files", number, len(removals), time.monotonic() - started))
    applied.bytes = sum(freed_bytes(mover.images[path] for path in applied.done).values())
    return applied


class _Mover:
    """The moves of one run.

    Args:
        home: the home.
        undo_file: to be extended.
        folder: into which files are moved; None for the trash.
        on_move: as in `apply_removals`.
    """

    def __init__(
        self, home: Home, undo_file: UndoFile, folder: Path | None, on_move: Callable[[MovedFile], None]
    ) -> None:
        self._home, self._undo_file, self._folder, self._on_move = home, undo_file, folder, on_move
        self._stamp: tuple[object, ...] | None = None
        self._removals: dict[str, Removal] = {}
        self._number = 0
        # All files of the manifests by path.
        self.images: dict[str, UsableImage] = {}

    def move(self, removal: Removal) -> None:
        """Move a file.

        Raises:
            NotMovedError: it is not removable any more, or it or the file kept instead is not as recorded.
        """
        removal = self._current(removal)
        source, keep = _local_file(self._home.images, removal.path), _local_file(self._home.images, removal.keep)
        identity, keep_identity = self._check(removal, source, keep)
        destination = None if self._folder is None else free_name(self._folder / removal.path)
        file = MovedFile(
            self._number,
            removal.path,
            removal.file.sha256,
            source.stat().st_size,
            os.readlink(source) if source.is_symlink() else None,  # noqa: PTH115
            removal.keep,
            removal.decision.batch,
            None if self._folder is None or destination is None else destination.relative_to(self._folder).as_posix(),
        )
        self._number += 1
        self._undo_file.announce(file)
        try:
            self._on_move(file)
            if identity_of(keep) != keep_identity:
                raise NotMovedError(f"stays: {removal.keep}, kept instead, has changed since it was checked")
            if destination is None:
                move_to_trash(source, identity)
            else:
                move_file(source, destination, identity)
        except NotMovedError as error:
            self._undo_file.finish(file.number, NOT_MOVED, str(error))
            raise
        self._undo_file.finish(file.number, MOVED)

    def _current(self, removal: Removal) -> Removal:
        """Return the removal of the same file as decisions and tables have it now."""
        stamp = read_decisions(self._home).stamp
        if stamp != self._stamp:
            self._stamp = stamp
            self._removals = {current.path: current for current in list_removals(self._home).files}
            self.images = {image.path: image for image in load_files(self._home)}
        current = self._removals.get(removal.path)
        if current is None or current.file != removal.file or current.keep not in self.images:
            raise NotMovedError("is not removable any more: it, the file kept instead or the decision has changed")
        return current

    def _check(self, removal: Removal, source: Path, keep: Path) -> tuple[Identity, Identity]:
        """Return the identities of the file to move and of the file kept instead, after reading both."""
        root, max_bytes = self._home.images.root_of(removal.path), self._home.settings.max_bytes
        if is_protected(removal.path, self._home.settings.protected) or not _is_own_folder(root, source.parent):
            raise NotMovedError("is protected, or a folder on its path has become a link")
        check = check_link if source.is_symlink() else check_content
        identity = check(source, removal.file.sha256, max_bytes=max_bytes)
        try:
            keep_identity = check_content(keep, self.images[removal.keep].sha256, max_bytes=max_bytes)
            if is_one_entry(source, keep):
                raise NotMovedError("is this very file under another path")
        except NotMovedError as error:
            raise NotMovedError(f"stays: {removal.keep}, kept instead, {error}") from error
        return identity, keep_identity


def _local_file(root: AnyRoot, path: str) -> Path:
    """Return the file at a path.

    Raises:
        NotMovedError: it lies in a bucket.
    """
    file = root / path
    if isinstance(file, ObjectUrl):
        raise NotMovedError(f"stays: {file} lies in a bucket, where imgret changes nothing")
    return file


def _is_own_folder(root: ImageFile | None, folder: Path) -> bool:
    """Return whether no part of a folder's path below its root is a link."""
    if root is None:
        return False
    return Path(os.path.realpath(folder)) == Path(os.path.realpath(root)) / folder.relative_to(root)


def _links_first(root: AnyRoot, removals: Sequence[Removal]) -> list[Removal]:
    """Return removals such that each link comes before the link or the file that it leads to; else by path."""
    return sorted(removals, key=lambda removal: (-_hops(root / removal.path), removal.path))


def _hops(path: ImageFile) -> int:
    """Return how many links lead from a path to its file; at most 40, as many as the system follows."""
    hops = 0
    if isinstance(path, ObjectUrl):
        return hops
    while hops < 40 and path.is_symlink():
        path, hops = path.parent / path.readlink(), hops + 1
    return hops


def restore_files(path: Path, *, max_bytes: int) -> Applied:
    """Put the files of an undo file back at their places; a file that is there already stays as it is.

    Args:
        path: the undo file.
        max_bytes: a larger file is not checked, and not put back.

    Raises:
        DecisionError: it can't be read, is in use, or its files are in the system's trash.
        HomeError, DiskFullError: it can't be written.
    """
    applied = Applied(path)
    with users_umask(), _open_existing(path) as undo_file:
        content = read_undo_file(path)
        if content.to_trash:
            raise DecisionError(
                f"The files of {path} are in the system's trash", remedy="restore them there; the file lists them"
            )
        for file in content.files:
            if file.state not in (MOVED, MOVING) or file.moved_to is None:
                continue
            source = path.parent / file.moved_to
            try:
                destination = _local_file(content.root, file.path)
                if _is_in_place(destination, file, max_bytes):
                    undo_file.finish(file.number, RESTORED, "it was at its place")
                    continue
                identity = _check_moved(source, file, max_bytes)
                move_file(source, destination, identity)
            except NotMovedError as error:
                applied.refused.append((file.path, str(error)))
                continue
            undo_file.finish(file.number, RESTORED)
            applied.done.append(file.path)
            applied.bytes += file.bytes if file.link is None else 0
    return applied


def _open_existing(path: Path) -> UndoFile:
    # Reads it first, so that a wrong name makes no file, and a foreign file is not changed.
    read_undo_file(path)
    return UndoFile(path)


def _is_in_place(destination: Path, file: MovedFile, max_bytes: int) -> bool:
    """Return whether the file is where it was before it was moved.

    Raises:
        NotMovedError: another file is there.
    """
    if not os.path.lexists(destination):
        return False
    try:
        _check_moved(destination, file, max_bytes)
    except NotMovedError as error:
        raise NotMovedError("is not put back: another file is at its place") from error
    return True


def _check_moved(path: Path, file: MovedFile, max_bytes: int) -> Identity:
    """Return the identity of a file after checking that it is the one of the undo file."""
    if file.link is None:
        return check_content(path, file.sha256, max_bytes=max_bytes)
    identity = identity_of(path)
    if not path.is_symlink() or os.readlink(path) != file.link:  # noqa: PTH115
        raise NotMovedError("is another link by now")
    return identity
