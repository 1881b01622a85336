"""The files that decisions make removable, and the duplicates that may be removed beside them.

Belongs here: the lists of files that could be removed. Not here: moving them (`domain.review.apply_removals`). Nothing
in imgret deletes an image file.

Whoever removes every listed file still has every content, or one that it duplicates. So only a file keeps a content: a
symbolic link to it does not, because it leads to nothing once the file is removed. And a file that a link in a
protected folder leads to is protected as well.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imgret_assets.domain.duplicates.usable_images import (
    UsableImage,
    freed_bytes,
    group_by_content,
    load_files,
)
from imgret_assets.domain.images.files import inode_of_object, storable_ns
from imgret_assets.domain.objects.stores import facts_of
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import (
    DUPLICATE,
    NOT_DUPLICATES,
    Decision,
    Decisions,
    File,
    SetDecision,
    is_protected,
    keep_one,
)
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError, TableError
from imgret_assets.image_roots import AnyRoot
from imgret_assets.object_url import ObjectUrl


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that could be removed.

    Attributes:
        file: its path and content.
        bytes: what its removal frees if all listed files are removed (`usable_images.freed_bytes`).
        keep: path of a file that is kept instead.
        decision: the decision that makes the file removable.
    """

    file: File
    bytes: int
    keep: str
    decision: Decision

    @property
    def path(self) -> str:
        """POSIX path under the image root."""
        return self.file.path


@dataclass(frozen=True)
class Removals:
    """The files that could be removed.

    Attributes:
        files: the removals.
        changed: removals left out, because the file, or the file kept instead, has changed since the last run.
    """

    files: list[Removal]
    changed: list[Removal]

    @property
    def bytes(self) -> int:
        """Number of bytes that removing all `files` frees."""
        return sum(removal.bytes for removal in self.files)


def find_removals(
    images_by_content: Mapping[str, Sequence[UsableImage]], decisions: Decisions, protected: Sequence[str] = ()
) -> dict[str, Removal]:
    """Return the files that the decisions in force make removable, by path.

    A decision holds for every file with the content it is about, and for links to it. A decision about two files with
    the same bytes is about one file only, and holds as long as another file has these bytes. A link is no such file.

    Decisions in a circle remove nothing. Following the decisions from a removed content to the content kept instead,
    and on from there, must lead to a file that stays: the search starts at contents with a file that stays, and goes
    back.

    Args:
        images_by_content: all images of each content, links as well.
        decisions: the decisions in force.
        protected: folders from which nothing is removed, nor a file that a link in them leads to.
    """
    protected_paths = find_protected((image for images in images_by_content.values() for image in images), protected)
    candidates: set[str] = set()
    removable_for: dict[str, list[tuple[Decision, str, list[UsableImage]]]] = {}
    for decision in decisions.in_force():
        if decision.verdict == DUPLICATE:
            kept, duplicate = decision.kept_and_duplicate
            removable = _removable_images(kept, duplicate, images_by_content, protected_paths)
            candidates.update(image.path for image in removable)
            removable_for.setdefault(kept.sha256, []).append((decision, kept.path, removable))
    # A file that stays, for each content that has one, and for each content that is removed in favour of such a one.
    staying_file: dict[str, str] = {}
    for content in removable_for:
        if staying := _paths_of_files(images_by_content.get(content, ())) - candidates:
            staying_file[content] = min(staying)
    removals: dict[str, Removal] = {}
    queue = deque(staying_file)
    while queue:
        content = queue.popleft()
        staying_paths = _paths_of_files(images_by_content[content]) - candidates
        for decision, kept_path, removable in removable_for[content]:
            keep = kept_path if kept_path in staying_paths else staying_file[content]
            for image in removable:
                if image.path not in removals:
                    removals[image.path] = Removal(File(image.path, image.sha256), 0, keep, decision)
                if image.sha256 in removable_for and image.sha256 not in staying_file:
                    staying_file[image.sha256] = keep
                    queue.append(image.sha256)
    return _with_freed_bytes(removals, images_by_content)


def find_protected(images: Iterable[UsableImage], folders: Sequence[str]) -> set[str]:
    """Return the paths of images in protected folders, of the files that links there lead to, and of links to these."""
    if not folders:
        return set()
    listed = list(images)
    protected = {image.path for image in listed if is_protected(image.path, folders)}
    targets = {image.link for image in listed if image.path in protected and image.link is not None}
    return protected | {image.path for image in listed if image.path in targets or image.link in targets}


def find_removable_duplicates(
    rows: Sequence[Mapping[str, Any]],
    images: Sequence[UsableImage],
    decisions: Decisions,
    protected: Sequence[str] = (),
) -> dict[str, int]:
    """Return the duplicates of table rows that may be removed, with the bytes that this frees, by path.

    Left out are protected files, pairs that people decided to keep both of, and duplicates whose file to keep is one
    that decisions make removable. So the result and the files of `find_removals` may be removed together.

    Args:
        rows: `path_from` and `path_keep` of each row of the duplicates table.
        images: all images, links as well.
        decisions: the decisions in force.
        protected: folders from which nothing is removed, nor a file that a link in them leads to.
    """
    by_path = {image.path: image for image in images}
    protected_paths = find_protected(images, protected)
    decided = find_removals(group_by_content(images), decisions, protected)
    removable: list[UsableImage] = []
    for row in rows:
        image, keep = by_path.get(row["path_from"]), by_path.get(row["path_keep"])
        if image is None or keep is None or image.path in protected_paths or keep.path in decided:
            continue
        decision = decisions.decision_for(File(image.path, image.sha256), File(keep.path, keep.sha256))
        if decision is None or decision.verdict != NOT_DUPLICATES:
            removable.append(image)
    freed = freed_bytes(removable)
    return {image.path: freed[image.path] for image in removable}


def _paths_of_files(images: Iterable[UsableImage]) -> set[str]:
    return {image.path for image in images if image.link is None}


def _with_freed_bytes(
    removals: Mapping[str, Removal], images_by_content: Mapping[str, Sequence[UsableImage]]
) -> dict[str, Removal]:
    contents = {removal.file.sha256 for removal in removals.values()}
    removed = [image for content in contents for image in images_by_content[content] if image.path in removals]
    freed = freed_bytes(removed)
    return {path: replace(removal, bytes=freed[path]) for path, removal in removals.items()}


def _removable_images(
    kept: File, duplicate: File, images_by_content: Mapping[str, Sequence[UsableImage]], protected_paths: set[str]
) -> list[UsableImage]:
    """Return the images that are not needed if `kept` is kept for `duplicate`; none if `kept` no longer exists."""
    same_content = kept.sha256 == duplicate.sha256
    if len(images_by_content.get(kept.sha256, ())) < (2 if same_content else 1):
        return []
    return [
        image
        for image in images_by_content.get(duplicate.sha256, ())
        if (not same_content or image.path == duplicate.path) and image.path not in protected_paths
    ]


def list_removals(home: Home) -> Removals:
    """Return the files that could be removed, sorted by path, if they are unchanged since the last run.

    Raises:
        TableError: a shard's manifest is missing or damaged.
        HomeError: the decisions can't be parsed.
    """
    images = load_files(home)
    by_content = group_by_content(images)
    by_path = {image.path: image for image in images}
    removals = find_removals(by_content, read_decisions(home), home.settings.protected)
    files: list[Removal] = []
    changed: list[Removal] = []
    for path in sorted(removals):
        removal = removals[path]
        unchanged = all(_is_unchanged(home.images, by_path[name]) for name in (path, removal.keep))
        (files if unchanged else changed).append(removal)
    # The names of one stored file may be divided between the two lists: then its bytes are not freed.
    listed = _with_freed_bytes({removal.path: removal for removal in files}, by_content)
    return Removals(list(listed.values()), changed)


def _is_unchanged(root: AnyRoot, image: UsableImage) -> bool:
    """Return whether a path still holds the file, or the link to the file, that its manifest row describes."""
    try:
        file = root / image.path
        if isinstance(file, ObjectUrl):
            return image.stored_file is not None and inode_of_object(facts_of(file)) == image.stored_file[0]
        if file.is_symlink() != (image.link is not None):
            return False
        stat = file.stat()
    except OSError:
        return False
    if image.stored_file is not None and stat.st_ino != image.stored_file[0]:
        return False
    return (stat.st_size, storable_ns(stat.st_mtime_ns)) == (image.bytes, image.mtime_ns)


def find_library_file(home: Home, path: str) -> File:
    """Return a file of the library to decide about, whether or not it can be decoded.

    Raises:
        TableError: the manifests have no such file with known bytes.
    """
    image = _library_image(load_files(home), home, path)
    return File(image.path, image.sha256)


def decide_duplicates(home: Home, keep: str, duplicates: Sequence[str]) -> SetDecision:
    """Return the decision that files of the library, given by path, duplicate the file `keep`.

    Raises:
        TableError: the manifests have no such file with known bytes.
        DecisionError: one of them is a symbolic link. A link keeps no content, and its removal frees nothing.
    """
    listed = load_files(home)
    images = [_library_image(listed, home, path) for path in (keep, *duplicates)]
    for image in images:
        if image.link is not None:
            does = "keeps no content" if image is images[0] else "is no duplicate, and removing it frees nothing"
            raise DecisionError(
                f"{image.path} is a symbolic link to {image.link}: a link {does}",
                expected="files",
                remedy="name the file that the link leads to, if it is in the library",
            )
    kept, *others = (File(image.path, image.sha256) for image in images)
    return keep_one(kept, others)


def _library_image(listed: Iterable[UsableImage], home: Home, path: str) -> UsableImage:
    image = next((image for image in listed if image.path == path), None)
    if image is None:
        raise TableError(
            f"{path} is not among the images of {home.images}",
            remedy="give a path under the image root; a new file is known after `imgret run`",
        )
    return image
